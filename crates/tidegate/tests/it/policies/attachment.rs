//! Where policies may stand, in which order they run, and which gives way to which.

use super::{
    super::harness::{Gateway, Upstream},
    CONSUMERS, ask, guarded, last, refused, with_policies,
};

/// A policy that adds its place's name to a list that the upstream and the client see.
fn mark(place: &str) -> String {
    format!(
        "{{headers: {{request: {{add: {{x-order: {place}}}}}, response: {{add: {{x-order: {place}}}}}}}}}"
    )
}

#[test]
fn policies_of_all_places_add_up_in_their_order_and_answers_pass_them_in_reverse() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(
        &format!("policies: [{}]", mark("listener")),
        &format!(
            "globalPolicies: [{}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], policies: [{}]}}]
consumers: [{{name: gold, keys: [gold-key-of-the-test], policies: [{}]}}]
policies: [{{name: shared, policy: {}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{}, {{keyAuth: {{}}}}, {{use: shared}}], backends: [{{upstream: u}}]}}]\n",
            mark("global"),
            upstream.address,
            mark("upstream"),
            mark("consumer"),
            mark("shared"),
            mark("route"),
        ),
    );
    let answer = ask(&gateway, "/", "\nx-api-key: gold-key-of-the-test");
    let order = |headers: &[(String, String)]| {
        let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-order"));
        values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let mut want = ["global", "listener", "route", "shared", "consumer", "upstream"];
    let seen = order(&last(&upstream).headers);
    assert_eq!(seen, want);
    want.reverse();
    assert_eq!(order(&answer.headers), want);
}

#[test]
fn phases_run_in_their_order_whatever_the_order_in_the_file() {
    // Each would stop these calls, the limit the second one.
    let all = [
        ("ipRestriction", "{deny: [127.0.0.0/8]}"),
        ("botDetection", "{}"),
        ("keyAuth", "{}"),
        ("authorize", "{rules: [{require: \"request.path == '/nowhere'\"}]}"),
        ("rateLimit", "{limit: 1, window: 1h, key: global}"),
        ("validate", "{schemas: {query: {schema: {type: object, required: [id]}}}}"),
        ("cache", "{}"),
    ];
    for (at, (first, _)) in all.iter().enumerate() {
        let written = all[at..].iter().rev().map(|(name, settings)| format!("{{{name}: {settings}}}"));
        let policies = format!("[{}]", written.collect::<Vec<_>>().join(", "));
        let (gateway, upstream) = guarded(&policies, CONSUMERS);
        for _ in 0..2 {
            ask(&gateway, "/a", "\ncache-control: only-if-cached");
        }
        gateway.record(&format!("what {first} stops"), |record| record["stopped_by"] == *first);
        assert!(upstream.seen().is_empty(), "{first}");
    }
    // A preflight has no credentials, and is answered before anything else is asked.
    let policies =
        "[{keyAuth: {}}, {ipRestriction: {deny: [127.0.0.0/8]}}, {cors: {allowOrigins: ['https://a.test']}}]";
    let (gateway, _upstream) = guarded(policies, CONSUMERS);
    let preflight =
        "OPTIONS /a HTTP/1.1\nhost: a.test\norigin: https://a.test\naccess-control-request-method: GET";
    assert_eq!(gateway.send(preflight, b"").status, 204);
}

#[test]
fn what_is_limited_at_one_place_is_not_lifted_at_another() {
    let limit = |limit: u32| format!("[{{rateLimit: {{limit: {limit}, window: 1h, key: global}}}}]");
    for (global, listener, route) in [(2, 9, 9), (9, 2, 9), (9, 9, 2)] {
        let gateway = Gateway::with(
            &format!("policies: {}", limit(listener)),
            &format!(
                "globalPolicies: {}\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {}, respond: {{}}}}]\n",
                limit(global),
                limit(route)
            ),
        );
        let passed = (0..5).filter(|_| gateway.get("/").status == 200).count();
        assert_eq!(passed, 2, "{global} {listener} {route}");
    }
}

#[test]
fn a_consumers_own_limit_is_its_alone_and_holds_on_every_route() {
    let gateway = Gateway::start(
        "globalPolicies: [{keyAuth: {}}]
consumers:
  - {name: gold, keys: [gold-key-of-the-test]}
  - {name: web, keys: [web-key-of-the-test], policies: [{rateLimit: {limit: 2, window: 1h, key: consumer}}]}
routes:
  - {name: a, match: [{path: {exact: /a}}], respond: {}}
  - {name: b, match: [{path: {exact: /b}}], respond: {}}
",
    );
    let statuses = |key: &str| {
        ["/a", "/b", "/a", "/b"]
            .map(|path| ask(&gateway, path, &format!("\nx-api-key: {key}-key-of-the-test")).status)
    };
    assert_eq!(statuses("web"), [200, 200, 429, 429]);
    assert_eq!(statuses("gold"), [200; 4]);
}

/// How many `Link` headers of deprecation an answer has, and what the first is.
fn links(gateway: &Gateway, headers: &str) -> Vec<String> {
    let answer = ask(gateway, "/", headers);
    assert_eq!(answer.status, 200);
    answer.headers.iter().filter(|(name, _)| name == "link").map(|(_, value)| value.clone()).collect()
}

