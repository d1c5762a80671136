//! What OpenAI's Responses keep: answers and conversations through the official SDK, each with the caller that made it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{post, post_to};
use crate::harness::{Answer, Gateway, Peer, Seen, Upstream, python};

const KEYS: [&str; 2] = ["the-first-ones-own-key", "the-strangers-own-key"];

/// What a provider keeps.
#[derive(Default)]
struct Kept {
    answers: BTreeMap<String, Value>,
    talks: BTreeMap<String, Value>,
    count: usize,
}

fn written(status: u16, kind: &str, text: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{text}", text.len())
        .into_bytes()
}

fn gone(id: &str) -> (u16, Value) {
    let message = format!("'{id}' not found.");
    (
        404,
        json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}}),
    )
}

impl Kept {
    /// Makes an answer; a body that goes on from something unknown is refused.
    fn create(&mut self, asked: &Value) -> (u16, Value) {
        let before = asked["previous_response_id"].as_str();
        let talk = asked["conversation"].as_str();
        if let Some(id) = before.filter(|id| !self.answers.contains_key(*id)) {
            return gone(id);
        }
        if let Some(id) = talk.filter(|id| !self.talks.contains_key(*id)) {
            return gone(id);
        }
        self.count += 1;
        let id = format!("resp_{}", self.count);
        let is_later = asked["background"] == true;
        let said = format!("\"answer\" {} resp_1", self.count);
        let answer = json!({
            "id": id, "object": "response", "created_at": 1, "model": "gpt-4o",
            "status": if is_later { "queued" } else { "completed" }, "parallel_tool_calls": true,
            "tool_choice": "auto", "tools": [], "previous_response_id": before,
            "conversation": talk.map(|id| json!({"id": id})),
            "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": said, "annotations": []}]}],
            "usage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
        });
        self.answers.insert(id, answer.clone());
        (200, answer)
    }

    fn answer(&mut self, seen: &Seen) -> Vec<u8> {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let method = seen.line.split(' ').next().unwrap_or_default();
        let path = seen.target().split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let item = json!({"type": "message", "id": "msg_9", "role": "user", "status": "completed",
            "content": [{"type": "input_text", "text": "x"}]});
        let list = json!({"object": "list", "data": [item], "first_id": "msg_9", "last_id": "msg_9",
            "has_more": false});
        let (status, told) = match (method, segments.as_slice()) {
            ("POST", ["responses"]) => {
                let (status, told) = self.create(&asked);
                if asked["stream"] == true && status == 200 {
                    return written(200, "text/event-stream", &stream(&told));
                }
                (status, told)
            }
            ("GET", ["responses", id]) => {
                self.answers.get(*id).map_or_else(|| gone(id), |answer| (200, answer.clone()))
            }
            ("DELETE", ["responses", id]) => match self.answers.remove(*id) {
                Some(_) => (200, json!({"id": id, "object": "response", "deleted": true})),
                None => gone(id),
            },
            ("POST", ["responses", id, "cancel"]) => match self.answers.get_mut(*id) {
                Some(answer) => {
                    answer["status"] = "cancelled".into();
                    (200, answer.clone())
                }
                None => gone(id),
            },
            ("GET", ["responses", _, "input_items"] | ["conversations", _, "items"]) => (200, list),
            ("POST", ["conversations", _, "items"]) => (200, list),
            ("GET", ["conversations", _, "items", _]) => (200, item),
            ("POST", ["conversations"]) => {
                self.count += 1;
                let id = format!("conv_{}", self.count);
                let talk = json!({"id": id, "object": "conversation", "created_at": 1, "metadata": {}});
                self.talks.insert(id, talk.clone());
                (200, talk)
            }
            ("POST", ["conversations", id]) => match self.talks.get_mut(*id) {
                Some(talk) => {
                    talk["metadata"] = asked["metadata"].clone();
                    (200, talk.clone())
                }
                None => gone(id),
            },
            ("GET", ["conversations", id]) => {
                self.talks.get(*id).map_or_else(|| gone(id), |talk| (200, talk.clone()))
            }
            ("DELETE", ["conversations", id]) => {
                self.talks.remove(*id);
                (200, json!({"id": id, "object": "conversation.deleted", "deleted": true}))
            }
            other => panic!("nobody asks for {other:?}"),
        };
        written(status, "application/json", &told.to_string())
    }
}

/// The events of an answer.
fn stream(answer: &Value) -> String {
    let mut begun = answer.clone();
    begun["output"] = json!([]);
    begun["status"] = "in_progress".into();
    let text = answer["output"][0]["content"][0]["text"].clone();
    let part = json!({"type": "output_text", "text": "", "annotations": []});
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []});
    let events = [
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []}),
        json!({"type": "response.completed", "response": answer}),
    ];
    let mut out = String::new();
    for (number, mut event) in events.into_iter().enumerate() {
        event["sequence_number"] = number.into();
        out += &format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"));
    }
    out
}

fn provider() -> Upstream {
    let kept = Arc::new(Mutex::new(Kept::default()));
    Upstream::scripted(move |seen| Some(kept.lock().expect("locked").answer(seen)))
}

