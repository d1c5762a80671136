//! `validate` of what the AI gateway serves: what could never work is an error, and what surprises a warning.

use crate::harness::run;

const GOOD: &str = "listeners: [{name: public, address: \"127.0.0.1:0\"}]
consumers: [{name: app, models: [smart, \"loc*\"], keys: [the-key-of-the-test]}]
routes:
  - name: models
    match: [{path: {prefix: /ai}}]
    policies: [{keyAuth: {}}, {budget: {amount: 5}}]
    ai: {stripPrefix: /ai}
ai:
  providers:
    - {name: p, kind: openai, keys: [a-key-of-a-provider]}
  models:
    - {name: smart, targets: [{provider: p, model: gpt-4o}]}
    - {name: \"local/*\", targets: [{provider: p, model: \"*\"}]}
";

/// Exit code, and what is told, of the good configuration with something else in it.
fn validated(from: &str, to: &str) -> (i32, String) {
    assert!(GOOD.contains(from), "{from}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, GOOD.replace(from, to)).expect("a file");
    let (code, out, problems) = run(&["validate", "-c", &path.display().to_string()]);
    (code, out + &problems)
}

#[test]
fn providers_and_models_are_counted_and_what_is_right_is_not_warned_of() {
    let (code, told) = validated("models", "models");
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("ok: 1 listener, 1 route, 0 upstreams, 1 consumer, 1 AI provider, 2 models"),
        "{told}"
    );
    for word in ["open to everybody", "nobody knows what", "turned off", "stripPrefix"] {
        assert!(!told.contains(word), "{told}");
    }
}

#[test]
fn models_that_are_nowhere_and_prefixes_that_never_fit_are_errors() {
    for (from, to, wrong, help) in [
        ("[smart, ", "[smrat, ", "there is no model of `ai.models` `smrat`", "did you mean `smart`?"),
        ("\"loc*\"", "\"other*\"", "no name of `ai.models` begins like `other*`", ""),
        (
            "stripPrefix: /ai",
            "stripPrefix: /api",
            "no path that the route matches begins with `/api`",
            "`stripPrefix: /ai`",
        ),
    ] {
        let (code, told) = validated(from, to);
        assert!(code != 0 && told.contains(wrong) && told.contains(help), "{from} → {to}: {code} {told}");
    }
    for (from, to) in [
        ("{prefix: /ai}", "{prefix: /}"),
        ("{prefix: /ai}", "{prefix: /ai/v1}"),
        ("[smart, ", "[local/llama, "),
        ("[smart, ", "[\"*\", "),
    ] {
        let (code, told) = validated(from, to);
        assert_eq!(code, 0, "{from} → {to}: {told}");
    }
}

#[test]
fn what_is_open_to_everybody_and_what_no_budget_lets_pass_is_warned_of() {
    for (from, to, warning) in [
        ("{keyAuth: {}}, ", "", "open to everybody"),
        ("model: gpt-4o", "model: our-own", "nobody knows what `our-own` costs"),
        ("model: gpt-4o", "model: gpt-4", "`gpt-4` was turned off on 2026-10-23"),
        (", keys: [a-key-of-a-provider]", "", "ai.providers[0]: this provider has no credentials"),
        (
            "keys: [the-key",
            "expiresAt: 2020-02-01, keys: [the-key",
            "consumers[0].expiresAt: this ended on 2020-02-01",
        ),
        ("{amount: 5}", "{amount: 5, share: 20}", "`share` says what is done"),
        ("a-key-of-a-provider", "\"${OPENAI_API_KEY}\"", "names no variable: write `{env: NAME}`"),
        ("{amount: 5}}]", "{amount: 5}}, {budget: {amount: 9}}]", "`budget` is the name of another one here"),
        ("{amount: 5}", "{amount: 5, whenAway: open}", "add `store: redis`, or leave it out"),
    ] {
        let (code, told) = validated(from, to);
        assert!(code == 0 && told.contains(warning), "{from} → {to}: {code} {told}");
    }
    let (_, told) = validated("model: gpt-4o", "model: our-own");
    assert!(
        told.contains("`ai.prices`") && told.contains("`unknownPrice: free`") && told.contains("our-own}"),
        "{told}"
    );
    let (_, told) = validated("budget: {amount: 5}}]", "budget: {tokens: 5}}]");
    assert!(!told.contains("nobody knows"), "{told}");
}

#[test]
fn a_version_too_many_or_too_few_in_a_base_address_is_warned_of() {
    for (kind, base, warning) in [
        ("anthropic", "https://a.test/v1", Some("`https://a.test/v1/v1/messages` would be asked")),
        ("anthropic", "https://a.test", None),
        ("cohere", "https://a.test/v2/", Some("`https://a.test/v2/v2/chat` would be asked")),
        ("gemini", "https://a.test", Some("such as `https://a.test/v1beta`")),
        ("gemini", "https://a.test/v1beta", None),
        ("openai", "https://a.test/v1", None),
        ("openai", "https://a.test", Some("write `https://a.test/v1`")),
        ("openai-compatible", "https://a.test", Some("such as `https://a.test/v1`")),
        ("openai-compatible", "https://a.test/v1/chat/completions", Some("so leave `/completions` out")),
    ] {
        let (code, told) = validated("kind: openai,", &format!("kind: {kind}, baseUrl: \"{base}\","));
        assert_eq!(code, 0, "{kind} {base}: {told}");
        // Wherever the lines are broken.
        let plain =
            |text: &str| text.split(|one: char| one == '│' || one.is_whitespace()).collect::<String>();
        assert_eq!(plain(&told).contains("wouldbeasked"), warning.is_some(), "{kind} {base}: {told}");
        assert!(plain(&told).contains(&plain(warning.unwrap_or_default())), "{kind} {base}: {told}");
    }
    let program = "    policies: [{keyAuth: {}}]\n    mcp: {servers: [{name: s, command: [/bin/cat]}]}\nruntime: {allowedCommands: [/bin/cat]}";
    let served = "    policies: [{keyAuth: {}}, {budget: {amount: 5}}]\n    ai: {stripPrefix: /ai}";
    for (mcp, warned) in [
        (program.to_owned(), false),
        (program.replace("{keyAuth: {}}", ""), true),
        (
            program
                .replace("{keyAuth: {}}", "")
                .replace("[/bin/cat]}]", "[/bin/cat], process: {shared: true}}]"),
            false,
        ),
    ] {
        let (code, told) = validated(served, &mcp);
        assert_eq!((code, told.contains("started")), (0, warned), "{mcp}: {told}");
    }
}

#[test]
fn names_that_are_none_are_told_with_those_there_are() {
    let (code, told) = validated("provider: p, model: gpt-4o", "provider: openai, model: gpt-4o");
    assert!(code != 0 && told.contains("there are: `p`"), "{told}");
}

#[test]
fn mistakes_of_providers_and_conditions_are_told_where_they_are() {
    let (code, told) = validated("kind: openai,", "kind: claude,");
    assert!(code != 0 && told.contains("did you mean `anthropic`?"), "{told}");
    let bedrock = "kind: bedrock, values: {region: r, regon: x},";
    let (code, told) = validated("kind: openai,", bedrock);
    assert!(code != 0 && told.contains("ai.providers[0].values.regon: the kind `bedrock`"), "{told}");
    let (code, told) = validated("kind: openai,", &bedrock.replace(", regon: x", ""));
    assert!(code == 0 && !told.contains("has no value"), "{told}");
    let (_, told) = validated("kind: openai,", "kind: nobodys,");
    assert!(told.contains("there are ai21, ") && told.contains("openai-compatible"), "{told}");
    let (code, told) = validated("kind: openai,", "kind: openai-compatible,");
    assert!(code != 0 && told.contains("`baseUrl` is missing"), "{told}");
    let two =
        "targets: [{provider: p, model: gpt-4o}, {provider: p, model: gpt-4.1, when: \"ai.nothing > 5\"}]}";
    let (code, told) = validated("targets: [{provider: p, model: gpt-4o}]}", two);
    assert!(code != 0 && told.contains("ai.models[0].targets[1].when"), "{told}");
}
