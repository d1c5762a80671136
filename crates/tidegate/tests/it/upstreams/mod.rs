//! Upstreams that fail, move, slow down and come back. A file per idea.

mod balancing;
pub(crate) mod breaker;
mod bulkhead;
mod connections;
mod dns;
mod health;
mod hedging;
mod http2;
mod http2_loss;
mod http2_peer;
mod outliers;
mod request_queue;
mod restarts;
mod retries;
mod state;
mod sticky;
mod timeouts;
mod unix;
mod warm_up;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::harness::{Client, Gateway, Upstream};

/// A gateway with one upstream `u` of these settings behind every path.
fn gateway(upstream: &str) -> Gateway {
    Gateway::start(&config(upstream))
}

/// The same with one worker, where counts per worker matter.
fn gateway_of_one_worker(upstream: &str) -> Gateway {
    Gateway::start(&format!("runtime: {{workers: 1}}\n{}", config(upstream)))
}

/// The configuration of [`gateway`].
fn config(upstream: &str) -> String {
    format!(
        "accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, {upstream}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n"
    )
}

/// `endpoints: [...]` of these addresses.
fn endpoints<'a>(upstreams: impl IntoIterator<Item = &'a Upstream>) -> String {
    let all: Vec<_> = upstreams.into_iter().map(|one| format!("{{address: \"{}\"}}", one.address)).collect();
    format!("endpoints: [{}]", all.join(", "))
}

fn ok() -> Option<Vec<u8>> {
    Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
}

fn status(code: u16) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The state of upstream `u` as `/api/v1/status` shows it.
fn state(gateway: &Gateway) -> serde_json::Value {
    gateway.admin_get("/api/v1/status").json()["upstreams"][0].clone()
}

/// The state of each endpoint of upstream `u`.
fn endpoint_states(gateway: &Gateway) -> Vec<serde_json::Value> {
    state(gateway)["endpoints"].as_array().expect("endpoints").clone()
}

/// Addresses of the endpoints that are in use.
fn in_use(gateway: &Gateway) -> Vec<String> {
    endpoint_states(gateway)
        .iter()
        .filter(|endpoint| endpoint["healthy"] == true && endpoint["ejectedSeconds"].is_null())
        .filter_map(|endpoint| endpoint["address"].as_str().map(str::to_owned))
        .collect()
}

/// How often each text is answered to so many requests on one connection.
fn answers(gateway: &Gateway, count: usize) -> BTreeMap<String, usize> {
    let mut client = Client::connect(gateway.address);
    let mut texts = BTreeMap::new();
    for _ in 0..count {
        *texts.entry(client.get("/").expect("an answer").text()).or_default() += 1;
    }
    texts
}

/// Runs something and says how long it took.
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed())
}
