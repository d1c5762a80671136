//! What an accepted request head says.

use bytes::BytesMut;
use http1::{Framing, Limits, RequestDecoder, RequestHead};

fn head(text: &str) -> RequestHead {
    RequestDecoder::new(Limits::default()).decode(&mut BytesMut::from(text)).unwrap().unwrap()
}

#[test]
fn the_version_and_connection_decide_whether_the_connection_stays() {
    assert!(head("GET / HTTP/1.1\r\nhost: a\r\n\r\n").keep_alive);
    assert!(!head("GET / HTTP/1.1\r\nhost: a\r\nConnection: Close\r\n\r\n").keep_alive);
    assert!(!head("GET / HTTP/1.1\r\nhost: a\r\nConnection: x, close\r\n\r\n").keep_alive);
    assert!(
        !head("GET / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n").keep_alive
    );
    assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
}

#[test]
fn an_upgrade_needs_both_fields_and_http11() {
    assert!(
        head("GET / HTTP/1.1\r\nhost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n")
            .upgrade
    );
    assert!(!head("GET / HTTP/1.1\r\nhost: a\r\nUpgrade: websocket\r\n\r\n").upgrade);
    assert!(!head("GET / HTTP/1.1\r\nhost: a\r\nConnection: upgrade\r\n\r\n").upgrade);
    assert!(!head("GET / HTTP/1.0\r\nhost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n").upgrade);
}

#[test]
fn an_expectation_is_told_on_http11_alone() {
    assert!(
        head("POST / HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\ncontent-length: 1\r\n\r\n")
            .expect_continue
    );
    assert!(!head("POST / HTTP/1.1\r\nhost: a\r\nExpect: more\r\ncontent-length: 1\r\n\r\n").expect_continue);
    assert!(!head("POST / HTTP/1.0\r\nExpect: 100-continue\r\ncontent-length: 1\r\n\r\n").expect_continue);
}

#[test]
fn framing_is_none_unless_a_field_says_so() {
    assert_eq!(head("POST / HTTP/1.1\r\nhost: a\r\n\r\n").framing, Framing::None);
    assert_eq!(head("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").framing, Framing::Length(0));
    assert_eq!(head("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\n").framing, Framing::Length(7));
    assert_eq!(
        head("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").framing,
        Framing::Chunked
    );
}

#[test]
fn values_lose_the_space_around_them_and_names_their_capitals() {
    let head = head("GET / HTTP/1.1\r\nHost:a\r\nX-Tide: \t high  water \t\r\nX-Tide:low\r\n\r\n");
    let values: Vec<_> = head.parts.headers.get_all("x-tide").iter().collect();
    assert_eq!(values, ["high  water", "low"]);
}

#[test]
fn one_head_is_taken_and_the_rest_is_left() {
    let first = "\r\nGET /1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut input = BytesMut::from(format!("{first}\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET").as_str());
    let mut decoder = RequestDecoder::new(Limits::default());
    let head = decoder.decode(&mut input).unwrap().unwrap();
    assert_eq!((head.parts.uri.path(), head.wire_len), ("/1", first.len()));
    let head = decoder.decode(&mut input).unwrap().unwrap();
    assert_eq!(head.parts.uri.path(), "/2");
    assert!(decoder.decode(&mut input).unwrap().is_none());
    assert_eq!(&input[..], b"GET");
}

#[test]
fn values_are_slices_of_the_head() {
    let mut input = BytesMut::from("GET / HTTP/1.1\r\nhost: example.org\r\n\r\n");
    let at = input.as_ptr() as usize;
    let head = RequestDecoder::new(Limits::default()).decode(&mut input).unwrap().unwrap();
    assert_eq!(head.parts.headers["host"].as_bytes().as_ptr() as usize, at + 22);
}
