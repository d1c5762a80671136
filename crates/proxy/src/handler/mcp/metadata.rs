//! The metadata of a protected resource (RFC 9728): where clients that have no token yet learn where to get one.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use model::resource::mcp::McpOauth;

use super::answer;
use crate::{body::Body, call::Call, failure::Failure, handler::Handler};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The compiled metadata.
pub(super) struct Metadata {
    /// The path of the resource; empty at the root.
    path: Box<str>,
    document: Bytes,
    /// Where the document is.
    url: Box<str>,
    scopes: Box<str>,
    /// The host of the resource.
    host: Box<str>,
}

impl Metadata {
    pub(super) fn compile(settings: &McpOauth) -> Self {
        let resource = settings.resource.trim_end_matches('/');
        let scheme = resource.find("://").map_or(0, |at| at + 3);
        let slash = resource[scheme..].find('/').map_or(resource.len(), |at| scheme + at);
        let (base, path) = resource.split_at(slash);
        let document = serde_json::json!({
            "resource": settings.resource,
            "authorization_servers": settings.authorization_servers,
            "scopes_supported": settings.scopes,
            "bearer_methods_supported": ["header"],
        });
        Self {
            path: path.into(),
            document: Bytes::from(document.to_string()),
            url: format!("{base}{WELL_KNOWN}{path}").into(),
            scopes: settings.scopes.join(" ").into(),
            host: host_of(&base[scheme..]).to_ascii_lowercase().into(),
        }
    }
}

/// A host without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Answers a request for metadata, before anything asks who sends it.
pub(crate) fn answer(call: &Call) -> Option<Result<Response<Body>, Failure>> {
    let path = call.path().strip_prefix(WELL_KNOWN)?;
    if !matches!(call.head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let all = || {
        call.plan.routes.iter().filter_map(|route| match &route.handler {
            Handler::Mcp(gateway) => Some((gateway, gateway.metadata()?)),
            _ => None,
        })
    };
    let path = path.trim_end_matches('/');
    // Clients that find nothing at the resource's own path look at the root.
    let is_alone = path.is_empty() && all().count() == 1;
    let mut found = all().filter(|(_, metadata)| *metadata.path == *path || is_alone).peekable();
    found.peek()?;
    // A name that was bent to point here is told nothing.
    let Some((_, found)) = found.find(|(gateway, found)| gateway.door().knows_host(call, &found.host)) else {
        return Some(Err(super::door::strange_host()));
    };
    let mut response = answer::json(StatusCode::OK, found.document.clone());
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    if call.head.method == Method::HEAD {
        *response.body_mut() = Body::Empty;
    }
    Some(Ok(response))
}

/// A token has too few scopes.
fn is_short_of_scopes(response: &Response<Body>) -> bool {
    let mut told = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
    response.status() == StatusCode::FORBIDDEN
        && told.any(|told| told.to_str().is_ok_and(|told| told.contains("error=\"insufficient_scope\"")))
}

/// Adds to a refusal where a token, or one with more scopes, is had.
pub(crate) fn point_out(call: &Call, response: &mut Response<Body>) {
    let is_short = is_short_of_scopes(response);
    if response.status() != StatusCode::UNAUTHORIZED && !is_short {
        return;
    }
    let route = call.route.and_then(|route| call.plan.routes.get(route));
    let Some(Handler::Mcp(gateway)) = route.map(|route| &route.handler) else { return };
    let Some(metadata) = gateway.metadata() else { return };
    let mut own = format!("resource_metadata=\"{}\"", metadata.url);
    // A refusal for want of scopes names those that are wanted.
    if !metadata.scopes.is_empty() && !is_short {
        own.push_str(&format!(", scope=\"{}\"", metadata.scopes));
    }
    let known: Vec<HeaderValue> =
        response.headers().get_all(header::WWW_AUTHENTICATE).iter().cloned().collect();
    response.headers_mut().remove(header::WWW_AUTHENTICATE);
    let mut is_told = false;
    for challenge in known {
        let text = challenge.to_str().unwrap_or_default();
        let is_bearer = text.starts_with("Bearer");
        let told = if is_bearer && !is_told {
            let separator = if text == "Bearer" { " " } else { ", " };
            HeaderValue::from_str(&format!("{text}{separator}{own}")).unwrap_or(challenge)
        } else {
            challenge
        };
        is_told |= is_bearer;
        response.headers_mut().append(header::WWW_AUTHENTICATE, told);
    }
    if let (false, Ok(value)) = (is_told, HeaderValue::from_str(&format!("Bearer {own}"))) {
        response.headers_mut().append(header::WWW_AUTHENTICATE, value);
    }
}
