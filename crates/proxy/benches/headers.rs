//! What cleaning heads and normalising paths costs, on what a browser sends and on what is hostile.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use proxy::measured;

const BROWSER: &[(&str, &str)] = &[
    ("host", "api.example.org"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.org/stations/boston"),
    ("connection", "keep-alive"),
    ("cookie", "session=4f7c1b2ad0e94b6f; theme=dark"),
    ("sec-fetch-mode", "navigate"),
    ("x-api-key", "0f3a9c51d2e84b76"),
];
const HOSTILE: &[(&str, &str)] = &[
    ("host", "api.example.org"),
    ("connection", "close, x-hop, authorization, x-api-key, x-forwarded-for"),
    ("x-hop", "1"),
    ("te", "gzip, trailers;q=0.5"),
    ("x_api_key", "1"),
    ("x_forwarded_for", "192.0.2.1"),
    ("x-forwarded-for", "192.0.2.1, 192.0.2.2"),
    ("forwarded", "for=192.0.2.1"),
];
const ANSWER: &[(&str, &str)] = &[
    ("server", "tides/2.4"),
    ("date", "Mon, 24 Nov 2025 12:00:00 GMT"),
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("cache-control", "max-age=60"),
    ("vary", "Accept-Encoding"),
    ("etag", "\"5f3c-1a2b3c\""),
];

fn heads(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

fn clean(c: &mut Criterion) {
    let protected = [HeaderName::from_static("x-api-key")];
    let mut group = c.benchmark_group("clean");
    for (name, fields) in [("browser's request", BROWSER), ("hostile request", HOSTILE)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || heads(fields),
                |mut headers| {
                    measured::clean_request(&mut headers, &protected);
                    headers
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function("answer", |b| {
        b.iter_batched(
            || heads(ANSWER),
            |mut headers| {
                measured::clean_answer(&mut headers);
                headers
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn state_client(c: &mut Criterion) {
    let (peer, host) = (HeaderValue::from_static("192.0.2.7"), HeaderValue::from_static("api.example.org"));
    for (name, fields) in [("browser's request", BROWSER), ("hostile request", HOSTILE)] {
        c.bench_function(&format!("state client/{name}"), |b| {
            b.iter_batched(
                || heads(fields),
                |mut headers| {
                    measured::state_client(&mut headers, &peer, &host);
                    headers
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn canonical_path(c: &mut Criterion) {
    for path in ["/v1/products/4711/reviews", "/v1/./products//4711/../%7Eme", "/v1/..;/admin%2f%252e"] {
        c.bench_function(&format!("path/{path}"), |b| {
            b.iter(|| measured::canonical_path(black_box(path)).is_some());
        });
    }
}

criterion_group!(benches, clean, state_client, canonical_path);
criterion_main!(benches);
