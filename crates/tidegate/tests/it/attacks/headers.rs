//! Header spoofing, hop-by-hop abuse, upgrades and trailers: what the upstream gets to see.

use super::super::harness::{Answer, Gateway, Seen, Upstream, h2, raw};

fn setup(rest: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::fixed(200, "ok");
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: c, keys: [the-key]}}]
{rest}",
        upstream.address
    ));
    (gateway, upstream)
}

const PLAIN: &str = "routes: [{name: r, match: [{path: {prefix: /}}], backends: [{upstream: u}]}]\n";

/// What the upstream sees of a request with these header lines.
fn seen(gateway: &Gateway, upstream: &Upstream, headers: &str) -> (u16, Option<Seen>) {
    let before = upstream.seen().len();
    let bytes = format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{headers}Connection: close\r\n\r\n");
    let status = Answer::parse(&raw(gateway.address, bytes.as_bytes())).map_or(0, |answer| answer.status);
    (status, upstream.seen().get(before).cloned())
}

#[test]
fn forwarding_headers_of_strangers_are_replaced() {
    let (gateway, upstream) = setup(PLAIN);
    let spoofed = "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: admin.test\r\nX-Real-IP: 10.0.0.3\r\nForwarded: for=10.0.0.4;proto=https\r\n\
        X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /admin\r\n";
    let seen = seen(&gateway, &upstream, spoofed).1.expect("a request");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    for (name, value) in &seen.headers {
        assert!(!value.contains("10.0.0.") && !value.contains("admin"), "{name}: {value}");
    }
    let count = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for")).count();
    assert_eq!(count, 1);
}

#[test]
fn names_with_underscores_that_shadow_ours_are_dropped() {
    let (gateway, upstream) = setup(PLAIN);
    let headers =
        "X_Forwarded_For: 10.0.0.1\r\nX_Real_IP: 10.0.0.1\r\nx-forwarded_for: 10.0.0.1\r\nX_Own: kept\r\n";
    let seen = seen(&gateway, &upstream, headers).1.expect("a request");
    for (name, value) in &seen.headers {
        assert!(!value.contains("10.0.0.1"), "{name}: {value}");
    }
}

