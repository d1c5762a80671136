//! The route `order-page`: one answer from three calls.

use std::time::Instant;

use serde_json::json;

use super::{super::harness::pause, *};

/// Catalogs that know products and greet, so many milliseconds later, and orders that know one of each id.
fn behind(greets_after: u64, products: u16) -> Behind {
    let catalog = move || {
        Upstream::scripted(move |seen| {
            let (status, body) = match seen.target() {
                "/v1/products" => {
                    pause(150);
                    (products, json!({"items": [{"name": "Sea chart"}]}))
                }
                "/v1/greeting" => {
                    pause(greets_after);
                    (200, json!({"text": "Welcome aboard"}))
                }
                _ => (200, json!({})),
            };
            Some(written(status, &body))
        })
    };
    let orders = Upstream::scripted(|seen| {
        pause(150);
        Some(written(200, &json!({"id": seen.target().trim_start_matches("/v1/orders/")})))
    });
    Behind { orders, ..Behind::with_catalog([catalog(), catalog()]) }
}

fn written(status: u16, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn one_answer_from_three_calls_in_parallel() {
    let behind = behind(100, 200);
    let served = Served::new(&behind);
    let begun = Instant::now();
    let answer = served.gateway.get("/v1/order-page/7");
    let took = begun.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let want =
        json!({"order": {"id": "7"}, "products": [{"name": "Sea chart"}], "greeting": "Welcome aboard"});
    assert_eq!(answer.json(), want);
    assert!(took.as_millis() < 380, "one after another: {took:?}");
}

#[test]
fn what_is_optional_and_fails_is_null_and_named() {
    let behind = behind(1_000, 500);
    let served = Served::new(&behind);
    let answer = served.gateway.get("/v1/order-page/7");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let want = json!({"order": {"id": "7"}, "products": null, "greeting": null, "degraded": ["greeting", "products"]});
    assert_eq!(answer.json(), want);
}
