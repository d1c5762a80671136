//! `antiReplay`: here and with a real Redis, and behind signatures that another library makes.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{
    super::harness::{
        Answer, Gateway, Peer, Redis, Upstream, eventually, free_port, identity_provider, pause,
    },
    guarded,
    rate_limit_shared::sharing,
    refused, with_policies,
};

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn send(gateway: &Gateway, nonce: &str, time: &str, more: &str) -> Answer {
    let head =
        format!("POST /a HTTP/1.1\nhost: a\ncontent-length: 0\nx-nonce: {nonce}\nx-timestamp: {time}{more}");
    gateway.send(&head, b"")
}

/// The status of a request that is made now.
fn fresh(gateway: &Gateway, nonce: &str, more: &str) -> u16 {
    send(gateway, nonce, &now().to_string(), more).status
}

fn count(gateway: &Gateway, outcome: &str) -> Option<f64> {
    let policy = "policy=\"routes/r/antiReplay\"";
    gateway.metric(&format!("tidegate_anti_replay_total{{{policy},outcome=\"{outcome}\"}}"))
}

const NONCE: &str = "a-nonce-of-the-test-";

#[test]
fn a_request_is_let_in_once_and_only_while_it_is_fresh() {
    let (gateway, upstream) = guarded("[{antiReplay: {}}]", "");
    let (nonce, time) =
        (|number: u32| format!("{NONCE}{number}"), |ago: i64| (now() as i64 - ago).to_string());
    assert_eq!(send(&gateway, &nonce(1), &time(0), "").status, 200);
    for again in [time(0), time(100), time(-20)] {
        let answer = send(&gateway, &nonce(1), &again, "");
        assert_eq!((answer.status, answer.problem().as_deref()), (403, Some("forbidden")), "{again}");
        assert!(answer.text().contains("with this nonce came before"), "{}", answer.text());
    }
    assert_eq!(send(&gateway, &nonce(2), &format!("{}123", time(290)), "").status, 200, "milliseconds");
    assert_eq!(send(&gateway, &nonce(3), &time(-25), "").status, 200, "clocks differ");
    for (stale, why) in
        [(time(310), "too long ago"), (time(-60), "in the future"), ("0".to_owned(), "too long ago")]
    {
        let answer = send(&gateway, &nonce(4), &stale, "");
        assert_eq!(answer.status, 403, "{stale}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    let seen = upstream.seen().len();
    for (what, head) in [
        ("no nonce", format!("x-timestamp: {}", time(0))),
        ("no time", format!("x-nonce: {}", nonce(5))),
        ("a time that is none", format!("x-nonce: {}\nx-timestamp: soon", nonce(5))),
        ("two nonces", format!("x-nonce: {0}\nx-nonce: {0}\nx-timestamp: {1}", nonce(5), time(0))),
        ("two times", format!("x-nonce: {0}\nx-timestamp: {1}\nx-timestamp: {1}", nonce(5), time(0))),
        ("a short nonce", format!("x-nonce: abc\nx-timestamp: {}", time(0))),
        ("a long nonce", format!("x-nonce: {}\nx-timestamp: {}", "a".repeat(129), time(0))),
        ("taken out", format!("x-nonce: {}\nx-timestamp: {}\nconnection: x-nonce", nonce(1), time(0))),
    ] {
        let answer = gateway.send(&format!("GET /a HTTP/1.1\nhost: a\n{head}"), b"");
        let want = if what == "taken out" { 403 } else { 400 };
        assert_eq!(answer.status, want, "{what}: {}", answer.text());
    }
    assert_eq!(upstream.seen().len(), seen);
    let record = gateway.record("a replay", |record| {
        record["judged"]
            == json!([{"policy": "antiReplay", "outcome": "refused", "reason": "its nonce came before"}])
    });
    assert_eq!(record["stopped_by"], "antiReplay");
    eventually("the metrics", || {
        ["passed", "replayed", "stale", "missing"].map(|outcome| count(&gateway, outcome))
            == [Some(3.0), Some(4.0), Some(3.0), Some(7.0)]
    });
}

#[test]
fn nonces_are_their_callers_own_and_one_that_was_refused_before_is_not_used() {
    let (gateway, _upstream) = guarded("[{keyAuth: {}}, {antiReplay: {}}]", super::CONSUMERS);
    let (gold, web) = ("\nx-api-key: gold-key-of-the-test", "\nx-api-key: web-key-of-the-test");
    assert_eq!(fresh(&gateway, NONCE, ""), 401);
    assert_eq!((fresh(&gateway, NONCE, gold), fresh(&gateway, NONCE, web)), (200, 200));
    assert_eq!((fresh(&gateway, NONCE, gold), fresh(&gateway, NONCE, web)), (403, 403));
    let (gateway, _upstream) =
        guarded("[{antiReplay: {key: global}}, {rateLimit: {limit: 1, window: 2s, key: global}}]", "");
    let other = format!("{NONCE}other");
    assert_eq!((fresh(&gateway, NONCE, ""), fresh(&gateway, &other, "")), (200, 429));
    eventually("the limit allows another", || fresh(&gateway, &other, "") == 200);
    eventually("the replay", || fresh(&gateway, &other, "") == 403);
}

#[test]
fn memory_is_bounded_and_what_happens_when_it_is_full_is_chosen() {
    let keys = super::CONSUMERS;
    let (gold, web) = ("\nx-api-key: gold-key-of-the-test", "\nx-api-key: web-key-of-the-test");
    let nonce = |number: u32| format!("{NONCE}{number}");
    let policies =
        |rest: &str| format!("[{{keyAuth: {{}}}}, {{antiReplay: {{window: 2s, leeway: 1s, {rest}}}}}]");
    let (gateway, _upstream) = guarded(&policies("maxNonces: 5, maxNoncesPerKey: 3"), keys);
    for number in 0..3 {
        assert_eq!(fresh(&gateway, &nonce(number), gold), 200);
    }
    let full = send(&gateway, &nonce(3), &now().to_string(), gold);
    assert_eq!((full.status, full.problem().as_deref()), (429, Some("rate-limited")), "{}", full.text());
    assert_eq!(fresh(&gateway, &nonce(0), gold), 403, "those are known all the same");
    assert_eq!((fresh(&gateway, &nonce(0), web), fresh(&gateway, &nonce(1), web)), (200, 200));
    let full = send(&gateway, &nonce(2), &now().to_string(), web);
    assert_eq!(full.status, 503, "{}", full.text());
    let wait: u64 = full.header("retry-after").and_then(|wait| wait.parse().ok()).expect("when to try again");
    assert!((1..=6).contains(&wait), "{wait}");
    pause(wait * 1000);
    assert_eq!(fresh(&gateway, &nonce(2), web), 200, "what is of no use any more is forgotten");
    let (gateway, _upstream) = guarded(&policies("maxNonces: 5, whenFull: forgetOldest"), keys);
    for number in 0..6 {
        assert_eq!(fresh(&gateway, &nonce(number), gold), 200, "{number}");
    }
    assert_eq!(fresh(&gateway, &nonce(5), gold), 403);
}

#[test]
fn each_setting_has_its_effect() {
    let (gateway, _upstream) = guarded(
        "[{antiReplay: {nonceHeader: x-once, timestampHeader: x-made, methods: [POST], minNonceLength: 3, key: {header: x-tenant}}}]",
        "",
    );
    let ask = |method: &str, once: &str, tenant: &str| {
        let head =
            format!("{method} /a HTTP/1.1\nhost: a\ncontent-length: 0\nx-once: {once}\nx-made: {}", now());
        gateway.send(&format!("{head}\nx-tenant: {tenant}"), b"").status
    };
    assert_eq!((ask("POST", "abc", "a"), ask("POST", "abc", "b"), ask("POST", "abc", "a")), (200, 200, 403));
    assert_eq!((ask("GET", "abc", "a"), ask("POST", "ab", "a")), (200, 400));
    let (gateway, _upstream) = guarded("[{antiReplay: {mode: detect}}]", "");
    assert_eq!((fresh(&gateway, NONCE, ""), fresh(&gateway, NONCE, "")), (200, 200));
    let record = gateway.record("the second", |record| record["judged"].is_array());
    assert_eq!(record["judged"][0]["outcome"], "detected", "{record}");
    for (settings, words) in [
        ("window: 0s", "more than nothing"),
        ("window: 48h", "24h or less"),
        ("leeway: 2h", "1h or less"),
        ("store: redis", "there is no `redis`"),
        ("nonceHeader: x-a, timestampHeader: x-a", "another header"),
        ("methods: [post]", "upper-case"),
        ("minNonceLength: 0", "1"),
        ("key: clientAddress", "from another address"),
    ] {
        refused(&with_policies(&format!("[{{antiReplay: {{{settings}}}}}]")), &[words]);
    }
}

#[test]
fn gateways_that_share_a_redis_let_a_request_in_once_in_all() {
    let mut redis = Redis::start();
    let policy = "{antiReplay: {store: redis, window: 1h}}";
    let (one, two) = (sharing(&redis, policy, ""), sharing(&redis, policy, ""));
    // Of requests that race with one nonce, one passes.
    let passed = |nonce: &str| {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|number| {
                    let gateway = if number % 2 == 0 { &one } else { &two };
                    scope.spawn(move || fresh(gateway, nonce, ""))
                })
                .collect();
            let all = all.into_iter().map(|thread| thread.join().expect("a status"));
            all.fold((0, 0), |(good, again), status| match status {
                200 => (good + 1, again),
                403 => (good, again + 1),
                other => panic!("{other}: {}", one.stderr()),
            })
        })
    };
    for number in 0..5 {
        assert_eq!(passed(&format!("{NONCE}{number}")), (1, 7));
    }
    let keys = redis.ask("KEYS *nonce*");
    assert_eq!(keys.matches("nonce:").count(), 5, "{keys}");
    assert!(!keys.contains(NONCE), "what callers write is there as its digest: {keys}");
    redis.kill();
    eventually("the refusal", || fresh(&one, &format!("{NONCE}when-away"), "") == 503);
    eventually("the metric", || count(&one, "away") >= Some(1.0));
}

