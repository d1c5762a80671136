//! HTTP/2 on a listener and towards an upstream: windows, frames, and signs of life.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Size, load::Context};

/// Bounds of what the protocol can say (RFC 9113 §4.2, §6.5.2, §6.9.1), and of what makes sense.
const WINDOW_MIN: u64 = 16 << 10;
const CONNECTION_WINDOW_MIN: u64 = 65_535;
const WINDOW_MAX: u64 = 1 << 30;
const FRAME_MIN: u64 = 16 << 10;
const FRAME_MAX: u64 = (1 << 24) - 1;
const TABLE_MAX: u64 = 1 << 20;
const STREAMS_MAX: u32 = 10_000;

/// HTTP/2 on a listener: on or off, or on with settings of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UseHttp2 {
    /// On or off.
    Switch(bool),
    /// On, in this way.
    With(Http2),
}

impl Default for UseHttp2 {
    fn default() -> Self {
        Self::Switch(true)
    }
}

/// How a listener speaks HTTP/2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http2 {
    /// Bytes of a request's body that a client may send ahead of whoever takes them.
    pub stream_window: Size,
    /// The same of all requests of a connection together.
    pub connection_window: Size,
    /// Bytes of a frame that clients may send.
    pub max_frame_size: Size,
    /// Bytes that the compression of heads may remember for a client (HPACK); 0: nothing.
    pub header_table_size: Size,
    /// Bytes of a stream's answer that wait for the connection to take them.
    pub send_buffer: Size,
    /// Ask silent clients whether they are there (PING); none are without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<Http2KeepAlive>,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            stream_window: Size::kib(256),
            connection_window: Size::mib(1),
            max_frame_size: Size::kib(16),
            header_table_size: Size::kib(4),
            send_buffer: Size::kib(256),
            keep_alive: None,
        }
    }
}

/// How HTTP/2 is spoken to an upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamHttp2 {
    /// Bytes of an answer's body that the upstream may send ahead of its client.
    pub stream_window: Size,
    /// The same of all answers of a connection together; without it those of `maxConcurrentStreams`, so that clients that
    /// do not read hold up nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_window: Option<Size>,
    /// Bytes of a frame that the upstream may send.
    pub max_frame_size: Size,
    /// Bytes that the compression of heads may remember for the upstream (HPACK); 0: nothing.
    pub header_table_size: Size,
    /// Streams of a connection at a time, before another is opened. The upstream may allow fewer.
    #[schemars(range(min = 1, max = 10000))]
    pub max_concurrent_streams: u32,
    /// Ask silent connections whether they are there (PING), in this way; without it rarely, as servers of gRPC bear it, and
    /// only while calls wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<Http2KeepAlive>,
}

impl Default for UpstreamHttp2 {
    fn default() -> Self {
        Self {
            stream_window: Size::kib(64),
            connection_window: None,
            max_frame_size: Size::kib(16),
            header_table_size: Size::kib(4),
            max_concurrent_streams: 100,
            keep_alive: None,
        }
    }
}

/// Questions into the silence of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http2KeepAlive {
    /// How long nothing may be heard before the other side is asked.
    pub interval: Duration,
    /// How long it may take to say anything then; the connection is closed after that.
    pub timeout: Duration,
    /// Ask while there are no streams, too.
    pub while_idle: bool,
}

impl Default for Http2KeepAlive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), timeout: Duration::from_secs(10), while_idle: true }
    }
}

impl Http2 {
    pub(crate) fn check(&self, at: &mut Context<'_, '_>) {
        let window = Some(self.connection_window);
        sizes(self.stream_window, window, self.max_frame_size, self.header_table_size, at);
        at.field("sendBuffer", |at| between(self.send_buffer, WINDOW_MIN, WINDOW_MAX, at));
        keep_alive(self.keep_alive.as_ref(), at);
    }
}

impl UpstreamHttp2 {
    pub(crate) fn check(&self, at: &mut Context<'_, '_>) {
        let window = self.connection_window;
        sizes(self.stream_window, window, self.max_frame_size, self.header_table_size, at);
        if !(1..=STREAMS_MAX).contains(&self.max_concurrent_streams) {
            at.field("maxConcurrentStreams", |at| at.error(format!("expected 1 to {STREAMS_MAX}")));
        }
        keep_alive(self.keep_alive.as_ref(), at);
    }
}

fn sizes(stream: Size, connection: Option<Size>, frame: Size, table: Size, at: &mut Context<'_, '_>) {
    at.field("streamWindow", |at| between(stream, WINDOW_MIN, WINDOW_MAX, at));
    if let Some(connection) = connection {
        at.field("connectionWindow", |at| {
            between(connection, CONNECTION_WINDOW_MIN, WINDOW_MAX, at);
            if connection < stream {
                at.error("expected at least `streamWindow`");
            }
        });
    }
    at.field("maxFrameSize", |at| between(frame, FRAME_MIN, FRAME_MAX, at));
    at.field("headerTableSize", |at| between(table, 0, TABLE_MAX, at));
}

fn between(size: Size, least: u64, most: u64, at: &mut Context<'_, '_>) {
    if !(least..=most).contains(&size.bytes()) {
        at.error(format!("expected {least} to {most} bytes"));
    }
}

fn keep_alive(settings: Option<&Http2KeepAlive>, at: &mut Context<'_, '_>) {
    let Some(settings) = settings else { return };
    at.field("keepAlive", |at| {
        for (key, time) in [("interval", settings.interval), ("timeout", settings.timeout)] {
            if time < Duration::from_millis(100) {
                at.field(key, |at| at.error("expected 100ms or more"));
            }
        }
    });
}
