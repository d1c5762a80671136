//! Keys and certificates: made, read, and what is asked of an authority with them.

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use crate::KeyType;

/// A certificate chain with its key.
pub struct Bundle {
    pem: String,
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// From when to when it is good.
    pub valid: (SystemTime, SystemTime),
    /// What tells the authority which one it is; none when the certificate does not say enough.
    pub(crate) renewal_id: Option<RenewalId>,
}

/// Which certificate it is, as an authority wants to hear it: the key that signed it and its number (RFC 9773 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RenewalId {
    pub(crate) signer: Vec<u8>,
    pub(crate) number: Vec<u8>,
}

impl std::fmt::Display for RenewalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        write!(f, "{}.{}", text(&self.signer), text(&self.number))
    }
}

/// A certificate that shows a name to be ours (RFC 8737 §3).
pub struct ChallengeCertificate {
    /// The certificate, which signs itself.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Bundle {
    /// Reads PEM of a key and the chain that it belongs to, in whatever order.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("this is not PEM: {error}"))?;
        let leaf = chain.first().ok_or("there is no certificate in it")?;
        let key =
            PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("there is no key in it: {error}"))?;
        let (_, read) = X509Certificate::from_der(leaf)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let valid =
            (time(read.validity().not_before.timestamp()), time(read.validity().not_after.timestamp()));
        let renewal_id = renewal_id(&read);
        let pem = std::str::from_utf8(pem).map_err(|_| "this is not a text")?.to_owned();
        Ok(Self { pem, renewal_id, valid, key, chain })
    }

    /// Key and chain as PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }
}

fn renewal_id(certificate: &X509Certificate<'_>) -> Option<RenewalId> {
    let signer =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(RenewalId { signer: signer.0.to_vec(), number: certificate.raw_serial().to_vec() })
}

/// A new key.
pub(crate) fn generate(kind: KeyType) -> Result<KeyPair, String> {
    let made = match kind {
        KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    };
    made.map_err(|error| format!("a key cannot be made: {error}"))
}

/// What is asked of an authority: a certificate for these names and this key, in DER.
pub(crate) fn request(names: &[String], key: &KeyPair) -> Result<Vec<u8>, String> {
    let wrong = |error: rcgen::Error| format!("a request cannot be made: {error}");
    let mut params = CertificateParams::new(names.to_vec()).map_err(wrong)?;
    // Names are told as alternatives of the subject alone, as all authorities take them.
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key).map_err(wrong)?.der().to_vec())
}

/// The certificate that shows a name to be ours, with what the authority wants to find in it.
pub(crate) fn challenge(name: &str, digest: &[u8]) -> Result<ChallengeCertificate, String> {
    let wrong = |error: rcgen::Error| format!("a certificate cannot be made: {error}");
    if digest.len() != 32 {
        return Err("the authority's question has another length".to_owned());
    }
    let key = generate(KeyType::EcdsaP256)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(wrong)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(wrong)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| error.to_string())?;
    Ok(ChallengeCertificate { certificate: certificate.der().clone(), key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_back_with_its_life_and_keys_of_every_kind_make_requests() {
        let key = generate(KeyType::EcdsaP384).expect("a key");
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x00, 0x87, 0x65]));
        let certificate = params.self_signed(&key).expect("a certificate");
        let text = format!("{}{}", key.serialize_pem(), certificate.pem());
        let bundle = Bundle::parse(text.as_bytes()).expect("a bundle");
        let life = bundle.valid.1.duration_since(bundle.valid.0).expect("a life");
        assert_eq!(life, Duration::from_secs(90 * 24 * 3600));
        let id = bundle.renewal_id.expect("an id").to_string();
        let (signer, number) = id.split_once('.').expect("two parts");
        assert!(!signer.is_empty());
        assert_eq!(number, "AIdl", "with the zero that keeps it positive (RFC 9773 §4.1)");
        let names = ["a.test".to_owned(), "*.b.test".to_owned()];
        for kind in [KeyType::EcdsaP256, KeyType::Rsa2048] {
            assert!(!request(&names, &generate(kind).expect("a key")).expect("a request").is_empty());
        }
    }

    #[test]
    fn what_is_no_bundle_says_what_is_missing() {
        let key = generate(KeyType::EcdsaP256).expect("a key").serialize_pem();
        let wrong = |text: &str| Bundle::parse(text.as_bytes()).err().expect("an error");
        assert!(wrong("").contains("no certificate"));
        assert!(wrong(&key).contains("no certificate"));
        let certificate = challenge("a.test", &[7; 32]).expect("a certificate").certificate;
        let (_, read) = X509Certificate::from_der(&certificate).expect("a certificate");
        let found = read.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let found = found.expect("what the authority looks for");
        assert!(found.critical);
        assert_eq!(found.value, [&[0x04, 32][..], &[7; 32]].concat());
        assert!(challenge("a.test", &[7; 31]).is_err());
    }
}
