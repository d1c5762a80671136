//! `store: redis`: real gateways that share a real Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{super::super::harness::Redis, operators::purge, *};

/// A gateway whose cache has Redis below memory, once it is connected.
fn sharing(redis: &Redis, upstream: &Upstream, settings: &str) -> Gateway {
    sharing_as(&format!("addresses: [\"127.0.0.1:{}\"]", redis.port), upstream, settings)
}

fn sharing_as(redis: &str, upstream: &Upstream, settings: &str) -> Gateway {
    let policies = format!("[{{cache: {{{settings}store: redis}}}}]");
    let gateway = behind(upstream, &policies, &format!("redis: {{{redis}}}\n"));
    eventually("a connection to redis", || is_up(&gateway));
    gateway
}

fn is_up(gateway: &Gateway) -> bool {
    let caches = gateway.admin_get("/api/v1/caches").json();
    caches["caches"][0]["redis"]["state"] == "UP"
}

fn count(gateway: &Gateway, what: &str, result: &str) -> f64 {
    let series = format!("tidegate_cache_redis_{what}_total{{cache=\"routes/r\",result=\"{result}\"}}");
    gateway.metric(&series).unwrap_or_default()
}

fn written(gateway: &Gateway, answers: f64) {
    eventually("it is in redis", || count(gateway, "writes", "written") == answers);
}

fn is_kept(gateway: &Gateway, path: &str) -> bool {
    ask(gateway, path, "\ncache-control: only-if-cached").status == 200
}

/// The keys of answers that are in Redis.
fn keys(redis: &Redis) -> Vec<String> {
    let told = redis.ask("KEYS *:a:*");
    told.lines().filter(|line| line.starts_with("tidegate:")).map(str::to_owned).collect()
}

