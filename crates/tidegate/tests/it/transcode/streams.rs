//! Streams of REST: events, lines, and clients that leave.

use std::time::{Duration, Instant};

use super::*;

fn events(text: &str) -> Vec<(String, serde_json::Value)> {
    let one = |event: &str| {
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        (field("event: "), serde_json::from_str(&field("data: ")).expect("JSON"))
    };
    text.split("\n\n").filter(|event| !event.is_empty()).map(one).collect()
}

#[test]
fn a_stream_is_events_or_lines_as_the_client_accepts() {
    let (_server, gateway) = all(How { gzip: true, ..How::default() });
    let ask = |accept: &str, target: &str| {
        gateway.send(&format!("GET {target} HTTP/1.1\nhost: a.test\naccept: {accept}"), b"")
    };
    let lines = ask("*/*", "/v1/greetings/a:watch?count=2");
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(lines.header("vary"), Some("accept"), "whoever keeps it tells them apart");
    assert_eq!(lines.text(), "{\"message\":\"Hello, a 0\"}\n{\"message\":\"Hello, a 1\"}\n");
    let stream = ask("text/event-stream", "/v1/greetings/a:watch?count=2");
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let told = events(&stream.text());
    assert_eq!(told.len(), 3, "{}", stream.text());
    assert_eq!((told[1].1["message"].clone(), told[2].0.as_str()), ("Hello, a 1".into(), "end"));
    // What fails after messages is told at the end, what fails before any with its status.
    let broken = ask("text/event-stream", "/v1/greetings/a:watch?count=1&fail=9");
    let told = events(&broken.text());
    assert_eq!((broken.status, told[1].0.as_str()), (200, "error"), "{}", broken.text());
    assert_eq!(
        (told[1].1["code"].clone(), told[1].1["status"].clone()),
        ("FAILED_PRECONDITION".into(), 400.into())
    );
    let broken = ask("*/*", "/v1/greetings/a:watch?count=1&fail=9");
    let last = broken.text().lines().last().map(str::to_owned).expect("a line");
    let last: serde_json::Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(last["error"]["detail"], "as you wish");
    let at_once = ask("*/*", "/v1/greetings/a:watch?fail=5");
    assert_eq!((at_once.status, at_once.json()["code"].clone()), (404, "NOT_FOUND".into()));
    let record = gateway.record("the one that broke", |record| record["grpc_status"] == 9);
    assert_eq!(
        (record["status"].clone(), record["rpc"]["messages"].clone()),
        (200.into(), 1.into()),
        "{record}"
    );
}

#[test]
fn messages_come_as_they_are_said_and_a_client_that_leaves_ends_the_servers_work() {
    let (server, gateway) = all(How::default());
    let mut client = Client::connect(gateway.address);
    let begun = Instant::now();
    client.write("GET /v1/greetings/a:watch?count=1000&intervalMillis=50 HTTP/1.1\r\nhost: a.test\r\naccept: text/event-stream\r\n\r\n");
    assert_eq!(client.read_head().expect("a head").status, 200);
    let mut text = String::new();
    while !text.contains("Hello, a 2") {
        let mut buffer = [0; 4096];
        let count = client.read_some(&mut buffer);
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(client);
    eventually("the server learns of it", || server.log().iter().any(|line| line == "left early"));
    assert_eq!(
        gateway.record("it", |record| record["rpc"]["protocol"] == "rest")["failure"]["reason"],
        "client-left"
    );
}

#[test]
fn lines_are_a_clients_stream() {
    let (_server, gateway) = all(How::default());
    let send = |body: &str, kind: &str| {
        let head = format!(
            "POST /v1/greetings:collect HTTP/1.1\nhost: a.test\ncontent-type: {kind}\ncontent-length: {}",
            body.len()
        );
        gateway.send(&head, body.as_bytes())
    };
    let body = "{\"name\":\"a\"}\n\n{\"name\":\"b\"}\r\n{\"name\":\"c\"}";
    let answer = send(body, "application/x-ndjson");
    assert_eq!(answer.json(), serde_json::json!({"count": 3, "names": ["a", "b", "c"]}), "{}", answer.text());
    let odd = send("{\"name\":\"a\"}\n{\"nobody\":1}\n", "application/x-ndjson");
    assert_eq!(odd.status, 400, "{}", odd.text());
    assert!(odd.text().contains("line 2"), "{}", odd.text());
    assert_eq!(send(body, "application/json").status, 415);
}

#[test]
fn both_sides_stream_at_once() {
    let (_server, gateway) = all(How::default());
    let mut client = Client::connect(gateway.address);
    client.write("POST /v1/greetings:chat HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut text = String::new();
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        let line = format!("{{\"name\":\"{name}\"}}\n");
        client.write(format!("{:x}\r\n{line}\r\n", line.len()));
        if at == 0 {
            assert_eq!(client.read_head().expect("a head").status, 200);
        }
        // Each is answered before the next is sent.
        while !text.contains(&format!("Hello, {name}")) {
            let mut buffer = [0; 4096];
            let count = client.read_some(&mut buffer);
            assert!(count > 0, "it ended early: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
    client.write("0\r\n\r\n");
}

#[test]
fn a_stream_is_bounded_by_total() {
    let server = Server::start(How::default());
    let gateway = gateway(&server, "descriptorSet: \"SET\"", "timeouts: {request: 400ms, total: 600ms}");
    let answer = gateway.get("/v1/greetings/a:watch?count=1000&intervalMillis=20");
    assert_eq!(answer.status, 200);
    let last = answer.text().lines().last().map(str::to_owned).expect("a line");
    assert!(last.contains("DEADLINE_EXCEEDED") && last.contains("504"), "{last}");
    eventually("the server learns of it", || server.log().iter().any(|line| line == "left early"));
}
