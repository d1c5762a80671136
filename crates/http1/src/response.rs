//! Response heads: status line, field lines, and the framing that request and status decide (RFC 9112 §6.3).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, Version, response::Parts};

use crate::{
    Framing, Limits, ParseError, ParseErrorKind, fields,
    framing::Facts,
    lines::{Lines, Scan, headers_max},
    rules,
};

/// A response's head, complete and judged.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status, version and fields, as they were received; the reason phrase is not kept.
    pub parts: Parts,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection can carry another exchange: what the server said, and nothing ambiguous about it.
    pub keep_alive: bool,
    /// Bytes the head took on the wire.
    pub wire_len: usize,
}

/// Reads response heads from a connection, interim ones too.
#[derive(Debug)]
pub struct ResponseDecoder {
    limits: Limits,
    lines: Lines,
}

impl ResponseDecoder {
    /// A decoder for a connection or for one exchange on it.
    pub fn new(limits: Limits) -> Self {
        Self { limits, lines: Lines::default() }
    }

    /// Takes one head off `buf`, or nothing while it is incomplete. `request` is the method that is answered.
    ///
    /// Interim answers (1xx) are returned as heads without a body, 101 too; the caller goes on until the final one.
    /// `buf` must begin where it began at the last call. After an error the connection is of no further use.
    ///
    /// # Errors
    ///
    /// On anything that [`rules`] does not accept.
    pub fn decode(
        &mut self,
        buf: &mut BytesMut,
        request: &Method,
    ) -> Result<Option<ResponseHead>, ParseError> {
        match buf.first() {
            None => return Ok(None),
            Some(b'H') => {}
            Some(_) => return Err(ParseErrorKind::MalformedStatusLine.into()),
        }
        let end = match self.lines.scan(buf, self.limits.head_bytes, headers_max(&self.limits) + 1)? {
            Scan::Complete(end) => end,
            Scan::Partial => return Ok(None),
            Scan::TooLong => return Err(ParseErrorKind::HeadTooLarge.into()),
        };
        let head = buf.split_to(end).freeze();
        let parsed = parse(&head, &self.lines, request)?;
        self.lines.clear();
        Ok(Some(parsed))
    }
}

fn parse(head: &Bytes, lines: &Lines, request: &Method) -> Result<ResponseHead, ParseErrorKind> {
    let mut lines_iter = lines.iter();
    let first = lines_iter.next().ok_or(ParseErrorKind::MalformedStatusLine)?;
    let (status, is_11) = status_line(&head[..first.1])?;
    let mut facts = Facts::default();
    let mut headers = HeaderMap::with_capacity(lines.len() + fields::ROOM);
    if head.get(first.1 + 2).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(ParseErrorKind::SpaceBeforeFirstHeader);
    }
    for line in lines_iter {
        fields::read(head, line, &mut headers, &mut facts)?;
    }
    facts.check(is_11)?;
    let (framing, clear) = framing(&facts, status, request);
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.version = if is_11 { Version::HTTP_11 } else { Version::HTTP_10 };
    parts.headers = headers;
    Ok(ResponseHead { parts, framing, keep_alive: clear && facts.persists(is_11), wire_len: head.len() })
}

/// The framing, and whether a following answer could be told from this one's body without doubt.
fn framing(facts: &Facts, status: StatusCode, request: &Method) -> (Framing, bool) {
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        // Without a body whatever the fields say (RFC 9112 §6.3, 1); a server that says otherwise may well send one.
        return (Framing::None, !facts.chunked && facts.length.unwrap_or(0) == 0);
    }
    if *request == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        return (Framing::None, true);
    }
    if *request == Method::CONNECT && status.is_success() {
        return (Framing::None, true);
    }
    match facts.length {
        _ if facts.chunked => (Framing::Chunked, true),
        Some(length) => (Framing::Length(length), true),
        None => (Framing::UntilClose, false),
    }
}

/// `HTTP-version SP status-code [ SP reason-phrase ]` (RFC 9112 §4). Without a phrase the second space may be
/// missing too: many servers leave it out, and nothing can be misread.
fn status_line(line: &[u8]) -> Result<(StatusCode, bool), ParseErrorKind> {
    let Some((version, rest)) = line.split_at_checked(8) else {
        return Err(ParseErrorKind::MalformedStatusLine);
    };
    let is_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        other => return Err(rules::bad_version(other)),
    };
    let (code, phrase) = match rest {
        [b' ', code @ ..] if code.len() == 3 => (code, [].as_slice()),
        [b' ', a, b, c, b' ', phrase @ ..] => (&[*a, *b, *c][..], phrase),
        _ => return Err(ParseErrorKind::MalformedStatusLine),
    };
    if !matches!(code, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9']) {
        return Err(ParseErrorKind::MalformedStatus);
    }
    if let Some(bad) = phrase.iter().find(|byte| !rules::is_text_byte(**byte)) {
        return Err(if *bad == b'\r' { ParseErrorKind::BareCr } else { ParseErrorKind::ControlInReason });
    }
    let status = StatusCode::from_bytes(code).map_err(|_| ParseErrorKind::MalformedStatus)?;
    Ok((status, is_11))
}
