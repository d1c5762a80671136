//! Events and signatures, judged by other hands: the SDKs of CloudEvents and of Standard Webhooks for Python and JavaScript.
//! Events that they make are published in every form and read back by them as the broker has them and as they are delivered.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{mock::Mock, server::Nats};
use crate::harness::{
    Gateway, Peer, Seen, Upstream, eventually, free_port, standards, standards_in_javascript,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[derive(Clone, Copy, PartialEq, Debug)]
enum Judge {
    Python,
    JavaScript,
}

impl Judge {
    /// What it prints.
    fn says(self, command: &str, about: Option<&[Value]>) -> Vec<Value> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs").display().to_string();
        if let Some(about) = about {
            std::fs::write(&file, json!(about).to_string()).expect("a file");
        }
        let program = match self {
            Self::Python => standards(include_str!("judge.py"), &[command, &file]),
            Self::JavaScript => {
                standards_in_javascript("events-judge", include_str!("judge.mjs"), &[command, &file])
            }
        };
        let (_, text) = Peer::start(program).finish();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{self:?} {command}: {text}"))
    }

    /// What it reads in these messages, none of which it refuses.
    fn reads(self, messages: &[Value]) -> Vec<Value> {
        let told = self.says("read", Some(messages));
        for (told, message) in told.iter().zip(messages) {
            assert!(told["error"].is_null(), "{self:?} does not read {message}: {told}");
        }
        told
    }
}

fn bytes(message: &Value) -> Vec<u8> {
    STANDARD.decode(message["body"].as_str().expect("a body")).expect("base64")
}

fn message(kind: &str, headers: &[(String, String)], body: &[u8]) -> Value {
    json!({"kind": kind, "headers": headers, "body": STANDARD.encode(body)})
}

