//! The first law: however the bytes are split, the events are the same. And any bytes at all are survived.

use http::Method;
use proptest::{collection::vec, prelude::*};

use crate::{
    near_valid::{nearly, valid_request, valid_response},
    read::{Reader, Seen, read, requests, responses},
};

const REQUESTS: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\nX: \t y \r\n\r\n\
    POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
    \r\nPOST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;a=\"b\"\r\nhello\r\nb\r\nhello again\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\nGET /d HTTP/1.0\r\n\r\n";

const RESPONSES: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
    HTTP/1.1 204\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n\
    HTTP/1.0 200 OK\r\n\r\nuntil the end";

fn assert_every_split(reader: impl Fn() -> Reader, bytes: &[u8]) -> Vec<Seen> {
    let whole = read(reader(), &[bytes]);
    for at in 0..=bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(read(reader(), &[left, right]), whole, "split at {at} of {}", bytes.escape_ascii());
    }
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(reader(), &singles), whole, "byte by byte: {}", bytes.escape_ascii());
    whole
}

#[test]
fn requests_are_the_same_however_they_are_split() {
    let seen = assert_every_split(requests, REQUESTS);
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Request { .. })).count(), 4);
    assert!(seen.contains(&Seen::Data(b"hellohello again".to_vec())));
    assert!(
        seen.contains(&Seen::Trailers(vec![
            ("x-sum".into(), b"1".to_vec()),
            ("x-sum".into(), b"2".to_vec())
        ]))
    );
}

#[test]
fn responses_are_the_same_however_they_are_split() {
    let seen = assert_every_split(|| responses(Method::GET), RESPONSES);
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Response { .. })).count(), 5);
    assert_eq!(seen.last(), Some(&Seen::Data(b"until the end".to_vec())));
}

fn cut(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.iter_mut().for_each(|cut| *cut %= bytes.len() + 1);
    cuts.sort_unstable();
    let mut start = 0;
    let mut pieces: Vec<&[u8]> = Vec::new();
    for cut in cuts {
        pieces.push(&bytes[start..cut]);
        start = cut;
    }
    pieces.push(&bytes[start..]);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nearly_valid_requests_are_the_same_however_they_are_split(
        bytes in nearly(vec(valid_request(), 1..3).prop_map(|all| all.concat())),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let whole = read(requests(), &[&bytes]);
        prop_assert_eq!(&read(requests(), &cut(&bytes, cuts)), &whole);
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(requests(), &singles), &whole);
    }

    #[test]
    fn nearly_valid_responses_are_the_same_however_they_are_split(
        bytes in nearly(vec(valid_response(), 1..3).prop_map(|all| all.concat())),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let whole = read(responses(Method::GET), &[&bytes]);
        prop_assert_eq!(&read(responses(Method::GET), &cut(&bytes, cuts)), &whole);
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(responses(Method::GET), &singles), &whole);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300), start in 0usize..5) {
        let start: &[u8] = [&b""[..], b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"0\r\n", b"5;"][start];
        let bytes = [start, &bytes].concat();
        for reader in [requests(), responses(Method::GET), responses(Method::HEAD), Reader::Body] {
            read(reader, &[&bytes]);
        }
    }
}
