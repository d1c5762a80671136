//! The route `order-page`: one answer from three calls.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

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

/// Calls that wait until all three have come, or say that they were alone.
struct Met {
    count: Mutex<usize>,
    all: Condvar,
}

impl Met {
    fn comes(&self) {
        *self.count.lock().expect("whole") += 1;
        self.all.notify_all();
    }

    /// Whether all have come, which is waited for.
    fn are_all(&self) -> bool {
        let (count, patience) = (self.count.lock().expect("whole"), Duration::from_millis(1500));
        let (count, _) = self.all.wait_timeout_while(count, patience, |count| *count < 3).expect("whole");
        *count >= 3
    }
}

#[test]
fn one_answer_from_three_calls_in_parallel() {
    let met = Arc::new(Met { count: Mutex::default(), all: Condvar::new() });
    let catalog = || {
        let met = met.clone();
        Upstream::scripted(move |seen| {
            let is_page = matches!(seen.target(), "/v1/products" | "/v1/greeting");
            if is_page {
                met.comes();
            }
            let body = match seen.target() {
                "/v1/products" if met.are_all() => json!({"items": [{"name": "Sea chart"}]}),
                // It has little time, and waits for nobody.
                "/v1/greeting" => json!({"text": "Welcome aboard"}),
                _ => json!({"items": "it was alone"}),
            };
            Some(written(200, &body))
        })
    };
    let here = met.clone();
    let orders = Upstream::scripted(move |seen| {
        here.comes();
        let id =
            if here.are_all() { seen.target().trim_start_matches("/v1/orders/") } else { "it was alone" };
        Some(written(200, &json!({"id": id})))
    });
    let behind = Behind { orders, ..Behind::with_catalog([catalog(), catalog()]) };
    let served = Served::new(&behind);
    let answer = served.gateway.get("/v1/order-page/7");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let want =
        json!({"order": {"id": "7"}, "products": [{"name": "Sea chart"}], "greeting": "Welcome aboard"});
    assert_eq!(answer.json(), want, "each waited for the others to come");
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
