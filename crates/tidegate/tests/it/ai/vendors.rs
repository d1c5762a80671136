//! What each vendor's users look for: lists of models in their SDK's form, the codes that they branch on, and endpoints
//! that are known and not there.

use ai::dialect::Dialect;
use serde_json::Value;

use super::{KEY, gateway, post, provider};
use crate::harness::{Answer, Gateway, Upstream};

fn get(gateway: &Gateway, path: &str, fields: &str) -> Answer {
    gateway.send(&format!("GET {path} HTTP/1.1\nhost: gw{fields}"), b"")
}

fn start(base: String) -> Gateway {
    gateway(
        &[("p", "openai", base)],
        &[
            ("smart", &[("p", "gpt-4o", 1)]),
            ("short", &[("p", "gpt-4", 1)]),
            ("vectors", &[("p", "text-embedding-3-small", 1)]),
        ],
        "",
    )
}

fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    list["models"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name)).expect("a model")
}

#[test]
fn googles_sdk_is_given_its_own_form_below_either_version() {
    let gateway = start("http://127.0.0.1:1/v1".to_owned());
    for (path, fields) in [
        ("/ai/v1/models", format!("\nx-goog-api-client: google-genai-sdk/3.6.1\nx-goog-api-key: {KEY}")),
        ("/ai/v1/models", format!("\nx-goog-api-client: google-genai-sdk/3.6.1\nx-api-key: {KEY}")),
        ("/ai/v1beta/models", format!("\nx-goog-api-key: {KEY}")),
    ] {
        let list = get(&gateway, path, &fields).json();
        let methods = &named(&list, "models/smart")["supportedGenerationMethods"];
        assert!(
            methods.as_array().is_some_and(|all| all.contains(&"generateContent".into())),
            "{path} {list}"
        );
        let methods = &named(&list, "models/vectors")["supportedGenerationMethods"];
        assert_eq!(methods[0], "embedContent", "{path} {list}");
        assert!(!methods.as_array().is_some_and(|all| all.contains(&"generateContent".into())), "{list}");
    }
    let list = get(&gateway, "/ai/v1/models", &format!("\nauthorization: Bearer {KEY}")).json();
    assert_eq!(list["object"], "list", "OpenAI's own: {list}");
}

#[test]
fn codes_are_those_that_users_of_the_sdk_branch_on() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = start(format!("http://{}/v1", upstream.address));
    let long = "tide ".repeat(60_000);
    for (path, input) in [("/ai/v1/chat/completions", "messages"), ("/ai/v1/responses", "input")] {
        let body = format!(r#"{{"model":"smrat","{input}":[{{"role":"user","content":"hi"}}]}}"#);
        let answer = post(&gateway, path, "", &body);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &"model_not_found".into()));
        let body = format!(r#"{{"model":"short","{input}":[{{"role":"user","content":"{long}"}}]}}"#);
        let answer = post(&gateway, path, "", &body);
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["code"]), (400, &"context_length_exceeded".into()), "{error}");
        assert!(error["message"].as_str().is_some_and(|text| !text.contains("takes no a")), "{error}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn the_gateways_spent_account_is_not_the_callers() {
    let upstream = Upstream::fixed(402, r#"{"error":{"message":"Insufficient Balance"}}"#);
    let gateway = start(format!("http://{}/v1", upstream.address));
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = post(&gateway, "/ai/v1/chat/completions", "", body);
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(!answer.text().contains("Insufficient"), "{}", answer.text());
}

#[test]
fn endpoints_that_vendors_have_and_the_gateway_has_not_are_501() {
    let gateway = start("http://127.0.0.1:1/v1".to_owned());
    for path in [
        "/v1/evals",
        "/v1/videos",
        "/v1/containers",
        "/v1/skills",
        "/v1/vector_stores",
        "/v1/vector_stores/vs_1/files",
        "/v1/assistants",
        "/v1/threads/t/runs",
        "/v1/fine_tuning/jobs",
        "/v1/chat/completions/c1/messages",
        "/v1beta/files",
        "/upload/v1beta/files",
        "/v1beta/cachedContents/c",
        "/v1alpha/files",
        "/v1beta1/projects/p/locations/l/cachedContents",
        "/v1beta1/projects/p/locations/l/batchPredictionJobs",
        "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        "/model-invocation-job",
        "/model-invocation-jobs",
        "/async-invoke",
        "/guardrail/g/version/1/apply",
    ] {
        // Each vendor's SDK reads its own errors.
        let is_so = |error: &Value| match path {
            _ if path.starts_with("/v1beta")
                || path.contains("google")
                || path.contains("v1alpha")
                || path.starts_with("/upload") =>
            {
                error["error"]["code"] == 501 && error["error"]["status"].is_string()
            }
            _ if path.starts_with("/model")
                || path.starts_with("/async")
                || path.starts_with("/guardrail") =>
            {
                error["message"].is_string() && error["__type"].is_string()
            }
            _ => error["error"]["message"].is_string() && error["error"]["type"].is_string(),
        };
        let answers = [
            get(&gateway, &format!("/ai{path}"), &format!("\nx-api-key: {KEY}")),
            post(&gateway, &format!("/ai{path}"), "", "{}"),
        ];
        for answer in answers {
            assert_eq!(answer.status, 501, "{path}: {}", answer.text());
            assert!(is_so(&answer.json()), "{path}: {}", answer.text());
        }
    }
    let upstream = provider::of(Dialect::Gemini);
    let alpha = gateway_of_gemini(&upstream);
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"case: text"}]}]}"#;
    let answer = post(&alpha, "/ai/v1alpha/models/smart:generateContent", "", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(get(&gateway, "/ai/v1/nobodys", &format!("\nx-api-key: {KEY}")).status, 404);
}

