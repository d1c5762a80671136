//! What operators see of operations: how often each is asked for, how long it takes, what it costs, what is refused.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use ::graphql::{Code, Kind, persisted::Store};
use telemetry::{Collect, Exposition, Histogram};

use super::core::Asking;
use crate::worker::Shared;

/// The name under which compiled snapshots keep counts.
pub(super) const KEPT: &str = "operations";
/// Operations that are counted apart by a policy; others are counted together, for clients choose the names.
const OPERATIONS_MAX: usize = 200;
/// How long an operation was not asked for that gives its place to another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Operations without a name, and those without a place of their own. Clients cannot take these names.
const ANONYMOUS: &str = "anonymous";
const OTHER: &str = "other";

/// What goes on over a reload while the settings stay as they are.
pub(crate) struct Kept {
    /// Documents that clients have sent with their hashes.
    pub(super) store: Option<Store>,
    operations: Mutex<HashMap<(Arc<str>, Kind), Cells>>,
    counts: Mutex<Counts>,
}

struct Cells {
    seen: Instant,
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

    /// Counts an operation that was answered. A name that a service has answered well has a place of its own, while there
    /// are any, or another was forgotten.
    pub(super) fn answered(&self, asked: &Asking, is_ok: bool, took: Duration, now: Instant) {
        let mut all = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match &asked.name {
            None => (Arc::from(ANONYMOUS), asked.kind),
            Some(name) if matches!(&**name, ANONYMOUS | OTHER) => (Arc::from(OTHER), asked.kind),
            Some(name) => (name.clone(), asked.kind),
        };
        let has_place = asked.name.is_none() || all.contains_key(&key) || is_ok && make_room(&mut all, now);
        let key = if has_place { key } else { (Arc::from(OTHER), asked.kind) };
        let cells = all.entry(key).or_insert_with(|| Cells::new(now));
        cells.seen = now;
        match is_ok {
            true => cells.answered += 1,
            false => cells.failed += 1,
        }
        // A sum that is once beyond all numbers would stay there.
        cells.cost += asked.cost.min(1e12);
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

impl Cells {
    fn new(now: Instant) -> Self {
        Self { seen: now, answered: 0, failed: 0, cost: 0.0, duration: Histogram::default() }
    }
}

/// Whether there is room for one more name.
fn make_room(all: &mut HashMap<(Arc<str>, Kind), Cells>, now: Instant) -> bool {
    let is_named = |(name, _): &(Arc<str>, Kind)| !matches!(&**name, ANONYMOUS | OTHER);
    if all.keys().filter(|key| is_named(key)).count() < OPERATIONS_MAX {
        return true;
    }
    let named = all.iter().filter(|(key, _)| is_named(key));
    let oldest = named.min_by_key(|(_, cells)| cells.seen).map(|(key, cells)| (key.clone(), cells.seen));
    match oldest {
        Some((key, seen)) if now.saturating_duration_since(seen) > FORGOTTEN_AFTER => {
            all.remove(&key);
            true
        }
        _ => false,
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
            let help = "Operations of GraphQL that were answered, by the service or from `cache`, by what came of them.";
            out.counter("tidegate_graphql_operations_total", help, &labels, count as f64);
        }
    });
}

fn durations(policy: &str, kept: &Kept, out: &mut Exposition) {
    each(kept, |[operation, kind], cells| {
        let help = "Time until an operation of GraphQL was answered.";
        let labels = [("policy", policy), operation, kind];
        out.histogram("tidegate_graphql_operation_duration_seconds", help, &labels, &cells.duration);
    });
    each(kept, |[operation, kind], cells| {
        let labels = [("policy", policy), operation, kind];
        let help = "What operations of GraphQL may have cost.";
        out.counter("tidegate_graphql_cost_total", help, &labels, cells.cost);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: &str) -> Asking {
        Asking { name: (!name.is_empty()).then(|| Arc::from(name)), kind: Kind::Query, cost: 1.0 }
    }

    fn counted(kept: &Kept, name: &str) -> u64 {
        let all = kept.operations.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(Arc::from(name), Kind::Query)).map_or(0, |cells| cells.answered + cells.failed)
    }

    #[test]
    fn names_are_kept_while_they_are_asked_for() {
        let kept = Kept::new(None);
        let start = Instant::now();
        let answer = |name: &str, is_ok: bool, after: Duration| {
            kept.answered(&asking(name), is_ok, Duration::ZERO, start + after);
        };
        answer("Wrong", false, Duration::ZERO);
        assert_eq!((counted(&kept, "Wrong"), counted(&kept, OTHER)), (0, 1), "a service knows no such name");
        for at in 0..OPERATIONS_MAX + 1 {
            answer(&format!("Q{at}"), true, Duration::ZERO);
        }
        assert_eq!((counted(&kept, "Q199"), counted(&kept, "Q200"), counted(&kept, OTHER)), (1, 0, 2));
        answer("", true, Duration::ZERO);
        assert_eq!(counted(&kept, ANONYMOUS), 1, "there is always room for those without a name");
        answer(ANONYMOUS, true, Duration::ZERO);
        answer(OTHER, true, Duration::ZERO);
        assert_eq!((counted(&kept, ANONYMOUS), counted(&kept, OTHER)), (1, 4), "nobody takes these names");
        let later = FORGOTTEN_AFTER + Duration::from_secs(1);
        answer("Q0", true, later);
        answer("New", true, later);
        assert_eq!((counted(&kept, "New"), counted(&kept, "Q0")), (1, 2), "one that is forgotten gives way");
        let all = kept.operations.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(all.len(), OPERATIONS_MAX + 2);
    }
}
