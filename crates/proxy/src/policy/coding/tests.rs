//! Coded bodies: what goes in comes out, messages leave at once, bombs and broken streams are refused.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::Write,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};

use super::{Caps, Coding, Decoded, Encoded, Encoder};
use crate::{
    body::Body,
    failure::{Failure, Problem},
};

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];
const WIDE: Caps = Caps { size: 64 << 20, ratio: 100_000 };

/// A body that gives what a test pushes, and waits when there is nothing.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<VecDeque<Option<Frame<Bytes>>>>>);

impl Pipe {
    fn push(&self, data: &[u8]) {
        self.0.borrow_mut().push_back(Some(Frame::data(Bytes::copy_from_slice(data))));
    }
}

impl crate::body::Wrapper for Pipe {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Pipe {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.0.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(frame.map(Ok)),
            None => Poll::Pending,
        }
    }
}

/// All bytes until the body ends or waits; the largest frame; the trailers.
fn drain(body: &mut Body) -> Result<(Vec<u8>, usize, Option<HeaderMap>), Failure> {
    let (mut out, mut largest, mut trailers) = (Vec::new(), 0, None);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = Pin::new(&mut *body).poll_frame(&mut cx) {
        match frame?.into_data() {
            Ok(data) => {
                largest = largest.max(data.len());
                out.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((out, largest, trailers))
}

fn encoded(inner: Body, coding: Coding) -> Encoded {
    Encoded::new(inner, Encoder::new(coding, 4).expect("a coder"))
}

fn encode(coding: Coding, data: &[u8]) -> Vec<u8> {
    let body = encoded(Body::Full(Bytes::copy_from_slice(data)), coding);
    drain(&mut Body::boxed(body)).expect("encoded").0
}

fn decode(coding: Coding, data: &[u8], caps: Caps) -> Result<(Vec<u8>, usize), Failure> {
    let body = Decoded::new(Body::Full(Bytes::copy_from_slice(data)), coding, caps).expect("a decoder");
    drain(&mut Body::boxed(body)).map(|(out, largest, _)| (out, largest))
}

fn sample(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"abcdefgh \n{}:,\"0"[(state >> 28) as usize]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn what_is_encoded_decodes_to_itself() {
    for coding in ALL {
        for length in [0, 1, 100, 5_000, 300_000] {
            let data = sample(length);
            let (out, _) = decode(coding, &encode(coding, &data), WIDE).expect("decoded");
            assert!(out == data, "{coding:?} of {length}");
        }
    }
}

#[test]
fn a_streamed_message_leaves_at_once() {
    for coding in ALL {
        let (plain, coded) = (Pipe::default(), Pipe::default());
        let mut coder = Body::boxed(encoded(Body::boxed(plain.clone()), coding));
        let mut decoded =
            Body::boxed(Decoded::new(Body::boxed(coded.clone()), coding, WIDE).expect("a decoder"));
        for message in ["data: one\n\n", "data: two\n\n"] {
            plain.push(message.as_bytes());
            let (bytes, ..) = drain(&mut coder).expect("encoded");
            coded.push(&bytes);
            let (out, ..) = drain(&mut decoded).expect("decoded");
            assert_eq!(String::from_utf8_lossy(&out), message, "{coding:?}");
        }
    }
}

#[test]
fn trailers_follow_the_last_byte() {
    for coding in ALL {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        let plain = Pipe::default();
        plain.push(b"hello");
        plain.0.borrow_mut().push_back(Some(Frame::trailers(trailers.clone())));
        plain.0.borrow_mut().push_back(None);
        let coder = Body::boxed(encoded(Body::boxed(plain), coding));
        let mut both = Body::boxed(Decoded::new(coder, coding, WIDE).expect("a decoder"));
        let (out, _, got) = drain(&mut both).expect("decoded");
        assert_eq!((&*out, got), (&b"hello"[..], Some(trailers)), "{coding:?}");
        assert!(both.is_end_stream());
    }
}

#[test]
fn a_bomb_is_refused_before_it_unfolds() {
    for coding in ALL {
        let bomb = encode(coding, &vec![0; 20 << 20]);
        for caps in [Caps { size: 1 << 20, ratio: u64::MAX }, Caps { size: u64::MAX, ratio: 20 }] {
            let problem = decode(coding, &bomb, caps).expect_err("a bomb").problem();
            assert_eq!(problem, Problem::BodyTooLarge, "{coding:?} {caps:?}");
        }
    }
}

#[test]
fn frames_stay_small_whatever_unfolds() {
    for coding in ALL {
        let (out, largest) = decode(coding, &encode(coding, &sample(3 << 20)), WIDE).expect("decoded");
        assert_eq!(out.len(), 3 << 20);
        assert!(largest < 512 * 1024, "{coding:?} gave {largest} bytes at once");
    }
}

#[test]
fn broken_streams_are_refused() {
    for coding in ALL {
        let whole = encode(coding, &sample(5_000));
        let mut garbled = whole.clone();
        let middle = garbled.len() / 2;
        garbled[middle..].fill(0xa5);
        let mut trailing = whole.clone();
        trailing.extend_from_slice(b"GET /admin HTTP/1.1\r\n\r\n");
        let cases = [
            ("cut off", &whole[..whole.len() - 3]),
            ("garbled", &garbled),
            ("plain", b"hello, world, hello"),
        ];
        for (what, data) in cases.into_iter().chain([("trailing bytes", &*trailing)]) {
            match decode(coding, data, WIDE) {
                Err(failure) => assert_eq!(failure.problem(), Problem::Invalid, "{coding:?} {what}"),
                Ok((out, _)) => panic!("{coding:?} {what}: decoded to {} bytes", out.len()),
            }
        }
    }
}

#[test]
fn an_empty_body_is_empty_in_every_coding() {
    for coding in ALL {
        assert!(decode(coding, b"", WIDE).expect("nothing").0.is_empty());
    }
}

#[test]
fn gzip_of_others_is_read_with_all_its_members() {
    let mut both = Vec::new();
    for part in ["one ", "two"] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(part.as_bytes()).expect("written");
        both.extend(encoder.finish().expect("finished"));
    }
    assert_eq!(decode(Coding::Gzip, &both, WIDE).expect("decoded").0, b"one two");
}
