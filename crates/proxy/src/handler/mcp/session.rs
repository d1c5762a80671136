//! Sessions. Their ids are sealed: they hold all that is needed to go on, so that they outlive the process.
//!
//! An id is an AES-256-GCM box over whom it belongs to, what was agreed and the ids of the servers' own sessions. What
//! is kept beside it (when it was last used, sessions that were begun late, calls on their way) is bounded and may be
//! lost.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest, rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::revision::Revision;

/// Bytes of an id that are read. A header is no place for more.
const ID_BYTES_MAX: usize = 12 * 1024;
const NONCE_BYTES: usize = 12;
/// Calls of one session that are remembered while they are on their way.
const IN_FLIGHT_MAX: usize = 1024;
const SHARDS: usize = 16;

/// What a session is with one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Leg {
    /// The server.
    #[serde(rename = "n")]
    pub(super) server: Arc<str>,
    /// The id that the server gave, when it gave one.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Box<str>>,
    /// The revision that it speaks.
    #[serde(rename = "r")]
    pub(super) revision: Revision,
    /// What it can do.
    #[serde(rename = "c")]
    pub(super) can: Can,
}

/// What a server can do.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Can(pub(super) u8);

impl Can {
    pub(super) const TOOLS: u8 = 1;
    pub(super) const RESOURCES: u8 = 2;
    pub(super) const PROMPTS: u8 = 4;
    pub(super) const COMPLETIONS: u8 = 8;
    pub(super) const LOGGING: u8 = 16;

    /// Whether it can do this.
    pub(super) fn do_(self, what: u8) -> bool {
        self.0 & what != 0
    }
}

/// What an id holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Seal {
    /// When it began, in seconds since 1970.
    #[serde(rename = "t")]
    pub(super) began: u64,
    /// Whom it belongs to.
    #[serde(rename = "w")]
    pub(super) who: String,
    /// The revision that the client speaks.
    #[serde(rename = "r")]
    pub(super) revision: Revision,
    /// What the client told of itself, for servers that come later.
    #[serde(rename = "p")]
    pub(super) client: String,
    /// The servers that took part from the beginning.
    #[serde(rename = "s")]
    pub(super) legs: Vec<Leg>,
}

/// A session as one call sees it.
#[derive(Clone)]
pub(super) struct Session {
    /// Its id as clients send it.
    pub(super) id: Arc<str>,
    /// Says nothing of the id.
    pub(super) digest: Arc<str>,
    pub(super) seal: Arc<Seal>,
    pub(super) live: Arc<Live>,
}

/// What is remembered of a session beside its id.
#[derive(Default)]
pub(super) struct Live {
    /// Milliseconds after the start.
    used: AtomicU64,
    /// Legs that were begun, or begun again, after the session.
    late: Mutex<HashMap<Arc<str>, Leg>>,
    /// Which server works on a request, by its id.
    in_flight: Mutex<HashMap<Box<str>, Arc<str>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// What it is with a server; `None` when it has not begun with it.
    pub(super) fn leg(&self, server: &str) -> Option<Leg> {
        let late = locked(&self.live.late).get(server).cloned();
        late.or_else(|| self.seal.legs.iter().find(|leg| &*leg.server == server).cloned())
    }

    /// Remembers a leg that was begun after the session.
    pub(super) fn begin(&self, leg: Leg) {
        locked(&self.live.late).insert(leg.server.clone(), leg);
    }

    /// Remembers which server works on a request.
    pub(super) fn sent(&self, id: &str, server: &Arc<str>) {
        let mut all = locked(&self.live.in_flight);
        if all.len() < IN_FLIGHT_MAX {
            all.insert(id.into(), server.clone());
        }
    }

    /// Forgets it.
    pub(super) fn done(&self, id: &str) {
        locked(&self.live.in_flight).remove(id);
    }

    /// Which server works on a request, as far as is known here.
    pub(super) fn works_on(&self, id: &str) -> Option<Arc<str>> {
        locked(&self.live.in_flight).get(id).cloned()
    }
}

type Digest = [u8; 16];

#[derive(Default)]
struct Shard {
    live: HashMap<Digest, Arc<Live>>,
    /// Ended before their time; as many as there may be sessions.
    ended: HashSet<Digest>,
    order: VecDeque<Digest>,
}

