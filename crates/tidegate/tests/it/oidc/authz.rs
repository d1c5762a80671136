//! `extAuth` over gRPC, judged by Envoy's own messages: a server of Google's gRPC with what is generated from Envoy's files.

use std::{
    io::Write,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    super::harness::{Answer, Gateway, Peer, Upstream, free_port, h2, standards},
    telling,
};
use crate::wire::tls::{Authority, Issued, client, dial};

/// The server.
struct Judge {
    address: SocketAddr,
    peer: Mutex<Peer>,
}

impl Judge {
    fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut peer = Peer::start(standards(include_str!("authz.py"), &[&address.port().to_string()]));
        assert_eq!(peer.line().as_deref(), Some("ready"));
        Self { address, peer: Mutex::new(peer) }
    }

    /// The next question, of which it understood everything.
    fn question(&self) -> Value {
        let line = self.peer.lock().expect("not poisoned").line().expect("a question");
        let told: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(told["unknown"], json!([]), "fields that Envoy does not have: {told}");
        told["question"]["attributes"].clone()
    }
}

const SETTINGS: &str = "protocol: grpc, requestHeaders: [authorization, cookie, x-many, x-drop], \
    upstreamHeaders: [x-user, x-group, x-raw], answerHeaders: [x-told, x-broken], refusalHeaders: [retry-after, location], \
    body: {maxSize: 100B}";

fn configuration(listener: &str, judge: &Judge, upstream: &Upstream) -> String {
    format!(
        "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, {listener}}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: judge, protocol: grpc, endpoints: [{{address: \"{}\"}}]}}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{extAuth: {{upstream: judge, {SETTINGS}}}}}]
    backends: [{{upstream: u}}]\n",
        upstream.address, judge.address
    )
}

struct Guarded {
    gateway: Gateway,
    upstream: Upstream,
    judge: Judge,
}

impl Guarded {
    fn start() -> Self {
        let (judge, upstream) = (Judge::start(), telling());
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = configuration(&format!("address: \"{address}\""), &judge, &upstream);
        Self { gateway: Gateway::from_text(&text, address, |_| {}), upstream, judge }
    }

    fn send(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let length =
            if body.is_empty() { String::new() } else { format!("\ncontent-length: {}", body.len()) };
        self.gateway.send(&format!("{line} HTTP/1.1\nhost: Shop.test:8080{headers}{length}"), body)
    }

    fn ask(&self, shown: &str) -> Answer {
        self.send("GET /", &format!("\nauthorization: {shown}"), b"")
    }
}

#[test]
fn envoys_own_messages_hold_every_field_of_the_question() {
    let guarded = Guarded::start();
    let headers = "\nauthorization: good\nx-many: a\nx-many: b\ncookie: a=b\ncookie: c=d\nx-request-id: the-id\nx-other: e";
    let answer = guarded.send("PUT /a%20b/../c?d=e&f", headers, "gr\u{fc}\u{df}e".as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = guarded.judge.question();
    let http = &told["request"]["http"];
    for (name, want) in [
        ("method", json!("PUT")),
        ("host", json!("Shop.test:8080")),
        ("scheme", json!("http")),
        ("protocol", json!("HTTP/1.1")),
        ("size", json!("7")),
        ("body", json!("gr\u{fc}\u{df}e")),
        ("raw_body", Value::Null),
        ("headers", json!({"authorization": "good", "x-many": "a,b", "cookie": "a=b; c=d"})),
    ] {
        assert_eq!(http[name], want, "{name}: {told}");
    }
    assert!(http["path"].as_str().is_some_and(|path| path.ends_with("c?d=e&f")), "{told}");
    assert!(http["id"].as_str().is_some_and(|id| !id.is_empty()), "{told}");
    // By its rules of validation an address has a port.
    let socket = &told["source"]["address"]["socket_address"];
    assert_eq!(socket["address"], "127.0.0.1", "{told}");
    assert!(socket["port_value"].as_u64().is_some_and(|port| port > 1024), "{told}");
    let own =
        json!({"socket_address": {"address": "127.0.0.1", "port_value": guarded.gateway.address.port()}});
    assert_eq!(told["destination"]["address"], own, "{told}");
    let time = told["request"]["time"].as_str().expect("a time");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    assert!(time.ends_with('Z') && seconds(time).abs_diff(now.as_secs()) < 60, "{time}");
    // What is no text comes as bytes.
    guarded.send("POST /", "\nauthorization: good", &[0xff, 0x00]);
    let told = guarded.judge.question();
    let http = &told["request"]["http"];
    assert_eq!(
        (&http["raw_body"], &http["body"], &http["size"]),
        (&json!("/wA="), &Value::Null, &json!("2"))
    );
}

/// Seconds since 1970 of a time as protobuf's JSON has it.
fn seconds(text: &str) -> u64 {
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().expect("a number");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1 - 719_468;
    days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19)
}

