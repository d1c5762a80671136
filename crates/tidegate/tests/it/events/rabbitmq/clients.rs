//! Clients hear what comes by an exchange, each what is theirs, and are told by the end where there is a gap.

use std::time::{Duration, Instant};

use serde_json::json as value;

use super::{Rabbit, is_up};
use crate::harness::{Client, Gateway, Peer, eventually, python};

const WEBSOCKET: &str = r#"
import asyncio, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], ping_interval=None) as socket:
        print("open", flush=True)
        while True:
            try:
                print(await asyncio.wait_for(socket.recv(), 20), flush=True)
            except websockets.ConnectionClosed as closed:
                print("closed", closed.rcvd and closed.rcvd.code, flush=True)
                return
asyncio.run(main())
"#;

/// A client that asks for server-sent events, and its status.
fn asked(gateway: &Gateway, path: &str) -> (Client, u16) {
    let mut client = Client::connect(gateway.address);
    client.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
    let status = client.read_head().expect("a head").status;
    (client, status)
}

fn listen(gateway: &Gateway, path: &str) -> Client {
    let (client, status) = asked(gateway, path);
    assert_eq!(status, 200, "{path}");
    client
}

/// The data of the next event; nothing at the end of the stream. There is no id, for nobody can go on behind it.
fn next(client: &mut Client) -> Option<String> {
    let began = Instant::now();
    loop {
        let line = client.read_line();
        assert!(began.elapsed() < Duration::from_secs(20), "no event comes");
        assert!(!line.starts_with("id:"), "{line}");
        if let Some(text) = line.strip_prefix("data: ") {
            return Some(text.trim_end().to_owned());
        }
        if line.is_empty() || line.trim_end() == "0" {
            return None;
        }
    }
}

#[test]
fn clients_hear_what_is_theirs_until_the_server_ends() {
    let mut rabbit = Rabbit::start();
    rabbit.exchange("news");
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
{}routes:
  - name: news
    match: [{{path: {{template: \"/news/{{who}}\"}}}}]
    subscribe: {{broker: events, exchange: news, subject: \"news.{{{{ captures.who }}}}.#\", heartbeat: 1s, maxMessageSize: 1KiB}}
  - name: nowhere
    match: [{{path: {{exact: /nowhere}}}}]
    subscribe: {{broker: events, exchange: nowhere, subject: \"#\"}}
",
        rabbit.broker(", heartbeat: 2s")
    ));
    is_up(&gateway, 1.0);
    let clients = || gateway.metric("tidegate_subscribe_clients");
    let (mut ann, mut bob) = (listen(&gateway, "/news/ann"), listen(&gateway, "/news/bob"));
    let mut socket = Peer::start(python(WEBSOCKET, &[&format!("ws://{}/news/ann", gateway.address)]));
    assert_eq!(socket.line().as_deref(), Some("open"));
    assert_eq!(clients(), Some(3.0));
    let one = |key: &str, text: &str| value!({"key": key, "value": text});
    let large = "x".repeat(2000);
    rabbit.publish(
        "news",
        &[
            one("news.bob.x", "1"),
            one("news.ann", &large),
            one("news.ann", "2"),
            one("news.ann.a.b", "[3]"),
            one("other.ann", "4"),
        ],
    );
    assert_eq!((next(&mut ann).as_deref(), next(&mut ann).as_deref()), (Some("2"), Some("[3]")));
    assert_eq!(next(&mut bob).as_deref(), Some("1"));
    let json = |line: Option<String>| -> serde_json::Value {
        serde_json::from_str(&line.expect("a message")).expect("JSON")
    };
    assert_eq!(json(socket.line()), value!({"subject": "news.ann", "data": 2}));
    assert_eq!(json(socket.line()), value!({"subject": "news.ann.a.b", "data": [3]}));
    let left_out = "tidegate_subscribe_messages_total{broker=\"events\",result=\"left-out\"}";
    assert_eq!(gateway.metric(left_out), Some(2.0));
    // What is no part of a key, or an exchange that is not there, disturbs nobody.
    for (path, want) in [("/news/a.b", 400), ("/news/*", 400), ("/nowhere", 503)] {
        assert_eq!(asked(&gateway, path).1, want, "{path}");
    }
    // Who goes is forgotten, with their queue.
    drop(bob);
    eventually("it is noticed", || clients() == Some(2.0));
    rabbit.publish("news", &[one("news.ann", "5")]);
    assert_eq!(next(&mut ann).as_deref(), Some("5"));
    assert_eq!(json(socket.line())["data"], 5);
    // An exchange keeps nothing: a connection that breaks is a gap, which is told by the end.
    rabbit.stop();
    assert_eq!(next(&mut ann), None);
    assert!(socket.line().is_some_and(|line| line.starts_with("closed ")));
    is_up(&gateway, 0.0);
    assert_eq!(asked(&gateway, "/news/ann").1, 503);
    rabbit.again();
    is_up(&gateway, 1.0);
    let mut ann = listen(&gateway, "/news/ann");
    rabbit.publish("news", &[one("news.ann", "6")]);
    assert_eq!(next(&mut ann).as_deref(), Some("6"));
    let record = gateway.record("a client", |record| record["subscribe"]["subject"] == "news.ann.#");
    assert_eq!(record["subscribe"]["broker"], "events");
}
