//! All sessions of a route. Their ids are sealed: they hold all that is needed to go on, so that they outlive the
//! process.
//!
//! An id is an AES-256-GCM box over whom it belongs to, what was agreed and the ids of the servers' own sessions. What
//! is kept beside it (when it was last used, sessions that were begun late, calls on their way) is bounded and may be
//! lost.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    able::Able,
    asked::ToCall,
    parked::Parked,
    session::{Leg, Live, Seal, Session, locked},
};

/// Bytes of an id that are read. A header is no place for more.
const ID_BYTES_MAX: usize = 12 * 1024;
/// Bytes of an id that is minted; clients bound the headers that they take.
const MINTED_BYTES_MAX: usize = 8 * 1024;
/// Sessions that ended before their time and are remembered, of each shard.
const ENDED_MAX: usize = 4096;
/// Milliseconds between two searches for sessions that are idle.
const SWEEP_MIN: u64 = 100;
/// What clients of one caller can be asked differs; sessions of so many kinds are kept for it.
const ABLE_MAX: usize = 4;
const NONCE_BYTES: usize = 12;
const SHARDS: usize = 16;

/// Sessions of one caller, by what its clients can be asked.
type House = Vec<(Able, Arc<Live>)>;

type Digest = [u8; 16];

#[derive(Default)]
struct Shard {
    live: HashMap<Digest, Arc<Live>>,
    /// Ended before their time.
    ended: HashSet<Digest>,
    /// The same in the order of their ends, with when they had begun.
    order: VecDeque<(Digest, u64)>,
    /// Sessions that began by then and are not known to live may be among those whose end is forgotten: none of them
    /// goes on.
    horizon: u64,
}

/// How many sessions there are.
#[derive(Default)]
struct Counts {
    all: usize,
    /// By whom they are counted for.
    each: HashMap<Box<str>, usize>,
}

/// What bounds sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max: usize,
    /// Of one consumer.
    pub(super) max_each: usize,
    pub(super) idle: Duration,
    pub(super) lifetime: Duration,
}

/// All sessions of a route.
pub(super) struct Sessions {
    key: RandomizedNonceKey,
    route: Box<str>,
    start: Instant,
    bounds: Bounds,
    counts: Mutex<Counts>,
    /// When idle ones were last searched for, in milliseconds after the start.
    swept: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
    /// Of callers whose revision has none, by who they are, and by what their clients can be asked.
    houses: Mutex<HashMap<String, House>>,
    /// Calls of theirs whose servers have asked.
    pub(super) parked: Parked<ToCall>,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSession {
    /// Not an id of this route's, of somebody else's, or over.
    Unknown,
    /// There are as many as there may be.
    TooMany,
    /// This caller has as many as it may.
    TooManyOfOne,
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
    pub(super) fn new(secret: &[u8], route: &str, bounds: Bounds) -> Result<Self, String> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"tidegate mcp session 1\0");
        context.update(secret);
        let key = RandomizedNonceKey::new(&AES_256_GCM, context.finish().as_ref())
            .map_err(|_| "the key of sessions cannot be used".to_owned())?;
        Ok(Self {
            key,
            route: route.into(),
            start: Instant::now(),
            bounds,
            counts: Mutex::default(),
            swept: AtomicU64::new(0),
            shards: Default::default(),
            houses: Mutex::default(),
            parked: Parked::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        locked(&self.shards[usize::from(digest[0]) % SHARDS])
    }

    fn is_idle(&self, live: &Live) -> bool {
        let idle = u64::try_from(self.bounds.idle.as_millis()).unwrap_or(u64::MAX);
        self.now().saturating_sub(live.used.load(Ordering::Relaxed)) > idle
    }

    /// A text that nobody else can make or read, for one purpose.
    pub(super) fn sealed(&self, purpose: &str, mut text: Vec<u8>) -> Option<String> {
        let about = format!("{} {purpose}", self.route);
        let nonce = self.key.seal_in_place_append_tag(Aad::from(about.as_bytes()), &mut text).ok()?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut text);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What [`Self::sealed`] was given.
    pub(super) fn unsealed(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let about = format!("{} {purpose}", self.route);
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.key.open_in_place(nonce, Aad::from(about.as_bytes()), sealed).ok().map(|text| text.to_vec())
    }

    /// Counts one more, or says why there may not be one.
    fn count_one(&self, owner: &str) -> Result<(), NoSession> {
        let mut counts = locked(&self.counts);
        if counts.all >= self.bounds.max {
            return Err(NoSession::TooMany);
        }
        match counts.each.get_mut(owner) {
            Some(own) if *own >= self.bounds.max_each => return Err(NoSession::TooManyOfOne),
            Some(own) => *own += 1,
            None => {
                counts.each.insert(owner.into(), 1);
            }
        }
        counts.all += 1;
        Ok(())
    }

    fn count_off(&self, owner: &str) {
        let mut counts = locked(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        if let Some(own) = counts.each.get_mut(owner) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.each.remove(owner);
            }
        }
    }

