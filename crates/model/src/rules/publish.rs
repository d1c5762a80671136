//! Rules of `publish`: where to, and what goes into a message. Schemas and names of templates are judged when they are
//! compiled.

use super::World;
use crate::{
    Config, Route,
    load::{Context, format::without_places, nearest::nearest, scope::Named},
    resource::{
        broker::BrokerKind,
        handler::Settings,
        publish::{CloudEventForm, Publish},
    },
};

impl Settings for Publish {
    fn validate(&self, route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        check(self, route, world.config(), at);
    }
}

fn check(publish: &Publish, route: &Route, config: &Config, at: &mut Context<'_, '_>) {
    at.field("broker", |at| at.refer(Named::Broker, &publish.broker));
    let kind = super::broker::kind(config, &publish.broker);
    if publish.exchange.is_some() {
        only(BrokerKind::Rabbitmq, kind, "exchange", at);
    }
    if publish.stream.is_some() {
        only(BrokerKind::Nats, kind, "stream", at);
    }
    at.field("subject", |at| {
        super::template(&publish.subject, at);
        subject(kind, &without_places(&publish.subject), at);
        captures(&publish.subject, route, at);
        if publish.cloud_events.is_none() && places(&publish.subject).any(|place| place.starts_with("event."))
        {
            at.error_with("there are no events without `cloudEvents`", "such as `cloudEvents: {}`");
        }
    });
    for (key, text) in [("id", &publish.id), ("key", &publish.key)] {
        if let Some(text) = text {
            at.field(key, |at| {
                super::template(text, at);
                captures(text, route, at);
                if text.is_empty() {
                    at.error("expected a template such as `{{ request.header.x-customer }}`");
                }
            });
        }
    }
    at.each("headers", &publish.headers, |at, name| of_the_message(name.as_str(), at));
    at.field("set", |at| {
        for (name, value) in &publish.set {
            at.field(name.as_str(), |at| {
                of_the_message(name.as_str(), at);
                super::template(value, at);
                captures(value, route, at);
            });
        }
    });
    at.each("contentTypes", &publish.content_types, |at, kind| {
        if !kind.contains('/') || kind.contains([';', ' ', '*']) {
            at.error("expected a media type such as `application/json`");
        }
    });
    if publish.timeout.is_zero() {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
    if let Some(events) = &publish.cloud_events {
        at.field("cloudEvents", |at| {
            if events.accept.is_empty() && events.wrap.is_none() {
                at.field("accept", |at| at.error("nobody could send anything: expected at least one form"));
            }
            if at.is_written("maxBatch") && !events.accept.contains(&CloudEventForm::Batch) {
                at.field("maxBatch", |at| {
                    at.error_with("no batch is taken", "add `batch` to `accept`, or leave this out");
                });
            }
        });
    }
}

/// What stands between `{{` and `}}`.
pub(crate) fn places(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(place, _)| place.trim())
}

/// What a template takes from the match, each match must have.
pub(super) fn captures(text: &str, route: &Route, at: &mut Context<'_, '_>) {
    let offered: Vec<Vec<String>> = route.matches.iter().map(super::route::captures).collect();
    for name in places(text).filter_map(|place| place.strip_prefix("captures.")) {
        if offered.is_empty() || offered.iter().any(|names| !names.iter().any(|one| one == name)) {
            missing_capture(name, &offered, at);
        }
    }
}

/// Says that a name of the path is not there, and which one may be meant.
pub(crate) fn missing_capture(name: &str, offered: &[Vec<String>], at: &mut Context<'_, '_>) {
    let message = format!("not every match of this route captures `{name}`");
    match nearest(name, offered.iter().flatten().map(String::as_str)) {
        Some(meant) if meant != name => at.error_with(message, format!("did you mean `{meant}`?")),
        _ => at.error(message),
    }
}

/// Says of a key that it is for one kind of broker alone.
pub(super) fn only(
    wanted: BrokerKind,
    kind: Option<BrokerKind>,
    key: &'static str,
    at: &mut Context<'_, '_>,
) {
    if let Some(kind) = kind.filter(|kind| *kind != wanted) {
        at.field(key, |at| {
            at.error_with(
                format!(
                    "`{key}` is for brokers of kind `{}`, and this one is `{}`",
                    wanted.as_str(),
                    kind.as_str()
                ),
                "leave it out",
            );
        });
    }
}

/// The name of a topic of Kafka's.
pub(crate) fn topic(text: &str, at: &mut Context<'_, '_>) {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !text.bytes().all(is_good) || text.len() > 249 || matches!(text, "" | "." | "..") {
        at.error("expected the name of a topic: letters, digits, `.`, `_` and `-`, 249 at most");
    } else if text.starts_with("__") {
        at.error("this topic is one of the broker's own");
    }
}

/// A subject that messages can be published to.
pub(super) fn subject(kind: Option<BrokerKind>, text: &str, at: &mut Context<'_, '_>) {
    match kind {
        Some(BrokerKind::Kafka) => return topic(text, at),
        Some(BrokerKind::Rabbitmq) => {
            if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
                at.error("expected a routing key, or the name of a queue: 255 bytes at most");
            }
            return;
        }
        Some(BrokerKind::Nats) | None => {}
    }
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.contains(['*', '>'])
            && !part.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    let first = text.split('.').next().unwrap_or_default();
    if first.starts_with('$') || first == "_INBOX" {
        at.error("this subject is one of the broker's own");
    } else if !text.split('.').all(is_plain) || text.len() > 255 {
        at.error(
            "expected a subject such as `orders.placed`: parts with dots between them, without wildcards",
        );
    }
}

/// Headers with which clients would speak to the broker itself, and those that are about their own connection.
fn of_the_message(name: &str, at: &mut Context<'_, '_>) {
    if name.starts_with("nats-")
        || name.starts_with("ce-")
        || name.starts_with("ce_")
        || matches!(name, "partition-key" | "message-id")
    {
        at.error_with(
            format!("`{name}` is not a client's to set"),
            "`id`, `key` and `cloudEvents` say what such headers are",
        );
    }
    if matches!(
        name,
        "connection" | "content-length" | "content-type" | "expect" | "host" | "te" | "transfer-encoding"
    ) {
        at.error(format!("`{name}` is no header of a message"));
    }
}
