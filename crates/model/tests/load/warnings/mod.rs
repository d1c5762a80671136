//! Settings that do nothing where they stand are told, and their like that do something are not.

mod around;
mod models;

use crate::support::load;

const LISTENER: &str = "listeners: [{name: web, address: \"127.0.0.1:8080\"}]";
const UPSTREAMS: &str = "upstreams: [{name: a, endpoints: [{address: \"127.0.0.1:1\"}]}, {name: b, endpoints: [{address: \"127.0.0.1:2\"}]}, {name: g, protocol: grpc, endpoints: [{address: \"127.0.0.1:3\"}]}]";

/// The warnings about a configuration whose one route has a match and policies.
fn route(matches: &str, policies: &str, handler: &str) -> String {
    whole(LISTENER, &format!("routes: [{{name: r, match: [{matches}], policies: [{policies}], {handler}}}]"))
}

fn whole(listener: &str, rest: &str) -> String {
    match load(&format!("{listener}\n{UPSTREAMS}\n{rest}\n")) {
        Ok(snapshot) => snapshot.warnings.to_string(),
        Err(wrong) => format!("refused: {wrong}"),
    }
}

/// The AI gateway with a route to one model, and something more in its settings.
fn ai(more: &str, policies: &str, rest: &str) -> String {
    whole(
        LISTENER,
        &format!(
            "ai: {{providers: [{{name: p, kind: openai, keys: [{{env: A}}]}}, {{name: q, kind: openai, keys: [{{env: A}}]}}], \
             models: [{{name: smart, targets: [{{provider: p, model: gpt-4o}}]}}, {{name: \"l/*\", targets: [{{provider: p, model: \"l-*\"}}]}}]{more}}}\n\
             routes: [{{name: r, policies: [{policies}], ai: {{}}}}]\n{rest}"
        ),
    )
}

/// Whether just this is said, or nothing where there is no place.
fn check(told: &str, place: &str, message: &str) {
    match place {
        "" => assert_eq!(told, ""),
        _ => assert!(told.contains(&format!("{place}: ")) && told.contains(message), "{place}: {told}"),
    }
}

const BACKENDS: &str = "backends: [{upstream: a}]";
const KEYS: &str = "{keyAuth: {}}";

/// Each with what is said of it at which key, and what the same says elsewhere: nothing.
#[test]
fn what_does_nothing_on_its_route_is_told_and_what_does_something_is_not() {
    let orders = "{path: {prefix: /orders}, methods: [GET]}";
    let rule = |rule: &str| format!("{{strangler: {{rules: [{{name: n, to: b, percent: 5, {rule}}}]}}}}");
    let rewrite = |prefix: &str| format!("{{rewrite: {{path: {{stripPrefix: {prefix}}}}}}}");
    for (policies, key, message) in [
        (rule("path: {prefix: /items}"), "strangler.rules[0].path", Some("this rule moves nobody")),
        (rule("path: {exact: /orders/7}"), "", None),
        (rule("path: {template: \"/{any}\"}"), "", None),
        (rule("path: {template: \"/items/{id}\"}"), "strangler.rules[0].path", Some("moves nobody")),
        (rule("methods: [POST]"), "strangler.rules[0].methods", Some("this rule moves nobody")),
        (rule("methods: [POST, GET]"), "", None),
        (rewrite("/api"), "rewrite.path.stripPrefix", Some("(such as `stripPrefix: /orders`)")),
        (rewrite("/orders"), "", None),
        (rewrite("/orders/eu"), "", None),
        (format!("{}, {}", rewrite("/orders"), rewrite("/eu")), "", None),
        ("{lockout: {}}".into(), "lockout", Some("this locks nobody out")),
        (format!("{{lockout: {{}}}}, {KEYS}"), "", None),
        ("{lockout: {upstreamStatuses: [401]}}".into(), "", None),
        ("{mtls: {}}".into(), "mtls", Some("asks clients for a certificate")),
        ("{mtls: {trustedHeader: xfcc}}".into(), "", None),
        ("{graphql: {limits: {cost: 0}}}".into(), "graphql.limits.cost", Some("that costs anything")),
        ("{graphql: {limits: {cost: 1}}}".into(), "", None),
        ("{mirror: {upstream: a}}".into(), "mirror.upstream", Some("gets each copied request twice")),
        ("{mirror: {upstream: b}}".into(), "", None),
        // Compared with itself it tells what differs from call to call.
        ("{mirror: {upstream: a, diff: {}}}".into(), "", None),
        (
            "{rateLimit: {limit: 1, window: 1s, key: {claim: sub}}}".into(),
            "rateLimit.key",
            Some("count as one"),
        ),
        (
            "{rateLimit: {limit: 1, window: 1s, key: {claim: sub}}}, {mtls: {trustedHeader: xfcc}}".into(),
            "",
            None,
        ),
    ] {
        let told = route(orders, &policies, BACKENDS);
        match message {
            Some(message) => assert!(
                told.contains(&format!("routes[0].policies[0].{key}: ")) && told.contains(message),
                "{policies}: {told}"
            ),
            None => assert_eq!(told, "", "{policies}"),
        }
    }
}

