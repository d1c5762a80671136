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
