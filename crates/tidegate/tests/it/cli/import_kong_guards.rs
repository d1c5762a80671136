//! `import kong`: what Kong guards stays guarded however its file says it, and what is plainly fine still answers.

use serde_json::json;

use super::import_kong::imported;
use crate::harness::{Gateway, Upstream, free_port};

/// An upstream that says which line it got, and what `x-from` said.
fn shop() -> Upstream {
    Upstream::scripted(|seen| {
        let body = format!("{} {}", seen.line, seen.header("x-from").unwrap_or_default());
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    })
}

/// A gateway of their file, what was made of it, and the report.
fn served(theirs: &str, upstream: &Upstream, variables: &[(&str, &str)]) -> (Gateway, String, String) {
    let (code, ours, report) = imported(&theirs.replace("ADDRESS", &upstream.address.to_string()));
    assert_eq!(code, 0, "{report}");
    let address = format!("127.0.0.1:{}", free_port());
    let ours = ours.replace("127.0.0.1:8000", &address);
    let gateway = Gateway::from_text(&ours, address.parse().expect("an address"), |command| {
        command.envs(variables.iter().copied());
    });
    (gateway, ours, report)
}

fn told(report: &str, lines: &[&str]) {
    for line in lines {
        assert!(report.contains(line), "{line}\nin\n{report}");
    }
}

/// As `kong config db_export` has it: lists of their own, ids as references, every default.
const FLAT: &str = r#"
_format_version: "3.0"
_transform: false
services:
  - {id: 5e9c2c4e-0000-4000-8000-000000000001, name: shop, url: "http://ADDRESS", enabled: true, ca_certificates: null}
  - {id: 5e9c2c4e-0000-4000-8000-000000000002, url: "http://ADDRESS"}
  - {id: 5e9c2c4e-0000-4000-8000-000000000003, name: pooled, host: pool, protocol: http}
upstreams:
  - {id: 5e9c2c4e-0000-4000-8000-000000000004, name: pool, slots: 10000, hash_on: none, hash_fallback: none}
targets:
  - {target: "ADDRESS", upstream: 5e9c2c4e-0000-4000-8000-000000000004, weight: 100}
  - {target: "127.0.0.1:9", upstream: 5e9c2c4e-0000-4000-8000-000000000004, weight: 0}
routes:
  - {id: 5e9c2c4e-0000-4000-8000-000000000005, name: open, service: 5e9c2c4e-0000-4000-8000-000000000001, paths: [/open], hosts: null, headers: null}
  - {id: 5e9c2c4e-0000-4000-8000-000000000006, service: 5e9c2c4e-0000-4000-8000-000000000001, paths: [/secret]}
  - {name: bare, service: {id: 5e9c2c4e-0000-4000-8000-000000000002}, paths: [/bare]}
  - {name: pooled, service: pooled, paths: [/pooled]}
consumers:
  - {id: 5e9c2c4e-0000-4000-8000-000000000007, username: ann}
  - {id: 5e9c2c4e-0000-4000-8000-000000000008, username: bob}
keyauth_credentials:
  - {consumer: 5e9c2c4e-0000-4000-8000-000000000007, key: anns-own-key, ttl: null}
  - {consumer: 5e9c2c4e-0000-4000-8000-000000000008, key: bobs-own-key}
  - {consumer: 5e9c2c4e-0000-4000-8000-000000000008, key: bobs-old-key, ttl: 3600}
acls: [{consumer: 5e9c2c4e-0000-4000-8000-000000000007, group: staff}]
plugins:
  - {name: key-auth, route: 5e9c2c4e-0000-4000-8000-000000000006, config: {anonymous: null, key_names: [apikey]}}
  - {name: acl, route: {id: 5e9c2c4e-0000-4000-8000-000000000006}, config: {allow: [staff], deny: null}}
  - {name: ip-restriction, service: {id: 5e9c2c4e-0000-4000-8000-000000000002}, config: {allow: [192.0.2.0/24]}}
"#;

