//! `rateLimit`.

use std::time::{Duration, Instant};

use super::{
    super::harness::{Gateway, eventually, free_port},
    CONSUMERS, ask, guarded, refused, with_policies,
};

/// How many of five calls in a row are let in.
fn passed(gateway: &Gateway, headers: &str) -> usize {
    (0..5).filter(|_| ask(gateway, "/", headers).status == 200).count()
}

#[test]
fn a_burst_passes_at_once_and_is_told_what_is_left() {
    let (gateway, _upstream) = guarded("[{rateLimit: {limit: 2, window: 1h, burst: 3}}]", "");
    let answers: Vec<_> = (0..4).map(|_| ask(&gateway, "/", "")).collect();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(answers[0].header("ratelimit-policy"), Some("\"default\";q=2;w=3600"));
    assert!(answers[0].header("ratelimit").is_some_and(|told| told.starts_with("\"default\";r=2;t=")));
    assert!(answers[3].header("ratelimit").is_some_and(|told| told.starts_with("\"default\";r=0;t=")));
    let after: u64 = answers[3].header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1_700..=1_800).contains(&after), "half an hour makes room for one: {after}");
}

#[test]
fn after_a_burst_the_rest_passes_at_the_rate() {
    let (gateway, _upstream) = guarded("[{rateLimit: {limit: 4, window: 1s, burst: 3}}]", "");
    let start = Instant::now();
    for passed in 1..=9 {
        eventually("there is room for one more", || {
            let answer = ask(&gateway, "/", "");
            assert!(answer.status == 200 || answer.header("retry-after") == Some("1"), "{answer:?}");
            answer.status == 200
        });
        // Three are there at once, and a quarter of a second makes room for one more, never earlier.
        let earliest = Duration::from_millis(250 * u64::saturating_sub(passed, 3));
        assert!(start.elapsed() >= earliest, "{passed} within {:?}", start.elapsed());
    }
}

#[test]
fn each_kind_of_key_counts_its_own_together() {
    for (key, same, other) in [
        ("{header: x-tenant}", "\nx-tenant: a", "\nx-tenant: b"),
        ("consumer", "\nx-api-key: gold-key-of-the-test", "\nx-api-key: web-key-of-the-test"),
        ("{cel: 'request.headers[\"x-a\"] + request.method'}", "\nx-a: 1", "\nx-a: 2"),
        ("{cel: 'consumer.name'}", "\nx-api-key: gold-key-of-the-test", "\nx-api-key: web-key-of-the-test"),
    ] {
        let limit =
            format!("[{{keyAuth: {{anonymous: web}}}}, {{rateLimit: {{limit: 3, window: 1h, key: {key}}}}}]");
        let (gateway, _upstream) = guarded(&limit, CONSUMERS);
        assert_eq!((passed(&gateway, same), passed(&gateway, other)), (3, 3), "{key}");
        assert_eq!(passed(&gateway, same), 0, "{key}");
    }
    let (gateway, _upstream) = guarded("[{rateLimit: {limit: 3, window: 1h, key: global}}]", "");
    assert_eq!(passed(&gateway, "\nx-tenant: a") + passed(&gateway, "\nx-tenant: b"), 3);
}

#[test]
fn an_ipv6_client_is_its_network_as_wide_as_is_said() {
    let of = |limit: &str| {
        Gateway::with(
            "trustedProxies: [127.0.0.1/32]",
            &format!(
                "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{rateLimit: {{limit: 2, window: 1h{limit}}}}}], respond: {{}}}}]\n"
            ),
        )
    };
    let from = |gateway: &Gateway, client: &str| passed(gateway, &format!("\nx-forwarded-for: {client}"));
    let gateway = of("");
    assert_eq!(from(&gateway, "2001:db8:1:1::1"), 2);
    assert_eq!(from(&gateway, "2001:db8:1:1:ffff::2"), 0, "the same /64");
    assert_eq!(from(&gateway, "2001:db8:1:2::1"), 2);
    assert_eq!(from(&gateway, "192.0.2.1"), 2);
    assert_eq!(from(&gateway, "192.0.2.2"), 2, "IPv4 clients are single");
    let gateway = of(", ipv6Prefix: 48");
    assert_eq!(from(&gateway, "2001:db8:1:1::1"), 2);
    assert_eq!(from(&gateway, "2001:db8:1:2::1"), 0, "the same /48");
    assert_eq!(from(&gateway, "2001:db8:2:1::1"), 2);
}

