//! Shapes: expressions, jq, and other shapes for other clients.

use serde_json::json;

use super::*;

fn data() -> Upstream {
    backend(|seen| {
        match seen.target() {
        "/order" => (200, 0, r#"{"id": 12345678901234567, "z": 1.50, "a": "ü😀\u0000\"", "items": [{"sku": "x", "price": 3, "tags": ["p", "q"]}, {"sku": "y", "price": 4, "tags": []}], "odd key": {"k": true}}"#.to_owned()),
        "/broken" => (500, 0, String::new()),
        _ => (200, 0, "[1, 2]".to_owned()),
    }
    })
}

#[test]
fn expressions_shape_the_answer() {
    let upstream = data();
    let gateway = gateway(
        &upstream,
        r#"
calls: {order: {upstream: u, path: /order}, list: {upstream: u, path: /list}}
response:
  id: "$.order.id"
  text: "Order {{ $.order.id }} by {{ request.method }}"
  a: "$['order']['a']"
  skus: "$.order.items[*].sku"
  tags: "$.order.items[*].tags[*]"
  last: "$.order.items[-1]"
  odd: "$.order['odd key'].k"
  none: "$.order.nothing.at.all"
  far: "$.list[7]"
  nested: [{deep: ["$.list[0]", 5, true, null, "plain", "$$.literal"]}]
  who: {path: "$request.path", q: "$request.query.q", id: "$request.captures.id"}
  missing: "{{ request.header.x-none }}"
"#,
        "",
    );
    let answer = gateway.get("/page/9?q=%C3%A4");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let want = json!({
        "id": 12345678901234567_u64,
        "text": "Order 12345678901234567 by GET",
        "a": "ü😀\u{0}\"",
        "skus": ["x", "y"],
        "tags": ["p", "q"],
        "last": {"sku": "y", "price": 4, "tags": []},
        "odd": true,
        "none": null,
        "far": null,
        "nested": [{"deep": [1, 5, true, null, "plain", "$.literal"]}],
        "who": {"path": "/page/9", "q": "ä", "id": "9"},
        "missing": null,
    });
    assert_eq!(answer.json(), want);
    assert!(
        answer.text().starts_with("{\"id\":12345678901234567,\"text\""),
        "the order of the file: {}",
        answer.text()
    );
}

#[test]
fn jq_shapes_the_answer() {
    let upstream = data();
    let gateway = gateway(
        &upstream,
        r#"
calls: {order: {upstream: u, path: /order}, list: {upstream: u, path: /list, optional: true}, gone: {upstream: u, path: /broken, optional: true}}
jq: |
  {
    total: ([.order.items[].price] | add),
    skus: [.order.items[] | select(.price > ($request.query.min | tonumber)) | .sku],
    sum: (.list | add),
    $degraded
  }
"#,
        "",
    );
    let answer = gateway.get("/page/9?min=3");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"total": 7, "skus": ["y"], "sum": 3, "degraded": ["gone"]}));
    // A program that fails on what it is given.
    let answer = gateway.get("/page/9?min=no-number");
    assert_eq!(
        (answer.status, answer.json()["detail"].as_str()),
        (500, Some("the answer could not be shaped"))
    );
    crate::harness::eventually("the reason in the log", || gateway.stdout().contains("`jq`: "));
}

#[test]
fn jq_that_goes_on_for_ever_is_halted_and_the_gateway_goes_on() {
    let upstream = data();
    let gateway = gateway(
        &upstream,
        "
calls: {order: {upstream: u, path: /order}}
maxSteps: 20000
jq: \"[range(0; infinite)] | length\"",
        "  - {name: ping, match: [{path: {exact: /ping}}], respond: {status: 200}}",
    );
    let (took, answer) = timed(|| gateway.get("/page/9"));
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(took.as_millis() < 3_000, "{took:?}");
    let record = gateway.records(1).remove(0);
    assert_eq!(gateway.get("/ping").status, 200);
    assert!(record["failure"]["detail"].as_str().is_some_and(|detail| detail.contains("steps")), "{record}");
}

#[test]
fn a_list_that_is_degraded_says_so_in_its_head() {
    let upstream = data();
    let gateway = gateway(
        &upstream,
        "
calls: {list: {upstream: u, path: /list}, gone: {upstream: u, path: /broken, optional: true}}
response: [\"$.list[0]\", $.gone]",
        "",
    );
    let answer = gateway.get("/page/9");
    assert_eq!((answer.status, answer.text().as_str()), (200, "[1,null]"));
    assert_eq!(answer.header("x-tidegate-degraded"), Some("gone"));
}

#[test]
fn other_clients_get_another_shape_by_a_match() {
    let upstream = data();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: page-mobile
    match: [{{path: {{exact: /page}}, headers: [{{name: x-client, exact: mobile}}]}}]
    compose: {{calls: {{order: {{upstream: u, path: /order}}}}, response: {{n: \"$.order.id\"}}}}
  - name: page
    match: [{{path: {{exact: /page}}}}]
    compose: {{calls: {{order: {{upstream: u, path: /order}}, list: {{upstream: u, path: /list}}}}}}
",
        upstream.address
    ));
    let mobile = gateway.send("GET /page HTTP/1.1\nhost: t\nx-client: mobile", b"");
    assert_eq!(mobile.text(), "{\"n\":12345678901234567}");
    assert_eq!(gateway.get("/page").json()["list"], json!([1, 2]));
}
