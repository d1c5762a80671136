//! Components that trap, compute without an end, want too much memory, or wait too long: a 500 for their own call, and
//! nothing else.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::{Over, Plugged, built, small};
use crate::harness::{Upstream, eventually, get, pause};

#[test]
fn what_is_stopped_is_a_500_for_its_own_call() {
    let grow = "(drop (memory.grow (i32.const 4000)))";
    let gateway = Plugged::start(
        &[
            ("trap.wasm", &small("(unreachable)")),
            ("loop.wasm", &small("(loop (br 0))")),
            ("grow.wasm", &small(grow)),
            ("fine.wasm", &small("")),
        ],
        "plugins:
  - {name: trap, file: trap.wasm}
  - {name: loop, file: loop.wasm, cpuTime: 500ms, timeout: 1m}
  - {name: grow, file: grow.wasm, maxMemory: 1MiB}
  - {name: fine, file: fine.wasm}
runtime: {workers: 1}
routes:
  - {name: trap, match: [{path: {prefix: /trap}}], wasm: {plugin: trap}}
  - {name: loop, match: [{path: {prefix: /loop}}], wasm: {plugin: loop}}
  - {name: grow, match: [{path: {prefix: /grow}}], wasm: {plugin: grow}}
  - {name: before, match: [{path: {prefix: /before}}], policies: [{wasm: {plugin: trap}}], respond: {}}
  - {name: fine, match: [{path: {prefix: /}}], policies: [{wasm: {plugin: fine}}], wasm: {plugin: fine}}
",
    );
    let address = gateway.gateway.address;
    // Odd while a call computes without an end.
    let (is_over, loops) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        // While one worker serves all of that, others' calls go on.
        let others = scope.spawn(|| {
            let mut beside = 0;
            while !is_over.load(Ordering::Relaxed) {
                let before = loops.load(Ordering::SeqCst);
                assert_eq!(get(address, "/").expect("an answer").status, 200);
                beside += u32::from(before % 2 == 1 && loops.load(Ordering::SeqCst) == before);
            }
            beside
        });
        for (path, outcome, reason) in [
            ("/trap", "trapped", "unreachable"),
            ("/loop", "cpu", "it computed for more than"),
            ("/grow", "memory", "bytes of memory"),
        ] {
            for _ in 0..3 {
                let computing = u32::from(path == "/loop");
                loops.fetch_add(computing, Ordering::SeqCst);
                let answer = get(address, path).expect("an answer");
                loops.fetch_add(computing, Ordering::SeqCst);
                assert_eq!((answer.status, answer.problem().as_deref()), (500, Some("internal")), "{path}");
                assert!(!answer.text().contains(&path[1..]), "{}", answer.text());
            }
            let place = format!("routes{path}/handler");
            let metric = format!("tidegate_wasm_calls_total{{policy=\"{place}\",outcome=\"{outcome}\"}}");
            assert_eq!(gateway.gateway.metric(&metric), Some(3.0), "{}", gateway.gateway.metrics());
            let log = gateway.gateway.stderr();
            let told = log.lines().any(|line| line.contains(reason) && line.contains(&path[1..]));
            assert!(told, "{log}");
        }
        assert_eq!(get(address, "/before").expect("an answer").status, 500);
        drop(over);
        let beside = others.join().expect("others");
        // On the same worker, each of the three computes for half a second, and the sockets are looked at every few milliseconds.
        assert!(beside >= 40, "{beside} calls beside those that compute");
    });
}

#[test]
fn waiting_counts_and_instances_are_so_many() {
    let hang = Upstream::scripted(|_| {
        pause(3000);
        None
    });
    let rust = std::fs::read(built("rust.wasm")).expect("a component");
    let gateway = Plugged::start(
        &[("rust.wasm", &rust)],
        &format!(
            "plugins: [{{name: rust, file: rust.wasm, timeout: 1s, cpuTime: 1s, maxInstances: 2}}]
upstreams: [{{name: hang, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: asked
    match: [{{path: {{prefix: /}}}}]
    policies: [{{wasm: {{plugin: rust, config: {{ask: hang}}, upstreams: [hang]}}}}]
    respond: {{}}
",
            hang.address
        ),
    );
    let address = gateway.gateway.address;
    std::thread::scope(|scope| {
        let started = Instant::now();
        let both = [(); 2].map(|()| scope.spawn(|| get(address, "/").expect("an answer").status));
        eventually("two instances at work", || hang.seen().len() == 2);
        let third = get(address, "/").expect("an answer");
        assert_eq!((third.status, third.problem().as_deref()), (503, Some("overloaded")));
        assert_eq!(both.map(|one| one.join().expect("a call")), [500, 500]);
        let took = started.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");
    });
    for (outcome, count) in [("time", 2.0), ("full", 1.0)] {
        let metric =
            format!("tidegate_wasm_calls_total{{policy=\"routes/asked/wasm\",outcome=\"{outcome}\"}}");
        assert_eq!(gateway.gateway.metric(&metric), Some(count), "{}", gateway.gateway.metrics());
    }
    assert_eq!(gateway.gateway.metric("tidegate_wasm_instances{policy=\"routes/asked/wasm\"}"), Some(0.0));
    // Under a load that is too much nobody writes a line for each call that is refused.
    let log = gateway.gateway.stderr();
    assert!(log.contains("it took more than") && !log.contains("as many instances"), "{log}");
}
