//! Who must not get an answer: what an upstream's own policies keep, cookies of others, people of one application, and
//! what a policy refuses.

use super::{
    super::{
        refused,
        tokens::{Signer, claims, jwks},
    },
    *,
};
use crate::harness::free_port;

#[test]
fn a_cache_before_an_upstream_that_judges_who_asks_is_refused() {
    for (policy, name) in [
        ("keyAuth: {}", "keyAuth"),
        ("ipRestriction: {deny: [192.0.2.0/24]}", "ipRestriction"),
        ("acl: {allow: [partners]}", "acl"),
    ] {
        let with = |route: &str, rest: &str| {
            format!(
                "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
{CONSUMERS}upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:1\"}}], policies: [{{{policy}}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{route}], backends: [{{upstream: u}}]}}]
{rest}"
            )
        };
        let words = [name, "upstream `u`", "attach"];
        refused(&with("{cache: {}}", ""), &words);
        refused(&with("", "globalPolicies: [{cache: {}}]\n"), &words);
        refused(&with("{use: c}", "policies: [{name: c, policy: {cache: {}}}]\n"), &words);
    }
}

#[test]
fn what_depends_on_the_caller_is_not_put_into_answers_for_all() {
    let with = |cache: &str, value: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
{CONSUMERS}routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}, policies: [{{keyAuth: {{}}}}, {{cache: {cache}}}, {{headers: {{response: {{set: {{x-it: '{{{{ {value} }}}}'}}}}}}}}]}}]\n"
        )
    };
    for (cache, value) in [
        ("{}", "request.id"),
        ("{}", "client.address"),
        ("{}", "consumer.name"),
        ("{}", "request.header.x-tenant"),
        ("{key: {consumer: true}}", "jwt.role"),
    ] {
        refused(&with(cache, value), &["x-it", value]);
    }
    for (cache, value) in [
        ("{}", "request.path"),
        ("{key: {consumer: true}}", "consumer.name"),
        ("{key: {headers: [x-tenant]}}", "request.header.x-tenant"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        std::fs::write(&path, with(cache, value)).expect("a file");
        let (code, _, problems) = crate::harness::run(&["validate", "-c", &path.display().to_string()]);
        assert_eq!(code, 0, "{cache} {value}: {problems}");
    }
}

