//! Batches and who pays for them: prices that nobody knows, bounds of what is held, budgets of several gateways; and what
//! is remembered of what callers made.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{
    KEY,
    files::{Shop, config, taken},
    post,
};
use crate::harness::{Answer, Gateway, Redis, Upstream, eventually, pause};

const VERSION: &str = "\nanthropic-version: 2023-06-01";
/// 100 tokens of 0.5 and 20 of 2.5 per million.
const COST: f64 = 0.0001;

type Shared = Arc<Mutex<Shop>>;

fn upstreams() -> (Shared, [Upstream; 2]) {
    let shop = Shared::default();
    let (one, two) = (shop.clone(), shop.clone());
    let openai = Upstream::scripted(move |seen| one.lock().expect("not poisoned").openai(seen));
    let anthropic = Upstream::scripted(move |seen| two.lock().expect("not poisoned").anthropic(seen));
    (shop, [openai, anthropic])
}

/// Makes a batch of one request for so many tokens.
fn create(gateway: &Gateway, tokens: u64) -> Answer {
    let body = json!({"requests": [{"custom_id": "a", "params": {
        "model": "claude", "max_tokens": tokens, "messages": [{"role": "user", "content": "hello"}]}}]});
    post(gateway, "/ai/v1/messages/batches", VERSION, &body.to_string())
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn get(gateway: &Gateway, path: &str, more: &str) -> Answer {
    gateway.send(&format!("GET /ai/v1/{path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}{more}"), b"")
}

/// Asks after a batch until it is over, and fetches its results.
fn results(gateway: &Gateway, id: &str) -> Answer {
    let path = format!("messages/batches/{id}");
    eventually("the batch is over", || get(gateway, &path, VERSION).json()["processing_status"] == "ended");
    get(gateway, &format!("{path}/results"), VERSION)
}

#[test]
fn what_has_no_price_is_settled_to_what_was_held() {
    let (shop, [openai, anthropic]) = upstreams();
    shop.lock().expect("not poisoned").called = Some("a-model-of-tomorrow".to_owned());
    let gateway = Gateway::start(&config(&openai, &anthropic));
    let batch = id(&create(&gateway, 3000));
    let held = taken(&gateway, 1.0);
    assert!((0.015..0.016).contains(&held), "{held}");
    assert_eq!(results(&gateway, &batch).status, 200);
    let told = |gateway: &Gateway| {
        let records = gateway.records(0).into_iter().map(|record| record["ai"].clone());
        records.into_iter().find(|ai| ai["operation"] == "batches" && ai["input_tokens"] == 100)
    };
    eventually("it is in the log", || told(&gateway).is_some());
    let record = told(&gateway).expect("a record");
    assert_eq!(record["is_estimate"], true, "{record}");
    assert!((record["cost_usd"].as_f64().expect("a cost") - held).abs() < 2e-6, "{record}");
    assert!((taken(&gateway, 1.0) - held).abs() < 2e-6, "it is spent: {}", taken(&gateway, 1.0));
    // A model that has no price is no batch of a budget of money.
    let unpriced = config(&openai, &anthropic).replace("model: claude-haiku-4-5", "model: nobody-knows");
    let refused = create(&Gateway::start(&unpriced), 10);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("nobody knows what `nobody-knows` costs"), "{}", refused.text());
}

#[test]
fn no_more_batches_are_made_than_may_be_held_for() {
    let (_shop, [openai, anthropic]) = upstreams();
    let text =
        config(&openai, &anthropic).replace("providers: [o, a]", "providers: [o, a], maxOpenBatches: 2");
    let gateway = Gateway::start(&text);
    let first = id(&create(&gateway, 30));
    id(&create(&gateway, 30));
    let before = taken(&gateway, 1.0);
    let refused = create(&gateway, 30);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("maxOpenBatches"), "{}", refused.text());
    assert!((taken(&gateway, 1.0) - before).abs() < 1e-9, "and nothing is held for it");
    assert_eq!(results(&gateway, &first).status, 200);
    eventually("there is room again", || create(&gateway, 30).status == 200);
}

#[test]
fn a_part_of_results_is_never_asked_for() {
    let (_shop, [openai, anthropic]) = upstreams();
    let gateway = Gateway::start(&config(&openai, &anthropic));
    let batch = id(&create(&gateway, 30));
    results(&gateway, &batch);
    let range = format!("{VERSION}\nrange: bytes=0-9\nif-range: \"x\"");
    let answer = get(&gateway, &format!("messages/batches/{batch}/results"), &range);
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("tides") && answer.text().ends_with('\n'), "{}", answer.text());
    let asked = anthropic.seen();
    assert!(asked.iter().all(|seen| seen.header("range").is_none() && seen.header("if-range").is_none()));
}

