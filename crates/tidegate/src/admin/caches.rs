//! `/api/v1/caches`: what caches of answers hold, and purges of it.

use axum::{
    Json, Router,
    extract::State as Extract,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use proxy::PurgeWish;
use serde_json::{Value, json};

use super::{
    State,
    api::{Body, problem},
};

/// The routes under `/api/v1`.
pub(crate) fn router() -> Router<State> {
    Router::new().route("/caches", get(list)).route("/caches/purge", post(purge))
}

/// Every cache: how much it holds and what came of requests.
async fn list(Extract(state): Extract<State>) -> Json<Value> {
    Json(json!({"caches": state.running.gateway.caches()}))
}

/// Throws answers away, or has them asked about before they are given again. 202 tells that files of them may be left.
async fn purge(Extract(state): Extract<State>, Body(wish): Body<PurgeWish>) -> Response {
    // It waits for disks.
    let purged = tokio::task::spawn_blocking(move || state.running.gateway.purge_caches(&wish)).await;
    match purged {
        Ok(Ok(purged)) => {
            let status = if purged.complete { StatusCode::OK } else { StatusCode::ACCEPTED };
            (status, Json(purged)).into_response()
        }
        Ok(Err(error)) => problem(StatusCode::BAD_REQUEST, "invalid", &error),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}
