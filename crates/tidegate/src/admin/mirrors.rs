//! `/api/v1/mirrors`: how the answers to copies of requests differ from those that clients got.

use axum::{Json, Router, extract::State as Extract, routing::get};
use serde_json::{Value, json};

use super::State;

/// The routes under `/api/v1`.
pub(crate) fn router() -> Router<State> {
    Router::new().route("/mirrors", get(list))
}

/// Every policy that sends copies: how many, and in which fields their answers differ.
async fn list(Extract(state): Extract<State>) -> Json<Value> {
    Json(json!({"mirrors": state.running.gateway.mirrors()}))
}
