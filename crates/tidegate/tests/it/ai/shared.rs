//! Limits and budgets that two gateways share through Redis: exact while it is there, as chosen while it is away.

use std::time::{Duration, Instant};

use super::{
    budgets::{self, INPUT, OUTPUT, PRICES, settles, taken},
    limits::{ask, base, metered, told},
    post,
};
use crate::harness::{Gateway, Redis, Upstream, eventually, pause};

/// Calls of the test spend this: less than is held for them, for their prompt is counted as about 50 tokens.
const TOKENS: (u64, u64) = (20, 50);
const COST: u128 = TOKENS.0 as u128 * INPUT + TOKENS.1 as u128 * OUTPUT;

fn budget(more: &str) -> String {
    format!(", {{budget: {{amount: 1000, key: consumer, name: b, store: redis{more}}}}}")
}

/// A gateway with these policies, whose store is this.
fn sharing(redis: &Redis, policies: &str, upstream: &Upstream, more: &str) -> Gateway {
    let settings = format!("{PRICES}redis: {{addresses: [\"127.0.0.1:{}\"]{more}}}\n", redis.port);
    let gateway = metered("", policies, &[&base(upstream)], &settings);
    eventually("a connection to redis", || is_up(&gateway));
    gateway
}

fn is_up(gateway: &Gateway) -> bool {
    gateway.metric("tidegate_redis_up ") == Some(1.0)
}

/// Calls two gateways from many threads; how many calls passed.
fn storm(gateways: [&Gateway; 2], threads: usize, calls: usize) -> u64 {
    std::thread::scope(|scope| {
        let begun: Vec<_> = (0..threads)
            .map(|thread| {
                let gateway = gateways[thread % 2];
                scope.spawn(move || {
                    let passed = (0..calls).filter(|_| match ask(gateway, 60, "").status {
                        200 => true,
                        429 => false,
                        other => panic!("{other}: {}", gateway.stderr()),
                    });
                    passed.count() as u64
                })
            })
            .collect();
        begun.into_iter().map(|thread| thread.join().expect("calls")).sum()
    })
}

