//! Counts frames that are allowed and do nothing: a flood of them ends the connection.
//!
//! `h2` answers pings and settings on its own and tells nobody, so the frames are counted on their way in, by their
//! nine-byte heads alone.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conn::wire::Io;

/// Frames without a use, less frames with one, within [`WINDOW`].
const GLITCHES_MAX: u32 = 1000;
/// Window updates that a write of ours may be answered with, and bytes of ours for each more.
const UPDATES_PER_WRITE: u32 = 4;
const BYTES_PER_UPDATE: usize = 256;
/// Window updates beyond those that answer what we sent: a client may open its windows wide at first.
const UPDATES_AHEAD: u32 = 100;
/// Window updates that may be saved up.
const UPDATES_MAX: u32 = 100_000;
const WINDOW: Duration = Duration::from_secs(10);
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const FLAG_SET: u8 = 1;
const FLAG_END_HEADERS: u8 = 4;

/// The bytes of a connection, with what its frames have cost so far.
pub(super) struct Watched {
    io: Io,
    frames: Frames,
    is_full: bool,
    pulse: Rc<Pulse>,
}

/// What a connection's bytes tell of its client's pace.
#[derive(Default)]
pub(super) struct Pulse {
    /// How often a connection that took no more has gone on to take some: its client reads slowly, and reads.
    pub(super) resumed: Cell<u64>,
    /// How often something was heard.
    pub(super) heard: Cell<u64>,
    /// Which of the heads, counted from the first, has begun and has yet to end.
    pub(super) in_head: Cell<Option<u64>>,
}

impl Watched {
    pub(super) fn new(io: Io, pulse: Rc<Pulse>) -> Self {
        Self { io, frames: Frames::new(), is_full: false, pulse }
    }

    fn note<T>(&mut self, wrote: Poll<T>) -> Poll<T> {
        if self.is_full && wrote.is_ready() {
            self.pulse.resumed.set(self.pulse.resumed.get() + 1);
        }
        self.is_full = wrote.is_pending();
        wrote
    }
}

/// Follows frames through any split of their bytes.
struct Frames {
    /// Bytes before the next head: of the preface, or of a payload.
    skip: usize,
    head: [u8; HEAD_BYTES],
    have: usize,
    /// The head of the frame that was last begun.
    last: [u8; HEAD_BYTES],
    /// Heads of requests that have begun.
    heads: u64,
    glitches: u32,
    since: Instant,
    /// Window updates that have a use.
    updates: u32,
    /// Streams that were opened and not reset yet.
    resettable: u32,
}

impl Frames {
    fn new() -> Self {
        Self {
            skip: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            have: 0,
            last: [0; HEAD_BYTES],
            heads: 0,
            glitches: 0,
            since: Instant::now(),
            updates: UPDATES_AHEAD,
            resettable: 0,
        }
    }

    /// The head that has begun and has yet to end: more frames of it are to come, or bytes of this one.
    fn in_head(&self) -> Option<u64> {
        let [.., kind, flags, _, _, _, _] = self.last;
        let is_open =
            matches!(kind, HEADERS | CONTINUATION) && (flags & FLAG_END_HEADERS == 0 || self.skip > 0);
        is_open.then_some(self.heads)
    }

    /// What we send may be answered with window updates.
    fn sent(&mut self, bytes: usize) {
        let more = u32::try_from(bytes / BYTES_PER_UPDATE).unwrap_or(u32::MAX);
        self.updates = self.updates.saturating_add(more.saturating_add(UPDATES_PER_WRITE)).min(UPDATES_MAX);
    }

    /// Whether the connection may go on after these bytes.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let count = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
            self.have += count;
            bytes = &bytes[count..];
            if self.have == HEAD_BYTES {
                self.have = 0;
                self.last = self.head;
                let [high, middle, low, kind, flags, ..] = self.head;
                self.heads += u64::from(kind == HEADERS);
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                if !self.count(kind, flags) {
                    return false;
                }
            }
        }
        true
    }

    fn count(&mut self, kind: u8, flags: u8) -> bool {
        let is_useful = match kind {
            // Without a byte and without an end it says nothing.
            DATA => self.skip > 0 || flags & FLAG_SET != 0,
            CONTINUATION => self.skip > 0,
            HEADERS => {
                self.resettable = self.resettable.saturating_add(1);
                true
            }
            // A reset of an open stream is counted there; one of a stream that has ended does nothing.
            RST_STREAM if self.resettable > 0 => {
                self.resettable -= 1;
                return true;
            }
            WINDOW_UPDATE if self.updates > 0 => {
                self.updates -= 1;
                return true;
            }
            GOAWAY => return true,
            _ => false,
        };
        if is_useful {
            self.glitches = self.glitches.saturating_sub(1);
            return true;
        }
        self.glitches += 1;
        if self.glitches <= GLITCHES_MAX {
            return true;
        }
        if self.since.elapsed() < WINDOW {
            return false;
        }
        (self.glitches, self.since) = (0, Instant::now());
        true
    }
}

