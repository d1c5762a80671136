//! A worker's endpoint at an address: takes handshakes, and hands connections to HTTP/3.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http3::steer::{Home, ID_BYTES, RANDOM_BYTES};
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, Incoming, TokioRuntime,
    crypto::rustls::HandshakeData,
};
use rustls::pki_types::CertificateDer;

use super::{
    Share,
    gate::{Gate, Pass, Verdict},
    report::{COUNTS, count},
    socket::Socket,
};
use crate::{
    conn::{
        h3,
        peer::{Peer, TlsPeer},
    },
    listener::{Listener, accept::Entered, handshake},
    worker::{Opened, Worker},
};

/// The error code of a connection that ends because of its handshake alone.
const NO_ERROR: u32 = 0x100;

/// Serves an address until the process ends.
pub(crate) async fn run(worker: Rc<Worker>, share: Share) {
    let serves = share.listener.clone();
    let Some(server) =
        named(&worker, &serves).and_then(|listener| Some(listener.http3.as_ref()?.server.clone()))
    else {
        return;
    };
    let endpoint = match open(share, (*server).clone()) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            tracing::error!("no HTTP/3 in worker {}: {error}", worker.id());
            return;
        }
    };
    let gate = Rc::<Gate>::default();
    while let Some(incoming) = endpoint.accept().await {
        take(&worker, &serves, &gate, incoming);
    }
    // Nobody closes it: its socket has failed.
    tracing::error!("HTTP/3 has ended in worker {}, and comes back with a new process", worker.id());
}

fn open(share: Share, server: quinn::ServerConfig) -> io::Result<Endpoint> {
    let mut secret = [0; 64];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let mut config = EndpointConfig::new(Arc::new(key));
    let home = share.home;
    config.cid_generator(move || Box::new(Ids(home)));
    let socket = Arc::new(Socket::new(share)?);
    Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))
}

/// Gives out connection ids that say whose they are.
struct Ids(Home);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut random = [0; RANDOM_BYTES];
        // Without random numbers the ids that are there already are found, and the connection is not made.
        let _ = aws_lc_rs::rand::fill(&mut random);
        ConnectionId::new(&self.0.id(random))
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The listener that is served now, as the live snapshot has it.
fn named(worker: &Worker, serves: &Mutex<Option<Arc<str>>>) -> Option<Arc<Listener>> {
    let name = serves.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
    worker.plan().listeners.iter().find(|known| known.name == name).cloned()
}

fn take(worker: &Rc<Worker>, serves: &Mutex<Option<Arc<str>>>, gate: &Rc<Gate>, incoming: Incoming) {
    let listener = named(worker, serves).filter(|_| !worker.is_draining());
    let Some((listener, http3)) = listener.as_ref().and_then(|one| Some((one, one.http3.as_ref()?))) else {
        count(&COUNTS.refused);
        return incoming.refuse();
    };
    let remote = incoming.remote_address();
    let is_shown = incoming.remote_address_validated();
    let pass = match gate.judge(remote.ip(), is_shown, http3.retry, http3.max_handshakes_per_address) {
        Verdict::Begin(pass) => pass,
        Verdict::Retry if incoming.may_retry() => {
            count(&COUNTS.retries);
            let _ = incoming.retry();
            return;
        }
        Verdict::Retry | Verdict::Refuse => {
            count(&COUNTS.refused);
            return incoming.refuse();
        }
        Verdict::Ignore => {
            count(&COUNTS.refused);
            return incoming.ignore();
        }
    };
    let Some(opened) = worker.open(&listener.name) else {
        tracing::debug!(listener = %listener.name, "refused a connection: the process has as many as it may");
        count(&COUNTS.refused);
        return incoming.refuse();
    };
    if !listener.enter() {
        count(&COUNTS.refused);
        return incoming.refuse();
    }
    let entered = Entered(listener.clone());
    // Whoever may not be where it says it is could have requests answered that are forbidden there.
    let may_be_early = http3.early_data && is_shown;
    match incoming.accept_with(http3.server.clone()) {
        Ok(connecting) => {
            let begun = Begun { worker: worker.clone(), listener: listener.clone(), remote, may_be_early };
            tokio::task::spawn_local(begun.serve(connecting, pass, opened, entered));
        }
        Err(error) => tracing::debug!(listener = %listener.name, "refused a connection: {error}"),
    }
}

/// A handshake that has begun.
struct Begun {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    remote: SocketAddr,
    may_be_early: bool,
}

impl Begun {
    async fn serve(self, mut connecting: quinn::Connecting, pass: Pass, _opened: Opened, _entered: Entered) {
        let Self { worker, listener, remote, may_be_early } = self;
        let failed = |error: io::Error| handshake::failed(&worker, &listener, Some(remote), &error);
        let patience = listener.limits.tls_timeout;
        let work = async {
            if may_be_early {
                // What the client asked for is known then, and its requests may be there.
                connecting.handshake_data().await?;
                connecting = match connecting.into_0rtt() {
                    Ok((connection, whole)) => return Ok((connection, Some(whole))),
                    Err(connecting) => connecting,
                };
            }
            Ok::<_, quinn::ConnectionError>((connecting.await?, None))
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it took longer than `limits.tlsTimeout`");
        let (connection, whole) = match tokio::time::timeout(patience, work).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => return failed(io::Error::other(error)),
            Err(_) if worker.is_draining() => return,
            Err(_) => return failed(late()),
        };
        match whole {
            None => drop(pass),
            Some(whole) => {
                let connection = connection.clone();
                let (worker, listener) = (worker.clone(), listener.clone());
                tokio::task::spawn_local(async move {
                    let _pass = pass;
                    let is_late = tokio::time::timeout(patience, whole).await.is_err();
                    if is_late {
                        connection.close(NO_ERROR.into(), b"");
                        handshake::failed(&worker, &listener, Some(remote), &late());
                    }
                });
            }
        }
        let tls = told(&connection, &listener);
        let peer = Rc::new(Peer::new(listener, Some(remote), tls));
        h3::serve(worker, peer, connection).await;
    }
}

/// What the handshake told.
fn told(connection: &quinn::Connection, listener: &Listener) -> Option<TlsPeer> {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let shown =
        connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    Some(TlsPeer {
        sni: data.and_then(|data| data.server_name).map(|name| name.to_ascii_lowercase().into()),
        certificates: listener.tls.as_ref().map(|tls| tls.certificates.clone()),
        client: crate::tls::server::identity_of(shown.as_deref().map(Vec::as_slice)),
    })
}
