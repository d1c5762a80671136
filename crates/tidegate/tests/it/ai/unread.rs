//! Endpoints whose answers no rule can read: where a route's rules must, they are refused before anybody is asked.

use serde_json::json;

use super::{gateway, post, provider};
use crate::harness::{Gateway, Upstream};

/// What is kept of a conversation is for its vendor alone to read.
const COMPACTED: &str = r#"{"id":"resp_1","object":"response.compaction","created_at":1,"output":[{"id":"cmp_1","type":"compaction","encrypted_content":"gAAA"}],"usage":{"input_tokens":9,"output_tokens":4,"total_tokens":13}}"#;

fn ruled(upstream: &Upstream, rules: &str) -> Gateway {
    let text = super::config(
        &[("one", "openai", format!("http://{}/v1", upstream.address))],
        &[("smart", &[("one", "gpt-5", 1)])],
        "",
    );
    let policies = format!("x-goog-api-key]}}}}, {{guardrails: {{rules: [{rules}]}}}}]");
    Gateway::start(&text.replace("x-goog-api-key]}}]", &policies))
}

#[test]
fn what_no_rule_can_read_is_refused_where_rules_read_answers() {
    let upstream = Upstream::fixed(200, COMPACTED);
    let compact = json!({"model": "smart", "input": "write to ann@example.org"}).to_string();
    let complete = json!({"model": "smart", "prompt": "write to ann@example.org"}).to_string();
    // What is hidden from the model is put back in what it says: an answer is read for that, too.
    for rules in
        ["{name: rivals, words: [Acme], on: answer}", "{name: personal, mode: mask, personalData: [email]}"]
    {
        let gateway = ruled(&upstream, rules);
        for (path, body) in [("/ai/v1/responses/compact", &compact), ("/ai/v1/completions", &complete)] {
            let refused = post(&gateway, path, "", body);
            assert_eq!(refused.status, 501, "{rules} {path}: {}", refused.text());
            let error = &refused.json()["error"];
            assert!(
                error["message"].as_str().is_some_and(|text| text.contains("rules of this route")),
                "{error}"
            );
        }
    }
    assert!(upstream.seen().is_empty(), "nobody is asked");
    let gateway = ruled(&upstream, "{name: rivals, words: [Acme], on: request}");
    let answer = post(&gateway, "/ai/v1/responses/compact", "", &compact);
    // Its id is known to its consumer alone; all else is the provider's.
    let (mut told, mut own) =
        (answer.json(), serde_json::from_str::<serde_json::Value>(COMPACTED).expect("JSON"));
    assert!(told["id"].as_str().is_some_and(|id| id.starts_with("resp_")), "{told}");
    (told["id"], own["id"]) = (json!(null), json!(null));
    assert_eq!((answer.status, told), (200, own));
}

/// Two tools that would be one name to the target.
#[test]
fn calls_of_a_hand_and_of_a_function_beside_it_go_where_they_belong() {
    let upstream = super::parrot::provider(ai::dialect::Dialect::Anthropic, |request| {
        // It calls all that it was told of.
        let call = |tool: &ai::canon::Tool| ai::canon::Part::ToolCall {
            id: format!("toolu_{}", tool.name),
            name: tool.name.clone(),
            arguments: json!({"commands": ["ls"]}).to_string(),
            custom: false,
            proof: None,
            cache: None,
        };
        let mut answer = super::parrot::says("");
        answer.choices[0].parts = request.tools.iter().map(call).collect();
        answer.choices[0].finish = Some(ai::canon::Finish::ToolCalls);
        answer
    });
    let gateway = super::parrot::gateway(&[(ai::dialect::Dialect::Anthropic, &upstream)], "", "");
    let scoped = json!({"type": "namespace", "name": "functions", "tools": [{"type": "function", "name": "shell", "parameters": {"type": "object"}}]});
    let plain = json!({"type": "function", "name": "shell", "parameters": {"type": "object"}});
    for (other, want) in [
        (scoped, vec![("shell_call", None, None), ("function_call", Some("shell"), Some("functions"))]),
        (plain, vec![("function_call", Some("shell"), None)]),
    ] {
        let body = json!({"model": "anthropic", "input": "list", "tools": [{"type": "shell", "environment": {"type": "local"}}, other]});
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = stream.into();
            let answer = post(&gateway, "/ai/v1/responses", "", &body.to_string());
            assert_eq!(answer.status, 200, "{}", answer.text());
            let items = match stream {
                false => answer.json()["output"].clone(),
                true => {
                    let text = answer.text();
                    let end = text.lines().filter_map(|line| line.strip_prefix("data: "));
                    let mut end = end.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
                    let end = end.rfind(|event| event["type"] == "response.completed").expect("an end");
                    end["response"]["output"].clone()
                }
            };
            let calls: Vec<_> = (items.as_array().expect("items").iter())
                .filter(|item| item["type"] != "message")
                .map(|item| {
                    (
                        item["type"].as_str().unwrap_or_default(),
                        item["name"].as_str(),
                        item["namespace"].as_str(),
                    )
                })
                .collect();
            assert_eq!(calls, want, "stream {stream}: {items}");
        }
    }
}

/// What stands between a namespace and its names is no letter of a name.
#[test]
fn a_name_with_the_separator_of_namespaces_is_refused() {
    let upstream = provider::of(ai::dialect::Dialect::Anthropic);
    let gateway = gateway(
        &[("one", "anthropic", format!("http://{}", upstream.address))],
        &[("smart", &[("one", "claude-sonnet-4-5", 1)])],
        "",
    );
    let body = |name: &str, text: &str| {
        json!({"model": "smart", "messages": [{"role": "user", "content": text}],
               "tools": [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}]})
        .to_string()
    };
    let refused = post(&gateway, "/ai/v1/chat/completions", "", &body("a\u{1f}b", "case: text"));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("U+001F"), "{}", refused.text());
    let answer = post(&gateway, "/ai/v1/chat/completions", "", &body("b", "case: text \u{1f}"));
    assert_eq!(answer.status, 200, "texts may hold it: {}", answer.text());
}
