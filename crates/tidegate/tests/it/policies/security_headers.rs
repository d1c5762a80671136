//! `securityHeaders`.

use super::{
    super::harness::{Answer, Gateway, Upstream, get},
    ask, refused, with_policies,
};

fn gateway(settings: &str, rest: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::scripted(|_| {
        Some(
            b"HTTP/1.1 200 OK\r\nserver: old/1.2\r\nx-powered-by: PHP/5\r\nx-frame-options: ALLOWALL\r\n\
              strict-transport-security: max-age=1\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        )
    });
    let gateway = Gateway::with(
        "trustedProxies: [127.0.0.1/32]",
        &format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
globalPolicies: [{{securityHeaders: {{{settings}}}}}]
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{keyAuth: {{}}}}, {{cors: {{allowOrigins: ['https://a.test']}}}}], backends: [{{upstream: u}}]}}
{rest}{}",
            upstream.address,
            super::CONSUMERS
        ),
    );
    (gateway, upstream)
}

const KEY: &str = "\nx-api-key: web-key-of-the-test";
const TLS: &str = "\nx-forwarded-for: 192.0.2.1\nx-forwarded-proto: https";

fn values<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn every_answer_has_them_whoever_gives_it() {
    let (gateway, _upstream) = gateway("", "");
    let preflight =
        "OPTIONS /x HTTP/1.1\nhost: a\norigin: https://a.test\naccess-control-request-method: GET";
    for (what, answer, status) in [
        ("of the upstream", ask(&gateway, "/", &format!("{KEY}{TLS}")), 200),
        ("a refusal", ask(&gateway, "/", TLS), 401),
        ("a preflight", gateway.send(&format!("{preflight}{TLS}"), b""), 204),
    ] {
        assert_eq!(answer.status, status, "{what}");
        for (name, value) in [
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
        ] {
            assert_eq!(values(&answer, name), [value], "{what}: {name}");
        }
        for name in ["server", "x-powered-by", "content-security-policy"] {
            assert_eq!(values(&answer, name), [""; 0], "{what}: {name}");
        }
    }
    let plain = ask(&gateway, "/", KEY);
    assert_eq!(values(&plain, "strict-transport-security"), [""; 0], "in the clear nobody is told");
    assert_eq!(values(&plain, "x-content-type-options"), ["nosniff"]);
}

#[test]
fn each_setting_has_its_effect_and_a_routes_own_replace_the_global_ones() {
    let settings = "hsts: {maxAge: 730d, includeSubDomains: true, preload: true}, contentTypeOptions: false, \
        frameOptions: deny, referrerPolicy: noReferrer, contentSecurityPolicy: \"default-src 'self'; img-src *\", \
        contentSecurityPolicyReportOnly: \"script-src 'none'; report-to csp\", \
        permissionsPolicy: 'camera=(), geolocation=(self)', crossOriginOpenerPolicy: sameOrigin, \
        crossOriginEmbedderPolicy: requireCorp, crossOriginResourcePolicy: sameSite, \
        reportingEndpoints: {csp: 'https://reports.test/csp'}, remove: [x-powered-by]";
    let own = "  - {name: own, match: [{path: {exact: /own}}], policies: [{securityHeaders: {existing: keep, hsts: null, \
        frameOptions: sameOrigin, referrerPolicy: null}}], backends: [{upstream: u}]}\n";
    let (gateway, _upstream) = gateway(settings, own);
    let answer = ask(&gateway, "/", &format!("{KEY}{TLS}"));
    for (name, value) in [
        ("strict-transport-security", "max-age=63072000; includeSubDomains; preload"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'self'; img-src *"),
        ("content-security-policy-report-only", "script-src 'none'; report-to csp"),
        ("permissions-policy", "camera=(), geolocation=(self)"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-site"),
        ("reporting-endpoints", "csp=\"https://reports.test/csp\""),
        ("server", "old/1.2"),
    ] {
        assert_eq!(values(&answer, name), [value], "{name}");
    }
    for name in ["x-content-type-options", "x-powered-by"] {
        assert_eq!(values(&answer, name), [""; 0], "{name}");
    }
    let own = ask(&gateway, "/own", TLS);
    assert_eq!(own.status, 200);
    assert_eq!(values(&own, "x-frame-options"), ["ALLOWALL"], "the upstream's stays");
    assert_eq!(values(&own, "strict-transport-security"), ["max-age=1"]);
    assert_eq!(values(&own, "x-content-type-options"), ["nosniff"]);
    assert_eq!(values(&own, "referrer-policy"), [""; 0]);
    assert_eq!(values(&own, "content-security-policy"), [""; 0]);
}

#[test]
fn what_browsers_would_not_read_as_it_is_meant_is_refused() {
    for (settings, words) in [
        ("contentSecurityPolicy: 'default-src self'", "write `'self'`"),
        ("contentSecurityPolicy: \"default-src 'self'; default-src *\"", "twice"),
        ("contentSecurityPolicy: \"default-src 'self', img-src *\"", "a comma"),
        ("contentSecurityPolicy: \"default-src 'self'\\r\\nx-evil: 1\"", "on one line"),
        ("contentSecurityPolicy: ''", "expected directives"),
        ("permissionsPolicy: \"camera 'none'\"", "camera=()"),
        ("hsts: {preload: true}", "includeSubDomains"),
        ("frameOptions: allowFrom", "deny"),
        ("remove: [content-length]", "gateway's own"),
        ("reportingEndpoints: {csp: 'http://a.test'}", "https"),
    ] {
        refused(&with_policies(&format!("[{{securityHeaders: {{{settings}}}}}]")), &[words]);
    }
    let consumers =
        "consumers: [{name: gold, keys: [gold-key-of-the-test], policies: [{securityHeaders: {}}]}]";
    refused(
        &format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]\n{consumers}\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}}}]\n"
        ),
        &["before it is known who calls"],
    );
}

#[test]
fn the_shortest_form_is_enough() {
    let gateway = Gateway::start(
        "routes: [{name: r, match: [{path: {prefix: /}}], policies: [{securityHeaders: {}}], respond: {}}]\n",
    );
    let answer = get(gateway.address, "/").expect("an answer");
    assert_eq!(values(&answer, "x-frame-options"), ["SAMEORIGIN"]);
}
