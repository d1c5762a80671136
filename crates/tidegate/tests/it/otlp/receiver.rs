//! An OTLP receiver made of the official messages and of gRPC's own server, as a process beside the test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    harness::{Answer, Gateway, eventually, free_port, get, raw},
    tidy::root,
};

/// Where scripts/peers.sh puts what tests talk to.
pub fn peers() -> PathBuf {
    let peers = std::env::var_os("TIDEGATE_PEERS").map_or_else(|| root().join("target/peers"), PathBuf::from);
    assert!(peers.join("promtool").exists(), "run scripts/peers.sh first");
    peers
}

/// The wire protocols.
pub const PROTOCOLS: [&str; 2] = ["http/protobuf", "grpc"];

/// A running receiver; ends with the test.
pub struct Receiver {
    child: Child,
    /// Where it takes exports.
    pub port: u16,
    control: SocketAddr,
}

impl Receiver {
    /// Starts one on a free port.
    pub fn start(protocol: &str) -> Self {
        Self::on(protocol, free_port(), None)
    }

    /// Starts one on a port, with TLS when files are given.
    pub fn on(protocol: &str, port: u16, tls: Option<(&Path, &Path)>) -> Self {
        let control = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let short = protocol.split('/').next().expect("a name");
        let mut command = Command::new(peers().join("python/bin/python"));
        command
            .arg(root().join("crates/tidegate/tests/it/peers/otlp_receiver.py"))
            .args([short, &port.to_string(), &control.port().to_string()])
            .stdin(Stdio::null());
        if let Some((cert, key)) = tls {
            command.args([cert, key]);
        }
        let mut child = command.spawn().expect("Python runs");
        eventually("the receiver is up", || {
            assert!(
                child.try_wait().expect("a child").is_none(),
                "the receiver ended: run scripts/peers.sh when a package is missing"
            );
            get(control, "/received").is_some()
        });
        Self { child, port, control }
    }

    /// All that came so far. What breaks the specification fails the test.
    pub fn received(&self) -> Value {
        let received = get(self.control, "/received").expect("the receiver answers").json();
        assert_eq!(received["problems"], serde_json::json!([]), "the receiver objects");
        received
    }

    /// Waits for something to arrive.
    pub fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut received = Value::Null;
        eventually(what, || {
            received = self.received();
            holds(&received)
        });
        received
    }

    /// Waits for so many spans.
    pub fn spans(&self, count: usize) -> Vec<Value> {
        let received = self.until(&format!("{count} spans"), |all| list(&all["spans"]).len() >= count);
        list(&received["spans"]).to_vec()
    }

    /// Says how the next exports are answered.
    pub fn behave(&self, how: &Value) {
        let body = how.to_string();
        let request = format!(
            "POST /behave HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(Answer::parse(&raw(self.control, request.as_bytes())).expect("an answer").status, 200);
    }

    /// The settings that send to it; `more` are further ones.
    pub fn telemetry(&self, protocol: &str, more: &str) -> String {
        telemetry(protocol, self.port, more)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Settings that send to a port.
pub fn telemetry(protocol: &str, port: u16, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        "telemetry: {{otlp: {{endpoint: \"http://127.0.0.1:{port}\", protocol: {protocol}, timeout: 5s{comma}{more}}}}}\n"
    )
}

/// A JSON list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Losses of a sink by a reason.
pub fn lost(gateway: &Gateway, sink: &str, reason: &str) -> f64 {
    let series = format!("tidegate_records_dropped_total{{sink=\"{sink}\",reason=\"{reason}\"}}");
    gateway.metric(&series).unwrap_or_else(|| panic!("no {series}"))
}
