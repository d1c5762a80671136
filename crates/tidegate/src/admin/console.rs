//! `/`: the console, one page that shows what runs to whoever has the admin token.
//!
//! The page itself says nothing: its script asks `/api/v1` with the token, which stays in the tab. It loads nothing from
//! elsewhere, and nothing that it shows becomes markup.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::State;

const PAGE: &str = include_str!("console.html");
const SCRIPT: &str = include_str!("console.js");
const STYLE: &str = include_str!("console.css");

/// What browsers are told of each part.
const RULES: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The page and its parts.
pub(super) fn router() -> Router<State> {
    Router::new()
        .route("/", get(|| async { part("text/html; charset=utf-8", PAGE) }))
        .route("/console.js", get(|| async { part("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/console.css", get(|| async { part("text/css; charset=utf-8", STYLE) }))
}

fn part(kind: &'static str, text: &'static str) -> Response {
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response();
    for (name, value) in RULES {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
