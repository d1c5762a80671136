//! A receiver over HTTP that answers as a test tells it, and keeps the bodies that it took.

use std::{
    collections::VecDeque,
    io::Read,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::harness::{Seen, Upstream, eventually, free_port};

/// A running receiver; ends with the test.
pub(super) struct Collector {
    pub(super) upstream: Upstream,
    answers: Arc<Mutex<VecDeque<String>>>,
    taken: Arc<Mutex<Vec<Seen>>>,
}

impl Collector {
    pub(super) fn start() -> Self {
        Self::on(([127, 0, 0, 1], free_port()).into(), |_| None)
    }

    /// One that judges each request: an answer, or none when it is fine.
    pub(super) fn on(
        address: SocketAddr,
        judge: impl Fn(&Seen) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let (answers, taken) =
            (Arc::<Mutex<VecDeque<String>>>::default(), Arc::<Mutex<Vec<Seen>>>::default());
        let (next, kept) = (answers.clone(), taken.clone());
        let upstream = Upstream::on(address, move |seen| {
            let mut seen = seen.clone();
            if seen.header("content-encoding") == Some("gzip") {
                let mut plain = Vec::new();
                GzDecoder::new(&*seen.body).read_to_end(&mut plain).expect("gzip");
                seen.body = plain;
            }
            let answer = next.lock().expect("a lock").pop_front().or_else(|| judge(&seen));
            if let Some(answer) = answer {
                return Some(answer.into_bytes());
            }
            kept.lock().expect("a lock").push(seen);
            Some(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
        });
        Self { upstream, answers, taken }
    }

    /// How the next requests are answered.
    pub(super) fn answer(&self, status: u16, headers: &str, times: usize) {
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: 4\r\n\r\nodd\n");
        self.answers.lock().expect("a lock").extend(vec![answer; times]);
    }

    /// The requests that were taken.
    pub(super) fn taken(&self) -> Vec<Seen> {
        self.taken.lock().expect("a lock").clone()
    }

    /// The records of all bodies, one per line.
    pub(super) fn records(&self) -> Vec<Value> {
        let taken = self.taken();
        let lines = taken.iter().flat_map(|seen| seen.body.split(|byte| *byte == b'\n'));
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a record")).collect()
    }

    /// The paths of the calls that records tell of, when there are so many.
    pub(super) fn paths(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} records"), || self.records().len() >= count);
        let path = |record: &Value| record["path"].as_str().expect("a path").to_owned();
        self.records().iter().map(path).collect()
    }
}
