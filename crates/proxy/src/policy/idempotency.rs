//! `idempotency`: a request that is sent again gets the answer of the first.
//!
//! Its request phase is the last before the handler: it reads the body, claims the key in its [store](store) or answers
//! from there. What it claims it runs [around](running) the handler, out of the client's reach: a client that leaves does
//! not leave something half done behind, and the answer is kept all the same.

mod answer;
mod local;
mod running;
mod store;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response};
use model::{
    policy::{idempotency::AnswerStore, rate_limit::RateLimitKey},
    resource::redis::WhenAway,
};

use self::{
    running::Running,
    store::{Begun, Place, Store},
};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    meter_key::{MeterKey, Subjects},
    needs::of_key,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::{
        ai::{
            gathered::{Ungathered, gather},
            shared::Sharing,
        },
        around,
    },
    template::claim_text,
};

static METRIC: Metric = Metric {
    name: "tidegate_idempotency_requests_total",
    help: "Requests with a key, by what came of them; a `first` one is counted again when its answer is `kept`, `unkept` or `too_large`.",
    outcomes: &["first", "replayed", "in_flight", "mismatch", "away", "kept", "unkept", "too_large"],
    gauges: &[],
};
const FIRST: usize = 0;
const REPLAYED: usize = 1;
const IN_FLIGHT: usize = 2;
const MISMATCH: usize = 3;
const AWAY: usize = 4;
const KEPT: usize = 5;
const UNKEPT: usize = 6;
const TOO_LARGE: usize = 7;

/// What an answer that was kept is marked with.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 255;
/// When a request may be tried again whose first is on its way, or whose store is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The compiled policy.
pub(crate) struct Idempotency {
    header: HeaderName,
    is_required: bool,
    methods: Vec<Method>,
    key: MeterKey,
    /// Keys are each caller's own, whoever that is found by.
    is_by_caller: bool,
    owner: String,
    body_bytes_max: usize,
    shared: Arc<Terms>,
    passes_when_away: bool,
}

/// What a running request needs of its policy, which a reload may replace.
struct Terms {
    store: Store,
    ttl: Duration,
    lease: Duration,
    answer_bytes_max: usize,
    counted: Arc<Counted>,
}

impl Idempotency {
    pub(crate) fn compile(settings: &model::policy::Idempotency, cx: &Building<'_>) -> Result<Self, String> {
        if cx.owner.starts_with("upstreams/") {
            return Err(
                "`idempotency` stands on a route, a listener, a consumer or globally, not on an upstream"
                    .into(),
            );
        }
        let method =
            |name: &String| Method::from_bytes(name.as_bytes()).map_err(|error| format!("methods: {error}"));
        let bytes_max = settings.max_size.get();
        let store = match settings.store {
            AnswerStore::Memory => {
                Store::Memory(cx.keep("answers", settings, || local::Memory::new(bytes_max)))
            }
            AnswerStore::Sqlite => Store::Kept {
                answers: cx.ledger.answers(),
                place: cx.owner.clone(),
                bytes_max,
                background: cx.background.clone(),
            },
            AnswerStore::Redis => {
                let redis = model::resource::redis::Store::Redis;
                let sharing = Sharing::of(redis, settings.when_away, cx)?.ok_or("there is no `redis`")?;
                Store::Redis { accounts: sharing.accounts, background: cx.background.clone() }
            }
        };
        Ok(Self {
            header: settings.header.to_http(),
            is_required: settings.required,
            methods: settings.methods.iter().map(method).collect::<Result<_, _>>()?,
            key: MeterKey::compile(&(&settings.key).into(), settings.ipv6_prefix)?,
            is_by_caller: matches!(settings.key, RateLimitKey::Consumer),
            owner: cx.owner.clone(),
            body_bytes_max: settings.max_body_size.get(),
            shared: Arc::new(Terms {
                store,
                ttl: settings.ttl.get(),
                lease: settings.lease.get(),
                answer_bytes_max: settings.max_answer_size.get(),
                counted: Counted::of(&METRIC, cx),
            }),
            passes_when_away: settings.when_away == WhenAway::Open,
        })
    }

