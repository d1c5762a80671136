//! The admin endpoint: health, metrics and the admin API.
//!
//! Health and metrics are open; everything under `/api/v1` needs the admin token.

mod api;
mod auth;
mod health;
pub(crate) mod tls;
pub(crate) mod token;

use std::{
    fs::Permissions,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, middleware, routing::get};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::rustls::ServerConfig;

use crate::run::Running;

/// A running admin endpoint.
pub(crate) struct Admin {
    leaving: Arc<AtomicBool>,
}

impl Admin {
    /// From now on `/readyz` says no.
    pub(crate) fn fail_readiness(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

/// What handlers see.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) running: Arc<Running>,
    pub(crate) leaving: Arc<AtomicBool>,
    pub(crate) token: Arc<str>,
}

/// Starts the admin endpoint.
pub(crate) async fn start(
    running: Arc<Running>,
    settings: &model::Admin,
    server: Option<Arc<ServerConfig>>,
    token: String,
) -> Result<Admin, String> {
    let leaving = Arc::new(AtomicBool::new(false));
    let app = router(State { running, leaving: leaving.clone(), token: token.into() });
    let wrong = |error| format!("the admin endpoint cannot listen on {}: {error}", settings.address);
    if let Some(path) = settings.address.strip_prefix("unix:") {
        let listener = unix(Path::new(path)).map_err(wrong)?;
        tokio::spawn(async move { ended(axum::serve(listener, app).await) });
        return Ok(Admin { leaving });
    }
    let address: SocketAddr = settings.address.parse().map_err(|_| {
        format!("admin.address: `{}` is not an address such as 127.0.0.1:9080", settings.address)
    })?;
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    tokio::spawn(async move {
        ended(match server {
            Some(config) => axum::serve(tls::Listener::new(listener, config), app).await,
            None => axum::serve(listener, app).await,
        });
    });
    Ok(Admin { leaving })
}

/// A socket for its owner alone. One that is left over from a process that is gone makes room.
fn unix(path: &Path) -> std::io::Result<UnixListener> {
    let is_left_over = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err();
    if is_left_over {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn ended(served: std::io::Result<()>) {
    if let Err(error) = served {
        tracing::error!("the admin endpoint ended: {error}");
    }
}

fn router(state: State) -> Router {
    let api = api::router().layer(middleware::from_fn_with_state(state.clone(), auth::require_token));
    Router::new()
        .route("/", get(api::index))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", api)
        .layer(middleware::from_fn(auth::refuse_cross_origin))
        .with_state(state)
}
