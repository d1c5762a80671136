//! What operators see and do: metrics, the state of caches, purges.

use super::*;

pub(super) fn purge(gateway: &Gateway, wish: &str) -> Answer {
    let mut admin = Client::connect(gateway.admin);
    admin.write(format!(
        "POST /api/v1/caches/purge HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer test-admin-token\r\ncontent-length: {}\r\n\r\n{wish}",
        gateway.admin,
        wish.len()
    ));
    admin.read().expect("an answer")
}

#[test]
fn answers_are_purged_by_address_beginning_and_tag() {
    let upstream = Upstream::scripted(|seen| {
        let tags = if seen.target().starts_with("/a") {
            "surrogate-key: letters a"
        } else {
            "cache-tag: letters, b c"
        };
        answer(&format!("cache-control: max-age=60\netag: \"1\"\n{tags}"), seen.target())
    });
    let gateway = cached(&upstream, "{}");
    let all = ["/a", "/a/1", "/a/2?x", "/b"];
    let fill = || all.iter().for_each(|path| drop(ask(&gateway, path, "")));
    // A hit fills nothing, so each is asked for as one that must be there.
    let is_kept = |path: &str| ask(&gateway, path, "\ncache-control: only-if-cached").status == 200;
    for (wish, count, left) in [
        (r#"{"url": "http://a.test/a/2?x"}"#, 1, &["/a", "/a/1", "/b"][..]),
        (r#"{"url": "http://A.test:80/a"}"#, 1, &["/a/1", "/a/2?x", "/b"]),
        (r#"{"prefix": "http://a.test/a/"}"#, 2, &["/a", "/b"]),
        (r#"{"tags": ["a"]}"#, 3, &["/b"]),
        (r#"{"tags": ["b c"]}"#, 1, &["/a", "/a/1", "/a/2?x"]),
        (r#"{"tags": ["letters"], "cache": "routes/r"}"#, 4, &[]),
        (r#"{"everything": true}"#, 4, &[]),
        (r#"{"url": "http://other.test/a"}"#, 0, &all),
    ] {
        fill();
        let purged = purge(&gateway, wish);
        assert_eq!((purged.status, purged.json()["purged"].as_u64()), (200, Some(count)), "{wish}");
        for path in all {
            assert_eq!(is_kept(path), left.contains(&path), "{path} after {wish}");
        }
    }
    fill();
    assert_eq!(purge(&gateway, r#"{"url": "http://a.test/a", "soft": true}"#).json()["purged"], 1);
    ask(&gateway, "/a", "");
    assert_eq!(upstream.seen().pop().expect("a request").header("if-none-match"), Some("\"1\""));
    for (wrong, part) in [
        ("{}", "expected one of"),
        (r#"{"url": "http://a.test/", "everything": true}"#, "expected one of"),
        (r#"{"url": "a.test"}"#, "is no address"),
        (r#"{"everything": true, "cache": "routes/x"}"#, "no cache `routes/x`"),
        (r#"{"urls": []}"#, "unknown field"),
    ] {
        let refused = purge(&gateway, wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.text().contains(part), "{}", refused.text());
    }
}

#[test]
fn a_soft_purge_has_answers_asked_about_before_they_are_given_also_those_that_may_be_stale() {
    let upstream = counting("cache-control: max-age=60, stale-while-revalidate=60");
    let gateway = cached(&upstream, "{}");
    assert_eq!(ask(&gateway, "/a", "").text(), "answer 1");
    assert_eq!(purge(&gateway, r#"{"everything": true, "soft": true}"#).json()["purged"], 1);
    assert_eq!(ask(&gateway, "/a", "\ncache-control: max-stale").text(), "answer 2");
}

#[test]
fn who_is_given_a_kept_answer_was_stopped_by_nobody() {
    let upstream = counting("cache-control: max-age=60");
    let gateway = cached(&upstream, "{}");
    ask(&gateway, "/a", "");
    ask(&gateway, "/a", "");
    ask(&gateway, "/b", "\ncache-control: only-if-cached");
    let hit = gateway.record("the hit", |record| record["cache"] == "hit");
    assert_eq!(hit["stopped_by"], serde_json::Value::Null, "{hit}");
    let refused = gateway.record("the refusal", |record| record["cache"] == "refused");
    assert_eq!(refused["stopped_by"], "cache", "{refused}");
    let stops = "tidegate_policy_stops_total{";
    let lines = gateway.metrics();
    let of_cache: Vec<&str> =
        lines.lines().filter(|line| line.starts_with(stops) && line.contains("\"cache\"")).collect();
    assert!(of_cache.len() == 1 && of_cache[0].ends_with(" 1"), "{of_cache:?}");
}

#[test]
fn refreshes_that_fail_are_told_and_not_tried_at_once_again() {
    let is_ill = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ill = is_ill.clone();
    let upstream = Upstream::scripted(move |_| match ill.load(std::sync::atomic::Ordering::Relaxed) {
        true => Some(b"HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\nill".to_vec()),
        false => answer("cache-control: max-age=1, stale-while-revalidate=600", "well"),
    });
    let gateway = cached(&upstream, "{}");
    ask(&gateway, "/a", "");
    pause(1_200);
    is_ill.store(true, std::sync::atomic::Ordering::Relaxed);
    let refreshes = |result: &str| {
        gateway.metric(&format!("tidegate_cache_refreshes_total{{cache=\"routes/r\",result=\"{result}\"}}"))
    };
    assert_eq!(ask(&gateway, "/a", "").text(), "well");
    eventually("it has failed", || refreshes("failed") == Some(1.0));
    for _ in 0..20 {
        assert_eq!(ask(&gateway, "/a", "").text(), "well");
    }
    assert_eq!(upstream.seen().len(), 2, "the upstream is left alone for a while");
    assert!(gateway.stderr().contains("a stale answer could not be asked about"), "{}", gateway.stderr());
    assert_eq!(refreshes("renewed"), Some(0.0));
}

#[test]
fn metrics_and_the_admin_api_tell_what_is_kept_and_what_came_of_requests() {
    let upstream = counting("cache-control: max-age=60");
    let gateway = cached(&upstream, "{}");
    for path in ["/a", "/a", "/b", "/a"] {
        ask(&gateway, path, "");
    }
    gateway.send("POST /x HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    let of = |name: &str| gateway.metric(name);
    let requests = |outcome: &str| {
        of(&format!("tidegate_cache_requests_total{{cache=\"routes/r\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((requests("hit"), requests("miss"), requests("bypass")), (Some(2.0), Some(2.0), Some(1.0)));
    assert_eq!(of("tidegate_cache_entries{cache=\"routes/r\"}"), Some(2.0));
    assert_eq!(of("tidegate_cache_given_bytes_total{cache=\"routes/r\"}"), Some(16.0));
    assert!(of("tidegate_cache_size_bytes{cache=\"routes/r\"}").is_some_and(|bytes| bytes > 500.0));
    let caches = gateway.admin_get("/api/v1/caches").json();
    assert_eq!(caches["caches"][0]["name"], "routes/r");
    assert_eq!(
        (&caches["caches"][0]["entries"], &caches["caches"][0]["outcomes"]["hit"]),
        (&2.into(), &2.into())
    );
}

#[test]
fn what_is_kept_outlives_a_reload_and_stays_within_its_bound() {
    let upstream = Upstream::scripted(|_| answer("cache-control: max-age=60", &"x".repeat(10_000)));
    let gateway = cached(&upstream, "{maxSize: 100KiB, maxBodySize: 50KiB}");
    for at in 0..50 {
        ask(&gateway, &format!("/{at}"), "");
    }
    let bytes = gateway.metric("tidegate_cache_size_bytes").expect("a metric");
    assert!((50_000.0..=102_400.0).contains(&bytes), "{bytes}");
    assert!(gateway.metric("tidegate_cache_evictions_total").is_some_and(|count| count >= 40.0));
    ask(&gateway, "/last", "");
    let text = std::fs::read_to_string(gateway.config()).expect("the configuration");
    let text = text.split_once('\n').expect("the admin endpoint's line").1;
    gateway.reload(&format!("{text}\n# changed\nconsumers: [{{name: new}}]\n"));
    assert!(status(&ask(&gateway, "/last", "")).contains("hit"));
}
