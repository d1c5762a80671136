//! Rules of subscriptions.

use crate::{
    Config,
    load::{Context, scope::Named},
    resource::{
        broker::BrokerKind,
        subscription::{Ordering, Subscription},
    },
};

/// Whether a subject is one of those that a filter names.
fn fits(filter: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in filter.split('.') {
        match (token, subject.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

pub(super) fn check(subscription: &Subscription, config: &Config, at: &mut Context<'_, '_>) {
    at.field("broker", |at| at.refer(Named::Broker, &subscription.broker));
    at.field("upstream", |at| at.refer(Named::Upstream, &subscription.upstream));
    if config.listeners.is_empty() {
        at.error("a configuration without listeners serves nothing, deliveries included");
    }
    let kind = super::broker::kind(config, &subscription.broker);
    match kind {
        Some(BrokerKind::Rabbitmq) => of_rabbitmq(subscription, at),
        Some(BrokerKind::Kafka) => of_kafka(subscription, config, at),
        Some(BrokerKind::Nats) | None => of_nats(subscription, config, at),
    }
    if subscription.dead_letter_exchange.is_some() {
        super::publish::only(BrokerKind::Rabbitmq, kind, "deadLetterExchange", at);
    }
    if at.is_written("whenUnreadable") {
        super::publish::only(BrokerKind::Kafka, kind, "whenUnreadable", at);
    }
    if subscription.timeout.is_zero() {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
    at.field("backoff", |at| super::upstream::backoff(&subscription.backoff, at));
    if subscription.ordering == Ordering::All && at.is_written("concurrency") && subscription.concurrency > 1
    {
        at.field("concurrency", |at| {
            at.error_with("with `ordering: all` there is one delivery at a time", "leave it out");
        });
    }
    let twin = config.subscriptions.iter().find(|other| {
        other.name != subscription.name
            && other.broker == subscription.broker
            && other.stream == subscription.stream
            && (other.durable() == subscription.durable() || kind == Some(BrokerKind::Rabbitmq))
    });
    if let Some(twin) = twin {
        let key = if kind == Some(BrokerKind::Rabbitmq) { "stream" } else { "durable" };
        at.field(key, |at| {
            at.error(format!("`{}` has the same one: each would get a part of the messages", twin.name));
        });
    }
}

fn of_nats(subscription: &Subscription, config: &Config, at: &mut Context<'_, '_>) {
    let is_name =
        |text: &str| !text.contains(['.', '*', '>', '/', '\\']) && !text.chars().any(char::is_whitespace);
    if !is_name(&subscription.stream) {
        at.field("stream", |at| at.error("expected the name of a stream"));
    }
    if subscription.durable.as_deref().is_some_and(|durable| !is_name(durable)) {
        at.field("durable", |at| at.error("expected a name without dots, spaces and wildcards"));
    }
    if subscription.subject.as_deref().is_some_and(|subject| !is_filter(subject)) {
        at.field("subject", |at| at.error("expected a subject such as `orders.*.placed` or `orders.>`"));
    }
    if let Some(subject) = &subscription.dead_letter {
        at.field("deadLetter", |at| {
            super::publish::subject(Some(BrokerKind::Nats), subject, at);
            let own = config.subscriptions.iter().filter(|one| one.broker == subscription.broker);
            if subscription.subject.is_none() {
                at.error_with(
                    "what is given up might come again as a message of its own",
                    "name the `subject` that is read, with another one for what is given up",
                );
            } else if own.filter_map(|one| one.subject.as_deref()).any(|filter| fits(filter, subject)) {
                at.error("a subscription reads this subject: what is given up would come again");
            }
        });
    }
}

/// What only NATS has.
fn without_subject(kind: BrokerKind, subscription: &Subscription, at: &mut Context<'_, '_>) {
    if subscription.subject.is_some() {
        super::publish::only(BrokerKind::Nats, Some(kind), "subject", at);
    }
}

fn of_kafka(subscription: &Subscription, config: &Config, at: &mut Context<'_, '_>) {
    without_subject(BrokerKind::Kafka, subscription, at);
    at.field("stream", |at| super::publish::topic(&subscription.stream, at));
    if let Some(topic) = &subscription.dead_letter {
        at.field("deadLetter", |at| {
            super::publish::topic(topic, at);
            let mut own = config.subscriptions.iter().filter(|one| one.broker == subscription.broker);
            if own.any(|one| one.stream == *topic) {
                at.error("a subscription reads this topic: what is given up would come again");
            }
        });
    }
}

fn of_rabbitmq(subscription: &Subscription, at: &mut Context<'_, '_>) {
    without_subject(BrokerKind::Rabbitmq, subscription, at);
    for key in ["durable", "from"] {
        if at.is_written(key) {
            at.field(key, |at| {
                at.error_with("a queue of RabbitMQ's is read as it is, by all who read it", "leave it out");
            });
        }
    }
    if let Some(key) = &subscription.dead_letter {
        at.field("deadLetter", |at| {
            super::publish::subject(Some(BrokerKind::Rabbitmq), key, at);
            if subscription.dead_letter_exchange.is_none() && *key == subscription.stream {
                at.error("this is the queue that is read: what is given up would come again");
            }
        });
    } else if subscription.dead_letter_exchange.is_some() {
        at.field("deadLetterExchange", |at| at.error("expected `deadLetter`, the routing key, with it"));
    }
}

/// A subject that can be listened to: wildcards are whole parts, and `>` is the last.
pub(super) fn is_filter(subject: &str) -> bool {
    let tokens: Vec<&str> = subject.split('.').collect();
    let is_good = |(place, token): (usize, &&str)| match *token {
        ">" => place + 1 == tokens.len(),
        "*" => true,
        token => !token.is_empty() && !token.contains(['*', '>']) && !token.chars().any(char::is_whitespace),
    };
    !subject.starts_with('$') && tokens.iter().enumerate().all(is_good)
}
