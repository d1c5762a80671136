//! A topic, for one client, from where that was.
//!
//! One reader for each topic waits for something new; whoever listens then reads it for themselves, from their own place,
//! on connections that all share: many clients are no more connections than one.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

use ::kafka::{Cluster, Edge, Error, Position, Reading, Record, Unreadable};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::Kafka;
use crate::broker::{
    feed::{self, From, Item, Wish},
    link::Source,
};

/// How long is waited for something new.
const WAIT: Duration = Duration::from_millis(500);
/// Bytes of a partition that are asked for at a time, for one client and for all.
const BYTES: usize = 64 * 1024;
const BYTES_OF_ALL: usize = 16 * 1024;
/// Bytes that are held for one client; one record may be more.
const HELD_MAX: usize = 256 * 1024;
/// How long a client who waits for a leader keeps its place from others: one that hangs holds up nobody but those who ask it.
const NEAR: Duration = Duration::from_millis(100);
/// How long a client believes that there is nothing new, whatever it hears.
const LOOK: Duration = Duration::from_secs(5);
/// The pause before something is fetched again that looked damaged.
const AGAIN: Duration = Duration::from_millis(20);
/// The pause after something went wrong.
const PAUSE: Duration = Duration::from_millis(500);

/// One who listens.
pub(super) struct Listening {
    reading: Reading,
    topic: String,
    /// What came and was not taken yet.
    came: VecDeque<(i32, Record)>,
    news: watch::Receiver<u64>,
    fetching: Arc<Semaphore>,
    unfolding: Arc<Semaphore>,
    left_out: u64,
}

/// Asks with a place, and gives what was told with it. So few hold at a time what they have fetched; only what a leader takes long
/// for comes without one.
async fn placed<T>(
    places: &Semaphore,
    ask: impl Future<Output = T>,
) -> Option<(T, Option<SemaphorePermit<'_>>)> {
    let place = places.acquire().await.ok()?;
    let mut ask = pin!(ask);
    if let Ok(told) = tokio::time::timeout(NEAR, &mut ask).await {
        return Some((told, Some(place)));
    }
    drop(place);
    Some((ask.await, None))
}

/// Of what came as much as a client may hold, and one record at least. It is copied: a part of a batch would hold the whole
/// of it. The rest is read again.
fn held(came: Vec<(i32, Record)>) -> VecDeque<(i32, Record)> {
    let copied = |bytes: &Option<Bytes>| bytes.as_deref().map(Bytes::copy_from_slice);
    let mut bytes = 0;
    let fits = |(_, record): &&(i32, Record)| {
        let before = bytes;
        bytes += record.size();
        before < HELD_MAX
    };
    let own = |(partition, record): &(i32, Record)| {
        let record =
            Record { key: copied(&record.key), value: copied(&record.value), headers: Vec::new(), ..*record };
        (*partition, record)
    };
    came.iter().take_while(fits).map(own).collect()
}

impl Listening {
    pub(super) async fn begin(kafka: &Kafka, wish: &Wish, from: &From) -> Result<Self, Error> {
        let topic = wish.stream.clone().unwrap_or_default();
        let (edge, known) = match from {
            From::New | From::Last => (Edge::End, Vec::new()),
            From::All => (Edge::First, Vec::new()),
            From::After(place) => {
                let all = feed::positions(place).unwrap_or_default().into_iter();
                (Edge::End, all.map(|(partition, next)| Position { partition, next }).collect())
            }
        };
        // Before the places are known: what comes in between is told of.
        let news = news(kafka, &topic).await?;
        let mut reading = Reading::begin(&kafka.cluster, &topic, edge, &known, BYTES).await?;
        if *from == From::Last {
            reading.go_back(1).await?;
        }
        let (fetching, unfolding) = (kafka.fetching.clone(), kafka.unfolding.clone());
        Ok(Self { reading, topic, came: VecDeque::new(), news, fetching, unfolding, left_out: 0 })
    }

    fn id(&self) -> String {
        let places = self.reading.positions().iter();
        places.map(|one| format!("{}:{}", one.partition, one.next)).collect::<Vec<_>>().join(",")
    }

