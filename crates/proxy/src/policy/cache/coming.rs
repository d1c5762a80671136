//! An answer whose body is still on its way, and those who read it meanwhile: each from its first byte, at its own pace.
//!
//! As long as it is to be kept all of it stays here, so that nobody waits for somebody who reads slowly. Once it turns out
//! that it is not, only a window of it stays, which moves with the slowest reader; for that one the others wait, but not
//! without end.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::Stage;

use super::{Kept, entry::Stored, tiers::Epochs};
use crate::{
    body::{Body, Wrapper},
    call::client_left,
    failure::Failure,
};

/// What is held is held in pieces of this size.
pub(super) const PIECE_BYTES: usize = 32 * 1024;
/// The smallest window: a piece that somebody still reads, and one that is being filled.
const WINDOW_BYTES_MIN: u64 = 2 * PIECE_BYTES as u64;

/// An answer whose head is there.
pub(super) struct Coming {
    /// It, without a body.
    pub(super) head: Stored,
    /// What had been invalidated when it was asked for.
    pub(super) epoch: Epochs,
    /// Its length, where that is known.
    length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is held, but for the tail: pieces of [`PIECE_BYTES`] each.
    pieces: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// What came last, as it came: whoever keeps up is given that and no copy.
    last: Bytes,
    /// Bytes that came, and how many of these are held no longer.
    came: u64,
    gone: u64,
    /// All of it, once it is kept.
    whole: Option<Bytes>,
    /// It is not kept, and so much of it is held at most.
    window: Option<u64>,
    end: Option<End>,
    trailers: Option<HeaderMap>,
    readers: Vec<Option<Place>>,
    free: Vec<usize>,
    count: usize,
    /// Nobody read any more, and it is not fetched any further.
    is_left: bool,
    source: Option<Waker>,
}

enum End {
    Whole,
    Failed(Failure),
}

/// Where a reader is.
struct Place {
    at: u64,
    waker: Option<Waker>,
    /// It held the others up for too long.
    is_cut: bool,
}

/// Whether more is to be fetched now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// The window is full.
    Held,
    /// Nobody reads any more.
    Left,
}

/// What a reader gets.
enum Given {
    Data(Bytes),
    Trailers(HeaderMap),
    Failed(Failure),
    End,
    Nothing,
}

