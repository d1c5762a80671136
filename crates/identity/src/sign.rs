//! Signs requests by HTTP Message Signatures (RFC 9421), as [`message`](crate::message) has them judged.

use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::{
    fields,
    key::{Algorithm, SigningKey},
    message::{ContentDigest, Message},
};

/// Tells of the body.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// Tells what is covered.
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// What signs.
pub enum Key {
    /// A secret that both sides have.
    Shared(Box<hmac::Key>),
    /// A private key.
    Private(Box<SigningKey>),
}

impl Key {
    /// Its algorithm, as the registry of RFC 9421 §6.2.2 calls it.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Shared(_) => "hmac-sha256",
            Self::Private(key) => match key.algorithm() {
                Algorithm::Es256 => "ecdsa-p256-sha256",
                Algorithm::Es384 => "ecdsa-p384-sha384",
                Algorithm::EdDsa => "ed25519",
                Algorithm::Rs256 => "rsa-v1_5-sha256",
                Algorithm::Ps512 => "rsa-pss-sha512",
            },
        }
    }

    fn sign(&self, base: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Shared(key) => Ok(hmac::sign(key, base).as_ref().to_vec()),
            Self::Private(key) => key.sign(base),
        }
    }
}

/// How requests are signed.
pub struct Signer {
    /// What the signature is called among others.
    pub label: String,
    /// What it covers, as far as it is there.
    pub components: Vec<String>,
    /// What signs.
    pub key: Key,
    /// What whoever judges it knows the key by.
    pub keyid: String,
    /// What it is for.
    pub tag: Option<String>,
    /// How long it is good for.
    pub lasts: Option<Duration>,
    /// Whether no two are the same.
    pub has_nonce: bool,
    /// Whether it says its algorithm.
    pub says_algorithm: bool,
    /// How the body is told of.
    pub digest: ContentDigest,
}

impl Signer {
    /// Whether the body has to be known.
    pub fn covers_body(&self) -> bool {
        self.components.iter().any(|name| CONTENT_DIGEST == name.as_str())
    }

    /// Adds a signature to a request that is whole otherwise; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// When something that is covered is no text, or no random bytes are to be had.
    pub fn sign(
        &self,
        method: &Method,
        is_https: bool,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: &[u8],
        now: u64,
    ) -> Result<(), String> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| "the signature holds what no header can".to_owned())
        };
        if self.covers_body() {
            headers.insert(CONTENT_DIGEST, value(&self.digest.of(body))?);
        }
        let member = format!("{}={}", self.label, self.parameters(headers, now)?);
        let inputs = fields::inputs(&member);
        let input = inputs.as_deref().and_then(|inputs| inputs.first());
        let input = input.ok_or("what is to be signed cannot be said")?;
        let base = Message::new(method, is_https, uri, headers).base(input)?;
        let signature = STANDARD.encode(self.key.sign(base.as_bytes())?);
        headers.append(SIGNATURE, value(&format!("{}=:{signature}:", self.label))?);
        headers.append(SIGNATURE_INPUT, value(&member)?);
        Ok(())
    }

    /// What is covered, and what is said of it.
    fn parameters(&self, headers: &HeaderMap, now: u64) -> Result<String, String> {
        let is_there = |name: &&String| name.starts_with('@') || headers.contains_key(name.as_str());
        let covered: Vec<String> = self.components.iter().filter(is_there).map(|name| quoted(name)).collect();
        let mut text = format!("({});created={now}", covered.join(" "));
        if let Some(lasts) = self.lasts {
            text.push_str(&format!(";expires={}", now.saturating_add(lasts.as_secs())));
        }
        if self.has_nonce {
            let mut bytes = [0; 18];
            rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
            text.push_str(&format!(";nonce={}", quoted(&URL_SAFE_NO_PAD.encode(bytes))));
        }
        text.push_str(&format!(";keyid={}", quoted(&self.keyid)));
        if self.says_algorithm {
            text.push_str(&format!(";alg={}", quoted(self.key.algorithm())));
        }
        if let Some(tag) = &self.tag {
            text.push_str(&format!(";tag={}", quoted(tag)));
        }
        Ok(text)
    }
}

/// A text of structured fields (RFC 9651 §4.1.6).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(key: Key) -> Signer {
        Signer {
            label: "sig1".to_owned(),
            components: ["@method", "@target-uri", "x-a", "x-gone", "content-digest"]
                .map(str::to_owned)
                .to_vec(),
            key,
            keyid: r#"a "key" \ of mine"#.to_owned(),
            tag: Some("orders".to_owned()),
            lasts: Some(Duration::from_secs(60)),
            has_nonce: true,
            says_algorithm: true,
            digest: ContentDigest::Sha512,
        }
    }

    #[test]
    fn what_is_signed_is_judged_good_and_covers_what_is_there() {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signer = signer(Key::Shared(Box::new(secret.clone())));
        let uri: Uri = "/a?b=c".parse().expect("a target");
        let signed = || {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("Shop.Example"));
            headers.insert("x-a", HeaderValue::from_static("1"));
            signer.sign(&Method::PUT, true, &uri, &mut headers, b"body", 100).expect("signed");
            headers
        };
        let headers = signed();
        let told = headers[SIGNATURE_INPUT].to_str().expect("text");
        let want = r#"sig1=("@method" "@target-uri" "x-a" "content-digest");created=100;expires=160;nonce=""#;
        assert!(told.starts_with(want), "{told}");
        let want = r#";keyid="a \"key\" \\ of mine";alg="hmac-sha256";tag="orders""#;
        assert!(told.ends_with(want), "{told}");
        assert_ne!(signed()[SIGNATURE_INPUT], told, "no two are the same");
        let inputs = fields::inputs(told).expect("well-formed");
        let message = Message::new(&Method::PUT, true, &uri, &headers);
        let base = message.base(&inputs[0]).expect("all of it is there");
        assert!(base.contains("\"@target-uri\": https://shop.example/a?b=c\n"), "{base}");
        let text = headers[SIGNATURE].to_str().expect("text");
        let signatures = fields::bytes(text).expect("well-formed");
        assert!(hmac::verify(&secret, base.as_bytes(), &signatures[0].1).is_ok());
        assert!(message.digest_fits(b"body") && !message.digest_fits(b"another"));
    }
}
