//! Who gets what while an answer comes, and how much of it is held.

use std::{sync::atomic::AtomicUsize, time::Instant};

use http::StatusCode;

use super::*;
use crate::{
    failure::Problem,
    policy::cache::{
        Counts, Keys, Memory, Tiers,
        freshness::{Clock, Terms},
    },
};

fn coming(length: Option<u64>) -> Arc<Coming> {
    let terms = Terms {
        lifetime: 60,
        no_cache: false,
        must_revalidate: false,
        stale_while_revalidate: 0,
        stale_if_error: 0,
        age: 0,
        barred: Vec::new(),
    };
    let now = Instant::now();
    let clock = Clock::new(0, now, now);
    let head = Stored::new(StatusCode::OK, HeaderMap::new(), Bytes::new(), terms, clock, Vec::new());
    Coming::new(head, Epochs::default(), length)
}

/// A cache in which nothing is.
fn kept() -> Arc<Kept> {
    let memory = Arc::new(Memory::new(1 << 20));
    Arc::new(Kept {
        tiers: Tiers::new(memory, None, None),
        flights: Arc::default(),
        counts: Counts::default(),
        refreshing: AtomicUsize::new(0),
        keys: Arc::new(Keys::new(&Default::default())),
    })
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// What a reader gets now: bytes, or nothing.
fn read(reader: &mut Reader) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match Pin::new(&mut *reader).poll_frame(&mut cx()) {
            Poll::Ready(Some(frame)) => all.extend_from_slice(&frame.ok()?.into_data().expect("data")),
            Poll::Ready(None) | Poll::Pending => return Some(all),
        }
    }
}

/// Bytes that tell where they are.
fn bytes(from: usize, count: usize) -> Bytes {
    (from..from + count).map(|at| (at % 251) as u8).collect()
}

#[test]
fn each_reads_all_from_the_first_byte_in_whatever_pieces_it_comes() {
    for piece in [1, 1000, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
        let coming = coming(None);
        let mut first = coming.reader(None).expect("open");
        let mut late = None;
        let (mut got, mut at) = (Vec::new(), 0);
        while at < 4 * PIECE_BYTES {
            coming.append(&bytes(at, piece));
            at += piece;
            got.extend(read(&mut first).expect("bytes"));
            if at >= PIECE_BYTES && late.is_none() {
                late = coming.reader(None);
            }
        }
        assert_eq!(got, bytes(0, at), "pieces of {piece}");
        let whole = coming.gathered();
        coming.end(Some(whole), None);
        assert!(first.is_end_stream() && read(&mut first).is_some_and(|rest| rest.is_empty()));
        assert_eq!(read(&mut late.expect("a second")).expect("bytes"), bytes(0, at), "pieces of {piece}");
        let mut last = coming.reader(None).expect("it is kept, and still open");
        assert_eq!(read(&mut last).expect("bytes").len(), at);
    }
}

#[test]
fn what_is_not_kept_is_held_in_a_window_that_the_slowest_moves() {
    let coming = coming(None);
    let (mut quick, mut slow) = (coming.reader(None).expect("open"), coming.reader(None).expect("open"));
    coming.append(&bytes(0, 1000));
    coming.hold_window();
    assert!(coming.reader(None).is_none(), "who comes now asks for itself");
    let mut at = 1000;
    while coming.standing(&cx()) == Standing::Open {
        coming.append(&bytes(at, 1000));
        at += 1000;
        assert!(read(&mut quick).is_some());
        assert!(at as u64 <= WINDOW_BYTES_MIN + 1000, "it has no end");
    }
    assert_eq!(coming.standing(&cx()), Standing::Held);
    assert_eq!(read(&mut slow).expect("bytes"), bytes(0, at));
    assert_eq!(coming.standing(&cx()), Standing::Open);
    assert!(coming.held() < PIECE_BYTES as u64, "{}", coming.held());
}

