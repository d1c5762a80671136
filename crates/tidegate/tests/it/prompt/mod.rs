//! Prompts as APIs over sockets: `api` whole answers, `stream` events, `load` what is refused before it serves,
//! `openapi` the documents, `cases` the command that tests a prompt.

mod api;
mod cases;
mod load;
pub mod model;
mod openapi;
mod stream;

use super::harness::{Answer, Gateway};

/// The key of the one consumer that may call.
const KEY: &str = "the-callers-own-key";

/// A gateway with the route `summary` at `/v1/summary` whose `prompt` is this text (a flow mapping), over providers
/// `(name, kind, base address, model)` in this order behind the one model `smart`.
fn gateway(prompt: &str, providers: &[(&str, &str, String, &str)]) -> Gateway {
    Gateway::start(&configuration(prompt, providers))
}

fn configuration(prompt: &str, providers: &[(&str, &str, String, &str)]) -> String {
    let mut text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: summary
    match: [{{path: {{prefix: /v1/summary}}}}]
    policies: [{{keyAuth: {{}}}}]
    prompt: {prompt}
ai:
  providers:
"
    );
    for (name, kind, base, _) in providers {
        text.push_str(&format!(
            "    - {{name: {name}, kind: {kind}, baseUrl: \"{base}\", keys: [provider-key-of-the-test]}}\n"
        ));
    }
    text.push_str("  models:\n    - name: smart\n      targets:\n");
    for (index, (name, _, _, model)) in providers.iter().enumerate() {
        let weight = u32::from(index == 0);
        text.push_str(&format!("        - {{provider: {name}, model: \"{model}\", weight: {weight}}}\n"));
    }
    text
}

/// A POST of JSON to the route, with the key and further header lines, each with a `\n` in front.
fn post(gateway: &Gateway, headers: &str, body: &str) -> Answer {
    send(gateway, "POST /v1/summary", &format!("\ncontent-type: application/json{headers}"), body)
}

fn send(gateway: &Gateway, line: &str, headers: &str, body: &str) -> Answer {
    let head =
        format!("{line} HTTP/1.1\nhost: gw\nx-api-key: {KEY}{headers}\ncontent-length: {}", body.len());
    gateway.send(&head, body.as_bytes())
}
