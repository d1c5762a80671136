//! What a composed answer says of how long it holds, and for whom.

use super::*;

/// An upstream that answers a path with the fields that the path names, percent-encoded.
fn saying() -> Upstream {
    Upstream::scripted(|seen| {
        let fields = match seen.target() {
            "/long" => "cache-control: max-age=600\r\n",
            "/short" => "cache-control: max-age=60\r\nage: 20\r\nvary: accept-language, accept\r\n",
            "/never" => "cache-control: no-store\r\nset-cookie: a=b\r\n",
            "/moved" => {
                return Some(b"HTTP/1.1 302 X\r\nlocation: /there\r\ncache-control: no-cache\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n".to_vec());
            }
            "/who" => {
                return Some(
                    b"HTTP/1.1 401 X\r\nwww-authenticate: Bearer realm=\"x\"\r\ncontent-length: 0\r\n\r\n"
                        .to_vec(),
                );
            }
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 200 X\r\n{fields}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        Some(head.into_bytes())
    })
}

#[test]
fn a_composed_answer_holds_no_longer_than_its_parts() {
    let upstream = saying();
    let gateway = gateway(
        &upstream,
        "
forwardHeaders: [accept-language, authorization]
calls:
  one: {upstream: u, path: /long}
  two: {upstream: u, path: \"/{id}\", passOn: [302, 401]}",
        "",
    );
    let answer = gateway.get("/page/short");
    assert_eq!(answer.header("cache-control"), Some("max-age=40"));
    assert_eq!(answer.header("vary"), Some("accept-language"));
    let answer = gateway.get("/page/never");
    assert_eq!((answer.header("cache-control"), answer.header("set-cookie")), (Some("no-store"), None));
    let answer = gateway.send("GET /page/short HTTP/1.1\nhost: t\nauthorization: Bearer x", b"");
    assert_eq!(answer.header("cache-control"), Some("private, max-age=40"));
    let answer = gateway.get("/page/moved");
    assert_eq!((answer.status, answer.header("location")), (302, Some("/there")));
    assert_eq!((answer.header("cache-control"), answer.header("set-cookie")), (Some("no-cache"), None));
    let answer = gateway.get("/page/who");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"x\"")));
}

#[test]
fn a_kept_answer_ends_with_its_shortest_part() {
    let upstream = saying();
    let gateway = gateway(
        &upstream,
        "calls: {one: {upstream: u, path: /long}, two: {upstream: u, path: \"/{id}\"}}",
        "    policies: [{cache: {defaultTtl: 1m}}]",
    );
    for _ in 0..2 {
        assert_eq!(gateway.get("/page/never").status, 200);
    }
    let seen = targets(&upstream);
    assert_eq!(seen.iter().filter(|target| *target == "/never").count(), 2, "{seen:?}");
}

#[test]
fn what_is_made_of_who_calls_is_for_nobody_else_whatever_its_parts_say() {
    // Everybody may have it where it lies, and there it is another's for each.
    let upstream = Upstream::scripted(|seen| {
        let who = seen.header("x-user").unwrap_or(seen.target()).to_owned();
        let body = serde_json::json!({"who": who}).to_string();
        let fields = "cache-control: public, max-age=60\r\nvary: x-user\r\ncontent-type: application/json";
        let head = format!("HTTP/1.1 200 X\r\n{fields}\r\ncontent-length: {}\r\n\r\n", body.len());
        Some([head.into_bytes(), body.into_bytes()].concat())
    });
    let stating = ", {headers: {request: {set: {x-user: '{{ consumer.name }}'}}}}";
    for (policies, compose) in [
        ("", "{calls: {one: {upstream: u, path: '/users/{{ consumer.name }}'}}}"),
        ("", "{calls: {one: {upstream: u, path: '/?of={{ consumer.name }}'}}}"),
        ("", "{calls: {one: {upstream: u, path: /, headers: {x-user: '{{ consumer.name }}'}}}}"),
        ("", "{calls: {one: {upstream: u, path: /}}, response: {who: '{{ consumer.name }}'}}"),
        (stating, "{calls: {one: {upstream: u, path: /}}}"),
    ] {
        let gateway = Gateway::start(&format!(
            "consumers: [{{name: ann, keys: [the-key-of-ann]}}, {{name: bob, keys: [the-key-of-bob]}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: me
    match: [{{path: {{exact: /me}}}}]
    policies: [{{keyAuth: {{}}}}, {{cache: {{}}}}{policies}]
    compose: {compose}
",
            upstream.address
        ));
        for name in ["ann", "bob", "ann"] {
            let head = format!("GET /me HTTP/1.1\nhost: t.example\nx-api-key: the-key-of-{name}");
            let answer = gateway.send(&head, b"");
            assert_eq!(answer.status, 200, "{compose}: {}", answer.text());
            assert!(answer.text().contains(name), "{policies} {compose}: {}", answer.text());
            let control = answer.header("cache-control").unwrap_or_default();
            let is_told = control.starts_with("private") || answer.header("vary") == Some("x-user");
            assert!(is_told, "{policies} {compose}: {:?}", answer.headers);
        }
    }
}

