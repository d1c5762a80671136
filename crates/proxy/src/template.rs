//! Templates: text with `{{ … }}` that is filled from one call.
//!
//! A template is parsed once, when a snapshot is built; an unknown name refuses the configuration. A value that
//! the call does not have makes the whole text absent, so that a header built from a missing claim is not sent
//! at all instead of being sent empty.

use std::{borrow::Cow, fmt::Write};

use http::{HeaderName, HeaderValue, header};
use serde_json::Value;

use crate::call::Call;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Box<str>),
    Value(Source),
}

/// Where a value of a template comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Method,
    Path,
    Host,
    Scheme,
    Query,
    Parameter(Box<str>),
    Header(HeaderName),
    Cookie(Box<str>),
    Capture(Box<str>),
    Claim(Box<[Box<str>]>),
    Consumer,
    ConsumerGroups,
    Client,
    RequestId,
    Route,
    TlsSni,
    TlsSubject,
    TlsSerial,
    TlsFingerprint,
    TlsNames,
}

/// The names that a template may use, as error messages list them.
const NAMES: &str = "request.method, request.path, request.host, request.scheme, request.id, request.query, \
                     request.query.<name>, request.header.<name>, request.cookie.<name>, captures.<name>, \
                     jwt.<claim>, consumer.name, consumer.groups, client.address, route.name, tls.sni, \
                     tls.client.subject, tls.client.serial, tls.client.fingerprint, tls.client.names";

impl Template {
    /// Parses a template. The error is a sentence for the operator.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            if open > 0 {
                parts.push(Part::Text(rest[..open].into()));
            }
            let inner = &rest[open + 2..];
            let close =
                inner.find("}}").ok_or_else(|| format!("`{text}` opens `{{{{` and never closes it"))?;
            parts.push(Part::Value(Source::parse(inner[..close].trim())?));
            rest = &inner[close + 2..];
        }
        if rest.contains("}}") {
            return Err(format!("`{text}` closes `}}}}` that was never opened"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// The text, when no part of it depends on a call.
    pub(crate) fn constant(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it tells who the caller is, by what the gateway has verified.
    pub(crate) fn tells_who(&self) -> bool {
        self.parts.iter().any(|part| {
            matches!(
                part,
                Part::Value(
                    Source::Claim(_)
                        | Source::Consumer
                        | Source::ConsumerGroups
                        | Source::TlsSubject
                        | Source::TlsSerial
                        | Source::TlsFingerprint
                        | Source::TlsNames
                )
            )
        })
    }

    /// Names of the captures that it needs.
    pub(crate) fn captures(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(Source::Capture(name)) => Some(&**name),
            _ => None,
        })
    }

    /// The text for this call, or nothing when the call lacks one of its values.
    pub(crate) fn render<'a>(&'a self, call: &'a Call) -> Option<Cow<'a, str>> {
        match &*self.parts {
            [] => return Some(Cow::Borrowed("")),
            [Part::Text(text)] => return Some(Cow::Borrowed(text)),
            [Part::Value(source)] => return source.value(call),
            _ => {}
        }
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(source) => out.push_str(&source.value(call)?),
            }
        }
        Some(Cow::Owned(out))
    }

    /// The value for this call: one place alone keeps the type that it has there, everything else is text.
    pub(crate) fn json(&self, call: &Call) -> Option<Value> {
        match &*self.parts {
            [Part::Value(Source::Claim(path))] => claim(call.claims.as_deref()?, path).cloned(),
            [Part::Value(Source::ConsumerGroups)] => {
                let groups = &call.consumer.as_ref()?.groups;
                Some(groups.iter().map(|group| Value::from(&**group)).collect())
            }
            _ => self.render(call).map(|text| Value::from(&*text)),
        }
    }

    /// The text, each value of which is judged before it becomes a part of it. Nothing when the call lacks one.
    pub(crate) fn render_judged<E>(
        &self,
        call: &Call,
        judge: impl Fn(&str) -> Result<(), E>,
    ) -> Result<Option<String>, E> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(source) => {
                    let Some(value) = source.value(call) else { return Ok(None) };
                    judge(&value)?;
                    out.push_str(&value);
                }
            }
        }
        Ok(Some(out))
    }

    /// The text as part of a path: what comes from the path stays as it is, everything else is percent-encoded,
    /// so that no value can add a segment or a query.
    pub(crate) fn render_path(&self, call: &Call) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(source @ (Source::Path | Source::Capture(_))) => {
                    out.push_str(&source.value(call)?);
                }
                Part::Value(source) => percent_encode(&source.value(call)?, &mut out),
            }
        }
        Some(out)
    }

    /// The text as a header's value; one that a header cannot hold is absent, never cut or cleaned.
    pub(crate) fn render_header(&self, call: &Call) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.render(call)?).ok()
    }
}

