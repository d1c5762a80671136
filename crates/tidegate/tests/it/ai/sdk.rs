//! Official SDKs, unmodified, against a provider of every dialect: what they understand is what the provider said.

use ai::{
    canon::{Answer, Part},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{KEY, Named, config, provider};
use crate::{
    harness::{Gateway, Peer, Upstream, framework, free_port, node, python},
    tidy::root,
};

/// A kind of provider for each dialect, the path of its base address, and a model that speaks the dialect alone.
pub(super) const KINDS: [(Dialect, &str, &str, &str); 6] = [
    (Dialect::OpenAiChat, "openai-compatible", "/v1", "m"),
    (Dialect::OpenAiResponses, "openai", "/v1", "gpt-5-codex"),
    (Dialect::Anthropic, "anthropic", "", "claude-sonnet-4-5"),
    (Dialect::Gemini, "gemini", "/v1beta", "gemini-2.5-flash"),
    (Dialect::Bedrock, "bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Dialect::Cohere, "cohere", "", "command-of-the-test"),
];

/// How the picture of the programs begins, in base64.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUg";

/// Whether a provider of a dialect was asked in it: not in a dialect of the caller's that its vendor happens to speak, too.
fn is_asked_in(dialect: Dialect, target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    match dialect {
        Dialect::OpenAiChat => path == "/v1/chat/completions",
        Dialect::OpenAiResponses => path == "/v1/responses",
        Dialect::Anthropic => path == "/v1/messages",
        Dialect::Gemini => {
            path.starts_with("/v1beta/models/gemini-2.5-flash:") && path.ends_with("enerateContent")
        }
        Dialect::Bedrock => path.starts_with("/model/") && path.contains("/converse"),
        Dialect::Cohere => path == "/v2/chat",
    }
}

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

/// The program that calls through an SDK, with its arguments.
pub(super) type Program = fn(&[&str]) -> std::process::Command;

pub(super) fn in_python(arguments: &[&str]) -> std::process::Command {
    python(include_str!("sdk.py"), arguments)
}

pub(super) fn in_javascript(arguments: &[&str]) -> std::process::Command {
    node("sdk", include_str!("sdk.mjs"), arguments)
}

/// What each SDK is asked for, and its heading in the page of what works.
const CASES: [(&str, &str); 8] = [
    ("text", "text"),
    ("tools", "tools"),
    ("stream:text", "text, streamed"),
    ("stream:tools", "tools, streamed"),
    ("image:text", "picture"),
    ("stream+image:text", "picture, streamed"),
    ("429-rate", "error"),
    ("stream:429-rate", "error of a stream"),
];

/// Calls every provider through an SDK. What works is a section of docs/ai-compatibility.md, which is compared with
/// this run, and written by it when `TIDEGATE_WRITE_DOCS` is set.
fn check(title: &str, sdk: &str, program: Program) {
    let (gateway, upstreams) = everyone();
    check_at(title, sdk, program, &format!("http://{}/ai", gateway.address), &[], &upstreams);
}

/// The same at a base address, with variables for the SDK.
fn check_at(
    title: &str,
    sdk: &str,
    program: Program,
    base: &str,
    variables: &[(&str, &str)],
    upstreams: &[Upstream],
) {
    let cases = CASES.map(|(case, _)| case);
    let (mut wrong, mut rows) = (Vec::new(), String::new());
    for ((dialect, ..), upstream) in KINDS.iter().zip(upstreams) {
        let dialect = *dialect;
        let mut arguments = vec![sdk, base, KEY, dialect.name()];
        arguments.extend(cases);
        let mut peer = program(&arguments);
        peer.envs(variables.iter().copied());
        let (well, output) = Peer::start(peer).finish();
        assert!(well, "{output}");
        let lines: Vec<Value> =
            output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), cases.len(), "{output}");
        let seen = upstream.seen();
        // The last limit is told without asking again: the one key is set aside.
        assert!(seen.len() + 1 >= cases.len(), "{} calls", seen.len());
        for seen in &seen {
            let target = seen.target();
            assert!(is_asked_in(dialect, target), "{sdk} to {} is translated: {target}", dialect.name());
        }
        let pictures = seen.iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains(PIXEL)).count();
        rows += &format!("| `{}` |", dialect.name());
        for (case, mut line) in cases.into_iter().zip(lines) {
            line.as_object_mut().expect("an object").shift_remove("case");
            let what = case.rsplit(':').next().unwrap_or(case);
            let is_right = match what {
                "429-rate" => line["status"] == 429,
                _ => {
                    let streamed = format!("stream:{what}");
                    let how = if case.starts_with("stream") { &*streamed } else { what };
                    line == said(dialect, how) && (!case.contains("image:") || pictures == 2)
                }
            };
            if !is_right {
                wrong.push(format!("{sdk} to {} {case}: {line}", dialect.name()));
            }
            rows += if is_right { " ✓ |" } else { " – |" };
        }
        rows.push('\n');
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    tell(title, &rows);
}

