//! What a request's head says: path, authority, headers.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::{
    Cidr,
    resource::path_rules::{Allowance, PathRules},
};

use crate::{
    call::Host,
    guard::{Present, headers, path as paths},
    listener::forwarded as forwarding,
    upstream::outgoing::grpc_timeout as grpc_deadline,
};

/// The normal form of a path, under rules that the first byte picks: it is its own normal form, holds no dot segment
/// however often it is decoded, and a pattern of the same text has the same form.
pub fn path(bytes: &[u8]) {
    let Some((bits, rest)) = bytes.split_first() else { return };
    let Ok(raw) = std::str::from_utf8(rest) else { return };
    let allow = |bit: u8| Some(if bits >> bit & 1 == 1 { Allowance::Allow } else { Allowance::Reject });
    let rules = PathRules {
        encoded_slash: allow(0),
        semicolon: allow(1),
        backslash: allow(2),
        nul: allow(3),
        double_encoding: allow(4),
        merge_slashes: Some(bits >> 5 & 1 == 0),
    };
    let Ok(normal) = paths::normalise(raw, &rules) else { return };
    assert!(normal.starts_with('/') && normal.bytes().all(|byte| byte.is_ascii_graphic()), "{normal:?}");
    assert!(!normal.contains(['?', '#', '\\']), "{normal:?}");
    assert!(paths::is_canonical(&normal, &rules), "{normal:?} has another normal form");
    assert_eq!(
        paths::canonical_pattern(raw, rules.merge_slashes.unwrap_or(true)).as_deref(),
        Ok(&*normal),
        "a pattern is spelled like the path"
    );
    let mut seen = normal.as_bytes().to_vec();
    for _ in 0..6 {
        let text = String::from_utf8_lossy(&seen).replace(['\\', '\0'], "/");
        let dotted = text.split('/').any(|part| matches!(part.split(';').next(), Some("." | "..")));
        assert!(!dotted, "{normal:?} shows {text:?}");
        seen = paths::decode_all(&seen);
    }
}

/// The host of an authority is its own host, in small letters, and one name whatever its port and its last dot.
pub fn authority(bytes: &[u8]) {
    if !http1::rules::is_host(bytes) {
        return;
    }
    let host = Host::from_authority(Bytes::copy_from_slice(bytes)).expect("a host has a name");
    let name = host.as_str();
    assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name:?}");
    assert!(!name.contains(['/', '?', '#', '@', '\\', ',', '%', ' ']), "{name:?}");
    assert!(name.starts_with('[') || !name.ends_with('.') && !name.contains(".."), "{name:?}");
    for spelled in [name.to_owned(), name.to_ascii_uppercase(), format!("{name}:8080")] {
        let again = Host::from_authority(Bytes::from(spelled.clone()));
        assert_eq!(again.as_ref(), Some(&host), "{spelled}");
    }
}

/// Headers from lines of text; a line that is none is passed over.
pub(crate) fn header_lines(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// After the guard nothing of one hop is left, nothing that policies read is gone, and a second time changes nothing.
pub fn request_headers(bytes: &[u8]) {
    let protected = [HeaderName::from_static("x-api-key"), HeaderName::from_static("x-user")];
    let before = header_lines(bytes);
    let mut after = before.clone();
    let present = Present::of(&after);
    headers::clean(&mut after, present, &protected);
    for gone in
        ["connection", "upgrade", "http2-settings", "transfer-encoding", "proxy-authorization", "expect"]
    {
        assert!(!after.contains_key(gone), "{gone}");
    }
    for kept in protected.iter().chain(&[header::AUTHORIZATION, header::COOKIE, header::HOST]) {
        let values = |headers: &HeaderMap| headers.get_all(kept).iter().cloned().collect::<Vec<_>>();
        assert_eq!(values(&before), values(&after), "{kept}");
    }
    let spoofed =
        |name: &HeaderName| protected.iter().any(|known| name.as_str().replace('_', "-") == *known.as_str());
    assert!(after.keys().all(|name| !name.as_str().contains('_') || !spoofed(name)), "{after:?}");
    let mut again = after.clone();
    let present = Present::of(&again);
    headers::clean(&mut again, present, &protected);
    assert_eq!(again, after);
    headers::join_cookies(&mut again);
    assert!(again.get_all(header::COOKIE).iter().count() <= 1);
}

/// Who the client is behind proxies: the peer itself, or an address that the headers name. A stranger's claims are
/// gone.
pub fn forwarded(bytes: &[u8]) {
    let peer: IpAddr = [10, 0, 0, 1].into();
    let trusted: Vec<Cidr> =
        ["10.0.0.0/8", "2001:db8::/32"].iter().filter_map(|text| text.parse().ok()).collect();
    let given = header_lines(bytes);
    let client = forwarding::client_address(peer, &trusted, &given);
    let named = ["x-forwarded-for", "forwarded"].iter().any(|name| given.contains_key(*name));
    assert!(named || client == peer, "{client} out of nothing");
    assert_eq!(client, client.to_canonical());
    let address = HeaderValue::from_static("10.0.0.1");
    let mut seen = given.clone();
    let present = Present::of(&seen);
    forwarding::rewrite(&mut seen, present, &address, false, true, None);
    let all: Vec<_> = seen.get_all("x-forwarded-for").iter().collect();
    assert_eq!(all, [&address]);
    assert_eq!(seen["x-forwarded-proto"], "https");
    for name in ["forwarded", "x-real-ip", "x-forwarded-host", "true-client-ip", "x-client-ip"] {
        assert!(!seen.contains_key(name), "{name}");
    }
    let mut continued = given.clone();
    let present = Present::of(&continued);
    forwarding::rewrite(&mut continued, present, &address, true, true, None);
    let last = continued["x-forwarded-for"].as_bytes();
    assert!(last.ends_with(b"10.0.0.1") || continued.get_all("x-forwarded-for").iter().count() > 1);
}

/// A gRPC deadline is none or at most 99,999,999 hours.
pub fn grpc_timeout(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    headers.insert("grpc-timeout", value);
    if let Some(deadline) = grpc_deadline(&headers) {
        assert!(deadline.as_secs() <= 99_999_999 * 3600);
        assert!(bytes[0].is_ascii_digit() && (2..=9).contains(&bytes.len()));
    }
}
