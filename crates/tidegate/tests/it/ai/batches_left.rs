//! Batches whose callers leave, and those that nobody tells of: what they may spend is held, and what nobody knows is
//! spent. And lists of batches that are asked after at once.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};

use super::{
    KEY,
    files::{Shop, config, taken},
    post,
};
use crate::harness::{Gateway, Redis, Upstream, eventually, pause};

const VERSION: &str = "\nanthropic-version: 2023-06-01";

/// Providers of which the second takes so long for each answer.
fn slow(millis: Arc<AtomicUsize>) -> [Upstream; 2] {
    let shop = Arc::new(Mutex::new(Shop::default()));
    let openai = Upstream::scripted(|seen| panic!("nobody asks for {}", seen.line));
    let anthropic = Upstream::scripted(move |seen| {
        pause(millis.load(Ordering::Relaxed) as u64);
        shop.lock().expect("not poisoned").anthropic(seen)
    });
    [openai, anthropic]
}

fn batch(tokens: u64) -> String {
    json!({"requests": [{"custom_id": "a", "params": {
        "model": "claude", "max_tokens": tokens, "messages": [{"role": "user", "content": "hello"}]}}]})
    .to_string()
}

/// Asks for a batch, and leaves before anybody answers.
fn leave(gateway: &Gateway, anthropic: &Upstream, body: &str) {
    let before = anthropic.seen().len();
    let mut client = TcpStream::connect(gateway.address).expect("a connection");
    let head = format!(
        "POST /ai/v1/messages/batches HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).expect("written");
    eventually("the provider has it", || anthropic.seen().len() > before);
}

fn list(gateway: &Gateway, query: &str) -> Vec<Value> {
    let head = format!("GET /ai/v1/messages/batches{query} HTTP/1.1\nhost: gw\nx-api-key: {KEY}{VERSION}");
    let answer = gateway.send(&head, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].as_array().expect("a list").clone()
}

/// Three callers leave; their batches are held for, are in their list, and are settled to what they spent.
fn whoever_leaves_pays(text: &str) {
    let millis = Arc::new(AtomicUsize::new(1000));
    let [openai, anthropic] = slow(millis.clone());
    let gateway = Gateway::start(&format!("{}{text}", config(&openai, &anthropic)).replace(
        "amount: 1,",
        if text.is_empty() { "amount: 0.06," } else { "amount: 0.06, store: redis," },
    ));
    if !text.is_empty() {
        eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
    }
    for _ in 0..3 {
        leave(&gateway, &anthropic, &batch(3000));
    }
    millis.store(0, Ordering::Relaxed);
    pause(1500);
    let held = taken(&gateway, 0.06);
    assert!((0.045..0.048).contains(&held), "{held}");
    let refused = post(&gateway, "/ai/v1/messages/batches", VERSION, &batch(3000));
    assert_eq!(refused.status, 429, "{}", refused.text());
    let made = list(&gateway, "");
    assert_eq!(made.len(), 3, "who left finds what was made");
    for one in made {
        let id = one["id"].as_str().expect("an id");
        let get = |path: &str| {
            gateway.send(
                &format!(
                    "GET /ai/v1/messages/batches/{id}{path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}{VERSION}"
                ),
                b"",
            )
        };
        eventually("the batch is over", || get("").json()["processing_status"] == "ended");
        assert_eq!(get("/results").status, 200);
    }
    eventually("they are settled", || (taken(&gateway, 0.06) - 0.0003).abs() < 1e-9);
}

#[test]
fn a_batch_is_held_for_though_its_caller_leaves() {
    whoever_leaves_pays("");
}

#[test]
fn a_batch_is_held_for_in_redis_though_its_caller_leaves() {
    let redis = Redis::start();
    whoever_leaves_pays(&format!("redis: {{addresses: [\"127.0.0.1:{}\"], lease: 1s}}\n", redis.port));
}

#[test]
fn a_batch_that_nobody_tells_of_is_spent_and_one_that_is_refused_is_not() {
    let openai = Upstream::scripted(|seen| panic!("nobody asks for {}", seen.line));
    // One is told of too late, one is no batch, one is refused.
    let anthropic = Upstream::scripted(|seen| {
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        if text.contains("late") {
            pause(3000);
        }
        let (status, body) = if text.contains("refuse") { (400, "{}") } else { (200, "{}") };
        Some(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    let text = config(&openai, &anthropic).replace("keys: [a-key]", "keys: [a-key], timeouts: {request: 1s}");
    let gateway = Gateway::start(&text);
    let make = |word: &str| {
        let body = batch(3000).replace("hello", word);
        post(&gateway, "/ai/v1/messages/batches", VERSION, &body).status
    };
    assert_eq!(make("refuse"), 400);
    assert!(taken(&gateway, 1.0) < 1e-9);
    assert_eq!(make("late"), 504);
    let held = taken(&gateway, 1.0);
    assert!((0.015..0.016).contains(&held), "{held}");
    assert_eq!(make("odd"), 502);
    assert!((taken(&gateway, 1.0) - 2.0 * held).abs() < 1e-9, "{}", taken(&gateway, 1.0));
}

#[test]
fn a_list_asks_after_batches_at_once_and_not_for_ever() {
    let millis = Arc::new(AtomicUsize::new(0));
    let [openai, anthropic] = slow(millis.clone());
    let gateway = Gateway::start(&config(&openai, &anthropic));
    for _ in 0..32 {
        assert_eq!(post(&gateway, "/ai/v1/messages/batches", VERSION, &batch(10)).status, 200);
    }
    millis.store(400, Ordering::Relaxed);
    let began = Instant::now();
    assert_eq!(list(&gateway, "?limit=100").len(), 32);
    // One after the other they would take 12.8 seconds.
    assert!(began.elapsed().as_secs() < 6, "{:?}", began.elapsed());
    // What is not told in time is told as it was.
    millis.store(60_000, Ordering::Relaxed);
    let began = Instant::now();
    let told = list(&gateway, "?limit=100");
    assert_eq!((told.len(), &told[0]["processing_status"]), (32, &json!("in_progress")));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
