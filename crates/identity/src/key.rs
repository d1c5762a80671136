//! Keys that sign JSON Web Tokens (RFC 7515, RFC 7518 §3, RFC 8037) and requests (RFC 9421 §3.3), and what is published of
//! them (RFC 7517).

use aws_lc_rs::{
    digest,
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value, json};

/// The bits that an RSA key has at least.
const RSA_BITS_MIN: usize = 2048;

/// An algorithm that signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-512 and a salt of 64 bytes.
    Ps512,
}

impl Algorithm {
    /// The name that tokens and key sets have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps512 => "PS512",
        }
    }

    fn takes(self) -> &'static str {
        match self {
            Self::Es256 => "a key of the curve P-256",
            Self::Es384 => "a key of the curve P-384",
            Self::EdDsa => "a key of Ed25519",
            Self::Rs256 | Self::Ps512 => "an RSA key of 2048 to 8192 bits",
        }
    }
}

/// How a curve signs, what it is called, and the bytes of a coordinate.
fn curve(algorithm: Algorithm) -> (&'static EcdsaSigningAlgorithm, &'static str, usize) {
    match algorithm {
        Algorithm::Es384 => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
        _ => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
    }
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key, with all that tokens and key sets say of it.
pub struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    kid: Box<str>,
    /// The public half (RFC 7517), with `use`, `alg` and `kid`.
    jwk: Value,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a PEM document with one private key: PKCS #8, or of the older forms of EC and RSA. The error shows
    /// nothing of it.
    pub fn from_pem(pem: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "it is no private key in PEM (`-----BEGIN PRIVATE KEY-----`)".to_owned())?;
        Self::from_der(key.secret_der(), algorithm)
    }

    /// Reads a private key in DER.
    pub fn from_der(der: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let wrong = |_| format!("{} wants {}, and this is none", algorithm.name(), algorithm.takes());
        let pair = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => {
                Pair::Ec(EcdsaKeyPair::from_private_key_der(curve(algorithm).0, der).map_err(wrong)?)
            }
            Algorithm::EdDsa => Pair::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(wrong)?),
            Algorithm::Rs256 | Algorithm::Ps512 => {
                let pair =
                    RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map_err(wrong)?;
                if pair.public_modulus_len() * 8 < RSA_BITS_MIN {
                    return Err(format!("an RSA key has at least {RSA_BITS_MIN} bits"));
                }
                Pair::Rsa(pair)
            }
        };
        Self::of(pair, algorithm)
    }

    /// Makes a new key; its PKCS #8 document is there to be kept.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, Vec<u8>), String> {
        let failed = |_| "no key could be made: the system gives no random bytes".to_owned();
        let random = SystemRandom::new();
        let der = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => {
                EcdsaKeyPair::generate_pkcs8(curve(algorithm).0, &random).map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random).map_err(failed)?.as_ref().to_vec(),
            Algorithm::Rs256 | Algorithm::Ps512 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                pair.as_der().map_err(failed)?.as_ref().to_vec()
            }
        };
        Ok((Self::from_der(&der, algorithm)?, der))
    }

    fn of(pair: Pair, algorithm: Algorithm) -> Result<Self, String> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // The required members alone, in the order of their names: what a thumbprint is made of (RFC 7638 §3.2).
        let required = match &pair {
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (_, name, bytes) = curve(algorithm);
                // 0x04, then both coordinates (SEC 1 §2.3.3).
                let (Some(x), Some(y)) = (point.get(1..=bytes), point.get(bytes + 1..=2 * bytes)) else {
                    return Err("its public key has another form".to_owned());
                };
                json!({"crv": name, "kty": "EC", "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => {
                json!({"crv": "Ed25519", "kty": "OKP", "x": encode(pair.public_key().as_ref())})
            }
            Pair::Rsa(pair) => {
                let (modulus, exponent) =
                    rsa_numbers(pair.public_key().as_ref()).ok_or("its public key has another form")?;
                json!({"e": encode(exponent), "kty": "RSA", "n": encode(modulus)})
            }
        };
        let thumbprint = digest::digest(&digest::SHA256, required.to_string().as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint.as_ref());
        let mut jwk = required;
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), kid.as_str().into());
            members.insert("use".to_owned(), "sig".into());
            members.insert("alg".to_owned(), algorithm.name().into());
        }
        Ok(Self { pair, algorithm, kid: kid.into(), jwk })
    }

    /// What it signs by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its thumbprint (RFC 7638): the same on every gateway that has the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What is published of it.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// A signed token (RFC 7515 §7.1); `header` is added to its head.
    pub fn token(&self, header: &Map<String, Value>, claims: &Map<String, Value>) -> Result<String, String> {
        let mut head = Map::new();
        head.insert("alg".to_owned(), self.algorithm.name().into());
        head.insert("typ".to_owned(), "JWT".into());
        head.insert("kid".to_owned(), Value::from(&*self.kid));
        for (name, value) in header {
            head.insert(name.clone(), value.clone());
        }
        let encode = |value: &Map<String, Value>| {
            serde_json::to_vec(value)
                .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
                .map_err(|error| error.to_string())
        };
        let mut token = format!("{}.{}", encode(&head)?, encode(claims)?);
        let signature = self.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Signs a message, in the form that tokens and requests have of it: of curves both numbers one after the other.
    ///
    /// # Errors
    /// When the library cannot sign, which no key that was read gives reason for.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "it could not be signed".to_owned();
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                match self.algorithm {
                    Algorithm::Ps512 => pair.sign(&RSA_PSS_SHA512, &random, message, &mut signature),
                    _ => pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature),
                }
                .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

