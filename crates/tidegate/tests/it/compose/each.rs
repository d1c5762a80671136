//! `forEach`: in order, bounded in count and at once.

use serde_json::json;

use super::*;

const COMPOSE: &str = "
calls:
  list: {upstream: u, path: \"/list/{id}\"}
  each:
    upstream: u
    path: \"/item/{{ $item.sku }}?at={{ $index }}\"
    forEach: {in: \"$.list.items\", max: 12, concurrency: 3}
    optional: OPTIONAL
response: {items: \"$.each[*].sku\", all: $.each}";

/// Lists of as many items as the id says; later items answer sooner.
fn shop() -> (Upstream, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let told = most.clone();
    let upstream = backend(move |seen| {
        if let Some(count) = seen.target().strip_prefix("/list/") {
            let items = match count.parse::<usize>() {
                Ok(count) => json!((0..count).map(|at| json!({"sku": format!("s{at}")})).collect::<Vec<_>>()),
                Err(_) if count == "odd" => {
                    json!([{"sku": "s0"}, {"sku": "bad"}, {"sku": "../s"}, {"nothing": 1}])
                }
                Err(_) if count == "null" => json!(null),
                Err(_) => json!({"no": "list"}),
            };
            return (200, 0, json!({"items": items}).to_string());
        }
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let sku = seen.target().trim_start_matches("/item/").split('?').next().unwrap_or_default().to_owned();
        let at: u64 = sku.trim_start_matches('s').parse().unwrap_or(0);
        pause(80 - at.min(7) * 10);
        now.fetch_sub(1, Ordering::SeqCst);
        if sku == "bad" {
            (500, 0, "{}".to_owned())
        } else {
            (200, 0, json!({"sku": sku, "target": seen.target()}).to_string())
        }
    });
    (upstream, told)
}

#[test]
fn answers_are_in_the_order_of_the_list_and_few_calls_run_at_once() {
    let (upstream, most) = shop();
    let gateway = gateway(&upstream, &COMPOSE.replace("OPTIONAL", "false"), "");
    let answer = gateway.get("/page/7");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let want: Vec<String> = (0..7).map(|at| format!("s{at}")).collect();
    assert_eq!(answer.json()["items"], json!(want));
    assert_eq!(answer.json()["all"][6]["target"], "/item/s6?at=6");
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 3, "at once");
    assert_eq!(gateway.get("/page/0").json(), json!({"items": [], "all": []}));
}

#[test]
fn a_list_that_is_too_long_or_none_fails_the_call_before_anything_is_sent() {
    let (upstream, _) = shop();
    let gateway = gateway(&upstream, &COMPOSE.replace("OPTIONAL", "false"), "");
    for (id, words) in [
        ("13", "the call `each` would be made for 13 items, and `max` is 12"),
        ("null", "the call `each` has no list to be made for: `$.list.items` is none"),
        ("object", "the call `each` has no list to be made for: `$.list.items` is none"),
    ] {
        let answer = gateway.get(&format!("/page/{id}"));
        assert_eq!(answer.status, 502, "{id}");
        assert_eq!(answer.json()["detail"], words, "{id}");
    }
    assert!(!targets(&upstream).iter().any(|target| target.starts_with("/item")));
    assert_eq!(gateway.get("/page/12").status, 200);
}

#[test]
fn of_an_optional_one_single_items_may_fail() {
    let (upstream, _) = shop();
    let mut gateway = gateway(&upstream, &COMPOSE.replace("OPTIONAL", "true"), "");
    let told = gateway.get("/page/odd").json();
    assert_eq!(told["items"], json!(["s0", "../s"].map(|sku| sku.replace("../s", "..%2Fs"))), "{told}");
    assert_eq!(told["all"][1], json!(null));
    assert_eq!(told["all"][3], json!(null));
    assert_eq!(told["degraded"], json!(["each"]));
    assert_eq!(gateway.get("/page/13").json(), json!({"items": null, "all": null, "degraded": ["each"]}));
    drop(gateway);
    gateway = super::gateway(&upstream, &COMPOSE.replace("OPTIONAL", "false"), "");
    let answer = gateway.get("/page/odd");
    assert_eq!(
        (answer.status, answer.json()["detail"].as_str()),
        (502, Some("the call `each` was answered with 500"))
    );
}
