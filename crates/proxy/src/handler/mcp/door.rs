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
    /// The route's own hosts, which stand for trusted ones.
    own: Vec<Box<str>>,
}

/// Who a call is made for, if that is somebody: a consumer, or the subject of a token.
pub(super) fn somebody(call: &Call) -> Option<String> {
    if let Some(consumer) = &call.consumer {
        // `anonymous` of a policy stands in for nobody in particular.
        return (!call.is_stranger).then(|| format!("consumer {}", consumer.name));
    }
    let claims = call.claims.as_ref()?;
    let claim = |name: &str| claims.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    (!claim("sub").is_empty()).then(|| token(claim("iss"), claim("sub")))
}

fn token(issuer: &str, subject: &str) -> String {
    format!("token {} {}", super::message::quoted(issuer), super::message::quoted(subject))
}

/// Whom a call is made for, as sessions remember it.
pub(crate) fn who(call: &Call) -> String {
    somebody(call).unwrap_or_else(|| match (&call.consumer, &call.claims) {
        (Some(consumer), _) => format!("consumer {}", consumer.name),
        (None, Some(claims)) => {
            let issuer = claims.get("iss").and_then(serde_json::Value::as_str);
            token(issuer.unwrap_or_default(), "")
        }
        (None, None) => String::new(),
    })
}

/// Whom a session is counted for: strangers by their addresses.
pub(super) fn owner(call: &Call) -> String {
    somebody(call).unwrap_or_else(|| format!("address {}", call.client))
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
fn authority(text: &str, scheme: &str) -> String {
    let text = text.to_ascii_lowercase();
    let short = text.strip_suffix(if scheme == "https" { ":443" } else { ":80" });
    short.map(str::to_owned).unwrap_or(text)
}

/// A refusal of a `Host` that is not served here.
pub(super) fn strange_host() -> Failure {
    refusal(
        StatusCode::FORBIDDEN,
        INVALID_REQUEST,
        "this `Host` is not served here; the route's `mcp.allowedHosts` can name it",
    )
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
            own: route.hosts.iter().map(|host| host.to_string().to_ascii_lowercase().into()).collect(),
        }
    }

    /// Whether a call asks for a name that is served here. `also` is one more such name.
    pub(super) fn knows_host(&self, call: &Call, also: &str) -> bool {
        let host = call.host.as_ref().map_or("", |host| host.as_str());
        let named = if self.hosts.is_empty() { &self.own } else { &self.hosts };
        let is_named = named.iter().any(|pattern| matches(pattern, host));
        if is_named || (!also.is_empty() && host == also) {
            return true;
        }
        if !named.is_empty() {
            return false;
        }
        // Whoever is on this machine may be a browser that a page talked into it.
        let is_exposed = call.head.headers.contains_key(header::ORIGIN) || call.peer.ip().is_loopback();
        is_plain(host) || !is_exposed
    }

    /// Refuses pages of foreign sites, and names that were bent to point here (DNS rebinding).
    pub(super) fn check(&self, call: &Call) -> Result<(), Failure> {
        // The route's own hosts are what led here.
        let is_led = self.hosts.is_empty() && !self.own.is_empty();
        if !is_led && !self.knows_host(call, "") {
            return Err(strange_host());
        }
        let origin = call.head.headers.get(header::ORIGIN);
        let Some(origin) = origin else { return Ok(()) };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if self.origins.iter().any(|known| **known == *text) {
            return Ok(());
        }
        let asked = call.record.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        // Of the client's connection, which a trusted proxy may have told.
        let told = call.head.headers.get("x-forwarded-proto").and_then(|told| told.to_str().ok());
        let scheme =
            if told.is_some_and(|told| told.eq_ignore_ascii_case("https")) { "https" } else { "http" };
        let own = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
        if own.is_some_and(|own| authority(own, scheme) == authority(asked, scheme)) {
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
