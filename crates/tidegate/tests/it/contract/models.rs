//! The AI gateway of the reference configuration, with its vendors' addresses changed to one of the test.

use ai::canon::{Finish, Part};
use serde_json::{Value, json};

use super::*;
use crate::prompt::model::{answer, read, written};

/// Answers as OpenAI and as Anthropic, with 40,000 tokens spent.
fn vendor() -> Upstream {
    Upstream::scripted(|seen| {
        let body = match seen.target() {
            "/v1/chat/completions" => {
                r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30000,"completion_tokens":10000,"total_tokens":40000}}"#
            }
            "/v1/messages" => {
                r#"{"id":"m","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":30000,"output_tokens":10000}}"#
            }
            _ => return None,
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Some((head + body).into_bytes())
    })
}

#[test]
fn a_consumers_tokens_are_bounded_per_minute() {
    let (behind, vendor) = (Behind::echoes(), vendor());
    let served = Served::changed(&behind, "", |text| {
        let openai = format!("kind: openai, baseUrl: \"http://{}/v1\", keys: [{{env: OPENAI", vendor.address);
        let claude = format!("kind: anthropic, baseUrl: \"http://{}\", keys", vendor.address);
        let text = replaced(&text, "kind: openai, keys: [{env: OPENAI", &openai);
        replaced(&text, "kind: anthropic, keys", &claude)
    });
    let ask = |key: &str| {
        let body = r#"{"model":"smart","max_tokens":20000,"messages":[{"role":"user","content":"Hello"}]}"#;
        let head = format!(
            "POST /ai/v1/chat/completions HTTP/1.1\nhost: gw\nauthorization: Bearer {key}\ncontent-length: {}",
            body.len()
        );
        served.gateway.send(&head, body.as_bytes())
    };
    for _ in 0..2 {
        let answer = ask(GOLD);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("ratelimit-policy"), Some("\"tokens\";q=100000;w=60"));
    }
    let refused = ask(GOLD);
    assert_eq!(
        refused.status,
        429,
        "80,000 are spent, and up to 20,000 and the prompt might be: {}",
        refused.text()
    );
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_some());
    assert_eq!(ask(WEB).status, 200, "another consumer has its own");
    assert_eq!(vendor.seen().len(), 3);
}

/// Whoever is asked in whatever dialect, embeddings as well.
fn anybody() -> Upstream {
    Upstream::scripted(|seen| {
        if seen.target().ends_with("/embeddings") {
            let body = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,0.5]}],"model":"e","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
            return Some(crate::prompt::model::fails(200, body));
        }
        let (dialect, request) = read(seen);
        Some(written(dialect, &request, answer(vec![Part::text("Hi".to_owned())], Finish::Stop)))
    })
}

/// The same, all of whose paths have a word before them, or `/other`.
fn below(word: &'static str) -> Upstream {
    Upstream::scripted(move |seen| {
        let mut seen = seen.clone();
        for word in [word, "/other"] {
            seen.line = seen.line.replacen(&format!(" {word}/"), " /", 1);
        }
        let (dialect, request) = read(&seen);
        Some(written(dialect, &request, answer(vec![Part::text("Hi".to_owned())], Finish::Stop)))
    })
}

/// The reference with this provider behind all its providers.
fn before(models: Upstream, change: impl FnOnce(String) -> String) -> (Behind, Served) {
    let behind = Behind { models, ..Behind::echoes() };
    let served = Served::changed(&behind, "", change);
    (behind, served)
}

/// Posts JSON below `/ai`, with further header lines.
fn post(served: &Served, path: &str, headers: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST /ai{path} HTTP/1.1\nhost: gw\ncontent-type: application/json\ncontent-length: {length}{headers}"
    );
    served.gateway.send(&head, body.as_bytes())
}

