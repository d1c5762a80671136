//! `/livez`, `/readyz` and `/metrics`.

use std::sync::atomic::Ordering;

use axum::{
    extract::{RawQuery, State as Extract},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::State;

/// The process runs.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The gateway takes traffic. With `?verbose`, why or why not, as JSON.
pub(crate) async fn ready(Extract(state): Extract<State>, RawQuery(query): RawQuery) -> Response {
    // A gateway that drains because another process has taken over is no reason: that one answers from now on.
    let leaving = state.leaving.load(Ordering::Relaxed);
    let status = if leaving { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    if !query
        .is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")))
    {
        return (status, if leaving { "draining\n" } else { "ok\n" }).into_response();
    }
    let reload = state.running.reloads.state();
    let compiled = state.running.gateway.compiled();
    let body = json!({
        "ready": !leaving,
        "revision": compiled.snapshot.revision,
        "lastReload": if reload.error.is_none() { "ok" } else { "refused" },
        "reloadError": reload.error,
        "reloadsApplied": reload.applied,
        "reloadsRefused": reload.refused,
        "pendingExposure": reload.pending_exposure.map(|pending| json!({
            "revision": pending.revision,
            "exposure": pending.exposure,
        })),
        "connections": state.running.gateway.connections(),
    });
    (status, axum::Json(body)).into_response()
}

/// Prometheus' text format.
pub(crate) async fn metrics(Extract(state): Extract<State>) -> Response {
    let text = state.running.telemetry.render_prometheus();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
