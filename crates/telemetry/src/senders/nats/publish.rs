//! Publishing: a message per record, confirmed by a stream of JetStream's where that is wanted.
//!
//! Each record has an id from the moment it comes, which is the message's (`Nats-Msg-Id`): a stream takes a message that
//! is sent again within its window for duplicates once.

use std::{
    error::Error,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, HeaderMap, ServerAddr,
    connection::State,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self, ErrorCode,
        context::{Context, ContextBuilder, PublishError},
    },
};
use bytes::Bytes;
use model::{
    Snapshot,
    resource::{access_log::nats::Nats as Settings, broker::Nats},
};
use sinks::{Courier, Outcome, Sending};
use tokio_rustls::rustls::ClientConfig;

use crate::{
    receiver::{Speaks, TlsFor, TlsWish},
    senders::{Building, Built},
};

/// Messages that wait for their confirmation at a time.
const UNCONFIRMED_MAX: usize = 1000;
/// Bytes of an id, in hexadecimal digits.
const ID: usize = 32;
/// Bytes that the header takes beside the id.
const HEADER: usize = 64;
/// A connection on which nothing was heard for two of these is none.
const PING: Duration = Duration::from_secs(10);

struct Publisher {
    to: To,
    subject: String,
    is_acknowledged: bool,
    timeout: Duration,
    client: Option<Client>,
}

/// Where to connect, and as whom.
struct To {
    servers: Vec<ServerAddr>,
    who: Who,
    tls: Option<ClientConfig>,
    timeout: Duration,
    domain: Option<String>,
}

enum Who {
    Nobody,
    User(String, String),
    Token(String),
    Key(String),
    Credentials(String),
}

pub(in crate::senders) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let brokers = &cx.snapshot.config.brokers;
    let broker = brokers.iter().find(|broker| broker.name == settings.broker);
    let broker = broker.and_then(|broker| broker.nats.as_ref());
    let broker = broker.ok_or_else(|| format!("broker: there is no broker `{}` of NATS", settings.broker))?;
    let to = To::of(broker, cx.snapshot, cx.tls).map_err(|wrong| format!("broker: {wrong}"))?;
    to.options()?;
    let publisher = Publisher {
        to,
        subject: settings.subject.clone(),
        is_acknowledged: settings.acknowledged,
        timeout: settings.timeout.get(),
        client: None,
    };
    let (line, ids) = (cx.line, Ids::default());
    Ok(Built {
        encode: Box::new(move |call, out| {
            ids.write(out);
            line.write(call, out);
        }),
        courier: Box::new(publisher),
        timeout: settings.timeout.get(),
    })
}

/// Ids that no other process has.
#[derive(Default)]
struct Ids {
    states: [RandomState; 2],
    count: AtomicU64,
}

impl Ids {
    fn write(&self, out: &mut Vec<u8>) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [0, 1].map(|half: usize| self.states[half].hash_one(count));
        out.extend_from_slice(format!("{high:016x}{low:016x}").as_bytes());
    }
}

impl To {
    fn of(nats: &Nats, snapshot: &Snapshot, tls: TlsFor) -> Result<Self, String> {
        let text = |secret: &model::Secret| snapshot.secret(secret).to_owned();
        let server = |address: &model::EndpointAddress| {
            let parsed = format!("nats://{address}").parse::<ServerAddr>();
            parsed.map_err(|error| format!("servers: `{address}`: {error}"))
        };
        let tls = match &nats.tls {
            Some(settings) => {
                // The client takes the name from the server's address; this one only has to be a name.
                let wish = TlsWish { settings: Some(settings), host: "localhost", speaks: Speaks::Other };
                Some((**tls(&wish, snapshot)?.connector.config()).clone())
            }
            None => None,
        };
        let who = match nats {
            Nats { username: Some(name), password: Some(password), .. } => {
                Who::User(name.clone(), text(password))
            }
            Nats { token: Some(token), .. } => Who::Token(text(token)),
            Nats { nkey: Some(seed), .. } => Who::Key(text(seed)),
            Nats { credentials: Some(credentials), .. } => Who::Credentials(text(credentials)),
            _ => Who::Nobody,
        };
        Ok(Self {
            servers: nats.servers.iter().map(server).collect::<Result<_, _>>()?,
            who,
            tls,
            timeout: nats.connect_timeout.get(),
            domain: nats.domain.clone(),
        })
    }

    fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new()
            .name("tidegate-access-log")
            .connection_timeout(self.timeout)
            .ping_interval(PING)
            // Servers that others name are none that the configuration knows.
            .ignore_discovered_servers();
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).tls_client_config(tls.clone());
        }
        Ok(match &self.who {
            Who::Nobody => options,
            Who::User(name, password) => options.user_and_password(name.clone(), password.clone()),
            Who::Token(token) => options.token(token.clone()),
            Who::Key(seed) => options.nkey(seed.clone()),
            Who::Credentials(text) => options
                .credentials(text)
                // What is wrong is told, the text is not.
                .map_err(|_| "broker: credentials: expected a JWT with its seed".to_owned())?,
        })
    }
}

impl Courier for Publisher {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async move {
            match self.publish(batch).await {
                Ok(0) => Outcome::Taken,
                Ok(rejected) => {
                    let why = "larger than the server's `max_payload`, or than the stream takes".to_owned();
                    Outcome::Partly { rejected, why }
                }
                Err(why) => Outcome::Again { after: None, why },
            }
        })
    }

    fn reset(&mut self) {
        self.client = None;
    }
}

impl Publisher {
    /// Publishes records; says how many are too large.
    async fn publish(&mut self, batch: &[Bytes]) -> Result<u64, String> {
        let client = match &self.client {
            Some(client) if client.connection_state() == State::Connected => client.clone(),
            _ => {
                // One that is not connected goes on trying on its own for as long as it lives.
                self.client = None;
                let connected = self.to.options()?.connect(self.to.servers.clone()).await;
                let client = connected.map_err(|error| format!("cannot connect: {error}"))?;
                self.client.insert(client).clone()
            }
        };
        let largest = client.max_payload();
        let is_fitting = |record: &&Bytes| record.len() > ID && record.len() - ID + HEADER <= largest;
        let fitting: Vec<&Bytes> = batch.iter().filter(is_fitting).collect();
        let context = self.is_acknowledged.then(|| self.context(&client));
        let mut rejected = (batch.len() - fitting.len()) as u64;
        for some in fitting.chunks(UNCONFIRMED_MAX) {
            match &context {
                Some(context) => rejected += self.confirmed(context, some).await?,
                None => self.written(&client, some).await?,
            }
        }
        Ok(rejected)
    }

    fn context(&self, client: &Client) -> Context {
        let builder = ContextBuilder::new().timeout(self.timeout);
        match &self.to.domain {
            Some(domain) => builder.domain(domain).build(client.clone()),
            None => builder.build(client.clone()),
        }
    }

    /// Publishes records, and waits until the stream has them; says how many it never takes.
    async fn confirmed(&self, context: &Context, records: &[&Bytes]) -> Result<u64, String> {
        let mut waiting = Vec::with_capacity(records.len());
        for record in records {
            let (headers, line) = message(record);
            let sent = context.publish_with_headers(self.subject.clone(), headers, line).await;
            waiting.push(sent.map_err(|error| error.to_string())?);
        }
        let mut rejected = 0;
        for confirmation in waiting {
            match confirmation.await {
                Ok(_) => {}
                // It is so the next time, too, and would hold up all others.
                Err(error) if is_too_large(&error) => rejected += 1,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(rejected)
    }

    async fn written(&self, client: &Client, records: &[&Bytes]) -> Result<(), String> {
        for record in records {
            let (headers, line) = message(record);
            let sent = client.publish_with_headers(self.subject.clone(), headers, line).await;
            sent.map_err(|error| error.to_string())?;
        }
        client.flush().await.map_err(|error| error.to_string())
    }
}

/// Whether a stream refuses a record for its size (`max_msg_size`).
fn is_too_large(error: &PublishError) -> bool {
    let said = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    said.is_some_and(|said| said.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
}

/// A record in its two parts.
fn message(record: &Bytes) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, &*String::from_utf8_lossy(&record[..ID]));
    (headers, record.slice(ID..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_has_an_id_of_its_own() {
        let ids = Ids::default();
        let id = |ids: &Ids| {
            let mut out = Vec::new();
            ids.write(&mut out);
            assert_eq!(out.len(), ID);
            out
        };
        let all: std::collections::HashSet<_> = (0..1000).map(|_| id(&ids)).collect();
        assert_eq!(all.len(), 1000);
        assert_ne!(id(&Ids::default()), id(&Ids::default()), "nor does another process give the same");
    }
}