/// The same, which is answered well.
fn said(served: &Served, path: &str, headers: &str, body: &Value) -> Value {
    let answer = post(served, path, headers, body);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[test]
fn every_dialects_endpoints_stand_under_one_prefix() {
    let (_behind, served) = before(anybody(), |text| text);
    let key = format!("\nx-api-key: {GOLD}");
    let turn = json!([{"role": "user", "content": "Hello"}]);
    let chat = said(&served, "/v1/chat/completions", &key, &json!({"model": "smart", "messages": turn}));
    assert_eq!(chat["choices"][0]["message"]["content"], "Hi", "{chat}");
    let responses = said(&served, "/v1/responses", &key, &json!({"model": "smart", "input": "Hello"}));
    assert_eq!(responses["output"][0]["content"][0]["text"], "Hi", "{responses}");
    let embeddings = json!({"model": "openai/text-embedding-3-small", "input": "Hello"});
    let embeddings = said(&served, "/v1/embeddings", &key, &embeddings);
    assert_eq!(embeddings["data"][0]["embedding"], json!([0.25, 0.5]), "{embeddings}");
    let messages = json!({"model": "smart", "max_tokens": 100, "messages": turn});
    let messages = said(&served, "/v1/messages", &format!("{key}\nanthropic-version: 2023-06-01"), &messages);
    assert_eq!(messages["content"][0]["text"], "Hi", "{messages}");
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
    let gemini = said(&served, "/v1beta/models/smart:generateContent", &key, &contents);
    assert_eq!(gemini["candidates"][0]["content"]["parts"][0]["text"], "Hi", "{gemini}");
    let listed = served.gateway.send(&format!("GET /ai/v1/models HTTP/1.1\nhost: gw{key}"), b"").json();
    let names: Vec<&Value> =
        listed["data"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    assert!(names.contains(&&json!("smart")), "{listed}");
    // Without the prefix there is nothing.
    assert_eq!(served.ask("GET /v1/models", &key).status, 404);
}

#[test]
fn every_vendors_sdk_shows_its_key_where_it_does_and_the_vendor_gets_its_own() {
    let (behind, served) = before(anybody(), |text| text);
    let turn = json!([{"role": "user", "content": "Hello"}]);
    for (path, header, body) in [
        ("/v1/chat/completions", "authorization: Bearer ", json!({"model": "smart", "messages": turn})),
        ("/v1/messages", "x-api-key: ", json!({"model": "smart", "max_tokens": 100, "messages": turn})),
        (
            "/v1beta/models/smart:generateContent",
            "x-goog-api-key: ",
            json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
        ),
    ] {
        said(&served, path, &format!("\n{header}{GOLD}"), &body);
        for wrong in ["", "\nx-other: a", &format!("\n{header}not-a-key")] {
            assert_eq!(post(&served, path, wrong, &body).status, 401, "{path} {wrong}");
        }
    }
    let seen = behind.models.seen();
    assert_eq!(seen.len(), 3);
    for one in &seen {
        let shown = [one.header("authorization"), one.header("x-api-key"), one.header("x-goog-api-key")];
        let of_openai = [Some("Bearer openai-key-of-the-test"), None, None];
        let of_claude = [None, Some("anthropic-key-of-the-test"), None];
        assert!(shown == of_openai || shown == of_claude, "{shown:?}");
    }
}

#[test]
fn any_model_of_a_provider_is_had_by_its_own_name() {
    let (behind, served) = before(anybody(), |text| text);
    let key = format!("\nx-api-key: {GOLD}");
    let turn = json!([{"role": "user", "content": "Hello"}]);
    for model in ["gpt-4o-mini", "gpt-4.1", "a-model-that-no-catalogue-has"] {
        let asked = json!({"model": format!("openai/{model}"), "messages": turn});
        said(&served, "/v1/chat/completions", &key, &asked);
        let seen = behind.models.seen().pop().expect("a request");
        assert_eq!(seen.header("authorization"), Some("Bearer openai-key-of-the-test"));
        let sent: Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(sent["model"], model, "{sent}");
    }
    // The pattern is of one provider, and of no name without it.
    for model in ["claude/claude-sonnet-4-5", "gpt-4o-mini"] {
        let refused = post(&served, "/v1/chat/completions", &key, &json!({"model": model, "messages": turn}));
        assert_eq!(refused.status, 404, "{model}: {}", refused.text());
    }
    assert_eq!(behind.models.seen().len(), 3);
}

#[test]
fn a_target_that_fails_before_its_first_byte_gives_way_to_the_other() {
    for is_openai_ill in [true, false] {
        let (behind, served) = before(
            Upstream::scripted(move |seen| {
                let is_openai = seen.target().starts_with("/v1/chat");
                // An ill one closes the connection, or says that it cannot.
                if is_openai == is_openai_ill {
                    return (seen.body.len() % 2 == 0).then(|| crate::prompt::model::fails(503, "{}"));
                }
                let (dialect, request) = read(seen);
                Some(written(dialect, &request, answer(vec![Part::text("Hi".to_owned())], Finish::Stop)))
            }),
            |text| text,
        );
        let key = format!("\nx-api-key: {GOLD}");
        for turn in 0..10 {
            let content = "?".repeat(turn + 1);
            let asked = json!({"model": "smart", "max_tokens": 100, "messages": [{"role": "user", "content": content}]});
            let told = said(&served, "/v1/chat/completions", &key, &asked);
            assert_eq!(told["choices"][0]["message"]["content"], "Hi", "{told}");
        }
        let seen = behind.models.seen();
        let at_openai = seen.iter().filter(|one| one.target().starts_with("/v1/chat")).count();
        let (ill, well) = match is_openai_ill {
            true => (at_openai, seen.len() - at_openai),
            false => (seen.len() - at_openai, at_openai),
        };
        assert!(well == 10 && ill >= 1, "{ill} {well}");
    }
}

#[test]
fn base_urls_point_any_kind_anywhere() {
    // `local` of the reference has no name for clients: one is put there.
    let own = below("/elsewhere");
    let base = format!("http://{}/elsewhere/v1", own.address);
    let (behind, served) = before(anybody(), |text| {
        let text = replaced(&text, "http://127.0.0.1:11434/v1", &base);
        let more = "    - name: \"local/*\"\n      targets: [{provider: local, model: \"*\"}]\n";
        // One of another kind, there, too.
        let kind = format!(
            "    - {{name: other, kind: anthropic, baseUrl: \"http://{}/other\"}}\n  models:\n",
            own.address
        );
        let text = replaced(&text, "  models:\n", &kind);
        let text = if text.ends_with('\n') { text } else { text + "\n" };
        format!("{text}{more}    - name: \"other/*\"\n      targets: [{{provider: other, model: \"*\"}}]\n")
    });
    let key = format!("\nx-api-key: {GOLD}");
    for model in ["local/llama3.2", "other/claude-sonnet-4-5"] {
        let asked =
            json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]});
        let told = said(&served, "/v1/chat/completions", &key, &asked);
        assert_eq!(told["choices"][0]["message"]["content"], "Hi", "{told}");
    }
    let seen = own.seen();
    let targets: Vec<&str> = seen.iter().map(|one| one.target()).collect();
    assert_eq!(targets, ["/elsewhere/v1/chat/completions", "/other/v1/messages"]);
    assert!(behind.models.seen().is_empty());
}
