//! What a `match` asks for, and which of several routes wins.

use super::{
    super::harness::{Gateway, run},
    answering, named, taken,
};

#[test]
fn paths_match_as_their_kind_says() {
    let gateway = named(&[
        ("exact", "match: [{path: {exact: /a}}]"),
        ("prefix", "match: [{path: {prefix: /p}}]"),
        ("int", "match: [{path: {template: '/t/{id:int}'}}]"),
        ("uuid", "match: [{path: {template: '/t/{id:uuid}'}}]"),
        ("any", "match: [{path: {template: '/t/{id}'}}]"),
        ("rest", "match: [{path: {template: '/r/{id}/{rest*}'}}]"),
        ("regex", "match: [{path: {regex: '/x/[a-f]+'}}]"),
    ]);
    for (path, want) in [
        ("/a", "exact"),
        ("/a/", "404"),
        ("/A", "404"),
        ("/p", "prefix"),
        ("/p/", "prefix"),
        ("/p/x", "prefix"),
        ("/px", "404"),
        ("/t/12", "int"),
        ("/t/2f1acc6c-1d3b-4b1b-a2f0-8e0a9ad7b8f3", "uuid"),
        ("/t/2f1acc6c", "any"),
        ("/t/", "404"),
        ("/t/a/b", "404"),
        ("/r/1/a/b", "rest"),
        ("/r/1/", "rest"),
        ("/r/1", "404"),
        ("/x/abc", "regex"),
        ("/x/abcx", "404"),
        ("/y/x/abc", "404"),
    ] {
        assert_eq!(taken(&gateway, &format!("GET {path}"), "\nhost: a"), want, "{path}");
    }
}

#[test]
fn headers_queries_cookies_and_methods_must_hold_and_every_value_is_judged() {
    let gateway = named(&[
        ("exact", "match: [{path: {exact: /h}, headers: [{name: x-a, exact: one}]}]"),
        ("prefix", "match: [{path: {exact: /h}, headers: [{name: x-b, prefix: on}]}]"),
        ("regex", "match: [{path: {exact: /h}, headers: [{name: x-c, regex: 'o.e'}]}]"),
        ("present", "match: [{path: {exact: /h}, headers: [{name: x-d}]}]"),
        ("absent", "match: [{path: {exact: /h}, headers: [{name: x-e, present: false}]}]"),
        ("query", "match: [{path: {exact: /q}, query: [{name: v, exact: '2 b'}, {name: w}]}]"),
        ("cookie", "match: [{path: {exact: /c}, cookies: [{name: beta, prefix: y}]}]"),
        ("get", "match: [{path: {exact: /m}, methods: [GET, HEAD]}]"),
        ("put", "match: [{path: {exact: /m}, methods: [PUT]}]"),
    ]);
    for (line, headers, want) in [
        ("GET /h", "\nx-e: 1\nx-a: one", "exact"),
        ("GET /h", "\nx-e: 1\nx-a: one\nx-a: two", "404"),
        ("GET /h", "\nx-e: 1\nx-a: One", "404"),
        ("GET /h", "\nx-e: 1\nx-b: one", "prefix"),
        ("GET /h", "\nx-e: 1\nx-c: oxe", "regex"),
        ("GET /h", "\nx-e: 1\nx-c: oxex", "404"),
        ("GET /h", "\nx-e: 1\nx-d:", "present"),
        ("GET /h", "\nx-e: 1", "404"),
        ("GET /h", "", "absent"),
        ("GET /q?v=2%20b&w", "", "query"),
        ("GET /q?v=2+b&w=1", "", "query"),
        ("GET /q?v=2+b&v=3&w", "", "404"),
        ("GET /q?v=2+b", "", "404"),
        ("GET /c", "\ncookie: a=1; beta=yes", "cookie"),
        ("GET /c", "\ncookie: beta=no", "404"),
        ("GET /m", "", "get"),
        ("PUT /m", "\ncontent-length: 0", "put"),
    ] {
        assert_eq!(taken(&gateway, line, &format!("\nhost: a{headers}")), want, "{line} {headers}");
    }
    let refused = gateway.send("DELETE /m HTTP/1.1\nhost: a", b"");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, PUT")));
    assert_eq!(refused.problem().as_deref(), Some("method-not-allowed"));
    let missing = gateway.get("/nothing");
    assert_eq!((missing.status, missing.problem().as_deref()), (404, Some("no-route")));
}