#[test]
fn a_target_that_is_made_of_the_caller_is_refused_behind_a_cache_that_does_not_tell_callers_apart() {
    let with = |cache: &str, rewrite: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
{CONSUMERS}routes: [{{name: r, match: [{{path: {{template: \"/a/{{id}}\"}}}}], respond: {{}}, policies: [{{keyAuth: {{}}}}, {{cache: {cache}}}, {{rewrite: {rewrite}}}]}}]\n"
        )
    };
    for (cache, rewrite, words) in [
        ("{}", "{path: {template: '/users/{{ consumer.name }}/{id}'}}", ["the path", "`consumer.name`"]),
        (
            "{}",
            "{path: {template: '/{{ request.header.x-tenant }}/{id}'}}",
            ["the path", "`request.header.x-tenant`"],
        ),
        ("{}", "{host: '{{ request.cookie.shop }}.test'}", ["the host", "`request.cookie.shop`"]),
        ("{key: {headers: [x-tenant]}}", "{host: '{{ client.address }}'}", ["the host", "`client.address`"]),
        (
            "{key: {ignoreQuery: [utm_*, shop]}}",
            "{host: '{{ request.query.shop }}.test'}",
            ["the host", "`request.query.shop`"],
        ),
    ] {
        refused(&with(cache, rewrite), &words);
    }
    for (cache, rewrite) in [
        ("{}", "{path: {template: '/b/{id}'}, host: '{{ request.header.x-forwarded-host }}'}"),
        ("{}", "{path: {template: '/{{ request.query.page }}/{id}'}}"),
        ("{key: {ignoreQuery: [utm_*, page2]}}", "{path: {template: '/{{ request.query.page }}/{id}'}}"),
        ("{key: {consumer: true}}", "{path: {template: '/users/{{ consumer.name }}/{id}'}}"),
        ("{key: {headers: [x-tenant]}}", "{host: '{{ request.header.x-tenant }}.test'}"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        std::fs::write(&path, with(cache, rewrite)).expect("a file");
        let (code, _, problems) = crate::harness::run(&["validate", "-c", &path.display().to_string()]);
        assert_eq!(code, 0, "{cache} {rewrite}: {problems}");
    }
}

#[test]
fn a_header_that_chooses_the_side_of_a_strangler_is_refused_behind_a_cache_that_does_not_know_it() {
    let with = |cache: &str, rest: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
upstreams:
  - {{name: old, endpoints: [{{address: \"127.0.0.1:1\"}}]}}
  - {{name: new, endpoints: [{{address: \"127.0.0.1:1\"}}]}}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    backends: [{{upstream: old}}]
    policies:
      - cache: {cache}
      - strangler: {{rules: [{{name: all, path: {{prefix: /}}, to: new, percent: 10}}]{rest}}}\n"
        )
    };
    let choosing = ", override: {header: x-side}";
    refused(&with("{}", choosing), &["`strangler` makes the upstream of `request.header.x-side`"]);
    for (cache, rest) in [("{}", ""), ("{key: {headers: [x-side]}}", choosing)] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        std::fs::write(&path, with(cache, rest)).expect("a file");
        let (code, _, problems) = crate::harness::run(&["validate", "-c", &path.display().to_string()]);
        assert_eq!(code, 0, "{cache} {rest}: {problems}");
    }
}

#[test]
fn a_cookie_of_a_304_reaches_whoever_asked_and_nobody_else() {
    for (settings, first, want) in [
        ("{setCookie: strip}", "cache-control: max-age=1\nset-cookie: session=anna", None),
        ("{}", "cache-control: max-age=1, private=\"set-cookie\"", None),
        ("{}", "cache-control: max-age=1", None),
        ("{setCookie: store}", "cache-control: max-age=1", Some("session=bert")),
    ] {
        let upstream = Upstream::scripted(move |seen| {
            match seen.header("if-none-match") {
            Some(_) => Some(
                b"HTTP/1.1 304 X\r\ncache-control: max-age=60\r\netag: \"1\"\r\nset-cookie: session=bert\r\n\r\n"
                    .to_vec(),
            ),
            None => answer(&format!("{first}\netag: \"1\""), "page"),
        }
        });
        let gateway = cached(&upstream, settings);
        ask(&gateway, "/a", "");
        pause(1_200);
        let bert = ask(&gateway, "/a", "");
        assert_eq!(bert.header("set-cookie"), Some("session=bert"), "{settings} {first}");
        assert!(status(&bert).contains("fwd-status=304"), "{}", status(&bert));
        let carl = ask(&gateway, "/a", "");
        assert!(status(&carl).contains("; hit"), "{settings} {first}: {}", status(&carl));
        assert_eq!((carl.header("set-cookie"), carl.text().as_str()), (want, "page"), "{settings} {first}");
    }
}

#[test]
fn fields_that_one_head_bars_are_not_kept_of_the_other() {
    let upstream = Upstream::scripted(|seen| {
        match seen.header("if-none-match") {
        Some(_) => Some(
            b"HTTP/1.1 304 X\r\ncache-control: max-age=60, private=\"x-new\"\r\netag: \"1\"\r\nx-old: of bert\r\nx-new: of bert\r\n\r\n"
                .to_vec(),
        ),
        None => answer("cache-control: max-age=1, private=\"x-old\"\netag: \"1\"\nx-old: of anna\nx-new: of all", "page"),
    }
    });
    let gateway = cached(&upstream, "{}");
    ask(&gateway, "/a", "");
    pause(1_200);
    let bert = ask(&gateway, "/a", "");
    assert_eq!((bert.header("x-old"), bert.header("x-new")), (Some("of bert"), Some("of bert")));
    let carl = ask(&gateway, "/a", "");
    assert!(status(&carl).contains("; hit"), "{}", status(&carl));
    assert_eq!((carl.header("x-old"), carl.header("x-new")), (None, None));
}

#[test]
fn people_of_one_application_have_answers_of_their_own() {
    // It answers with whom it was asked for.
    let upstream = Upstream::scripted(|seen| {
        answer("cache-control: max-age=60", seen.header("x-user").unwrap_or("nobody"))
    });
    let signer = Signer::new("ES256", "one");
    for hides in ["true", "false"] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("jwks.json"), jwks(&[&signer])).expect("a file");
        let port = free_port();
        let text = format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: webapp, jwt: [{{claim: azp, value: webapp}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], jwks: {{file: jwks.json}}, hideCredentials: {hides}, claimsToHeaders: {{x-user: sub}}}}
      - cache: {{key: {{consumer: true}}}}
    backends: [{{upstream: u}}]
",
            upstream.address
        );
        let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {});
        let account = |who: &str| {
            let token = signer.sign(&claims(|claims| {
                claims["sub"] = who.into();
                claims["azp"] = "webapp".into();
            }));
            let got = ask(&gateway, "/account", &format!("\nauthorization: Bearer {token}"));
            assert_eq!((got.status, got.text().as_str()), (200, who), "hideCredentials: {hides}");
            status(&got).contains("; hit")
        };
        assert!(!account("anna") && !account("bert"), "hideCredentials: {hides}");
        assert!(account("anna") && account("bert"), "each has an answer by now; hideCredentials: {hides}");
    }
}

#[test]
fn what_is_refused_stays_refused_while_something_stale_is_kept() {
    let is_closed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let closed = is_closed.clone();
    let upstream = Upstream::scripted(move |_| match closed.load(std::sync::atomic::Ordering::Relaxed) {
        true => Some(b"HTTP/1.1 403 X\r\ncontent-length: 6\r\n\r\nclosed".to_vec()),
        false => answer("cache-control: max-age=1, stale-if-error=600", "well"),
    });
    // Faults that are wanted for trials are seen, whatever their status.
    for fault in [418, 503] {
        let gateway = behind(
            &upstream,
            &format!(
                "[{{cache: {{}}}}, {{faultInjection: {{abort: {{status: {fault}, percent: 100}}, onlyWhenHeader: x-break}}}}]"
            ),
            "",
        );
        assert_eq!(ask(&gateway, "/a", "").text(), "well");
        pause(1_200);
        assert_eq!(ask(&gateway, "/a", "\nx-break: yes").status, fault);
    }
    let gateway = cached(&upstream, "{}");
    ask(&gateway, "/a", "");
    pause(1_200);
    is_closed.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(ask(&gateway, "/a", "").status, 403, "the upstream's own refusal");
}

#[test]
fn what_is_assumed_of_answers_is_not_assumed_of_those_to_sessions() {
    let upstream = Upstream::scripted(|seen| {
        let silent = "x-nothing: said";
        answer(silent, seen.header("cookie").unwrap_or("nobody"))
    });
    let gateway = cached(&upstream, "{defaultTtl: 1m, staleIfError: 1m}");
    for who in ["session=alice", "session=bob", "session=alice"] {
        assert_eq!(ask(&gateway, "/me", &format!("\ncookie: {who}")).text(), who);
    }
    assert_eq!(ask(&gateway, "/open", "").text(), "nobody");
    assert!(status(&ask(&gateway, "/open", "")).contains("; hit"));
    let by_session = cached(&upstream, "{defaultTtl: 1m, key: {cookies: [session]}}");
    for _ in 0..2 {
        for who in ["session=alice", "session=bob"] {
            assert_eq!(ask(&by_session, "/me", &format!("\ncookie: {who}")).text(), who);
        }
    }
    let again = ask(&by_session, "/me", "\ncookie: session=bob");
    assert!(status(&again).contains("; hit"), "{}", status(&again));
}

#[test]
fn one_callers_question_does_not_throw_away_what_others_have() {
    let upstream = Upstream::scripted(|seen| match seen.header("if-none-match") {
        Some(_) => Some(b"HTTP/1.1 304 X\r\ncache-control: max-age=60\r\netag: \"1\"\r\n\r\n".to_vec()),
        None => answer("cache-control: max-age=60\netag: \"1\"", "page"),
    });
    let gateway = cached(&upstream, "{}");
    ask(&gateway, "/a", "");
    for fields in ["authorization: x\ncache-control: no-cache", "cache-control: no-cache, no-store"] {
        let own = ask(&gateway, "/a", &format!("\n{fields}"));
        assert_eq!((own.status, own.text().as_str()), (200, "page"), "{fields}");
        let others = ask(&gateway, "/a", "\ncache-control: only-if-cached");
        assert_eq!(others.status, 200, "after {fields}");
    }
}
