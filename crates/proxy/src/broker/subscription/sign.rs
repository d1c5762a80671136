//! Signatures of deliveries, as Standard Webhooks have it: HMAC-SHA-256 over id, time and body.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

/// What begins a secret that is base64.
const ENCODED: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES_MIN: usize = 16;

/// Keys that deliveries are signed with.
pub(super) struct Keys(Vec<hmac::Key>);

impl Keys {
    pub(super) fn of<'s>(secrets: impl Iterator<Item = &'s str>) -> Result<Self, String> {
        let key = |secret: &str| {
            let bytes = match secret.strip_prefix(ENCODED) {
                Some(text) => STANDARD
                    .decode(text)
                    .map_err(|_| "sign: what follows `whsec_` is no base64".to_owned())?,
                None => secret.as_bytes().to_vec(),
            };
            if bytes.len() < SECRET_BYTES_MIN {
                return Err(format!("sign: a secret has {SECRET_BYTES_MIN} bytes at least"));
            }
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        secrets.map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`; none without a key.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> Option<String> {
        let signature = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{seconds}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        let all: Vec<String> = self.0.iter().map(signature).collect();
        (!all.is_empty()).then(|| all.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's own libraries.
        let keys = Keys::of(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"].into_iter()).expect("a key");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        assert!(Keys::of(["short"].into_iter()).is_err());
        assert!(Keys::of(["whsec_?"].into_iter()).is_err());
        let two = Keys::of(["0123456789abcdef", "fedcba9876543210"].into_iter()).expect("keys");
        assert_eq!(two.sign("a", 1, b"").expect("signatures").split(' ').count(), 2);
    }
}
