//! `redirect`: sends the client elsewhere.

use std::rc::Rc;

use http::{HeaderValue, Response, StatusCode, header};
use model::resource::{listener::HttpsTarget, redirect::Redirect as Settings, route::Route};

use super::{Answering, Answers};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    policy::rewrite::after_prefix,
    worker::Worker,
};

/// A compiled redirect.
pub(crate) struct Redirect {
    settings: Settings,
    status: StatusCode,
    /// Prefixes of the route's matches, the longest first: what `pathPrefix` replaces.
    prefixes: Vec<String>,
}

impl Redirect {
    pub(crate) fn compile(settings: &Settings, route: &Route, _: &Building<'_>) -> Result<Self, String> {
        let status = StatusCode::from_u16(settings.status).map_err(|error| format!("`status`: {error}"))?;
        Ok(Self { settings: settings.clone(), status, prefixes: crate::router::prefixes_of(route) })
    }

    fn handle(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let path = call.path();
        let path = match (&self.settings.path, &self.settings.path_prefix) {
            (Some(whole), _) => whole.clone(),
            (None, Some(prefix)) => {
                let rest = self.prefixes.iter().find_map(|old| after_prefix(path, old));
                join(prefix, rest.unwrap_or(path))
            }
            (None, None) => path.to_owned(),
        };
        let query = call.head.uri.query().filter(|_| self.settings.keep_query);
        let target = Target {
            scheme: self.settings.scheme.as_deref(),
            host: self.settings.host.as_deref(),
            port: self.settings.port,
        };
        answer(call, self.status, &target, &path, query)
    }
}

impl Answers for Redirect {
    fn serve<'a>(&'a self, _: &'a Rc<Worker>, call: &'a mut Call, _: Body) -> Answering<'a> {
        Answering::Now(self.handle(call))
    }

    fn explain(&self) -> String {
        "redirect".to_owned()
    }
}

/// What `redirectToHttps` of a listener answers.
pub(crate) fn to_https(call: &Call, target: &HttpsTarget) -> Result<Response<Body>, Failure> {
    let status = StatusCode::from_u16(target.status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    let to = Target { scheme: Some("https"), host: None, port: Some(target.port) };
    answer(call, status, &to, call.path(), call.head.uri.query())
}

struct Target<'a> {
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<u16>,
}

fn answer(
    call: &Call,
    status: StatusCode,
    target: &Target<'_>,
    path: &str,
    query: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let mut location = String::new();
    if target.scheme.is_some() || target.host.is_some() || target.port.is_some() {
        let scheme = target.scheme.unwrap_or(if call.peer.tls.is_some() { "https" } else { "http" });
        let own = call.host.as_ref().map(|host| host.as_str());
        let host = target.host.or(own).ok_or_else(|| {
            Failure::client(Stage::Guard, Problem::BadRequest).with_hint("no Host to redirect from")
        })?;
        location.push_str(scheme);
        location.push_str("://");
        location.push_str(host);
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = target.port.or_else(|| own_port(call).filter(|_| target.scheme.is_none()));
        if let Some(port) = port.filter(|port| *port != usual) {
            location.push_str(&format!(":{port}"));
        }
    } else if path.starts_with("//") {
        // A browser would read the path's first segment as a host.
        return Err(Failure::client(Stage::Guard, Problem::BadPath));
    }
    location.push_str(path);
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let value =
        HeaderValue::from_str(&location).map_err(|_| Failure::client(Stage::Guard, Problem::BadPath))?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, value);
    Ok(response)
}

/// The port that the client wrote, which stays while the scheme does.
fn own_port(call: &Call) -> Option<u16> {
    let host = call.record.host.as_ref()?.to_str().ok()?;
    host.rsplit_once(':')?.1.parse().ok()
}

/// Puts a prefix before what is left of a path, with one slash between.
fn join(prefix: &str, rest: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    let rest = rest.trim_start_matches('/');
    if rest.is_empty() && !prefix.is_empty() { prefix.to_owned() } else { format!("{prefix}/{rest}") }
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn a_prefix_and_a_rest_meet_in_one_slash() {
        for (prefix, rest, joined) in [
            ("/v1", "/products", "/v1/products"),
            ("/v1/", "products", "/v1/products"),
            ("/v1", "", "/v1"),
            ("/", "", "/"),
            ("/", "/x", "/x"),
        ] {
            assert_eq!(join(prefix, rest), joined);
        }
    }
}
