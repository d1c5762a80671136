//! Passwords whose hash takes its time on purpose (Argon2): computed away from workers, a few at a time, once for all who
//! show the same at the same moment, and what came of it remembered for a while by a salted digest.
//!
//! Good ones and others have room of their own. What is wrong is remembered of users that there are and of others alike, so
//! that the time tells nothing: users of another way in, such as a directory, are shown here first with every call.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};

use super::Digest;

/// How long a password is known, good or not, without being computed again.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// Good passwords that are known at a time, and others.
const KNOWN_MAX: usize = 10_000;
/// Passwords that wait for a place, beside those that are computed.
const WAITING_MAX: usize = 64;
/// Those of them that one address shows, so that whoever guesses leaves room for others.
const WAITING_OF_ONE_MAX: usize = WAITING_MAX / 2;
/// How long a call waits for a place.
const PATIENCE: Duration = Duration::from_secs(10);
/// What one hash may cost: memory in KiB, passes and lanes.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// As many as can be judged are.
#[derive(Debug)]
pub(crate) struct Busy;

/// A password that is to be judged.
pub(crate) struct Slowly {
    /// Whose it would be; nobody's where the user is unknown.
    pub(super) at: Option<usize>,
    pub(super) hash: Arc<str>,
    pub(super) mark: Digest,
}

/// Passwords with slow hashes.
pub(super) struct Slow {
    any: Arc<str>,
    places: Arc<Semaphore>,
    queue: Mutex<Queue>,
    good: Mutex<Known>,
    wrong: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    until: HashMap<Digest, Instant>,
    order: VecDeque<Digest>,
}

impl Known {
    fn has(known: &Mutex<Self>, mark: &Digest) -> bool {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.until.get(mark).is_some_and(|until| Instant::now() < *until)
    }

    fn put(known: &Mutex<Self>, mark: Digest) {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.until.insert(mark, Instant::now() + KNOWN_FOR).is_none() {
            known.order.push_back(mark);
        }
        while known.until.len() > KNOWN_MAX {
            let Some(oldest) = known.order.pop_front() else { break };
            known.until.remove(&oldest);
        }
    }
}

/// Passwords that are judged, and those of them that wait for a place.
#[derive(Default)]
struct Queue {
    waiting: usize,
    /// How many of them each address has shown.
    of: HashMap<IpAddr, usize>,
    /// For whoever shows the same.
    judged: HashMap<Digest, watch::Receiver<Option<bool>>>,
}

impl Queue {
    fn leave(&mut self, client: IpAddr) {
        self.waiting = self.waiting.saturating_sub(1);
        match self.of.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.of.remove(&client);
            }
        }
    }
}

/// Whoever judges a password for all who show it. When it is dropped before it has told them, another of them does.
struct Lead<'s> {
    slow: &'s Slow,
    mark: Digest,
    client: IpAddr,
    waits: bool,
    tell: watch::Sender<Option<bool>>,
}

impl Lead<'_> {
    /// It has a place.
    fn begin(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.slow.queue().leave(self.client);
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = self.slow.queue();
        if self.waits {
            queue.leave(self.client);
        }
        queue.judged.remove(&self.mark);
    }
}

/// What a call does that shows a password.
enum Joined<'s> {
    Leads(Lead<'s>),
    /// Somebody judges the same.
    Listens(watch::Receiver<Option<bool>>),
}

impl Slow {
    /// `any` is a hash that unknown users are judged by, so that they take as long.
    pub(super) fn new(any: Arc<str>) -> Self {
        let places = std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).clamp(1, 4));
        Self {
            any,
            places: Arc::new(Semaphore::new(places)),
            queue: Mutex::default(),
            good: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    pub(super) fn any_hash(&self) -> Arc<str> {
        self.any.clone()
    }

    /// Whether a password is known to be good.
    pub(super) fn knows(&self, mark: &Digest) -> bool {
        Known::has(&self.good, mark)
    }

    /// Whether it is known to be wrong: while the configuration stays it does not become good.
    pub(super) fn knows_wrong(&self, mark: &Digest) -> bool {
        Known::has(&self.wrong, mark)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place among those who wait, unless somebody judges the same.
    fn join(&self, mark: Digest, client: IpAddr) -> Result<Joined<'_>, Busy> {
        let mut queue = self.queue();
        if let Some(told) = queue.judged.get(&mark) {
            return Ok(Joined::Listens(told.clone()));
        }
        let own = queue.of.get(&client).copied().unwrap_or_default();
        if queue.waiting >= WAITING_MAX || own >= WAITING_OF_ONE_MAX {
            return Err(Busy);
        }
        queue.waiting += 1;
        queue.of.insert(client, own + 1);
        let (tell, told) = watch::channel(None);
        queue.judged.insert(mark, told);
        drop(queue);
        Ok(Joined::Leads(Lead { slow: self, mark, client, waits: true, tell }))
    }

    /// Judges a password that somebody at this address shows.
    pub(super) async fn verify(
        &self,
        asked: Slowly,
        password: Vec<u8>,
        client: IpAddr,
        background: &Handle,
    ) -> Result<bool, Busy> {
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut lead = loop {
            match self.join(asked.mark, network(client))? {
                Joined::Leads(lead) => break lead,
                Joined::Listens(mut told) => {
                    let ended = tokio::time::timeout_at(until, told.wait_for(Option::is_some)).await;
                    match ended {
                        Ok(Ok(is_right)) => return Ok(is_right.unwrap_or(false)),
                        // Whoever judged it is gone.
                        Ok(Err(_)) => {}
                        Err(_) => return Err(Busy),
                    }
                }
            }
        };
        let place = tokio::time::timeout_at(until, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Busy) };
        lead.begin();
        let is_user = asked.at.is_some();
        // Somebody may have asked the same just before.
        let is_known = is_user && self.knows(&asked.mark);
        let is_right = is_known || {
            let hash = asked.hash;
            let judged = background.spawn_blocking(move || {
                let is_right = Argon2::default().verify_password(&password, &*hash).is_ok();
                // Also where the call is gone meanwhile: what is computed takes a place until it is done.
                drop(place);
                is_right
            });
            judged.await.map_err(|_| Busy)? && is_user
        };
        if !is_known {
            Known::put(if is_right { &self.good } else { &self.wrong }, asked.mark);
        }
        lead.tell.send_replace(Some(is_right));
        Ok(is_right)
    }
}

