//! What a rate limit decision costs, for one key and for many.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use resilience::gcra::{KeyedGcra, Quota};

fn decisions(c: &mut Criterion) {
    let now = Instant::now();
    let limiter = KeyedGcra::new(Quota::new(1000, Duration::from_secs(1), 1000), 100_000, now);
    c.bench_function("one key", |b| b.iter(|| limiter.check(black_box(b"consumer/gold"), now, 1)));
    let mut number = 0u32;
    c.bench_function("10,000 keys", |b| {
        b.iter(|| {
            number = (number + 1) % 10_000;
            limiter.check(&number.to_be_bytes(), now, 1)
        });
    });
}

criterion_group!(benches, decisions);
criterion_main!(benches);
