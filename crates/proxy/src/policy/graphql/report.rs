//! What operators see of operations: how often each is asked for, how long it takes, what it costs, what is refused.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use ::graphql::{Code, Kind, persisted::Store};
use telemetry::{Collect, Exposition, Histogram};

use crate::worker::Shared;

/// The name under which compiled snapshots keep counts.
pub(super) const KEPT: &str = "operations";
/// Operations that are counted apart by a policy; others are counted together, for clients choose the names.
const OPERATIONS_MAX: usize = 200;

/// What goes on over a reload while the settings stay as they are.
pub(crate) struct Kept {
    /// Documents that clients have sent with their hashes.
    pub(super) store: Option<Store>,
    operations: Mutex<HashMap<(Arc<str>, Kind), Cells>>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Cells {
    answered: u64,
    failed: u64,
    cost: f64,
    duration: Histogram,
}

#[derive(Default)]
struct Counts {
    refused: BTreeMap<&'static str, u64>,
    persisted: BTreeMap<&'static str, u64>,
}

impl Kept {
    pub(super) fn new(store_bytes: Option<usize>) -> Self {
        Self { store: store_bytes.map(Store::new), operations: Mutex::default(), counts: Mutex::default() }
    }

    /// Counts an operation that was asked of the service.
    pub(super) fn answered(
        &self,
        name: Option<&Arc<str>>,
        kind: Kind,
        cost: f64,
        is_ok: bool,
        took: Duration,
    ) {
        let mut all = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name.cloned().unwrap_or_else(|| Arc::from("anonymous"));
        let is_known = all.len() < OPERATIONS_MAX || all.contains_key(&(name.clone(), kind));
        let name = if is_known { name } else { Arc::from("other") };
        let cells = all.entry((name, kind)).or_default();
        match is_ok {
            true => cells.answered += 1,
            false => cells.failed += 1,
        }
        // A sum that is once beyond all numbers would stay there.
        cells.cost += cost.min(1e12);
        cells.duration.observe(took);
    }

    pub(super) fn refused(&self, code: Code) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.refused.entry(code.as_str()).or_default() += 1;
    }

    pub(super) fn persisted(&self, outcome: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.persisted.entry(outcome).or_default() += 1;
    }
}

/// Tells of the live configuration's operations at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let mut all: Vec<(String, Arc<Kept>)> = shared.compiled.load().kept::<Kept>();
        for (place, _) in &mut all {
            *place = place.replacen(&format!("/{KEPT}"), "", 1);
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (policy, kept) in &all {
            operations(policy, kept, out);
        }
        for (policy, kept) in &all {
            durations(policy, kept, out);
        }
        for (policy, kept) in &all {
            let counts = kept.counts.lock().unwrap_or_else(PoisonError::into_inner);
            for (code, count) in &counts.refused {
                let help = "Requests of GraphQL that were refused, by the code that clients were told.";
                let labels = [("policy", policy.as_str()), ("code", *code)];
                out.counter("tidegate_graphql_refused_total", help, &labels, *count as f64);
            }
        }
        for (policy, kept) in &all {
            let counts = kept.counts.lock().unwrap_or_else(PoisonError::into_inner);
            for (outcome, count) in &counts.persisted {
                let help = "Documents that were asked for by an id or sent with one, by what came of it.";
                let labels = [("policy", policy.as_str()), ("outcome", *outcome)];
                out.counter("tidegate_graphql_persisted_total", help, &labels, *count as f64);
            }
        }
        for (policy, kept) in &all {
            if let Some(store) = &kept.store {
                let help = "Bytes that documents take which clients have sent with their hashes.";
                out.gauge("tidegate_graphql_store_bytes", help, &[("policy", policy)], store.size().1 as f64);
            }
        }
    }
}

/// Each operation with its kind, in order.
fn each(kept: &Kept, mut tell: impl FnMut([(&str, &str); 2], &Cells)) {
    let all = kept.operations.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort_by_key(|((name, kind), _)| (name.clone(), kind.as_str()));
    for ((name, kind), cells) in sorted {
        tell([("operation", name), ("type", kind.as_str())], cells);
    }
}

fn operations(policy: &str, kept: &Kept, out: &mut Exposition) {
    each(kept, |[operation, kind], cells| {
        for (outcome, count) in [("answered", cells.answered), ("failed", cells.failed)] {
            let labels = [("policy", policy), operation, kind, ("outcome", outcome)];
            let help = "Operations of GraphQL that the service was asked for, by what came of them.";
            out.counter("tidegate_graphql_operations_total", help, &labels, count as f64);
        }
    });
}

fn durations(policy: &str, kept: &Kept, out: &mut Exposition) {
    each(kept, |[operation, kind], cells| {
        let help = "Time until the service answered an operation of GraphQL.";
        let labels = [("policy", policy), operation, kind];
        out.histogram("tidegate_graphql_operation_duration_seconds", help, &labels, &cells.duration);
    });
    each(kept, |[operation, kind], cells| {
        let labels = [("policy", policy), operation, kind];
        let help = "What operations of GraphQL may have cost.";
        out.counter("tidegate_graphql_cost_total", help, &labels, cells.cost);
    });
}