#[test]
fn while_the_store_is_away_what_came_to_oneself_is_known_where_that_is_chosen() {
    let mut redis = Redis::start();
    let local = sharing(&redis, "{antiReplay: {store: redis, whenAway: local}}", "");
    let open = sharing(&redis, "{antiReplay: {store: redis, whenAway: open}}", "");
    let before = format!("{NONCE}before");
    assert_eq!((fresh(&local, &before, ""), fresh(&open, &before, "")), (200, 403));
    redis.kill();
    eventually("redis is away", || {
        [&local, &open].iter().all(|gateway| gateway.metric("tidegate_redis_up ") == Some(0.0))
    });
    let after = format!("{NONCE}after");
    assert_eq!(
        (fresh(&local, &before, ""), fresh(&local, &after, ""), fresh(&local, &after, "")),
        (403, 200, 403)
    );
    assert_eq!((fresh(&open, &after, ""), fresh(&open, &after, "")), (200, 200));
    // What was let in meanwhile is known when the store is back, which was not there.
    redis.again();
    eventually("redis is back", || {
        [&local, &open].iter().all(|gateway| gateway.metric("tidegate_redis_up ") == Some(1.0))
    });
    assert_eq!((fresh(&local, &after, ""), fresh(&open, &after, "")), (403, 403));
    assert_eq!(fresh(&local, &before, ""), 403, "the store forgot, and the gateway did not");
    assert_eq!(fresh(&local, &format!("{NONCE}back-again"), ""), 200);
}