#[test]
fn a_client_is_matched_by_its_true_address() {
    let gateway = Gateway::with(
        "trustedProxies: [127.0.0.1/32]",
        &answering(&[
            ("office", "match: [{clientAddress: [10.0.0.0/8, '2001:db8::/32']}]"),
            ("world", "match: [{path: {prefix: /}}]"),
        ]),
    );
    for (from, want) in [("10.1.1.1", "office"), ("2001:db8::7", "office"), ("192.0.2.1", "world")] {
        assert_eq!(taken(&gateway, "GET /", &format!("\nhost: a\nx-forwarded-for: {from}")), want, "{from}");
    }
}

#[test]
fn a_client_comes_by_what_a_trusted_proxy_says_it_came_by() {
    for (trusted, told, want) in [
        ("trustedProxies: [127.0.0.1/32]", "https", "safe"),
        ("trustedProxies: [127.0.0.1/32]", "http", "other"),
        ("trustedProxies: [10.0.0.0/8]", "https", "other"),
    ] {
        let gateway = Gateway::with(
            trusted,
            &answering(&[
                ("safe", "match: [{path: {prefix: /}, when: 'request.scheme == \"https\"'}]"),
                ("other", "match: [{path: {prefix: /}}]"),
            ]),
        );
        let headers = format!("\nhost: a\nx-forwarded-proto: {told}");
        assert_eq!(taken(&gateway, "GET /", &headers), want, "{trusted} {told}");
    }
}

#[test]
fn a_condition_decides_over_the_request_and_its_captures() {
    let gateway = named(&[
        (
            "when",
            "match: [{path: {template: '/o/{id}'}, when: 'request.headers[\"x-plan\"] == \"pro\" && captures.id.startsWith(\"7\") && request.method in [\"GET\", \"PUT\"]'}]",
        ),
        ("other", "match: [{path: {prefix: /}}]"),
    ]);
    for (path, headers, want) in [
        ("/o/77", "\nx-plan: pro", "when"),
        ("/o/87", "\nx-plan: pro", "other"),
        ("/o/77", "\nx-plan: free", "other"),
        ("/o/77", "", "other"),
    ] {
        assert_eq!(
            taken(&gateway, &format!("GET {path}"), &format!("\nhost: a{headers}")),
            want,
            "{path} {headers}"
        );
    }
}

#[test]
fn a_condition_that_is_wrong_or_too_costly_is_refused_when_it_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let deep = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    let long = vec!["request.path == '/a'"; 300].join(" || ");
    let loops = "[1, 2].all(a, [1, 2].all(b, a == b))";
    for (when, words) in [
        ("request.pth == '/'", "pth"),
        ("request.path", "a condition is true or false"),
        ("request.path + 1 == 2", "match[0].when"),
        ("captures.nothing == 'a'", "nothing"),
        ("consumer.name == 'a'", "consumer"),
        ("request.path ==", "column"),
        (deep.as_str(), "brackets"),
        (long.as_str(), "match[0].when"),
        (loops, "match[0].when"),
    ] {
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:8080\"}}]\nroutes:\n  - name: r\n    match:\n      - path: {{template: '/o/{{id}}'}}\n        when: {}\n    respond: {{}}\n",
            serde_json::Value::from(when)
        );
        std::fs::write(&path, text).expect("a file");
        let (code, _, problems) = run(&["validate", "-c", &path.display().to_string()]);
        assert_eq!(code, 3, "{when}");
        for part in ["routes[0].match[0].when", "tidegate.yaml:6:15", words] {
            assert!(problems.contains(part), "{when} lacks {part:?}:\n{problems}");
        }
    }
}

