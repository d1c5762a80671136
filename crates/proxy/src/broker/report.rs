//! What the metrics and the status tell of brokers.

use std::sync::{PoisonError, Weak, atomic::Ordering};

use serde::Serialize;
use telemetry::{Collect, Exposition};

use super::Broker;
use crate::worker::Shared;

/// How a broker is, for the status page.
#[derive(Debug, Clone, Serialize)]
pub struct BrokerStatus {
    /// Its name.
    pub name: String,
    /// `UP` or `AWAY`.
    pub state: &'static str,
    /// Messages that wait for their confirmation.
    pub waiting: usize,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Broker {
    pub(crate) fn status(&self) -> BrokerStatus {
        BrokerStatus {
            name: self.name.to_string(),
            state: if self.link().is_some() { "UP" } else { "AWAY" },
            waiting: self.places.in_flight(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Tells of the live configuration's brokers at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let mut brokers: Vec<_> = compiled.brokers.values().collect();
        brokers.sort_by(|a, b| a.name.cmp(&b.name));
        for broker in &brokers {
            let labels = [("broker", &*broker.name)];
            let up = f64::from(u8::from(broker.link().is_some()));
            out.gauge("tidegate_broker_up", "Whether the broker is connected.", &labels, up);
        }
        for broker in &brokers {
            let labels = [("broker", &*broker.name)];
            let connects = broker.numbers.connects.load(Ordering::Relaxed) as f64;
            out.counter(
                "tidegate_broker_connects_total",
                "How often the broker was connected to.",
                &labels,
                connects,
            );
        }
        for broker in &brokers {
            let labels = [("broker", &*broker.name)];
            let waiting = broker.places.in_flight() as f64;
            out.gauge(
                "tidegate_publish_waiting",
                "Messages that wait for their confirmation.",
                &labels,
                waiting,
            );
        }
        for broker in &brokers {
            let numbers = &broker.numbers;
            for (result, count) in [
                ("stored", &numbers.stored),
                ("duplicate", &numbers.duplicate),
                ("away", &numbers.away),
                ("full", &numbers.full),
                ("too-large", &numbers.too_large),
                ("no-stream", &numbers.no_stream),
                ("unknown", &numbers.unknown),
                ("refused", &numbers.refused),
            ] {
                let labels = [("broker", &*broker.name), ("result", result)];
                let help = "Messages that were to be published, by what became of them.";
                out.counter(
                    "tidegate_publish_messages_total",
                    help,
                    &labels,
                    count.load(Ordering::Relaxed) as f64,
                );
            }
        }
        for broker in &brokers {
            let labels = [("broker", &*broker.name)];
            let clients = broker.numbers.feeds.load(Ordering::Relaxed) as f64;
            out.gauge("tidegate_subscribe_clients", "Clients that messages flow to.", &labels, clients);
        }
        for broker in &brokers {
            let numbers = &broker.numbers;
            for (result, count) in
                [("sent", &numbers.fed), ("left-out", &numbers.left_out), ("cut-off", &numbers.cut)]
            {
                let labels = [("broker", &*broker.name), ("result", result)];
                let help =
                    "Messages for clients that listen, and clients that were cut off because they were slow.";
                out.counter(
                    "tidegate_subscribe_messages_total",
                    help,
                    &labels,
                    count.load(Ordering::Relaxed) as f64,
                );
            }
        }
        for broker in &brokers {
            let labels = [("broker", &*broker.name)];
            let after = *broker.numbers.confirmed_after.lock().unwrap_or_else(PoisonError::into_inner);
            let help = "From sending a message to its confirmation, in seconds.";
            out.histogram("tidegate_publish_confirm_seconds", help, &labels, &after);
        }
    }
}