#[test]
fn a_shared_store_bounds_what_a_caller_puts_there() {
    let redis = Redis::start();
    // Whoever is no consumer has a hundredth of `maxNonces`.
    let policy = "{antiReplay: {store: redis, window: 2s, leeway: 1s, maxNonces: 300}}";
    let (one, two) = (sharing(&redis, policy, ""), sharing(&redis, policy, ""));
    let nonce = |number: u32| format!("{NONCE}{number}");
    let all = [(&one, 0), (&two, 1), (&one, 2)];
    assert_eq!(all.map(|(gateway, number)| fresh(gateway, &nonce(number), "")), [200; 3]);
    for gateway in [&one, &two] {
        let full = send(gateway, &nonce(3), &now().to_string(), "");
        assert_eq!((full.status, full.problem().as_deref()), (429, Some("rate-limited")), "{}", full.text());
        assert!(full.header("retry-after").is_some());
        assert_eq!(fresh(gateway, &nonce(0), ""), 403, "those are known all the same");
    }
    let keys = redis.ask("KEYS *nonce:*");
    assert_eq!(keys.matches("nonce:").count(), 3, "{keys}");
    eventually("another place", || fresh(&one, &nonce(4), "") == 200);
}

#[test]
fn from_another_address_and_after_a_reload_of_other_settings_it_is_a_replay_all_the_same() {
    let upstream = Upstream::echo();
    let text = |more: &str| {
        format!(
            "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{antiReplay: {{{more}}}}}], backends: [{{upstream: u}}]}}
",
            upstream.address
        )
    };
    let gateway = Gateway::with("trustedProxies: [127.0.0.1/32]", &text(""));
    let from = |client: &str| fresh(&gateway, NONCE, &format!("\nx-forwarded-for: {client}"));
    assert_eq!((from("192.0.2.1"), from("192.0.2.1")), (200, 403));
    for client in ["192.0.2.2", "203.0.113.7", "2001:db8::1"] {
        assert_eq!(from(client), 403, "{client}");
    }
    let written = std::fs::read_to_string(gateway.config()).expect("the configuration");
    let written = written.split_once('\n').expect("admin stands first").1;
    for other in ["window: 10m", "maxNonces: 1000, maxNoncesPerKey: 10", "whenFull: forgetOldest"] {
        gateway.reload(&written.replace("{antiReplay: {}}", &format!("{{antiReplay: {{{other}}}}}")));
        assert_eq!(from("192.0.2.1"), 403, "{other}");
    }
}