#[test]
fn a_rule_that_an_earlier_one_covers_is_told_to_move_nobody() {
    let rule = |(name, fits): (&str, &str)| format!("{{name: {name}, to: b, percent: 5, {fits}}}");
    for (first, second, is_told) in [
        ("path: {prefix: /a}", "path: {prefix: /a/b}", true),
        ("path: {prefix: /a/}", "path: {prefix: /a}", true),
        ("path: {prefix: /a}", "path: {exact: /a}", true),
        ("path: {prefix: /a}", "path: {template: \"/a/{id}\"}", true),
        ("path: {prefix: /}", "path: {regex: \"/a/.*\"}", true),
        ("path: {prefix: /}", "methods: [GET]", true),
        ("path: {regex: \"/a/.*\"}", "path: {regex: \"/a/.*\"}", true),
        ("methods: [GET, HEAD]", "path: {prefix: /a}, methods: [GET]", true),
        ("methods: []", "path: {prefix: /a}", true),
        ("path: {prefix: /a/b}", "path: {prefix: /a}", false),
        ("path: {prefix: /a}", "path: {prefix: /ab}", false),
        ("path: {prefix: /a}", "path: {template: \"/{id}/b\"}", false),
        ("path: {prefix: /a}", "path: {regex: \"/a/.*\"}", false),
        ("path: {prefix: /a}", "methods: [GET]", false),
        ("path: {prefix: /a}, methods: [GET]", "path: {prefix: /a}", false),
        ("path: {prefix: /a}, methods: [GET]", "path: {prefix: /a/b}, methods: [GET, POST]", false),
        ("path: {template: \"/a/{id}\"}", "path: {exact: /a/7}", false),
    ] {
        let rules = [("one", first), ("two", second)].map(rule).join(", ");
        let told = route("{}", &format!("{{strangler: {{rules: [{rules}]}}}}"), BACKENDS);
        let place = if is_told { "routes[0].policies[0].strangler.rules[1]" } else { "" };
        check(&told, place, "`one` stands before it and takes all of its calls: this rule moves nobody");
    }
}

#[test]
fn two_quotas_of_one_name_at_one_place_are_told() {
    let quota = |limit: &str| format!("{{quota: {{key: clientAddress, {limit}}}}}");
    let told = |first: &str, second: &str| route("{}", &[first, second].map(quota).join(", "), BACKENDS);
    let place = "routes[0].policies[1].quota";
    check(&told("limit: 3", "limit: 50"), place, "`quota` is the name of another one here");
    check(&told("limit: 3, name: a", "limit: 50, name: a"), place, "one account");
    check(&told("limit: 3", "limit: 50, name: more"), "", "");
}

#[test]
fn answers_that_are_judged_by_no_schema_are_told() {
    let body = "body: {schema: {type: object}}";
    for (settings, is_told) in [
        (format!("answers: enforce, schemas: {{{body}}}"), true),
        (format!("answers: report, schemas: {{{body}}}"), true),
        (format!("schemas: {{{body}}}"), false),
        (format!("answers: enforce, schemas: {{{body}, answer: {{schema: {{type: object}}}}}}"), false),
        ("answers: enforce, openapi: {file: api.yaml}".to_owned(), false),
    ] {
        let told = route("{}", &format!("{{validate: {{{settings}}}}}"), BACKENDS);
        let place = if is_told { "routes[0].policies[0].validate.answers" } else { "" };
        check(&told, place, "no answer is judged");
    }
}

