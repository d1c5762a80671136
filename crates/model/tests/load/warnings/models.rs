//! Of models, what is paid for them, who may ask them, and how it is told.

use super::{BACKENDS, KEYS, LISTENER, ai, check, route, whole};

#[test]
fn a_price_of_a_model_that_no_target_has_is_told() {
    for (provider, model, place) in [
        ("p", "smart", "ai.prices[0].model"),
        ("p", "x-*", "ai.prices[0].model"),
        ("p", "gpt-4o", ""),
        ("p", "gpt-*", ""),
        ("p", "l-7b", ""),
        ("p", "*", ""),
        ("q", "smart", ""),
    ] {
        let prices = format!(", prices: [{{provider: {provider}, model: \"{model}\", input: 1}}]");
        check(&ai(&prices, KEYS, ""), place, "no target of provider `p`");
    }
}

#[test]
fn a_price_behind_a_wider_one_of_its_provider_is_told() {
    let price = |(provider, model, input): (&str, &str, u32)| {
        format!("{{provider: {provider}, model: \"{model}\", input: {input}}}")
    };
    for (first, second, is_told) in [
        (("p", "gpt-*", 1), ("p", "gpt-4o", 2), true),
        (("p", "*", 1), ("p", "l-*", 2), true),
        (("p", "gpt-4o", 1), ("p", "gpt-4o", 2), true),
        (("p", "gpt-4o", 1), ("p", "gpt-4o", 1), false),
        (("p", "gpt-4o", 1), ("p", "gpt-*", 2), false),
        (("q", "*", 1), ("p", "gpt-4o", 2), false),
    ] {
        let prices = format!(", prices: [{}, {}]", price(first), price(second));
        let place = if is_told { "ai.prices[1].model" } else { "" };
        check(&ai(&prices, KEYS, ""), place, "this price counts for nothing");
    }
}

#[test]
fn budgets_with_settings_that_do_nothing_are_told() {
    let at = "routes[0].policies[1]";
    let jwt = "{jwt: {issuer: \"https://id.test\", audiences: [a], jwks: {url: \"https://id.test/keys\"}}}";
    for (first, policy, key, message) in [
        (KEYS, "{budget: {tokens: 5, unknownPrice: free}}", "budget.unknownPrice", "asks for no prices"),
        (KEYS, "{budget: {amount: 5, unknownPrice: free}}", "", ""),
        (KEYS, "{budget: {amount: 5, key: {claim: team}}}", "budget.key", "all calls count as one"),
        (jwt, "{budget: {amount: 5, key: {claim: team}}}", "", ""),
        (
            KEYS,
            "{tokenRateLimit: {tokens: 5, window: 1m, key: {claim: team}}}",
            "tokenRateLimit.key",
            "all calls count as one",
        ),
    ] {
        let place = if key.is_empty() { String::new() } else { format!("{at}.{key}") };
        check(&ai("", &format!("{first}, {policy}"), ""), &place, message);
    }
    let global = "globalPolicies: [{budget: {amount: 5}}]";
    check(&ai("", KEYS, global), "", "");
    let none = whole(LISTENER, &format!("{global}\nroutes: [{{name: r, {BACKENDS}}}]"));
    check(&none, "globalPolicies[0]", "`budget` has no effect: no route has `ai`");
}

#[test]
fn consumers_that_nobody_can_be_are_told() {
    for (policy, consumer, place) in [
        (KEYS, "{name: c}", "consumers[0]"),
        ("{anyOf: {policies: [{keyAuth: {}}, {basicAuth: {}}]}}", "{name: c}", "consumers[0]"),
        (KEYS, "{name: c, keys: [{env: A}]}", ""),
        ("{keyAuth: {anonymous: c}}", "{name: c}", ""),
        ("{mtls: {trustedHeader: xfcc}}", "{name: c}", ""),
    ] {
        let rest =
            format!("consumers: [{consumer}]\nroutes: [{{name: r, policies: [{policy}], {BACKENDS}}}]");
        check(&whole(LISTENER, &rest), place, "it has no credentials");
    }
    let open = format!("consumers: [{{name: c}}]\nroutes: [{{name: r, {BACKENDS}}}]");
    check(&whole(LISTENER, &open), "", "");
}

#[test]
fn metadata_of_tokens_that_nobody_reads_is_told() {
    let mcp = "mcp: {servers: [{name: s, url: \"http://127.0.0.1:1/mcp\"}], oauth: {resource: \"https://a.test/mcp\", authorizationServers: [\"https://id.test\"]}}";
    check(&route("{}", "", mcp), "routes[0].mcp.oauth", "no policy reads them");
    check(&route("{}", KEYS, mcp), "", "");
}

#[test]
fn what_a_prompt_asks_for_and_does_not_know_is_told() {
    let prompt = |input: &str| {
        let prompt = format!(
            "prompt: {{model: smart, input: {{type: object, {input}}}, messages: [{{role: user, content: \"{{{{ text }}}}\"}}]}}"
        );
        let route =
            format!("\n  - {{name: s, match: [{{path: {{exact: /s}}}}], policies: [{KEYS}], {prompt}}}\n");
        let text = format!(
            "ai: {{providers: [{{name: p, kind: openai, keys: [{{env: A}}]}}], models: [{{name: smart, targets: [{{provider: p, model: m}}]}}]}}\nroutes:{route}"
        );
        whole(LISTENER, &text)
    };
    let properties = "properties: {text: {type: string}}";
    check(
        &prompt(&format!("{properties}, required: [text, txet]")),
        "routes[0].prompt.input.required[1]",
        "did you mean `text`?",
    );
    check(&prompt(&format!("{properties}, required: [text]")), "", "");
    check(
        &prompt(&format!("{properties}, required: [more], additionalProperties: {{type: string}}")),
        "",
        "",
    );
    check(
        &prompt(&format!("{properties}, required: [more], additionalProperties: false")),
        "routes[0].prompt.input.required[0]",
        "add `more` to `properties`",
    );
}

