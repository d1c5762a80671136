//! The admin endpoint: health, metrics and the admin API.
//!
//! Health and metrics are open; everything under `/api/v1` needs the admin token.

mod api;
mod auth;
mod health;
mod tls;
pub(crate) mod token;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, middleware, routing::get};
use tokio::net::TcpListener;

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
    snapshot: &model::Snapshot,
    token: String,
) -> Result<Admin, String> {
    let address: SocketAddr = settings.address.parse().map_err(|_| {
        format!("admin.address: `{}` is not an address such as 127.0.0.1:9080", settings.address)
    })?;
    if !address.ip().is_loopback() && settings.tls.is_none() && !settings.allow_non_loopback {
        return Err(format!(
            "admin.address: {address} is not a loopback address; set admin.tls, or allowNonLoopback: true if the \
             network is trusted"
        ));
    }
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("the admin endpoint cannot listen on {address}: {error}"))?;
    let leaving = Arc::new(AtomicBool::new(false));
    let state = State { running, leaving: leaving.clone(), token: token.into() };
    let app = router(state);
    let server = tls::config(settings, snapshot)?;
    tokio::spawn(async move {
        let served = match server {
            Some(config) => axum::serve(tls::Listener::new(listener, config), app).await,
            None => axum::serve(listener, app).await,
        };
        if let Err(error) = served {
            tracing::error!("the admin endpoint ended: {error}");
        }
    });
    Ok(Admin { leaving })
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