/// Whether a connection goes on after these bytes, however they are parted.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn frames_allowed<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut frames = Frames::new();
    parts.all(|part| frames.take(part))
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.pulse.heard.set(self.pulse.heard.get() + 1);
        if self.frames.take(&buf.filled()[before..]) {
            self.pulse.in_head.set(self.frames.in_head());
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::other("a flood of frames without a use")))
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        let count = ready!(self.note(wrote))?;
        self.frames.sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        let count = ready!(self.note(wrote))?;
        self.frames.sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        [vec![0, 0, length, kind, flags, 0, 0, 0, 1], vec![7; usize::from(length)]].concat()
    }

    /// Frames that were taken before the connection was ended, whatever the split of the bytes.
    fn taken(frames: &[Vec<u8>], split: usize) -> usize {
        let mut watched = Frames::new();
        assert!(watched.take(&[0; PREFACE_BYTES]));
        frames.iter().take_while(|frame| frame.chunks(split).all(|part| watched.take(part))).count()
    }

    #[test]
    fn a_head_is_under_way_from_its_first_frame_to_the_last_byte_of_its_last() {
        let ended = FLAG_END_HEADERS;
        for split in [1, 4, 9, 100] {
            let mut watched = Frames::new();
            let mut after = |bytes: Vec<u8>| {
                assert!(bytes.chunks(split).all(|part| watched.take(part)));
                watched.in_head().is_some()
            };
            assert!(!after(vec![0; PREFACE_BYTES]));
            assert!(!after(frame(HEADERS, ended, 5)));
            assert!(after(frame(HEADERS, 0, 5)));
            assert!(after(frame(CONTINUATION, 0, 5)));
            let mut last = frame(CONTINUATION, ended, 5);
            let byte = last.split_off(13);
            assert!(after(last));
            assert!(!after(byte));
            assert!(!after(frame(DATA, 0, 5)[..12].to_vec()));
        }
    }

    #[test]
    fn window_updates_that_answer_what_we_send_cost_nothing() {
        let mut watched = Frames::new();
        assert!(watched.take(&[0; PREFACE_BYTES]));
        for _ in 0..20_000 {
            watched.sent(300);
            assert!((0..5).all(|_| watched.take(&frame(WINDOW_UPDATE, 0, 4))));
        }
        watched.sent(usize::MAX);
        assert_eq!(watched.updates, UPDATES_MAX);
    }

    #[test]
    fn useless_frames_add_up_and_useful_ones_make_up_for_them() {
        const PING: u8 = 6;
        let pings = vec![frame(PING, 0, 8); 2000];
        let settings = vec![frame(4, 0, 0); 2000];
        let empty = vec![frame(DATA, 0, 0); 2000];
        let unknown = vec![frame(99, 0, 3); 2000];
        for split in [1, 4, 9, 100] {
            for flood in [&pings, &settings, &empty, &unknown] {
                assert_eq!(taken(flood, split), GLITCHES_MAX as usize);
            }
            let traffic: Vec<_> = (0..3000).flat_map(|_| [frame(PING, 0, 8), frame(DATA, 0, 100)]).collect();
            assert_eq!(taken(&traffic, split), traffic.len());
            let updates = vec![frame(WINDOW_UPDATE, 0, 4); 3000];
            assert_eq!(taken(&updates, split), (UPDATES_AHEAD + GLITCHES_MAX) as usize);
            let resets: Vec<_> =
                [frame(HEADERS, 5, 3)].into_iter().chain(vec![frame(RST_STREAM, 0, 4); 3000]).collect();
            assert_eq!(taken(&resets, split), 2 + GLITCHES_MAX as usize);
            let ends = vec![frame(DATA, FLAG_SET, 0); 3000];
            assert_eq!(taken(&ends, split), ends.len());
        }
    }
}
