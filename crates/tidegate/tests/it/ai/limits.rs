//! Limits of tokens, virtual keys and receipts.

use std::{io::Write as _, net::TcpStream};

use ai::dialect::Dialect;
use serde_json::json;

use super::{post, provider};
use crate::harness::{Answer, Gateway, Upstream, eventually, read_request, run};

/// A gateway with a consumer `app` of these further settings, these policies of the route, targets of `smart` in their
/// order as providers `p0`, `p1`, …, and further settings of `ai`.
pub(super) fn metered(consumer: &str, policies: &str, targets: &[&str], ai: &str) -> Gateway {
    let mut text = format!(
        "consumers:
  - {{name: app, keys: [{}]{consumer}}}
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{headers: [x-api-key, authorization]}}}}{policies}]
    ai: {{stripPrefix: /ai, maxBodySize: 64KiB}}
ai:
  providers:
",
        super::KEY
    );
    for (index, base) in targets.iter().enumerate() {
        text += &format!(
            "    - {{name: p{index}, kind: openai, baseUrl: \"{base}\", timeouts: {{request: 1s}}}}\n"
        );
    }
    text += "  models:\n    - name: smart\n      targets:\n";
    for index in 0..targets.len() {
        let weight = u8::from(index == 0);
        text += &format!("        - {{provider: p{index}, model: gpt-4o, weight: {weight}}}\n");
    }
    text += ai;
    Gateway::start(&text)
}

pub(super) fn base(upstream: &Upstream) -> String {
    format!("http://{}/v1", upstream.address)
}

/// A request for up to so many tokens.
pub(super) fn ask(gateway: &Gateway, most: u64, more: &str) -> Answer {
    let body = format!(
        r#"{{"model":"smart","max_tokens":{most}{more},"messages":[{{"role":"user","content":"case: text"}}]}}"#
    );
    post(gateway, "/ai/v1/chat/completions", "", &body)
}

/// An answer with this usage.
pub(super) fn told(input: u64, output: u64) -> Upstream {
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}});
    Upstream::fixed(200, &body.to_string())
}

#[test]
fn tokens_are_bounded_and_the_callers_dialect_tells_of_it() {
    let upstream = told(300, 300);
    let limit = ", {tokenRateLimit: {tokens: 2000, window: 1h, key: consumer, name: tpm}}";
    let gateway = metered("", limit, &[&base(&upstream)], "");
    for round in 1..=3 {
        let answer = ask(&gateway, 500, "");
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        assert_eq!(answer.header("ratelimit-policy"), Some("\"tpm\";q=2000;w=3600"));
    }
    let refused = ask(&gateway, 500, "");
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (429, Some("rate_limit_exceeded"))
    );
    let after: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    // 1,800 are spent; 500 and the prompt come back at 2,000 an hour.
    assert!((500..1200).contains(&after), "{after}");
    assert!(refused.header("ratelimit").is_some_and(|text| text.starts_with("\"tpm\";r=")), "{refused:?}");
    let body = r#"{"model":"smart","max_tokens":500,"messages":[{"role":"user","content":"hi"}]}"#;
    let anthropic = post(&gateway, "/ai/v1/messages", "\nanthropic-version: 2023-06-01", body);
    assert_eq!(
        (anthropic.status, anthropic.json()["error"]["type"].as_str()),
        (429, Some("rate_limit_error"))
    );
    assert_eq!(ask(&gateway, 50, "").status, 200, "a shorter answer has room");
    assert_eq!(upstream.seen().len(), 4);
    let stopped = gateway.records(6).iter().filter(|line| line["stopped_by"] == "tokenRateLimit").count();
    assert_eq!(stopped, 2);
}

#[test]
fn a_reload_forgets_nothing_and_a_consumers_own_limit_counts_beside_the_routes() {
    let upstream = told(300, 300);
    let own = ", policies: [{tokenRateLimit: {output: 600, window: 1h, name: own}}]";
    let route = ", {tokenRateLimit: {tokens: 100000, window: 1h}}";
    let gateway = metered(own, route, &[&base(&upstream)], "");
    assert_eq!(ask(&gateway, 300, "").status, 200);
    let answer = ask(&gateway, 300, "");
    assert_eq!(answer.status, 200);
    let text = std::fs::read_to_string(gateway.config()).expect("a file");
    let rest = text.split_once('\n').expect("lines").1;
    gateway.reload(&rest.replace("request: 1s", "request: 2s"));
    let refused = ask(&gateway, 300, "");
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("ratelimit").is_some_and(|text| text.contains("\"own-output\"")), "{refused:?}");
}

