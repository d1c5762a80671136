//! `/api/v1/acme`: certificates that the gateway gets itself, and ordering one now.

use axum::{
    Json, Router,
    extract::{Path, State as Extract, rejection::PathRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{State, api::problem};

/// The routes under `/api/v1`.
pub(crate) fn router() -> Router<State> {
    Router::new().route("/acme", get(list)).route("/acme/{id}/renew", post(renew))
}

/// Every certificate: its names, whether it is good and until when, when it is ordered next, and what failed.
async fn list(Extract(state): Extract<State>) -> Json<Value> {
    Json(json!({"certificates": state.running.certificates.status()}))
}

/// Orders a certificate now. How that ends is in the list, and in the log.
async fn renew(Extract(state): Extract<State>, id: Result<Path<String>, PathRejection>) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(error) => return problem(error.status(), "invalid", &error.body_text()),
    };
    match state.running.certificates.renew(&id) {
        true => (StatusCode::ACCEPTED, Json(json!({"id": id}))).into_response(),
        false => {
            problem(StatusCode::NOT_FOUND, "no-route", &format!("no certificate `{id}` is ordered here"))
        }
    }
}
