//! The cache of answers: what is given again, to whom, in which form, and what never is.

use ai::{
    canon::{Answer, Choice, Finish, Message, Part, Request, Role, Tool, ToolKind},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{
    KEY,
    parrot::{self, KINDS, ask_with, heard, question, says, text},
    post,
};
use crate::harness::{Answer as Http, Gateway, Peer, Upstream, pause, python};

const CHAT: Dialect = Dialect::OpenAiChat;
const OTHER: &str = "the-others-own-key";

/// A provider that counts its answers.
fn counter(dialect: Dialect) -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    parrot::provider(dialect, move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let mut answer = says(&format!("answer {number}"));
        let said = format!("{:?}", request.messages);
        if said.contains("too long") {
            answer.choices[0].finish = Some(Finish::Length);
        }
        answer
    })
}

fn policy(settings: &str) -> String {
    format!("      - aiCache: {{{settings}}}\n")
}

fn told(dialect: Dialect, answer: &Http) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.header("x-tidegate-cache").unwrap_or("none").to_owned(), text(&heard(dialect, answer)))
}

fn ask(gateway: &Gateway, request: &Request, key: &str, headers: &str) -> (String, String) {
    told(CHAT, &ask_with(gateway, CHAT, "openai-chat", request, key, headers))
}

fn said(result: &str, number: usize) -> (String, String) {
    (result.to_owned(), format!("answer {number}"))
}

#[test]
fn an_answer_is_given_again_in_every_dialect_and_form() {
    for first_streams in [false, true] {
        let upstream = counter(Dialect::Anthropic);
        let gateway = parrot::gateway(&[(Dialect::Anthropic, &upstream)], &policy(""), "");
        let ask = |dialect, stream| {
            let request = question("what is a tide?", stream);
            told(dialect, &ask_with(&gateway, dialect, "anthropic", &request, KEY, ""))
        };
        // Anthropic's requests bound their answers always, which makes them others.
        let callers = KINDS.map(|(dialect, ..)| dialect).into_iter().filter(|one| *one != Dialect::Anthropic);
        assert_eq!(ask(CHAT, first_streams), said("miss", 1));
        for dialect in callers {
            for stream in [false, true] {
                assert_eq!(ask(dialect, stream), said("hit", 1), "{dialect:?} {stream}");
            }
        }
        assert_eq!(upstream.seen().len(), 1);
        assert_eq!(ask(Dialect::Anthropic, true), said("miss", 2));
        assert_eq!(ask(Dialect::Anthropic, false), said("hit", 2));
        let records = gateway.records(13);
        // Records of several workers come in any order.
        let of = |result: &str| {
            records.iter().filter(|record| record["ai"]["cache"] == result).collect::<Vec<_>>()
        };
        let (missed, hit) = (of("miss"), of("hit"));
        assert_eq!((missed.len(), hit.len()), (2, 11));
        assert!(missed.iter().all(|record| record["ai"]["output_tokens"] == 2));
        let spends_nothing = hit.iter().all(|record| record["ai"].get("output_tokens").is_none());
        assert!(spends_nothing, "nothing is spent on what is given again: {hit:?}");
        assert_eq!(gateway.metric("tidegate_ai_cache_total{result=\"hit\"}"), Some(11.0));
    }
}

