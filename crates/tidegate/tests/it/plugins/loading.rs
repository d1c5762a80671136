//! Plugins as part of a configuration: what refuses it, and what becomes of calls while it changes.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::{Over, Plugged, built, small};
use crate::harness::{eventually, get, run};

const ROUTE: &str = "routes: [{name: r, match: [{path: {prefix: /}}], wasm: {plugin: p}}]\n";

/// What `tidegate validate` says of a file as a plugin, with further settings and rest.
fn told(content: &[u8], settings: &str, rest: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("p.wasm"), content).expect("a file");
    let path = folder.path().join("tidegate.yaml");
    let text = format!(
        "listeners: [{{name: l, address: \"127.0.0.1:8080\"}}]\nplugins: [{{name: p, file: p.wasm{settings}}}]\n{rest}"
    );
    fs::write(&path, text).expect("a file");
    let (code, _, problems) = run(&["validate", "--config", &path.display().to_string()]);
    assert!(code != 0 || problems.is_empty(), "{problems}");
    problems
}

#[test]
fn what_is_wrong_with_a_plugin_is_told_with_its_place() {
    assert_eq!(told(&small(""), "", ROUTE), "");
    for (content, settings, rest, want) in [
        (&b"not this"[..], "", ROUTE, "no WebAssembly"),
        (b"", "", ROUTE, "the file is empty"),
        (b"\0asm\x01\0\0\0", "", ROUTE, "wasm32-wasip2"),
        (&small(""), ", digest: sha256:1", ROUTE, "64 hex digits"),
        (&small(""), &format!(", digest: 'sha256:{}'", "0".repeat(64)), ROUTE, "is another file"),
        (&small(""), ", maxMemory: 1KiB", ROUTE, "64KiB"),
        (&small(""), ", maxMemory: 2GiB", ROUTE, "1GiB"),
        (&small(""), ", cpuTime: 10s", ROUTE, "no more than `timeout`"),
        (&small(""), "", "routes: [{name: r, wasm: {plugin: q}}]\n", "`q`"),
        (&small(""), "", "routes: [{name: r, wasm: {plugin: p, upstreams: [u]}}]\n", "`u`"),
        (&small(""), "", "globalPolicies: [{wasm: {plugin: q}}]\n", "`q`"),
    ] {
        let problems = told(content, settings, rest);
        assert!(problems.contains(want), "expected: {want}\n{problems}");
    }
    let problems = told(b"\0asm\x01\0\0\0", "", ROUTE);
    assert!(problems.contains("plugins[0].file") && problems.contains("p.wasm"), "{problems}");
}

#[test]
fn a_reload_under_load_breaks_no_call() {
    let rest = |status: &str| {
        format!(
            "plugins: [{{name: p, file: p.wasm, maxInstances: 64}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{headers: {{response: {{set: {{x-version: \"{status}\"}}}}}}}}], wasm: {{plugin: p}}}}]\n"
        )
    };
    let versions = ["", "(nop)", "(nop) (nop)"].map(small);
    let gateway = Plugged::start(&[("p.wasm", &versions[0])], &rest("first"));
    let address = gateway.gateway.address;
    let (is_over, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let clients = [(); 3].map(|()| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = get(address, "/").expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for round in 0..12 {
            gateway.replace("p.wasm", &versions[round % 3]);
            let after = gateway.reload(&rest(&round.to_string()));
            assert_eq!(after["reloadsRefused"], 0, "{after}");
            eventually("the new version", || {
                get(address, "/").expect("an answer").header("x-version") == Some(&*round.to_string())
            });
        }
        // A broken file refuses the configuration, and that which was lives on.
        gateway.replace("p.wasm", b"broken");
        let after = gateway.reload(&rest("broken"));
        assert_ne!(after["reloadsRefused"], 0, "{after}");
        assert_eq!(get(address, "/").expect("an answer").header("x-version"), Some("11"));
        assert!(gateway.gateway.stderr().contains("p.wasm"), "{}", gateway.gateway.stderr());
        drop(over);
        for client in clients {
            client.join().expect("no call broke");
        }
    });
    assert!(calls.load(Ordering::Relaxed) > 20, "{calls:?} calls");
    // A file that changes is a reload by itself.
    gateway.replace("p.wasm", &small("(i32.store16 (i32.const 16) (i32.const 203))"));
    gateway.reload(&rest("last"));
    eventually("the last component", || get(address, "/").expect("an answer").status == 203);
    gateway.replace("p.wasm", &versions[0]);
    eventually("the file that was noticed", || get(address, "/").expect("an answer").status == 200);
}

