//! TLS towards clients: certificates by SNI, versions, and certificates of clients.

use std::sync::Arc;

use model::{
    Snapshot,
    resource::tls::{Alpn, ClientAuth, ClientAuthMode, CrlExpiry, CrlUnknown, ListenerTls},
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    certificates::{self, Certificates},
    names::{self, Names},
};

/// TLS sessions that can be resumed by id (TLS 1.2).
const SESSIONS_MAX: usize = 4096;

/// Who a client is by its certificate, which its authority has signed.
#[derive(Debug, Clone)]
pub(crate) struct ClientIdentity {
    pub(crate) names: Arc<Names>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) fingerprint: Arc<str>,
    /// The certificate and those that lead to its authority, as the client showed them.
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
}

/// The TLS of a listener.
pub(crate) struct ListenerTlsConfig {
    pub(crate) config: Arc<ServerConfig>,
    /// What `config` chooses from.
    pub(crate) certificates: Arc<Certificates>,
    /// The same for what is no HTTP: nothing is agreed on by ALPN.
    pub(crate) streams: Arc<ServerConfig>,
    /// Authorities may look here whether names are ours.
    pub(crate) answers_authorities: bool,
}

/// The TLS configuration of a listener.
pub(crate) fn compile(
    settings: &ListenerTls,
    http2: bool,
    snapshot: &Snapshot,
) -> Result<ListenerTlsConfig, String> {
    let provider = super::with_suites(&settings.cipher_suites).map_err(|error| format!("tls.{error}"))?;
    let certificates = Arc::new(Certificates::load(settings, &provider, snapshot)?);
    let versions = super::versions(settings.min_version);
    let mut config = config(settings, &provider, versions, &certificates, snapshot)?;
    config.alpn_protocols = alpn(settings, http2);
    config.ticketer = ticketer()?;
    let mut streams = config.clone();
    streams.alpn_protocols = Vec::new();
    let answers_authorities = !settings.acme.is_empty();
    Ok(ListenerTlsConfig {
        config: Arc::new(config),
        streams: Arc::new(streams),
        certificates,
        answers_authorities,
    })
}

/// The TLS of a listener's HTTP/3: the same certificates, authorities and suites, by TLS 1.3 alone.
#[cfg(feature = "http3")]
pub(crate) fn for_quic(
    settings: &ListenerTls,
    early_data: bool,
    certificates: &Arc<Certificates>,
    snapshot: &Snapshot,
) -> Result<ServerConfig, String> {
    let provider = super::with_suites(&settings.cipher_suites).map_err(|error| format!("tls.{error}"))?;
    let mut config = config(settings, &provider, &[&rustls::version::TLS13], certificates, snapshot)?;
    config.alpn_protocols = vec![b"h3".to_vec()];
    if early_data {
        // Sessions are kept here and are good for one connection: nobody has early data accepted twice by sending the
        // same bytes again (RFC 8446 §8.1).
        config.max_early_data_size = u32::MAX;
    } else {
        config.ticketer = ticketer()?;
    }
    Ok(config)
}

fn config(
    settings: &ListenerTls,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    certificates: &Arc<Certificates>,
    snapshot: &Snapshot,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| format!("tls: {error}"))?;
    let builder = match &settings.client_auth {
        Some(auth) => builder.with_client_cert_verifier(verifier(auth, provider, snapshot)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, String> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| format!("tls: {error}"))
}

/// The TLS configuration of the admin endpoint, which speaks HTTP/1.1.
pub fn admin(settings: &ListenerTls, snapshot: &Snapshot) -> Result<Arc<ServerConfig>, String> {
    Ok(compile(settings, false, snapshot)?.config)
}

fn alpn(settings: &ListenerTls, http2: bool) -> Vec<Vec<u8>> {
    let offered = match settings.alpn.is_empty() {
        true => &[Alpn::H2, Alpn::Http11][..],
        false => &settings.alpn,
    };
    let offered = offered.iter().filter(|protocol| http2 || **protocol != Alpn::H2);
    let name = |protocol: &Alpn| match protocol {
        Alpn::H2 => b"h2".to_vec(),
        Alpn::Http11 => b"http/1.1".to_vec(),
    };
    offered.map(name).collect()
}

fn verifier(
    auth: &ClientAuth,
    provider: &Arc<CryptoProvider>,
    snapshot: &Snapshot,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let wrong = |error: String| format!("tls.clientAuth.caFile: {error}");
    let roots = roots(&certificates::chain(&auth.ca_file, snapshot).map_err(wrong)?).map_err(wrong)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if auth.mode == ClientAuthMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    if !auth.crl_files.is_empty() {
        builder = builder.with_crls(revoked(auth, snapshot)?);
        if auth.crl_unknown == CrlUnknown::Allow {
            builder = builder.allow_unknown_revocation_status();
        }
        if auth.crl_expiry == CrlExpiry::Refuse {
            builder = builder.enforce_revocation_expiration();
        }
    }
    let inner = builder.build().map_err(|error| wrong(error.to_string()))?;
    if auth.subject_alt_names.is_empty() {
        return Ok(inner);
    }
    Ok(Arc::new(NamedClients { inner, names: auth.subject_alt_names.clone() }))
}

/// The lists of what authorities have taken back, in PEM (a file may hold several) or DER.
fn revoked(
    auth: &ClientAuth,
    snapshot: &Snapshot,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let mut lists = Vec::new();
    for (index, file) in auth.crl_files.iter().enumerate() {
        let bytes = snapshot.file(file);
        let place = file.as_path().display();
        let wrong =
            |error: &dyn std::fmt::Display| format!("tls.clientAuth.crlFiles[{index}]: {place} {error}");
        if !bytes.starts_with(b"-----") && !bytes.windows(10).any(|text| text == b"-----BEGIN") {
            lists.push(CertificateRevocationListDer::from(bytes.to_vec()));
            continue;
        }
        let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
        match found {
            Ok(found) if found.is_empty() => return Err(wrong(&"holds no list in PEM (`X509 CRL`)")),
            Ok(found) => lists.extend(found),
            Err(error) => return Err(wrong(&format!("is not PEM: {error}"))),
        }
    }
    Ok(lists)
}

/// A store of authorities; one that cannot be read is an error, not one fewer.
pub(super) fn roots(chain: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain {
        roots.add(certificate.clone()).map_err(|error| format!("an authority cannot be used: {error}"))?;
    }
    Ok(roots)
}

/// Lets in clients whose certificate carries one of these names.
#[derive(Debug)]
struct NamedClients {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let refused = || Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure);
        let found = names::of(end_entity).map_err(|_| refused())?;
        if self.names.iter().any(|wanted| found.matches(wanted)) { Ok(verified) } else { Err(refused()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Who the client of a connection is, when it showed a certificate.
pub(crate) fn identity_of(shown: Option<&[CertificateDer<'_>]>) -> Option<ClientIdentity> {
    ClientIdentity::of(shown?.iter().map(|one| one.clone().into_owned()).collect())
}

impl ClientIdentity {
    /// Who a chain is of that was verified, by this gateway or one that it trusts.
    pub(crate) fn of(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let leaf = chain.first()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
        let fingerprint: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let names = Arc::new(names::of(leaf).ok()?);
        Some(Self { names, fingerprint: fingerprint.into(), chain: chain.into() })
    }
}
