//! Removes the headers that speak about one hop, and those that pretend to be ours.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::present::Present;

/// Fields of one hop (RFC 9110 §7.6.1) in either direction.
const OF_ONE_HOP: Present = Present::CONNECTION
    .and(Present::KEEP_ALIVE)
    .and(Present::PROXY_CONNECTION)
    .and(Present::PROXY_AUTHENTICATE)
    .and(Present::PROXY_AUTHORIZATION)
    .and(Present::TRANSFER_ENCODING)
    .and(Present::UPGRADE);

/// Fields that a request to the next hop states anew.
const STATED_ANEW: Present = Present::CONTENT_LENGTH.and(Present::EXPECT).and(Present::HTTP2_SETTINGS);

/// What `Connection` may never name: naming a field that we read or set would make it vanish after it was judged.
const END_TO_END: [HeaderName; 13] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CACHE_CONTROL,
    header::FORWARDED,
    header::ORIGIN,
    header::RANGE,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
];

/// Cleans a request's headers. `protected` are the names that policies read or set.
pub(crate) fn clean(headers: &mut HeaderMap, present: Present, protected: &[HeaderName]) {
    if present.has(Present::CONNECTION) {
        drop_named(headers, |name| {
            // Whoever sends `TE` has to name it here (RFC 9110 §10.1.4): what is left of it below is true of this hop, too.
            END_TO_END.contains(name)
                || *name == header::TE
                || protected.contains(name)
                || name.as_str().starts_with("x-forwarded-")
        });
    }
    if present.has(Present::TE) {
        keep_trailers_only(headers);
    }
    present.remove(OF_ONE_HOP.and(STATED_ANEW), headers);
    if present.has_underscore() {
        drop_underscores(headers, protected);
    }
}

/// Cleans an upstream's answer.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    let present = Present::of(headers);
    if present.has(Present::CONNECTION) {
        drop_named(headers, |name| {
            END_TO_END.contains(name) || *name == header::SET_COOKIE || *name == header::WWW_AUTHENTICATE
        });
    }
    present.remove(OF_ONE_HOP.and(Present::TE), headers);
}

/// Removes from trailers what a head would have been judged by: fields that this gateway, its policies or HTTP itself
/// read or set (RFC 9110 §6.5.1).
pub(crate) fn clean_trailers(trailers: &mut HeaderMap, protected: &[HeaderName]) {
    let dropped: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            END_TO_END.contains(name)
                || protected.contains(name)
                || OF_ONE_HOP.and(STATED_ANEW).names().any(|of_hop| of_hop == *name)
                || is_ours(name.as_str())
                || http1::rules::is_dropped_trailer(name)
                || http1::rules::is_refused_trailer(name)
        })
        .cloned()
        .collect();
    for name in dropped {
        trailers.remove(name);
    }
    drop_underscores(trailers, protected);
}

/// The same for an answer, of which only HTTP itself judges anything.
pub(crate) fn clean_answer_trailers(trailers: &mut HeaderMap) {
    let is_barred =
        |name: &&HeaderName| http1::rules::is_dropped_trailer(name) || http1::rules::is_refused_trailer(name);
    let dropped: Vec<HeaderName> = trailers.keys().filter(is_barred).cloned().collect();
    for name in dropped {
        trailers.remove(name);
    }
}

/// Names that the gateway itself sets on every request, or drops.
fn is_ours(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "x-real-ip"
                | "x-request-id"
                | "x-client-ip"
                | "true-client-ip"
                | "client-cert"
                | "client-cert-chain"
                | "traceparent"
                | "tracestate"
        )
}

/// Removes what `Connection` names.
fn drop_named(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| *name != header::TE && !keep(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// `TE` is for one hop but for `trailers`, which gRPC needs to see (RFC 9110 §10.1.4).
fn keep_trailers_only(headers: &mut HeaderMap) {
    let Some(value) = headers.get(header::TE) else { return };
    let accepts = value.as_bytes().split(|byte| *byte == b',').any(|part| {
        part.trim_ascii()
            .split(|byte| *byte == b';')
            .next()
            .is_some_and(|t| t.eq_ignore_ascii_case(b"trailers"))
    });
    if accepts {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
}

/// CGI and its heirs read `_` and `-` alike: a name with underscores that would be taken for one that this gateway
/// reads or sets is dropped.
fn drop_underscores(headers: &mut HeaderMap, protected: &[HeaderName]) {
    let shadows: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .filter(|name| {
            let dashed = name.as_str().replace('_', "-");
            let is = |known: &HeaderName| known.as_str() == dashed;
            END_TO_END.iter().any(is)
                || OF_ONE_HOP.and(STATED_ANEW).names().any(is)
                || protected.iter().any(is)
                || is_ours(&dashed)
        })
        .cloned()
        .collect();
    for name in shadows {
        headers.remove(name);
    }
}

/// HTTP/2 may split `Cookie`; everyone else expects one (RFC 9113 §8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::COOKIE).iter();
    if values.next().is_none() || values.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let present = Present::of(&headers);
        clean(&mut headers, present, &[HeaderName::from_static("x-api-key")]);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn connection_removes_what_it_names_but_nothing_that_we_read() {
        let left = cleaned(&[
            ("connection", "close, X-Hop, authorization, x-api-key, X-Forwarded-For"),
            ("x-hop", "1"),
            ("authorization", "Bearer x"),
            ("x-api-key", "k"),
            ("x-forwarded-for", "192.0.2.1"),
        ]);
        assert_eq!(left, ["authorization: Bearer x", "x-api-key: k", "x-forwarded-for: 192.0.2.1"]);
    }

    #[test]
    fn h2c_upgrade_headers_are_stripped() {
        let left = cleaned(&[
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ]);
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn underscores_cannot_shadow_our_names() {
        let left = cleaned(&[
            ("x_forwarded_for", "1"),
            ("x_api_key", "1"),
            ("content_length", "1"),
            ("X_Request-Id", "1"),
            ("my_own", "kept"),
        ]);
        assert_eq!(left, ["my_own: kept"]);
    }

    #[test]
    fn te_keeps_nothing_but_trailers() {
        assert_eq!(cleaned(&[("te", "gzip, Trailers;q=0.5")]), ["te: trailers"]);
        assert!(cleaned(&[("te", "gzip")]).is_empty());
    }
}
