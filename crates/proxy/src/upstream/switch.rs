//! Switches of protocol: what an upstream is asked for, and whether its answer may open a tunnel.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::{
    body::Body,
    call::{Call, Upgrade},
    failure::{Failure, Problem, Stage},
};

/// What the server appends to the key before it hashes it (RFC 6455 §1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key (RFC 6455 §4.1).
const KEY_BYTES: usize = 16;

/// Asks the upstream for the switch that the client asks for, in the words of HTTP/1.1, which those of HTTP/2 are made
/// of where the upstream speaks that.
pub(super) fn ask(call: &mut Call) {
    let headers = &mut call.head.headers;
    match call.upgrade {
        None | Some(Upgrade::Connect) => return,
        Some(Upgrade::Connection | Upgrade::Stream) => {}
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if call.upgrade == Some(Upgrade::Stream) && !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        // RFC 8441 has no key; HTTP/1.1 wants one (RFC 6455 §4.1), any 16 bytes in base64.
        headers.insert(header::SEC_WEBSOCKET_KEY, websocket_key(call.random));
    }
}

/// Whether an answer opens a tunnel.
pub(crate) fn opens(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success())
}

/// Refuses answers that would open a tunnel nobody asked for, or one that is not what was asked for.
pub(super) fn judge(
    upgrade: Option<Upgrade>,
    head: &Parts,
    response: &Response<Body>,
) -> Result<(), Failure> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let wrong = match upgrade {
        None | Some(Upgrade::Connect) if switched => "a 101 that was not asked for",
        // To an HTTP/2 client any 2xx would be the tunnel's beginning (RFC 8441 §5).
        Some(Upgrade::Stream) if response.status().is_success() => "the upstream did not switch to WebSocket",
        // What the client of an Upgrade checks for itself, nobody else checks for one of HTTP/2.
        Some(Upgrade::Stream) if switched && !agrees(head, response) => {
            "the upstream's sec-websocket-accept is wrong"
        }
        _ => return Ok(()),
    };
    Err(Failure::upstream(Stage::FirstByte, Problem::BadUpstreamAnswer, wrong))
}

/// Whether the upstream has hashed the key that it was sent (RFC 6455 §4.1).
fn agrees(head: &Parts, response: &Response<Body>) -> bool {
    let given = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    given.is_some() && accept(head).as_ref() == given
}

/// The answer to the key of a head (RFC 6455 §4.2.2).
pub(super) fn accept(head: &Parts) -> Option<HeaderValue> {
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY)?;
    let text = [key.as_bytes(), KEY_SUFFIX].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    HeaderValue::from_str(&STANDARD.encode(digest)).ok()
}

/// Whether there is one key, of 16 bytes in base64 (RFC 6455 §4.2.1).
pub(super) fn has_key(headers: &HeaderMap) -> bool {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().and_then(|key| STANDARD.decode(key.as_bytes()).ok());
    key.is_some_and(|key| key.len() == KEY_BYTES) && keys.next().is_none()
}

/// Sixteen bytes drawn from `random`, in base64.
fn websocket_key(random: u64) -> HeaderValue {
    let mut bytes = [0; KEY_BYTES];
    bytes[..8].copy_from_slice(&random.to_be_bytes());
    bytes[8..].copy_from_slice(&random.wrapping_mul(0x5851_f42d_4c95_7f2d).to_be_bytes());
    HeaderValue::from_str(&STANDARD.encode(bytes))
        .unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}
