//! TLS on both sides, with certificates made in the test.

mod client_auth;
mod listener;
mod upstream;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData, RevokedCertParams, SanType,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};

use super::super::harness::{Answer, Gateway, free_port};

/// An authority of the test.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) cert: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// A certificate for names; those with a colon are URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_numbered(names, None)
    }

    /// The same with a serial number of the test's own.
    pub(crate) fn issue_numbered(&self, names: &[&str], serial: Option<u64>) -> Issued {
        let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("parameters");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().expect("a URI")));
        }
        params.serial_number = serial.map(Into::into);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, names[0]);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &*self.0).expect("a certificate");
        Issued { cert: cert.der().clone(), pem: cert.pem(), key }
    }

    /// A certificate by which it vouches for itself alone, marked as an authority's, as `openssl req -x509` makes them.
    pub(crate) fn alone(names: &[&str]) -> Issued {
        let hosts: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        Issued { cert: cert.der().clone(), pem: cert.pem(), key }
    }

    /// The list of what it has taken back, in PEM; it should be renewed within so many hours from now.
    pub(crate) fn revokes(&self, serials: &[u64], hours: i64) -> String {
        let at = |hours: i64| {
            let distance = Duration::from_secs(hours.unsigned_abs() * 3600);
            let now = std::time::SystemTime::now();
            if hours < 0 { now - distance } else { now + distance }
        };
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: at(-1).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: at(-48).into(),
            next_update: at(hours).into(),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&*self.0).expect("a list").pem().expect("PEM")
    }

    /// Its certificate as PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Clients that trust it.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        roots
    }
}

impl Issued {
    /// Writes `NAME.crt` and `NAME.key`, each whole at once.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        replace(&folder.join(format!("{name}.key")), self.key.serialize_pem().as_bytes());
        replace(&folder.join(format!("{name}.crt")), self.pem.as_bytes());
    }

    /// Its public key, as browsers pin it.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("tmp");
    std::fs::write(&fresh, bytes).expect("a file");
    std::fs::rename(&fresh, path).expect("a swap");
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client of these roots, with a certificate or without, that offers these protocols.
pub(crate) fn client(roots: RootCertStore, identity: Option<&Issued>, alpn: &[&str]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(vec![identity.cert.clone()], identity.private_key()).expect("a key")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A connection after its handshake.
pub(crate) fn dial(address: SocketAddr, config: &ClientConfig, name: &str) -> std::io::Result<Secure> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session = ClientConnection::new(Arc::new(config.clone()), name).expect("a session");
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// The certificate that a handshake showed.
pub(crate) fn shown(stream: &Secure) -> CertificateDer<'static> {
    stream.conn.peer_certificates().expect("certificates")[0].clone().into_owned()
}

/// Asks on a connection and reads the answer. The client of TLS 1.3 learns of a refusal here.
pub(crate) fn ask(stream: &mut Secure, host: &str, path: &str) -> Option<Answer> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").ok()?;
    let mut reader = std::io::BufReader::new(Read::by_ref(stream));
    Answer::read(&mut reader, false)
}

/// A gateway with one TLS listener in a folder that holds `files`.
fn gateway(tls: &str, rest: &str, files: impl FnOnce(&Path)) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = format!("listeners: [{{name: tls, address: \"{address}\", tls: {{{tls}}}}}]\n{rest}");
    Gateway::in_folder(folder, &text, address, |_| {})
}

const FIXED: &str = "routes: [{name: r, match: [{path: {prefix: /}}], respond: {body: inside}}]\n";
