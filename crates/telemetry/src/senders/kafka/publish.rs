//! Publishing: a record per record, which all replicas in step have before it counts.
//!
//! A batch whose end nobody knows is sent again, so that records arrive at least once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use kafka::{Cluster, Compression, Mechanism, Placed, Producer, Record, Sasl, Settings as To, Unplaced};
use model::{
    CallRecord, EndpointAddress, Snapshot,
    resource::{
        access_log::kafka::{Kafka as Settings, KafkaKey},
        broker::{Kafka, KafkaCompression, SaslMechanism},
    },
};
use sinks::{Courier, Outcome, Sending};

use crate::{
    receiver::{Speaks, TlsFor, TlsWish},
    senders::{Building, Built},
};

/// Bytes of a key; what is longer is cut.
const KEY_BYTES_MAX: usize = 255;

struct Publisher {
    to: To,
    compression: Compression,
    topic: String,
    timeout: Duration,
    connected: Option<(Arc<Cluster>, Producer)>,
}

pub(in crate::senders) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let brokers = &cx.snapshot.config.brokers;
    let broker = brokers.iter().find(|broker| broker.name == settings.broker);
    let broker = broker.and_then(|broker| broker.kafka.as_ref());
    let broker =
        broker.ok_or_else(|| format!("broker: there is no broker `{}` of Kafka's", settings.broker))?;
    let publisher = Publisher {
        to: to(broker, cx.snapshot, cx.tls).map_err(|wrong| format!("broker: {wrong}"))?,
        compression: match broker.compression {
            KafkaCompression::None => Compression::None,
            KafkaCompression::Gzip => Compression::Gzip,
            KafkaCompression::Lz4 => Compression::Lz4,
            KafkaCompression::Zstd => Compression::Zstd,
        },
        topic: settings.topic.clone(),
        timeout: settings.timeout.get(),
        connected: None,
    };
    let (line, by) = (cx.line, settings.key);
    Ok(Built {
        // The key comes first, with its length before it.
        encode: Box::new(move |call, out| {
            let key = by.and_then(|by| key(by, call)).unwrap_or_default();
            let key = key.as_bytes().get(..key.len().min(KEY_BYTES_MAX)).unwrap_or_default();
            out.push(key.len() as u8);
            out.extend_from_slice(key);
            line.write(call, out);
        }),
        courier: Box::new(publisher),
        timeout: settings.timeout.get(),
    })
}

/// What a record is keyed by.
fn key(by: KafkaKey, call: &CallRecord) -> Option<String> {
    match by {
        KafkaKey::Route => call.route.as_deref().map(str::to_owned),
        KafkaKey::Consumer => call.consumer.as_deref().map(str::to_owned),
        KafkaKey::RequestId => Some(String::from_utf8_lossy(call.request_id.as_bytes()).into_owned()),
    }
}

fn to(kafka: &Kafka, snapshot: &Snapshot, tls: TlsFor) -> Result<To, String> {
    let server = |address: &EndpointAddress| match address {
        EndpointAddress::Ip(ip, port) => Ok((ip.to_string(), *port)),
        EndpointAddress::Name(name, port) => Ok((name.clone(), *port)),
        EndpointAddress::Unix(_) => Err(format!("servers: `{address}`: expected a host and a port")),
    };
    let tls = match &kafka.tls {
        Some(settings) => {
            // The client takes the name from the broker's address; this one only has to be a name.
            let wish = TlsWish { settings: Some(settings), host: "localhost", speaks: Speaks::Other };
            Some(tls(&wish, snapshot)?.connector.config().clone())
        }
        None => None,
    };
    let sasl = kafka.sasl.as_ref().map(|sasl| Sasl {
        mechanism: match sasl.mechanism {
            SaslMechanism::Plain => Mechanism::Plain,
            SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
        },
        username: sasl.username.clone(),
        password: snapshot.secret(&sasl.password).to_owned(),
    });
    Ok(To {
        servers: kafka.servers.iter().map(server).collect::<Result<_, _>>()?,
        tls,
        sasl,
        connect_timeout: kafka.connect_timeout.get(),
    })
}

impl Courier for Publisher {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async move {
            match self.publish(batch).await {
                Ok(0) => Outcome::Taken,
                Ok(rejected) => Outcome::Partly { rejected, why: "larger than the topic takes".to_owned() },
                Err(why) => Outcome::Again { after: None, why },
            }
        })
    }

    fn reset(&mut self) {
        self.connected = None;
    }
}

impl Publisher {
    /// Publishes records; says how many are too large.
    async fn publish(&mut self, batch: &[Bytes]) -> Result<u64, String> {
        if self.connected.as_ref().is_none_or(|(cluster, _)| !cluster.is_up()) {
            self.connected = None;
            let cluster = Cluster::connect(self.to.clone()).await;
            let cluster = cluster.map_err(|error| format!("cannot connect: {error}"))?;
            self.connected = Some((cluster.clone(), Producer::new(cluster, self.compression)));
        }
        let Some((_, producer)) = &self.connected else { return Ok(0) };
        let told = |why: Unplaced| match why {
            Unplaced::Away(why) => why,
            Unplaced::NoTopic => format!("there is no topic `{}`", self.topic),
            Unplaced::TooLarge => "it is too large".to_owned(),
            Unplaced::Unknown(why) => why.to_owned(),
            Unplaced::Refused(code) => code.to_string(),
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = i64::try_from(time.as_millis()).unwrap_or_default();
        // Those without a key stay together.
        let common = producer.partition(&self.topic, None).await.map_err(told)?;
        let mut sending = Vec::with_capacity(batch.len());
        for bytes in batch {
            let (key, line) = parts(bytes);
            let partition = match &key {
                Some(key) => producer.partition(&self.topic, Some(key)).await.map_err(told)?,
                None => common,
            };
            let record = Record { key, value: Some(line), headers: Vec::new(), timestamp, offset: 0 };
            sending.push(producer.send(&self.topic, partition, record, self.timeout));
        }
        let (mut rejected, mut failed) = (0, None);
        for one in futures_util::future::join_all(sending).await {
            match one {
                Ok(Placed { .. }) => {}
                Err(Unplaced::TooLarge) => rejected += 1,
                Err(why) => failed = Some(told(why)),
            }
        }
        failed.map_or(Ok(rejected), Err)
    }
}

/// A record in its two parts.
fn parts(bytes: &Bytes) -> (Option<Bytes>, Bytes) {
    let length = bytes.first().map_or(0, |length| usize::from(*length));
    let end = (1 + length).min(bytes.len());
    let key = (length > 0).then(|| bytes.slice(1.min(end)..end));
    (key, bytes.slice(end..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_and_its_key_are_told_apart() {
        for (bytes, key, line) in [
            (&b"\x01a{}"[..], Some(&b"a"[..]), &b"{}"[..]),
            (b"\0{}", None, b"{}"),
            (b"", None, b""),
            (b"\x09ab", Some(b"ab"), b""),
        ] {
            let (found, rest) = parts(&Bytes::from_static(bytes));
            assert_eq!((found.as_deref(), &rest[..]), (key, line), "{bytes:?}");
        }
    }
}
