//! What is wrong with settings of policies that find out or judge who calls is told when it is loaded, at its very place.

use super::super::harness::run;

/// What `validate` says of a route with this policy, long lines as one text.
fn told(policy: &str) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
consumers: [{{name: guest}}]
upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:1\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{{policy}}}]
    backends: [{{upstream: u}}]
"
    );
    std::fs::write(&path, text).expect("a file");
    let (code, out, problems) = run(&["validate", "--config", &path.display().to_string()]);
    let words: Vec<&str> = problems.split_whitespace().filter(|word| *word != "│").collect();
    (code, out + &words.join(" "))
}

/// A policy with these settings and each of those is refused, at a key of its own, with some words.
fn are_refused(policy: &str, settings: &str, cases: &[(&str, &str, &str)]) {
    for &(more, key, words) in cases {
        let comma = if settings.is_empty() || more.is_empty() { "" } else { ", " };
        let (code, told) = told(&format!("{policy}: {{{settings}{comma}{more}}}"));
        assert_eq!(code, 3, "{more}: {told}");
        let dot = if key.is_empty() { "" } else { "." };
        let place = format!("routes[0].policies[0].{policy}{dot}{key}: ");
        assert!(told.contains(&place), "{more}: lacks {place}: {told}");
        assert!(told.contains(words), "{more}: lacks {words:?}: {told}");
    }
}

#[test]
fn what_is_wrong_with_sign_ins_is_told() {
    are_refused(
        "oidc",
        "",
        &[
            (
                "issuer: 'http://id.test', clientId: shop, secret: 'long enough to be a secret of the test'",
                "issuer",
                "asked over https",
            ),
            ("issuer: 'https://id.test', clientId: shop, secret: short", "secret", "at least 32 characters"),
        ],
    );
    are_refused(
        "oidc",
        "issuer: 'https://id.test', clientId: shop, secret: 'long enough to be a secret of the test'",
        &[
            ("publicUrl: 'https://shop.test/x'", "publicUrl", "a scheme and a host alone"),
            ("path: /oidc/", "path", "without a slash at its end"),
            ("afterLogout: //evil.test", "afterLogout", "expected a path"),
            ("maxAge: 0s", "maxAge", "more than nothing"),
            ("maxAge: 100d", "maxAge", "at most 90 days"),
            ("loginTimeout: 2h", "loginTimeout", "at most an hour"),
            ("clientAuth: post", "clientAuth", "nothing to prove"),
            ("scopes: ['a b']", "scopes[0]", "a scope has no spaces"),
            ("parameters: {state: x}", "parameters.state", "the gateway's own to set"),
            ("claimsToHeaders: {cookie: sub}", "claimsToHeaders.cookie", "the gateway's own to set"),
            ("accessTokenHeader: content-length", "accessTokenHeader", "the gateway's own to set"),
            ("anonymous: nobody", "anonymous", "there is no consumer `nobody`"),
            ("store: redis", "store", "there is no `redis`"),
        ],
    );
}

#[test]
fn what_is_wrong_with_tokens_that_others_are_asked_about_is_told() {
    are_refused(
        "oauth2Introspection",
        "",
        &[
            ("clientId: a, clientSecret: b", "", "found neither"),
            ("url: 'http://id.test/x', clientId: a, clientSecret: b", "url", "over https"),
        ],
    );
    are_refused(
        "oauth2Introspection",
        "url: 'https://id.test/x', clientId: a, clientSecret: b",
        &[
            ("timeout: 0s", "timeout", "more than nothing"),
            ("anonymous: nobody", "anonymous", "there is no consumer `nobody`"),
            (
                "claimsToHeaders: {content-length: sub}",
                "claimsToHeaders.content-length",
                "the gateway's own to set",
            ),
        ],
    );
    are_refused(
        "oauth2TokenExchange",
        "",
        &[("tokenEndpoint: 'http://id.test/token', client: {id: a, secret: b}", "tokenEndpoint", "https")],
    );
    are_refused(
        "oauth2TokenExchange",
        "tokenEndpoint: 'https://id.test/token', client: {id: a, secret: b}",
        &[
            ("timeout: 0s", "timeout", "more than nothing"),
            ("header: host", "header", "`host` is no header for a token"),
        ],
    );
}

