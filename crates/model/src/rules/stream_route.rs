//! Rules of routes of byte streams and datagrams: no two want the same, and nothing is asked for that cannot be had.

use std::collections::HashMap;

use crate::{
    Config, Duration, Listener,
    load::{Context, scope::Named},
    resource::{
        listener::{ListenerProtocol, ProxyProtocol},
        stream_route::{StreamRoute, StreamTls},
    },
};

/// Bytes of the largest datagram that there is (RFC 768, less the headers).
const DATAGRAM_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn check(route: &StreamRoute, config: &Config, at: &mut Context<'_, '_>) {
    let of = |name: &String| config.listeners.iter().find(|listener| listener.name == *name);
    at.each("listeners", &route.listeners, |at, name| {
        at.refer(Named::Listener, name);
        if let Some(listener) = of(name) {
            place(route, listener, at);
        }
    });
    let protocols: Vec<ListenerProtocol> =
        route.listeners.iter().filter_map(of).map(|listener| listener.protocol).collect();
    let is_udp = protocols.contains(&ListenerProtocol::Udp);
    if is_udp && protocols.iter().any(|one| *one != ListenerProtocol::Udp) {
        at.field("listeners", |at| {
            at.error_with("datagrams and connections are different things", "give each a route of its own");
        });
    }
    if !is_udp && at.is_written("maxDatagramSize") {
        at.field("maxDatagramSize", |at| at.error("a connection has no datagrams"));
    }
    if route.max_datagram_size.bytes() == 0 || route.max_datagram_size.bytes() > DATAGRAM_BYTES_MAX {
        at.field("maxDatagramSize", |at| at.error("expected 1 to 64KiB"));
    }
    at.each("serverNames", &route.server_names, |at, name| {
        let plain = name.strip_prefix("*.").unwrap_or(name);
        if plain.parse::<std::net::IpAddr>().is_ok() || plain.starts_with('[') {
            at.error("clients name hosts in TLS, never addresses");
        }
    });
    at.each("backends", &route.backends, |at, backend| {
        at.field("upstream", |at| at.refer(Named::Upstream, &backend.upstream));
        let upstream = config.upstreams.iter().find(|upstream| upstream.name == backend.upstream);
        if let Some(upstream) = upstream.filter(|_| is_udp)
            && (upstream.tls.is_some() || upstream.proxy_protocol.is_some())
        {
            at.field("upstream", |at| at.error("datagrams go out without `tls` and without `proxyProtocol`"));
        }
        if upstream.is_some_and(|upstream| !upstream.policies.is_empty()) {
            at.field("upstream", |at| {
                at.error("its policies judge calls, of which there are none in a byte stream");
            });
        }
    });
    if route.backends.iter().all(|backend| backend.weight == 0) {
        at.field("backends", |at| at.error("at least one needs a weight above 0"));
    }
    if route.idle_timeout.is_some_and(|idle| idle < Duration::from_millis(10)) {
        at.field("idleTimeout", |at| at.error("expected 10ms or more"));
    }
}

/// Whether a listener can have such a route.
fn place(route: &StreamRoute, listener: &Listener, at: &mut Context<'_, '_>) {
    let name = &listener.name;
    match listener.protocol {
        ListenerProtocol::Http if listener.tls.is_none() => at.error_with(
            format!("listener `{name}` speaks HTTP without TLS: there is nothing to tell streams apart by"),
            "give the listener `protocol: tcp`",
        ),
        ListenerProtocol::Http if route.server_names.is_empty() => at.error_with(
            format!("all of listener `{name}` would be taken from HTTP"),
            "say under `serverNames` which connections it takes, or give the listener `protocol: tcp`",
        ),
        ListenerProtocol::Udp if !route.server_names.is_empty() => {
            at.error("datagrams are not told apart by server names");
        }
        ListenerProtocol::Udp if route.tls == StreamTls::Terminate => {
            at.error("TLS over datagrams does not end here");
        }
        ListenerProtocol::Tcp if route.tls == StreamTls::Terminate && listener.tls.is_none() => at
            .error_with(
                format!("listener `{name}` has no certificates for TLS to end with"),
                "give the listener `tls`",
            ),
        _ => {}
    }
}

/// No two routes want the same of a listener, and each listener of streams has one.
pub(super) fn places(config: &Config, at: &mut Context<'_, '_>) {
    let mut taken: HashMap<(&str, String), &str> = HashMap::new();
    at.each("streamRoutes", &config.stream_routes, |at, route| {
        at.each("listeners", &route.listeners, |at, listener| {
            let names: Vec<String> = match route.server_names.is_empty() {
                true => vec![String::new()],
                false => route.server_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            };
            for name in names {
                let what = if name.is_empty() { "all else".to_owned() } else { format!("`{name}`") };
                if let Some(first) = taken.insert((listener, name), &route.name) {
                    at.error(format!("route `{first}` takes {what} of listener `{listener}` already"));
                }
            }
        });
    });
}

/// Rules of listeners that are not of HTTP.
pub(super) fn listener(listener: &Listener, config: &Config, at: &mut Context<'_, '_>) {
    let has_route = config.stream_routes.iter().any(|route| route.listeners.contains(&listener.name));
    if listener.protocol == ListenerProtocol::Http {
        return;
    }
    if !has_route {
        at.field("protocol", |at| {
            at.error_with("no route of `streamRoutes` is for this listener", "name it under its `listeners`");
        });
    }
    let is_udp = listener.protocol == ListenerProtocol::Udp;
    let terminates =
        |route: &StreamRoute| route.tls == StreamTls::Terminate && route.listeners.contains(&listener.name);
    if is_udp && listener.tls.is_some() {
        at.field("tls", |at| at.error("datagrams pass as they come"));
    } else if listener.tls.is_some() && !config.stream_routes.iter().any(terminates) {
        at.field("tls", |at| {
            at.error_with("nothing ends here", "have a route with `tls: terminate`, or take it out");
        });
    }
    if is_udp && listener.address.starts_with("unix:") {
        at.field("address", |at| at.error("expected `ip:port`: there are no datagrams at a Unix socket"));
    }
    if is_udp && listener.proxy_protocol != ProxyProtocol::Off {
        at.field("proxyProtocol", |at| at.error("no PROXY header is read from datagrams"));
    }
    let of_http = [
        ("redirectToHttps", listener.https_target().is_some()),
        ("http3", listener.http3().is_some()),
        ("connect", listener.connect),
        ("halfClose", listener.half_close),
        ("policies", !listener.policies.is_empty()),
    ];
    for (key, is_set) in of_http {
        if is_set {
            at.field(key, |at| at.error("this is a matter of HTTP, which is not spoken here"));
        }
    }
    for route in &config.routes {
        if route.listeners.as_ref().is_some_and(|names| names.contains(&listener.name)) {
            at.field("protocol", |at| {
                at.error(format!("route `{}` is for this listener, where no HTTP is spoken", route.name));
            });
        }
    }
}