#[test]
fn all_of_several_limits_must_have_room() {
    let (gateway, _upstream) = guarded(
        "[{rateLimit: {name: each, limit: 100, window: 1h, limits: [{limit: 3, window: 1h, key: {header: x-tenant}, name: tenant}, {limit: 4, window: 1h, key: global}]}}]",
        "",
    );
    let first = ask(&gateway, "/", "\nx-tenant: a");
    assert_eq!(
        first.header("ratelimit-policy"),
        Some("\"each\";q=100;w=3600, \"tenant\";q=3;w=3600, \"limit-2\";q=4;w=3600")
    );
    let told = first.header("ratelimit").expect("what is left").to_owned();
    assert!(told.starts_with("\"each\";r=99;t=") && told.contains("\"tenant\";r=2;t="), "{told}");
    assert_eq!(passed(&gateway, "\nx-tenant: a"), 2, "three of one tenant");
    assert_eq!(passed(&gateway, "\nx-tenant: b"), 1, "four of all: refused calls took nothing");
}

#[test]
fn several_limits_of_a_shared_policy_are_shared_and_live_through_a_reload() {
    let port = free_port();
    let text = |body: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
policies: [{{name: shared, policy: {{rateLimit: {{limit: 4, window: 1h, key: global, limits: [{{limit: 9, window: 2h}}]}}}}}}]
routes:
  - {{name: a, match: [{{path: {{prefix: /a}}}}], policies: [{{use: shared}}], respond: {{}}}}
  - {{name: b, match: [{{path: {{prefix: /b}}}}], policies: [{{use: shared}}], respond: {{{body}}}}}\n"
        )
    };
    let gateway = Gateway::from_text(&text(""), ([127, 0, 0, 1], port).into(), |_| {});
    let statuses = || ["/a", "/b"].map(|path| ask(&gateway, path, "").status);
    assert_eq!(statuses(), [200, 200]);
    gateway.reload(&text("body: changed"));
    assert_eq!(statuses(), [200, 200]);
    assert_eq!(statuses(), [429, 429], "four of both routes together, whatever was loaded between");
}

#[test]
fn headers_are_left_out_where_they_are_not_wanted() {
    let (gateway, _upstream) = guarded("[{rateLimit: {limit: 1, window: 1h, headers: false}}]", "");
    let (first, second) = (ask(&gateway, "/", ""), ask(&gateway, "/", ""));
    assert_eq!((first.status, second.status), (200, 429));
    assert!(first.header("ratelimit").is_none() && second.header("ratelimit-policy").is_none());
    assert!(second.header("retry-after").is_some());
}

#[test]
fn a_thousand_keys_of_strangers_do_not_grow_beyond_the_bound() {
    let (gateway, _upstream) =
        guarded("[{rateLimit: {limit: 1, window: 1h, key: {header: x-k}, maxKeys: 64}}]", "");
    for number in 0..300 {
        assert_eq!(ask(&gateway, "/", &format!("\nx-k: {number}")).status, 200, "a new key has room");
    }
    assert_eq!(ask(&gateway, "/", "\nx-k: 299").status, 429, "the latest are remembered");
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    for (settings, words) in [
        ("{limit: 5}", "`limit` needs a `window`"),
        ("{}", "expected `limit` and `window`"),
        ("{limit: 5, window: 0s}", "more than nothing"),
        ("{limit: 5, window: 1s, key: {cel: 'request.pth'}}", "rateLimit"),
    ] {
        refused(&with_policies(&format!("[{{rateLimit: {settings}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}
