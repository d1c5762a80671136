//! What one client is fed with: a queue with a bound, filled in the background from where the client was.
//!
//! The stream keeps the messages, so that a broken connection to the broker is no gap: it is read on behind the last one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self, Message,
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
};
use bytes::Bytes;
use futures_util::StreamExt;
use model::resource::subscribe::WhenSlow;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::Broker;

/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(20);
/// How often it is looked whether the connection is still the same.
const LOOK: Duration = Duration::from_millis(250);
/// How much longer it stands when nobody answers: a place that the broker has forgotten it passes over in silence.
const SILENCE: Duration = Duration::from_secs(3);
/// After how long without any the broker forgets a client's place; the client itself knows it.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The pauses before it is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a client wants.
pub(crate) struct Wish {
    pub(crate) stream: String,
    pub(crate) filter: String,
    pub(crate) from: From,
    pub(crate) bytes_max: usize,
    pub(crate) queue: usize,
    pub(crate) when_slow: WhenSlow,
}

/// Where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    New,
    All,
    Last,
    /// Behind a message.
    After(u64),
}

/// A message.
pub(crate) struct Item {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
}

/// A client's queue. Nobody fills it any more when it is dropped.
pub(crate) struct Feed {
    pub(crate) items: mpsc::Receiver<Item>,
    was_slow: Arc<AtomicBool>,
    filling: AbortHandle,
    broker: Arc<Broker>,
}

impl Feed {
    /// Whether it ended because the client read too slowly.
    pub(crate) fn was_slow(&self) -> bool {
        self.was_slow.load(Ordering::Relaxed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.filling.abort();
        self.broker.numbers.feeds.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Begins to fill a queue; an error says why the broker does not.
pub(crate) async fn begin(broker: &Arc<Broker>, background: &Handle, wish: Wish) -> Result<Feed, String> {
    let (tell, told) = oneshot::channel();
    let (sender, items) = mpsc::channel(wish.queue);
    let was_slow = Arc::new(AtomicBool::new(false));
    broker.numbers.feeds.fetch_add(1, Ordering::Relaxed);
    let filling = background.spawn(fill(broker.clone(), wish, sender, was_slow.clone(), tell)).abort_handle();
    let feed = Feed { items, was_slow, filling, broker: broker.clone() };
    told.await.map_err(|_| "it broke".to_owned())?.map(|()| feed)
}

async fn fill(
    broker: Arc<Broker>,
    wish: Wish,
    sender: mpsc::Sender<Item>,
    was_slow: Arc<AtomicBool>,
    tell: oneshot::Sender<Result<(), String>>,
) {
    let mut from = wish.from;
    let mut consumer = match opened(&broker, &wish, from).await {
        Ok(consumer) => {
            let _ = tell.send(Ok(()));
            consumer
        }
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let mut pause = PAUSE_FIRST;
    loop {
        if from == From::New {
            from = From::After(consumer.cached_info().delivered.stream_sequence);
        }
        match flow(&broker, &consumer, &wish, &mut from, &sender).await {
            Flowed::Gone => return,
            Flowed::Slow => {
                was_slow.store(true, Ordering::Relaxed);
                broker.numbers.cut.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Flowed::Broken { has_fed: true } => pause = PAUSE_FIRST,
            Flowed::Broken { has_fed: false } => {}
        }
        consumer = loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = sender.closed() => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
            if let Ok(consumer) = opened(&broker, &wish, from).await {
                break consumer;
            }
        };
    }
}

/// A place of the client's own, which nobody confirms anything for.
async fn opened(broker: &Broker, wish: &Wish, from: From) -> Result<Consumer<pull::Config>, String> {
    let link = broker.link().ok_or("there is no connection to the broker")?;
    let context = match broker.domain() {
        Some(domain) => jetstream::with_domain(link.client.clone(), domain),
        None => jetstream::new(link.client.clone()),
    };
    let stream = context.get_stream_no_info(&wish.stream).await.map_err(|error| error.to_string())?;
    let config = pull::Config {
        deliver_policy: match from {
            From::New => DeliverPolicy::New,
            From::All => DeliverPolicy::All,
            From::Last => DeliverPolicy::Last,
            From::After(sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence: sequence.saturating_add(1) }
            }
        },
        ack_policy: AckPolicy::None,
        filter_subject: wish.filter.clone(),
        inactive_threshold: FORGOTTEN,
        memory_storage: true,
        num_replicas: 1,
        ..Default::default()
    };
    stream.create_consumer(config).await.map_err(|error| error.to_string())
}

/// Why nothing flows any more.
enum Flowed {
    /// The client has gone.
    Gone,
    /// The client reads too slowly.
    Slow,
    /// The broker does not answer.
    Broken { has_fed: bool },
}

async fn flow(
    broker: &Broker,
    consumer: &Consumer<pull::Config>,
    wish: &Wish,
    from: &mut From,
    sender: &mpsc::Sender<Item>,
) -> Flowed {
    let mut has_fed = false;
    // The consumer's own count of what it has sent: a gap in it is a message that was lost on the way.
    let mut count = 0;
    let connects = broker.connects();
    loop {
        let wanted = match wish.when_slow {
            // No more is asked for than there is room.
            WhenSlow::Wait => match sender.reserve_many(1).await {
                Ok(_) => sender.capacity().max(1),
                Err(_) => return Flowed::Gone,
            },
            WhenSlow::Drop | WhenSlow::Close => wish.queue,
        };
        let batch = consumer.batch().max_messages(wanted).expires(EXPIRES).messages();
        let asked = Instant::now();
        let Ok(mut batch) = batch.await else { return Flowed::Broken { has_fed } };
        loop {
            let next = tokio::select! {
                next = batch.next() => next,
                () = sender.closed() => return Flowed::Gone,
                // What was asked on another connection is never answered.
                () = other(broker, connects) => return Flowed::Broken { has_fed },
            };
            let message = match next {
                None => break,
                Some(Err(_)) => return Flowed::Broken { has_fed },
                Some(Ok(message)) => message,
            };
            let Some((counted, item)) = item(message) else { continue };
            if counted != count + 1 {
                return Flowed::Broken { has_fed };
            }
            count = counted;
            *from = From::After(item.sequence);
            has_fed = true;
            if item.payload.len() > wish.bytes_max {
                broker.numbers.left_out.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let sent = match wish.when_slow {
                WhenSlow::Wait => sender.send(item).await.map_err(|_| Flowed::Gone),
                WhenSlow::Drop | WhenSlow::Close => match sender.try_send(item) {
                    Ok(()) => Ok(()),
                    Err(mpsc::error::TrySendError::Closed(_)) => Err(Flowed::Gone),
                    Err(_) if wish.when_slow == WhenSlow::Close => Err(Flowed::Slow),
                    Err(_) => {
                        broker.numbers.left_out.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                },
            };
            match sent {
                Ok(()) => broker.numbers.fed.fetch_add(1, Ordering::Relaxed),
                Err(why) => return why,
            };
        }
        if asked.elapsed() > EXPIRES + SILENCE {
            return Flowed::Broken { has_fed };
        }
    }
}

/// Ready when the connection is another one than when there had been so many.
async fn other(broker: &Broker, connects: u64) {
    while broker.connects() == connects {
        tokio::time::sleep(LOOK).await;
    }
}

fn item(message: Message) -> Option<(u64, Item)> {
    let info = message.info().ok()?;
    let (counted, sequence) = (info.consumer_sequence, info.stream_sequence);
    let (message, _) = message.split();
    let item = Item { sequence, subject: message.subject.to_string(), payload: message.payload };
    Some((counted, item))
}
