//! `subscribe`: what a broker keeps flows to clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Size};

/// Messages of a stream as they come, to whoever asks: as server-sent events, or over a WebSocket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscribe {
    /// Name of the broker in `brokers`.
    pub broker: String,
    /// The stream of NATS, or the topic of Kafka, that keeps the messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    pub stream: Option<String>,
    /// The exchange of RabbitMQ that messages go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub exchange: Option<String>,
    /// Which of them, by their subject, a template: `orders.{{ consumer.name }}.>`, with RabbitMQ by their routing key
    /// (`orders.*.#`). Wildcards stand in the template alone: a value that a caller brings is one part of a subject at most.
    /// Kafka has none: use `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub subject: Option<String>,
    /// Only messages of this key, a template: `{{ consumer.name }}`. The gateway looks at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub key: Option<String>,
    /// Where a client begins that does not say where it was. RabbitMQ has `new` alone.
    #[serde(default)]
    pub from: SubscribeStart,
    /// A client that comes again goes on behind the message that it names in `Last-Event-ID`, or as `lastEventId` in the
    /// query.
    #[serde(default = "yes")]
    pub resume: bool,
    /// Messages that wait for a client.
    #[serde(default = "queue")]
    #[schemars(range(min = 1, max = 4096))]
    pub queue: usize,
    /// What is done when so many wait.
    #[serde(default)]
    pub when_slow: WhenSlow,
    /// Bytes of a message; larger ones are left out and counted.
    #[serde(default = "message_size")]
    pub max_message_size: Size,
    /// How often a client hears something, even when there is nothing.
    #[serde(default = "heartbeat")]
    pub heartbeat: Duration,
    /// How long a client is served before it has to come again, and is judged again.
    #[serde(default = "max_duration")]
    pub max_duration: Duration,
    /// Clients at a time in this gateway; one more is refused with 503.
    #[serde(default = "max_clients")]
    #[schemars(range(min = 1, max = 100000))]
    pub max_clients: usize,
}

/// Where a client begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubscribeStart {
    /// With what is published from now on.
    #[default]
    New,
    /// With everything that the stream still has.
    All,
    /// With the last message, with Kafka that of each partition.
    Last,
}

/// What is done with a client that reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenSlow {
    /// The stream is read as fast as the client reads: nothing is lost that the stream still has.
    #[default]
    Wait,
    /// Messages that find no room are left out and counted.
    Drop,
    /// It is cut off, and may come again.
    Close,
}

fn yes() -> bool {
    true
}

fn queue() -> usize {
    64
}

fn message_size() -> Size {
    Size::kib(64)
}

fn heartbeat() -> Duration {
    Duration::from_secs(15)
}

fn max_duration() -> Duration {
    Duration::from_secs(3600)
}

fn max_clients() -> usize {
    1000
}
