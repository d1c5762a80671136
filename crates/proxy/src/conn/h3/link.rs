//! A client's HTTP/3 connection from its handshake to its end: takes requests, and says when it takes no more.

use std::{
    cell::Cell,
    net::IpAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use http3::Code;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Notify;

use super::{code, control, stream};
use crate::{conn::peer::Peer, worker::Worker};

/// How long the last datagrams of a connection have to leave before it is forgotten.
const GOODBYE: Duration = Duration::from_millis(20);

/// What a connection and its requests share.
#[derive(Default)]
pub(crate) struct Shared {
    streams: Cell<usize>,
    /// Requests that the client broke off less those that ended well: what an attack drives up and traffic drives down.
    excess_resets: Cell<i64>,
    /// A request came for which there is no listener any more: the connection ends with what is open.
    is_orphan: Cell<bool>,
    /// A head did not come in time.
    is_slow: Cell<bool>,
    changed: Notify,
}

impl Shared {
    /// Wakes the connection, so that it sees a drain or an end of its last request.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// No further requests are taken.
    pub(super) fn orphan(&self) {
        self.is_orphan.set(true);
        self.wake();
    }

    /// A head did not come in time.
    pub(super) fn note_slow(&self) {
        self.is_slow.set(true);
        self.wake();
    }

    /// A request ended well, or by its client's doing.
    pub(super) fn note_end(&self, is_well: bool) {
        let change = if is_well { -1 } else { 1 };
        self.excess_resets.set((self.excess_resets.get() + change).max(0));
        if !is_well {
            self.wake();
        }
    }
}

/// A request that is open.
pub(super) struct Open(pub(super) Rc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        if self.0.streams.get() == 0 {
            self.0.wake();
        }
    }
}

/// A connection while it is served.
struct Link<'a> {
    worker: &'a Rc<Worker>,
    peer: &'a Rc<Peer>,
    connection: &'a Connection,
    shared: Rc<Shared>,
    served: Cell<u32>,
    /// The first stream that is not taken.
    next: Cell<u64>,
    /// When it is old.
    old_at: Option<Instant>,
    /// The address that the handshake came from, which the client has shown to be its own.
    address: IpAddr,
}

/// How far a connection is on its way to its end.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// It takes requests.
    Open,
    /// Its client is asked for no new ones; those that are on their way are taken until then (RFC 9114 §5.2).
    Leaving { until: Instant },
    /// It takes none, and ends when nothing has been open for so long.
    Ending { patience: Duration },
}

/// What comes next.
enum Next {
    Request(SendStream, RecvStream),
    /// Something has changed.
    Changed,
    /// It has taken as long as it may.
    Late,
    /// The connection has ended.
    End,
}

/// Serves an HTTP/3 connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, connection: Connection) {
    let shared = Rc::<Shared>::default();
    let _registered = worker.register_h3(&shared);
    let Some(control) = greet(&connection, &peer).await else { return };
    let listening = tokio::task::spawn_local(control::listen(connection.clone()));
    let link = Link {
        worker: &worker,
        peer: &peer,
        connection: &connection,
        shared,
        served: Cell::new(0),
        next: Cell::new(0),
        old_at: peer.listener.limits.old_at(Instant::now(), worker.random()),
        address: peer.ip(),
    };
    let why = link.run(control).await;
    connection.close(code(why), b"");
    // What is still open sees the end and leaves its records.
    tokio::time::sleep(GOODBYE).await;
    listening.abort();
}

/// Opens the control stream and says the settings.
async fn greet(connection: &Connection, peer: &Peer) -> Option<SendStream> {
    let limits = &peer.listener.limits;
    let greeting = async {
        let mut control = connection.open_uni().await.ok()?;
        control.write_chunk(http3::greeting(limits.http1.head_bytes)).await.ok()?;
        let _ = control.set_priority(1);
        Some(control)
    };
    tokio::time::timeout(limits.header_timeout, greeting).await.ok()?
}

