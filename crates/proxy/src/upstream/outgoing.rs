//! What goes out with a call beside what the client sent: hop headers, the balancer's hash, the caller's deadline.

use std::time::Duration;

use http::{HeaderValue, Version, header};

use super::{Upstream, switch};
use crate::call::Call;

/// What the balancer hashes for this call, when its algorithm does.
pub(crate) fn hash_of(call: &Call, upstream: &Upstream) -> Option<u64> {
    use model::resource::balancing::HashKey;
    let bytes: &[u8] = match upstream.settings.load_balancing.hash.as_ref()? {
        HashKey::Header(name) => call.head.headers.get(name.to_http())?.as_bytes(),
        HashKey::Query(name) => {
            let query = call.head.uri.query()?;
            query.split('&').find_map(|pair| pair.strip_prefix(name.as_str())?.strip_prefix('='))?.as_bytes()
        }
        HashKey::Cookie(name) => call
            .head
            .headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))?,
        HashKey::Consumer => call.consumer.as_ref()?.name.as_bytes(),
        HashKey::ClientAddress => return Some(resilience::hash::hash64(call.client.to_string().as_bytes())),
        HashKey::Path => call.path().as_bytes(),
    };
    Some(resilience::hash::hash64(bytes))
}

/// States what this hop's connection needs, and nothing of the client's own.
pub(super) fn prepare(call: &mut Call, upstream: &Upstream) {
    // HTTP/1.0 knows no `Host`; to an upstream of a later version somebody has to be named (RFC 9112 §3.2).
    if call.record.version < Version::HTTP_11 && !call.head.headers.contains_key(header::HOST) {
        call.host_from_endpoint = true;
    }
    if call.expects_continue {
        call.head.headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if call.upgrade.is_some() {
        switch::ask(call);
    } else if call.head.headers.contains_key(header::TE) && !upstream.is_http2() {
        call.head.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// What `grpc-timeout` of a gRPC call allows (gRPC over HTTP/2, "Requests").
pub(crate) fn grpc_timeout(headers: &http::HeaderMap) -> Option<Duration> {
    if !crate::failure::is_grpc(headers) {
        return None;
    }
    timeout_of(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// What a value of `grpc-timeout` says.
pub(crate) fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount.saturating_mul(3600)),
        "M" => Duration::from_secs(amount.saturating_mul(60)),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}
