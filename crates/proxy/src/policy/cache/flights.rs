//! Requests for what is being fetched already: the first one asks, and the others wait for its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::timeout};

use super::key::Key;

/// How long others wait for a body whose head is there: its client may be slow, and the copy comes at its pace.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// What is known of what is being fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Nothing yet.
    Asked,
    /// It is one that is kept, and its body is on its way.
    Coming,
    /// It is not for others.
    NotForOthers,
}

/// What is being fetched.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Arc<[u8]>, watch::Receiver<Word>>>);

/// Whose turn it is to ask.
pub(super) enum Turn {
    Lead(Leader),
    Follow(Follower),
}

/// The one that asks; all others are told when it is dropped.
pub(super) struct Leader {
    flights: Arc<Flights>,
    key: Arc<[u8]>,
    word: watch::Sender<Word>,
}

/// One that waits for another's answer.
pub(super) struct Follower(watch::Receiver<Word>);

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    /// There may be an answer, or whoever asked has gone without one.
    Landed,
    /// What came is not for others: each asks for itself.
    NotForOthers,
    /// It takes too long.
    TooLate,
}

impl Flights {
    /// Takes part in the fetching of a key.
    pub(super) fn join(self: &Arc<Self>, key: &Key) -> Turn {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = all.get(&key.bytes) {
            return Turn::Follow(Follower(receiver.clone()));
        }
        let (word, receiver) = watch::channel(Word::Asked);
        all.insert(key.bytes.clone(), receiver);
        Turn::Lead(Leader { flights: self.clone(), key: key.bytes.clone(), word })
    }
}

impl Leader {
    /// The head is there, and its body is being kept.
    pub(super) fn is_coming(&self) {
        self.word.send_replace(Word::Coming);
    }

    /// The answer is not for others: they need not wait for one another either.
    pub(super) fn not_for_others(&self) {
        self.word.send_replace(Word::NotForOthers);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Follower {
    /// Waits until the leader has landed, and never longer than this.
    pub(super) async fn landed(mut self, until: Instant) -> Landing {
        let mut left = until.saturating_duration_since(Instant::now());
        loop {
            let word = *self.0.borrow_and_update();
            match word {
                Word::NotForOthers => return Landing::NotForOthers,
                Word::Coming => left = until.saturating_duration_since(Instant::now()).min(BODY_WAIT),
                Word::Asked => {}
            }
            match timeout(left, self.0.changed()).await {
                Err(_) => return Landing::TooLate,
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    // Its last word counts.
                    let is_for_others = *self.0.borrow() != Word::NotForOthers;
                    return if is_for_others { Landing::Landed } else { Landing::NotForOthers };
                }
            }
        }
    }
}
