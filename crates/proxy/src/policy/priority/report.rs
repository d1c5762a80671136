//! Places and those who wait for them, by class, for the metrics.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use model::policy::priority::PriorityClass;
use resilience::fair::Fair;
use telemetry::{Collect, Exposition};

use crate::{policy::call_key::KeyHasher, worker::Shared};

/// What the places of a policy are kept under.
pub(super) const KEPT: &str = "divided";

/// The places of one policy. They go on over reloads while its classes stay.
pub(crate) struct Divided {
    pub(super) fair: Arc<Fair>,
    pub(super) classes: Vec<Counts>,
    pub(super) hasher: KeyHasher,
}

/// What came of calls of a class.
pub(super) struct Counts {
    name: String,
    outcomes: [AtomicU64; OUTCOMES.len()],
    waited_nanos: AtomicU64,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was a place.
    Entered = 0,
    /// There was one after a while.
    Waited = 1,
    /// Too many waited.
    Full = 2,
    /// It waited in vain.
    TimedOut = 3,
}

const OUTCOMES: [&str; 4] = ["entered", "waited", "full", "timed_out"];

impl Counts {
    pub(super) fn of(class: &PriorityClass) -> Self {
        Self { name: class.name.clone(), outcomes: Default::default(), waited_nanos: AtomicU64::new(0) }
    }
}

impl Divided {
    pub(super) fn note(&self, class: usize, outcome: Outcome) {
        if let Some(count) = self.classes.get(class).and_then(|class| class.outcomes.get(outcome as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn waited(&self, class: usize, time: Duration) {
        if let Some(class) = self.classes.get(class) {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            class.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }
}

/// Tells of the live configuration's places at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let mut all = shared.compiled.load().kept::<Divided>();
        for (place, _) in &mut all {
            *place = place.replacen(&format!("/{KEPT}"), "", 1);
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let classes = || {
            let each = |(place, divided): &'_ (String, Arc<Divided>)| {
                (0..divided.classes.len())
                    .map(|class| (place.clone(), divided.clone(), class))
                    .collect::<Vec<_>>()
            };
            all.iter().flat_map(each)
        };
        let help = "Calls that came to places that are divided among classes, by what came of it.";
        for (place, divided, class) in classes() {
            let Some(counts) = divided.classes.get(class) else { continue };
            for (outcome, count) in OUTCOMES.iter().zip(&counts.outcomes) {
                let labels =
                    [("policy", place.as_str()), ("class", counts.name.as_str()), ("outcome", *outcome)];
                let count = count.load(Ordering::Relaxed) as f64;
                out.counter("tidegate_priority_calls_total", help, &labels, count);
            }
        }
        let help = "How long calls have waited for places that are divided among classes, altogether.";
        for (place, divided, class) in classes() {
            let Some(counts) = divided.classes.get(class) else { continue };
            let waited = Duration::from_nanos(counts.waited_nanos.load(Ordering::Relaxed)).as_secs_f64();
            let labels = [("policy", place.as_str()), ("class", counts.name.as_str())];
            out.counter("tidegate_priority_waited_seconds_total", help, &labels, waited);
        }
        type Reading = fn(&Fair, usize) -> usize;
        let gauges: [(&str, &str, Reading); 2] = [
            ("tidegate_priority_in_flight", "Places that a class has taken.", Fair::in_flight),
            ("tidegate_priority_waiting", "Calls of a class that wait for a place.", Fair::waiting),
        ];
        for (name, help, value) in gauges {
            for (place, divided, class) in classes() {
                let Some(counts) = divided.classes.get(class) else { continue };
                let labels = [("policy", place.as_str()), ("class", counts.name.as_str())];
                out.gauge(name, help, &labels, value(&divided.fair, class) as f64);
            }
        }
    }
}