#[test]
fn what_one_gateway_has_asked_for_the_other_gives() {
    let redis = Redis::start();
    let upstream = counting("cache-control: max-age=600\nvary: x-lang\netag: \"1\"");
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    assert_eq!(ask(&one, "/a", "\nx-lang: de").text(), "answer 1");
    assert_eq!(ask(&one, "/a", "\nx-lang: en").text(), "answer 2");
    written(&one, 2.0);
    pause(1_100);
    let given = ask(&two, "/a", "\nx-lang: de");
    assert_eq!(given.text(), "answer 1");
    let told = status(&given);
    assert!(told.starts_with("tidegate; hit; ttl=59") && told.ends_with("; detail=redis"), "{told}");
    let age: u64 = given.header("age").and_then(|age| age.parse().ok()).expect("an age");
    assert!((1..60).contains(&age), "{age}");
    assert!(!status(&ask(&two, "/a", "\nx-lang: de")).contains("detail"), "it is in memory now");
    assert_eq!(ask(&two, "/a", "\nx-lang: en\nrange: bytes=0-2").text(), "ans");
    assert!(status(&ask(&two, "/a", "\nx-lang: fr")).contains("fwd=vary-miss"));
    assert_eq!(ask(&two, "/b", "\ncache-control: only-if-cached").status, 504);
    assert_eq!(ask(&two, "/a", "\nx-lang: en\nif-none-match: \"1\"").status, 304);
    assert_eq!(upstream.seen().len(), 3);
    assert_eq!(count(&two, "reads", "hit"), 2.0);
    // It was kept by other settings, whether these make keys or not.
    ask(&one, "/plain", "");
    written(&one, 3.0);
    assert!(is_kept(&sharing(&redis, &upstream, ""), "/plain"));
    let other = sharing(&redis, &upstream, "key: {headers: [x-tenant]}, ");
    assert!(!is_kept(&other, "/plain"));
    assert!(!is_kept(&sharing(&redis, &upstream, "setCookie: store, "), "/plain"));
    // Its cache stands at the same place: what one purges the others forget.
    assert_eq!(purge(&other, r#"{"everything": true}"#).status, 200);
    eventually("all have heard", || !is_kept(&one, "/a") && !is_kept(&two, "/a"));
}

#[test]
fn purges_at_one_gateway_reach_redis_at_once_and_the_others_memory_within_a_second() {
    let redis = Redis::start();
    let upstream = Upstream::scripted(|seen| {
        let tags =
            if seen.target().starts_with("/a") { "surrogate-key: a all" } else { "cache-tag: b c, all" };
        answer(&format!("cache-control: max-age=600\netag: \"1\"\n{tags}"), seen.target())
    });
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    let all = ["/a", "/a/1", "/a/2?x", "/b"];
    for (wish, left) in [
        (r#"{"url": "http://a.test/a/2?x"}"#, &["/a", "/a/1", "/b"][..]),
        (r#"{"prefix": "http://a.test/a/"}"#, &["/a", "/b"]),
        (r#"{"tags": ["b c"]}"#, &["/a", "/a/1", "/a/2?x"]),
        (r#"{"tags": ["all"]}"#, &[]),
        (r#"{"everything": true}"#, &[]),
    ] {
        // All at once: what was asked for within the time of a round trip of a purge is not kept.
        pause(20);
        for path in all {
            ask(&one, path, "");
            // Half of it is in the memory of both, and the rest in that of one.
            assert_eq!(ask(&two, path, "").text(), path);
        }
        let told = purge(&one, wish);
        assert_eq!((told.status, &told.json()["complete"]), (200, &serde_json::json!(true)), "{wish}");
        let begun = Instant::now();
        let third = sharing(&redis, &upstream, "");
        for path in all {
            assert!(left.contains(&path) || !is_kept(&third, path), "{path} of redis after {wish}");
        }
        eventually("the other has heard", || {
            all.iter().all(|path| left.contains(path) || !is_kept(&two, path))
        });
        assert!(begun.elapsed().as_millis() < 3_000, "{:?}", begun.elapsed());
        for path in all {
            assert_eq!(is_kept(&one, path), left.contains(&path), "{path} after {wish}");
        }
    }
    assert_eq!(count(&one, "purges", "told"), 5.0);
    assert_eq!((count(&two, "purges", "heard"), count(&two, "purges", "missed")), (5.0, 0.0));
    // A soft one has it asked about, wherever it is.
    pause(20);
    ask(&one, "/a", "");
    ask(&two, "/a", "");
    assert_eq!(purge(&one, r#"{"url": "http://a.test/a", "soft": true}"#).status, 200);
    eventually("the other has heard", || count(&two, "purges", "heard") == 6.0);
    let asked = upstream.seen().len();
    ask(&two, "/a", "");
    let seen = upstream.seen();
    assert_eq!(
        (seen.len(), seen.last().expect("a request").header("if-none-match")),
        (asked + 1, Some("\"1\""))
    );
    // So is all of it, also by one that has it from Redis alone.
    pause(20);
    let told = count(&one, "writes", "written");
    ask(&one, "/b/new", "");
    written(&one, told + 1.0);
    assert_eq!(purge(&one, r#"{"everything": true, "soft": true}"#).status, 200);
    ask(&sharing(&redis, &upstream, ""), "/b/new", "");
    assert_eq!(
        upstream.seen().last().and_then(|seen| seen.header("if-none-match").map(str::to_owned)),
        Some("\"1\"".into())
    );
}

#[test]
fn a_change_at_one_gateway_makes_void_what_all_have() {
    let redis = Redis::start();
    let upstream = counting("cache-control: max-age=600");
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    assert_eq!(
        (ask(&one, "/a", "").text(), ask(&one, "/b", "").text()),
        ("answer 1".into(), "answer 2".into())
    );
    written(&one, 2.0);
    assert_eq!(ask(&two, "/a", "").text(), "answer 1");
    one.send("POST /a HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    // What is asked for before redis knows of the change is not for others.
    eventually("redis knows", || count(&one, "purges", "told") == 1.0);
    assert_eq!(ask(&one, "/a", "").text(), "answer 4", "neither memory nor redis has it");
    eventually("the other has heard", || ask(&two, "/a", "").text() == "answer 4");
    assert_eq!(ask(&two, "/b", "").text(), "answer 2");
    assert_eq!(upstream.seen().len(), 4);
}

#[test]
fn what_was_asked_for_before_a_purge_elsewhere_is_void_when_it_comes() {
    let redis = Redis::start();
    let upstream = Upstream::scripted(|seen| {
        pause(if seen.target() == "/a" { 700 } else { 150 });
        answer("cache-control: max-age=600\nsurrogate-key: t", "old")
    });
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| ask(&one, "/a", ""));
        eventually("it is asked for", || !upstream.seen().is_empty());
        assert_eq!(purge(&two, r#"{"tags": ["t"]}"#).status, 200);
        assert_eq!(asks.join().expect("no panic").text(), "old");
    });
    pause(100);
    assert!(!is_kept(&two, "/a"), "it was asked for before");
    assert_eq!(count(&one, "writes", "written"), 0.0);
    // Nor does Redis take what comes before this gateway has heard of the purge, which takes it up to a second.
    for round in 0..5 {
        let asked = upstream.seen().len();
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| ask(&one, &format!("/quick/{round}"), ""));
            eventually("it is asked for", || upstream.seen().len() > asked);
            assert_eq!(purge(&two, r#"{"tags": ["t"]}"#).status, 200);
            assert_eq!(asks.join().expect("no panic").text(), "old");
        });
    }
    eventually("redis has refused some", || count(&one, "writes", "outdated") > 0.0);
    assert_eq!(count(&one, "writes", "written"), 0.0);
    // One that has lost what was purged makes all void that was there.
    pause(1_100);
    ask(&two, "/b", "");
    written(&two, 1.0);
    assert_eq!(keys(&redis).len(), 1);
    redis.ask("DEL tidegate:{cache:routes/r}:book");
    let third = sharing(&redis, &upstream, "");
    assert!(!is_kept(&third, "/b"));
    assert_eq!(count(&third, "reads", "purged"), 1.0);
}

#[test]
fn answers_stay_for_as_long_as_they_are_of_use_and_large_ones_are_not_there() {
    let redis = Redis::start();
    let upstream = Upstream::scripted(|seen| match seen.target() {
        "/fresh" => answer("cache-control: max-age=100", "x"),
        "/stale" => answer("cache-control: max-age=100, stale-while-revalidate=50, stale-if-error=200", "x"),
        "/strict" => answer("cache-control: max-age=100, stale-if-error=200, must-revalidate", "x"),
        "/aged" => answer("cache-control: max-age=100\nage: 40", "x"),
        "/asked" => answer("cache-control: no-cache\netag: \"1\"", "x"),
        _ => answer("cache-control: max-age=100", &"x".repeat(5_000)),
    });
    let gateway = sharing(&redis, &upstream, "maxSharedSize: 4KiB, ");
    for (path, seconds) in [
        ("/fresh", Some(100)),
        ("/stale", Some(300)),
        ("/strict", Some(100)),
        ("/aged", Some(60)),
        ("/asked", None),
        ("/large", None),
    ] {
        redis.ask("FLUSHALL");
        // The first tells of the new book, and the second is kept.
        is_kept(&gateway, "/none");
        let before = count(&gateway, "writes", "written");
        ask(&gateway, path, "");
        let Some(seconds) = seconds else {
            pause(100);
            assert!(keys(&redis).is_empty(), "{path}");
            continue;
        };
        eventually("it is there", || count(&gateway, "writes", "written") == before + 1.0);
        let key = keys(&redis).pop().expect("an answer");
        let told = redis.ask(&format!("PTTL {key}"));
        let millis: i64 = told.trim().trim_start_matches(':').parse().expect("a number");
        assert!((seconds * 1000 - 5_000..=seconds * 1000).contains(&millis), "{path}: {millis}");
    }
}

#[test]
fn what_is_damaged_in_redis_is_a_miss_and_is_written_anew() {
    let redis = Redis::start();
    let upstream = counting("cache-control: max-age=600\nsurrogate-key: t");
    let (one, mut asked) = (sharing(&redis, &upstream, ""), 0.0);
    // Its count of tags, to none and to very many, the digest of its tag, a byte of its head, and the last one of its body.
    let damages = [("16", "~"), ("16", "9"), ("20", "~"), ("150", "~"), ("-1", "~")];
    for (at, (place, byte)) in damages.into_iter().enumerate() {
        redis.ask("FLUSHALL");
        is_kept(&one, "/none");
        let path = format!("/{at}");
        ask(&one, &path, "");
        asked += 1.0;
        written(&one, asked);
        let key = keys(&redis).pop().expect("an answer");
        let place = match place {
            "-1" => {
                let told = redis.ask(&format!("STRLEN {key}"));
                let length: usize = told.trim().trim_start_matches(':').parse().expect("a number");
                (length - 1).to_string()
            }
            place => place.to_owned(),
        };
        redis.ask(&format!("SETRANGE {key} {place} {byte}"));
        let two = sharing(&redis, &upstream, "");
        let answer = ask(&two, &path, "");
        assert!(status(&answer).contains("fwd=uri-miss; ttl=600; stored"), "{at}: {}", status(&answer));
        assert_eq!((count(&two, "reads", "refused"), count(&two, "reads", "away")), (1.0, 0.0), "{at}");
        written(&two, 1.0);
        let three = sharing(&redis, &upstream, "");
        assert!(status(&ask(&three, &path, "")).ends_with("detail=redis"), "{at}: it is whole again");
    }
}

#[test]
fn a_stale_answer_in_memory_gives_way_to_a_newer_one_of_another_gateway() {
    let redis = Redis::start();
    let upstream = counting("cache-control: max-age=2\netag: \"1\"");
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    assert_eq!(ask(&one, "/a", "").text(), "answer 1");
    written(&one, 1.0);
    assert_eq!(ask(&two, "/a", "").text(), "answer 1");
    pause(2_100);
    assert_eq!(ask(&one, "/a", "").text(), "answer 2");
    written(&one, 2.0);
    let given = ask(&two, "/a", "");
    assert_eq!(given.text(), "answer 2", "{}", status(&given));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn the_last_that_was_asked_for_is_the_one_that_is_there() {
    let redis = Redis::start();
    let count_of = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::scripted(move |seen| {
        match (seen.target(), count_of.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            ("/a", 0) => {
                pause(600);
                answer("cache-control: max-age=600", "old")
            }
            ("/a", _) => answer("cache-control: max-age=600", "new"),
            ("/b", 2) => answer("cache-control: max-age=600", "old"),
            _ => answer("cache-control: max-age=600\nvary: x-lang", "new"),
        }
    });
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    // One that was asked for before comes after it.
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| ask(&one, "/a", "").text());
        eventually("it is asked for", || upstream.seen().len() == 1);
        pause(20);
        assert_eq!(ask(&two, "/a", "").text(), "new");
        written(&two, 1.0);
        assert_eq!(asks.join().expect("no panic"), "old");
    });
    eventually("redis has refused it", || count(&one, "writes", "outdated") == 1.0);
    // One that is for all gives way to one that is for some.
    assert_eq!(ask(&one, "/b", "\nx-lang: de").text(), "old");
    written(&one, 1.0);
    assert_eq!(ask(&one, "/b", "\nx-lang: de\ncache-control: no-cache").text(), "new");
    written(&one, 2.0);
    let third = sharing(&redis, &upstream, "");
    assert_eq!(
        (ask(&third, "/a", "").text(), ask(&third, "/b", "\nx-lang: de").text()),
        ("new".into(), "new".into())
    );
    assert_eq!(upstream.seen().len(), 4);
}

/// Holds an answer back until it may come.
fn held_until(may_come: &AtomicBool) {
    for _ in 0..1_000 {
        if may_come.load(Ordering::Relaxed) {
            return;
        }
        pause(10);
    }
}

#[test]
fn one_that_is_late_hides_none_that_was_asked_for_after_it() {
    let redis = Redis::start();
    let (begun, may_come) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let other_is_there = may_come.clone();
    let upstream = Upstream::scripted(move |_| match begun.fetch_add(1, Ordering::Relaxed) {
        0 => {
            held_until(&other_is_there);
            answer("cache-control: max-age=600", "old")
        }
        _ => answer("cache-control: max-age=600\nvary: x-lang", "new"),
    });
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| ask(&one, "/a", "\nx-lang: de").text());
        eventually("it is asked for", || upstream.seen().len() == 1);
        // What each gateway takes for the server's time may be off by as long as it was kept waiting.
        pause(200);
        assert_eq!(ask(&two, "/a", "\nx-lang: de").text(), "new");
        written(&two, 1.0);
        may_come.store(true, Ordering::Relaxed);
        assert_eq!(asks.join().expect("no panic"), "old");
    });
    // One for all would be found before one that is selected.
    eventually("redis has refused it", || count(&one, "writes", "outdated") == 1.0);
    let third = sharing(&redis, &upstream, "");
    assert_eq!(ask(&third, "/a", "\nx-lang: de").text(), "new");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn one_that_was_on_its_way_for_more_than_an_hour_is_not_kept_there() {
    let redis = Redis::start();
    let may_come = Arc::new(AtomicBool::new(false));
    let hours_are_over = may_come.clone();
    let upstream = Upstream::scripted(move |_| {
        held_until(&hours_are_over);
        answer("cache-control: max-age=600", "x")
    });
    let gateway = sharing(&redis, &upstream, "");
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| ask(&gateway, "/a", "").status);
        eventually("it is asked for", || !upstream.seen().is_empty());
        // The book's time never goes back: two hours pass.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_micros();
        redis.ask(&format!("HSET tidegate:{{cache:routes/r}}:book top {}", now + 7_200_000_000));
        may_come.store(true, Ordering::Relaxed);
        assert_eq!(asks.join().expect("no panic"), 200);
    });
    eventually("redis has refused it", || count(&gateway, "writes", "outdated") == 1.0);
    assert!(keys(&redis).is_empty());
    ask(&gateway, "/b", "");
    written(&gateway, 1.0);
}

#[test]
fn many_that_ask_at_once_do_not_ask_redis_each() {
    let redis = Redis::start();
    let upstream = counting("cache-control: max-age=600");
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    ask(&one, "/many", "");
    written(&one, 1.0);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..30).map(|_| scope.spawn(|| ask(&two, "/many", "").text())).collect();
        assert!(all.into_iter().all(|one| one.join().expect("no panic") == "answer 1"));
    });
    let reads = count(&two, "reads", "hit");
    assert!((1.0..15.0).contains(&reads), "{reads}");
}

