//! Heads on their way out. Framing fields come from the framing that is asked for, never from the map.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request, response};

use super::EncodeError;
use crate::{Framing, target};

/// Room beside the fields: first line, framing, connection and the empty line.
const BESIDE_FIELDS_BYTES: usize = 128;
/// What a field takes on average; a guess that spares `out` most of its growth.
const FIELD_BYTES: usize = 48;

/// Writes a request's head, always as HTTP/1.1.
///
/// The target is in origin-form, `*` for `OPTIONS *`, or the authority for CONNECT. Host comes first, from the
/// fields or else from the URI. Content-Length and Transfer-Encoding follow `framing`; those in `parts` are left out.
///
/// # Errors
///
/// When no head can say this; nothing is written then.
pub fn encode_request_head(
    parts: &request::Parts,
    framing: Framing,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if framing == Framing::UntilClose {
        return Err(EncodeError::RequestUntilClose);
    }
    let target = request_target(parts)?;
    let host = match parts.headers.get(header::HOST) {
        Some(host) => host.as_bytes(),
        None => parts.uri.authority().ok_or(EncodeError::Host)?.as_str().as_bytes(),
    };
    target::check_host(host).map_err(|_| EncodeError::Host)?;
    out.reserve(BESIDE_FIELDS_BYTES + target.len() + host.len() + parts.headers.len() * FIELD_BYTES);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    // A URI in absolute-form may have a query and no path (RFC 9112 §3.2.1).
    out.extend_from_slice(if target.starts_with(b"?") { b" /" } else { b" " });
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        if *name != header::HOST && !is_framing(name) {
            write_field(name, value, out);
        }
    }
    write_framing(framing, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn request_target(parts: &request::Parts) -> Result<&[u8], EncodeError> {
    if parts.method == Method::CONNECT {
        return parts
            .uri
            .authority()
            .map(|authority| authority.as_str().as_bytes())
            .ok_or(EncodeError::Target);
    }
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes();
    match target {
        b"" => Ok(b"/"),
        b"*" if parts.method == Method::OPTIONS => Ok(target),
        [b'/' | b'?', ..] if target::check_path_and_query(target).is_ok() => Ok(target),
        _ => Err(EncodeError::Target),
    }
}

/// Writes an answer's head, always as HTTP/1.1 (RFC 9110 §2.5).
///
/// `request` and `version` are the client's. Content-Length and Transfer-Encoding follow `framing`; a Content-Length
/// in `parts` is kept only where there is no body to frame: in answers to HEAD and in 304. `Connection: close` is
/// written unless the connection is kept, `keep-alive` is said to HTTP/1.0, and a Connection in `parts` goes out
/// otherwise (101 needs it).
///
/// # Errors
///
/// When no head can say this; nothing is written then.
pub fn encode_response_head(
    parts: &response::Parts,
    framing: Framing,
    request: &Method,
    keep_alive: bool,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let said = judge_framing(parts, framing, request, version)?;
    out.reserve(BESIDE_FIELDS_BYTES + parts.headers.len() * FIELD_BYTES);
    write_status_line(parts.status, out);
    let interim = parts.status.is_informational();
    let keep_alive = keep_alive && framing != Framing::UntilClose;
    let connection = match version {
        _ if interim => None,
        Version::HTTP_10 if keep_alive => Some("connection: keep-alive\r\n"),
        _ if keep_alive => None,
        _ => Some("connection: close\r\n"),
    };
    for (name, value) in &parts.headers {
        let kept = match said {
            _ if *name == header::CONNECTION => connection.is_none(),
            Said::LengthOfFields => *name != header::TRANSFER_ENCODING,
            _ => !is_framing(name),
        };
        if kept {
            write_field(name, value, out);
        }
    }
    if let Said::Framing = said {
        write_framing(framing, out);
    }
    if let Some(connection) = connection {
        out.extend_from_slice(connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// What a head says of the body's length.
#[derive(Clone, Copy)]
enum Said {
    /// The framing that was asked for.
    Framing,
    /// The Content-Length of the fields: what a GET would have had.
    LengthOfFields,
    /// Nothing at all.
    Nothing,
}

fn judge_framing(
    parts: &response::Parts,
    framing: Framing,
    request: &Method,
    version: Version,
) -> Result<Said, EncodeError> {
    let tunnel = *request == Method::CONNECT && parts.status.is_success();
    let silent = parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT || tunnel;
    match framing {
        Framing::Chunked if version == Version::HTTP_10 => Err(EncodeError::ChunkedOnHttp10),
        Framing::None | Framing::Length(0) if silent => Ok(Said::Nothing),
        _ if silent => Err(EncodeError::BodyNotAllowed),
        Framing::None | Framing::Length(0) if parts.status == StatusCode::NOT_MODIFIED => {
            Ok(length_of(&parts.headers))
        }
        _ if parts.status == StatusCode::NOT_MODIFIED => Err(EncodeError::BodyNotAllowed),
        Framing::None if *request == Method::HEAD => Ok(length_of(&parts.headers)),
        Framing::None => Err(EncodeError::FramingNeeded),
        _ => Ok(Said::Framing),
    }
}

/// A Content-Length that would be refused by whoever reads it is not passed on.
fn length_of(headers: &HeaderMap) -> Said {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(length), None) if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) => {
            Said::LengthOfFields
        }
        _ => Said::Nothing,
    }
}

/// Writes `100 Continue`.
pub fn encode_continue(out: &mut BytesMut) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

fn write_status_line(status: StatusCode, out: &mut BytesMut) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING
}

/// Writes a field line. Neither type can hold CR or LF.
pub(super) fn write_field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    let name = name.as_str().as_bytes();
    let value = value.as_bytes();
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_framing(framing: Framing, out: &mut BytesMut) {
    match framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            write_decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

fn write_decimal(number: u64, out: &mut BytesMut) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
