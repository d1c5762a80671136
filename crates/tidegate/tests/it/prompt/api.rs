//! Whole answers: what the model is asked, what the caller gets, and what it is told when something is wrong.

use ai::canon::{Effort, Finish, Format, Part, Role, ToolChoice, ToolKind};
use serde_json::json;

use super::{
    gateway,
    model::{self, KINDS, answer, fails, last, read, says, turns},
    post, send,
};
use crate::harness::Upstream;

const SUMMARY: &str = r#"{
      model: smart,
      input: {type: object, required: [text], properties: {
        text: {type: string}, words: {type: integer, minimum: 1, default: 20}, tone: {type: string, enum: [dry, warm]}, tags: {type: array, items: {type: string}}}},
      messages: [
        {role: system, content: "Sum up in {{ words }} words{% if tone %}, {{ tone }}{% endif %}."},
        {role: user, content: "{{ text }}{% for tag in tags|default([]) %} #{{ tag }}{% endfor %}"}]}"#;

/// The same with a typed answer.
fn typed(more: &str) -> String {
    format!(
        "{{model: smart, input: {{type: object, required: [text], properties: {{text: {{type: string}}}}}},
      messages: [{{role: system, content: Sum up.}}, {{role: user, content: \"{{{{ text }}}}\"}}],
      output: {{type: object, required: [summary, score], additionalProperties: false,
        properties: {{summary: {{type: string}}, score: {{type: integer, minimum: 0, maximum: 5}}}}}}{more}}}"
    )
}

fn chat(upstream: &Upstream) -> Vec<(&'static str, &'static str, String, &'static str)> {
    vec![("one", "openai-compatible", format!("http://{}/v1", upstream.address), "m")]
}

#[test]
fn an_input_becomes_a_conversation_and_the_answer_a_text() {
    let upstream = model::text(|_| "Ebb and flow.".to_owned());
    let gateway = gateway(SUMMARY, &chat(&upstream));
    let answer = post(
        &gateway,
        "\ncookie: a=b\nx-private: 1",
        r#"{"text": "The tide {{ words }} rises.", "tone": "dry"}"#,
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"text": "Ebb and flow."}));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-tidegate-provider"), Some("one"));
    assert_eq!(answer.header("x-tidegate-model"), Some("m"));
    assert_eq!(answer.header("x-tidegate-finish"), Some("stop"));
    let seen = upstream.seen().pop().expect("a request");
    let (_, request) = read(&seen);
    let want = [
        (Role::System, "Sum up in 20 words, dry.".to_owned()),
        (Role::User, "The tide {{ words }} rises.".to_owned()),
    ];
    assert_eq!(turns(&request), want, "values are text and no template");
    assert_eq!(request.model, "m");
    for private in ["x-api-key", "cookie", "x-private"] {
        assert_eq!(seen.header(private), None, "{private} is no provider's business");
    }
    assert_eq!(seen.header("authorization"), Some("Bearer provider-key-of-the-test"));
    let record = gateway.records(1).pop().expect("a record");
    assert_eq!(record["method"], "POST");
    assert_eq!(record["ai"]["dialect"], "prompt", "{record}");
    assert_eq!((&record["ai"]["model"], &record["ai"]["input_tokens"]), (&json!("smart"), &json!(11)));
}