impl Source {
    fn parse(name: &str) -> Result<Self, String> {
        let (head, tail) = name.split_once('.').map_or((name, None), |(head, tail)| (head, Some(tail)));
        let tail = tail.filter(|tail| !tail.is_empty());
        let source = match (head, tail) {
            ("request", Some(tail)) => match Self::of_request(tail)? {
                Some(source) => source,
                None => return Err(unknown(name)),
            },
            ("captures", Some(name)) => Self::Capture(name.into()),
            ("jwt", Some(path)) => Self::Claim(path.split('.').map(Into::into).collect()),
            ("consumer", Some("name")) => Self::Consumer,
            ("consumer", Some("groups")) => Self::ConsumerGroups,
            ("client", Some("address")) => Self::Client,
            ("route", Some("name")) => Self::Route,
            ("tls", Some("sni")) => Self::TlsSni,
            ("tls", Some("client.subject")) => Self::TlsSubject,
            ("tls", Some("client.serial")) => Self::TlsSerial,
            ("tls", Some("client.fingerprint")) => Self::TlsFingerprint,
            ("tls", Some("client.names")) => Self::TlsNames,
            _ => return Err(unknown(name)),
        };
        Ok(source)
    }

    fn of_request(name: &str) -> Result<Option<Self>, String> {
        let (head, tail) = name.split_once('.').map_or((name, None), |(head, tail)| (head, Some(tail)));
        Ok(Some(match (head, tail.filter(|tail| !tail.is_empty())) {
            ("method", None) => Self::Method,
            ("path", None) => Self::Path,
            ("host", None) => Self::Host,
            ("scheme", None) => Self::Scheme,
            ("id", None) => Self::RequestId,
            ("query", None) => Self::Query,
            ("query", Some(name)) => Self::Parameter(name.into()),
            ("header", Some(name)) => Self::Header(
                HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header"))?,
            ),
            ("cookie", Some(name)) => Self::Cookie(name.into()),
            _ => return Ok(None),
        }))
    }

    fn value<'a>(&self, call: &'a Call) -> Option<Cow<'a, str>> {
        match self {
            Self::Method => Some(call.head.method.as_str().into()),
            Self::Path => Some(call.path().into()),
            Self::Host => call.host.as_ref().map(|host| host.as_str().into()),
            Self::Scheme => Some(call.scheme().into()),
            Self::Query => call.head.uri.query().map(Into::into),
            Self::Parameter(name) => query_parameter(call.head.uri.query()?, name),
            Self::Header(name) => header_text(call, name),
            Self::Cookie(name) => cookie(call, name).map(Cow::Borrowed),
            Self::Capture(name) => call.capture(name).map(Into::into),
            Self::Claim(path) => claim_text(claim(call.claims.as_deref()?, path)?),
            Self::Consumer => call.consumer.as_ref().map(|consumer| Cow::Borrowed(&*consumer.name)),
            Self::ConsumerGroups => call.consumer.as_ref().map(|consumer| consumer.groups.join(",").into()),
            Self::Client => Some(call.client.to_string().into()),
            Self::RequestId => call.record.request_id.to_str().ok().map(Into::into),
            Self::Route => call.record.route.as_deref().map(Cow::Borrowed),
            Self::TlsSni => call.peer.sni().map(Cow::Borrowed),
            Self::TlsSubject => Some(Cow::Borrowed(&*certificate(call)?.names.subject)),
            Self::TlsSerial => Some(Cow::Borrowed(&*certificate(call)?.names.serial)),
            Self::TlsFingerprint => Some(Cow::Borrowed(&*certificate(call)?.fingerprint)),
            Self::TlsNames => {
                let names: Vec<_> = certificate(call)?.names.alternatives().collect();
                (!names.is_empty()).then(|| names.join(",").into())
            }
        }
    }
}

/// The client's certificate, when it showed one.
fn certificate(call: &Call) -> Option<&crate::tls::server::ClientIdentity> {
    call.peer.tls.as_ref()?.client.as_ref()
}

fn unknown(name: &str) -> String {
    format!("`{{{{ {name} }}}}` is unknown in a template; expected one of {NAMES}")
}

/// All values of a header, as one list.
fn header_text<'a>(call: &'a Call, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = call.head.headers.get_all(name).iter();
    let first = std::str::from_utf8(values.next()?.as_bytes()).ok()?;
    let mut text = Cow::Borrowed(first);
    for value in values {
        let text = text.to_mut();
        text.push_str(", ");
        text.push_str(std::str::from_utf8(value.as_bytes()).ok()?);
    }
    Some(text)
}