    /// The key that a request shows.
    fn shown<'c>(&self, call: &'c Call) -> Result<Option<&'c [u8]>, Failure> {
        let wrong = |hint: String| Failure::refused(Problem::Invalid).with_hint(hint);
        let mut values = call.head.headers.get_all(&self.header).iter();
        let Some(value) = values.next() else {
            return match self.is_required {
                true => Err(wrong(format!("this needs a key of your own in `{}`", self.header))),
                false => Ok(None),
            };
        };
        if values.next().is_some() {
            return Err(wrong(format!("`{}` is there more than once", self.header)));
        }
        // A string of a structured field, or what most clients send: the same without its quotes.
        let bytes = value.as_bytes();
        let bytes = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(bytes);
        if bytes.is_empty() || bytes.len() > KEY_BYTES_MAX {
            return Err(wrong(format!("`{}` has 1 to {KEY_BYTES_MAX} bytes", self.header)));
        }
        Ok(Some(bytes))
    }

    fn place(&self, call: &Call, shown: &[u8]) -> Place {
        let subject = match self.key.of(call) {
            Subjects::Named(mut names) => names.pop().unwrap_or_default(),
            Subjects::Model => String::new(),
        };
        // One consumer, or one address, may be that of many whom their tokens or certificates tell apart.
        let claims = call.claims.as_deref().filter(|_| self.is_by_caller);
        let person = claims.map(|claims| ["iss", "sub"].map(|name| claims.get(name).and_then(claim_text)));
        let mut parts = vec![self.owner.as_bytes(), subject.as_bytes(), shown];
        if let Some([issuer, Some(subject)]) = &person {
            parts.extend([issuer.as_deref().unwrap_or_default().as_bytes(), subject.as_bytes()]);
        }
        let digest = digested(&parts);
        Place { subject, digest }
    }

    async fn decide(&self, call: &mut Call, body: &mut Body, place: Place) -> Verdict {
        let bytes = match gather(std::mem::take(body), self.body_bytes_max).await {
            Ok(bytes) => bytes,
            Err(Ungathered::Failed(failure)) => return Verdict::Fail(failure),
            Err(Ungathered::TooLarge) => {
                let hint = format!("a body with a key has {} bytes at most", self.body_bytes_max);
                return Verdict::Fail(Failure::refused(Problem::BodyTooLarge).with_hint(hint));
            }
        };
        call.has_been_sent();
        let fingerprint = fingerprint(call, &bytes);
        *body = if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) };
        let counted = &self.shared.counted;
        match self.shared.store.begin(&place, fingerprint, self.shared.lease).await {
            Ok(Begun::First(token)) => {
                counted.note(FIRST);
                let terms = self.shared.clone();
                around::put(call, Box::new(Running::new(terms, place, fingerprint, token)));
                Verdict::Continue
            }
            Ok(Begun::Done(kept)) => match replayed(&kept) {
                Some(answer) => {
                    counted.note(REPLAYED);
                    Verdict::Answer(Box::new(answer))
                }
                None => {
                    counted.note(REPLAYED);
                    Verdict::Fail(Failure::refused(Problem::IdempotencyConflict).with_hint(
                        "the first request with this key was answered, and its answer was not of a kind that is kept",
                    ))
                }
            },
            Ok(Begun::InFlight) => {
                counted.note(IN_FLIGHT);
                Verdict::Fail(
                    Failure::refused(Problem::IdempotencyConflict)
                        .with_retry_after(RETRY_AFTER)
                        .with_hint("the first request with this key is still on its way"),
                )
            }
            Ok(Begun::Mismatch) => {
                counted.note(MISMATCH);
                Verdict::Fail(Failure::refused(Problem::IdempotencyMismatch).with_hint(
                    "this key came before with another method, target or body: use a new key for a new request",
                ))
            }
            Err(store::Away) => {
                counted.note(AWAY);
                if self.passes_when_away {
                    return Verdict::Continue;
                }
                Verdict::Fail(
                    Failure::refused(Problem::Unavailable)
                        .with_retry_after(RETRY_AFTER)
                        .with_hint("the store in which answers are kept is away"),
                )
            }
        }
    }
}

/// The answer that was kept; none where only that there was one is.
fn replayed(kept: &Bytes) -> Option<Response<Body>> {
    let mut answer = answer::read(kept)?;
    answer.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    Some(answer)
}

/// What a request is: a key that comes with another one is refused.
fn fingerprint(call: &Call, body: &[u8]) -> [u8; 32] {
    let target = call.head.uri.path_and_query().map_or("", |target| target.as_str());
    digested(&[call.head.method.as_str().as_bytes(), target.as_bytes(), body])
}

fn digested(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

impl NeedsOf for model::policy::Idempotency {
    fn needs(&self) -> Needs {
        Needs::headers(of_key(&self.key).into_iter().chain([self.header.to_http()]))
    }
}

impl Policy for Idempotency {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        if !self.methods.contains(&call.head.method) || call.upgrade.is_some() {
            return Flow::Continue;
        }
        let place = match self.shown(call) {
            Ok(Some(shown)) => self.place(call, shown),
            Ok(None) => return Flow::Continue,
            Err(failure) => return Flow::Fail(failure),
        };
        Flow::Wait(Box::pin(self.decide(call, body, place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, with_header};

    fn policy(settings: serde_json::Value) -> Idempotency {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| Idempotency::compile(&settings, cx)).expect("compiles")
    }

    #[test]
    fn a_key_is_the_same_with_quotes_and_without_and_another_of_another_caller() {
        let policy = policy(serde_json::json!({}));
        let place = |value: &str, last: u8| {
            let mut call = with_header(call("POST", "/"), "idempotency-key", value);
            call.client = std::net::Ipv4Addr::new(192, 0, 2, last).into();
            let shown = policy.shown(&call).expect("a good one").expect("one").to_vec();
            policy.place(&call, &shown).digest
        };
        assert_eq!(place("\"k1\"", 1), place("k1", 1));
        assert_ne!(place("k1", 1), place("k2", 1));
        assert_ne!(place("k1", 1), place("k1", 2));
        for wrong in ["", "\"\"", &"x".repeat(256)] {
            let call = with_header(call("POST", "/"), "idempotency-key", wrong);
            assert_eq!(policy.shown(&call).expect_err(wrong).problem(), Problem::Invalid);
        }
        let twice = with_header(call("POST", "/"), "idempotency-key", "a");
        assert!(policy.shown(&with_header(twice, "idempotency-key", "a")).is_err());
        assert!(policy.shown(&call("POST", "/")).expect("none is asked for").is_none());
    }

    #[test]
    fn method_target_and_body_make_a_request_what_it_is() {
        let of = |method: &str, target: &str, body: &str| fingerprint(&call(method, target), body.as_bytes());
        let one = of("POST", "/a?b=c", "body");
        assert_eq!(one, of("POST", "/a?b=c", "body"));
        for other in
            [of("PATCH", "/a?b=c", "body"), of("POST", "/a?b=d", "body"), of("POST", "/a?b=c", "body2")]
        {
            assert_ne!(one, other);
        }
    }
}
