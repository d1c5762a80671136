//! A cluster: its brokers, connections to them, and who leads which partition.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use tokio::{runtime::Handle, sync::Mutex as Waits};

use crate::{
    api,
    connection::Connection,
    error::{Code, Error},
};

/// How long what was asked may take.
pub(crate) const WAIT: Duration = Duration::from_secs(10);
/// How often a broker is asked whether it is still there.
const PING: Duration = Duration::from_secs(5);
/// How long it is believed who leads what.
const FRESH: Duration = Duration::from_secs(60);
/// How long it is believed that there is no such topic.
const ABSENT: Duration = Duration::from_secs(1);
/// How long a broker that could not be connected to is left alone: whoever waits for it meanwhile is told the same.
const REFUSED: Duration = Duration::from_millis(500);
/// Topics that are remembered.
const TOPICS_MAX: usize = 1000;

/// How a cluster is connected to.
#[derive(Clone)]
pub struct Settings {
    /// Brokers that are asked first; they tell of the others.
    pub servers: Vec<(String, u16)>,
    /// TLS, with certificates that are checked against the brokers' names.
    pub tls: Option<Arc<ClientConfig>>,
    /// Who connects.
    pub sasl: Option<Sasl>,
    /// How long one connection may take, signing in included.
    pub connect_timeout: Duration,
}

/// Who connects.
#[derive(Clone)]
pub struct Sasl {
    /// How that is shown.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: String,
}

/// How a user is shown to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password is sent.
    Plain,
    /// It is not (RFC 7677).
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
}

/// A broker.
struct Node {
    host: String,
    port: u16,
    connection: Waits<Place>,
}

/// The connection to a broker that all share.
#[derive(Default)]
struct Place {
    connection: Option<Arc<Connection>>,
    /// Why there was none, and when that was found.
    failed: Option<(Error, Instant)>,
}

/// Who leads the partitions of a topic, by their numbers; -1 where there is nobody.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) leaders: Vec<i32>,
    asked: Instant,
}

/// What is known of a topic: itself, or why there is none, and since when.
type Known = Result<Arc<Topic>, (Code, Instant)>;

