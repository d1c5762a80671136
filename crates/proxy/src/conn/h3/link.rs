//! A client's HTTP/3 connection from its handshake to its end: takes requests, and says when it takes no more.

use std::{cell::Cell, net::IpAddr, rc::Rc, time::Duration};

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
    /// The address that the handshake came from, which the client has shown to be its own.
    address: IpAddr,
}

/// What comes next.
enum Next {
    Request(SendStream, RecvStream),
    /// Something has changed.
    Changed,
    /// Nothing is open, and nothing has come for long enough.
    Idle,
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
        let mut is_leaving = false;
        loop {
            if self.shared.is_slow.get() || self.shared.excess_resets.get() > i64::from(limits.max_resets) {
                return Code::EXCESSIVE_LOAD;
            }
            if !is_leaving && self.must_leave() {
                is_leaving = true;
                self.say_goodbye(&mut control).await;
            }
            let patience = match is_leaving {
                // Requests may be on their way that the client would send again if it heard in time.
                true => self.worker.idle_grace().min(limits.header_timeout),
                false => limits.idle_timeout,
            };
            match self.next(patience).await {
                Next::Request(mut send, mut recv) if is_leaving => {
                    let _ = send.reset(code(Code::REQUEST_REJECTED));
                    let _ = recv.stop(code(Code::REQUEST_REJECTED));
                }
                Next::Request(send, recv) => self.begin(send, recv),
                Next::Changed => {}
                Next::Idle if is_leaving => return Code::NO_ERROR,
                Next::Idle => {
                    self.say_goodbye(&mut control).await;
                    return Code::NO_ERROR;
                }
                Next::End => return Code::NO_ERROR,
            }
        }
    }

    async fn next(&self, patience: Duration) -> Next {
        tokio::select! {
            biased;
            () = self.shared.changed.notified() => Next::Changed,
            accepted = self.connection.accept_bi() => match accepted {
                Ok((send, recv)) => Next::Request(send, recv),
                Err(_) => Next::End,
            },
            () = tokio::time::sleep(patience), if self.shared.streams.get() == 0 => Next::Idle,
        }
    }

    /// Whether no further requests are taken here.
    fn must_leave(&self) -> bool {
        self.worker.is_draining()
            || self.shared.is_orphan.get()
            || self.served.get() >= self.peer.listener.limits.max_requests_per_connection
            || self.has_moved()
    }

    /// Whether the client's address is another one now. Datagrams can bear a false one, and what is answered then is
    /// done already: so requests are judged by the address that the handshake came from, and a client that has moved
    /// is sent away to show its new one with a new handshake. A new port is no new address.
    fn has_moved(&self) -> bool {
        self.connection.remote_address().ip().to_canonical() != self.address
    }

    async fn say_goodbye(&self, control: &mut SendStream) {
        let goaway = http3::goaway(self.next.get());
        let _ =
            tokio::time::timeout(self.peer.listener.limits.header_timeout, control.write_chunk(goaway)).await;
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
