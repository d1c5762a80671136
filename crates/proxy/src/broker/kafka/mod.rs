//! Kafka: publishing with the confirmation of all replicas in step.

mod listen;
mod read;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::kafka::{Cluster, Compression, Mechanism, Producer, Record, Sasl, Settings, Unplaced};
use bytes::Bytes;
use events::cloud;
use futures_util::future::BoxFuture;
use model::{
    EndpointAddress, Snapshot,
    resource::broker::{Kafka as Written, KafkaCompression, SaslMechanism},
};
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    feed,
    link::{Confirmed, Dial, Link, Outgoing, Source, Unconfirmed},
    subscription::Reader,
};

/// What attributes of events begin with there.
const PREFIX: &str = "ce_";
/// The header that a message's id is in.
const MESSAGE_ID: &str = "message-id";
/// Clients that read at a time. What comes for one may unfold to 256 KiB and one batch, of 16 MiB at most.
const UNFOLDING_MAX: usize = 8;
/// Clients who hold what they fetched at a time, or wait for it.
const FETCHING_MAX: usize = 64;

/// All that is needed to connect, secrets included.
pub(super) struct Connecting {
    settings: Settings,
    compression: Compression,
}

impl Connecting {
    /// Reads the settings; an error begins with the key under the kind.
    pub(super) fn of(written: &Written, snapshot: &Snapshot) -> Result<Self, String> {
        let servers = written.servers.iter().map(|address| match address {
            EndpointAddress::Ip(ip, port) => Ok((ip.to_string(), *port)),
            EndpointAddress::Name(name, port) => Ok((name.clone(), *port)),
            EndpointAddress::Unix(_) => Err(format!("servers: `{address}`: expected a host and a port")),
        });
        let sasl = written.sasl.as_ref().map(|sasl| Sasl {
            mechanism: match sasl.mechanism {
                SaslMechanism::Plain => Mechanism::Plain,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            },
            username: sasl.username.clone(),
            password: snapshot.secret(&sasl.password).to_owned(),
        });
        Ok(Self {
            settings: Settings {
                servers: servers.collect::<Result<_, _>>()?,
                tls: super::tls(written.tls.as_ref(), snapshot)?,
                sasl,
                connect_timeout: written.connect_timeout.get(),
            },
            compression: match written.compression {
                KafkaCompression::None => Compression::None,
                KafkaCompression::Gzip => Compression::Gzip,
                KafkaCompression::Lz4 => Compression::Lz4,
                KafkaCompression::Zstd => Compression::Zstd,
            },
        })
    }
}

impl Dial for Connecting {
    fn connect<'a>(&'a self, _: &'a Arc<Notify>) -> BoxFuture<'a, Result<Arc<dyn Link>, String>> {
        Box::pin(async move {
            let cluster = Cluster::connect(self.settings.clone()).await.map_err(|error| error.to_string())?;
            let producer = Producer::new(cluster.clone(), self.compression);
            let link: Arc<dyn Link> = Arc::new(Kafka {
                cluster,
                producer,
                heard: Arc::default(),
                fetching: Arc::new(Semaphore::new(FETCHING_MAX)),
                unfolding: Arc::new(Semaphore::new(UNFOLDING_MAX)),
            });
            Ok(link)
        })
    }
}

/// Who tells that something came, by topic.
type Heard = Mutex<HashMap<String, watch::Receiver<u64>>>;

/// A cluster that is connected to.
struct Kafka {
    cluster: Arc<Cluster>,
    producer: Producer,
    heard: Arc<Heard>,
    /// Places for clients who read: what comes is large for a moment.
    unfolding: Arc<Semaphore>,
    /// Places for clients who fetch, and then wait for one of those.
    fetching: Arc<Semaphore>,
}

impl Kafka {
    async fn sent(&self, outgoing: Outgoing, timeout: Duration) -> Result<Confirmed, Unconfirmed> {
        let Outgoing { subject: topic, id, key, headers, payload, .. } = outgoing;
        let headers = headers.into_iter().map(|(name, value)| match name.strip_prefix(cloud::PREFIX) {
            // What HTTP has to escape is a plain text here.
            Some(attribute) => {
                let plain = cloud::decoded(value.as_bytes()).unwrap_or(value);
                (format!("{PREFIX}{attribute}"), Bytes::from(plain))
            }
            None => (name, Bytes::from(value)),
        });
        let id = (MESSAGE_ID.to_owned(), Bytes::from(id));
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            value: Some(payload),
            headers: headers.chain([id]).collect(),
            timestamp: i64::try_from(time.as_millis()).unwrap_or_default(),
            offset: 0,
            key,
        };
        let placed = async {
            let partition = self.producer.partition(&topic, record.key.as_deref()).await?;
            Ok::<_, Unplaced>((partition, record))
        };
        let asked = tokio::time::timeout(timeout, placed).await;
        let (partition, record) = asked.unwrap_or(Err(Unplaced::Away(String::new()))).map_err(unconfirmed)?;
        let placed = self.producer.send(&topic, partition, record, timeout).await.map_err(unconfirmed)?;
        Ok(Confirmed {
            stream: Some(topic),
            partition: Some(placed.partition),
            sequence: placed.offset.and_then(|offset| u64::try_from(offset).ok()),
            ..Confirmed::default()
        })
    }
}

fn unconfirmed(why: Unplaced) -> Unconfirmed {
    match why {
        Unplaced::Away(why) => {
            tracing::debug!(%why, "a message was not published: {why}");
            Unconfirmed::Away
        }
        Unplaced::NoTopic => Unconfirmed::NoStream,
        Unplaced::TooLarge => Unconfirmed::TooLarge,
        Unplaced::Unknown(why) => Unconfirmed::Unknown(why),
        Unplaced::Refused(code) => Unconfirmed::Refused { code: i64::from(code.0), why: code.to_string() },
    }
}

/// A record's headers as all brokers have them. What is no text is left out.
fn headers(record: &Record) -> Vec<(String, String)> {
    let text = |(name, value): &(String, Bytes)| {
        let value = std::str::from_utf8(value).ok()?;
        Some(match name.strip_prefix(PREFIX) {
            Some(attribute) => (format!("{}{attribute}", cloud::PREFIX), cloud::encoded(value)),
            None => (name.clone(), value.to_owned()),
        })
    };
    record.headers.iter().filter_map(text).collect()
}

impl Link for Kafka {
    fn is_up(&self) -> bool {
        self.cluster.is_up()
    }

    fn publish(
        &self,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Confirmed, Unconfirmed>> {
        Box::pin(self.sent(outgoing, timeout))
    }

    fn read<'a>(&'a self, reader: &'a Reader) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(read::read(&self.cluster, reader))
    }

    fn listen<'a>(
        &'a self,
        wish: &'a feed::Wish,
        from: &'a feed::From,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, String>> {
        Box::pin(async move {
            let listening = listen::Listening::begin(self, wish, from).await;
            let source: Box<dyn Source> = Box::new(listening.map_err(|error| error.to_string())?);
            Ok(source)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_events_are_plain_texts_there() {
        let record = Record {
            headers: vec![
                ("ce_subject".to_owned(), Bytes::from("größe 100%")),
                ("content-type".to_owned(), Bytes::from("text/plain")),
                ("x".to_owned(), Bytes::from_static(b"\xff")),
            ],
            ..Record::default()
        };
        assert_eq!(
            headers(&record),
            [
                ("ce-subject".to_owned(), "gr%C3%B6%C3%9Fe%20100%25".to_owned()),
                ("content-type".to_owned(), "text/plain".to_owned())
            ]
        );
    }
}
