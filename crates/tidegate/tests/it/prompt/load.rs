//! What is wrong with a prompt is said before it serves, at its place and with the remedy.

use std::fs;

use super::configuration;
use crate::harness::run;

/// What `validate` says of a configuration with this prompt.
fn told(prompt: &str) -> (i32, String) {
    let text = configuration(prompt, &[("one", "openai", "http://127.0.0.1:9/v1".to_owned(), "gpt-4o")]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, format!("listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]\n{text}"))
        .expect("a file");
    let (code, _, problems) = run(&["validate", "-c", &path.display().to_string()]);
    // Long lines are wrapped for people.
    (code, problems.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" "))
}

const INPUT: &str = "input: {type: object, properties: {text: {type: string}}}";
const MESSAGES: &str = r#"messages: [{role: user, content: "{{ text }}"}]"#;

#[test]
fn a_good_prompt_loads_without_a_word() {
    for more in [
        "",
        ", version: v1, description: Sums up.",
        ", openapiPath: /v1/summary/openapi.json",
        ", parameters: {temperature: 0, stop: [a], reasoningEffort: high}, examples: [{input: {text: a}, output: b}]",
    ] {
        let (code, problems) = told(&format!("{{model: smart, {INPUT}, {MESSAGES}{more}}}"));
        assert_eq!(code, 0, "{more}: {problems}");
        assert!(!problems.contains("warning"), "{more}: {problems}");
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let good = |more: &str| format!("{{model: smart, {INPUT}, {MESSAGES}{more}}}");
    for (prompt, place, says) in [
        (format!("{{{INPUT}, {MESSAGES}}}"), "prompt.model", "expected the name of a model"),
        (format!("{{model: clever, {INPUT}, {MESSAGES}}}"), "prompt.model", "model of `ai.models`"),
        (format!("{{model: smart, {INPUT}}}"), "prompt", "expected `messages`"),
        (format!("{{model: smart, {INPUT}, messages: [{{role: system, content: x}}]}}"), "prompt.messages", "role `user`"),
        (format!("{{model: smart, {INPUT}, messages: [{{role: user, content: \"\"}}]}}"), "prompt.messages[0].content", "expected a text"),
        (format!("{{model: smart, {INPUT}, messages: [{{role: bot, content: x}}]}}"), "prompt.messages[0].role", "developer"),
        (format!("{{model: smart, {MESSAGES}}}"), "prompt", "`text` is no property of `input`, which has none"),
        (good("").replace("{{ text }}", "{{ texd }}"), "prompt", "messages[0].content: `texd` is no property of `input`, which has text"),
        (good("").replace("{{ text }}", "{% if text %}"), "prompt", "messages[0].content: line 1:"),
        (good("").replace("{type: object,", "{type: array,"), "prompt.input", "begin with `type: object`"),
        (good("").replace("{type: string}", "{type: strin}"), "prompt.input.properties.text.type", "did you mean `string`"),
        (good("").replace("{type: string}", "{$ref: \"http://127.0.0.1:9/x\"}"), "prompt", "input:"),
        (good(", output: {type: string}"), "prompt.output", "type: object"),
        (good(", output: {type: object, required: 7}"), "prompt", "output:"),
        (good(", temperature: 1"), "prompt.temperature", "unknown key"),
        (good(", parameters: {temperature: 3}"), "prompt.parameters.temperature", "from 0 to 2"),
        (good(", examples: [{input: {text: 1}, output: x}]"), "prompt", "examples[0].input: `/text`"),
        (good(", examples: [{input: {text: a}, output: {a: 1}}]"), "prompt", "examples[0].output: expected a text"),
        (good(", tools: [{name: a b}]"), "prompt.tools[0].name", "expected 1 to 64 letters"),
        (good(", tools: [{name: a}, {name: a}]"), "prompt.tools[1].name", "there twice"),
        (good(", toolChoice: b"), "prompt.toolChoice", "has no `b`"),
        (good(", version: \"a b\""), "prompt.version", "expected 1 to 64"),
        (good(", default: x"), "prompt.default", "there are no `versions`"),
        (good(", versions: {a: {messages: [{role: user, content: x}]}}"), "prompt.messages", "has its messages there"),
        ("{model: smart, versions: {a: {messages: [{role: user, content: x}]}, b: {messages: [{role: user, content: x}]}}}".to_owned(), "prompt", "name one in `default`"),
        ("{model: smart, default: c, versions: {a: {messages: [{role: user, content: x}]}}}".to_owned(), "prompt.default", "expected one of a"),
        ("{model: smart, versions: {a: {messages: [{role: user, content: \"{{ x }}\"}]}}}".to_owned(), "prompt", "versions.a.messages[0].content: `x`"),
        ("{model: smart, versions: {a: {model: other, messages: [{role: user, content: x}]}}}".to_owned(), "prompt.versions.a.model", "`other`"),
        (good(", openapiPath: /elsewhere.json"), "prompt.openapiPath", "no `match` of this route"),
    ] {
        let (code, problems) = told(&prompt);
        assert_eq!(code, 3, "{prompt}: {problems}");
        let place = format!("routes[0].{place}");
        assert!(problems.contains(&place) && problems.contains(says), "{prompt}\nwants {place} … {says}\n{problems}");
    }
}

#[test]
fn a_route_with_two_handlers_is_refused() {
    let (code, problems) = told(&format!("{{model: smart, {INPUT}, {MESSAGES}}}\n    respond: {{}}"));
    assert_eq!(code, 3);
    assert!(problems.contains("exactly one"), "{problems}");
}
