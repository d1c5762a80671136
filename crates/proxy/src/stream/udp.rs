//! Sessions of datagrams: what comes from one address goes to one endpoint, and back in order, until it falls silent.
//!
//! Each worker has sockets of its own, and the kernel hands all of an address to one of them, so that a session is one
//! worker's. A session has a socket of its own to its endpoint, by which answers are told apart.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::{Rc, Weak},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use model::StreamRecord;
use tokio::{net::UdpSocket, sync::Notify};

use super::{
    report::{Dropped, Ended, Lack},
    route::{Open, Route, add},
    target,
    tcp::record,
};
use crate::{
    listener::Listener,
    timer::Timer,
    upstream::{
        Upstream,
        cluster::{Address, Endpoint, Picked, TryResult},
    },
    worker::{Opened, Worker},
};

/// Bytes of the largest datagram, and one by which a larger one would show.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024 + 1;
/// Datagrams that are read before others have their turn.
const READ_MAX: usize = 64;
/// The pause after something that may last, and how often it is told of.
const PAUSE: Duration = Duration::from_millis(50);
const COMPLAINTS: Duration = Duration::from_secs(60);
/// How often a socket whose listener is gone looks whether its last session has ended.
const LOOK: Duration = Duration::from_millis(500);

thread_local! {
    /// What datagrams go through: none is kept.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice());
}

/// Sessions of the process, of whatever route.
static PLACES: AtomicU64 = AtomicU64::new(0);

type Sessions = Rc<RefCell<HashMap<SocketAddr, Rc<Session>>>>;

/// What one address sends and gets.
struct Session {
    socket: UdpSocket,
    route: Arc<Route>,
    timer: Timer,
    received: Cell<(u64, u64)>,
    sent: Cell<(u64, u64)>,
    /// The endpoint has answered: it knows of the session. Until then what the client sends does not prolong it.
    is_answered: Cell<bool>,
    refused: Notify,
}

/// A listener's socket in a worker.
struct Door {
    worker: Rc<Worker>,
    listener: Arc<str>,
    socket: Rc<UdpSocket>,
    sessions: Sessions,
    is_closing: Cell<bool>,
    /// When it was last told that nothing can be received.
    complained: Cell<Option<Instant>>,
}

/// Serves a listener's datagrams until it is told to close, and then those of sessions that there are, to their end: they
/// answer by the same socket, which the kernel gives datagrams as long as it is open. If another listener has the address
/// by then, new sessions are that one's.
pub(crate) async fn run(
    worker: Rc<Worker>,
    listener: Arc<str>,
    socket: std::net::UdpSocket,
    closing: Rc<Notify>,
) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => Rc::new(socket),
        Err(error) => {
            tracing::error!(%listener, "cannot receive datagrams: {error}");
            return;
        }
    };
    let door = Door {
        worker,
        listener,
        socket,
        sessions: Sessions::default(),
        is_closing: Cell::new(false),
        complained: Cell::new(None),
    };
    loop {
        tokio::select! {
            biased;
            () = closing.notified() => break,
            ready = door.socket.readable() => {
                if let Err(error) = ready {
                    tracing::error!(listener = %door.listener, "cannot receive datagrams: {error}");
                    return;
                }
            }
        }
        door.take_some().await;
    }
    door.is_closing.set(true);
    // Whoever told it to close waits until it has, and may tell the sessions to end after that.
    tokio::task::spawn_local(door.linger());
}

impl Door {
    /// Hears the sessions that there are to their end.
    async fn linger(self) {
        while !self.sessions.borrow().is_empty() {
            tokio::select! {
                ready = self.socket.readable() => {
                    if ready.is_err() {
                        return;
                    }
                }
                // The last session may have ended without a word from outside.
                () = tokio::time::sleep(LOOK) => {}
            }
            self.take_some().await;
        }
    }

