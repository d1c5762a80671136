//! What a provider's tokens must claim: ID tokens (OpenID Connect Core §3.1.3.7) and logout tokens (Back-Channel Logout
//! §2.6). Their signatures are verified first, with the provider's keys, by what verifies all tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{
    provider::{Known, Provider},
    seal::same,
};
use crate::policy::jwt::{keys, token::Token};

/// The event that a logout token tells of.
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old a logout token may be.
const LOGOUT_AGE_MAX: f64 = 300.0;

/// The claims of a token that the provider has signed.
pub(super) async fn verified(
    provider: &Provider,
    known: &Known,
    text: &str,
) -> Result<Map<String, Value>, &'static str> {
    let token = Token::parse(text)?;
    if !provider.algorithms().contains(&token.algorithm) {
        return Err("the algorithm is not one that is accepted");
    }
    let verify = || {
        let keys = known.keys.keys()?;
        Some(keys.verify(token.kid.as_deref(), token.algorithm, token.message, &token.signature))
    };
    let mut verdict = verify();
    if !matches!(verdict, Some(keys::Verdict::Good | keys::Verdict::Bad))
        && let Some(fetched) = known.keys.fetched()
    {
        fetched.wait().await;
        verdict = verify();
    }
    match verdict {
        Some(keys::Verdict::Good) => token.claims(),
        Some(keys::Verdict::Bad) => Err("the signature is wrong"),
        Some(keys::Verdict::UnknownKey) => Err("the token's key is not known"),
        None => Err("no key set could be fetched yet"),
    }
}

/// What ID tokens of one sign-in must claim.
pub(super) struct Wanted<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) leeway: Duration,
    /// That of the sign-in; none for a token that comes later.
    pub(super) nonce: Option<&'a str>,
    /// How long ago people may have shown who they are.
    pub(super) auth_max_age: Option<Duration>,
}

impl Wanted<'_> {
    /// Judges an ID token; the error is for the log.
    pub(super) fn judge(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), &'static str> {
        let (now, leeway) = (seconds(now), self.leeway.as_secs_f64());
        self.judge_all(claims, now)?;
        if claims.get("sub").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err("it names nobody");
        }
        if let Some(nonce) = self.nonce
            && !claims.get("nonce").and_then(Value::as_str).is_some_and(|told| same(told, nonce))
        {
            return Err("it is of another sign-in");
        }
        if let Some(max) = self.auth_max_age {
            let at = time(claims, "auth_time")?.ok_or("it does not say when people showed who they are")?;
            if now > at + max.as_secs_f64() + leeway {
                return Err("people showed too long ago who they are");
            }
        }
        Ok(())
    }

    fn judge_all(&self, claims: &Map<String, Value>, now: f64) -> Result<(), &'static str> {
        let leeway = self.leeway.as_secs_f64();
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer) {
            return Err("the issuer is another one");
        }
        let is_ours = |value: &Value| value.as_str() == Some(self.client);
        let (is_for_us, others) = match claims.get("aud") {
            Some(Value::Array(all)) => (all.iter().any(is_ours), all.len() > 1),
            Some(one) => (is_ours(one), false),
            None => (false, false),
        };
        if !is_for_us {
            return Err("it is for somebody else");
        }
        match claims.get("azp") {
            Some(party) if !is_ours(party) => return Err("it was given to somebody else"),
            None if others => return Err("it is for several, and does not say whom it was given to"),
            _ => {}
        }
        let ends = time(claims, "exp")?.ok_or("it has no end")?;
        if now >= ends + leeway {
            return Err("it has expired");
        }
        if time(claims, "nbf")?.is_some_and(|begins| now + leeway < begins) {
            return Err("it is not valid yet");
        }
        let made = time(claims, "iat")?.ok_or("it does not say when it was made")?;
        if now + leeway < made {
            return Err("it was made in the future");
        }
        Ok(())
    }

    /// Judges a logout token: whose sessions end.
    pub(super) fn judge_logout(
        &self,
        claims: &Map<String, Value>,
        now: SystemTime,
    ) -> Result<Logout, &'static str> {
        let now = seconds(now);
        self.judge_all(claims, now)?;
        if now > time(claims, "iat")?.unwrap_or_default() + LOGOUT_AGE_MAX + self.leeway.as_secs_f64() {
            return Err("it is too old");
        }
        if !claims.get("events").and_then(|events| events.get(LOGOUT)).is_some_and(Value::is_object) {
            return Err("it tells of no logout");
        }
        // What is forbidden in it tells it from an ID token.
        if claims.contains_key("nonce") {
            return Err("it has a nonce, which no logout token has");
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text("jti").filter(|id| !id.is_empty() && id.len() <= 1024).ok_or("it has no id")?;
        let (session, subject) = (text("sid"), text("sub"));
        if session.is_none() && subject.is_none() {
            return Err("it names neither a session nor anybody");
        }
        Ok(Logout { id, session, subject })
    }
}

