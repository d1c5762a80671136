//! `compose`: one answer made of several calls to real servers.

mod bounds;
mod caching;
mod calls;
mod each;
mod hostile;
mod load;
mod seen;
mod shapes;

use std::time::{Duration, Instant};

use super::harness::{Answer, Gateway, Seen, Upstream, free_port, pause};

/// An upstream that answers paths with what a function says: a status and a body, after so many milliseconds.
fn backend(say: impl Fn(&Seen) -> (u16, u64, String) + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |seen| {
        let (status, millis, body) = say(seen);
        pause(millis);
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Some([head.into_bytes(), body.into_bytes()].concat())
    })
}

/// One that answers each target with itself: `{"target": …, "n": 1}`.
fn mirror() -> Upstream {
    backend(|seen| (200, 0, serde_json::json!({"target": seen.target(), "n": 1}).to_string()))
}

/// A gateway with one route `page` at `/page/{id}` that composes this, over one upstream `u` (nobody serves
/// `dead`); `more` stands behind.
fn gateway(upstream: &Upstream, compose: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
  - {{name: dead, endpoints: [{{address: \"127.0.0.1:{}\"}}], retry: {{maxAttempts: 1}}}}
routes:
  - name: page
    match: [{{path: {{template: \"/page/{{id}}\"}}}}]
    compose:
{}
{more}",
        upstream.address,
        free_port(),
        compose.trim_matches('\n').lines().map(|line| format!("      {line}\n")).collect::<String>()
    ))
}

/// How long an answer took, and the answer.
fn timed(ask: impl FnOnce() -> Answer) -> (Duration, Answer) {
    let begun = Instant::now();
    let answer = ask();
    (begun.elapsed(), answer)
}

/// The targets that an upstream saw, in order.
fn targets(upstream: &Upstream) -> Vec<String> {
    upstream.seen().iter().map(|seen| seen.target().to_owned()).collect()
}
