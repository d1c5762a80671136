//! NATS: publishing to JetStream, by a client that mends its connection itself.
//!
//! Confirmations come by an inbox of our own, so that one that never comes leaves nothing behind.

mod connect;
mod listen;
mod read;

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, HeaderMap, HeaderName, HeaderValue, Message, StatusCode, Subscriber,
    connection::State,
    jetstream::{self, Context},
};
use futures_util::{StreamExt, future::BoxFuture};
use serde::Deserialize;
use tokio::{sync::oneshot, task::AbortHandle};

pub(super) use self::connect::Connecting;
use super::{
    feed,
    link::{Confirmed, Link, Outgoing, Source, Unconfirmed},
    subscription::Reader,
};

/// Drops a second message that has it.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The one stream that may keep the message.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// What messages belong together.
const PARTITION_KEY: &str = "Partition-Key";
/// How long it may take to look whether the client has given up.
const LOOK_WAIT: Duration = Duration::from_millis(100);

/// A connection, which the client itself makes anew when it breaks.
struct Nats {
    client: Client,
    inbox: String,
    waiting: Arc<Waiting>,
    answers: AbortHandle,
    /// How often it was made.
    connects: Arc<AtomicU64>,
    /// The domain of JetStream, where it is another than that of the servers.
    domain: Option<String>,
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It holds the connection open otherwise.
        self.answers.abort();
    }
}

/// Those who wait for a confirmation, by their numbers.
#[derive(Default)]
struct Waiting {
    next: AtomicU64,
    all: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
}

impl Waiting {
    fn join(self: &Arc<Self>) -> (Place, oneshot::Receiver<Message>) {
        let (sender, receiver) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all().insert(number, sender);
        (Place { waiting: self.clone(), number }, receiver)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection broke: what was not answered will not be.
    fn clear(&self) {
        self.all().clear();
    }
}

/// A place among those who wait, given back however that ends.
struct Place {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.all().remove(&self.number);
    }
}

impl Nats {
    fn context(&self) -> Context {
        match &self.domain {
            Some(domain) => jetstream::with_domain(self.client.clone(), domain),
            None => jetstream::new(self.client.clone()),
        }
    }

    async fn sent(&self, outgoing: Outgoing, timeout: Duration) -> Result<Confirmed, Unconfirmed> {
        let Outgoing { subject, stream, id, key, headers: all, payload, .. } = outgoing;
        let mut headers = HeaderMap::new();
        let key = key.map(|key| String::from_utf8_lossy(&key).into_owned());
        let own = [(MESSAGE_ID, Some(id)), (EXPECTED_STREAM, stream), (PARTITION_KEY, key)];
        let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        for (name, value) in own.chain(all) {
            let refused = || Unconfirmed::Refused { code: 0, why: format!("`{name}` is no header") };
            let value = HeaderValue::from_str(&value).map_err(|_| refused())?;
            headers.append(HeaderName::from_str(&name).map_err(|_| refused())?, value);
        }
        let (place, answer) = self.waiting.join();
        let reply = format!("{}.{}", self.inbox, place.number);
        let told = async {
            let sending = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
            sending.await.map_err(|_| Unconfirmed::Away)?;
            answer
                .await
                .map_err(|_| Unconfirmed::Unknown("the connection broke before the broker had confirmed"))
        };
        match tokio::time::timeout(timeout, told).await {
            Ok(message) => confirmed(&message?),
            Err(_) => Err(Unconfirmed::Unknown("no confirmation in time")),
        }
    }
}

impl Link for Nats {
    fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The client connects again after a break, but not when it was told that it may not.
    fn is_lost(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let flushed = tokio::time::timeout(LOOK_WAIT, self.client.flush()).await;
            matches!(flushed, Ok(Err(_)))
        })
    }

    fn message_bytes_max(&self) -> usize {
        self.client.max_payload()
    }

    fn publish(
        &self,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Confirmed, Unconfirmed>> {
        Box::pin(self.sent(outgoing, timeout))
    }

    fn read<'a>(&'a self, reader: &'a Reader) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(read::read(self, reader))
    }

    fn listen<'a>(
        &'a self,
        wish: &'a feed::Wish,
        from: &'a feed::From,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, String>> {
        Box::pin(async move {
            let source: Box<dyn Source> = Box::new(listen::Listening::begin(self, wish, from).await?);
            Ok(source)
        })
    }
}

/// What the server says of a message.
#[derive(Deserialize)]
struct Answer {
    stream: Option<String>,
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    #[serde(default)]
    err_code: i64,
    #[serde(default)]
    description: String,
}

/// A message is larger than its stream takes.
const TOO_LARGE_CODE: i64 = 10054;

fn confirmed(message: &Message) -> Result<Confirmed, Unconfirmed> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Unconfirmed::NoStream);
    }
    let answer = serde_json::from_slice::<Answer>(&message.payload);
    match answer.map(|answer| (answer.error, answer.stream, answer.seq, answer.duplicate)) {
        Ok((Some(AnswerError { err_code: TOO_LARGE_CODE, .. }), ..)) => Err(Unconfirmed::TooLarge),
        Ok((Some(error), ..)) => Err(Unconfirmed::Refused { code: error.err_code, why: error.description }),
        Ok((None, Some(stream), Some(sequence), is_duplicate)) => Ok(Confirmed {
            stream: Some(stream),
            sequence: Some(sequence),
            is_duplicate: Some(is_duplicate),
            ..Confirmed::default()
        }),
        // Somebody who listens to the subject answered in place of JetStream.
        _ => Err(Unconfirmed::Unknown("what came is no confirmation of JetStream's")),
    }
}

/// Gives answers to those who wait for them.
async fn dispatch(mut answers: Subscriber, waiting: Arc<Waiting>) {
    while let Some(message) = answers.next().await {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        if let Some(waits) = number.and_then(|number: u64| waiting.all().remove(&number)) {
            let _ = waits.send(message);
        }
    }
    waiting.clear();
}
