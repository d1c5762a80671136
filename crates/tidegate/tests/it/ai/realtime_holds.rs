//! What is held for answers of Realtime conversations: each by its id, whatever becomes of it, at several gateways
//! together.

use super::{
    KEY, post,
    realtime::{gateway, server},
};
use crate::harness::{Gateway, Peer, Redis, eventually, python};

const BUDGET: &str = ", {budget: {amount: 10, per: month, name: monthly}}";

fn said(what: &str, gateways: &[&Gateway]) -> Vec<String> {
    let bases: Vec<String> = gateways.iter().map(|one| format!("http://{}/ai", one.address)).collect();
    let (first, others) = bases.split_first().expect("a gateway");
    let mut all = vec![what, first.as_str(), KEY];
    all.extend(others.iter().map(String::as_str));
    let (well, text) = Peer::start(python(include_str!("realtime_holds.py"), &all)).finish();
    assert!(well, "{text}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn answers_side_by_side_are_held_and_settled_each_for_itself() {
    let (_server, base) = server();
    let gateway = gateway(&[("up", base)], BUDGET, "");
    let want = [
        "both True",
        "one True",
        "none 0.00124",
        "another's error True",
        "its error True",
        "its error True",
        "failed True",
        "untold True",
        "end True",
    ];
    assert_eq!(said("aside", &[&gateway]), want);
    let record = gateway.record("the conversation", |record| record["ai"]["turns"].is_u64());
    assert_eq!((&record["ai"]["turns"], &record["ai"]["is_estimate"]), (&4.into(), &true.into()), "{record}");
}

#[test]
fn bounds_of_answers_are_those_that_the_provider_keeps_and_bytes_are_read_too() {
    let (_server, base) = server();
    let rules = ", {guardrails: {rules: [{name: personal, on: request, mode: mask, personalData: [email]}]}}";
    let gateway = gateway(&[("up", base)], &format!("{BUDGET}{rules}"), "");
    let want = [
        "widest True",
        "ten True",
        "inf True",
        "beside True",
        "bytes True",
        "masked Write to <EMAIL_1>",
        "noise invalid_event True",
        "noise invalid_event",
    ];
    assert_eq!(said("bounds", &[&gateway]), want);
}

#[test]
fn what_the_model_begins_by_itself_and_nothing_is_left_for_is_spent_all_the_same() {
    let (_server, base) = server();
    let gateway = gateway(&[("up", base)], ", {budget: {amount: 0.1, per: month, name: monthly}}", "");
    assert_eq!(said("begun", &[&gateway]), ["closed 1008", "spent True"]);
}

#[test]
fn what_nothing_was_left_for_is_spent_in_the_store_that_gateways_share_too() {
    let redis = Redis::start();
    let (_server, base) = server();
    let budget = ", {budget: {amount: 0.1, per: month, name: monthly, store: redis}}";
    let settings = format!("redis: {{addresses: [\"127.0.0.1:{}\"]}}\n", redis.port);
    let gateway = super::realtime::gateway_of(&[("up", base)], budget, "", "", &settings);
    eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
    assert_eq!(said("begun", &[&gateway]), ["closed 1008", "spent True"]);
}

#[test]
fn bytes_pass_where_nobody_has_to_read_them() {
    let (_server, base) = server();
    assert_eq!(said("free", &[&gateway(&[("up", base)], "", "")]), ["noise passes True"]);
}

#[test]
fn conversations_at_two_gateways_share_one_budget_to_the_picodollar() {
    let redis = Redis::start();
    let (_server, base) = server();
    let budget = ", {budget: {amount: 0.5, per: month, name: monthly, store: redis}}";
    let sharing = || {
        let settings = format!("redis: {{addresses: [\"127.0.0.1:{}\"]}}\n", redis.port);
        let gateway = super::realtime::gateway_of(&[("up", base.clone())], budget, "", "", &settings);
        eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
        gateway
    };
    let (one, two) = (sharing(), sharing());
    let lines = said("shared", &[&one, &two]);
    assert_eq!(lines[0], "codes [1008] 4", "{lines:?}");
    let turns: u64 = lines[1].strip_prefix("turns ").and_then(|turns| turns.parse().ok()).expect("turns");
    // An answer costs 0.00668 and is held with up to 0.042: it is refused where less is left.
    assert!((65..=74).contains(&turns), "{turns}");
    let want = format!("has ${} left", model::Usd::of(500_000_000_000 - u128::from(turns) * 6_680_000_000));
    for gateway in [&one, &two] {
        let body = r#"{"model":"rt","max_tokens":999000000000,"messages":[{"role":"user","content":"x"}]}"#;
        eventually("what all of them spent", || {
            post(gateway, "/ai/v1/chat/completions", "", body).text().contains(&want)
        });
    }
}
