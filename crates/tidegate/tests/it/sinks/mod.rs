//! Access logs that go elsewhere, read back from real peers where there are any: rsyslog, NATS, ClickHouse's engine and
//! an OTLP receiver; Loki is one of the tests' own, after its documentation.

mod clickhouse;
mod collector;
mod cost;
mod files;
mod http;
mod kafka;
mod loki;
mod nats;
mod otlp;
mod syslog;

use self::collector::Collector;
use crate::harness::{Client, Gateway, free_port};

const ROUTES: &str = "routes:
  - {name: r, match: [{path: {prefix: /ok}}], respond: {body: hello}}
  - {name: bad, match: [{path: {prefix: /bad}}], respond: {status: 500}}
";

/// A gateway with these access logs.
fn start(logs: &str) -> Gateway {
    in_folder(tempfile::tempdir().expect("a folder"), logs)
}

/// The same in a folder that holds files.
fn in_folder(folder: tempfile::TempDir, logs: &str) -> Gateway {
    let port = free_port();
    Gateway::in_folder(folder, &text(port, logs), ([127, 0, 0, 1], port).into(), |_| {})
}

/// The whole configuration but for the admin endpoint.
fn text(port: u16, logs: &str) -> String {
    format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\naccessLog:\n{logs}\n{ROUTES}")
}

/// Calls `/ok/0` and so on, on one connection.
fn calls(gateway: &Gateway, numbers: std::ops::Range<usize>) {
    let mut client = Client::connect(gateway.address);
    for number in numbers {
        assert_eq!(client.get(&format!("/ok/{number}")).expect("an answer").status, 200);
    }
}

/// What calls of these numbers are told as, in order.
fn paths(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("/ok/{number}")).collect()
}

/// A metric of an access log.
fn sink(gateway: &Gateway, metric: &str, name: &str) -> f64 {
    gateway.metric(&format!("tidegate_sink_{metric}{{sink=\"{name}\"")).unwrap_or_default()
}

/// Records of an access log that were lost for a reason.
fn dropped(gateway: &Gateway, name: &str, reason: &str) -> f64 {
    let page = gateway.metrics();
    let begin = format!("tidegate_sink_dropped_total{{sink=\"{name}\"");
    let wanted = format!("reason=\"{reason}\"");
    let line = page.lines().find(|line| line.starts_with(&begin) && line.contains(&wanted));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {reason} of {name}"))
}