#[test]
fn what_has_not_changed_is_not_compiled_again_and_counts_on() {
    let rust = fs::read(built("rust.wasm")).expect("a component");
    let rest_with = |priority: u8, more: &str| {
        format!(
            "plugins: [{{name: p, file: p.wasm, cpuTime: 2s}}]
routes: [{{name: r, priority: {priority}, match: [{{path: {{prefix: /}}}}], policies: [{{wasm: {{plugin: p, config: {{refuse: /{more}}}}}}}], respond: {{}}}}]\n"
        )
    };
    let rest = |priority: u8| rest_with(priority, "");
    let gateway = Plugged::start(&[("p.wasm", &rust)], &rest(0));
    for count in 1..4 {
        let answer = gateway.gateway.get("/");
        assert_eq!((answer.status, answer.json()["refused"].as_u64()), (403, Some(count)));
        let after = gateway.reload(&rest(count as u8));
        assert_eq!(after["reloadsRefused"], 0, "{after}");
        // The instance that served is still warm.
        let instances = gateway.gateway.metric("tidegate_wasm_instances{policy=\"routes/r/wasm\"}");
        assert_eq!(instances, Some(1.0));
    }
    // Other instances of the same plugin count on where the first have stopped, and so do the metrics.
    let after = gateway.reload(&rest_with(4, ", via: other"));
    assert_eq!(after["reloadsRefused"], 0, "{after}");
    let counted = "tidegate_wasm_counter_total{plugin=\"p\",counter=\"refused\"}";
    assert_eq!(gateway.gateway.metric(counted), Some(3.0), "{}", gateway.gateway.metrics());
    assert_eq!(gateway.gateway.get("/").json()["refused"].as_u64(), Some(4));
}

#[test]
fn kept_answers_are_left_behind_with_the_component_that_made_them() {
    let rest = |text: &str| {
        format!(
            "plugins: [{{name: p, file: p.wasm}}]
policies: [{{name: kept, policy: {{cache: {{defaultTtl: 1h}}}}}}]
routes:
  - {{name: judged, match: [{{path: {{prefix: /judged}}}}], policies: [{{use: kept}}, {{wasm: {{plugin: p}}}}], respond: {{}}}}
  - {{name: other, match: [{{path: {{prefix: /other}}}}], policies: [{{use: kept}}], respond: {{body: \"{text}\"}}}}
  - {{name: answered, match: [{{path: {{prefix: /}}}}], policies: [{{use: kept}}], wasm: {{plugin: p}}}}\n"
        )
    };
    let gateway = Plugged::start(&[("p.wasm", &small(""))], &rest("one"));
    let is_hit = |path: &str| {
        let answer = get(gateway.gateway.address, path).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("cache-status").expect("what the cache did").contains("hit")
    };
    let all = || ["/judged", "/other", "/answered"].map(&is_hit);
    assert_eq!((all(), all()), ([false; 3], [true; 3]));
    gateway.replace("p.wasm", &small("(nop)"));
    let after = gateway.reload(&rest("one"));
    assert_eq!(after["reloadsRefused"], 0, "{after}");
    assert_eq!((all(), all()), ([false, true, false], [true; 3]));
}
