//! What the metrics tell of plugins.

use std::sync::Weak;

use telemetry::{Collect, Exposition};
use wasm::Stopped;

use crate::{
    policy::counted::{Gauge, Metric},
    worker::Shared,
};

pub(super) const PASSED: usize = 0;
pub(super) const ANSWERED: usize = 1;

pub(super) static METRIC: Metric = Metric {
    name: "tidegate_wasm_calls_total",
    help: "Calls that components judged or answered, by what came of them; from `trapped` on the call was a 500, `full` a 503.",
    outcomes: &["passed", "answered", "trapped", "cpu", "time", "memory", "wrong", "full"],
    gauges: &[Gauge { name: "tidegate_wasm_instances", help: "Instances that there are, at work and warm." }],
};

/// The place of a reason in the metric's list.
pub(super) fn outcome(stopped: &Stopped) -> usize {
    match stopped {
        Stopped::Trapped(_) => 2,
        Stopped::Cpu(_) => 3,
        Stopped::Time(_) => 4,
        Stopped::Memory(_) => 5,
        Stopped::Wrong(_) => 6,
        Stopped::Full => 7,
    }
}

/// Tells of the counters of the live configuration's plugins at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let mut all: Vec<_> = compiled.plugins.iter().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        for (plugin, loaded) in all {
            for (counter, count) in loaded.counters.all() {
                let labels = [("plugin", &**plugin), ("counter", counter.as_str())];
                let help = "Counters of plugins' own.";
                out.counter("tidegate_wasm_counter_total", help, &labels, count as f64);
            }
        }
    }
}
