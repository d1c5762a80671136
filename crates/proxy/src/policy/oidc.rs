//! `oidc`: signs people in with their browser at an OpenID provider, and keeps that they are.
//!
//! A sign-in belongs to the browser that began it: state, nonce and PKCE's verifier are in a cookie of its own, encrypted.
//! Nothing that a browser shows is believed that is not encrypted with the policy's secret, and upstreams never see it.

mod begin;
mod cookies;
mod ended;
mod finish;
mod judge;
mod leave;
pub(super) mod provider;
mod renew;
mod seal;
mod session;
mod shown;
mod store;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use model::policy::oidc::{SessionStore, Unauthenticated};
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use self::{
    cookies::Cookies,
    ended::Ended,
    provider::{Client, Provider},
    renew::{Flights, Outcome},
    seal::Seal,
    session::Session,
    store::{Shared, Store},
};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    credentials,
    jwt::keys::Algorithm,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers},
    failure::{Failure, Problem, Stage},
    template,
};

static METRIC: Metric = Metric {
    name: "tidegate_oidc_total",
    help: "Sign-ins and sessions, by what became of them.",
    outcomes: &["begun", "signed-in", "refused", "renewed", "lapsed", "signed-out", "ended", "away"],
    gauges: &[],
};

/// What is counted and told of, in the order of the metric.
#[derive(Debug, Clone, Copy)]
pub(super) enum Became {
    /// Somebody was sent to sign in.
    Begun,
    SignedIn,
    /// A sign-in was refused.
    Refused,
    /// Tokens were renewed.
    Renewed,
    /// The provider does not renew them: the session has ended.
    Lapsed,
    /// Somebody has signed out here.
    SignedOut,
    /// The provider has ended sessions.
    Ended,
    /// The provider could not be asked.
    Away,
}

/// The compiled policy. Renewals outlive the calls that begin them, and share it.
pub(crate) struct Oidc(Arc<Inner>);

/// What a policy consists of.
struct Inner {
    provider: Arc<Provider>,
    client: Client,
    cookies: Cookies,
    seal: Seal,
    store: Store,
    state: Arc<State>,
    /// Below it are the addresses of its own.
    path: String,
    public_url: Option<String>,
    scope: String,
    parameters: Vec<(String, String)>,
    max_age: Duration,
    idle: Option<Duration>,
    login_timeout: Duration,
    auth_max_age: Option<Duration>,
    leeway: Duration,
    unauthenticated: Unauthenticated,
    renews: bool,
    renew_before: Duration,
    user_info: bool,
    access_header: Option<HeaderName>,
    id_header: Option<HeaderName>,
    sent: Vec<(HeaderName, Box<[Box<str>]>)>,
    consumers: Arc<Consumers>,
    consumer_claim: Option<Box<[Box<str>]>>,
    anonymous: Option<Arc<Consumer>>,
    after_logout: String,
    end_session: bool,
    counted: Arc<Counted>,
    background: Handle,
}

/// What all policies of one client have in common, over reloads.
#[derive(Default)]
struct State {
    /// What has ended because the provider or the session's own browser said so.
    ended: Ended,
    /// What has ended because some browser said so, which proves nothing: it cannot crowd out what is proven.
    told: Ended,
    /// Logout tokens that have been used.
    tokens: Ended,
    flights: Flights,
}

/// A session that was shown.
struct Found {
    session: Session,
    claims: Map<String, Value>,
    /// Under what the shared store has it.
    name: Option<String>,
    /// It has changed, or was encrypted with a secret of before.
    is_new: bool,
}

/// Cookies that go with the answer.
struct Written(Vec<HeaderValue>);

