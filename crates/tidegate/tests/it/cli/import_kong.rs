//! `import kong`: what becomes of a declarative configuration of Kong, that it serves, and what is said of the rest.

use std::fs;

use serde_json::json;

use crate::harness::{Gateway, Upstream, free_port, run};

const THEIRS: &str = r#"
_format_version: "3.0"
upstreams:
  - name: orders.internal
    algorithm: least-connections
    targets: [{target: "ADDRESS", weight: 100}]
    healthchecks: {active: {type: http, http_path: /healthz, healthy: {interval: 5, successes: 2}, unhealthy: {interval: 5, http_failures: 3}}}
services:
  - name: orders
    host: orders.internal
    path: /v1
    read_timeout: 3000
    retries: 2
    plugins:
      - {name: rate-limiting, config: {minute: 3, hour: 1000, policy: redis}}
    routes:
      - {name: orders, paths: [/orders], methods: [GET, POST]}
      - {name: raw, paths: ["~/raw/\\d+$"], strip_path: false, hosts: [raw.test]}
      - name: gone
        paths: [/gone]
        plugins: [{name: request-termination, config: {status_code: 410, message: It is gone}}]
  - name: secret
    url: http://ADDRESS/secret
    routes: [{name: secret, paths: [/secret]}]
    plugins: [{name: key-auth, config: {key_names: [apikey], hide_credentials: true}}, {name: acl, config: {allow: [staff]}}]
  - {name: stream, protocol: tcp, host: a.test, port: 9}
consumers:
  - {username: ann, keyauth_credentials: [{key: anns-own-key}], acls: [{group: staff}]}
  - {username: bob, keyauth_credentials: [{key: bobs-own-key}]}
plugins:
  - {name: prometheus}
  - {name: file-log, config: {path: /dev/stdout}}
  - {name: response-transformer, config: {add: {headers: ["x-from:kong"], json: ["a:b"]}}}
  - {name: bot-detection}
  - {name: cors, route: orders, config: {origins: ["https://shop.test"], credentials: true, max_age: 60}}
"#;

pub(super) fn imported(theirs: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kong.yml");
    fs::write(&path, theirs).expect("a file");
    run(&["import", "kong", &path.display().to_string()])
}

