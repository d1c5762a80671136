//! HTTP/2 by hand: frames, header blocks without the dynamic table, and what comes back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a row of HTTP/2 is answered with when it is no status: the stream ends, or the connection does.
pub(super) const RESET: u16 = 1;
pub(super) const GONE: u16 = 0;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field in HPACK, without touching the dynamic table (RFC 7541 §6.2.2).
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A string literal (RFC 7541 §5.2), without Huffman coding.
fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match text.len() {
        short @ 0..127 => out.push(short as u8),
        long => {
            out.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
    }
    out.extend(text.as_bytes());
    out
}

/// `GET /` to `a.test`.
pub(super) fn get() -> Vec<u8> {
    fields(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")])
}

pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// Sends the preface, empty settings and these frames; tells the status of stream 1, or how else it ended.
pub(super) fn ask(address: SocketAddr, frames: &[u8]) -> u16 {
    let Ok(mut stream) = TcpStream::connect(address) else { return GONE };
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let _ = stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat());
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        match (head[3], head[8]) {
            (HEADERS, 1) => return status(&payload),
            (RST_STREAM, 1) => return RESET,
            (GOAWAY, _) => return GONE,
            _ => {}
        }
    }
    GONE
}

/// `:status` of a header block that begins with it (RFC 7541 §6, Appendices A and B).
fn status(block: &[u8]) -> u16 {
    match *block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        // A literal of the name with index 8; its three digits are Huffman coded or plain.
        [name, length, ref rest @ ..] if name & 0x0f == 8 || name == 0x48 => {
            let rest = &rest[..usize::from(length & 0x7f).min(rest.len())];
            let digits = if length & 0x80 == 0 { rest.to_vec() } else { huffman_digits(rest) };
            std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(999)
        }
        _ => 999,
    }
}

fn huffman_digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let take = |from: usize, count: usize| {
        bits.get(from..from + count).map(|bits| bits.iter().fold(0, |code, bit| code << 1 | bit))
    };
    let (mut out, mut at) = (Vec::new(), 0);
    while out.len() < 3 {
        match (take(at, 5), take(at, 6)) {
            (Some(code @ 0..=2), _) => {
                out.push(b'0' + code);
                at += 5;
            }
            (_, Some(code @ 0x19..=0x1f)) => {
                out.push(b'3' + code - 0x19);
                at += 6;
            }
            _ => break,
        }
    }
    out
}

#[test]
fn statuses_are_read_as_hpack_writes_them() {
    assert_eq!(status(&[0x8c]), 400);
    assert_eq!(status(&[0x48, 0x03, b'4', b'0', b'1']), 401);
    // 401 is 011010 00000 00001, filled up with ones.
    assert_eq!(status(&[0x48, 0x82, 0b0110_1000, 0b0000_0001]), 401);
    assert_eq!(status(&[0x48, 0x83, 0b0110_1000, 0b0010_1100, 0b1111_1111]), 413);
}
