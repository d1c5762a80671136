//! `diff`: what becomes reachable, or reachable with weaker identity.

use super::super::harness::run;

const BASE: &str = "trustedProxies: [10.0.0.1/32]
listeners: [{name: public, address: \"127.0.0.1:8080\"}, {name: plain, address: \"127.0.0.1:8081\", redirectToHttps: true}]
consumers: [{name: c, groups: [g, h], keys: [the-key-of-the-test]}]
upstreams:
  - {name: u, endpoints: [{address: \"127.0.0.1:1\"}], policies: [{ipRestriction: {allow: [10.0.0.0/8]}}]}
  - {name: v, endpoints: [{address: \"127.0.0.1:2\"}], policies: [{ipRestriction: {allow: [10.0.0.0/8]}}]}
routes:
  - {name: admin, hosts: [a.test], match: [{path: {prefix: /admin}}], policies: [{keyAuth: {}}, {acl: {allow: [g]}}], respond: {}}
  - {name: token, hosts: [a.test], match: [{path: {exact: /token}}], policies: [{jwt: {issuer: i, audiences: [x], requiredScopes: [s], jwks: {url: 'https://i.test/k'}}}], respond: {}}
  - {name: inner, hosts: [a.test], match: [{path: {exact: /inner}}], backends: [{upstream: u}, {upstream: v}]}
  - {name: beta, hosts: [a.test], match: [{path: {exact: /beta}, headers: [{name: x-beta}]}], respond: {}}
  - {name: rest, hosts: [a.test], match: [{path: {prefix: /}, methods: [GET]}], policies: [{basicAuth: {}}], respond: {}}
";

/// Exit code and JSON of the difference between the base and a changed base.
fn changed(from: &str, to: &str) -> (i32, serde_json::Value) {
    assert!(BASE.contains(from), "{from}");
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old.yaml"), folder.path().join("new.yaml"));
    std::fs::write(&old, BASE).expect("a file");
    std::fs::write(&new, BASE.replace(from, to)).expect("a file");
    let (code, out, problems) =
        run(&["diff", "--json", &old.display().to_string(), &new.display().to_string()]);
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {problems}")))
}

#[test]
fn whatever_makes_more_reachable_or_asks_for_less_is_exposure() {
    for (from, to, kind, route) in [
        (
            "hosts: [a.test], match: [{path: {prefix: /admin}}]",
            "match: [{path: {prefix: /admin}}]",
            "newlyReachable",
            "admin",
        ),
        ("{prefix: /admin}", "{prefix: /adm}", "weakerIdentity", "rest"),
        ("{keyAuth: {}}, {acl: {allow: [g]}}", "{keyAuth: {}}", "weakerIdentity", "admin"),
        ("{keyAuth: {}}", "{keyAuth: {anonymous: c}}", "weakerIdentity", "admin"),
        ("allow: [g]", "allow: [g, h]", "weakerIdentity", "admin"),
        ("audiences: [x]", "audiences: []", "weakerIdentity", "token"),
        ("requiredScopes: [s]", "requiredScopes: []", "weakerIdentity", "token"),
        ("methods: [GET]", "methods: [GET, POST]", "newlyReachable", "rest"),
        (", headers: [{name: x-beta}]", "", "newlyReachable", "beta"),
        (
            "{name: v, endpoints: [{address: \"127.0.0.1:2\"}], policies: [{ipRestriction: {allow: [10.0.0.0/8]}}]}",
            "{name: v, endpoints: [{address: \"127.0.0.1:2\"}]}",
            "weakerIdentity",
            "inner",
        ),
        (
            "allow: [10.0.0.0/8]}}]}\n  - {name: v",
            "allow: [10.0.0.0/7]}}]}\n  - {name: v",
            "weakerIdentity",
            "inner",
        ),
        ("[10.0.0.1/32]", "[10.0.0.0/24]", "weakerIdentity", "inner"),
        ("127.0.0.1:8080", "0.0.0.0:8080", "newlyReachable", "admin"),
    ] {
        let (code, json) = changed(from, to);
        let exposure = json["exposure"].as_array().expect("a list");
        let told = exposure.iter().any(|one| one["kind"] == kind && one["route"] == route);
        assert!(code == 6 && told, "{from} → {to}: {code} {json:#}");
    }
}

const MODELS: &str = "consumers: [{name: app, models: [smart], keys: [the-key-of-the-test]}]
routes:
  - name: models
    match: [{path: {prefix: /ai}}]
    policies: [{keyAuth: {}}, {guardrails: {rules: [{name: mails, mode: mask, personalData: [email, phone]}]}}]
    ai: {stripPrefix: /ai}
ai:
  providers: [{name: p, kind: openai, baseUrl: \"https://eu.example.com/v1\", keys: [a-key]}]
  models: [{name: smart, targets: [{provider: p, model: gpt-4o}]}, {name: dear, targets: [{provider: p, model: gpt-4o}]}]
";

#[test]
fn more_models_weaker_guardrails_and_moved_providers_are_exposure() {
    let rule = ", {guardrails: {rules: [{name: mails, mode: mask, personalData: [email, phone]}]}}";
    for (from, to, kind, resource) in [
        ("models: [smart], keys", "keys", "moreModels", "consumers/app"),
        ("models: [smart]", "models: [smart, dear]", "moreModels", "consumers/app"),
        (rule, "", "weakerGuardrail", "routes/models/guardrails/mails"),
        ("mode: mask", "mode: flag", "weakerGuardrail", "routes/models/guardrails/mails"),
        ("[email, phone]", "[email]", "weakerGuardrail", "routes/models/guardrails/mails"),
        ("mode: mask", "on: request, mode: mask", "weakerGuardrail", "routes/models/guardrails/mails"),
        ("eu.example.com", "us.example.com", "providerMoved", "ai/providers/p"),
        ("https://eu", "http://eu", "providerMoved", "ai/providers/p"),
    ] {
        assert!(MODELS.contains(from), "{from}");
        let (code, json) = compared((MODELS, &[]), (&MODELS.replace(from, to), &[]));
        let told = json
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["kind"] == kind && one["resource"] == resource));
        assert!(code == 6 && told, "{from} → {to}: {code} {json:#}");
    }
    for (from, to) in [
        ("models: [smart]", "models: []"),
        ("[email, phone]", "[email, phone, iban]"),
        ("mode: mask", "mode: block"),
        ("eu.example.com/v1", "eu.example.com/v2"),
    ] {
        let (code, json) = compared((MODELS, &[]), (&MODELS.replace(from, to), &[]));
        assert_eq!(code, 0, "{from} → {to}: {json:#}");
    }
}

#[test]
fn a_route_that_goes_may_lay_bare_a_weaker_one_behind_it() {
    let line = BASE.lines().find(|line| line.contains("name: admin")).expect("the route");
    let (code, json) = changed(&format!("{line}\n"), "");
    let told = json["exposure"].as_array().is_some_and(|all| all.iter().any(|one| one["route"] == "rest"));
    assert!(code == 6 && told, "what asked for a key now asks for a password: {code} {json:#}");
    assert!(
        json["changes"].as_array().is_some_and(|all| all.iter().any(|one| one["resource"] == "routes/admin"))
    );
}

#[test]
fn a_redirect_to_https_that_goes_lays_its_routes_bare() {
    let text = "listeners: [{name: plain, address: \"0.0.0.0:8081\", redirectToHttps: true}]\nroutes: [{name: r, respond: {}}]\n";
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old.yaml"), folder.path().join("new.yaml"));
    std::fs::write(&old, text).expect("a file");
    std::fs::write(&new, text.replace(", redirectToHttps: true", "")).expect("a file");
    let (code, out, _) = run(&["diff", &old.display().to_string(), &new.display().to_string()]);
    assert!(code == 6 && out.contains("becomes reachable"), "{code} {out}");
}

#[test]
fn what_asks_for_more_or_changes_nothing_for_callers_is_none() {
    for (from, to) in [
        ("{acl: {allow: [g]}}", "{acl: {allow: [g], deny: [h]}}"),
        ("requiredScopes: [s]", "requiredScopes: [s, t]"),
        ("allow: [10.0.0.0/8]}}]}\n  - {name: v", "allow: [10.0.0.0/9]}}]}\n  - {name: v"),
        ("respond: {}}\n  - {name: token", "respond: {status: 204}}\n  - {name: token"),
        ("  - {name: beta", "  - {name: gamma"),
    ] {
        let (code, json) = changed(from, to);
        assert_eq!(
            (code, json["exposure"].as_array().map(Vec::len)),
            (0, Some(0)),
            "{from} → {to}: {json:#}"
        );
        assert!(json["changes"].as_array().is_some_and(|changes| !changes.is_empty()), "{json:#}");
    }
}

/// Exit code and exposure between two configurations, each in a folder with these files.
fn compared(old: (&str, &[(&str, &str)]), new: (&str, &[(&str, &str)])) -> (i32, serde_json::Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str, (text, files): (&str, &[(&str, &str)])| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        for (name, content) in files.iter().chain(&[("tidegate.yaml", text)]) {
            std::fs::write(folder.join(name), content).expect("a file");
        }
        folder.join("tidegate.yaml").display().to_string()
    };
    let (code, out, problems) = run(&["diff", "--json", &place("old", old), &place("new", new)]);
    let json: serde_json::Value =
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {problems}"));
    (code, json["exposure"].clone())
}

/// Kind, host, path and route of each exposure.
fn told(exposure: &serde_json::Value) -> Vec<[&str; 4]> {
    let all = exposure.as_array().expect("a list").iter();
    all.map(|one| ["kind", "host", "path", "route"].map(|key| one[key].as_str().expect("a text"))).collect()
}

const PROTECTED: &str = "listeners: [{name: public, address: \"127.0.0.1:8080\"}]
consumers: [{name: c, keys: [the-key-of-the-test]}]
routes:
  - {name: admin, match: [{path: {prefix: /admin}}], policies: [{keyAuth: {}}], respond: {}}
  - {name: tenant, match: [{path: {template: '/t/{id}/admin'}}], policies: [{keyAuth: {}}], respond: {}}
  - {name: rest, match: [{path: {prefix: /}}], respond: {}}
";

#[test]
fn a_new_route_that_takes_a_part_of_a_protected_one_is_told() {
    for (route, want) in [
        (
            "hosts: [a.test], match: [{path: {prefix: /}}]",
            Some(["weakerIdentity", "a.test", "/admin/*", "new"]),
        ),
        (
            "hosts: ['*.test'], match: [{path: {prefix: /admin/x}}]",
            Some(["weakerIdentity", "*.test", "/admin/x/*", "new"]),
        ),
        (
            "priority: 1, match: [{path: {prefix: /}, methods: [GET]}]",
            Some(["weakerIdentity", "*", "/admin/*", "new"]),
        ),
        (
            "priority: 1, match: [{path: {prefix: /}, headers: [{name: x-beta}]}]",
            Some(["weakerIdentity", "*", "/admin/*", "new"]),
        ),
        ("priority: 1, match: [{path: {regex: '/a.*'}}]", Some(["weakerIdentity", "*", "/admin/*", "new"])),
        (
            "priority: 1, match: [{path: {prefix: '/%61dmin/x'}}]",
            Some(["weakerIdentity", "*", "/%61dmin/x/*", "new"]),
        ),
        ("match: [{path: {prefix: /t/acme}}]", Some(["weakerIdentity", "*", "/t/acme/*", "new"])),
        (
            "priority: 1, match: [{path: {prefix: /t/acme}}]",
            Some(["weakerIdentity", "*", "/t/acme/*", "new"]),
        ),
        ("match: [{path: {template: '/{any}/users'}}]", None),
        ("match: [{path: {regex: '/a.*'}}]", None),
        ("priority: 1, match: [{path: {regex: '/b.*'}}]", None),
        (
            "priority: 1, match: [{path: {template: '/{a}/{b}/{c}/{d}'}}, {path: {prefix: /public}}]",
            Some(["weakerIdentity", "*", "/admin/*", "new"]),
        ),
        ("priority: -1, match: [{path: {prefix: /}}]", None),
    ] {
        let new = format!("{PROTECTED}  - {{name: new, {route}, respond: {{}}}}\n");
        let (code, exposure) = compared((PROTECTED, &[]), (&new, &[]));
        let told = told(&exposure);
        assert_eq!(code, if want.is_some() { 6 } else { 0 }, "{route}: {exposure:#}");
        assert!(want.is_none_or(|want| told.contains(&want)), "{route}: {told:?}");
        // The same route behind the same key exposes nothing.
        let new = new.replace("respond: {}}\n", "policies: [{keyAuth: {}}], respond: {}}\n");
        let new = new.replace("policies: [{keyAuth: {}}], policies:", "policies:");
        let (code, exposure) = compared((PROTECTED, &[]), (&new, &[]));
        assert_eq!(code, 0, "{route}: {exposure:#}");
    }
}

#[test]
fn a_route_on_a_listener_that_did_not_have_it_is_told() {
    let listeners = |plain: &str, secure: &str| {
        format!(
            "listeners:
  - {{name: internal, address: \"10.0.0.5:8080\"}}
  - {{name: plain, address: \"0.0.0.0:80\"{plain}}}
  - {{name: secure, address: \"0.0.0.0:443\"{secure}}}
"
        )
    };
    let (redirect, tls) =
        (", redirectToHttps: true", ", tls: {certificates: [{certFile: a.pem, keyFile: a.pem}]}");
    let route = |on: &str| format!("routes: [{{name: r, listeners: [{on}], respond: {{}}}}]\n");
    let before = listeners(redirect, tls);
    let at = |text: &str| {
        compared((&format!("{before}{}", route("internal")), &[("a.pem", "")]), (text, &[("a.pem", "")]))
    };
    let (code, exposure) = at(&format!("{before}{}", route("internal, secure")));
    assert_eq!((code, told(&exposure)), (6, vec![["newlyReachable", "*", "/*", "r"]]));
    let (code, exposure) = at(&format!("{before}{}", route("secure")));
    assert_eq!((code, told(&exposure)), (6, vec![["newlyReachable", "*", "/*", "r"]]));
    let (code, exposure) = at(&format!("{}{}", before.replace("internal", "inner"), route("inner")));
    assert_eq!((code, told(&exposure)), (0, vec![]), "another name for the same place");

    let both = format!("{before}{}", route("plain, secure"));
    let without_redirect = format!("{}{}", listeners("", tls), route("plain, secure"));
    let (code, exposure) = compared((&both, &[("a.pem", "")]), (&without_redirect, &[("a.pem", "")]));
    assert_eq!((code, told(&exposure)), (6, vec![["newlyReachable", "*", "/*", "r"]]));
    let without_tls = format!("{}{}", listeners(redirect, ""), route("plain, secure"));
    let (code, exposure) = compared((&both, &[("a.pem", "")]), (&without_tls, &[("a.pem", "")]));
    assert_eq!((code, told(&exposure)), (6, vec![["weakerIdentity", "*", "/*", "r"]]));
}

#[test]
fn who_counts_as_whom_and_whose_signature_counts_is_part_of_what_is_asked() {
    let anonymous = |groups: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
consumers: [{{name: c, groups: [g], keys: [the-key-of-the-test]}}, {{name: guest, groups: [{groups}]}}, {{name: other, groups: [bad]}}]
routes: [{{name: r, policies: [{{keyAuth: {{anonymous: guest}}}}, {{acl: {{allow: [g], deny: [bad]}}}}], respond: {{}}}}]\n"
        )
    };
    for (old, new, code) in [("", "g", 6), ("g", "", 0), ("g, bad", "g", 6), ("", "bad", 0)] {
        let (got, exposure) = compared((&anonymous(old), &[]), (&anonymous(new), &[]));
        assert_eq!(got, code, "[{old}] → [{new}]: {exposure:#}");
    }

    let token = |more: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
routes: [{{name: r, policies: [{{jwt: {{issuer: i, jwks: {{file: keys.json}}{more}}}}}], respond: {{}}}}]\n"
        )
    };
    let (one, two) = (r#"{"keys":[{"kid":"a"}]}"#, r#"{"keys":[{"kid":"a"},{"kid":"b"}]}"#);
    let claim = ", consumerClaim: sub";
    for (old, new, code) in [
        ((claim, one), ("", one), 6),
        (("", one), (claim, one), 0),
        (("", one), ("", two), 6),
        (("", two), ("", one), 0),
        (("", one), ("", "{ \"keys\": [ {\"kid\": \"a\"} ] }"), 0),
    ] {
        let (old, new) = ((token(old.0), [("keys.json", old.1)]), (token(new.0), [("keys.json", new.1)]));
        let (got, exposure) = compared((&old.0, &old.1), (&new.0, &new.1));
        assert_eq!(got, code, "{old:?} → {new:?}: {exposure:#}");
    }

    let secure = "listeners: [{name: public, address: \"127.0.0.1:8443\", tls: {certificates: [{certFile: a.pem, keyFile: a.pem}], clientAuth: {mode: required, caFile: ca.pem}}}]
routes: [{name: r, respond: {}}]\n";
    let pem = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    for (old, new, code) in [
        (pem("AAAA"), pem("BBBB"), 6),
        (pem("AAAA"), pem("AAAA") + &pem("BBBB"), 6),
        (pem("AAAA") + &pem("BBBB"), pem("BBBB"), 0),
        (pem("AAAA"), format!("our authority\n{}", pem("AA\nAA")), 0),
    ] {
        let (old, new) = ([("a.pem", ""), ("ca.pem", &*old)], [("a.pem", ""), ("ca.pem", &*new)]);
        let (got, exposure) = compared((secure, &old), (secure, &new));
        assert_eq!(got, code, "{old:?} → {new:?}: {exposure:#}");
    }
}

#[test]
fn of_a_longer_list_of_methods_only_the_new_ones_are_told() {
    let old = "listeners: [{name: public, address: '127.0.0.1:8080'}]
routes: [{name: r, match: [{path: {prefix: /a}, methods: [GET]}], respond: {}}]\n";
    let new = old.replace("[GET]", "[GET, POST]");
    let (code, exposure) = compared((old, &[]), (&new, &[]));
    assert_eq!(code, 6);
    assert_eq!(exposure[0]["methods"], serde_json::json!(["POST"]), "{exposure:#}");
    assert_eq!(exposure.as_array().map(Vec::len), Some(1), "{exposure:#}");
}
