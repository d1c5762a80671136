//! Publishes with confirmation: all replicas in step have a record before it is told, and none has it twice.
//!
//! Each partition has a lane with one batch on its way at a time and a producer's number of its own: what is sent again
//! has the numbers that it had, so that the broker knows it. Where nobody knows whether a batch was kept the number is
//! given up with it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};

use crate::{
    api,
    cluster::{Cluster, WAIT},
    compress::Compression,
    error::{Code, Error},
    murmur::partition_of,
    records::{self, Record, Sender},
};

/// What goes together, in records and in bytes.
const BATCH_RECORDS_MAX: usize = 1000;
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// The pauses before a batch is sent again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a lane looks whether anybody needs it.
const LOOK: Duration = Duration::from_secs(5);

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its partition.
    pub partition: i32,
    /// Its place there; nothing where the broker knows that it has it, and not where.
    pub offset: Option<i64>,
}

/// Why a record is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unplaced {
    /// It was not kept: there is nobody who would.
    Away(String),
    /// There is no such topic.
    NoTopic,
    /// It is larger than the broker takes.
    TooLarge,
    /// It was sent, and nobody knows.
    Unknown(&'static str),
    /// The broker does not want it.
    Refused(Code),
}

/// Publishes to one cluster.
pub struct Producer {
    cluster: Arc<Cluster>,
    compression: Compression,
    lanes: Mutex<HashMap<(String, i32), Arc<Lane>>>,
    turn: AtomicU64,
}

/// What waits for one partition.
#[derive(Default)]
struct Lane {
    queue: Mutex<VecDeque<Entry>>,
    came: Notify,
    next: AtomicU64,
}

struct Entry {
    number: u64,
    record: Record,
    until: Instant,
    tell: oneshot::Sender<Result<Placed, Unplaced>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record's place in a queue, which it leaves however that ends.
struct Queued<'l> {
    lane: &'l Lane,
    number: u64,
}

impl Queued<'_> {
    /// Takes it out; false when it is on its way.
    fn take_back(&self) -> bool {
        let mut queue = locked(&self.lane.queue);
        let place = queue.iter().position(|entry| entry.number == self.number);
        place.and_then(|place| queue.remove(place)).is_some()
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl Producer {
    /// A producer that makes batches smaller in this way.
    pub fn new(cluster: Arc<Cluster>, compression: Compression) -> Self {
        Self { cluster, compression, lanes: Mutex::default(), turn: AtomicU64::new(0) }
    }

    /// The partition that a record of this key goes to. Those without a key take turns.
    pub async fn partition(&self, topic: &str, key: Option<&[u8]>) -> Result<i32, Unplaced> {
        let count = self.cluster.partitions(topic).await.map_err(unplaced)?;
        let partition = match key {
            Some(key) => partition_of(key, count),
            None => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                i32::try_from(turn % count.max(1) as u64).ok()
            }
        };
        partition.ok_or(Unplaced::NoTopic)
    }

    /// Publishes a record, and waits until it is kept. Records that are handed over one after the other for one partition
    /// are kept in that order.
    pub async fn send(
        &self,
        topic: &str,
        partition: i32,
        record: Record,
        within: Duration,
    ) -> Result<Placed, Unplaced> {
        let lane = self.lane(topic, partition);
        let (tell, told) = oneshot::channel();
        let number = lane.next.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + within;
        locked(&lane.queue).push_back(Entry { number, record, until, tell });
        let queued = Queued { lane: &lane, number };
        lane.came.notify_one();
        match tokio::time::timeout(within, told).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Unplaced::Unknown("the connection ended")),
            Err(_) if queued.take_back() => {
                Err(Unplaced::Away("its partition was busy for too long".to_owned()))
            }
            Err(_) => Err(Unplaced::Unknown("no confirmation in time")),
        }
    }

    fn lane(&self, topic: &str, partition: i32) -> Arc<Lane> {
        let mut lanes = locked(&self.lanes);
        let key = (topic.to_owned(), partition);
        if let Some(lane) = lanes.get(&key) {
            return lane.clone();
        }
        let lane = Arc::new(Lane::default());
        let driven = Driven {
            cluster: self.cluster.clone(),
            topic: topic.to_owned(),
            partition,
            compression: self.compression,
            identity: None,
        };
        self.cluster.handle().spawn(drive(Arc::downgrade(&lane), driven));
        lanes.insert(key, lane.clone());
        lane
    }
}

fn unplaced(error: Error) -> Unplaced {
    match error {
        Error::Said(Code::UNKNOWN_TOPIC_OR_PARTITION | Code::INVALID_TOPIC_EXCEPTION) => Unplaced::NoTopic,
        Error::Said(code) if !code.may_pass() => Unplaced::Refused(code),
        error => Unplaced::Away(error.to_string()),
    }
}

/// What drives a lane.
struct Driven {
    cluster: Arc<Cluster>,
    topic: String,
    partition: i32,
    compression: Compression,
    identity: Option<Sender>,
}

