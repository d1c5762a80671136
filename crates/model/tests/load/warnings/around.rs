//! Settings that only what stands around them gives an effect, or takes it.

use super::{BACKENDS, KEYS, LISTENER, OIDC, ai, check, load, route, whole};

const REWRITE: &str = "{rewrite: {path: {replacePrefix: /v1}}}";

#[test]
fn a_prefix_of_transcode_that_no_path_of_the_route_begins_with_is_refused() {
    let api = "{path: {prefix: /api}}";
    for (matches, policies, prefix, is_told) in [
        (api, "", "/v1", true),
        (api, KEYS, "/apis", true),
        (api, "", "/api", false),
        (api, "", "/api/", false),
        (api, "", "/api/v1", false),
        (api, "", "/", false),
        ("{path: {prefix: /api}}, {path: {prefix: /v1}}", "", "/v1", false),
        ("{path: {regex: \"/api/.*\"}}", "", "/v1", false),
        ("{path: {template: \"/{version}/a\"}}", "", "/v1", false),
        ("{methods: [POST]}", "", "/v1", false),
        // Both are one path.
        ("{path: {prefix: \"/%61pi\"}}", "", "/api", false),
        // It is cut off what the policy makes of the path.
        (api, REWRITE, "/v1", false),
    ] {
        let handler =
            format!("transcode: {{upstream: g, protocols: [grpc, grpcWeb], stripPrefix: {prefix}}}");
        let told = route(matches, policies, &handler);
        check(
            &told,
            if is_told { "routes[0].transcode.stripPrefix" } else { "" },
            "(such as `stripPrefix: /api`)",
        );
    }
    let files = |policies: &str| route(api, policies, "static: {root: site, stripPrefix: /v1}");
    check(&files(""), "routes[0].static.stripPrefix", "every call would be 404");
    check(&files(REWRITE), "", "");
    let global = format!(
        "globalPolicies: [{REWRITE}]\nroutes: [{{name: r, match: [{api}], static: {{root: site, stripPrefix: /v1}}}}]"
    );
    check(&whole(LISTENER, &global), "", "");
}

#[test]
fn a_star_at_the_end_of_a_prefix_is_told_to_be_a_letter() {
    for (path, remedy) in [
        ("prefix: \"/api/*\"", "(`prefix: /api` takes all that is below it)"),
        ("prefix: \"/api/**\"", "(`prefix: /api` takes all that is below it)"),
        ("prefix: \"/*\"", "(`prefix: /` takes all that is below it)"),
        ("prefix: /api", ""),
        ("prefix: \"/logs-*\"", ""),
        ("prefix: \"/*/search\"", ""),
        ("exact: \"/api/*\"", ""),
        ("template: \"/api/{rest*}\"", ""),
        ("regex: \"/api/*\"", ""),
    ] {
        let told = route(&format!("{{path: {{{path}}}}}"), "", BACKENDS);
        check(&told, if remedy.is_empty() { "" } else { "routes[0].match[0].path.prefix" }, remedy);
    }
    let rule = "{strangler: {rules: [{name: n, to: b, percent: 5, path: {prefix: \"/orders/*\"}}]}}";
    let told = route("{path: {prefix: /orders}}", rule, BACKENDS);
    check(&told, "routes[0].policies[0].strangler.rules[0].path.prefix", "a prefix has no wildcards");
}

