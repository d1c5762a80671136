//! What the metrics tell of budgets: how often each warned and refused, what is spent of it and what is held. Who spent
//! it is told where the operator asks for it, and then of a bounded number of keys.

use std::{
    collections::BTreeMap,
    sync::{Weak, atomic::Ordering},
};

use jiff::Timestamp;
use telemetry::{Collect, Exposition};

use super::{
    Ledger, NOT_OF_MODELS,
    statement::{Amount, Gauges},
};

/// Tells of a ledger at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Ledger>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(ledger) = self.0.upgrade() else { return };
        // What it is counted by stands behind its name. Budgets of one name are one series, also while an old
        // configuration and a new one live beside each other.
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for book in ledger.live().into_iter().filter(|book| !book.id().starts_with(NOT_OF_MODELS)) {
            let name = book.id().split(' ').next().unwrap_or_default().to_owned();
            let entry = counts.entry(name).or_default();
            entry.0 += book.warnings.load(Ordering::Relaxed);
            entry.1 += book.refusals.load(Ordering::Relaxed);
        }
        for (name, (warnings, _)) in &counts {
            let help = "How often somebody came to the share of a budget that warns, once per period.";
            out.counter("tidegate_budget_warnings_total", help, &[("budget", name)], *warnings as f64);
        }
        for (name, (_, refusals)) in &counts {
            let help = "Calls that a budget refused.";
            out.counter("tidegate_budget_refusals_total", help, &[("budget", name)], *refusals as f64);
        }
        let now = Timestamp::now();
        let gauges = ledger.purses().into_iter().filter_map(|purse| purse.gauges(now));
        let of_name = |one: Gauges| ((one.policy.clone(), matches!(one.limit, Amount::Tokens(_))), one);
        let gauges: BTreeMap<(String, bool), Gauges> = gauges.map(of_name).collect();
        spending(&gauges.into_values().collect::<Vec<_>>(), out);
    }
}

/// A gauge's name without its unit, what it is, and its value, which may not be known.
type Reading = (&'static str, &'static str, fn(&Gauges) -> Option<u128>);

fn spending(all: &[Gauges], out: &mut Exposition) {
    let readings: [Reading; 3] = [
        ("limit", "What each key of a budget may spend in a period.", |one| Some(one.limit.number())),
        ("spent", "What all keys of a budget have spent in this period.", |one| Some(one.spent)),
        ("held", "What is held for calls that are on their way.", |one| one.held),
    ];
    for unit in ["usd", "tokens"] {
        let of_unit =
            || all.iter().filter(|one| matches!(one.limit, Amount::Tokens(_)) == (unit == "tokens"));
        for (what, help, value) in readings {
            let name = format!("tidegate_ai_budget_{what}_{unit}");
            for one in of_unit() {
                if let Some(number) = value(one) {
                    let number = one.limit.with(number).as_f64();
                    out.gauge(&name, help, &[("budget", &one.policy)], number);
                }
            }
        }
        let name = format!("tidegate_ai_budget_key_spent_{unit}");
        let help =
            "What the keys that have spent the most of a budget with `metricKeys` have spent in this period.";
        for one in of_unit() {
            for (key, spent) in &one.named {
                let labels = [("budget", one.policy.as_str()), ("key", key)];
                out.gauge(&name, help, &labels, one.limit.with(*spent).as_f64());
            }
        }
    }
    // Those of one name in two units are one series.
    let mut of_name: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for one in all {
        let share = one.most as f64 / one.limit.number().max(1) as f64;
        let entry = of_name.entry(&one.policy).or_default();
        *entry = (entry.0 + one.keys, entry.1.max(share));
    }
    for (policy, (keys, _)) in &of_name {
        let help = "Keys that have an account at a budget in this period.";
        out.gauge("tidegate_ai_budget_keys", help, &[("budget", policy)], *keys as f64);
    }
    for (policy, (_, share)) in &of_name {
        let help = "The largest share of a budget that any key has spent in this period.";
        out.gauge("tidegate_ai_budget_used_ratio", help, &[("budget", policy)], *share);
    }
}
