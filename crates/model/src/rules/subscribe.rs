//! Rules of `subscribe`.

use super::World;
use crate::{
    Config, Route,
    load::{Context, format::without_places, scope::Named},
    resource::{
        broker::BrokerKind,
        handler::Settings,
        subscribe::{Subscribe, SubscribeStart},
    },
};

impl Settings for Subscribe {
    fn validate(&self, route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        check(self, route, world.config(), at);
    }
}

fn check(subscribe: &Subscribe, route: &Route, config: &Config, at: &mut Context<'_, '_>) {
    at.field("broker", |at| at.refer(Named::Broker, &subscribe.broker));
    let kind = super::broker::kind(config, &subscribe.broker);
    for (key, template) in [("subject", &subscribe.subject), ("key", &subscribe.key)] {
        if let Some(template) = template {
            at.field(key, |at| {
                super::template(template, at);
                super::publish::captures(template, route, at);
            });
        }
    }
    if let Some(kind) = kind {
        of_kind(kind, subscribe, at);
    }
    for (key, time) in [("heartbeat", subscribe.heartbeat), ("maxDuration", subscribe.max_duration)] {
        if time.is_zero() {
            at.field(key, |at| at.error("expected more than nothing"));
        }
    }
}

fn of_kind(kind: BrokerKind, subscribe: &Subscribe, at: &mut Context<'_, '_>) {
    let needs = |key: &str, what: &str, at: &mut Context<'_, '_>| {
        at.error_with(
            format!("with a broker of kind `{}` this needs `{key}`", kind.as_str()),
            what.to_owned(),
        );
    };
    match (kind, &subscribe.stream) {
        (BrokerKind::Rabbitmq, Some(_)) => {
            at.field("stream", |at| at.error_with("RabbitMQ has no streams here", "name an `exchange`"));
        }
        (BrokerKind::Rabbitmq, None) => {}
        (BrokerKind::Nats, None) => needs("stream", "the stream that keeps the messages", at),
        (BrokerKind::Kafka, None) => needs("stream", "the topic", at),
        (BrokerKind::Kafka, Some(topic)) => at.field("stream", |at| super::publish::topic(topic, at)),
        (BrokerKind::Nats, Some(stream)) => {
            if stream.contains(['.', '*', '>', ' ']) {
                at.field("stream", |at| at.error("expected the name of a stream"));
            }
        }
    }
    match &subscribe.exchange {
        Some(_) => super::publish::only(BrokerKind::Rabbitmq, Some(kind), "exchange", at),
        None if kind == BrokerKind::Rabbitmq => {
            needs("exchange", "the exchange that messages go through", at)
        }
        None => {}
    }
    match (kind, &subscribe.subject) {
        (BrokerKind::Kafka, Some(_)) => at.field("subject", |at| {
            at.error_with("a topic of Kafka's has no subjects", "say with `key` which messages are wanted");
        }),
        (BrokerKind::Kafka, None) => {}
        (_, None) => needs("subject", "which messages flow, such as `orders.{{ consumer.name }}.>`", at),
        (BrokerKind::Nats, Some(subject)) => {
            if !super::subscription::is_filter(&without_places(subject)) {
                at.field("subject", |at| {
                    at.error("expected a subject such as `orders.{{ consumer.name }}.>`")
                });
            }
        }
        (BrokerKind::Rabbitmq, Some(subject)) => {
            let subject = without_places(subject);
            let is_good = |word: &str| matches!(word, "*" | "#") || !word.contains(['*', '#']);
            if subject.len() > 255
                || !subject.split('.').all(is_good)
                || subject.chars().any(char::is_whitespace)
            {
                at.field("subject", |at| {
                    at.error("expected a binding key such as `orders.*.placed` or `orders.#`")
                });
            }
        }
    }
    if kind == BrokerKind::Rabbitmq {
        if subscribe.from != SubscribeStart::New {
            at.field("from", |at| at.error("an exchange keeps nothing: `new` is all that there is"));
        }
        if at.is_written("resume") && subscribe.resume {
            at.field("resume", |at| at.error("an exchange keeps nothing: nobody can go on where they were"));
        }
    }
}