#[test]
fn a_field_that_numbers_calls_takes_no_answer_from_others_unless_a_part_varies_by_it() {
    let upstream = Upstream::scripted(|seen| {
        let vary = if seen.target() == "/near" { "vary: X-Client\r\n" } else { "" };
        let fields = format!("cache-control: max-age=60\r\n{vary}content-type: application/json");
        Some(format!("HTTP/1.1 200 X\r\n{fields}\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes())
    });
    let headers = "{x-correlation-id: '{{ request.id }}', x-client: '{{ client.address }}'}";
    let gateway = gateway(
        &upstream,
        &format!("calls: {{one: {{upstream: u, path: \"/{{id}}\", headers: {headers}}}}}"),
        "    policies: [{cache: {}}]",
    );
    for (path, control, asked) in [("/far", "max-age=60", 1), ("/near", "private, max-age=60", 2)] {
        for _ in 0..2 {
            let answer = gateway.get(&format!("/page{path}"));
            assert_eq!((answer.status, answer.header("cache-control")), (200, Some(control)), "{path}");
        }
        let seen = targets(&upstream);
        assert_eq!(seen.iter().filter(|target| *target == path).count(), asked, "{seen:?}");
    }
}

#[test]
fn a_part_that_varies_by_what_its_upstream_is_told_of_the_caller_is_for_nobody_else() {
    let upstream = Upstream::scripted(|seen| {
        let body = serde_json::json!({"who": seen.header("x-user")}).to_string();
        let fields = "cache-control: public, max-age=60\r\nvary: X-User\r\ncontent-type: application/json";
        let head = format!("HTTP/1.1 200 X\r\n{fields}\r\ncontent-length: {}\r\n\r\n", body.len());
        Some([head.into_bytes(), body.into_bytes()].concat())
    });
    let gateway = Gateway::start(&format!(
        "consumers: [{{name: ann, keys: [the-key-of-ann]}}, {{name: bob, keys: [the-key-of-bob]}}]
upstreams:
  - name: u
    endpoints: [{{address: \"{}\"}}]
    policies: [{{headers: {{request: {{set: {{x-user: '{{{{ consumer.name }}}}'}}}}}}}}]
routes:
  - name: me
    match: [{{path: {{exact: /me}}}}]
    policies: [{{keyAuth: {{}}}}, {{cache: {{}}}}]
    compose: {{calls: {{one: {{upstream: u, path: /}}}}}}
",
        upstream.address
    ));
    for name in ["ann", "bob", "ann"] {
        let head = format!("GET /me HTTP/1.1\nhost: t.example\nx-api-key: the-key-of-{name}");
        let answer = gateway.send(&head, b"");
        assert_eq!((answer.status, answer.json()), (200, serde_json::json!({"one": {"who": name}})));
        assert_eq!(answer.header("cache-control"), Some("private, max-age=60"), "{name}");
    }
}

#[test]
fn a_part_that_varies_by_what_the_gateway_itself_is_known_by_is_for_all() {
    let upstream = Upstream::scripted(|_| {
        let fields =
            "cache-control: public, max-age=60\r\nvary: Stripe-Signature\r\ncontent-type: application/json";
        Some(format!("HTTP/1.1 200 X\r\n{fields}\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes())
    });
    let gateway = Gateway::start(&format!(
        "upstreams:
  - name: u
    endpoints: [{{address: \"{}\"}}]
    policies: [{{signRequests: {{style: stripe, secrets: [a-secret-of-the-test]}}}}]
routes:
  - name: page
    match: [{{path: {{exact: /page}}}}]
    policies: [{{cache: {{}}}}]
    compose: {{calls: {{one: {{upstream: u, path: /}}}}}}
",
        upstream.address
    ));
    for _ in 0..2 {
        let answer = gateway.get("/page");
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("public, max-age=60")));
    }
    assert_eq!(upstream.seen().len(), 1, "it is kept");
}
