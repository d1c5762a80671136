//! Reads: takes messages by the broker's own way of it, while there is room, again and again until it is stopped.

use std::{
    any::Any,
    sync::{Arc, Weak, atomic::Ordering as Atomic},
    time::Duration,
};

use model::resource::subscription::Subscription as Settings;
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use super::{Held, Subscription, dispatch};
use crate::{
    broker::{
        AWAY, Told,
        link::{Message, Receipt, Settled},
    },
    worker::Shared,
};

/// The pauses before it is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a broker's reader hands messages over to.
pub(in crate::broker) struct Reader {
    owner: Arc<Subscription>,
    shared: Weak<Shared>,
    /// What the broker's reader keeps from one connection to the next.
    pub(in crate::broker) kept: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Reads until it is stopped.
pub(super) async fn run(owner: Arc<Subscription>, shared: Weak<Shared>) {
    let reader = Reader { owner: owner.clone(), shared, kept: Mutex::default() };
    let mut pause = PAUSE_FIRST;
    let mut told = Told::default();
    while !owner.is_stopping() {
        match reader.read().await {
            Ok(()) => break,
            Err(why) => {
                if owner.is_up.swap(false, Atomic::Relaxed) {
                    (pause, told) = (PAUSE_FIRST, Told::default());
                }
                // That there is no connection the broker says itself.
                if why != AWAY && told.is_new(&why) {
                    let name = &owner.name;
                    tracing::warn!(%why, "the subscription `{name}` cannot be read, and it is tried again: {why}");
                }
                owner.set_trouble(Some(why));
            }
        }
        owner.pause_of(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    owner.is_up.store(false, Atomic::Relaxed);
    owner.reads.store(false, Atomic::Relaxed);
}

impl Reader {
    /// Reads while there is a connection; good when it is stopped.
    async fn read(&self) -> Result<(), String> {
        let link = self.owner.broker.link().ok_or(AWAY)?;
        // Workers come after subscriptions.
        if self.shared.upgrade().is_none_or(|shared| shared.inboxes.get().is_none()) {
            return Err("there are no workers yet".to_owned());
        }
        link.read(self).await
    }

    pub(in crate::broker) fn settings(&self) -> &Settings {
        &self.owner.settings
    }

    pub(in crate::broker) fn is_stopping(&self) -> bool {
        self.owner.is_stopping()
    }

    /// Ready when it is stopped.
    pub(in crate::broker) async fn stopped(&self) {
        self.owner.stopped().await;
    }

    /// The broker knows it, and messages come from now on.
    pub(in crate::broker) fn has_begun(&self) {
        if !self.owner.is_up.swap(true, Atomic::Relaxed) {
            tracing::info!("the subscription `{}` is read", self.owner.name);
        }
        self.owner.set_trouble(None);
    }

    /// Nothing comes, which is waited for; whoever finds that has told it.
    pub(in crate::broker) fn has_stalled(&self, why: &str) {
        self.owner.is_up.store(false, Atomic::Relaxed);
        self.owner.set_trouble(Some(why.to_owned()));
    }

    /// Room for a message; nothing when it is stopped.
    pub(in crate::broker) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.owner.stopped() => None,
            room = self.owner.room.clone().acquire_owned() => room.ok(),
        }
    }

    /// Room for a message, where there is some now.
    pub(in crate::broker) fn room_now(&self) -> Option<OwnedSemaphorePermit> {
        self.owner.room.clone().try_acquire_owned().ok()
    }

    /// Who counts what cannot be read, and says so.
    pub(in crate::broker) fn unreadable(&self) -> impl Fn(String) + Send + Sync + use<> {
        let owner = self.owner.clone();
        move |what| {
            owner.numbers.unreadable.fetch_add(1, Atomic::Relaxed);
            tracing::error!(subscription = %owner.name, "`{}`: {what}", owner.name);
            owner.set_trouble(Some(what));
        }
    }

    /// For how many there is room when nothing is held.
    pub(in crate::broker) fn room_of_all(&self) -> usize {
        self.owner.room_of_all
    }

    /// Whether something is held.
    pub(in crate::broker) fn holds(&self) -> bool {
        !self.owner.held().is_empty()
    }

    /// For how many more there is room.
    pub(in crate::broker) fn more_room(&self) -> usize {
        self.owner.room.available_permits()
    }

    /// Takes a message in, and has it delivered.
    pub(in crate::broker) fn take(&self, message: Message, room: OwnedSemaphorePermit) {
        let owner = &self.owner;
        {
            let mut held = owner.held();
            // One that came again while it is on its way is done with when that ends.
            if held.get(&message.place).is_some_and(|receipt| !receipt.is_lost()) {
                return;
            }
            held.insert(message.place, message.receipt.clone());
        }
        let deliveries = owner.broker.tries.next(&owner.place, message.counted, message.given);
        let held = Held { message, deliveries, owner: owner.clone(), _permit: room };
        dispatch(held, &self.shared);
    }

    /// Gives a message back that there is no room for.
    pub(in crate::broker) async fn give_back(&self, message: Message) -> Result<(), String> {
        let (tries, place) = (&self.owner.broker.tries, &self.owner.place);
        let next = tries.next(place, message.counted, message.given);
        tries.given_back(place, message.counted, message.given, next);
        message.receipt.settle(Settled::Back).await
    }

    /// Tells the broker now and then that what is held here is not forgotten, for as long as this is kept.
    pub(in crate::broker) fn holding(&self, every: Duration) -> Holding {
        let owner = self.owner.clone();
        let telling = async move {
            loop {
                tokio::time::sleep(every).await;
                let all: Vec<Arc<dyn Receipt>> = owner.held().values().cloned().collect();
                for receipt in all {
                    if !receipt.hold().await {
                        return;
                    }
                }
            }
        };
        Holding(tokio::spawn(telling).abort_handle())
    }
}

/// Ends with this.
pub(in crate::broker) struct Holding(tokio::task::AbortHandle);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.abort();
    }
}
