//! Finds, judges and hides what a caller shows: in a header, the query or a cookie.
//!
//! A credential that is given twice is ambiguous: whoever reads after us may take the other one.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};
use serde_json::{Map, Value};

use crate::{
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers, SomebodyElse},
    failure::{Failure, Problem},
    hex::hex,
    template,
};

/// The same credential stands there more than once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeated;

/// The one value of a header.
pub(crate) fn in_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Repeated> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Repeated) } else { Ok(first.map(HeaderValue::as_bytes)) }
}

/// What follows `scheme` and spaces, when the value begins so (RFC 9110 §11.4); the scheme's case does not count.
pub(crate) fn after_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(scheme.len())?;
    if !head.eq_ignore_ascii_case(scheme.as_bytes()) || rest.first() != Some(&b' ') {
        return None;
    }
    Some(rest.trim_ascii())
}

/// The one value of a query parameter, decoded. A value with broken escapes is there, and matches nothing.
pub(crate) fn in_query<'a>(uri: &'a Uri, name: &str) -> Result<Option<Cow<'a, str>>, Repeated> {
    let mut found = None;
    for pair in uri.query().unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if is_name(key, name) && found.replace(template::decode(value).unwrap_or_default()).is_some() {
            return Err(Repeated);
        }
    }
    Ok(found)
}

/// The one value of a cookie.
pub(crate) fn in_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Repeated> {
    let mut found = None;
    for value in headers.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
            if pair[..at].trim_ascii() == name.as_bytes()
                && found.replace(pair[at + 1..].trim_ascii()).is_some()
            {
                return Err(Repeated);
            }
        }
    }
    Ok(found)
}

/// Removes a query parameter, every time it is there.
pub(crate) fn hide_in_query(call: &mut Call, name: &str) {
    let Some(query) = call.head.uri.query() else { return };
    if !query.split('&').any(|pair| is_name(pair.split('=').next().unwrap_or_default(), name)) {
        return;
    }
    let kept: Vec<&str> =
        query.split('&').filter(|pair| !is_name(pair.split('=').next().unwrap_or_default(), name)).collect();
    let path = call.head.uri.path();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    set_target(call, target);
}

/// Removes a cookie, and the header with it when nothing else is left.
pub(crate) fn hide_in_cookie(headers: &mut HeaderMap, name: &str) {
    let values: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for value in values {
        let kept: Vec<&[u8]> = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .map(<[u8]>::trim_ascii)
            .filter(|pair| {
                let key = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
                !pair.is_empty() && key.trim_ascii() != name.as_bytes()
            })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
            && !value.is_empty()
        {
            headers.append(header::COOKIE, value);
        }
    }
}

/// Gives the call another target in origin form; one that is malformed leaves it as it is and is told.
pub(crate) fn set_target(call: &mut Call, target: String) -> bool {
    let Ok(target) = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)) else { return false };
    let mut parts = std::mem::take(&mut call.head.uri).into_parts();
    parts.path_and_query = Some(target);
    match Uri::from_parts(parts) {
        Ok(uri) => {
            call.head.uri = uri;
            true
        }
        Err(_) => false,
    }
}

/// Whom an authentication policy may find.
pub(crate) fn consumers(cx: &Building<'_>) -> Result<Arc<Consumers>, String> {
    cx.consumers.cloned().ok_or_else(|| "a consumer's own policies cannot authenticate".to_owned())
}

/// The consumer that calls without credentials count as.
pub(crate) fn anonymous(name: Option<&str>, consumers: &Consumers) -> Result<Option<Arc<Consumer>>, String> {
    let Some(name) = name else { return Ok(None) };
    let found = consumers.named(name).cloned();
    found.map(Some).ok_or_else(|| format!("`anonymous` names no consumer: `{name}`"))
}

/// Makes a consumer whose credential was shown the one who calls.
pub(crate) fn enter(
    call: &mut Call,
    consumer: &Arc<Consumer>,
    challenge: &HeaderValue,
) -> Result<(), Failure> {
    if consumer.has_expired(std::time::SystemTime::now()) {
        return Err(unauthenticated(challenge, "the credentials have expired"));
    }
    consumer.enter(call).map_err(|SomebodyElse| {
        unauthenticated(challenge, "the credentials are those of different consumers")
    })
}

/// What is shown beside what let a call in was no good.
struct PassedOver;

/// By its address notes are kept.
static NOTE: u8 = 0;