#[test]
fn a_redis_that_is_slow_or_away_is_a_miss_and_hears_of_purges_when_it_is_back() {
    let mut redis = Redis::start();
    let upstream = counting("cache-control: max-age=600");
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    ask(&one, "/a", "");
    written(&one, 1.0);
    redis.signal("STOP");
    let begun = Instant::now();
    for at in 0..20 {
        assert_eq!(ask(&two, &format!("/{at}"), "").status, 200);
    }
    // Those that come first wait for as long as `timeout` says.
    assert!(begun.elapsed().as_millis() < 1_500, "{:?}", begun.elapsed());
    assert!(count(&two, "reads", "away") >= 20.0);
    redis.signal("CONT");
    eventually("both are connected again", || is_up(&one) && is_up(&two));
    assert_eq!(ask(&two, "/a", "").text(), "answer 1");
    redis.kill();
    eventually("it is gone", || !is_up(&one) && !is_up(&two));
    assert_eq!(ask(&one, "/away", "").status, 200);
    assert!(status(&ask(&one, "/away", "")).contains("hit"), "memory goes on");
    let told = std::thread::scope(|scope| {
        let told = scope.spawn(|| purge(&one, r#"{"url": "http://a.test/a"}"#));
        pause(300);
        assert_eq!(one.metric("tidegate_cache_redis_purges_waiting{cache=\"routes/r\"}"), Some(1.0));
        redis.again();
        told.join().expect("no panic")
    });
    assert_eq!(
        (told.status, &told.json()["complete"]),
        (200, &serde_json::json!(true)),
        "it waited for redis"
    );
    assert!(!is_kept(&one, "/a"), "and redis kept the answer over its end");
    eventually("the other hears when it is back", || !is_kept(&two, "/a"));
    assert_eq!(count(&two, "purges", "missed"), 0.0);
}

#[test]
fn a_gateway_that_missed_purges_forgets_all() {
    let redis = Redis::start();
    let upstream = counting("cache-control: max-age=600");
    let (one, two) = (sharing(&redis, &upstream, ""), sharing(&redis, &upstream, ""));
    assert_eq!(ask(&two, "/a", "").text(), "answer 1");
    written(&two, 1.0);
    two.signal("STOP");
    assert_eq!(purge(&one, r#"{"url": "http://a.test/x"}"#).status, 200);
    redis.ask("DEL tidegate:{cache:routes/r}:log");
    two.signal("CONT");
    eventually("it knows that it missed one", || count(&two, "purges", "missed") == 1.0);
    assert_eq!(two.metric("tidegate_cache_entries{cache=\"routes/r\"}"), Some(0.0));
    assert_eq!(count(&two, "purges", "heard"), 0.0);
    // What is in redis was not meant, and is there.
    assert!(is_kept(&two, "/a"));
}

#[test]
fn a_cluster_keeps_each_cache_on_one_node() {
    let nodes = Redis::cluster_of_three();
    let upstream = counting("cache-control: max-age=600\nvary: x-lang");
    let settings = format!("addresses: [\"127.0.0.1:{}\"], cluster: true", nodes[0].port);
    let (one, two) = (sharing_as(&settings, &upstream, ""), sharing_as(&settings, &upstream, ""));
    assert_eq!(ask(&one, "/a", "\nx-lang: de").text(), "answer 1");
    written(&one, 1.0);
    assert_eq!(ask(&two, "/a", "\nx-lang: de").text(), "answer 1");
    assert_eq!(purge(&two, r#"{"everything": true}"#).status, 200);
    eventually("the other has heard", || ask(&one, "/a", "\nx-lang: de").text() != "answer 1");
}

#[test]
fn what_cannot_be_is_told() {
    let with = |cache: &str, rest: &str| super::super::with_policies(&format!("[{{cache: {cache}}}]")) + rest;
    super::super::refused(&with("{store: redis}", ""), &["there is no `redis` in the configuration"]);
    let redis = "redis: {addresses: [\"127.0.0.1:6379\"]}\n";
    super::super::refused(&with("{store: redis, disk: {}}", redis), &["either `disk` or `store: redis`"]);
    super::super::refused(&with("{store: redis, maxSharedSize: 0B}", redis), &["more than nothing"]);
}
