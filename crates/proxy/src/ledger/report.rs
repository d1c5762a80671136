//! What the metrics tell of budgets: how often each warned and refused. Never who spent what.

use std::sync::{Weak, atomic::Ordering};

use telemetry::{Collect, Exposition};

use super::{Ledger, NOT_OF_MODELS};

/// Tells of a ledger at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Ledger>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(ledger) = self.0.upgrade() else { return };
        let mut books = ledger.live();
        books.retain(|book| !book.id().starts_with(NOT_OF_MODELS));
        books.sort_by(|a, b| a.id().cmp(b.id()));
        // What it is counted by stands behind its name.
        let name = |id: &str| id.split(' ').next().unwrap_or_default().to_owned();
        for book in &books {
            let help = "How often somebody came to the share of a budget that warns, once per period.";
            let count = book.warnings.load(Ordering::Relaxed) as f64;
            out.counter("tidegate_budget_warnings_total", help, &[("budget", &name(book.id()))], count);
        }
        for book in &books {
            let help = "Calls that a budget refused.";
            let count = book.refusals.load(Ordering::Relaxed) as f64;
            out.counter("tidegate_budget_refusals_total", help, &[("budget", &name(book.id()))], count);
        }
    }
}
