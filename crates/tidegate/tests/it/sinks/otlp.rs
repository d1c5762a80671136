//! OTLP log records to the receiver of the official messages, over both protocols.

use serde_json::json;

use super::{calls, sink, start};
use crate::{
    harness::eventually,
    otlp::receiver::{PROTOCOLS, Receiver, list},
};

#[test]
fn calls_are_log_records_beside_each_other_and_what_fails_is_sent_again() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let mut busy = if protocol == "grpc" { json!({"grpc": 14}) } else { json!({"status": 503}) };
        (busy["signal"], busy["times"]) = ("logs".into(), 1.into());
        receiver.behave(&json!([busy]));
        let gateway = start(&format!(
            "  - {{kind: otlp, batch: {{time: 50ms}}, retry: {{first: 50ms}}, otlp: {{url: \"http://127.0.0.1:{}\", protocol: {protocol}, serviceName: edge, compression: gzip}}}}",
            receiver.port
        ));
        calls(&gateway, 0..3);
        let received = receiver.until("three records", |all| list(&all["logs"]).len() >= 3);
        let logs = list(&received["logs"]);
        assert_eq!(logs.len(), 3, "{protocol}: {logs:#?}");
        assert_eq!(logs[0]["attributes"]["url.path"], "/ok/0", "{logs:#?}");
        assert_eq!(logs[0]["attributes"]["http.route"], "/ok/*");
        eventually("it is counted", || sink(&gateway, "records_total", "otlp") == 3.0);
        assert!(sink(&gateway, "retries_total", "otlp") >= 1.0);
    }
}