impl Link<'_> {
    /// Takes requests until the end; says why it ended.
    async fn run(&self, mut control: SendStream) -> Code {
        let limits = &self.peer.listener.limits;
        let (mut stage, mut quiet) = (Stage::Open, None);
        loop {
            if self.shared.is_slow.get() || self.shared.excess_resets.get() > i64::from(limits.max_resets) {
                return Code::EXCESSIVE_LOAD;
            }
            let now = Instant::now();
            if !matches!(stage, Stage::Ending { .. }) && self.must_end() {
                // Requests may be on their way that the client would send again if it heard in time.
                (stage, quiet) = (Stage::Ending { patience: self.grace() }, None);
                self.say_goodbye(&mut control, self.next.get()).await;
            } else if matches!(stage, Stage::Open) && (self.worker.is_draining() || self.is_old(now)) {
                stage = Stage::Leaving { until: now + self.grace() };
                self.say_goodbye(&mut control, http3::LAST_STREAM).await;
            }
            let is_quiet = self.shared.streams.get() == 0;
            quiet = is_quiet.then(|| quiet.unwrap_or(now));
            let until = match stage {
                Stage::Open => {
                    let idle = is_quiet.then(|| now + limits.idle_timeout);
                    idle.into_iter().chain(self.old_at).min()
                }
                Stage::Leaving { until } => Some(until),
                // Requests that are refused do not put it off.
                Stage::Ending { patience } => quiet.map(|since| since + patience),
            };
            match (self.next(until).await, stage) {
                (Next::Request(mut send, mut recv), Stage::Ending { .. }) => {
                    let _ = send.reset(code(Code::REQUEST_REJECTED));
                    let _ = recv.stop(code(Code::REQUEST_REJECTED));
                }
                (Next::Request(send, recv), _) => self.begin(send, recv),
                (Next::Changed, _) => {}
                (Next::Late, Stage::Open) if self.is_old(Instant::now()) => {}
                (Next::Late, Stage::Leaving { .. }) if !is_quiet => {
                    // Whoever has heeded what was said has asked for nothing new by now.
                    (stage, quiet) = (Stage::Ending { patience: Duration::ZERO }, None);
                    self.say_goodbye(&mut control, self.next.get()).await;
                }
                (Next::Late, Stage::Open) => {
                    self.say_goodbye(&mut control, self.next.get()).await;
                    return Code::NO_ERROR;
                }
                (Next::Late | Next::End, _) => return Code::NO_ERROR,
            }
        }
    }

    /// How long requests may be on their way whose client has not heard yet that it should ask no more.
    fn grace(&self) -> Duration {
        let most = self.peer.listener.limits.header_timeout;
        self.worker.idle_grace().max(self.connection.rtt()).min(most)
    }

    async fn next(&self, until: Option<Instant>) -> Next {
        let late = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shared.changed.notified() => Next::Changed,
            () = late => Next::Late,
            accepted = self.connection.accept_bi() => match accepted {
                Ok((send, recv)) => Next::Request(send, recv),
                Err(_) => Next::End,
            },
        }
    }

    fn is_old(&self, now: Instant) -> bool {
        self.old_at.is_some_and(|old_at| old_at <= now)
    }

    /// Whether no further requests are taken here. (A drain takes those that are on their way.)
    fn must_end(&self) -> bool {
        self.shared.is_orphan.get()
            || self.served.get() >= self.peer.listener.limits.max_requests_per_connection
            || self.has_moved()
    }

    /// Whether the client's address is another one now. Datagrams can bear a false one, and what is answered then is
    /// done already: so requests are judged by the address that the handshake came from, and a client that has moved
    /// is sent away to show its new one with a new handshake. A new port is no new address.
    fn has_moved(&self) -> bool {
        self.connection.remote_address().ip().to_canonical() != self.address
    }

    /// Asks for no new requests, and refuses those from this stream on.
    async fn say_goodbye(&self, control: &mut SendStream, from: u64) {
        let patience = self.peer.listener.limits.header_timeout;
        let _ = tokio::time::timeout(patience, control.write_chunk(http3::goaway(from))).await;
    }

    fn begin(&self, send: SendStream, recv: RecvStream) {
        self.next.set(recv.id().index() * 4 + 4);
        self.served.set(self.served.get().saturating_add(1));
        self.shared.streams.set(self.shared.streams.get() + 1);
        let open = Open(self.shared.clone());
        let (worker, peer) = (self.worker.clone(), self.peer.clone());
        tokio::task::spawn_local(stream::serve(worker, peer, self.connection.clone(), (send, recv), open));
    }
}
