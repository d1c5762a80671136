//! Requests for what is being fetched already: the first one asks, and the others wait for its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::key::Key;

/// What is being fetched.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Arc<[u8]>, watch::Receiver<()>>>);

/// Whose turn it is to ask.
pub(super) enum Turn {
    Lead(Leader),
    /// Told when the leader has its answer, whatever that is, or has gone.
    Follow(watch::Receiver<()>),
}

/// The one that asks; all others are told when it is dropped.
pub(super) struct Leader {
    flights: Arc<Flights>,
    key: Arc<[u8]>,
    _landing: watch::Sender<()>,
}

impl Flights {
    /// Takes part in the fetching of a key.
    pub(super) fn join(self: &Arc<Self>, key: &Key) -> Turn {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = all.get(&key.bytes) {
            return Turn::Follow(receiver.clone());
        }
        let (sender, receiver) = watch::channel(());
        all.insert(key.bytes.clone(), receiver);
        Turn::Lead(Leader { flights: self.clone(), key: key.bytes.clone(), _landing: sender })
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Waits until the leader has landed.
pub(super) async fn landed(mut receiver: watch::Receiver<()>) {
    while receiver.changed().await.is_ok() {}
}
