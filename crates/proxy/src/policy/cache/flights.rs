//! Requests for what is being fetched already: the first one asks, and the others wait for its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::timeout};

use super::{coming::Coming, key::Key};

/// How long others wait for a body whose head is there, where they cannot read it as it comes.
const BODY_WAIT: Duration = Duration::from_secs(1);
/// Answers to one key that are fetched at once for many: others may be for other languages (`Vary`), or void by now.
const AT_ONCE_MAX: usize = 16;

/// What is known of what is being fetched.
#[derive(Clone)]
enum Word {
    /// Nothing yet.
    Asked,
    /// It is one that is kept, and its body is on its way.
    Coming(Arc<Coming>),
    /// It is not for others.
    NotForOthers,
}

/// What those hear who ask for one thing.
type Words = Vec<watch::Receiver<Word>>;

/// What is being fetched.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Arc<[u8]>, Words>>);

/// Whose turn it is to ask.
pub(super) enum Turn {
    Lead(Leader),
    Follow(Follower),
    /// So many ask already, none of them for this one: it asks for itself.
    Alone,
}

/// The one that asks; all others are told when it is dropped.
pub(super) struct Leader {
    flights: Arc<Flights>,
    key: Arc<[u8]>,
    word: watch::Sender<Word>,
    /// What the others are told it by.
    own: watch::Receiver<Word>,
}

/// One that waits for another's answer.
pub(super) struct Follower(watch::Receiver<Word>);

/// What came of waiting.
pub(super) enum Landing {
    /// There may be an answer, or whoever asked has gone without one.
    Landed,
    /// The head of one is there, and its body can be read as it comes.
    Coming(Arc<Coming>),
    /// What came is not for others: each asks for itself.
    NotForOthers,
    /// It takes too long.
    TooLate,
}

impl Flights {
    /// Takes part in the fetching of a key: in that of an answer of which nothing is known yet, or of one that is meant.
    pub(super) fn join(self: &Arc<Self>, key: &Key, is_meant: impl Fn(&Coming) -> bool) -> Turn {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = all.entry(key.bytes.clone()).or_default();
        let known = of_key.iter().find(|known| match &*known.borrow() {
            Word::Asked | Word::NotForOthers => true,
            Word::Coming(coming) => is_meant(coming),
        });
        if let Some(known) = known {
            return Turn::Follow(Follower(known.clone()));
        }
        if of_key.len() >= AT_ONCE_MAX {
            return Turn::Alone;
        }
        let (word, receiver) = watch::channel(Word::Asked);
        of_key.push(receiver.clone());
        Turn::Lead(Leader { flights: self.clone(), key: key.bytes.clone(), word, own: receiver })
    }
}

impl Leader {
    /// The head is there, and its body can be read as it comes.
    pub(super) fn is_coming(&self, coming: &Arc<Coming>) {
        self.word.send_replace(Word::Coming(coming.clone()));
    }

    /// The answer is not for others: they need not wait for one another either.
    pub(super) fn not_for_others(&self) {
        self.word.send_replace(Word::NotForOthers);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut all = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_key) = all.get_mut(&self.key) {
            of_key.retain(|known| !known.same_channel(&self.own));
            if of_key.is_empty() {
                all.remove(&self.key);
            }
        }
    }
}

impl Follower {
    /// Waits until the leader has landed, and never longer than this; until its head is there for who `reads` along.
    pub(super) async fn landed(mut self, until: Instant, reads: bool) -> Landing {
        let mut left = until.saturating_duration_since(Instant::now());
        loop {
            match &*self.0.borrow_and_update() {
                Word::NotForOthers => return Landing::NotForOthers,
                Word::Coming(coming) if reads => return Landing::Coming(coming.clone()),
                Word::Coming(_) => left = until.saturating_duration_since(Instant::now()).min(BODY_WAIT),
                Word::Asked => {}
            }
            match timeout(left, self.0.changed()).await {
                Err(_) => return Landing::TooLate,
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    // Its last word counts.
                    let is_for_others = !matches!(&*self.0.borrow(), Word::NotForOthers);
                    return if is_for_others { Landing::Landed } else { Landing::NotForOthers };
                }
            }
        }
    }
}
