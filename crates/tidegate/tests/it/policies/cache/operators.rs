//! What operators see and do: metrics, the state of caches, purges.

use super::*;

fn purge(gateway: &Gateway, wish: &str) -> Answer {
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
