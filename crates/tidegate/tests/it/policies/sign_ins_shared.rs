//! What gateways know together of who signs in: locks of `lockout`, and signatures that `hmac` has let in, in a real Redis.

use super::{
    super::harness::{Gateway, Redis, eventually, pause},
    ask,
    rate_limit_shared::is_up,
    refused,
};

/// A gateway with a user, on this Redis.
fn gateway(redis: &Redis, policies: &str) -> Gateway {
    let gateway = Gateway::start(&format!(
        "redis: {{addresses: [\"127.0.0.1:{}\"]}}
trustedProxies: [127.0.0.0/8]
consumers: [{{name: ann, basic: [{{username: ann, password: right}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], respond: {{}}}}]
",
        redis.port
    ));
    eventually("a connection to redis", || is_up(&gateway));
    gateway
}

fn count(gateway: &Gateway, policy: &str, outcome: &str) -> Option<f64> {
    let metric = format!("tidegate_{policy}_total{{policy=\"routes/r/{policy}\",outcome=\"{outcome}\"}}");
    gateway.metric(&metric)
}

/// Ann's sign-in from an address.
fn from(gateway: &Gateway, address: &str, password: &str) -> u16 {
    let shown = match password {
        // ann:right and ann:wrong
        "right" => "YW5uOnJpZ2h0",
        _ => "YW5uOndyb25n",
    };
    ask(gateway, "/", &format!("\nauthorization: Basic {shown}\nx-forwarded-for: {address}")).status
}

/// A failure, which is in the store a moment after its answer.
fn fails(gateway: &Gateway, redis: &Redis, address: &str) {
    let sum = || -> i64 {
        let of = |key: &str, field: &str| -> i64 {
            let told = redis.ask(&format!("HGET {key} {field}"));
            told.lines().filter_map(|line| line.trim().parse().ok()).next_back().unwrap_or(0)
        };
        let keys = redis.ask("KEYS *lockout*");
        let keys = keys.lines().map(str::trim).filter(|line| line.contains("lockout:"));
        keys.map(|key| of(key, "failures") + 100 * of(key, "locks")).sum()
    };
    let before = sum();
    assert_eq!(from(gateway, address, "wrong"), 401);
    eventually("the store knows", || sum() != before);
}

#[test]
fn failures_at_any_gateway_lock_out_at_all_of_them() {
    let redis = Redis::start();
    let policies = "{basicAuth: {}}, {lockout: {by: [user], maxFailures: 3, duration: 2s, store: redis}}";
    let [one, two] = [gateway(&redis, policies), gateway(&redis, policies)];
    fails(&one, &redis, "192.0.2.1");
    fails(&two, &redis, "192.0.2.2");
    // A good sign-in takes back what came from its own place, wherever that was counted.
    assert_eq!(from(&one, "192.0.2.2", "right"), 200);
    pause(200);
    fails(&two, &redis, "192.0.2.3");
    assert_eq!(from(&one, "192.0.2.4", "right"), 200, "two are counted");
    fails(&two, &redis, "192.0.2.3");
    assert_eq!((from(&one, "192.0.2.4", "right"), from(&two, "192.0.2.4", "right")), (429, 429));
    assert_eq!(count(&two, "lockout", "locked"), Some(1.0));
    assert_eq!(count(&one, "lockout", "failed"), Some(1.0));
    // It ends at all of them, and the next lasts longer.
    eventually("the lock ends", || from(&one, "192.0.2.4", "right") == 200);
    assert_eq!(from(&two, "192.0.2.4", "right"), 200);
    for gateway in [&one, &two, &one] {
        fails(gateway, &redis, "192.0.2.5");
    }
    let refused = ask(&two, "/", "\nauthorization: Basic YW5uOnJpZ2h0");
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((3..=4).contains(&wait), "{wait}");
    assert!(!redis.ask("KEYS *").contains("ann"), "names are digests");
}

#[test]
fn while_the_store_of_locks_is_away_each_gateway_counts_for_itself() {
    let mut redis = Redis::start();
    let policies = "{basicAuth: {}}, {lockout: {by: [user], maxFailures: 2, duration: 60s, store: redis}}";
    let [one, two] = [gateway(&redis, policies), gateway(&redis, policies)];
    redis.kill();
    eventually("it is away", || !is_up(&one) && !is_up(&two));
    assert_eq!([1, 2].map(|_| from(&one, "192.0.2.1", "wrong")), [401, 401]);
    eventually("it is locked here", || from(&one, "192.0.2.1", "right") == 429);
    assert_eq!(from(&two, "192.0.2.1", "right"), 200);
    redis.again();
    eventually("it is back", || is_up(&one));
    assert_eq!(from(&one, "192.0.2.1", "right"), 429, "what is known here holds");
}

/// A delivery of GitHub's with this text.
fn delivery(gateway: &Gateway, text: &str) -> u16 {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"the-secret-of-the-test");
    let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let head = format!(
        "POST /hook HTTP/1.1\nhost: a\ncontent-length: {}\nx-hub-signature-256: sha256={hex}",
        text.len()
    );
    gateway.send(&head, text.as_bytes()).status
}

#[test]
fn a_signature_is_good_once_at_all_gateways_together() {
    let mut redis = Redis::start();
    let policies = |more: &str| {
        format!("{{hmac: {{style: github, secrets: [the-secret-of-the-test], store: redis{more}}}}}")
    };
    let [one, two] = [gateway(&redis, &policies("")), gateway(&redis, &policies(""))];
    let local = gateway(&redis, &policies(", whenAway: local"));
    assert_eq!((delivery(&one, "first"), delivery(&two, "first"), delivery(&one, "first")), (200, 401, 401));
    assert_eq!((delivery(&two, "second"), delivery(&one, "second")), (200, 401));
    assert_eq!((count(&one, "hmac", "good"), count(&one, "hmac", "replayed")), (Some(1.0), Some(2.0)));
    assert_eq!(delivery(&local, "third"), 200);
    redis.kill();
    eventually("it is away", || !is_up(&one) && !is_up(&local));
    assert_eq!(delivery(&one, "fourth"), 503, "nobody can say whether it was used");
    assert_eq!(
        (delivery(&local, "third"), delivery(&local, "fourth"), delivery(&local, "fourth")),
        (401, 200, 401)
    );
    assert!(count(&one, "hmac", "away") >= Some(1.0));
    redis.again();
    eventually("it is back", || is_up(&one));
    assert_eq!(delivery(&one, "fourth"), 200, "what was refused was not used");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let with =
        |policy: &str| format!("routes: [{{name: r, match: [], policies: [{policy}], respond: {{}}}}]");
    for (policy, words) in [
        ("{lockout: {store: redis}}", "there is no `redis` in the configuration"),
        ("{hmac: {style: github, secrets: [a], store: redis}}", "there is no `redis` in the configuration"),
        ("{hmac: {style: github, secrets: [a], store: redis, allowReplays: true}}", "nothing is remembered"),
    ] {
        refused(&with(policy), &[words]);
    }
}
