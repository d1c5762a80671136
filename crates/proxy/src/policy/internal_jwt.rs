//! `internalJwt`: tells upstreams who calls, by a token that the gateway signs.
//!
//! What a token says of a caller is its key: the same claims get the same token, until a quarter of its time is left.

mod kept;

use std::sync::Arc;

use aws_lc_rs::digest;
use http::{HeaderName, HeaderValue, header};
use model::policy::internal_jwt::UnknownCallers;
use serde_json::{Map, Value};

use self::kept::{Kept, Token};
use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
    facts::facts,
    needs::of_template,
    onward,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    expression::{Expression, Scope},
    failure::{Failure, Problem, Stage},
    issuers::{self, Issuer},
    protected::of_expression,
    template::Template,
};

static METRIC: Metric = Metric {
    name: "tidegate_internal_jwt_total",
    help: "Calls by what upstreams were shown of who calls: a token that was `signed` or `kept` from before, `none` for \
           callers that nobody knows; `refused` and `failed` did not go on.",
    outcomes: &["signed", "kept", "none", "refused", "failed"],
    gauges: &[],
};
const SIGNED: usize = 0;
const KEPT: usize = 1;
const NONE: usize = 2;
const REFUSED: usize = 3;
const FAILED: usize = 4;

/// The compiled policy.
pub(crate) struct InternalJwt {
    issuer: Arc<Issuer>,
    header: HeaderName,
    audience: Option<Value>,
    subject: Option<Template>,
    claims: Vec<(String, Template)>,
    expressions: Vec<(String, Expression)>,
    unknown: UnknownCallers,
    kept: Arc<Kept>,
    counted: Arc<Counted>,
}

impl InternalJwt {
    pub(crate) fn compile(settings: &model::policy::InternalJwt, cx: &Building<'_>) -> Result<Self, String> {
        let issuer = cx.issuers.and_then(|issuers| issuers.get(settings.issuer.as_str())).cloned();
        let issuer =
            issuer.ok_or_else(|| format!("`issuer`: there is no token issuer `{}`", settings.issuer))?;
        let template = |(name, text): (&String, &String)| {
            let built = Template::compile(text).map_err(|error| format!("`claims.{name}`: {error}"))?;
            Ok::<_, String>((name.clone(), built))
        };
        let expression = |(name, text): (&String, &String)| {
            let built = Expression::scalar(text, Scope::Call)
                .map_err(|error| format!("`expressions.{name}`: {error}"))?;
            Ok::<_, String>((name.clone(), built))
        };
        let subject = settings.subject.as_deref().map(Template::compile).transpose();
        let audience = match &settings.audiences[..] {
            [] => None,
            [one] => Some(one.as_str().into()),
            several => Some(several.iter().map(String::as_str).collect::<Value>()),
        };
        // Tokens of other keys, or that say other things, are not used again.
        let made_of = (settings, issuer.mark(), issuer.lifetime());
        Ok(Self {
            header: settings.header.to_http(),
            audience,
            subject: subject.map_err(|error| format!("`subject`: {error}"))?,
            claims: settings.claims.iter().map(template).collect::<Result<_, _>>()?,
            expressions: settings.expressions.iter().map(expression).collect::<Result<_, _>>()?,
            unknown: settings.unknown,
            kept: cx.keep("tokens", &made_of, || Kept::new(settings.max_tokens)),
            counted: Counted::of(&METRIC, cx),
            issuer,
        })
    }

    /// Who calls.
    fn subject(&self, call: &Call) -> Option<String> {
        let subject = match (&self.subject, &call.consumer) {
            (Some(template), _) => template.render(call)?.into_owned(),
            (None, Some(consumer)) => consumer.name.to_string(),
            (None, None) => crate::template::claim_text(call.claims.as_ref()?.get("sub")?)?.into_owned(),
        };
        (!subject.is_empty()).then_some(subject)
    }

    fn claims(&self, call: &Call, subject: Option<String>) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.extend(subject.map(|subject| ("sub".to_owned(), subject.into())));
        claims.extend(self.audience.clone().map(|audience| ("aud".to_owned(), audience)));
        for (name, template) in &self.claims {
            claims.extend(
                template.json(call).filter(|value| !value.is_null()).map(|value| (name.clone(), value)),
            );
        }
        if !self.expressions.is_empty() {
            let facts = facts(call);
            for (name, expression) in &self.expressions {
                claims.extend(expression.eval_json(&facts).map(|value| (name.clone(), value)));
            }
        }
        claims
    }

    /// A token that says this, and whether it was there before.
    fn token(&self, claims: Map<String, Value>) -> Result<(Token, bool), String> {
        let now = issuers::now();
        let said = serde_json::to_vec(&claims).map_err(|error| error.to_string())?;
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, &said).as_ref());
        if let Some(token) = self.kept.get(&key, now) {
            return Ok((token, true));
        }
        let minted = self.issuer.mint(claims, now)?;
        let text = match self.header == header::AUTHORIZATION {
            true => format!("Bearer {}", minted.token),
            false => minted.token,
        };
        let mut value = HeaderValue::from_str(&text).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        let token = Token { value, kid: minted.kid.into() };
        let renewed = minted.ends - self.issuer.lifetime().as_secs() / 4;
        self.kept.put(key, token.clone(), renewed, now);
        Ok((token, false))
    }

    fn note(&self, call: &mut Call, outcome: usize, key: Option<&str>) {
        self.counted.note(outcome);
        call.record.onward.push(model::Onward {
            policy: "internalJwt",
            outcome: METRIC.outcomes.get(outcome).copied().unwrap_or_default(),
            key: key.map(Into::into),
        });
    }
}

impl NeedsOf for model::policy::InternalJwt {
    fn needs(&self) -> Needs {
        let own = self.header.to_http();
        let templates = self.claims.values().chain(&self.subject);
        let read = templates.flat_map(|text| of_template(text));
        let read = read.chain(self.expressions.values().flat_map(|text| of_expression(text)));
        let headers = read.chain([own.clone()]).collect();
        Needs { headers, identity: vec![own.clone()], set: vec![own], ..Needs::default() }
    }
}

impl Policy for InternalJwt {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let subject = self.subject(call);
        let is_nobody = subject.is_none();
        // What it says is read before the client's own is taken out, for a template may read that.
        let claims = match (is_nobody, self.unknown) {
            (true, UnknownCallers::Pass | UnknownCallers::Refuse) => None,
            _ => Some(self.claims(call, subject)),
        };
        call.head.headers.remove(&self.header);
        let Some(claims) = claims else {
            if self.unknown == UnknownCallers::Pass {
                self.note(call, NONE, None);
                return Flow::Continue;
            }
            self.note(call, REFUSED, None);
            return Flow::Fail(
                Failure::refused(Problem::Unauthenticated)
                    .with_hint("this is for callers that say who they are"),
            );
        };
        match self.token(claims) {
            Ok((token, is_kept)) => {
                self.note(call, if is_kept { KEPT } else { SIGNED }, Some(&token.kid));
                call.head.headers.insert(&self.header, token.value);
                onward::show(call, &self.header);
                Flow::Continue
            }
            Err(why) => {
                self.note(call, FAILED, None);
                Flow::Fail(Failure::gateway(Stage::Policy, Problem::Internal).with_detail(why))
            }
        }
    }
}
