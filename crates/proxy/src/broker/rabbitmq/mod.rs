//! RabbitMQ: publishing with confirmations, and with `mandatory`, so that what no queue takes is told.
//!
//! One connection, with a channel for publishing and one more for each who reads: what is wrong with one of them ends
//! that alone. The client's own mending is not used; a connection that breaks is made anew as with every broker.

mod listen;
mod properties;
mod read;
mod wire;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt, future::BoxFuture};
use lapin::{
    Channel, Confirmation, Connection, ConnectionProperties, Event, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    tcp::AsyncTcpStream,
    types::{FieldTable, LongString, ShortString},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use model::{EndpointAddress, Snapshot, resource::broker::Rabbitmq as Written};
use rustls::ClientConfig;
use tokio::{runtime::Handle, sync::Notify};

use super::{
    feed,
    link::{Confirmed, Dial, Link, Outgoing, Source, Unconfirmed},
    subscription::Reader,
};

/// How long it is believed that an exchange is there, and that it is not.
const THERE: Duration = Duration::from_secs(60);
const ABSENT: Duration = Duration::from_secs(1);
/// Exchanges that are remembered.
const EXCHANGES_MAX: usize = 1000;
/// Confirmations that nobody waits for any more. A broker that owes so many is none.
const OWED_MAX: usize = 4096;

/// All that is needed to connect, secrets included.
pub(super) struct Connecting {
    servers: Vec<(String, u16)>,
    user: AMQPUserInfo,
    host: String,
    tls: Option<Arc<ClientConfig>>,
    heartbeat: u16,
    timeout: Duration,
}

impl Connecting {
    /// Reads the settings; an error begins with the key under the kind.
    pub(super) fn of(written: &Written, snapshot: &Snapshot) -> Result<Self, String> {
        let servers = written.servers.iter().map(|address| match address {
            EndpointAddress::Ip(ip, port) => Ok((ip.to_string(), *port)),
            EndpointAddress::Name(name, port) => Ok((name.clone(), *port)),
            EndpointAddress::Unix(_) => Err(format!("servers: `{address}`: expected a host and a port")),
        });
        let guest = || "guest".to_owned();
        let password = written.password.as_ref().map(|password| snapshot.secret(password).to_owned());
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            user: AMQPUserInfo {
                username: written.username.clone().unwrap_or_else(guest),
                password: password.unwrap_or_else(guest),
            },
            host: written.virtual_host.clone(),
            tls: super::tls(written.tls.as_ref(), snapshot)?,
            heartbeat: u16::try_from(written.heartbeat.get().as_secs()).unwrap_or(u16::MAX),
            timeout: written.connect_timeout.get(),
        })
    }

    async fn connected(&self, looked: &Arc<Notify>) -> Result<Rabbitmq, String> {
        let mut last = "there are no servers".to_owned();
        for (host, port) in &self.servers {
            match tokio::time::timeout(self.timeout, self.one(host, *port, looked)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = format!("{host}:{port}: {error}"),
                Err(_) => last = format!("{host}:{port}: no connection within {:?}", self.timeout),
            }
        }
        Err(last)
    }

    async fn one(&self, host: &str, port: u16, looked: &Arc<Notify>) -> lapin::Result<Rabbitmq> {
        let scheme = if self.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP };
        let uri = AMQPUri {
            scheme,
            authority: AMQPAuthority { userinfo: self.user.clone(), host: host.to_owned(), port },
            vhost: self.host.clone(),
            query: AMQPQueryString { heartbeat: Some(self.heartbeat), ..AMQPQueryString::default() },
        };
        let (tls, timeout) = (self.tls.clone(), self.timeout);
        let connect = async move |uri: AMQPUri, _| {
            let AMQPAuthority { host, port, .. } = uri.authority;
            let opening = tokio::time::timeout(timeout, wire::open(&host, port, tls.as_ref()));
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            Ok::<_, lapin::Error>(AsyncTcpStream::Plain(opening.await.map_err(late)??))
        };
        let named = ConnectionProperties::default().with_connection_name(LongString::from("tidegate"));
        let connection = Connection::connector(uri, wire::current(), connect, named).await?;
        let mut events = Box::pin(connection.events_listener());
        let channel = publishing(&connection).await?;
        let (is_up, is_blocked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (up, blocked, looked) = (is_up.clone(), is_blocked.clone(), looked.clone());
        let watching = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(_) => blocked.store(true, Ordering::Relaxed),
                    Event::ConnectionUnblocked => blocked.store(false, Ordering::Relaxed),
                    _ => {}
                }
                looked.notify_one();
            }
            up.store(false, Ordering::Relaxed);
            looked.notify_one();
        });
        Ok(Rabbitmq {
            connection,
            channel: Mutex::new(channel),
            opening: tokio::sync::Mutex::default(),
            exchanges: Mutex::default(),
            owing: Owing { count: Arc::default(), is_up: is_up.clone(), background: Handle::current() },
            is_up,
            is_blocked,
            watching: watching.abort_handle(),
        })
    }
}

