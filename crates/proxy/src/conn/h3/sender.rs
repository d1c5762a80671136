//! The answering side of a request's stream: what is queued goes out as fast as the client's window allows.

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http3::Code;
use quinn::{SendStream, StoppedError, VarInt};

use super::code;

/// The client takes no more, or is gone.
#[derive(Debug)]
pub(super) struct Left(pub(super) String);

type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>;

/// The answering side of a stream. It is reset when it is dropped before its end: what is cut must not look whole.
pub(super) struct Sender {
    stream: SendStream,
    queue: VecDeque<Bytes>,
    /// Bytes that were taken: the client's window, and what is on its way, had room for them.
    taken: u64,
    stopped: Stopped,
    /// The stream was stopped or is whole at the client, and may not be asked again.
    is_over: bool,
    is_ended: bool,
}

impl Sender {
    pub(super) fn new(stream: SendStream) -> Self {
        let stopped = Box::pin(stream.stopped());
        Self { stream, queue: VecDeque::new(), taken: 0, stopped, is_over: false, is_ended: false }
    }

    /// Adds what is to be sent next.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that are on their way, or were.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that wait for room.
    pub(super) fn waiting(&self) -> u64 {
        self.queue.iter().map(|bytes| bytes.len() as u64).sum()
    }

    /// Ready when all that was added is on its way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Left>> {
        while !self.queue.is_empty() {
            let written = {
                let write = self.stream.write_chunks(self.queue.make_contiguous());
                ready!(pin!(write).poll(cx))
            };
            let written = written.map_err(|error| Left(error.to_string()))?;
            self.taken += written.bytes as u64;
            self.queue.drain(..written.chunks.min(self.queue.len()));
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has stopped the stream or its connection has ended.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Left> {
        if self.is_over {
            return Poll::Pending;
        }
        let stopped = ready!(self.stopped.as_mut().poll(cx));
        self.is_over = true;
        Poll::Ready(Left(match stopped {
            Ok(Some(code)) => format!("the client has cancelled the request ({:#x})", code.into_inner()),
            Ok(None) => return Poll::Pending,
            Err(error) => error.to_string(),
        }))
    }

    /// Ends the stream well.
    pub(super) fn finish(&mut self) {
        self.is_ended = true;
        let _ = self.stream.finish();
    }

    /// Ends the stream with an error.
    pub(super) fn reset(&mut self, why: Code) {
        self.is_ended = true;
        // Nobody waits for what was reset to arrive.
        self.is_over = true;
        self.queue.clear();
        let _ = self.stream.reset(code(why));
    }

    /// Ready when the client has all of a stream that was ended well, or wants none of it any more.
    pub(super) fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_over {
            let _ = ready!(self.stopped.as_mut().poll(cx));
            self.is_over = true;
        }
        Poll::Ready(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.is_ended {
            self.reset(Code::REQUEST_CANCELLED);
        }
    }
}