/// A cluster that was connected to.
pub struct Cluster {
    settings: Settings,
    handle: Handle,
    nodes: Mutex<HashMap<i32, Arc<Node>>>,
    topics: Mutex<HashMap<String, Known>>,
    /// One asks at a time, and the others hear of it.
    asking: Waits<()>,
    /// Connections that all share.
    alive: Mutex<Vec<Weak<Connection>>>,
    turn: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Connects to one of the brokers, and hears of the others. Everything lives on the runtime that this is called on.
    pub async fn connect(settings: Settings) -> Result<Arc<Self>, Error> {
        let cluster = Arc::new(Self {
            settings,
            handle: Handle::current(),
            nodes: Mutex::default(),
            topics: Mutex::default(),
            asking: Waits::default(),
            alive: Mutex::default(),
            turn: AtomicUsize::new(0),
        });
        let mut last = Error::Away("there are no servers".to_owned());
        for (host, port) in cluster.settings.servers.clone() {
            match cluster.begun(&host, port).await {
                Ok(()) => {
                    cluster.handle.spawn(ping(Arc::downgrade(&cluster)));
                    return Ok(cluster);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks one server for the brokers, and connects to one of those: it may be called otherwise there.
    async fn begun(&self, host: &str, port: u16) -> Result<(), Error> {
        let first = Connection::open(host, port, &self.settings).await?;
        let mut answer = first.call(api::METADATA, api::metadata(&[]), WAIT).await?;
        self.noted(api::read_metadata(&mut answer)?);
        self.any().await.map(drop).map_err(|error| {
            Error::Away(format!(
                "{host}:{port} tells of a broker that cannot be reached (`advertised.listeners`): {error}"
            ))
        })
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        let mut alive = locked(&self.alive);
        alive.retain(|one| one.upgrade().is_some_and(|one| one.is_alive()));
        !alive.is_empty()
    }

    /// Has something run where connections live.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    fn noted(&self, found: api::Metadata) {
        let mut nodes = locked(&self.nodes);
        let is_same = |node: &Node, host: &str, port: i32| node.host == host && i32::from(node.port) == port;
        nodes.retain(|id, node| {
            found.brokers.iter().any(|(known, host, port)| known == id && is_same(node, host, *port))
        });
        for (id, host, port) in found.brokers {
            let Ok(port) = u16::try_from(port) else { continue };
            nodes.entry(id).or_insert_with(|| Arc::new(Node { host, port, connection: Waits::default() }));
        }
    }

    /// A connection to a broker that all share.
    pub(crate) async fn connection(&self, id: i32) -> Result<Arc<Connection>, Error> {
        let node = locked(&self.nodes).get(&id).cloned();
        let node = node.ok_or_else(|| Error::Away(format!("there is no broker {id}")))?;
        let mut place = node.connection.lock().await;
        if let Some(connection) = place.connection.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(connection.clone());
        }
        // Those who wait here do not try one after the other what takes each of them as long.
        if let Some((error, _)) = place.failed.as_ref().filter(|(_, since)| since.elapsed() < REFUSED) {
            return Err(error.clone());
        }
        match self.opened(&node.host, node.port).await {
            Ok(opened) => {
                let opened = Arc::new(opened);
                locked(&self.alive).push(Arc::downgrade(&opened));
                *place = Place { connection: Some(opened.clone()), failed: None };
                Ok(opened)
            }
            Err(error) => {
                *place = Place { connection: None, failed: Some((error.clone(), Instant::now())) };
                Err(error)
            }
        }
    }

    /// A connection to a broker for one user alone, who may have it wait.
    pub(crate) async fn own_connection(&self, id: i32) -> Result<Connection, Error> {
        let node = locked(&self.nodes).get(&id).cloned();
        let node = node.ok_or_else(|| Error::Away(format!("there is no broker {id}")))?;
        self.opened(&node.host, node.port).await
    }

    /// The same to a place.
    pub(crate) async fn opened(&self, host: &str, port: u16) -> Result<Connection, Error> {
        let (host, settings) = (host.to_owned(), self.settings.clone());
        // Whoever asks may be a worker, whose runtime is not for this.
        let opening = self.handle.spawn(async move { Connection::open(&host, port, &settings).await });
        opening.await.map_err(|_| Error::Broken)?
    }

    /// A connection to whichever broker there is.
    pub(crate) async fn any(&self) -> Result<Arc<Connection>, Error> {
        let alive = locked(&self.alive).iter().filter_map(Weak::upgrade).find(|one| one.is_alive());
        if let Some(connection) = alive {
            return Ok(connection);
        }
        let mut ids: Vec<i32> = locked(&self.nodes).keys().copied().collect();
        ids.sort_unstable();
        if !ids.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % ids.len();
            ids.rotate_left(turn);
        }
        let mut last = Error::Away("the cluster has no brokers".to_owned());
        for id in ids {
            match self.connection(id).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A topic; what is known is believed for a while.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<Topic>, Error> {
        match self.known(name) {
            Some(known) => known,
            None => self.ask_for(name).await,
        }
    }

    fn known(&self, name: &str) -> Option<Result<Arc<Topic>, Error>> {
        match locked(&self.topics).get(name) {
            Some(Ok(topic)) if topic.asked.elapsed() < FRESH => Some(Ok(topic.clone())),
            Some(Err((code, asked))) if asked.elapsed() < ABSENT => Some(Err(Error::Said(*code))),
            _ => None,
        }
    }

    /// Forgets who leads a topic, because it was not so.
    pub(crate) fn forget(&self, name: &str) {
        locked(&self.topics).remove(name);
    }

    async fn ask_for(&self, name: &str) -> Result<Arc<Topic>, Error> {
        let _one = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(known) = self.known(name) {
            return known;
        }
        let connection = self.any().await?;
        let mut answer = connection.call(api::METADATA, api::metadata(&[name]), WAIT).await?;
        let mut found = api::read_metadata(&mut answer)?;
        let topic = found.topics.pop();
        self.noted(found);
        let (code, _, partitions) = topic.ok_or(Error::Said(Code::UNKNOWN_TOPIC_OR_PARTITION))?;
        let found = match code {
            // One that is being made has no leaders yet.
            Code::NONE | Code::LEADER_NOT_AVAILABLE if !partitions.is_empty() => {
                let mut leaders = vec![-1; partitions.len()];
                for (partition, leader) in partitions {
                    let place = usize::try_from(partition).ok().and_then(|number| leaders.get_mut(number));
                    if let Some(place) = place {
                        *place = leader;
                    }
                }
                Ok(Arc::new(Topic { leaders, asked: Instant::now() }))
            }
            Code::NONE => Err((Code::UNKNOWN_TOPIC_OR_PARTITION, Instant::now())),
            code => Err((code, Instant::now())),
        };
        let mut topics = locked(&self.topics);
        if topics.len() >= TOPICS_MAX && !topics.contains_key(name) {
            topics.clear();
        }
        topics.insert(name.to_owned(), found.clone());
        found.map_err(|(code, _)| Error::Said(code))
    }

    /// Who leads a partition.
    pub(crate) async fn leader(&self, topic: &str, partition: i32) -> Result<i32, Error> {
        let known = self.topic(topic).await?;
        let leader = usize::try_from(partition).ok().and_then(|number| known.leaders.get(number)).copied();
        match leader {
            None => Err(Error::Said(Code::UNKNOWN_TOPIC_OR_PARTITION)),
            Some(..0) => {
                self.forget(topic);
                Err(Error::Said(Code::LEADER_NOT_AVAILABLE))
            }
            Some(leader) => Ok(leader),
        }
    }

    /// How many partitions a topic has.
    pub async fn partitions(&self, topic: &str) -> Result<usize, Error> {
        self.topic(topic).await.map(|topic| topic.leaders.len())
    }
}

/// Asks brokers now and then whether they are there; a connection on which nobody answers ends.
async fn ping(cluster: Weak<Cluster>) {
    loop {
        tokio::time::sleep(PING).await;
        let Some(cluster) = cluster.upgrade() else { return };
        let alive: Vec<_> = locked(&cluster.alive).iter().filter_map(Weak::upgrade).collect();
        drop(cluster);
        let asked = alive.iter().map(|one| one.call(api::METADATA, api::metadata(&[]), WAIT));
        futures_util::future::join_all(asked).await;
    }
}