#[test]
fn a_base_address_with_a_version_too_many_is_told_in_the_words_of_whose_sdk_it_is() {
    let gateway = start("http://127.0.0.1:1/v1".to_owned());
    type IsOwn = fn(&Value) -> bool;
    let anthropics: IsOwn = |error| error["type"] == "error" && error["error"]["type"] == "not_found_error";
    let flat: IsOwn = |error| error["message"].is_string() && error["error"].is_null();
    let openais: IsOwn = |error| error["error"]["type"].is_string() && error["type"].is_null();
    for (path, right, is_own) in [
        ("/ai/v1/v1/messages", "`/ai`", anthropics),
        ("/ai/v1/v1/messages/count_tokens?beta=true", "`/ai`", anthropics),
        ("/ai/v1/v1/messages/batches", "`/ai`", anthropics),
        ("/ai/v2/v2/embed", "`/ai`", flat),
        ("/ai/v1/model/smart/converse", "`/ai`", flat),
        ("/ai/v1/v1/chat/completions", "`/ai/v1`", openais),
        ("/ai/v2/responses", "`/ai/v1`", openais),
        ("/ai/openai/v1/v1/chat/completions", "`/ai/openai/v1`", openais),
        ("/ai/v1/openai/deployments/smart/chat/completions", "`/ai`", openais),
    ] {
        let answer = post(&gateway, path, "", "{}");
        let text = answer.text();
        assert_eq!(answer.status, 404, "{path}: {text}");
        assert!(text.contains(right) && text.contains("base address"), "{path}: {text}");
        assert!(is_own(&answer.json()), "{path}: {text}");
    }
    let nobodys = post(&gateway, "/ai/v1/v1/nobodys", "", "{}");
    assert_eq!(nobodys.status, 404);
    assert!(!nobodys.text().contains("base address"), "{}", nobodys.text());
    // Other versions of one vendor are nobody's mistake.
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", "{}").status, 400);
}

fn gateway_of_gemini(upstream: &Upstream) -> Gateway {
    gateway(
        &[("p", "gemini", format!("http://{}/v1beta", upstream.address))],
        &[("smart", &[("p", "gemini-2.5-flash", 1)])],
        "",
    )
}

#[test]
fn geminis_key_in_the_query_is_hidden_in_the_log() {
    let gateway = start("http://127.0.0.1:1/v1".to_owned());
    get(&gateway, "/ai/v1beta/models?key=the-secret-of-somebody", "");
    let record = gateway.records(1).remove(0).to_string();
    assert!(record.contains("key=") && !record.contains("the-secret-of-somebody"), "{record}");
}

#[test]
fn tokens_are_counted_here_where_no_target_can_be_asked_in_the_callers_dialect() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = start(format!("http://{}/v1", upstream.address));
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"What is a tide, and why are there two a day?"}]}"#;
    let counted =
        post(&gateway, "/ai/v1/messages/count_tokens?beta=true", "\nanthropic-version: 2023-06-01", body);
    assert_eq!(
        (counted.status, counted.header("x-tidegate-estimate")),
        (200, Some("true")),
        "{}",
        counted.text()
    );
    let tokens = counted.json()["input_tokens"].as_u64().expect("a count");
    assert!((10..60).contains(&tokens), "{tokens}");
    let body =
        r#"{"contents":[{"role":"user","parts":[{"text":"What is a tide, and why are there two a day?"}]}]}"#;
    let counted = post(&gateway, "/ai/v1beta/models/smart:countTokens", "", body);
    let tokens = counted.json()["totalTokens"].as_u64().expect("a count");
    assert!(counted.status == 200 && (10..60).contains(&tokens), "{tokens}");
    assert!(upstream.seen().is_empty());
}
