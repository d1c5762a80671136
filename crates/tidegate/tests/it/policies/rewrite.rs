//! `rewrite`.

use super::{
    super::harness::{Gateway, Upstream},
    ask, last, refused, routed, with_policies,
};

/// What the upstream sees of a target, under a rewrite of a path that a route matches.
fn seen(path: &str, rewrite: &str, target: &str) -> (u16, String) {
    let (gateway, upstream) =
        routed(&format!("match: [{{path: {path}}}], policies: [{{rewrite: {{path: {rewrite}}}}}]"), "");
    let answer = ask(&gateway, target, "");
    (answer.status, upstream.seen().pop().map(|seen| seen.target().to_owned()).unwrap_or_default())
}

#[test]
fn paths_are_rewritten_in_every_way() {
    for (path, rewrite, target, want) in [
        ("{prefix: /api}", "{replacePrefix: /v2}", "/api/a?x=%2F", "/v2/a?x=%2F"),
        ("{prefix: /api}", "{replacePrefix: /}", "/api", "/"),
        ("{prefix: /%61pi}", "{replacePrefix: /v2}", "/api/a", "/v2/a"),
        ("{prefix: /}", "{stripPrefix: /api}", "/api/a", "/a"),
        ("{prefix: /}", "{stripPrefix: /api}", "/apis/a", "/apis/a"),
        (
            "{template: '/o/{id:int}/x/{rest*}'}",
            "{template: '/v2/{rest}/{id}'}",
            "/o/7/x/a/b?q=1",
            "/v2/a/b/7?q=1",
        ),
        ("{regex: '/u/(?P<name>[a-z]+)'}", "{template: '/users/{name}'}", "/u/ann", "/users/ann"),
        ("{prefix: /}", "{template: '/t/{{ request.query.t }}'}", "/?t=a%2Fb", "/t/a%2Fb"),
        ("{prefix: /}", "{template: '/t/{{ request.query }}/x'}", "/?a=1&b", "/t/a%3D1%26b/x?a=1&b"),
        ("{prefix: /}", "{regex: {pattern: '^/n(\\d+)/(.*)$', replacement: '/$2/$1'}}", "/n7/a", "/a/7"),
        ("{prefix: /}", "{full: /all}", "/any?q=1", "/all?q=1"),
    ] {
        let allow = if want.contains("%2F/") || want.ends_with("a%2Fb") { 400 } else { 200 };
        let (status, got) = seen(path, rewrite, target);
        // A value that would put a slash into a segment is refused, as it is in a path that a client sends.
        let want = if allow == 400 { "" } else { want };
        assert_eq!((status, got.as_str()), (allow, want), "{path} {rewrite} {target}");
    }
}

#[test]
fn after_any_rewrite_the_path_is_its_own_normal_form_or_400() {
    for (rewrite, target) in [
        ("{regex: {pattern: '^/api', replacement: ''}}", "/api../admin"),
        ("{regex: {pattern: 'x', replacement: '..'}}", "/a/x/admin"),
        ("{regex: {pattern: '-', replacement: '/'}}", "/a--b"),
        ("{regex: {pattern: '^/', replacement: ''}}", "/a"),
        ("{template: '/u/{{ request.query.u }}'}", "/?u=.."),
        ("{template: '/u/{{ request.query.u }}'}", "/"),
        ("{template: '/u/{{ request.query }}'}", "/?/../../admin"),
    ] {
        assert_eq!(seen("{prefix: /}", rewrite, target), (400, String::new()), "{rewrite} {target}");
    }
    assert_eq!(
        seen("{prefix: /}", "{stripPrefix: /api}", "/api../admin").1,
        "/api../admin",
        "no segment bound, no strip"
    );
}

/// The host that an upstream is asked for.
fn host(upstream_setting: &str, route_setting: &str, policies: &str) -> String {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]{upstream_setting}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {policies}{route_setting}, backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    assert_eq!(ask(&gateway, "/", "\nx-host: other.test").status, 200);
    let host = last(&upstream).header("host").unwrap_or_default().to_owned();
    host.replace(&upstream.address.to_string(), "ENDPOINT")
}

#[test]
fn the_host_of_a_rewrite_goes_over_the_routes_and_the_routes_over_the_upstreams() {
    let rewrite = "[{rewrite: {host: 'in.test:81'}}]";
    for (upstream, route, policies, want) in [
        (", hostHeader: preserve", "", "[]", "a.test"),
        (", hostHeader: upstream", "", "[]", "ENDPOINT"),
        (", hostHeader: fixed.test", "", "[]", "fixed.test"),
        (", hostHeader: upstream", ", hostHeader: preserve", "[]", "a.test"),
        (", hostHeader: preserve", ", hostHeader: route.test", "[]", "route.test"),
        (", hostHeader: upstream", "", rewrite, "in.test:81"),
        (", hostHeader: fixed.test", ", hostHeader: route.test", rewrite, "in.test:81"),
        ("", "", "[{rewrite: {host: '{{ request.header.x-host }}'}}]", "other.test"),
    ] {
        assert_eq!(host(upstream, route, policies), want, "{upstream} {route} {policies}");
    }
}

#[test]
fn what_can_never_work_is_refused() {
    for (rewrite, words) in [
        ("{}", "expected `path` or `host`"),
        ("{path: {template: '/v2/{id}'}}", "captures `id`"),
        ("{path: {full: a}}", "rewrite.path.full"),
        ("{path: {regex: {pattern: '(', replacement: ''}}}", "rewrite.path.regex.pattern"),
        ("{host: ''}", "expected a host"),
        ("{host: 'a b'}", "`a b` is not a host"),
    ] {
        refused(&with_policies(&format!("[{{rewrite: {rewrite}}}]")), &[words, "tidegate.yaml:6:"]);
    }
    let shared = with_policies("[{use: short}]")
        .replace("respond: {}", "respond: {}}\n  - {name: other, match: [{path: {exact: /o}}], respond: {}");
    let shared = format!(
        "policies: [{{name: short, policy: {{rewrite: {{path: {{template: '/v2/{{id}}'}}}}}}}}]\n{shared}"
    );
    refused(&shared, &["policies[0].policy.rewrite", "`r`"]);
    let captured = shared.replace("{path: {prefix: /}}", "{path: {template: '/o/{id}'}}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, &captured).expect("a file");
    let (code, _, problems) = super::super::harness::run(&["validate", "-c", &path.display().to_string()]);
    assert_eq!(code, 0, "a route that does not use it need not capture anything:\n{problems}");
}
