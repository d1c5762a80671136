//! Messages that are given up: published to another subject with what happened to them, or counted and logged.

use std::{sync::atomic::Ordering as Atomic, time::Duration};

use super::Held;
use crate::broker::Outgoing;

/// When a message comes again that could not be put elsewhere.
pub(super) const AGAIN: Duration = Duration::from_secs(30);
/// Bytes of an id that every broker takes: those of a short text in AMQP.
const ID_BYTES_MAX: usize = 255;
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

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Failed(why) | Self::Unfit(why) => why,
        }
    }
}

/// The id of a message that is put elsewhere. That of the message may be as long as a broker allows, and more is not.
fn own_id(durable: &str, id: &str) -> String {
    let own = format!("dead/{durable}/{id}");
    if own.len() <= ID_BYTES_MAX {
        return own;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, own.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("dead/{hex}")
}

/// Gives a message up; false when it has to stay, because the other subject does not take it now.
pub(super) async fn end(held: &Held, why: &Why) -> bool {
    let (owner, message) = (&held.owner, &held.message);
    let (name, id, deliveries) = (&owner.name, &message.id, held.deliveries);
    let why = why.text();
    let Some(subject) = &owner.settings.dead_letter else {
        owner.numbers.dropped.fetch_add(1, Atomic::Relaxed);
        tracing::error!(
            subscription = %name, id = %id, deliveries, why,
            "`{name}` gives the message {id} up after {deliveries} deliveries: {why}"
        );
        return true;
    };
    let stream = &owner.settings.stream;
    // What the broker itself wrote, and what it is told in another way.
    let is_own = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("nats-") || name.starts_with("x-death") || name == "partition-key"
    };
    let mut headers: Vec<(String, String)> =
        message.headers.iter().filter(|(name, _)| !is_own(name)).cloned().collect();
    let place = [
        ("Tidegate-Partition", message.partition.map(|partition| partition.to_string())),
        ("Tidegate-Sequence", message.sequence.map(|sequence| sequence.to_string())),
    ];
    headers.extend(place.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    for (key, value) in [
        ("Tidegate-Subscription", name.to_string()),
        ("Tidegate-Stream", stream.clone()),
        ("Tidegate-Subject", message.subject.clone()),
        ("Tidegate-Deliveries", deliveries.to_string()),
        ("Tidegate-Reason", why.chars().filter(|one| !one.is_control()).take(256).collect()),
    ] {
        headers.push((key.to_owned(), value));
    }
    let outgoing = Outgoing {
        subject: subject.clone(),
        exchange: owner.settings.dead_letter_exchange.clone(),
        stream: None,
        // Whoever gives it up twice has given it up once.
        id: own_id(&owner.settings.durable(), id),
        key: message.key.clone(),
        headers,
        payload: message.payload.clone(),
    };
    match owner.broker.publish(outgoing, TIMEOUT).await {
        Ok(_) => {
            owner.numbers.dead.fetch_add(1, Atomic::Relaxed);
            tracing::warn!(
                subscription = %name, id = %id, deliveries, why,
                "`{name}` puts the message {id} to `{subject}` after {deliveries} deliveries: {why}"
            );
            true
        }
        Err(error) => {
            tracing::error!(
                subscription = %name, id = %id, ?error,
                "`{name}` cannot put the message {id} to `{subject}`, and tries again"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_what_is_given_up_is_the_same_each_time_and_fits_however_long_the_first_was() {
        assert_eq!(own_id("tidegate-a", "orders-7"), "dead/tidegate-a/orders-7");
        let long = "x".repeat(250);
        let own = own_id("tidegate-a", &long);
        assert_eq!((own.len(), &own), (69, &own_id("tidegate-a", &long)));
        assert_ne!(own, own_id("tidegate-b", &long));
    }
}
