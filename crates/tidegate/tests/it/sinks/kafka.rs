//! A topic of Kafka's, read back by librdkafka.

use serde_json::json;

use super::{calls, dropped, paths, sink};
use crate::{
    events::mock::Mock,
    harness::{Gateway, eventually, free_port},
};

const ROUTES: &str = "routes: [{name: r, match: [{path: {prefix: /ok}}], respond: {body: hello}}]\n";

fn start(mock: &Mock, log: &str, settings: &str) -> Gateway {
    Gateway::start(&format!(
        "{}accessLog: [{{kind: kafka, batch: {{time: 50ms, records: 16}}, retry: {{first: 50ms, max: 200ms}}{log}, kafka: {{broker: events, topic: logs{settings}}}}}]\n{ROUTES}",
        mock.broker(", compression: zstd")
    ))
}

/// The paths of all records, partition by partition.
fn told(mock: &Mock) -> Vec<String> {
    let path = |record: &serde_json::Value| {
        let line: serde_json::Value = serde_json::from_str(record["value"].as_str()?).ok()?;
        line["path"].as_str().map(str::to_owned)
    };
    mock.read("logs").iter().map(|record| path(record).unwrap_or_else(|| panic!("{record}"))).collect()
}

#[test]
fn every_record_arrives_in_order_and_waits_while_the_cluster_is_away() {
    let mock = Mock::with(&json!({"gate": free_port()}));
    mock.topic("logs");
    let gateway = start(&mock, "", ", timeout: 2s, key: route");
    calls(&gateway, 0..50);
    eventually("all is confirmed", || sink(&gateway, "records_total", "kafka") == 50.0);
    assert_eq!(told(&mock), paths(0..50));
    assert!(mock.read("logs").iter().all(|record| record["key"] == "r"));
    mock.gate(false);
    calls(&gateway, 50..80);
    eventually("it is noticed", || sink(&gateway, "up", "kafka") == 0.0);
    mock.gate(true);
    eventually("all arrives", || sink(&gateway, "records_total", "kafka") == 80.0);
    let mut all = told(&mock);
    // Where nobody knew whether a batch was kept it came again.
    let mut known = std::collections::HashSet::new();
    all.retain(|path| known.insert(path.clone()));
    assert_eq!(all, paths(0..80));
}

#[test]
fn what_finds_no_room_is_dropped_and_counted_or_waits_on_disk() {
    let mock = Mock::with(&json!({"gate": free_port()}));
    mock.topic("logs");
    mock.gate(false);
    let folder = tempfile::tempdir().expect("a folder");
    let spill = format!(
        ", queue: {{records: 16}}, spill: {{directory: \"{}\", size: 1MiB}}",
        folder.path().display()
    );
    let without = start(&mock, ", queue: {records: 16}", "");
    let with = start(&mock, &spill, "");
    calls(&without, 0..40);
    eventually("they are dropped", || dropped(&without, "kafka", "queue-full") >= 20.0);
    drop(without);
    calls(&with, 0..40);
    eventually("they wait", || sink(&with, "spilled_bytes", "kafka") > 0.0);
    mock.gate(true);
    eventually("all arrives", || sink(&with, "records_total", "kafka") == 40.0);
    let mut all = told(&mock);
    all.sort_by_key(|path| path.rsplit('/').next().and_then(|number| number.parse::<u32>().ok()));
    all.dedup();
    assert_eq!(all, paths(0..40));
}
