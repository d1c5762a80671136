//! What coding agents say beside what the tests with the agents themselves bring about: compressed bodies, tools that OpenAI
//! knows by a word and the agent runs, searches for tools, system turns, flags of Anthropic's at Bedrock, the doors of
//! clouds, and what OpenAI alone can count and shorten.

use std::io::Write;

use ai::{
    canon::{Answer, Choice, Finish, Part, Role, ToolKind, Usage},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{KEY, gateway, parrot, post, sdk};
use crate::harness::{Gateway, Peer, Seen, Upstream, python};

fn call(name: &str, arguments: &Value) -> Answer {
    let part = Part::ToolCall {
        id: "call_1".into(),
        name: name.into(),
        arguments: arguments.to_string(),
        custom: false,
        proof: None,
        cache: None,
    };
    let choices = vec![Choice { parts: vec![part], finish: Some(Finish::ToolCalls), ..Choice::default() }];
    let usage = Some(Usage { input: 9, output: 4, ..Usage::default() });
    Answer { id: "a1".into(), model: "m-1".into(), choices, usage, ..Answer::default() }
}

fn one(upstream: &Upstream, dialect: Dialect, model: &str) -> Gateway {
    let (_, kind, path, _) = *sdk::KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind");
    let base = format!("http://{}{path}", upstream.address);
    gateway(&[("p", kind, base)], &[("smart", &[("p", model, 1)])], "")
}

fn last(upstream: &Upstream) -> Value {
    let seen: Seen = upstream.seen().pop().expect("a request");
    serde_json::from_slice(&seen.body).expect("JSON")
}

#[test]
fn compressed_bodies_are_read_and_bombs_are_not() {
    let upstream = parrot::provider(Dialect::OpenAiResponses, |_| parrot::says("hello"));
    let gateway = one(&upstream, Dialect::OpenAiResponses, "gpt-5-codex");
    let body = json!({"model": "smart", "input": "What is a tide? ".repeat(200)}).to_string();
    let send = |coding: &str, bytes: &[u8]| {
        let head = format!(
            "POST /ai/v1/responses HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-encoding: {coding}\ncontent-type: application/json\ncontent-length: {}",
            bytes.len()
        );
        gateway.send(&head, bytes)
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("finished")
    };
    let zstd = zstd::encode_all(body.as_bytes(), 3).expect("packed");
    for (coding, bytes) in
        [("zstd", zstd), ("gzip", gzip(body.as_bytes())), ("identity", body.clone().into_bytes())]
    {
        let answer = send(coding, &bytes);
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.header("content-encoding"), None, "{coding}");
        assert_eq!(String::from_utf8_lossy(&seen.body), body.replace("smart", "gpt-5-codex"), "{coding}");
    }
    for (coding, bytes, status) in [
        ("gzip", gzip(&vec![b' '; 30_000_000]), 413),
        ("gzip", body.clone().into_bytes(), 400),
        ("gzip, zstd", gzip(body.as_bytes()), 415),
        ("lzma", body.into_bytes(), 415),
    ] {
        let answer = send(coding, &bytes);
        assert_eq!(answer.status, status, "{coding}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
        assert_eq!(answer.header("accept-encoding"), (status == 415).then_some("gzip, br, zstd"), "{coding}");
    }
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn a_websocket_for_conversations_is_refused_so_that_agents_go_on_over_http() {
    let upstream = parrot::provider(Dialect::OpenAiResponses, |_| parrot::says("hello"));
    let gateway = one(&upstream, Dialect::OpenAiResponses, "gpt-5-codex");
    let head = format!(
        "GET /ai/v1/responses HTTP/1.1\nhost: gw\nx-api-key: {KEY}\nconnection: upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
    );
    let answer = gateway.send(&head, b"");
    assert_eq!(answer.status, 426, "{}", answer.text());
    assert!(answer.json()["error"]["message"].as_str().is_some_and(|text| text.contains("HTTP")));
    let plain = gateway.send(&format!("GET /ai/v1/responses HTTP/1.1\nhost: gw\nx-api-key: {KEY}"), b"");
    assert_eq!((plain.status, plain.header("allow")), (405, Some("POST")));
    assert!(upstream.seen().is_empty());
}

/// The tools that the agent runs, what a model calls them with, and the item that the agent gets.
fn hands() -> [(Value, Value, Value); 4] {
    let shell = json!({"commands": ["ls"], "timeout_ms": 5000});
    let patch = json!({"type": "create_file", "path": "a", "diff": "+a"});
    let search = json!({"query": "issues"});
    [
        (
            json!({"type": "local_shell"}),
            json!({"command": ["ls", "-l"]}),
            json!({"type": "local_shell_call", "action": {"type": "exec", "command": ["ls", "-l"], "env": {}}}),
        ),
        (json!({"type": "shell"}), shell.clone(), json!({"type": "shell_call", "action": shell})),
        (
            json!({"type": "apply_patch"}),
            patch.clone(),
            json!({"type": "apply_patch_call", "operation": patch}),
        ),
        (
            json!({"type": "tool_search", "execution": "client", "description": "Finds tools."}),
            search.clone(),
            json!({"type": "tool_search_call", "execution": "client", "arguments": search}),
        ),
    ]
}

fn output_of(item: &Value) -> Value {
    let id = item["call_id"].clone();
    match item["type"].as_str().unwrap_or_default() {
        "local_shell_call" => json!({"type": "local_shell_call_output", "call_id": id, "output": "ahoy"}),
        "shell_call" => json!({"type": "shell_call_output", "call_id": id, "output": [
            {"stdout": "ahoy", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]}),
        "apply_patch_call" => {
            json!({"type": "apply_patch_call_output", "call_id": id, "status": "completed", "output": "ahoy"})
        }
        _ => {
            json!({"type": "tool_search_output", "call_id": id, "execution": "client", "status": "completed", "tools": [
            {"type": "namespace", "name": "ahoy", "description": "", "tools": [
                {"type": "function", "name": "list", "parameters": {"type": "object", "properties": {}}, "defer_loading": true}]}]})
        }
    }
}

#[test]
fn tools_that_the_agent_runs_are_functions_to_other_vendors_models() {
    for (tool, arguments, item) in hands() {
        let word = tool["type"].as_str().unwrap_or_default().to_owned();
        for dialect in Dialect::ALL.into_iter().filter(|dialect| *dialect != Dialect::OpenAiResponses) {
            let (name, wanted) = (word.clone(), arguments.clone());
            let upstream = parrot::provider(dialect, move |request| {
                let is_there = |tool: &ai::canon::Tool| {
                    tool.name == name && matches!(tool.kind, ToolKind::Function { .. })
                };
                assert!(request.tools.iter().any(is_there), "{:?}", request.tools);
                match request.messages.iter().any(|message| message.role == Role::Tool) {
                    true => parrot::says("done"),
                    false => call(&name, &wanted),
                }
            });
            let (.., model) = *sdk::KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind");
            let gateway = one(&upstream, dialect, model);
            for stream in [false, true] {
                let what = format!("{word} at {}, stream {stream}", dialect.name());
                let user = json!({"role": "user", "content": "Go."});
                let ask = |input: Value| {
                    let body = json!({"model": "smart", "stream": stream, "store": false, "tools": [tool], "input": input});
                    let answer = post(&gateway, "/ai/v1/responses", "", &body.to_string());
                    assert_eq!(
                        (answer.status, answer.header("x-tidegate-dropped")),
                        (200, None),
                        "{what}: {}",
                        answer.text()
                    );
                    completed(&answer.text(), stream)
                };
                let answer = ask(json!([user]));
                let mut told = answer["output"][0].clone();
                let fields = told.as_object_mut().expect("an item");
                let (id, status) = (fields.shift_remove("id"), fields.shift_remove("status"));
                assert!(id.is_some() && status == Some("completed".into()), "{what}: {answer}");
                let given = told.clone();
                told.as_object_mut().expect("an item").shift_remove("call_id");
                let same = |a: &Value, b: &Value| a.as_object().map(sorted) == b.as_object().map(sorted);
                assert!(same(&told, &item), "{what}: {told}");
                let answer = ask(json!([user, given, output_of(&given)]));
                assert_eq!(answer["output"][0]["content"][0]["text"], "done", "{what}");
                let asked = parrot::asked(dialect, &upstream.seen().pop().expect("a request")).0;
                let results = asked.messages.iter().flat_map(|message| &message.parts);
                let said: Vec<String> = results
                    .filter(|part| matches!(part, Part::ToolResult { .. }))
                    .map(|part| format!("{part:?}"))
                    .collect();
                assert!(said.len() == 1 && said[0].contains("ahoy"), "{what}: {said:?}");
                let has_found = asked.tools.iter().any(|tool| tool.name == "ahoy__list");
                assert_eq!(has_found, word == "tool_search", "{what}: {:?}", asked.tools);
            }
        }
    }
}

fn sorted(fields: &serde_json::Map<String, Value>) -> std::collections::BTreeMap<String, String> {
    fields.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
}

/// The response that an answer holds, or that a stream ends with.
fn completed(text: &str, stream: bool) -> Value {
    if !stream {
        return serde_json::from_str(text).expect("JSON");
    }
    let mut events =
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let done: Vec<Value> =
        events.by_ref().filter(|event| event["type"] == "response.output_item.done").collect();
    let end = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    let end: Value = serde_json::from_str(end).expect("JSON");
    assert_eq!(end["type"], "response.completed", "{text}");
    let items: Vec<&Value> = done.iter().map(|event| &event["item"]).collect();
    assert_eq!(
        end["response"]["output"].as_array().map(|items| items.iter().collect::<Vec<_>>()),
        Some(items)
    );
    end["response"].clone()
}

const CLAUDE: &str = "\nanthropic-version: 2023-06-01";

#[test]
fn system_turns_are_the_users_where_a_model_refuses_them() {
    let body = r#"{"model":"smart","max_tokens":50,"system":"Be terse.","messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}]}"#;
    let upstream = parrot::provider(Dialect::Anthropic, |_| parrot::says("hello"));
    let old = one(&upstream, Dialect::Anthropic, "claude-sonnet-4-5");
    let answer = post(&old, "/ai/v1/messages", CLAUDE, body);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("messages[1].role")));
    assert_eq!(last(&upstream)["messages"][1], json!({"role": "user", "content": "b"}));
    let counted = post(&old, "/ai/v1/messages/count_tokens", CLAUDE, body);
    assert_eq!(counted.status, 200);
    assert_eq!(last(&upstream)["messages"][1]["role"], "user");
    let new = one(&upstream, Dialect::Anthropic, "claude-opus-4-8");
    let answer = post(&new, "/ai/v1/messages", CLAUDE, body);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, None));
    assert_eq!(last(&upstream)["messages"][1]["role"], "system");
}

