//! Request heads: request line, field lines, and what they mean together.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Version, request::Parts};

use crate::{
    Framing, Limits, ParseError, ParseErrorKind, fields,
    framing::Facts,
    lines::{Lines, Scan, headers_max},
    rules, target,
};

/// A request's head, complete and judged.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields, as they were received.
    pub parts: Parts,
    /// How the body ends; without framing fields a request has none (RFC 9112 §6.3).
    pub framing: Framing,
    /// Whether the client would keep the connection (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Whether the client asks for another protocol: `Connection: upgrade` and `Upgrade`, on HTTP/1.1
    /// (RFC 9110 §7.8).
    pub upgrade: bool,
    /// Bytes the head took on the wire.
    pub wire_len: usize,
}

/// Reads request heads from a connection, one after the other.
#[derive(Debug)]
pub struct RequestDecoder {
    limits: Limits,
    lines: Lines,
    /// The one empty line that may come before a request line was seen.
    skipped: bool,
}

impl RequestDecoder {
    /// A decoder for a new connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, lines: Lines::default(), skipped: false }
    }

    /// Takes one head off `buf`, or nothing while it is incomplete.
    ///
    /// `buf` must begin where it began at the last call, with more bytes behind. After an error the connection is
    /// of no further use.
    ///
    /// # Errors
    ///
    /// On anything that [`rules`] does not accept.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<RequestHead>, ParseError> {
        let end = match self.find_end(buf)? {
            Some(end) => end,
            None => return Ok(None),
        };
        let head = buf.split_to(end).freeze();
        let mut parsed = parse(&head, &self.lines, &self.limits)?;
        parsed.wire_len += usize::from(self.skipped) * 2;
        self.lines.clear();
        self.skipped = false;
        Ok(Some(parsed))
    }

    fn find_end(&mut self, buf: &mut BytesMut) -> Result<Option<usize>, ParseErrorKind> {
        match buf.first() {
            None => return Ok(None),
            // One empty line before a request line is let pass (RFC 9112 §2.2).
            Some(b'\r') if !self.skipped => match buf.get(1) {
                None => return Ok(None),
                Some(b'\n') => {
                    buf.advance(2);
                    self.skipped = true;
                    return self.find_end(buf);
                }
                Some(_) => return Err(ParseErrorKind::BareCr),
            },
            Some(b'\n') => return Err(ParseErrorKind::BareLf),
            // What is no HTTP at all, such as a TLS handshake, is refused at its first byte.
            Some(first) if !rules::is_token_byte(*first) => return Err(ParseErrorKind::MalformedMethod),
            Some(_) => {}
        }
        match self.lines.scan(buf, self.limits.head_bytes, headers_max(&self.limits) + 1)? {
            Scan::Complete(end) => Ok(Some(end)),
            Scan::Partial => Ok(None),
            Scan::TooLong if self.lines.len() == 0 => Err(ParseErrorKind::TargetTooLong),
            Scan::TooLong => Err(ParseErrorKind::HeadTooLarge),
        }
    }
}

struct RequestLine {
    method: Method,
    /// Where the target lies.
    target: (usize, usize),
    is_11: bool,
}

fn parse(head: &Bytes, lines: &Lines, limits: &Limits) -> Result<RequestHead, ParseErrorKind> {
    let mut lines_iter = lines.iter();
    let first = lines_iter.next().ok_or(ParseErrorKind::MalformedRequestLine)?;
    let line = request_line(&head[..first.1], limits)?;
    let mut facts = Facts::default();
    let mut headers = HeaderMap::with_capacity(lines.len() + fields::ROOM);
    if head.get(first.1 + 2).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(ParseErrorKind::SpaceBeforeFirstHeader);
    }
    for line in lines_iter {
        fields::read(head, line, &mut headers, &mut facts)?;
    }
    facts.check(line.is_11)?;
    let host = facts.host.map(|(start, end)| &head[start..end]);
    if let Some(host) = host {
        target::check_host(host)?;
    } else if line.is_11 {
        return Err(ParseErrorKind::MissingHost);
    }
    let uri = target::parse(head, line.target, &line.method, host)?;
    let framing = match facts.length {
        _ if facts.chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::None,
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = line.method;
    parts.uri = uri;
    parts.version = if line.is_11 { Version::HTTP_11 } else { Version::HTTP_10 };
    parts.headers = headers;
    Ok(RequestHead {
        parts,
        framing,
        keep_alive: facts.persists(line.is_11),
        // An expectation on HTTP/1.0 is ignored (RFC 9110 §10.1.1).
        expect_continue: facts.expect_continue && line.is_11,
        upgrade: facts.wants_upgrade && facts.has_upgrade && line.is_11,
        wire_len: head.len(),
    })
}

/// `method SP request-target SP HTTP-version`, with single spaces (RFC 9112 §3).
fn request_line(line: &[u8], limits: &Limits) -> Result<RequestLine, ParseErrorKind> {
    let space = line.iter().take(rules::METHOD_BYTES_MAX + 1).position(|byte| *byte == b' ');
    let Some(space) = space else {
        return Err(if line.len() > rules::METHOD_BYTES_MAX {
            ParseErrorKind::MalformedMethod
        } else {
            ParseErrorKind::MalformedRequestLine
        });
    };
    let method = match &line[..space] {
        b"GET" => Method::GET,
        b"POST" => Method::POST,
        other if rules::is_token(other) => {
            Method::from_bytes(other).map_err(|_| ParseErrorKind::MalformedMethod)?
        }
        _ => return Err(ParseErrorKind::MalformedMethod),
    };
    let rest = &line[space + 1..];
    let Some((before, version)) = rest.len().checked_sub(9).map(|at| rest.split_at(at)) else {
        return Err(bad_request_line(rest));
    };
    let is_11 = match version {
        b" HTTP/1.1" => true,
        b" HTTP/1.0" => false,
        _ => return Err(bad_request_line(rest)),
    };
    if before.is_empty() {
        return Err(ParseErrorKind::MalformedRequestLine);
    }
    if before.len() > limits.target_bytes {
        return Err(ParseErrorKind::TargetTooLong);
    }
    Ok(RequestLine { method, target: (space + 1, space + 1 + before.len()), is_11 })
}

#[cold]
fn bad_request_line(rest: &[u8]) -> ParseErrorKind {
    if rest.contains(&b'\r') {
        return ParseErrorKind::BareCr;
    }
    let version = rest.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if version.len() == rest.len() {
        // HTTP/0.9 had no version at all.
        return ParseErrorKind::MalformedRequestLine;
    }
    rules::bad_version(version)
}