impl Coming {
    pub(super) fn new(head: Stored, epoch: Epochs, length: Option<u64>) -> Arc<Self> {
        Arc::new(Self { head, epoch, length, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be read from its beginning.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    /// Reads it from its beginning; none when that is not there any more, or it has failed. Who reads for somebody that
    /// has not asked for it (`for_others`) has it counted as given from what is kept.
    pub(super) fn reader(self: &Arc<Self>, for_others: Option<Arc<Kept>>) -> Option<Reader> {
        let mut state = self.lock();
        if !state.is_open() {
            return None;
        }
        let place = Some(Place { at: 0, waker: None, is_cut: false });
        let slot = match state.free.pop() {
            Some(slot) => slot,
            None => {
                state.readers.push(None);
                state.readers.len() - 1
            }
        };
        *state.readers.get_mut(slot)? = place;
        state.count += 1;
        drop(state);
        Some(Reader { coming: self.clone(), slot, at: 0, is_over: false, for_others })
    }

    /// Whether more is to be fetched; who asks is woken when that may have changed.
    pub(super) fn standing(&self, cx: &Context<'_>) -> Standing {
        let mut state = self.lock();
        if state.count == 0 {
            state.is_left = true;
            return Standing::Left;
        }
        match &mut state.source {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if state.window.is_some() {
            state.let_go();
        }
        match state.window() {
            Some(window) if state.held() >= window => Standing::Held,
            _ => Standing::Open,
        }
    }

    /// Ready when more is to be fetched, or nobody wants it.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.standing(cx) == Standing::Held { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Takes what came, for all to read.
    pub(super) fn append(&self, data: &Bytes) {
        let mut state = self.lock();
        state.append(data);
        let wakers = state.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// It is not kept: from now on a window of it is held.
    pub(super) fn hold_window(&self) {
        let mut state = self.lock();
        let window = state.held().max(WINDOW_BYTES_MIN);
        state.window.get_or_insert(window);
    }

    /// Makes the window as small as it can be, once all keep up; whether it is.
    pub(super) fn narrow(&self) -> bool {
        let mut state = self.lock();
        let is_small = state.held() <= WINDOW_BYTES_MIN;
        if is_small && let Some(window) = &mut state.window {
            *window = WINDOW_BYTES_MIN;
        }
        is_small && state.window.is_some()
    }

    /// Those who read so slowly that others wait for them are told that it breaks off; how many they are.
    pub(super) fn cut_slow(&self) -> usize {
        let mut state = self.lock();
        let (came, first) = (state.came, state.gone + PIECE_BYTES as u64);
        let starves = |place: &Place| !place.is_cut && place.at == came;
        if !state.readers.iter().flatten().any(starves) {
            return 0;
        }
        let (mut count, mut wakers) = (0, Vec::new());
        let slow = state.readers.iter_mut().flatten().filter(|place| !place.is_cut && place.at < first);
        for place in slow {
            place.is_cut = true;
            count += 1;
            wakers.extend(place.waker.take());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        count
    }

    /// All of what came, in one. It is asked for while all of it is held.
    pub(super) fn gathered(&self) -> Bytes {
        let mut state = self.lock();
        if state.pieces.is_empty() {
            let mut tail = std::mem::take(&mut state.tail);
            // A buffer that grew may be larger than what is in it.
            tail.shrink_to_fit();
            let whole = Bytes::from(tail);
            state.whole = Some(whole.clone());
            return whole;
        }
        let (pieces, tail): (Vec<Bytes>, _) = (state.pieces.iter().cloned().collect(), state.tail.clone());
        let came = usize::try_from(state.came).unwrap_or(0);
        drop(state);
        let mut whole = Vec::with_capacity(came);
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.extend_from_slice(&tail);
        Bytes::from(whole)
    }

    /// That was all of it.
    pub(super) fn end(&self, whole: Option<Bytes>, trailers: Option<HeaderMap>) {
        let mut state = self.lock();
        if whole.is_some() {
            (state.pieces, state.tail) = (VecDeque::new(), Vec::new());
            state.whole = whole;
        }
        state.trailers = trailers;
        state.finish(End::Whole);
        let wakers = state.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// It has broken off; after an end this changes nothing.
    pub(super) fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        state.finish(End::Failed(failure));
        let wakers = state.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Bytes that are held of it.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.lock().held()
    }
}

impl State {
    fn is_open(&self) -> bool {
        !self.is_left && self.window.is_none() && !matches!(self.end, Some(End::Failed(_)))
    }

    fn held(&self) -> u64 {
        self.came - self.gone
    }

    /// How much is held at most. Who reads alone needs no more than a little.
    fn window(&self) -> Option<u64> {
        self.window.map(|window| if self.count == 1 { WINDOW_BYTES_MIN } else { window })
    }

    fn append(&mut self, data: &Bytes) {
        let mut rest = &data[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES - self.tail.len()));
            let wanted = self.tail.len() + now.len();
            if wanted > self.tail.capacity() {
                // After a first piece there is likely to be a whole one more.
                let least = if self.pieces.is_empty() { 2 * self.tail.capacity() } else { PIECE_BYTES };
                let wanted = wanted.max(least).min(PIECE_BYTES);
                self.tail.reserve_exact(wanted - self.tail.len());
            }
            self.tail.extend_from_slice(now);
            if self.tail.len() == PIECE_BYTES {
                self.pieces.push_back(Bytes::from(std::mem::take(&mut self.tail)));
            }
            rest = later;
        }
        self.came += data.len() as u64;
        self.last = data.clone();
    }

    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.source = None;
    }

    /// Forgets what everybody has read.
    fn let_go(&mut self) {
        let slowest = self.readers.iter().flatten().filter(|place| !place.is_cut).map(|place| place.at).min();
        let slowest = slowest.unwrap_or(self.came);
        while self.gone + PIECE_BYTES as u64 <= slowest && self.pieces.pop_front().is_some() {
            self.gone += PIECE_BYTES as u64;
        }
    }

    fn wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().flatten().filter_map(|place| place.waker.take()).collect()
    }

    /// What is there from a byte on.
    fn from(&self, at: u64) -> Option<Bytes> {
        if let Some(whole) = &self.whole {
            let at = usize::try_from(at).ok()?;
            return (at < whole.len()).then(|| whole.slice(at..));
        }
        if at >= self.came {
            return None;
        }
        if self.came - self.last.len() as u64 == at {
            return Some(self.last.clone());
        }
        let at = usize::try_from(at.checked_sub(self.gone)?).ok()?;
        match self.pieces.get(at / PIECE_BYTES) {
            Some(piece) => Some(piece.slice(at % PIECE_BYTES..)),
            None => {
                let tail = self.tail.get(at - self.pieces.len() * PIECE_BYTES..)?;
                Some(Bytes::copy_from_slice(tail))
            }
        }
    }

    /// What a reader gets, and whom that lets go on.
    fn give(&mut self, slot: usize, wants_trailers: bool, cx: &Context<'_>) -> (Given, Option<Waker>) {
        let Some(at) = self.readers.get(slot).and_then(Option::as_ref).map(|place| place.at) else {
            return (Given::End, None);
        };
        let data = self.from(at);
        let gone = self.gone;
        let Some(place) = self.readers.get_mut(slot).and_then(Option::as_mut) else {
            return (Given::End, None);
        };
        if place.is_cut {
            return (Given::Failed(client_left(Stage::Body).with_detail("the client does not read")), None);
        }
        if let Some(data) = data {
            place.at += data.len() as u64;
            // Whoever leaves the first piece may be the last that was in it, and whoever has all may be waited for.
            let first = gone + PIECE_BYTES as u64;
            let moves = self.window.is_some() && at < first && place.at >= first;
            return (Given::Data(data), if moves { self.source.take() } else { None });
        }
        match &self.end {
            Some(End::Whole) => match self.trailers.clone().filter(|_| wants_trailers) {
                Some(trailers) => (Given::Trailers(trailers), None),
                None => (Given::End, None),
            },
            Some(End::Failed(failure)) => (Given::Failed(failure.clone()), None),
            None => {
                match &mut place.waker {
                    Some(known) => known.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                (Given::Nothing, None)
            }
        }
    }
}

/// One that reads.
pub(super) struct Reader {
    coming: Arc<Coming>,
    slot: usize,
    at: u64,
    is_over: bool,
    for_others: Option<Arc<Kept>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.coming.lock();
        if let Some(place) = state.readers.get_mut(self.slot) {
            *place = None;
        }
        state.free.push(self.slot);
        state.count -= 1;
        // Nobody may be left, or whoever was waited for.
        let source = state.source.take();
        drop(state);
        source.into_iter().for_each(Waker::wake);
    }
}

impl Wrapper for Reader {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let (given, source) = self.coming.lock().give(self.slot, self.for_others.is_none(), cx);
        source.into_iter().for_each(Waker::wake);
        self.is_over = matches!(given, Given::Trailers(_) | Given::Failed(_) | Given::End);
        Poll::Ready(match given {
            Given::Data(data) => {
                let length = data.len() as u64;
                self.at += length;
                if let Some(kept) = &self.for_others {
                    kept.counts.bytes_given.fetch_add(length, Ordering::Relaxed);
                }
                Some(Ok(Frame::data(data)))
            }
            Given::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Given::Failed(failure) => Some(Err(failure)),
            Given::End => None,
            Given::Nothing => return Poll::Pending,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || {
            let state = self.coming.lock();
            let has_trailers = state.trailers.is_some() && self.for_others.is_none();
            matches!(state.end, Some(End::Whole)) && self.at >= state.came && !has_trailers
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = |length: u64| SizeHint::with_exact(length.saturating_sub(self.at));
        self.coming.length.map_or_else(SizeHint::default, left)
    }
}

#[cfg(test)]
mod tests;
