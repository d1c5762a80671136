//! Names of models that callers make up: with a `*` they reach the provider's address, and must not lead elsewhere.

use ai::dialect::Dialect;

use super::{gateway, post, provider};

/// Names that would ask for something else, were they put into a path as they are.
const STRANGE: [&str; 9] = [
    "..",
    "../../files",
    "x/../../files",
    "x?alt=media",
    "x#",
    "x%2f..%2ffiles",
    "x y",
    "x\\u000d\\u000ahost: evil",
    "",
];

fn chat(model: &str) -> String {
    format!(r#"{{"model":"any/{model}","messages":[{{"role":"user","content":"case: text"}}]}}"#)
}

#[test]
fn a_strange_name_asks_nothing_of_a_provider_that_has_names_in_its_paths() {
    let gemini = provider::of(Dialect::Gemini);
    let base = format!("http://{}/v1beta", gemini.address);
    let gateway = gateway(&[("p", "gemini", base)], &[("any/*", &[("p", "*", 1)])], "");
    for name in STRANGE {
        let answer = post(&gateway, "/ai/v1/chat/completions", "", &chat(name));
        assert_eq!(answer.status, 404, "{name}: {}", answer.text());
    }
    // The same where bytes pass: the path is the caller's.
    for name in ["any/..%2F..%2Ffiles", "any/x%3Falt=media", "any/x%23", "any/x%2520y"] {
        let path = format!("/ai/v1beta/models/{name}:generateContent");
        let status = post(&gateway, &path, "", r#"{"contents":[]}"#).status;
        assert!(matches!(status, 400 | 404), "{name}: {status}");
    }
    assert!(gemini.seen().is_empty(), "{:?}", gemini.seen().len());
    let path = "/ai/v1beta/models/any/g-1:generateContent";
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"case: text"}]}]}"#;
    assert_eq!(post(&gateway, path, "", body).status, 200);
    assert_eq!(gemini.seen()[0].target(), "/v1beta/models/g-1:generateContent");
}

#[test]
fn a_strange_name_stays_one_segment_where_a_path_of_the_catalogue_has_it() {
    let azure = provider::of(Dialect::OpenAiChat);
    let bedrock = provider::of(Dialect::Bedrock);
    let gateway = gateway(
        &[
            ("azure", "azure-openai", format!("http://{}", azure.address)),
            ("bedrock", "bedrock", format!("http://{}", bedrock.address)),
        ],
        &[("any/*", &[("azure", "*", 1)]), ("rock/*", &[("bedrock", "*", 1)])],
        "",
    );
    let answer = post(&gateway, "/ai/v1/chat/completions", "", &chat("a/../b?c#d%2e"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let target = azure.seen()[0].target().to_owned();
    let at = "/openai/deployments/a%2F..%2Fb%3Fc%23d%252e/chat/completions?api-version=";
    assert!(target.starts_with(at), "{target}");
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", &chat("..")).status, 404);
    assert_eq!(azure.seen().len(), 1);
    // Bedrock's own path, which passes.
    let body = r#"{"messages":[{"role":"user","content":[{"text":"case: text"}]}]}"#;
    assert_eq!(post(&gateway, "/ai/model/rock/a%3Fb%23c/converse", "", body).status, 200);
    assert_eq!(bedrock.seen()[0].target(), "/model/a%3Fb%23c/converse");
    assert_eq!(post(&gateway, "/ai/model/rock/%2e%2e/converse", "", body).status, 404);
    assert_eq!(bedrock.seen().len(), 1);
}
