//! What one client is fed with: a queue with a bound, filled in the background from where the client was.
//!
//! Where the broker keeps messages a broken connection to it is no gap: it is read on behind the last one. Where it does
//! not the client is told that there is one, by the end.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use model::resource::subscribe::WhenSlow;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::AbortHandle,
};

use super::{AWAY, Broker, link::Source};

/// The pauses before it is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Bytes of the messages that wait for one client; one alone may be more.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// How large messages are taken to be before any has come.
const SIZE_FIRST: usize = 64 * 1024;

/// What a client wants.
pub(crate) struct Wish {
    /// The stream or topic.
    pub(crate) stream: Option<String>,
    pub(crate) exchange: Option<String>,
    /// Which subjects.
    pub(crate) filter: Option<String>,
    /// Which key.
    pub(crate) key: Option<String>,
    pub(crate) from: From,
    pub(crate) bytes_max: usize,
    pub(crate) queue: usize,
    pub(crate) when_slow: WhenSlow,
}

/// Where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    New,
    All,
    Last,
    /// Behind a message, by its id.
    After(String),
}

/// A message.
pub(crate) struct Item {
    /// What whoever has it goes on behind; nothing where nobody can.
    pub(crate) id: Option<String>,
    pub(crate) subject: String,
    pub(crate) key: Option<Bytes>,
    pub(crate) payload: Bytes,
}

/// A message that waits for its client, with its share of the bytes that may.
pub(crate) struct Waiting {
    item: Item,
    _room: OwnedSemaphorePermit,
}

impl Deref for Waiting {
    type Target = Item;

    fn deref(&self) -> &Item {
        &self.item
    }
}

/// A client's queue. Nobody fills it any more when it is dropped.
pub(crate) struct Feed {
    pub(crate) items: mpsc::Receiver<Waiting>,
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
    sender: mpsc::Sender<Waiting>,
    was_slow: Arc<AtomicBool>,
    tell: oneshot::Sender<Result<(), String>>,
) {
    let mut from = wish.from.clone();
    let mut source = match opened(&broker, &wish, &from).await {
        Ok(source) => {
            let _ = tell.send(Ok(()));
            source
        }
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let mut pause = PAUSE_FIRST;
    let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
    loop {
        match flow(&broker, &mut *source, &wish, &sender, &room).await {
            Flowed::Gone => return,
            Flowed::Slow => {
                was_slow.store(true, Ordering::Relaxed);
                broker.numbers.cut.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Flowed::Broken { has_fed: true } => pause = PAUSE_FIRST,
            Flowed::Broken { has_fed: false } => {}
        }
        // Whoever cannot go on where they were have to know that there is a gap.
        let Some(place) = source.place() else { return };
        from = From::After(place);
        source = loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = sender.closed() => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
            if let Ok(source) = opened(&broker, &wish, &from).await {
                break source;
            }
        };
    }
}

async fn opened(broker: &Broker, wish: &Wish, from: &From) -> Result<Box<dyn Source>, String> {
    let link = broker.link().ok_or(AWAY)?;
    link.listen(wish, from).await
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
    source: &mut dyn Source,
    wish: &Wish,
    sender: &mpsc::Sender<Waiting>,
    room: &Arc<Semaphore>,
) -> Flowed {
    let mut has_fed = false;
    let mut size = SIZE_FIRST;
    loop {
        // What was asked for comes at once: so many as there is room for, if they are as large as those before.
        let fit = (WAITING_BYTES_MAX / size.max(1)).max(1);
        let wanted = match wish.when_slow {
            // No more is asked for than there is room.
            WhenSlow::Wait => match sender.reserve_many(1).await {
                Ok(_) => sender.capacity().max(1),
                Err(_) => return Flowed::Gone,
            },
            WhenSlow::Drop | WhenSlow::Close => wish.queue,
        };
        let next = tokio::select! {
            next = source.next(wanted.min(fit)) => next,
            () = sender.closed() => return Flowed::Gone,
        };
        broker.numbers.left_out.fetch_add(source.left_out(), Ordering::Relaxed);
        let Some(item) = next else { return Flowed::Broken { has_fed } };
        has_fed = true;
        size = item.payload.len().max(size - size / 16);
        if wish.key.as_ref().is_some_and(|key| item.key.as_deref() != Some(key.as_bytes())) {
            continue;
        }
        if item.payload.len() > wish.bytes_max {
            broker.numbers.left_out.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let bytes = u32::try_from(item.payload.len().clamp(1, WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let sent = match wish.when_slow {
            WhenSlow::Wait => {
                let taken = tokio::select! {
                    taken = room.clone().acquire_many_owned(bytes) => taken,
                    () = sender.closed() => return Flowed::Gone,
                };
                let Ok(taken) = taken else { return Flowed::Gone };
                sender.send(Waiting { item, _room: taken }).await.map_err(|_| Flowed::Gone)
            }
            WhenSlow::Drop | WhenSlow::Close => {
                use mpsc::error::TrySendError::{Closed, Full};
                // There is no room for one more, or none for its bytes.
                let is_full = match room.clone().try_acquire_many_owned(bytes) {
                    Ok(taken) => match sender.try_send(Waiting { item, _room: taken }) {
                        Ok(()) => false,
                        Err(Full(_)) => true,
                        Err(Closed(_)) => return Flowed::Gone,
                    },
                    Err(_) => true,
                };
                match wish.when_slow {
                    _ if !is_full => Ok(()),
                    WhenSlow::Close => Err(Flowed::Slow),
                    _ => {
                        broker.numbers.left_out.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                }
            }
        };
        match sent {
            Ok(()) => broker.numbers.fed.fetch_add(1, Ordering::Relaxed),
            Err(why) => return why,
        };
    }
}

/// Bytes of an id that says where a client is in every partition.
const PLACE_BYTES_MAX: usize = 16 * 1024;

/// The places that such an id stands for: the next one of each partition, as `0:17,1:4`.
pub(crate) fn positions(id: &str) -> Option<Vec<(i32, i64)>> {
    let one = |part: &str| {
        let (partition, next) = part.split_once(':')?;
        let place: (i32, i64) = (partition.parse().ok()?, next.parse().ok()?);
        (place.0 >= 0 && place.1 >= 0).then_some(place)
    };
    if id.len() > PLACE_BYTES_MAX {
        return None;
    }
    let mut all: Vec<(i32, i64)> = id.split(',').map(one).collect::<Option<_>>()?;
    all.sort_unstable();
    let count = all.len();
    all.dedup_by_key(|(partition, _)| *partition);
    (all.len() == count).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_every_partition_is_read_as_it_was_told() {
        assert_eq!(positions("0:17,2:0"), Some(vec![(0, 17), (2, 0)]));
        for wrong in ["", "17", "0:17,", "0:17,0:18", "-1:4", "0:-4", "0:1:2", "x:1", &"0:1,".repeat(9000)] {
            assert_eq!(positions(wrong), None, "{wrong}");
        }
    }
}
