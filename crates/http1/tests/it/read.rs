//! Reads whole connections with our decoders, however the bytes are cut.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use http1::{
    BodyDecoder, BodyEvent, Framing, Limits, ParseError, RequestDecoder, RequestHead, ResponseDecoder,
    ResponseHead,
};

/// What was read, in order; data that follows data is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Request {
        line: String,
        headers: Vec<(String, Vec<u8>)>,
        framing: Framing,
        flags: [bool; 3],
        wire_len: usize,
    },
    Response {
        status: StatusCode,
        headers: Vec<(String, Vec<u8>)>,
        framing: Framing,
        keep_alive: bool,
    },
    Data(Vec<u8>),
    Trailers(Vec<(String, Vec<u8>)>),
    End,
    Refused(&'static str),
}

pub fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// One side of a connection.
pub enum Reader {
    Requests(RequestDecoder),
    Responses(ResponseDecoder, Method),
    Body,
}

pub fn requests() -> Reader {
    Reader::Requests(RequestDecoder::new(Limits::default()))
}

pub fn responses(to: Method) -> Reader {
    Reader::Responses(ResponseDecoder::new(Limits::default()), to)
}

/// Feeds the pieces one by one and tells all that was seen.
pub fn read(mut reader: Reader, pieces: &[&[u8]]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut input = BytesMut::new();
    let mut body =
        matches!(reader, Reader::Body).then(|| BodyDecoder::new(Framing::Chunked, &Limits::default()));
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match step(&mut reader, &mut body, &mut input, &mut seen) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    seen.push(Seen::Refused(error.reason()));
                    return seen;
                }
            }
        }
    }
    seen
}

fn step(
    reader: &mut Reader,
    body: &mut Option<BodyDecoder>,
    input: &mut BytesMut,
    seen: &mut Vec<Seen>,
) -> Result<bool, ParseError> {
    if let Some(decoder) = body {
        match decoder.decode(input)? {
            BodyEvent::NeedMore => return Ok(false),
            BodyEvent::Data(data) => {
                assert!(!data.is_empty(), "data is never empty");
                match seen.last_mut() {
                    Some(Seen::Data(before)) => before.extend_from_slice(&data),
                    _ => seen.push(Seen::Data(data.to_vec())),
                }
            }
            BodyEvent::Trailers(trailers) => seen.push(Seen::Trailers(listed(&trailers))),
            BodyEvent::End => {
                assert!(decoder.is_done());
                if matches!(reader, Reader::Body) {
                    if seen.last() != Some(&Seen::End) {
                        seen.push(Seen::End);
                    }
                    return Ok(false);
                }
                seen.push(Seen::End);
                *body = None;
            }
        }
        return Ok(true);
    }
    let framing = match reader {
        Reader::Body => return Ok(false),
        Reader::Requests(decoder) => match decoder.decode(input)? {
            None => return Ok(false),
            Some(head) => {
                seen.push(request_seen(&head));
                head.framing
            }
        },
        Reader::Responses(decoder, method) => match decoder.decode(input, method)? {
            None => return Ok(false),
            Some(head) => {
                seen.push(response_seen(&head));
                head.framing
            }
        },
    };
    *body = Some(BodyDecoder::new(framing, &Limits::default()));
    Ok(true)
}

fn request_seen(head: &RequestHead) -> Seen {
    Seen::Request {
        line: format!("{} {} {:?}", head.parts.method, head.parts.uri, head.parts.version),
        headers: listed(&head.parts.headers),
        framing: head.framing,
        flags: [head.keep_alive, head.expect_continue, head.upgrade],
        wire_len: head.wire_len,
    }
}

fn response_seen(head: &ResponseHead) -> Seen {
    Seen::Response {
        status: head.parts.status,
        headers: listed(&head.parts.headers),
        framing: head.framing,
        keep_alive: head.keep_alive,
    }
}

/// `ok` for one whole head, `partial` for an unfinished one, or the reason it was refused.
pub fn request_verdict(bytes: &[u8]) -> &'static str {
    match RequestDecoder::new(Limits::default()).decode(&mut BytesMut::from(bytes)) {
        Ok(Some(_)) => "ok",
        Ok(None) => "partial",
        Err(error) => error.reason(),
    }
}

/// The same for an answer to a GET.
pub fn response_verdict(bytes: &[u8]) -> &'static str {
    match ResponseDecoder::new(Limits::default()).decode(&mut BytesMut::from(bytes), &Method::GET) {
        Ok(Some(_)) => "ok",
        Ok(None) => "partial",
        Err(error) => error.reason(),
    }
}

/// The same for a chunked body, `ok` when it ended.
pub fn chunked_verdict(bytes: &[u8]) -> &'static str {
    let seen = read(Reader::Body, &[bytes]);
    match seen.last() {
        Some(Seen::Refused(reason)) => reason,
        Some(Seen::End) => "ok",
        _ => "partial",
    }
}

/// Compares rows with verdicts, and tells every row that differs.
pub fn check(rows: &[(&[u8], &str)], verdict: impl Fn(&[u8]) -> &'static str) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(bytes, want)| verdict(bytes) != *want)
        .map(|(bytes, want)| format!("{}: wanted {want}, got {}", bytes.escape_ascii(), verdict(bytes)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
