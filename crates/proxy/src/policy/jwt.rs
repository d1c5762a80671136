//! `jwt`: lets in who shows a valid JSON Web Token.
//!
//! Nothing in a token is believed before its signature is verified, with a key of ours and an algorithm that the
//! key and the configuration fix. Nothing is fetched because a token says so.

mod claims;
pub(crate) mod fetch;
pub(super) mod keys;
pub(super) mod remote;
pub(super) mod token;
mod verified;

use std::{borrow::Cow, rc::Rc, sync::Arc, time::SystemTime};

use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use self::{
    claims::Rules,
    keys::{Algorithm, Keys},
    remote::Remote,
    token::Token,
};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    credentials::{self, Repeated},
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

/// The compiled policy.
pub(crate) struct Jwt {
    source: Source,
    keys: Place,
    algorithms: Vec<Algorithm>,
    rules: Rules,
    sent: Vec<(HeaderName, Box<[Box<str>]>)>,
    consumers: Arc<Consumers>,
    consumer_claim: Option<Box<[Box<str>]>>,
    anonymous: Option<Arc<Consumer>>,
    hide: bool,
}

/// Where the token is.
pub(super) enum Source {
    Header(HeaderName),
    Cookie(String),
    Query(String),
}

/// Where the keys are.
enum Place {
    File(Keys),
    Url(Arc<Remote>),
}

/// Why a token is not let in, for the log; the client learns only that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// The token is not what it should be.
    Invalid(&'static str),
    /// Its key is not known, now.
    UnknownKey,
    /// There are no keys at all yet.
    NoKeys,
}

impl Jwt {
    pub(crate) fn compile(settings: &model::policy::Jwt, cx: &Building<'_>) -> Result<Self, String> {
        let algorithms: Vec<Algorithm> =
            settings.algorithms.iter().map(|one| Algorithm::from(*one)).collect();
        if algorithms.is_empty() {
            return Err("`algorithms` is empty".into());
        }
        let keys = match (&settings.jwks.file, &settings.jwks.url) {
            (Some(file), None) => {
                let keys = Keys::parse(&cx.snapshot.file(file), &algorithms);
                Place::File(keys.map_err(|error| format!("`jwks.file` {file}: {error}"))?)
            }
            (None, Some(url)) => {
                let target = fetch::Target::parse(url).map_err(|error| format!("`jwks.url`: {error}"))?;
                let kept = cx.keep("jwks", &(&settings.jwks, &settings.algorithms), || {
                    Remote::new(target, algorithms.clone(), &settings.jwks)
                });
                Remote::start(&kept, cx.background);
                Place::Url(kept)
            }
            _ => return Err("`jwks` takes either `file` or `url`".into()),
        };
        let consumers = credentials::consumers(cx)?;
        let path = |claim: &str| claim.split('.').map(Into::into).collect();
        Ok(Self {
            source: Source::compile(&settings.source),
            keys,
            algorithms,
            rules: Rules::compile(settings),
            sent: settings
                .claims_to_headers
                .iter()
                .map(|(name, claim)| (name.to_http(), path(claim)))
                .collect(),
            consumer_claim: settings.consumer_claim.as_deref().map(path),
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            hide: settings.hide_credentials,
        })
    }

    /// Judges tokens by these keys alone, with no rule about their claims but that they end.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn over(keys: Keys, algorithms: &[Algorithm]) -> Self {
        Self {
            source: Source::Header(header::AUTHORIZATION),
            keys: Place::File(keys),
            algorithms: algorithms.to_vec(),
            rules: Rules::lenient(),
            sent: Vec::new(),
            consumers: Arc::default(),
            consumer_claim: None,
            anonymous: None,
            hide: true,
        }
    }

    /// The claims of a token that is good in every respect.
    fn verify(&self, text: &str, now: SystemTime) -> Result<Map<String, Value>, Refused> {
        let token = Token::parse(text).map_err(Refused::Invalid)?;
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Refused::Invalid("the algorithm is not one that is accepted"));
        }
        let verify =
            |keys: &Keys| keys.verify(token.kid.as_deref(), token.algorithm, token.message, &token.signature);
        let verdict = match &self.keys {
            Place::File(keys) => verify(keys),
            Place::Url(remote) => verify(&*remote.keys().ok_or(Refused::NoKeys)?),
        };
        match verdict {
            keys::Verdict::Good => {}
            keys::Verdict::Bad => return Err(Refused::Invalid("the signature is wrong")),
            keys::Verdict::UnknownKey => return Err(Refused::UnknownKey),
        }
        let claims = token.claims().map_err(Refused::Invalid)?;
        self.rules.judge(&claims, now).map_err(Refused::Invalid)?;
        Ok(claims)
    }

    /// What follows from a judged token.
    fn enter(&self, call: &mut Call, judged: Result<Map<String, Value>, Refused>) -> Result<(), Failure> {
        let claims = judged.map_err(refuse)?;
        if !credentials::is_bearers(call, &claims) {
            return Err(refuse(Refused::Invalid(
                "the token is bound to a key that its bearer does not prove",
            )));
        }
        if !self.rules.has_scopes(&claims) {
            return Err(self.insufficient());
        }
        match self.consumer(&claims)? {
            Some(consumer) => credentials::enter(call, consumer, &INVALID_TOKEN)?,
            None => Consumer::step_aside(call),
        }
        for (name, path) in &self.sent {
            let value = template::claim(&claims, path).and_then(template::claim_text);
            // A value that no header can hold is not sent, in whole or in part.
            if let Some(Ok(value)) = value.map(|text| HeaderValue::from_str(&text)) {
                call.head.headers.insert(name, value);
            }
        }
        call.claims = Some(Rc::new(claims));
        call.token = self.source.kept(call);
        call.authorization_is_judged |=
            matches!(&self.source, Source::Header(name) if *name == header::AUTHORIZATION);
        if self.hide {
            self.source.hide(call);
        }
        Ok(())
    }

    fn consumer(&self, claims: &Map<String, Value>) -> Result<Option<&Arc<Consumer>>, Failure> {
        if let Some(consumer) = self.consumers.with_claims(self.rules.issuer(), claims) {
            return Ok(Some(consumer));
        }
        let Some(path) = &self.consumer_claim else { return Ok(None) };
        let name = template::claim(claims, path).and_then(template::claim_text);
        let found = name.and_then(|name| self.consumers.named(&name));
        found.map(Some).ok_or_else(|| refuse(Refused::Invalid("the token names no consumer")))
    }

    /// RFC 6750 §3.1.
    fn insufficient(&self) -> Failure {
        let text =
            format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", self.rules.scopes().join(" "));
        let failure =
            Failure::refused(Problem::Forbidden).with_hint("the token lacks a scope that is needed here");
        match HeaderValue::from_str(&text) {
            Ok(challenge) => failure.with_header(header::WWW_AUTHENTICATE, challenge),
            Err(_) => failure,
        }
    }
}

