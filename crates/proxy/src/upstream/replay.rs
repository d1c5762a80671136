//! Keeps the first bytes of a request's body, so that another try can send them again.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Pieces that are kept: each takes memory of its own, and a client may send one for every byte.
const CHUNKS_MAX: usize = 4096;

/// A body that can be sent more than once while it is small.
pub(crate) struct Replay(Rc<RefCell<Kept>>);

struct Kept {
    source: Body,
    chunks: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: usize,
    limit: usize,
    /// More has come than is kept: no further try can have it all.
    over: bool,
    ended: bool,
    length: Option<u64>,
    /// Number of the try that reads now; an older one gets no more than is kept.
    turn: u32,
}

impl Replay {
    /// Keeps up to `limit` bytes of `source`.
    pub(crate) fn new(source: Body, limit: usize) -> Self {
        let length = source.length();
        let over = length.is_some_and(|length| length > limit as u64);
        Self(Rc::new(RefCell::new(Kept {
            source,
            chunks: Vec::new(),
            trailers: None,
            bytes: 0,
            limit,
            over,
            ended: false,
            length,
            turn: 0,
        })))
    }

    /// Its length, when it is known beforehand.
    pub(crate) fn length(&self) -> Option<u64> {
        self.0.borrow().length
    }

    /// Whether the body can be sent from its beginning.
    pub(crate) fn is_whole(&self) -> bool {
        let kept = self.0.borrow();
        !kept.over || (kept.bytes == 0 && kept.turn == 0)
    }

    /// Whether all of it is kept, so that any number of tries can send it at the same time.
    pub(crate) fn is_complete(&self) -> bool {
        let kept = self.0.borrow();
        kept.ended && !kept.over
    }

    /// The body from its beginning, for one try.
    pub(crate) fn body(&self) -> Body {
        let mut kept = self.0.borrow_mut();
        kept.turn += 1;
        let turn = kept.turn;
        drop(kept);
        Body::boxed(Replayed { kept: self.0.clone(), turn, next: 0, told_trailers: false })
    }
}

struct Replayed {
    kept: Rc<RefCell<Kept>>,
    turn: u32,
    next: usize,
    told_trailers: bool,
}

impl Wrapper for Replayed {
    /// What is wrapped is the request, which has no other direction.
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Replayed {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        let mut kept = this.kept.borrow_mut();
        if kept.turn != this.turn && (!kept.ended || kept.over) {
            return Poll::Ready(None);
        }
        if let Some(chunk) = kept.chunks.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if let Some(trailers) = &kept.trailers
            && !this.told_trailers
        {
            this.told_trailers = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        }
        if kept.ended {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut kept.source).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    kept.bytes += data.len();
                    if kept.over || kept.bytes > kept.limit || kept.chunks.len() >= CHUNKS_MAX {
                        kept.over = true;
                        kept.chunks = Vec::new();
                        this.next = 0;
                    } else {
                        kept.chunks.push(data.clone());
                        this.next += 1;
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    kept.trailers = Some(trailers.clone());
                    this.told_trailers = true;
                }
            }
            Some(Err(_)) => kept.over = true,
            None => kept.ended = true,
        }
        if kept.source.is_end_stream() {
            kept.ended = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        (kept.turn != self.turn && (!kept.ended || kept.over))
            || (self.next >= kept.chunks.len()
                && kept.ended
                && (kept.trailers.is_none() || self.told_trailers))
    }

    fn size_hint(&self) -> SizeHint {
        match self.kept.borrow().length {
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    /// So many bytes, each by itself.
    struct Bytewise(usize);

    impl Wrapper for Bytewise {
        fn inner(&mut self) -> Option<&mut Body> {
            None
        }
    }

    impl HttpBody for Bytewise {
        type Data = Bytes;
        type Error = Failure;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
            let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
            self.0 = left;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a")))))
        }
    }

    /// How many bytes a try gets.
    fn read(replay: &Replay) -> usize {
        let all = replay.body().collect().now_or_never().expect("nothing is waited for");
        all.expect("no failure").to_bytes().len()
    }

    #[test]
    fn a_body_in_few_pieces_comes_again_and_one_in_many_comes_once() {
        let few = Replay::new(Body::boxed(Bytewise(CHUNKS_MAX)), usize::MAX);
        assert_eq!((read(&few), read(&few)), (CHUNKS_MAX, CHUNKS_MAX));
        assert!(few.is_whole() && few.is_complete());
        let many = Replay::new(Body::boxed(Bytewise(CHUNKS_MAX + 1)), usize::MAX);
        assert_eq!(read(&many), CHUNKS_MAX + 1, "the first try has all of it");
        assert!(!many.is_whole());
    }
}