impl Dial for Connecting {
    fn connect<'a>(&'a self, looked: &'a Arc<Notify>) -> BoxFuture<'a, Result<Arc<dyn Link>, String>> {
        Box::pin(async move {
            let connected: Arc<dyn Link> = Arc::new(self.connected(looked).await?);
            Ok(connected)
        })
    }
}

/// A channel on which what is published is confirmed.
async fn publishing(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// A connection.
struct Rabbitmq {
    connection: Connection,
    channel: Mutex<Channel>,
    /// One opens a channel, and the others wait.
    opening: tokio::sync::Mutex<()>,
    /// Whether exchanges are there, and since when that is known.
    exchanges: Mutex<HashMap<String, (bool, Instant)>>,
    owing: Owing,
    is_up: Arc<AtomicBool>,
    is_blocked: Arc<AtomicBool>,
    watching: tokio::task::AbortHandle,
}

impl Drop for Rabbitmq {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A text that may be no longer than 255 bytes.
fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

impl Rabbitmq {
    /// The channel for publishing; another one where that ended.
    async fn channel(&self) -> Result<Channel, Unconfirmed> {
        let known = || {
            let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
            channel.status().connected().then_some(channel)
        };
        if let Some(channel) = known() {
            return Ok(channel);
        }
        let _one = self.opening.lock().await;
        if let Some(channel) = known() {
            return Ok(channel);
        }
        let opened = publishing(&self.connection).await.map_err(|_| Unconfirmed::Away)?;
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = opened.clone();
        Ok(opened)
    }

    /// Looks whether an exchange is there. Publishing to one that is not would end the channel, and with it what others
    /// wait for.
    async fn look(&self, exchange: &str) -> Result<(), Unconfirmed> {
        let known = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).get(exchange).copied();
        let is_there = match known {
            Some((true, since)) if since.elapsed() < THERE => true,
            Some((false, since)) if since.elapsed() < ABSENT => false,
            _ => {
                let name = short(exchange).ok_or(Unconfirmed::NoStream)?;
                let channel = self.connection.create_channel().await.map_err(|_| Unconfirmed::Away)?;
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let kind = ExchangeKind::Direct;
                let asked = channel.exchange_declare(name, kind, passive, FieldTable::default()).await;
                match asked {
                    Ok(()) => true,
                    Err(error) if error.is_amqp_soft_error() => false,
                    Err(_) => return Err(Unconfirmed::Away),
                }
            }
        };
        let mut all = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= EXCHANGES_MAX {
            all.clear();
        }
        if known.is_none_or(|(was_there, since)| was_there != is_there || since.elapsed() > ABSENT) {
            all.insert(exchange.to_owned(), (is_there, Instant::now()));
        }
        if is_there { Ok(()) } else { Err(Unconfirmed::NoStream) }
    }

    async fn sent(&self, outgoing: Outgoing, timeout: Duration) -> Result<Confirmed, Unconfirmed> {
        // Memory or disk of the broker is full: it takes nothing, and what was sent would wait.
        if self.is_blocked.load(Ordering::Relaxed) {
            return Err(Unconfirmed::Away);
        }
        let until = Instant::now() + timeout;
        let before = async {
            if let Some(exchange) = &outgoing.exchange {
                self.look(exchange).await?;
            }
            self.channel().await
        };
        let channel = tokio::time::timeout(timeout, before).await.unwrap_or(Err(Unconfirmed::Away))?;
        let refused = |why: &str| Unconfirmed::Refused { code: 0, why: why.to_owned() };
        let exchange = short(outgoing.exchange.as_deref().unwrap_or_default());
        let (Some(exchange), Some(key)) = (exchange, short(&outgoing.subject)) else {
            return Err(refused("an exchange and a routing key have 255 bytes at most"));
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let properties = properties::written(&outgoing, time).ok_or_else(|| refused("a name is too long"))?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let payload = outgoing.payload;
        let broken = || Unconfirmed::Unknown("the connection broke before the broker had confirmed");
        let sending = async move {
            let sent = channel.basic_publish(exchange, key, options, &payload, properties).await;
            sent.map_err(|_| broken())?.await.map_err(|_| broken())
        };
        let mut sending = Sending::new(&self.owing, sending);
        let left = until.saturating_duration_since(Instant::now());
        let Some(told) = sending.within(left).await else {
            return Err(Unconfirmed::Unknown("no confirmation in time"));
        };
        match told? {
            Confirmation::Ack(None) => Ok(Confirmed {
                exchange: Some(outgoing.exchange.unwrap_or_default()),
                ..Confirmed::default()
            }),
            Confirmation::Ack(Some(_)) => Err(Unconfirmed::NoStream),
            Confirmation::Nack(Some(returned)) if returned.reply_code == 312 => Err(Unconfirmed::NoStream),
            Confirmation::Nack(_) => Err(refused("a queue did not take it: it is full, perhaps")),
            Confirmation::NotRequested => Err(broken()),
        }
    }
}

/// Confirmations that nobody waits for any more: the client keeps each of them until somebody has taken it.
#[derive(Clone)]
struct Owing {
    count: Arc<AtomicUsize>,
    is_up: Arc<AtomicBool>,
    background: Handle,
}

impl Owing {
    /// Waits for a confirmation in place of who does not any more.
    fn owe<T: Send + 'static>(&self, sending: impl Future<Output = T> + Send + 'static) {
        let count = self.count.clone();
        if count.fetch_add(1, Ordering::Relaxed) >= OWED_MAX {
            self.is_up.store(false, Ordering::Relaxed);
        }
        self.background.spawn(async move {
            let _ = sending.await;
            count.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// A message on its way. Whoever waits for its confirmation may go at any time, with the client of the call: then it is owed.
struct Sending<T: Send + 'static> {
    owing: Owing,
    sending: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> Sending<T> {
    fn new(owing: &Owing, sending: impl Future<Output = T> + Send + 'static) -> Self {
        Self { owing: owing.clone(), sending: Some(Box::pin(sending)) }
    }

    /// What it came to, if that is known in time.
    async fn within(&mut self, time: Duration) -> Option<T> {
        let told = tokio::time::timeout(time, self.sending.as_mut()?).await.ok()?;
        self.sending = None;
        Some(told)
    }
}

impl<T: Send + 'static> Drop for Sending<T> {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            self.owing.owe(sending);
        }
    }
}

impl Link for Rabbitmq {
    fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed) && self.connection.status().connected()
    }

    fn publish(
        &self,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Confirmed, Unconfirmed>> {
        Box::pin(self.sent(outgoing, timeout))
    }

    fn read<'a>(&'a self, reader: &'a Reader) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { read::read(&self.connection, reader).await })
    }

    fn listen<'a>(
        &'a self,
        wish: &'a feed::Wish,
        _: &'a feed::From,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, String>> {
        Box::pin(async move {
            let listening = listen::Listening::begin(&self.connection, wish).await;
            let source: Box<dyn Source> = Box::new(listening.map_err(|error| error.to_string())?);
            Ok(source)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_confirmation_is_waited_for_also_when_whoever_did_has_gone() {
        let is_up = Arc::new(AtomicBool::new(true));
        let owing = Owing { count: Arc::default(), is_up, background: Handle::current() };
        let owed = || owing.count.load(Ordering::Relaxed);
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut sending = Sending::new(&owing, told);
        assert!(sending.within(Duration::from_millis(1)).await.is_none());
        assert_eq!(owed(), 0);
        drop(sending);
        assert_eq!(owed(), 1);
        tell.send(7).expect("somebody waits for it");
        while owed() > 0 {
            tokio::task::yield_now().await;
        }
        let mut sending = Sending::new(&owing, std::future::ready(7));
        assert_eq!(sending.within(Duration::from_secs(5)).await, Some(7));
        drop(sending);
        assert_eq!(owed(), 0, "nothing is owed that was told");
    }
}