fn refuse(refused: Refused) -> Failure {
    let reason = match refused {
        Refused::NoKeys => {
            return Failure::gateway(Stage::Policy, Problem::Unavailable)
                .with_detail("no key set could be fetched yet");
        }
        Refused::UnknownKey => "the token's key is not known",
        Refused::Invalid(reason) => reason,
    };
    credentials::unauthenticated(&INVALID_TOKEN, "the token is not valid").with_detail(reason)
}

fn missing(hint: &str) -> Failure {
    credentials::unauthenticated(&HeaderValue::from_static("Bearer"), hint)
}

impl NeedsOf for model::policy::Jwt {
    fn needs(&self) -> Needs {
        let identity: Vec<_> = self.claims_to_headers.keys().map(model::HeaderName::to_http).collect();
        let headers = identity.iter().cloned().chain([header::COOKIE]).collect();
        Needs { headers, identity, ..Needs::default() }
    }
}

impl Policy for Jwt {
    fn is_shown(&self, call: &Call) -> bool {
        !matches!(self.source.shown(call), Ok(None))
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, asked: &dyn Fn(&str) -> bool) {
        self.source.hide_beside(call, stays, asked);
    }

    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        // Whatever comes of the token, these headers say only what it said.
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
        let now = call.record.started;
        let judged = self.verify(&shown, now);
        if let (Err(Refused::UnknownKey | Refused::NoKeys), Place::Url(remote)) = (&judged, &self.keys)
            && let Some(fetched) = remote.fetched()
        {
            let shown = shown.into_owned();
            return Flow::Wait(Box::pin(async move {
                fetched.wait().await;
                let judged = self.verify(&shown, now);
                self.enter(call, judged).map_or_else(Verdict::Fail, |()| Verdict::Continue)
            }));
        }
        drop(shown);
        self.enter(call, judged).map_or_else(Flow::Fail, |()| Flow::Continue)
    }
}

impl Source {
    pub(super) fn compile(settings: &model::policy::jwt::JwtSource) -> Self {
        match (&settings.header, &settings.cookie, &settings.query) {
            (Some(name), ..) => Self::Header(name.to_http()),
            (_, Some(name), _) => Self::Cookie(name.clone()),
            (.., Some(name)) => Self::Query(name.clone()),
            _ => Self::Header(header::AUTHORIZATION),
        }
    }

    pub(super) fn shown<'a>(&self, call: &'a Call) -> Result<Option<Cow<'a, str>>, Repeated> {
        let headers = &call.head.headers;
        // A token is ASCII; what is not text is a token that nothing verifies.
        let text = |value: &'a [u8]| Cow::Borrowed(std::str::from_utf8(value).unwrap_or_default());
        Ok(match self {
            Self::Header(name) => match credentials::in_header(headers, name)? {
                Some(value) => match credentials::after_scheme(value, "Bearer") {
                    Some(token) => Some(text(token)),
                    // Another scheme is no token; in a header of its own the scheme is not needed.
                    None if *name == header::AUTHORIZATION => None,
                    None => Some(text(value)),
                },
                None => None,
            },
            Self::Cookie(name) => credentials::in_cookie(headers, name)?.map(text),
            Self::Query(name) => credentials::in_query(&call.head.uri, name)?,
        })
    }

    /// What is shown, for policies that show it to others: read before it is hidden.
    pub(super) fn kept(&self, call: &Call) -> Option<HeaderValue> {
        match self {
            // Shared with the head: nothing is copied.
            Self::Header(name) => call.head.headers.get(name).cloned(),
            Self::Cookie(_) | Self::Query(_) => {
                let shown = self.shown(call).ok()??;
                HeaderValue::from_str(&shown).ok()
            }
        }
    }

    pub(super) fn is(&self, header: &HeaderName) -> bool {
        matches!(self, Self::Header(name) if name == header)
    }

    /// Takes it out, unless it stands where something else does that stays.
    pub(super) fn hide_beside(
        &self,
        call: &mut Call,
        stays: &dyn Fn(&HeaderName) -> bool,
        asked: &dyn Fn(&str) -> bool,
    ) {
        match self {
            Self::Header(name) if stays(name) => {}
            Self::Query(name) if asked(name) => {}
            _ => self.hide(call),
        }
    }

    pub(super) fn hide(&self, call: &mut Call) {
        match self {
            Self::Header(name) => {
                call.head.headers.remove(name);
            }
            Self::Cookie(name) => credentials::hide_in_cookie(&mut call.head.headers, name),
            Self::Query(name) => credentials::hide_in_query(call, name),
        }
    }
}
