//! `oauth2TokenExchange`: shows upstreams a token that a token server gives for the caller's (RFC 8693).

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, Response};
use model::{policy::oauth2_token_exchange::TokenlessCallers, resource::oauth::NoToken};

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    client_credentials::{fields, none, shown},
    counted::{Counted, Metric},
    credentials, onward,
    renewing::{self, Renewal, Sent},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::ai::tokens::encode,
    oauth::{
        Client,
        exchange::{Bounds, Exchange, GRANT, Given, Refused},
    },
    policy::jwt::fetch::Target,
};

static METRIC: Metric = Metric {
    name: "tidegate_token_exchange_total",
    help: "Calls by what came of the caller's token: one in exchange that was `exchanged` or `kept` from before, `none` for \
           callers without one; `refused` ones and those for which the token server was `away` did not go on; `renewed` \
           counts tokens that an upstream refused, and for which another was had.",
    outcomes: &["exchanged", "kept", "none", "refused", "away", "renewed"],
    gauges: &[],
};
const EXCHANGED: usize = 0;
const KEPT: usize = 1;
const NONE: usize = 2;
const REFUSED: usize = 3;
const AWAY: usize = 4;
const RENEWED: usize = 5;

/// Bytes of a caller's token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

/// The compiled policy.
pub(crate) struct Oauth2TokenExchange {
    exchange: Arc<Exchange>,
    header: HeaderName,
    unknown: TokenlessCallers,
    without: NoToken,
    renews: bool,
    body_bytes_max: usize,
    counted: Arc<Counted>,
}

/// Whose token it is, for the next one.
struct Callers {
    exchange: Arc<Exchange>,
    header: HeaderName,
    counted: Arc<Counted>,
    subject: String,
}

impl Oauth2TokenExchange {
    pub(crate) fn compile(
        settings: &model::policy::Oauth2TokenExchange,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let url = settings.token_endpoint.as_str();
        let target = Target::parse(url).map_err(|error| format!("`tokenEndpoint`: {error}"))?;
        let (client, mark) = Client::of(&settings.client, url, cx)?;
        let mut form = format!(
            "grant_type={}&subject_token_type={}&requested_token_type={}",
            encode(GRANT),
            encode(&settings.subject_token_type),
            encode(&settings.requested_token_type)
        );
        let audience = settings.audience.as_deref();
        fields(&mut form, &settings.scopes, audience, &settings.resources, &settings.parameters);
        let timeout = settings.timeout.get();
        let bounds = Bounds { kept: settings.max_tokens, in_flight: settings.max_in_flight, timeout };
        let made_of = (&form, mark, bounds.kept, bounds.in_flight, timeout);
        let exchange = cx.keep("exchange", &made_of, || Exchange::new(target, form.clone(), client, bounds));
        Ok(Self {
            exchange,
            header: settings.header.to_http(),
            unknown: settings.unknown,
            without: settings.without_token,
            renews: settings.renew_on_unauthorized,
            body_bytes_max: settings.max_replay_size.get(),
            counted: Counted::of(&METRIC, cx),
        })
    }

    async fn exchanged(&self, call: &mut Call, subject: String) -> Result<(), Failure> {
        let Given { value, is_kept } = match self.exchange.token(&subject).await {
            Ok(given) => given,
            Err(Refused { is_callers: true, why }) => {
                self.note(call, REFUSED);
                return Err(Failure::refused(Problem::Forbidden)
                    .with_hint("the token server gives nothing in exchange for this caller's token")
                    .with_detail(why));
            }
            Err(Refused { why, .. }) => {
                self.note(call, AWAY);
                return Err(none(self.without, why));
            }
        };
        self.note(call, if is_kept { KEPT } else { EXCHANGED });
        let value = shown(&self.header, &value);
        call.head.headers.insert(&self.header, value.clone());
        onward::show(call, &self.header);
        if self.renews {
            let renewal = Arc::new(Callers {
                exchange: self.exchange.clone(),
                header: self.header.clone(),
                counted: self.counted.clone(),
                subject,
            });
            let header = self.header.clone();
            renewing::watch(self, call, Sent { renewal, header, value, body_bytes_max: self.body_bytes_max });
        }
        Ok(())
    }

    fn note(&self, call: &mut Call, outcome: usize) {
        self.counted.note(outcome);
        call.record.onward.push(model::Onward {
            policy: "oauth2TokenExchange",
            outcome: METRIC.outcomes.get(outcome).copied().unwrap_or_default(),
            key: None,
        });
    }
}

/// The token that a policy has found good, without what stands before it.
fn subject(call: &Call) -> Option<String> {
    call.claims.as_ref()?;
    let shown = call.token.as_ref()?.as_bytes();
    let token = credentials::after_scheme(shown, "Bearer").unwrap_or(shown);
    let token = std::str::from_utf8(token).ok()?;
    let is_token = !token.is_empty()
        && token.len() <= TOKEN_BYTES_MAX
        && token.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    is_token.then(|| token.to_owned())
}

impl Renewal for Callers {
    fn after<'a>(&'a self, refused: &'a HeaderValue) -> LocalBoxFuture<'a, Option<HeaderValue>> {
        Box::pin(async move {
            let is_refused = |value: &HeaderValue| shown(&self.header, value) == *refused;
            let given = self.exchange.after(&self.subject, is_refused).await?;
            self.counted.note(RENEWED);
            Some(shown(&self.header, &given.value))
        })
    }
}

impl NeedsOf for model::policy::Oauth2TokenExchange {
    fn needs(&self) -> Needs {
        let own = self.header.to_http();
        Needs { headers: vec![own.clone()], identity: vec![own.clone()], set: vec![own], ..Needs::default() }
    }
}

impl Policy for Oauth2TokenExchange {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        // Whatever comes of it, the caller's own token does not go on in its place.
        call.head.headers.remove(&self.header);
        let Some(subject) = subject(call) else {
            if self.unknown == TokenlessCallers::Pass {
                self.note(call, NONE);
                return Flow::Continue;
            }
            self.note(call, REFUSED);
            return Flow::Fail(credentials::unauthenticated(
                &CHALLENGE,
                "this is called in the name of the caller, who must show a token",
            ));
        };
        Flow::Wait(Box::pin(async move {
            self.exchanged(call, subject).await.map_or_else(Verdict::Fail, |()| Verdict::Continue)
        }))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        renewing::look(self, call, answer);
    }
}