#[test]
fn flags_of_anthropics_header_reach_bedrock_where_it_knows_them() {
    let upstream = parrot::provider(Dialect::Bedrock, |_| parrot::says("hello"));
    let flags = format!(
        "{CLAUDE}\nanthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14\nanthropic-beta: context-1m-2025-08-07"
    );
    let body = r#"{"model":"smart","max_tokens":50,"messages":[{"role":"user","content":"a"}]}"#;
    for (model, taken, dropped) in [
        (
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            json!(["interleaved-thinking-2025-05-14", "context-1m-2025-08-07"]),
            "anthropic-beta: claude-code-20250219",
        ),
        (
            "eu.anthropic.claude-opus-4-7",
            json!(["interleaved-thinking-2025-05-14"]),
            "anthropic-beta: claude-code-20250219, anthropic-beta: context-1m-2025-08-07",
        ),
        (
            "amazon.nova-pro-v1:0",
            Value::Null,
            "anthropic-beta: claude-code-20250219, anthropic-beta: interleaved-thinking-2025-05-14, anthropic-beta: context-1m-2025-08-07",
        ),
    ] {
        let gateway = one(&upstream, Dialect::Bedrock, model);
        let answer = post(&gateway, "/ai/v1/messages", &flags, body);
        assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some(dropped)), "{model}");
        assert_eq!(last(&upstream)["additionalModelRequestFields"]["anthropic_beta"], taken, "{model}");
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.header("anthropic-beta"), None, "{model}");
    }
}

