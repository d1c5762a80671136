//! A queue, for a subscription: as many messages as there is room for are taken without a word, and each is acknowledged
//! by itself.
//!
//! A queue keeps nothing for later: one that fails is held here until it is tried again. Quorum queues count what comes back
//! to them, whatever the reason, and drop what comes back too often; so that is told of in time.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::BoxFuture};
use lapin::{
    Acker, Connection,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        BasicRejectOptions,
    },
    types::{FieldTable, ShortString},
};

use super::{properties, short};
use crate::broker::{
    link::{Message, Receipt, Settled},
    subscription::{Reader, Tries},
};

/// How long one is held at most: RabbitMQ itself ends a channel on which one was held for half an hour.
const HELD_MAX: Duration = Duration::from_secs(15 * 60);

/// It is told when a message has come back to a quorum queue so often: from RabbitMQ 4.0 on one that has 20 times is let go,
/// where no other limit is set.
const OFTEN: i64 = 10;
/// Bytes of a message that it is known again by.
const SAID_MAX: usize = 64 * 1024;
/// How long what was taken in advance is waited for at the end.
const END: Duration = Duration::from_secs(2);

/// Reads while there is a connection; good when it is stopped.
pub(super) async fn read(connection: &Connection, reader: &Reader) -> Result<(), String> {
    let told = |error: lapin::Error| error.to_string();
    let settings = reader.settings();
    let channel = connection.create_channel().await.map_err(told)?;
    let room = u16::try_from(reader.room_of_all()).unwrap_or(u16::MAX);
    channel.basic_qos(room, BasicQosOptions::default()).await.map_err(told)?;
    let queue = short(&settings.stream).ok_or("the name of the queue is too long")?;
    let tag = ShortString::from("");
    let consuming = channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await.map_err(told)?;
    reader.has_begun();
    let mut is_told = false;
    loop {
        let next = tokio::select! {
            () = reader.stopped() => None,
            next = consumer.next() => match next {
                Some(Ok(delivery)) => Some(delivery),
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the queue is not there any more".to_owned()),
            },
        };
        let Some(delivery) = next else { break };
        let times = properties::came_back(&delivery.properties).filter(|_| delivery.redelivered);
        let message = made(reader, delivery);
        if let Some(times) = times.filter(|times| *times >= OFTEN)
            && !std::mem::replace(&mut is_told, true)
        {
            let (name, queue) = (&settings.name, &settings.stream);
            tracing::warn!(
                subscription = %name, id = %message.id, times,
                "the queue `{queue}` has had a message back {times} times, as ends of gateways and of connections give them \
                 back: a quorum queue lets it go when its `delivery-limit` is reached, which is 20 from RabbitMQ 4.0 on if \
                 none is set"
            );
        }
        // There is room for as many as the broker gives at a time; held ones of a channel that broke may have some of it.
        match reader.room().await {
            Some(room) => reader.take(message, room),
            None => {
                let _ = message.receipt.settle(Settled::Back).await;
                break;
            }
        }
    }
    // What was taken in advance goes back now, and not only when the last delivery has ended: others wait for it.
    let ended = async {
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        while let Some(delivery) = consumer.next().await {
            let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            delivery?.acker.nack(back).await?;
        }
        Ok::<_, lapin::Error>(())
    };
    let _ = tokio::time::timeout(END, ended).await;
    // The channel has to live for as long as something is held of it.
    while reader.holds() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !channel.status().connected() {
            break;
        }
    }
    let _ = channel.close(200, ShortString::from("OK")).await;
    Ok(())
}

fn made(reader: &Reader, delivery: Delivery) -> Message {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let settings = reader.settings();
    let read = properties::read(&delivery.properties);
    let subject = delivery.routing_key.as_str().to_owned();
    // Queues do not number messages: they are known again by their ids and what they say, for publishers give one id twice;
    // those without one are not.
    static STATE: Mutex<Option<std::hash::RandomState>> = Mutex::new(None);
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().clone();
    let said = delivery.data.get(..SAID_MAX).unwrap_or(&delivery.data);
    let counted = match &read.id {
        Some(id) => state.hash_one((id, &subject, said, delivery.data.len())),
        None => Tries::NOBODY,
    };
    let id = read.id.clone().unwrap_or_else(|| format!("{:016x}{number:016x}", state.hash_one(number)));
    Message {
        place: (-1, number),
        counted,
        id: format!("{}-{id}", settings.stream),
        subject,
        partition: None,
        sequence: None,
        key: read.key,
        headers: read.headers,
        payload: delivery.data.into(),
        // A quorum queue counts what came back to it, which is what was not tried: tries are counted here.
        given: 1,
        receipt: Arc::new(Taken {
            acker: delivery.acker,
            since: Instant::now(),
            is_put_elsewhere: settings.dead_letter.is_some(),
        }),
    }
}

/// A message that was taken.
struct Taken {
    acker: Acker,
    since: Instant,
    /// What is given up goes where the configuration says, and else where the queue's own settings say.
    is_put_elsewhere: bool,
}

impl Receipt for Taken {
    fn can_wait(&self) -> bool {
        false
    }

    fn is_lost(&self) -> bool {
        self.acker.poisoned() || self.since.elapsed() > HELD_MAX
    }

    fn settle(&self, what: Settled) -> BoxFuture<'_, Result<(), String>> {
        let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        Box::pin(async move {
            let told = match what {
                Settled::Delivered => self.acker.ack(BasicAckOptions::default()).await,
                Settled::GivenUp if self.is_put_elsewhere => self.acker.ack(BasicAckOptions::default()).await,
                Settled::GivenUp => self.acker.reject(BasicRejectOptions { requeue: false }).await,
                Settled::Later(_) | Settled::Back => self.acker.nack(back).await,
            };
            told.map(drop).map_err(|error| error.to_string())
        })
    }
}