#[test]
fn what_kong_did_is_done_here() {
    let upstream = Upstream::scripted(|seen| {
        let body = format!("{} {}", seen.line, seen.header("host").unwrap_or_default());
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    let theirs = THEIRS.replace("ADDRESS", &upstream.address.to_string());
    let (code, ours, report) = imported(&theirs);
    assert_eq!(code, 0, "{report}");
    let address = format!("127.0.0.1:{}", free_port());
    assert!(ours.contains("127.0.0.1:8000"), "{ours}");
    let ours = ours.replace("127.0.0.1:8000", &address);
    let gateway = Gateway::from_text(&ours, address.parse().expect("an address"), |command| {
        command.env("ANN_KEY_1", "anns-own-key").env("BOB_KEY_1", "bobs-own-key");
    });
    let own = upstream.address.to_string();
    let answer = gateway.send("GET /orders/7?x=1 HTTP/1.1\nhost: a.test\norigin: https://shop.test", b"");
    assert_eq!((answer.status, answer.text()), (200, format!("GET /v1/7?x=1 HTTP/1.1 {own}")));
    assert_eq!(answer.header("x-from"), Some("kong"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.test"));
    assert_eq!(gateway.send("PUT /orders/7 HTTP/1.1\nhost: a.test\ncontent-length: 0", b"").status, 405);
    let raw = gateway.send("GET /raw/12 HTTP/1.1\nhost: raw.test", b"");
    assert_eq!(raw.text(), format!("GET /v1/raw/12 HTTP/1.1 {own}"));
    let gone = gateway.get("/gone");
    assert_eq!((gone.status, gone.json()), (410, json!({"message": "It is gone"})));
    for (key, status) in [("", 401), ("\napikey: bobs-own-key", 403), ("\napikey: anns-own-key", 200)] {
        let answer = gateway.send(&format!("GET /secret/a HTTP/1.1\nhost: a.test{key}"), b"");
        assert_eq!(answer.status, status, "{key}");
    }
    assert_eq!(gateway.get("/secret/a?apikey=anns-own-key").text(), format!("GET /secret/a HTTP/1.1 {own}"));
    // Three a minute, for each client and route: one of them is spent already.
    let statuses: Vec<u16> = (0..3).map(|_| gateway.get("/orders/7").status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert!(gateway.record("a call", |record| record["route"] == "orders")["upstream"] == "orders-internal");
}

#[test]
fn what_has_no_counterpart_is_told_with_its_path() {
    let (code, ours, report) = imported(&THEIRS.replace("ADDRESS", "127.0.0.1:9"));
    assert_eq!(code, 0, "{report}");
    for line in [
        "services[2].protocol: `tcp` has no counterpart; left out",
        "services[0].plugins[0].config.policy: `redis` without a host: each gateway counts for itself here",
        "consumers[0].keyauth_credentials[0].key: a key in the file is not copied: put it into the variable `ANN_KEY_1`",
        "plugins[2].config.add.json: no counterpart",
        "plugins[3]: `bot-detection` is not taken over: `botDetection` judges clients",
    ] {
        assert!(report.lines().any(|told| told == line), "{line}\nin\n{report}");
    }
    assert!(!ours.contains("anns-own-key") && !report.contains("anns-own-key"), "{ours}\n{report}");
    let (code, _, report) = imported("_format_version: \"3.0\"\nservices: []\n");
    assert!(code != 0 && report.contains("it has no routes"), "{report}");
    let (code, _, report) = imported("services: [\n");
    assert!(code != 0 && report.contains("kong.yml"), "{report}");
}

const GUARDED: &str = r#"
_format_version: "3.0"
services:
  - name: shop
    url: http://ADDRESS
    routes:
      - {name: told, paths: [/told], plugins: [{name: jwt}]}
      - {name: near, paths: [/near], sources: [{ip: 192.0.2.0/24}]}
      - {name: written, expression: 'http.path == "/x" && net.src.ip in 10.0.0.0/8'}
      - {name: items, paths: ["~/items/(?<id>\\d+)$"]}
      - {name: versions, paths: ["~/v\\d+/products", /plain]}
      - {name: many, paths: [/many], plugins: [{name: rate-limiting, config: {minute: 100, policy: redis, redis: {host: 127.0.0.1, port: 1}}}]}
      - {name: staff, paths: [/staff], plugins: [{name: key-auth}, {name: acl, config: {allow: [nobody]}}]}
      - {name: moved, paths: [/moved], plugins: [{name: request-transformer, config: {replace: {uri: /other}}}]}
consumers: [{username: ann, keyauth_credentials: [{key: anns-own-key}]}]
plugins: [{name: rate-limiting, config: {minute: 50}}]
"#;

#[test]
fn what_kong_protects_in_another_way_is_closed_and_nothing_else_becomes_more_than_it_was() {
    let upstream = Upstream::scripted(|seen| {
        Some(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", seen.line.len(), seen.line)
                .into_bytes(),
        )
    });
    let (code, ours, report) = imported(&GUARDED.replace("ADDRESS", &upstream.address.to_string()));
    assert_eq!(code, 0, "{report}");
    let address = format!("127.0.0.1:{}", free_port());
    let ours = ours.replace("127.0.0.1:8000", &address);
    let gateway = Gateway::from_text(&ours, address.parse().expect("an address"), |command| {
        command.env("ANN_KEY_1", "anns-own-key");
    });
    for (path, status) in [
        ("/told", 403),
        ("/near", 404),
        ("/x", 404),
        ("/items/1", 200),
        ("/items/1/secret", 404),
        ("/items/1xyz", 404),
        ("/staff?apikey=anns-own-key", 403),
    ] {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
    for (path, want) in [
        ("/v12/products/7", "GET /7 "),
        ("/v1/products", "GET / "),
        ("/plain/a", "GET /a "),
        ("/items/3", "GET / "),
    ] {
        assert!(gateway.get(path).text().starts_with(want), "{path}: {}", gateway.get(path).text());
    }
    // Of two limits the route's alone holds, and it is counted where all gateways count.
    let source = model::Source::new("ours", ours.clone());
    let made = model::document(&source).expect("YAML");
    assert_eq!(
        (&made["redis"]["addresses"][0], &made["globalPolicies"]),
        (&json!("127.0.0.1:1"), &json!(null))
    );
    let limits = |name: &str| {
        let routes = made["routes"].as_array().expect("routes");
        let route = routes.iter().find(|route| route["name"] == name).expect("the route");
        let all = route["policies"].as_array().into_iter().flatten();
        all.filter_map(|policy| {
            Some((policy.get("rateLimit")?["limit"].clone(), policy["rateLimit"]["store"].clone()))
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(limits("many"), [(json!(100), json!("redis"))]);
    assert_eq!(limits("items"), [(json!(50), json!(null))]);
    for told in [
        "route `told`: CLOSED, for `jwt` is not taken over",
        "services[0].routes[2].expression: left out",
        "route `staff`: CLOSED, for nobody is in a group that `acl` allows",
        "replace.uri: no counterpart",
    ] {
        assert!(report.contains(told), "{told}\nin\n{report}");
    }
}

const SHARED: &str = r#"
_format_version: "3.0"
upstreams:
  - {name: pool, targets: [{target: "ADDRESS"}]}
  - {name: spare, targets: [{target: "127.0.0.1:9"}]}
services:
  - {name: orders, host: "127.0.0.1", port: 9, routes: [{name: orders, paths: [/orders]}]}
  - {name: admin, host: orders, port: 8080, routes: [{name: admin, paths: [/admin]}]}
  - {name: plain, host: pool, port: 80, read_timeout: 3000, routes: [{name: plain, paths: [/plain]}]}
  - {name: hidden, host: Pool, protocol: https, retries: 0, routes: [{name: hidden, paths: [/hidden]}]}
  - {name: again, host: pool, read_timeout: 3000, routes: [{name: again, paths: [/again]}]}
plugins:
  - {name: request-size-limiting, service: again, config: {allowed_payload_size: 1}}
"#;

#[test]
fn services_that_share_endpoints_share_nothing_else() {
    let upstream =
        Upstream::scripted(|_| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain".to_vec()));
    let (code, ours, report) = imported(&SHARED.replace("ADDRESS", &upstream.address.to_string()));
    assert_eq!(code, 0, "{report}");
    let made = model::document(&model::Source::new("ours", ours.clone())).expect("YAML");
    let upstreams = made["upstreams"].as_array().expect("upstreams");
    let upstream_of = |route: &str| {
        let routes = made["routes"].as_array().expect("routes");
        let route = routes.iter().find(|one| one["name"] == route).expect("the route");
        let name = &route["backends"][0]["upstream"];
        upstreams.iter().find(|one| one["name"] == *name).expect("the upstream").clone()
    };
    // A host that is the name of a service, not of an upstream, is a host.
    assert_eq!(upstream_of("admin")["endpoints"][0]["address"], "orders:8080", "{ours}");
    let (plain, hidden) = (upstream_of("plain"), upstream_of("hidden"));
    assert_eq!((&plain["tls"], &plain["timeouts"]["request"]), (&json!(null), &json!("3000ms")), "{ours}");
    assert!(hidden["tls"].is_object() && hidden["timeouts"].is_null(), "{ours}");
    assert_eq!(hidden["retry"]["maxAttempts"], 1, "{ours}");
    assert_eq!(plain, upstream_of("again"), "{ours}");
    assert!(upstreams.iter().any(|one| one["name"] == "spare"), "{ours}");
    // What is for one service is not for its neighbour at the same endpoints.
    let address = format!("127.0.0.1:{}", free_port());
    let gateway = Gateway::from_text(
        &ours.replace("127.0.0.1:8000", &address),
        address.parse().expect("an address"),
        |_| {},
    );
    let long = vec![b'x'; (1 << 20) + 1];
    for (path, status) in [("/plain", 200), ("/again", 413)] {
        let head = format!("POST {path} HTTP/1.1\nhost: a.test\ncontent-length: {}", long.len());
        assert_eq!(gateway.send(&head, &long).status, status, "{path}");
    }
}

const SETTINGS: &str = r#"
_format_version: "3.0"
services:
  - name: shop
    url: http://127.0.0.1:9
    routes:
      - {name: a, paths: [/a], path_handling: v1, https_redirect_status_code: 301}
      - {name: b, paths: [/b], path_handling: v0, https_redirect_status_code: 426, request_buffering: true}
plugins:
  - {name: key-auth, config: {key_in_header: false, key_in_body: false, run_on_preflight: true, realm: null}}
  - {name: cors, config: {credentials: true}}
  - {name: proxy-cache, config: {strategy: memory, response_code: [200, 404], content_type: [text/plain, application/json]}}
  - {name: file-log, config: {path: /var/log/kong.log}}
  - {name: correlation-id, config: {header_name: X-Own-Id, generator: uuid, echo_downstream: true}}
  - {name: rate-limiting, config: {minute: 5, policy: redis, redis: {host: 127.0.0.1}, fault_tolerant: false, hide_client_headers: true, error_code: 420}}
"#;

#[test]
fn a_setting_that_is_not_kongs_default_is_taken_over_or_told() {
    let (code, ours, report) = imported(SETTINGS);
    assert_eq!(code, 0, "{report}");
    for told in [
        "services[0].routes[0].path_handling: no counterpart",
        "services[0].routes[0].https_redirect_status_code: no counterpart",
        "plugins[0].config.key_in_header: no counterpart",
        "plugins[1].config.credentials: left out: Kong lets every site read answers",
        "plugins[2].config.response_code: no counterpart",
        "plugins[2].config.cache_control: Kong keeps answers whatever their `Cache-Control` says",
        "plugins[4].config.header_name: no counterpart",
        "plugins[5].config.error_code: no counterpart",
    ] {
        assert!(report.contains(told), "{told}\nin\n{report}");
    }
    for silent in ["routes[1]", "content_type", "key_in_body", "realm", "generator", "strategy", "file-log"] {
        assert!(!report.contains(silent), "{silent}\nin\n{report}");
    }
    let made = model::document(&model::Source::new("ours", ours.clone())).expect("YAML");
    assert_eq!(made["accessLog"], json!([{"kind": "file", "path": "/var/log/kong.log"}]), "{ours}");
    let everything = made["routes"].as_array().into_iter().flatten();
    let of_routes = everything.filter_map(|route| route["policies"].as_array()).flatten();
    let policies = of_routes.chain(made["globalPolicies"].as_array().into_iter().flatten());
    let limits: Vec<_> = policies.filter_map(|policy| policy.get("rateLimit")).collect();
    assert!(!limits.is_empty(), "{ours}");
    for limit in limits {
        assert_eq!((&limit["whenAway"], &limit["headers"]), (&json!("closed"), &json!(false)), "{ours}");
    }
}

const ORDERED: &str = r#"
_format_version: "3.0"
services:
  - name: open
    url: http://ADDRESS
    routes:
      - {name: api, paths: [/api]}
      - {name: x, paths: [/x], regex_priority: 5}
      - {name: m-long, paths: [/m/long]}
      - {name: h-long, paths: [/h/long]}
      - {name: b1, paths: [/b1]}
      - {name: both-long, paths: [/both/x/y]}
  - name: guarded
    url: http://ADDRESS
    plugins: [{name: ip-restriction, config: {allow: [192.0.2.0/24]}}]
    routes:
      - {name: secret, paths: ["~/api/secret\\d+$"]}
      - {name: x-admin, paths: [/x/admin]}
      - {name: m, paths: [/m], methods: [GET]}
      - {name: h, paths: [/h], headers: {x-a: ["1"]}}
      - {name: both, paths: ["~/b\\d+$", /both]}
"#;

/// With wildcards among the hosts the lengths of paths count before hosts.
const WILD: &str = r#"
      - {name: wild-long, paths: [/w/long], methods: [GET]}
  - name: wild
    url: http://ADDRESS
    routes: [{name: wild, paths: [/w], hosts: ["*.shop.test"]}]
"#;

#[test]
fn an_open_route_takes_nothing_that_kong_gives_to_a_guarded_one() {
    let upstream = Upstream::scripted(|_| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()));
    for (more, of_wild) in [("", 404), (WILD, 403)] {
        let theirs = format!("{}{more}", ORDERED.trim_end());
        let (code, ours, report) = imported(&theirs.replace("ADDRESS", &upstream.address.to_string()));
        assert_eq!(code, 0, "{report}");
        let address = format!("127.0.0.1:{}", free_port());
        let gateway = Gateway::from_text(
            &ours.replace("127.0.0.1:8000", &address),
            address.parse().expect("an address"),
            |_| {},
        );
        for (line, header, status) in [
            ("GET /api/secret5", "", 403),
            ("GET /api/secret", "", 200),
            ("GET /x/admin/a", "", 403),
            ("GET /x/a", "", 200),
            ("GET /m/long", "", 403),
            ("DELETE /m/long", "", 200),
            ("GET /h/long", "\nx-a: 1", 403),
            ("GET /h/long", "", 200),
            ("GET /b1", "", 403),
            ("GET /both/x", "", 403),
            ("GET /both/x/y", "", 200),
            ("GET /w/long", "", of_wild),
        ] {
            let head = format!("{line} HTTP/1.1\nhost: a.shop.test{header}");
            assert_eq!(gateway.send(&head, b"").status, status, "{line} {header}\n{ours}");
        }
        assert!(report.contains("routes: `both` is written as 2 routes"), "{report}");
    }
}

#[test]
fn routes_of_one_rank_have_no_priority() {
    let (code, ours, report) = imported(&SHARED.replace("ADDRESS", "127.0.0.1:9"));
    assert_eq!(code, 0, "{report}");
    assert!(!ours.contains("priority") && !report.contains("priority"), "{ours}\n{report}");
}

const UNKNOWN: &str = r#"
_format_version: "3.0"
services:
  - name: shop
    url: http://ADDRESS
    routes:
      - {name: code, paths: [/code], plugins: [{name: pre-function, config: {access: ["kong.response.exit(403)"]}}]}
      - {name: late, paths: [/late], plugins: [{name: post-function, config: {access: [], log: ["print(1)"]}}]}
      - {name: own, paths: [/own], plugins: [{name: my-own-auth}]}
      - {name: session, paths: [/session], plugins: [{name: session}]}
      - {name: ann, paths: [/ann], plugins: [{name: key-auth}, {name: rate-limiting, consumer: ann, config: {minute: 1}}]}
      - name: ways
        paths: [/ways]
        plugins:
          - {name: basic-auth, config: {anonymous: guest}}
          - {name: key-auth, config: {anonymous: guest}}
          - {name: request-termination, consumer: guest, config: {status_code: 401}}
      - {name: kept, paths: [/kept], plugins: [{name: key-auth}, {name: proxy-cache, config: {cache_ttl: 60}}]}
      - {name: anybody, paths: [/anybody], plugins: [{name: proxy-cache, config: {cache_ttl: 60}}]}
      - {name: nearer, paths: [/nearer]}
  - name: db
    url: http://127.0.0.1:9
    routes: [{name: db, protocols: [tcp], destinations: [{port: 9000}]}]
consumers:
  - {username: guest}
  - {username: ann, keyauth_credentials: [{key: anns-own-key}]}
plugins:
  - {name: ip-restriction, route: nearer, consumer: ann, config: {deny: [192.0.2.0/24]}}
  - {name: my-own-limits, route: anybody, consumer: {username: ann}}
"#;

#[test]
fn what_is_not_known_or_for_some_alone_opens_nothing_and_holds_for_nobody_else() {
    let upstream = Upstream::scripted(|_| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()));
    let (code, ours, report) = imported(&UNKNOWN.replace("ADDRESS", &upstream.address.to_string()));
    assert_eq!(code, 0, "{report}");
    let address = format!("127.0.0.1:{}", free_port());
    let gateway = Gateway::from_text(
        &ours.replace("127.0.0.1:8000", &address),
        address.parse().expect("an address"),
        |command| {
            command.env("ANN_KEY_1", "anns-own-key");
        },
    );
    for (path, status) in [
        ("/code", 403),
        ("/late", 200),
        ("/own", 403),
        ("/session", 200),
        ("/ways", 403),
        ("/nearer", 403),
        ("/anybody", 403),
        // A route for TCP takes no requests.
        ("/other", 404),
        // The limit that was one consumer's is nobody's.
        ("/ann?apikey=anns-own-key", 200),
        ("/ann?apikey=anns-own-key", 200),
    ] {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
    for told in [
        "route `code`: CLOSED, for `pre-function` is not taken over",
        "services[0].routes[1].plugins[0]: `post-function` has no counterpart",
        "route `own`: CLOSED, for `my-own-auth` is not taken over",
        "services[0].routes[3].plugins[0]: `session` has no counterpart",
        "services[0].routes[4].plugins[1]: `rate-limiting` for `consumer: ann` alone is left out",
        "route `ways`: CLOSED, for `request-termination, consumer: guest` is not taken over",
        "route `nearer`: CLOSED, for `ip-restriction, consumer: ann` is not taken over",
        "route `anybody`: CLOSED, for `my-own-limits, consumer: ann` is not taken over",
        "services[1].routes[0]: `db` is no route for HTTP; left out",
    ] {
        assert!(report.contains(told), "{told}\nin\n{report}");
    }
    let made = model::document(&model::Source::new("ours", ours.clone())).expect("YAML");
    let key_of = |name: &str| {
        let routes = made["routes"].as_array().expect("routes");
        let route = routes.iter().find(|route| route["name"] == name).expect("the route");
        let mut all = route["policies"].as_array().into_iter().flatten();
        all.find_map(|policy| policy.get("cache")).expect("a cache")["key"].clone()
    };
    assert_eq!(key_of("kept"), json!({"consumer": true}), "{ours}");
    assert_eq!(key_of("anybody"), json!(null), "{ours}");
}
