//! Traffic on the wire: each file is one promise about what passes between clients and upstreams.

mod abort;
mod bodies;
mod connect;
mod expect;
mod forwarded;
mod grpc;
mod heads;
mod proxy_protocol;
mod slow_readers;
mod spread;
mod sse;
mod streaming;
pub(super) mod tls;
mod trailers;
mod tuning;
mod unix;
mod websocket;

use std::net::SocketAddr;

use super::harness::Gateway;

/// A gateway in front of one upstream that speaks HTTP/1.1.
fn front(upstream: SocketAddr) -> Gateway {
    front_with("", upstream, "", "")
}

/// The same, on one worker so that records keep their order, with settings of the listener, the upstream (`protocol: http2`) and the route.
fn front_with(listener: &str, address: SocketAddr, upstream: &str, route: &str) -> Gateway {
    let more = |settings: &str| if settings.is_empty() { String::new() } else { format!(", {settings}") };
    Gateway::with(
        listener,
        &format!(
            "runtime: {{workers: 1}}
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"{address}\"}}]{}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}]{}, backends: [{{upstream: u}}]}}]
",
            more(upstream),
            more(route)
        ),
    )
}