/// A request with the headers and the body of a message; what the gateway says.
fn send(gateway: &Gateway, path: &str, message: &Value) -> Value {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let (body, number) = (bytes(message), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut head =
        format!("POST {path} HTTP/1.1\nhost: x\nx-number: {number}\ncontent-length: {}", body.len());
    for field in message["headers"].as_array().expect("headers") {
        head.push_str(&format!(
            "\n{}: {}",
            field[0].as_str().expect("a name"),
            field[1].as_str().expect("a value")
        ));
    }
    let answer = gateway.send(&head, &body);
    assert_eq!(answer.status, 202, "{message}: {}", answer.text());
    answer.json()
}

/// Events of both SDKs, each beside who made it; with batches at the end.
fn made() -> Vec<(Judge, Value)> {
    let of = |judge: Judge| judge.says("make", None).into_iter().map(move |one| (judge, one));
    of(Judge::Python).chain(of(Judge::JavaScript)).collect()
}

fn is_batch(message: &Value) -> bool {
    message["headers"].to_string().contains("batch")
}

/// That each message says what the one beside it says: to the SDK for Python, and to that for JavaScript, whose own events
/// alone it reads (it leaves what is escaped in headers as it stands).
fn same(pairs: &[(Judge, Value, Value)]) {
    for judge in [Judge::Python, Judge::JavaScript] {
        let read = pairs.iter().filter(|pair| judge == Judge::Python || pair.0 == judge);
        let (left, right): (Vec<Value>, Vec<Value>) =
            read.map(|(_, one, other)| (one.clone(), other.clone())).unzip();
        for (at, (one, other)) in judge.reads(&left).iter().zip(judge.reads(&right)).enumerate() {
            assert_eq!(*one, other, "{judge:?}: {}\n{}", left[at], right[at]);
        }
    }
}

fn kept(nats: &Nats, told: &Value) -> Value {
    let one = nats.message("EVENTS", told["sequence"].as_u64().unwrap_or_else(|| panic!("{told}")));
    message("http", &one.headers, &one.data)
}

#[test]
fn events_of_both_sdks_are_the_same_events_in_a_stream_in_whichever_form() {
    let nats = Nats::start();
    nats.stream("EVENTS", &["events.>"]);
    // One event comes in two forms, and is not to be taken for the same.
    let each = "id: \"{{ request.header.x-number }}-{{ event.id }}\"";
    let gateway = Gateway::start(&format!(
        "{}routes:
  - {{name: same, match: [{{path: {{exact: /same}}}}], publish: {{broker: events, subject: events.same, {each}, cloudEvents: {{accept: [binary, structured, batch]}}}}}}
  - {{name: binary, match: [{{path: {{exact: /binary}}}}], publish: {{broker: events, subject: events.binary, {each}, cloudEvents: {{send: binary, accept: [binary, structured, batch]}}}}}}
  - {{name: structured, match: [{{path: {{exact: /structured}}}}], publish: {{broker: events, subject: events.structured, {each}, cloudEvents: {{send: structured}}}}}}
",
        nats.broker()
    ));
    eventually("the broker is connected", || gateway.metric("tidegate_broker_up") == Some(1.0));
    let mut pairs = Vec::new();
    for (who, original) in made() {
        if is_batch(&original) {
            let told = send(&gateway, "/binary", &original);
            let events = told["events"].as_array().expect("events");
            let in_it = Judge::JavaScript.reads(std::slice::from_ref(&original)).remove(0);
            let stored: Vec<Value> = events.iter().map(|one| kept(&nats, one)).collect();
            assert_eq!(json!(Judge::JavaScript.reads(&stored)), in_it, "{stored:?}");
            continue;
        }
        for path in ["/same", "/binary", "/structured"] {
            let told = send(&gateway, path, &original);
            let stored = kept(&nats, &told);
            let is_structured = stored["headers"].to_string().contains("cloudevents+json");
            assert!(path == "/same" || is_structured == (path == "/structured"), "{path}: {stored}");
            pairs.push((who, original.clone(), stored));
        }
    }
    same(&pairs);
}

#[test]
fn events_of_both_sdks_are_records_of_kafka_that_both_read_and_come_back_as_they_were() {
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let mock = Mock::start();
    mock.topic("events");
    let port = free_port();
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
{}upstreams: [{{name: billing, endpoints: [{{address: \"{}\"}}]}}]
subscriptions: [{{name: back, broker: events, stream: events, from: all, upstream: billing}}]
routes:
  - {{name: binary, match: [{{path: {{exact: /binary}}}}], publish: {{broker: events, subject: events, cloudEvents: {{send: binary}}}}}}
  - {{name: structured, match: [{{path: {{exact: /structured}}}}], publish: {{broker: events, subject: events, cloudEvents: {{send: structured}}}}}}
",
        mock.broker(""),
        upstream.address
    );
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("the broker is connected", || gateway.metric("tidegate_broker_up") == Some(1.0));
    let mut places = BTreeMap::new();
    // What is no text the mock cannot tell.
    let is_told = |one: &Value| {
        let all = one.to_string() + &String::from_utf8_lossy(&bytes(one));
        !is_batch(one) && !all.contains("octet-stream")
    };
    for (who, original) in made().into_iter().filter(|(_, one)| is_told(one)) {
        for path in ["/binary", "/structured"] {
            let told = send(&gateway, path, &original);
            places.insert((told["partition"].as_u64(), told["sequence"].as_u64()), (who, original.clone()));
        }
    }
    let records = mock.read("events");
    assert_eq!(records.len(), places.len());
    let mut pairs = Vec::new();
    for record in &records {
        let (who, original) = places[&(record["partition"].as_u64(), record["offset"].as_u64())].clone();
        let mut stored = json!({"kind": "kafka", "headers": record["headers"], "key": record["key"]});
        stored["body"] = json!(STANDARD.encode(record["value"].as_str().expect("text")));
        pairs.push((who, original, stored));
    }
    same(&pairs);
    eventually("all come back", || upstream.seen().len() >= places.len());
    let seen = upstream.seen();
    let mut delivered = Vec::new();
    for one in &seen {
        let id = one.header("webhook-id").expect("an id");
        let mut place = id.rsplitn(3, '-');
        let (offset, partition) = (place.next().and_then(|text| text.parse().ok()), place.next());
        let place = (partition.and_then(|text| text.parse().ok()), offset);
        let (who, original) = places.get(&place).unwrap_or_else(|| panic!("{id}")).clone();
        delivered.push((who, original, request(one)));
    }
    same(&delivered);
}

/// A request that an upstream saw, as a message.
fn request(seen: &Seen) -> Value {
    let of_events = |name: &str| name.starts_with("ce-") || name == "content-type";
    let headers: Vec<(String, String)> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .filter(|(name, _)| of_events(name))
        .collect();
    message("http", &headers, &seen.body)
}

#[test]
fn deliveries_are_signed_as_the_libraries_of_standard_webhooks_have_it() {
    let [first, second, other] = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "a secret that is a text, of some length",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    ];
    let upstream = Upstream::scripted(|_| Some(OK.to_vec()));
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let port = free_port();
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
{}upstreams: [{{name: billing, endpoints: [{{address: \"{}\"}}]}}]
subscriptions: [{{name: orders, broker: events, stream: ORDERS, from: all, upstream: billing, sign: [\"{first}\", \"{second}\"]}}]
",
        nats.broker(),
        upstream.address
    );
    let bodies = [
        "{\"total\": 1}",
        "[]",
        "{\"a\":\"gr\u{fc}\u{df}e \u{1f600}\"}",
        " {\"b\" : 1e3}\n",
        "\"text\"",
        "null",
    ];
    let mut client = nats.client();
    for body in bodies {
        client.publish("orders.1", body);
    }
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    eventually("all are delivered", || upstream.seen().len() >= bodies.len());
    let seen = upstream.seen();
    let changed = |headers: &[(String, String)], name: &str, value: &str| -> Vec<(String, String)> {
        let change = |(known, old): &(String, String)| {
            let is_it = known.eq_ignore_ascii_case(name);
            (known.clone(), if is_it { value.to_owned() } else { old.clone() })
        };
        headers.iter().map(change).collect()
    };
    let mut jobs = Vec::new();
    for one in &seen {
        let job = |headers: &[(String, String)], body: &[u8], secret: &str, is_good: bool| {
            (json!({"headers": headers, "body": STANDARD.encode(body), "secret": secret}), is_good)
        };
        jobs.push(job(&one.headers, &one.body, first, true));
        jobs.push(job(&one.headers, &one.body, second, true));
        jobs.push(job(&one.headers, &one.body, other, false));
        jobs.push(job(&one.headers, b"{\"total\": 2}", first, false));
        jobs.push(job(&changed(&one.headers, "webhook-id", "another"), &one.body, first, false));
        let earlier =
            one.header("webhook-timestamp").and_then(|text| text.parse::<u64>().ok()).expect("a time") - 1;
        jobs.push(job(
            &changed(&one.headers, "webhook-timestamp", &earlier.to_string()),
            &one.body,
            first,
            false,
        ));
    }
    let asked: Vec<Value> = jobs.iter().map(|(job, _)| job.clone()).collect();
    for judge in [Judge::Python, Judge::JavaScript] {
        for (verdict, (job, is_good)) in judge.says("verify", Some(&asked)).iter().zip(&jobs) {
            assert_eq!(*verdict == json!(true), *is_good, "{judge:?}: {job}: {verdict}");
        }
    }
    drop(gateway);
}