fn gateway(kind: &str, base: &str, policies: &str) -> Gateway {
    Gateway::start(&format!(
        "consumers:
  - {{name: first, keys: [{}]}}
  - {{name: stranger, keys: [{}]}}
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{headers: [x-api-key, authorization]}}}}{policies}]
    ai: {{stripPrefix: /ai}}
ai:
  providers: [{{name: p, kind: {kind}, baseUrl: \"{base}\", keys: [key-number-one, key-number-two]}}]
  models: [{{name: smart, targets: [{{provider: p, model: gpt-4o}}]}}]
",
        KEYS[0], KEYS[1]
    ))
}

#[test]
fn the_official_sdk_finds_what_it_keeps_and_strangers_find_nothing() {
    let upstream = provider();
    let gateway = gateway("openai", &format!("http://{}/v1", upstream.address), "");
    let base = format!("http://{}/ai", gateway.address);
    let client = Peer::start(python(include_str!("stored.py"), &[&base, KEYS[0], KEYS[1]]));
    let (ended_well, text) = client.finish();
    assert!(ended_well, "{text}");
    let wanted = r#"created "answer" 1 resp_1 True
retrieved True "answer" 1 resp_1
items ['msg_9']
next True "answer" 2 resp_1
streamed True True "answer" 3 resp_1
streamed is kept True
later queued cancelled
talk True True
talk's items 1
added msg_9 msg_9
updated {'a': 'b'}
in talk True "answer" 6 resp_1
stranger's answer 404
stranger's items 404
stranger deletes 404
stranger cancels 404
stranger goes on 400
stranger's talk 404
stranger joins 404
the provider's own id 404
the provider's own before 400
deleted 404
talk deleted True"#;
    assert_eq!(text.trim_end(), wanted);
    // What was made with a key is asked for with the same one.
    let keys: Vec<(String, String)> = upstream
        .seen()
        .iter()
        .map(|seen| (seen.target().to_owned(), seen.header("authorization").unwrap_or_default().to_owned()))
        .collect();
    let talk: Vec<&(String, String)> =
        keys.iter().filter(|(target, _)| target.contains("/conversations/")).collect();
    assert!(talk.len() > 3 && talk.windows(2).all(|pair| pair[0].1 == pair[1].1), "{keys:?}");
    assert!(keys.iter().all(|(target, _)| !target.contains("tg1")), "{keys:?}");
}

#[test]
fn an_id_outlives_the_gateway_and_the_bytes_beside_it_stay() {
    let upstream = provider();
    let gateway = gateway("openai", &format!("http://{}/v1", upstream.address), "");
    let ask = |body: &str| -> Answer { post_to(&gateway, "/ai/v1/responses", KEYS[0], body) };
    let answer = ask(r#"{"model":"smart","input":"x","previous_response_id":null}"#);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("resp_tg1"), "{id}");
    let length = answer.header("content-length").and_then(|text| text.parse().ok());
    assert_eq!(length, Some(answer.body.len()));
    let text = answer.text();
    assert!(text.contains(r#"\"answer\" 1 resp_1"#), "what is said is not touched: {text}");
    let again = ask(&format!(r#"{{"model":"smart","input":"y","previous_response_id":"{id}"}}"#));
    assert_eq!(again.json()["previous_response_id"].as_str(), Some(&*id), "{}", again.text());
    for odd in [r#"{"id":"resp_1"}"#, "7", r#""resp_1""#] {
        let refused = ask(&format!(r#"{{"model":"smart","input":"y","conversation":{odd}}}"#));
        assert_eq!(refused.status, 404, "{odd}: {}", refused.text());
    }
    let twice = ask(&format!(
        r#"{{"model":"smart","input":"y","previous_response_id":"{id}","previous_response_id":"resp_1"}}"#
    ));
    assert_eq!(twice.status, 400, "two readers could read it differently");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn what_comes_later_is_refused_under_a_budget_and_elsewhere_nothing_is_kept() {
    let upstream = provider();
    let base = format!("http://{}/v1", upstream.address);
    let body = r#"{"model":"smart","input":"x","background":true}"#;
    let metered = gateway("openai", &base, ", {budget: {amount: 10, key: consumer, name: b}}");
    let refused = post_to(&metered, "/ai/v1/responses", KEYS[0], body);
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("`background`"), "{}", refused.text());
    assert!(upstream.seen().is_empty());
    let guarded = gateway("openai", &base, ", {guardrails: {rules: [{name: w, words: [secret]}]}}");
    let head = format!("GET /ai/v1/responses/resp_tg1AAAA HTTP/1.1\nhost: gw\nx-api-key: {}", KEYS[0]);
    assert_eq!(guarded.send(&head, b"").status, 501);
    let other = gateway("anthropic", &format!("http://{}", upstream.address), "");
    let refused = post_to(&other, "/ai/v1/conversations", KEYS[0], "{}");
    assert_eq!(refused.status, 501, "{}", refused.text());
    assert!(refused.text().contains("OpenAI's Responses"), "{}", refused.text());
    let refused = post_to(
        &other,
        "/ai/v1/responses",
        KEYS[0],
        r#"{"model":"smart","input":"x","previous_response_id":"tg-1"}"#,
    );
    assert_eq!(refused.status, 400, "{}", refused.text());
    let unkeyed = post(&other, "/ai/v1/conversations", "", "{}");
    assert_eq!(unkeyed.status, 401);
}
