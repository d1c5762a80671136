//! What a stream keeps, for one client: a place of the client's own, which nobody confirms anything for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
};
use futures_util::{StreamExt, future::BoxFuture};

use super::{Nats, PARTITION_KEY};
use crate::broker::{
    feed::{From, Item, Wish},
    link::Source,
};

/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(20);
/// How often it is looked whether the connection is still the same.
const LOOK: Duration = Duration::from_millis(250);
/// How much longer it stands when nobody answers: a place that the broker has forgotten it passes over in silence.
const SILENCE: Duration = Duration::from_secs(3);
/// After how long without any the broker forgets a client's place; the client itself knows it.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// One who listens.
pub(super) struct Listening {
    consumer: Consumer<pull::Config>,
    /// The request that stands, and since when.
    batch: Option<(pull::Batch, Instant)>,
    /// The consumer's own count of what it has sent: a gap in it is a message that was lost on the way.
    count: u64,
    /// The last that came.
    at: u64,
    connects: Arc<AtomicU64>,
    connects_then: u64,
}

impl Listening {
    pub(super) async fn begin(nats: &Nats, wish: &Wish, from: &From) -> Result<Self, String> {
        let stream = wish.stream.as_deref().ok_or("there is no stream")?;
        let stream = nats.context().get_stream_no_info(stream).await.map_err(|error| error.to_string())?;
        let config = pull::Config {
            deliver_policy: match from {
                From::New => DeliverPolicy::New,
                From::All => DeliverPolicy::All,
                From::Last => DeliverPolicy::Last,
                From::After(place) => {
                    let after: u64 = place.parse().map_err(|_| "the place is none".to_owned())?;
                    DeliverPolicy::ByStartSequence { start_sequence: after.saturating_add(1) }
                }
            },
            ack_policy: AckPolicy::None,
            filter_subject: wish.filter.clone().unwrap_or_default(),
            inactive_threshold: FORGOTTEN,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| error.to_string())?;
        Ok(Self {
            at: consumer.cached_info().delivered.stream_sequence,
            consumer,
            batch: None,
            count: 0,
            connects: nats.connects.clone(),
            connects_then: nats.connects.load(Ordering::Relaxed),
        })
    }

    /// Ready when the connection is another one than at the beginning: what was asked on that one is never answered.
    async fn is_other(connects: &AtomicU64, then: u64) {
        while connects.load(Ordering::Relaxed) == then {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn one(&mut self, wanted: usize) -> Option<Item> {
        loop {
            let (batch, asked) = match &mut self.batch {
                Some(standing) => standing,
                None => {
                    let batch = self.consumer.batch().max_messages(wanted).expires(EXPIRES).messages();
                    let asked = Instant::now();
                    self.batch.insert((batch.await.ok()?, asked))
                }
            };
            let next = tokio::select! {
                next = batch.next() => next,
                () = Self::is_other(&self.connects, self.connects_then) => return None,
            };
            match next {
                None if asked.elapsed() > EXPIRES + SILENCE => return None,
                None => self.batch = None,
                Some(Err(_)) => return None,
                Some(Ok(message)) => {
                    let Some((counted, sequence, item)) = item(message) else { continue };
                    if counted != self.count + 1 {
                        return None;
                    }
                    (self.count, self.at) = (counted, sequence);
                    return Some(item);
                }
            }
        }
    }
}

impl Source for Listening {
    fn next(&mut self, wanted: usize) -> BoxFuture<'_, Option<Item>> {
        Box::pin(self.one(wanted))
    }

    fn place(&self) -> Option<String> {
        Some(self.at.to_string())
    }
}

fn item(message: jetstream::Message) -> Option<(u64, u64, Item)> {
    let info = message.info().ok()?;
    let (counted, sequence) = (info.consumer_sequence, info.stream_sequence);
    let (message, _) = message.split();
    let key = message.headers.as_ref().and_then(|headers| headers.get(PARTITION_KEY));
    let item = Item {
        id: Some(sequence.to_string()),
        subject: message.subject.to_string(),
        key: key.map(|key| key.as_str().to_owned().into()),
        payload: message.payload,
    };
    Some((counted, sequence, item))
}