/// Compares a section of the page with what was seen, or writes it.
fn tell(title: &str, rows: &str) {
    let columns: Vec<&str> = CASES.iter().map(|(_, column)| *column).collect();
    tell_table(title, &columns, rows);
}

/// The same with columns of its own.
pub(super) fn tell_table(title: &str, columns: &[&str], rows: &str) {
    let path = root().join("docs/ai-compatibility.md");
    let page = std::fs::read_to_string(&path).expect("docs/ai-compatibility.md");
    let heading = format!("## {title}\n");
    let table =
        format!("| provider | {} |\n|{}\n{rows}", columns.join(" | "), "---|".repeat(columns.len() + 1));
    let section = format!("{heading}\n{table}");
    if std::env::var_os("TIDEGATE_WRITE_DOCS").is_none() {
        assert!(
            page.contains(&section),
            "docs/ai-compatibility.md lacks this; TIDEGATE_WRITE_DOCS=1 writes it:\n{section}"
        );
        return;
    }
    let page = match page.split_once(&heading) {
        None => format!("{}\n\n{section}", page.trim_end()),
        Some((before, rest)) => match rest.split_once("\n## ") {
            None => format!("{before}{section}"),
            Some((_, after)) => format!("{before}{section}\n## {after}"),
        },
    };
    std::fs::write(path, page).expect("the page");
}

#[test]
fn openais_sdk_reaches_every_provider_by_chat_completions() {
    check("`openai` for Python, Chat Completions", "openai-chat", in_python);
}

#[test]
fn openais_sdk_reaches_every_provider_by_responses() {
    check("`openai` for Python, Responses", "openai-responses", in_python);
}

#[test]
fn anthropics_sdk_reaches_every_provider() {
    check("`anthropic` for Python", "anthropic", in_python);
}

#[test]
fn googles_sdk_reaches_every_provider() {
    check("`google-genai` for Python", "gemini", in_python);
}

#[test]
fn coheres_sdk_reaches_every_provider() {
    check("`cohere` for Python", "cohere", in_python);
}

#[test]
fn openais_javascript_reaches_every_provider_by_chat_completions() {
    check("`openai` for JavaScript, Chat Completions", "openai-chat", in_javascript);
}

#[test]
fn openais_javascript_reaches_every_provider_by_responses() {
    check("`openai` for JavaScript, Responses", "openai-responses", in_javascript);
}

#[test]
fn anthropics_javascript_reaches_every_provider() {
    check("`@anthropic-ai/sdk` for JavaScript", "anthropic", in_javascript);
}

#[test]
fn googles_javascript_reaches_every_provider() {
    check("`@google/genai` for JavaScript", "gemini", in_javascript);
}

#[test]
fn vercels_sdk_reaches_every_provider_by_four_dialects() {
    for (package, sdk) in [
        ("@ai-sdk/openai` (Chat Completions)", "vercel:openai-chat"),
        ("@ai-sdk/openai` (Responses)", "vercel:openai-responses"),
        ("@ai-sdk/anthropic`", "vercel:anthropic"),
        ("@ai-sdk/google`", "vercel:gemini"),
    ] {
        check(&format!("`ai` with `{package}"), sdk, in_javascript);
    }
}

