//! `webSocketLimits` with real peers: sizes, silence, age, questions to clients, and compression.

use std::net::SocketAddr;

use super::refused;
use crate::harness::{Client, Gateway, Peer, free_port, python};

/// A server that echoes, behind a gateway whose route has these bounds.
fn bounded(settings: &str) -> (Gateway, Peer) {
    let port = free_port();
    let server = include_str!("../wire/websocket_server.py");
    let mut server = Peer::start(python(server, &[&port.to_string()]));
    assert_eq!(server.line().as_deref(), Some("ready"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"{address}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{{settings}}}], backends: [{{upstream: u}}]}}]\n"
    ));
    (gateway, server)
}

/// What a client says that tries something.
fn tried(gateway: &Gateway, what: &str) -> String {
    let script = include_str!("web_socket_client.py");
    let client = Peer::start(python(script, &[&gateway.address.to_string(), what]));
    let (is_good, said) = client.finish();
    assert!(is_good, "{said}\n{}", gateway.stderr());
    said
}

/// Why the gateway closed connections, by its log.
fn reasons(gateway: &Gateway, count: usize) -> Vec<String> {
    let records = gateway.records(count);
    let mut reasons: Vec<_> =
        records.iter().map(|record| record["websocket_closed"].as_str().unwrap_or("-").to_owned()).collect();
    reasons.sort();
    reasons
}

#[test]
fn what_is_too_large_closes_both_sides_with_1009() {
    let (gateway, mut server) = bounded(
        "webSocketLimits: {request: {maxFrameSize: 32KiB, maxMessageSize: 64KiB}, response: {maxMessageSize: 20KiB}, compression: false}",
    );
    assert_eq!(tried(&gateway, "sizes"), "within\nframe 1009\nmessage 1009\nanswer 1009");
    for _ in 0..3 {
        assert_eq!(server.line().as_deref(), Some("closed 1009"));
    }
    assert_eq!(reasons(&gateway, 3), ["request too large", "request too large", "response too large"]);
    let count = |outcome: &str| {
        let of = format!("policy=\"routes/r/webSocketLimits\",outcome=\"{outcome}\"");
        gateway.metric(&format!("tidegate_web_socket_closed_total{{{of}}}"))
    };
    assert_eq!((count("request-too-large"), count("response-too-large")), (Some(2.0), Some(1.0)));
    assert_eq!(count("idle"), Some(0.0));
}

#[test]
fn who_says_nothing_is_closed_and_who_talks_is_not() {
    let (gateway, mut server) = bounded("webSocketLimits: {idleTimeout: 1200ms}");
    assert_eq!(tried(&gateway, "idle"), "kept\nclosed 1001");
    assert_eq!(server.line().as_deref(), Some("closed 1001"));
    assert_eq!(reasons(&gateway, 1), ["idle"]);
}

#[test]
fn an_old_connection_is_closed_however_busy_it_is() {
    let (gateway, mut server) = bounded("webSocketLimits: {maxDuration: 1500ms}");
    assert_eq!(tried(&gateway, "old"), "closed 1001 in time");
    assert_eq!(server.line().as_deref(), Some("closed 1001"));
    assert_eq!(reasons(&gateway, 1), ["max duration"]);
}

#[test]
fn a_client_that_answers_pings_stays_and_one_that_does_not_goes() {
    let (gateway, mut server) = bounded("webSocketLimits: {ping: {interval: 500ms, timeout: 1s}}");
    assert_eq!(tried(&gateway, "pinged"), "still here");
    assert_eq!(server.line().as_deref(), Some("closed 1000"));
    let mut client = Client::connect(gateway.address);
    client.write(
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(client.read_line().starts_with("HTTP/1.1 101"));
    while client.read_line() != "\r\n" {}
    let ping = client.read_bytes(10);
    assert_eq!(&ping[..2], [0x89, 8], "a question of eight bytes");
    assert_eq!(client.read_bytes(4), [0x88, 2, 0x03, 0xe9], "closed with 1001");
    drop(client);
    assert_eq!(server.line().as_deref(), Some("closed 1001"));
    assert_eq!(reasons(&gateway, 2), ["-", "no pong"]);
}

#[test]
fn compression_passes_unless_it_is_not_wanted() {
    let (gateway, _server) = bounded("webSocketLimits: {maxDuration: 1h}");
    assert_eq!(tried(&gateway, "extensions"), "['permessage-deflate']");
    let (gateway, _server) = bounded("webSocketLimits: {compression: false}");
    assert_eq!(tried(&gateway, "extensions"), "[]");
}

#[test]
fn it_goes_together_with_a_pace() {
    let (gateway, mut server) = bounded(
        "webSocketLimits: {request: {maxMessageSize: 64KiB}}}, {bandwidth: {response: {perSecond: 20KiB}}",
    );
    let client = Peer::start(python(
        "import sys, time
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
with connect(f'ws://{sys.argv[1]}/chat', compression=None, subprotocols=['chat']) as chat:
    began = time.monotonic()
    chat.send(b'x' * 40_000)
    assert len(chat.recv(timeout=20)) == 40_000
    print('slow' if time.monotonic() - began > 1 else 'fast', flush=True)
    chat.send(b'x' * 70_000)
    try:
        chat.recv(timeout=20)
    except ConnectionClosed as error:
        print(error.rcvd.code, flush=True)
",
        &[&gateway.address.to_string()],
    ));
    assert_eq!(client.finish(), (true, "slow\n1009".to_owned()));
    assert_eq!(server.line().as_deref(), Some("closed 1009"));
}

#[test]
fn other_calls_pass_untouched_and_what_makes_no_sense_is_refused() {
    let (gateway, _server) = bounded("webSocketLimits: {idleTimeout: 1s}");
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read().map(|answer| answer.status), Some(426), "the server's own answer");
    let no = |settings: &str, words: &[&str]| {
        refused(&super::with_policies(&format!("[webSocketLimits: {settings}]")), words);
    };
    no("{}", &["nothing is bounded"]);
    no("{request: {}}", &["request", "maxFrameSize"]);
    no("{request: {maxFrameSize: 100}}", &["125"]);
    no("{idleTimeout: 1ms}", &["idleTimeout", "100ms"]);
    no("{ping: {timeout: 0s}}", &["ping.timeout"]);
}
