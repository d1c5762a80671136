//! Realtime conversations with sides that stall: what is kept for them is bounded, and they end in time. And with a queue
//! for keys, whose places they hold.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{
    KEY,
    realtime::{ask, gateway, server},
};
use crate::harness::{Gateway, Peer, eventually, pause};

/// An open conversation of which nothing has been read but the agreement.
fn opened(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).expect("connected");
    let head = format!(
        "GET /ai/v1/realtime?model=rt HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("written");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// A message of a client's, masked with nothing.
fn framed(text: &str) -> Vec<u8> {
    let length = text.len();
    let mut frame = vec![0x81];
    match u8::try_from(length) {
        Ok(short @ 0..=125) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).expect("a short message").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Waits until the provider's side has heard that it is over.
fn closes(server: &mut Peer, within: Duration) {
    let began = Instant::now();
    while let Some(line) = server.line() {
        if line.starts_with("closed ") {
            assert!(began.elapsed() < within, "{:?}", began.elapsed());
            return;
        }
    }
    panic!("the server has ended");
}

#[test]
fn a_client_that_reads_nothing_and_writes_no_events_is_not_read_on_and_ends_in_time() {
    let (mut server, base) = server();
    let gateway = gateway(&[("up", base)], "", ", realtime: {maxDuration: 3s, idleTimeout: 30s}");
    let before = gateway.rss();
    let mut stream = opened(&gateway);
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("set");
    // Each of them is answered with about twenty times as much.
    let many = framed("no").repeat(8 * 1024);
    let mut wrote = 0;
    while wrote < 48 * 1024 * 1024 {
        match stream.write(&many) {
            Ok(count) => wrote += count,
            Err(_) => break,
        }
    }
    assert!(wrote < 32 * 1024 * 1024, "{wrote} bytes were taken, though nobody reads what they are answered");
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes are kept");
    closes(&mut server, Duration::from_secs(7));
    eventually("the conversation is in the log", || !gateway.records(0).is_empty());
}

#[test]
fn a_client_that_reads_nothing_of_much_is_left_in_time() {
    let (mut server, base) = server();
    let gateway = gateway(&[("up", base)], "", ", realtime: {maxDuration: 60s, idleTimeout: 1s}");
    let mut stream = opened(&gateway);
    // More than all buffers on the way take.
    let words = "x".repeat(50_000);
    let event = format!(
        r#"{{"type":"test.say","times":2000,"events":[{{"type":"response.output_text.delta","delta":"{words}"}}]}}"#
    );
    stream.write_all(&framed(&event)).expect("written");
    let began = Instant::now();
    eventually("the conversation is in the log", || !gateway.records(0).is_empty());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(gateway.records(1)[0]["ai"]["broke"], "realtime-closed");
    closes(&mut server, Duration::from_secs(7));
    // It may go on to write, and finds nobody.
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("set");
    let lost = (0..100).any(|_| {
        pause(20);
        stream.write_all(&framed("no")).is_err()
    });
    assert!(lost, "its connection has ended");
}

#[test]
fn a_conversation_holds_its_place_at_a_key_until_it_ends() {
    let (_server, base) = server();
    let queue = ", keyQueue: {maxConcurrent: 1, size: 4, timeout: 200ms}";
    let gateway = super::realtime::gateway_of(&[("up", base)], "", "", queue, "");
    let mut first = opened(&gateway);
    first.write_all(&framed(r#"{"type":"conversation.item.create","item":{"a":1}}"#)).expect("written");
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("conversation.item.added") {
        let mut some = [0; 1024];
        let count = first.read(&mut some).expect("it goes on");
        assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&some[..count]);
    }
    let refused = ask(&gateway, "?model=rt", true);
    assert_eq!(refused.status, 429, "the one place is taken: {}", refused.text());
    drop(first);
    eventually("a place", || ask(&gateway, "?model=rt", true).status == 101);
}