#[test]
fn other_clients_of_the_sdks_and_other_ways_to_sign_in_reach_providers_too() {
    let (config, _upstreams) = everyones();
    let gateway = Gateway::start(&config.replace("x-goog-api-key]", "x-goog-api-key, api-key]"));
    let base = format!("http://{}/ai", gateway.address);
    for name in ["azure", "openai-async", "anthropic-token", "vertex", "vertex-key"] {
        for dialect in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini] {
            let cases = ["text", "stream:text"];
            let arguments = [&[name, base.as_str(), KEY, dialect.name()][..], &cases].concat();
            let (well, output) = Peer::start(in_python(&arguments)).finish();
            assert!(well, "{output}");
            for (case, line) in cases.into_iter().zip(output.lines()) {
                let mut line: Value = serde_json::from_str(line).expect("JSON");
                line.as_object_mut().expect("an object").shift_remove("case");
                assert_eq!(line, said(dialect, case), "{name} to {} {case}", dialect.name());
            }
            // One that shows a wrong key is none of them.
            let wrong = [&[name, base.as_str(), "a-key-of-nobody", dialect.name()][..], &cases[..1]].concat();
            let (_, output) = Peer::start(in_python(&wrong)).finish();
            let line: Value = serde_json::from_str(&output).expect("JSON");
            assert_eq!(line["status"], 401, "{name}: {line}");
        }
    }
}

#[test]
fn langchain_and_llama_index_find_what_they_expect() {
    let (gateway, _upstreams) = everyone();
    let base = format!("http://{}/ai", gateway.address);
    for dialect in [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini] {
        let arguments = [base.as_str(), KEY, dialect.name()];
        let (well, output) = Peer::start(framework(include_str!("frameworks.py"), &arguments)).finish();
        assert!(well, "{output}");
        let text = |case: &str| said(dialect, case)["text"].as_str().unwrap_or_default().to_owned();
        let (whole, streamed) = (said(dialect, "text"), text("stream:text"));
        let calls: Vec<String> = said(dialect, "tools")["calls"]
            .as_array()
            .expect("calls")
            .iter()
            .map(|call| call[0].as_str().expect("a name").to_owned())
            .collect();
        for name in ["langchain-openai", "langchain-anthropic"] {
            let first = format!("{name} text {} {} {}", text("text"), whole["input"], whole["output"]);
            assert!(output.contains(&first), "no {first:?} in {output}");
            assert!(output.contains(&format!("{name} stream {streamed}")), "{name}: {output}");
            let told =
                output.lines().find(|line| line.starts_with(&format!("{name} tools"))).expect("a line");
            assert_eq!(told.matches("('").count(), calls.len(), "{told}");
        }
        assert!(output.contains(&format!("llama-index text {}", text("text"))), "{output}");
        assert!(output.contains(&format!("llama-index stream {streamed}")), "{output}");
    }
}

#[test]
fn amazons_sdk_reaches_every_provider_with_a_bearer_token_over_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = folder.path().join("gw.crt");
    std::fs::write(&trusted, made.cert.pem()).expect("a file");
    std::fs::write(folder.path().join("gw.key"), made.signing_key.serialize_pem()).expect("a file");
    let (config, upstreams) = everyones();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let tls = "tls: {certificates: [{certFile: gw.crt, keyFile: gw.key}]}";
    let text = format!("listeners: [{{name: public, address: \"{address}\", {tls}}}]\n{config}");
    let gateway = Gateway::in_folder(folder, &text, address, |_| {});
    let base = format!("https://localhost:{}/ai", gateway.address.port());
    let trusted = trusted.to_str().expect("a path");
    let variables = [("AWS_BEARER_TOKEN_BEDROCK", KEY), ("AWS_CA_BUNDLE", trusted)];
    check_at("`boto3` for Python, bearer token", "bedrock", in_python, &base, &variables, &upstreams);
}

#[test]
fn amazons_sdk_may_sign_what_the_gateway_does_not_believe() {
    let (gateway, upstreams) = everyone();
    let base = format!("http://{}/ai", gateway.address);
    let (id, secret) = ("AKIDOFTHECALLER", "the-callers-secret");
    let variables = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
    check_at("`boto3` for Python, signing", "bedrock", in_python, &base, &variables, &upstreams);
    let seen: Vec<String> =
        upstreams.iter().flat_map(Upstream::seen).map(|seen| format!("{seen:?}")).collect();
    assert!(!seen.is_empty());
    for seen in seen {
        assert!(!seen.contains(id) && !seen.contains("AWS4-HMAC") && !seen.contains("x-amz-date"), "{seen}");
    }
}