#[test]
fn batches_at_two_gateways_share_one_budget_and_either_settles_them() {
    let redis = Redis::start();
    let (_shop, [openai, anthropic]) = upstreams();
    let settings = format!("redis: {{addresses: [\"127.0.0.1:{}\"], lease: 1s}}\n", redis.port);
    let start = || {
        let text = config(&openai, &anthropic)
            .replace("providers: [o, a]", "providers: [o, a], idKey: \"a key of sixteen or more\"")
            .replace("amount: 1,", "amount: 0.02, store: redis,");
        let gateway = Gateway::start(&format!("{text}{settings}"));
        eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
        gateway
    };
    let (one, two) = (start(), start());
    let batch = id(&create(&one, 3000));
    for gateway in [&one, &two] {
        let held = taken(gateway, 0.02);
        assert!((0.015..0.016).contains(&held), "{held}");
        assert_eq!(create(gateway, 3000).status, 429, "the first one holds most of it");
    }
    // Whoever made it need not live, and no lease of a call's ends it.
    one.signal("KILL");
    pause(2500);
    assert!(taken(&two, 0.02) > 0.015, "it is held on");
    assert_eq!(results(&two, &batch).status, 200);
    let is_settled = |gateway: &Gateway| (taken(gateway, 0.02) - COST).abs() < 1e-9;
    eventually("it is settled", || is_settled(&two));
    // A third one that is told again settles nothing.
    let three = start();
    assert_eq!(results(&three, &batch).status, 200);
    assert_eq!(results(&two, &batch).status, 200);
    eventually("all is settled", || three.metric("tidegate_redis_unsettled ") == Some(0.0));
    assert!(is_settled(&three), "{}", taken(&three, 0.02));
    // What a provider refuses is given back.
    let refused = create(&three, 3000);
    assert_eq!(refused.status, 200);
    let other = id(&refused);
    assert_eq!(results(&three, &other).status, 200);
    eventually("both are settled", || (taken(&two, 0.02) - 2.0 * COST).abs() < 1e-9);
}

/// Sends a file for nothing in particular.
fn upload(gateway: &Gateway, name: &str) -> String {
    let body = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\nx\r\n--b--\r\n"
    );
    let head = format!(
        "POST /ai/v1/files HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-type: multipart/form-data; boundary=b\ncontent-length: {}",
        body.len()
    );
    id(&gateway.send(&head, body.as_bytes()))
}

#[test]
fn what_is_remembered_is_written_when_it_changes_and_stays_short() {
    let (_shop, [openai, anthropic]) = upstreams();
    let mut gateway = Gateway::start(&config(&openai, &anthropic));
    let journal = gateway.folder.path().join("data/ai-made.jsonl");
    let lines = || std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    let kept = upload(&gateway, "kept.txt");
    eventually("a line", || lines() == 1);
    for _ in 0..30 {
        assert_eq!(get(&gateway, &format!("files/{kept}"), "").status, 200);
    }
    upload(&gateway, "other.txt");
    eventually("one more line", || lines() >= 2);
    assert_eq!(lines(), 2, "what is told again is no change");
    for number in 0..200 {
        let file = upload(&gateway, &format!("{number}.txt"));
        let gone =
            gateway.send(&format!("DELETE /ai/v1/files/{file} HTTP/1.1\nhost: gw\nx-api-key: {KEY}"), b"");
        assert_eq!(gone.status, 200, "{}", gone.text());
    }
    pause(200);
    let bytes = std::fs::metadata(&journal).expect("it is there").len();
    assert!(bytes < 80 * 1024, "{bytes} bytes after 402 changes");
    gateway.restart("TERM");
    assert_eq!(lines(), 2, "what is gone is not written again");
    let list = get(&gateway, "files", "").json();
    let names: Vec<&Value> =
        list["data"].as_array().expect("a list").iter().map(|file| &file["filename"]).collect();
    assert_eq!(names, ["other.txt", "kept.txt"]);
}

#[test]
fn what_is_too_large_to_be_remembered_is_listed_all_the_same() {
    let (_shop, [openai, anthropic]) = upstreams();
    let gateway = Gateway::start(&config(&openai, &anthropic));
    let long = format!("{}.txt", "n".repeat(70_000));
    let large = upload(&gateway, &long);
    let small = upload(&gateway, "small.txt");
    let list = get(&gateway, "files", "").json();
    assert_eq!((&list["data"][0]["id"], &list["data"][1]["id"]), (&json!(small), &json!(large)));
    assert_eq!(list["data"][1]["filename"], long.as_str(), "its provider was asked");
}

#[test]
fn what_a_request_of_a_batch_goes_on_from_is_its_callers() {
    let (_shop, [openai, anthropic]) = upstreams();
    let gateway = Gateway::start(&config(&openai, &anthropic));
    let upload = |more: &str| {
        let line = |more: &str| {
            format!(
                r#"{{"custom_id":"a","method":"POST","url":"/v1/responses","body":{{"model":"small","input":"hi"{more}}}}}"#
            )
        };
        let body = format!(
            "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n{}\n{}\r\n--b--\r\n",
            line(""),
            line(more)
        );
        let head = format!(
            "POST /ai/v1/files HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-type: multipart/form-data; boundary=b\ncontent-length: {}",
            body.len()
        );
        gateway.send(&head, body.as_bytes())
    };
    for (more, status, why) in [
        (r#","previous_response_id":"resp_OF_SOMEBODY""#, 400, "line 2: `previous_response_id`: no answer"),
        (r#","conversation":"conv_OF_SOMEBODY""#, 404, "line 2: no conversation `conv_OF_SOMEBODY` here"),
        (r#","conversation":{"id":"conv_OF_SOMEBODY"}"#, 404, "line 2: no conversation"),
        (r#","backgr\u006fund":true"#, 400, "line 2: `background` is not taken here"),
    ] {
        let refused = upload(more);
        assert_eq!(refused.status, status, "{more}: {}", refused.text());
        assert!(refused.text().contains(why), "{more}: {}", refused.text());
    }
    assert!(openai.seen().is_empty());
    assert_eq!(upload("").status, 200);
}
