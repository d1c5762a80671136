//! Official SDKs, unmodified, against a provider of every dialect: what they understand is what the provider said.

use ai::{
    canon::{Answer, Part},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{KEY, Named, config, provider};
use crate::harness::{Gateway, Peer, Upstream, free_port, python};

/// A kind of provider for each dialect, the path of its base address, and a model that speaks the dialect alone.
const KINDS: [(Dialect, &str, &str, &str); 6] = [
    (Dialect::OpenAiChat, "openai-compatible", "/v1", "m"),
    (Dialect::OpenAiResponses, "openai", "/v1", "gpt-5-codex"),
    (Dialect::Anthropic, "anthropic", "", "claude-sonnet-4-5"),
    (Dialect::Gemini, "gemini", "/v1beta", "gemini-2.5-flash"),
    (Dialect::Bedrock, "bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Dialect::Cohere, "cohere", "", "command-a-03-2025"),
];

/// A gateway with a provider of every dialect, each behind the model of that dialect's name.
fn everyone() -> (Gateway, Vec<Upstream>) {
    let (config, upstreams) = everyones();
    (Gateway::start(&config), upstreams)
}

/// Its configuration, without its listeners.
fn everyones() -> (String, Vec<Upstream>) {
    let upstreams: Vec<Upstream> = KINDS.iter().map(|(dialect, ..)| provider::of(*dialect)).collect();
    let providers: Vec<(&str, &str, String)> = KINDS
        .iter()
        .zip(&upstreams)
        .map(|((dialect, kind, path, _), upstream)| {
            (dialect.name(), *kind, format!("http://{}{path}", upstream.address))
        })
        .collect();
    let targets: Vec<[(&str, &str, u32); 1]> =
        KINDS.iter().map(|(dialect, .., model)| [(dialect.name(), *model, 1)]).collect();
    let models: Vec<Named<'_>> =
        KINDS.iter().zip(&targets).map(|((dialect, ..), targets)| (dialect.name(), &targets[..])).collect();
    (config(&providers, &models, ""), upstreams)
}

/// What the provider's fixture says: the text, the calls and the tokens.
fn said(dialect: Dialect, case: &str) -> Value {
    let answer = match case.strip_prefix("stream:") {
        None => {
            dialect.read_answer(provider::fixture(dialect, "answers", case).as_bytes()).expect("a fixture")
        }
        Some(case) => provider::told(dialect, case),
    };
    summary(&answer)
}

fn summary(answer: &Answer) -> Value {
    let parts = &answer.choices[0].parts;
    let text: String = parts
        .iter()
        .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
        .collect();
    let calls: Vec<Value> = parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall { name, arguments, .. } => {
                let arguments = if arguments.is_empty() { "{}" } else { arguments };
                Some(json!([
                    name,
                    serde_json::from_str::<Value>(arguments).unwrap_or_else(|_| arguments.into())
                ]))
            }
            _ => None,
        })
        .collect();
    let usage = answer.usage.expect("usage");
    json!({
        "text": if text.is_empty() { Value::Null } else { text.into() },
        "calls": calls,
        "input": usage.input,
        "output": usage.output,
    })
}

fn check(sdk: Dialect) {
    let (gateway, _upstreams) = everyone();
    check_at(sdk, &format!("http://{}/ai", gateway.address), &[]);
}

/// The same at a base address, with variables for the SDK.
fn check_at(sdk: Dialect, base: &str, variables: &[(&str, &str)]) {
    let cases = ["text", "tools", "stream:text", "stream:tools", "429-rate", "stream:429-rate"];
    let mut wrong = Vec::new();
    for (dialect, ..) in KINDS {
        let mut arguments = vec![sdk.name(), base, KEY, dialect.name()];
        arguments.extend(cases);
        let mut peer = python(include_str!("sdk.py"), &arguments);
        peer.envs(variables.iter().copied());
        let (well, output) = Peer::start(peer).finish();
        assert!(well, "{output}");
        let lines: Vec<Value> =
            output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), cases.len(), "{output}");
        for (case, mut line) in cases.into_iter().zip(lines) {
            line.as_object_mut().expect("an object").shift_remove("case");
            if case.ends_with("429-rate") {
                if line["status"] != 429 {
                    wrong.push(format!("{} to {} {case}: {line}", sdk.name(), dialect.name()));
                }
                continue;
            }
            let want = said(dialect, case);
            if line != want {
                wrong.push(format!("{} to {} {case}: {line}, expected {want}", sdk.name(), dialect.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn openais_sdk_reaches_every_provider_by_chat_completions() {
    check(Dialect::OpenAiChat);
}

#[test]
fn openais_sdk_reaches_every_provider_by_responses() {
    check(Dialect::OpenAiResponses);
}

#[test]
fn anthropics_sdk_reaches_every_provider() {
    check(Dialect::Anthropic);
}

#[test]
fn googles_sdk_reaches_every_provider() {
    check(Dialect::Gemini);
}

#[test]
fn coheres_sdk_reaches_every_provider() {
    check(Dialect::Cohere);
}

#[test]
fn amazons_sdk_reaches_every_provider_with_a_bearer_token_over_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = folder.path().join("gw.crt");
    std::fs::write(&trusted, made.cert.pem()).expect("a file");
    std::fs::write(folder.path().join("gw.key"), made.signing_key.serialize_pem()).expect("a file");
    let (config, _upstreams) = everyones();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let tls = "tls: {certificates: [{certFile: gw.crt, keyFile: gw.key}]}";
    let text = format!("listeners: [{{name: public, address: \"{address}\", {tls}}}]\n{config}");
    let gateway = Gateway::in_folder(folder, &text, address, |_| {});
    let base = format!("https://localhost:{}/ai", gateway.address.port());
    let trusted = trusted.to_str().expect("a path");
    check_at(Dialect::Bedrock, &base, &[("AWS_BEARER_TOKEN_BEDROCK", KEY), ("AWS_CA_BUNDLE", trusted)]);
}

#[test]
fn amazons_sdk_may_sign_what_the_gateway_does_not_believe() {
    let (gateway, upstreams) = everyone();
    let base = format!("http://{}/ai", gateway.address);
    let (id, secret) = ("AKIDOFTHECALLER", "the-callers-secret");
    check_at(Dialect::Bedrock, &base, &[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]);
    let seen: Vec<String> =
        upstreams.iter().flat_map(Upstream::seen).map(|seen| format!("{seen:?}")).collect();
    assert!(!seen.is_empty());
    for seen in seen {
        assert!(!seen.contains(id) && !seen.contains("AWS4-HMAC") && !seen.contains("x-amz-date"), "{seen}");
    }
}
