//! The OpenAPI documents of prompts: at the admin API and at a path of the route's own, valid, and true.

use serde_json::{Value, json};

use super::{KEY, configuration, model};
use crate::harness::{Gateway, python};

const PROMPT: &str = r#"{model: smart, version: "7", description: Translates a text., openapiPath: /v1/summary/openapi.json,
      input: {type: object, required: [text, to], properties: {text: {type: string}, to: {type: string, enum: [de, fr]}, words: {type: integer, default: 3}}},
      messages: [{role: user, content: "{{ text }} {{ to }} {{ words }}"}],
      output: {type: object, required: [text], properties: {text: {type: string}}}}"#;

fn started(matches: &str, prompt: &str) -> (crate::harness::Upstream, Gateway) {
    let upstream = model::text(|_| r#"{"text": "Ebbe."}"#.to_owned());
    let base = format!("http://{}/v1", upstream.address);
    let text = configuration(prompt, &[("one", "openai-compatible", base, "m")]);
    let gateway = Gateway::start(&text.replace("[{path: {prefix: /v1/summary}}]", matches));
    (upstream, gateway)
}

fn at_admin(gateway: &Gateway) -> Value {
    let answer = gateway.admin_get("/api/v1/prompts/summary/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/openapi+json")));
    answer.json()
}

/// Has PyPI's `openapi-spec-validator` judge a document.
fn judge(document: &Value) {
    let script = "
import json, sys
from openapi_spec_validator import OpenAPIV31SpecValidator
errors = [f'{list(e.absolute_path)}: {e.message}' for e in OpenAPIV31SpecValidator(json.loads(sys.argv[1])).iter_errors()]
print('\\n'.join(errors))
sys.exit(len(errors) > 0)
";
    let output = python(script, &[&document.to_string()]).output().expect("the validator runs");
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{document:#}");
}

#[test]
fn the_document_is_valid_and_says_what_the_route_takes() {
    let matches = "[{path: {template: \"/v1/{to}/summary\"}, methods: [GET, POST]}, {path: {exact: /v1/summary}, methods: [POST]}, {path: {exact: /v1/summary/openapi.json}, methods: [GET]}]";
    let (_upstream, gateway) = started(matches, PROMPT);
    let document = at_admin(&gateway);
    judge(&document);
    assert_eq!(
        document["info"],
        json!({"title": "summary", "version": "7", "description": "Translates a text."})
    );
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(paths, ["/v1/{to}/summary", "/v1/summary"], "its own path is none of the API");
    let post = &document["paths"]["/v1/summary"]["post"];
    let body = &post["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], json!(["text", "to"]));
    let get = &document["paths"]["/v1/{to}/summary"]["get"];
    let places: Vec<(&str, &str, bool)> = get["parameters"]
        .as_array()
        .expect("parameters")
        .iter()
        .map(|one| {
            (
                one["name"].as_str().unwrap_or_default(),
                one["in"].as_str().unwrap_or_default(),
                one["required"] == true,
            )
        })
        .collect();
    assert_eq!(places, [("to", "path", true), ("text", "query", true), ("words", "query", false)]);
    assert_eq!(get["responses"]["200"]["content"]["application/json"]["schema"]["required"], json!(["text"]));
    assert_eq!(document["security"], json!([{"key-x-api-key": []}]));
    // What it says is so.
    let schema = jsonschema::draft202012::new(body).expect("a schema");
    let good = json!({"text": "tide", "to": "de"});
    assert!(schema.is_valid(&good));
    assert_eq!(
        super::send(&gateway, "POST /v1/summary", "\ncontent-type: application/json", &good.to_string())
            .status,
        200
    );
    assert_eq!(super::send(&gateway, "GET /v1/fr/summary?text=tide&words=2", "", "").status, 200);
    let bad = json!({"text": "tide", "to": "xx"});
    assert!(!schema.is_valid(&bad));
    assert_eq!(
        super::send(&gateway, "POST /v1/summary", "\ncontent-type: application/json", &bad.to_string())
            .status,
        400
    );
}

#[test]
fn the_routes_own_path_serves_the_same_document_to_who_may_call() {
    let (upstream, gateway) = started("[{path: {prefix: /v1/summary}}]", PROMPT);
    let answer = super::send(&gateway, "GET /v1/summary/openapi.json", "", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/openapi+json")));
    assert_eq!(answer.json(), at_admin(&gateway));
    judge(&answer.json());
    assert_eq!(gateway.get("/v1/summary/openapi.json").status, 401, "the route's policies hold for it");
    assert_eq!(
        super::send(&gateway, "POST /v1/summary/openapi.json", "", "{}").header("allow"),
        Some("GET, HEAD")
    );
    assert!(upstream.seen().is_empty() && !KEY.is_empty());
}

#[test]
fn versions_and_tools_stand_in_it_and_the_list_has_the_tool() {
    let prompt = r#"{model: smart, default: b, input: {type: object, properties: {text: {type: string}}}, description: Sums up.,
      tools: [{name: look, parameters: {type: object}}],
      versions: {a: {messages: [{role: user, content: "{{ text }}"}]}, b: {messages: [{role: user, content: "{{ text }}"}]}}}"#;
    let (_upstream, gateway) = started("[{path: {exact: /v1/summary}, methods: [POST]}]", prompt);
    let document = at_admin(&gateway);
    judge(&document);
    let version = &document["paths"]["/v1/summary"]["post"]["parameters"][0];
    assert_eq!(version["schema"], json!({"type": "string", "enum": ["b", "a"], "default": "b"}));
    let answer = &document["paths"]["/v1/summary"]["post"]["responses"]["200"]["content"]["application/json"]
        ["schema"];
    assert!(answer["anyOf"][1]["properties"]["toolCalls"].is_object(), "{answer}");
    let list = gateway.admin_get("/api/v1/prompts").json();
    let want = json!({"name": "summary", "description": "Sums up.", "model": "smart", "versions": ["b", "a"],
        "tool": {"name": "summary", "description": "Sums up.", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}});
    assert_eq!(list["prompts"], json!([want]));
    assert_eq!(gateway.admin_get("/api/v1/prompts/other/openapi.json").status, 404);
}
