//! `/api/v1/stranglers`: how far moves from old systems to new ones have come, and forcing either side.

use axum::{
    Json, Router,
    extract::{Path, State as Extract, rejection::PathRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, put},
};
use proxy::{Operated, StranglerWish};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    State,
    api::{Body, problem},
};

/// The routes under `/api/v1`.
pub(crate) fn router() -> Router<State> {
    Router::new().route("/stranglers", get(list)).route("/stranglers/{route}/{rule}", put(force))
}

/// Every rule: the share that is configured and the one that holds, its state, and requests by side.
async fn list(Extract(state): Extract<State>) -> Json<Value> {
    Json(json!({"stranglers": state.running.gateway.stranglers()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: String,
}

/// Forces either side, or has the rule begin anew as it is configured.
async fn force(
    Extract(state): Extract<State>,
    names: Result<Path<(String, String)>, PathRejection>,
    Body(wanted): Body<Wanted>,
) -> Response {
    let (route, rule) = match names {
        Ok(Path(names)) => names,
        Err(error) => return problem(error.status(), "invalid", &error.body_text()),
    };
    let wish = match wanted.state.as_str() {
        "AUTO" => StranglerWish::Auto,
        "FORCED_OLD" => StranglerWish::ForcedOld,
        "FORCED_NEW" => StranglerWish::ForcedNew,
        other => {
            let detail = format!("expected the state AUTO, FORCED_OLD or FORCED_NEW, found `{other}`");
            return problem(StatusCode::BAD_REQUEST, "invalid", &detail);
        }
    };
    let (running, names) = (state.running.clone(), (route.clone(), rule.clone()));
    // It writes a file.
    let done =
        tokio::task::spawn_blocking(move || running.gateway.operate_strangler(&names.0, &names.1, wish))
            .await;
    match done {
        Ok(Operated::Set(status)) => Json(status).into_response(),
        Ok(Operated::Forgotten(Ok(()))) => {
            Json(json!({"route": route, "rule": rule, "state": null})).into_response()
        }
        Ok(Operated::Unkept(_, error) | Operated::Forgotten(Err(error))) => {
            tracing::error!("{error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error)
        }
        Err(_) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "it cannot be said what became of it")
        }
        Ok(Operated::Nothing) => {
            let detail = format!("route `{route}` has no rule `{rule}` of a `strangler`");
            problem(StatusCode::NOT_FOUND, "no-route", &detail)
        }
    }
}
