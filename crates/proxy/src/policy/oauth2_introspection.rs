//! `oauth2Introspection`: lets in who shows a token that its issuer says is good (RFC 7662).
//!
//! A token is asked about once at a time, however many calls show it, and what is said is kept for a while by the token's
//! digest. Nothing is believed of a token but what the issuer says of it, and what it does not say lets nobody in.

pub(in crate::policy) mod known;

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use tokio::{runtime::Handle, sync::watch};

use self::known::{Known, Looked, Said};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    credentials::{self, Repeated},
    jwt::{Source, fetch::Target, keys::Algorithm, token::TOKEN_BYTES_MAX},
    oidc::provider::{Client, Provider, post_form},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers},
    failure::{Failure, Problem, Stage},
    template,
};

/// RFC 6750 §3.1.
const INVALID_TOKEN: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");

static METRIC: Metric = Metric {
    name: "tidegate_introspection_total",
    help: "Tokens that calls showed, by what is known of them and how: `kept` is what was said before.",
    outcomes: &["active", "inactive", "kept", "away"],
    gauges: &[],
};

const ACTIVE: usize = 0;
const INACTIVE: usize = 1;
const KEPT: usize = 2;
const AWAY: usize = 3;

/// The compiled policy.
pub(crate) struct Oauth2Introspection {
    source: Source,
    asker: Arc<Asker>,
    known: Arc<Known>,
    rules: Rules,
    sent: Vec<(HeaderName, Box<[Box<str>]>)>,
    consumers: Arc<Consumers>,
    consumer_claim: Option<Box<[Box<str>]>>,
    anonymous: Option<Arc<Consumer>>,
    hide: bool,
    background: Handle,
    counted: Arc<Counted>,
}

/// Asks the issuer.
struct Asker {
    place: Place,
    client: Client,
    timeout: Duration,
    ttl: Duration,
    negative_ttl: Duration,
    leeway: Duration,
}

/// Where it is asked.
enum Place {
    Url(Target),
    Issuer(Arc<Provider>),
}

/// What has to be said of a token.
struct Rules {
    issuer: Option<String>,
    audiences: Vec<String>,
    scopes: Vec<String>,
    leeway: Duration,
}

