//! `/api/v1`: what runs, and what an operator may change while it runs.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequest, Path, Request, State as Extract, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use proxy::{BreakerWish, NoSuchBreaker, Operated};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::State;

/// The routes under `/api/v1`.
pub(crate) fn router() -> Router<State> {
    Router::new()
        .route("/status", get(status))
        .route("/config", get(config))
        .route("/config/reload", post(reload))
        .route("/config/acknowledge", post(acknowledge))
        .route("/log-level", put(log_level).get(live_log_level))
        .route("/upstreams/{name}/breaker", put(breaker))
        .merge(super::acme::router())
        .merge(super::budgets::router())
        .merge(super::caches::router())
        .merge(super::mirrors::router())
        .merge(super::prompts::router())
        .merge(super::stranglers::router())
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
}

/// A problem document.
pub(crate) fn problem(status: StatusCode, slug: &str, detail: &str) -> Response {
    let body = json!({
        "type": format!("urn:tidegate:problem:{slug}"),
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = (status, body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

pub(super) async fn missing() -> Response {
    problem(StatusCode::NOT_FOUND, "no-route", "docs/configuration.md lists what is here and under /api/v1")
}

pub(super) async fn wrong_method() -> Response {
    let detail = "`Allow` lists the methods that this path has";
    problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// A JSON body, whatever its content type says; what is wrong with one is a problem document.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            let slug = match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "body-too-large",
                _ => "invalid",
            };
            problem(error.status(), slug, &error.body_text())
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            problem(
                StatusCode::BAD_REQUEST,
                "invalid",
                &format!("the body is not the JSON that is expected: {error}"),
            )
        })
    }
}

/// Per upstream: breaker, bulkhead, and each endpoint's health, ejection, calls in flight and latency. Per provider of
/// models: each key's standing, by its place.
async fn status(Extract(state): Extract<State>) -> Json<Value> {
    let gateway = &state.running.gateway;
    let upstreams = serde_json::to_value(gateway.status()).unwrap_or_default();
    let providers = serde_json::to_value(gateway.providers()).unwrap_or_default();
    let sinks: Vec<Value> = state.running.telemetry.sinks().into_iter().map(sink).collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": gateway.compiled().snapshot.revision,
        "draining": gateway.is_draining(),
        "connections": gateway.connections(),
        "upstreams": upstreams,
        "providers": providers,
        "redis": gateway.redis(),
        "brokers": gateway.brokers(),
        "subscriptions": gateway.subscriptions(),
        "sinks": sinks,
        "tokenIssuers": gateway.token_issuers(),
        "certificates": state.running.certificates.status(),
        "byHand": gateway.by_hand(),
    }))
}

/// How an access log is doing.
fn sink(sink: telemetry::SinkStatus) -> Value {
    let dropped: serde_json::Map<String, Value> =
        sink.dropped.into_iter().map(|(reason, count)| (reason.to_owned(), count.into())).collect();
    json!({
        "name": sink.name,
        "kind": sink.kind,
        "up": sink.is_up,
        "error": sink.error,
        "delivered": sink.delivered,
        "dropped": dropped,
        "waiting": sink.waiting,
        "spilledBytes": sink.spilled,
    })
}

/// The live configuration, secrets hidden.
async fn config(Extract(state): Extract<State>) -> Json<Value> {
    let snapshot = state.running.gateway.compiled().snapshot.clone();
    Json(json!({
        "revision": snapshot.revision,
        "config": serde_json::to_value(&*snapshot.config).unwrap_or_default(),
    }))
}

async fn reload(Extract(state): Extract<State>) -> Response {
    load(state, None).await
}

/// Applies the configuration that waits because it exposes more. One that has changed since then waits again.
async fn acknowledge(Extract(state): Extract<State>) -> Response {
    let pending = state.running.reloads.state().pending_exposure;
    match pending {
        Some(pending) => load(state, Some(pending.revision)).await,
        None => problem(StatusCode::CONFLICT, "invalid", "no configuration waits for an acknowledgement"),
    }
}

async fn load(state: State, acknowledged: Option<String>) -> Response {
    let running = state.running.clone();
    let _ = tokio::task::spawn_blocking(move || crate::reload::reload_all(&running, acknowledged.as_deref()))
        .await;
    let reload = state.running.reloads.state();
    let revision = state.running.gateway.compiled().snapshot.revision.clone();
    match reload.error {
        None => Json(json!({"revision": revision})).into_response(),
        Some(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid", &error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    level: String,
}

/// The level of the process's own log.
async fn live_log_level() -> Json<Value> {
    Json(json!({"level": telemetry::logging::level()}))
}

async fn log_level(Body(wanted): Body<LogLevel>) -> Response {
    match telemetry::logging::set_level(&wanted.level) {
        Ok(()) => Json(json!({"level": wanted.level})).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, "invalid", &error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Breaker {
    state: String,
}

/// Forces a circuit breaker open, turns it off, or has it begin anew.
async fn breaker(
    Extract(state): Extract<State>,
    name: Result<Path<String>, PathRejection>,
    Body(wanted): Body<Breaker>,
) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(error) => return problem(error.status(), "invalid", &error.body_text()),
    };
    let wish = match wanted.state.as_str() {
        "FORCED_OPEN" => BreakerWish::ForcedOpen,
        "DISABLED" => BreakerWish::Disabled,
        "CLOSED" => BreakerWish::Closed,
        other => {
            let detail = format!("expected the state FORCED_OPEN, DISABLED or CLOSED, found `{other}`");
            return problem(StatusCode::BAD_REQUEST, "invalid", &detail);
        }
    };
    let (running, upstream) = (state.running.clone(), name.clone());
    // It writes a file.
    let done = tokio::task::spawn_blocking(move || running.gateway.operate_breaker(&upstream, wish)).await;
    let Ok(done) = done else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "it cannot be said what became of it");
    };
    match done {
        Ok(Operated::Set(status)) => Json(json!({"upstream": name, "breaker": status})).into_response(),
        Ok(Operated::Forgotten(Ok(()))) => Json(json!({"upstream": name, "breaker": null})).into_response(),
        Ok(Operated::Unkept(_, error) | Operated::Forgotten(Err(error))) => {
            tracing::error!("{error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error)
        }
        Ok(Operated::Nothing) => problem(StatusCode::NOT_FOUND, "no-route", &format!("no upstream `{name}`")),
        Err(NoSuchBreaker::Upstream) => {
            problem(StatusCode::NOT_FOUND, "no-route", &format!("no upstream `{name}`"))
        }
        Err(NoSuchBreaker::Breaker) => {
            let detail = format!("upstream `{name}` has no `circuitBreaker`");
            problem(StatusCode::CONFLICT, "invalid", &detail)
        }
    }
}
