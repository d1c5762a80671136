//! `cors`.

use super::{
    super::harness::{Answer, Gateway, Upstream},
    ask, refused, routed, with_policies,
};

fn preflight(gateway: &Gateway, origin: &str, method: &str, more: &str) -> Answer {
    gateway.send(
        &format!(
            "OPTIONS /x HTTP/1.1\nhost: a\norigin: {origin}\naccess-control-request-method: {method}{more}"
        ),
        b"",
    )
}

const ROUTE: &str = "match: [{path: {prefix: /}, methods: [GET, PUT]}], policies: [{keyAuth: {}}, {cors: {allowOrigins: \
    ['https://app.test', 'https://*.partner.test'], allowHeaders: [x-api-key, content-type], exposeHeaders: [x-total], \
    allowCredentials: true, maxAge: 5m, allowPrivateNetwork: true}}]";

#[test]
fn a_preflight_is_answered_before_anyone_must_say_who_they_are() {
    let (gateway, upstream) = routed(ROUTE, super::CONSUMERS);
    let more = "\naccess-control-request-headers: X-Api-Key, content-type\naccess-control-request-private-network: true";
    for origin in ["https://app.test", "https://a.b.partner.test"] {
        let answer = preflight(&gateway, origin, "PUT", more);
        assert_eq!(answer.status, 204);
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "x-api-key, content-type"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "300"),
            ("access-control-allow-private-network", "true"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")));
    }
    assert!(upstream.seen().is_empty(), "a preflight goes no further");
}

#[test]
fn what_is_not_allowed_gets_no_permission() {
    let (gateway, _upstream) = routed(ROUTE, super::CONSUMERS);
    for (origin, method, more) in [
        ("https://evil.test", "GET", ""),
        ("http://app.test", "GET", ""),
        ("https://app.test.evil.test", "GET", ""),
        ("https://evilpartner.test", "GET", ""),
        ("null", "GET", ""),
        ("https://app.test", "GET", "\naccess-control-request-headers: x-secret"),
    ] {
        let answer = preflight(&gateway, origin, method, more);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin} {method} {more}");
    }
    assert_eq!(preflight(&gateway, "https://app.test", "DELETE", "").status, 405, "no route takes it");
}

#[test]
fn answers_are_marked_whoever_gives_them_and_the_upstreams_word_is_replaced() {
    let upstream = Upstream::scripted(|_| {
        Some(
            b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\nvary: accept\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        )
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]\nroutes:\n  - {{name: r, {ROUTE}, backends: [{{upstream: u}}]}}\n{}",
        upstream.address,
        super::CONSUMERS
    ));
    let good = ask(&gateway, "/", "\norigin: https://app.test\nx-api-key: web-key-of-the-test");
    assert_eq!((good.status, good.header("access-control-allow-origin")), (200, Some("https://app.test")));
    assert_eq!(good.header("access-control-expose-headers"), Some("x-total"));
    assert_eq!(good.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(good.header("vary"), Some("accept, Origin"));
    assert_eq!(good.headers.iter().filter(|(name, _)| name == "access-control-allow-origin").count(), 1);
    let refused = ask(&gateway, "/", "\norigin: https://app.test");
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (401, Some("https://app.test"))
    );
    let other = ask(&gateway, "/", "\norigin: https://evil.test\nx-api-key: web-key-of-the-test");
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
}

#[test]
fn a_listeners_and_a_global_policy_answer_preflights_of_routes_with_methods() {
    let routes = "routes: [{name: r, match: [{path: {prefix: /}, methods: [GET]}], respond: {}}]\n";
    let cors = "[{cors: {allowOrigins: ['*']}}]";
    let listener = Gateway::with(&format!("policies: {cors}"), routes);
    let global = Gateway::start(&format!("globalPolicies: {cors}\n{routes}"));
    for gateway in [listener, global] {
        let answer = preflight(&gateway, "https://any.test", "GET", "");
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET"));
    }
}

#[test]
fn a_preflight_is_for_the_route_of_the_request_that_follows_unless_another_names_its_own_method() {
    let beside = |wide: &str| {
        Gateway::start(&format!(
            "routes:
  - {{name: shop, match: [{{path: {{prefix: /x}}, methods: [GET, POST]}}], policies: [{{cors: {{allowOrigins: ['https://app.test']}}}}], respond: {{}}}}
  - {{name: monolith, match: [{{path: {{prefix: /}}{wide}}}], respond: {{status: 202}}}}\n"
        ))
    };
    let gateway = beside("");
    let answer = preflight(&gateway, "https://app.test", "POST", "");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (204, Some("https://app.test"))
    );
    assert_eq!(preflight(&gateway, "https://app.test", "DELETE", "").status, 202, "the monolith takes it");
    assert_eq!(gateway.send("OPTIONS /x HTTP/1.1\nhost: a", b"").status, 202, "no preflight");
    for (method, why) in [("post", "methods have a case"), ("P OST", "garbage"), ("", "nothing")] {
        assert_eq!(preflight(&gateway, "https://app.test", method, "").status, 202, "{why}");
    }
    let two = preflight(&gateway, "https://app.test", "POST", "\naccess-control-request-method: DELETE");
    assert_eq!(
        two.header("access-control-allow-methods"),
        Some("GET, POST"),
        "the first is judged and answered"
    );
    let named = beside(", methods: [DELETE, OPTIONS]");
    assert_eq!(preflight(&named, "https://app.test", "POST", "").status, 202, "it asks for OPTIONS by name");
    for own in ["when: 'request.method == \"OPTIONS\"'", "headers: [{name: access-control-request-method}]"] {
        let own = beside(&format!(", {own}"));
        let answer = preflight(&own, "https://app.test", "POST", "");
        assert_eq!(answer.status, 202, "it is there for OPTIONS, or for preflights");
    }
}

#[test]
fn what_browsers_would_refuse_is_refused_here() {
    refused(
        &with_policies("[{cors: {allowOrigins: ['*'], allowCredentials: true}}]"),
        &["cors.allowOrigins[0]", "origins must be named"],
    );
    refused(&with_policies("[{cors: {allowOrigins: [app.test]}}]"), &["cors.allowOrigins[0]", "https://"]);
    let text =
        with_policies("[]").replace("{name: web,", "{name: web, policies: [{cors: {allowOrigins: ['*']}}],");
    refused(&text, &["consumers[1].policies[0]", "a preflight carries no credentials"]);
}
