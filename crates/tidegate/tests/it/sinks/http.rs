//! Records over HTTP: forms, secrets, TLS, what is sent again, what is given up, and what a restart and a reload do.

use std::{
    io::Read,
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{calls, collector::Collector, dropped, in_folder, paths, sink, start, text};
use crate::harness::{Gateway, Upstream, eventually, free_port, pause};

fn to(collector: &Collector, more: &str) -> String {
    format!(
        "  - {{kind: http, http: {{url: \"http://{}/in?x=1\"}}, batch: {{time: 50ms}}{more}}}",
        collector.upstream.address
    )
}

#[test]
fn records_come_line_by_line_or_as_a_list_with_the_secrets_of_the_settings() {
    let (lines, list, plain) = (Collector::start(), Collector::start(), Collector::start());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "Bearer secret-of-the-test\n").expect("a file");
    let gateway = in_folder(
        folder,
        &format!(
            "  - {{kind: http, name: lines, http: {{url: \"http://{}/in?x=1\", compression: gzip, headers: {{authorization: {{file: token}}}}}}, batch: {{time: 50ms}}}}
  - {{kind: http, name: list, http: {{url: \"http://{}\", method: PUT, body: array}}, batch: {{time: 50ms}}}}
  - {{kind: http, name: plain, format: \"{{{{ status }}}} {{{{ path }}}}\", http: {{url: \"http://{}/\"}}, batch: {{time: 50ms}}}}",
            lines.upstream.address, list.upstream.address, plain.upstream.address
        ),
    );
    calls(&gateway, 0..3);
    assert_eq!(lines.paths(3), paths(0..3));
    let seen = &lines.taken()[0];
    assert_eq!(seen.line, "POST /in?x=1 HTTP/1.1");
    for (header, want) in [
        ("authorization", "Bearer secret-of-the-test"),
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "gzip"),
        ("host", &*lines.upstream.address.to_string()),
    ] {
        assert_eq!(seen.header(header), Some(want), "{header}");
    }
    let mut records = Vec::new();
    eventually("a list", || {
        records = list
            .taken()
            .iter()
            .flat_map(|seen| serde_json::from_slice::<Vec<Value>>(&seen.body).expect("a list"))
            .collect();
        records.len() == 3
    });
    assert_eq!(list.taken()[0].line, "PUT / HTTP/1.1");
    assert_eq!(list.taken()[0].header("content-type"), Some("application/json"));
    assert_eq!(records[2]["path"], "/ok/2");
    eventually("lines of a template", || {
        let taken = plain.taken();
        let all: Vec<u8> = taken.iter().flat_map(|seen| seen.body.clone()).collect();
        all == b"200 /ok/0\n200 /ok/1\n200 /ok/2\n"
    });
    // Nobody is told the secret, and everybody how the sinks are.
    assert!(!gateway.metrics().contains("secret-of") && !gateway.stderr().contains("secret-of"));
    let config = gateway.admin_get("/api/v1/config");
    assert!(!String::from_utf8_lossy(&config.body).contains("secret-of"));
    let status = gateway.admin_get("/api/v1/status").json();
    assert_eq!(status["sinks"][0]["name"], "lines");
    eventually("what arrived is counted", || sink(&gateway, "records_total", "lines") == 3.0);
    assert_eq!(sink(&gateway, "up", "lines"), 1.0);
}

#[test]
fn only_what_is_wanted_is_sent() {
    let (bad, none, slow) = (Collector::start(), Collector::start(), Collector::start());
    let gateway = start(&format!(
        "{}\n{}\n{}",
        to(&bad, ", name: bad, filter: {status: [5xx]}"),
        to(&none, ", name: none, sample: 0"),
        to(&slow, ", name: slow, filter: {slowerThan: 10s}")
    ));
    calls(&gateway, 0..20);
    gateway.get("/bad/1");
    assert_eq!(bad.paths(1), ["/bad/1"]);
    assert_eq!(none.paths(1), ["/bad/1"], "a sample leaves no failure out");
    pause(200);
    assert!(slow.taken().is_empty());
}

#[test]
fn what_may_be_sent_again_is_and_a_receiver_that_names_a_pause_gets_it() {
    let collector = Collector::start();
    let gateway = start(&to(&collector, ", retry: {first: 20ms, max: 100ms}"));
    collector.answer(503, "", 2);
    collector.answer(429, "retry-after: 1\r\n", 1);
    collector.answer(401, "", 1);
    let began = Instant::now();
    calls(&gateway, 0..3);
    assert_eq!(collector.paths(3), paths(0..3));
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    eventually("tries are counted", || sink(&gateway, "retries_total", "http") >= 4.0);
    eventually("it is well again", || sink(&gateway, "up", "http") == 1.0);
    let log = gateway.stderr();
    assert!(log.contains("does not take records: status 503: odd"), "{log}");
    assert!(log.contains("the receiver takes records again"), "{log}");
    assert_eq!(collector.records().len(), 3);
}

#[test]
fn a_record_that_is_poison_is_found_and_the_others_arrive() {
    let address = ([127, 0, 0, 1], free_port()).into();
    let collector = Collector::on(address, |seen| {
        let is_bad = String::from_utf8_lossy(&seen.body).contains("/ok/13\"");
        is_bad.then(|| "HTTP/1.1 400 X\r\ncontent-length: 0\r\n\r\n".to_owned())
    });
    let gateway = start(&to(&collector, ""));
    calls(&gateway, 0..40);
    let mut want = paths(0..40);
    want.remove(13);
    assert_eq!(collector.paths(39), want);
    eventually("it is counted", || dropped(&gateway, "http", "refused") == 1.0);
    assert_eq!(
        gateway.metric("tidegate_records_dropped_total{sink=\"access_log\",reason=\"refused\"}"),
        Some(1.0)
    );
}

#[test]
fn a_receiver_that_never_answers_holds_up_neither_traffic_nor_another_log() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let collector = Collector::start();
    let gateway = start(&format!(
        "  - {{kind: http, name: stuck, http: {{url: \"http://127.0.0.1:{port}\"}}, batch: {{records: 10, time: 10ms}}, queue: {{records: 50}}}}\n{}",
        to(&collector, ", name: well")
    ));
    let held = std::thread::spawn(move || listener.accept().expect("a connection").0);
    let began = Instant::now();
    calls(&gateway, 0..2_000);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(collector.paths(2_000).len(), 2_000);
    eventually("loss is counted", || dropped(&gateway, "stuck", "queue-full") >= 1_950.0);
    assert_eq!(sink(&gateway, "waiting_records", "stuck"), 50.0);
    let mut stream = held.join().expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert!(stream.read(&mut [0; 64]).expect("a request") > 0);
}

/// Settings with a place on disk, to a port.
fn spilling(port: u16) -> String {
    format!(
        "  - {{kind: http, http: {{url: \"http://127.0.0.1:{port}\"}}, batch: {{records: 10, time: 50ms}}, queue: {{records: 20}}, retry: {{first: 50ms, max: 100ms}}, spill: {{directory: spill}}}}"
    )
}

fn on(port: u16) -> Collector {
    Collector::on(([127, 0, 0, 1], port).into(), |_| None)
}

#[test]
fn what_cannot_be_sent_waits_on_disk_and_a_later_process_sends_it_in_order() {
    let port = free_port();
    let mut gateway = start(&spilling(port));
    calls(&gateway, 0..300);
    eventually("it is on disk", || sink(&gateway, "spilled_bytes", "http") > 100_000.0);
    gateway.restart("TERM");
    calls(&gateway, 300..310);
    let collector = on(port);
    assert_eq!(collector.paths(310), paths(0..310));
    eventually("nothing is left", || sink(&gateway, "spilled_bytes", "http") == 0.0);
    assert_eq!(
        gateway.metric("tidegate_records_dropped_total{sink=\"access_log\",reason=\"shutdown\"}"),
        Some(0.0)
    );
}

#[test]
fn a_process_that_is_killed_loses_what_memory_held_and_sends_the_rest() {
    let port = free_port();
    let mut gateway = start(&spilling(port));
    calls(&gateway, 0..300);
    let mut before = 0.0;
    eventually("all of it is on disk", || {
        pause(300);
        let now = sink(&gateway, "spilled_bytes", "http");
        now > 100_000.0 && std::mem::replace(&mut before, now) == now
    });
    gateway.restart_after("KILL", |data| {
        // The last record of the last file was being written.
        let folder = data.parent().expect("a folder").join("spill/http");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("a folder").flatten().map(|one| one.path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "spill"));
        files.sort();
        let last = files.last().expect("a file");
        let content = std::fs::read(last).expect("a file");
        std::fs::write(last, &content[..content.len() - 7]).expect("a file");
    });
    let collector = on(port);
    eventually("the damaged one is counted", || dropped(&gateway, "http", "corrupt") == 1.0);
    eventually("the disk is empty", || sink(&gateway, "spilled_bytes", "http") == 0.0);
    eventually("nothing waits", || sink(&gateway, "waiting_records", "http") == 0.0);
    // What was in memory is a batch on its way and a full queue at most.
    let arrived = collector.paths(269);
    let lost = 299 - arrived.len();
    assert!((1..=30).contains(&lost), "{lost}");
    assert_eq!(arrived, paths(lost..299));
}

#[test]
fn a_reload_keeps_the_queue_of_what_stays_and_ends_what_goes() {
    let port = free_port();
    let (gone, fresh) = (Collector::start(), Collector::start());
    let stays = format!(
        "  - {{kind: http, name: stays, http: {{url: \"http://127.0.0.1:{port}\"}}, batch: {{time: 50ms}}, retry: {{first: 50ms, max: 100ms}}}}"
    );
    let gateway = start(&format!(
        "{stays}\n{}",
        to(&gone, ", name: gone, batch: {time: 60s}").replacen(", batch: {time: 50ms}", "", 1)
    ));
    calls(&gateway, 0..5);
    eventually("it waits", || sink(&gateway, "waiting_records", "stays") == 5.0);
    let state = gateway.reload(&text(
        gateway.address.port(),
        &format!("{}\n{stays}\n  - {{kind: stdout}}", to(&fresh, ", name: fresh")),
    ));
    assert_eq!(state["reloadsApplied"], 1, "{state}");
    assert_eq!(gone.paths(5), paths(0..5), "what goes sends what it has");
    assert_eq!(sink(&gateway, "waiting_records", "stays"), 5.0);
    calls(&gateway, 5..7);
    let collector = on(port);
    assert_eq!(collector.paths(7), paths(0..7));
    assert_eq!(fresh.paths(2), paths(5..7));
    assert_eq!(gateway.records(2).len(), 2);
    assert!(!gateway.metrics().contains("sink=\"gone\""));
    assert!(gateway.admin_get("/api/v1/status").json()["sinks"].as_array().is_some_and(|all| all.len() == 3));
}

#[test]
fn at_the_end_what_waits_is_sent_within_a_bound() {
    let collector = Collector::start();
    let mut gateway = start(&format!(
        "  - {{kind: http, http: {{url: \"http://{}\"}}, batch: {{time: 1h}}}}",
        collector.upstream.address
    ));
    calls(&gateway, 0..25);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(collector.paths(25), paths(0..25));
    // A receiver that is away holds up the end for no longer than that.
    let mut gateway = start(&format!(
        "  - {{kind: http, http: {{url: \"http://127.0.0.1:{}\"}}, batch: {{time: 1h}}}}",
        free_port()
    ));
    calls(&gateway, 0..25);
    let began = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(gateway.stderr().contains("25 records could not be sent before the end"), "{}", gateway.stderr());
}

#[test]
fn a_receiver_is_trusted_by_the_authority_that_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("receiver.crt"), folder.path().join("receiver.key"));
    std::fs::write(&cert, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    std::fs::write(folder.path().join("other.crt"), other.cert.pem()).expect("a file");
    // A gateway in front of a collector is a receiver with TLS.
    let collector = Collector::start();
    let port = free_port();
    let door = format!(
        "listeners: [{{name: tls, address: 127.0.0.1:{port}, tls: {{certificates: [{{certFile: \"{}\", keyFile: \"{}\"}}]}}}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]",
        cert.display(), key.display(), collector.upstream.address
    );
    let _door = Gateway::from_text(&door, ([127, 0, 0, 1], port).into(), |_| {});
    let gateway = in_folder(
        folder,
        &format!(
            "  - {{kind: http, name: trusts, http: {{url: \"https://localhost:{port}/trusted\", tls: {{caFile: receiver.crt}}}}, batch: {{time: 50ms}}}}
  - {{kind: http, name: doubts, http: {{url: \"https://localhost:{port}/doubted\", tls: {{caFile: other.crt}}}}, batch: {{time: 50ms}}}}"
        ),
    );
    calls(&gateway, 0..2);
    assert_eq!(collector.paths(2), paths(0..2));
    eventually("the other one fails", || sink(&gateway, "up", "doubts") == 0.0);
    assert!(collector.taken().iter().all(|seen| seen.target() == "/trusted"));
}

#[test]
fn secrets_that_others_may_read_on_the_way_are_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tidegate.yaml").display().to_string();
    for (url, has_secret, is_warned) in [
        ("http://logs.example", true, true),
        ("http://10.0.0.1:3100", true, true),
        ("http://10.0.0.1:3100", false, false),
        ("http://127.0.0.1:3100", true, false),
        ("https://logs.example", true, false),
    ] {
        let secret = if has_secret { ", headers: {authorization: {env: PATH}}" } else { "" };
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:0\"}}]
accessLog: [{{kind: loki, loki: {{url: \"{url}\"{secret}}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}}}]
"
        );
        std::fs::write(&config, text).expect("written");
        let (code, out, err) = crate::harness::run(&["validate", "--config", &config]);
        assert_eq!(code, 0, "{url}: {out} {err}");
        let told = format!("{out}{err}");
        assert_eq!(told.contains("secrets are shown here without TLS"), is_warned, "{url}: {told}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_place() {
    let upstream = Upstream::echo();
    for (log, want) in [
        ("{kind: http}", "needs its settings under `http`"),
        (
            "{kind: stdout, http: {url: \"http://a\"}}",
            "settings of kind `http` in an access log of kind `stdout`",
        ),
        ("{kind: stdout, batch: {records: 5}}", "without a queue"),
        ("{kind: stdout, path: a}", "only an access log of kind `file` has a path"),
        ("{kind: stdout, rotate: {size: 1MiB}}", "only an access log of kind `file` is rotated"),
        ("{kind: file, path: a, rotate: {keep: 3}}", "expected `size` or `age`"),
        (
            "{kind: http, http: {url: \"http://a\", body: array}, format: \"{{ status }}\"}",
            "a list is of JSON",
        ),
        (
            "{kind: http, http: {url: \"http://a\", headers: {host: {env: PATH}}}}",
            "is set by the gateway itself",
        ),
        ("{kind: http, http: {url: \"http://u:p@a\"}}", "credentials have keys of their own"),
        (
            "{kind: http, http: {url: \"http://a\"}, batch: {records: 30000}}",
            "more than `queue.records`, 20000, has room for",
        ),
        ("{kind: http, http: {url: \"http://a\"}, filter: {status: [6xx]}}", "a class of them such as `5xx`"),
        ("{kind: http, http: {url: \"http://a\"}, filter: {routes: [nope]}}", "there is no route `nope`"),
        ("{kind: nats, nats: {broker: nope, subject: a}}", "there is no broker `nope`"),
        ("{kind: loki, loki: {url: \"http://a\", labels: {\"a-b\": c}}}", "expected letters, digits and `_`"),
        (
            "{kind: clickhouse, clickhouse: {url: \"http://a\", table: \"a; DROP\"}}",
            "expected letters, digits and `_`",
        ),
        ("{kind: syslog, syslog: {address: \"unix:/dev/log\", transport: tls}}", "a Unix socket has no TLS"),
        ("{kind: otlp, otlp: {url: \"http://a/b\", protocol: grpc}}", "has no path"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.yaml");
        std::fs::write(&path, text(upstream.address.port(), &format!("  - {log}"))).expect("a file");
        let (code, _, said) = crate::harness::run(&["validate", "--config", &path.display().to_string()]);
        assert!(code != 0 && said.contains(want), "{log}: {said}");
    }
}