/// Each with the key at which it is refused, and what is said to be the remedy; what is like it loads.
#[test]
fn what_could_never_fit_is_refused_with_its_remedy() {
    let waf = |settings: &str| format!("{{waf: {{rules: [/rules], {settings}}}}}");
    let paths = |path: &str| waf(&format!("exclusions: [{{rules: ['1'], paths: ['{path}']}}]"));
    let mask = |path: &str| format!("{{mask: {{fields: ['{path}']}}}}");
    for (policy, place, remedy) in [
        (mask("$.user.email"), "mask.fields[0]", "such as `user.email`"),
        (mask("/user/email"), "mask.fields[0]", "such as `user.email`"),
        (mask("$ref"), "", ""),
        (mask("\\$.a"), "", ""),
        (mask("\\/a"), "", ""),
        (waf("allowedMethods: [get]"), "waf.allowedMethods[0]", "such as `GET`"),
        (waf("allowedMethods: [GET, M-SEARCH]"), "", ""),
        (paths("login"), "waf.exclusions[0].paths[0]", "such as `/login`"),
        (paths("/login"), "", ""),
        (paths("*/login"), "", ""),
    ] {
        let text =
            format!("{LISTENER}\n{UPSTREAMS}\nroutes: [{{name: r, policies: [{policy}], {BACKENDS}}}]\n");
        let told = load(&text).map_or_else(|wrong| wrong.to_string(), |good| good.warnings.to_string());
        let whole = if place.is_empty() { String::new() } else { format!("routes[0].policies[0].{place}") };
        check(&told, &whole, remedy);
    }
}

#[test]
fn what_an_expression_for_all_routes_asks_for_first_need_not_be_there() {
    let with = |when: &str| {
        let policies = format!("[{{loadShed: {{priorities: [{{when: \"{when}\", priority: high}}]}}}}]");
        whole(LISTENER, &format!("globalPolicies: {policies}\nroutes: [{{name: r, {BACKENDS}}}]"))
    };
    assert_eq!(with("has(captures.tenant) && captures.tenant == 'x'"), "");
    assert!(with("captures.tenant == 'x'").contains("no route captures `tenant`"));
}

#[test]
fn a_path_that_was_rewritten_further_out_may_begin_with_another_prefix() {
    let rewrite = |prefix: &str| format!("[{{rewrite: {{path: {{stripPrefix: {prefix}}}}}}}]");
    let routes = format!(
        "routes: [{{name: r, match: [{{path: {{prefix: /v1}}}}], policies: {}, {BACKENDS}}}]",
        rewrite("/api")
    );
    assert!(whole(LISTENER, &routes).contains("nothing is removed"));
    assert_eq!(whole(LISTENER, &format!("globalPolicies: {}\n{routes}", rewrite("/v1"))), "");
    let listener = LISTENER.replace("}]", &format!(", policies: {}}}]", rewrite("/v1")));
    assert_eq!(whole(&listener, &routes), "");
}

#[test]
fn who_signs_in_at_an_upstream_may_be_locked_out() {
    let text = format!(
        "{LISTENER}\nupstreams: [{{name: a, endpoints: [{{address: \"127.0.0.1:1\"}}], policies: [{KEYS}]}}]\n\
         routes: [{{name: r, policies: [{{lockout: {{}}}}], {BACKENDS}}}]\n"
    );
    assert_eq!(load(&text).expect("good").warnings.to_string(), "");
}

#[test]
fn a_list_of_names_wants_callers_that_are_known_and_a_condition_does_not() {
    let acl = "{acl: {allowClaims: {role: [admin]}}}";
    let told = route("{}", acl, BACKENDS);
    assert!(told.contains("routes[0].policies[0]: ") && told.contains("it refuses everybody"), "{told}");
    for policies in [
        &*format!("{{mtls: {{trustedHeader: xfcc}}}}, {acl}"),
        "{authorize: {rules: [{require: \"request.method == 'GET'\"}]}}",
        "{opa: {upstream: a, decision: shop/allow}}",
    ] {
        assert_eq!(route("{}", policies, BACKENDS), "", "{policies}");
    }
}

#[test]
fn policies_of_other_methods_and_handlers_are_told() {
    for (matches, policies, handler, message) in [
        ("{methods: [POST]}", "{cache: {}}", BACKENDS, Some("this keeps none")),
        ("{methods: [POST]}, {methods: [HEAD]}", "{cache: {}}", BACKENDS, None),
        ("{methods: [DELETE]}", "{graphql: {}}", BACKENDS, Some("nothing is judged")),
        ("{methods: [POST]}", "{graphql: {}}", BACKENDS, None),
        (
            "{}",
            "{signRequests: {style: github, secrets: [{env: A}]}}",
            "respond: {status: 204}",
            Some("`signRequests` has no effect here: `respond` asks no upstream"),
        ),
        ("{}", "{signRequests: {style: github, secrets: [{env: A}]}}", BACKENDS, None),
    ] {
        let told = route(matches, policies, handler);
        match message {
            Some(message) => assert!(told.contains(message), "{policies}: {told}"),
            None => assert_eq!(told, "", "{policies}"),
        }
    }
    let asks = "listeners: [{name: web, address: \"127.0.0.1:8080\", tls: {certificates: [{certFile: c, keyFile: k}], \
                clientAuth: {mode: optional, caFile: ca}}}]";
    let mtls = format!("routes: [{{name: r, policies: [{{mtls: {{}}}}], {BACKENDS}}}]");
    assert_eq!(whole(asks, &mtls), "");
    let others = format!("{mtls}\n").replace("name: r,", "name: r, listeners: [web],");
    assert_eq!(whole(asks, &others), "");
}

