//! What a call through a component costs: one that does nothing, warm and as a new instance for each call.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use wasm::{Answer, Component, Fetch, Limits, Outside, Plugin, Subject, Uses};

struct Nobody;

impl Outside for Nobody {
    async fn fetch(&mut self, _: Fetch) -> Result<Answer, String> {
        Err("there is nobody".to_owned())
    }
}

fn calls(criterion: &mut Criterion) {
    let text = include_str!("../../tidegate/tests/it/plugins/small.wat").replace("CODE", "");
    let bytes = wat::parse_str(text).expect("a component");
    let limits = Limits {
        memory: 1 << 20,
        cpu: Duration::from_secs(1),
        time: Duration::from_secs(1),
        fetches: 0,
        instances: 8,
        reuse: u32::MAX,
    };
    let component = Arc::new(Component::load(&bytes, &limits).expect("a component"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for (name, reuse) in [("no-op, warm", u32::MAX), ("no-op, a new instance", 1)] {
        let plugin = Plugin::new(component.clone(), Limits { reuse, ..limits.clone() }, Uses::default());
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let (subject, said) = plugin.on_request(Subject::default(), &mut Nobody).await;
                    said.expect("it goes on");
                    black_box(subject);
                });
            });
        });
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