#[test]
fn a_service_that_is_asked_by_grpc_over_http1_is_refused() {
    let ext_auth = |upstream: &str, more: &str| format!("{{extAuth: {{upstream: {upstream}{more}}}}}");
    let refused = "`a` speaks HTTP/1.1, and gRPC goes over HTTP/2";
    for (policy, place) in [
        (ext_auth("a", ", protocol: grpc"), "routes[0].policies[0].extAuth.upstream"),
        (
            format!("{{anyOf: {{policies: [{KEYS}, {}]}}}}", ext_auth("a", ", protocol: grpc")),
            "routes[0].policies[0].anyOf.policies[1].extAuth.upstream",
        ),
        (ext_auth("g", ", protocol: grpc"), ""),
        (ext_auth("a", ""), ""),
    ] {
        check(&route("{}", &policy, BACKENDS), place, refused);
    }
    let shared = format!(
        "policies: [{{name: s, policy: {}}}]\nroutes: [{{name: r, policies: [{{use: s}}], {BACKENDS}}}]",
        ext_auth("a", ", protocol: grpc")
    );
    check(&whole(LISTENER, &shared), "policies[0].policy.extAuth.upstream", refused);
    for (upstream, is_refused) in
        [("tls: {}", false), ("protocol: http2", false), ("protocol: http1, tls: {}", true)]
    {
        let text = format!(
            "{LISTENER}\nupstreams: [{{name: a, {upstream}, endpoints: [{{address: \"127.0.0.1:1\"}}]}}]\n\
             routes: [{{name: r, policies: [{}], {BACKENDS}}}]\n",
            ext_auth("a", ", protocol: grpc")
        );
        assert_eq!(load(&text).is_err_and(|wrong| wrong.to_string().contains(refused)), is_refused, "{text}");
    }
}

#[test]
fn a_default_of_a_cache_that_is_never_assumed_is_told() {
    let kept = "{cache: {defaultTtl: 1m}}";
    let judge = |more: &str| format!("{{extAuth: {{upstream: b{more}}}}}");
    for (policies, is_told) in [
        (format!("{kept}, {KEYS}"), true),
        (format!("{kept}, {}", judge("")), true),
        (format!("{kept}, {{anyOf: {{policies: [{KEYS}, {{basicAuth: {{}}}}]}}}}"), true),
        (kept.to_owned(), false),
        (format!("{{cache: {{defaultTtl: 1m, key: {{consumer: true}}}}}}, {KEYS}"), false),
        (format!("{{cache: {{}}}}, {KEYS}"), false),
        // What an answer says to be `public` may be given for as long as this guesses.
        (format!("{{cache: {{heuristic: {{}}}}}}, {KEYS}"), false),
        // Nobody is known while the service is away.
        (format!("{kept}, {}", judge(", onError: allow")), false),
    ] {
        let told = route("{}", &policies, BACKENDS);
        check(
            &told,
            if is_told { "routes[0].policies[0].cache.defaultTtl" } else { "" },
            "`key: {consumer: true}`",
        );
    }
    let anonymous = format!(
        "consumers: [{{name: c}}]\nroutes: [{{name: r, policies: [{kept}, {{keyAuth: {{anonymous: c}}}}], {BACKENDS}}}]"
    );
    check(&whole(LISTENER, &anonymous), "", "");
    let shared = format!(
        "policies: [{{name: s, policy: {kept}}}]\nroutes: [{{name: r, policies: [{{use: s}}, {KEYS}], {BACKENDS}}}]"
    );
    check(&whole(LISTENER, &shared), "", "");
    let listeners = "listeners: [{name: web, address: \"127.0.0.1:8080\"}, {name: inner, address: \"127.0.0.1:8081\", policies: [{keyAuth: {}}]}]";
    let on = |listeners: &str| format!("routes: [{{name: r, {listeners}policies: [{kept}], {BACKENDS}}}]");
    check(&whole(listeners, &on("")), "", "");
    check(
        &whole(listeners, &on("listeners: [inner], ")),
        "routes[0].policies[0].cache.defaultTtl",
        "keeps none",
    );
}

#[test]
fn an_entry_for_files_behind_a_wider_one_is_told() {
    for (first, second, is_told) in [
        ("", "under: assets, ", true),
        ("", "", true),
        ("under: assets, ", "under: assets, ", true),
        ("under: assets, ", "under: assets/js, ", true),
        ("under: assets, ", "", false),
        ("under: assets, ", "under: assets-old, ", false),
        ("under: assets/js, ", "under: assets, ", false),
    ] {
        let entries = format!("{{{first}value: no-cache}}, {{{second}value: no-store}}");
        let told = route("{}", "", &format!("static: {{root: site, cacheControl: [{entries}]}}"));
        let place = if is_told { "routes[0].static.cacheControl[1]" } else { "" };
        check(&told, place, "this one is never sent");
    }
}