impl Oidc {
    pub(crate) fn compile(settings: &model::policy::Oidc, cx: &Building<'_>) -> Result<Self, String> {
        let algorithms: Vec<Algorithm> =
            settings.algorithms.iter().map(|one| Algorithm::from(*one)).collect();
        if algorithms.is_empty() {
            return Err("`algorithms` is empty".into());
        }
        let snapshot: &model::Snapshot = cx.snapshot;
        let context = format!("{}\0{}", settings.issuer, settings.client_id);
        let secrets = std::iter::once(&settings.secret).chain(&settings.previous_secrets);
        let secrets = secrets.map(|secret| snapshot.secret(secret));
        let seal = Seal::new(secrets, context.clone()).map_err(|error| format!("`secret`: {error}"))?;
        // One place for all policies of this client, wherever they stand: what ends for one ends for all.
        let common = cx.of(&format!("policies/oidc {} {}", settings.issuer, settings.client_id));
        let timeout = settings.timeout.get();
        let made = Provider::new(&settings.issuer, algorithms, timeout, cx.background)
            .map_err(|error| format!("`issuer`: {error}"))?;
        let place = format!("provider {:?} {:?}", settings.algorithms, timeout);
        let provider = common.keep(&place, &(), || made);
        Provider::start(&provider);
        let store = match settings.store {
            SessionStore::Cookie => Store::Cookie,
            SessionStore::Redis => {
                let accounts = cx.accounts.cloned().ok_or("there is no `redis` in the configuration")?;
                Store::Redis(Shared::new(accounts, context))
            }
        };
        let mut scopes = settings.scopes.clone();
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        let consumers = credentials::consumers(cx)?;
        let claim = |claim: &str| claim.split('.').map(Into::into).collect();
        Ok(Self(Arc::new(Inner {
            provider,
            client: Client::new(
                &settings.client_id,
                settings.client_auth,
                settings.client_secret.as_ref().map(|secret| snapshot.secret(secret)),
            ),
            cookies: Cookies::new(&settings.cookie),
            seal,
            store,
            state: common.keep("state", &(), State::default),
            path: settings.path.trim_end_matches('/').to_owned(),
            public_url: settings.public_url.clone(),
            scope: scopes.join(" "),
            parameters: settings.parameters.clone().into_iter().collect(),
            max_age: settings.max_age.get(),
            idle: settings.idle_timeout.map(model::Duration::get),
            login_timeout: settings.login_timeout.get(),
            auth_max_age: settings.auth_max_age.map(model::Duration::get),
            leeway: settings.leeway.get(),
            unauthenticated: settings.unauthenticated,
            renews: settings.refresh,
            renew_before: settings.refresh_before.get(),
            user_info: settings.user_info,
            access_header: settings.access_token_header.as_ref().map(model::HeaderName::to_http),
            id_header: settings.id_token_header.as_ref().map(model::HeaderName::to_http),
            sent: settings
                .claims_to_headers
                .iter()
                .map(|(name, path)| (name.to_http(), claim(path)))
                .collect(),
            consumer_claim: settings.consumer_claim.as_deref().map(claim),
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            after_logout: settings.after_logout.clone(),
            end_session: settings.end_session,
            counted: Counted::of(&METRIC, cx),
            background: cx.background.clone(),
        })))
    }
}

impl Inner {
    fn note(&self, call: &mut Call, became: Became) {
        self.counted.note(became as usize);
        call.record.sign_in = METRIC.outcomes.get(became as usize).copied();
    }

    /// Has the answer set cookies.
    fn write(&self, call: &mut Call, cookies: Vec<HeaderValue>) {
        let mut all = call.take::<Self, Written>(self).map(|Written(all)| all).unwrap_or_default();
        all.extend(cookies);
        call.keep(self, Written(all));
    }

    /// Everything that takes time.
    async fn decide(self: &Arc<Self>, call: &mut Call, found: Option<Found>, now: u64) -> Verdict {
        let Some(mut found) = found else { return self.nobody(call).await };
        if self.is_due(&found.session, now) {
            match renew::renewed(self, &found, now).await {
                Outcome::Renewed(session) => {
                    self.note(call, Became::Renewed);
                    let Some(claims) = session.claims() else { return self.nobody(call).await };
                    found.session = (*session).clone();
                    // The shared store has it by now.
                    (found.claims, found.is_new) = (claims, found.name.is_none());
                    if self.has_ended(&found) {
                        return self.nobody(call).await;
                    }
                }
                Outcome::Ended => {
                    self.note(call, Became::Lapsed);
                    return self.nobody(call).await;
                }
                Outcome::Away(detail) if found.session.is_over(now) => {
                    self.note(call, Became::Away);
                    return Verdict::Fail(provider_away().with_detail(detail));
                }
                Outcome::Away(_) => self.note(call, Became::Away),
            }
        }
        if let (Store::Redis(shared), Some(name), true) = (&self.store, &found.name, found.is_new) {
            let left = found.session.ends(self.max_age, self.idle).saturating_sub(now);
            if shared.put(&self.seal, name, &found.session, left, false).await.is_err() {
                return Verdict::Fail(store_away());
            }
        }
        match self.enter(call, found, now) {
            Ok(()) => Verdict::Continue,
            Err(failure) => Verdict::Fail(failure),
        }
    }

