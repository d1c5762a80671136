//! Files and batches, through official SDKs, at providers that keep them for the key that made them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{KEY, post};
use crate::harness::{Gateway, Peer, Seen, Upstream, eventually, python};

pub(super) const OTHER: &str = "another-callers-key";

/// Parts of a file, by their ids.
type Parts = Vec<(String, Vec<u8>)>;

/// What a provider keeps.
#[derive(Default)]
pub(super) struct Shop {
    next: u64,
    /// What its models say that they are called.
    pub(super) called: Option<String>,
    /// By id: whose key, and the parts.
    uploads: BTreeMap<String, (String, Value, Parts)>,
    /// By id: whose key, what it is, its bytes.
    files: BTreeMap<String, (String, Value, Vec<u8>)>,
    batches: BTreeMap<String, (String, Value, Vec<Value>)>,
}

fn answered(status: u16, kind: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

fn told(value: &Value) -> Option<Vec<u8>> {
    answered(200, "application/json", value.to_string().as_bytes())
}

fn missing(id: &str) -> Option<Vec<u8>> {
    let body = json!({"type": "error", "error": {"message": format!("No such thing: {id}"), "type": "not_found_error"}});
    answered(404, "application/json", body.to_string().as_bytes())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The value of a form's field.
fn field(seen: &Seen, name: &str) -> Vec<u8> {
    let kind = seen.header("content-type").expect("a media type");
    let boundary = kind.split("boundary=").nth(1).expect("a boundary").trim_matches('"');
    let at = find(&seen.body, format!("name=\"{name}\"").as_bytes()).expect("the field");
    let from = at + find(&seen.body[at..], b"\r\n\r\n").expect("a head") + 4;
    let end = find(&seen.body[from..], format!("\r\n--{boundary}").as_bytes()).expect("an end");
    seen.body[from..from + end].to_vec()
}

impl Shop {
    fn id(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}raw{}", self.next)
    }

    fn keep(&mut self, key: &str, purpose: &str, name: &str, bytes: Vec<u8>) -> Value {
        let id = self.id("file-");
        let file = json!({
            "id": id, "object": "file", "bytes": bytes.len(), "created_at": 1, "filename": name,
            "purpose": purpose, "status": "processed",
        });
        self.files.insert(id, (key.to_owned(), file.clone(), bytes));
        file
    }

    /// OpenAI's side.
    pub(super) fn openai(&mut self, seen: &Seen) -> Option<Vec<u8>> {
        let key = seen.header("authorization").unwrap_or_default().to_owned();
        let method = seen.line.split(' ').next().unwrap_or_default().to_owned();
        let path: Vec<&str> = seen.target().trim_start_matches("/v1/").split('/').collect();
        match (method.as_str(), path.as_slice()) {
            ("POST", ["chat", "completions"]) => {
                let asked: Value = serde_json::from_slice(&seen.body).expect("JSON");
                let id = asked["messages"][0]["content"][0]["file"]["file_id"].as_str().unwrap_or_default();
                match self.files.get(id).filter(|file| file.0 == key) {
                    Some((_, file, _)) => told(&json!({
                        "id": "c", "object": "chat.completion", "created": 1, "model": asked["model"],
                        "choices": [{"index": 0, "finish_reason": "stop", "message": {
                            "role": "assistant", "content": format!("read {}", file["filename"])}}],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                    })),
                    None => missing(id),
                }
            }
            ("POST", ["files"]) => {
                let text = |name| String::from_utf8(field(seen, name)).expect("text");
                let begin = find(&seen.body, b"filename=\"").expect("a name") + 10;
                let end = find(&seen.body[begin..], b"\"").expect("its end");
                let name = String::from_utf8_lossy(&seen.body[begin..begin + end]).into_owned();
                told(&self.keep(&key, &text("purpose"), &name, field(seen, "file")))
            }
            (method, ["files", id, rest @ ..]) => {
                let Some((_, file, bytes)) = self.files.get(*id).filter(|file| file.0 == key) else {
                    return missing(id);
                };
                match (method, rest) {
                    ("GET", []) => told(file),
                    ("GET", ["content"]) => answered(200, "application/octet-stream", bytes),
                    ("DELETE", []) => {
                        let gone = json!({"id": id, "object": "file", "deleted": true});
                        self.files.remove(*id);
                        told(&gone)
                    }
                    other => panic!("nobody asks for {other:?}"),
                }
            }
            ("POST", ["uploads", rest @ ..]) => self.upload(&key, seen, rest),
            ("POST", ["batches"]) => self.begin(&key, seen),
            ("GET", ["batches", id]) => {
                let Some((owner, mut batch, lines)) = self.batches.get(*id).cloned() else {
                    return missing(id);
                };
                if owner != key {
                    return missing(id);
                }
                match batch["polls"].as_u64() {
                    // It takes a while.
                    Some(polls) if polls < 3 => batch["polls"] = (polls + 1).into(),
                    _ if batch["status"] != "completed" => self.complete(&key, &mut batch, &lines),
                    _ => {}
                }
                self.batches.insert((*id).to_owned(), (owner, batch.clone(), lines));
                told(&batch)
            }
            other => panic!("nobody asks for {other:?}"),
        }
    }

    /// A file in parts.
    fn upload(&mut self, key: &str, seen: &Seen, path: &[&str]) -> Option<Vec<u8>> {
        let asked = || serde_json::from_slice::<Value>(&seen.body).expect("JSON");
        let [id, what @ ..] = path else {
            let (id, asked) = (self.id("upload_"), asked());
            let upload = json!({
                "id": id, "object": "upload", "bytes": asked["bytes"], "created_at": 1, "expires_at": 2,
                "filename": asked["filename"], "purpose": asked["purpose"], "status": "pending",
            });
            self.uploads.insert(id, (key.to_owned(), upload.clone(), Vec::new()));
            return told(&upload);
        };
        let part = self.id("part_");
        let Some((owner, upload, parts)) = self.uploads.get_mut(*id) else { return missing(id) };
        assert_eq!(owner, key, "the key that began it");
        match what {
            ["parts"] => {
                parts.push((part.clone(), field(seen, "data")));
                told(&json!({"id": part, "object": "upload.part", "created_at": 1, "upload_id": id}))
            }
            ["cancel"] => {
                upload["status"] = "cancelled".into();
                told(&upload.clone())
            }
            ["complete"] => {
                let asked = asked();
                let bytes = asked["part_ids"].as_array().expect("parts").iter().flat_map(|id| {
                    let part = parts.iter().find(|(known, _)| id == known.as_str()).expect("a part of it");
                    part.1.clone()
                });
                let (bytes, mut upload) = (bytes.collect(), upload.clone());
                let text = |name: &str| upload[name].as_str().expect("text").to_owned();
                upload["file"] = self.keep(key, &text("purpose"), &text("filename"), bytes);
                upload["status"] = "completed".into();
                told(&upload)
            }
            other => panic!("nobody asks for {other:?}"),
        }
    }

    fn begin(&mut self, key: &str, seen: &Seen) -> Option<Vec<u8>> {
        let asked: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let input = asked["input_file_id"].as_str().unwrap_or_default();
        let Some((_, _, bytes)) = self.files.get(input).filter(|file| file.0 == key) else {
            return missing(input);
        };
        let lines: Vec<Value> = String::from_utf8(bytes.clone())
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        for line in &lines {
            assert_eq!(line["body"]["model"], "gpt-4o-mini", "the provider's own name");
        }
        let id = self.id("batch_");
        let batch = json!({
            "id": id, "object": "batch", "endpoint": asked["endpoint"], "input_file_id": input, "created_at": 1,
            "completion_window": "24h", "status": "in_progress", "metadata": asked["metadata"], "polls": 0,
            "request_counts": {"total": lines.len(), "completed": 0, "failed": 0},
        });
        self.batches.insert(id, (key.to_owned(), batch.clone(), lines));
        told(&batch)
    }

    fn complete(&mut self, key: &str, batch: &mut Value, lines: &[Value]) {
        let results: Vec<String> = lines
            .iter()
            .map(|line| {
                let words = line["body"]["messages"][0]["content"].as_str().expect("text");
                json!({"id": "x", "custom_id": line["custom_id"], "error": null, "response": {
                "status_code": 200, "request_id": "q", "body": {
                    "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18",
                    "choices": [{"index": 0, "finish_reason": "stop", "message": {
                        "role": "assistant", "content": words.to_uppercase()}}],
                    "usage": {"prompt_tokens": words.len(), "completion_tokens": 10, "total_tokens": 0},
                }}})
                .to_string()
            })
            .collect();
        let count = results.len();
        let output = self.keep(key, "batch_output", "out.jsonl", results.join("\n").into_bytes());
        batch["status"] = "completed".into();
        batch["output_file_id"] = output["id"].clone();
        batch["request_counts"] = json!({"total": count, "completed": count, "failed": 0});
    }

    /// Anthropic's side.
    pub(super) fn anthropic(&mut self, seen: &Seen) -> Option<Vec<u8>> {
        let method = seen.line.split(' ').next().unwrap_or_default().to_owned();
        let path = seen.target().split('?').next().unwrap_or_default();
        let path: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let counts = |open: usize, done: usize| json!({"processing": open, "succeeded": done, "errored": 0, "canceled": 0, "expired": 0});
        match (method.as_str(), path.as_slice()) {
            ("POST", ["files"]) => {
                let id = self.id("file_");
                told(&json!({
                    "id": id, "type": "file", "filename": "x.txt", "mime_type": "text/plain",
                    "size_bytes": field(seen, "file").len(), "created_at": "2026-01-01T00:00:00Z",
                }))
            }
            ("POST", ["messages", "batches"]) => {
                let asked: Value = serde_json::from_slice(&seen.body).expect("JSON");
                let requests = asked["requests"].as_array().expect("requests").clone();
                assert_eq!(requests[0]["params"]["model"], "claude-haiku-4-5");
                let id = self.id("msgbatch_");
                let batch = json!({
                    "id": id, "type": "message_batch", "processing_status": "in_progress", "results_url": null,
                    "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
                    "request_counts": counts(requests.len(), 0),
                });
                self.batches.insert(id, (String::new(), batch.clone(), requests));
                told(&batch)
            }
            ("GET", ["messages", "batches", id]) => {
                let Some((_, batch, requests)) = self.batches.get_mut(*id) else { return missing(id) };
                let before = batch.clone();
                batch["processing_status"] = "ended".into();
                batch["results_url"] =
                    format!("https://api.anthropic.example/v1/messages/batches/{id}/results").into();
                batch["request_counts"] = counts(0, requests.len());
                told(&before)
            }
            ("GET", ["messages", "batches", id, "results"]) => {
                let Some((_, _, requests)) = self.batches.get(*id) else { return missing(id) };
                let called = self.called.as_deref().unwrap_or("claude-haiku-4-5-20251001");
                let lines: Vec<String> = requests
                    .iter()
                    .map(|request| {
                        json!({"custom_id": request["custom_id"], "result": {"type": "succeeded", "message": {
                            "id": "m", "type": "message", "role": "assistant", "model": called,
                            "content": [{"type": "text", "text": "tides"}], "stop_reason": "end_turn",
                            "stop_sequence": null, "usage": {"input_tokens": 100, "output_tokens": 20}}}})
                        .to_string()
                    })
                    .collect();
                answered(200, "application/x-jsonl", format!("{}\n", lines.join("\n")).as_bytes())
            }
            other => panic!("nobody asks for {other:?}"),
        }
    }
}

/// Dollars that are spent or held of a limit: a call that might cost more than that is refused and told what is left.
pub(super) fn taken(gateway: &Gateway, limit: f64) -> f64 {
    let body = r#"{"model":"small","max_tokens":999000000000,"messages":[{"role":"user","content":"x"}]}"#;
    let refused = post(gateway, "/ai/v1/chat/completions", "", body);
    assert_eq!(refused.status, 429, "{}", refused.text());
    let message = refused.json()["error"]["message"].as_str().expect("a message").to_owned();
    let left = message.split("has $").nth(1).and_then(|rest| rest.split(' ').next()).expect("what is left");
    limit - left.parse::<f64>().expect("a number")
}

pub(super) fn config(openai: &Upstream, anthropic: &Upstream) -> String {
    format!(
        r#"
consumers:
  - {{name: ours, keys: [{KEY}], models: ["*"]}}
  - {{name: theirs, keys: [{OTHER}], models: [claude]}}
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies:
      - keyAuth: {{headers: [x-api-key, authorization]}}
      - budget: {{amount: 1, per: month, name: monthly, key: consumer}}
    ai: {{stripPrefix: /ai, files: {{providers: [o, a]}}}}
ai:
  providers:
    - {{name: o, kind: openai, baseUrl: "http://{}/v1", keys: [one-key, another-key]}}
    - {{name: a, kind: anthropic, baseUrl: "http://{}", keys: [a-key]}}
  models:
    - {{name: small, targets: [{{provider: o, model: gpt-4o-mini}}]}}
    - {{name: claude, targets: [{{provider: a, model: claude-haiku-4-5}}]}}
"#,
        openai.address, anthropic.address
    )
}

fn said(gateway: &Gateway, arguments: &[&str]) -> Vec<String> {
    let base = format!("http://{}/ai", gateway.address);
    let all: Vec<&str> = [&[base.as_str(), KEY, OTHER][..], arguments].concat();
    let (well, text) = Peer::start(python(include_str!("files.py"), &all)).finish();
    assert!(well, "{text}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn files_and_batches_belong_to_the_caller_that_made_them() {
    let shops = (Arc::new(Mutex::new(Shop::default())), Arc::new(Mutex::new(Shop::default())));
    let (one, two) = (shops.0.clone(), shops.1.clone());
    let openai = Upstream::scripted(move |seen| one.lock().expect("not poisoned").openai(seen));
    let anthropic = Upstream::scripted(move |seen| two.lock().expect("not poisoned").anthropic(seen));
    let mut gateway = Gateway::start(&config(&openai, &anthropic));
    let mut made = said(&gateway, &["make"]);
    let ids = made.pop().expect("ids");
    let want = [
        "content True",
        "same True notes.txt user_data",
        "not theirs 404 no file `ID` here",
        "not theirs 404 no file `ID` here",
        "not theirs 404 no file `ID` here",
        "lists True 1",
        "chat read \"notes.txt\"",
        "elsewhere 400 nothing behind `claude` can take this request: `claude-haiku-4-5` is not where its files are",
        "unknown 404 line 2: no model `nobody` here",
        "forbidden 403 line 1: the key that was shown is not for the model `small`",
        "broken 400 line 2: EOF while parsing an object at line 1 column 1",
        "no batch 400 `input_file_id`: this file was not uploaded with the purpose `batch`",
        "not theirs 404 no file `ID` here",
        "batch in_progress True {'a': 'b'}",
        "not theirs 404 no batch `ID` here",
        "lists True 0",
        "gone 404 No such thing: ID",
        "claude in_progress",
        "claude refuses 404 requests[0]: no model `nobody` here",
        "not theirs 404 no batch `ID` here",
        "claude lists True 0",
        "claude file x.txt 3 True",
    ];
    for (line, want) in made.iter().zip(want) {
        assert_eq!(line, want);
    }
    let ids: Vec<&str> = ids.split(' ').skip(1).collect();
    assert!(ids[0].starts_with("batch_tg1") && ids[1].starts_with("msgbatch_tg1"), "{ids:?}");
    assert!(!ids.iter().any(|id| id.contains("raw")), "no id of a provider's comes through");
    // What both batches may cost at most is held: 2 × 50 tokens of 0.3 and 64 of 2.5, and their prompts.
    let held = taken(&gateway, 1.0);
    assert!((0.00019..0.0005).contains(&held), "{held}");

    // A killed process keeps what it held as spent; the ids go on.
    eventually("what is held is written", || gateway.folder.path().join("data/ai-made.jsonl").exists());
    gateway.restart("TERM");
    let after = said(&gateway, &["after", ids[0], ids[1]]);
    let want = [
        "results ['HELLO', 'THE LONGER QUESTION']",
        "not theirs 404 no file",
        "lists [(True, 'completed')] 0",
        "claude ['tides']",
        "claude ['tides']",
        "not theirs 404 no batch",
    ];
    assert_eq!(after, want);
    // 24 and 20 tokens at the prices of batches, once each, however often they were fetched.
    let mut told: Vec<(String, u64, u64, f64)> = Vec::new();
    eventually("two records that tell what batches spent", || {
        let records = gateway.records(0);
        let spent = records.iter().map(|record| &record["ai"]).filter(|ai| ai["operation"] != "chat");
        let spent = spent.filter(|ai| ai["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0));
        told = spent
            .map(|ai| {
                let tokens = |name: &str| ai[name].as_u64().expect("tokens");
                let operation = ai["operation"].as_str().expect("text").to_owned();
                let cost = ai["cost_usd"].as_f64().expect("a price");
                (operation, tokens("input_tokens"), tokens("output_tokens"), cost * 1e6)
            })
            .collect();
        told.len() >= 2
    });
    assert_eq!(told.len(), 2, "{told:?}");
    // Those of several workers come in any order.
    told.sort_by_key(|(_, input, ..)| *input);
    assert_eq!((told[0].0.as_str(), told[0].1, told[0].2), ("files", 24, 20));
    assert!((told[0].3 - 7.8).abs() < 1e-6, "24 × 0.075 + 20 × 0.3: {told:?}");
    assert_eq!((told[1].0.as_str(), told[1].1, told[1].2), ("batches", 100, 20));
    assert!((told[1].3 - 100.0).abs() < 1e-6, "100 × 0.5 + 20 × 2.5: {told:?}");
    for seen in openai.seen() {
        assert!(!format!("{seen:?}").contains("tg1"), "no sealed id goes to a provider: {}", seen.line);
    }
}

#[test]
fn a_batch_is_settled_to_what_its_results_tell() {
    let shop = Arc::new(Mutex::new(Shop::default()));
    let openai = Upstream::scripted(|seen| panic!("nobody asks for {}", seen.line));
    let kept = shop.clone();
    let anthropic = Upstream::scripted(move |seen| kept.lock().expect("not poisoned").anthropic(seen));
    let gateway = Gateway::start(&config(&openai, &anthropic).replace("amount: 1,", "amount: 0.02,"));
    let create = |tokens: u64| {
        let body = json!({"requests": [{"custom_id": "a", "params": {
            "model": "claude", "max_tokens": tokens, "messages": [{"role": "user", "content": "hello"}]}}]});
        post(&gateway, "/ai/v1/messages/batches", "\nanthropic-version: 2023-06-01", &body.to_string())
    };
    let refused = create(10_000);
    assert_eq!(refused.status, 429, "10,000 × 5 is more than that: {}", refused.text());
    let made = create(3000);
    assert_eq!(made.status, 200, "{}", made.text());
    let held = taken(&gateway, 0.02);
    assert!((0.015..0.016).contains(&held), "{held}");
    assert_eq!(create(3000).status, 429, "the first one holds most of it");
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let get = |path: &str| {
        let head = format!("GET /ai/v1/messages/batches/{id}{path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}");
        gateway.send(&head, b"")
    };
    assert_eq!(get("").json()["processing_status"], "in_progress");
    let ended = get("").json();
    assert_eq!(ended["results_url"], format!("/v1/messages/batches/{id}/results"));
    assert_eq!(get("/results").status, 200);
    eventually("it is settled to 100 × 0.5 + 20 × 2.5", || (taken(&gateway, 0.02) - 0.0001).abs() < 1e-9);
    assert_eq!(create(3000).status, 200, "and the rest may be spent");
}

#[test]
fn a_route_without_files_says_who_can_mend_it() {
    let upstream = Upstream::scripted(|seen| panic!("nobody asks for {}", seen.line));
    let gateway = super::gateway(
        &[("p", "openai", format!("http://{}/v1", upstream.address))],
        &[("any", &[("p", "m-1", 1)])],
        "",
    );
    let answer = post(&gateway, "/ai/v1/batches", "", "{}");
    assert_eq!(answer.status, 501);
    assert!(answer.text().contains("`files.providers`"), "{}", answer.text());
}

#[test]
fn gateways_with_one_key_take_each_others_ids_and_rules_that_cannot_read_batches_refuse_them() {
    let openai = Upstream::scripted(|seen| panic!("nobody asks for {}", seen.line));
    let shop = Arc::new(Mutex::new(Shop::default()));
    let anthropic = Upstream::scripted(move |seen| shop.lock().expect("not poisoned").anthropic(seen));
    let with = |key: &str, policies: &str| {
        let text = config(&openai, &anthropic);
        let text = text.replace("providers: [o, a]", &format!("providers: [o, a], idKey: \"{key}\""));
        Gateway::start(&text.replace("      - budget:", &format!("{policies}      - budget:")))
    };
    let rules = "      - guardrails: {rules: [{name: medicine, words: [dose]}]}\n";
    let (one, two) = (with("a key of sixteen or more", ""), with("a key of sixteen or more", rules));
    let three = with("another key of such a length", "");
    let body = r#"{"requests":[{"custom_id":"a","params":{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"x"}]}}]}"#;
    let made = post(&one, "/ai/v1/messages/batches", "\nanthropic-version: 2023-06-01", body);
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let get = |gateway: &Gateway, id: &str| {
        gateway
            .send(&format!("GET /ai/v1/messages/batches/{id} HTTP/1.1\nhost: gw\nx-api-key: {KEY}"), b"")
            .status
    };
    assert_eq!((get(&two, &id), get(&three, &id)), (200, 404));
    assert_eq!(get(&one, "msgbatch_raw1"), 404, "a provider's own id is nobody's");
    let refused = post(&two, "/ai/v1/messages/batches", "", body);
    assert_eq!(refused.status, 501, "{}", refused.text());
    let other = post(&one, "/ai/v1/messages/batches", "\nx-tidegate-provider: o", body);
    assert_eq!(other.status, 400, "no batches of Anthropic's are at `o`: {}", other.text());
}
