//! What finding a route costs, from 10 to 100,000 routes: by prefix, by template and by host.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use model::Route;
use proxy::router::{Captures, Found, RequestView, Router};
use serde_json::{Value, json};

const COUNTS: [usize; 3] = [10, 1000, 100_000];
/// Requests that are asked for in turn, so that no branch or cache line learns the answer.
const ASKED: usize = 1009;

/// A table of one kind, and the host and path that its route of a number takes.
struct Table {
    name: &'static str,
    route: fn(usize) -> Value,
    ask: fn(usize) -> (String, String),
}

const TABLES: [Table; 3] = [
    Table {
        name: "prefix",
        route: |n| json!({"match": [{"path": {"prefix": format!("/r/{n}")}}]}),
        ask: |n| ("api.example.test".into(), format!("/r/{n}/items")),
    },
    Table {
        name: "template",
        route: |n| json!({"match": [{"path": {"template": format!("/v1/r{n}/{{id}}")}, "methods": ["GET"]}]}),
        ask: |n| ("api.example.test".into(), format!("/v1/r{n}/4711")),
    },
    Table {
        name: "host",
        route: |n| json!({"hosts": [format!("h{n}.example.test")], "match": [{"path": {"prefix": "/"}}]}),
        ask: |n| (format!("h{n}.example.test"), "/items/4711".into()),
    },
];

fn router(table: &Table, count: usize) -> Router {
    let route = |n: usize| -> Route {
        let mut route = (table.route)(n);
        route["name"] = json!(format!("r{n}"));
        route["respond"] = json!({"status": 200});
        serde_json::from_value(route).unwrap()
    };
    let routes: Vec<Route> = (0..count).map(route).collect();
    Router::compile(&routes, &[]).unwrap().0
}

fn matches(c: &mut Criterion) {
    let headers = HeaderMap::new();
    for table in TABLES {
        let mut group = c.benchmark_group(table.name);
        for count in COUNTS {
            let router = router(&table, count);
            let asked: Vec<_> = (0..ASKED).map(|at| (table.ask)(at * 7919 % count)).collect();
            let mut captures = Captures::default();
            let mut at = 0;
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| {
                    at = (at + 1) % ASKED;
                    let (host, path) = &asked[at];
                    let found = router.find(&view(host, path, &headers), &mut captures);
                    assert!(matches!(found, Found::Route { .. }));
                    black_box(found)
                });
            });
        }
        group.finish();
    }
}

fn view<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        listener: 0,
        host: Some(host),
        path,
        method: &Method::GET,
        headers,
        query: None,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        sni: None,
        tls: false,
    }
}

criterion_group!(benches, matches);
criterion_main!(benches);
