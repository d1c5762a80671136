//! What a listener says about HTTP/2, compiled.

use std::time::Duration;

use model::resource::http2::{Http2, Http2KeepAlive};

/// How a listener speaks HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(super) stream_window: u32,
    pub(super) connection_window: u32,
    pub(super) frame: u32,
    pub(super) table: u32,
    pub(super) send_buffer: usize,
    pub(super) keep_alive: Option<KeepAlive>,
}

/// Questions into the silence of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) while_idle: bool,
}

impl Settings {
    pub(crate) fn of(settings: &Http2) -> Self {
        Self {
            stream_window: bytes(settings.stream_window),
            connection_window: bytes(settings.connection_window),
            frame: bytes(settings.max_frame_size),
            table: bytes(settings.header_table_size),
            send_buffer: settings.send_buffer.get(),
            keep_alive: settings.keep_alive.as_ref().map(KeepAlive::of),
        }
    }
}

impl KeepAlive {
    pub(crate) fn of(settings: &Http2KeepAlive) -> Self {
        Self {
            interval: settings.interval.get(),
            timeout: settings.timeout.get(),
            while_idle: settings.while_idle,
        }
    }
}

/// A number of bytes as settings of HTTP/2 have it.
pub(crate) fn bytes(size: model::Size) -> u32 {
    u32::try_from(size.bytes()).unwrap_or(u32::MAX)
}
