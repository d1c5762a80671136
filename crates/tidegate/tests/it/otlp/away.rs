//! A receiver that is away, slow, unwilling or another one: traffic goes on, losses are counted, what can be sent
//! later is.

use std::{
    io::Read,
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::receiver::{PROTOCOLS, Receiver, list, lost, telemetry};
use crate::harness::{Client, Gateway, Upstream, eventually, free_port, pause};

const TRAFFIC: &str = "routes: [{name: r, match: [{path: {prefix: /}}], respond: {body: hello}}]\n";

fn start(telemetry: &str) -> Gateway {
    Gateway::start(&format!("{TRAFFIC}{telemetry}"))
}

/// Calls on one connection, each of which must be answered.
fn calls(gateway: &Gateway, count: usize) -> Duration {
    let mut client = Client::connect(gateway.address);
    let start = Instant::now();
    for _ in 0..count {
        assert_eq!(client.get("/").expect("an answer").status, 200);
    }
    start.elapsed()
}

fn exported(gateway: &Gateway, sink: &str) -> f64 {
    gateway.metric(&format!("tidegate_records_exported_total{{sink=\"{sink}\"}}")).expect("a count")
}

fn retries(gateway: &Gateway, sink: &str) -> f64 {
    gateway.metric(&format!("tidegate_otlp_retries_total{{sink=\"{sink}\"}}")).expect("a count")
}

#[test]
fn a_receiver_that_is_away_costs_traffic_nothing_and_loss_is_counted_until_it_is_back() {
    for protocol in PROTOCOLS {
        let port = free_port();
        let settings = "interval: 100ms, maxBatch: 10, maxQueue: 20, signals: {metrics: false}";
        let gateway = start(&telemetry(protocol, port, settings));
        calls(&gateway, 300);
        // One batch is on its way, one queue is full; the rest is lost, and every span is one or the other.
        eventually("the queue is full", || lost(&gateway, "otlp_traces", "queue-full") >= 270.0);
        eventually("logs too", || lost(&gateway, "otlp_logs", "queue-full") >= 270.0);
        assert_eq!(exported(&gateway, "otlp_traces"), 0.0);
        let receiver = Receiver::on(protocol, port, None);
        eventually("all is sent or lost", || {
            exported(&gateway, "otlp_traces") + lost(&gateway, "otlp_traces", "queue-full") == 300.0
                && exported(&gateway, "otlp_logs") + lost(&gateway, "otlp_logs", "queue-full") == 300.0
        });
        let received = receiver.received();
        assert_eq!(list(&received["spans"]).len() as f64, exported(&gateway, "otlp_traces"));
        let before = list(&received["spans"]).len();
        calls(&gateway, 5);
        receiver.spans(before + 5);
        let log = gateway.stderr();
        assert_eq!(log.matches("does not take traces").count(), 1, "said once: {log}");
        assert!(log.contains("takes traces again"), "{log}");
    }
}

#[test]
fn a_receiver_that_never_answers_holds_up_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let gateway = start(&telemetry("http/protobuf", port, "interval: 50ms, maxBatch: 10, maxQueue: 10"));
    let held = std::thread::spawn(move || listener.accept().expect("a connection").0);
    let took = calls(&gateway, 2_000);
    assert!(took < Duration::from_secs(20), "{took:?}");
    eventually("loss", || lost(&gateway, "otlp_traces", "queue-full") > 1_000.0);
    // The exporter did come.
    let mut stream = held.join().expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert!(stream.read(&mut [0; 64]).expect("a request") > 0);
}

