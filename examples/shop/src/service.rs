//! What every service of the shop does alike: its options, health, and an orderly end.

use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use tokio::{net::TcpListener, signal::unix::SignalKind};

use crate::store::Store;

/// How a service is started.
#[derive(Debug, Clone, clap::Parser)]
pub struct Options {
    /// Address to listen on.
    #[arg(long)]
    pub listen: SocketAddr,
    /// The service's own SQLite file.
    #[arg(long)]
    pub store: PathBuf,
    /// Name of this instance; every answer carries it as `x-instance`.
    #[arg(long, default_value = "1")]
    pub instance: String,
    /// Milliseconds that every answer takes longer, to try out what a slow instance does.
    #[arg(long, default_value_t = 0)]
    pub slow: u64,
}

#[derive(Clone)]
struct Manners {
    instance: HeaderValue,
    slow: Duration,
}

/// Serves until SIGTERM or Ctrl-C, and lets answers in flight finish.
///
/// # Errors
/// When the address is taken or the instance's name cannot be a header.
pub async fn serve(options: Options, store: Store, routes: Router) -> Result<(), String> {
    let instance = HeaderValue::from_str(&options.instance)
        .map_err(|_| format!("--instance {:?} cannot stand in a header", options.instance))?;
    let manners = Manners { instance, slow: Duration::from_millis(options.slow) };
    let app = routes
        .layer(middleware::from_fn_with_state(manners, sign))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready).with_state(store));
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(asked_to_end())
        .await
        .map_err(|error| format!("serving failed: {error}"))
}

async fn ready(State(store): State<Store>) -> Result<&'static str, StatusCode> {
    if store.is_there().await { Ok("ready") } else { Err(StatusCode::SERVICE_UNAVAILABLE) }
}

async fn sign(State(manners): State<Manners>, request: Request, next: Next) -> Response {
    tokio::time::sleep(manners.slow).await;
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-instance", manners.instance);
    response
}

fn asked_to_end() -> impl Future<Output = ()> + Send {
    let terminate = tokio::signal::unix::signal(SignalKind::terminate());
    async move {
        match terminate {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            }
            Err(_) => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
}
