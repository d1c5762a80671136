//! What is refused when it is loaded: with its place, and what to do about it.

use crate::harness::run;

fn told(compose: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:0\"}}]
upstreams: [{{name: orders, endpoints: [{{address: \"127.0.0.1:1\"}}]}}]
routes:
  - name: page
    match: [{{path: {{template: \"/page/{{id}}\"}}}}]
    compose: {compose}
"
    );
    std::fs::write(&path, text).expect("a file");
    let (code, out, problems) = run(&["validate", "-c", &path.display().to_string()]);
    if code == 0 { out } else { problems }
}

#[test]
fn good_ones_load() {
    for compose in [
        r#"{calls: {a: {upstream: orders, path: "/x/{id}"}}, response: {a: "$.a", n: 1}}"#,
        r#"{calls: {a: {upstream: orders, path: "/x"}, b: {upstream: orders, path: "/{{ $.a.b['c d'] }}", after: [a]}}, jq: ".a * .b"}"#,
        r#"{calls: {a: {upstream: orders, path: "/x", method: POST, body: ["$request.body", {}]}, c: {upstream: orders, path: "/{{ $item }}/{{ $index }}", forEach: {in: "$.a[*].x"}}}}"#,
    ] {
        assert!(told(compose).starts_with("ok: "), "{compose}: {}", told(compose));
    }
}

/// Each of these is refused with its place and a word about it.
fn are_told(cases: &[(&str, &str, &str)]) {
    for &(compose, place, words) in cases {
        let told = told(compose);
        assert!(told.contains(&format!("routes[0].{place}")), "{compose}: lacks {place}:\n{told}");
        assert!(told.contains(words), "{compose}: lacks {words:?}:\n{told}");
        assert!(told.contains("tidegate.yaml:"), "{compose}: no place:\n{told}");
    }
}

#[test]
fn cycles_unknown_names_and_bad_expressions_are_told_with_their_places() {
    are_told(&[
        (r#"{calls: {}}"#, "compose.calls", "expected at least one call"),
        (
            r#"{calls: {a: {upstream: orders, path: "/{{ $.b.x }}"}, b: {upstream: orders, path: "/{{ $.c.x }}"}, c: {upstream: orders, path: /, after: [a]}}}"#,
            "compose.calls.a",
            "`a` → `b` → `c` → `a` wait for each other",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/{{ $.a.x }}"}}}"#,
            "compose.calls.a",
            "`a` → `a` wait for each other",
        ),
        (
            r#"{calls: {order: {upstream: orders, path: "/"}}, response: {x: "$.ordr.id"}}"#,
            "compose.response.x",
            "did you mean `order`?",
        ),
        (
            r#"{calls: {order: {upstream: ordrs, path: "/"}}}"#,
            "compose.calls.order.upstream",
            "did you mean `orders`?",
        ),
        (r#"{calls: {a: {upstream: orders, path: "/{nr}"}}}"#, "compose.calls.a.path", "captures `nr`"),
        (
            r#"{calls: {a: {upstream: orders, path: "/{{ request.foo }}"}}}"#,
            "compose",
            "`{{ request.foo }}` is unknown",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/{{ $item.x }}"}}}"#,
            "compose.calls.a.path",
            "give the call a `forEach`",
        ),
        (r#"{calls: {a: {upstream: orders, path: "x"}}}"#, "compose.calls.a.path", "begins with one `/`"),
        (r#"{calls: {a: {upstream: orders, path: "/a/../b"}}}"#, "compose.calls.a.path", "no segments"),
        (r#"{calls: {a: {upstream: orders, path: "/{{ $.b"}}}"#, "compose.calls.a.path", "not closed"),
        (
            r#"{calls: {a: {upstream: orders, path: "/", body: {x: 1}}}}"#,
            "compose.calls.a.body",
            "a GET has no body",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/", method: POST, body: {x: ["$.b"]}}}}"#,
            "compose.calls.a.body.x[0]",
            "there is no call `b`",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/", headers: {host: x}}}}"#,
            "compose.calls.a.headers.host",
            "hostHeader",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/", headers: {content-length: "1"}}}}"#,
            "compose.calls.a.headers.content-length",
            "the gateway's own",
        ),
    ]);
}

#[test]
fn other_mistakes_are_told_with_their_places() {
    are_told(&[
        (
            r#"{calls: {a: {upstream: orders, path: "/", forEach: {in: "$.x", max: 5000}}}}"#,
            "compose.calls.a.forEach.max",
            "1000",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/"}}, response: {degraded: 1}}"#,
            "compose.response.degraded",
            "the gateway's own",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/"}}, response: {x: "$.a[1:2]"}}"#,
            "compose.response.x",
            "slices and filters are jq's",
        ),
        (r#"{calls: {a: {upstream: orders, path: "/"}}, response: {}, jq: "."}"#, "compose.jq", "found both"),
        (
            r#"{calls: {a: {upstream: orders, path: "/"}}, jq: ".a | foo"}"#,
            "compose",
            "there is no filter `foo`",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/"}}, jq: ".a |"}"#,
            "compose",
            "jq: line 1, column 5: expected",
        ),
        (r#"{calls: {a: {upstream: orders, path: "/"}}, jq: "def f: f; f"}"#, "compose", "`f` calls itself"),
        (r#"{calls: {"a b": {upstream: orders, path: "/"}}}"#, "compose.calls", "the name of a call"),
        (
            r#"{calls: {a: {upstream: orders, path: "/"}}, forwardHeaders: [te]}"#,
            "compose.forwardHeaders[0]",
            "never goes on",
        ),
        (
            r#"{calls: {degraded: {upstream: orders, path: "/"}}}"#,
            "compose.calls.degraded",
            "give the call another name",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/x y"}}}"#,
            "compose.calls.a.path",
            "is no character of a path",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/x/$.b.id"}, b: {upstream: orders, path: "/"}}}"#,
            "compose.calls.a.path",
            "write expressions as",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/", headers: {x-q: "$request.query.q"}}}}"#,
            "compose.calls.a.headers.x-q",
            "write `{{ $request.query.q }}`",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/"}}, forwardHeaders: ["x-*"]}"#,
            "compose.forwardHeaders[0]",
            "name each field",
        ),
        (
            r#"{calls: {a: {upstream: orders, path: "/", after: [b]}}}"#,
            "compose.calls.a.after[0]",
            "there is no call `b`",
        ),
    ]);
}
