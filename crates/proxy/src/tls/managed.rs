//! Certificates that somebody else gets and renews, and what shows authorities that names are ours while they look.
//!
//! They belong to the process and not to a snapshot: a new certificate is in use with the next handshake, without a reload,
//! and no connection is cut. Listeners hold a [`Slot`] for each; until there is a certificate in it, handshakes for its
//! names are refused.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// What is negotiated by ALPN when an authority looks (RFC 8737 §4).
const ACME_TLS: &[u8] = b"acme-tls/1";

static MANAGED: LazyLock<Managed> = LazyLock::new(Managed::default);

/// All of them.
#[derive(Default)]
struct Managed {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// Answers by token.
    http: ArcSwap<HashMap<String, Arc<str>>>,
    /// How many there are, so that requests pay one relaxed load while there are none.
    pending: AtomicUsize,
    /// Certificates to show by name.
    tls: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    answered_http: AtomicU64,
    answered_tls: AtomicU64,
}

/// The place of one certificate.
#[derive(Debug)]
pub(crate) struct Slot {
    current: ArcSwapOption<CertifiedKey>,
}

impl Slot {
    pub(crate) fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// The place of the certificate with this id, which may be there already.
pub(crate) fn slot(id: &str) -> Arc<Slot> {
    let mut slots = MANAGED.slots.lock().unwrap_or_else(PoisonError::into_inner);
    let made = || Arc::new(Slot { current: ArcSwapOption::empty() });
    slots.entry(id.to_owned()).or_insert_with(made).clone()
}

/// Uses a certificate from now on.
///
/// # Errors
/// The key does not belong to it, or cannot be used.
pub fn install(
    id: &str,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(), String> {
    let certified = certified(chain, key)?;
    slot(id).current.store(Some(Arc::new(certified)));
    Ok(())
}

/// Forgets the certificates of all other ids.
pub fn keep(ids: &[String]) {
    let mut slots = MANAGED.slots.lock().unwrap_or_else(PoisonError::into_inner);
    slots.retain(|id, _| ids.contains(id));
}

/// Answers for a token at plain listeners, or no more.
pub fn answer_http(token: &str, answer: Option<&str>) {
    let next = |known: &Arc<HashMap<String, Arc<str>>>| {
        let mut answers = HashMap::clone(known);
        match answer {
            Some(answer) => drop(answers.insert(token.to_owned(), answer.into())),
            None => drop(answers.remove(token)),
        }
        answers
    };
    MANAGED.http.rcu(next);
    MANAGED.pending.store(MANAGED.http.load().len(), Ordering::Release);
}

/// Shows a certificate to authorities that look for a name, or no more.
///
/// # Errors
/// The key does not belong to it, or cannot be used.
pub fn answer_tls(
    name: &str,
    certificate: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> Result<(), String> {
    // What is shown has what nobody else knows and whoever does not know must not take, so that it is not read here either.
    let certified = |(one, key)| Ok::<_, String>(Arc::new(CertifiedKey::new(vec![one], signing(key)?)));
    let certified = certificate.map(certified).transpose()?;
    MANAGED.tls.rcu(|known| {
        let mut certificates = HashMap::clone(known);
        match &certified {
            Some(certified) => drop(certificates.insert(name.to_ascii_lowercase(), certified.clone())),
            None => drop(certificates.remove(&name.to_ascii_lowercase())),
        }
        certificates
    });
    Ok(())
}

/// How often authorities that looked were answered: over HTTP, and in handshakes.
pub fn answered() -> (u64, u64) {
    (MANAGED.answered_http.load(Ordering::Relaxed), MANAGED.answered_tls.load(Ordering::Relaxed))
}

/// The answer for a token, if somebody may ask for it now.
pub(crate) fn http_answer(token: &str) -> Option<Arc<str>> {
    if MANAGED.pending.load(Ordering::Acquire) == 0 {
        return None;
    }
    let answer = MANAGED.http.load().get(token).cloned()?;
    MANAGED.answered_http.fetch_add(1, Ordering::Relaxed);
    Some(answer)
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, String> {
    let certified = CertifiedKey::new(chain, signing(key)?);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("the key does not belong to the certificate".to_owned())
        }
        Err(error) => Err(format!("the certificate cannot be used: {error}")),
    }
}

fn signing(key: PrivateKeyDer<'static>) -> Result<Arc<dyn rustls::sign::SigningKey>, String> {
    super::provider().key_provider.load_private_key(key).map_err(|error| error.to_string())
}

/// Whether whoever begins this handshake is an authority that looks: it offers nothing else (RFC 8737 §3).
pub(crate) fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
}

/// How such a handshake goes on: no client shows a certificate, and nothing is remembered of it.
pub(crate) fn challenge_config() -> Result<Arc<ServerConfig>, String> {
    static CONFIG: LazyLock<Result<Arc<ServerConfig>, String>> = LazyLock::new(|| {
        let builder = ServerConfig::builder_with_provider(Arc::new(super::provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Shown));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    });
    CONFIG.clone()
}

/// Chooses what authorities are shown.
#[derive(Debug)]
struct Shown;

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        let found = MANAGED.tls.load().get(&name).cloned()?;
        MANAGED.answered_tls.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        (made.cert.der().clone(), key)
    }

    #[test]
    fn a_certificate_is_in_use_as_soon_as_it_is_there_and_one_with_a_foreign_key_never() {
        let held = slot("managed-test");
        assert!(held.get().is_none());
        let ((one, _), (other, key)) = (pair(), pair());
        assert!(install("managed-test", vec![one], key.clone_key()).is_err());
        assert!(held.get().is_none());
        install("managed-test", vec![other.clone()], key).expect("installed");
        assert_eq!(held.get().map(|key| key.cert[0].clone()), Some(other));
    }

    #[test]
    fn a_token_is_answered_for_until_it_is_taken_back() {
        assert_eq!(http_answer("managed-test-token"), None);
        answer_http("managed-test-token", Some("managed-test-token.thumb"));
        assert_eq!(http_answer("managed-test-token").as_deref(), Some("managed-test-token.thumb"));
        assert_eq!(http_answer("managed-test-other"), None);
        answer_http("managed-test-token", None);
        assert_eq!(http_answer("managed-test-token"), None);
    }
}
