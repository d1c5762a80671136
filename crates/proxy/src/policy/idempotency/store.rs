//! Where keys and answers are: in this process, in its data directory, or in the store that gateways share.
//!
//! Whoever begins a key is given a token; only that one's answer is kept, and only that one gives the key free. A key is begun
//! away from the call that shows it: when that has left, or is told that the store is away, nobody is left to give it free.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::redis::{Script, Value};
use bytes::Bytes;
use tokio::{runtime::Handle, sync::oneshot};

use super::local::Memory;
use crate::{
    hex::hex,
    ledger::{
        answers::{Answers, Found},
        shared::Accounts,
    },
    redis::Unanswered,
};

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("begin.lua")));
static FINISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("finish.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

/// How often, and after which pause, an answer is told again to a store that is away, or a key given free.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// A store.
#[derive(Clone)]
pub(super) enum Store {
    Memory(Arc<Memory>),
    Kept { answers: Option<Arc<dyn Answers>>, place: String, bytes_max: usize, background: Handle },
    Redis { accounts: Arc<Accounts>, background: Handle },
}

/// Whose key it is, and the key.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) subject: String,
    pub(super) digest: [u8; 32],
}

/// What a key was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Begun {
    /// New: this request is the first.
    First(String),
    /// That of a request on its way.
    InFlight,
    /// That of a request with this answer.
    Done(Bytes),
    /// That of another request.
    Mismatch,
}

/// The store cannot be asked.
#[derive(Debug)]
pub(super) struct Away;

/// What is kept of a request that has ended.
pub(super) struct Ended {
    pub(super) place: Place,
    pub(super) fingerprint: [u8; 32],
    pub(super) token: String,
    pub(super) answer: Bytes,
    pub(super) ttl: Duration,
}

/// What a key was found to be, on its way to whoever asked. A claim that nobody hears of gives its key free.
struct Unheard {
    store: Store,
    place: Place,
    /// What the claim was made with, where there may be one.
    token: Option<String>,
    found: Option<Result<Begun, Away>>,
}

impl Unheard {
    /// Hears of it: from now on the claim is the hearer's.
    fn heard(mut self) -> Result<Begun, Away> {
        let found = self.found.take().unwrap_or(Err(Away));
        if found.is_ok() {
            self.token = None;
        }
        found
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            self.store.release(&self.place, token);
        }
    }
}

impl Store {
    /// Begins a request, unless there is one with its key.
    pub(super) async fn begin(
        &self,
        place: &Place,
        fingerprint: [u8; 32],
        lease: Duration,
    ) -> Result<Begun, Away> {
        let background = match self {
            Self::Memory(_) => return self.ask(place, fingerprint, lease).await.1,
            Self::Kept { background, .. } | Self::Redis { background, .. } => background,
        };
        let (tell, told) = oneshot::channel();
        let (store, place) = (self.clone(), place.clone());
        background.spawn(async move {
            let (token, found) = store.ask(&place, fingerprint, lease).await;
            // Nobody hears it where the call has left meanwhile.
            let _ = tell.send(Unheard { store, place, token, found: Some(found) });
        });
        told.await.map_or(Err(Away), Unheard::heard)
    }

    /// Asks; with the token where the key may be this request's by now, and nobody else gives it free.
    async fn ask(
        &self,
        place: &Place,
        fingerprint: [u8; 32],
        lease: Duration,
    ) -> (Option<String>, Result<Begun, Away>) {
        match self {
            Self::Memory(memory) => {
                (None, Ok(memory.begin(&place.digest, fingerprint, lease, Instant::now())))
            }
            Self::Kept { answers, place: owner, background, .. } => {
                let Some(answers) = answers.clone() else { return (None, Err(Away)) };
                let (owner, key, token) = (owner.clone(), place.digest, token());
                let work = {
                    let token = token.clone();
                    move || answers.begin(&owner, &key, &fingerprint, &token, lease)
                };
                match background.spawn_blocking(work).await {
                    Ok(Ok(Found::Nothing)) => (Some(token.clone()), Ok(Begun::First(token))),
                    Ok(Ok(Found::InFlight)) => (None, Ok(Begun::InFlight)),
                    Ok(Ok(Found::Answer(answer))) => (None, Ok(Begun::Done(answer.into()))),
                    Ok(Ok(Found::Another)) => (None, Ok(Begun::Mismatch)),
                    Ok(Err(error)) => {
                        complain(&error);
                        (None, Err(Away))
                    }
                    Err(_) => (None, Err(Away)),
                }
            }
            Self::Redis { accounts, .. } => {
                let token = accounts.next_id();
                let arguments = [hex(&fingerprint), token.clone(), lease.as_millis().max(1).to_string()];
                let keys = [key(accounts, place)];
                match accounts.client().eval(&BEGIN, &keys, &arguments).await {
                    Ok(value) => match read(&value, token.clone()) {
                        Some(first @ Begun::First(_)) => (Some(token), Ok(first)),
                        Some(other) => (None, Ok(other)),
                        None => (None, Err(Away)),
                    },
                    // It may do later what it has not answered.
                    Err(Unanswered::Unknown) => (Some(token), Err(Away)),
                    Err(Unanswered::Away | Unanswered::Full | Unanswered::Refused) => (None, Err(Away)),
                }
            }
        }
    }

