//! Rules of brokers.

use crate::{EndpointAddress, load::Context, resource::broker::Broker};

pub(super) fn check(broker: &Broker, at: &mut Context<'_, '_>) {
    let nats = &broker.nats;
    at.field("nats", |at| {
        if nats.servers.is_empty() {
            at.error_with("expected `servers`", "such as `servers: [\"127.0.0.1:4222\"]`");
        }
        at.each("servers", &nats.servers, |at, address| {
            if matches!(address, EndpointAddress::Unix(_)) {
                at.error("expected a host and a port");
            }
        });
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
        if nats.connect_timeout.is_zero() {
            at.field("connectTimeout", |at| at.error("expected more than nothing"));
        }
        if nats.tls.as_ref().is_some_and(|tls| tls.server_name.is_some()) {
            at.field("tls", |at| {
                at.field("serverName", |at| {
                    at.error_with("the name is that of the server", "write it into `servers`");
                });
            });
        }
    });
}
