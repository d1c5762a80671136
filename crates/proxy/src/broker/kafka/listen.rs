//! A topic, for one client, from where that was.
//!
//! One reader for each topic waits for something new; whoever listens then reads it for themselves, from their own place,
//! on connections that all share: many clients are no more connections than one.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::Duration,
};

use ::kafka::{Cluster, Edge, Error, Position, Reading, Record};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

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
/// How long a client believes that there is nothing new, whatever it hears.
const LOOK: Duration = Duration::from_secs(5);
/// The pause after something went wrong.
const PAUSE: Duration = Duration::from_millis(500);

/// One who listens.
pub(super) struct Listening {
    reading: Reading,
    topic: String,
    /// What came and was not taken yet.
    came: VecDeque<(i32, Record)>,
    news: watch::Receiver<u64>,
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
        Ok(Self { reading, topic, came: VecDeque::new(), news })
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
            self.came = self.reading.next(Duration::ZERO).await.ok()?.into();
            if !self.came.is_empty() {
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
    tokio::spawn(hear(kafka.cluster.clone(), reading, tell));
    all.insert(topic.to_owned(), told.clone());
    Ok(told)
}

/// Tells of what comes until nobody listens. The place in the list counts as one who does.
async fn hear(cluster: Arc<Cluster>, mut reading: Reading, tell: watch::Sender<u64>) {
    while tell.receiver_count() > 1 && cluster.is_up() {
        match reading.next(WAIT).await {
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                records.iter().for_each(|(partition, record)| reading.taken(*partition, record.offset));
                tell.send_modify(|count| *count += 1);
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