#[test]
fn http2_of_an_upstream_that_speaks_http1_is_told() {
    for (protocol, is_told) in [
        ("protocol: http1", true),
        ("protocol: auto", true),
        ("protocol: auto, tls: {}", false),
        ("protocol: http2", false),
    ] {
        let text = format!(
            "{LISTENER}\nupstreams: [{{name: a, {protocol}, http2: {{}}, endpoints: [{{address: \"127.0.0.1:1\"}}]}}]"
        );
        let told = load(&text).expect("good").warnings.to_string();
        assert_eq!(
            told.contains("upstreams[0].http2: this upstream is spoken to by HTTP/1.1 alone"),
            is_told,
            "{told}"
        );
    }
}

const OIDC: &str = "{oidc: {issuer: \"https://idp.test\", clientId: shop, secret: {env: S}}}";

#[test]
fn a_sign_in_that_could_not_end_is_refused_and_one_that_ends_on_another_route_is_not() {
    let refused = |told: &str| {
        told.contains("routes[0].policies[0].oidc.path: no route with this policy matches `/oidc/callback`")
    };
    assert!(refused(&route("{path: {prefix: /shop}}", OIDC, BACKENDS)));
    for matches in [
        "{path: {prefix: /shop}}, {path: {prefix: /oidc}}",
        "{path: {prefix: /}}",
        "{path: {exact: /oidc/callback}}",
        "{path: {template: \"/oidc/{what}\"}}",
        "{path: {regex: \"/oidc/.*\"}}",
        "{methods: [GET]}",
    ] {
        assert_eq!(route(matches, OIDC, BACKENDS), "", "{matches}");
    }
    assert!(refused(&route("{path: {regex: \"/shop/.*\"}}", OIDC, BACKENDS)));
    assert!(refused(&route("{path: {exact: /oidc}}", OIDC, BACKENDS)));
    let two = |second: &str| {
        whole(
            LISTENER,
            &format!(
                "routes: [{{name: shop, match: [{{path: {{prefix: /shop}}}}], policies: [{OIDC}], {BACKENDS}}}, \
                 {{name: own, match: [{{path: {{prefix: /oidc}}}}], policies: [{second}], {BACKENDS}}}]"
            ),
        )
    };
    assert_eq!(two(OIDC), "");
    assert_eq!(two(&format!("{{anyOf: {{policies: [{KEYS}, {OIDC}]}}}}")), "");
    assert!(refused(&two(&OIDC.replace("shop", "other"))), "another client's");
    let any = format!("{{anyOf: {{policies: [{KEYS}, {OIDC}]}}}}");
    let told = route("{path: {prefix: /shop}}", &any, BACKENDS);
    assert!(told.contains("anyOf.policies[1].oidc.path: no route"), "{told}");
}

#[test]
fn a_base_address_with_its_version_twice_or_without_one_is_told() {
    for (kind, url, message) in [
        ("openai", "https://api.test/v1/v1", Some("with `/v1` twice")),
        ("openai", "https://api.test/v1", None),
        ("openai-compatible", "http://127.0.0.1:11434", Some("write such as `http://127.0.0.1:11434/v1`")),
        ("openai-compatible", "https://api.test/custom", None),
        ("ollama", "http://127.0.0.1:11434/", Some("write such as")),
    ] {
        let text = format!(
            "{LISTENER}\nai: {{providers: [{{name: p, kind: {kind}, keys: [{{env: K}}], baseUrl: \"{url}\"}}]}}"
        );
        let told = load(&text).map_or_else(|wrong| wrong.to_string(), |good| good.warnings.to_string());
        match message {
            Some(message) => assert!(told.contains(message), "{kind} {url}: {told}"),
            None => assert!(!told.contains("baseUrl"), "{kind} {url}: {told}"),
        }
    }
}