/// Modulus and exponent of an `RSAPublicKey` in DER (RFC 8017 §A.1.1), without leading zeros.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, _) = element(der, 0x30)?;
    let (modulus, rest) = element(body, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    Some((without_zeros(modulus), without_zeros(exponent)))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// What is in the first element, which has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(*short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            if bytes.len() > 4 {
                return None;
            }
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rsa::PublicKeyComponents,
        signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
            RSA_PSS_2048_8192_SHA512, UnparsedPublicKey,
        },
    };

    use super::*;

    /// Verifies a token by what is published alone.
    fn verify(jwk: &Value, token: &str) -> bool {
        let (message, signature) = token.rsplit_once('.').expect("a token");
        let decode =
            |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("a text")).expect("base64");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        match jwk["kty"].as_str() {
            Some("EC") => {
                let point = [&[4][..], &decode("x"), &decode("y")].concat();
                let curve = match jwk["crv"].as_str() {
                    Some("P-384") => &ECDSA_P384_SHA384_FIXED,
                    _ => &ECDSA_P256_SHA256_FIXED,
                };
                UnparsedPublicKey::new(curve, point).verify(message.as_bytes(), &signature)
            }
            Some("OKP") => {
                UnparsedPublicKey::new(&ED25519, decode("x")).verify(message.as_bytes(), &signature)
            }
            _ => {
                let parameters = match jwk["alg"].as_str() {
                    Some("PS512") => &RSA_PSS_2048_8192_SHA512,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                PublicKeyComponents { n: decode("n"), e: decode("e") }.verify(
                    parameters,
                    message.as_bytes(),
                    &signature,
                )
            }
        }
        .is_ok()
    }

    #[test]
    fn what_a_key_signs_is_verified_by_what_is_published_of_it_also_after_it_was_kept() {
        let claims = serde_json::from_str(r#"{"sub": "a", "groups": ["x"]}"#).expect("an object");
        let all = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps512];
        for algorithm in all {
            let (key, der) = SigningKey::generate(algorithm).expect("a key");
            let again = SigningKey::from_der(&der, algorithm).expect("the same key");
            assert_eq!((key.kid(), key.jwk()), (again.kid(), again.jwk()));
            let token = again.token(&Map::new(), &claims).expect("a token");
            assert!(verify(key.jwk(), &token), "{algorithm:?}");
            let other = SigningKey::generate(algorithm).expect("a key").0;
            assert!(!verify(other.jwk(), &token), "{algorithm:?}");
            assert_ne!(other.kid(), key.kid());
            assert!(!key.jwk().as_object().expect("an object").contains_key("d"), "{}", key.jwk());
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused_and_not_shown() {
        let (_, der) = SigningKey::generate(Algorithm::Es256).expect("a key");
        for algorithm in [Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps512] {
            let error = SigningKey::from_der(&der, algorithm).expect_err("another kind");
            assert!(error.contains(algorithm.name()), "{error}");
        }
        let error = SigningKey::from_pem(b"a secret", Algorithm::Es256).expect_err("no PEM");
        assert!(!error.contains("a secret"), "{error}");
    }

    #[test]
    fn a_thumbprint_is_that_of_the_standard() {
        // RFC 7638 §3.1, by the numbers of its key.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let text = json!({"e": "AQAB", "kty": "RSA", "n": n}).to_string();
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(digest.as_ref()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}