    /// Makes room for one more, at the cost of those that are idle. Not called with a shard in hand.
    fn admit(&self, owner: &str) -> Result<(), NoSession> {
        let Err(why) = self.count_one(owner) else { return Ok(()) };
        let (now, swept) = (self.now().max(1), self.swept.load(Ordering::Relaxed));
        if swept != 0 && now.saturating_sub(swept) < SWEEP_MIN {
            return Err(why);
        }
        self.swept.store(now, Ordering::Relaxed);
        for shard in &self.shards {
            let mut shard = locked(shard);
            let idle = shard.live.iter().filter(|(_, live)| self.is_idle(live)).map(|(digest, _)| *digest);
            for digest in idle.collect::<Vec<_>>() {
                self.forget(&mut shard, digest, seconds());
            }
        }
        self.count_one(owner)
    }

    /// Begins a session, counted for `owner`.
    pub(super) fn begin(&self, mut seal: Seal, owner: &str) -> Result<Session, NoSession> {
        let live = Live::of(owner, self.now());
        let id = loop {
            let text = serde_json::to_vec(&seal).map_err(|_| NoSession::Unknown)?;
            let id = self.sealed("", text).ok_or(NoSession::Unknown)?;
            if id.len() <= MINTED_BYTES_MAX {
                break id;
            }
            // What has no room is remembered beside the id. Without it the session begins there anew.
            let longest = |leg: &(usize, &Leg)| leg.1.id.as_ref().map_or(0, |id| id.len());
            let Some((at, _)) = seal.legs.iter().enumerate().max_by_key(longest) else {
                return Err(NoSession::Unknown);
            };
            let leg = seal.legs.remove(at);
            locked(&live.late).insert(leg.server.clone(), leg);
        };
        let digest = digest_of(&id);
        self.admit(owner)?;
        let live = Arc::new(live);
        self.shard(&digest).live.insert(digest, live.clone());
        Ok(Session::of(id.into(), hex(&digest), seal, live))
    }

    /// The session of a caller whose revision has none, at servers that are told that it can be asked this; none where
    /// there is no room for one. What gave way is to be ended at its servers.
    pub(super) fn house(&self, who: &str, able: Able, seal: Seal) -> (Option<Session>, Vec<Arc<Live>>) {
        let mut houses = locked(&self.houses);
        let mut gone = Vec::new();
        let full = self.bounds.max;
        if houses.len() >= full && !houses.contains_key(who) {
            let mut stays = |live: &Arc<Live>| {
                // Calls that are on their way, and those that wait for their clients, hold it.
                let stays = !self.is_idle(live) || Arc::strong_count(live) > 1;
                if !stays {
                    gone.push(live.clone());
                }
                stays
            };
            houses.retain(|_, own| {
                own.retain(|(_, live)| stays(live));
                !own.is_empty()
            });
            if houses.len() >= full {
                return (None, gone);
            }
        }
        let own = houses.entry(who.to_owned()).or_default();
        let known = own.iter().find(|(known, _)| *known == able).map(|(_, live)| live.clone());
        let live = match known {
            Some(live) => live,
            None => {
                let others = own.iter().filter(|(known, _)| !known.is_nothing()).count();
                if !able.is_nothing() && others >= ABLE_MAX {
                    // One that nobody uses gives way, so that a client that says now this and now that has no more
                    // sessions than others.
                    let unused = own
                        .iter()
                        .enumerate()
                        .filter(|(_, (known, live))| !known.is_nothing() && Arc::strong_count(live) == 1);
                    let used =
                        |(_, (_, live)): &(usize, &(Able, Arc<Live>))| live.used.load(Ordering::Relaxed);
                    let Some(at) = unused.min_by_key(used).map(|(at, _)| at) else { return (None, gone) };
                    gone.push(own.swap_remove(at).1);
                }
                let live = Arc::new(Live::default());
                own.push((able, live.clone()));
                live
            }
        };
        drop(houses);
        live.used.store(self.now(), Ordering::Relaxed);
        (Some(Session::of("".into(), "stateless".into(), seal, live)), gone)
    }