#[test]
fn what_may_be_sent_again_is_sent_again_and_nothing_is_lost() {
    for (protocol, how) in [
        ("http/protobuf", json!({"status": 503})),
        ("http/protobuf", json!({"status": 429, "retryAfter": 1})),
        ("grpc", json!({"grpc": 14})),
        ("grpc", json!({"grpc": 8, "retryAfter": 1})),
    ] {
        let receiver = Receiver::start(protocol);
        let mut how = how.clone();
        how["signal"] = "traces".into();
        how["times"] = 2.into();
        receiver.behave(&json!([how]));
        let gateway = start(&receiver.telemetry(protocol, "interval: 100ms, signals: {metrics: false}"));
        let begun = Instant::now();
        calls(&gateway, 7);
        let spans = receiver.spans(7);
        assert_eq!(spans.len(), 7, "{how}");
        if how.get("retryAfter").is_some() {
            assert!(begun.elapsed() >= Duration::from_secs(2), "the receiver named its time: {how}");
        }
        eventually("counted", || exported(&gateway, "otlp_traces") == 7.0);
        assert!(retries(&gateway, "otlp_traces") >= 2.0, "{how}");
        for reason in ["refused", "unreachable", "queue-full", "partial", "behind"] {
            assert_eq!(lost(&gateway, "otlp_traces", reason), 0.0, "{how} {reason}");
        }
    }
}

#[test]
fn a_time_that_the_receiver_names_is_waited_for_even_if_it_is_longer_than_things_are_kept() {
    for (protocol, how) in [
        ("http/protobuf", json!([{"signal": "metrics", "status": 503, "retryAfter": 2, "times": 1}])),
        ("grpc", json!([{"signal": "metrics", "grpc": 8, "retryAfter": 2, "times": 1}])),
    ] {
        let receiver = Receiver::start(protocol);
        receiver.behave(&how);
        // Metrics are kept for one interval.
        let gateway = start(&receiver.telemetry(protocol, "interval: 100ms"));
        eventually("metrics are taken", || exported(&gateway, "otlp_metrics") > 0.0);
        assert_eq!(retries(&gateway, "otlp_metrics"), 1.0, "{how}");
        assert_eq!(lost(&gateway, "otlp_metrics", "unreachable"), 0.0, "{how}");
    }
}

#[test]
fn what_is_refused_for_good_is_lost_and_counted_and_later_ones_go_on() {
    for (protocol, how) in [
        ("http/protobuf", json!({"status": 400})),
        ("grpc", json!({"grpc": 3})),
        ("grpc", json!({"grpc": 8})),
    ] {
        let receiver = Receiver::start(protocol);
        let mut how = how.clone();
        how["signal"] = "logs".into();
        receiver.behave(&json!([how]));
        let gateway = start(&receiver.telemetry(protocol, "interval: 100ms, signals: {metrics: false}"));
        calls(&gateway, 4);
        eventually("a loss", || lost(&gateway, "otlp_logs", "refused") == 4.0);
        assert_eq!(retries(&gateway, "otlp_logs"), 0.0, "{how}");
        receiver.behave(&json!([]));
        calls(&gateway, 3);
        receiver.until("the next logs", |all| list(&all["logs"]).len() == 3);
        assert!(gateway.stderr().contains("refuses logs"), "{}", gateway.stderr());
    }
}

#[test]
fn a_partial_success_is_counted() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        receiver.behave(&json!([{"signal": "traces", "rejected": 2, "times": 1}]));
        let gateway =
            start(&receiver.telemetry(protocol, "interval: 1s, signals: {metrics: false, logs: false}"));
        calls(&gateway, 6);
        eventually("a loss", || lost(&gateway, "otlp_traces", "partial") == 2.0);
        eventually("the rest", || exported(&gateway, "otlp_traces") == 4.0);
        assert!(gateway.stderr().contains("told to"), "{}", gateway.stderr());
    }
}

#[test]
fn the_end_sends_what_waits() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let mut gateway = start(&receiver.telemetry(protocol, "interval: 1h, maxBatch: 100"));
        calls(&gateway, 250);
        gateway.signal("TERM");
        assert!(gateway.wait().success());
        let received = receiver.received();
        assert_eq!((list(&received["spans"]).len(), list(&received["logs"]).len()), (250, 250));
        let requests = list(&received["metrics"]["tidegate_requests_total"]["points"]);
        let counted: f64 = requests.iter().filter_map(|point| point["value"].as_f64()).sum();
        assert_eq!(counted, 250.0, "the last word of metrics");
    }
}

#[test]
fn an_end_without_a_receiver_comes_all_the_same() {
    for protocol in PROTOCOLS {
        let mut gateway = start(&telemetry(protocol, free_port(), "interval: 1h"));
        calls(&gateway, 10);
        let begun = Instant::now();
        gateway.signal("TERM");
        assert!(gateway.wait().success());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let log = gateway.stderr();
        assert!(log.contains("10 items could not be sent"), "{log}");
    }
}