#[test]
fn rules_of_the_route_judge_what_goes_into_a_prompt_and_what_comes_of_it() {
    let upstream = model::text(|request| match last(request).contains("rival") {
        true => "Acme Corp, of course.".to_owned(),
        false => last(request),
    });
    let text = super::configuration(SUMMARY, &chat(&upstream)).replace(
        "policies: [{keyAuth: {}}]",
        "policies: [{keyAuth: {}}, {guardrails: {message: not here, rules: [{name: rivals, words: [Acme Corp]}, {name: pii, mode: mask, personalData: [email]}]}}]",
    );
    let gateway = crate::harness::Gateway::start(&text);
    for (said, asked) in [("of Acme Corp", 0), ("a rival", 1)] {
        let answer = post(&gateway, "", &json!({"text": said}).to_string());
        assert_eq!(answer.status, 400, "{said}: {}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:tidegate:problem:content-blocked", "{said}: {problem}");
        assert_eq!(problem["detail"], "not here", "{said}: {problem}");
        assert_eq!(upstream.seen().len(), asked, "{said}: {}", answer.text());
        assert!(!answer.text().contains("Acme"), "{}", answer.text());
    }
    let answer = post(&gateway, "", r#"{"text": "write to ann@example.org"}"#);
    assert_eq!(answer.json(), json!({"text": "write to ann@example.org"}), "what was masked is there again");
    let (_, request) = read(&upstream.seen()[1]);
    assert_eq!(last(&request), "write to <EMAIL_1>");
}

#[test]
fn forms_queries_and_bodies_say_the_same() {
    let upstream = model::text(|request| turns(request).into_iter().map(|(_, text)| text + "|").collect());
    let gateway = gateway(SUMMARY, &chat(&upstream));
    let want = json!({"text": "Sum up in 7 words, warm.|a b #x #y|"});
    let json = r#"{"text":"a b","words":7,"tone":"warm","tags":["x","y"]}"#;
    let form = "text=a+b&words=7&tone=warm&tags=x&tags=y";
    let by_json = post(&gateway, "", json);
    assert_eq!(by_json.json(), want, "{}", by_json.text());
    let kind = "\ncontent-type: application/x-www-form-urlencoded; charset=utf-8";
    assert_eq!(send(&gateway, "POST /v1/summary", kind, form).json(), want);
    assert_eq!(send(&gateway, &format!("GET /v1/summary?{form}"), "", "").json(), want);
    let records = gateway.records(3);
    assert_eq!(records.iter().filter(|record| record["method"] == "GET").count(), 1, "{records:?}");
}

#[test]
fn captures_of_the_path_are_input() {
    let upstream = model::text(last);
    let text = super::configuration(SUMMARY, &chat(&upstream))
        .replace("{prefix: /v1/summary}", "{template: \"/v1/{tone}/{text}\"}");
    let gateway = crate::harness::Gateway::start(&text);
    let answer = send(&gateway, "GET /v1/dry/high%20tide", "", "");
    assert_eq!((answer.status, answer.json()), (200, json!({"text": "high tide"})), "{}", answer.text());
    let answer = send(&gateway, "GET /v1/wet/tide", "", "");
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("`/tone`")),
        "{}",
        answer.text()
    );
}

#[test]
fn what_is_wrong_with_an_input_is_named_and_no_model_is_asked() {
    let upstream = model::text(last);
    let gateway =
        gateway(&SUMMARY.replace("model: smart", "model: smart, maxBodySize: 1KiB"), &chat(&upstream));
    let json = "\ncontent-type: application/json";
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(1024));
    for (headers, body, status, problem, says) in [
        (json, "{}", 400, "invalid", "`/text` is required: expected string"),
        (json, "", 400, "invalid", "`/text` is required"),
        (json, r#"{"text": 4711}"#, 400, "invalid", "`/text`: value is not of type \"string\""),
        (json, r#"{"text": "a", "words": 0}"#, 400, "invalid", "`/words`"),
        (json, r#"{"text": "a", "tags": ["b", 1]}"#, 400, "invalid", "`/tags/1`"),
        (json, r#"{"words": 0}"#, 400, "invalid", "`/words`"),
        (json, "[]", 400, "invalid", "expected a JSON object"),
        (json, "{\"text\"", 400, "invalid", "not JSON"),
        (json, &long, 413, "body-too-large", "larger than 1024 bytes"),
        (
            "\ncontent-type: application/x-www-form-urlencoded",
            r#"{"text": "a"}"#,
            400,
            "invalid",
            "`content-type: application/json`",
        ),
        ("\ncontent-type: text/plain", "hello", 415, "unsupported-media-type", "application/json"),
        (
            "\ncontent-type: application/json\ncontent-encoding: gzip",
            "{}",
            415,
            "unsupported-media-type",
            "compressed",
        ),
        ("\ncontent-type: application/x-www-form-urlencoded", "text=a&text=b", 400, "invalid", "twice"),
    ] {
        let answer = send(&gateway, "POST /v1/summary", headers, body);
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (status, Some(problem)),
            "{body}: {}",
            answer.text()
        );
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(says), "{body}: {detail}");
        assert!(!detail.contains("4711"), "{detail}");
    }
    let answer = send(&gateway, "DELETE /v1/summary", "", "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST, PUT, PATCH")));
    let answer = gateway.send("POST /v1/summary HTTP/1.1\nhost: gw\ncontent-length: 2", b"{}");
    assert_eq!(
        (answer.status, answer.problem().as_deref()),
        (401, Some("unauthenticated")),
        "a problem document"
    );
    assert!(upstream.seen().is_empty());
}

