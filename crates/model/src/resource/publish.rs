//! `publish`: a request becomes a message of a broker's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Duration, HeaderName, Size};

/// Publishes what clients send, and answers with 202 when the broker has confirmed that it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publish {
    /// Name of the broker in `brokers`.
    pub broker: String,
    /// Where to: a subject such as `orders.placed` or `orders.{{ captures.region }}`; of RabbitMQ a routing key, of Kafka a
    /// topic. A value that a caller brings is one part of it at most: one with a dot, a wildcard or a space is a 400.
    /// `{{ event.<attribute> }}` is one of an event.
    #[schemars(length(min = 1))]
    pub subject: String,
    /// The exchange of RabbitMQ; without it the default one, where `subject` is the name of a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub exchange: Option<String>,
    /// The stream of NATS that must take it; another one, or none, is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "name"))]
    pub stream: Option<String>,
    /// The message's id, a template: NATS drops a second message with it, others carry it. Without this it is what the client sends
    /// as `Idempotency-Key`, or what identifies an event, for this route and this consumer alone; or else a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What messages belong together, a template: sent as the header `Partition-Key`, in events as `partitionkey`, and as
    /// the key of Kafka's, which says to which partition a message goes. Subscriptions with `ordering: key` deliver those of one key in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Headers of the request that go into the message. `content-type` always does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderName>,
    /// Headers of the message, templates; one whose value the call does not have is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<HeaderName, String>,
    /// Media types that are taken, such as `application/json`; all when empty. Others are a 415.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_types: Vec<String>,
    /// JSON Schema of the body, or of the data of an event. What does not fit is a 400 that names the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_schema")]
    pub schema: Option<Value>,
    /// What clients send are CloudEvents, or is made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_events: Option<CloudEvents>,
    /// Bytes of a body.
    #[serde(default = "body_size")]
    pub max_body_size: Size,
    /// How long the broker may take to confirm; beyond it the answer is a 504, and nobody knows.
    #[serde(default = "timeout")]
    pub timeout: Duration,
}

/// CloudEvents 1.0, as clients send them and as the broker gets them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CloudEvents {
    /// Forms that clients may send.
    pub accept: Vec<CloudEventForm>,
    /// The form that the broker gets; without it that which came. Events of a batch are structured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<CloudEventSent>,
    /// Types that are taken, all when empty. `{{ event.type }}` may have dots in a subject when there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Makes an event of a request that is none; else that is a 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap: Option<WrapEvent>,
    /// Events of a batch.
    #[schemars(range(min = 1, max = 1000))]
    pub max_batch: usize,
}

impl Default for CloudEvents {
    fn default() -> Self {
        Self {
            accept: vec![CloudEventForm::Binary, CloudEventForm::Structured],
            send: None,
            types: Vec::new(),
            wrap: None,
            max_batch: 100,
        }
    }
}

/// How events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CloudEventForm {
    /// Attributes are headers, `ce-…`.
    Binary,
    /// All of it is JSON: `application/cloudevents+json`.
    Structured,
    /// Several in a list: `application/cloudevents-batch+json`.
    Batch,
}

/// How events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CloudEventSent {
    /// Attributes are headers, `ce-…`.
    Binary,
    /// All of it is JSON.
    Structured,
}

/// What an event is that is made of a request. Its id is the message's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrapEvent {
    /// Its `type`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Its `source`.
    #[schemars(length(min = 1))]
    pub source: String,
}

fn any_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["object", "null"], "additionalProperties": true})
}

fn body_size() -> Size {
    Size::kib(256)
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}