#[test]
fn what_envoys_own_messages_say_is_done() {
    let guarded = Guarded::start();
    let forged = "\nauthorization: good\nx-user: root\nx-group: admins\nx-drop: me\nx-secret: forged";
    let answer = guarded.send("GET /a?b=c", forged, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = guarded.upstream.seen().pop().expect("a request");
    let values = |name: &str| -> Vec<&str> {
        let all = seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        all.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!((values("x-user"), values("x-group")), (vec!["ann"], vec!["a", "b"]), "{seen:?}");
    assert_eq!((values("x-drop").len(), values("host")), (0, vec!["Shop.test:8080"]), "{seen:?}");
    assert_eq!(values("x-secret"), ["forged"], "what is not named is the client's: {seen:?}");
    assert_eq!(values("x-raw"), ["gr\u{fc}n"], "{seen:?}");
    let told: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "x-told").collect();
    assert_eq!(told.len(), 2, "{answer:?}");
    assert!(answer.header("x-broken").is_none() && answer.header("x-secret").is_none(), "{answer:?}");
    for (shown, status) in [
        ("plain", 200),
        ("bare", 200),
        ("odd", 200),
        ("limited", 429),
        ("away", 302),
        ("statusless", 403),
        ("refused", 403),
        ("both", 403),
        ("empty", 503),
        ("nothing of it", 503),
    ] {
        let answer = guarded.ask(shown);
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        match shown {
            "limited" => {
                assert_eq!((answer.header("retry-after"), answer.header("x-secret")), (Some("7"), None));
                assert_eq!(answer.text(), "later, gr\u{fc}\u{df}e");
            }
            "away" => assert_eq!(answer.header("location"), Some("https://id.test/?a=b")),
            "statusless" => assert_eq!(answer.text(), "no"),
            _ => {}
        }
    }
    assert_eq!(guarded.upstream.seen().len(), 4);
}

#[test]
fn a_certificate_is_told_as_envoy_tells_it() {
    let (judge, upstream) = (Judge::start(), telling());
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let folder = tempfile::tempdir().expect("a folder");
    authority.issue(&["a.test"]).write(folder.path(), "one");
    std::fs::write(folder.path().join("clients.crt"), clients.pem()).expect("a file");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let tls = "tls: {certificates: [{certFile: one.crt, keyFile: one.key}], clientAuth: {mode: optional, caFile: clients.crt}}";
    let text = configuration(&format!("address: \"{address}\", {tls}"), &judge, &upstream);
    let _gateway = Gateway::in_folder(folder, &text, address, |_| {});
    let ask = |identity: Option<&Issued>| {
        let config = client(authority.roots(), identity, &["http/1.1"]);
        let mut stream = dial(address, &config, "a.test").expect("a connection");
        write!(stream, "GET /x HTTP/1.1\r\nhost: a.test\r\nauthorization: plain\r\n\r\n").expect("sent");
        let answer = Answer::read(&mut std::io::BufReader::new(&mut stream), false).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        judge.question()
    };
    let told = ask(None);
    assert_eq!(
        (&told["source"]["principal"], &told["request"]["http"]["scheme"]),
        (&Value::Null, &json!("https"))
    );
    // URIs first, then names of hosts, then the subject.
    for (names, principal) in [
        (&["cart.test", "spiffe://prod.test/cart"][..], "spiffe://prod.test/cart"),
        (&["cart.test", "other.test"], "cart.test"),
    ] {
        assert_eq!(ask(Some(&clients.issue(names)))["source"]["principal"], principal, "{names:?}");
    }
}

#[test]
fn a_call_over_http2_is_told_as_envoy_tells_it() {
    let guarded = Guarded::start();
    h2::run(async {
        let client = h2::Client::connect(guarded.gateway.address).await;
        let mut request = h2::request("GET", "/x?y=z");
        request.headers_mut().insert("authorization", "plain".parse().expect("a value"));
        assert_eq!(client.fetch(request, b"", None).await.expect("an answer").status, 200);
    });
    let told = guarded.judge.question();
    let http = &told["request"]["http"];
    assert_eq!((&http["protocol"], &http["path"]), (&json!("HTTP/2"), &json!("/x?y=z")), "{http}");
    assert!(http["host"].as_str().is_some_and(|host| !host.is_empty()), "{http}");
}
