//! `Forwarded` (RFC 7239) and `X-Forwarded-*`: who the client is behind proxies, and what the upstream is told.
//!
//! Only trusted peers are believed. From anyone else these headers are a claim: they are replaced by what the
//! connection itself shows.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::Cidr;

use crate::guard::Present;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Claims of a peer that is not trusted, which are dropped and not written anew.
const CLAIMS: Present = Present::FORWARDED
    .and(Present::X_REAL_IP)
    .and(Present::X_FORWARDED_PORT)
    .and(Present::X_FORWARDED_SERVER)
    .and(Present::X_FORWARDED_PREFIX)
    .and(Present::X_CLIENT_IP)
    .and(Present::TRUE_CLIENT_IP)
    .and(Present::X_ORIGINAL_FORWARDED_FOR)
    .and(Present::X_FORWARDED_CLIENT_CERT)
    .and(Present::CLIENT_CERT)
    .and(Present::CLIENT_CERT_CHAIN);
/// Proxies in a row that are looked through.
const HOPS_MAX: usize = 64;

/// The true client address behind a trusted peer: the first from the right that is not trusted itself.
pub(crate) fn client_address(peer: IpAddr, trusted: &[Cidr], headers: &HeaderMap) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    for hop in hops(headers).into_iter().rev().take(HOPS_MAX) {
        // What cannot be read ends the walk: what stands to its left was not said by anyone who is trusted.
        let Some(address) = hop else { break };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// The addresses that proxies wrote down, the oldest first; `None` for one that cannot be read.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    if headers.contains_key(X_FORWARDED_FOR) {
        let lines = headers.get_all(X_FORWARDED_FOR).iter().map(text);
        return lines.flat_map(|line| line.split(',').map(node).collect::<Vec<_>>()).collect();
    }
    let lines = headers.get_all(header::FORWARDED).iter().map(text);
    lines.flat_map(|line| elements(&line).map(forwarded_for).collect::<Vec<_>>()).collect()
}

/// The elements of a `Forwarded` header; a comma within quotes does not part them.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    line.split(move |character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    })
}

fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value.trim().trim_matches('"'))
}

/// An address with or without a port, in brackets or not.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse().ok()?,
        None => match text.parse() {
            Ok(address) => address,
            Err(_) => text.rsplit_once(':')?.0.parse::<std::net::Ipv4Addr>().ok()?.into(),
        },
    };
    Some(IpAddr::to_canonical(&address))
}

/// Whether a client came by TLS, by headers that [`rewrite`] has been over: as a trusted peer says, or as it came here.
pub(crate) fn came_by_tls(headers: &HeaderMap, tls: bool) -> bool {
    let mut told = headers.get_all(X_FORWARDED_PROTO).iter();
    match (told.next().map(HeaderValue::as_bytes), told.next()) {
        (Some(told), None) if told.eq_ignore_ascii_case(b"https") => true,
        (Some(told), None) if told.eq_ignore_ascii_case(b"http") => false,
        _ => tls,
    }
}

/// States what this hop knows. A trusted peer's list is continued; anyone else's is replaced.
pub(crate) fn rewrite(
    headers: &mut HeaderMap,
    present: Present,
    peer: &HeaderValue,
    trusted: bool,
    tls: bool,
    host: Option<&HeaderValue>,
) {
    let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
    if !trusted {
        present.remove(CLAIMS, headers);
        headers.insert(X_FORWARDED_FOR, peer.clone());
        headers.insert(X_FORWARDED_PROTO, scheme);
        match host {
            Some(host) => {
                headers.insert(X_FORWARDED_HOST, host.clone());
            }
            None => present.remove(Present::X_FORWARDED_HOST, headers),
        }
        return;
    }
    if present.has(Present::FORWARDED)
        && let Ok(element) = forwarded_element(peer)
    {
        headers.append(header::FORWARDED, element);
    }
    let list = joined(headers, peer);
    headers.insert(X_FORWARDED_FOR, list);
    headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
}

fn joined(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(X_FORWARDED_FOR) {
        return peer.clone();
    }
    let mut list = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).unwrap_or_else(|_| peer.clone())
}

fn forwarded_element(peer: &HeaderValue) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let peer = peer.to_str().unwrap_or("unknown");
    let element = if peer.contains(':') { format!("for=\"[{peer}]\"") } else { format!("for={peer}") };
    HeaderValue::from_str(&element)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[track_caller]
    fn client(lines: &[(&'static str, &str)], expected: &str) {
        let trusted: Vec<Cidr> =
            ["10.0.0.0/8", "2001:db8::/32"].iter().map(|text| text.parse().expect("a network")).collect();
        let peer = "10.0.0.1".parse().expect("an address");
        assert_eq!(client_address(peer, &trusted, &headers(lines)).to_string(), expected, "{lines:?}");
    }

    #[test]
    fn the_client_is_found_from_the_right() {
        client(&[], "10.0.0.1");
        client(&[("x-forwarded-for", "203.0.113.9")], "203.0.113.9");
        client(&[("x-forwarded-for", "1.2.3.4, 203.0.113.9")], "203.0.113.9");
        client(&[("x-forwarded-for", "1.2.3.4, 203.0.113.9, 10.0.0.2")], "203.0.113.9");
        client(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9,10.0.0.2")], "203.0.113.9");
        client(&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_read() {
        client(&[("x-forwarded-for", "203.0.113.9:4711")], "203.0.113.9");
        client(&[("x-forwarded-for", "[2001:db9::1]:80, 2001:db8::5")], "2001:db9::1");
        client(&[("x-forwarded-for", "::ffff:203.0.113.9")], "203.0.113.9");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk() {
        client(&[("x-forwarded-for", "1.2.3.4, nonsense, 10.0.0.2")], "10.0.0.2");
        client(&[("x-forwarded-for", "")], "10.0.0.1");
        client(&[("forwarded", "for=_hidden, for=10.0.0.2")], "10.0.0.2");
    }

    #[test]
    fn forwarded_is_read_with_its_quotes() {
        client(&[("forwarded", "for=203.0.113.9;proto=https")], "203.0.113.9");
        client(&[("forwarded", "for=1.2.3.4, For=\"[2001:db9::1]:4711\";by=\"a,b\"")], "2001:db9::1");
    }

    #[test]
    fn claims_of_an_untrusted_peer_are_replaced() {
        let mut given = headers(&[
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-real-ip", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("true-client-ip", "127.0.0.1"),
        ]);
        let peer = HeaderValue::from_static("203.0.113.9");
        let present = Present::of(&given);
        rewrite(&mut given, present, &peer, false, false, Some(&HeaderValue::from_static("api.example")));
        let expected = headers(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "api.example"),
        ]);
        assert_eq!(given, expected);
    }

    #[test]
    fn the_list_of_a_trusted_peer_is_continued() {
        let mut given = headers(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.9"),
        ]);
        let present = Present::of(&given);
        rewrite(&mut given, present, &HeaderValue::from_static("10.0.0.1"), true, false, None);
        assert_eq!(given["x-forwarded-for"], "203.0.113.9, 10.0.0.1");
        assert_eq!(given["x-forwarded-proto"], "https");
        assert_eq!(given.get_all("forwarded").iter().count(), 2);
    }
}
