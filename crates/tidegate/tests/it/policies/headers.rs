//! `headers`.

use super::{
    super::harness::{Gateway, Upstream},
    CONSUMERS, ask, guarded, last, refused, routed, with_policies,
};

#[test]
fn requests_change_in_the_order_rename_remove_set_add() {
    let (gateway, upstream) = guarded(
        "[{headers: {request: {rename: {x-old: x-new}, remove: [cookie], set: {x-set: mine}, add: {x-list: mine}}}}]",
        "",
    );
    let headers = "\nx-old: 1\nx-old: 2\nx-new: spoofed\ncookie: a=1\nx-set: theirs\nx-list: theirs";
    assert_eq!(ask(&gateway, "/", headers).status, 200);
    let seen = last(&upstream);
    let all = |name: &str| {
        let values = seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(all("x-new"), ["1", "2"]);
    assert_eq!(all("x-set"), ["mine"]);
    assert_eq!(all("x-list"), ["theirs", "mine"]);
    assert!(all("x-old").is_empty() && all("cookie").is_empty());
}

#[test]
fn values_are_made_of_the_request_the_consumer_the_captures_and_the_client() {
    let set = "x-all: '{{ request.method }} {{ request.host }} {{ request.path }} {{ request.query.q }} {{ request.header.x-in }} \
               {{ request.cookie.c }} {{ consumer.name }} {{ consumer.groups }} {{ captures.id }} {{ client.address }} \
               {{ route.name }} {{ request.scheme }}', x-id: '{{ request.id }}', x-none: '{{ jwt.sub }}'";
    let (gateway, upstream) = routed(
        &format!(
            "match: [{{path: {{template: '/o/{{id:int}}'}}}}], policies: [{{keyAuth: {{}}}}, {{headers: {{request: {{set: {{{set}}}}}}}}}]"
        ),
        CONSUMERS,
    );
    let headers = "\nx-api-key: gold-key-of-the-test\nx-in: in\ncookie: c=biscuit\nx-none: spoofed";
    let answer = ask(&gateway, "/o/7?q=a%20b", headers);
    assert_eq!(answer.status, 200);
    let seen = last(&upstream);
    assert_eq!(seen.header("x-all"), Some("GET a.test /o/7 a b in biscuit gold partners 7 127.0.0.1 r http"));
    assert_eq!(seen.header("x-id"), answer.header("x-request-id"));
    assert_eq!(seen.header("x-none"), None, "what is not there is not sent, and not left as it came");
}

#[test]
fn answers_change_whoever_gives_them() {
    let upstream = Upstream::scripted(|_| {
        Some(b"HTTP/1.1 200 OK\r\nserver: old\r\nx-b: 1\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
{CONSUMERS}routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - headers: {{response: {{rename: {{x-b: x-c}}, remove: [server], set: {{x-served-by: tidegate, x-for: '{{{{ request.path }}}}'}}, add: {{x-c: '2'}}}}}}
      - requestLimits: {{maxQueryParameters: 1}}
    backends: [{{upstream: u}}]\n",
        upstream.address
    ));
    let answer = ask(&gateway, "/p", "");
    assert_eq!(
        (answer.header("server"), answer.header("x-served-by"), answer.header("x-for")),
        (None, Some("tidegate"), Some("/p"))
    );
    let values: Vec<_> =
        answer.headers.iter().filter(|(name, _)| name == "x-c").map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["1", "2"]);
}

#[test]
fn a_header_cannot_be_split_by_what_a_caller_sends() {
    let (gateway, upstream) = guarded(
        "[{headers: {request: {set: {x-q: '{{ request.query.q }}'}}, response: {set: {x-q: '{{ request.query.q }}'}}}}]",
        "",
    );
    let answer = ask(&gateway, "/?q=a%0d%0ax-evil:%201", "");
    assert_eq!((answer.status, answer.header("x-q"), answer.header("x-evil")), (200, None, None));
    assert_eq!((last(&upstream).header("x-q"), last(&upstream).header("x-evil")), (None, None));
}

#[test]
fn what_frames_a_message_and_what_no_template_knows_is_refused() {
    for (changes, words) in [
        ("request: {set: {content-length: '1'}}", "`content-length` is the gateway's own"),
        ("response: {remove: [transfer-encoding]}", "`transfer-encoding` is the gateway's own"),
        ("request: {rename: {x-a: connection}}", "`connection` is the gateway's own"),
        ("request: {set: {host: a}}", "`rewrite` has `host`"),
        ("request: {set: {x-a: '{{ request.nothing }}'}}", "request.nothing"),
        ("request: {set: {x-a: '{{ request.path'}}", "not closed"),
    ] {
        refused(&with_policies(&format!("[{{headers: {{{changes}}}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}
