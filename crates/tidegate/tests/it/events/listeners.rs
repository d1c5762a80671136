//! Messages flow to clients: whose they are, from where, how fast, and until when.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::server::{Lossy, Nats, broker};
use crate::harness::{Client, Gateway, Peer, eventually, free_port, get, pause, python};

fn config(nats: &Nats, port: u16, subscribe: &str) -> String {
    format!(
        "listeners:\n  - {{name: public, address: \"127.0.0.1:{port}\"}}
accessLog: [{{kind: stdout, format: json}}]
shutdown: {{deadline: 10s}}
{}consumers:
  - {{name: ann, keys: [the-key-of-ann]}}
  - {{name: bob, keys: [the-key-of-bob]}}
routes:
  - name: news
    match: [{{path: {{template: \"/news/{{topic}}\"}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    subscribe: {{broker: events, stream: NEWS, {subscribe}}}
",
        nats.broker()
    )
}

fn started(subscribe: &str) -> (Nats, Gateway) {
    let nats = Nats::start();
    nats.stream("NEWS", &["news.>"]);
    let port = free_port();
    let gateway = Gateway::from_text(&config(&nats, port, subscribe), ([127, 0, 0, 1], port).into(), |_| {});
    eventually("the broker is connected", || gateway.metric("tidegate_broker_up") == Some(1.0));
    (nats, gateway)
}

const OWN: &str = "subject: \"news.{{ consumer.name }}.{{ captures.topic }}.>\"";

/// What a client is answered with, which may be a stream without an end.
fn status(gateway: &Gateway, path: &str, who: &str, headers: &str) -> u16 {
    let mut client = Client::connect(gateway.address);
    client.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: the-key-of-{who}\r\n{headers}\r\n"));
    client.read_head().expect("a head").status
}

/// A client that listens; it has been answered with the head.
fn listen(gateway: &Gateway, path: &str, who: &str, headers: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    client.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: the-key-of-{who}\r\n{headers}\r\n"));
    let head = client.read_head().expect("a head");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")), "{head:?}");
    client
}

/// The next event: its id and its data.
fn next(client: &mut Client) -> (String, String) {
    next_within(client, Duration::from_secs(20))
}

/// The same with another bound; beats are no events, however many come.
fn next_within(client: &mut Client, patience: Duration) -> (String, String) {
    let (mut id, mut data) = (String::new(), Vec::new());
    let began = Instant::now();
    loop {
        let line = client.read_line();
        assert!(began.elapsed() < patience, "no event comes");
        if let Some(text) = line.strip_prefix("id: ") {
            id = text.trim_end().to_owned();
        } else if let Some(text) = line.strip_prefix("data: ") {
            data.push(text.trim_end_matches(['\r', '\n']).to_owned());
        } else if !id.is_empty() && line.trim().is_empty() {
            return (id, data.join("\n"));
        }
    }
}

/// A server, a network before it that loses each message once that begins with `lost`, and a gateway behind that.
fn lossy(subscribe: &str) -> (Nats, Lossy, Gateway) {
    let nats = Nats::start();
    nats.stream("NEWS", &["news.>"]);
    let lost: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let network = Lossy::before(&nats, move |payload| {
        let mut lost = lost.lock().expect("a lock");
        let is_lost = payload.starts_with(b"lost") && !lost.iter().any(|known| known == payload);
        if is_lost {
            lost.push(payload.to_vec());
        }
        is_lost
    });
    let port = free_port();
    let text = config(&nats, port, subscribe).replace(&nats.broker(), &broker(network.port));
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("the broker is connected", || gateway.metric("tidegate_broker_up") == Some(1.0));
    (nats, network, gateway)
}

fn clients(gateway: &Gateway) -> Option<f64> {
    gateway.metric("tidegate_subscribe_clients")
}

fn event(id: u64, data: &str) -> (String, String) {
    (id.to_string(), data.to_owned())
}

#[test]
fn everybody_hears_what_is_theirs_and_nobody_can_ask_for_more() {
    let (nats, gateway) = started(OWN);
    let mut ann = listen(&gateway, "/news/sport", "ann", "");
    let mut bob = listen(&gateway, "/news/sport", "bob", "");
    let mut client = nats.client();
    client.publish("news.bob.sport.1", "for bob");
    client.publish("news.ann.work.1", "another topic");
    client.publish("news.ann.sport.1", "for\nann");
    assert_eq!(next(&mut ann), event(3, "for\nann"));
    assert_eq!(next(&mut bob), event(1, "for bob"));
    for path in ["/news/*", "/news/a.b"] {
        assert_eq!(status(&gateway, path, "ann", ""), 400, "{path}");
    }
    assert_eq!(get(gateway.address, "/news/sport").expect("an answer").status, 401);
    let post =
        gateway.send("POST /news/sport HTTP/1.1\nhost: x\nx-api-key: the-key-of-ann\ncontent-length: 0", b"");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET")));
    assert_eq!(clients(&gateway), Some(2.0));
    drop(ann);
    eventually("it has gone", || clients(&gateway) == Some(1.0));
    let record = gateway.record("ann's stream", |record| {
        record["consumer"] == "ann" && (record["status"] == 200 || record["subscribe"]["messages"] == 1)
    });
    assert_eq!(record["subscribe"]["subject"], "news.ann.sport.>");
    assert_eq!(record["subscribe"]["messages"], 1);
}

#[test]
fn a_client_goes_on_where_it_was() {
    let (nats, gateway) = started(OWN);
    let mut client = nats.client();
    for number in 1..=5 {
        client.publish("news.ann.sport.x", &number.to_string());
    }
    eventually("all are kept", || nats.count("NEWS") == 5);
    let mut again = listen(&gateway, "/news/sport", "ann", "last-event-id: 3\r\n");
    assert_eq!([next(&mut again), next(&mut again)], [event(4, "4"), event(5, "5")]);
    let mut by_query = listen(&gateway, "/news/sport?lastEventId=4", "ann", "");
    assert_eq!(next(&mut by_query), event(5, "5"));
    // Somebody else's place is of no use.
    let mut bob = listen(&gateway, "/news/sport", "bob", "last-event-id: 0\r\n");
    client.publish("news.bob.sport.x", "6");
    assert_eq!(next(&mut bob), event(6, "6"));
    assert_eq!(status(&gateway, "/news/sport", "ann", "last-event-id: none\r\n"), 400);
}

#[test]
fn a_silent_stream_beats_and_ends_when_its_time_is_over() {
    let (_nats, gateway) = started(&format!("{OWN}, from: last, heartbeat: 200ms, maxDuration: 1s"));
    let began = Instant::now();
    let mut client = listen(&gateway, "/news/sport", "ann", "");
    let mut beats = 0;
    while began.elapsed() < Duration::from_secs(5) {
        match client.read_line().trim_end() {
            ":" => beats += 1,
            "0" => break,
            _ => {}
        }
    }
    assert!((2..=5).contains(&beats), "{beats}");
    assert!((900..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

/// Publishes far more than the sockets between hold.
fn flood(nats: &Nats) {
    let text = "x".repeat(32 * 1024);
    let mut client = nats.client();
    for _ in 0..600 {
        client.publish("news.ann.sport.x", &text);
    }
    eventually("all are kept", || nats.count("NEWS") == 600);
}

#[test]
fn a_slow_client_is_waited_for_or_misses_some_or_is_cut_off() {
    for (when, is_whole) in [("wait", true), ("drop", false), ("close", false)] {
        let (nats, gateway) = started(&format!("{OWN}, from: all, queue: 4, whenSlow: {when}"));
        let mut client = listen(&gateway, "/news/sport", "ann", "");
        flood(&nats);
        pause(500);
        let series = |result: &str| {
            let series =
                format!("tidegate_subscribe_messages_total{{broker=\"events\",result=\"{result}\"}}");
            gateway.metric(&series).unwrap_or_default()
        };
        match when {
            "wait" => {
                let all: Vec<String> = (0..600).map(|_| next(&mut client).0).collect();
                assert!(all.iter().enumerate().all(|(at, id)| *id == (at + 1).to_string()), "{all:?}");
                assert_eq!(series("left-out"), 0.0);
            }
            "drop" => eventually("some are left out", || series("left-out") > 0.0),
            _ => {
                eventually("it is cut off", || series("cut-off") == 1.0);
                let mut last = String::new();
                while !last.starts_with(": too slow") {
                    last = client.read_line();
                }
            }
        }
        assert_eq!(series("sent") == 600.0, is_whole, "{when}");
    }
}

#[test]
fn what_waits_for_a_client_has_a_bound_of_bytes_too() {
    let (nats, gateway) =
        started(&format!("{OWN}, from: all, queue: 128, maxMessageSize: 1MiB, whenSlow: drop"));
    let client = listen(&gateway, "/news/sport", "ann", "");
    // Fewer than may wait, and more than that and what the kernel holds.
    let text = "x".repeat(300 * 1024);
    let mut source = nats.client();
    for _ in 0..100 {
        source.publish("news.ann.sport.x", &text);
    }
    eventually("all are kept", || nats.count("NEWS") == 100);
    let left_out = "tidegate_subscribe_messages_total{broker=\"events\",result=\"left-out\"}";
    eventually("some are left out", || gateway.metric(left_out).is_some_and(|count| count > 0.0));
    drop(client);
}

#[test]
fn a_broker_that_comes_back_is_no_gap() {
    let (mut nats, gateway) = started(OWN);
    let mut client = listen(&gateway, "/news/sport", "ann", "");
    nats.client().publish("news.ann.sport.x", "first");
    assert_eq!(next(&mut client), event(1, "first"));
    nats.stop();
    eventually("it is told", || gateway.metric("tidegate_broker_up") == Some(0.0));
    let head = "GET /news/sport HTTP/1.1\nhost: x\nx-api-key: the-key-of-ann";
    let away = gateway.send(head, b"");
    assert_eq!((away.status, away.header("retry-after")), (503, Some("1")), "{}", away.text());
    nats.again();
    nats.stream("NEWS", &["news.>"]);
    nats.client().publish("news.ann.sport.x", "second");
    assert_eq!(next(&mut client), event(2, "second"));
}

#[test]
fn a_message_that_is_lost_on_the_way_is_noticed_and_fetched_again() {
    for more in ["", ", whenSlow: drop", ", whenSlow: close", ", from: all"] {
        let (nats, _network, gateway) = lossy(&format!("{OWN}{more}"));
        let mut client = listen(&gateway, "/news/sport", "ann", "");
        let mut source = nats.client();
        // The very first one, one in between, and two that follow each other.
        let all = ["lost 1", "2", "3", "lost 4", "5", "lost 6", "lost 7", "8", "9"];
        for text in all {
            source.publish("news.ann.sport.x", text);
            source.publish("news.bob.sport.x", "between");
        }
        for (place, text) in all.iter().enumerate() {
            assert_eq!(next(&mut client), event(place as u64 * 2 + 1, text), "{more}");
        }
    }
}

#[test]
fn a_connection_to_the_broker_that_swallows_everything_is_no_gap() {
    let (nats, network, gateway) = lossy(OWN);
    let mut client = listen(&gateway, "/news/sport", "ann", "");
    let mut source = nats.client();
    source.publish("news.ann.sport.x", "1");
    assert_eq!(next(&mut client), event(1, "1"));
    network.swallow();
    for number in 2..=4 {
        source.publish("news.ann.sport.x", &number.to_string());
    }
    eventually("they are kept", || nats.count("NEWS") == 4);
    // The broker has given them out, into nothing.
    pause(500);
    network.cut();
    // They come soon, and not only when others come behind them.
    client.patience(Duration::from_secs(10));
    for number in 2..=4 {
        assert_eq!(next(&mut client), event(number, &number.to_string()));
    }
    source.publish("news.ann.sport.x", "5");
    assert_eq!(next(&mut client), event(5, "5"));
}

#[test]
fn a_connection_that_swallows_everything_and_stands_is_found_out() {
    let (nats, network, gateway) = lossy(OWN);
    let mut client = listen(&gateway, "/news/sport", "ann", "");
    client.patience(Duration::from_secs(60));
    network.swallow();
    nats.client().publish("news.ann.sport.x", "1");
    assert_eq!(next_within(&mut client, Duration::from_secs(60)), event(1, "1"));
}

#[test]
fn an_end_of_the_gateway_ends_streams_and_no_more_clients_than_may_be_listen() {
    let (_nats, mut gateway) = started(&format!("{OWN}, maxClients: 1"));
    let mut client = listen(&gateway, "/news/sport", "ann", "");
    let one_more = gateway.send("GET /news/sport HTTP/1.1\nhost: x\nx-api-key: the-key-of-bob", b"");
    assert_eq!(
        (one_more.status, one_more.problem().as_deref()),
        (503, Some("overloaded")),
        "{}",
        one_more.text()
    );
    let began = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // It ended as a body does, and did not break off.
    let mut last = String::new();
    for _ in 0..20 {
        let line = client.read_line();
        if line.is_empty() {
            break;
        }
        if !line.trim().is_empty() {
            last = line.trim().to_owned();
        }
    }
    assert_eq!(last, "0");
}

const WEBSOCKET: &str = r#"
import asyncio, sys, json, websockets
async def main():
    address, key, after = sys.argv[1:]
    async with websockets.connect(address + after, additional_headers={"x-api-key": key}, ping_interval=None) as socket:
        print("open", flush=True)
        while True:
            try:
                print(await asyncio.wait_for(socket.recv(), 20), flush=True)
            except websockets.ConnectionClosed as closed:
                print("closed", closed.rcvd and closed.rcvd.code, flush=True)
                return
asyncio.run(main())
"#;

#[test]
fn a_websocket_gets_the_same_and_is_told_why_it_ends() {
    let (nats, gateway) = started(&format!("{OWN}, heartbeat: 200ms, maxDuration: 3s"));
    let address = format!("ws://{}/news/sport", gateway.address);
    let mut ann = Peer::start(python(WEBSOCKET, &[&address, "the-key-of-ann", ""]));
    assert_eq!(ann.line().as_deref(), Some("open"));
    let mut client = nats.client();
    client.publish("news.bob.sport.x", "not this");
    client.publish("news.ann.sport.x", "{\"total\": 12345678901234567890.10}");
    client.publish("news.ann.sport.x", "plain \"text\"");
    let first = ann.line().expect("a message");
    assert_eq!(
        first,
        "{\"id\":\"2\",\"subject\":\"news.ann.sport.x\",\"data\":{\"total\": 12345678901234567890.10}}"
    );
    let second: serde_json::Value = serde_json::from_str(&ann.line().expect("a message")).expect("JSON");
    assert_eq!((&second["id"], &second["data"]), (&"3".into(), &"plain \"text\"".into()));
    // It has answered to every beat until its time was over.
    assert_eq!(ann.line().as_deref(), Some("closed 1001"));
    let mut again = Peer::start(python(WEBSOCKET, &[&address, "the-key-of-ann", "?lastEventId=2"]));
    assert_eq!(again.line().as_deref(), Some("open"));
    assert!(again.line().is_some_and(|line| line.contains("\"id\":\"3\"")));
    eventually("nobody is left", || clients(&gateway) == Some(0.0));
    let refused = Peer::start(python(WEBSOCKET, &[&address, "another-key", ""])).finish();
    assert!(!refused.0, "{refused:?}");
}

/// A client that has agreed on a WebSocket and reads no more of it, with little room for what comes.
fn deaf(gateway: &Gateway) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&gateway.address.into()).expect("a connection");
    let mut stream = TcpStream::from(socket);
    let head = "GET /news/sport HTTP/1.1\r\nhost: x\r\nx-api-key: the-key-of-ann\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("a request");
    stream
}

fn connections(gateway: &Gateway) -> Option<f64> {
    gateway.metric("tidegate_connections{listener=\"public\"}")
}

#[test]
fn a_websocket_client_that_does_not_mask_what_it_says_is_told_and_ended() {
    let (_nats, gateway) = started(&format!("{OWN}, heartbeat: 10s"));
    let mut client = deaf(&gateway);
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    eventually("it listens", || clients(&gateway) == Some(1.0));
    // A pong with nothing in it.
    client.write_all(&[0x8a, 0]).expect("sent");
    let strange = [0x88, 2, 0x03, 0xea];
    let (mut told, mut buffer) = (Vec::new(), [0; 1024]);
    while !told.ends_with(&strange)
        && let Ok(read @ 1..) = client.read(&mut buffer)
    {
        told.extend_from_slice(&buffer[..read]);
    }
    assert!(told.ends_with(&strange), "{}", String::from_utf8_lossy(&told));
    eventually("nobody is left", || clients(&gateway) == Some(0.0));
}

#[test]
fn a_websocket_client_that_takes_nothing_is_ended_with_its_connection() {
    // One that speaks all the while, and never listens; one that is silent.
    for speaks in [true, false] {
        let (nats, gateway) = started(&format!("{OWN}, heartbeat: 500ms, from: all"));
        let mut client = deaf(&gateway);
        eventually("it listens", || clients(&gateway) == Some(1.0));
        if speaks {
            let mut speaker = client.try_clone().expect("a socket");
            std::thread::spawn(move || {
                // A pong with nothing in it, masked.
                while speaker.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).is_ok() {
                    pause(100);
                }
            });
        }
        flood(&nats);
        eventually("nobody serves it", || clients(&gateway) == Some(0.0));
        eventually("its connection is gone", || connections(&gateway) == Some(0.0));
        let _ = client.flush();
    }
}

#[test]
fn a_websocket_client_that_takes_nothing_is_ended_when_its_time_is_over_too() {
    let (nats, gateway) = started(&format!("{OWN}, heartbeat: 2s, maxDuration: 1s, from: all"));
    flood(&nats);
    let client = deaf(&gateway);
    eventually("it listens", || clients(&gateway) == Some(1.0));
    eventually("nobody serves it", || clients(&gateway) == Some(0.0));
    eventually("its connection is gone", || connections(&gateway) == Some(0.0));
    drop(client);
}
