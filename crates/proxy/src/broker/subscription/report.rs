//! What the metrics and the status tell of subscriptions.

use std::sync::{Arc, PoisonError, Weak, atomic::Ordering as Atomic};

use serde::Serialize;
use telemetry::{Collect, Exposition};

use super::Subscription;
use crate::worker::Shared;

/// How a subscription is, for the status page.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: String,
    /// `UP` or `AWAY`.
    pub state: &'static str,
    /// Messages that are held here.
    pub held: usize,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Subscription {
    pub(crate) fn status(&self) -> SubscriptionStatus {
        SubscriptionStatus {
            name: self.name.to_string(),
            state: if self.is_up.load(Atomic::Relaxed) { "UP" } else { "AWAY" },
            held: self.held().len(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Tells of the live configuration's subscriptions at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let mut all: Vec<&Arc<Subscription>> = compiled.subscriptions.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for one in &all {
            let up = f64::from(u8::from(one.is_up.load(Atomic::Relaxed)));
            let labels = [("subscription", &*one.name)];
            out.gauge("tidegate_subscription_up", "Whether the subscription is read.", &labels, up);
        }
        for one in &all {
            let labels = [("subscription", &*one.name)];
            let in_flight = one.in_flight.load(Atomic::Relaxed) as f64;
            out.gauge("tidegate_subscription_in_flight", "Deliveries on their way.", &labels, in_flight);
        }
        for one in &all {
            let labels = [("subscription", &*one.name)];
            let help = "Messages that were taken from the broker and are not done with.";
            out.gauge("tidegate_subscription_held", help, &labels, one.held().len() as f64);
        }
        for one in &all {
            let numbers = &one.numbers;
            for (result, count) in [
                ("delivered", &numbers.delivered),
                ("failed", &numbers.failed),
                ("dead", &numbers.dead),
                ("dropped", &numbers.dropped),
                ("unreadable", &numbers.unreadable),
            ] {
                let labels = [("subscription", &*one.name), ("result", result)];
                let help = "Deliveries by how they ended, messages that were given up, and batches that nobody can read.";
                out.counter(
                    "tidegate_subscription_deliveries_total",
                    help,
                    &labels,
                    count.load(Atomic::Relaxed) as f64,
                );
            }
        }
    }
}
