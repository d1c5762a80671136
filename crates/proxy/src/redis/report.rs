//! What the metrics tell of the shared store: whether it is there, how long it takes, and what went wrong.

use std::sync::{PoisonError, Weak, atomic::Ordering};

use telemetry::{Collect, Exposition};

use crate::worker::Shared;

/// Tells of the live configuration's store at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let Some(accounts) = &compiled.accounts else { return };
        let client = accounts.client();
        let up = f64::from(u8::from(client.is_up()));
        out.gauge("tidegate_redis_up", "Whether the shared store is connected and answers.", &[], up);
        let trips = *client.numbers.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        out.histogram(
            "tidegate_redis_round_trip_seconds",
            "Questions to the shared store that it answered.",
            &[],
            &trips,
        );
        let help = "Questions to the shared store without a good answer.";
        for (reason, count) in [
            ("timeout", &client.numbers.timeouts),
            ("connection", &client.numbers.broken),
            ("answer", &client.numbers.refused),
        ] {
            let count = count.load(Ordering::Relaxed) as f64;
            out.counter("tidegate_redis_errors_total", help, &[("reason", reason)], count);
        }
        let connects = client.numbers.connects.load(Ordering::Relaxed) as f64;
        out.counter(
            "tidegate_redis_connects_total",
            "How often the shared store was connected to.",
            &[],
            connects,
        );
        accounts.collect(out);
    }
}
