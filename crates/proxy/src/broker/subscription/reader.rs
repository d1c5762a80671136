//! Reads: makes the subscription known to the broker, and takes messages while there is room.

use std::{
    sync::{Arc, Weak, atomic::Ordering as Atomic},
    time::{Duration, Instant},
};

use async_nats::{
    Client,
    jetstream::{
        self, AckKind, Context, Message,
        consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    },
};
use futures_util::StreamExt;
use model::resource::subscription::SubscriptionStart;
use tokio::sync::Semaphore;

use super::{Held, Subscription, dispatch};
use crate::worker::Shared;

/// After how long the broker delivers again what it has not heard of.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(1);
/// How much longer it stands when nobody answers: what the broker does not know any more it passes over in silence.
const SILENCE: Duration = Duration::from_secs(3);
/// When the broker may deliver again what is given back: not into the request that still stands, which would have it go to
/// and fro until that ends.
pub(super) const GIVEN_BACK: Duration = Duration::from_secs(2);
/// Messages of one request.
const BATCH_MAX: usize = 256;
/// The pauses before it is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Reads until it is stopped.
pub(super) async fn run(owner: Arc<Subscription>, shared: Weak<Shared>) {
    let mut pause = PAUSE_FIRST;
    let mut is_told = false;
    while !owner.is_stopping() {
        match read(&owner, &shared, &mut pause).await {
            Ok(()) => break,
            Err(why) => {
                let was_up = owner.is_up.swap(false, Atomic::Relaxed);
                if was_up || !std::mem::replace(&mut is_told, true) {
                    let name = &owner.name;
                    tracing::warn!(%why, "the subscription `{name}` cannot be read, and it is tried again: {why}");
                }
                owner.set_trouble(Some(why));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = owner.stopped() => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    owner.is_up.store(false, Atomic::Relaxed);
    owner.reads.store(false, Atomic::Relaxed);
}

/// Reads while there is a connection; good when it is stopped.
async fn read(owner: &Arc<Subscription>, shared: &Weak<Shared>, pause: &mut Duration) -> Result<(), String> {
    let link = owner.broker.link().ok_or("there is no connection to the broker")?;
    // Workers come after subscriptions.
    if shared.upgrade().is_none_or(|shared| shared.inboxes.get().is_none()) {
        return Err("there are no workers yet".to_owned());
    }
    let context = match owner.broker.domain() {
        Some(domain) => jetstream::with_domain(link.client.clone(), domain),
        None => jetstream::new(link.client.clone()),
    };
    let consumer = known(owner, &context).await?;
    let _progress = Progress::begin(owner.clone(), link.client.clone());
    owner.is_up.store(true, Atomic::Relaxed);
    owner.set_trouble(None);
    *pause = PAUSE_FIRST;
    tracing::info!("the subscription `{}` is read", owner.name);
    let room = Arc::new(Semaphore::new(owner.room()));
    loop {
        let first = tokio::select! {
            () = owner.stopped() => return Ok(()),
            permit = room.clone().acquire_owned() => permit.map_err(|error| error.to_string())?,
        };
        let mut first = Some(first);
        let wanted = (1 + room.available_permits()).min(BATCH_MAX);
        let batch = consumer.batch().max_messages(wanted).expires(EXPIRES).messages();
        let asked = Instant::now();
        let mut batch = batch.await.map_err(|error| error.to_string())?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let permit = first.take().or_else(|| room.clone().try_acquire_owned().ok());
            match permit.filter(|_| !owner.is_stopping()) {
                Some(permit) => {
                    if let Some(held) = hold(owner, message, permit) {
                        dispatch(held, shared);
                    }
                }
                // It is another's: the broker need not wait to find that out.
                None => {
                    if let Some((sequence, given)) = counted(&message) {
                        let tries = &owner.broker.tries;
                        let next = tries.next(&owner.place, sequence, given);
                        tries.given_back(&owner.place, sequence, given, next);
                    }
                    let back = AckKind::Nak(Some(GIVEN_BACK));
                    message.ack_with(back).await.map_err(|error| error.to_string())?;
                }
            }
        }
        if asked.elapsed() > EXPIRES + SILENCE {
            return Err("the broker does not answer".to_owned());
        }
    }
}

/// Makes it known to the broker, or finds that it is.
async fn known(owner: &Subscription, context: &Context) -> Result<Consumer<pull::Config>, String> {
    let settings = &owner.settings;
    let stream = context.get_stream_no_info(&settings.stream).await.map_err(|error| error.to_string())?;
    let wanted = pull::Config {
        durable_name: Some(settings.durable()),
        description: Some(format!("deliveries of Tidegate to {}", settings.upstream)),
        deliver_policy: match settings.from {
            SubscriptionStart::New => DeliverPolicy::New,
            SubscriptionStart::All => DeliverPolicy::All,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // It is given up here, and never silently there.
        max_deliver: -1,
        filter_subject: settings.subject.clone().unwrap_or_default(),
        max_ack_pending: match settings.ordering {
            model::resource::subscription::Ordering::All => 1,
            _ => 65_536,
        },
        ..Default::default()
    };
    stream.create_consumer(wanted).await.map_err(|error| error.to_string())
}

/// The place of a message in the stream, and how often the broker has given it out.
fn counted(message: &Message) -> Option<(u64, u32)> {
    let info = message.info().ok()?;
    Some((info.stream_sequence, u32::try_from(info.delivered).unwrap_or(1).max(1)))
}

/// Takes a message in; one that is not JetStream's is none.
fn hold(
    owner: &Arc<Subscription>,
    message: Message,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> Option<Held> {
    let (sequence, given) = counted(&message)?;
    let answers = message.reply.as_ref()?.to_string();
    // One that came again while it is on its way is done with when that ends.
    if owner.held().insert(sequence, answers).is_some() {
        return None;
    }
    let deliveries = owner.broker.tries.next(&owner.place, sequence, given);
    Some(Held { message, sequence, given, deliveries, owner: owner.clone(), _permit: permit })
}

/// Tells the broker now and then that what is held here is not forgotten.
struct Progress(tokio::task::AbortHandle);

impl Progress {
    fn begin(owner: Arc<Subscription>, client: Client) -> Self {
        let telling = async move {
            loop {
                tokio::time::sleep(ACK_WAIT / 3).await;
                let all: Vec<String> = owner.held().values().cloned().collect();
                for answers in all {
                    let working: bytes::Bytes = AckKind::Progress.into();
                    if client.publish(answers, working).await.is_err() {
                        return;
                    }
                }
            }
        };
        Self(tokio::spawn(telling).abort_handle())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}