#[test]
fn two_limits_of_tokens_of_one_name_and_a_policy_that_is_used_twice_are_told() {
    let limit = |more: &str| format!("{{tokenRateLimit: {{tokens: 5, window: {more}}}}}");
    let told = |first: &str, second: &str| {
        ai(
            "",
            &format!("{KEYS}, {}, {}", limit(first), limit(second)),
            "consumers: [{name: c, keys: [{env: A}]}]",
        )
    };
    let place = "routes[0].policies[2].tokenRateLimit";
    check(&told("1m", "1h"), place, "`tokens` is the name of another one here");
    check(&told("1m", "1h, name: hourly"), "", "");
    let used = |uses: &str| {
        let named = "policies: [{name: one, policy: {budget: {amount: 5}}}, {name: two, policy: {budget: {amount: 9}}}]";
        ai("", &format!("{KEYS}, {uses}"), named)
    };
    check(&used("{use: one}, {use: one}"), "routes[0].policies[2].use", "`one` is used here already");
    check(&used("{use: one}, {use: two}"), "", "");
    let named = "policies: [{name: one, policy: {budget: {amount: 5}}}, {name: web, policy: {cors: {}}}, \
                 {name: calls, policy: {rateLimit: {limit: 4, window: 1m}}}, {name: places, policy: {concurrencyLimit: {limit: 4}}}]";
    let around = |global: &str, used: &str| {
        ai("", &format!("{KEYS}, {{use: {used}}}"), &format!("globalPolicies: [{{use: {global}}}]\n{named}"))
    };
    for name in ["one", "calls", "places"] {
        let message = format!("`{name}` is in `globalPolicies`, too");
        check(&around(name, name), "routes[0].policies[1].use", &message);
    }
    assert!(!around("web", "web").contains("twice") && !around("web", "one").contains("twice"));
}

#[test]
fn a_first_token_that_nobody_is_asked_after_is_told() {
    let of = |provider: &str, models: &str| {
        let text = format!(
            "ai: {{providers: [{{name: p, kind: openai, keys: [{{env: A}}]{provider}}}, {{name: q, kind: openai, keys: [{{env: A}}]}}], \
             models: [{models}]}}\nroutes: [{{name: r, policies: [{KEYS}], ai: {{}}}}]"
        );
        whole(LISTENER, &text)
    };
    let one = "targets: [{provider: p, model: gpt-4o}]";
    let two = "targets: [{provider: p, model: gpt-4o}, {provider: q, model: gpt-4o, weight: 0}]";
    let bound = ", firstToken: 5s";
    for (provider, models, place) in [
        (bound, format!("{{name: a, {one}}}"), "ai.providers[0].firstToken"),
        (bound, format!("{{name: a, {one}}}, {{name: b, {two}}}"), ""),
        (bound, "{name: a, targets: [{provider: q, model: gpt-4o}]}".to_owned(), ""),
        ("", format!("{{name: a, {one}{bound}}}"), "ai.models[0].firstToken"),
        ("", format!("{{name: a, {two}{bound}}}"), ""),
    ] {
        check(&of(provider, &models), place, "this does nothing");
    }
}

#[test]
fn a_port_of_the_other_protocol_of_otlp_is_told() {
    for (address, protocol, message) in [
        ("http://127.0.0.1:4317", "http/protobuf", "take gRPC at port 4317"),
        ("https://collector.test:4318", "grpc", "take HTTP at port 4318"),
        ("http://127.0.0.1:4318", "http/protobuf", ""),
        ("http://127.0.0.1:4317", "grpc", ""),
        ("https://collector.test", "grpc", ""),
        ("http://127.0.0.1:9000/otlp", "http/protobuf", ""),
    ] {
        let settings = |key: &str| format!("{{{key}: \"{address}\", protocol: {protocol}}}");
        let place = |place: &'static str| if message.is_empty() { "" } else { place };
        let exported =
            format!("telemetry: {{otlp: {}}}\nroutes: [{{name: r, {BACKENDS}}}]", settings("endpoint"));
        check(&whole(LISTENER, &exported), place("telemetry.otlp.endpoint"), message);
        let logged = format!(
            "accessLog: [{{kind: otlp, otlp: {}}}]\nroutes: [{{name: r, {BACKENDS}}}]",
            settings("url")
        );
        check(&whole(LISTENER, &logged), place("accessLog[0].otlp.url"), message);
    }
}

#[test]
fn a_count_of_places_for_what_acts_at_each_is_told() {
    let at = "routes[0].policies[1].guardrails.rules[0]";
    for (rule, key, message) in [
        ("words: [a], atLeast: 7", "", ""),
        ("words: [a], atLeast: 1, mode: mask", "", ""),
        ("patterns: [a], atLeast: 2, mode: flag", "atLeast", "this does nothing"),
        ("words: [a], atLeast: 2, mode: mask", "atLeast", "each place is masked"),
        ("words: [a], atLeast: 0", "atLeast", "found 0"),
        ("injection: {}, atLeast: 2", "atLeast", "counts `words` or `patterns`"),
    ] {
        let place = if key.is_empty() { String::new() } else { format!("{at}.{key}") };
        let policy = format!("{{guardrails: {{rules: [{{name: n, {rule}}}]}}}}");
        check(&ai("", &format!("{KEYS}, {policy}"), ""), &place, message);
    }
}
