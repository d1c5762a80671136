//! `/api/v1/prompts`: the prompts that are served as APIs, their documents and what they are as tools.

use axum::{
    Json, Router,
    extract::{Path, State as Extract, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use model::resource::{prompt::Prompt, route::Handler};
use serde_json::{Value, json};

use super::{State, api::problem};

/// The routes under `/api/v1`.
pub(crate) fn router() -> Router<State> {
    Router::new().route("/prompts", get(list)).route("/prompts/{name}/openapi.json", get(document))
}

fn prompt(route: &model::Route) -> Option<&Prompt> {
    match &route.handler {
        Handler::Prompt(prompt) => Some(prompt),
        _ => None,
    }
}

/// Every prompt: its route, its versions with the default one first, and itself as a tool of MCP.
async fn list(Extract(state): Extract<State>) -> Json<Value> {
    let snapshot = state.running.gateway.compiled().snapshot.clone();
    let prompts = snapshot.config.routes.iter().filter_map(|route| Some((route, prompt(route)?)));
    let prompts: Vec<Value> = prompts
        .map(|(route, prompt)| {
            let editions = prompt.editions();
            let versions: Vec<&str> = editions.iter().filter_map(|edition| edition.name).collect();
            json!({
                "name": route.name,
                "description": prompt.description,
                "model": editions.first().map(|edition| edition.model),
                "versions": versions,
                "tool": prompt.tool(&route.name),
            })
        })
        .collect();
    Json(json!({"prompts": prompts}))
}

/// The OpenAPI document of a prompt's route.
async fn document(Extract(state): Extract<State>, name: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(name)) = name else {
        return problem(StatusCode::BAD_REQUEST, "invalid", "the name is not UTF-8");
    };
    let snapshot = state.running.gateway.compiled().snapshot.clone();
    let route = snapshot.config.routes.iter().find(|route| route.name == name);
    let Some((route, prompt)) = route.and_then(|route| Some((route, prompt(route)?))) else {
        return problem(StatusCode::NOT_FOUND, "no-route", &format!("no route `{name}` serves a prompt"));
    };
    let mut response = prompt.document(route).to_string().into_response();
    let kind = HeaderValue::from_static("application/openapi+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
