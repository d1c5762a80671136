//! Request targets in their four forms (RFC 9112 §3.2) and the Host field.
//!
//! Percent-encoding, dot segments and the like are left to whoever normalises paths.

use bytes::Bytes;
use http::{Method, Uri};

use crate::{ParseErrorKind, find::find, rules};

/// Judges the target and makes it a URI.
pub(crate) fn parse(
    head: &Bytes,
    (start, end): (usize, usize),
    method: &Method,
    host: Option<&[u8]>,
) -> Result<Uri, ParseErrorKind> {
    let bytes = &head[start..end];
    if *method == Method::CONNECT {
        check_connect(bytes, host)?;
    } else if bytes[0] == b'/' {
        check_path_and_query(bytes)?;
    } else if bytes == b"*" {
        if *method != Method::OPTIONS {
            return Err(ParseErrorKind::AsteriskWithoutOptions);
        }
    } else {
        check_absolute(bytes, host)?;
    }
    Uri::from_maybe_shared(head.slice(start..end)).map_err(|_| ParseErrorKind::MalformedTarget)
}

/// `CONNECT` takes `host:port` and nothing else (RFC 9112 §3.2.3).
fn check_connect(bytes: &[u8], host: Option<&[u8]>) -> Result<(), ParseErrorKind> {
    if check_authority(bytes) != Some(Port::Given) {
        return Err(ParseErrorKind::MalformedTarget);
    }
    same_host(bytes, host)
}

/// `http://authority/path` (RFC 9112 §3.2.2).
fn check_absolute(bytes: &[u8], host: Option<&[u8]>) -> Result<(), ParseErrorKind> {
    let rest = strip_scheme(bytes).ok_or_else(|| bad_byte(bytes))?;
    let authority_len = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    if check_authority(authority).is_none() {
        return Err(bad_byte(authority));
    }
    check_path_and_query(path)?;
    same_host(authority, host)
}

/// RFC 9112 §3.2.2 lets the target win over Host. A request in which they differ is refused instead: whoever
/// judged it before us may have judged the other one.
fn same_host(authority: &[u8], host: Option<&[u8]>) -> Result<(), ParseErrorKind> {
    match host {
        Some(host) if !host.eq_ignore_ascii_case(authority) => Err(ParseErrorKind::HostDiffersFromTarget),
        _ => Ok(()),
    }
}

fn strip_scheme(bytes: &[u8]) -> Option<&[u8]> {
    for scheme in [b"http://".as_slice(), b"https://"] {
        if bytes.len() > scheme.len() && bytes[..scheme.len()].eq_ignore_ascii_case(scheme) {
            return Some(&bytes[scheme.len()..]);
        }
    }
    None
}

/// Path and query as [`rules`] has them.
pub(crate) fn check_path_and_query(bytes: &[u8]) -> Result<(), ParseErrorKind> {
    let path_len = find(b'?', bytes).unwrap_or(bytes.len());
    let (path, query) = bytes.split_at(path_len);
    if rules::are_path(path) && rules::are_query(query) { Ok(()) } else { Err(bad_byte(bytes)) }
}

#[cold]
fn bad_byte(bytes: &[u8]) -> ParseErrorKind {
    let bad = bytes.iter().find(|byte| !rules::is_query_byte(**byte));
    match bad {
        Some(b'#') => ParseErrorKind::FragmentInTarget,
        Some(b' ' | b'\t') => ParseErrorKind::SpaceInTarget,
        Some(b'\r') => ParseErrorKind::BareCr,
        _ => ParseErrorKind::MalformedTarget,
    }
}

/// The value of Host: a host and perhaps a port (RFC 9110 §7.2); an empty one names nobody and is refused.
pub(crate) fn check_host(host: &[u8]) -> Result<(), ParseErrorKind> {
    check_authority(host).map(|_| ()).ok_or(ParseErrorKind::MalformedHost)
}

#[derive(PartialEq, Eq)]
enum Port {
    Absent,
    Given,
}

/// `host [":" port]` without user information (RFC 3986 §3.2.2, §3.2.3). Registered names are held to
/// unreserved bytes, without empty labels; an IPv6 address stands in brackets.
fn check_authority(bytes: &[u8]) -> Option<Port> {
    let host_len = if bytes.first() == Some(&b'[') {
        let close = bytes.iter().position(|byte| *byte == b']')?;
        let address = std::str::from_utf8(&bytes[1..close]).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        close + 1
    } else {
        let len = find(b':', bytes).unwrap_or(bytes.len());
        (rules::are_host(&bytes[..len]) && has_no_empty_label(&bytes[..len])).then_some(len)?
    };
    match &bytes[host_len..] {
        [] => Some(Port::Absent),
        [b':', port @ ..] if is_port(port) => Some(Port::Given),
        _ => None,
    }
}

/// Only the last label may be empty, as the root of DNS (RFC 1034 §3.1): `a..` would be one name to those who drop one
/// dot, and another to those who drop all.
fn has_no_empty_label(name: &[u8]) -> bool {
    let mut before = b'.';
    for byte in name {
        if *byte == b'.' && before == b'.' {
            return false;
        }
        before = *byte;
    }
    !name.is_empty()
}

fn is_port(port: &[u8]) -> bool {
    let mut number = 0u32;
    for byte in port {
        if !byte.is_ascii_digit() || port.len() > 5 {
            return false;
        }
        number = number * 10 + u32::from(byte - b'0');
    }
    !port.is_empty() && number <= u32::from(u16::MAX)
}
