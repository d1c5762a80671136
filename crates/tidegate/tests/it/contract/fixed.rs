//! Its routes without a backend.

use super::*;

#[test]
fn the_old_shop_is_deprecated_and_redirects() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let answer = served.ask("GET /legacy/products/7?x=1", "");
    assert_eq!((answer.status, answer.header("location")), (308, Some("/v1/products/7?x=1")));
    // RFC 9745: seconds since 1970-01-01; RFC 8594: an HTTP date.
    assert_eq!(answer.header("deprecation"), Some("@1780272000"));
    assert_eq!(answer.header("sunset"), Some("Tue, 01 Jun 2027 00:00:00 GMT"));
    assert!(answer.header("link").is_some_and(|link| link.contains("</v1>; rel=\"successor-version\"")));
    assert_eq!(served.ask("GET /legacyx", "").status, 404, "a prefix ends where a segment does");
}

#[test]
fn what_has_not_moved_yet_still_goes_to_the_monolith() {
    let (behind, monolith) = (Behind::echoes(), Upstream::fixed(200, "the monolith"));
    // The reference's fig has grown over everything; a path that has not moved is a route beside it.
    let beside = format!(
        "upstreams: [{{name: monolith, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: reports, match: [{{path: {{prefix: /legacy/reports}}}}], backends: [{{upstream: monolith}}]}}]
",
        monolith.address
    );
    let served = Served::changed(&behind, &beside, |text| text);
    let still = served.ask("GET /legacy/reports/2026?q=1", "");
    assert_eq!((still.status, still.text().as_str()), (200, "the monolith"));
    assert_eq!(still.header("deprecation"), None, "it is not what has a successor");
    // What has moved is found where it went, by whoever follows.
    let moved = served.ask("GET /legacy/products", "");
    assert_eq!((moved.status, moved.header("location")), (308, Some("/v1/products")));
    let there = served.ask("GET /v1/products", &format!("\nx-api-key: {GOLD}"));
    assert_eq!((there.status, there.text().as_str()), (200, "/v1/products"));
    assert_eq!(monolith.seen().len(), 1);
    assert_eq!(monolith.seen()[0].target(), "/legacy/reports/2026?q=1");
}

#[test]
fn ping_is_answered_here() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let answer = served.ask("GET /ping", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json(), serde_json::json!({"pong": true}));
    assert_eq!(served.ask("GET /ping/", "").status, 404, "exact is exact");
}
