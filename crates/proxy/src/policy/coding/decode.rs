//! A body that is decompressed as it flows, with a cap on its size and on its ratio.
//!
//! The caps bind while the decoder writes, not afterwards: a bomb never unfolds in memory further than they allow.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use brotli::DecompressorWriter;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body::{Body as HttpBody, Frame, SizeHint};
use zstd::stream::raw::{Decoder as ZstdDecoder, Operation};

use super::Coding;
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// Compressed bytes that are decoded at a time.
const STEP_BYTES: usize = 1024;
/// Decoded bytes that wait at most before they are handed on, unless one step gives more.
const OUTPUT_BYTES: usize = 64 * 1024;
/// Bytes that may come out before the ratio counts: tiny bodies compress absurdly well.
const RATIO_FREE_BYTES: u64 = 64 * 1024;
/// Window of a zstd stream, as a power of two of bytes (RFC 8878 §3.1.1.1.2 recommends 8 MiB).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes that Brotli gathers before it hands them on.
const BROTLI_BUFFER_BYTES: usize = 4 * 1024;

/// What a compressed body may unfold to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    /// Decoded bytes at most.
    pub(crate) size: u64,
    /// Decoded bytes per compressed byte at most.
    pub(crate) ratio: u64,
}

/// A body that is decompressed as it flows.
pub(crate) struct Decoded {
    inner: Body,
    decoder: Option<Decoder>,
    caps: Caps,
    /// Compressed bytes that were taken in.
    taken: u64,
    /// What is received and not decoded yet.
    input: Bytes,
    trailers: Option<Frame<Bytes>>,
}

impl Decoded {
    /// Decompresses `inner`.
    pub(crate) fn new(inner: Body, coding: Coding, caps: Caps) -> io::Result<Self> {
        let decoder = Some(Decoder::new(coding)?);
        Ok(Self { inner, decoder, caps, taken: 0, input: Bytes::new(), trailers: None })
    }

    /// Decodes what is there, up to about [`OUTPUT_BYTES`].
    fn work(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        while !self.input.is_empty() && decoder.sink().out.len() < OUTPUT_BYTES {
            let step = self.input.split_to(self.input.len().min(STEP_BYTES));
            self.taken += step.len() as u64;
            let by_ratio = self.taken.saturating_mul(self.caps.ratio).max(RATIO_FREE_BYTES);
            decoder.sink().allowed = by_ratio.min(self.caps.size);
            if let Err(error) = decoder.write(&step) {
                return Err(refusal(decoder.sink().crossed, &error));
            }
        }
        Ok(decoder.sink().take())
    }

    fn end(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(None) };
        // No byte at all is the empty body, in whatever coding.
        if self.taken == 0 {
            return Ok(None);
        }
        match decoder.finish() {
            Ok(()) => Ok(decoder.sink().take()),
            Err(error) => Err(refusal(decoder.sink().crossed, &error)),
        }
    }
}

fn refusal(crossed: bool, error: &io::Error) -> Failure {
    if crossed {
        Failure::client(Stage::Body, Problem::BodyTooLarge)
            .with_hint("the body unfolds to more than is allowed here")
    } else {
        Failure::client(Stage::Body, Problem::Invalid)
            .with_hint("the body is not what its Content-Encoding says")
            .with_detail(error.to_string())
    }
}

impl Wrapper for Decoded {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.work()? {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.decoder.is_none() {
                return Poll::Ready(this.trailers.take().map(Ok));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    this.input = data;
                    continue;
                }
                Some(Err(other)) => this.trailers = Some(other),
                None => {}
            }
            if let Some(bytes) = this.end()? {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Where decoders write to: it takes no more than is allowed in all.
#[derive(Default)]
struct Sink {
    out: Vec<u8>,
    written: u64,
    allowed: u64,
    crossed: bool,
}

impl Sink {
    fn take(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out).into())
    }
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.written += data.len() as u64;
        if self.written > self.allowed {
            self.crossed = true;
            return Err(io::Error::other("more than is allowed"));
        }
        self.out.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Sink>>),
    Brotli(Box<DecompressorWriter<Sink>>),
    Zstd(Box<Zstd>),
}

impl Decoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Sink::default()))),
            Coding::Brotli => {
                Self::Brotli(Box::new(DecompressorWriter::new(Sink::default(), BROTLI_BUFFER_BYTES)))
            }
            Coding::Zstd => Self::Zstd(Box::new(Zstd::new()?)),
        })
    }

    fn sink(&mut self) -> &mut Sink {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => &mut decoder.sink,
        }
    }

    /// Decodes these bytes and hands on all that came of them.
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(data).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => decoder.write_all(data).and_then(|()| decoder.flush()),
            Self::Zstd(decoder) => decoder.write(data),
        }
    }

    /// Checks that the stream ended where it should.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.close(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

/// zstd's own writer does not tell a whole stream from a broken-off one, so the raw decoder is driven here.
struct Zstd {
    raw: ZstdDecoder<'static>,
    sink: Sink,
    /// Whether a frame is under way.
    open: bool,
}

impl Zstd {
    fn new() -> io::Result<Self> {
        let mut raw = ZstdDecoder::new()?;
        raw.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self { raw, sink: Sink::default(), open: false })
    }

    fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let status = self.raw.run_on_buffers(data, &mut buffer)?;
            data = &data[status.bytes_read..];
            self.sink.write_all(&buffer[..status.bytes_written])?;
            // A call that moves nothing asks for the next frame, which there need not be.
            if status.bytes_read + status.bytes_written > 0 {
                self.open = status.remaining != 0;
            }
            // A full buffer may mean that more is waiting inside.
            if data.is_empty() && status.bytes_written < buffer.len() {
                return Ok(());
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.open { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
