//! What budgets have left is seen: by operators in the admin API, the command and the metrics, by callers in a header.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    budgets::{INPUT, OUTPUT, PRICES, endless},
    limits::{ask, base, metered, read_until, told},
    post,
};
use crate::harness::{Gateway, Redis, eventually, run_with};

const POLICIES: &str = ", {budget: {amount: 10, per: month, timeZone: Europe/Berlin, key: consumer, name: b, headers: true, metricKeys: 3}}, {tokenRateLimit: {tokens: 10000, window: 10d, name: t}}";
const ONCE: u128 = 100 * INPUT + 10 * OUTPUT;

/// The budgets that a query lists.
fn listed(gateway: &Gateway, query: &str) -> Vec<Value> {
    let answer = gateway.admin_get(&format!("/api/v1/budgets{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()["budgets"].as_array().expect("budgets").clone()
}

fn spent(gateway: &Gateway) -> String {
    listed(gateway, "?key=app&policy=b")[0]["accounts"][0]["spent"].as_str().unwrap_or_default().to_owned()
}

fn dollars(amount: u128) -> String {
    model::Usd::of(amount).to_string()
}

#[test]
fn what_is_spent_is_seen_by_key_and_over_a_restart_and_a_new_period_begins_with_nothing() {
    let upstream = told(100, 10);
    let mut gateway = metered("", POLICIES, &[&base(&upstream)], PRICES);
    let fresh = &listed(&gateway, "?key=app&policy=b")[0]["accounts"][0].clone();
    assert_eq!((fresh["spent"].as_str(), fresh["left"].as_str()), (Some("0.00"), Some("10.00")), "{fresh}");
    let answer = ask(&gateway, 500, "");
    assert_eq!(answer.status, 200);
    let header = answer.header("x-tidegate-budget").expect("a header").to_owned();
    assert!(header.starts_with("\"b\";used=0.0;left=9.99") && header.contains(";limit=10.00;unit=usd;t="));
    eventually("it is settled", || spent(&gateway) == dollars(ONCE));
    let all = listed(&gateway, "");
    let (budget, limit) = (&all[0], &all[1]);
    assert_eq!(
        (budget["policy"].as_str(), budget["unit"].as_str()),
        (Some("routes/models/budget/b"), Some("usd"))
    );
    let begins = budget["begins"].as_str().expect("a beginning");
    assert!(begins.contains("-01T00:00:00+0") && budget["timeZone"] == "Europe/Berlin", "{budget}");
    let account = &budget["accounts"][0];
    assert_eq!((account["key"].as_str(), account["held"].as_str()), (Some("consumer:app"), Some("0.00")));
    assert_eq!(account["left"], dollars(10_000_000_000_000 - ONCE));
    assert_eq!((budget["keys"].as_u64(), budget["spent"].as_str()), (Some(1), Some(&*dollars(ONCE))));
    assert_eq!(
        (limit["kind"].as_str(), limit["accounts"][0]["spent"].as_u64()),
        (Some("tokenRateLimit"), Some(110)),
        "{limit}"
    );
    assert_eq!(limit["accounts"][0]["left"], 9890, "{limit}");
    let page = gateway.metrics();
    for series in [
        "tidegate_ai_budget_spent_usd{budget=\"routes/models/budget/b\"} 0.00035",
        "tidegate_ai_budget_limit_usd{budget=\"routes/models/budget/b\"} 10",
        "tidegate_ai_budget_held_usd{budget=\"routes/models/budget/b\"} 0",
        "tidegate_ai_budget_keys{budget=\"routes/models/budget/b\"} 1",
        "tidegate_ai_budget_used_ratio{budget=\"routes/models/budget/b\"} 0.000035",
        "tidegate_ai_budget_key_spent_usd{budget=\"routes/models/budget/b\",key=\"consumer:app\"} 0.00035",
    ] {
        assert!(page.contains(series), "{series}: {page}");
    }
    gateway.restart("TERM");
    assert_eq!(spent(&gateway), dollars(ONCE), "it is kept");
    // As if it had been spent in the month before.
    gateway.restart_after("TERM", |data| {
        let kept = rusqlite::Connection::open(data.join("spent.db")).expect("a file");
        let changed = kept.execute("UPDATE spent SET period = period - 2678400", []).expect("written");
        assert_eq!(changed, 1);
    });
    assert_eq!(spent(&gateway), "0.00");
}

#[test]
fn what_is_held_is_seen_while_a_call_is_on_its_way() {
    let upstream = endless();
    let gateway = metered("", POLICIES, &[&base(&upstream)], PRICES);
    let body =
        r#"{"model":"smart","stream":true,"max_tokens":5000,"messages":[{"role":"user","content":"Hello"}]}"#;
    let first = read_until(&gateway, body, "tide");
    let account =
        &listed(&gateway, "?key=consumer:app&policy=routes/models/budget/b")[0]["accounts"][0].clone();
    let held = account["held"].as_str().and_then(|text| text.parse::<f64>().ok()).expect("an amount");
    assert!(held > 0.05 && account["spent"] == "0.00", "{account}");
    let metric = gateway.metric("tidegate_ai_budget_held_usd{budget=\"routes/models/budget/b\"}");
    assert!(metric.is_some_and(|metric| (metric - held).abs() < 1e-9), "{metric:?} {held}");
    let limit = &listed(&gateway, "?policy=t")[0]["accounts"][0].clone();
    assert!(limit["held"].as_u64() > Some(5000), "{limit}");
    drop(first);
    eventually("nothing is held", || {
        listed(&gateway, "?key=app&policy=b")[0]["accounts"][0]["held"] == "0.00"
    });
}

#[test]
fn lists_are_bounded_and_any_key_is_found() {
    let upstream = told(100, 10);
    let policy = ", {budget: {tokens: 1000000, key: {header: x-who}, name: who}}";
    let gateway = metered("", policy, &[&base(&upstream)], "");
    let body = r#"{"model":"smart","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}"#;
    for who in 0..12 {
        for _ in 0..=who / 4 {
            assert_eq!(
                post(&gateway, "/ai/v1/chat/completions", &format!("\nx-who: {who}"), body).status,
                200
            );
        }
    }
    let all = || listed(&gateway, "?limit=5").remove(0);
    eventually("all is settled", || all()["spent"] == 24 * 110);
    let budget = all();
    let accounts = budget["accounts"].as_array().expect("accounts");
    assert_eq!((budget["keys"].as_u64(), accounts.len()), (Some(12), 5), "{budget}");
    let amounts: Vec<_> = accounts.iter().map(|one| one["spent"].as_u64().expect("tokens")).collect();
    assert_eq!(amounts, [330, 330, 330, 330, 220], "those that have spent the most");
    let key = accounts[0]["key"].as_str().expect("a key");
    assert!(key.starts_with("header:") && key.len() > 20, "what callers write is no key as it is: {key}");
    let found = listed(&gateway, &format!("?key={key}")).remove(0);
    assert_eq!(
        (found["accounts"].as_array().map(Vec::len), &found["accounts"][0]["spent"]),
        (Some(1), &Value::from(330))
    );
    let written = listed(&gateway, "?key=header%3D11")[0]["accounts"][0].clone();
    assert_eq!(written["spent"], 330, "by what the caller wrote: {written}");
    let admin = gateway.admin.to_string();
    let arguments = ["budgets", "--admin", &admin, "--key", "header=11"];
    let (code, out, problems) = run_with(&arguments, &[("TIDEGATE_ADMIN_TOKEN", "test-admin-token")]);
    assert!(code == 0 && out.contains("330") && out.contains("header:"), "{out} {problems}");
    assert!(listed(&gateway, "?key=header:none")[0]["accounts"].as_array().is_some_and(Vec::is_empty));
    assert!(!gateway.metrics().contains("key=\"header:"), "nobody is named in the metrics unasked");
    for (query, status) in [
        ("?limit=0", 400),
        ("?limit=1001", 400),
        ("?limit=lots", 400),
        ("?kee=app", 400),
        ("?policy=nothing", 404),
        ("?limit=1000", 200),
    ] {
        let answer = gateway.admin_get(&format!("/api/v1/budgets{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
}

#[test]
fn an_account_of_an_api_key_tells_where_that_key_stands() {
    let upstream = told(100, 10);
    let own = ", hashedKeys: [{sha256: \"9c5f2d1c3a4b5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7\", name: ci}]";
    let policy = ", {budget: {amount: 10, key: key, name: k}}";
    let gateway = metered(own, policy, &[&base(&upstream)], PRICES);
    assert_eq!(ask(&gateway, 500, "").status, 200);
    let of = |key: &str| listed(&gateway, &format!("?policy=k&key={key}"))[0]["accounts"][0].clone();
    eventually("it is settled", || of("key:app/0")["spent"] == dollars(ONCE));
    assert_eq!(
        (&of("key:app/0")["credential"], &of("key:app/0")["credentialName"]),
        (&"keys[0]".into(), &Value::Null)
    );
    let hashed = of("key:app/1");
    assert_eq!(
        (&hashed["credential"], &hashed["credentialName"]),
        (&"hashedKeys[0]".into(), &"ci".into()),
        "{hashed}"
    );
    let admin = gateway.admin.to_string();
    let arguments = ["budgets", "--admin", &admin, "--key", "key:app/1"];
    let (code, out, problems) = run_with(&arguments, &[("TIDEGATE_ADMIN_TOKEN", "test-admin-token")]);
    assert!(code == 0 && out.contains("key:app/1 (ci)"), "{out} {problems}");
}

#[test]
fn the_command_shows_a_table_and_json() {
    let upstream = told(100, 10);
    let gateway = metered("", POLICIES, &[&base(&upstream)], PRICES);
    assert_eq!(ask(&gateway, 500, "").status, 200);
    eventually("it is settled", || spent(&gateway) == dollars(ONCE));
    let admin = gateway.admin.to_string();
    let run = |more: &[&str]| {
        let arguments = [&["budgets", "--admin", &admin], more].concat();
        run_with(&arguments, &[("TIDEGATE_ADMIN_TOKEN", "test-admin-token")])
    };
    let (code, out, problems) = run(&[]);
    assert_eq!(code, 0, "{problems}");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("POLICY") && lines.len() == 3, "{out}");
    for part in ["routes/models/budget/b", "consumer:app", "usd", "0.00035", "9.99965", "10.00", "0.0 %"] {
        assert!(lines[1].contains(part), "{part}: {out}");
    }
    assert!(lines[2].contains("back over 864000 s") && lines[2].contains("9890"), "{out}");
    let (code, out, _) = run(&["--json", "--key", "app", "--policy", "b"]);
    let json: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, json["budgets"][0]["accounts"][0]["spent"].as_str()), (0, Some("0.00035")), "{out}");
    let (code, _, problems) = run(&["--policy", "no such one"]);
    assert!(
        code == 1 && problems.contains("no budget or limit of tokens `no such one`"),
        "{code} {problems}"
    );
}

#[test]
fn a_key_is_shown_its_own_accounts_and_one_that_nobody_knows_is_told_so() {
    let upstream = told(100, 10);
    let own = ", groups: [gold], policies: [{budget: {amount: 5, name: own}}]";
    let policies = ", {budget: {amount: 10, name: b}}, {budget: {amount: 20, key: model, name: m}}, {tokenRateLimit: {tokens: 10000, window: 10d, key: group, name: g}}";
    let gateway = metered(own, policies, &[&base(&upstream)], PRICES);
    let admin = gateway.admin.to_string();
    let told = |key: &str| {
        let arguments = ["budgets", "--admin", &admin, "--key", key];
        let (code, out, problems) = run_with(&arguments, &[("TIDEGATE_ADMIN_TOKEN", "test-admin-token")]);
        assert_eq!(code, 0, "{key}: {problems}");
        out
    };
    for (key, shown) in [
        ("app", &["consumers/app/budget/own", "routes/models/budget/b"][..]),
        ("model:smart", &["routes/models/budget/m"]),
        ("group:gold", &["routes/models/g"]),
    ] {
        let out = told(key);
        let lines: Vec<&str> = out.lines().skip(1).collect();
        assert_eq!(lines.len(), shown.len(), "{key}: {out}");
        for (line, name) in lines.iter().zip(shown) {
            let (begin, end) = name.rsplit_once('/').expect("a place");
            let policy = line.split(' ').next().unwrap_or_default();
            assert!(policy.starts_with(begin) && policy.ends_with(&format!("/{end}")), "{key}: {out}");
        }
    }
    let out = told("nobody");
    assert!(out.starts_with("`nobody` has no account"), "{out}");
}

#[test]
fn what_gateways_share_is_listed_as_it_was_seen_last_and_asked_for_by_key() {
    let (redis, upstream) = (Redis::start(), told(100, 10));
    let settings = format!("{PRICES}redis: {{addresses: [\"127.0.0.1:{}\"], timeout: 200ms}}\n", redis.port);
    let shared = ", {budget: {amount: 10, name: b, store: redis, headers: true}}, {tokenRateLimit: {tokens: 10000, window: 10d, name: t, store: redis}}";
    let [one, two] = [(); 2].map(|()| metered("", shared, &[&base(&upstream)], &settings));
    for gateway in [&one, &two] {
        eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
    }
    let fresh = listed(&two, "?key=app&policy=b").remove(0);
    assert_eq!(
        (fresh["store"].as_str(), fresh["accounts"][0]["left"].as_str()),
        (Some("redis"), Some("10.00")),
        "{fresh}"
    );
    for _ in 0..3 {
        let answer = ask(&one, 500, "");
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("x-tidegate-budget")
                .is_some_and(|text| text.starts_with("\"b\";used=0.0;left=9.9"))
        );
    }
    // The other gateway has never heard of it, and the store has.
    eventually("it is settled", || spent(&two) == dollars(3 * ONCE));
    assert_eq!(spent(&one), dollars(3 * ONCE));
    let account = listed(&two, "?key=app&policy=b")[0]["accounts"][0].clone();
    assert_eq!((account["held"].as_str(), account["asOf"].as_str()), (Some("0.00"), None), "{account}");
    let limit = listed(&two, "?key=app&policy=t")[0]["accounts"][0].clone();
    assert_eq!((limit["spent"].as_u64(), limit["left"].as_u64()), (Some(330), Some(9670)), "{limit}");
    let budget = |gateway: &Gateway| listed(gateway, "?policy=b").remove(0);
    assert_eq!(budget(&two)["accounts"].as_array().map(Vec::len), Some(0), "what it has seen itself");
    eventually("what the store told last", || budget(&one)["accounts"][0]["spent"] == dollars(3 * ONCE));
    let seen = budget(&one)["accounts"][0].clone();
    assert!(seen["asOf"].as_str().is_some_and(|text| text.contains('T')) && seen["held"].is_null(), "{seen}");
    let series = "tidegate_ai_budget_spent_usd{budget=\"routes/models/budget/b\"}";
    assert!(one.metric(series).is_some_and(|dollars| (dollars - 0.00105).abs() < 1e-12));
    redis.signal("STOP");
    let began = Instant::now();
    let away = listed(&one, "?key=app&policy=b").remove(0);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(away["trouble"].as_str().is_some_and(|text| text.contains("away")), "{away}");
    assert_eq!(away["accounts"][0]["spent"], dollars(3 * ONCE), "what was seen last");
    redis.signal("CONT");
    eventually("it is asked again", || listed(&one, "?key=app&policy=b")[0]["trouble"].is_null());
}
