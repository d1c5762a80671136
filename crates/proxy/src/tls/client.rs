//! TLS towards upstreams: whom to trust, what to show, and by which name.

use std::sync::Arc;

use model::{
    Snapshot,
    resource::{tls::UpstreamTls as Settings, upstream::Protocol},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use telemetry::{Speaks, TlsWish};
use tokio_rustls::TlsConnector;

use super::{certificates, server};

/// Compiled TLS towards an upstream.
pub(crate) struct UpstreamTls {
    connector: TlsConnector,
    /// The same without HTTP/2, for switches of protocol.
    only_http1: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl UpstreamTls {
    /// Builds it; what cannot be read refuses the configuration.
    pub(crate) fn compile(
        settings: &Settings,
        protocol: Protocol,
        snapshot: &Snapshot,
    ) -> Result<Self, String> {
        let provider = Arc::new(super::provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(super::versions(settings.min_version))
            .map_err(|error| format!("tls: {error}"))?;
        let builder = if settings.verify {
            builder.with_root_certificates(trusted(settings, snapshot)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        };
        let mut config = match (&settings.cert_file, &settings.key_file) {
            (Some(cert), Some(key)) => {
                let wrong = |error: String| format!("tls.certFile: {error}");
                let chain = certificates::chain(cert, snapshot).map_err(wrong)?;
                let key =
                    certificates::key(key, snapshot).map_err(|error| format!("tls.keyFile: {error}"))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong(error.to_string()))?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err("tls: `certFile` and `keyFile` go together".into()),
        };
        config.alpn_protocols = match protocol {
            Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 | Protocol::Grpc => vec![b"h2".to_vec()],
        };
        let server_name = match &settings.server_name {
            Some(name) => {
                Some(parse(name).map_err(|_| format!("tls.serverName: `{name}` is not a host name"))?)
            }
            None => None,
        };
        let mut only_http1 = config.clone();
        only_http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: Arc::new(config).into(), only_http1: Arc::new(only_http1).into(), server_name })
    }

    /// The name for SNI and verification, for an endpoint found under `host`.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, String> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => parse(host).map_err(|_| format!("`{host}` cannot be a TLS server name")),
        }
    }

    /// The same without a word about protocols, for what is no HTTP.
    pub(crate) fn without_protocols(&self) -> TlsConnector {
        let mut config = (**self.connector.config()).clone();
        config.alpn_protocols.clear();
        Arc::new(config).into()
    }

    pub(crate) fn connector(&self, only_http1: bool) -> &TlsConnector {
        if only_http1 { &self.only_http1 } else { &self.connector }
    }
}

/// TLS towards a receiver of what telemetry exports.
pub fn receiver(wish: &TlsWish<'_>, snapshot: &Snapshot) -> Result<telemetry::ReceiverTls, String> {
    let protocol = match wish.speaks {
        Speaks::Http1 | Speaks::Other => Protocol::Http1,
        Speaks::Http2 => Protocol::Grpc,
    };
    let tls = UpstreamTls::compile(&wish.settings.cloned().unwrap_or_default(), protocol, snapshot)?;
    let server_name = tls.server_name(wish.host)?;
    if wish.speaks != Speaks::Other {
        return Ok(telemetry::ReceiverTls { server_name, connector: tls.connector });
    }
    Ok(telemetry::ReceiverTls { server_name, connector: tls.without_protocols() })
}

fn parse(name: &str) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    ServerName::try_from(name.to_owned())
}

fn trusted(settings: &Settings, snapshot: &Snapshot) -> Result<RootCertStore, String> {
    if let Some(file) = &settings.ca_file {
        let wrong = |error: String| format!("tls.caFile: {error}");
        let chain = certificates::chain(file, snapshot).map_err(wrong)?;
        return server::roots(&chain).map_err(wrong);
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "tls: the system has no authorities to trust; install ca-certificates or set `caFile`".into()
        );
    }
    Ok(roots)
}

/// Verifies nothing; for trials, where settings ask for it by `verify: false`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