    /// Makes whoever is signed in the one who calls.
    fn enter(&self, call: &mut Call, found: Found, now: u64) -> Result<(), Failure> {
        let challenge = HeaderValue::from_static("Session");
        match self.consumer(&found.claims)? {
            Some(consumer) => credentials::enter(call, consumer, &challenge)?,
            None => Consumer::step_aside(call),
        }
        if found.is_new && found.name.is_none() {
            let cookies = self.session_cookies(&call.head.headers, &found.session, now)?;
            self.write(call, cookies);
        }
        let headers = &mut call.head.headers;
        self.cookies.hide(headers);
        for (name, path) in &self.sent {
            let value = template::claim(&found.claims, path).and_then(template::claim_text);
            // A value that no header can hold is not sent, in whole or in part.
            if let Some(Ok(value)) = value.map(|text| HeaderValue::from_str(&text)) {
                headers.insert(name, value);
            }
        }
        let tokens = [
            (&self.access_header, found.session.access.as_ref()),
            (&self.id_header, Some(&found.session.id_token)),
        ];
        for (name, token) in tokens {
            let (Some(name), Some(token)) = (name, token) else { continue };
            let text = match *name == header::AUTHORIZATION {
                true => HeaderValue::from_str(&format!("Bearer {token}")),
                false => HeaderValue::from_str(token),
            };
            if let Ok(mut value) = text {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        call.claims = Some(std::rc::Rc::new(found.claims));
        call.token = found.session.access.as_ref().and_then(|token| HeaderValue::from_str(token).ok());
        Ok(())
    }

    fn consumer(&self, claims: &Map<String, Value>) -> Result<Option<&Arc<Consumer>>, Failure> {
        if let Some(consumer) = self.consumers.with_claims(&self.provider.issuer, claims) {
            return Ok(Some(consumer));
        }
        let Some(path) = &self.consumer_claim else { return Ok(None) };
        let name = template::claim(claims, path).and_then(template::claim_text);
        // Signing in again would not help: this is no 401.
        let found = name.and_then(|name| self.consumers.named(&name));
        found.map(Some).ok_or_else(|| {
            Failure::refused(Problem::Forbidden).with_detail("whoever is signed in names no consumer")
        })
    }

    /// The cookies that hold a session.
    fn session_cookies(
        &self,
        headers: &HeaderMap,
        session: &Session,
        now: u64,
    ) -> Result<Vec<HeaderValue>, Failure> {
        let broken = |detail: &str| Failure::gateway(Stage::Policy, Problem::Internal).with_detail(detail);
        let text = serde_json::to_vec(session).map_err(|_| broken("a session cannot be written"))?;
        let text = self.seal.seal("session", &text).ok_or_else(|| broken("no randomness"))?;
        let age = self.age(session, now);
        self.cookies.keep(headers, &text, age).map_err(|cookies::TooLarge| {
            broken("the session has more than cookies hold: use `store: redis`, or ask for fewer claims")
        })
    }

    /// Seconds that a browser keeps a session.
    fn age(&self, session: &Session, now: u64) -> u64 {
        session.ends(self.max_age, None).saturating_sub(now) / 1000
    }

    /// What somebody gets who is not signed in.
    async fn nobody(&self, call: &mut Call) -> Verdict {
        let cookies = self.cookies.forget(&call.head.headers);
        if !cookies.is_empty() {
            self.write(call, cookies);
        }
        if let Some(consumer) = &self.anonymous {
            consumer.stand_in(call);
            self.cookies.hide(&mut call.head.headers);
            return Verdict::Continue;
        }
        if begin::is_for_a_page(call, self.unauthenticated) {
            let target = call.head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
            return self.begin(call, &target).await;
        }
        Verdict::Fail(self.unsigned())
    }

    /// 401 for who cannot be sent to a page.
    fn unsigned(&self) -> Failure {
        let text = format!("Session realm=\"tidegate\", login=\"{}/login\"", self.path);
        let challenge = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Session"));
        credentials::unauthenticated(
            &challenge,
            &format!("nobody is signed in: a browser does that at {}/login", self.path),
        )
    }

    /// How browsers reach the host that a call is to.
    fn origin(&self, call: &Call) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.clone());
        }
        let headers = &call.head.headers;
        let host = headers.get(header::HOST)?.to_str().ok()?;
        // The gateway's own, or that of a trusted peer.
        let scheme = call.scheme();
        Some(format!("{scheme}://{host}"))
    }

    /// Which of the policy's own addresses a path is.
    fn own(&self, path: &str) -> Option<Own> {
        match path.strip_prefix(self.path.as_str())? {
            "/callback" => Some(Own::Callback),
            "/login" => Some(Own::Login),
            "/logout" => Some(Own::Logout),
            "/backchannel-logout" => Some(Own::BackChannel),
            "/frontchannel-logout" => Some(Own::FrontChannel),
            _ => None,
        }
    }
}