impl Oauth2Introspection {
    pub(crate) fn compile(
        settings: &model::policy::Oauth2Introspection,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let timeout = settings.timeout.get();
        let place = match (&settings.url, &settings.issuer) {
            (Some(url), _) => Place::Url(Target::parse(url).map_err(|error| format!("`url`: {error}"))?),
            (None, Some(issuer)) => {
                let algorithms = vec![Algorithm::Rs256, Algorithm::Es256];
                let made = Provider::new(issuer, algorithms, timeout, cx.background)
                    .map_err(|error| format!("`issuer`: {error}"))?;
                let provider = cx.keep("issuer", &(issuer, timeout), || made);
                Provider::start(&provider);
                Place::Issuer(provider)
            }
            (None, None) => return Err("expected `url` or `issuer`".into()),
        };
        let secret = cx.snapshot.secret(&settings.client_secret);
        let consumers = credentials::consumers(cx)?;
        let path = |claim: &str| claim.split('.').map(Into::into).collect();
        // What was said to one client is nothing to another.
        let asked = (
            &settings.url,
            &settings.issuer,
            &settings.client_id,
            settings.max_tokens,
            settings.max_in_flight,
        );
        Ok(Self {
            source: Source::compile(&settings.source),
            asker: Arc::new(Asker {
                place,
                client: Client::new(&settings.client_id, settings.client_auth, Some(secret)),
                timeout,
                ttl: settings.ttl.get(),
                negative_ttl: settings.negative_ttl.get(),
                leeway: settings.leeway.get(),
            }),
            known: cx.keep("known", &asked, || Known::new(settings.max_tokens, settings.max_in_flight)),
            rules: Rules {
                issuer: settings.issuer.clone(),
                audiences: settings.audiences.clone(),
                scopes: settings.required_scopes.clone(),
                leeway: settings.leeway.get(),
            },
            sent: settings
                .claims_to_headers
                .iter()
                .map(|(name, claim)| (name.to_http(), path(claim)))
                .collect(),
            consumer_claim: settings.consumer_claim.as_deref().map(path),
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            hide: settings.hide_credentials,
            background: cx.background.clone(),
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// What follows from what is said of a token.
    fn enter(&self, call: &mut Call, said: &Said) -> Result<(), Failure> {
        let claims = match said {
            Said::Active(claims) => claims,
            Said::Inactive => return Err(invalid("the issuer says that the token is no good")),
            Said::Away(detail) => {
                self.counted.note(AWAY);
                return Err(Failure::gateway(Stage::Policy, Problem::Unavailable)
                    .with_hint("the issuer of tokens cannot be asked now")
                    .with_detail(detail.to_string()));
            }
        };
        self.rules.judge(claims, known::now()).map_err(invalid)?;
        if !credentials::is_bearers(call, claims) {
            return Err(invalid("the token is bound to a key that its bearer does not prove"));
        }
        if !self.rules.has_scopes(claims) {
            return Err(self.insufficient());
        }
        match self.consumer(claims)? {
            Some(consumer) => credentials::enter(call, consumer, &INVALID_TOKEN)?,
            None => Consumer::step_aside(call),
        }
        for (name, path) in &self.sent {
            let value = template::claim(claims, path).and_then(template::claim_text);
            // A value that no header can hold is not sent, in whole or in part.
            if let Some(Ok(value)) = value.map(|text| HeaderValue::from_str(&text)) {
                call.head.headers.insert(name, value);
            }
        }
        call.claims = Some(Rc::new((**claims).clone()));
        call.token = self.source.kept(call);
        call.authorization_is_judged |= self.source.is(&header::AUTHORIZATION);
        if self.hide {
            self.source.hide(call);
        }
        Ok(())
    }

    fn consumer(&self, claims: &Map<String, Value>) -> Result<Option<&Arc<Consumer>>, Failure> {
        let issuer = claims.get("iss").and_then(Value::as_str).or(self.rules.issuer.as_deref());
        if let Some(consumer) = self.consumers.with_claims(issuer.unwrap_or_default(), claims) {
            return Ok(Some(consumer));
        }
        let Some(path) = &self.consumer_claim else { return Ok(None) };
        let name = template::claim(claims, path).and_then(template::claim_text);
        let found = name.and_then(|name| self.consumers.named(&name));
        found.map(Some).ok_or_else(|| invalid("the token names no consumer"))
    }

    fn insufficient(&self) -> Failure {
        let scopes = self.rules.scopes.join(" ");
        let text = format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"");
        let failure =
            Failure::refused(Problem::Forbidden).with_hint("the token lacks a scope that is needed here");
        match HeaderValue::from_str(&text) {
            Ok(challenge) => failure.with_header(header::WWW_AUTHENTICATE, challenge),
            Err(_) => failure,
        }
    }

    /// Asks about a token in the background, so that a client who leaves takes nobody's answer along.
    fn ask(&self, digest: known::Digest, token: String) -> watch::Receiver<Option<Said>> {
        let (tell, told) = watch::channel(None);
        self.known.begin(digest, told.clone());
        let (asker, known, counted) = (self.asker.clone(), self.known.clone(), self.counted.clone());
        self.background.spawn(async move {
            let (said, lasts) = asker.ask(token).await;
            match &said {
                Said::Active(_) => counted.note(ACTIVE),
                Said::Inactive => counted.note(INACTIVE),
                Said::Away(_) => {}
            }
            known.end(digest, said.clone(), lasts);
            tell.send_replace(Some(said));
        });
        told
    }
}

fn invalid(detail: &str) -> Failure {
    credentials::unauthenticated(&INVALID_TOKEN, "the token is not valid").with_detail(detail)
}

fn missing(hint: &str) -> Failure {
    credentials::unauthenticated(&HeaderValue::from_static("Bearer"), hint)
}

impl Asker {
    /// What the issuer says, and for how long that holds.
    async fn ask(&self, token: String) -> (Said, Duration) {
        match self.answer(token).await {
            Ok(claims) if claims.get("active") == Some(&Value::Bool(true)) => {
                let left = claims.get("exp").and_then(Value::as_f64).map(|ends| ends - known::now());
                let left = left.map_or(self.ttl, |left| {
                    let left = left + self.leeway.as_secs_f64();
                    self.ttl.min(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(self.ttl))
                });
                (Said::Active(Arc::new(claims)), left)
            }
            Ok(_) => (Said::Inactive, self.negative_ttl),
            Err(error) => (Said::Away(error.into()), Duration::ZERO),
        }
    }

    async fn answer(&self, token: String) -> Result<Map<String, Value>, String> {
        let mut form = vec![("token", token), ("token_type_hint", "access_token".to_owned())];
        let (status, body) = match &self.place {
            Place::Url(target) => post_form(target, self.timeout, &self.client, &mut form).await?,
            Place::Issuer(provider) => {
                let known = provider.known().await.ok_or("nothing is known yet about the issuer")?;
                let target =
                    known.introspection.as_ref().ok_or("the issuer answers no questions about tokens")?;
                post_form(target, self.timeout, &self.client, &mut form).await?
            }
        };
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        serde_json::from_slice(&body).map_err(|_| "what it says is no JSON object".to_owned())
    }
}

impl Rules {
    /// Judges everything but the scopes. The error is for the log.
    fn judge(&self, claims: &Map<String, Value>, now: f64) -> Result<(), &'static str> {
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or("a time is not a number"),
        };
        let leeway = self.leeway.as_secs_f64();
        if time("exp")?.is_some_and(|ends| now >= ends + leeway) {
            return Err("the token has expired");
        }
        if time("nbf")?.is_some_and(|begins| now + leeway < begins) {
            return Err("the token is not valid yet");
        }
        if let (Some(issuer), Some(told)) = (&self.issuer, claims.get("iss"))
            && told.as_str() != Some(issuer)
        {
            return Err("the issuer is another one");
        }
        let is_ours =
            |value: &Value| value.as_str().is_some_and(|aud| self.audiences.iter().any(|own| own == aud));
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !self.audiences.is_empty() && !is_for_us {
            return Err("the token is for another audience");
        }
        Ok(())
    }

