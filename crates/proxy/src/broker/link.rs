//! What all kinds of brokers can do: a connection that publishes, is read from for subscriptions, and is listened to for
//! clients. Each kind has a folder of its own, and nothing else knows any.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{feed, subscription::Reader};

/// A message that is to be kept.
pub(crate) struct Outgoing {
    /// A subject, a routing key or a topic.
    pub(crate) subject: String,
    /// The exchange, where the broker has such.
    pub(crate) exchange: Option<String>,
    /// The one stream that may keep it, where the broker can be told.
    pub(crate) stream: Option<String>,
    /// Its id.
    pub(crate) id: String,
    /// What it belongs together with.
    pub(crate) key: Option<Bytes>,
    /// Its headers. Attributes of events are `ce-…`, as HTTP has them.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// Its size, about as brokers count it.
    pub(crate) fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let key = self.key.as_ref().map_or(0, |key| key.len() + 17);
        let stream = self.stream.as_ref().map_or(0, |stream| stream.len() + 24);
        self.payload.len() + headers + key + stream + self.id.len() + 15 + 12
    }
}

/// What a broker says of a message that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Confirmed {
    /// The stream or topic that keeps it.
    pub(crate) stream: Option<String>,
    /// The exchange that took it.
    pub(crate) exchange: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) sequence: Option<u64>,
    /// It was there before; nothing where the broker does not look.
    pub(crate) is_duplicate: Option<bool>,
}

/// Why a message is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// Nothing was sent, or what was sent is certainly not kept: there is nobody who would.
    Away,
    /// Nothing was sent: too many wait.
    Full,
    /// It is larger than the broker takes.
    TooLarge,
    /// Nothing keeps messages of that subject.
    NoStream,
    /// It was sent, and nobody knows.
    Unknown(&'static str),
    /// The broker does not want it.
    Refused { code: i64, why: String },
}

/// How a broker is connected to.
pub(super) trait Dial: Send + Sync {
    /// Connects, within the time that there is. `looked` is told when something has happened to the connection.
    fn connect<'a>(&'a self, looked: &'a Arc<Notify>) -> BoxFuture<'a, Result<Arc<dyn Link>, String>>;
}

/// A connection to a broker.
pub(super) trait Link: Send + Sync {
    /// Whether it works now.
    fn is_up(&self) -> bool;

    /// Whether it does not mend itself: then another is made.
    fn is_lost(&self) -> BoxFuture<'_, bool> {
        let is_lost = !self.is_up();
        Box::pin(std::future::ready(is_lost))
    }

    /// Bytes of a message that the broker takes, where that is known.
    fn message_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Sends a message, and waits until it is kept.
    fn publish(&self, outgoing: Outgoing, timeout: Duration)
    -> BoxFuture<'_, Result<Confirmed, Unconfirmed>>;

    /// Reads for a subscription: good when that was stopped, else an error says why it cannot be.
    fn read<'a>(&'a self, reader: &'a Reader) -> BoxFuture<'a, Result<(), String>>;

    /// Begins to listen for a client.
    fn listen<'a>(
        &'a self,
        wish: &'a feed::Wish,
        from: &'a feed::From,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, String>>;
}

/// What comes for one client.
pub(super) trait Source: Send {
    /// The next message; as many are asked for as are wanted at most. Nothing when it broke.
    fn next(&mut self, wanted: usize) -> BoxFuture<'_, Option<feed::Item>>;

    /// What was left out since this was last asked, because nobody could read it.
    fn left_out(&mut self) -> u64 {
        0
    }

    /// What it can go on behind with another connection, whatever of it the client has heard; nothing where messages
    /// are not kept for those who are away.
    fn place(&self) -> Option<String>;
}

/// A message that a subscription has taken.
pub(super) struct Message {
    /// Where it is, unlike that of any other that is held.
    pub(crate) place: (i32, u64),
    /// What its tries are counted by.
    pub(crate) counted: u64,
    /// What whoever gets it twice knows it by.
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) partition: Option<i32>,
    pub(crate) sequence: Option<u64>,
    pub(crate) key: Option<Bytes>,
    /// Its headers. Attributes of events are `ce-…`, as HTTP has them.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
    /// How often the broker has given it out, as far as it counts that.
    pub(crate) given: u32,
    pub(crate) receipt: Arc<dyn Receipt>,
}

impl Message {
    /// The first value of a header.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It was delivered.
    Delivered,
    /// It never will be.
    GivenUp,
    /// It is to come again after a pause.
    Later(Duration),
    /// It is to come again: nothing was tried.
    Back,
}

/// What a broker is told by what became of a message.
pub(super) trait Receipt: Send + Sync {
    /// Whether the broker can keep it until later. Else it is held here meanwhile.
    fn can_wait(&self) -> bool;

    /// Whether it is not to be held here any more: another has it by now, or may have.
    fn is_lost(&self) -> bool;

    /// Tells the broker.
    fn settle(&self, what: Settled) -> BoxFuture<'_, Result<(), String>>;

    /// Tells the broker that it is not forgotten; false when it could not be told.
    fn hold(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}
