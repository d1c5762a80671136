//! What a pick costs, by algorithm and number of endpoints.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use resilience::{
    balance::{Algorithm, Balancer, Member},
    load::EndpointLoad,
};

fn picks(c: &mut Criterion) {
    let now = Instant::now();
    let algorithms = [
        ("round robin", Algorithm::RoundRobin),
        ("least request", Algorithm::LeastRequest),
        ("peak ewma", Algorithm::PeakEwma),
        ("random", Algorithm::Random),
        ("ring hash", Algorithm::RingHash { points: 160 }),
        ("maglev", Algorithm::Maglev),
    ];
    for count in [3, 100] {
        for (name, algorithm) in algorithms {
            let members = (0..count)
                .map(|index| Member {
                    weight: 1,
                    load: Arc::new(EndpointLoad::new(Duration::from_secs(10), now)),
                    hash_name: format!("10.0.0.{index}:80").into(),
                })
                .collect();
            let balancer = Balancer::new(algorithm, members, None);
            let mut word = 1u64;
            c.bench_function(&format!("{name}/{count}"), |b| {
                b.iter(|| {
                    word = resilience::hash::mix(word);
                    balancer.pick(now, black_box(word), Some(word), |_| true)
                });
            });
        }
    }
}

criterion_group!(benches, picks);
criterion_main!(benches);