#[test]
fn of_policies_that_say_one_thing_the_most_specific_place_counts_alone() {
    let says = |place: &str| format!("[{{deprecation: {{deprecatedAt: 2026-01-01, successor: /{place}}}}}]");
    let config = |route: &str| {
        format!(
            "globalPolicies: {}
consumers:
  - {{name: gold, keys: [gold-key-of-the-test], policies: {}}}
  - {{name: web, keys: [web-key-of-the-test]}}
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {route}, respond: {{}}}}]\n",
            says("global"),
            says("consumer")
        )
    };
    let link = |place: &str| vec![format!("</{place}>; rel=\"successor-version\"")];
    let on = |route: &str| Gateway::with(&format!("policies: {}", says("listener")), &config(route));
    let auth = "{keyAuth: {anonymous: web}}";
    let route = says("route").replace("[{deprecation", &format!("[{auth}, {{deprecation"));
    let gateway = on(&route);
    assert_eq!(links(&gateway, "\nx-api-key: gold-key-of-the-test"), link("consumer"));
    assert_eq!(links(&gateway, "\nx-api-key: web-key-of-the-test"), link("route"));
    let gateway = on(&format!("[{auth}]"));
    assert_eq!(links(&gateway, ""), link("listener"));
    let gateway = Gateway::start(&config(&format!("[{auth}]")));
    assert_eq!(links(&gateway, ""), link("global"));
}

#[test]
fn an_upstreams_policies_run_for_whatever_route_leads_there() {
    let guarded = Upstream::scripted(|seen| {
        // No answer at all is a failure.
        (seen.target() != "/a/broken").then(|| b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let open = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "upstreams:
  - {{name: guarded, endpoints: [{{address: \"{}\"}}], policies: [{{keyAuth: {{}}}}, {{acl: {{allow: [partners]}}}}, {{deprecation: {{deprecatedAt: 2026-01-01}}}}]}}
  - {{name: open, endpoints: [{{address: \"{}\"}}]}}
consumers:
  - {{name: gold, groups: [partners], keys: [gold-key-of-the-test], policies: [{{headers: {{request: {{set: {{x-gold: 'yes'}}}}}}}}]}}
  - {{name: web, keys: [web-key-of-the-test]}}
routes:
  - {{name: a, match: [{{path: {{prefix: /a}}}}], backends: [{{upstream: guarded}}]}}
  - {{name: b, match: [{{path: {{prefix: /b}}}}], backends: [{{upstream: open}}]}}\n",
        guarded.address, open.address
    ));
    assert_eq!(ask(&gateway, "/b", "").status, 200);
    let refused = ask(&gateway, "/a", "");
    assert_eq!((refused.status, refused.header("deprecation")), (401, None), "it did not come that far");
    let web = ask(&gateway, "/a", "\nx-api-key: web-key-of-the-test");
    assert_eq!(web.status, 403);
    let gold = ask(&gateway, "/a", "\nx-api-key: gold-key-of-the-test");
    assert_eq!((gold.status, gold.header("deprecation")), (200, Some("@1767225600")));
    assert_eq!(guarded.seen().len(), 1);
    assert_eq!(
        last(&guarded).header("x-gold"),
        Some("yes"),
        "a consumer that is found here has its policies, too"
    );
    let failed = ask(&gateway, "/a/broken", "\nx-api-key: gold-key-of-the-test");
    assert!(failed.status >= 502, "{}", failed.status);
    assert_eq!(
        failed.header("deprecation"),
        Some("@1767225600"),
        "failures pass the policies on their way out"
    );
}

#[test]
fn what_cannot_work_at_a_place_is_refused_there() {
    let text = with_policies("[]").replace("{name: web,", "{name: web, policies: [{use: k}],");
    let text = format!("policies: [{{name: k, policy: {{keyAuth: {{}}}}}}]\n{text}");
    refused(&text, &["consumers[1].policies[0]", "they cannot find it out", "globalPolicies"]);
    refused(
        &format!(
            "listeners: [{{name: l, address: \"127.0.0.1:8080\"}}]\n{CONSUMERS}upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:1\"}}], policies: [{{cors: {{allowOrigins: ['*']}}}}]}}]\n"
        ),
        &["upstreams[0].policies[0]", "before an upstream is picked"],
    );
    refused(&with_policies("[{use: nothing}]"), &["routes[0].policies[0].use", "no shared policy `nothing`"]);
}

#[test]
fn what_judges_whole_answers_is_refused_on_upstreams_by_whatever_name_it_comes() {
    let rules = tempfile::tempdir().expect("a folder");
    std::fs::write(rules.path().join("own.conf"), "SecRule ARGS \"@contains x\" \"id:1,phase:2,deny\"\n")
        .expect("a file");
    let waf = format!("{{waf: {{rules: [\"{}\"], response: {{}}}}}}", rules.path().display());
    let with = |of_upstream: &str, shared: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:1\"}}], policies: [{of_upstream}]}}]
policies: [{{name: shared, policy: {shared}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{use: shared}}], backends: [{{upstream: u}}]}}]\n"
        )
    };
    for (policy, is_of_upstreams) in [
        ("{mask: {fields: [a]}}", false),
        ("{transform: {answer: {body: [{jq: .}]}}}", false),
        ("{validate: {answers: report, schemas: {answer: {schema: {type: object}}}}}", false),
        ("{etag: {}}", false),
        ("{normalizeErrors: {detailFrom: [a]}}", false),
        (waf.as_str(), false),
        // What these do is done without the whole of an answer.
        ("{mask: {fields: [a], on: request}}", true),
        ("{transform: {request: {body: [{jq: .}]}, answer: {status: {5xx: 503}}}}", true),
        ("{normalizeErrors: {}}", true),
    ] {
        for text in [with(policy, "{cors: {allowOrigins: ['*']}}"), with("{use: shared}", policy)] {
            if !is_of_upstreams {
                refused(&text, &["upstream"]);
                continue;
            }
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("tidegate.yaml");
            std::fs::write(&path, &text).expect("a file");
            let (code, _, problems) =
                super::super::harness::run(&["validate", "-c", &path.display().to_string()]);
            assert_eq!(code, 0, "{text}\n{problems}");
        }
    }
}
