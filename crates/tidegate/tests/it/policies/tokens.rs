//! Signs tokens for tests, with every algorithm, and tells the keys that verify them.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaEncoding,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

/// All algorithms that a `jwt` policy may accept.
pub(crate) const ALL: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// A key that signs with one algorithm.
pub(crate) struct Signer {
    kid: String,
    algorithm: &'static str,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair, usize),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn new(algorithm: &'static str, kid: &str) -> Self {
        let rsa = |encoding| Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"), encoding);
        let key = match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"), 32),
            "ES384" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"), 48),
            _ => Key::Ed(Ed25519KeyPair::generate().expect("a key")),
        };
        Self { kid: kid.to_owned(), algorithm, key }
    }

    /// The public key as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            // A DER sequence of modulus and exponent: of 2048 bits, the modulus has its place.
            Key::Rsa(key, _) => {
                json!({"kty": "RSA", "n": BASE64.encode(&key.public_key().as_ref()[9..265]), "e": "AQAB"})
            }
            Key::Ec(key, width) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(*width);
                json!({"kty": "EC", "crv": format!("P-{}", width * 8), "x": BASE64.encode(x), "y": BASE64.encode(y)})
            }
            Key::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(key.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_under(json!({"kid": self.kid, "typ": "JWT"}), claims)
    }

    /// The same under a head of the test's own, to which the algorithm is added.
    pub(crate) fn sign_under(&self, mut head: Value, claims: &Value) -> String {
        head["alg"] = json!(self.algorithm);
        let input = format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()));
        let signature = match &self.key {
            Key::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &SystemRandom::new(), input.as_bytes(), &mut signature)
                    .expect("a signature");
                signature
            }
            Key::Ec(key, _) => {
                key.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature").as_ref().to_vec()
            }
            Key::Ed(key) => key.sign(input.as_bytes()).as_ref().to_vec(),
        };
        format!("{input}.{}", BASE64.encode(signature))
    }
}

/// A key set of these signers.
pub(crate) fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}

/// Claims of a good token of `ann`, changed.
pub(crate) fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "https://id.example.test", "aud": "shop", "sub": "ann", "scope": "profile orders", "exp": now() + 600,
    });
    change(&mut claims);
    claims
}
