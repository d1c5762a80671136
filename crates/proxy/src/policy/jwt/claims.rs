//! What a verified token must claim: issuer, audience, times, required claims and scopes (RFC 7519 §4.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::template;

/// The rules for the claims of one policy.
pub(crate) struct Rules {
    issuer: String,
    audiences: Vec<String>,
    leeway: Duration,
    required: Vec<(Box<[Box<str>]>, Value)>,
    scopes: Vec<String>,
}

impl Rules {
    pub(crate) fn compile(settings: &model::policy::Jwt) -> Self {
        let required = settings.required_claims.iter();
        Self {
            issuer: settings.issuer.clone(),
            audiences: settings.audiences.clone(),
            leeway: settings.leeway.get(),
            required: required
                .map(|(claim, value)| (claim.split('.').map(Into::into).collect(), value.clone()))
                .collect(),
            scopes: settings.required_scopes.clone(),
        }
    }

    /// Rules that any claims keep which have the issuer `any` and an end.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn lenient() -> Self {
        Self {
            issuer: "any".to_owned(),
            audiences: Vec::new(),
            leeway: Duration::ZERO,
            required: Vec::new(),
            scopes: Vec::new(),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Judges everything but the scopes. The error is for the log.
    pub(crate) fn judge(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), &'static str> {
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err("the issuer is another one");
        }
        if !self.audiences.is_empty() && !self.is_for_us(claims.get("aud")) {
            return Err("the token is for another audience");
        }
        let now = now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let leeway = self.leeway.as_secs_f64();
        // A token that never ends is not accepted: it could not be taken back.
        let ends = seconds(claims, "exp")?.ok_or("the token has no end")?;
        if now >= ends + leeway {
            return Err("the token has expired");
        }
        if seconds(claims, "nbf")?.is_some_and(|begins| now + leeway < begins) {
            return Err("the token is not valid yet");
        }
        for (path, want) in &self.required {
            let got = template::claim(claims, path).filter(|value| !value.is_null());
            match got {
                None => return Err("a required claim is missing"),
                Some(got) if !want.is_null() && !holds(got, want) => {
                    return Err("a required claim has another value");
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn is_for_us(&self, claimed: Option<&Value>) -> bool {
        let is_ours =
            |value: &Value| value.as_str().is_some_and(|aud| self.audiences.iter().any(|own| own == aud));
        match claimed {
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        }
    }

    /// Whether every required scope is there: in `scope`, a text with spaces (RFC 8693 §4.2), or in `scp`, a list.
    pub(crate) fn has_scopes(&self, claims: &Map<String, Value>) -> bool {
        self.scopes.iter().all(|scope| {
            ["scope", "scp"].iter().any(|name| match claims.get(*name) {
                Some(Value::String(text)) => text.split(' ').any(|one| one == scope),
                Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(scope)),
                _ => false,
            })
        })
    }
}

/// A value equals another, or is a list that holds it.
fn holds(got: &Value, want: &Value) -> bool {
    got == want || got.as_array().is_some_and(|list| list.contains(want))
}

/// A time in seconds (RFC 7519 §2, NumericDate); one of another type refuses the token.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or("a time is not a number"),
    }
}
