//! An exchange, for one client: a queue of the client's own, which ends with it.
//!
//! Nothing is kept for who is away: where the connection breaks the client is told by the end.

use std::time::Duration;

use futures_util::{StreamExt, future::BoxFuture};
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{properties, short};
use crate::broker::{
    feed::{Item, Wish},
    link::Source,
};

/// Messages that wait at the broker for one client; the oldest go when there are more.
const WAITING_MAX: i32 = 10_000;
/// After how long the broker forgets a queue that nobody reads.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// One who listens.
pub(super) struct Listening {
    consumer: Consumer,
    /// It lives for as long as this.
    _channel: Channel,
}

impl Listening {
    pub(super) async fn begin(connection: &Connection, wish: &Wish) -> lapin::Result<Self> {
        let too_long = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let named = |text: &Option<String>| short(text.as_deref().unwrap_or_default()).ok_or_else(too_long);
        let (exchange, filter) = (named(&wish.exchange)?, named(&wish.filter)?);
        let channel = connection.create_channel().await?;
        let room = u16::try_from(wish.queue).unwrap_or(u16::MAX);
        channel.basic_qos(room, BasicQosOptions::default()).await?;
        let mut bounds = FieldTable::default();
        let millis = i32::try_from(FORGOTTEN.as_millis()).unwrap_or(i32::MAX);
        bounds.insert(ShortString::from("x-max-length"), AMQPValue::LongInt(WAITING_MAX));
        bounds.insert(ShortString::from("x-expires"), AMQPValue::LongInt(millis));
        let own =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(ShortString::from(""), own, bounds).await?;
        let name = ShortString::from(queue.name().as_str());
        let bound = QueueBindOptions::default();
        channel.queue_bind(name.clone(), exchange, filter, bound, FieldTable::default()).await?;
        let tag = ShortString::from("");
        let consuming =
            channel.basic_consume(name, tag, BasicConsumeOptions::default(), FieldTable::default());
        Ok(Self { consumer: consuming.await?, _channel: channel })
    }

    async fn one(&mut self) -> Option<Item> {
        let delivery = self.consumer.next().await?.ok()?;
        // Only now may the broker send another one in its place.
        delivery.acker.ack(BasicAckOptions::default()).await.ok()?;
        let read = properties::read(&delivery.properties);
        Some(Item {
            id: None,
            subject: delivery.routing_key.as_str().to_owned(),
            key: read.key,
            payload: delivery.data.into(),
        })
    }
}

impl Source for Listening {
    fn next(&mut self, _: usize) -> BoxFuture<'_, Option<Item>> {
        Box::pin(self.one())
    }

    fn place(&self) -> Option<String> {
        None
    }
}
