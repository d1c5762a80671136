//! What is counted, and what is forgotten.

use std::time::Duration;

use http::{Method, StatusCode};

use super::*;
use crate::access::test_call as call;

/// Value of a sample, by its name with labels.
fn sample(page: &str, wanted: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(wanted)?.trim().parse().ok())
}

#[test]
fn calls_are_counted_by_route_method_and_class() {
    let metrics = Metrics::default();
    let (one, two) = (metrics.shard(), metrics.shard());
    one.record(&call());
    two.record(&call());
    two.record(&CallRecord { status: StatusCode::NOT_FOUND, route: None, ..call() });
    let odd = Method::from_bytes(b"BREW").expect("a method");
    two.record(&CallRecord { method: odd, ..call() });
    let page = metrics.render();
    let name = "tidegate_requests_total";
    let labels = r#"{listener="public",route="catalog",method="GET",status="2xx"}"#;
    assert_eq!(sample(&page, &format!("{name}{labels}")), Some(2.0));
    assert!(page.contains(r#"route="none",method="GET",status="4xx""#));
    assert!(page.contains(r#"method="OTHER""#), "clients cannot make series");
    // The second try of each call was a hedge, and a hedge is no retry.
    assert_eq!(sample(&page, r#"tidegate_hedges_total{upstream="catalog"}"#), Some(4.0));
    assert_eq!(sample(&page, r#"tidegate_retries_total{upstream="catalog"}"#), Some(0.0));
    one.record(&CallRecord { hedges: 0, ..call() });
    assert_eq!(sample(&metrics.render(), r#"tidegate_retries_total{upstream="catalog"}"#), Some(1.0));
}

#[test]
fn a_histogram_is_cumulative_and_ends_in_its_count() {
    let metrics = Metrics::default();
    let shard = metrics.shard();
    for millis in [0, 1, 4, 40, 60_000] {
        let mut call = call();
        call.timings.total = Duration::from_millis(millis);
        shard.record(&call);
    }
    let page = metrics.render();
    let bucket = |le: &str| {
        let labels = format!(r#"{{listener="public",route="catalog",le="{le}"}}"#);
        sample(&page, &format!("tidegate_request_duration_seconds_bucket{labels}"))
    };
    assert_eq!([bucket("0.0005"), bucket("0.001"), bucket("0.005")], [Some(1.0), Some(2.0), Some(3.0)]);
    assert_eq!([bucket("30"), bucket("+Inf")], [Some(4.0), Some(5.0)]);
}

#[test]
fn every_name_is_announced_once_and_labels_are_escaped() {
    let metrics = Metrics::default();
    let nasty = CallRecord { route: Some("a\"b\\c\nd".into()), ..call() };
    metrics.shard().record(&nasty);
    let page = metrics.render();
    assert!(page.contains(r#"route="a\"b\\c\nd""#));
    let mut types: Vec<_> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let before = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), before);
    assert!(page.contains("process_resident_memory_bytes"));
}

#[test]
fn series_of_what_is_gone_are_forgotten_and_others_go_on() {
    let metrics = Metrics::default();
    let shard = metrics.shard();
    shard.record(&call());
    shard.record(&CallRecord { route: Some("gone".into()), upstream: Some("gone".into()), ..call() });
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
    let live = Live {
        listeners: names(&["public"]),
        routes: names(&["catalog"]),
        upstreams: names(&["catalog"]),
        models: names(&[]),
    };
    shard.0.lock().expect("not poisoned").prune(&live);
    let page = metrics.render();
    assert!(!page.contains("gone"));
    assert!(page.contains(r#"route="catalog""#));
}

#[test]
fn a_scrape_in_pieces_counts_every_route_once() {
    let metrics = Metrics::default();
    let (one, two) = (metrics.shard(), metrics.shard());
    let called = |number: usize| CallRecord { route: Some(format!("r{number}").into()), ..call() };
    let routes = 3 * PIECE + 1;
    (0..routes).for_each(|number| one.record(&called(number)));
    (0..routes).rev().for_each(|number| two.record(&called(number)));
    let page = metrics.render();
    let count = |number: usize| {
        let labels = format!(r#"{{listener="public",route="r{number}",method="GET",status="2xx"}}"#);
        sample(&page, &format!("tidegate_requests_total{labels}"))
    };
    assert!((0..routes).all(|number| count(number) == Some(2.0)));
    // What stays is still found after others were forgotten.
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
    one.lock().prune(&Live {
        listeners: names(&["public"]),
        routes: names(&["r1", "r100"]),
        upstreams: names(&["catalog"]),
        models: names(&[]),
    });
    one.record(&called(100));
    let page = metrics.render();
    let labels = r#"{listener="public",route="r100",method="GET",status="2xx"}"#;
    assert_eq!(sample(&page, &format!("tidegate_requests_total{labels}")), Some(3.0));
}