    /// Keeps an answer.
    pub(super) async fn finish(&self, ended: Ended) {
        match self {
            Self::Memory(memory) => {
                let ends = Instant::now() + ended.ttl;
                memory.finish(&ended.place.digest, ended.fingerprint, &ended.token, ended.answer, ends);
            }
            Self::Kept { answers, place, bytes_max, background } => {
                let Some(answers) = answers.clone() else { return };
                let (owner, bytes_max) = (place.clone(), *bytes_max);
                let work = move || {
                    let Ended { place, fingerprint, token, answer, ttl } = ended;
                    answers.finish(&owner, &place.digest, &fingerprint, &token, &answer, ttl, bytes_max)
                };
                if let Ok(Err(error)) = background.spawn_blocking(work).await {
                    complain(&error);
                }
            }
            Self::Redis { accounts, background } => {
                let keys = [key(accounts, &ended.place)];
                let arguments = [
                    ended.token.into_bytes(),
                    hex(&ended.fingerprint).into_bytes(),
                    ended.ttl.as_millis().max(1).to_string().into_bytes(),
                    ended.answer.to_vec(),
                ];
                if accounts.client().eval(&FINISH, &keys, &arguments).await.is_ok() {
                    return;
                }
                let accounts = accounts.clone();
                background.spawn(async move {
                    for _ in 0..TRIES {
                        tokio::time::sleep(PAUSE).await;
                        if accounts.client().eval(&FINISH, &keys, &arguments).await.is_ok() {
                            return;
                        }
                    }
                    complain("redis is away for too long");
                });
            }
        }
    }

    /// Gives a key free whose request has no answer to keep.
    pub(super) fn release(&self, place: &Place, token: &str) {
        match self {
            Self::Memory(memory) => memory.release(&place.digest, token),
            Self::Kept { answers, background, .. } => {
                let Some(answers) = answers.clone() else { return };
                let (key, token) = (place.digest, token.to_owned());
                background.spawn_blocking(move || {
                    if let Err(error) = answers.release(&key, &token) {
                        complain(&error);
                    }
                });
            }
            Self::Redis { accounts, background } => {
                let (keys, arguments) = ([key(accounts, place)], [token.to_owned()]);
                let accounts = accounts.clone();
                background.spawn(async move {
                    // What cannot be given free in that time is when its lease ends.
                    for _ in 0..TRIES {
                        if accounts.client().eval(&RELEASE, &keys, &arguments).await.is_ok() {
                            return;
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
    }
}

fn key(accounts: &Accounts, place: &Place) -> String {
    accounts.key(&place.subject, &format!("idempotency:{}", hex(&place.digest)))
}

/// Reads what the script that begins has answered.
fn read(value: &Value, token: String) -> Option<Begun> {
    let Value::Array(values) = value else { return None };
    match values.as_slice() {
        [Value::Int(0)] => Some(Begun::First(token)),
        [Value::Int(1), Value::BulkString(answer)] => Some(Begun::Done(answer.clone().into())),
        [Value::Int(2)] => Some(Begun::InFlight),
        [Value::Int(3)] => Some(Begun::Mismatch),
        _ => None,
    }
}

/// Told at the first, second, fourth, … time.
fn complain(error: &str) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_power_of_two() {
        tracing::error!(count, "an answer to a request with a key is not kept or not found: {error}");
    }
}

/// Nobody else has it: a number of this process, and when it is.
fn token() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}-{:x}", std::process::id(), now.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}