#[test]
fn the_record_of_a_refused_call_says_which_model_it_was_for_and_why() {
    let upstream = told(300, 300);
    let budget = ", {budget: {amount: 0.001, per: day, key: consumer, name: b}}";
    let limit = ", {tokenRateLimit: {tokens: 20, window: 1h, name: t}}";
    let rules = ", {guardrails: {rules: [{name: no, words: [Acme]}]}}";
    let more = "    - {name: other, targets: [{provider: p0, model: gpt-4o}]}
    - {name: free, targets: [{provider: p0, model: gpt-nobody-knows}]}
";
    let stream = r#"{"model":"smart","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let chat =
        |model: &str| format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
    let messages = r#"{"model":"smart","max_tokens":500,"messages":[{"role":"user","content":"hi"}]}"#;
    let picture =
        r#"{"model":"smart","messages":[{"role":"user","content":[{"type":"text","text":"Acme"}]}]}"#;
    let (openai, anthropic) = ("/ai/v1/chat/completions", "/ai/v1/messages");
    let door = "/ai/model/smart/invoke";
    let invoked = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":500,"messages":[{"role":"user","content":"hi"}]}"#;
    for (what, policies, path, body, want) in [
        ("a budget", budget, openai, stream, (429, "smart", true, Some("budget"))),
        ("a budget, of Anthropic's", budget, anthropic, messages, (429, "smart", false, Some("budget"))),
        ("a budget, at a cloud's door", budget, door, invoked, (429, "smart", false, Some("budget"))),
        ("no price", budget, openai, &*chat("free"), (403, "free", false, Some("budget"))),
        ("a limit", limit, openai, stream, (200, "smart", true, None)),
        ("no such model", "", openai, &*chat("smrat"), (404, "smrat", false, None)),
        ("another's model", "", openai, &*chat("other"), (403, "other", false, None)),
        ("a rule", rules, openai, picture, (400, "smart", false, Some("guardrails"))),
        ("what is no request", "", anthropic, r#"{"model":"smart"}"#, (400, "smart", false, None)),
        ("no model", "", openai, "{}", (400, "", false, None)),
        ("no JSON", "", anthropic, "{", (400, "", false, None)),
    ] {
        let gateway = metered(", models: [smart, free]", policies, &[&base(&upstream)], more);
        let (status, model, streams, stopped) = want;
        if what == "a limit" {
            // A call may hold all of it; what it has taken is what the next has no room for.
            assert_eq!(post(&gateway, path, "", messages).status, 200, "{what}");
            let refused = post(&gateway, path, "", stream);
            assert_eq!(refused.status, 429, "{what}: {}", refused.text());
            let record = gateway.records(2).pop().expect("a record");
            assert_eq!(
                (&record["ai"]["model"], &record["stopped_by"]),
                (&json!("smart"), &json!("tokenRateLimit")),
                "{record}"
            );
            continue;
        }
        let answer = post(&gateway, path, "", body);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let record = gateway.records(1).remove(0);
        let ai = &record["ai"];
        assert_eq!(ai["operation"], "chat", "{what}: {record}");
        assert_eq!(
            ai["dialect"],
            if path == openai { "openai-chat" } else { "anthropic" },
            "{what}: {record}"
        );
        assert_eq!(ai["model"].as_str().unwrap_or_default(), model, "{what}: {record}");
        assert_eq!(ai["stream"], streams, "{what}: {record}");
        assert_eq!(record["stopped_by"].as_str(), stopped, "{what}: {record}");
        // Why, in a word that can be counted and a sentence that can be read.
        let told = &record["failure"];
        assert!(
            stopped == Some("guardrails") || told["reason"].is_string() && told["detail"].is_string(),
            "{what}: {record}"
        );
        assert!(
            ai["provider"].is_null() && ai["input_tokens"].is_null() && ai["cost_usd"].is_null(),
            "{what}: {record}"
        );
        // Whatever a caller names, it makes no series of its own; what the configuration names does.
        let is_configured = ["smart", "other", "free"].contains(&model);
        let series = format!("gen_ai_request_model=\"{model}\"");
        assert!(!is_configured || gateway.metrics().contains(&series), "{what}: {}", gateway.metrics());
        assert!(!gateway.metrics().contains("smrat"), "{what}");
    }
    assert!(upstream.seen().len() <= 1, "who is refused is asked of nobody");
}

#[test]
fn a_name_that_is_longer_than_any_models_is_not_repeated() {
    let upstream = told(300, 300);
    let gateway = metered("", "", &[&base(&upstream)], "");
    let name = "ö".repeat(20_000);
    let body = format!(r#"{{"model":"{name}","messages":[{{"role":"user","content":"hi"}}]}}"#);
    let refused = post(&gateway, "/ai/v1/chat/completions", "", &body);
    assert_eq!(refused.status, 404);
    assert_eq!(refused.json()["error"]["code"], "model_not_found", "{}", refused.text());
    assert!(refused.text().len() < 1000, "{} bytes", refused.text().len());
    let record = gateway.records(1).remove(0);
    let model = record["ai"]["model"].as_str().unwrap_or_default();
    assert!(model.starts_with('ö') && model.len() < 1000, "{} bytes", model.len());
    assert!(record.to_string().len() < 4000, "{} bytes", record.to_string().len());
    // So it is with whatever else a refusal repeats.
    let body = json!({"model": "smart", "input": "hi", "previous_response_id": name}).to_string();
    assert_eq!(post(&gateway, "/ai/v1/responses", "", &body).status, 400);
    let record = gateway.record("the answer that nobody has", |record| record["status"] == 400).to_string();
    assert!(record.contains("öö") && record.len() < 8000, "{} bytes", record.len());
    assert!(upstream.seen().is_empty());
}

#[test]
fn virtual_keys_expire_and_are_for_some_models() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let more = "    - {name: other, targets: [{provider: p0, model: gpt-4o}]}
    - {name: \"lab/*\", targets: [{provider: p0, model: \"*\"}]}
";
    let gateway = metered(", models: [smart, \"lab/*\"]", "", &[&base(&upstream)], more);
    let chat = |model: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"case: text"}}]}}"#);
        post(&gateway, "/ai/v1/chat/completions", "", &body)
    };
    assert_eq!((chat("smart").status, chat("lab/gpt-4o").status), (200, 200));
    let refused = chat("other");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("not for the model `other`"), "{}", refused.text());
    let get =
        |path: &str| gateway.send(&format!("GET {path} HTTP/1.1\nhost: gw\nx-api-key: {}", super::KEY), b"");
    let listed = get("/ai/v1/models").json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(get("/ai/v1/models/other").status, 404);

    let expired = metered(", expiresAt: 2026-01-01T00:00:00Z", "", &[&base(&upstream)], "");
    let refused = ask(&expired, 5, "");
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("expired"), "{}", refused.text());
    let lasting = metered(", expiresAt: 2999-01-01", "", &[&base(&upstream)], "");
    assert_eq!(ask(&lasting, 5, "").status, 200);
}