#[test]
fn upstreams_and_for_some_consumers_have_none_of_what_judges_arrivals() {
    for policy in ["antiReplay", "botDetection", "csrf"] {
        let upstream = |uses: &str| {
            format!(
                "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
policies: [{{name: shared, policy: {{{policy}: {{}}}}}}]
upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:9\"}}], policies: [{uses}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]
"
            )
        };
        for uses in [format!("{{{policy}: {{}}}}"), "{use: shared}".to_owned()] {
            refused(&upstream(&uses), &["judges requests as they arrive"]);
        }
    }
    for policy in ["botDetection", "csrf"] {
        let text = format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
consumers: [{{name: c, keys: [a-key-of-the-test], policies: [{{{policy}: {{}}}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{keyAuth: {{}}}}], respond: {{}}}}]
"
        );
        refused(&text, &["would come too late"]);
    }
}

#[test]
fn behind_signatures_a_nonce_cannot_be_changed_nor_used_up_by_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    let run = |arguments: &[&str]| {
        let signer = identity_provider(include_str!("../oidc/signer.mjs"), arguments);
        let (is_good, told) = Peer::start(signer).finish();
        assert!(is_good, "the signer fails: {told}");
        told
    };
    run(&["keys", &path]);
    let (upstream, port) = (Upstream::echo(), free_port());
    let components = "'@method', '@path', x-nonce, x-timestamp";
    let text = format!(
        "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{antiReplay: {{}}}}, {{hmac: {{jwks: signers.json, components: [{components}], allowReplays: true}}}}]
    backends: [{{upstream: u}}]
",
        upstream.address
    );
    let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {});
    let jobs = json!([{
        "key": "ed", "url": format!("http://127.0.0.1:{port}/p"),
        "headers": {"x-nonce": NONCE, "x-timestamp": now().to_string()},
        "fields": ["@method", "@path", "x-nonce", "x-timestamp"],
    }]);
    let told: Vec<serde_json::Map<String, Value>> =
        serde_json::from_str(&run(&["sign", &path, &jobs.to_string()])).expect("JSON");
    let send = |nonce: Option<&str>, is_signed: bool| {
        let lines = told[0].iter().map(|(name, value)| {
            let own = value.as_str().expect("text");
            let is_nonce = name.eq_ignore_ascii_case("x-nonce");
            (name, if is_nonce { nonce.unwrap_or(own) } else { own })
        });
        let lines =
            lines.filter(|(name, _)| is_signed || !name.to_ascii_lowercase().starts_with("signature"));
        let lines: String = lines.map(|(name, value)| format!("\n{name}: {value}")).collect();
        let head = format!("POST /p HTTP/1.1\nhost: 127.0.0.1:{port}\ncontent-length: 0{lines}");
        gateway.send(&head, b"").status
    };
    assert_eq!(send(None, false), 401, "an unsigned one does not use the nonce up");
    assert_eq!(send(None, true), 200, "{}", gateway.stdout());
    assert_eq!(send(None, true), 403);
    assert_eq!(send(Some("another-nonce-of-a-thief"), true), 401, "the signature covers it");
}
