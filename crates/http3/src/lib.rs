//! HTTP/3 on the wire, for servers: bytes in, events out (RFC 9114, RFC 9204). It opens no socket and keeps no time.
//!
//! [`RequestDecoder`] takes the bytes of a request's stream, however they are split; [`ControlDecoder`] and
//! [`QpackDecoder`] take those of the client's streams of one direction. Fields are compressed with QPACK's static
//! table alone: a client that is told so never makes the server keep anything for it. [`steer`] says which worker a
//! datagram of QUIC is for.
//!
//! ```
//! # use bytes::Bytes;
//! let mut decoder = http3::RequestDecoder::new(http3::Limits::default());
//! // A frame of HEADERS: `GET https://a.test/`, out of the static table but for the host.
//! let mut input = Bytes::from_static(b"\x01\x0d\x00\x00\xd1\xd7\xc1\x50\x06a.test");
//! let Some(http3::Event::Head(head)) = decoder.decode(&mut input).unwrap() else { panic!() };
//! assert_eq!(head.uri, "https://a.test/");
//! ```

mod control;
mod error;
mod frame;
mod head;
pub mod qpack;
mod request;
pub mod steer;
mod varint;

pub use control::{ControlDecoder, LAST_STREAM, QpackDecoder, StreamKind, goaway, greeting};
pub use error::{Code, Error};
pub use frame::{DATA_HEAD_BYTES_MAX, data_head, encode_head, encode_trailers};
pub use request::{Event, RequestDecoder};

/// How much of a message is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a section of fields: of the frame that holds it, and of its names and values with 32 for each
    /// (RFC 9114 §4.2.2).
    pub section_bytes: usize,
    /// Frames of a stream that are allowed and say nothing.
    pub useless_frames: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { section_bytes: 64 * 1024, useless_frames: 100 }
    }
}
