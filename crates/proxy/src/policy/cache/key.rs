//! What tells answers apart before anything of them is known: the address, the route, and what settings name.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use model::policy::cache::CacheKey;

use crate::call::Call;

/// Stands between parts of a key; no part holds it.
const END: u8 = 0;

/// How keys are made.
pub(super) struct Keys {
    headers: Vec<HeaderName>,
    cookies: Vec<String>,
    ignored: Vec<String>,
    by_consumer: bool,
}

/// The key of a request. Its first part is the address alone, by which answers are purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) bytes: Arc<[u8]>,
    address_bytes: usize,
}

impl Key {
    /// Such as `http://api.example.test/a?b=c`.
    pub(super) fn address(&self) -> &[u8] {
        self.bytes.get(..self.address_bytes).unwrap_or_default()
    }
}

impl Keys {
    pub(super) fn new(settings: &CacheKey) -> Self {
        Self {
            headers: settings.headers.iter().map(model::HeaderName::to_http).collect(),
            cookies: settings.cookies.clone(),
            ignored: settings.ignore_query.clone(),
            by_consumer: settings.consumer,
        }
    }

    /// The key of this call.
    pub(super) fn of(&self, call: &Call) -> Key {
        let target = call.head.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut bytes = Vec::with_capacity(96 + target.len());
        self.write_address(scheme(call), host(call), target, &mut bytes);
        let address_bytes = bytes.len();
        bytes.push(END);
        if let Some(route) = &call.record.route {
            bytes.extend_from_slice(route.as_bytes());
        }
        for name in &self.headers {
            bytes.push(END);
            combined(&call.head.headers, name, &mut bytes);
        }
        for name in &self.cookies {
            bytes.push(END);
            for value in cookies(&call.head.headers, name.as_bytes()) {
                bytes.extend_from_slice(value);
                bytes.push(b';');
            }
        }
        if let (true, Some(consumer)) = (self.by_consumer && !call.is_stranger, &call.consumer) {
            bytes.push(END);
            bytes.extend_from_slice(consumer.name.as_bytes());
        }
        Key { bytes: bytes.into(), address_bytes }
    }

    /// Whether the call says who it is from by something that its key does not hold.
    pub(super) fn leaves_out_who_asks(&self, call: &Call) -> bool {
        let is_known = (call.consumer.is_some() || call.claims.is_some()) && !call.is_stranger;
        let is_in_key = self.by_consumer && call.consumer.is_some();
        let authorizes = call.head.headers.contains_key(header::AUTHORIZATION)
            && !self.headers.contains(&header::AUTHORIZATION);
        (is_known && !is_in_key) || authorizes
    }

    /// The address of a target that an answer names, if it has the same origin as the call.
    pub(super) fn address_of(&self, call: &Call, named: &str) -> Option<Vec<u8>> {
        let base = call.head.uri.path();
        let target = match named.split_once("://") {
            Some((scheme_named, rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, target) = rest.split_at(end);
                let is_same = scheme_named.eq_ignore_ascii_case(scheme(call))
                    && without_port(authority).eq_ignore_ascii_case(host(call));
                if !is_same {
                    return None;
                }
                target.to_owned()
            }
            None if named.starts_with("//") => return None,
            None if named.starts_with('/') => named.to_owned(),
            None if named.starts_with(['?', '#']) => format!("{base}{named}"),
            None => format!("{}/{named}", base.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        let mut bytes = Vec::new();
        self.write_address(scheme(call), host(call), &normal(&target)?, &mut bytes);
        Some(bytes)
    }

    /// The address that an operator names.
    pub(super) fn address_in(&self, url: &str) -> Option<Vec<u8>> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let mut bytes = Vec::new();
        let host = without_port(authority).to_ascii_lowercase();
        self.write_address(&scheme.to_ascii_lowercase(), &host, &normal(target)?, &mut bytes);
        Some(bytes)
    }

    fn write_address(&self, scheme: &str, host: &str, target: &str, out: &mut Vec<u8>) {
        for part in [scheme, "://", host] {
            out.extend_from_slice(part.as_bytes());
        }
        match target.split_once('?') {
            Some((path, query)) if !self.ignored.is_empty() => {
                out.extend_from_slice(path.as_bytes());
                let mut separator = b'?';
                for pair in query.split('&').filter(|pair| !self.ignores(pair)) {
                    out.push(separator);
                    out.extend_from_slice(pair.as_bytes());
                    separator = b'&';
                }
            }
            _ => out.extend_from_slice(target.as_bytes()),
        }
    }

    fn ignores(&self, pair: &str) -> bool {
        let name = pair.split('=').next().unwrap_or_default();
        self.ignored.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == ignored,
        })
    }
}