async fn drive(lane: Weak<Lane>, mut driven: Driven) {
    // What was larger than the broker takes as a whole is sent one by one.
    let mut alone = 0;
    loop {
        let Some(strong) = lane.upgrade() else { return };
        let batch = taken(&strong, if alone > 0 { 1 } else { BATCH_RECORDS_MAX });
        if batch.is_empty() {
            // Only while nobody holds it can it end: nothing waits then.
            tokio::select! {
                () = strong.came.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            continue;
        }
        alone = usize::saturating_sub(alone, 1);
        match driven.send(&batch).await {
            Ok(first) => {
                for (number, entry) in batch.into_iter().enumerate() {
                    let offset = (first >= 0).then(|| first + number as i64);
                    let _ = entry.tell.send(Ok(Placed { partition: driven.partition, offset }));
                }
            }
            Err(Unplaced::TooLarge) if batch.len() > 1 => {
                alone = batch.len();
                let mut queue = locked(&strong.queue);
                batch.into_iter().rev().for_each(|entry| queue.push_front(entry));
            }
            Err(why) => batch.into_iter().for_each(|entry| drop(entry.tell.send(Err(why.clone())))),
        }
    }
}

/// The next that go together; those that nobody waits for any more do not go.
fn taken(lane: &Lane, most: usize) -> Vec<Entry> {
    let mut queue = locked(&lane.queue);
    let (mut batch, mut bytes): (Vec<Entry>, usize) = (Vec::new(), 0);
    while let Some(entry) = queue.pop_front() {
        if entry.tell.is_closed() {
            continue;
        }
        bytes += entry.record.size();
        if !batch.is_empty() && (bytes > BATCH_BYTES_MAX || batch.len() >= most) {
            queue.push_front(entry);
            break;
        }
        batch.push(entry);
    }
    batch
}

impl Driven {
    /// Sends a batch until it is kept, or until nobody waits for it.
    async fn send(&mut self, batch: &[Entry]) -> Result<i64, Unplaced> {
        let until = batch.iter().map(|entry| entry.until).max().unwrap_or_else(Instant::now);
        let (mut may_be_kept, mut pause) = (false, PAUSE_FIRST);
        loop {
            let why = match self.once(batch).await {
                Ok(first) => {
                    if let Some(identity) = &mut self.identity {
                        let count = i32::try_from(batch.len()).unwrap_or(0);
                        // The number after the largest is 0.
                        identity.sequence = identity.sequence.wrapping_add(count) & i32::MAX;
                    }
                    return Ok(first);
                }
                Err((was_sent, error)) => {
                    may_be_kept |= was_sent;
                    error
                }
            };
            let is_over = match &why {
                Error::Said(Code::MESSAGE_TOO_LARGE | Code::RECORD_LIST_TOO_LARGE) => {
                    return Err(Unplaced::TooLarge);
                }
                // Where a number is not known any more a new one is begun with; but not with what may be there by the old.
                Error::Said(code) if code.is_of_identity() => {
                    self.identity = None;
                    may_be_kept
                }
                Error::Said(code) if !code.may_pass() => true,
                _ => {
                    self.cluster.forget(&self.topic);
                    false
                }
            };
            if is_over || Instant::now() + pause >= until {
                if may_be_kept {
                    self.identity = None;
                    return Err(Unplaced::Unknown("the broker did not say whether it was kept"));
                }
                return Err(unplaced(why));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Sends a batch once; says of what failed whether it may be kept.
    async fn once(&mut self, batch: &[Entry]) -> Result<i64, (bool, Error)> {
        let before = |error| (false, error);
        let sender = match self.identity {
            Some(identity) => identity,
            None => {
                let connection = self.cluster.any().await.map_err(before)?;
                let asked = connection.call(api::INIT_PRODUCER_ID, api::init_producer(), WAIT).await;
                let mut answer = asked.map_err(before)?;
                let (said, id, epoch) =
                    api::read_init_producer(&mut answer).map_err(|error| before(error.into()))?;
                said.ok().map_err(before)?;
                *self.identity.insert(Sender { id, epoch, sequence: 0 })
            }
        };
        let leader = self.cluster.leader(&self.topic, self.partition).await.map_err(before)?;
        let connection = self.cluster.connection(leader).await.map_err(before)?;
        let all: Vec<&Record> = batch.iter().map(|entry| &entry.record).collect();
        let bytes = records::write(all.iter().copied(), sender, self.compression);
        let millis = i32::try_from(WAIT.as_millis()).unwrap_or(i32::MAX);
        let wish = api::produce(&self.topic, self.partition, &bytes, millis);
        // The broker itself waits for that long.
        let mut answer = connection.ask(api::PRODUCE, wish, WAIT + Duration::from_secs(1)).await?;
        let (said, first) = api::read_produce(&mut answer).map_err(|error| (true, error.into()))?;
        match said {
            Code::NONE => Ok(first),
            Code::DUPLICATE_SEQUENCE_NUMBER => Ok(-1),
            code => Err((code.may_be_kept(), Error::Said(code))),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(number: u64, bytes: usize) -> (Entry, oneshot::Receiver<Result<Placed, Unplaced>>) {
        let (tell, told) = oneshot::channel();
        let record = Record { value: Some(Bytes::from(vec![0; bytes])), ..Default::default() };
        (Entry { number, record, until: Instant::now(), tell }, told)
    }

    #[test]
    fn what_goes_together_has_a_bound_and_what_nobody_waits_for_does_not_go() {
        let lane = Lane::default();
        let mut waits = Vec::new();
        for (number, bytes) in [(0, 10), (1, 10), (2, BATCH_BYTES_MAX * 2), (3, 10), (4, 10)] {
            let (entry, told) = entry(number, bytes);
            locked(&lane.queue).push_back(entry);
            waits.push(told);
        }
        drop(waits.remove(1));
        let next = |most| taken(&lane, most).iter().map(|entry| entry.number).collect::<Vec<_>>();
        assert_eq!(
            (next(1000), next(1000), next(1), next(1), next(1)),
            (vec![0], vec![2], vec![3], vec![4], vec![])
        );
    }

    #[test]
    fn whoever_goes_away_takes_what_still_waits_along() {
        let lane = Lane::default();
        let (one, _told) = entry(7, 1);
        locked(&lane.queue).push_back(one);
        drop(Queued { lane: &lane, number: 7 });
        assert!(locked(&lane.queue).is_empty());
    }
}
