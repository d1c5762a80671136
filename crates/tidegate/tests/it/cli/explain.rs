//! `routes explain`: which route and why, why not the near misses, what runs then, and how the endpoints are.

use super::super::harness::{Gateway, Upstream, eventually, run, run_with};

#[test]
fn every_near_miss_says_what_did_not_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "listeners:
  - {name: plain, address: \"127.0.0.1:8080\"}
  - {name: inner, address: \"127.0.0.1:8081\"}
routes:
  - {name: taken, match: [{path: {prefix: /a}}], respond: {}}
  - {name: by-method, match: [{path: {exact: /a/b}, methods: [PUT]}], respond: {}}
  - {name: by-header, match: [{path: {exact: /a/b}, headers: [{name: x-a, regex: 'b+'}]}], respond: {}}
  - {name: by-query, match: [{path: {exact: /a/b}, query: [{name: q, exact: '1'}]}], respond: {}}
  - {name: by-cookie, match: [{path: {exact: /a/b}, cookies: [{name: c}]}], respond: {}}
  - {name: by-client, match: [{path: {exact: /a/b}, clientAddress: [10.0.0.0/8]}], respond: {}}
  - {name: by-sni, match: [{path: {exact: /a/b}, sni: [s.test]}], respond: {}}
  - {name: by-when, match: [{path: {exact: /a/b}, when: 'request.host == \"x\"'}], respond: {}}
  - {name: by-listener, listeners: [inner], match: [{path: {exact: /a/b}}], respond: {}}
  - {name: by-host, hosts: [other.test], match: [{path: {exact: /a/b}}], respond: {}}
  - {name: by-path, hosts: [a.test], match: [{path: {exact: /a/c}}], respond: {}}
  - {name: by-order, match: [{path: {prefix: /}}], respond: {}}
";
    std::fs::write(&path, text).expect("a file");
    let shown = path.display().to_string();
    let explain = |rest: &[&str]| {
        let (code, out, problems) = run(&[&["routes", "explain", "-c", &shown], rest].concat());
        assert_eq!(code, 0, "{problems}");
        out
    };
    let out = explain(&["GET", "http://A.test/a//b?q=2"]);
    assert!(
        out.contains("route      taken (match[0])") && out.contains("/a/b (normal form of /a//b)"),
        "{out}"
    );
    for (route, reason) in [
        ("by-method", "method GET is not one of PUT"),
        ("by-header", "header x-a ~ \"b+\""),
        ("by-query", "query q = \"1\""),
        ("by-cookie", "cookie c present"),
        ("by-client", "client 127.0.0.1 in 10.0.0.0/8"),
        ("by-sni", "sni s.test"),
        ("by-when", "when request.host == \"x\""),
        ("by-listener", "listener is not one of inner"),
        ("by-host", "host"),
        ("by-path", "path"),
        ("by-order", "comes later in the order"),
    ] {
        let line = out.lines().find(|line| line.contains(&format!("not      {route} ")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{route} lacks {reason:?}:\n{out}");
    }
    for (rest, want) in [
        (&["PUT", "/a/b"][..], "by-method"),
        (&["GET", "/a/b", "-H", "X-A: bb"], "by-header"),
        (&["GET", "/a/b?q=1"], "by-query"),
        (&["GET", "/a/b", "-H", "cookie: c=1"], "by-cookie"),
        (&["GET", "/a/b", "--client", "10.1.1.1"], "by-client"),
        (&["GET", "/a/b", "--listener", "inner"], "by-listener"),
        (&["GET", "/a/b", "-H", "host: other.test:99"], "by-host"),
    ] {
        let out = explain(rest);
        assert!(out.contains(&format!("route      {want} ")), "{rest:?}:\n{out}");
    }
}

#[test]
fn policies_are_listed_as_they_run_and_endpoints_as_they_are() {
    let (well, sick) = (Upstream::fixed(200, "ok"), Upstream::fixed(500, "no"));
    let gateway = Gateway::with(
        "policies: [{requestLimits: {maxHeaders: 50}}, {deprecation: {deprecatedAt: 2026-01-01}}]",
        &format!(
            "globalPolicies: [{{rateLimit: {{limit: 9, window: 1s}}}}]
consumers: [{{name: c, keys: [the-key-of-the-test]}}]
policies: [{{name: shared, policy: {{acl: {{allow: [c]}}}}}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}, {{address: \"{}\", weight: 2}}], healthCheck: {{path: /, interval: 100ms, unhealthyThreshold: 1}}, circuitBreaker: {{}}, policies: [{{compress: {{}}}}]}}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{headers: {{request: {{set: {{a: b}}}}}}}}, {{use: shared}}, {{keyAuth: {{}}}}, {{cors: {{allowOrigins: ['*']}}}}, {{deprecation: {{deprecatedAt: 2026-02-02}}}}]
    backends: [{{upstream: u}}]\n",
            well.address, sick.address
        ),
    );
    eventually("the sick endpoint is out", || {
        gateway.admin_get("/api/v1/status").json()["upstreams"][0]["endpoints"][1]["healthy"] == false
    });
    let (config, admin) = (gateway.config().display().to_string(), gateway.admin.to_string());
    let arguments = ["routes", "explain", "GET", "/x", "-c", &config, "--admin", &admin];
    let (code, out, problems) = run_with(&arguments, &[("TIDEGATE_ADMIN_TOKEN", "test-admin-token")]);
    assert_eq!(code, 0, "{problems}");
    let policies: Vec<&str> =
        out.lines().filter_map(|line| line.strip_prefix("policy ")).map(|line| line[3..].trim()).collect();
    assert_eq!(
        policies,
        [
            "cors (routes/r)",
            "keyAuth (routes/r)",
            "acl (policies/shared)",
            "rateLimit (global)",
            "requestLimits (listeners/public)",
            "headers (routes/r)",
            "deprecation (routes/r)",
            "compress (upstreams/u)",
        ],
        "{out}"
    );
    assert!(out.contains("breaker    CLOSED (u)"), "{out}");
    assert!(out.contains(&format!("endpoint   {} weight 1 healthy", well.address)), "{out}");
    assert!(out.contains(&format!("endpoint   {} weight 2 unhealthy", sick.address)), "{out}");
    let (code, _, problems) = run_with(&arguments, &[("TIDEGATE_ADMIN_TOKEN", "wrong")]);
    assert!(code == 1 && problems.contains("401"), "{code} {problems}");
}

#[test]
fn a_listener_that_redirects_everything_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "listeners: [{name: plain, address: \"127.0.0.1:8080\", redirectToHttps: true}]\nroutes: [{name: r, respond: {}}]\n";
    std::fs::write(&path, text).expect("a file");
    let (_, out, _) = run(&["routes", "explain", "GET", "/", "-c", &path.display().to_string()]);
    assert!(out.contains("redirectToHttps of the listener"), "{out}");
}

#[test]
fn a_preflight_is_told_as_the_request_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "listeners: [{name: plain, address: \"127.0.0.1:8080\"}]
routes:
  - {name: shop, match: [{path: {prefix: /x}, methods: [GET, POST]}], policies: [{cors: {allowOrigins: ['https://a.test']}}], respond: {}}
  - {name: monolith, match: [{path: {prefix: /}}], respond: {}}\n";
    std::fs::write(&path, text).expect("a file");
    let shown = path.display().to_string();
    let explain = |rest: &[&str]| {
        let all =
            [&["routes", "explain", "OPTIONS", "/x", "-c", &shown, "-H", "origin: https://a.test"], rest];
        let (code, out, problems) = run(&all.concat());
        assert_eq!(code, 0, "{problems}");
        out
    };
    let out = explain(&["-H", "access-control-request-method: POST"]);
    for want in ["route      shop ", "the request after this preflight comes with POST", "`cors` answers"] {
        assert!(out.contains(want), "lacks {want:?}:\n{out}");
    }
    let out = explain(&["-H", "access-control-request-method: DELETE"]);
    assert!(out.contains("route      monolith ") && !out.contains("preflight"), "{out}");
    let out = explain(&[]);
    assert!(out.contains("route      monolith ") && out.contains("no preflight of a browser's"), "{out}");
}

#[test]
fn the_port_of_the_url_says_which_listener_and_the_nearest_paths_come_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "listeners:
  - {name: plain, address: \"127.0.0.1:8080\"}
  - {name: inner, address: \"127.0.0.1:8081\"}
routes:
  - {name: users, match: [{path: {prefix: /users}}], respond: {}}
  - {name: assets, match: [{path: {prefix: /assets}}], respond: {}}
  - {name: products, match: [{path: {prefix: /v1/products}}], respond: {}}
  - {name: second, match: [{path: {prefix: /v2/products}}], respond: {}}
";
    std::fs::write(&path, text).expect("a file");
    let shown = path.display().to_string();
    let explain = |url: &str| run(&["routes", "explain", "-c", &shown, "GET", url]);
    for (url, listener) in [
        ("http://a.test:8081/users", "inner"),
        ("http://a.test:8080/users", "plain"),
        ("http://a.test/users", "plain"),
    ] {
        let (code, out, problems) = explain(url);
        assert!(code == 0 && out.contains(&format!("listener   {listener}")), "{url}: {out}{problems}");
    }
    let (code, _, problems) = explain("http://a.test:9999/users");
    assert_eq!(code, 1, "{problems}");
    for part in ["no listener is at port 9999", "`plain` (127.0.0.1:8080)", "`inner` (127.0.0.1:8081)"] {
        assert!(problems.contains(part), "lacks {part}: {problems}");
    }
    let (code, out, _) = explain("http://a.test/v10");
    assert_eq!(code, 5);
    let misses: Vec<&str> = out.lines().filter_map(|line| line.trim().strip_prefix("not      ")).collect();
    assert!(
        misses.first().is_some_and(|miss| miss.starts_with("products (match[0]): path is not /v1/products")),
        "{out}"
    );
    assert!(misses.get(1).is_some_and(|miss| miss.starts_with("second ")), "{out}");
}

#[test]
fn the_token_for_a_running_gateway_comes_from_an_option_or_its_data_directory() {
    let gateway = Gateway::start("routes: [{name: r, match: [{path: {prefix: /}}], respond: {}}]\n");
    let (config, admin) = (gateway.config().display().to_string(), gateway.admin.to_string());
    let explain = |rest: &[&str]| {
        run(&[&["routes", "explain", "GET", "/", "-c", &config, "--admin", &admin], rest].concat())
    };
    let (code, _, problems) = explain(&["--admin-token", "test-admin-token"]);
    assert_eq!(code, 0, "{problems}");
    let data = gateway.folder.path().join("elsewhere");
    std::fs::create_dir(&data).expect("a folder");
    let shown = data.display().to_string();
    let (code, _, problems) = explain(&["--data-dir", &shown]);
    assert!(code == 1 && problems.contains("elsewhere/admin-token"), "{code} {problems}");
    std::fs::write(data.join("admin-token"), "test-admin-token\n").expect("a file");
    let (code, _, problems) = explain(&["--data-dir", &shown]);
    assert_eq!(code, 0, "{problems}");
}

/// Connections that a stream route takes are not told as if HTTP saw them.
#[test]
fn a_stream_route_is_told_where_it_takes_the_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "listeners:
  - {name: plain, address: \"127.0.0.1:8080\"}
  - {name: db, address: \"127.0.0.1:8081\", protocol: tcp}
upstreams: [{name: postgres, endpoints: [{address: \"127.0.0.1:5432\"}]}]
streamRoutes: [{name: orders-db, listeners: [db], backends: [{upstream: postgres}]}]
routes: [{name: web, match: [{path: {prefix: /}}], respond: {}}]
";
    std::fs::write(&path, text).expect("a file");
    let shown = path.display().to_string();
    let explain = |url: &str| run(&["routes", "explain", "-c", &shown, "GET", url]).1;
    let out = explain("tcp://127.0.0.1:8081");
    assert!(out.contains("streamRoutes `orders-db`") && out.contains("127.0.0.1:5432"), "{out}");
    assert!(!out.contains("route web") && !out.contains("      web"), "{out}");
    assert!(explain("http://127.0.0.1:8080/").contains("web (match[0])"));
    let table = run(&["routes", "-c", &shown]).1;
    assert!(table.contains("stream orders-db  server name any; listener db; to postgres"), "{table}");
}
