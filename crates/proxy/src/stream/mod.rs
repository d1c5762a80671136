//! Byte streams and datagrams that go on as they come: routes by listener and TLS server name.
//!
//! [`enter`] stands between the listener and everything that speaks: it takes connections that are a route's, and gives the
//! others back. [`tcp`] carries a connection, [`udp`] sessions of datagrams; where to is the upstreams' business, as for
//! calls. Nothing of what flows is read but the beginning of TLS, and nothing is kept beyond what is on its way.

mod copy;
pub(crate) mod report;
mod route;
mod target;
mod tcp;
pub(crate) mod udp;

use std::{io, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::BytesMut;
use layer4::{Names, Peek, Seen};
use model::resource::{listener::ListenerProtocol, stream_route::StreamRoute};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) use self::route::Route;
use crate::{
    conn::wire::Io,
    listener::{Listener, accept, handshake},
    upstream::Upstream,
    worker::Worker,
};

/// A fatal alert of TLS that says that nobody has the name (RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The routes of a listener.
pub(crate) struct Streams {
    names: Names<Arc<Route>>,
}

/// What the beginning of a connection shows.
#[derive(Default)]
struct Shown {
    is_tls: bool,
    server_name: Option<Box<str>>,
}

impl Streams {
    /// Those of a listener, if it has any. No two want the same: that was checked.
    pub(crate) fn of(listener: &model::Listener, routes: &[(&StreamRoute, Arc<Route>)]) -> Option<Self> {
        let mut names = Names::default();
        let mut is_empty = true;
        for (settings, route) in
            routes.iter().filter(|(settings, _)| settings.listeners.contains(&listener.name))
        {
            is_empty = false;
            for name in &settings.server_names {
                let _ = names.add(name, route.clone());
            }
            if settings.server_names.is_empty() {
                let _ = names.add_any(route.clone());
            }
        }
        (!is_empty).then_some(Self { names })
    }

    /// The name of the route that takes a connection, and the upstreams that it goes to.
    pub(crate) fn lead_to(&self, server_name: Option<&str>) -> Option<(&str, Vec<&Arc<Upstream>>)> {
        let route = self.names.find(server_name)?;
        Some((&*route.name, route.targets.iter().map(|target| &target.upstream).collect()))
    }

    /// The route of datagrams.
    fn any(&self) -> Option<&Arc<Route>> {
        self.names.any()
    }
}

/// Takes a connection that is a stream route's and carries it to its end. Others are given back, not a byte missing.
pub(crate) async fn enter(
    worker: &Rc<Worker>,
    listener: &Arc<Listener>,
    io: Io,
    remote: Option<SocketAddr>,
) -> Option<Io> {
    let Some(streams) = &listener.streams else { return Some(io) };
    let is_http = listener.protocol == ListenerProtocol::Http;
    let (mut io, shown) = match streams.names.has_names() {
        false => (io, Shown::default()),
        true => {
            let patience = listener.limits.tls_timeout;
            match accept::within(worker, patience, peek(io)).await {
                Some(Ok(peeked)) => peeked,
                Some(Err(error)) => {
                    tracing::debug!(listener = %listener.name, "a connection broke before it said anything: {error}");
                    return None;
                }
                None if worker.is_draining() => return None,
                None => {
                    let late = "it said too little within `limits.tlsTimeout`";
                    let late = io::Error::new(io::ErrorKind::TimedOut, late);
                    handshake::failed(worker, listener, remote, &late);
                    return None;
                }
            }
        }
    };
    match streams.names.find(shown.server_name.as_deref()) {
        Some(route) => {
            // Boxed: calls do not carry its state.
            Box::pin(tcp::serve(worker, listener, route, io, remote, shown)).await;
            None
        }
        None if is_http => Some(io),
        None => {
            let is_tls = shown.is_tls;
            tcp::refused(worker, listener, remote, shown);
            if is_tls {
                let _ = io.write_all(&UNRECOGNIZED_NAME).await;
                let _ = io.shutdown().await;
            }
            None
        }
    }
}

/// Reads until the beginning has shown what it is; what was read is put back.
async fn peek(mut io: Io) -> io::Result<(Io, Shown)> {
    let mut buffer = BytesMut::with_capacity(2 * 1024);
    let mut peek = Peek::default();
    loop {
        let is_over = io.read_buf(&mut buffer).await? == 0;
        let shown = match peek.look(&buffer) {
            Seen::NotYet if !is_over => continue,
            Seen::Hello { server_name } => {
                Shown { is_tls: true, server_name: server_name.map(String::into_boxed_str) }
            }
            // What is malformed is told so by whoever ends TLS, or by the upstream.
            Seen::Malformed => Shown { is_tls: true, server_name: None },
            Seen::NotTls | Seen::NotYet => Shown::default(),
        };
        return Ok((Io::Ahead(buffer.freeze(), Box::new(io)), shown));
    }
}
