//! Messages as they leave: heads, framing, trailers.

mod body;
mod head;

pub use body::BodyEncoder;
pub use head::{encode_continue, encode_request_head, encode_response_head};

/// Why a message cannot be written as asked. Nothing was written of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// There is more body than Content-Length said.
    #[error("the body is longer than its Content-Length (RFC 9112 §6.2)")]
    BodyTooLong,
    /// There is less body than Content-Length said.
    #[error("the body is shorter than its Content-Length (RFC 9112 §6.2)")]
    BodyTooShort,
    /// The body had ended.
    #[error("the body has already ended")]
    Ended,
    /// A request cannot end with its connection.
    #[error("a request's body needs a length or chunks (RFC 9112 §6.3)")]
    RequestUntilClose,
    /// HTTP/1.0 has no chunks.
    #[error("an HTTP/1.0 client understands no chunks (RFC 9112 §6.1)")]
    ChunkedOnHttp10,
    /// A body, or the promise of one, with a status that has none.
    #[error("a 1xx, 204 or 304 has no body (RFC 9112 §6.3)")]
    BodyNotAllowed,
    /// An answer that has a body must say where it ends.
    #[error("this answer needs framing (RFC 9112 §6.3)")]
    FramingNeeded,
    /// Neither a Host nor an authority is there, or it is malformed.
    #[error("a request needs one well-formed Host (RFC 9112 §3.2)")]
    Host,
    /// The target cannot be written in the form the method asks for.
    #[error("the target has a byte or a form that a request line cannot carry (RFC 9112 §3.2)")]
    Target,
}
