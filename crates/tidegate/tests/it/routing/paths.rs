//! One canonical path for all, and ambiguous forms only where somebody chose them.

use super::{
    super::harness::{Gateway, Upstream, run},
    named, taken,
};

#[test]
fn ambiguous_forms_are_refused_by_default_and_allowed_per_route_by_choice() {
    for (form, path) in [
        ("encodedSlash", "a%2Fb"),
        ("semicolon", "a;b"),
        ("backslash", "a%5Cb"),
        ("nul", "a%00b"),
        ("doubleEncoding", "a%252Fb"),
    ] {
        let upstream = Upstream::echo();
        let gateway = Gateway::start(&format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: lax, match: [{{path: {{prefix: /lax}}}}], path: {{{form}: allow}}, backends: [{{upstream: u}}]}}
  - {{name: strict, match: [{{path: {{prefix: /strict}}}}], backends: [{{upstream: u}}]}}\n",
            upstream.address
        ));
        let ask = |target: &str| gateway.get(target);
        let strict = ask(&format!("/strict/{path}"));
        assert_eq!((strict.status, strict.problem().as_deref()), (400, Some("bad-path")), "{form}");
        assert_eq!(ask(&format!("/nowhere/{path}")).status, 400, "{form}");
        assert!(upstream.seen().is_empty());
        let lax = ask(&format!("/lax/{path}"));
        assert_eq!((lax.status, lax.text()), (200, format!("/lax/{path}")), "{form}");
        let (code, out, _) = run(&[
            "routes",
            "explain",
            "GET",
            &format!("/lax/{path}"),
            "-c",
            &gateway.config().display().to_string(),
        ]);
        assert_eq!((code, out.contains("route      lax")), (0, true), "{out}");
        let (code, out, _) = run(&[
            "routes",
            "explain",
            "GET",
            &format!("/strict/{path}"),
            "-c",
            &gateway.config().display().to_string(),
        ]);
        assert_eq!((code, out.contains("refused with 400")), (5, true), "{out}");
    }
}

#[test]
fn a_listener_may_allow_what_one_of_its_routes_refuses() {
    let gateway = Gateway::with(
        "path: {semicolon: allow, mergeSlashes: false}",
        &super::answering(&[
            ("lax", "match: [{path: {prefix: /lax}}]"),
            ("strict", "match: [{path: {prefix: /strict}}], path: {semicolon: reject}"),
        ]),
    );
    assert_eq!(taken(&gateway, "GET /lax/a;b", "\nhost: a"), "lax");
    assert_eq!(taken(&gateway, "GET /strict/a;b", "\nhost: a"), "400");
    assert_eq!(taken(&gateway, "GET //lax", "\nhost: a"), "404", "slashes are kept");
}

#[test]
fn whether_slashes_are_merged_is_the_listeners_to_say() {
    super::refused(
        "routes: [{name: r, path: {mergeSlashes: false}, respond: {}}]\n",
        &["routes[0].path.mergeSlashes", "the listener's `path`"],
    );
}

#[test]
fn router_policies_log_and_upstream_see_one_path() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /shop/~ann}}}}]
    policies: [{{headers: {{request: {{set: {{x-path: '{{{{ request.path }}}}'}}}}}}}}]
    backends: [{{upstream: u}}]\n",
        upstream.address
    ));
    for target in ["/shop/~ann/a%2d%c3%a9", "/x/../shop//%7eann/./a-%C3%A9", "//shop/%7Eann/b/../a-%c3%a9"] {
        assert_eq!(gateway.get(target).text(), "/shop/~ann/a-%C3%A9", "{target}");
        assert_eq!(upstream.seen().pop().expect("a request").header("x-path"), Some("/shop/~ann/a-%C3%A9"));
    }
    for record in gateway.records(3) {
        assert_eq!(record["path"], "/shop/~ann/a-%C3%A9", "{record}");
    }
}

#[test]
fn a_pattern_with_capitals_or_escapes_matches_alike_with_one_host_or_a_thousand() {
    for hosts in [1, 1_000] {
        let list: Vec<String> = (0..hosts).map(|number| format!("h{number}.Example.test")).collect();
        let with = |name: &'static str, path: &str| {
            (name, format!("hosts: [{}], match: [{{path: {path}}}]", list.join(", ")))
        };
        let routes = [
            with("exact", "{exact: /Exact/%7eann}"),
            with("prefix", "{prefix: /Pre%66ix/}"),
            with("template", "{template: '/Tem%70late/{id}'}"),
            with("regex", "{regex: '/Re[g]ex/.+'}"),
        ];
        let routes: Vec<(&str, &str)> = routes.iter().map(|(name, route)| (*name, route.as_str())).collect();
        let gateway = named(&routes);
        for host in [0, hosts - 1] {
            for (path, want) in [
                ("/Exact/~ann", "exact"),
                ("/Exact/%7Eann", "exact"),
                ("/exact/~ann", "404"),
                ("/Prefix/x", "prefix"),
                ("/prefix/x", "404"),
                ("/Template/7", "template"),
                ("/Template/a%20b", "template"),
                ("/Regex/x", "regex"),
                ("/regex/x", "404"),
            ] {
                let headers = format!("\nhost: H{host}.eXample.test:8080");
                assert_eq!(taken(&gateway, &format!("GET {path}"), &headers), want, "{hosts} {path}");
            }
        }
    }
}