/// The first cookie of this name.
pub(crate) fn cookie<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.head.headers.get_all(header::COOKIE).iter().find_map(|value| {
        let text = std::str::from_utf8(value.as_bytes()).ok()?;
        text.split(';').find_map(|pair| {
            let (key, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
            (key == name).then_some(value)
        })
    })
}

/// The first parameter of this name, decoded.
pub(crate) fn query_parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(key)? == name { decode(value) } else { None }
    })
}

/// Decodes a query's escapes; nothing when they are malformed or not UTF-8.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => (hex(bytes.next()?)? << 4) | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Encodes everything but the unreserved characters (RFC 3986 §2.3).
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The claim at a path such as `realm_access.roles`. A claim whose own name holds the dots, such as
/// `https://example.test/role`, is found as well.
pub(crate) fn claim<'a>(claims: &'a serde_json::Map<String, Value>, path: &[Box<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    if let Some(value) = claims.get(&**first) {
        if rest.is_empty() {
            return Some(value);
        }
        if let Some(found) = value.as_object().and_then(|inner| claim(inner, rest)) {
            return Some(found);
        }
    }
    (path.len() > 1).then(|| claims.get(&path.join(".")))?
}

/// A claim as text: a list is joined by commas, unless one of its values has a comma of its own.
pub(crate) fn claim_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        Value::Array(items) => {
            let texts = items.iter().map(scalar_text).collect::<Option<Vec<_>>>()?;
            texts.iter().all(|text| !text.contains(',')).then(|| Cow::Owned(texts.join(",")))
        }
        Value::Object(_) => Some(Cow::Owned(value.to_string())),
    }
}

fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(_) | Value::Bool(_) | Value::Number(_) => claim_text(value),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_claims, with_header};

    fn render(text: &str, call: &Call) -> Option<String> {
        Template::compile(text).expect("a good template").render(call).map(Cow::into_owned)
    }

    #[test]
    fn values_come_from_the_request() {
        let call = with_header(call("POST", "/a/b?x=1%202&y"), "x-one", "1");
        for (text, want) in [
            ("{{request.method}} {{ request.path }}", Some("POST /a/b")),
            ("{{ request.query }}", Some("x=1%202&y")),
            ("{{ request.query.x }}", Some("1 2")),
            ("{{ request.query.y }}", Some("")),
            ("{{ request.query.z }}", None),
            ("{{ request.header.X-One }}/{{ request.scheme }}", Some("1/http")),
            ("{{ request.header.x-two }}", None),
            ("before {{ client.address }} after", Some("before 192.0.2.7 after")),
            ("{{ jwt.sub }}", None),
            ("{{ consumer.name }}", None),
            ("plain", Some("plain")),
            ("", Some("")),
        ] {
            assert_eq!(render(text, &call).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn every_value_of_a_repeated_header_is_rendered() {
        let call = with_header(with_header(call("GET", "/"), "x-a", "1"), "x-a", "2");
        assert_eq!(render("{{ request.header.x-a }}", &call).as_deref(), Some("1, 2"));
    }

    #[test]
    fn claims_are_found_by_path_and_by_dotted_name() {
        let call = with_claims(
            call("GET", "/"),
            r#"{"sub":"ann","n":7,"realm":{"roles":["a","b"]},"https://x.test/role":"r","odd":["a,b","c"],"no":null}"#,
        );
        for (text, want) in [
            ("{{ jwt.sub }}", Some("ann")),
            ("{{ jwt.n }}", Some("7")),
            ("{{ jwt.realm.roles }}", Some("a,b")),
            ("{{ jwt.https://x.test/role }}", Some("r")),
            ("{{ jwt.odd }}", None),
            ("{{ jwt.no }}", None),
            ("{{ jwt.realm.none }}", None),
        ] {
            assert_eq!(render(text, &call).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn unknown_names_and_open_braces_are_refused() {
        for text in [
            "{{ nope }}",
            "{{ jwt }}",
            "{{ jwt. }}",
            "{{ request.header.a b }}",
            "{{ request.path",
            "request.path }}",
            "{{}}",
        ] {
            assert!(Template::compile(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_that_no_header_can_hold_is_absent() {
        let call = with_claims(call("GET", "/"), r#"{"sub":"ann\r\nx-admin: yes","nul":"a\u0000b"}"#);
        for text in ["{{ jwt.sub }}", "u={{ jwt.sub }}", "{{ jwt.nul }}"] {
            assert_eq!(Template::compile(text).expect("good").render_header(&call), None, "{text}");
        }
    }

    #[test]
    fn a_value_cannot_add_a_path_segment() {
        let call = with_claims(call("GET", "/"), r#"{"sub":"../admin?x=1#"}"#);
        let template = Template::compile("/u/{{ jwt.sub }}").expect("good");
        assert_eq!(template.render_path(&call).as_deref(), Some("/u/..%2Fadmin%3Fx%3D1%23"));
    }
}
