//! What policies count beside their decisions, for the metrics: by the policy's place and what came of it.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use telemetry::{Collect, Exposition};

use crate::{compiled::Building, worker::Shared};

/// What all metrics of one policy are kept under.
const KEPT: &str = "counted";

/// A metric that policies of one kind have, by what came of calls.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// What may come of a call, each a value of the label `outcome`.
    pub(crate) outcomes: &'static [&'static str],
    /// Values that go up and down, read when they are asked for: name, help and value.
    pub(crate) gauges: &'static [Gauge],
}

/// A value that goes up and down.
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
}

/// The counts of one policy. They go on over reloads, whatever becomes of its settings.
pub(crate) struct Counted {
    metric: &'static Metric,
    counts: Vec<AtomicU64>,
    gauges: Vec<AtomicU64>,
    /// Gauges that somebody else counts, by their place.
    watched: Mutex<Vec<(usize, Arc<AtomicU32>)>>,
}

impl Counted {
    /// The counts of the policy that is being built.
    pub(crate) fn of(metric: &'static Metric, cx: &Building<'_>) -> Arc<Self> {
        cx.keep(KEPT, &metric.name, || Self {
            metric,
            counts: metric.outcomes.iter().map(|_| AtomicU64::new(0)).collect(),
            gauges: metric.gauges.iter().map(|_| AtomicU64::new(0)).collect(),
            watched: Mutex::default(),
        })
    }

    /// Counts an outcome, by its place in the metric's list.
    pub(crate) fn note(&self, outcome: usize) {
        if let Some(count) = self.counts.get(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has a gauge show what somebody else counts.
    pub(crate) fn watch(&self, gauge: usize, count: &Arc<AtomicU32>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|(known, _)| *known != gauge);
        watched.push((gauge, count.clone()));
    }

    fn gauge(&self, gauge: usize) -> f64 {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.iter().find(|(known, _)| *known == gauge) {
            Some((_, count)) => f64::from(count.load(Ordering::Relaxed)),
            None => self.gauges.get(gauge).map_or(0.0, |value| f64::from_bits(value.load(Ordering::Relaxed))),
        }
    }

    /// Says what a gauge shows now, by its place.
    pub(crate) fn show(&self, gauge: usize, value: f64) {
        if let Some(shown) = self.gauges.get(gauge) {
            shown.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Tells of the live configuration's policies at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let mut all: Vec<(String, Arc<Counted>)> = compiled.kept::<Counted>();
        for (place, _) in &mut all {
            *place = place.replacen(&format!("/{KEPT}"), "", 1);
        }
        all.sort_by(|(a, one), (b, other)| (one.metric.name, a).cmp(&(other.metric.name, b)));
        let of_one = |(_, one): &(String, Arc<Counted>), (_, other): &(String, Arc<Counted>)| {
            one.metric.name == other.metric.name
        };
        for group in all.chunk_by(of_one) {
            for (place, counted) in group {
                for (outcome, count) in counted.metric.outcomes.iter().zip(&counted.counts) {
                    let labels = [("policy", place.as_str()), ("outcome", *outcome)];
                    let count = count.load(Ordering::Relaxed) as f64;
                    out.counter(counted.metric.name, counted.metric.help, &labels, count);
                }
            }
            let gauges = group.first().map_or(&[][..], |(_, counted)| counted.metric.gauges);
            for (index, gauge) in gauges.iter().enumerate() {
                for (place, counted) in group {
                    out.gauge(gauge.name, gauge.help, &[("policy", place)], counted.gauge(index));
                }
            }
        }
    }
}