#[test]
fn calls_of_tools_in_namespaces_and_of_free_text_are_given_again_under_the_callers_names() {
    let tools = json!([
        {"type": "namespace", "name": "mcp__files", "description": "", "tools": [
            {"type": "function", "name": "read", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}]},
        {"type": "custom", "name": "patch", "description": "Changes files."},
    ]);
    let upstream = parrot::provider(Dialect::Anthropic, |request| {
        let call = |id: &str, name: &str, arguments: &str| {
            let told = request.tools.iter().find(|tool| tool.name.contains(name)).expect("a tool");
            Part::ToolCall {
                id: id.into(),
                name: told.name.clone(),
                arguments: arguments.into(),
                custom: false,
                proof: None,
                cache: None,
            }
        };
        let parts = vec![call("c1", "read", r#"{"path":"a"}"#), call("c2", "patch", r#"{"input":"+ tide"}"#)];
        let choice = Choice { parts, finish: Some(Finish::ToolCalls), ..Choice::default() };
        Answer { choices: vec![choice], ..says("") }
    });
    let gateway = parrot::gateway(&[(Dialect::Anthropic, &upstream)], &policy("tools: true"), "");
    for (round, want) in ["miss", "hit", "hit"].into_iter().enumerate() {
        for stream in [false, true] {
            let body = json!({"model": "anthropic", "temperature": 0, "stream": stream, "tools": tools, "input": "read it"});
            let answer = post(&gateway, "/ai/v1/responses", "", &body.to_string());
            let what = format!("{round} {stream}: {}", answer.text());
            let cache = if stream { "hit" } else { want };
            assert_eq!((answer.status, answer.header("x-tidegate-cache")), (200, Some(cache)), "{what}");
            let output = match stream {
                false => answer.json()["output"].clone(),
                true => {
                    let text = answer.text();
                    let done = text
                        .lines()
                        .filter_map(|line| line.strip_prefix("data: "))
                        .next_back()
                        .expect("an end");
                    let done: Value = serde_json::from_str(done).expect("JSON");
                    done["response"]["output"].clone()
                }
            };
            let items = output.as_array().expect("items");
            let read = items.iter().find(|item| item["type"] == "function_call").expect(&what);
            assert_eq!((&read["namespace"], &read["name"]), (&"mcp__files".into(), &"read".into()), "{what}");
            let patch = items.iter().find(|item| item["type"] == "custom_tool_call").expect(&what);
            assert_eq!((&patch["name"], &patch["input"]), (&"patch".into(), &"+ tide".into()), "{what}");
        }
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn consumers_share_nothing_unless_the_operator_says_so() {
    for (settings, shared) in [("", false), ("scope: shared", true)] {
        let upstream = counter(CHAT);
        let gateway = parrot::gateway(&[(CHAT, &upstream)], &policy(settings), "");
        let request = question("what is a tide?", false);
        assert_eq!(ask(&gateway, &request, KEY, ""), said("miss", 1));
        assert_eq!(ask(&gateway, &request, KEY, ""), said("hit", 1));
        let other = ask(&gateway, &request, OTHER, "");
        assert_eq!(other, if shared { said("hit", 1) } else { said("miss", 2) });
    }
}

#[test]
fn what_may_differ_each_time_is_asked_each_time() {
    let tool = Tool {
        kind: ToolKind::Function { parameters: None },
        name: "f".into(),
        description: None,
        strict: None,
        cache: None,
    };
    let warm = |mut request: Request| {
        request.sampling.temperature = Some(0.7);
        request
    };
    let tooled = |mut request: Request| {
        request.tools.push(tool.clone());
        request
    };
    let plain = question("what is a tide?", false);
    for (settings, request, hits) in [
        ("", plain.clone(), true),
        ("", warm(plain.clone()), false),
        ("anyTemperature: true", warm(plain.clone()), true),
        ("", tooled(plain.clone()), false),
        ("tools: true", tooled(plain.clone()), true),
        ("", question("too long", false), false),
        ("", question("too long", true), false),
    ] {
        let upstream = counter(CHAT);
        let gateway = parrot::gateway(&[(CHAT, &upstream)], &policy(settings), "");
        let (first, second) = (ask(&gateway, &request, KEY, ""), ask(&gateway, &request, KEY, ""));
        assert_ne!(first.0, "hit");
        assert_eq!(second.0 == "hit", hits, "{settings} {request:?}: {second:?}");
        assert_eq!(upstream.seen().len(), if hits { 1 } else { 2 });
        assert_eq!(ask(&gateway, &question("another", false), KEY, "").0, "miss", "another question");
    }
}

#[test]
fn callers_may_leave_the_cache_aside() {
    let upstream = counter(CHAT);
    let gateway = parrot::gateway(&[(CHAT, &upstream)], &policy("ttl: 1s"), "");
    let request = question("what is a tide?", false);
    assert_eq!(ask(&gateway, &request, KEY, "\ncache-control: no-store"), said("bypass", 1));
    assert_eq!(ask(&gateway, &request, KEY, ""), said("miss", 2), "it was not kept");
    assert_eq!(ask(&gateway, &request, KEY, "\ncache-control: max-age=0, no-cache"), said("bypass", 3));
    assert_eq!(ask(&gateway, &request, KEY, ""), said("hit", 3), "the fresh one was kept");
    pause(1100);
    assert_eq!(ask(&gateway, &request, KEY, ""), said("miss", 4), "it has grown old");
}

#[test]
fn errors_and_broken_streams_are_not_kept() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::scripted(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let chunk = "data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"part\"},\"finish_reason\":null}]}\n\n";
        Some(match number {
            0 => b"HTTP/1.1 400 X\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
            // A stream that breaks off.
            _ => parrot::http("text/event-stream", chunk.as_bytes()),
        })
    });
    let gateway = parrot::gateway(&[(CHAT, &upstream)], &policy(""), "");
    for _ in 0..3 {
        let answer = ask_with(&gateway, CHAT, "openai-chat", &question("hi", true), KEY, "");
        assert_ne!(answer.header("x-tidegate-cache"), Some("hit"));
    }
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn what_is_masked_is_in_no_kept_answer() {
    let upstream = parrot::provider(CHAT, |_| says("Dear <EMAIL_1>"));
    let policies = format!(
        "      - guardrails: {{rules: [{{name: pii, mode: mask, personalData: [email]}}]}}\n{}",
        policy("scope: shared")
    );
    let gateway = parrot::gateway(&[(CHAT, &upstream)], &policies, "");
    for (who, result) in [("ann@example.org", "miss"), ("bob@example.org", "hit")] {
        let request = question(&format!("greet {who}"), false);
        let answer = ask(&gateway, &request, KEY, "");
        assert_eq!(answer, (result.to_owned(), format!("Dear {who}")));
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn questions_that_mean_about_the_same_share_an_answer() {
    let mut embeddings = Peer::start(python(include_str!("embeddings.py"), &[]));
    let port = embeddings.line().expect("its port");
    let upstream = counter(CHAT);
    let settings = "scope: shared, semantic: {model: minilm, threshold: 0.85, timeout: 30s}";
    let policies = policy(settings);
    let text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies:\n      - keyAuth: {{headers: [x-api-key]}}\n{policies}    ai: {{stripPrefix: /ai, models: [openai-chat]}}\nai:\n  providers:\n    - {{name: chat, kind: openai-compatible, baseUrl: \"http://{}/v1\"}}\n    - {{name: vectors, kind: openai-compatible, baseUrl: \"http://127.0.0.1:{port}/v1\"}}\n  models:\n    - {{name: openai-chat, targets: [{{provider: chat, model: m}}]}}\n    - {{name: minilm, targets: [{{provider: vectors, model: all-MiniLM-L6-v2}}]}}\n",
        upstream.address
    );
    let gateway = Gateway::start(&text);
    let ask = |system: &str, said: &str| {
        let mut request = question(said, false);
        request.messages.insert(0, Message::text(Role::System, system));
        self::ask(&gateway, &request, KEY, "")
    };
    assert_eq!(ask("s", "What causes the tides of the sea?"), said("miss", 1));
    assert_eq!(ask("s", "What is the cause of ocean tides?"), said("hit", 1));
    assert_eq!(ask("s", "Why does the sea have tides?"), said("hit", 1));
    assert_eq!(ask("s", "What causes earthquakes?"), said("miss", 2));
    assert_eq!(
        ask("other", "Why does the sea have tides?"),
        said("miss", 3),
        "all but the question must be the same"
    );
    drop(embeddings);
    assert_eq!(
        ask("s", "What is the cause of ocean tides today?"),
        said("miss", 4),
        "without embeddings it goes on"
    );
    assert_eq!(ask("s", "What causes the tides of the sea?"), said("hit", 1), "and what is equal is found");
}
