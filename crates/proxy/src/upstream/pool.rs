//! Idle upstream connections of one worker.
//!
//! A connection is parked here between calls and owned by its call otherwise: no channel and no second task. The
//! youngest is taken first, so that those that are not needed grow old and are closed.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Upstream, h1::Conn, h2::Channel};

/// What a connection can be used for: an endpoint, reached in one certain way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    /// The endpoint's process-wide id.
    pub(crate) endpoint: u64,
    /// Hash of everything that decides how to connect: TLS, protocol, PROXY header.
    pub(crate) way: u64,
}

/// Bounds of a pool, from the upstream's settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolLimits {
    pub(crate) max_idle: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_requests: u32,
    pub(crate) max_age: Option<Duration>,
}

/// Idle connections of one worker, by endpoint.
#[derive(Default)]
pub(crate) struct Pool {
    shelves: RefCell<HashMap<PoolKey, Shelf, BuildHasherDefault<KeyHasher>>>,
    closed: Cell<bool>,
}

struct Shelf {
    /// The upstream that says how long a connection is kept; asked again with every sweep.
    upstream: Arc<str>,
    limits: PoolLimits,
    #[expect(clippy::vec_box, reason = "connections move between the pool and calls as a pointer")]
    idle: Vec<Box<Conn>>,
    channels: Vec<Rc<Channel>>,
    /// The last connection that was opened spoke HTTP/2, which calls share.
    is_shared: bool,
    /// An HTTP/2 connection that is being opened.
    opening: Option<Rc<Opening>>,
}

/// A shared connection that is being opened; others wait for it.
#[derive(Default)]
pub(crate) struct Opening {
    done: Notify,
    is_open: Cell<bool>,
}

impl Opening {
    /// Waits for its end; true when there is another connection now.
    pub(crate) async fn ended(&self) -> bool {
        self.done.notified().await;
        self.is_open.get()
    }
}

/// Who opens the next connection to an endpoint.
pub(crate) enum Opener {
    /// The caller, for itself.
    Alone,
    /// The caller, for all; the others learn of it when this is dropped.
    ForAll(OpeningForAll),
    /// Another call already does.
    Another(Rc<Opening>),
}

/// Held while a shared connection is opened.
pub(crate) struct OpeningForAll {
    pool: Rc<Pool>,
    key: PoolKey,
    opening: Rc<Opening>,
}

impl OpeningForAll {
    /// Tells that it is open.
    pub(crate) fn opened(&self) {
        self.opening.is_open.set(true);
    }
}

impl Drop for OpeningForAll {
    fn drop(&mut self) {
        if let Some(shelf) = self.pool.shelves.borrow_mut().get_mut(&self.key) {
            shelf.opening = None;
        }
        self.opening.done.notify_waiters();
    }
}

impl Shelf {
    fn new(upstream: &Upstream) -> Self {
        Self {
            upstream: upstream.name.clone(),
            limits: upstream.pool,
            idle: Vec::new(),
            channels: Vec::new(),
            is_shared: false,
            opening: None,
        }
    }

    /// Lets go of what is closed or worn, and of more than may idle: the oldest go first.
    fn tidy(&mut self, now: Instant) {
        let limits = self.limits;
        self.idle.retain(|conn| !limits.worn(conn, now) && conn.is_quiet());
        self.idle.drain(..self.idle.len().saturating_sub(limits.max_idle));
        // Streams that a worn connection still carries go on without the pool.
        self.channels.retain(|channel| !channel.is_closed() && !channel.is_worn(&limits, now));
    }
}

/// The key holds a counter and a hash already.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

impl Pool {
    /// Takes a connection that is still as it should be.
    pub(crate) fn take(&self, key: PoolKey, now: Instant) -> Option<Box<Conn>> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.get_mut(&key)?;
        while let Some(conn) = shelf.idle.pop() {
            if !shelf.limits.worn(&conn, now) && conn.is_quiet() {
                return Some(conn);
            }
        }
        None
    }

    /// Makes room for the connections to an endpoint, of which one was just opened.
    pub(crate) fn opened(&self, key: PoolKey, upstream: &Upstream, is_shared: Option<bool>) {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.entry(key).or_insert_with(|| Shelf::new(upstream));
        shelf.limits = upstream.pool;
        shelf.is_shared = is_shared.unwrap_or(shelf.is_shared);
    }

    /// Who opens the next connection to an endpoint. HTTP/2 connections are shared, so one call opens for all that
    /// come meanwhile.
    pub(crate) fn opener(self: &Rc<Self>, key: PoolKey, upstream: &Upstream) -> Opener {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.entry(key).or_insert_with(|| Shelf::new(upstream));
        if !upstream.is_http2() && !shelf.is_shared {
            return Opener::Alone;
        }
        if let Some(opening) = &shelf.opening {
            return Opener::Another(opening.clone());
        }
        let opening = Rc::<Opening>::default();
        shelf.opening = Some(opening.clone());
        Opener::ForAll(OpeningForAll { pool: self.clone(), key, opening })
    }

    /// Connections that the next calls find open: as many as idle, or any number for a shared one.
    pub(crate) fn ready(&self, key: PoolKey, now: Instant) -> usize {
        let mut shelves = self.shelves.borrow_mut();
        let Some(shelf) = shelves.get_mut(&key) else { return 0 };
        shelf.tidy(now);
        if shelf.channels.is_empty() { shelf.idle.len() } else { usize::MAX }
    }

    /// Parks a connection, or closes it when there are enough.
    pub(crate) fn park(&self, conn: Box<Conn>) {
        if self.closed.get() {
            return;
        }
        let mut shelves = self.shelves.borrow_mut();
        if let Some(shelf) = shelves.get_mut(&conn.key)
            && shelf.idle.len() < shelf.limits.max_idle
            && !shelf.limits.worn(&conn, conn.parked)
        {
            shelf.idle.push(conn);
        }
    }

    /// The HTTP/2 connections to an endpoint that take another stream, the least busy one.
    pub(crate) fn channel(&self, key: PoolKey, now: Instant) -> Option<Rc<Channel>> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.get_mut(&key)?;
        if shelf.channels.is_empty() {
            return None;
        }
        let limits = shelf.limits;
        // Streams that a worn connection still carries go on without the pool.
        shelf.channels.retain(|channel| !channel.is_closed() && !channel.is_worn(&limits, now));
        shelf
            .channels
            .iter()
            .filter(|channel| channel.has_room())
            .min_by_key(|channel| channel.streams())
            .cloned()
    }

    /// Keeps an HTTP/2 connection for others to use.
    pub(crate) fn share(&self, key: PoolKey, channel: Rc<Channel>) {
        if let Some(shelf) = self.shelves.borrow_mut().get_mut(&key) {
            shelf.channels.push(channel);
        }
    }

    /// Closes what has been idle for too long, and everything of endpoints and ways that are gone: `live` knows the
    /// bounds of those that are not.
    pub(crate) fn sweep(&self, now: Instant, live: impl Fn(&str, PoolKey) -> Option<PoolLimits>) {
        self.shelves.borrow_mut().retain(|key, shelf| {
            let Some(limits) = live(&shelf.upstream, *key) else { return false };
            shelf.limits = limits;
            shelf.tidy(now);
            true
        });
    }

    /// Closes everything, for good.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.shelves.borrow_mut().clear();
    }
}

impl PoolLimits {
    fn worn(&self, conn: &Conn, now: Instant) -> bool {
        conn.requests >= self.max_requests
            || now.duration_since(conn.parked) > self.idle_timeout
            || self.max_age.is_some_and(|age| now.duration_since(conn.born) > age)
    }
}