#[test]
fn rules_of_tools_and_agents_that_an_earlier_one_shadows_are_told() {
    let mcp = |tools: &str| {
        format!("mcp: {{servers: [{{name: s, url: \"http://127.0.0.1:1/mcp\"}}], tools: [{tools}]}}")
    };
    let agents =
        ["one", "two"].map(|name| format!("{{name: {name}, url: \"http://127.0.0.1:1/\"}}")).join(", ");
    let a2a = |rules: &str| format!("a2a: {{agents: [{agents}], rules: [{rules}]}}");
    for (handler, place) in [
        (mcp("{name: \"s_*\"}, {name: s_x, allow: \"false\"}"), Some("routes[0].mcp.tools[1].name: ")),
        (mcp("{name: \"s_*\"}, {name: \"s_x*\"}"), Some("routes[0].mcp.tools[1].name: ")),
        (mcp("{name: \"*\"}, {name: t}"), Some("routes[0].mcp.tools[1].name: ")),
        (mcp("{name: s_x, allow: \"false\"}, {name: \"s_*\"}"), None),
        (mcp("{name: \"s_x*\"}, {name: \"s_*\"}, {name: t}"), None),
        (
            a2a("{allow: \"true\"}, {methods: [CancelTask], allow: \"false\"}"),
            Some("routes[0].a2a.rules[1]: "),
        ),
        (a2a("{agents: [one, two], allow: \"true\"}, {allow: \"false\"}"), Some("routes[0].a2a.rules[1]: ")),
        (
            a2a(
                "{methods: [GetTask, CancelTask], allow: \"true\"}, {agents: [one], methods: [GetTask], allow: \"false\"}",
            ),
            Some("routes[0].a2a.rules[1]: "),
        ),
        (a2a("{methods: [CancelTask], allow: \"false\"}, {allow: \"true\"}"), None),
        (a2a("{agents: [one], allow: \"true\"}, {allow: \"false\"}"), None),
        (a2a("{agents: [one], allow: \"true\"}, {agents: [two], allow: \"false\"}"), None),
    ] {
        let told = route("{}", KEYS, &handler);
        match place {
            Some(place) => {
                assert!(
                    told.contains(place) && told.contains("this rule holds nothing"),
                    "{handler}: {told}"
                );
            }
            None => assert_eq!(told, "", "{handler}"),
        }
    }
}

#[test]
fn a_path_in_another_language_that_finds_nothing_is_told() {
    for (path, instead) in [
        ("$.meta.at", "such as `meta.at`"),
        ("/meta/at", "such as `meta.at`"),
        ("meta.at", ""),
        ("meta.$", ""),
        ("a/b", ""),
    ] {
        let place = |key: &str| match instead {
            "" => String::new(),
            _ => format!("routes[0].policies[0].{key}"),
        };
        let mirror = format!("{{mirror: {{upstream: b, diff: {{ignore: [id, '{path}']}}}}}}");
        check(&route("{}", &mirror, BACKENDS), &place("mirror.diff.ignore[1]"), instead);
        let errors = format!("{{normalizeErrors: {{detailFrom: ['{path}']}}}}");
        check(&route("{}", &errors, BACKENDS), &place("normalizeErrors.detailFrom[0]"), instead);
    }
}

#[test]
fn bounds_of_bodies_that_a_mock_does_not_judge_are_told() {
    for (settings, place, message) in [
        ("validate: false, maxBodySize: 1KiB", "routes[0].respond.openapi.maxBodySize", "judges none"),
        ("maxBodySize: 0B", "routes[0].respond.openapi.maxBodySize", "expected more than nothing"),
        ("maxBodySize: 1KiB", "", ""),
        ("validate: false", "", ""),
    ] {
        let told = route("{}", "", &format!("respond: {{openapi: {{file: api.yaml, {settings}}}}}"));
        check(&told, place, message);
    }
}

/// What was left out because it is wrong would be taken for what nobody wrote.
#[test]
fn what_is_wrong_elsewhere_makes_no_warning() {
    let rules = "{strangler: {rules: [{name: one, to: b, percent: 5, path: {prefx: /a}}, {name: two, to: b, percent: 5}]}}";
    let quotas = "{quota: {key: clientAddress, limit: 1, nam: a}}, {quota: {key: clientAddress, limit: 2}}";
    let validate = "{validate: {answers: enforce, schemas: {body: {schema: {}}, answr: {schema: {}}}}}";
    let claim = "{jvt: {issuer: a}}, {rateLimit: {limit: 1, window: 1s, key: {claim: sub}}}";
    let list = "{keyAth: {}}, {acl: {allowClaims: {role: [admin]}}}";
    let lockout = "{keyAth: {}}, {lockout: {}}";
    for policies in [rules, quotas, validate, claim, list, lockout] {
        let told = route("{}", policies, BACKENDS);
        assert!(told.contains("unknown key") && !told.contains("warning: "), "{told}");
    }
}
