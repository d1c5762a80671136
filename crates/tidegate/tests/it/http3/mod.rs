//! HTTP/3: requests, moving clients, hostile ones, and the life of connections, by clients of other hands.

mod aioquic;
mod browser;
mod client;
mod cost;
mod early;
mod goodbye;
mod hostile;
mod life;
mod limits;
mod moving;
mod pieces;
mod relay;
mod requests;
mod secured;
mod told;

use std::net::SocketAddr;

use super::{
    harness::{Gateway, free_port},
    wire::tls::{Authority, Issued},
};

/// A gateway with a listener of TLS and HTTP/3, and whom its clients trust.
struct Front {
    gateway: Gateway,
    authority: Authority,
    certificate: Issued,
}

impl Front {
    /// With further settings of the listener, such as `limits: {…}`, and the rest of the configuration.
    fn start(http3: &str, listener: &str, rest: &str) -> Self {
        let authority = Authority::new("ca");
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = authority.issue(&["a.test"]);
        certificate.write(folder.path(), "one");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = format!("{}\n{rest}", listeners(address, http3, listener));
        let gateway = Gateway::in_folder(folder, &text, address, |_| {});
        Self { gateway, authority, certificate }
    }

    /// In front of one upstream.
    fn before(upstream: SocketAddr, http3: &str, listener: &str, runtime: &str) -> Self {
        Self::start(http3, listener, &rest(upstream, runtime))
    }

    async fn client(&self) -> client::Client {
        client::Client::connect(self.gateway.address, &self.authority).await
    }
}

fn listeners(address: SocketAddr, http3: &str, listener: &str) -> String {
    let more = if listener.is_empty() { String::new() } else { format!(", {listener}") };
    format!(
        "listeners: [{{name: tls, address: \"{address}\", http3: {http3}, tls: {{certificates: [{{certFile: one.crt, keyFile: one.key}}]}}{more}}}]"
    )
}

fn rest(upstream: SocketAddr, runtime: &str) -> String {
    format!(
        "{runtime}
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"{upstream}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n"
    )
}

const ONE_WORKER: &str = "runtime: {workers: 1}";
const FIXED: &str = "runtime: {workers: 2}
routes: [{name: r, match: [{path: {prefix: /}}], respond: {body: inside}}]\n";
