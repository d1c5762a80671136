//! Frames (RFC 9114 §7): their heads on the way in, and whole ones on the way out.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::{qpack, varint};

pub(crate) const DATA: u64 = 0x00;
pub(crate) const HEADERS: u64 = 0x01;
pub(crate) const CANCEL_PUSH: u64 = 0x03;
pub(crate) const SETTINGS: u64 = 0x04;
pub(crate) const PUSH_PROMISE: u64 = 0x05;
pub(crate) const GOAWAY: u64 = 0x07;
pub(crate) const MAX_PUSH_ID: u64 = 0x0d;

/// Most bytes of the head of a frame of DATA that is sent.
pub const DATA_HEAD_BYTES_MAX: usize = 1 + varint::BYTES_MAX;

/// Kinds that HTTP/2 has and HTTP/3 has not: whoever sends them mistakes one for the other (§7.2.8).
pub(crate) fn is_of_http2(kind: u64) -> bool {
    matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
}

/// The head of a frame as its bytes come.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    bytes: [u8; 2 * varint::BYTES_MAX],
    have: usize,
}

impl HeadReader {
    /// Takes what it needs: kind and length once they are there.
    pub(crate) fn read(&mut self, input: &mut Bytes) -> Option<(u64, u64)> {
        use bytes::Buf as _;
        while !input.is_empty() {
            self.bytes[self.have] = input[0];
            self.have += 1;
            input.advance(1);
            let head = &self.bytes[..self.have];
            if let Some((kind, used)) = varint::read(head)
                && let Some((length, _)) = varint::read(&head[used..])
            {
                self.have = 0;
                return Some((kind, length));
            }
        }
        None
    }

    /// Whether a head has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.have > 0
    }
}

/// The head of a frame of DATA.
pub fn data_head(length: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(DATA_HEAD_BYTES_MAX);
    varint::write(DATA, &mut out);
    varint::write(length as u64, &mut out);
    out.freeze()
}

/// The frame of an answer's head, interim ones included.
pub fn encode_head(status: StatusCode, headers: &HeaderMap) -> Bytes {
    section(|out| {
        qpack::encode(":status", status.as_str().as_bytes(), out);
        fields(headers, out);
    })
}

/// The frame of an answer's trailers.
pub fn encode_trailers(trailers: &HeaderMap) -> Bytes {
    section(|out| fields(trailers, out))
}

fn fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        qpack::encode(name.as_str(), value.as_bytes(), out);
    }
}

fn section(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut payload = BytesMut::with_capacity(256);
    qpack::begin(&mut payload);
    write(&mut payload);
    let mut out = BytesMut::with_capacity(payload.len() + DATA_HEAD_BYTES_MAX);
    varint::write(HEADERS, &mut out);
    varint::write(payload.len() as u64, &mut out);
    out.put_slice(&payload);
    out.freeze()
}