#[test]
fn the_more_specific_route_wins_wherever_it_stands_in_the_file() {
    // From the least to the most specific; each is asked for by a request that it and all before it take.
    let routes = [
        ("anything", ""),
        ("regex", "match: [{path: {regex: '/o/.*'}}]"),
        ("prefix", "match: [{path: {prefix: /o}}]"),
        ("any", "match: [{path: {template: '/o/{id}'}}]"),
        ("int", "match: [{path: {template: '/o/{id:int}'}}]"),
        ("exact", "match: [{path: {exact: /o/7}}]"),
        ("method", "match: [{path: {exact: /o/7}, methods: [GET]}]"),
        ("header", "match: [{path: {exact: /o/7}, methods: [GET], headers: [{name: x-a}]}]"),
        ("two", "match: [{path: {exact: /o/7}, methods: [GET], headers: [{name: x-a}, {name: x-b}]}]"),
        ("wildcard", "hosts: ['*.test']"),
        ("longer", "hosts: ['*.a.test']"),
        ("host", "hosts: [x.a.test]"),
        ("urgent", "priority: 1"),
    ];
    for count in [3, 6, 9, 12, 13] {
        let table: Vec<_> = routes[..count]
            .iter()
            .map(|(name, route)| (*name, if route.is_empty() { "match: []" } else { route }))
            .collect();
        let gateway = named(&table);
        let got = taken(&gateway, "GET /o/7", "\nhost: x.a.test\nx-a: 1\nx-b: 1");
        // An expression comes after a prefix of segments.
        assert_eq!(got, table[count - 1].0, "{count}");
        let reversed: Vec<_> = table.into_iter().rev().collect();
        assert_eq!(taken(&named(&reversed), "GET /o/7", "\nhost: x.a.test\nx-a: 1\nx-b: 1"), got, "{count}");
    }
}

#[test]
fn of_equals_the_first_in_the_file_wins_and_the_other_is_warned_about() {
    let routes = [
        ("first", "match: [{path: {prefix: /a}}]"),
        ("second", "match: [{path: {prefix: /a}, methods: [GET]}, {path: {exact: /z}}]"),
        ("third", "match: [{path: {prefix: /a}}]"),
    ];
    let gateway = named(&routes);
    assert_eq!(taken(&gateway, "PUT /a", "\nhost: a\ncontent-length: 0"), "first");
    assert!(gateway.stderr().contains("routes[2].match[0]"), "{}", gateway.stderr());
    let path = gateway.config().display().to_string();
    let (code, _, problems) = run(&["validate", "-c", &path]);
    assert_eq!(code, 0);
    assert!(
        problems.contains("can never match: `first` (match[0]) takes all its requests before"),
        "{problems}"
    );
    assert!(problems.contains("routes[2].match[0]") && problems.contains("tidegate.yaml:"), "{problems}");
    assert!(!problems.contains("routes[1]") && !problems.contains("routes[0]"), "{problems}");
}

#[test]
fn a_route_is_on_the_listeners_that_it_names() {
    let (one, two) = (super::super::harness::free_port(), super::super::harness::free_port());
    let text = format!(
        "listeners: [{{name: one, address: \"127.0.0.1:{one}\"}}, {{name: two, address: \"127.0.0.1:{two}\"}}]\n{}",
        answering(&[
            ("both", "match: [{path: {exact: /b}}]"),
            ("only", "listeners: [two], match: [{path: {exact: /o}}]")
        ])
    );
    let _gateway = Gateway::from_text(&text, ([127, 0, 0, 1], one).into(), |_| {});
    let ask = |port: u16, path: &str| {
        super::super::harness::get(([127, 0, 0, 1], port).into(), path).expect("an answer").status
    };
    assert_eq!([ask(one, "/b"), ask(two, "/b"), ask(one, "/o"), ask(two, "/o")], [200, 200, 404, 200]);
}

#[test]
fn connection_cannot_remove_a_header_that_a_route_or_a_condition_reads() {
    let gateway = named(&[
        ("by-header", "match: [{path: {prefix: /h}, headers: [{name: x-tenant, exact: a}]}]"),
        ("by-condition", "match: [{path: {prefix: /c}, when: 'request.headers[\"x-plan\"] == \"pro\"'}]"),
        ("other", "match: [{path: {prefix: /}}]"),
    ]);
    for (path, header, want) in [("/h", "x-tenant: a", "by-header"), ("/c", "x-plan: pro", "by-condition")] {
        let name = header.split(':').next().expect("a name");
        let headers = format!("\nhost: a\n{header}\nconnection: {name}");
        assert_eq!(taken(&gateway, &format!("GET {path}"), &headers), want);
        let shadow = header.replace("x-", "x_");
        assert_eq!(
            taken(&gateway, &format!("GET {path}"), &format!("\nhost: a\n{shadow}")),
            "other",
            "{shadow}"
        );
    }
}
