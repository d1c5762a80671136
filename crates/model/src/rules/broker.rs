//! Rules of brokers.

use crate::{
    Config, Duration, EndpointAddress,
    load::Context,
    resource::{
        broker::{Broker, BrokerKind, Kafka, Nats, Rabbitmq},
        tls::UpstreamTls,
    },
};

/// What kind a broker is; nothing where there is none of that name, or it is not good itself.
pub(super) fn kind(config: &Config, name: &str) -> Option<BrokerKind> {
    let broker = config.brokers.iter().find(|broker| broker.name == name)?;
    broker.kinds().first().copied()
}

pub(super) fn check(broker: &Broker, at: &mut Context<'_, '_>) {
    match broker.kinds()[..] {
        [_] => {}
        [] => at.error_with(
            "expected `nats`, `rabbitmq` or `kafka`",
            "such as `nats: {servers: [\"127.0.0.1:4222\"]}`",
        ),
        [first, second, ..] => at.field(second.as_str(), |at| {
            at.error_with(
                format!("expected one of `{}` and `{}`", first.as_str(), second.as_str()),
                "make two brokers of them",
            );
        }),
    }
    if let Some(nats) = &broker.nats {
        at.field("nats", |at| check_nats(nats, at));
    }
    if let Some(rabbitmq) = &broker.rabbitmq {
        at.field("rabbitmq", |at| check_rabbitmq(rabbitmq, at));
    }
    if let Some(kafka) = &broker.kafka {
        at.field("kafka", |at| check_kafka(kafka, at));
    }
}

/// What all have.
fn check_all(
    servers: &[EndpointAddress],
    port: u16,
    tls: Option<&UpstreamTls>,
    connect_timeout: Duration,
    at: &mut Context<'_, '_>,
) {
    if servers.is_empty() {
        at.error_with("expected `servers`", format!("such as `servers: [\"127.0.0.1:{port}\"]`"));
    }
    at.each("servers", servers, |at, address| {
        if matches!(address, EndpointAddress::Unix(_)) {
            at.error("expected a host and a port");
        }
    });
    if connect_timeout.is_zero() {
        at.field("connectTimeout", |at| at.error("expected more than nothing"));
    }
    if tls.is_some_and(|tls| tls.server_name.is_some()) {
        at.field("tls", |at| {
            at.field("serverName", |at| {
                at.error_with("the name is that of the server", "write it into `servers`");
            });
        });
    }
}

fn check_nats(nats: &Nats, at: &mut Context<'_, '_>) {
    check_all(&nats.servers, 4222, nats.tls.as_ref(), nats.connect_timeout, at);
    let ways = [
        ("username", nats.username.is_some()),
        ("token", nats.token.is_some()),
        ("nkey", nats.nkey.is_some()),
        ("credentials", nats.credentials.is_some()),
    ];
    let mut ways = ways.iter().filter(|(_, is_there)| *is_there).map(|(key, _)| *key);
    if let (Some(first), Some(second)) = (ways.next(), ways.next()) {
        at.field(second, |at| {
            at.error_with(
                format!("expected at most one of `{first}` and `{second}`"),
                "take one of them out",
            );
        });
    }
    if nats.username.is_some() != nats.password.is_some() {
        let key = if nats.username.is_some() { "username" } else { "password" };
        at.field(key, |at| at.error("expected `username` and `password` together"));
    }
}

fn check_rabbitmq(rabbitmq: &Rabbitmq, at: &mut Context<'_, '_>) {
    check_all(&rabbitmq.servers, 5672, rabbitmq.tls.as_ref(), rabbitmq.connect_timeout, at);
    if rabbitmq.username.is_some() != rabbitmq.password.is_some() {
        let key = if rabbitmq.username.is_some() { "username" } else { "password" };
        at.field(key, |at| at.error("expected `username` and `password` together"));
    }
    let seconds = rabbitmq.heartbeat.get().as_secs();
    if !(1..=3600).contains(&seconds) {
        at.field("heartbeat", |at| at.error("expected a second to an hour"));
    }
}

fn check_kafka(kafka: &Kafka, at: &mut Context<'_, '_>) {
    check_all(&kafka.servers, 9092, kafka.tls.as_ref(), kafka.connect_timeout, at);
}