#[test]
fn an_answer_carries_its_receipt() {
    let upstream = told(1000, 500);
    let prices = "  prices: [{provider: p0, model: \"gpt-*\", input: \"0.5\", output: 2.5}]\n";
    let gateway = metered("", "", &[&base(&upstream)], prices);
    let answer = ask(&gateway, 600, "");
    for (name, value) in [
        ("x-tidegate-provider", "p0"),
        ("x-tidegate-model", "gpt-4o"),
        ("x-tidegate-attempts", "1"),
        ("x-tidegate-input-tokens", "1000"),
        ("x-tidegate-output-tokens", "500"),
        ("x-tidegate-cost", "0.00175"),
        ("x-tidegate-price-table", "configuration"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("x-tidegate-estimate"), None);
    let record = gateway.records(1).remove(0)["ai"].clone();
    assert_eq!(record["cost_usd"], 0.00175);
    assert_eq!((&record["price_table"], &record["is_estimate"]), (&json!("configuration"), &json!(false)));
    let labels = r#"{route="models",provider="p0",model="smart""#;
    eventually("metrics of the model", || {
        gateway.metric(&format!("tidegate_ai_tokens_total{labels},kind=\"output\"}}")) == Some(500.0)
            && gateway.metric(&format!("tidegate_ai_cost_usd_total{labels}}}")) == Some(0.00175)
    });
}

#[test]
fn a_receipt_stands_behind_a_stream_where_the_caller_reads_what_stands_there() {
    let upstream = Upstream::raw(|mut reader, _| {
        while read_request(&mut reader).is_some() {
            let events = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"High tide.\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":500,\"total_tokens\":1500}}\n\ndata: [DONE]\n\n";
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = format!("{head}{:x}\r\n{events}\r\n0\r\n\r\n", events.len());
            if reader.get_mut().write_all(chunk.as_bytes()).is_err() {
                return;
            }
        }
    });
    let prices = "  prices: [{provider: p0, model: \"gpt-*\", input: \"0.5\", output: 2.5}]\n";
    let masks = ", {guardrails: {rules: [{name: personal, mode: mask, personalData: [email]}]}}";
    let body =
        r#"{"model":"smart","stream":true,"max_tokens":600,"messages":[{"role":"user","content":"Hello"}]}"#;
    for policies in ["", masks] {
        let gateway = metered("", policies, &[&base(&upstream)], prices);
        let asked = super::post(&gateway, "/ai/v1/chat/completions", "\nte: trailers\nconnection: te", body);
        let want = [
            ("x-tidegate-input-tokens", "1000"),
            ("x-tidegate-output-tokens", "500"),
            ("x-tidegate-cost", "0.00175"),
        ];
        let trailer =
            |name: &str| asked.trailers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
        assert_eq!(
            want.map(|(name, _)| (name, trailer(name).unwrap_or_default())),
            want,
            "{:?}",
            asked.trailers
        );
        assert!(asked.header("trailer").is_some_and(|names| names.contains("x-tidegate-cost")), "{policies}");
        assert!(
            asked.text().contains("tide.") && asked.text().ends_with("data: [DONE]\n\n"),
            "{}",
            asked.text()
        );
        let plain = super::post(&gateway, "/ai/v1/chat/completions", "", body);
        assert_eq!((plain.trailers.len(), plain.header("trailer")), (0, None));
    }
}

#[test]
fn missing_usage_is_counted_here_and_marked() {
    let body = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"The tide rises and the tide falls twice a day."},"finish_reason":"stop"}]}"#;
    let upstream = Upstream::fixed(200, body);
    let gateway = metered("", "", &[&base(&upstream)], "");
    let answer = ask(&gateway, 600, "");
    assert_eq!(answer.header("x-tidegate-estimate"), Some("true"));
    let output: u64 =
        answer.header("x-tidegate-output-tokens").and_then(|text| text.parse().ok()).expect("tokens");
    assert!((9..16).contains(&output), "{output}");
    let record = gateway.records(1).remove(0)["ai"].clone();
    assert_eq!((&record["is_estimate"], &record["output_tokens"]), (&json!(true), &json!(output)));
    assert!(record["input_tokens"].as_u64().is_some_and(|tokens| tokens > 10), "{record}");
}

