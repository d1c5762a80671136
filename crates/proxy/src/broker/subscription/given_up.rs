//! Messages that are given up: published to another subject with what happened to them, or counted and logged.

use std::{sync::atomic::Ordering as Atomic, time::Duration};

use super::Held;
use crate::broker::Outgoing;

/// When a message comes again that could not be put elsewhere.
pub(super) const AGAIN: Duration = Duration::from_secs(30);
/// How long the broker may take to confirm.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a delivery failed.
pub(super) enum Why {
    /// It may work another time.
    Failed(String),
    /// It never will.
    Unfit(String),
}

impl Why {
    /// Whether no further delivery would change anything.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Unfit(_))
    }

    fn text(&self) -> &str {
        match self {
            Self::Failed(why) | Self::Unfit(why) => why,
        }
    }
}

/// Gives a message up; false when it has to stay, because the other subject does not take it now.
pub(super) async fn end(held: &Held, why: &Why) -> bool {
    let (owner, message) = (&held.owner, &held.message);
    let (name, sequence, deliveries) = (&owner.name, held.sequence, held.deliveries);
    let why = why.text();
    let Some(subject) = &owner.settings.dead_letter else {
        owner.numbers.dropped.fetch_add(1, Atomic::Relaxed);
        tracing::error!(
            subscription = %name, sequence, deliveries, why,
            "`{name}` gives the message {sequence} up after {deliveries} deliveries: {why}"
        );
        return true;
    };
    let stream = &owner.settings.stream;
    let of_the_broker = |name: &str| name.to_ascii_lowercase().starts_with("nats-");
    let all = message.headers.iter().flat_map(|headers| headers.iter());
    let mut headers: Vec<(String, String)> = all
        .filter(|(name, _)| !of_the_broker(AsRef::<str>::as_ref(*name)))
        .flat_map(|(name, values)| {
            values.iter().map(|value| (AsRef::<str>::as_ref(name).to_owned(), value.as_str().to_owned()))
        })
        .collect();
    for (key, value) in [
        // Whoever gives it up twice has given it up once.
        ("Nats-Msg-Id", format!("dead/{}/{stream}/{sequence}", owner.settings.durable())),
        ("Tidegate-Subscription", name.to_string()),
        ("Tidegate-Stream", stream.clone()),
        ("Tidegate-Sequence", sequence.to_string()),
        ("Tidegate-Subject", message.subject.to_string()),
        ("Tidegate-Deliveries", deliveries.to_string()),
        ("Tidegate-Reason", why.chars().filter(|one| !one.is_control()).take(256).collect()),
    ] {
        headers.push((key.to_owned(), value));
    }
    let outgoing = Outgoing { subject: subject.clone(), headers, payload: message.payload.clone() };
    match owner.broker.publish(outgoing, TIMEOUT).await {
        Ok(_) => {
            owner.numbers.dead.fetch_add(1, Atomic::Relaxed);
            tracing::warn!(
                subscription = %name, sequence, deliveries, why,
                "`{name}` puts the message {sequence} to `{subject}` after {deliveries} deliveries: {why}"
            );
            true
        }
        Err(error) => {
            tracing::error!(
                subscription = %name, sequence, ?error,
                "`{name}` cannot put the message {sequence} to `{subject}`, and tries again"
            );
            false
        }
    }
}