    /// The session of an id, for whom it belongs to; counted for `owner` when it is new to this process.
    pub(super) fn find(&self, id: &str, who: &str, owner: &str) -> Result<Session, NoSession> {
        let seal = self.open(id).ok_or(NoSession::Unknown)?;
        let age = seconds().saturating_sub(seal.began);
        if seal.who != who || age > self.bounds.lifetime.as_secs() {
            return Err(NoSession::Unknown);
        }
        let digest = digest_of(id);
        let known = self.known(&digest, &seal)?;
        let live = match known {
            Some(live) => live,
            None => {
                // Of a process before this one, or of another gateway with the same key.
                self.admit(owner)?;
                let fresh = Arc::new(Live::of(owner, 0));
                match self.shard(&digest).live.entry(digest) {
                    Entry::Occupied(known) => {
                        self.count_off(owner);
                        known.get().clone()
                    }
                    Entry::Vacant(place) => place.insert(fresh).clone(),
                }
            }
        };
        live.used.store(self.now(), Ordering::Relaxed);
        Ok(Session::of(id.into(), hex(&digest), seal, live))
    }

    /// What is remembered of a session, if it goes on.
    fn known(&self, digest: &Digest, seal: &Seal) -> Result<Option<Arc<Live>>, NoSession> {
        let mut shard = self.shard(digest);
        match shard.live.get(digest) {
            Some(live) if self.is_idle(live) => {
                self.forget(&mut shard, *digest, seal.began);
                Err(NoSession::Unknown)
            }
            Some(live) => Ok(Some(live.clone())),
            None if shard.ended.contains(digest) || seal.began <= shard.horizon => Err(NoSession::Unknown),
            None => Ok(None),
        }
    }

    fn open(&self, id: &str) -> Option<Seal> {
        if id.len() > ID_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(&self.unsealed("", id)?).ok()
    }

