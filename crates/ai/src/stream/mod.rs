//! How streams are framed on the wire: Server-Sent Events, AWS event streams, and a JSON array that grows. Each reader
//! takes bytes however they are split and keeps at most one frame.

pub mod event_stream;
pub mod json_array;
pub mod sse;

/// Most bytes of one frame. An image in base64 is the largest thing that providers send in one.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How a stream is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// `application/vnd.amazon.eventstream`.
    EventStream,
    /// `application/json`: an array of objects, one after the other.
    JsonArray,
}

impl Framing {
    /// The media type of a stream so framed.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::EventStream => "application/vnd.amazon.eventstream",
            Self::JsonArray => "application/json",
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Its name: the `event` of SSE, `:event-type` or `:exception-type` of an AWS event stream; empty without one.
    pub event: String,
    /// It carries an error (AWS `:message-type: exception`).
    pub exception: bool,
    /// What it carries.
    pub data: Vec<u8>,
}

/// What is wrong with a stream's framing. Nothing can be read after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is larger than [`FRAME_BYTES_MAX`].
    #[error("a frame of the stream is larger than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    /// A checksum does not fit what it covers.
    #[error("a frame of the stream is damaged: its checksum does not fit")]
    Checksum,
    /// The bytes are not of this framing.
    #[error("the stream is not framed as {0}")]
    Malformed(&'static str),
}

/// Reads frames from bytes, however they are split.
#[derive(Debug)]
pub enum FrameReader {
    /// `text/event-stream`.
    Sse(sse::Reader),
    /// AWS event streams.
    EventStream(event_stream::Reader),
    /// A JSON array.
    JsonArray(json_array::Reader),
}

impl FrameReader {
    /// For a framing.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(sse::Reader::default()),
            Framing::EventStream => Self::EventStream(event_stream::Reader::default()),
            Framing::JsonArray => Self::JsonArray(json_array::Reader::default()),
        }
    }

    /// Takes bytes; whole frames are appended to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Frame>) -> Result<(), FrameError> {
        match self {
            Self::Sse(reader) => reader.push(bytes, out),
            Self::EventStream(reader) => reader.push(bytes, out),
            Self::JsonArray(reader) => reader.push(bytes, out),
        }
    }

    /// Whether all that came belongs to frames that are whole, so that one of another's can stand here.
    pub fn is_between(&self) -> bool {
        match self {
            Self::Sse(reader) => reader.is_between(),
            Self::EventStream(reader) => reader.is_between(),
            Self::JsonArray(_) => false,
        }
    }

    /// The stream has ended: an event that only lacks its empty line is still one.
    pub fn finish(&mut self, out: &mut Vec<Frame>) {
        match self {
            Self::Sse(reader) => reader.finish(out),
            Self::EventStream(_) | Self::JsonArray(_) => {}
        }
    }
}
