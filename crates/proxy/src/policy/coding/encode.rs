//! A body that is compressed as it flows.
//!
//! Whenever the inner body has nothing more to give for the moment, what the coder still holds is flushed, so that
//! a streamed message leaves at once; while data flows freely the coder fills its blocks.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body::{Body as HttpBody, Frame, SizeHint};
use zstd::stream::write::Encoder as ZstdEncoder;

use super::Coding;
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// Brotli's window, as a power of two of bytes: 512 KiB bounds what one stream holds.
const BROTLI_WINDOW_LOG: u32 = 19;
/// Bytes that Brotli gathers before it hands them on.
const BROTLI_BUFFER_BYTES: usize = 4 * 1024;

/// A body that is compressed as it flows.
pub(crate) struct Encoded {
    inner: Body,
    encoder: Option<Encoder>,
    /// Whether the encoder was given bytes since its last flush.
    dirty: bool,
    /// What comes after the last compressed byte.
    trailers: Option<Frame<Bytes>>,
}

impl Encoded {
    /// Compresses `inner`.
    pub(crate) fn new(inner: Body, encoder: Encoder) -> Self {
        Self { inner, encoder: Some(encoder), dirty: false, trailers: None }
    }

    fn end(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(encoder) = self.encoder.take() else { return Ok(None) };
        let rest = encoder.finish().map_err(broken)?;
        Ok((!rest.is_empty()).then(|| rest.into()))
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::gateway(Stage::Body, Problem::Internal).with_detail(format!("compression failed: {error}"))
}

impl Wrapper for Encoded {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        loop {
            let Some(encoder) = &mut this.encoder else {
                return Poll::Ready(this.trailers.take().map(Ok));
            };
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Pending if this.dirty => {
                    this.dirty = false;
                    encoder.flush().map_err(broken)?;
                    match encoder.take() {
                        Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                        None => return Poll::Pending,
                    }
                }
                other => ready!(other),
            };
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    encoder.write(&data).map_err(broken)?;
                    this.dirty = true;
                    if let Some(bytes) = encoder.take() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                Some(Err(other)) => {
                    this.trailers = Some(other);
                    if let Some(bytes) = this.end()? {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                None => {
                    if let Some(bytes) = this.end()? {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A coder under way.
pub(crate) enum Encoder {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// A coder; `level` goes from 1 (fast) to 9 (small).
    pub(crate) fn new(coding: Coding, level: u32) -> io::Result<Self> {
        let level = coding.level(level);
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(level)))),
            Coding::Brotli => Self::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                level,
                BROTLI_WINDOW_LOG,
            ))),
            Coding::Zstd => {
                let level = i32::try_from(level).unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                Self::Zstd(Box::new(ZstdEncoder::new(Vec::new(), level)?))
            }
        })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(data),
            Self::Brotli(encoder) => encoder.write_all(data),
            Self::Zstd(encoder) => encoder.write_all(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What is ready to leave.
    fn take(&mut self) -> Option<Bytes> {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        (!out.is_empty()).then(|| std::mem::take(out).into())
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}
