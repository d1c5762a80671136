//! Streams as bytes: of a caller's own dialect they pass as they came, and however a provider's bytes are cut on their
//! way, every caller is told the same.

use std::io::Write;

use ai::{dialect::Dialect, stream::Framing};
use serde_json::Value;

use super::{KEY, Named, config, parrot, provider, sdk::KINDS};
use crate::harness::{Answer, Gateway, Upstream, read_request};

/// What a caller of a dialect asks for as a stream: the path and the body.
fn asked(dialect: Dialect, model: &str, case: &str) -> (String, String) {
    let say = format!("case: {case}");
    match dialect {
        Dialect::OpenAiChat => (
            "/v1/chat/completions".to_owned(),
            format!(
                r#"{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"{say}"}}]}}"#
            ),
        ),
        Dialect::OpenAiResponses => {
            ("/v1/responses".to_owned(), format!(r#"{{"model":"{model}","stream":true,"input":"{say}"}}"#))
        }
        Dialect::Anthropic => (
            "/v1/messages".to_owned(),
            format!(
                r#"{{"model":"{model}","stream":true,"max_tokens":99,"messages":[{{"role":"user","content":"{say}"}}]}}"#
            ),
        ),
        Dialect::Gemini => (
            format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{say}"}}]}}]}}"#),
        ),
        Dialect::Bedrock => (
            format!("/model/{model}/converse-stream"),
            format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"{say}"}}]}}]}}"#),
        ),
        Dialect::Cohere => (
            "/v2/chat".to_owned(),
            format!(
                r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"{say}"}}]}}"#
            ),
        ),
    }
}

fn ask(gateway: &Gateway, dialect: Dialect, model: &str, case: &str) -> Answer {
    let (path, body) = asked(dialect, model, case);
    let head = format!(
        "POST /ai{path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-type: application/json\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

/// A gateway with these upstreams, each behind the model of its dialect's name.
fn gateway(upstreams: &[Upstream]) -> Gateway {
    let providers: Vec<(&str, &str, String)> = KINDS
        .iter()
        .zip(upstreams)
        .map(|((dialect, kind, path, _), upstream)| {
            (dialect.name(), *kind, format!("http://{}{path}", upstream.address))
        })
        .collect();
    let targets: Vec<[(&str, &str, u32); 1]> =
        KINDS.iter().map(|(dialect, .., model)| [(dialect.name(), *model, 1)]).collect();
    let models: Vec<Named<'_>> =
        KINDS.iter().zip(&targets).map(|((dialect, ..), targets)| (dialect.name(), &targets[..])).collect();
    Gateway::start(&config(&providers, &models, ""))
}

/// The stream of a fixture as its provider sends it.
fn stream(dialect: Dialect, case: &str) -> Vec<u8> {
    provider::framed(&provider::fixture(dialect, "streams", case), dialect.provider_framing())
}

/// Responses' ids are the gateway's own on their way to a caller.
fn without_ids(bytes: &[u8]) -> String {
    fn mask(value: &mut Value) {
        match value {
            Value::String(text) if text.starts_with("resp_") => *value = "resp".into(),
            Value::Array(all) => all.iter_mut().for_each(mask),
            Value::Object(all) => all.values_mut().for_each(mask),
            _ => {}
        }
    }
    let line = |line: &str| match line.strip_prefix("data: ").map(serde_json::from_str::<Value>) {
        Some(Ok(mut value)) => {
            mask(&mut value);
            format!("data: {value}\n")
        }
        _ => format!("{line}\n"),
    };
    String::from_utf8_lossy(bytes).lines().map(line).collect()
}

#[test]
fn streams_of_the_callers_own_dialect_pass_byte_for_byte() {
    let upstreams: Vec<Upstream> = KINDS.iter().map(|(dialect, ..)| provider::of(*dialect)).collect();
    let gateway = gateway(&upstreams);
    for (dialect, ..) in KINDS {
        for case in ["text", "tools"] {
            let answer = ask(&gateway, dialect, dialect.name(), case);
            let (got, want) = (&answer.body, stream(dialect, case));
            assert_eq!(answer.status, 200, "{}: {}", dialect.name(), answer.text());
            assert!(
                answer
                    .header("content-type")
                    .is_some_and(|kind| kind.starts_with(dialect.provider_framing().media_type())),
                "{answer:?}"
            );
            match dialect {
                Dialect::OpenAiResponses => assert_eq!(without_ids(got), without_ids(&want), "{case}"),
                _ => assert!(*got == want, "{} {case}: {}", dialect.name(), answer.text()),
            }
        }
    }
}

/// A provider that sends every byte of its stream as a piece of its own.
fn byte_by_byte(dialect: Dialect) -> Upstream {
    let bytes = stream(dialect, "text");
    Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let out = reader.get_mut();
            let _ = out.set_nodelay(true);
            let kind = dialect.provider_framing().media_type();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
            let mut sent = out.write_all(head.as_bytes());
            for byte in &bytes {
                sent = sent.and_then(|()| out.write_all(&[b"1\r\n", &[*byte][..], b"\r\n"].concat()));
            }
            if sent.and_then(|()| out.write_all(b"0\r\n\r\n")).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_stream_that_comes_byte_by_byte_says_the_same_to_callers_of_every_dialect() {
    let upstreams: Vec<Upstream> = KINDS.iter().map(|(dialect, ..)| byte_by_byte(*dialect)).collect();
    let gateway = gateway(&upstreams);
    for (provider, ..) in KINDS {
        let told = provider::told(provider, "text");
        let want = (parrot::text(&told), told.usage.map(|usage| (usage.input, usage.output)));
        for (caller, ..) in KINDS {
            let answer = ask(&gateway, caller, provider.name(), "text");
            assert_eq!(answer.status, 200, "{}: {}", caller.name(), answer.text());
            let heard = parrot::heard(caller, &answer);
            let got = (parrot::text(&heard), heard.usage.map(|usage| (usage.input, usage.output)));
            assert_eq!(got, want, "{} to {}", provider.name(), caller.name());
            if caller == provider && caller != Dialect::OpenAiResponses {
                assert!(answer.body == stream(provider, "text"), "{}: {}", caller.name(), answer.text());
            }
        }
    }
    assert_eq!(Dialect::Bedrock.provider_framing(), Framing::EventStream, "which is no text");
}