    /// Takes what there is, and lets others have their turn.
    async fn take_some(&self) {
        let Err(error) = turn(|| self.take_one()) else { return tokio::task::yield_now().await };
        // It may last, and the socket counts as readable all the while.
        let now = Instant::now();
        if self.complained.get().is_none_or(|before| now.saturating_duration_since(before) >= COMPLAINTS) {
            self.complained.set(Some(now));
            tracing::error!(listener = %self.listener, "cannot receive datagrams: {error}; it is tried again and again");
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Takes a datagram.
    fn take_one(&self) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let (count, from) = self.socket.try_recv_from(scratch)?;
            self.pass(&scratch[..count], from);
            Ok(())
        })
    }

    fn pass(&self, datagram: &[u8], from: SocketAddr) {
        let known = self.sessions.borrow().get(&from).cloned();
        let session = match known {
            Some(session) => session,
            None => match self.begin(from) {
                Some(session) => session,
                None => return,
            },
        };
        session.forward(datagram);
    }

    /// Begins a session, if there may be one.
    fn begin(&self, from: SocketAddr) -> Option<Rc<Session>> {
        let plan = self.worker.plan();
        let here = self.socket.local_addr().ok()?;
        let is_here = |known: &Listener| known.address.parse::<SocketAddr>().is_ok_and(|own| own == here);
        let by_name = plan.listeners.iter().find(|known| known.name == self.listener);
        // Under another name, the address is still somebody's; under another address, the name is not this socket's.
        let listener = by_name
            .filter(|known| !self.is_closing.get() || is_here(known))
            .or_else(|| plan.listeners.iter().find(|known| self.is_closing.get() && is_here(known)))?
            .clone();
        let route = listener.streams.as_ref()?.any()?.clone();
        let client = from.ip().to_canonical();
        // Anybody can have a record written for each datagram: those that never were a session are counted alone.
        let refuse = |ended: Ended| {
            route.counts.ended(ended);
            None
        };
        if !route.lets_in(client) {
            return refuse(Ended::Denied);
        }
        let Some(open) = route.open(client) else { return refuse(Ended::Full) };
        let Some(opened) = self.worker.open(&listener.name) else { return refuse(Ended::Full) };
        let target = route.target()?;
        let upstream = target.upstream.clone();
        let now = Instant::now();
        let endpoint = match target::choose(&self.worker, &upstream, client, &[], now) {
            Ok(endpoint) => endpoint,
            Err(_) => {
                told(&route, now, Some(Lack::Endpoint), "every endpoint is set aside");
                return refuse(Ended::Unreachable);
            }
        };
        let (place, socket) = match Place::take().and_then(|place| Ok((place, connected(&endpoint)?))) {
            Ok(made) => made,
            Err(NoSocket::Own(error)) => {
                told(&route, now, Some(Lack::Own), &error);
                return refuse(Ended::Full);
            }
            Err(NoSocket::Theirs(error)) => {
                upstream.cluster.report(&endpoint, now, TryResult::ConnectFailed);
                told(&route, now, Some(Lack::Endpoint), &format!("{}: {error}", endpoint.label));
                return refuse(Ended::Unreachable);
            }
        };
        told(&route, now, None, "");
        let timer = Timer::new();
        timer.arm(route.idle);
        let session = Rc::new(Session {
            socket,
            route,
            timer,
            received: Cell::default(),
            sent: Cell::default(),
            is_answered: Cell::new(false),
            refused: Notify::new(),
        });
        self.sessions.borrow_mut().insert(from, session.clone());
        let life = Life {
            worker: self.worker.clone(),
            listener,
            socket: self.socket.clone(),
            sessions: Rc::downgrade(&self.sessions),
            session: session.clone(),
            from,
            upstream,
            picked: Picked::new(endpoint),
            started: now,
            ended: Cell::new(Ended::Drained),
            _open: open,
            _opened: opened,
            _place: place,
        };
        tokio::task::spawn_local(life.run());
        Some(session)
    }
}

/// Takes until there is nothing more or others should have their turn. An error is one that may last.
fn turn(mut take: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut last = Ok(());
    for _ in 0..READ_MAX {
        match take() {
            Ok(()) => last = Ok(()),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(()),
                // What was sent to somebody who is gone comes back as an error of the next read.
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::Interrupted => last = Err(error),
                _ => return Err(error),
            },
        }
    }
    last
}

