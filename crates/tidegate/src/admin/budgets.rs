//! `/api/v1/budgets`: what budgets and limits of tokens have left.

use axum::{
    Json, Router,
    extract::{Query, State as Extract, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use proxy::ledger::{ACCOUNTS_MAX, Wish};
use serde::Deserialize;
use serde_json::json;

use super::{State, api::problem};

/// Accounts that are listed of each budget where nobody says how many.
const ACCOUNTS: usize = 100;

/// The routes under `/api/v1`.
pub(crate) fn router() -> Router<State> {
    Router::new().route("/budgets", get(list))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    key: Option<String>,
    policy: Option<String>,
    limit: Option<usize>,
}

/// Every budget and limit of tokens with the accounts that have spent the most, or with that of one key.
async fn list(Extract(state): Extract<State>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Query(asked) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            let detail = format!("expected `key`, `policy` and `limit`: {}", error.body_text());
            return problem(StatusCode::BAD_REQUEST, "invalid", &detail);
        }
    };
    let limit = asked.limit.unwrap_or(ACCOUNTS);
    if !(1..=ACCOUNTS_MAX).contains(&limit) {
        let detail = format!("`limit` is from 1 to {ACCOUNTS_MAX}: ask for a `key`, or read the metrics");
        return problem(StatusCode::BAD_REQUEST, "invalid", &detail);
    }
    let wish = Wish { key: asked.key, policy: asked.policy, limit };
    let budgets = state.running.gateway.budgets(&wish).await;
    match (&wish.policy, budgets.is_empty()) {
        (Some(wanted), true) => {
            let detail = format!("no budget or limit of tokens `{wanted}`; without `policy` all are listed");
            problem(StatusCode::NOT_FOUND, "no-route", &detail)
        }
        _ => Json(json!({"budgets": budgets})).into_response(),
    }
}