/// What a logout token tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Logout {
    pub(super) id: String,
    pub(super) session: Option<String>,
    pub(super) subject: Option<String>,
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or("a time is not a number"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn wanted(nonce: Option<&'static str>, max: Option<u64>) -> Wanted<'static> {
        Wanted {
            issuer: "https://id",
            client: "shop",
            leeway: Duration::from_secs(60),
            nonce,
            auth_max_age: max.map(Duration::from_secs),
        }
    }

    fn changed(good: &Value, change: &Value) -> Map<String, Value> {
        let mut claims = good.as_object().expect("an object").clone();
        for (name, value) in change.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        claims
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_id_token_is_for_this_client_of_this_provider_now_and_of_this_sign_in() {
        let good = json!({"iss": "https://id", "aud": "shop", "sub": "ann", "exp": NOW + 10, "iat": NOW, "nonce": "n",
            "auth_time": NOW - 100});
        let judge = |change: Value| wanted(Some("n"), Some(100)).judge(&changed(&good, &change), at(NOW));
        for change in [
            json!({}),
            json!({"aud": ["shop"]}),
            json!({"aud": ["shop", "bank"], "azp": "shop"}),
            json!({"exp": NOW - 59}),
            json!({"iat": NOW + 59, "nbf": NOW + 59}),
            json!({"auth_time": NOW - 159}),
        ] {
            assert_eq!(judge(change.clone()), Ok(()), "{change}");
        }
        for change in [
            json!({"iss": "https://id/"}),
            json!({"iss": null}),
            json!({"aud": "bank"}),
            json!({"aud": []}),
            json!({"aud": ["shop", "bank"]}),
            json!({"azp": "bank"}),
            json!({"exp": NOW - 60}),
            json!({"exp": null}),
            json!({"exp": "never"}),
            json!({"iat": null}),
            json!({"iat": NOW + 61}),
            json!({"nbf": NOW + 61}),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"nonce": "other"}),
            json!({"nonce": null}),
            json!({"auth_time": NOW - 161}),
            json!({"auth_time": null}),
        ] {
            assert!(judge(change.clone()).is_err(), "{change}");
        }
    }

    #[test]
    fn a_logout_token_is_fresh_tells_of_a_logout_and_is_no_id_token() {
        let good = json!({"iss": "https://id", "aud": "shop", "sub": "ann", "sid": "s", "exp": NOW + 10, "iat": NOW,
            "jti": "1", "events": {LOGOUT: {}}});
        let judge = |change: Value| wanted(None, None).judge_logout(&changed(&good, &change), at(NOW));
        assert!(judge(json!({})).is_ok());
        assert!(judge(json!({"sub": null})).is_ok());
        assert!(judge(json!({"sid": null})).is_ok());
        for change in [
            json!({"sub": null, "sid": null}),
            json!({"nonce": "n"}),
            json!({"events": null}),
            json!({"events": {"other": {}}}),
            json!({"events": {LOGOUT: true}}),
            json!({"jti": null}),
            json!({"iat": NOW - 361, "exp": NOW + 10}),
            json!({"exp": NOW - 61}),
            json!({"aud": "bank"}),
            json!({"iss": "https://evil"}),
        ] {
            assert!(judge(change.clone()).is_err(), "{change}");
        }
    }
}
