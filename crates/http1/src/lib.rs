//! HTTP/1.1 on the wire, for servers and clients: bytes in, events out. It opens no socket and keeps no time.
//!
//! Decoders take what has arrived from a [`bytes::BytesMut`] and leave the rest; however the bytes are split, the
//! events are the same. What is accepted is the table in [`rules`], each line with its RFC section; everything
//! else is a [`ParseError`] that names the rule. Encoders append to a [`bytes::BytesMut`].
//!
//! ```
//! # use bytes::BytesMut;
//! let mut decoder = http1::RequestDecoder::new(http1::Limits::default());
//! let mut input = BytesMut::from("GET /tides HTTP/1.1\r\nhost: example.org\r\n\r\n");
//! let head = decoder.decode(&mut input).unwrap().unwrap();
//! assert_eq!(head.parts.uri.path(), "/tides");
//! assert!(head.keep_alive && input.is_empty());
//! ```

mod body;
mod chunk;
mod encode;
mod error;
mod fields;
mod find;
mod framing;
mod lines;
mod names;
mod request;
mod response;
pub mod rules;
mod target;

pub use body::{BodyDecoder, BodyEvent};
pub use encode::{BodyEncoder, EncodeError, encode_continue, encode_request_head, encode_response_head};
pub use error::{ParseError, ParseErrorKind};
pub use framing::Framing;
pub use request::{RequestDecoder, RequestHead};
pub use response::{ResponseDecoder, ResponseHead};

/// How much of a message is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, with its last empty line.
    pub head_bytes: usize,
    /// Field lines of a head, or of a trailer section; never more than [`Limits::HEADERS_MAX`].
    pub headers: usize,
    /// Bytes of a request target.
    pub target_bytes: usize,
    /// Bytes of chunk extensions, over all chunks of one body.
    pub chunk_line_bytes: usize,
    /// Bytes of a trailer section, with its last empty line.
    pub trailer_bytes: usize,
}

impl Limits {
    /// More field lines than this are refused whatever [`Limits::headers`] says.
    pub const HEADERS_MAX: usize = 4096;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            headers: 128,
            target_bytes: 16 * 1024,
            chunk_line_bytes: 8 * 1024,
            trailer_bytes: 16 * 1024,
        }
    }
}
