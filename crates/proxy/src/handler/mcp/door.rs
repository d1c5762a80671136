//! Who may come in: `Origin`, `Host` and what a request must say of itself before its message is read.

use http::{HeaderMap, Method, StatusCode, header};
use model::resource::mcp::McpRoute;

use super::answer::{INVALID_REQUEST, refusal};
use crate::{
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// What is compared at the door.
pub(super) struct Door {
    origins: Vec<Box<str>>,
    hosts: Vec<Box<str>>,
    /// The route's own hosts stand for trusted ones.
    has_hosts: bool,
}

/// Whom a call is made for, as sessions remember it.
pub(in crate::handler) fn who(call: &Call) -> String {
    if let Some(consumer) = &call.consumer {
        return format!("consumer {}", consumer.name);
    }
    let claim = |name: &str| {
        let value = call.claims.as_ref().and_then(|claims| claims.get(name));
        value.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    match &call.claims {
        Some(_) => format!("token {} {}", claim("iss"), claim("sub")),
        None => String::new(),
    }
}

/// Whether a name is this machine's, or no name at all.
fn is_plain(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost") || inner.parse::<std::net::IpAddr>().is_ok()
}

fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host.strip_suffix(rest).is_some_and(|before| before.len() > 1 && before.ends_with('.')),
        None => pattern == host,
    }
}

/// An authority without the port that its scheme means anyway.
fn authority(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    let short = text.strip_suffix(":80").or_else(|| text.strip_suffix(":443"));
    short.map(str::to_owned).unwrap_or(text)
}

impl Door {
    pub(super) fn new(settings: &McpRoute, route: &model::Route) -> Self {
        Self {
            origins: settings
                .allowed_origins
                .iter()
                .map(|origin| origin.to_ascii_lowercase().into())
                .collect(),
            hosts: settings.allowed_hosts.iter().map(|host| host.to_ascii_lowercase().into()).collect(),
            has_hosts: !route.hosts.is_empty(),
        }
    }

    /// Refuses pages of foreign sites, and names that were bent to point here (DNS rebinding).
    pub(super) fn check(&self, call: &Call) -> Result<(), Failure> {
        let host = call.host.as_ref().map_or("", |host| host.as_str());
        let origin = call.head.headers.get(header::ORIGIN);
        let is_trusted = if self.hosts.is_empty() {
            self.has_hosts || is_plain(host)
        } else {
            self.hosts.iter().any(|pattern| matches(pattern, host))
        };
        // Whoever is on this machine may be a browser that a page talked into it.
        let is_exposed = origin.is_some() || call.peer.ip().is_loopback();
        if !is_trusted && (is_exposed || !self.hosts.is_empty()) {
            return Err(refusal(
                StatusCode::FORBIDDEN,
                INVALID_REQUEST,
                "this `Host` is not served here; the route's `mcp.allowedHosts` can name it",
            ));
        }
        let Some(origin) = origin else { return Ok(()) };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if self.origins.iter().any(|known| **known == *text) {
            return Ok(());
        }
        let asked = call.record.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if own.is_some_and(|own| authority(own) == authority(asked)) {
            return Ok(());
        }
        Err(refusal(
            StatusCode::FORBIDDEN,
            INVALID_REQUEST,
            "pages of this `Origin` may not call here; the route's `mcp.allowedOrigins` can name it",
        ))
    }
}

/// Whether a client takes a media type.
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let group = kind.split('/').next().unwrap_or_default();
    headers.get_all(header::ACCEPT).iter().any(|line| {
        line.to_str().unwrap_or_default().split(',').any(|one| {
            let one = one.split(';').next().unwrap_or_default().trim();
            one.eq_ignore_ascii_case(kind) || one == "*/*" || one == format!("{group}/*")
        })
    })
}

/// What a request must say of itself (Streamable HTTP, "Sending Messages" and "Listening for Messages").
pub(super) fn manners(call: &Call) -> Result<(), Failure> {
    let headers = &call.head.headers;
    let not_acceptable = |hint: &str| Err(refusal(StatusCode::NOT_ACCEPTABLE, INVALID_REQUEST, hint));
    match call.head.method {
        Method::POST => {
            let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
            if !kind.eq_ignore_ascii_case("application/json") {
                return Err(refusal(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    INVALID_REQUEST,
                    "a message is sent as `application/json`",
                ));
            }
            if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
                return not_acceptable("a client takes `application/json` and `text/event-stream`");
            }
            Ok(())
        }
        Method::GET if !accepts(headers, "text/event-stream") => {
            not_acceptable("a client takes `text/event-stream`")
        }
        Method::GET | Method::DELETE => Ok(()),
        _ => Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
            .with_header(header::ALLOW, http::HeaderValue::from_static("GET, POST, DELETE"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_point_at_this_machine_are_told_apart_from_those_of_sites() {
        for (host, want) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("a.localhost", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_plain(host), want, "{host}");
        }
        assert!(matches("*.example.com", "a.example.com") && !matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", "aexample.com"));
    }
}
