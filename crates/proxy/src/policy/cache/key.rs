//! What tells answers apart before anything of them is known: the address, the route, and what settings name.

use std::{borrow::Cow, rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::{Phase, policy::cache::CacheKey};
use serde_json::{Map, Value};

use crate::{
    call::{Call, Host},
    consumer::Consumer,
    policy::Chain,
};

/// Stands between parts of a key; no part holds it.
const END: u8 = 0;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What a trusted peer may say beside these of how its client asked; nobody else's reaches an upstream.
const FORWARDED: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-port"), HeaderName::from_static("x-forwarded-prefix")];

/// Fields by which some services take a request for another than its line says: of another method, for another target, host or
/// scheme. What is made of one is nothing for those who ask without it.
const OTHERWISE: [&str; 14] = [
    "front-end-https",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

/// Whether a field is one of these. Each of every request is asked, of which next to none begins so.
fn is_otherwise(name: &str) -> bool {
    (name.starts_with("x-") || name.starts_with("front-end-")) && OTHERWISE.contains(&name)
}

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
    /// A key as it was written down: all of it, and the length of its address.
    pub(super) fn restored(bytes: &[u8], address_bytes: usize) -> Option<Self> {
        (address_bytes <= bytes.len()).then(|| Self { bytes: bytes.into(), address_bytes })
    }

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
        let mut bytes = Vec::with_capacity(128 + target.len());
        self.write_address(call.scheme(), &host(call), target, &mut bytes);
        let address_bytes = bytes.len();
        write_way(call, &mut bytes);
        write_changes(call, &mut bytes);
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
        if self.by_consumer && !call.is_stranger {
            write_who(call, &mut bytes);
        }
        Key { bytes: bytes.into(), address_bytes }
    }

    /// Whether the call says who it is from by something that its key does not hold.
    pub(super) fn leaves_out_who_asks(&self, call: &Call) -> bool {
        let is_known = (call.consumer.is_some() || call.claims.is_some()) && !call.is_stranger;
        // Several people may be one consumer: an application's. Their tokens say who they are.
        let is_in_key = self.by_consumer
            && match &call.claims {
                Some(claims) => text(claims, "sub").is_some(),
                None => call.consumer.is_some(),
            };
        let authorizes = call.head.headers.contains_key(header::AUTHORIZATION)
            && !self.headers.contains(&header::AUTHORIZATION)
            && !(is_known && call.authorization_is_judged);
        (is_known && !is_in_key) || authorizes
    }

    /// Whether the call has cookies that its key does not hold.
    pub(super) fn leaves_out_cookies(&self, call: &Call) -> bool {
        let is_in_key = !self.cookies.is_empty() || self.headers.contains(&header::COOKIE);
        !is_in_key && call.head.headers.contains_key(header::COOKIE)
    }

    /// The address of a target that an answer names, if it has the same origin as the call.
    pub(super) fn address_of(&self, call: &Call, named: &str) -> Option<Vec<u8>> {
        // As the client asked for it: what `rewrite` made of it is nobody's address.
        let base = call.routed_path();
        let target = match named.split_once("://") {
            Some((scheme_named, rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, target) = rest.split_at(end);
                let is_same = scheme_named.eq_ignore_ascii_case(call.scheme())
                    && without_port(authority).eq_ignore_ascii_case(&host(call));
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
        self.write_address(call.scheme(), &host(call), &normal(&target)?, &mut bytes);
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
        // There are upstreams to which `;` parts parameters as well: what stands behind one is not what is ignored.
        if pair.contains(';') {
            return false;
        }
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

/// The host that the client asked for, as a trusted peer says or as it came here: lower-case, without a port.
fn host(call: &Call) -> Cow<'_, str> {
    let own = || Cow::Borrowed(call.host.as_ref().map_or("", |host| host.as_str()));
    match only(&call.head.headers, &X_FORWARDED_HOST) {
        Some(told) if Some(told) != call.head.headers.get(header::HOST) => {
            let is_one = !told.as_bytes().iter().any(|byte| matches!(byte, b',' | b' '));
            let told = is_one.then(|| Host::from_authority(told.as_bytes().to_vec().into())).flatten();
            told.map_or_else(own, |told| Cow::Owned(told.as_str().to_owned()))
        }
        _ => own(),
    }
}

/// The one line of a field.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// How the request came, as far as upstreams may put it into links: the authority as it was asked for, port included,
/// and what a trusted peer says of its own client's request.
fn write_way(call: &Call, out: &mut Vec<u8>) {
    let headers = &call.head.headers;
    out.push(END);
    let asked = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let default_port: &[u8] = if call.scheme() == "https" { b":443" } else { b":80" };
    out.extend(asked.strip_suffix(default_port).unwrap_or(asked).iter().map(u8::to_ascii_lowercase));
    out.push(END);
    if only(headers, &X_FORWARDED_HOST) != headers.get(header::HOST) {
        combined(headers, &X_FORWARDED_HOST, out);
    }
    out.push(END);
    let is_plain = only(headers, &X_FORWARDED_PROTO)
        .is_some_and(|told| [&b"http"[..], b"https"].iter().any(|plain| told.as_bytes() == *plain));
    if !is_plain {
        combined(headers, &X_FORWARDED_PROTO, out);
    }
    for name in &FORWARDED {
        out.push(END);
        combined(headers, name, out);
    }
    out.push(END);
    for line in headers.get_all(header::FORWARDED) {
        for pair in line.as_bytes().split(|byte| matches!(byte, b',' | b';')).map(<[u8]>::trim_ascii) {
            let pair = pair.to_ascii_lowercase();
            if pair.starts_with(b"host=") || pair.starts_with(b"proto=") {
                out.extend_from_slice(&pair);
                out.push(b',');
            }
        }
    }
    out.push(END);
    for name in headers.keys().filter(|name| is_otherwise(name.as_str())) {
        out.extend_from_slice(name.as_str().as_bytes());
        combined(headers, name, out);
        out.push(END);
    }
}

/// What makes something of answers before they are kept: the route as it is configured, and the listener and the
/// consumer where these change anything.
fn write_changes(call: &Call, out: &mut Vec<u8>) {
    let changes = |chain: &Chain| chain.links.iter().any(|link| link.phase == Phase::Transform);
    if let Some(route) = &call.record.route {
        out.extend_from_slice(route.as_bytes());
    }
    out.push(END);
    let route = call.route.and_then(|route| call.plan.routes.get(route));
    out.extend_from_slice(&route.map_or(0, |route| route.made_by).to_be_bytes());
    let listener = call.listener();
    if changes(&listener.chain) {
        out.extend_from_slice(listener.name.as_bytes());
    }
    out.push(END);
    if let Some(consumer) = call.consumer.as_ref().filter(|consumer| changes(&consumer.chain)) {
        out.extend_from_slice(consumer.name.as_bytes());
    }
}

/// Who asks: the consumer, and by whose word which of those who are that consumer.
fn write_who(call: &Call, out: &mut Vec<u8>) {
    let consumer = call.consumer.as_ref().map(|consumer| &*consumer.name);
    let claim = |name| call.claims.as_ref().and_then(|claims| text(claims, name));
    for part in [consumer, claim("iss"), claim("sub")] {
        // With its length, for a claim may hold any byte.
        let bytes = part.map_or(&[][..], str::as_bytes);
        out.push(END);
        out.extend_from_slice(&(part.map_or(u64::MAX, |_| bytes.len() as u64)).to_be_bytes());
        out.extend_from_slice(bytes);
    }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// Whom a call is known to be from at some time of its way. An upstream's own policies may find out more.
#[derive(Clone, Default)]
pub(super) struct Whom {
    consumer: Option<Arc<Consumer>>,
    claims: Option<Rc<Map<String, Value>>>,
}

impl Whom {
    pub(super) fn of(call: &Call) -> Self {
        Self { consumer: call.consumer.clone(), claims: call.claims.clone() }
    }

    /// Whether the call is known to be from somebody else by now.
    pub(super) fn has_changed(&self, call: &Call) -> bool {
        let same_consumer = match (&self.consumer, &call.consumer) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let same_claims = match (&self.claims, &call.claims) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        !(same_consumer && same_claims)
    }
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
    use crate::policy::testing::{call, with_claims, with_header};

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
        // An upstream may read `b=2` of it.
        assert!(!same(&lax, &call("GET", "/a?b=1&utm_x=1;b=2"), &call("GET", "/a?b=1")));
    }

    #[test]
    fn how_a_request_came_parts_where_upstreams_see_it() {
        let plain = keys(serde_json::json!({}));
        let asked = |host: &str, fields: &[(&'static str, &str)]| {
            let mut asked = call("GET", "/a");
            asked.head.headers.insert(header::HOST, host.parse().expect("a value"));
            asked.host = Host::from_authority(host.as_bytes().to_vec().into());
            fields.iter().fold(asked, |asked, (name, value)| with_header(asked, name, value))
        };
        let one = asked("a.test", &[]);
        for (host, fields, want) in [
            ("A.TEST", &[][..], true),
            ("a.test:80", &[], true),
            ("a.test:1337", &[], false),
            ("a.test:443", &[], false),
            ("a.test.", &[], false),
            ("a.test", &[("x-forwarded-proto", "http"), ("x-forwarded-host", "a.test")], false),
            ("a.test", &[("x-forwarded-proto", "https")], false),
            ("a.test", &[("x-forwarded-host", "b.test")], false),
            ("a.test", &[("x-forwarded-prefix", "/api")], false),
            ("a.test", &[("forwarded", "for=192.0.2.1;proto=https")], false),
            ("a.test", &[("forwarded", "for=192.0.2.1")], true),
            ("a.test", &[("x-http-method-override", "HEAD")], false),
            ("a.test", &[("x-original-url", "/b")], false),
            ("a.test", &[("x-anything", "/b")], true),
        ] {
            let is_given = [("x-forwarded-proto", "http"), ("x-forwarded-host", "a.test")] == *fields;
            assert_eq!(same(&plain, &one, &asked(host, fields)), want || is_given, "{host} {fields:?}");
        }
        let secure = asked("a.test", &[("x-forwarded-proto", "https")]);
        assert_eq!(plain.of(&secure).address(), b"https://a.test/a");
        let named = asked("inner:8080", &[("x-forwarded-host", "A.test:8443")]);
        assert_eq!(plain.of(&named).address(), b"http://a.test/a");
        assert_eq!(plain.of(&asked("a.test:1337", &[])).address(), plain.of(&one).address(), "purged as one");
    }

    #[test]
    fn people_of_one_application_are_told_apart_by_their_tokens() {
        let by_consumer = keys(serde_json::json!({"consumer": true}));
        let of = |claims: &str| with_claims(call("GET", "/a"), claims);
        let anna = || of(r#"{"iss": "i", "sub": "anna", "exp": 1}"#);
        assert!(same(&by_consumer, &anna(), &of(r#"{"iss": "i", "sub": "anna", "exp": 2}"#)));
        for other in
            [r#"{"iss": "i", "sub": "bert"}"#, r#"{"iss": "j", "sub": "anna"}"#, r#"{"sub": "anna"}"#]
        {
            assert!(!same(&by_consumer, &anna(), &of(other)), "{other}");
        }
        assert!(!by_consumer.leaves_out_who_asks(&anna()));
        assert!(by_consumer.leaves_out_who_asks(&of(r#"{"azp": "webapp"}"#)), "nobody knows who that is");
        let mut shown = with_header(anna(), "authorization", "Bearer x");
        assert!(by_consumer.leaves_out_who_asks(&shown), "it is the upstream's to judge");
        shown.authorization_is_judged = true;
        assert!(!by_consumer.leaves_out_who_asks(&shown));
        assert!(keys(serde_json::json!({})).leaves_out_who_asks(&shown));
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
