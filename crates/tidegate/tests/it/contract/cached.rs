//! `cached`: a cache with nothing but its defaults.

use super::{super::harness::Upstream, *};

#[test]
fn the_upstreams_fields_decide_and_cache_status_tells() {
    let catalog = || {
        Upstream::scripted(|seen| {
            let fields = match seen.target() {
                "/cached/for-a-minute" => "cache-control: max-age=60\r\n",
                "/cached/never" => "cache-control: no-store\r\n",
                _ => "",
            };
            Some(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok").into_bytes())
        })
    };
    let behind = Behind::with_catalog([catalog(), catalog()]);
    let served = Served::new(&behind);
    let told = |path: &str| {
        let answer = served.ask(&format!("GET {path}"), "");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        answer.header("cache-status").expect("a status").to_owned()
    };
    assert!(told("/cached/for-a-minute").starts_with("tidegate; fwd=uri-miss; ttl="));
    assert!(told("/cached/for-a-minute").starts_with("tidegate; hit; ttl="));
    for path in ["/cached/never", "/cached/nothing-said"] {
        for _ in 0..2 {
            assert_eq!(told(path), "tidegate; fwd=uri-miss", "{path}");
        }
    }
    assert_eq!(behind.sold(0) + behind.sold(1), 5);
}
