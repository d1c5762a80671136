//! Pebble, the authority that Let's Encrypt's makers test clients with, and the name server that it asks.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    harness::{eventually, free_port, peers_folder},
    wire::tls::{ask, client, dial},
};

/// A running authority with its name server; both end with the test.
pub(crate) struct Pebble {
    child: Option<Child>,
    names: Child,
    folder: tempfile::TempDir,
    port: u16,
    management: u16,
    /// Where names can be set.
    pub(crate) names_at: SocketAddr,
    name_server: u16,
    /// Where it looks over HTTP.
    pub(crate) http_port: u16,
    /// Where it looks over TLS.
    pub(crate) tls_port: u16,
}

/// What an authority is like.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ways<'a> {
    /// More settings, as JSON, with a comma in front.
    pub(crate) settings: &'a str,
    /// Where it looks over HTTP, in place of a free port.
    pub(crate) http_port: Option<u16>,
    /// It is not started yet.
    pub(crate) is_away: bool,
}

fn program(name: &str) -> Command {
    let program = peers_folder().join("pebble/usr/bin").join(name);
    assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
    Command::new(program)
}

impl Pebble {
    pub(crate) fn start() -> Self {
        Self::with(Ways::default())
    }

    pub(crate) fn with(ways: Ways<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("api.pem"), certificate.pem()).expect("a file");
        std::fs::write(folder.path().join("api.key"), key.serialize_pem()).expect("a file");
        let [port, management, name_server, names_at, tls_port] = [(); 5].map(|()| free_port());
        let http_port = ways.http_port.unwrap_or_else(free_port);
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "api.pem", "privateKey": "api.key", "httpPort": {http_port}, "tlsPort": {tls_port},
            "ocspResponderURL": ""{}}}}}"#,
            ways.settings
        );
        std::fs::write(folder.path().join("pebble.json"), config).expect("a file");
        let names = program("pebble-challtestsrv")
            .args([
                "-dns01",
                &format!("127.0.0.1:{name_server}"),
                "-management",
                &format!("127.0.0.1:{names_at}"),
            ])
            .args([
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-defaultIPv6",
                "",
                "-defaultIPv4",
                "127.0.0.1",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the name server starts");
        let names_at = SocketAddr::from(([127, 0, 0, 1], names_at));
        let mut pebble =
            Self { child: None, names, folder, port, management, names_at, name_server, http_port, tls_port };
        eventually("the name server answers", || TcpStream::connect(pebble.names_at).is_ok());
        if !ways.is_away {
            pebble.come();
        }
        pebble
    }

    /// Starts it; what it knew before it has forgotten.
    pub(crate) fn come(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"));
        let child = program("pebble")
            .args(["-config", "pebble.json", "-dnsserver", &format!("127.0.0.1:{}", self.name_server)])
            .current_dir(self.folder.path())
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            // Of each hundred requests it would refuse five, which are then asked twice: tests count orders.
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .stdout(log.expect("a log"))
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("pebble starts"));
        eventually("pebble answers", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        eventually("pebble has an authority", || self.chain("roots").is_some());
    }

    /// Ends it.
    pub(crate) fn leave(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Writes whom to trust for its API into a folder.
    pub(crate) fn write_authority(&self, folder: &Path) {
        std::fs::copy(self.folder.path().join("api.pem"), folder.join("pebble.pem")).expect("a file");
    }

    fn api_roots(&self) -> RootCertStore {
        let pem = std::fs::read(self.folder.path().join("api.pem")).expect("a file");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("a root");
        roots
    }

    /// A certificate of its own.
    fn chain(&self, which: &str) -> Option<CertificateDer<'static>> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.management));
        let mut stream = dial(address, &client(self.api_roots(), None, &[]), "127.0.0.1").ok()?;
        let told = ask(&mut stream, "127.0.0.1", &format!("/{which}/0"))?;
        CertificateDer::from_pem_slice(&told.body).ok()
    }

    /// Whom to trust for what it issues.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        if let Some(root) = self.chain("roots") {
            roots.add(root).expect("a root");
        }
        roots
    }

    /// A directory as text, for somebody who stands before it.
    pub(crate) fn told_directory(&self) -> String {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream =
            dial(address, &client(self.api_roots(), None, &[]), "127.0.0.1").expect("it answers");
        ask(&mut stream, &address.to_string(), "/dir").expect("a directory").text()
    }

    /// Orders that it took. It refuses some requests for their nonces on purpose: these are asked again, and are none.
    pub(crate) fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    /// Certificates that it issued.
    pub(crate) fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.leave();
        let _ = self.names.kill();
        let _ = self.names.wait();
    }
}
