//! A file's bytes on their way, a chunk at a time, each read when it is wanted.

use std::{
    collections::VecDeque,
    fs::File,
    future::Future,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    below::Wait,
    reading,
    report::{Counts, How},
};
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// Bytes that are read at once.
const CHUNK: u64 = 128 * 1024;
/// How long a disk may take for them.
const PATIENCE: Duration = Duration::from_secs(60);
/// Chunks that are in memory and are given before others have their turn.
const TURN: u32 = 8;

/// A part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Bytes),
    /// From a byte of the file to one that is no part of it.
    Span(u64, u64),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Span(from, to) => to.saturating_sub(*from),
        }
    }
}

/// Bytes of all pieces.
pub(super) fn length(pieces: &[Piece]) -> u64 {
    pieces.iter().map(Piece::length).sum()
}

/// Room for some bytes of a file. Chunks are made where they are given up, so that no other thread keeps room for them.
fn room(from: u64, to: u64) -> Vec<u8> {
    vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)]
}

/// Some bytes of a file; less than all of them is an error, for the length has been told.
pub(super) fn read(file: &File, from: u64, to: u64, wait: Wait) -> io::Result<Bytes> {
    match wait {
        Wait::ForDisks => fill(file, from, room(from, to)),
        #[cfg(target_os = "linux")]
        Wait::Never(_) => {
            let mut room = room(from, to);
            super::at_once::read(file, from, &mut room)?;
            Ok(room.into())
        }
    }
}

fn fill(file: &File, from: u64, mut room: Vec<u8>) -> io::Result<Bytes> {
    file.read_exact_at(&mut room, from)?;
    Ok(room.into())
}

/// Pieces of a file as a body.
pub(super) struct Flow {
    file: Arc<File>,
    pieces: VecDeque<Piece>,
    /// Bytes that have not been given yet.
    left: u64,
    /// How the file was opened: what is in memory is read as it was.
    wait: Wait,
    disk: reading::Disk,
    counts: Arc<Counts>,
    /// Chunks that nobody waited for, since others had their turn.
    at_once: u32,
    /// The chunk that comes next.
    reading: Option<Pin<Box<dyn Future<Output = io::Result<Bytes>>>>>,
    /// Counts it among the files that are on their way.
    _open: OwnedSemaphorePermit,
}

impl Flow {
    pub(super) fn of(
        (file, pieces, wait): (File, Vec<Piece>, Wait),
        (disk, counts): (reading::Disk, Arc<Counts>),
        open: OwnedSemaphorePermit,
    ) -> Self {
        let left = length(&pieces);
        Self {
            file: Arc::new(file),
            left,
            pieces: pieces.into(),
            wait,
            disk,
            counts,
            at_once: 0,
            reading: None,
            _open: open,
        }
    }

    /// The next chunk, where one is to be read next and need not be waited for; otherwise begins to read it.
    fn read_on(&mut self) -> Option<Bytes> {
        if self.reading.is_some() {
            return None;
        }
        let Some(Piece::Span(from, to)) = self.pieces.front_mut() else { return None };
        let (begin, end) = (*from, (*from).saturating_add(CHUNK).min(*to));
        *from = end;
        if end == *to {
            self.pieces.pop_front();
        }
        if self.wait != Wait::ForDisks
            && let Ok(bytes) = read(&self.file, begin, end, self.wait)
        {
            self.counts.read(How::AtOnce);
            self.at_once += 1;
            return Some(bytes);
        }
        self.counts.read(How::Waiting);
        self.at_once = 0;
        let file = self.file.clone();
        let room = room(begin, end);
        let reading = reading::waiting(self.disk.clone(), move || fill(&file, begin, room));
        self.reading = Some(Box::pin(async move {
            let hung = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
            tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(hung)
        }));
        None
    }

    fn give(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Wrapper for Flow {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Flow {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        if this.at_once >= TURN {
            this.at_once = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(bytes) = this.read_on() {
            return this.give(bytes);
        }
        if let Some(reading) = &mut this.reading {
            let read = ready!(reading.as_mut().poll(cx));
            this.reading = None;
            let bytes = read.map_err(|error| {
                Failure::gateway(Stage::Body, Problem::Internal)
                    .with_detail(format!("a file could not be read to its end: {error}"))
            })?;
            return this.give(bytes);
        }
        match this.pieces.pop_front() {
            Some(Piece::Text(text)) => this.give(text),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
