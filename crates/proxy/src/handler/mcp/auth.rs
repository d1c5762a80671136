//! Tokens for servers: the gateway's own, or one that a token server gives in exchange for the caller's (RFC 8693).
//! The caller's own token goes to that token server alone.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, header};
use model::resource::mcp::{McpAuth, McpClientCredentials, McpTokenExchange};

use super::answer;
pub(super) use crate::oauth::fingerprint;
use crate::{
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::ai::tokens::{Grant, Material, TokenSource, encode},
    oauth::{
        Client,
        exchange::{ACCESS_TOKEN, Bounds, Exchange, GRANT, Refused},
    },
    policy::jwt::fetch::Target,
};

/// What bounds the exchanges of a server.
const BOUNDS: Bounds = Bounds { kept: 10_000, in_flight: 1_000, timeout: Duration::from_secs(10) };

/// How a server is shown who asks.
pub(super) enum Auth {
    Own(Arc<TokenSource>),
    Exchanged(Arc<Exchange>),
}

impl Auth {
    pub(super) fn compile(server: &str, settings: &McpAuth, cx: &Building<'_>) -> Result<Self, String> {
        match (&settings.client_credentials, &settings.token_exchange) {
            (Some(own), None) => Self::own(server, own, cx),
            (None, Some(exchange)) => Self::exchange(server, exchange, cx),
            _ => Err(format!(
                "`servers.{server}.auth`: expected either `clientCredentials` or `tokenExchange`"
            )),
        }
    }

    fn own(server: &str, settings: &McpClientCredentials, cx: &Building<'_>) -> Result<Self, String> {
        let place = format!("servers.{server}.auth.clientCredentials");
        let url = &settings.token_endpoint;
        let target = Target::parse(url).map_err(|error| format!("`{place}.tokenEndpoint`: {error}"))?;
        let secret = cx.snapshot.secret(&settings.client_secret);
        let client = Client::with_secret(&settings.client_id, secret, settings.client_in_form)?;
        let mut form = "grant_type=client_credentials".to_owned();
        for (name, value) in [("scope", &settings.scope), ("audience", &settings.audience)] {
            if let Some(value) = value {
                form.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let who = format!("{} {}", settings.client_id, settings.client_in_form);
        let key = fingerprint([url, &form, secret, &who]);
        let grant = Grant::Form { target, form, client };
        let source = cx.keep(&format!("mcp-token-{server}"), &key, || TokenSource::new(grant));
        TokenSource::start(&source, cx.background);
        Ok(Self::Own(source))
    }

    fn exchange(server: &str, settings: &McpTokenExchange, cx: &Building<'_>) -> Result<Self, String> {
        let place = format!("servers.{server}.auth.tokenExchange");
        let url = &settings.token_endpoint;
        let target = Target::parse(url).map_err(|error| format!("`{place}.tokenEndpoint`: {error}"))?;
        let secret = settings.client_secret.as_ref().map_or("", |secret| cx.snapshot.secret(secret));
        let client = match &settings.client_id {
            Some(id) => Client::with_secret(id, secret, settings.client_in_form)?,
            None => Client::Nobody,
        };
        let mut form = format!("grant_type={}", encode(GRANT));
        let kind = settings.subject_token_type.as_deref().unwrap_or(ACCESS_TOKEN);
        form.push_str(&format!("&subject_token_type={}", encode(kind)));
        form.push_str(&format!("&requested_token_type={}", encode(ACCESS_TOKEN)));
        let told =
            [("audience", &settings.audience), ("resource", &settings.resource), ("scope", &settings.scope)];
        for (name, value) in told {
            if let Some(value) = value {
                form.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let who = format!("{:?} {}", settings.client_id, settings.client_in_form);
        let key = fingerprint([url, &form, secret, &who]);
        let fresh = Exchange::new(target, form, client, BOUNDS);
        Ok(Self::Exchanged(cx.keep(&format!("mcp-exchange-{server}"), &key, || fresh)))
    }

    /// The `Authorization` of a request to the server.
    pub(super) async fn header(&self, subject: Option<&str>) -> Result<HeaderValue, Failure> {
        let failed = |why: String| Failure::upstream(Stage::Send, Problem::Unavailable, why);
        match self {
            Self::Own(source) => match &source.token().await.map_err(failed)?.material {
                Material::Bearer(value) => Ok(value.clone()),
                Material::AccessKey(_) => Err(failed("the token is a key of another kind".to_owned())),
            },
            Self::Exchanged(exchange) => {
                let Some(subject) = subject else {
                    return Err(Failure::refused(Problem::Unauthenticated)
                        .with_hint("this server is called in the name of the caller, who must show a token")
                        .with_rpc_code(answer::REFUSED));
                };
                exchange.token(subject).await.map(|given| given.value).map_err(none)
            }
        }
    }
}

/// The token of a caller, if a policy has checked it: nothing else is exchanged.
pub(super) fn subject(call: &Call) -> Option<Arc<str>> {
    call.claims.as_ref()?;
    let value = call.head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}

/// What a caller is told for whom there is no token.
fn none(refused: Refused) -> Failure {
    match refused.is_callers {
        true => Failure::refused(Problem::Forbidden)
            .with_hint("the token server gives nothing in exchange for this caller's token")
            .with_detail(refused.why)
            .with_rpc_code(answer::REFUSED),
        false => Failure::upstream(Stage::Send, Problem::Unavailable, refused.why),
    }
}
