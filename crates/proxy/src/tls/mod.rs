//! TLS on both sides, by rustls. Certificates and keys come from the snapshot, so a reload brings new ones whole.

pub(crate) mod certificates;
pub(crate) mod client;
pub mod managed;
pub(crate) mod server;

use std::sync::Arc;

pub(crate) use identity::names;

pub(crate) use self::certificates::Certificates;

use model::resource::tls::TlsVersion;
use rustls::{SupportedProtocolVersion, crypto::CryptoProvider, version};

/// The implementation of cryptography that everything uses.
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// The versions from the oldest that is spoken.
fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    match oldest {
        TlsVersion::V1_2 => ALL,
        TlsVersion::V1_3 => &ALL[..1],
    }
}

/// The suite that QUIC seals the first packets of a connection with (RFC 9001 §5.2).
#[cfg(feature = "http3")]
pub(crate) fn initial_suite() -> Option<rustls::quic::Suite> {
    let wanted = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
    let provider = provider();
    let suite = provider.cipher_suites.iter().find(|suite| suite.suite() == wanted)?;
    suite.tls13()?.quic_suite()
}

/// The provider with these cipher suites alone, in this order; with its own when none are named.
fn with_suites(names: &[String]) -> Result<Arc<CryptoProvider>, String> {
    let mut provider = provider();
    if names.is_empty() {
        return Ok(Arc::new(provider));
    }
    let known = |suite: &rustls::SupportedCipherSuite| {
        let debug = format!("{:?}", suite.suite());
        debug.replacen("TLS13_", "TLS_", 1)
    };
    let mut chosen = Vec::new();
    for name in names {
        match provider.cipher_suites.iter().find(|suite| known(suite) == *name) {
            Some(suite) => chosen.push(*suite),
            None => {
                let all: Vec<_> = provider.cipher_suites.iter().map(known).collect();
                return Err(format!("cipherSuites: `{name}` is none of {}", all.join(", ")));
            }
        }
    }
    provider.cipher_suites = chosen;
    Ok(Arc::new(provider))
}
