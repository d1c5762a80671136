//! `rateLimit` with `store: redis`: real gateways and a real Redis.

use std::time::{Duration, Instant};

use super::{
    super::harness::{Answer, Gateway, Redis, eventually, pause},
    ask, refused, with_policies,
};

/// A gateway whose one route has this limit, in this store.
pub(super) fn sharing(redis: &Redis, policy: &str, more: &str) -> Gateway {
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
redis: {{addresses: [\"127.0.0.1:{}\"]{more}}}
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policy}], respond: {{}}}}]\n",
        redis.port
    ));
    eventually("a connection to redis", || is_up(&gateway));
    gateway
}

pub(super) fn is_up(gateway: &Gateway) -> bool {
    gateway.metric("tidegate_redis_up ") == Some(1.0)
}

/// How many of these calls pass, of many threads at two gateways.
pub(super) fn storm(gateways: [&Gateway; 2], threads: usize, calls: usize) -> usize {
    std::thread::scope(|scope| {
        let begun: Vec<_> = (0..threads)
            .map(|thread| {
                let gateway = gateways[thread % 2];
                scope.spawn(move || {
                    let passed = (0..calls).filter(|_| match ask(gateway, "/", "").status {
                        200 => true,
                        429 => false,
                        other => panic!("{other}: {}", gateway.stderr()),
                    });
                    passed.count()
                })
            })
            .collect();
        begun.into_iter().map(|thread| thread.join().expect("calls")).sum()
    })
}