    async fn one(&mut self) -> Option<Item> {
        loop {
            if let Some((partition, record)) = self.came.pop_front() {
                self.reading.taken(partition, record.offset);
                return Some(Item {
                    id: Some(self.id()),
                    subject: self.topic.clone(),
                    key: record.key,
                    payload: record.value.unwrap_or_default(),
                });
            }
            self.news.borrow_and_update();
            let (came, place) = placed(&self.fetching, self.reading.ask(Duration::ZERO)).await?;
            let came = came.ok()?;
            let unfolding = self.unfolding.acquire().await.ok()?;
            self.came = held(self.reading.open(came).ok()?);
            drop((unfolding, place));
            let passed = self.reading.passed();
            if !passed.is_empty() {
                self.left_out += passed.len() as u64;
                // There may be something behind it.
                continue;
            }
            if !self.came.is_empty() {
                continue;
            }
            if self.reading.is_unsure() {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            tokio::select! {
                // Nobody tells of news any more when the connection has ended.
                changed = self.news.changed() => changed.ok()?,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

impl Source for Listening {
    fn next(&mut self, _: usize) -> BoxFuture<'_, Option<Item>> {
        Box::pin(self.one())
    }

    fn left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn place(&self) -> Option<String> {
        Some(self.id())
    }
}

/// Who tells that something came: one for each topic, for as long as somebody listens.
async fn news(kafka: &Kafka, topic: &str) -> Result<watch::Receiver<u64>, Error> {
    let known = || {
        let all = kafka.heard.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(topic).filter(|news| news.has_changed().is_ok()).cloned()
    };
    if let Some(known) = known() {
        return Ok(known);
    }
    let reading = Reading::begin(&kafka.cluster, topic, Edge::End, &[], BYTES_OF_ALL).await?.waiting();
    let mut all = kafka.heard.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, news| news.has_changed().is_ok());
    if let Some(known) = all.get(topic) {
        return Ok(known.clone());
    }
    let (tell, told) = watch::channel(0);
    tokio::spawn(hear(kafka.cluster.clone(), topic.to_owned(), reading, tell));
    all.insert(topic.to_owned(), told.clone());
    Ok(told)
}

/// Tells of what comes until nobody listens. The place in the list counts as one who does.
async fn hear(cluster: Arc<Cluster>, topic: String, mut reading: Reading, tell: watch::Sender<u64>) {
    while tell.receiver_count() > 1 && cluster.is_up() {
        match reading.next(WAIT).await {
            Ok(records) => {
                let passed = reading.passed();
                for Unreadable { partition, offset, why, .. } in &passed {
                    tracing::warn!(
                        %topic,
                        partition,
                        offset,
                        "what `{topic}` has at {offset} of partition {partition} cannot be read, and clients do not hear it: {why}"
                    );
                }
                if records.is_empty() && passed.is_empty() {
                    continue;
                }
                records.iter().for_each(|(partition, record)| reading.taken(*partition, record.offset));
                tell.send_modify(|count| *count += 1);
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_hold_what_they_fetched_and_who_hangs_holds_up_nobody_for_long() {
        let (places, inside, most) = (Semaphore::new(4), Cell::new(0), Cell::new(0));
        let one = || async {
            let ask = async {
                inside.set(inside.get() + 1);
                most.set(most.get().max(inside.get()));
            };
            let (_, place) = placed(&places, ask).await.expect("a place");
            tokio::task::yield_now().await;
            inside.set(inside.get() - 1);
            drop(place);
        };
        futures_util::future::join_all((0..50).map(|_| one())).await;
        assert_eq!((inside.get(), most.get()), (0, 4));
        let hanging = || placed(&places, std::future::pending::<()>());
        let mut hung = Box::pin(futures_util::future::join_all((0..8).map(|_| hanging())));
        assert!((&mut hung).now_or_never().is_none());
        let began = tokio::time::Instant::now();
        tokio::select! {
            biased;
            _ = hung => panic!("they hang"),
            () = one() => {}
        }
        // After those who were there before it.
        assert!((2 * NEAR..3 * NEAR).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[test]
    fn a_client_holds_a_bound_of_what_came_and_nothing_of_the_rest() {
        let whole = Bytes::from(vec![b'x'; 3 * HELD_MAX]);
        let record = |from: usize, to: usize| {
            let value = Some(whole.slice(from..to));
            (0, Record { value, headers: vec![("a".to_owned(), Bytes::new())], ..Record::default() })
        };
        let half = HELD_MAX / 2;
        let came: Vec<_> = (0..6).map(|number| record(number * half, (number + 1) * half)).collect();
        let mine = held(came);
        assert_eq!(mine.len(), 2);
        let value = mine[0].1.value.as_ref().expect("a value");
        assert!(!whole.as_ptr_range().contains(&value.as_ptr()), "it is its own");
        assert_eq!(held(vec![record(0, 2 * HELD_MAX)]).len(), 1, "one that is larger comes by itself");
    }
}
