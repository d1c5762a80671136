//! Signing in at a certified OpenID provider (npm's `oidc-provider`), as a browser does it.

mod asking;
mod authz;
mod browser;
mod chromium;
mod envoy;
mod exchanged;
mod forged;
mod introspection;
mod lasting;
mod leaving;
mod settings;
mod signed;
mod signing_in;
mod ways;

use std::net::SocketAddr;

use self::browser::Browser;
use super::harness::{Gateway, Peer, Upstream, free_port, get, identity_provider};

/// What sessions of the tests are encrypted with.
const SECRET: &str = "the secret of the tests, which is long enough";

/// A provider, a gateway that signs in at it, and an upstream that answers with the head that it saw.
struct World {
    provider: SocketAddr,
    gateway: Gateway,
    upstream: Upstream,
    _peer: Peer,
}

impl World {
    /// `options` are the provider's as JSON, `settings` the policy's beside those that every test needs, `rest` more of
    /// the configuration.
    fn start(options: &str, settings: &str, rest: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (provider, peer) = provider(address, options);
        let upstream = telling();
        let gateway =
            Gateway::from_text(&configuration(address, provider, &upstream, settings, rest), address, |_| {});
        Self { provider, gateway, upstream, _peer: peer }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address)
    }

    fn host(&self) -> String {
        self.gateway.address.to_string()
    }

    /// A browser in which somebody has signed in.
    fn signed_in(&self, who: &str) -> Browser {
        let mut browser = Browser::default();
        let (url, answer) = browser.walk(&self.url("/start"), who);
        assert_eq!((answer.status, url.as_str()), (200, self.url("/start").as_str()), "{}", answer.text());
        browser
    }

    /// How often the provider was asked for a path.
    fn asked(&self, path: &str) -> u64 {
        let answer = get(self.provider, "/control").expect("the provider answers");
        answer.json()[path].as_u64().unwrap_or(0)
    }

    /// Has the provider give no tokens for now, or give them again.
    fn down(&self, is_down: bool) {
        get(self.provider, &format!("/control?down={}", u8::from(is_down))).expect("the provider answers");
    }
}

/// A provider that knows a gateway at this address.
fn provider(gateway: SocketAddr, options: &str) -> (SocketAddr, Peer) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let arguments = [&address.port().to_string(), &format!("http://{gateway}"), options];
    let mut peer = Peer::start(identity_provider(include_str!("provider.mjs"), &arguments));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    (address, peer)
}

/// An upstream that answers with the head that it saw, as lines.
fn telling() -> Upstream {
    Upstream::scripted(|seen| {
        let lines = seen.headers.iter().map(|(name, value)| format!("{}: {value}\n", name.to_lowercase()));
        let body = format!("{}\n{}", seen.line, lines.collect::<String>());
        let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {}", body.len());
        Some(format!("{head}\r\n\r\n{body}").into_bytes())
    })
}

fn configuration(
    address: SocketAddr,
    provider: SocketAddr,
    upstream: &Upstream,
    settings: &str,
    rest: &str,
) -> String {
    let client = match settings.contains("clientId") {
        true => "",
        false => "clientId: shop, clientSecret: 'a secret: of 100% & more', ",
    };
    format!(
        "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"{address}\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: bye
    match: [{{path: {{exact: /bye}}}}]
    respond: {{body: bye}}
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{oidc: {{issuer: 'http://{provider}', {client}secret: '{SECRET}'{settings}}}}}]
    backends: [{{upstream: u}}]
{rest}",
        upstream.address
    )
}