#[test]
fn what_a_lockout_counts_by_and_nobody_shows_is_told() {
    let basic = "{basicAuth: {}}";
    let both = format!("{{anyOf: {{policies: [{KEYS}, {basic}]}}}}");
    for (policies, settings, key) in [
        (KEYS, "by: [user]", "by[0]"),
        (KEYS, "by: [address, userAtAddress]", "by[1]"),
        ("{mtls: {trustedHeader: xfcc}}", "by: [user]", "by[0]"),
        (basic, "by: [key]", "by[0]"),
        ("{mtls: {trustedHeader: xfcc}}", "by: [key]", "by[0]"),
        ("{jwt: {issuer: \"https://id.test\", jwks: {url: \"https://id.test/jwks\"}}}", "by: [key]", "by[0]"),
        (KEYS, "by: [address, key]", ""),
        (KEYS, "maxFailures: 3", ""),
        (KEYS, "by: [user], upstreamStatuses: [401]", ""),
        (basic, "by: [user, userAtAddress]", ""),
        (&both, "by: [user, key]", ""),
        ("{extAuth: {upstream: b}}", "by: [user, key]", ""),
        ("{extAuth: {upstream: b, requestHeaders: [x-token]}}", "by: [user]", "by[0]"),
    ] {
        let told = route("{}", &format!("{{lockout: {{{settings}}}}}, {policies}"), BACKENDS);
        let place =
            if key.is_empty() { String::new() } else { format!("routes[0].policies[0].lockout.{key}") };
        check(&told, &place, "this counts nobody");
    }
    let shared = format!(
        "policies: [{{name: s, policy: {{lockout: {{by: [user, key]}}}}}}]\n\
         routes: [{{name: r, policies: [{{use: s}}, {KEYS}], {BACKENDS}}}]"
    );
    check(&whole(LISTENER, &shared), "", "");
}

/// The warnings about two routes of which each has an `oidc` of its own, with something more in either.
fn two_clients(first: (&str, &str), second: (&str, &str, &str)) -> String {
    let shop = OIDC.replace("clientId: shop", &format!("clientId: shop{}", first.1));
    let admin = OIDC.replace("clientId: shop", &format!("clientId: {}", second.1));
    whole(
        "listeners: [{name: web, address: \"127.0.0.1:8080\"}, {name: inner, address: \"127.0.0.1:8081\"}]",
        &format!(
            "routes: [{{name: shop, {}match: [{{path: {{prefix: /shop}}}}, {{path: {{prefix: /oidc}}}}], policies: [{shop}], {BACKENDS}}}, \
             {{name: admin, {}match: [{{path: {{prefix: /admin}}}}{}], policies: [{admin}], {BACKENDS}}}]",
            first.0, second.0, second.2
        ),
    )
}

#[test]
fn clients_that_share_a_cookie_on_one_host_are_told() {
    let own_path = "path: /admin/oidc";
    let place = "routes[1].policies[0].oidc.cookie";
    let other = format!("admin, {own_path}");
    for (first, second, is_told) in [
        (("", ""), ("", &*other, ""), true),
        (("hosts: [a.test], ", ""), ("hosts: [a.test, b.test], ", &*other, ""), true),
        (("", ""), ("", "admin, path: /admin/oidc, cookie: {name: admin-session}", ""), false),
        (("", ""), ("", "admin, path: /admin/oidc, cookie: {secure: false}", ""), false),
        (("", ""), ("", "shop, path: /admin/oidc", ""), false),
        (("hosts: [a.test], ", ""), ("hosts: [b.test], ", &*other, ""), false),
        // Whether the one without hosts is reached there nobody knows.
        (("hosts: [a.test], ", ""), ("", &*other, ""), false),
        (("listeners: [web], ", ""), ("listeners: [inner], ", &*other, ""), false),
        (("listeners: [web], ", ""), ("", &*other, ""), true),
        (
            ("", ", publicUrl: \"https://a.test\""),
            ("", "admin, path: /admin/oidc, publicUrl: \"https://b.test\"", ""),
            false,
        ),
    ] {
        let told = two_clients(first, second);
        check(
            &told,
            if is_told { place } else { "" },
            "route `shop` keeps sessions of another client in `__Host-tidegate-session`",
        );
    }
}

