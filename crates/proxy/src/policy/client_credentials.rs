//! `clientCredentials`: shows upstreams a token of the gateway's own (RFC 6749 §4.4).

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, Response, header};
use model::resource::oauth::NoToken;

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    onward,
    renewing::{self, Renewal, Sent},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::ai::tokens::{Grant, Material, Patience, Token, TokenSource, encode},
    oauth::Client,
    policy::jwt::fetch::Target,
};

static METRIC: Metric = Metric {
    name: "tidegate_client_credentials_total",
    help: "Calls with a token of the gateway's own: `sent`; `away` where none could be had; `renewed` where an upstream \
           refused it, and another was had.",
    outcomes: &["sent", "away", "renewed"],
    gauges: &[],
};
const SENT: usize = 0;
const AWAY: usize = 1;
const RENEWED: usize = 2;

/// The least time between a token and its successor where an upstream refuses it before its end.
const YOUTH: Duration = Duration::from_secs(1);

/// The compiled policy.
pub(crate) struct ClientCredentials {
    own: Arc<Own>,
    without: NoToken,
    renews: bool,
    body_bytes_max: usize,
}

/// The token, and how it is shown.
struct Own {
    source: Arc<TokenSource>,
    header: HeaderName,
    counted: Arc<Counted>,
}

/// Fields of a form that both policies of tokens for upstreams have.
pub(super) fn fields(
    form: &mut String,
    scopes: &[String],
    audience: Option<&str>,
    resources: &[String],
    parameters: &std::collections::BTreeMap<String, String>,
) {
    let mut add = |name: &str, value: &str| form.push_str(&format!("&{}={}", encode(name), encode(value)));
    if !scopes.is_empty() {
        add("scope", &scopes.join(" "));
    }
    audience.into_iter().for_each(|audience| add("audience", audience));
    resources.iter().for_each(|resource| add("resource", resource));
    parameters.iter().for_each(|(name, value)| add(name, value));
}

/// A token as a header shows it.
pub(super) fn shown(header: &HeaderName, bearer: &HeaderValue) -> HeaderValue {
    let bare = bearer.as_bytes().strip_prefix(b"Bearer ").filter(|_| *header != header::AUTHORIZATION);
    let Some(Ok(mut value)) = bare.map(HeaderValue::from_bytes) else { return bearer.clone() };
    value.set_sensitive(true);
    value
}

/// What a call gets for which there is no token.
pub(super) fn none(without: NoToken, why: String) -> Failure {
    let failure = Failure::upstream(Stage::Policy, Problem::NoToken, why);
    match without {
        NoToken::Unavailable => failure.with_retry_after(Duration::from_secs(1)),
        NoToken::BadGateway => failure.with_status(http::StatusCode::BAD_GATEWAY),
    }
}

impl ClientCredentials {
    pub(crate) fn compile(
        settings: &model::policy::ClientCredentials,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let url = settings.token_endpoint.as_str();
        let target = Target::parse(url).map_err(|error| format!("`tokenEndpoint`: {error}"))?;
        let (client, mark) = Client::of(&settings.client, url, cx)?;
        let mut form = "grant_type=client_credentials".to_owned();
        let audience = settings.audience.as_deref();
        fields(&mut form, &settings.scopes, audience, &settings.resources, &settings.parameters);
        let timeout = settings.timeout.get();
        let source = cx.keep("token", &(&form, mark, timeout), || {
            let patience = Patience { call: timeout, fetch: timeout };
            TokenSource::patient(Grant::Form { target, form: form.clone(), client }, patience)
        });
        TokenSource::start(&source, cx.background);
        let counted = Counted::of(&METRIC, cx);
        Ok(Self {
            own: Arc::new(Own { source, header: settings.header.to_http(), counted }),
            without: settings.without_token,
            renews: settings.renew_on_unauthorized,
            body_bytes_max: settings.max_replay_size.get(),
        })
    }

    fn show(&self, call: &mut Call, token: Result<Arc<Token>, String>) -> Result<(), Failure> {
        let value = token.and_then(|token| match &token.material {
            Material::Bearer(value) => Ok(shown(&self.own.header, value)),
            Material::AccessKey(_) => Err("the token is a key of another kind".to_owned()),
        });
        let value = value.map_err(|why| {
            self.note(call, AWAY);
            none(self.without, why)
        })?;
        self.note(call, SENT);
        call.head.headers.insert(&self.own.header, value.clone());
        onward::show(call, &self.own.header);
        if self.renews {
            let (renewal, header) = (self.own.clone(), self.own.header.clone());
            renewing::watch(self, call, Sent { renewal, header, value, body_bytes_max: self.body_bytes_max });
        }
        Ok(())
    }

    fn note(&self, call: &mut Call, outcome: usize) {
        self.own.counted.note(outcome);
        call.record.onward.push(model::Onward {
            policy: "clientCredentials",
            outcome: METRIC.outcomes.get(outcome).copied().unwrap_or_default(),
            key: None,
        });
    }
}

impl Renewal for Own {
    fn after<'a>(&'a self, refused: &'a HeaderValue) -> LocalBoxFuture<'a, Option<HeaderValue>> {
        Box::pin(async move {
            let is_refused = |value: &HeaderValue| shown(&self.header, value) == *refused;
            let token = self.source.after(is_refused, YOUTH).await?;
            let Material::Bearer(value) = &token.material else { return None };
            self.counted.note(RENEWED);
            Some(shown(&self.header, value))
        })
    }
}

impl NeedsOf for model::policy::ClientCredentials {
    fn needs(&self) -> Needs {
        let own = self.header.to_http();
        let (headers, identity) = (vec![own.clone()], vec![own.clone()]);
        Needs { headers, identity, of_gateway: true, set: vec![own], ..Needs::default() }
    }
}

impl Policy for ClientCredentials {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        call.head.headers.remove(&self.own.header);
        if let Some(token) = self.own.source.ready() {
            return self.show(call, Ok(token)).map_or_else(Flow::Fail, |()| Flow::Continue);
        }
        Flow::Wait(Box::pin(async move {
            let token = self.own.source.token().await;
            self.show(call, token).map_or_else(Verdict::Fail, |()| Verdict::Continue)
        }))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        renewing::look(self, call, answer);
    }
}
