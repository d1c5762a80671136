//! What operators see of rules against attacks: what came of calls, which rules fired, and what had no effect in them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use telemetry::{Collect, Exposition};
use waf::Collections;

use crate::{compiled::Compiled, worker::Shared};

/// The name under which compiled snapshots keep counts.
pub(super) const KEPT: &str = "rules";
/// Rules that are counted apart by a policy; others are counted together.
const RULES_MAX: usize = 200;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Noted,
    Detected,
    Refused,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Passed, Self::Noted, Self::Detected, Self::Refused];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Noted => "noted",
            Self::Detected => "detected",
            Self::Refused => "refused",
        }
    }
}

/// What goes on over a reload while the settings stay as they are.
pub(super) struct Kept {
    pub(super) collections: Arc<Collections>,
    outcomes: [AtomicU64; 4],
    steps: AtomicU64,
    out_of_steps: AtomicU64,
    unread: AtomicU64,
    rules: Mutex<BTreeMap<u32, u64>>,
    /// What of the rules has no effect, as of their last compilation.
    pub(super) warnings: Mutex<Arc<Vec<String>>>,
}

impl Kept {
    pub(super) fn new(collections: usize) -> Self {
        Self {
            collections: Arc::new(Collections::new(collections)),
            outcomes: Default::default(),
            steps: AtomicU64::new(0),
            out_of_steps: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            rules: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        usize::try_from(self.steps.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Counts an answer that rules could not look into.
    pub(super) fn unread(&self) {
        self.unread.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note(
        &self,
        outcome: Outcome,
        rules: impl Iterator<Item = u32>,
        steps: usize,
        is_out: bool,
    ) {
        if let Some(count) = self.outcomes.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.steps.fetch_add(steps as u64, Ordering::Relaxed);
        self.out_of_steps.fetch_add(u64::from(is_out), Ordering::Relaxed);
        if outcome == Outcome::Passed {
            return;
        }
        let mut counts = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        for rule in rules {
            let rule = if counts.len() < RULES_MAX || counts.contains_key(&rule) { rule } else { 0 };
            *counts.entry(rule).or_default() += 1;
        }
    }
}

fn all(compiled: &Compiled) -> Vec<(String, Arc<Kept>)> {
    let mut all: Vec<(String, Arc<Kept>)> = compiled
        .kept::<Kept>()
        .into_iter()
        .map(|(place, kept)| (place.replacen(&format!("/waf/{KEPT}"), "", 1), kept))
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Findings about rules of a snapshot that have no effect here.
pub(crate) fn warnings(compiled: &Compiled) -> Vec<model::Finding> {
    let of_one = |(place, kept): (String, Arc<Kept>)| {
        let warnings = kept.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (owner, key) =
            if place == "global" { ("", "globalPolicies") } else { (place.as_str(), "policies") };
        let findings = warnings.iter().map(|warning| model::Finding::new(owner, key, warning.clone()));
        findings.collect::<Vec<_>>()
    };
    all(compiled).into_iter().flat_map(of_one).collect()
}

/// Tells of the live configuration's rules at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let policies = all(&shared.compiled.load());
        for (name, kept) in &policies {
            for (outcome, count) in Outcome::ALL.iter().zip(&kept.outcomes) {
                let labels = [("policy", name.as_str()), ("outcome", outcome.as_str())];
                let help = "Calls that rules against attacks judged, by what came of them.";
                out.counter(
                    "tidegate_waf_requests_total",
                    help,
                    &labels,
                    count.load(Ordering::Relaxed) as f64,
                );
            }
        }
        for (name, kept) in &policies {
            for (rule, count) in &*kept.rules.lock().unwrap_or_else(PoisonError::into_inner) {
                let rule = if *rule == 0 { "other".to_owned() } else { rule.to_string() };
                let labels = [("policy", name.as_str()), ("rule", rule.as_str())];
                out.counter(
                    "tidegate_waf_fired_total",
                    "Calls that a rule fired for.",
                    &labels,
                    *count as f64,
                );
            }
        }
        for (name, kept) in &policies {
            let steps = kept.steps.load(Ordering::Relaxed) as f64;
            out.counter("tidegate_waf_steps_total", "Steps that the rules took.", &[("policy", name)], steps);
        }
        for (name, kept) in &policies {
            let count = kept.out_of_steps.load(Ordering::Relaxed) as f64;
            let help = "Calls that the rules would have taken more steps for than they may.";
            out.counter("tidegate_waf_out_of_steps_total", help, &[("policy", name)], count);
        }
        for (name, kept) in &policies {
            let count = kept.unread.load(Ordering::Relaxed) as f64;
            let help = "Answers that rules should have looked into and that are not what their coding says, or in one that is not unpacked.";
            out.counter("tidegate_waf_unread_answers_total", help, &[("policy", name)], count);
        }
    }
}
