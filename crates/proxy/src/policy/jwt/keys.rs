//! The keys of a JSON Web Key Set (RFC 7517), parsed once into what verifies.
//!
//! A key fixes its algorithm: by its `alg`, its curve or its type, within what the configuration allows. A token
//! can pick among the keys, never widen what one of them does. Only public keys are read: a shared secret (`oct`)
//! is no key here, so no public key can be mistaken for one.

use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::policy::jwt::JwtAlgorithm;
use serde::Deserialize;

use super::verified::{Signed, Verified};

/// Keys that one set may hold.
const KEYS_MAX: usize = 100;

/// A signature algorithm of RFC 7518 §3.1 or RFC 8037 that verifies with a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::RS256 => Self::Rs256,
            JwtAlgorithm::RS384 => Self::Rs384,
            JwtAlgorithm::RS512 => Self::Rs512,
            JwtAlgorithm::PS256 => Self::Ps256,
            JwtAlgorithm::PS384 => Self::Ps384,
            JwtAlgorithm::PS512 => Self::Ps512,
            JwtAlgorithm::ES256 => Self::Es256,
            JwtAlgorithm::ES384 => Self::Es384,
            JwtAlgorithm::EdDSA => Self::EdDsa,
        }
    }
}

/// What verifies for one algorithm.
enum Verifier {
    Rsa(&'static RsaParameters),
    Ec(&'static str, usize, &'static EcdsaVerificationAlgorithm),
    Ed25519,
}

impl Algorithm {
    /// The algorithm of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            // RFC 9864 gives the algorithm its full name; the older one means the same here.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    fn verifier(self) -> Verifier {
        match self {
            Self::Rs256 => Verifier::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Verifier::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Verifier::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Verifier::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Verifier::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Verifier::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Verifier::Ec("P-256", 32, &signature::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Verifier::Ec("P-384", 48, &signature::ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Verifier::Ed25519,
        }
    }
}

/// A parsed key set.
pub(crate) struct Keys {
    keys: Vec<Key>,
    verified: Verified,
}

struct Key {
    kid: Option<Box<str>>,
    /// One per algorithm that this key may verify.
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

/// What a key set says about a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A key verifies it.
    Good,
    /// The key that it names does not.
    Bad,
    /// No key has the name.
    UnknownKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Parses a key set. Keys of other kinds and uses are passed over (RFC 7517 §5); one without any key that
    /// serves is an error.
    pub(crate) fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let set: Set =
            serde_json::from_slice(json).map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("the key set holds {} keys; at most {KEYS_MAX} are read", set.keys.len()));
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(|jwk| Key::parse(jwk, allowed)).collect();
        if keys.is_empty() {
            return Err("the key set holds no signing key for the configured algorithms".into());
        }
        Ok(Self { keys, verified: Verified::default() })
    }

    /// Verifies a signature with the key that the token names, or with any of the algorithm when it names none. A token
    /// names both in what is signed: one that was good stays so for as long as the keys do.
    pub(crate) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verdict {
        let signed = Signed::of(message, signature);
        if self.verified.knows(&signed) {
            return Verdict::Good;
        }
        let mut named = false;
        for key in &self.keys {
            if kid.is_some() && key.kid.is_some() && kid != key.kid.as_deref() {
                continue;
            }
            named = true;
            let verifier = key.verifiers.iter().find(|(fits, _)| *fits == algorithm);
            if verifier.is_some_and(|(_, verifier)| verifier.verify_sig(message, signature).is_ok()) {
                self.verified.remember(&signed);
                return Verdict::Good;
            }
        }
        if named { Verdict::Bad } else { Verdict::UnknownKey }
    }
}

impl Keys {
    /// Verifies a signature with the one key of this name.
    pub(crate) fn verify_named(
        &self,
        kid: &str,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verdict {
        let mut verdict = Verdict::UnknownKey;
        for key in self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)) {
            for (_, verifier) in key.verifiers.iter().filter(|(fits, _)| *fits == algorithm) {
                match verifier.verify_sig(message, signature) {
                    Ok(()) => return Verdict::Good,
                    Err(_) => verdict = Verdict::Bad,
                }
            }
        }
        verdict
    }
}

impl Key {
    fn parse(jwk: serde_json::Value, allowed: &[Algorithm]) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs {
            return None;
        }
        let verifiers: Vec<_> = allowed
            .iter()
            .filter(|algorithm| {
                jwk.alg.as_deref().is_none_or(|alg| Algorithm::named(alg) == Some(**algorithm))
            })
            .filter_map(|&algorithm| Some((algorithm, jwk.verifier(algorithm)?)))
            .collect();
        (!verifiers.is_empty()).then(|| Self { kid: jwk.kid.map(Into::into), verifiers })
    }
}

impl Jwk {
    fn verifier(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        match algorithm.verifier() {
            Verifier::Rsa(parameters) if self.kty == "RSA" => {
                let (n, e) = (bytes(self.n.as_ref()?)?, bytes(self.e.as_ref()?)?);
                PublicKeyComponents { n, e }.to_parsed_public_key(parameters).ok()
            }
            Verifier::Ec(curve, width, parameters)
                if self.kty == "EC" && self.crv.as_deref() == Some(curve) =>
            {
                let (x, y) = (bytes(self.x.as_ref()?)?, bytes(self.y.as_ref()?)?);
                if x.len() != width || y.len() != width {
                    return None;
                }
                // An uncompressed point (SEC 1 §2.3.3).
                let point = [&[4], &*x, &*y].concat();
                ParsedPublicKey::new(parameters, point).ok()
            }
            Verifier::Ed25519 if self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519") => {
                ParsedPublicKey::new(&signature::ED25519, bytes(self.x.as_ref()?)?).ok()
            }
            Verifier::Rsa(_) | Verifier::Ec(..) | Verifier::Ed25519 => None,
        }
    }
}

fn bytes(text: &String) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
