//! A tunnel that somebody reads: what each side says goes on as the watch has it, and no side that stalls keeps it from
//! its end.
//!
//! One loop carries both ways. It writes what is owed, reads a side only while little is owed, and asks the clock first.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use super::{
    tunnel::{Far, Gone, poll_data, poll_more},
    wire::Wire,
};

/// Bytes that may be owed to a side before nothing more is read that would go there.
const OWED_BYTES_MAX: usize = 256 * 1024;
/// Bytes that may be owed to a client before its own words are no longer read, for they too may be answered here. It is
/// more than the above, so that a slow reader of much may still speak.
const OWED_ANSWERS_BYTES_MAX: usize = 2 * OWED_BYTES_MAX;
/// How long both sides may take to hear that a tunnel is over.
const LINGER: Duration = Duration::from_secs(2);
/// What is carried before others have their turn.
const TURNS: usize = 32;

/// What goes on after something came, or instead of it.
#[derive(Default)]
pub(crate) struct Onward {
    pub(crate) to_client: BytesMut,
    pub(crate) to_upstream: BytesMut,
    /// Nothing goes on after that.
    pub(crate) is_over: bool,
}

/// One of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Upstream,
}

/// Reads what passes through a tunnel, and says what goes on.
pub(crate) trait Watch {
    /// Something came from the client.
    fn by_client(&mut self, data: &[u8], on: &mut Onward);
    /// Something came from the upstream.
    fn by_upstream(&mut self, data: &[u8], on: &mut Onward);
    /// Whether it takes more of a side's now; else it waits for something.
    fn reads(&self, side: Side) -> bool;
    /// Goes on with what it waits for; ready when something of that has come.
    fn poll(&mut self, cx: &mut Context<'_>, on: &mut Onward) -> Poll<()>;
    /// When [`Watch::time_out`] is due, unless something comes.
    fn deadline(&self) -> Instant;
    /// Nothing came in time.
    fn time_out(&mut self, on: &mut Onward);
}

/// Where bytes come from.
pub(super) enum Source<'a> {
    Wire(&'a Wire),
    Stream(&'a mut RecvStream),
}

/// Where they go.
pub(super) enum Sink<'a> {
    Wire(&'a Wire),
    Stream(&'a mut SendStream<Bytes>),
}

impl Source<'_> {
    /// What comes next; none at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        match self {
            Self::Wire(wire) => {
                let more = ready!(poll_more(wire, cx))?;
                Poll::Ready(Ok(more.then(|| wire.input.borrow_mut().split().freeze())))
            }
            Self::Stream(stream) => {
                let data = ready!(poll_data(stream, cx))?;
                if let Some(data) = &data {
                    let _ = stream.flow_control().release_capacity(data.len());
                }
                Poll::Ready(Ok(data))
            }
        }
    }
}

impl Sink<'_> {
    /// Sends all of it, as the reader allows.
    fn poll_send(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<Result<(), Gone>> {
        match self {
            Self::Wire(wire) => wire.poll_write(cx, out).map_err(|_| Gone),
            Self::Stream(stream) => {
                while !out.is_empty() {
                    stream.reserve_capacity(out.len());
                    let room = match ready!(stream.poll_capacity(cx)) {
                        // The other side has taken back what it had granted.
                        Some(Ok(0)) => continue,
                        Some(Ok(room)) => room,
                        _ => return Poll::Ready(Err(Gone)),
                    };
                    let piece = out.split_to(room.min(out.len())).freeze();
                    stream.send_data(piece, false).map_err(|_| Gone)?;
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Wire(wire) => wire.poll_shutdown(cx).map(|_| ()),
            Self::Stream(stream) => {
                let _ = stream.send_data(Bytes::new(), true);
                Poll::Ready(())
            }
        }
    }
}

/// A way from one side to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Its source has ended, and that is still to be told.
    Ended,
    Over,
}

/// Both sides of a tunnel, and who reads what passes.
pub(super) struct Watched<'a> {
    watch: Box<dyn Watch>,
    on: Onward,
    client: (Source<'a>, Sink<'a>),
    upstream: (Source<'a>, Sink<'a>),
    forth: Way,
    back: Way,
}

