//! Certificates of a listener, and the choice among them by the name that the client asks for.

use std::{cell::Cell, collections::HashMap, sync::Arc};

use model::{FilePath, Snapshot, resource::tls::ListenerTls};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    managed::{self, Slot},
    names,
};

/// Certificates by the names that they cover.
#[derive(Debug)]
pub(crate) struct Certificates {
    exact: HashMap<String, Source>,
    /// By what follows the first label.
    wildcard: HashMap<String, Source>,
    default: Source,
}

/// Where a certificate comes from.
#[derive(Debug, Clone)]
enum Source {
    /// Files, read with the snapshot.
    Read(Arc<CertifiedKey>),
    /// Whoever gets and renews it.
    Managed(Arc<Slot>),
}

impl Source {
    /// The certificate; none while nobody has got it yet.
    fn get(&self) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Read(key) => Some(key.clone()),
            Self::Managed(slot) => slot.get(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Read(one), Self::Read(other)) => Arc::ptr_eq(one, other),
            (Self::Managed(one), Self::Managed(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Certificates {
    /// Reads the certificates of a listener. One that cannot be used refuses the configuration.
    pub(super) fn load(
        settings: &ListenerTls,
        provider: &CryptoProvider,
        snapshot: &Snapshot,
    ) -> Result<Self, String> {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        let mut default: Option<Source> = None;
        let mut add = |names: Vec<String>, source: Source, is_default: bool| {
            for name in names {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.to_owned()).or_insert_with(|| source.clone()),
                    None => exact.entry(name).or_insert_with(|| source.clone()),
                };
            }
            if is_default || default.is_none() {
                default = Some(source);
            }
        };
        for (index, one) in settings.certificates.iter().enumerate() {
            let wrong = |error: String| format!("tls.certificates[{index}]: {error}");
            let mut certified = pair(&one.cert_file, &one.key_file, provider, snapshot).map_err(wrong)?;
            if let Some(file) = &one.ocsp_file {
                certified.ocsp = Some(snapshot.file(file).to_vec());
            }
            let leaf = certified.cert.first().ok_or_else(|| wrong("no certificate".into()))?;
            let covered = names::of(leaf).map_err(wrong)?;
            add(covered.dns, Source::Read(Arc::new(certified)), one.default);
        }
        for one in &settings.acme {
            let Some(authority) = snapshot.config.acme_authority(&one.authority) else { continue };
            add(one.covered(), Source::Managed(managed::slot(&one.id(authority))), one.default);
        }
        let default = default.ok_or("tls.certificates: at least one is needed")?;
        Ok(Self { exact, wildcard, default })
    }

    fn find(&self, name: &str) -> &Source {
        self.covering(name).unwrap_or(&self.default)
    }

    fn covering(&self, name: &str) -> Option<&Source> {
        let name = name.to_ascii_lowercase();
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(by_wildcard)
    }

    /// Whether a connection made for `sni` may be asked for `host`: unless that has a certificate of its own.
    pub(crate) fn serve_alike(&self, sni: &str, host: &str) -> bool {
        self.covering(host).is_none_or(|own| own.is(self.find(sni)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let found = name.map_or(&self.default, |name| self.find(name)).get();
        if found.is_none() {
            LACKING.set(Some(name.unwrap_or_default().into()));
        }
        found
    }
}

thread_local! {
    /// The name of the last handshake on this thread that there was no certificate for. Such a handshake fails before its
    /// thread does anything else.
    static LACKING: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// What a handshake that has just failed on this thread failed for, when it was want of a certificate.
pub(crate) fn lack() -> Option<String> {
    let name = LACKING.take()?;
    let whose = if name.is_empty() {
        "whoever names no host".to_owned()
    } else {
        format!("`{}`", name.escape_debug())
    };
    Some(format!("there is no certificate for {whose} yet: `acme` has not got it"))
}

/// Reads a chain and the key that belongs to it.
pub(super) fn pair(
    cert_file: &FilePath,
    key_file: &FilePath,
    provider: &CryptoProvider,
    snapshot: &Snapshot,
) -> Result<CertifiedKey, String> {
    let chain = chain(cert_file, snapshot)?;
    let key = key(key_file, snapshot)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| format!("{}: {error}", key_file.as_path().display()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Not every key can tell; a handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err(format!(
            "the key in {} does not belong to the certificate in {}",
            key_file.as_path().display(),
            cert_file.as_path().display()
        )),
    }
}

/// The certificates of a PEM file; at least one.
pub(super) fn chain(file: &FilePath, snapshot: &Snapshot) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = snapshot.file(file);
    let place = file.as_path().display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("{place} holds no PEM certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{place} is not PEM: {error}")),
    }
}

/// The private key of a PEM file.
pub(super) fn key(file: &FilePath, snapshot: &Snapshot) -> Result<PrivateKeyDer<'static>, String> {
    let place = file.as_path().display();
    PrivateKeyDer::from_pem_slice(&snapshot.file(file))
        .map_err(|error| format!("{place} holds no PEM private key: {error}"))
}