#[test]
fn a_flat_export_with_references_by_id_is_what_a_nested_file_is() {
    let upstream = shop();
    let keys = [("ANN_KEY_1", "anns-own-key"), ("BOB_KEY_1", "bobs-own-key")];
    let (gateway, ours, report) = served(FLAT, &upstream, &keys);
    for (path, status) in [
        ("/open", 200),
        ("/secret", 401),
        ("/secret?apikey=bobs-own-key", 403),
        ("/secret?apikey=anns-own-key", 200),
        ("/bare", 403),
        ("/pooled", 200),
    ] {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
    told(
        &report,
        &[
            "`127.0.0.1:9` has the weight 0 and takes no calls; left out",
            "consumers[1].keyauth_credentials[1].ttl: the key ends some time after it was made",
        ],
    );
    for silent in ["slots", "hash_fallback", "ca_certificates"] {
        assert!(!report.contains(silent), "{silent}\nin\n{report}");
    }
}

/// An open route takes whatever no other takes.
const WIDE: &str = r#"
_format_version: "3.0"
_info: {defaults: {route: {strip_path: false}}}
_plugin_configs: {near: {allow: [192.0.2.0/24]}}
x-near: &near {name: ip-restriction, config: {allow: [192.0.2.0/24]}}
services:
  - name: shop
    url: http://ADDRESS
    routes:
      - {name: all, paths: [/]}
      - {name: admin, paths: [/admin], plugins: [ *near ]}
      - {name: administration, paths: [/administration]}
      - {name: sni, paths: [/sni], snis: [a.test], plugins: [ *near ]}
      - {name: encrypted, paths: [/encrypted], protocols: [https]}
      - {name: branches, paths: ["~/b1$|/b2"], plugins: [ *near ]}
      - {name: header, paths: [/header], headers: {x-kind: [Gold]}, plugins: [ *near ]}
      - {name: ends, paths: [/ends], hosts: ["ends.*"], plugins: [ *near ]}
      - {name: shared, paths: [/shared], plugins: [{name: ip-restriction, _config: near}]}
      - {name: merged, paths: [/merged], plugins: [{<<: *near , enabled: true}]}
      - {name: nameless, paths: [/nameless], plugins: [{config: {allow: [192.0.2.0/24]}}]}
      - {name: moved, paths: [/moved], plugins: [{name: redirect, config: {location: "https://a.test"}}]}
      - {name: Case, paths: [/case]}
      - {name: case, paths: [/lower]}
      - {name: ids, paths: ["~/i/(?<id>\\d+)$", "~/j/(?<id>\\d+)$"], strip_path: true}
plugins:
  - {name: ip-restriction, route: case, config: {allow: [192.0.2.0/24]}}
"#;

#[test]
fn a_wider_route_answers_nothing_that_kong_gives_to_a_guarded_one() {
    let upstream = shop();
    let (gateway, ours, report) = served(WIDE, &upstream, &[]);
    for (path, head, status) in [
        ("/", "", 200),
        ("/admin", "", 403),
        ("/admin/a", "", 403),
        ("/adminx", "", 403),
        ("/administration", "", 200),
        ("/sni", "", 403),
        ("/encrypted", "", 426),
        ("/b1", "", 403),
        ("/b1/a", "", 200),
        ("/b2/a", "", 403),
        ("/a/b2", "", 403),
        ("/header", "\nx-kind: GOLD", 403),
        ("/header", "\nx-kind: silver", 200),
        ("/ends", "\nhost: ends.test", 403),
        ("/ends", "\nhost: a.test", 200),
        ("/shared", "", 403),
        ("/merged", "", 403),
        ("/nameless", "", 403),
        ("/moved", "", 403),
        ("/case", "", 200),
        ("/lower", "", 403),
        ("/i/7", "", 200),
    ] {
        let host = if head.contains("host:") { "" } else { "\nhost: a.test" };
        let answer = gateway.send(&format!("GET {path} HTTP/1.1{host}{head}"), b"");
        assert_eq!(answer.status, status, "{path} {head}\n{ours}");
    }
    // decK's default for routes is theirs.
    assert!(gateway.get("/administration/a").text().starts_with("GET /administration/a "), "{ours}");
    assert!(gateway.get("/i/7").text().starts_with("GET / "), "{ours}");
    told(
        &report,
        &[
            "route `admin`: it takes `/adminx` in Kong, too, which is CLOSED here",
            "services[0].routes[4].protocols: calls without TLS are 426",
            "services[0].routes[10].plugins[0]: it has no `name`",
            "services[0].routes[11].plugins[0]: `redirect` is not taken over: a route with `redirect`",
            "route `moved`: CLOSED, for `redirect` is not taken over",
        ],
    );
}

/// Before 3.0 no `~` said that a path is a regular expression, and lists had other names.
const OLD: &str = r#"
_format_version: "2.1"
services:
  - name: shop
    url: http://ADDRESS
    routes:
      - {name: all, paths: [/]}
      - {name: secret, paths: ["/v\\d+/secret"], plugins: [{name: ip-restriction, config: {whitelist: [192.0.2.0/24]}}]}
      - {name: groups, paths: [/groups], plugins: [{name: key-auth}, {name: acl, config: {blacklist: [late]}}]}
consumers: [{username: ann, keyauth_credentials: [{key: anns-own-key}], acls: [{group: late}]}]
"#;

#[test]
fn a_file_of_before_3_0_says_what_it_said_then() {
    let upstream = shop();
    let (gateway, ours, _) = served(OLD, &upstream, &[("ANN_KEY_1", "anns-own-key")]);
    for (path, status) in [("/", 200), ("/v12/secret/a", 403), ("/groups?apikey=anns-own-key", 403)] {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
}

/// Of several plugins of one kind Kong runs the most specific alone.
const SEVERAL: &str = r#"
_format_version: "3.0"
services:
  - name: shop
    url: http://ADDRESS
    plugins: [{name: request-transformer, config: {add: {headers: ["x-from:shop"]}, remove: {body: [secret]}}}]
    routes:
      - name: own
        paths: [/own]
        plugins:
          - {name: ip-restriction, config: {allow: [127.0.0.0/8]}}
          - {name: response-transformer, config: {add: {headers: ["x-way:back"]}}}
      - {name: other, paths: [/other]}
      - {name: kept, paths: [/kept], plugins: [{name: jwt}, {name: ip-restriction, config: {allow: [192.0.2.0/24]}}]}
  - name: ended
    url: http://ADDRESS
    routes:
      - {name: first, paths: [/first], plugins: [{name: request-termination, config: {status_code: 410}}]}
      - {name: second, paths: [/second]}
  - {name: empty, host: nowhere, routes: [{name: empty, paths: [/empty]}]}
upstreams: [{name: nowhere, targets: [{target: "127.0.0.1:9", weight: 0}]}]
plugins:
  - {name: ip-restriction, config: {allow: [192.0.2.0/24]}}
  - {name: ip-restriction, service: ended, config: {allow: [127.0.0.0/8]}}
  - {name: ip-restriction, route: empty, config: {allow: [127.0.0.0/8]}}
  - {name: request-termination, service: ended, config: {status_code: 418}}
  - {name: cors, route: own, config: {origins: ["https?://.*\\.test"]}}
"#;

#[test]
fn of_several_plugins_of_one_kind_the_most_specific_holds() {
    let upstream = shop();
    let (gateway, ours, report) = served(SEVERAL, &upstream, &[]);
    for (path, status) in
        [("/own", 200), ("/other", 403), ("/kept", 403), ("/first", 410), ("/second", 418), ("/empty", 503)]
    {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
    // What changes requests and what changes answers are two plugins.
    let answer = gateway.get("/own");
    assert_eq!((answer.header("x-way"), answer.text().ends_with(" shop")), (Some("back"), true), "{ours}");
    // Kong's own list stays where something else closes the route.
    let made = model::document(&model::Source::new("ours", ours.clone())).expect("YAML");
    let kept = made["routes"].as_array().into_iter().flatten().find(|route| route["name"] == "kept");
    let kept = kept.and_then(|route| route["policies"].as_array()).expect("policies");
    let allowed = json!({"ipRestriction": {"allow": ["192.0.2.0/24"], "deny": []}});
    assert!(kept.contains(&allowed) && kept.len() > 1, "{ours}");
    told(
        &report,
        &[
            "plugins: `ipRestriction` for all stands at each route that has none of its own",
            "no target of `nowhere` takes calls: its routes answer 503",
            "plugins[4].config.origins: `https?://.*\\.test` is left out",
            "services[0].plugins[0].config.remove.body: no counterpart",
        ],
    );
}

/// Groups of `acl` are no consumers' names, and groups of consumers have plugins of their own.
const GROUPS: &str = r#"
_format_version: "3.0"
services:
  - name: shop
    url: http://ADDRESS
    plugins: [{name: key-auth, config: {anonymous: gone}}]
    routes:
      - {name: staff, paths: [/staff], plugins: [{name: acl, config: {allow: [staff]}}]}
      - {name: all, paths: [/all]}
      - {name: mixed, paths: [/mixed], plugins: [{name: acl, config: {deny: [blocked], include_consumer_groups: true}}]}
consumers:
  - {username: staff, keyauth_credentials: [{key: staffs-own-key}]}
  - {username: bob, keyauth_credentials: [{key: bobs-own-key}], acls: [{group: staff}]}
  - {username: carol, keyauth_credentials: [{key: carols-own-key}], groups: [{name: blocked}]}
  - {username: a.b}
  - {username: a-b}
consumer_groups:
  - name: blocked
    plugins: [{name: ip-restriction, config: {allow: [192.0.2.0/24]}}]
"#;

#[test]
fn groups_let_in_and_keep_out_whom_they_do_in_kong() {
    let upstream = shop();
    let keys =
        [("STAFF_KEY_1", "staffs-own-key"), ("BOB_KEY_1", "bobs-own-key"), ("CAROL_KEY_1", "carols-own-key")];
    let (gateway, ours, report) = served(GROUPS, &upstream, &keys);
    for (path, status) in [
        ("/staff?apikey=staffs-own-key", 403),
        ("/staff?apikey=bobs-own-key", 200),
        ("/all?apikey=bobs-own-key", 200),
        ("/all?apikey=carols-own-key", 403),
        ("/all", 401),
        ("/mixed?apikey=bobs-own-key", 403),
    ] {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
    told(
        &report,
        &[
            "a group that is called like a consumer has `-group` behind its name",
            "services[0].plugins[0].config.anonymous: there is no consumer `gone`",
            "route `mixed`: CLOSED, for `acl, include_consumer_groups` is not taken over",
        ],
    );
}

#[test]
fn odd_numbers_and_shapes_end_no_import() {
    let (code, ours, report) = imported(
        r#"
_format_version: "3.0"
services:
  - {name: far, url: "http://[::1]/a", retries: 18446744073709551615, routes: [{name: far, paths: [/far], hosts: ["a.test:8443"]}, 7]}
plugins: key-auth
"#,
    );
    assert_eq!(code, 0, "{report}");
    assert!(ours.contains("[::1]:80"), "{ours}");
    told(
        &report,
        &[
            "services[0].routes: no counterpart",
            "plugins: no counterpart",
            "services[0].routes[0].hosts: ports are left out",
        ],
    );
}

#[test]
fn no_client_says_in_kongs_place_who_calls() {
    let upstream = Upstream::scripted(|seen| {
        let of = |name: &str| seen.header(name).unwrap_or("-").to_owned();
        let body =
            format!("{} {} {}", of("x-consumer-username"), of("x-consumer-groups"), of("x_consumer_groups"));
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    let theirs = r#"
_format_version: "3.0"
services:
  - name: shop
    url: http://ADDRESS
    routes:
      - {name: known, paths: [/known], plugins: [{name: key-auth}]}
      - {name: ended, paths: [/ended], plugins: [{name: key-auth}, {name: request-termination, config: {status_code: 410}}]}
      - {name: open, paths: [/open]}
consumers: [{username: ann}, {username: bob, keyauth_credentials: [{key: bobs-own-key}]}]
"#;
    let (gateway, ours, report) = served(theirs, &upstream, &[("BOB_KEY_1", "bobs-own-key")]);
    let forged = "x-consumer-username: ann\nx-consumer-groups: staff\nx_consumer_groups: staff";
    for (path, want) in [("/known", "bob - -"), ("/open", "ann staff -")] {
        let head = format!("GET {path} HTTP/1.1\nhost: a.test\napikey: bobs-own-key\n{forged}");
        assert_eq!(gateway.send(&head, b"").text(), want, "{path}\n{ours}");
    }
    assert_eq!(ours.matches("x-consumer-username").count(), 1, "{ours}");
    told(&report, &["consumers: `X-Consumer-Username` tells upstreams who calls"]);
}