/// A target in the form that those of requests have.
fn normal(target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let path = crate::guard::path::canonical(path, true).ok()?.path;
    Some(match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    })
}

fn scheme(call: &Call) -> &'static str {
    if call.record.tls { "https" } else { "http" }
}

fn host(call: &Call) -> &str {
    call.host.as_ref().map_or("", |host| host.as_str())
}

fn without_port(authority: &str) -> &str {
    let end = authority.rfind(':').filter(|at| authority.get(at + 1..).is_some_and(is_port));
    end.and_then(|end| authority.get(..end)).unwrap_or(authority)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The values of a cookie.
fn cookies<'h>(headers: &'h HeaderMap, name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

/// All lines of a field as one, without the spaces that mean nothing around commas (RFC 9111 §4.1). Languages are the
/// same in any case (RFC 5646 §2.1.1).
pub(super) fn combined(headers: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return false;
    }
    let start = out.len();
    // One that is there and empty is another than none.
    out.push(b'=');
    for (at, part) in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(part.trim_ascii());
    }
    if *name == header::ACCEPT_LANGUAGE
        && let Some(written) = out.get_mut(start..)
    {
        written.make_ascii_lowercase();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_header};

    fn keys(settings: serde_json::Value) -> Keys {
        Keys::new(&serde_json::from_value(settings).expect("good settings"))
    }

    fn same(keys: &Keys, one: &Call, other: &Call) -> bool {
        keys.of(one) == keys.of(other)
    }

    #[test]
    fn what_is_named_parts_and_what_is_ignored_does_not() {
        let plain = keys(serde_json::json!({}));
        assert!(same(&plain, &call("GET", "/a?b=1"), &call("HEAD", "/a?b=1")));
        assert!(!same(&plain, &call("GET", "/a?b=1"), &call("GET", "/a?b=2")));
        assert!(!same(&plain, &call("GET", "/a?"), &call("GET", "/a")));
        let by_tenant = keys(serde_json::json!({"headers": ["x-tenant"]}));
        let tenant = |value: &str| with_header(call("GET", "/"), "x-tenant", value);
        assert!(!same(&by_tenant, &tenant("a"), &tenant("b")));
        assert!(!same(&by_tenant, &tenant(""), &call("GET", "/")));
        assert!(same(&by_tenant, &tenant("a, b"), &tenant("a,b")));
        let by_cookie = keys(serde_json::json!({"cookies": ["lang"]}));
        let cookie = |value: &str| with_header(call("GET", "/"), "cookie", value);
        assert!(same(&by_cookie, &cookie("x=1; lang=de"), &cookie("lang=de; x=2")));
        assert!(!same(&by_cookie, &cookie("lang=de"), &cookie("lang=en")));
        let lax = keys(serde_json::json!({"ignoreQuery": ["utm_*", "x"]}));
        assert!(same(&lax, &call("GET", "/a?b=1&utm_source=q&x=2"), &call("GET", "/a?b=1")));
        assert!(!same(&lax, &call("GET", "/a?xy=1"), &call("GET", "/a")));
    }

    #[test]
    fn addresses_that_answers_name_are_of_the_same_origin() {
        let keys = keys(serde_json::json!({}));
        let mut call = call("POST", "/a/b?c=1");
        call.host = crate::call::Host::from_authority(bytes::Bytes::from_static(b"api.example.test"));
        let of =
            |named: &str| keys.address_of(&call, named).map(|bytes| String::from_utf8(bytes).expect("text"));
        for (named, want) in [
            ("/x", Some("http://api.example.test/x")),
            ("/x/../y#z", Some("http://api.example.test/y")),
            ("d?e", Some("http://api.example.test/a/d?e")),
            ("?q", Some("http://api.example.test/a/b?q")),
            ("http://API.example.test:8080/x", Some("http://api.example.test/x")),
            ("https://api.example.test/x", None),
            ("http://other.test/x", None),
            ("//other.test/x", None),
        ] {
            assert_eq!(of(named).as_deref(), want, "{named}");
        }
        let operator = keys.address_in("http://api.example.test:80").expect("an address");
        assert_eq!(operator, b"http://api.example.test/");
    }
}
