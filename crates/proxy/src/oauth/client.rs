//! How the gateway proves to a token server who it is.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderValue, header};
use identity::key::SigningKey;
use model::resource::{
    oauth::{OauthClient, OauthClientAuth},
    token_issuer::SigningAlgorithm,
};
use serde_json::{Map, json};

use super::fingerprint;
use crate::{compiled::Building, handler::ai::tokens::encode};

/// How long an assertion holds; each request has its own.
const ASSERTION_SECONDS: u64 = 60;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The gateway as a client.
pub(crate) enum Client {
    /// Whatever is to be said stands in the form.
    Nobody,
    /// By `Authorization`.
    Header(HeaderValue),
    /// By fields of the form, each with `&` before it.
    Form(String),
    /// By a token that it signs itself (RFC 7523 §2.2).
    Signed(Box<Assertion>),
}

/// What an assertion is made of.
pub(crate) struct Assertion {
    id: String,
    audience: String,
    key: SigningKey,
    key_id: Option<String>,
}

/// The algorithm of a setting.
pub(crate) fn algorithm(setting: SigningAlgorithm) -> identity::key::Algorithm {
    match setting {
        SigningAlgorithm::ES256 => identity::key::Algorithm::Es256,
        SigningAlgorithm::EdDSA => identity::key::Algorithm::EdDsa,
        SigningAlgorithm::RS256 => identity::key::Algorithm::Rs256,
    }
}

impl Client {
    /// A client with a secret, or with none.
    pub(crate) fn with_secret(id: &str, secret: &str, in_form: bool) -> Result<Self, String> {
        if in_form || secret.is_empty() {
            let mut form = format!("&client_id={}", encode(id));
            if !secret.is_empty() {
                form.push_str(&format!("&client_secret={}", encode(secret)));
            }
            return Ok(Self::Form(form));
        }
        // Both are encoded as in a form first (RFC 6749 §2.3.1).
        let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        Ok(Self::Header(value))
    }

    /// A client of the token server at `url`, and what stands for it where state is kept.
    pub(crate) fn of(settings: &OauthClient, url: &str, cx: &Building<'_>) -> Result<(Self, String), String> {
        let secret = settings.secret.as_ref().map_or("", |secret| cx.snapshot.secret(secret));
        let key = settings.key.as_ref().map_or("", |key| cx.snapshot.secret(key));
        let told = serde_json::to_string(settings).unwrap_or_default();
        let mark = fingerprint([told.as_str(), secret, key, url]);
        let client = match settings.auth {
            OauthClientAuth::Basic | OauthClientAuth::Post if secret.is_empty() => {
                return Err("`client.secret` is empty".to_owned());
            }
            OauthClientAuth::Basic => Self::with_secret(&settings.id, secret, false)?,
            OauthClientAuth::Post => Self::with_secret(&settings.id, secret, true)?,
            OauthClientAuth::None => Self::with_secret(&settings.id, "", true)?,
            OauthClientAuth::PrivateKeyJwt => {
                let key = SigningKey::from_pem(key.as_bytes(), algorithm(settings.key_algorithm))
                    .map_err(|error| format!("`client.key`: {error}"))?;
                Self::Signed(Box::new(Assertion {
                    id: settings.id.clone(),
                    audience: settings.assertion_audience.clone().unwrap_or_else(|| url.to_owned()),
                    key,
                    key_id: settings.key_id.clone(),
                }))
            }
        };
        Ok((client, mark))
    }

    /// Adds to a form and its head what proves who asks.
    pub(crate) fn prove(&self, headers: &mut HeaderMap, form: &mut String) -> Result<(), String> {
        match self {
            Self::Nobody => {}
            Self::Header(value) => {
                headers.insert(header::AUTHORIZATION, value.clone());
            }
            Self::Form(fields) => form.push_str(fields),
            Self::Signed(assertion) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                form.push_str(&format!(
                    "&client_id={}&client_assertion_type={}&client_assertion={}",
                    encode(&assertion.id),
                    encode(ASSERTION_TYPE),
                    assertion.token(now)?
                ));
            }
        }
        Ok(())
    }
}

impl Assertion {
    fn token(&self, now: u64) -> Result<String, String> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| "the system gives no random bytes".to_owned())?;
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": self.audience, "iat": now, "exp": now + ASSERTION_SECONDS,
            "jti": URL_SAFE_NO_PAD.encode(id),
        });
        let mut head = Map::new();
        if let Some(id) = &self.key_id {
            head.insert("kid".to_owned(), id.as_str().into());
        }
        self.key.token(&head, claims.as_object().unwrap_or(&Map::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_says_who_asks_in_its_own_place() {
        let (mut headers, mut form) = (HeaderMap::new(), "a=b".to_owned());
        Client::with_secret("a b", "c:d", false)
            .expect("a client")
            .prove(&mut headers, &mut form)
            .expect("proof");
        assert_eq!(form, "a=b");
        assert_eq!(headers[header::AUTHORIZATION], format!("Basic {}", STANDARD.encode("a%20b:c%3Ad")));
        let (mut headers, mut form) = (HeaderMap::new(), "a=b".to_owned());
        Client::with_secret("a b", "c&d", true)
            .expect("a client")
            .prove(&mut headers, &mut form)
            .expect("proof");
        assert!(headers.is_empty());
        assert_eq!(form, "a=b&client_id=a%20b&client_secret=c%26d");
    }
}
