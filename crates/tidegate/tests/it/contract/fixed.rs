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
fn ping_is_answered_here() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let answer = served.ask("GET /ping", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json(), serde_json::json!({"pong": true}));
    assert_eq!(served.ask("GET /ping/", "").status, 404, "exact is exact");
}