#[test]
fn a_window_that_was_large_is_small_once_all_keep_up_or_one_reads_alone() {
    let coming = coming(None);
    let (mut one, mut other) = (coming.reader(None).expect("open"), coming.reader(None).expect("open"));
    coming.append(&bytes(0, 10 * PIECE_BYTES));
    coming.hold_window();
    assert!(read(&mut one).is_some());
    coming.append(&bytes(0, PIECE_BYTES));
    assert_eq!(coming.standing(&cx()), Standing::Held, "the window is as large as what was held");
    assert!(!coming.narrow());
    assert!(read(&mut one).is_some());
    drop(one);
    assert_eq!(coming.standing(&cx()), Standing::Held, "and small for one alone");
    assert!(read(&mut other).is_some());
    assert_eq!(coming.standing(&cx()), Standing::Open);
    assert!(coming.narrow());
}

#[test]
fn only_whoever_holds_others_up_is_cut() {
    let coming = coming(None);
    let (mut quick, mut slow) = (coming.reader(None).expect("open"), coming.reader(None).expect("open"));
    coming.hold_window();
    coming.append(&bytes(0, 3 * PIECE_BYTES));
    assert_eq!(coming.standing(&cx()), Standing::Held);
    assert_eq!(coming.cut_slow(), 0, "nobody waits for more yet");
    assert!(read(&mut quick).is_some());
    assert_eq!(coming.cut_slow(), 1);
    assert_eq!(coming.standing(&cx()), Standing::Open);
    let Poll::Ready(Some(Err(failure))) = Pin::new(&mut slow).poll_frame(&mut cx()) else {
        panic!("it is told")
    };
    assert_eq!(failure.problem(), Problem::ClientLeft);
    coming.append(&bytes(0, 10));
    assert_eq!(read(&mut quick).expect("bytes").len(), 10);
}

#[test]
fn what_breaks_off_is_told_to_each_after_what_came_and_never_looks_whole() {
    let coming = coming(Some(100));
    let (mut one, mut other) = (coming.reader(None).expect("open"), coming.reader(None).expect("open"));
    coming.append(&bytes(0, 50));
    coming.fail(Failure::gateway(Stage::Body, Problem::UpstreamReset));
    coming.end(None, None);
    for reader in [&mut one, &mut other] {
        assert_eq!(reader.size_hint().exact(), Some(100));
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *reader).poll_frame(&mut cx()) else {
            panic!("what came first")
        };
        assert_eq!(frame.into_data().expect("data").len(), 50);
        assert!(!reader.is_end_stream());
        assert!(matches!(Pin::new(&mut *reader).poll_frame(&mut cx()), Poll::Ready(Some(Err(_)))));
        assert!(matches!(Pin::new(reader).poll_frame(&mut cx()), Poll::Ready(None)));
    }
    assert!(coming.reader(None).is_none());
}

#[test]
fn it_is_fetched_as_long_as_somebody_reads() {
    let coming = coming(None);
    let (one, other) = (coming.reader(None).expect("open"), coming.reader(None).expect("open"));
    drop(one);
    assert_eq!(coming.standing(&cx()), Standing::Open);
    drop(other);
    assert_eq!(coming.standing(&cx()), Standing::Left);
    assert!(coming.reader(None).is_none(), "nobody fetches it any more");
}

#[test]
fn trailers_are_for_whoever_asked() {
    let coming = coming(None);
    let mut first = coming.reader(None).expect("open");
    let mut other = coming.reader(Some(kept())).expect("open");
    coming.append(&bytes(0, 10));
    let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("\"1\""))]);
    coming.end(Some(coming.gathered()), Some(trailers.clone()));
    assert!(matches!(Pin::new(&mut first).poll_frame(&mut cx()), Poll::Ready(Some(Ok(_)))));
    assert!(!first.is_end_stream());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut first).poll_frame(&mut cx()) else { panic!("trailers") };
    assert_eq!(frame.into_trailers().ok(), Some(trailers));
    assert!(first.is_end_stream());
    assert!(matches!(Pin::new(&mut other).poll_frame(&mut cx()), Poll::Ready(Some(Ok(_)))));
    assert!(other.is_end_stream() && matches!(Pin::new(&mut other).poll_frame(&mut cx()), Poll::Ready(None)));
}