    /// Ends a session that began by `began`.
    fn forget(&self, shard: &mut Shard, digest: Digest, began: u64) {
        if let Some(live) = shard.live.remove(&digest) {
            self.count_off(&live.owner);
            live.ask_no_more();
        }
        if shard.ended.insert(digest) {
            shard.order.push_back((digest, began));
        }
        while shard.order.len() > ENDED_MAX {
            if let Some((oldest, began)) = shard.order.pop_front() {
                shard.ended.remove(&oldest);
                shard.horizon = shard.horizon.max(began);
            }
        }
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Session) {
        let digest = digest_of(&session.id);
        self.forget(&mut self.shard(&digest), digest, session.seal.began);
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
    use crate::handler::mcp::{revision::Revision, session::Can};

    fn sessions(route: &str, max: usize, idle: Duration) -> Sessions {
        let bounds = Bounds { max, max_each: 20, idle, lifetime: Duration::from_secs(100) };
        Sessions::new(b"a secret of the tests", route, bounds).expect("a key")
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
        let id = sessions("tools", 16, hour).begin(seal("gold"), "gold").expect("room").id;
        assert!(!id.contains("upstream") && URL_SAFE_NO_PAD.decode(&*id).is_ok());
        let other = sessions("tools", 16, hour);
        let session = other.find(&id, "gold", "gold").expect("known to whoever has the key");
        assert_eq!(session.leg("shop").and_then(|leg| leg.id).as_deref(), Some("upstream-id"));
        assert_eq!(other.find(&id, "web", "web").err(), Some(NoSession::Unknown), "of another consumer");
        assert_eq!(sessions("others", 16, hour).find(&id, "gold", "gold").err(), Some(NoSession::Unknown));
        for at in 0..id.len() {
            let mut forged = id.to_string().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("text");
            // The last letter may hold bits that are none.
            assert!(forged == *id || other.find(&forged, "gold", "gold").is_err(), "letter {at}");
        }
        other.end(&session);
        assert_eq!(other.find(&id, "gold", "gold").err(), Some(NoSession::Unknown), "it was ended");
    }

    #[test]
    fn sessions_are_counted_exactly_in_all_and_for_each_consumer() {
        let hour = Duration::from_secs(3600);
        let all = sessions("tools", 16, hour);
        let begun: Vec<_> = (0..100).filter_map(|_| all.begin(seal("gold"), "gold").ok()).collect();
        assert_eq!((begun.len(), all.count()), (16, 16));
        all.end(&begun[0]);
        all.end(&begun[0]);
        assert!(all.begin(seal("web"), "web").is_ok());
        assert_eq!(all.begin(seal("web"), "web").err(), Some(NoSession::TooMany));
        let all = sessions("tools", 100, hour);
        let begun = (0..100).filter(|_| all.begin(seal("gold"), "gold").is_ok()).count();
        assert_eq!(begun, 20);
        assert_eq!(all.begin(seal("gold"), "gold").err(), Some(NoSession::TooManyOfOne));
        assert!(all.begin(seal("web"), "web").is_ok());
        // Those of a process before this one are counted, too.
        let before = sessions("tools", 100, hour);
        let ids: Vec<_> = (0..3).map(|_| before.begin(seal("web"), "web").expect("room").id).collect();
        let after = sessions("tools", 2, hour);
        let found = ids.iter().map(|id| after.find(id, "web", "web").err());
        assert_eq!(found.collect::<Vec<_>>(), [None, None, Some(NoSession::TooMany)]);
    }

    #[test]
    fn what_was_idle_stays_ended_also_when_its_end_is_forgotten() {
        let wait = || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(5) {}
        };
        let all = sessions("tools", 1, Duration::from_millis(1));
        let session = all.begin(seal("gold"), "gold").expect("room");
        wait();
        all.begin(seal("gold"), "gold").expect("the room of what was idle");
        assert_eq!(all.find(&session.id, "gold", "gold").err(), Some(NoSession::Unknown));
        let all = sessions("tools", 10, Duration::from_secs(60));
        let mut old = seal("gold");
        old.began -= 10;
        let session = all.begin(old, "gold").expect("room");
        all.end(&session);
        let own = digest_of(&session.id);
        for number in 0..=ENDED_MAX as u64 {
            let mut digest = own;
            digest[8..].copy_from_slice(&number.to_be_bytes());
            let mut shard = all.shard(&digest);
            all.forget(&mut shard, digest, session.seal.began);
        }
        assert!(!all.shard(&own).ended.contains(&own), "its end is forgotten");
        assert_eq!(all.find(&session.id, "gold", "gold").err(), Some(NoSession::Unknown));
    }

    #[test]
    fn an_id_is_never_longer_than_what_is_read() {
        let all = sessions("tools", 16, Duration::from_secs(60));
        let mut long = seal("gold");
        long.client = format!("{{\"x\":\"{}\"}}", "x".repeat(4000));
        long.legs = (0..40)
            .map(|number| Leg {
                server: format!("server-{number}").into(),
                id: Some("i".repeat(1024).into()),
                revision: Revision::V2025_06_18,
                can: Can(Can::TOOLS),
            })
            .collect();
        let session = all.begin(long, "gold").expect("room");
        assert!(session.id.len() <= MINTED_BYTES_MAX);
        let again = all.find(&session.id, "gold", "gold").expect("known");
        assert!((0..40).all(|number| again.leg(&format!("server-{number}")).is_some()));
    }

    #[test]
    fn what_is_sealed_is_good_for_its_purpose_alone() {
        let all = sessions("tools", 16, Duration::from_secs(60));
        let sealed = all.sealed("cursor tools/list gold", b"text".to_vec()).expect("sealed");
        assert_eq!(all.unsealed("cursor tools/list gold", &sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!(all.unsealed("cursor tools/list web", &sealed), None);
        assert!(all.find(&sealed, "gold", "gold").is_err());
    }
}