/// What is one client: of IPv6 the network of 64 bits.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// Whether a hash can be judged by, at a bearable price.
pub(super) fn check(hash: &str) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("it is no hash of Argon2: {error}");
    let parsed = PasswordHash::new(hash).map_err(|error| wrong(&error))?;
    if parsed.hash.is_none() || parsed.salt.is_none() {
        return Err(wrong(&"the salt or the hash is missing"));
    }
    let params = argon2::Params::try_from(&parsed).map_err(|error| wrong(&error))?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > LANES_MAX {
        return Err(format!(
            "its hash costs too much: {MEMORY_KIB_MAX} KiB, {PASSES_MAX} passes and {LANES_MAX} lanes are the most"
        ));
    }
    Ok(())
}

/// The hash of a password, as a configuration has it.
///
/// # Errors
/// The system gives no random bytes.
pub fn hash(password: &[u8]) -> Result<String, String> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| "the system gives no random bytes".to_owned())?;
    let hash =
        Argon2::default().hash_password_with_salt(password, &salt).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_judged_by_once_and_its_price_is_bounded() {
        let made = hash(b"correct horse").expect("a hash");
        assert!(made.starts_with("$argon2id$v=19$"), "{made}");
        assert_eq!(check(&made), Ok(()));
        for bad in [
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$kJKxvtDSWvc9cVFFWgCR0QYFyvXjzVvCHNGG1NDbqEk",
            "$argon2id$nothing",
            "$2y$10$abcdefghijklmnopqrstuv",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let slow = Slow::new(made.as_str().into());
        let ask = |password: &str, at| {
            let mark = [password.len() as u8; 32];
            let asked = Slowly { at, hash: made.as_str().into(), mark };
            runtime
                .block_on(slow.verify(asked, password.as_bytes().to_vec(), client(1), runtime.handle()))
                .expect("room")
        };
        assert!(ask("correct horse", Some(0)));
        assert!(slow.knows(&[13; 32]), "it is remembered");
        assert!(!ask("wrong", Some(0)) && !slow.knows(&[5; 32]) && slow.knows_wrong(&[5; 32]));
        assert!(!ask("correct  horse", None), "nobody's password is right");
    }

    fn client(last: u8) -> IpAddr {
        std::net::Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn no_more_wait_than_there_is_room_for_and_of_one_address_no_more_than_half() {
        let slow = Slow::new("x".into());
        let lead = |number: usize, last: u8| {
            let mark = [u8::try_from(number).expect("few"); 32];
            match slow.join(mark, client(last)) {
                Ok(Joined::Leads(lead)) => Some(lead),
                _ => None,
            }
        };
        let half: Vec<_> = (0..WAITING_OF_ONE_MAX).filter_map(|number| lead(number, 1)).collect();
        assert_eq!(half.len(), WAITING_OF_ONE_MAX);
        assert!(lead(200, 1).is_none() && lead(200, 2).is_some(), "others have room");
        let rest: Vec<_> = (WAITING_OF_ONE_MAX..WAITING_MAX).filter_map(|number| lead(number, 2)).collect();
        assert_eq!(rest.len(), WAITING_MAX - WAITING_OF_ONE_MAX);
        assert!(slow.join([201; 32], client(3)).is_err(), "all is taken");
        assert!(matches!(slow.join([0; 32], client(3)), Ok(Joined::Listens(_))), "the same takes no place");
        drop((half, rest));
        let queue = slow.queue();
        assert!(queue.waiting == 0 && queue.of.is_empty() && queue.judged.is_empty(), "all is given back");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