impl<'a> Watched<'a> {
    /// `early` is what the upstream said with its agreement.
    pub(super) async fn carry(
        watch: Box<dyn Watch>,
        early: &Bytes,
        client: (Source<'a>, Sink<'a>),
        far: &'a mut Far,
    ) {
        let upstream = match far {
            Far::Wire(wire) => (Source::Wire(wire), Sink::Wire(wire)),
            Far::Stream(stream) => (Source::Stream(&mut stream.1), Sink::Stream(&mut stream.0)),
        };
        let on = Onward::default();
        let mut watched = Self { watch, on, client, upstream, forth: Way::Open, back: Way::Open };
        if !early.is_empty() {
            watched.watch.by_upstream(early, &mut watched.on);
        }
        let mut timer = pin!(tokio::time::sleep_until(watched.watch.deadline().into()));
        poll_fn(|cx| {
            for _ in 0..TURNS {
                // The clock comes first: a side that is never done may not hold it up.
                if timer.as_mut().poll(cx).is_ready() {
                    if watched.watch.deadline() <= Instant::now() {
                        watched.watch.time_out(&mut watched.on);
                    }
                    timer.as_mut().reset(watched.watch.deadline().into());
                    if timer.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                match watched.turn(cx) {
                    Turn::Moved => {}
                    Turn::Waits => return Poll::Pending,
                    Turn::Over => return Poll::Ready(()),
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        if watched.on.is_over {
            watched.last_words().await;
        }
    }

    /// Carries what can be carried now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let Self { watch, on, client, upstream, forth, back } = self;
        let mut has_moved = watch.poll(cx, on).is_ready();
        if on.is_over {
            return Turn::Over;
        }
        if !on.to_client.is_empty() {
            match client.1.poll_send(cx, &mut on.to_client) {
                Poll::Ready(Ok(())) => has_moved = true,
                Poll::Ready(Err(Gone)) => return Turn::Over,
                Poll::Pending => {}
            }
        }
        if !on.to_upstream.is_empty() {
            match upstream.1.poll_send(cx, &mut on.to_upstream) {
                Poll::Ready(Ok(())) => has_moved = true,
                // It takes no more; what it had said before is still on its way.
                Poll::Ready(Err(Gone)) => {
                    on.to_upstream.clear();
                    (*forth, has_moved) = (Way::Over, true);
                }
                Poll::Pending => {}
            }
        }
        let (owed, asked) = (on.to_client.len(), on.to_upstream.len());
        if *forth == Way::Open
            && asked < OWED_BYTES_MAX
            && owed < OWED_ANSWERS_BYTES_MAX
            && watch.reads(Side::Client)
            && let Poll::Ready(next) = client.0.poll_next(cx)
        {
            has_moved = true;
            match next {
                Ok(Some(data)) => watch.by_client(&data, on),
                Ok(None) => *forth = Way::Ended,
                Err(Gone) => return Turn::Over,
            }
        }
        if *back == Way::Open
            && owed < OWED_BYTES_MAX
            && watch.reads(Side::Upstream)
            && let Poll::Ready(next) = upstream.0.poll_next(cx)
        {
            has_moved = true;
            match next {
                Ok(Some(data)) => watch.by_upstream(&data, on),
                Ok(None) => *back = Way::Ended,
                Err(Gone) => return Turn::Over,
            }
        }
        for (way, waiting, sink) in
            [(forth, &on.to_upstream, &mut upstream.1), (back, &on.to_client, &mut client.1)]
        {
            if *way == Way::Ended && waiting.is_empty() && sink.poll_end(cx).is_ready() {
                (*way, has_moved) = (Way::Over, true);
            }
        }
        match self.on.is_over || (self.forth, self.back) == (Way::Over, Way::Over) {
            true => Turn::Over,
            false if has_moved => Turn::Moved,
            false => Turn::Waits,
        }
    }

    /// Both sides hear what was said last, where they listen.
    async fn last_words(&mut self) {
        let Self { on, client, upstream, .. } = self;
        let Onward { to_client, to_upstream, .. } = on;
        let to_client = async {
            if poll_fn(|cx| client.1.poll_send(cx, to_client)).await.is_ok() {
                poll_fn(|cx| client.1.poll_end(cx)).await;
                // Whoever has not read what was said last would lose it if its own words found nobody.
                while let Ok(Some(_)) = poll_fn(|cx| client.0.poll_next(cx)).await {}
            }
        };
        let to_upstream = async {
            if poll_fn(|cx| upstream.1.poll_send(cx, to_upstream)).await.is_ok() {
                poll_fn(|cx| upstream.1.poll_end(cx)).await;
                while let Ok(Some(_)) = poll_fn(|cx| upstream.0.poll_next(cx)).await {}
            }
        };
        let both = futures_util::future::join(to_client, to_upstream);
        let _ = tokio::time::timeout(LINGER, both).await;
    }
}

/// What came of a turn.
enum Turn {
    Moved,
    Waits,
    Over,
}