/// The policy's own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Callback,
    Login,
    Logout,
    BackChannel,
    FrontChannel,
}

fn provider_away() -> Failure {
    Failure::gateway(Stage::Policy, Problem::Unavailable)
        .with_hint("the identity provider cannot be asked now")
}

fn store_away() -> Failure {
    Failure::gateway(Stage::Policy, Problem::Unavailable).with_detail("the store of sessions cannot be asked")
}

/// An answer of the policy's own, which nobody keeps.
fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    response
}

/// Sends a browser elsewhere.
fn sent_to(url: &str) -> Verdict {
    let Ok(url) = HeaderValue::from_str(url) else {
        return Verdict::Fail(
            Failure::gateway(Stage::Policy, Problem::Internal).with_detail("no place to go to"),
        );
    };
    let mut response = plain(StatusCode::SEE_OTHER);
    response.headers_mut().insert(header::LOCATION, url);
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Verdict::Answer(Box::new(response))
}

impl NeedsOf for model::policy::Oidc {
    fn needs(&self) -> Needs {
        let sent =
            self.claims_to_headers.keys().chain(&self.access_token_header).chain(&self.id_token_header);
        let identity: Vec<_> = sent.map(model::HeaderName::to_http).collect();
        let read = ["sec-fetch-mode", "sec-fetch-site", "sec-purpose", "x-requested-with"];
        let headers = identity.iter().cloned().chain(read.map(HeaderName::from_static));
        Needs { headers: headers.collect(), identity, ..Needs::default() }
    }
}

impl Policy for Oidc {
    fn is_shown(&self, call: &Call) -> bool {
        self.0.own(call.path()).is_some() || self.0.cookies.is_any(&call.head.headers)
    }

    fn conceal(&self, call: &mut Call, _: &dyn Fn(&HeaderName) -> bool, _: &dyn Fn(&str) -> bool) {
        self.0.cookies.hide(&mut call.head.headers);
    }

    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        let inner = &self.0;
        // Whatever comes of the session, these headers say only what it said.
        let set = inner.sent.iter().map(|(name, _)| name).chain(&inner.access_header).chain(&inner.id_header);
        for name in set {
            call.head.headers.remove(name);
        }
        let now = session::now();
        if let Some(own) = inner.own(call.path()) {
            return Flow::Wait(Box::pin(inner.answer(own, call, body, now)));
        }
        if matches!(inner.store, Store::Cookie) {
            let found = inner.in_cookies(&call.head.headers, now);
            match found {
                Some(found) if !inner.is_due(&found.session, now) => {
                    return inner.enter(call, found, now).map_or_else(Flow::Fail, |()| Flow::Continue);
                }
                found => return Flow::Wait(Box::pin(inner.decide(call, found, now))),
            }
        }
        Flow::Wait(Box::pin(async move {
            match inner.shown(call, now).await {
                Ok(found) => inner.decide(call, found, now).await,
                Err(failure) => Verdict::Fail(failure),
            }
        }))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let inner: &Inner = &self.0;
        let Some(Written(cookies)) = call.take::<Inner, Written>(inner) else { return };
        let headers = answer.headers_mut();
        for cookie in cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
        // Whoever keeps the answer would give one person's session to others.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
