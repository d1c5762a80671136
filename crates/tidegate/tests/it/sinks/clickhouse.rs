//! ClickHouse's engine (chdb) behind a small server of HTTP: the very INSERT that the gateway sends is run by it, on the table
//! that the documents give. The server itself is not ClickHouse's.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{calls, collector::Collector, dropped, sink, start};
use crate::{
    harness::{Answer, Peer, eventually, free_port, peers_folder, raw},
    tidy::root,
};

/// The engine; ends with the test.
struct Engine {
    address: SocketAddr,
    _peer: Peer,
    _data: tempfile::TempDir,
}

impl Engine {
    fn start() -> Self {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        let python = peers_folder().join("clickhouse/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
        let mut command = Command::new(python);
        command.arg("-u").arg(root().join("crates/tidegate/tests/it/peers/clickhouse.py"));
        command.arg(port.to_string()).arg(data.path());
        let mut peer = Peer::start(command);
        assert_eq!(peer.line().as_deref(), Some("ready"));
        Self { address: ([127, 0, 0, 1], port).into(), _peer: peer, _data: data }
    }

    /// What the engine says to a query.
    fn ask(&self, query: &str) -> String {
        let request = format!(
            "POST /?by=test HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{query}",
            query.len()
        );
        let answer = Answer::parse(&raw(self.address, request.as_bytes())).expect("an answer");
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        assert_eq!(answer.status, 200, "{query}: {text}");
        text
    }

    /// Makes the table of the documents.
    fn table(&self) {
        let page = fs::read_to_string(root().join("docs/sinks.md")).expect("a page");
        let (_, rest) = page.split_once("```sql\n").expect("a statement");
        let (statement, _) = rest.split_once("```").expect("its end");
        self.ask("CREATE DATABASE IF NOT EXISTS logs");
        self.ask(statement.trim().trim_end_matches(';'));
    }
}

fn log(engine: &Engine, more: &str) -> String {
    format!(
        "  - {{kind: clickhouse, batch: {{time: 100ms}}, retry: {{first: 100ms, max: 200ms}}, clickhouse: {{url: \"http://{}\", database: logs, table: calls, username: edge, password: the-password{more}}}}}",
        engine.address
    )
}

#[test]
fn the_table_of_the_documents_takes_every_record() {
    let engine = Engine::start();
    // The table is not there yet: records wait for it.
    let gateway = start(&log(&engine, ", compression: gzip"));
    calls(&gateway, 0..30);
    eventually("the table is missing", || sink(&gateway, "up", "clickhouse") == 0.0);
    engine.table();
    eventually("all is taken", || sink(&gateway, "records_total", "clickhouse") == 30.0);
    gateway.get("/bad/1?key=secret");
    eventually("all is taken", || sink(&gateway, "records_total", "clickhouse") == 31.0);
    assert_eq!(engine.ask("SELECT count() FROM logs.calls"), "31");
    assert_eq!(
        engine.ask("SELECT path FROM logs.calls WHERE path LIKE '/ok/%' ORDER BY timestamp, path LIMIT 1"),
        "\"/ok/0\""
    );
    let bad = engine.ask(
        "SELECT listener, route, method, status, query, level, toString(client_ip), length(request_id) > 0, duration_ms > 0, abs(toUnixTimestamp(timestamp) - toUnixTimestamp(now())) < 600 FROM logs.calls WHERE status >= 500",
    );
    assert_eq!(bad, "\"public\",\"bad\",\"GET\",500,\"key=[redacted]\",\"error\",\"::ffff:127.0.0.1\",1,1,1");
    let last = engine.ask("LAST INSERT");
    for part in
        ["INSERT INTO logs.calls FORMAT JSONEachRow", "edge", "the-password", "insert_deduplication_token"]
    {
        assert!(last.contains(part), "{part} in {last}");
    }
}

#[test]
fn a_row_that_cannot_be_read_costs_itself_alone() {
    let engine = Engine::start();
    engine.ask("CREATE DATABASE IF NOT EXISTS logs");
    // A number where paths are none, for all but those that are.
    engine.ask("CREATE TABLE logs.calls (path Enum8('/ok/0' = 0, '/ok/1' = 1, '/ok/2' = 2, '/ok/4' = 4)) ENGINE = MergeTree ORDER BY path");
    let gateway = start(&log(&engine, ""));
    calls(&gateway, 0..5);
    eventually("four rows are taken", || sink(&gateway, "records_total", "clickhouse") == 4.0);
    eventually("one is not", || dropped(&gateway, "clickhouse", "refused") == 1.0);
    assert_eq!(engine.ask("SELECT count() FROM logs.calls"), "4");
}

#[test]
fn what_went_wrong_after_the_status_was_sent_is_read_in_the_answer() {
    let asked = AtomicUsize::new(0);
    let collector = Collector::on(([127, 0, 0, 1], free_port()).into(), move |seen| {
        let is_bad = String::from_utf8_lossy(&seen.body).contains("/ok/3\"");
        let said = match asked.fetch_add(1, Ordering::SeqCst) {
            0 => "Code: 241. DB::Exception: Memory limit (total) exceeded",
            _ if is_bad => "Code: 27. DB::Exception: Cannot parse input",
            _ => return None,
        };
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len()))
    });
    let gateway = start(&format!(
        "  - {{kind: clickhouse, batch: {{time: 100ms}}, retry: {{first: 50ms, max: 100ms}}, clickhouse: {{url: \"http://{}\", database: logs, table: calls}}}}",
        collector.upstream.address
    ));
    calls(&gateway, 0..5);
    assert_eq!(collector.paths(4), ["/ok/0", "/ok/1", "/ok/2", "/ok/4"]);
    eventually("the row at fault is counted", || dropped(&gateway, "clickhouse", "refused") == 1.0);
    eventually("the others are, too", || sink(&gateway, "records_total", "clickhouse") == 4.0);
    assert!(gateway.stderr().contains("status 200: Code: 241. DB::Exception"), "{}", gateway.stderr());
}