/// All sessions of a route.
pub(super) struct Sessions {
    key: RandomizedNonceKey,
    route: Box<str>,
    start: Instant,
    idle: Duration,
    lifetime: Duration,
    /// Of each shard.
    max: usize,
    shards: [Mutex<Shard>; SHARDS],
    /// Of callers whose revision has none, by who they are.
    houses: Mutex<HashMap<String, Arc<Live>>>,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSession {
    /// Not an id of this route's, of somebody else's, or over.
    Unknown,
    /// There are as many as there may be.
    TooMany,
}

/// Where the key is kept that sessions are sealed with.
static DATA_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Says where keys of the gateway's own are kept. Without it they live as long as the process.
pub fn keep_keys_in(folder: PathBuf) {
    let _ = DATA_DIR.set(folder);
}

/// The secret that ids are sealed with: the configuration's, or one of the gateway's own.
pub(in crate::handler) fn secret(given: Option<&str>) -> Result<Vec<u8>, String> {
    static PROCESS: OnceLock<Option<[u8; 32]>> = OnceLock::new();
    if let Some(given) = given {
        if given.trim().len() < 16 {
            return Err("`sessionKey`: expected at least 16 characters".to_owned());
        }
        return Ok(given.trim().as_bytes().to_vec());
    }
    match DATA_DIR.get() {
        Some(folder) => kept(&folder.join("mcp-session.key")),
        None => PROCESS
            .get_or_init(|| mint().ok())
            .map(|key| key.to_vec())
            .ok_or_else(|| "the system gives no random bytes".to_owned()),
    }
}

fn mint() -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(key)
}

/// The key in a file, which is made when it is not there.
fn kept(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::{fs, io::Write, os::unix::fs::OpenOptionsExt};
    let wrong =
        |error: std::io::Error| format!("cannot keep the key of sessions in {}: {error}", path.display());
    match fs::read(path) {
        Ok(key) if key.len() == 32 => return Ok(key),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let key = mint()?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(wrong)?;
    file.write_all(&key).map_err(wrong)?;
    fs::rename(&fresh, path).map_err(wrong)?;
    Ok(key.to_vec())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn digest_of(id: &str) -> Digest {
    let whole = digest::digest(&digest::SHA256, id.as_bytes());
    let mut digest = [0; 16];
    digest.iter_mut().zip(whole.as_ref()).for_each(|(to, from)| *to = *from);
    digest
}

impl Sessions {
    pub(super) fn new(
        secret: &[u8],
        route: &str,
        max: usize,
        idle: Duration,
        lifetime: Duration,
    ) -> Result<Self, String> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"tidegate mcp session 1\0");
        context.update(secret);
        let key = RandomizedNonceKey::new(&AES_256_GCM, context.finish().as_ref())
            .map_err(|_| "the key of sessions cannot be used".to_owned())?;
        Ok(Self {
            key,
            route: route.into(),
            start: Instant::now(),
            idle,
            lifetime,
            max: max.div_ceil(SHARDS),
            shards: Default::default(),
            houses: Mutex::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        locked(&self.shards[usize::from(digest[0]) % SHARDS])
    }

    fn is_idle(&self, live: &Live) -> bool {
        let idle = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
        self.now().saturating_sub(live.used.load(Ordering::Relaxed)) > idle
    }

    /// Begins a session.
    pub(super) fn begin(&self, seal: Seal) -> Result<Session, NoSession> {
        let text = serde_json::to_vec(&seal).map_err(|_| NoSession::Unknown)?;
        let mut sealed = text;
        let aad = Aad::from(self.route.as_bytes());
        let nonce = self.key.seal_in_place_append_tag(aad, &mut sealed).map_err(|_| NoSession::Unknown)?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        let id: Arc<str> = URL_SAFE_NO_PAD.encode(bytes).into();
        let digest = digest_of(&id);
        let live = Arc::new(Live::default());
        live.used.store(self.now(), Ordering::Relaxed);
        let mut shard = self.shard(&digest);
        if shard.live.len() >= self.max {
            shard.live.retain(|_, live| !self.is_idle(live));
        }
        if shard.live.len() >= self.max {
            return Err(NoSession::TooMany);
        }
        shard.live.insert(digest, live.clone());
        drop(shard);
        Ok(Session { id, digest: hex(&digest), seal: Arc::new(seal), live })
    }

    /// The session of a caller whose revision has none.
    pub(super) fn house(&self, who: &str, seal: Seal) -> Session {
        let mut houses = locked(&self.houses);
        let full = self.max.saturating_mul(SHARDS);
        if houses.len() >= full && !houses.contains_key(who) {
            houses.retain(|_, live| !self.is_idle(live));
        }
        let live = match houses.get(who) {
            Some(live) => live.clone(),
            None => {
                let live = Arc::new(Live::default());
                // Beyond the bound it is begun for this request alone.
                if houses.len() < full {
                    houses.insert(who.to_owned(), live.clone());
                }
                live
            }
        };
        drop(houses);
        live.used.store(self.now(), Ordering::Relaxed);
        Session { id: "".into(), digest: "stateless".into(), seal: Arc::new(seal), live }
    }

    /// The session of an id, for whom it belongs to.
    pub(super) fn find(&self, id: &str, who: &str) -> Result<Session, NoSession> {
        let seal = self.open(id).ok_or(NoSession::Unknown)?;
        let age = seconds().saturating_sub(seal.began);
        if seal.who != who || age > self.lifetime.as_secs() {
            return Err(NoSession::Unknown);
        }
        let digest = digest_of(id);
        let mut shard = self.shard(&digest);
        if shard.ended.contains(&digest) {
            return Err(NoSession::Unknown);
        }
        let live = match shard.live.get(&digest) {
            Some(live) if self.is_idle(live) => {
                self.forget(&mut shard, digest);
                return Err(NoSession::Unknown);
            }
            Some(live) => live.clone(),
            None => {
                // Of a process before this one, or of another gateway with the same key.
                let live = Arc::new(Live::default());
                if shard.live.len() < self.max {
                    shard.live.insert(digest, live.clone());
                }
                live
            }
        };
        live.used.store(self.now(), Ordering::Relaxed);
        drop(shard);
        Ok(Session { id: id.into(), digest: hex(&digest), seal: Arc::new(seal), live })
    }

    fn open(&self, id: &str) -> Option<Seal> {
        if id.len() > ID_BYTES_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(self.route.as_bytes()), sealed).ok()?;
        serde_json::from_slice(text).ok()
    }

    fn forget(&self, shard: &mut Shard, digest: Digest) {
        shard.live.remove(&digest);
        if shard.ended.insert(digest) {
            shard.order.push_back(digest);
        }
        while shard.order.len() > self.max {
            if let Some(oldest) = shard.order.pop_front() {
                shard.ended.remove(&oldest);
            }
        }
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Session) {
        let digest = digest_of(&session.id);
        self.forget(&mut self.shard(&digest), digest);
    }

    /// How many there are.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).live.len()).sum()
    }
}

