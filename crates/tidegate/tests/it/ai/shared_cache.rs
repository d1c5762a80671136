//! Answers that gateways share in PostgreSQL, found by meaning with real embeddings.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use ai::{canon::Request, dialect::Dialect};

use super::{
    KEY,
    parrot::{self, ask_with, heard, question, says, text},
};
use crate::harness::{Gateway, Peer, Upstream, eventually, pause, python};

const CHAT: Dialect = Dialect::OpenAiChat;
const OTHER: &str = "the-others-own-key";

/// A gateway whose cache is in this database.
fn gateway(database: &str, embeddings: &str, upstream: &Upstream) -> Gateway {
    let policy = "aiCache: {store: postgres, semantic: {model: minilm, threshold: 0.85, timeout: 30s}}";
    let text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}, {{name: other, keys: [{OTHER}]}}]
postgres: {{url: \"{database}\", timeout: 2s}}
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{headers: [x-api-key]}}}}, {{{policy}}}]
    ai: {{stripPrefix: /ai, models: [openai-chat]}}
ai:
  providers:
    - {{name: chat, kind: openai-compatible, baseUrl: \"http://{}/v1\"}}
    - {{name: vectors, kind: openai-compatible, baseUrl: \"http://127.0.0.1:{embeddings}/v1\"}}
  models:
    - {{name: openai-chat, targets: [{{provider: chat, model: m}}]}}
    - {{name: minilm, targets: [{{provider: vectors, model: all-MiniLM-L6-v2}}]}}
",
        upstream.address
    );
    Gateway::start(&text)
}

/// What a gateway says of its cache, and answers.
fn ask(gateway: &Gateway, request: &Request, key: &str) -> (String, String) {
    let answer = ask_with(gateway, CHAT, "openai-chat", request, key, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let is_stream = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    assert_eq!(is_stream, request.stream);
    (answer.header("x-tidegate-cache").unwrap_or("none").to_owned(), text(&heard(CHAT, &answer)))
}

fn said(result: &str, number: usize) -> (String, String) {
    (result.to_owned(), format!("answer {number}"))
}

#[test]
fn what_one_gateway_was_answered_another_gives_again_to_the_same_tenant() {
    let mut embeddings = Peer::start(python(include_str!("embeddings.py"), &[]));
    let folder = tempfile::tempdir().expect("a folder");
    let mut database =
        Peer::start(python(include_str!("postgres.py"), &[&folder.path().display().to_string()]));
    let port = embeddings.line().expect("its port");
    let (url, pid) = (database.line().expect("its address"), database.line().expect("its process id"));
    let count = std::sync::atomic::AtomicUsize::new(0);
    let upstream = parrot::provider(CHAT, move |_| {
        says(&format!("answer {}", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1))
    });
    let (one, two) = (gateway(&url, &port, &upstream), gateway(&url, &port, &upstream));
    eventually("both make the tables and connect", || {
        [&one, &two].iter().all(|gateway| gateway.metric("tidegate_postgres_up ") == Some(1.0))
    });
    assert_eq!(ask(&one, &question("What causes the tides of the sea?", false), KEY), said("miss", 1));
    // It is written off the way of the call.
    pause(1000);
    assert_eq!(ask(&two, &question("What causes the tides of the sea?", false), KEY), said("hit", 1));
    assert_eq!(ask(&two, &question("What is the cause of ocean tides?", true), KEY), said("hit", 1));
    assert_eq!(ask(&two, &question("What is the cause of ocean tides?", false), OTHER), said("miss", 2));
    assert_eq!(ask(&two, &question("What causes earthquakes?", false), KEY), said("miss", 3));
    pause(1000);
    assert_eq!(ask(&one, &question("Why does the sea have tides?", false), OTHER), said("hit", 2));

    assert_eq!(ask(&two, &question("How do volcanoes form?", true), KEY), said("miss", 4));
    pause(1000);
    assert_eq!(ask(&one, &question("How do volcanoes form?", true), KEY), said("hit", 4), "a stream is kept");

    let ended = Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs");
    assert!(ended.success());
    let began = Instant::now();
    // What serves a connection may outlive its server by a moment.
    let first = ask(&one, &question("What causes the tides of the sea?", false), KEY);
    let next = if first == said("hit", 1) { 5 } else { 6 };
    assert!(next == 5 || first == said("miss", 5), "{first:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    eventually("it is away", || one.metric("tidegate_postgres_up ") == Some(0.0));
    assert_eq!(ask(&one, &question("What causes the tides of the sea?", false), KEY), said("miss", next));
}