#[test]
fn connection_removes_nothing_that_the_gateway_reads_or_sets() {
    let (gateway, upstream) = setup(
        "routes:
  - name: r
    match: [{path: {prefix: /}}]
    policies:
      - keyAuth: {header: x-api-key}
      - headers: {request: {set: {x-user: \"{{ consumer.name }}\"}}}
    backends: [{upstream: u}]
",
    );
    let hop = "Connection: x-forwarded-for, x-user, authorization, x-api-key, host, x-request-id, x-own\r\nX-Own: 1\r\n";
    let (status, refused) = seen(&gateway, &upstream, hop);
    assert_eq!((status, refused.is_none()), (401, true), "without the key nothing gets through");
    let (status, got) = seen(&gateway, &upstream, &format!("X-Api-Key: the-key\r\n{hop}"));
    assert_eq!(status, 200);
    let got = got.expect("a request");
    assert_eq!(got.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.header("x-user"), Some("c"));
    assert_eq!(got.header("x-own"), None, "what the client named is hop-by-hop");
    assert!(got.header("x-request-id").is_some());
}

#[test]
fn connection_cannot_hide_a_credential_from_its_judge() {
    let (gateway, upstream) = setup(
        "routes:
  - name: r
    match: [{path: {prefix: /}}]
    policies: [{basicAuth: {anonymous: c}}]
    backends: [{upstream: u}]
",
    );
    for credentials in ["Basic d3Jvbmc6d3Jvbmc=", "Basic ", "Basic !"] {
        let lines = format!("Authorization: {credentials}\r\nConnection: authorization\r\n");
        let (status, got) = seen(&gateway, &upstream, &lines);
        assert_eq!((status, got.is_none()), (401, true), "{credentials}: wrong is not absent");
    }
    assert_eq!(seen(&gateway, &upstream, "Connection: authorization\r\n").0, 200, "absent is anonymous");
}

#[test]
fn hop_by_hop_headers_end_here() {
    let (gateway, upstream) = setup(PLAIN);
    let headers = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\n\
        Proxy-Authorization: Basic eDp5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let (status, seen) = seen(&gateway, &upstream, headers);
    let seen = seen.unwrap_or_else(|| panic!("answered with {status}"));
    for name in ["keep-alive", "proxy-connection", "upgrade", "http2-settings", "proxy-authorization"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert!(seen.header("te").is_none_or(|te| te == "trailers"));
}

#[test]
fn h2c_upgrades_are_no_tunnels() {
    let (gateway, upstream) = setup(PLAIN);
    let bytes = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let answer = String::from_utf8_lossy(&raw(gateway.address, bytes)).into_owned();
    assert!(!answer.contains(" 101 "), "{answer}");
    assert!(upstream.seen().iter().all(|seen| seen.header("upgrade").is_none()));
}

#[test]
fn nothing_flows_as_a_tunnel_before_the_101() {
    // The upstream refuses the upgrade; what the client sent behind it must not be taken for a second request that
    // has come past the policies.
    let (gateway, upstream) = setup(
        "routes:
  - {name: ws, match: [{path: {prefix: /ws}}], backends: [{upstream: u}]}
  - name: admin
    match: [{path: {prefix: /admin}}]
    policies: [{keyAuth: {}}]
    backends: [{upstream: u}]
",
    );
    let bytes = b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
        GET /admin HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    raw(gateway.address, bytes);
    assert!(upstream.seen().iter().all(|seen| !seen.line.contains("/admin")), "{:?}", upstream.seen());
}

#[test]
fn an_identity_header_is_never_the_clients() {
    let (gateway, upstream) = setup(
        "routes:
  - name: r
    match: [{path: {prefix: /}}]
    policies:
      - keyAuth: {header: x-api-key, anonymous: c}
      - headers: {request: {set: {x-user: \"{{ jwt.sub }}\"}}}
    backends: [{upstream: u}]
",
    );
    let (status, seen) = seen(&gateway, &upstream, "X-User: root\r\nX_User: root\r\nx-user: admin\r\n");
    assert_eq!(status, 200);
    let seen = seen.expect("a request");
    let users: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().replace('_', "-") == "x-user")
        .collect();
    assert!(users.is_empty(), "{users:?}");
}

#[test]
fn an_identity_header_is_gone_before_anyone_reads_it() {
    // What counts by the header that authentication sets must never count by the one that the client sent.
    for how in ["set", "add"] {
        let (gateway, upstream) = setup(&format!(
            "routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - keyAuth: {{header: x-api-key}}
      - headers: {{request: {{{how}: {{x-user: \"{{{{ consumer.name }}}}\"}}}}}}
      - rateLimit: {{limit: 2, window: 1h, key: {{header: x-user}}}}
    backends: [{{upstream: u}}]
"
        ));
        let statuses: Vec<u16> = (0..4)
            .map(|number| {
                seen(&gateway, &upstream, &format!("X-Api-Key: the-key\r\nX-User: u{number}\r\n")).0
            })
            .collect();
        assert_eq!(statuses, [200, 200, 429, 429], "{how}: another name is no other limit");
        for seen in upstream.seen() {
            let users: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "x-user").collect();
            assert_eq!(users, [&("x-user".to_owned(), "c".to_owned())], "{how}");
        }
    }
}

#[test]
fn a_credential_is_still_found_where_an_identity_header_has_its_name() {
    let (gateway, upstream) = setup(
        "routes:
  - name: r
    match: [{path: {prefix: /}}]
    policies:
      - keyAuth: {header: x-user}
      - headers: {request: {set: {x-user: \"{{ consumer.name }}\"}}}
    backends: [{upstream: u}]
",
    );
    assert_eq!(seen(&gateway, &upstream, "X-User: wrong\r\n").0, 401);
    let (status, seen) = seen(&gateway, &upstream, "X-User: the-key\r\n");
    assert_eq!((status, seen.expect("a request").header("x-user")), (200, Some("c")));
}

#[test]
fn http_2_cannot_say_what_http_1_may_not() {
    let (gateway, upstream) = setup(
        "routes:
  - name: r
    match: [{path: {prefix: /}}]
    policies: [{headers: {request: {set: {x-user: \"{{ consumer.name }}\"}}}}]
    backends: [{upstream: u}]
",
    );
    const SPOOFED: [(&str, &str); 10] = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "admin.test"),
        ("x-real-ip", "10.0.0.3"),
        ("forwarded", "for=10.0.0.4;host=admin.test"),
        ("x_forwarded_for", "10.0.0.5"),
        ("x_real_ip", "10.0.0.6"),
        ("x-user", "admin"),
        ("x_user", "admin"),
        ("proxy-authorization", "Basic admin"),
    ];
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let mut request = h2::request("GET", "/x");
        for (name, value) in SPOOFED {
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        let answer = client.fetch(request, b"", None).await.expect("an answer");
        assert_eq!(answer.status, 200);
    });
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    for (name, value) in &seen.headers {
        assert!(!value.contains("10.0.0.") && !value.contains("admin"), "{name}: {value}");
    }
}

#[test]
fn every_value_of_a_repeated_header_is_judged() {
    for test in
        ["headers: [{name: x-tenant, exact: good}]", "when: \"request.headers['x-tenant'] == 'good'\""]
    {
        let (gateway, upstream) = setup(&format!(
            "routes: [{{name: guarded, match: [{{path: {{prefix: /}}, {test}}}], backends: [{{upstream: u}}]}}]\n"
        ));
        assert_eq!(seen(&gateway, &upstream, "X-Tenant: good\r\n").0, 200);
        for lines in [
            "X-Tenant: good\r\nX-Tenant: evil\r\n",
            "X-Tenant: evil\r\nX-Tenant: good\r\n",
            "X-Tenant: good, evil\r\n",
        ] {
            assert_eq!(seen(&gateway, &upstream, lines).0, 404, "{test}: {lines:?}");
        }
    }
}

#[test]
fn a_credential_that_comes_twice_lets_nobody_in() {
    let (gateway, upstream) = setup(
        "routes: [{name: r, match: [{path: {prefix: /}}], policies: [{keyAuth: {header: x-api-key}}], backends: [{upstream: u}]}]\n",
    );
    for lines in [
        "X-Api-Key: the-key\r\nX-Api-Key: wrong\r\n",
        "X-Api-Key: wrong\r\nX-Api-Key: the-key\r\n",
        "X-Api-Key: the-key\r\nX-Api-Key: the-key\r\n",
        "X-Api-Key: the-key, the-key\r\n",
    ] {
        assert_eq!(seen(&gateway, &upstream, lines).0, 401, "{lines:?}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn trailers_cannot_carry_what_heads_may_not() {
    let (gateway, upstream) = setup(PLAIN);
    let bytes = b"POST /x HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        2\r\nhi\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b.test\r\nAuthorization: x\r\n\
        X-Forwarded-For: 10.0.0.1\r\nX-Checksum: 1\r\n\r\n";
    let status = Answer::parse(&raw(gateway.address, bytes)).map_or(0, |answer| answer.status);
    assert!([200, 400].contains(&status), "{status}");
    for seen in upstream.seen() {
        assert_eq!(seen.header("host"), Some("a.test"));
        assert_ne!(seen.header("authorization"), Some("x"));
    }
}

#[test]
fn hosts_are_compared_as_names() {
    let (gateway, upstream) = setup(
        "routes:
  - {name: inner, hosts: [admin.test], match: [{path: {prefix: /}}], policies: [{keyAuth: {}}], backends: [{upstream: u}]}
  - {name: all, match: [{path: {prefix: /}}], backends: [{upstream: u}]}
",
    );
    for host in ["admin.test", "ADMIN.test", "admin.test:80", "admin.test.", "Admin.Test.:8080"] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = Answer::parse(&raw(gateway.address, bytes.as_bytes())).expect("an answer");
        assert!([400, 401].contains(&answer.status), "{host}: {}", answer.status);
    }
    assert!(upstream.seen().is_empty());
}
