//! Certificates over ACME, from a real authority that looks over real sockets: Pebble, with a name server of its own.

mod kept;
mod orders;
mod pebble;
mod refused;
mod renewals;

use std::{net::SocketAddr, path::Path};

use rustls::{RootCertStore, pki_types::CertificateDer};

use self::pebble::Pebble;
use crate::{
    harness::{Gateway, eventually, free_port},
    wire::tls::{ask, client, dial, shown},
};

/// A gateway with a plain listener, which redirects, and one with TLS, at the ports where the authority looks.
struct Door {
    gateway: Gateway,
    tls: SocketAddr,
}

/// What the listeners and the authority of a test are like.
#[derive(Clone, Copy, Default)]
struct Shape<'a> {
    /// More settings of the authority.
    authority: &'a str,
    /// `tls` of the TLS listener, `acme` aside.
    tls: &'a str,
    /// The names of the certificate.
    names: &'a str,
    /// More of the configuration.
    rest: &'a str,
}

/// The configuration for a door.
fn text(pebble: &Pebble, shape: Shape<'_>) -> String {
    let Shape { authority, tls, names, rest } = shape;
    let (plain, secure) = (pebble.http_port, pebble.tls_port);
    format!(
        "listeners:
  - {{name: plain, address: 127.0.0.1:{plain}, redirectToHttps: true}}
  - {{name: tls, address: 127.0.0.1:{secure}, tls: {{acme: [{{authority: pebble, names: [{names}]}}]{tls}}}}}
acme:
  - {{name: pebble, directory: \"{}\", caFile: pebble.pem, termsAgreed: true, contacts: [ops@example.com]{authority}}}
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{body: inside}}}}]
{rest}",
        pebble.directory()
    )
}

/// Starts a gateway at the ports where the authority looks.
fn open(pebble: &Pebble, shape: Shape<'_>) -> Door {
    let folder = tempfile::tempdir().expect("a folder");
    pebble.write_authority(folder.path());
    open_in(folder, pebble, shape)
}

fn open_in(folder: tempfile::TempDir, pebble: &Pebble, shape: Shape<'_>) -> Door {
    let address = SocketAddr::from(([127, 0, 0, 1], pebble.http_port));
    let gateway = Gateway::in_folder(folder, &text(pebble, shape), address, |_| {});
    Door { gateway, tls: SocketAddr::from(([127, 0, 0, 1], pebble.tls_port)) }
}

impl Door {
    /// The certificate that a client gets for a name, if it can trust one.
    fn shown(&self, name: &str, roots: &RootCertStore) -> Option<CertificateDer<'static>> {
        let stream = dial(self.tls, &client(roots.clone(), None, &[]), name).ok()?;
        Some(shown(&stream))
    }

    /// Waits for a certificate that covers a name and that a client can trust.
    fn gets(&self, name: &str, pebble: &Pebble) -> CertificateDer<'static> {
        let roots = pebble.roots();
        let mut found = None;
        eventually(&format!("a certificate for {name}:\n{}", self.gateway.stderr()), || {
            found = self.shown(name, &roots);
            found.is_some()
        });
        found.expect("a certificate")
    }

    /// Waits until so many certificates are counted: one is in use, and written to disk, a moment before that.
    fn has_counted(&self, count: f64) {
        let issued = "tidegate_acme_orders_total{outcome=\"issued\"}";
        eventually("they are counted", || self.gateway.metric(issued) == Some(count));
    }

    /// What is inside, over TLS.
    fn inside(&self, name: &str, pebble: &Pebble) -> String {
        let mut stream = dial(self.tls, &client(pebble.roots(), None, &[]), name).expect("a connection");
        ask(&mut stream, name, "/").expect("an answer").text()
    }

    /// The certificates as the admin API tells them.
    fn told(&self) -> Vec<serde_json::Value> {
        let told = self.gateway.admin_get("/api/v1/acme").json();
        told["certificates"].as_array().expect("a list").clone()
    }

    /// Where the certificates are kept.
    fn kept(&self) -> std::path::PathBuf {
        self.gateway.folder.path().join("data/acme")
    }
}

/// How far away a time is that the admin API tells.
fn seconds_until(time: &serde_json::Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("a time");
    time.duration_since(jiff::Timestamp::now()).as_secs_f64()
}

/// `runtime` with a program that may be run.
fn may_run(program: &str) -> String {
    format!("runtime: {{allowedCommands: [\"{program}\"]}}")
}

/// A port at which nobody listens.
fn nowhere() -> u16 {
    free_port()
}

/// The one file of a name below a folder.
fn file(below: &Path, name: &str) -> std::path::PathBuf {
    let mut found = Vec::new();
    // A certificate is in use a moment before it is on disk.
    eventually(&format!("one {name} below {}", below.display()), || {
        found = crate::tidy::files(below, name);
        found.len() == 1
    });
    found[0].clone()
}
