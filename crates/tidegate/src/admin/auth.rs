//! Who may use the admin API: holders of the token, and no page of another site.

use axum::{
    extract::{Request, State as Extract},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{State, api::problem};

/// Lets a request through that carries the admin token as a bearer token.
pub(crate) async fn require_token(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let given = values.next().and_then(bearer);
    let token = state.running.admin.token();
    let is_right = given.is_some_and(|given| {
        aws_lc_rs::constant_time::verify_slices_are_equal(given, token.as_bytes()).is_ok()
    });
    if is_right && values.next().is_none() {
        return next.run(request).await;
    }
    let mut response = problem(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "send the admin token as `Authorization: Bearer …`",
    );
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// Refuses writes that a browser sends on behalf of another origin.
pub(crate) async fn refuse_cross_origin(request: Request, next: Next) -> Response {
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_write && is_cross_origin(&request) {
        return problem(
            StatusCode::FORBIDDEN,
            "forbidden",
            "the admin API takes no writes from other origins",
        )
        .into_response();
    }
    next.run(request).await
}

fn is_cross_origin(request: &Request) -> bool {
    let headers = request.headers();
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let authority = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
    let authority = authority.as_ref().and_then(|uri| uri.authority()).map(|authority| authority.as_str());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.is_none() || authority != host
}