#[test]
fn every_dialect_is_asked_for_the_schema_and_its_answer_is_typed() {
    let said = r#"{"summary": "Ebb.", "score": 4}"#;
    for (dialect, kind, path, name) in KINDS {
        let upstream = model::text(move |_| said.to_owned());
        let base = format!("http://{}{path}", upstream.address);
        let gateway = gateway(&typed(""), &[("one", kind, base, name)]);
        let answer = post(&gateway, "", r#"{"text": "The tide."}"#);
        assert_eq!(answer.status, 200, "{}: {}", dialect.name(), answer.text());
        assert_eq!(answer.json(), json!({"summary": "Ebb.", "score": 4}), "{}", dialect.name());
        let seen = upstream.seen().pop().expect("a request");
        let (spoken, request) = read(&seen);
        assert_eq!(spoken, dialect);
        let told = match &request.format {
            Format::Schema { schema, .. } => schema["properties"]["score"]["type"] == "integer",
            _ => false,
        };
        let in_words = String::from_utf8_lossy(&seen.body).contains("fits this JSON Schema");
        assert!(
            told || in_words,
            "{} was not told the schema: {}",
            dialect.name(),
            String::from_utf8_lossy(&seen.body)
        );
    }
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_once_more_and_both_are_counted() {
    let upstream = model::text(|request| match last(request).contains("cannot be used") {
        true => r#"{"summary": "Ebb.", "score": 4}"#.to_owned(),
        false => r#"{"summary": "Ebb.", "score": 9}"#.to_owned(),
    });
    let gateway = gateway(&typed(""), &chat(&upstream));
    let answer = post(&gateway, "", r#"{"text": "The tide."}"#);
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"summary": "Ebb.", "score": 4})),
        "{}",
        answer.text()
    );
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2);
    let turns = turns(&read(&seen[1]).1);
    assert_eq!(turns[2], (Role::Assistant, r#"{"summary": "Ebb.", "score": 9}"#.to_owned()));
    assert!(turns[3].1.contains("`/score`") && turns[3].1.contains("\"maximum\":5"), "{turns:?}");
    let record = gateway.records(1).pop().expect("a record");
    assert_eq!(
        (&record["ai"]["input_tokens"], &record["ai"]["output_tokens"]),
        (&json!(22), &json!(14)),
        "{record}"
    );
}

#[test]
fn an_answer_that_never_fits_is_502_and_says_why() {
    let upstream = model::text(|_| "I would rather not.".to_owned());
    let gateway = gateway(&typed(""), &chat(&upstream));
    let answer = post(&gateway, "", r#"{"text": "The tide."}"#);
    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-upstream-answer")));
    assert!(answer.text().contains("not JSON"), "{}", answer.text());
    assert_eq!(upstream.seen().len(), 2);
    // Asked once alone where the route says so, and where asking again would cut it at the same place.
    let upstream = model::text(|_| "I would rather not.".to_owned());
    let gateway = super::gateway(&typed(", repair: false"), &chat(&upstream));
    assert_eq!(post(&gateway, "", r#"{"text": "The tide."}"#).status, 502);
    assert_eq!(upstream.seen().len(), 1);
    let upstream = says(|_| answer_cut());
    let gateway = super::gateway(&typed(""), &chat(&upstream));
    let cut = post(&gateway, "", r#"{"text": "The tide."}"#);
    assert_eq!(cut.status, 502);
    assert!(cut.text().contains("most tokens allowed"), "{}", cut.text());
    assert_eq!(upstream.seen().len(), 1);
}

fn answer_cut() -> ai::canon::Answer {
    answer(vec![Part::text("{\"summary\": \"Eb")], Finish::Length)
}

#[test]
fn a_refusal_is_told_as_one() {
    let upstream =
        says(|_| answer(vec![Part::Refusal { text: "I cannot help with that.".into() }], Finish::Refusal));
    let gateway = gateway(&typed(""), &chat(&upstream));
    let answer = post(&gateway, "", r#"{"text": "The tide."}"#);
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("the model declined: I cannot help"), "{}", answer.text());
    assert_eq!(upstream.seen().len(), 1, "asking again would not help");
}

#[test]
fn examples_are_turns_that_have_been() {
    let upstream = model::text(|_| r#"{"summary": "c", "score": 1}"#.to_owned());
    let examples = r#", examples: [{input: {text: a}, output: {summary: A, score: 1}}, {input: {text: b}, output: {summary: B, score: 2}}]"#;
    let gateway = gateway(&typed(examples), &chat(&upstream));
    assert_eq!(post(&gateway, "", r#"{"text": "c"}"#).status, 200);
    let turns = turns(&read(&upstream.seen().pop().expect("a request")).1);
    let want = [
        (Role::System, "Sum up."),
        (Role::User, "a"),
        (Role::Assistant, r#"{"summary":"A","score":1}"#),
        (Role::User, "b"),
        (Role::Assistant, r#"{"summary":"B","score":2}"#),
        (Role::User, "c"),
    ];
    assert_eq!(turns, want.map(|(role, text)| (role, text.to_owned())));
}

#[test]
fn parameters_and_tools_reach_the_model_and_its_calls_come_back() {
    let upstream = says(|_| {
        let call = |id: &str, arguments: &str| Part::ToolCall {
            id: id.into(),
            name: "tide_table".into(),
            arguments: arguments.into(),
            custom: false,
            proof: None,
            cache: None,
        };
        answer(
            vec![Part::text("Let me see."), call("c1", r#"{"port": "Cuxhaven"}"#), call("c2", "{\"port")],
            Finish::ToolCalls,
        )
    });
    let more = r#", tools: [{name: tide_table, description: Tides of a port, parameters: {type: object, properties: {port: {type: string}}}}],
      toolChoice: tide_table, parameters: {temperature: 0.5, topP: 0.9, maxTokens: 77, seed: 7, stop: [END], reasoningEffort: low}"#;
    let gateway = gateway(&typed(more), &chat(&upstream));
    let answer = post(&gateway, "", r#"{"text": "c"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let want = json!({"text": "Let me see.", "toolCalls": [
        {"id": "c1", "name": "tide_table", "arguments": {"port": "Cuxhaven"}},
        {"id": "c2", "name": "tide_table", "arguments": "{\"port"}]});
    assert_eq!(answer.json(), want);
    assert_eq!(answer.header("x-tidegate-finish"), Some("toolCalls"));
    let (_, request) = read(&upstream.seen().pop().expect("a request"));
    assert_eq!(request.sampling.temperature, Some(0.5));
    assert_eq!(request.sampling.top_p, Some(0.9));
    assert_eq!((request.sampling.seed, request.sampling.stop), (Some(7), vec!["END".to_owned()]));
    assert_eq!(request.max_output_tokens, Some(77));
    assert_eq!(request.reasoning.and_then(|reasoning| reasoning.effort), Some(Effort::Low));
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("tide_table".to_owned())));
    assert!(
        matches!(&request.tools[0].kind, ToolKind::Function { parameters: Some(schema) } if schema["type"] == "object")
    );
}

#[test]
fn a_caller_chooses_a_version_and_is_told_which_it_was() {
    let upstream = model::text(last);
    let prompt = r#"{model: smart, input: {type: object, properties: {text: {type: string}}}, default: "2", versions: {
        "1": {messages: [{role: user, content: "one {{ text }}"}]},
        "2": {messages: [{role: user, content: "two {{ text }}"}], parameters: {temperature: 0.1}},
        next: {messages: [{role: user, content: "next {{ text }}"}]}}}"#;
    let gateway = gateway(prompt, &chat(&upstream));
    for (header, want, version) in [
        ("", "two x", "2"),
        ("\nx-tidegate-prompt-version: 1", "one x", "1"),
        ("\nx-tidegate-prompt-version: next", "next x", "next"),
    ] {
        let answer = post(&gateway, header, r#"{"text": "x"}"#);
        assert_eq!(answer.json(), json!({"text": want}));
        assert_eq!(answer.header("x-tidegate-prompt-version"), Some(version));
    }
    // Records of different workers come in any order.
    let mut versions: Vec<String> =
        gateway.records(3).into_iter().map(|record| record["prompt_version"].to_string()).collect();
    versions.sort();
    assert_eq!(versions, ["\"1\"", "\"2\"", "\"next\""]);
    let answer = post(&gateway, "\nx-tidegate-prompt-version: 3", r#"{"text": "x"}"#);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("expected one of 2, 1, next"), "{}", answer.text());
}

#[test]
fn the_short_form_names_its_version_too() {
    let upstream = model::text(last);
    let gateway = gateway(&SUMMARY.replace("model: smart", "model: smart, version: \"3\""), &chat(&upstream));
    let answer = post(&gateway, "", r#"{"text": "x"}"#);
    assert_eq!((answer.status, answer.header("x-tidegate-prompt-version")), (200, Some("3")));
    assert_eq!(gateway.records(1).pop().expect("a record")["prompt_version"], "3");
}

#[test]
fn another_target_answers_when_the_first_fails_and_each_is_asked_in_its_own_dialect() {
    let broken = Upstream::scripted(|_| Some(fails(503, "{}")));
    let other = model::text(|_| r#"{"summary": "Ebb.", "score": 4}"#.to_owned());
    let providers = [
        ("one", "openai", format!("http://{}/v1", broken.address), "gpt-4o"),
        ("two", "anthropic", format!("http://{}", other.address), "claude-sonnet-4-5"),
    ];
    let gateway = gateway(&typed(", parameters: {maxTokens: 5, seed: 3}"), &providers);
    let answer = post(&gateway, "", r#"{"text": "x"}"#);
    assert_eq!(
        (answer.status, answer.header("x-tidegate-provider")),
        (200, Some("two")),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("x-tidegate-dropped"), Some("seed"), "what its dialect has no place for");
    assert!(String::from_utf8_lossy(&broken.seen()[0].body).contains("\"max_completion_tokens\":5"));
    assert_eq!(other.seen()[0].target(), "/v1/messages");
}

#[test]
fn strict_refuses_what_cannot_be_carried_whole() {
    let upstream = model::text(last);
    let providers = [("two", "anthropic", format!("http://{}", upstream.address), "claude-sonnet-4-5")];
    let gateway = gateway(
        &SUMMARY.replace("model: smart", "model: smart, strict: true, parameters: {seed: 3}"),
        &providers,
    );
    let answer = post(&gateway, "", r#"{"text": "x"}"#);
    assert_eq!((answer.status, answer.problem().as_deref()), (422, Some("invalid")));
    assert!(answer.text().contains("seed"), "{}", answer.text());
    assert!(upstream.seen().is_empty());
}

#[test]
fn what_the_provider_fails_with_is_a_problem_and_its_words_are_for_the_log() {
    for (status, body, want, problem) in [
        (
            401,
            r#"{"error":{"message":"wrong key sk-secret","type":"invalid_request_error"}}"#,
            502,
            "bad-upstream-answer",
        ),
        (
            400,
            r#"{"error":{"message":"sk-secret does not fit","type":"invalid_request_error"}}"#,
            502,
            "bad-upstream-answer",
        ),
        (
            400,
            r#"{"error":{"message":"sk-secret too long","code":"context_length_exceeded"}}"#,
            400,
            "invalid",
        ),
        (429, r#"{"error":{"message":"sk-secret slow down"}}"#, 429, "rate-limited"),
        (500, "sk-secret", 502, "bad-upstream-answer"),
        (200, "sk-secret", 502, "bad-upstream-answer"),
    ] {
        let upstream = Upstream::scripted(move |_| Some(fails(status, body)));
        let gateway = gateway(SUMMARY, &chat(&upstream));
        let answer = post(&gateway, "", r#"{"text": "x"}"#);
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (want, Some(problem)),
            "{status} {body}: {}",
            answer.text()
        );
        assert!(!answer.text().contains("sk-secret"), "{}", answer.text());
        assert!(answer.json()["detail"].is_string());
    }
}