/// Notes that a call showed something that is no good, and came in by something else.
pub(super) fn pass_over_wrong(call: &mut Call) {
    call.keep(&NOTE, PassedOver);
}

/// Whether a call showed something that is no good, though it came in. Each policy that asks is told.
pub(super) fn was_wrong_beside(call: &Call) -> bool {
    call.notes.iter().any(|(_, note)| note.is::<PassedOver>())
}

/// The user name and password of `Authorization` are what let a call in.
struct ByPassword;

/// Notes that a call came in by the user name and password that it showed.
pub(super) fn enter_by_password(call: &mut Call) {
    call.authorization_is_judged = true;
    call.keep(&NOTE, ByPassword);
}

/// Whether a call came in by the user name and password that it showed, and not by something beside them.
pub(super) fn was_by_password(call: &Call) -> bool {
    call.notes.iter().any(|(_, note)| note.is::<ByPassword>())
}

/// Whether whoever shows a token with these claims is whom it was given to: it is bound to no key (RFC 7800), or to the
/// certificate of the connection (RFC 8705 §3.1). That anybody has another key nobody proves here.
pub(crate) fn is_bearers(call: &Call, claims: &Map<String, Value>) -> bool {
    let Some(proof) = claims.get("cnf").filter(|proof| !proof.is_null()) else { return true };
    let thumbprint = match proof.as_object() {
        Some(all) if all.len() == 1 => all.get("x5t#S256").and_then(Value::as_str),
        _ => None,
    };
    let thumbprint = thumbprint.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let certificate = call.peer.tls.as_ref().and_then(|tls| tls.client.as_ref());
    thumbprint.zip(certificate).is_some_and(|(digest, client)| hex(&digest) == *client.fingerprint)
}

/// 401 with its challenge (RFC 9110 §11.6.1).
pub(crate) fn unauthenticated(challenge: &HeaderValue, hint: &str) -> Failure {
    Failure::refused(Problem::Unauthenticated)
        .with_header(header::WWW_AUTHENTICATE, challenge.clone())
        .with_hint(hint)
}

/// A realm as a quoted string (RFC 9110 §5.6.4).
pub(crate) fn challenge(scheme: &str, realm: &str) -> Result<HeaderValue, String> {
    let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_str(&format!("{scheme} realm=\"{quoted}\""))
        .map_err(|_| format!("`{realm}` cannot stand in a header"))
}

fn is_name(key: &str, name: &str) -> bool {
    key == name || template::decode(key).is_some_and(|key| key == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_header};

    #[test]
    fn a_credential_that_is_given_twice_is_ambiguous() {
        let name = HeaderName::from_static("x-api-key");
        let twice = with_header(with_header(call("GET", "/?k=1&%6b=2"), "x-api-key", "a"), "x-api-key", "a");
        assert_eq!(in_header(&twice.head.headers, &name), Err(Repeated));
        assert_eq!(in_query(&twice.head.uri, "k"), Err(Repeated));
        let cookies = with_header(with_header(call("GET", "/"), "cookie", "a=1; t=x"), "cookie", "t=y");
        assert_eq!(in_cookie(&cookies.head.headers, "t"), Err(Repeated));
        assert_eq!(in_cookie(&cookies.head.headers, "a"), Ok(Some(&b"1"[..])));
    }

    #[test]
    fn a_scheme_ends_with_a_space_and_its_case_does_not_count() {
        for (value, want) in [
            ("Bearer abc", Some("abc")),
            ("bEARER   abc ", Some("abc")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Basic abc", None),
        ] {
            assert_eq!(after_scheme(value.as_bytes(), "Bearer"), want.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn hiding_leaves_everything_else_as_it_was() {
        for (target, want) in [
            ("/p?a=1&key=x&b=%20", "/p?a=1&b=%20"),
            ("/p?key=x", "/p"),
            ("/p?%6bey=x&key", "/p"),
            ("/p?keys=1", "/p?keys=1"),
            ("/p", "/p"),
        ] {
            let mut call = call("GET", target);
            hide_in_query(&mut call, "key");
            assert_eq!(call.head.uri, want, "{target}");
        }
        let mut call = with_header(call("GET", "/"), "cookie", "a=1; token=x; b=2; token=y");
        hide_in_cookie(&mut call.head.headers, "token");
        assert_eq!(call.head.headers[header::COOKIE], "a=1; b=2");
        hide_in_cookie(&mut call.head.headers, "a");
        hide_in_cookie(&mut call.head.headers, "b");
        assert!(!call.head.headers.contains_key(header::COOKIE));
    }
}
