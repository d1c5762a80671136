//! The admin endpoint: health, metrics and the admin API.
//!
//! Health and metrics are open; everything under `/api/v1` needs the admin token.

mod acme;
mod api;
mod auth;
mod budgets;
mod caches;
mod closing;
mod console;
mod health;
mod mirrors;
mod prompts;
mod secrets;
mod stranglers;
pub(crate) mod tls;
pub(crate) mod token;

use std::{
    fs::Permissions,
    future::Future,
    io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, middleware, routing::get};

use self::closing::{Closable, Closing};
pub(crate) use self::secrets::Secrets;
use crate::run::Running;

/// A running admin endpoint.
pub(crate) struct Admin {
    leaving: Arc<AtomicBool>,
    closing: Arc<Closing>,
    sockets: Arc<Sockets>,
}

impl Admin {
    /// From now on `/readyz` says no.
    pub(crate) fn fail_readiness(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Takes no more connections, and ends each with its next answer: another process answers at the same socket.
    pub(crate) fn close(&self) {
        self.closing.begin();
    }

    /// Leaves nothing behind: nobody answers here any more.
    pub(crate) fn remove(&self) {
        self.sockets.remove();
    }

    /// Its socket.
    pub(crate) fn sockets(&self) -> Arc<Sockets> {
        self.sockets.clone()
    }
}

/// The listening socket of the admin endpoint, kept for another process to take over.
pub(crate) struct Sockets {
    address: String,
    socket: Socket,
    /// Whether this process or one before it made the socket's file, so that it goes with the last of them.
    is_own: bool,
}

enum Socket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

impl Sockets {
    /// Takes the socket's file away, when there is one and this process or one before it made it.
    fn remove(&self) {
        let Some(path) = self.address.strip_prefix("unix:").filter(|_| self.is_own) else { return };
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove the admin socket {path}: {error}");
        }
    }

    /// The socket for another process.
    pub(crate) fn hand_over(&self) -> io::Result<Vec<proxy::Inherited>> {
        let socket: OwnedFd = match &self.socket {
            Socket::Tcp(socket) => socket.try_clone()?.into(),
            Socket::Unix(socket) => socket.try_clone()?.into(),
        };
        // Where it is, if the file is the next process's to take away; as the service manager gave it otherwise.
        let address = self.is_own.then(|| self.address.clone());
        Ok(vec![proxy::Inherited { listener: NAME.to_owned(), address, socket }])
    }
}

/// An admin endpoint that has all it needs and does not answer yet.
pub(crate) struct Prepared {
    sockets: Sockets,
    /// Whether it speaks TLS; with which certificate is asked for each connection.
    is_tls: bool,
}

/// The name of its socket.
const NAME: &str = "admin";

/// What handlers see.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) running: Arc<Running>,
    pub(crate) leaving: Arc<AtomicBool>,
}

/// Binds the admin endpoint, or takes a socket that another process or the service manager has bound for it.
pub(crate) fn prepare(
    settings: &model::Admin,
    inherited: &mut Vec<proxy::Inherited>,
) -> Result<Prepared, String> {
    let wrong = |error| format!("the admin endpoint cannot listen on {}: {error}", settings.address);
    let is_given = inherited.iter().any(|one| one.address.is_none());
    let taken = proxy::take_inherited(inherited, NAME, &settings.address).pop();
    let is_own = taken.is_none() || !is_given;
    let socket = match settings.address.strip_prefix("unix:") {
        Some(path) => {
            taken.map_or_else(|| unix(Path::new(path)), |socket| Ok(socket.into())).map(Socket::Unix)
        }
        None => {
            let address: SocketAddr = settings.address.parse().map_err(|_| {
                format!("admin.address: `{}` is not an address such as 127.0.0.1:9080", settings.address)
            })?;
            let bind = || std::net::TcpListener::bind(address);
            taken.map_or_else(bind, |socket| Ok(socket.into())).map(Socket::Tcp)
        }
    };
    let socket = socket.map_err(wrong)?;
    match &socket {
        Socket::Tcp(socket) => socket.set_nonblocking(true),
        Socket::Unix(socket) => socket.set_nonblocking(true),
    }
    .map_err(wrong)?;
    let sockets = Sockets { address: settings.address.clone(), socket, is_own };
    Ok(Prepared { sockets, is_tls: settings.tls.is_some() })
}

/// A socket for its owner alone. One that is left over from a process that is gone makes room.
fn unix(path: &Path) -> io::Result<UnixListener> {
    let is_left_over = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).is_err();
    if is_left_over {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Prepared {
    /// Answers from now on.
    pub(crate) fn serve(self, running: Arc<Running>) -> Admin {
        let leaving = Arc::new(AtomicBool::new(false));
        let (closing, sockets) = (Arc::new(Closing::default()), Arc::new(self.sockets));
        let secrets = self.is_tls.then(|| running.admin.clone());
        let app = router(State { running, leaving: leaving.clone() });
        let app = app.layer(middleware::from_fn_with_state(closing.clone(), closing::say_goodbye));
        match listen(&sockets, secrets, app, closing.clone()) {
            Ok(served) => {
                tokio::spawn(async move {
                    if let Err(error) = served.await {
                        tracing::error!("the admin endpoint ended: {error}");
                    }
                });
            }
            Err(error) => tracing::error!("the admin endpoint does not answer: {error}"),
        }
        Admin { leaving, closing, sockets }
    }
}

type Serving = std::pin::Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

fn listen(
    sockets: &Sockets,
    secrets: Option<Arc<Secrets>>,
    app: Router,
    closing: Arc<Closing>,
) -> io::Result<Serving> {
    Ok(match &sockets.socket {
        Socket::Tcp(socket) => {
            let listener = Closable::new(tokio::net::TcpListener::from_std(socket.try_clone()?)?, closing);
            match secrets {
                Some(secrets) => {
                    let listener = tls::Listener::new(listener, secrets);
                    Box::pin(async move { axum::serve(listener, app).await })
                }
                None => Box::pin(async move { axum::serve(listener, app).await }),
            }
        }
        Socket::Unix(socket) => {
            let listener = Closable::new(tokio::net::UnixListener::from_std(socket.try_clone()?)?, closing);
            Box::pin(async move { axum::serve(listener, app).await })
        }
    })
}

fn router(state: State) -> Router {
    let api = api::router().layer(middleware::from_fn_with_state(state.clone(), auth::require_token));
    Router::new()
        .merge(console::router())
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", api)
        .fallback(api::missing)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(middleware::from_fn(auth::refuse_cross_origin))
        .with_state(state)
}
