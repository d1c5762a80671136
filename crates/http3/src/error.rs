//! What is wrong with what a client sent, and whom it costs: its stream, or its connection.

/// An error code of HTTP/3 (RFC 9114 §8.1) or QPACK (RFC 9204 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u64);

impl Code {
    /// There is nothing wrong.
    pub const NO_ERROR: Self = Self(0x100);
    /// The server is at fault.
    pub const INTERNAL_ERROR: Self = Self(0x102);
    /// A stream that may not be there.
    pub const STREAM_CREATION_ERROR: Self = Self(0x103);
    /// A stream that must stay open has ended.
    pub const CLOSED_CRITICAL_STREAM: Self = Self(0x104);
    /// A frame that has no place there.
    pub const FRAME_UNEXPECTED: Self = Self(0x105);
    /// A frame that is not laid out as it must be.
    pub const FRAME_ERROR: Self = Self(0x106);
    /// What looks like an attack.
    pub const EXCESSIVE_LOAD: Self = Self(0x107);
    /// An id that was used wrongly.
    pub const ID_ERROR: Self = Self(0x108);
    /// Wrong settings.
    pub const SETTINGS_ERROR: Self = Self(0x109);
    /// The control stream does not begin with settings.
    pub const MISSING_SETTINGS: Self = Self(0x10a);
    /// The request was not looked at: it may be sent again.
    pub const REQUEST_REJECTED: Self = Self(0x10b);
    /// Nobody wants the answer, or it cannot be had.
    pub const REQUEST_CANCELLED: Self = Self(0x10c);
    /// The request's stream ended before the request.
    pub const REQUEST_INCOMPLETE: Self = Self(0x10d);
    /// A message that is malformed.
    pub const MESSAGE_ERROR: Self = Self(0x10e);
    /// Fields that cannot be decompressed.
    pub const DECOMPRESSION_FAILED: Self = Self(0x200);
    /// A wrong instruction on the client's encoder stream.
    pub const ENCODER_STREAM_ERROR: Self = Self(0x201);
    /// A wrong instruction on the client's decoder stream.
    pub const DECODER_STREAM_ERROR: Self = Self(0x202);
}

/// What a client did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The connection ends with this code.
    Connection(Code),
    /// The stream ends with this code.
    Stream(Code),
    /// A section of fields is larger than it may be. It is not read.
    TooLarge,
}

/// A message that is malformed.
pub(crate) const MALFORMED: Error = Error::Stream(Code::MESSAGE_ERROR);