    fn has_scopes(&self, claims: &Map<String, Value>) -> bool {
        let given = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        self.scopes.iter().all(|scope| given.split(' ').any(|one| one == scope))
    }
}

impl NeedsOf for model::policy::Oauth2Introspection {
    fn needs(&self) -> Needs {
        let identity: Vec<_> = self.claims_to_headers.keys().map(model::HeaderName::to_http).collect();
        let headers = identity.iter().cloned().chain([header::COOKIE]).collect();
        Needs { headers, identity, ..Needs::default() }
    }
}

impl Policy for Oauth2Introspection {
    fn is_shown(&self, call: &Call) -> bool {
        !matches!(self.source.shown(call), Ok(None))
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, asked: &dyn Fn(&str) -> bool) {
        self.source.hide_beside(call, stays, asked);
    }

    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        // Whatever is said of the token, these headers say only that.
        for (name, _) in &self.sent {
            call.head.headers.remove(name);
        }
        let shown = match self.source.shown(call) {
            Err(Repeated) => return Flow::Fail(missing("the token is given more than once")),
            Ok(None) => {
                return match &self.anonymous {
                    Some(consumer) => {
                        consumer.stand_in(call);
                        Flow::Continue
                    }
                    None => Flow::Fail(missing("a token is needed")),
                };
            }
            Ok(Some(shown)) => shown,
        };
        let is_token = !shown.is_empty()
            && shown.len() <= TOKEN_BYTES_MAX
            && shown.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if !is_token {
            return Flow::Fail(invalid("it is no token at all"));
        }
        let digest = known::digest(&shown);
        let mut told = match self.known.look(&digest) {
            Looked::Said(said) => {
                self.counted.note(KEPT);
                drop(shown);
                return self.enter(call, &said).map_or_else(Flow::Fail, |()| Flow::Continue);
            }
            Looked::Full => {
                let away = Said::Away("too many tokens are being asked about".into());
                drop(shown);
                return self.enter(call, &away).map_or_else(Flow::Fail, |()| Flow::Continue);
            }
            Looked::Asked(told) => told,
            Looked::Nothing => self.ask(digest, shown.clone().into_owned()),
        };
        drop(shown);
        Flow::Wait(Box::pin(async move {
            // The issuer's own document may be waited for before it is asked.
            let patience = self.asker.timeout * 2 + Duration::from_millis(200);
            let said = match tokio::time::timeout(patience, told.wait_for(Option::is_some)).await {
                Ok(Ok(said)) => said.clone(),
                _ => None,
            };
            let said = said.unwrap_or_else(|| Said::Away("no answer in time".into()));
            self.enter(call, &said).map_or_else(Verdict::Fail, |()| Verdict::Continue)
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_of_a_token_decides() {
        let rules = Rules {
            issuer: Some("https://id".to_owned()),
            audiences: vec!["shop".to_owned()],
            scopes: vec!["a".to_owned(), "b".to_owned()],
            leeway: Duration::from_secs(10),
        };
        let object = |value: Value| value.as_object().expect("an object").clone();
        for good in [
            json!({"aud": "shop"}),
            json!({"aud": ["x", "shop"], "exp": 991.0, "nbf": 1009, "iss": "https://id"}),
        ] {
            assert_eq!(rules.judge(&object(good.clone()), 1000.0), Ok(()), "{good}");
        }
        for bad in [
            json!({}),
            json!({"aud": "bank"}),
            json!({"aud": "shop", "exp": 990}),
            json!({"aud": "shop", "exp": "soon"}),
            json!({"aud": "shop", "nbf": 1011}),
            json!({"aud": "shop", "iss": "https://evil"}),
        ] {
            assert!(rules.judge(&object(bad.clone()), 1000.0).is_err(), "{bad}");
        }
        assert!(rules.has_scopes(&object(json!({"scope": "b c a"}))));
        for bad in [json!({}), json!({"scope": "a"}), json!({"scope": "ab"}), json!({"scope": ["a", "b"]})] {
            assert!(!rules.has_scopes(&object(bad.clone())), "{bad}");
        }
    }
}