/// How often Redis has been asked by script since its counts were reset.
pub(super) fn questions(redis: &Redis) -> u64 {
    let stats = redis.ask("INFO commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn of_calls_that_race_at_two_gateways_exactly_as_many_pass_as_the_limit_says() {
    let redis = Redis::start();
    for algorithm in ["gcra", "slidingWindow"] {
        let limit = format!(
            "{{rateLimit: {{name: {algorithm}, algorithm: {algorithm}, limit: 50, window: 10h, key: global, store: redis}}}}"
        );
        let (one, two) = (sharing(&redis, &limit, ""), sharing(&redis, &limit, ""));
        assert_eq!(storm([&one, &two], 8, 20), 50, "{algorithm}");
        let refused = ask(&two, "/", "");
        assert_eq!(refused.status, 429);
        let told = refused.header("ratelimit").expect("what is left");
        assert!(told.starts_with(&format!("\"{algorithm}\";r=0;t=")), "{told}");
        assert!(refused.header("retry-after").and_then(|text| text.parse::<u64>().ok()) > Some(600));
    }
}

#[test]
fn no_stretch_of_time_has_more_calls_at_two_gateways_than_a_sliding_window_says() {
    let redis = Redis::start();
    let limit = "{rateLimit: {algorithm: slidingWindow, limit: 5, window: 1s, key: global, store: redis}}";
    let gateways = [sharing(&redis, limit, ""), sharing(&redis, limit, "")];
    let begin = Instant::now();
    let mut passed = Vec::new();
    for round in 0.. {
        let sent = Instant::now();
        if sent > begin + Duration::from_millis(2600) {
            break;
        }
        if ask(&gateways[round % 2], "/", "").status == 200 {
            passed.push((sent, Instant::now()));
        }
        pause(10);
    }
    // All of the second and third window as they come free, and no window with a sixth.
    assert!((15..=18).contains(&passed.len()), "{}", passed.len());
    for pair in passed.windows(6) {
        let most = pair[5].1 - pair[0].0;
        assert!(most >= Duration::from_millis(1000), "six within {most:?}");
    }
}

#[test]
fn a_decision_is_one_round_trip_and_what_is_surely_over_its_limit_is_refused_without_any() {
    let redis = Redis::start();
    let limits = "{rateLimit: {limit: 30, window: 10h, key: global, store: redis, limits: [{limit: 100, window: 20h}, {limit: 500, window: 50h, key: {header: x-t}}]}}";
    let gateway = sharing(&redis, limits, "");
    redis.ask("CONFIG RESETSTAT");
    let passed: Vec<Answer> = (0..30).map(|_| ask(&gateway, "/", "\nx-t: a")).collect();
    assert!(passed.iter().all(|answer| answer.status == 200));
    // The very first finds no script, says what it is and asks again.
    let first = questions(&redis);
    assert!((30..=31).contains(&first), "{first} questions for 30 calls of three limits each");
    let stats = redis.ask("INFO commandstats");
    assert!(!stats.contains("cmdstat_eval:") && !stats.contains("cmdstat_incr"), "{stats}");
    assert_eq!(
        passed[29].header("ratelimit-policy"),
        Some("\"default\";q=30;w=36000, \"limit-1\";q=100;w=72000, \"limit-2\";q=500;w=180000")
    );
    let told = passed[29].header("ratelimit").expect("what is left");
    assert!(told.contains("\"default\";r=0;") && told.contains("\"limit-1\";r=70;"), "{told}");
    for _ in 0..20 {
        assert_eq!(ask(&gateway, "/", "\nx-t: a").status, 429);
    }
    assert_eq!(questions(&redis), first + 1, "one refusal is enough");
    let count = |outcome: &str| {
        gateway.metric(&format!(
            "tidegate_rate_limit_decisions_total{{policy=\"routes/r/rateLimit\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!(["allowed", "refused", "refused_here", "away"].map(count), [30.0, 1.0, 19.0, 0.0].map(Some));
    let record = gateway.record("a refusal", |record| record["status"] == 429);
    assert_eq!(record["stopped_by"], "rateLimit", "{record}");
}

#[test]
fn a_call_that_one_limit_refuses_takes_nothing_of_the_others() {
    let redis = Redis::start();
    let limits = "{rateLimit: {limit: 10, window: 10h, key: {header: x-t}, store: redis, limits: [{limit: 3, window: 10h, key: {header: x-u}}]}}";
    let (one, two) = (sharing(&redis, limits, ""), sharing(&redis, limits, ""));
    for round in 0..12 {
        let status = ask([&one, &two][round % 2], "/", "\nx-t: a\nx-u: a").status;
        assert_eq!(status, if round < 3 { 200 } else { 429 }, "{round}");
    }
    let passed = (0..12).filter(|n| ask(&one, "/", &format!("\nx-t: a\nx-u: {n}")).status == 200).count();
    assert_eq!(passed, 7, "ten of the tenant, of which three are used");
    assert_eq!(ask(&two, "/", "\nx-t: b\nx-u: a").status, 429);
    assert_eq!(ask(&two, "/", "\nx-t: b\nx-u: b").status, 200);
}

#[test]
fn a_redis_that_hangs_costs_no_more_than_its_timeout_and_each_limit_does_what_is_chosen() {
    let redis = Redis::start();
    let limit = |more: &str| {
        format!(
            "{{rateLimit: {{name: \"n{}\", limit: 20, window: 10h, key: global, store: redis{more}}}}}",
            more.len()
        )
    };
    let [local, open, closed] = [", share: 25", ", whenAway: open", ", whenAway: closed"]
        .map(|more| sharing(&redis, &limit(more), ", timeout: 100ms"));
    let timed = |gateway: &Gateway| {
        let began = Instant::now();
        let answer = ask(gateway, "/", "");
        // Beside the timeout there is what a busy machine takes for a call.
        assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
        answer
    };
    for gateway in [&local, &open, &closed] {
        assert_eq!(timed(gateway).status, 200);
        assert_eq!(timed(gateway).status, 200);
    }
    redis.signal("STOP");
    // A quarter of twenty, of which two were used before.
    let passed = (0..10).filter(|_| timed(&local).status == 200).count();
    assert_eq!(passed, 3);
    for _ in 0..25 {
        assert_eq!(timed(&open).status, 200);
    }
    for _ in 0..5 {
        let refused = timed(&closed);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert_eq!(refused.problem().as_deref(), Some("unavailable"));
    }
    assert!(open.metric("tidegate_redis_errors_total{reason=\"timeout\"}") >= Some(1.0));
    assert_eq!(local.metric("tidegate_redis_fallbacks_total{how=\"local\"}"), Some(10.0));
    let away = "tidegate_rate_limit_decisions_total{policy=\"routes/r/rateLimit\",outcome=\"away\"}";
    assert_eq!((open.metric(away), closed.metric(away)), (Some(25.0), Some(5.0)));

    redis.signal("CONT");
    eventually("connections to redis", || [&local, &open, &closed].iter().all(|one| is_up(one)));
    let passed = (0..25).filter(|_| ask(&closed, "/", "").status == 200).count();
    // A question that hung may have been answered to nobody.
    assert!((17..=18).contains(&passed), "{passed}");
}

#[test]
fn clusters_and_sentinels_count_as_well() {
    // By client and by everybody: keys of two slots.
    let limits = "{rateLimit: {limit: 9, window: 10h, key: {header: x-t}, store: redis, limits: [{limit: 3, window: 10h, key: global, name: all}]}}";
    let (cluster, server) = (Redis::cluster(), Redis::start());
    let sentinel = Redis::sentinel(&server);
    for (redis, data, more) in
        [(&cluster, &cluster, ", cluster: true"), (&sentinel, &server, ", sentinel: {master: primary}")]
    {
        let (one, two) = (sharing(redis, limits, more), sharing(redis, limits, more));
        let passed =
            (0..8).filter(|round| ask([&one, &two][round % 2], "/", "\nx-t: a").status == 200).count();
        assert_eq!(passed, 3, "{more}");
        let keys = data.ask("KEYS *rate:routes/r/rateLimit/default:*");
        let key = keys.lines().find(|line| line.starts_with("tidegate:")).expect("a key").trim().to_owned();
        // Three of nine in ten hours are two hundred minutes; what one slot gave and another refused is given back.
        eventually("six of nine are left", || {
            let left = data.ask(&format!("PTTL {key}"));
            let millis: u64 = left.trim().trim_start_matches(':').parse().expect("a number");
            (11_000_000..13_000_000).contains(&millis)
        });
        assert_eq!(one.metric("tidegate_redis_errors_total{reason=\"answer\"}"), Some(0.0));
    }
}

#[test]
fn what_cannot_be_counted_together_is_refused() {
    for (settings, words) in [
        ("{limit: 5, window: 1s, store: redis}", "there is no `redis`"),
        ("{limit: 20000, window: 1s, algorithm: slidingWindow}", "remembers each call"),
        ("{limit: 5, window: 1s, burst: 2, algorithm: slidingWindow}", "has no `burst`"),
    ] {
        refused(&with_policies(&format!("[{{rateLimit: {settings}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}