#[test]
fn a_reload_changes_the_receiver() {
    let (one, two) = (Receiver::start("http/protobuf"), Receiver::start("grpc"));
    let settings = "interval: 1h, signals: {metrics: false, logs: false}";
    let gateway = start(&one.telemetry("http/protobuf", settings));
    calls(&gateway, 3);
    let listener = format!("listeners: [{{name: public, address: \"{}\"}}]\n", gateway.address);
    // Until they have left their worker, records belong to nobody.
    eventually("the spans wait", || {
        gateway.metric("tidegate_otlp_waiting{sink=\"otlp_traces\"}") == Some(3.0)
    });
    let quick = "interval: 100ms, signals: {metrics: false, logs: false}";
    let after = gateway.reload(&format!("{listener}{TRAFFIC}{}", two.telemetry("grpc", quick)));
    assert_eq!(after["lastReload"], "ok");
    assert_eq!(one.spans(3).len(), 3, "what waited for the old one goes to the old one");
    calls(&gateway, 4);
    assert_eq!(two.spans(4).len(), 4);
    assert_eq!(one.spans(3).len(), 3);
    let after = gateway.reload(&format!("{listener}{TRAFFIC}"));
    assert_eq!(after["lastReload"], "ok");
    calls(&gateway, 2);
    pause(500);
    assert_eq!(two.spans(4).len(), 4, "nothing is sent any more");
}

#[test]
fn an_export_may_be_encrypted_compressed_and_carry_a_secret() {
    for protocol in PROTOCOLS {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (cert, key) = (folder.path().join("receiver.crt"), folder.path().join("receiver.key"));
        std::fs::write(&cert, made.cert.pem()).expect("a file");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        std::fs::write(folder.path().join("token"), "Bearer secret-of-the-test\n").expect("a file");
        let port = free_port();
        let receiver = Receiver::on(protocol, port, Some((&cert, &key)));
        let listen = free_port();
        let upstream = Upstream::echo();
        let text = format!(
            "listeners: [{{name: public, address: 127.0.0.1:{listen}}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
telemetry:
  otlp:
    endpoint: https://localhost:{port}
    protocol: {protocol}
    tls: {{caFile: receiver.crt}}
    compression: gzip
    headers: {{authorization: {{file: token}}}}
    interval: 200ms
",
            upstream.address
        );
        let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], listen).into(), |_| {});
        assert_eq!(gateway.get("/").status, 200);
        receiver.spans(2);
        let received = receiver.until("metrics", |all| all["metrics"].get("tidegate_build_info").is_some());
        assert_eq!(received["headers"]["authorization"], "Bearer secret-of-the-test");
        if protocol != "grpc" {
            assert_eq!(received["headers"]["content-encoding"], "gzip");
        }
        assert!(!gateway.stderr().contains("secret-of-the-test"));
        let shown: Value = gateway.admin_get("/api/v1/config").json();
        assert!(!shown.to_string().contains("secret-of-the-test"));
    }
}

#[test]
fn a_receiver_whose_certificate_is_not_trusted_gets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (real, other) = (pair(), pair());
    let (cert, key) = (folder.path().join("receiver.crt"), folder.path().join("receiver.key"));
    std::fs::write(&cert, real.cert.pem()).expect("a file");
    std::fs::write(&key, real.signing_key.serialize_pem()).expect("a file");
    std::fs::write(folder.path().join("other.crt"), other.cert.pem()).expect("a file");
    let port = free_port();
    let receiver = Receiver::on("http/protobuf", port, Some((&cert, &key)));
    let listen = free_port();
    let text = format!(
        "listeners: [{{name: public, address: 127.0.0.1:{listen}}}]
{TRAFFIC}telemetry: {{otlp: {{endpoint: \"https://localhost:{port}\", tls: {{caFile: other.crt}}, interval: 100ms}}}}\n"
    );
    let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], listen).into(), |_| {});
    calls(&gateway, 2);
    eventually("the exporter complains", || gateway.stderr().contains("does not take traces"));
    assert_eq!(receiver.received()["requests"], json!({}));
}
