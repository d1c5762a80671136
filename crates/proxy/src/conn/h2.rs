//! A client's HTTP/2 connection, and bodies that are HTTP/2 streams.

mod glitches;
mod server;
mod settings;
mod stream_body;
mod upload;
mod vigil;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::glitches::frames_allowed;
pub(crate) use self::server::Shared;
pub(crate) use self::server::content_length;
pub(crate) use self::server::serve;
pub(crate) use self::settings::{KeepAlive, Settings, bytes};
pub(crate) use self::stream_body::{Arriving, StreamBody};
pub(crate) use self::upload::{Broken as Unsent, Upload};
