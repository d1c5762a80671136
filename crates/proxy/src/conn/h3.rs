//! A client's HTTP/3 connection: one task for it, one for its streams of one direction, and one for each request.

mod body;
mod control;
mod link;
mod sender;
mod stream;

pub(crate) use self::link::{Shared, serve};

/// An error code as QUIC takes it.
fn code(code: http3::Code) -> quinn::VarInt {
    quinn::VarInt::from_u64(code.0).unwrap_or(quinn::VarInt::from_u32(0))
}
