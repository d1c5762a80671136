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
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::reading;

use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// Bytes that are read at once.
const CHUNK: u64 = 128 * 1024;

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
pub(super) fn read(file: &File, from: u64, to: u64) -> io::Result<Bytes> {
    fill(file, from, room(from, to))
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
    /// The chunk that comes next.
    reading: Option<Pin<Box<dyn Future<Output = io::Result<Bytes>>>>>,
    /// Counts it among the files that are on their way.
    _open: OwnedSemaphorePermit,
}

impl Flow {
    pub(super) fn of(file: File, pieces: Vec<Piece>, open: OwnedSemaphorePermit) -> Self {
        let left = length(&pieces);
        Self { file: Arc::new(file), left, pieces: pieces.into(), reading: None, _open: open }
    }

    /// Begins to read the next chunk, where one is to be read next.
    fn read_on(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let Some(Piece::Span(from, to)) = self.pieces.front_mut() else { return };
        let (begin, end) = (*from, (*from).saturating_add(CHUNK).min(*to));
        *from = end;
        if end == *to {
            self.pieces.pop_front();
        }
        let file = self.file.clone();
        let room = room(begin, end);
        self.reading = Some(Box::pin(reading::waiting(move || fill(&file, begin, room))));
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
        this.read_on();
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