/// Says that no session of a route can begin, or that they can again, when that changes.
fn told(route: &Route, now: Instant, lack: Option<Lack>, why: &str) {
    if !route.counts.lacking.is_news(now, lack) {
        return;
    }
    let name = &*route.name;
    match lack {
        None => tracing::info!(route = %name, "sessions of `{name}` begin again"),
        Some(_) => tracing::warn!(route = %name, "sessions of `{name}` cannot begin: {why}"),
    }
}

/// Why there is no socket to an endpoint.
enum NoSocket {
    /// The gateway has nothing left to make one of.
    Own(String),
    /// The endpoint cannot be spoken to.
    Theirs(io::Error),
}

/// One of the descriptors that sessions may have.
struct Place;

impl Place {
    /// Takes one, if sessions have not as many as they may: connections and files need some, too.
    fn take() -> Result<Self, NoSocket> {
        static MAX: LazyLock<u64> = LazyLock::new(|| {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            limit.map_or(u64::MAX, |limit| limit / 2)
        });
        let place = Self;
        match PLACES.fetch_add(1, Ordering::Relaxed) < *MAX {
            true => Ok(place),
            false => Err(NoSocket::Own(format!(
                "they have {} descriptors, half of those that the process may have (`ulimit -n`)",
                *MAX
            ))),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        PLACES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that speaks to one endpoint alone.
fn connected(endpoint: &Endpoint) -> Result<UdpSocket, NoSocket> {
    let own = |error: io::Error| NoSocket::Own(error.to_string());
    let Address::Socket(address) = &endpoint.address else {
        let error = "there are no datagrams at a Unix socket";
        return Err(NoSocket::Theirs(io::Error::new(io::ErrorKind::Unsupported, error)));
    };
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0)).map_err(own)?;
    socket.set_nonblocking(true).map_err(own)?;
    // What this says is of the address, unless the system has no room or no port left.
    socket.connect(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse | io::ErrorKind::OutOfMemory => own(error),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => own(error),
        _ => NoSocket::Theirs(error),
    })?;
    UdpSocket::from_std(socket).map_err(own)
}

impl Session {
    fn forward(&self, datagram: &[u8]) {
        let counts = &self.route.counts;
        if datagram.len() > self.route.datagram_bytes {
            return counts.dropped(Dropped::TooLarge);
        }
        if self.is_answered.get() {
            self.timer.arm(self.route.idle);
        }
        // Without asking the runtime whether there is room: of a socket that was just made it does not know yet.
        match socket2::SockRef::from(&self.socket).send(datagram) {
            Ok(_) => {
                let (datagrams, bytes) = self.received.get();
                self.received.set((datagrams + 1, bytes + datagram.len() as u64));
                add(&counts.datagrams_received, 1);
                add(&counts.received, datagram.len() as u64);
            }
            // Nobody listens there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused.notify_one(),
            Err(_) => counts.dropped(Dropped::Busy),
        }
    }

    /// One answer, to be sent when the client's side takes no more at the moment.
    fn take_answer(&self, to: &UdpSocket, client: SocketAddr) -> io::Result<Option<Vec<u8>>> {
        let counts = &self.route.counts;
        SCRATCH.with_borrow_mut(|scratch| {
            let count = self.socket.try_recv(scratch)?;
            if count > self.route.datagram_bytes {
                counts.dropped(Dropped::TooLarge);
                return Ok(None);
            }
            self.is_answered.set(true);
            self.timer.arm(self.route.idle);
            match to.try_send_to(&scratch[..count], client) {
                Ok(_) => self.sent_one(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Some(scratch[..count].to_vec()));
                }
                Err(_) => counts.dropped(Dropped::Busy),
            }
            Ok(None)
        })
    }

    fn sent_one(&self, count: usize) {
        let (datagrams, bytes) = self.sent.get();
        self.sent.set((datagrams + 1, bytes + count as u64));
        add(&self.route.counts.datagrams_sent, 1);
        add(&self.route.counts.sent, count as u64);
    }
}