#[test]
fn a_client_that_leaves_in_the_middle_is_recorded_with_what_it_heard() {
    let upstream = super::budgets::endless();
    let gateway = metered("", "", &[&base(&upstream)], "");
    super::budgets::leave_in_the_middle(&gateway);
    let record = gateway.records(1).remove(0)["ai"].clone();
    assert_eq!(record["is_estimate"], true, "{record}");
    assert!(record["output_tokens"].as_u64().is_some_and(|tokens| tokens >= 2), "{record}");
}

#[test]
fn where_no_models_answer_such_policies_are_refused() {
    for (policy, at) in [
        ("tokenRateLimit: {tokens: 1, window: 1m}", "routes[0].policies[0]"),
        ("budget: {amount: 1}", "routes[0].policies[0]"),
        ("tokenRateLimit: {window: 1m}", "expected at least one of"),
        ("budget: {amount: 1, tokens: 1}", "found both"),
        ("budget: {amount: 1, timeZone: Europe/Atlantis}", "there is no `Europe/Atlantis`"),
        ("budget: {amount: lots}", "an amount of dollars"),
    ] {
        let handler = if at.starts_with("routes") { "respond: {}" } else { "ai: {}" };
        let text = format!(
            "listeners: [{{name: a, address: 127.0.0.1:0}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{{policy}}}], {handler}}}]
ai: {{providers: [{{name: p, kind: openai}}], models: [{{name: m, targets: [{{provider: p, model: m}}]}}]}}
"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        std::fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
        let (code, _, problems) = run(&["validate", "-c", &path.display().to_string()]);
        assert_eq!(code, 3, "{policy}");
        assert!(problems.contains(at), "{policy}: {problems}");
    }
}

/// Sends a request and reads until this has come.
pub(super) fn read_until(gateway: &Gateway, body: &str, end: &str) -> TcpStream {
    use std::io::Read;
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    let head = format!(
        "POST /ai/v1/chat/completions HTTP/1.1\r\nhost: gw\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
        super::KEY,
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(end) {
        let length = stream.read(&mut piece).expect("more");
        assert!(length > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
    stream
}

#[test]
fn answers_that_are_made_and_not_chosen_are_held_for() {
    let upstream = told(10, 10);
    let gateway = metered("", ", {budget: {tokens: 30000, per: month, name: b}}", &[&base(&upstream)], "");
    let complete = |more: &str| {
        let body = format!(r#"{{"model":"smart","prompt":"hi","max_tokens":9000,{more}}}"#);
        post(&gateway, "/ai/v1/completions", "", &body).status
    };
    assert_eq!(complete("\"n\":20"), 429);
    assert_eq!(complete("\"best_of\":20"), 429);
    assert_eq!(complete("\"best_of\":2,\"n\":2,\"best_of\":2"), 400, "one of two that are there");
    assert!(upstream.seen().is_empty());
    assert_eq!(complete("\"best_of\":2"), 200);
}