#[test]
fn tools_to_be_loaded_later_are_there_for_others_when_a_search_has_found_them() {
    let upstream = parrot::provider(Dialect::OpenAiChat, |_| parrot::says("hello"));
    let gateway = one(&upstream, Dialect::OpenAiChat, "m");
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}, "defer_loading": true});
    let body = |content: Value, more: Value| {
        let mut tools = vec![
            json!({"name": "ToolSearch", "input_schema": {"type": "object"}}),
            tool("WebFetch"),
            tool("Placeholder"),
        ];
        tools.extend(more.as_array().cloned().unwrap_or_default());
        json!({"model": "smart", "max_tokens": 50, "tools": tools, "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "ToolSearch", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": content}]},
        ]})
        .to_string()
    };
    let names = || -> Vec<String> {
        let tools = last(&upstream)["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().filter_map(|tool| tool["function"]["name"].as_str().map(str::to_owned)).collect()
    };
    let found = json!([{"type": "tool_reference", "tool_name": "WebFetch"}]);
    let answer = post(&gateway, "/ai/v1/messages", CLAUDE, &body(found, json!([])));
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("tools[2].defer_loading")));
    assert_eq!(names(), ["ToolSearch", "WebFetch"]);
    assert!(last(&upstream).to_string().contains("The tool `WebFetch` can be called now."));
    let answer = post(&gateway, "/ai/v1/messages", CLAUDE, &body(json!("none"), json!([])));
    assert_eq!(answer.status, 200);
    assert_eq!(names(), ["ToolSearch"]);
    // Where Claude's own search would find them, which others have not, they are all there.
    let own = json!([{"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}]);
    let answer = post(&gateway, "/ai/v1/messages", CLAUDE, &body(json!("none"), own));
    assert_eq!(answer.status, 200);
    assert_eq!(names(), ["ToolSearch", "WebFetch", "Placeholder"]);
}

/// The SDK's clients for clouds, and OpenAI's count: each prints what it read, a JSON object a line.
const DOORS: &str = r#"
import json, sys
base, key, kind, *models = sys.argv[1:]
question = [{"role": "user", "content": "What is a tide?"}]
tools = [{"name": "get_tide", "input_schema": {"type": "object", "properties": {}}}]
def client():
    import anthropic
    if kind == "bedrock":
        return anthropic.AnthropicBedrock(base_url=base, api_key=key, aws_region="eu-west-1", max_retries=0)
    return anthropic.AnthropicVertex(base_url=base + "/v1", access_token=key, project_id="p", region="global", max_retries=0)
for model in models:
    c = client()
    ask = dict(model=model, max_tokens=50, messages=question, tools=tools)
    said = c.messages.create(**ask)
    print(json.dumps([model, said.content[0].text, said.usage.output_tokens]))
    with c.messages.stream(**ask) as stream:
        final = stream.get_final_message()
    print(json.dumps([model, final.content[0].text, final.usage.output_tokens]))
    try:
        c.messages.create(**{**ask, "messages": [{"role": "user", "content": "fail"}]})
    except Exception as error:
        print(json.dumps([model, type(error).__name__, getattr(error, "status_code", None)]))
    if kind == "vertex":
        print(json.dumps([model, "count", c.messages.count_tokens(model=model, messages=question).input_tokens > 0]))
"#;

#[test]
fn anthropics_clients_for_clouds_reach_models_of_every_vendor() {
    let upstreams: Vec<(Dialect, Upstream)> = Dialect::ALL
        .into_iter()
        .map(|dialect| {
            let chat = parrot::answering(dialect, |_| parrot::says("The sea, \u{1f30a} breathing."));
            let upstream = Upstream::scripted(move |seen| {
                let path = seen.target().to_lowercase().replace(['_', '-'], "");
                if path.contains("counttokens") {
                    return Some(parrot::http("application/json", br#"{"input_tokens":7}"#));
                }
                match String::from_utf8_lossy(&seen.body).contains("\"fail\"") {
                    true => Some(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
                    false => chat(seen),
                }
            });
            (dialect, upstream)
        })
        .collect();
    let all: Vec<(Dialect, &Upstream)> =
        upstreams.iter().map(|(dialect, upstream)| (*dialect, upstream)).collect();
    let gateway = parrot::gateway(&all, "", "");
    let base = format!("http://{}/ai", gateway.address);
    let names = Dialect::ALL.map(Dialect::name);
    for kind in ["bedrock", "vertex"] {
        let mut arguments = vec![base.as_str(), KEY, kind];
        arguments.extend(names);
        let (well, output) = Peer::start(python(DOORS, &arguments)).finish();
        assert!(well, "{kind}: {output}");
        let mut want = Vec::new();
        for name in names {
            let said = json!([name, "The sea, \u{1f30a} breathing.", 2]);
            want.extend([said.clone(), said, json!([name, "BadRequestError", 400])]);
            want.extend((kind == "vertex").then(|| json!([name, "count", true])));
        }
        let lines: Vec<Value> =
            output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines, want, "{kind}");
    }
    // What a provider of Claude's own dialect is asked: nothing of the cloud is left in it.
    let (_, claude) = upstreams.iter().find(|(dialect, _)| *dialect == Dialect::Anthropic).expect("there");
    let seen = claude.seen();
    for seen in seen.iter().filter(|seen| !seen.target().contains("count")) {
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(seen.target(), "/v1/messages");
        assert_eq!((body.get("anthropic_version"), &body["model"]), (None, &json!("claude-sonnet-4-5")));
    }
    // A model that is not Claude's is asked for in other words there.
    let titan = post(&gateway, "/ai/model/bedrock/invoke", "", r#"{"inputText":"a"}"#);
    assert_eq!(titan.status, 501, "{}", titan.text());
    assert!(
        titan.json()["message"].as_str().is_some_and(|text| text.contains("converse")),
        "{}",
        titan.text()
    );
    // Flags go on in the head, which is as long as heads may be.
    let asked = claude.seen().len();
    for (flags, status) in [(10, 200), (1000, 400)] {
        let flags: Vec<String> = (0..flags).map(|at| format!("flag-{at:04}")).collect();
        let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "anthropic_beta": flags,
                          "messages": [{"role": "user", "content": "hi"}]});
        let answer = post(&gateway, "/ai/model/anthropic/invoke", "", &body.to_string());
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(claude.seen().len(), asked + 1);
    // Without a key the failure is told as the cloud tells it.
    let head = "POST /ai/model/bedrock/invoke HTTP/1.1\nhost: gw\ncontent-length: 2";
    assert_eq!(gateway.send(head, b"{}").json()["__type"], "UnrecognizedClientException");
}

const COUNTS: &str = r#"
import json, sys, openai
base, key, *models = sys.argv[1:]
client = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
for model in models:
    counted = client.responses.input_tokens.count(model=model, input="What is a tide?")
    print(json.dumps([model, counted.object, counted.input_tokens]))
    try:
        short = client.responses.compact(model=model, input=[{"role": "user", "content": "What is a tide?"}])
        print(json.dumps([model, short.object, short.output[0].type, short.usage.output_tokens]))
    except openai.APIStatusError as error:
        print(json.dumps([model, error.status_code, error.body["message"]]))
"#;

#[test]
fn openai_counts_and_shortens_and_others_are_counted_for() {
    let openai = Upstream::scripted(|seen| {
        let body = match seen.target() {
            "/v1/responses/input_tokens" => r#"{"object":"response.input_tokens","input_tokens":7}"#,
            "/v1/responses/compact" => {
                r#"{"id":"resp_1","object":"response.compaction","created_at":1,"output":[{"id":"cmp_1","type":"compaction","encrypted_content":"gAAA"}],"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":0},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":13}}"#
            }
            other => panic!("{other}"),
        };
        Some(parrot::http("application/json", body.as_bytes()))
    });
    let claude = parrot::provider(Dialect::Anthropic, |_| parrot::says("hello"));
    let gateway =
        parrot::gateway(&[(Dialect::OpenAiResponses, &openai), (Dialect::Anthropic, &claude)], "", "");
    let base = format!("http://{}/ai", gateway.address);
    let (well, output) = Peer::start(python(COUNTS, &[&base, KEY, "openai-responses", "anthropic"])).finish();
    assert!(well, "{output}");
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0], json!(["openai-responses", "response.input_tokens", 7]));
    assert_eq!(lines[1], json!(["openai-responses", "response.compaction", "compaction", 4]));
    assert_eq!(lines[2][1], "response.input_tokens");
    assert!(lines[2][2].as_u64().is_some_and(|tokens| (3..30).contains(&tokens)), "{output}");
    assert_eq!(lines[3][1], 501, "{output}");
    assert!(claude.seen().is_empty());
    let records = gateway.records(4);
    let of = |operation: &str| {
        records.iter().find(|record| {
            record["ai"]["operation"] == operation && record["ai"]["provider"] == "openai-responses"
        })
    };
    assert_eq!(
        of("compact").map(|record| record["ai"]["output_tokens"].clone()),
        Some(4.into()),
        "{records:?}"
    );
    let body: Value = serde_json::from_slice(&openai.seen()[1].body).expect("JSON");
    assert_eq!(body["model"], "gpt-5-codex");
}
