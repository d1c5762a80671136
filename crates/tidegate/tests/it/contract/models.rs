//! The AI gateway of the reference configuration, with its vendors' addresses changed to one of the test.

use super::*;

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