#[test]
fn what_is_wrong_with_services_that_judge_is_told() {
    are_refused("extAuth", "", &[("upstream: nowhere", "upstream", "there is no upstream `nowhere`")]);
    are_refused(
        "extAuth",
        "upstream: u",
        &[
            ("path: verify", "path", "expected a path"),
            ("protocol: grpc, path: /x", "path", "of its own"),
            ("method: get", "method", "expected a method"),
            ("method: GET, body: {maxSize: 1KiB}", "method", "by POST"),
            ("body: {maxSize: 1KiB}, cache: {ttl: 1s}", "cache", "is not kept"),
            ("onError: allow, consumerHeader: x-user", "onError", "nobody passes"),
            ("timeout: 0s", "timeout", "more than nothing"),
            ("upstreamHeaders: [content-length]", "upstreamHeaders[0]", "the gateway's own"),
        ],
    );
    are_refused(
        "opa",
        "",
        &[
            ("upstream: nowhere, decision: a/b", "upstream", "there is no upstream `nowhere`"),
            ("upstream: u, decision: /v1/data/a", "decision", "without `/v1/data`"),
        ],
    );
    are_refused(
        "opa",
        "upstream: u, decision: a/b",
        &[
            ("with: {'a-b': 'true'}", "with.a-b", "letters, digits"),
            ("with: {a: 'request.pth'}", "with.a", "there is no `pth` here"),
            ("timeout: 0s", "timeout", "more than nothing"),
        ],
    );
}

#[test]
fn what_is_wrong_with_ways_signatures_and_lockouts_is_told() {
    are_refused(
        "anyOf",
        "",
        &[
            (
                "policies: [{keyAuth: {}}, {anyOf: {policies: [{keyAuth: {}}, {basicAuth: {}}]}}]",
                "policies[1]",
                "put them here",
            ),
            (
                "policies: [{cors: {allowOrigins: ['*']}}, {keyAuth: {}}]",
                "policies[0]",
                "does not find out who calls",
            ),
            ("policies: [{extAuth: {upstream: u}}, {keyAuth: {}}]", "policies[0]", "this stands last"),
            ("policies: [{keyAuth: {anonymous: guest}}, {basicAuth: {}}]", "policies[0]", "never tried"),
            (
                "policies: [{keyAuth: {query: a}}, {jwt: {jwks: {url: 'https://id.test/k'}, issuer: x, audiences: [a], source: {query: b}}}]",
                "policies",
                "one query parameter",
            ),
            (
                "policies: [{keyAuth: {}}, {basicAuth: {}}], anonymous: nobody",
                "anonymous",
                "there is no consumer `nobody`",
            ),
        ],
    );
    are_refused(
        "hmac",
        "",
        &[("style: github", "", "the secret of the webhooks"), ("", "", "found neither")],
    );
    are_refused(
        "hmac",
        "style: github, secrets: [s]",
        &[
            ("components: ['@method']", "components", "another `style`"),
            ("maxAge: 0s", "maxAge", "more than nothing"),
            ("consumer: nobody", "consumer", "there is no consumer `nobody`"),
        ],
    );
    are_refused(
        "hmac",
        "keys: [{id: a, secret: b}]",
        &[
            ("secrets: [c]", "secrets", "another `style`"),
            ("components: ['@nothing']", "components[0]", "small letters"),
            ("components: []", "components", "says nothing"),
        ],
    );
    are_refused(
        "lockout",
        "",
        &[
            ("secret: x", "secret", "needs none"),
            ("window: 8d", "window", "7d or less"),
            ("duration: 2h, maxDuration: 1h", "maxDuration", "`duration` or more"),
            ("status: 401", "status", "ask for credentials"),
        ],
    );
}

#[test]
fn what_is_wrong_with_directories_is_told() {
    are_refused(
        "ldapAuth",
        "",
        &[(
            "servers: ['ldap://d.test'], userDn: 'uid={user},dc=a'",
            "servers[0]",
            "passwords go over `ldaps`",
        )],
    );
    are_refused(
        "ldapAuth",
        "servers: ['ldaps://d.test']",
        &[
            ("", "", "found neither"),
            ("userDn: 'uid=ann,dc=a'", "userDn", "a DN with"),
            ("search: {base: 'dc=a', bindDn: 'cn=a'}", "search", "together"),
            ("search: {base: 'dc=a', filter: '(uid=ann)'}", "search.filter", "a filter with"),
        ],
    );
    are_refused(
        "ldapAuth",
        "servers: ['ldaps://d.test'], userDn: 'uid={user},dc=a'",
        &[
            ("groups: {}", "groups", "found neither"),
            (
                "groupConsumers: [{group: a, consumer: guest}]",
                "groupConsumers",
                "nothing says who is in them",
            ),
            ("timeout: 2m", "timeout", "60s or less"),
            ("ttl: 2d", "ttl", "24h or less"),
            ("realm: 'a\"b'", "realm", "no quotes"),
        ],
    );
}