#[test]
fn two_gateways_share_one_limit_of_tokens_exactly() {
    let (redis, upstream) = (Redis::start(), told(TOKENS.0, TOKENS.1));
    // Little of it comes back while the test runs.
    let limit = ", {tokenRateLimit: {tokens: 4000, window: 10d, key: consumer, name: tpm, store: redis}}";
    let (one, two) = (sharing(&redis, limit, &upstream, ""), sharing(&redis, limit, &upstream, ""));
    let passed = storm([&one, &two], 8, 12);
    assert!(passed * 70 <= 4000, "{passed} calls of 70 tokens passed");
    // With nothing on its way, there is room for as many as fit, and for no more.
    let more = (0..80).filter(|round| ask([&one, &two][round % 2], 60, "").status == 200).count() as u64;
    let total = (passed + more) * 70;
    assert!((3700..=4000).contains(&total), "{total} tokens were let pass");
    let refused = ask(&two, 60, "");
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded", "{}", refused.text());
    assert!(refused.header("ratelimit").is_some_and(|text| text.starts_with("\"tpm\";r=")), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(upstream.seen().len() as u64, passed + more);
}

#[test]
fn two_gateways_share_one_budget_to_the_picodollar_and_a_restart_keeps_it() {
    let (redis, upstream) = (Redis::start(), told(TOKENS.0, TOKENS.1));
    let mut one = sharing(&redis, &budget(""), &upstream, "");
    let two = sharing(&redis, &budget(""), &upstream, "");
    let passed = u128::from(storm([&one, &two], 8, 10));
    assert_eq!(passed, 80);
    settles(&two, "what both spent", |taken| taken == passed * COST);
    assert_eq!(taken(&one), passed * COST);
    one.restart("TERM");
    eventually("a connection to redis", || is_up(&one));
    assert_eq!(ask(&one, 60, "").status, 200);
    for gateway in [&one, &two] {
        settles(gateway, "what was spent before and after", |taken| taken == (passed + 1) * COST);
    }
    let trips = one.metric("tidegate_redis_round_trip_seconds_count").expect("a metric");
    assert!(trips >= 2.0, "{trips}");
    let status = one.admin_get("/api/v1/status").json()["redis"].clone();
    assert_eq!(status["state"], "UP", "{status}");

    // One that is nearly spent is not overspent by anybody.
    let small = ", {budget: {amount: \"0.02\", name: small, warnAt: 50, store: redis}}";
    let (one, two) = (sharing(&redis, small, &upstream, ""), sharing(&redis, small, &upstream, ""));
    let passed = storm([&one, &two], 8, 10);
    let limit = 20_000_000_000_u128;
    assert!(u128::from(passed) * COST <= limit, "{passed} calls passed");
    let more = (0..40).filter(|_| ask(&two, 60, "").status == 200).count() as u64;
    let spent = u128::from(passed + more) * COST;
    // What is left is less than a call may cost at most: a prompt as estimated, and an answer of 60 tokens.
    assert!((limit - 3 * COST..=limit).contains(&spent), "{spent}");
    let warnings = [&one, &two].map(|one| one.stderr().matches("of the budget `small`").count());
    assert_eq!(warnings.iter().sum::<usize>(), 1, "one of them warns, once");
}

#[test]
fn a_valkey_in_redis_place_counts_limits_and_budgets_exactly() {
    let (valkey, upstream) = (Redis::valkey(), told(TOKENS.0, TOKENS.1));
    let tokens = ", {tokenRateLimit: {tokens: 4000, window: 10d, name: tpm, store: redis}}";
    let policies = format!("{tokens}{}", budget(""));
    let (one, two) = (sharing(&valkey, &policies, &upstream, ""), sharing(&valkey, &policies, &upstream, ""));
    let passed = storm([&one, &two], 8, 5);
    let more = (0..60).filter(|round| ask([&one, &two][round % 2], 60, "").status == 200).count() as u64;
    let total = (passed + more) * 70;
    // 57 calls fit; the last of them only where what it may need at most is left.
    assert!((3850..=3990).contains(&total), "{total} tokens were let pass");
    assert_eq!(upstream.seen().len() as u64, passed + more);
    let mut spent = u128::from(passed + more) * COST;
    let is_spent = |gateways: [&Gateway; 2], spent: u128| {
        let want = model::Usd::of(spent).to_string();
        for gateway in gateways {
            eventually(&format!("{want} is spent"), || {
                let told = gateway.admin_get("/api/v1/budgets?policy=b&key=app").json();
                told["budgets"][0]["accounts"][0]["spent"] == want.as_str()
            });
        }
    };
    is_spent([&one, &two], spent);
    // Calls are counted there, too.
    let policies = format!(
        ", {{rateLimit: {{limit: 20, window: 10d, name: calls, key: consumer, store: redis}}}}{}",
        budget("")
    );
    let (one, two) = (sharing(&valkey, &policies, &upstream, ""), sharing(&valkey, &policies, &upstream, ""));
    for round in 0..10 {
        assert_eq!(ask([&one, &two][round % 2], 60, "").status, 200, "{round}");
    }
    // Its scripts are forgotten, as after a failover: they are sent again, and nothing is lost.
    assert!(valkey.ask("SCRIPT FLUSH").contains("OK"));
    for round in 10..20 {
        assert_eq!(ask([&one, &two][round % 2], 60, "").status, 200, "{round}");
    }
    for gateway in [&one, &two] {
        let refused = ask(gateway, 60, "");
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(
            refused.header("ratelimit").is_some_and(|text| text.contains("\"calls\";r=0")),
            "{refused:?}"
        );
    }
    spent += 20 * COST;
    is_spent([&one, &two], spent);
    assert_eq!(one.admin_get("/api/v1/status").json()["redis"]["state"], "UP");
}

#[test]
fn while_redis_hangs_the_choice_holds_within_the_timeout_and_then_all_is_exact_again() {
    let (redis, upstream) = (Redis::start(), told(TOKENS.0, TOKENS.1));
    let local = ", {budget: {amount: \"0.02\", name: local, store: redis, share: 20}}";
    let (open, closed) = (budget(", whenAway: open"), budget(", whenAway: closed"));
    let [open, closed, local] =
        [&*open, &*closed, local].map(|policy| sharing(&redis, policy, &upstream, ", timeout: 100ms"));
    for gateway in [&open, &closed, &local] {
        assert_eq!(ask(gateway, 60, "").status, 200);
    }
    settles(&open, "two calls of one budget", |taken| taken == 2 * COST);
    redis.signal("STOP");
    let timed = |gateway: &Gateway| {
        let began = Instant::now();
        let answer = ask(gateway, 60, "");
        assert!(began.elapsed() < Duration::from_millis(1000), "{:?}", began.elapsed());
        answer
    };
    for _ in 0..5 {
        assert_eq!(timed(&open).status, 200);
        let refused = timed(&closed);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert!(refused.json()["error"]["message"].is_string(), "{}", refused.text());
    }
    let body = r#"{"model":"smart","max_tokens":60,"messages":[{"role":"user","content":"hi"}]}"#;
    let refused = post(&closed, "/ai/v1/messages", "\nanthropic-version: 2023-06-01", body);
    assert_eq!((refused.status, refused.json()["type"].as_str()), (503, Some("error")), "{}", refused.text());
    // A fifth of 0.02 dollars pays six or seven calls of 0.00055, and one was before; the last needs room for 0.0007.
    let passed = (0..12).filter(|_| timed(&local).status == 200).count() as u128;
    assert!((5..=6).contains(&passed), "{passed}");
    assert_eq!(open.admin_get("/api/v1/status").json()["redis"]["state"], "AWAY");
    assert!(open.metric("tidegate_redis_fallbacks_total{how=\"open\"}") >= Some(5.0));
    assert!(open.metric("tidegate_redis_errors_total{reason=\"timeout\"}") >= Some(1.0));

    redis.signal("CONT");
    eventually("connections to redis", || [&open, &closed, &local].iter().all(|one| is_up(one)));
    settles(&closed, "what was spent while it was away", |taken| taken == 7 * COST);
    eventually("all is settled", || local.metric("tidegate_redis_unsettled ") == Some(0.0));
    let refused = ask(&local, 999_000_000, "").text();
    let left = 20_000_000_000 - (1 + passed) * COST;
    let want = format!("has ${} left", model::Usd::of(left));
    assert!(refused.contains(&want), "{want}: {refused}");
}

/// While the store is away nobody knows that the day's budget is spent: who meets a gateway's share is told to come back soon.
#[test]
fn a_share_that_is_used_up_while_redis_is_away_is_told_as_that() {
    let (mut redis, upstream) = (Redis::start(), told(TOKENS.0, TOKENS.1));
    let budget = ", {budget: {amount: \"0.02\", name: day, store: redis, share: 20}}";
    let limit = ", {tokenRateLimit: {tokens: 500, window: 10d, name: tpm, store: redis, share: 20}}";
    let both = [budget, limit].map(|policy| sharing(&redis, policy, &upstream, ""));
    redis.kill();
    for (gateway, name) in both.iter().zip(["the budget `day`", "the limit `tpm`"]) {
        let refused =
            (0..20).map(|_| ask(gateway, 60, "")).find(|answer| answer.status != 200).expect("a share");
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded", "{}", refused.text());
        let after: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
        assert!((1..=5).contains(&after), "{after}");
        assert_eq!(refused.header("x-should-retry"), None);
        let said = refused.text();
        assert!(said.contains("the store that counts") && said.contains(name), "{said}");
        // What the whole has no room for is told as ever.
        let large = ask(gateway, 9_000_000, "");
        assert_eq!(large.status, 429);
        assert!(!large.text().contains("the store that counts"), "{}", large.text());
    }
    let body = r#"{"model":"smart","max_tokens":60,"messages":[{"role":"user","content":"hi"}]}"#;
    let refused = post(&both[0], "/ai/v1/messages", "\nanthropic-version: 2023-06-01", body);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error", "{}", refused.text());
    redis.again();
    eventually("connections to redis", || both.iter().all(is_up));
    assert_eq!(ask(&both[0], 60, "").status, 200, "nobody else had spent any of it");
}

#[test]
fn what_is_spent_while_redis_is_down_is_counted_when_it_is_back() {
    let (mut redis, upstream) = (Redis::start(), told(TOKENS.0, TOKENS.1));
    let gateway = sharing(&redis, &budget(", whenAway: open"), &upstream, "");
    assert_eq!(ask(&gateway, 60, "").status, 200);
    settles(&gateway, "one call", |taken| taken == COST);
    redis.kill();
    for _ in 0..10 {
        assert_eq!(ask(&gateway, 60, "").status, 200);
    }
    redis.again();
    eventually("a connection to redis", || is_up(&gateway));
    settles(&gateway, "all calls", |taken| taken == 11 * COST);
    pause(300);
    assert_eq!(taken(&gateway), 11 * COST, "each is counted once");
    assert_eq!(gateway.metric("tidegate_redis_settlements_dropped_total"), Some(0.0));
}

#[test]
fn what_a_killed_gateway_held_comes_back_and_what_a_living_one_holds_stays() {
    let redis = Redis::start();
    let (endless, upstream) = (budgets::endless(), told(TOKENS.0, TOKENS.1));
    let more = ", lease: 1s";
    let one = sharing(&redis, &budget(""), &endless, more);
    let two = sharing(&redis, &budget(""), &upstream, more);
    let body =
        r#"{"model":"smart","stream":true,"max_tokens":5000,"messages":[{"role":"user","content":"Hello"}]}"#;
    let stream = super::limits::read_until(&one, body, "tide");
    let held = 5000 * OUTPUT;
    assert!(taken(&two) > held, "the stream holds the most that it may cost");
    pause(2500);
    assert!(taken(&two) > held, "and goes on to hold it");
    one.signal("KILL");
    settles(&two, "the lease of what nobody holds any more", |taken| taken == 0);
    drop(stream);
}

#[test]
fn a_client_that_leaves_and_a_provider_that_fails_leave_nothing_held_in_redis() {
    let redis = Redis::start();
    let broken = Upstream::fixed(500, r#"{"error":{"message":"no"}}"#);
    let gateway = sharing(&redis, &budget(""), &broken, "");
    for _ in 0..5 {
        assert_eq!(ask(&gateway, 500, "").status, 500);
    }
    settles(&gateway, "a provider's failures", |taken| taken == 0);
    let upstream = told(TOKENS.0, TOKENS.1);
    let both = format!("{}, {{tokenRateLimit: {{output: 100, window: 10d, store: redis}}}}", budget(""));
    let gateway = sharing(&redis, &both, &upstream, "");
    assert_eq!(ask(&gateway, 60, "").status, 200);
    settles(&gateway, "the one that passed", |taken| taken == COST);
    for _ in 0..20 {
        let refused = ask(&gateway, 60, "");
        assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded", "{}", refused.text());
    }
    assert_eq!(taken(&gateway), COST, "the budget got back what the limit refused");
    let endless = budgets::endless();
    let gateway = sharing(&redis, &budget(""), &endless, "");
    budgets::leave_in_the_middle(&gateway);
    settles(&gateway, "what was heard", |taken| taken > COST && taken < 2000 * OUTPUT);
    eventually("nothing is on its way", || gateway.metric("tidegate_redis_unsettled ") == Some(0.0));
}

#[test]
fn clusters_and_sentinels_are_counted_in_as_well() {
    let upstream = told(TOKENS.0, TOKENS.1);
    // By consumer and by model: accounts of two slots.
    let limit = "tokenRateLimit: {output: 100, window: 10d, key: model, name: m, store: redis}";
    let both = format!("{}, {{{limit}}}", budget(""));
    let (cluster, server) = (Redis::cluster(), Redis::start());
    let sentinel = Redis::sentinel(&server);
    for (redis, more) in [(&cluster, ", cluster: true"), (&sentinel, ", sentinel: {master: primary}")] {
        let gateway = sharing(redis, &both, &upstream, more);
        assert_eq!(ask(&gateway, 60, "").status, 200);
        settles(&gateway, "one call", |taken| taken == COST);
        for _ in 0..10 {
            let refused = ask(&gateway, 60, "");
            assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded", "{}", refused.text());
        }
        settles(&gateway, "what one slot refused is given back in the other", |taken| taken == COST);
        assert_eq!(gateway.metric("tidegate_redis_errors_total{reason=\"answer\"}"), Some(0.0));
    }
}

/// A provider that does what the request's text says.
fn obeying() -> Upstream {
    Upstream::scripted(|seen| {
        let said = String::from_utf8_lossy(&seen.body).into_owned();
        let chunk = |rest: &str| {
            format!(
                "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",{rest}}}\n\n"
            )
        };
        let text =
            chunk("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"tide\"},\"finish_reason\":null}]");
        let end = chunk("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]");
        let usage = chunk(
            "\"choices\":[],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":7,\"total_tokens\":38}",
        );
        let stream = |body: String| Some(super::parrot::http("text/event-stream", body.as_bytes()));
        match () {
            () if said.contains("way 0") => Some(b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
            () if said.contains("way 1") => None,
            () if said.contains("way 2") => stream(format!("{text}{end}{usage}data: [DONE]\n\n")),
            () if said.contains("way 3") => stream(text),
            () if said.contains("way 4") => Some(b"HTTP/1.1 400 X\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
            () => Some(super::parrot::http(
                "application/json",
                br#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":17,"completion_tokens":3,"total_tokens":20}}"#,
            )),
        }
    })
}

#[test]
fn what_calls_cost_while_the_store_has_no_memory_is_told_it_when_it_has_however_late() {
    let (redis, upstream) = (Redis::start(), told(TOKENS.0, TOKENS.1));
    let gateway = sharing(&redis, &budget(""), &upstream, "");
    assert_eq!(ask(&gateway, 60, "").status, 200);
    settles(&gateway, "the first call", |taken| taken == COST);
    assert!(redis.ask("CONFIG SET maxmemory 1").contains("OK"));
    for _ in 0..3 {
        assert_eq!(ask(&gateway, 60, "").status, 200, "they are counted here");
    }
    // What is refused for other reasons is dropped by then.
    pause(11_000);
    let unsettled = gateway.metric("tidegate_redis_unsettled ").expect("a metric");
    assert!(unsettled >= 3.0, "{unsettled}");
    assert!(redis.ask("CONFIG SET maxmemory 0").contains("OK"));
    settles(&gateway, "all calls", |taken| taken == 4 * COST);
    assert_eq!(gateway.metric("tidegate_redis_settlements_dropped_total "), Some(0.0));
}

#[test]
fn whatever_becomes_of_calls_at_two_gateways_the_store_has_what_they_cost_and_holds_nothing() {
    let (redis, upstream) = (Redis::start(), obeying());
    let both = format!("{}, {{tokenRateLimit: {{tokens: 100000, window: 10d, store: redis}}}}", budget(""));
    let gateways = [sharing(&redis, &both, &upstream, ""), sharing(&redis, &both, &upstream, "")];
    std::thread::scope(|scope| {
        for thread in 0..6_usize {
            let gateway = &gateways[thread % 2];
            scope.spawn(move || {
                for call in 0..12_usize {
                    let way = (thread * 7 + call * 5) % 7;
                    let stream = matches!(way, 2 | 3);
                    // One of seven asks for more than the limit of tokens has left, and is refused by it.
                    let most = if way == 6 { 99_999 } else { 40 };
                    let body = format!(
                        r#"{{"model":"smart","max_tokens":{most},"stream":{stream},"messages":[{{"role":"user","content":"way {way}"}}]}}"#
                    );
                    post(gateway, "/ai/v1/chat/completions", "", &body);
                }
            });
        }
    });
    eventually("all is settled", || {
        gateways.iter().all(|gateway| gateway.metric("tidegate_redis_unsettled ") == Some(0.0))
    });
    let tokens =
        |record: &serde_json::Value, name: &str| u128::from(record["ai"][name].as_u64().unwrap_or(0));
    let cost = |record: &serde_json::Value| {
        tokens(record, "input_tokens") * INPUT + tokens(record, "output_tokens") * OUTPUT
    };
    let want: u128 =
        gateways.iter().flat_map(|gateway| gateway.records(36)).map(|record| cost(&record)).sum();
    assert!(want > 12 * (17 * INPUT + 3 * OUTPUT), "{want}");
    settles(&gateways[1], "what the records say", |taken| taken == want);
}
