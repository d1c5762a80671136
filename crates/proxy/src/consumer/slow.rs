//! Passwords whose hash takes its time on purpose (Argon2): computed away from workers, a few at a time, and good ones
//! remembered for a while by a salted digest.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::{runtime::Handle, sync::Semaphore};

use super::Digest;

/// How long a good password is known without being computed again.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// Good passwords that are known at a time.
const KNOWN_MAX: usize = 10_000;
/// Calls that wait for a place, beside those that are computed.
const WAITING_MAX: usize = 64;
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
    waiting: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    until: HashMap<Digest, Instant>,
    order: VecDeque<Digest>,
}

/// Gives back a place among those who wait.
struct Waiting<'w>(&'w AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slow {
    /// `any` is a hash that unknown users are judged by, so that they take as long.
    pub(super) fn new(any: Arc<str>) -> Self {
        let places = std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).clamp(1, 4));
        Self {
            any,
            places: Arc::new(Semaphore::new(places)),
            waiting: AtomicUsize::new(0),
            known: Mutex::default(),
        }
    }

    pub(super) fn any_hash(&self) -> Arc<str> {
        self.any.clone()
    }

    pub(super) fn knows(&self, mark: &Digest) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.until.get(mark).is_some_and(|until| Instant::now() < *until)
    }

    fn remember(&self, mark: Digest) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.until.insert(mark, Instant::now() + KNOWN_FOR).is_none() {
            known.order.push_back(mark);
        }
        while known.until.len() > KNOWN_MAX {
            let Some(oldest) = known.order.pop_front() else { break };
            known.until.remove(&oldest);
        }
    }

    pub(super) async fn verify(
        &self,
        asked: Slowly,
        password: Vec<u8>,
        background: &Handle,
    ) -> Result<bool, Busy> {
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(Busy);
        }
        let place = tokio::time::timeout(PATIENCE, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Busy) };
        drop(waiting);
        // Somebody before may have asked the same.
        if asked.at.is_some() && self.knows(&asked.mark) {
            return Ok(true);
        }
        let (hash, is_user) = (asked.hash, asked.at.is_some());
        let judged = background.spawn_blocking(move || {
            let is_right = Argon2::default().verify_password(&password, &*hash).is_ok();
            // Also where the call is gone meanwhile: what is computed takes a place until it is done.
            drop(place);
            is_right
        });
        let is_right = judged.await.map_err(|_| Busy)? && is_user;
        if is_right {
            self.remember(asked.mark);
        }
        Ok(is_right)
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
                .block_on(slow.verify(asked, password.as_bytes().to_vec(), runtime.handle()))
                .expect("room")
        };
        assert!(ask("correct horse", Some(0)));
        assert!(slow.knows(&[13; 32]), "it is remembered");
        assert!(!ask("wrong", Some(0)) && !slow.knows(&[5; 32]));
        assert!(!ask("correct  horse", None), "nobody's password is right");
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let made = hash(b"x").expect("a hash");
        let slow = Slow::new(made.as_str().into());
        slow.waiting.store(WAITING_MAX, Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let asked = Slowly { at: Some(0), hash: made.as_str().into(), mark: [1; 32] };
        assert!(runtime.block_on(slow.verify(asked, b"x".to_vec(), runtime.handle())).is_err());
        assert_eq!(slow.waiting.load(Ordering::Relaxed), WAITING_MAX, "its own place is given back");
    }
}