#[test]
fn clients_whose_sign_ins_end_at_one_address_are_told() {
    let own_cookie = "admin, cookie: {name: admin-session}";
    let place = "routes[1].policies[0].oidc.path";
    for (first, second, is_told) in [
        (("", ""), ("", own_cookie, ", {path: {prefix: /oidc}}"), true),
        (("", ""), ("", own_cookie, ", {path: {exact: /oidc/callback}, methods: [GET]}"), true),
        (("", ""), ("", own_cookie, ", {path: {prefix: /oidc}, headers: [{name: x-admin}]}"), false),
        (("hosts: [a.test], ", ""), ("hosts: [b.test], ", own_cookie, ", {path: {prefix: /oidc}}"), false),
        (("", ""), ("", "admin, cookie: {name: admin-session}, path: /admin/oidc", ""), false),
    ] {
        let told = two_clients(first, second);
        check(&told, if is_told { place } else { "" }, "end at `/oidc/callback`, too");
    }
}

#[test]
fn a_nonce_that_nothing_signs_is_told() {
    let hmac = |more: &str| format!("{{hmac: {{keys: [{{id: k, secret: {{env: A}}}}]{more}}}}}");
    let respond = "respond: {status: 204}";
    let slack = "{hmac: {style: slack, secrets: [{env: A}]}}";
    let of_slack = "nonceHeader: x-slack-signature, timestampHeader: x-slack-request-timestamp";
    let judge = "{extAuth: {upstream: b, requestHeaders: [x-nonce, x-timestamp, x-signature]}}";
    for (settings, policies, handler, key, message) in [
        ("", &*hmac(""), BACKENDS, ".nonceHeader", "no signature has to cover `x-nonce` here"),
        ("", &hmac(", components: ['@path', x-nonce]"), BACKENDS, ".timestampHeader", "`x-timestamp`"),
        ("", &hmac(", components: ['@path', x-nonce, x-timestamp]"), BACKENDS, "", ""),
        (
            "",
            &format!("{{anyOf: {{policies: [{KEYS}, {}]}}}}", hmac("")),
            BACKENDS,
            ".nonceHeader",
            "no signature",
        ),
        (of_slack, slack, BACKENDS, "", ""),
        ("", slack, BACKENDS, ".nonceHeader", "no signature"),
        ("", KEYS, respond, ":", "nothing here signs `x-nonce` and `x-timestamp`"),
        // The upstream may look for a signature, as may the service.
        ("", KEYS, BACKENDS, "", ""),
        ("", judge, respond, "", ""),
    ] {
        let told = route("{}", &format!("{{antiReplay: {{{settings}}}}}, {policies}"), handler);
        match key {
            "" => check(&told, "", message),
            _ => check(&told, &format!("routes[0].policies[0].antiReplay{}", key.trim_matches(':')), message),
        }
    }
}

#[test]
fn models_that_no_more_than_some_may_ask_are_not_told_to_be_open() {
    for (policies, is_told) in [
        ("", true),
        ("{ipRestriction: {deny: [10.0.0.0/8]}}", true),
        ("{ipRestriction: {allow: [10.0.0.0/8]}}", false),
        ("{authorize: {rules: [{require: \"request.method == 'GET'\"}]}}", false),
        (KEYS, false),
    ] {
        let place = if is_told { "routes[0].ai" } else { "" };
        check(&ai("", policies, ""), place, "open to everybody");
    }
}

#[test]
fn a_list_of_names_of_those_who_are_known_on_one_listener_refuses_not_everybody() {
    let listeners = |policies: &str| {
        format!(
            "listeners: [{{name: web, address: \"127.0.0.1:8080\"}}, {{name: inner, address: \"127.0.0.1:8081\", policies: [{policies}]}}]"
        )
    };
    let acl =
        format!("routes: [{{name: r, policies: [{{acl: {{allowClaims: {{role: [admin]}}}}}}], {BACKENDS}}}]");
    check(&whole(&listeners(KEYS), &acl), "", "");
    check(&whole(&listeners(""), &acl), "routes[0].policies[0]", "it refuses everybody");
}
