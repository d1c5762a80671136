//! A cluster of Kafka's for one test: librdkafka's mock cluster, in a process of Python's, with librdkafka as its clients. With
//! `TIDEGATE_KAFKA` a real one takes its place, but where a test comes between it and its clients.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
};

use serde_json::{Value, json};

use crate::harness::peers_folder;

/// A running cluster; ends with the test.
pub struct Mock {
    child: Child,
    ends: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    servers: String,
}

impl Mock {
    /// Starts one of three brokers; or it is the real one that `TIDEGATE_KAFKA` names, whose topics are made anew.
    pub fn start() -> Self {
        match std::env::var("TIDEGATE_KAFKA") {
            Ok(servers) => Self::with(&json!({"servers": servers})),
            Err(_) => Self::with(&json!({"brokers": 3})),
        }
    }

    /// Starts one as it is wanted.
    pub fn with(wish: &Value) -> Self {
        let python = peers_folder().join("brokers/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
        let mut child = Command::new(python)
            .args(["-c", include_str!("kafka_mock.py"), &wish.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python runs");
        let input = child.stdin.take().expect("an input");
        let mut output = BufReader::new(child.stdout.take().expect("an output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let servers = serde_json::from_str::<String>(&line).expect("where it is");
        Self { child, ends: Mutex::new((input, output)), servers }
    }

    /// Has something done.
    pub fn order(&self, order: &Value) -> Value {
        let (input, output) = &mut *self.ends.lock().expect("a lock");
        writeln!(input, "{order}").expect("an order");
        let mut line = String::new();
        output.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{order}: {line}"))
    }

    /// Makes a topic, of four partitions.
    pub fn topic(&self, name: &str) {
        assert_eq!(self.order(&json!({"do": "topic", "topic": name, "anew": true})), 4);
    }

    /// Publishes values, each with its key; says where they are.
    pub fn produce(&self, topic: &str, records: &[(&str, &str)]) -> Value {
        let records: Vec<Value> =
            records.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        self.order(&json!({"do": "produce", "topic": topic, "records": records}))
    }

    /// All that a topic has, by partition and place.
    pub fn read(&self, topic: &str) -> Vec<Value> {
        match self.order(&json!({"do": "read", "topic": topic})) {
            Value::Array(all) => all,
            other => panic!("{other}"),
        }
    }

    /// How many of a topic's records a group has confirmed.
    pub fn committed(&self, group: &str, topic: &str) -> i64 {
        let all = self.order(&json!({"do": "committed", "group": group, "topic": topic}));
        all.as_array().into_iter().flatten().filter_map(Value::as_i64).map(|place| place.max(0)).sum()
    }

    /// Opens or shuts the gate.
    pub fn gate(&self, open: bool) {
        self.order(&json!({"do": "gate", "open": open}));
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// The configuration of a gateway that knows this cluster as the broker `events`.
    pub fn broker(&self, more: &str) -> String {
        let servers = self.servers.replace(',', "\", \"");
        format!("brokers:\n  - {{name: events, kafka: {{servers: [\"{servers}\"]{more}}}}}\n")
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ =
            Command::new("kill").arg("-CONT").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A header of a record that was read.
pub fn header<'r>(record: &'r Value, name: &str) -> Option<&'r str> {
    let all = record["headers"].as_array()?;
    all.iter().find(|header| header[0] == name).and_then(|header| header[1].as_str())
}
