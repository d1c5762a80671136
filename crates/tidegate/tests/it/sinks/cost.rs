//! What further access logs cost the request path: nothing, for a worker hands a batch over once.

use super::{Collector, calls};
use crate::harness::{Gateway, eventually, pause};

/// CPU time of the workers so far, in nanoseconds.
fn workers(gateway: &Gateway) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("its threads").flatten();
    let workers = threads.map(|thread| thread.path()).filter(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("worker-"))
    });
    let times = workers.map(|path| {
        let text = std::fs::read_to_string(path.join("schedstat")).expect("schedstat");
        text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).expect("a time")
    });
    times.sum()
}

/// Whether the second takes no more than the first, but for what cannot be measured.
fn costs_as_much([one, other]: [u64; 2]) -> bool {
    (other as f64) < one as f64 * 1.15
}

#[test]
fn five_access_logs_cost_a_worker_what_one_costs() {
    let collector = Collector::start();
    let start = |count: usize| {
        let one = format!("{{kind: http, http: {{url: \"http://{}\"}}}}", collector.upstream.address);
        let logs = vec![one; count].join(", ");
        Gateway::start(&format!(
            "runtime: {{workers: 1}}\naccessLog: [{logs}]\nroutes: [{{name: r, match: [{{path: {{prefix: /ok}}}}], respond: {{body: hello}}}}]\n"
        ))
    };
    let (one, five) = (start(1), start(5));
    // What else the machine does makes calls dearer, never cheaper: it is tried until both had a quiet moment.
    let (mut least, mut rounds) = ([u64::MAX; 2], 0);
    while rounds < 12 || (rounds < 60 && !costs_as_much(least)) {
        rounds += 1;
        for (gateway, least) in [&one, &five].into_iter().zip(&mut least) {
            let before = workers(gateway);
            calls(gateway, 0..1000);
            // What is handed over later is a part of it.
            pause(50);
            *least = (*least).min(workers(gateway) - before);
        }
    }
    let [one, of_five] = least.map(|nanos| nanos as f64 / 1000.0);
    println!("nanoseconds of a worker per call: {one:.0} with one access log, {of_five:.0} with five");
    assert!(costs_as_much(least), "{one:.0} with one, {of_five:.0} with five, in {rounds} rounds");
    let records = f64::from(rounds * 5000);
    eventually("all records arrive", || {
        five.metric("tidegate_records_exported_total{sink=\"access_log\"}") == Some(records)
    });
}