/// A session, from its first datagram to its record.
struct Life {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    socket: Rc<UdpSocket>,
    sessions: Weak<RefCell<HashMap<SocketAddr, Rc<Session>>>>,
    session: Rc<Session>,
    from: SocketAddr,
    upstream: Arc<Upstream>,
    picked: Picked,
    started: Instant,
    /// `Drained` until it has come to an end of its own.
    ended: Cell<Ended>,
    _open: Open,
    _opened: Opened,
    _place: Place,
}

impl Life {
    async fn run(self) {
        self.ended.set(self.flow().await);
    }
}

impl Drop for Life {
    /// Also of one that the deadline of a shutdown cuts.
    fn drop(&mut self) {
        let (started, ended) = (self.started, self.ended.get());
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.borrow_mut().remove(&self.from);
        }
        let cluster = &self.upstream.cluster;
        let (received, sent) = (self.session.received.get(), self.session.sent.get());
        let now = Instant::now();
        match ended {
            Ended::Unreachable => cluster.report(&self.picked.endpoint, now, TryResult::ConnectRefused),
            // Of an endpoint that only listens nothing can be told.
            _ if sent.0 > 0 => {
                let result = TryResult::Answered { status: 200, latency: std::time::Duration::ZERO };
                cluster.report(&self.picked.endpoint, now, result);
            }
            _ => {}
        }
        self.session.route.counts.ended(ended);
        let stream = StreamRecord {
            protocol: "udp",
            server_name: None,
            ended: ended.as_str(),
            datagrams: Some((received.0, sent.0)),
        };
        let mut record = record(&self.worker, &self.listener, Some(self.from), stream);
        record.started = std::time::SystemTime::now() - started.elapsed();
        record.route = Some(self.session.route.name.clone());
        record.upstream = Some(self.upstream.name.clone());
        record.endpoint = Some(self.picked.endpoint.label.clone());
        record.attempts = 1;
        record.status = ended.status();
        (record.request_bytes, record.response_bytes) = (received.1, sent.1);
        record.timings.total = started.elapsed();
        self.worker.note(record);
    }
}

impl Life {
    async fn flow(&self) -> Ended {
        let session = &self.session;
        let silent = || poll_fn(|cx| session.timer.poll(cx));
        let mut left = std::pin::pin!(self.worker.left());
        loop {
            tokio::select! {
                biased;
                () = session.refused.notified() => return Ended::Unreachable,
                ready = session.socket.readable() => {
                    if ready.is_err() {
                        return Ended::Reset;
                    }
                }
                () = silent() => return Ended::Idle,
                () = &mut left => return Ended::Drained,
            }
            for _ in 0..READ_MAX {
                match session.take_answer(&self.socket, self.from) {
                    Ok(None) => {}
                    // One at a time, so that answers stay in their order.
                    Ok(Some(datagram)) => match self.socket.send_to(&datagram, self.from).await {
                        Ok(count) => session.sent_one(count),
                        Err(_) => session.route.counts.dropped(Dropped::Busy),
                    },
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        return Ended::Unreachable;
                    }
                    Err(_) => return Ended::Reset,
                }
            }
            // Others have their turn.
            let mut is_first = true;
            poll_fn(|cx| {
                if std::mem::take(&mut is_first) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_lasts_ends_the_turn_and_one_about_somebody_else_does_not() {
        let taken = |all: &mut dyn Iterator<Item = Option<io::ErrorKind>>| {
            let mut count = 0;
            let ended = turn(|| {
                count += 1;
                all.next().flatten().map_or(Ok(()), |kind| Err(kind.into()))
            });
            (count, ended.map_err(|error| error.kind()))
        };
        let (refused, nothing) = (Some(io::ErrorKind::ConnectionRefused), Some(io::ErrorKind::WouldBlock));
        let lasting = Some(io::ErrorKind::InvalidInput);
        assert_eq!(taken(&mut [refused, None, refused, nothing].into_iter()), (4, Ok(())));
        assert_eq!(taken(&mut std::iter::repeat(lasting)), (1, Err(io::ErrorKind::InvalidInput)));
        assert_eq!(taken(&mut std::iter::repeat(refused)), (READ_MAX, Err(io::ErrorKind::ConnectionRefused)));
        assert_eq!(taken(&mut std::iter::repeat(None)), (READ_MAX, Ok(())), "others have their turn");
    }
}