fn hex(digest: &Digest) -> Arc<str> {
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(route: &str, max: usize, idle: Duration) -> Sessions {
        Sessions::new(b"a secret of the tests", route, max, idle, Duration::from_secs(100)).expect("a key")
    }

    fn seal(who: &str) -> Seal {
        Seal {
            began: seconds(),
            who: who.to_owned(),
            revision: Revision::V2025_06_18,
            client: "{}".to_owned(),
            legs: vec![Leg {
                server: "shop".into(),
                id: Some("upstream-id".into()),
                revision: Revision::V2025_03_26,
                can: Can(Can::TOOLS),
            }],
        }
    }

    #[test]
    fn an_id_holds_all_that_another_process_needs_and_shows_nothing() {
        let hour = Duration::from_secs(3600);
        let id = sessions("tools", 16, hour).begin(seal("gold")).expect("room").id;
        assert!(!id.contains("upstream") && URL_SAFE_NO_PAD.decode(&*id).is_ok());
        let other = sessions("tools", 16, hour);
        let session = other.find(&id, "gold").expect("known to whoever has the key");
        assert_eq!(session.leg("shop").and_then(|leg| leg.id).as_deref(), Some("upstream-id"));
        assert_eq!(other.find(&id, "web").err(), Some(NoSession::Unknown), "of another consumer");
        assert_eq!(sessions("others", 16, hour).find(&id, "gold").err(), Some(NoSession::Unknown));
        for at in 0..id.len() {
            let mut forged = id.to_string().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("text");
            // The last letter may hold bits that are none.
            assert!(forged == *id || other.find(&forged, "gold").is_err(), "letter {at}");
        }
        other.end(&session);
        assert_eq!(other.find(&id, "gold").err(), Some(NoSession::Unknown), "it was ended");
    }

    #[test]
    fn sessions_are_bounded_and_go_when_they_are_idle() {
        let all = sessions("tools", 16, Duration::from_secs(3600));
        let refused = (0..100).filter(|_| all.begin(seal("gold")).is_err()).count();
        assert!(all.count() <= 16 && refused >= 84, "{} {refused}", all.count());
        let all = sessions("tools", 16, Duration::ZERO);
        let session = all.begin(seal("gold")).expect("room");
        session.live.used.store(0, Ordering::Relaxed);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(3) {}
        assert_eq!(all.find(&session.id, "gold").err(), Some(NoSession::Unknown));
    }
}
