//! What a call through a component costs: one that does nothing, warm and as a new instance for each call; and, where
//! `scripts/peers.sh` has built them, the examples in Rust and JavaScript as handlers, with what compiling them takes.

use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use wasm::{Answer, Component, Fetch, Limits, Outside, Plugin, Subject, Uses};

struct Nobody;

impl Outside for Nobody {
    async fn fetch(&mut self, _: Fetch) -> Result<Answer, String> {
        Err("there is nobody".to_owned())
    }
}

fn limits() -> Limits {
    Limits {
        memory: 128 << 20,
        cpu: Duration::from_secs(10),
        time: Duration::from_secs(20),
        fetches: 0,
        instances: 8,
        reuse: u32::MAX,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn calls(criterion: &mut Criterion) {
    let text = include_str!("../../tidegate/tests/it/plugins/small.wat").replace("CODE", "");
    let bytes = wat::parse_str(text).expect("a component");
    let component = Arc::new(Component::load(&bytes, &limits()).expect("a component"));
    let runtime = runtime();
    for (name, reuse) in [("no-op, warm", u32::MAX), ("no-op, a new instance", 1)] {
        let plugin = Plugin::new(component.clone(), Limits { reuse, ..limits() }, Uses::default());
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

fn examples(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/plugins");
    let runtime = runtime();
    for name in ["rust", "js"] {
        let Ok(bytes) = std::fs::read(folder.join(format!("{name}.wasm"))) else { continue };
        let started = Instant::now();
        let component = Arc::new(Component::load(&bytes, &limits()).expect("a component"));
        println!("{name}: {} KiB, compiled and tried in {:?}", bytes.len() / 1024, started.elapsed());
        for (how, reuse) in [("warm", u32::MAX), ("a new instance", 1)] {
            let plugin = Plugin::new(component.clone(), Limits { reuse, ..limits() }, Uses::default());
            criterion.bench_function(&format!("example in {name}, {how}"), |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        let mut subject = Subject::default();
                        subject.request.body = Some("hello".into());
                        let (subject, said) = plugin.handle(subject, &mut Nobody).await;
                        said.expect("an answer");
                        black_box(subject);
                    });
                });
            });
        }
    }
}

criterion_group!(benches, calls, examples);
criterion_main!(benches);
