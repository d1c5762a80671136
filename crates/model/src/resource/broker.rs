//! Brokers: where routes publish to, and where subscriptions read from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::UpstreamTls;
use crate::{Duration, EndpointAddress, FilePath, Secret};

/// A broker of messages: one of the kinds that there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Broker {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// NATS with JetStream, which keeps what is published. All share one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<Nats>,
    /// RabbitMQ, by AMQP 0-9-1. All share one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rabbitmq: Option<Rabbitmq>,
    /// Kafka, or what speaks as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
}

/// What kind of broker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// NATS with JetStream.
    Nats,
    /// RabbitMQ.
    Rabbitmq,
    /// Kafka.
    Kafka,
}

impl BrokerKind {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Rabbitmq => "rabbitmq",
            Self::Kafka => "kafka",
        }
    }

    /// What keeps messages there.
    pub fn keeper(self) -> &'static str {
        match self {
            Self::Nats => "stream",
            Self::Rabbitmq => "queue or exchange",
            Self::Kafka => "topic",
        }
    }
}

impl Broker {
    /// The kinds that are written; there is exactly one when the configuration is good.
    pub fn kinds(&self) -> Vec<BrokerKind> {
        let all = [
            (BrokerKind::Nats, self.nats.is_some()),
            (BrokerKind::Rabbitmq, self.rabbitmq.is_some()),
            (BrokerKind::Kafka, self.kafka.is_some()),
        ];
        all.into_iter().filter(|(_, is_there)| *is_there).map(|(kind, _)| kind).collect()
    }

    /// Secrets in its settings.
    pub fn secrets(&self) -> Vec<&Secret> {
        let nats = self.nats.iter();
        let nats =
            nats.flat_map(|nats| [&nats.password, &nats.token, &nats.nkey, &nats.credentials]).flatten();
        let rabbitmq = self.rabbitmq.iter().filter_map(|rabbitmq| rabbitmq.password.as_ref());
        let sasl = self.kafka.iter().filter_map(|kafka| kafka.sasl.as_ref());
        nats.chain(rabbitmq).chain(sasl.map(|sasl| &sasl.password)).collect()
    }

    /// How it speaks TLS, where it does.
    pub fn tls(&self) -> Option<&UpstreamTls> {
        let nats = self.nats.as_ref().and_then(|nats| nats.tls.as_ref());
        let rabbitmq = || self.rabbitmq.as_ref().and_then(|rabbitmq| rabbitmq.tls.as_ref());
        let kafka = || self.kafka.as_ref().and_then(|kafka| kafka.tls.as_ref());
        nats.or_else(rabbitmq).or_else(kafka)
    }

    /// Files of certificates in its settings.
    pub fn files(&self) -> Vec<&FilePath> {
        let tls = self.tls().into_iter();
        tls.flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]).flatten().collect()
    }

    /// Messages that may wait for their confirmation at a time.
    pub fn max_in_flight(&self) -> usize {
        let nats = self.nats.as_ref().map(|nats| nats.max_in_flight);
        let rabbitmq = || self.rabbitmq.as_ref().map(|rabbitmq| rabbitmq.max_in_flight);
        let kafka = || self.kafka.as_ref().map(|kafka| kafka.max_in_flight);
        nats.or_else(rabbitmq).or_else(kafka).unwrap_or(1)
    }
}

/// Servers of NATS (2.9 or later) with JetStream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Nats {
    /// Where they are: the servers of one cluster, of which one is connected to.
    #[schemars(length(min = 1, max = 64))]
    pub servers: Vec<EndpointAddress>,
    /// User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A token, in place of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The seed of a user's key (`SU…`), in place of a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey: Option<Secret>,
    /// What a `.creds` file holds, a JWT with its seed: `{file: gateway.creds}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Secret>,
    /// Speak TLS; the certificate is checked against the name in `servers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Domain of JetStream, where it is another than that of the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "name"))]
    pub domain: Option<String>,
    /// How long connecting may take. No call waits for that.
    pub connect_timeout: Duration,
    /// Messages that wait for their confirmation at a time. One that would be one more is refused with 503.
    #[schemars(range(min = 1, max = 65536))]
    pub max_in_flight: usize,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            username: None,
            password: None,
            token: None,
            nkey: None,
            credentials: None,
            tls: None,
            domain: None,
            connect_timeout: Duration::from_secs(2),
            max_in_flight: 1024,
        }
    }
}

/// Servers of RabbitMQ (3.8 or later).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rabbitmq {
    /// Where they are: the servers of one cluster, of which one is connected to.
    #[schemars(length(min = 1, max = 64))]
    pub servers: Vec<EndpointAddress>,
    /// The virtual host.
    #[schemars(length(min = 1, max = 255))]
    pub virtual_host: String,
    /// User; `guest` without it, whom RabbitMQ lets in from its own machine alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Speak TLS; the certificate is checked against the name in `servers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// How often both sides say that they are there; one that is not heard for twice as long is gone.
    pub heartbeat: Duration,
    /// How long connecting may take. No call waits for that.
    pub connect_timeout: Duration,
    /// Messages that wait for their confirmation at a time. One that would be one more is refused with 503.
    #[schemars(range(min = 1, max = 65536))]
    pub max_in_flight: usize,
}

impl Default for Rabbitmq {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            virtual_host: "/".to_owned(),
            username: None,
            password: None,
            tls: None,
            heartbeat: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 1024,
        }
    }
}

/// Brokers of Kafka (2.3 or later, 4 included).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kafka {
    /// Brokers of one cluster that are asked first. They tell of the others, which are connected to as well.
    #[schemars(length(min = 1, max = 64))]
    pub servers: Vec<EndpointAddress>,
    /// Who the gateway is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Speak TLS; certificates are checked against the names of `servers`, and those that these tell of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// How batches are made smaller. What others compressed is read in any way.
    pub compression: KafkaCompression,
    /// How long connecting may take, signing in included.
    pub connect_timeout: Duration,
    /// Messages that wait for their confirmation at a time. One that would be one more is refused with 503.
    #[schemars(range(min = 1, max = 65536))]
    pub max_in_flight: usize,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            sasl: None,
            tls: None,
            compression: KafkaCompression::None,
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 1024,
        }
    }
}

/// A user of Kafka's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sasl {
    /// How the password is shown.
    #[serde(default)]
    pub mechanism: SaslMechanism,
    /// User.
    #[schemars(length(min = 1))]
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

/// How a user is shown to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SaslMechanism {
    /// The password is sent as it is: for TLS alone.
    Plain,
    /// SCRAM-SHA-256: the password is not sent.
    ScramSha256,
    /// SCRAM-SHA-512.
    #[default]
    ScramSha512,
}

/// How batches are made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KafkaCompression {
    /// They are not.
    #[default]
    None,
    /// By gzip.
    Gzip,
    /// By LZ4.
    Lz4,
    /// By Zstandard.
    Zstd,
}
