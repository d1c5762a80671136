//! Bodies: chunks, trailers, lengths and ends.

use bytes::BytesMut;
use http1::{BodyDecoder, BodyEvent, Framing, Limits, ParseErrorKind};

use crate::read::{Reader, Seen, check, chunked_verdict, read};

#[test]
fn chunked_bodies_are_judged() {
    check(
        &[
            (b"0\r\n\r\n", "ok"),
            (b"000\r\n\r\n", "ok"),
            (b"5\r\nhello\r\n0\r\n\r\n", "ok"),
            (b"05\r\nhello\r\n0\r\n\r\n", "ok"),
            (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "ok"),
            (b"0000000000000005\r\nhello\r\n0\r\n\r\n", "ok"),
            (b"00000000000000005\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"7fffffffffffffff\r\n", "partial"),
            (b"8000000000000000\r\n", "chunk-too-large"),
            (b"ffffffffffffffff\r\n", "chunk-too-large"),
            (b"10000000000000000\r\n", "malformed-chunk-size"),
            (b"0x5\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"+5\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"-5\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b" 5\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"5 \r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"5\t\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"5_0\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"g\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"5\nhello\r\n0\r\n\r\n", "bare-lf"),
            (b"\n5\r\nhello\r\n0\r\n\r\n", "bare-lf"),
            (b"5\r\r\nhello\r\n0\r\n\r\n", "bare-cr"),
            (b"5\r\nhello\n0\r\n\r\n", "missing-chunk-end"),
            (b"5\r\nhello0\r\n\r\n", "missing-chunk-end"),
            (b"5\r\nhello!\r\n0\r\n\r\n", "missing-chunk-end"),
            (b"5\r\nhello\r0\r\n\r\n", "missing-chunk-end"),
            (b"5\r\nhello", "partial"),
            (b"5\r\nhello\r\n", "partial"),
            (b"5\r\nhello\r\n0\r\n", "partial"),
            (b"5;a\r\nhello\r\n0\r\n\r\n", "ok"),
            (b"5;a=b;c=\"d;\\\"e\"\r\nhello\r\n0;f\r\n\r\n", "ok"),
            (b"5 ;a\r\nhello\r\n0\r\n\r\n", "malformed-chunk-size"),
            (b"5; a\r\nhello\r\n0\r\n\r\n", "malformed-chunk-extension"),
            (b"5;\r\nhello\r\n0\r\n\r\n", "malformed-chunk-extension"),
            (b"5;a=\r\nhello\r\n0\r\n\r\n", "malformed-chunk-extension"),
            (b"5;a=\"b\r\nhello\r\n0\r\n\r\n", "malformed-chunk-extension"),
            (b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", "malformed-chunk-extension"),
            (b"5;a\x00\r\nhello\r\n0\r\n\r\n", "malformed-chunk-extension"),
            (b"5;a\nhello\r\n0\r\n\r\n", "bare-lf"),
            (b"5;a\rb\r\nhello\r\n0\r\n\r\n", "bare-cr"),
            (b"5;a=\"\r\"\r\nhello\r\n0\r\n\r\n", "bare-cr"),
            (b"0\r\nX: y\r\n\r\n", "ok"),
            (b"0\r\nX: y\n\r\n", "bare-lf"),
            (b"0\r\nX : y\r\n\r\n", "space-before-colon"),
            (b"0\r\n X: y\r\n\r\n", "obsolete-fold"),
            (b"0\r\nX\r\n\r\n", "missing-colon"),
            (b"0\r\nX: y\x00\r\n\r\n", "control-in-value"),
            (b"0\r\nContent-Length: 5\r\n\r\n", "forbidden-trailer"),
            (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", "forbidden-trailer"),
            (b"0\r\nHost: a\r\n\r\n", "forbidden-trailer"),
        ],
        chunked_verdict,
    );
}

#[test]
fn trailers_that_heads_alone_may_carry_are_left_out() {
    let body =
        b"0\r\nAuthorization: x\r\nCookie: a\r\nX-Sum: 1\r\nX-Forwarded-For: 1\r\nContent-Type: a/b\r\n\r\n";
    let seen = read(Reader::Body, &[body]);
    assert_eq!(seen, [Seen::Trailers(vec![("x-sum".into(), b"1".to_vec())]), Seen::End]);
    let seen = read(Reader::Body, &[b"0\r\nSet-Cookie: a\r\n\r\n"]);
    assert_eq!(seen, [Seen::End]);
}

#[test]
fn a_length_is_kept_and_what_follows_it_is_left() {
    let mut decoder = BodyDecoder::new(Framing::Length(5), &Limits::default());
    assert_eq!(decoder.remaining_hint(), (5, Some(5)));
    let mut input = BytesMut::from("hel");
    assert_eq!(decoder.decode(&mut input), Ok(BodyEvent::Data("hel".into())));
    assert_eq!(decoder.decode(&mut input), Ok(BodyEvent::NeedMore));
    assert_eq!(decoder.remaining_hint(), (2, Some(2)));
    assert!(!decoder.is_done());
    input.extend_from_slice(b"loGET");
    assert_eq!(decoder.decode(&mut input), Ok(BodyEvent::Data("lo".into())));
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(&mut input), Ok(BodyEvent::End));
    assert_eq!(decoder.decode(&mut input), Ok(BodyEvent::End));
    assert_eq!(&input[..], b"GET");
}

#[test]
fn an_end_of_the_connection_ends_only_what_may_end_so() {
    let finish = |framing, bytes: &str| {
        let mut decoder = BodyDecoder::new(framing, &Limits::default());
        let mut input = BytesMut::from(bytes);
        while matches!(decoder.decode(&mut input), Ok(BodyEvent::Data(_))) {}
        decoder.finish_eof().map_err(|error| error.kind)
    };
    assert_eq!(finish(Framing::UntilClose, "abc"), Ok(()));
    assert_eq!(finish(Framing::UntilClose, ""), Ok(()));
    assert_eq!(finish(Framing::None, ""), Ok(()));
    assert_eq!(finish(Framing::Length(3), "abc"), Ok(()));
    assert_eq!(finish(Framing::Length(3), "ab"), Err(ParseErrorKind::Incomplete));
    assert_eq!(finish(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\n"), Ok(()));
    assert_eq!(finish(Framing::Chunked, "3\r\nabc\r\n0\r\n"), Err(ParseErrorKind::Incomplete));
    assert_eq!(finish(Framing::Chunked, "3\r\nabc\r\n"), Err(ParseErrorKind::Incomplete));
    assert_eq!(finish(Framing::Chunked, ""), Err(ParseErrorKind::Incomplete));
}

#[test]
fn data_is_a_slice_of_the_input() {
    let mut input = BytesMut::from("5\r\nhello\r\n");
    let at = input.as_ptr() as usize + 3;
    let mut decoder = BodyDecoder::new(Framing::Chunked, &Limits::default());
    let Ok(BodyEvent::Data(data)) = decoder.decode(&mut input) else { panic!("data was there") };
    assert_eq!(data.as_ptr() as usize, at);
}
