//! `anyOf`: several ways to show who calls, of which one is enough.
//!
//! Each way judges as it does alone. The first that lets in decides who calls, and what the call shows beside that is
//! taken out of it: nobody has judged it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    credentials,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::Consumer,
    failure::{Failure, Problem},
};

static METRIC: Metric = Metric {
    name: "tidegate_any_of_total",
    help: "Calls to which several ways in are open, by the place of the one that they came by; `answered` got an answer of a \
           way's own, `none` were refused.",
    outcomes: &["none", "anonymous", "answered", "1", "2", "3", "4", "5", "6", "7", "8"],
    gauges: &[],
};

const NONE: usize = 0;
const ANONYMOUS: usize = 1;
const ANSWERED: usize = 2;
/// The first way's.
const FIRST: usize = 3;

/// The compiled policy.
pub(crate) struct AnyOf {
    ways: Vec<Way>,
    anonymous: Option<Arc<Consumer>>,
    counted: Arc<Counted>,
}

struct Way {
    policy: Arc<dyn Policy>,
    /// Where it looks for what it judges.
    credentials: Vec<HeaderName>,
    /// What it judges or sets, which stays when it lets in.
    own: Vec<HeaderName>,
    parameter: Option<String>,
}

impl AnyOf {
    pub(crate) fn compile(settings: &model::policy::AnyOf, cx: &Building<'_>) -> Result<Self, String> {
        let consumers = credentials::consumers(cx)?;
        let way = |(place, policy): (usize, &model::Policy)| {
            let name = policy.name();
            let error = |error: String| format!("`policies[{place}].{name}`: {error}");
            let built =
                super::compile(policy, &cx.of(&format!("{}/{place}/{name}", cx.owner))).map_err(error)?;
            let credentials: Vec<HeaderName> =
                policy.credential_headers().into_iter().map(|name| name.to_http()).collect();
            let own = credentials.iter().cloned().chain(super::needs(policy).identity).collect();
            let parameter = policy.credential_parameter().map(str::to_owned);
            Ok::<_, String>(Way { policy: built, credentials, own, parameter })
        };
        Ok(Self {
            ways: settings.policies.iter().enumerate().map(way).collect::<Result<_, _>>()?,
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            counted: Counted::of(&METRIC, cx),
        })
    }

    async fn judge(&self, call: &mut Call, body: &mut Body) -> Verdict {
        let is_shown = self.ways.iter().any(|way| way.policy.is_shown(call));
        if let (false, Some(consumer)) = (is_shown, &self.anonymous) {
            self.counted.note(ANONYMOUS);
            consumer.stand_in(call);
            return Verdict::Continue;
        }
        let mut refusals = Vec::with_capacity(self.ways.len());
        // Ways that have found what is shown for them to be no good.
        let mut wrong: Vec<usize> = Vec::new();
        for (place, way) in self.ways.iter().enumerate() {
            let verdict = match way.policy.request(call, body) {
                Flow::Continue => Verdict::Continue,
                Flow::Answer(answer) => Verdict::Answer(answer),
                Flow::Fail(failure) => Verdict::Fail(failure),
                Flow::Wait(wait) => wait.await,
            };
            match verdict {
                Verdict::Continue => {
                    self.counted.note(FIRST + place);
                    if wrong.iter().any(|before| self.shows_its_own(*before, place, call)) {
                        credentials::pass_over_wrong(call);
                    }
                    self.hide_others(place, call);
                    return Verdict::Continue;
                }
                Verdict::Answer(answer) => {
                    self.counted.note(ANSWERED);
                    return Verdict::Answer(answer);
                }
                Verdict::Fail(failure) => {
                    if failure.problem() == Problem::Unauthenticated {
                        wrong.push(place);
                    }
                    refusals.push(failure);
                }
            }
        }
        self.counted.note(NONE);
        Verdict::Fail(together(refusals))
    }

    /// Whether a call shows something for one way that the way that let it in did not look at: then that was a guess.
    fn shows_its_own(&self, place: usize, by: usize, call: &Call) -> bool {
        let (Some(way), Some(own)) = (self.ways.get(place), self.ways.get(by)) else { return false };
        // Sessions are no guesses.
        let in_header = way.credentials.iter().any(|name| {
            *name != header::COOKIE && !own.own.contains(name) && call.head.headers.contains_key(name)
        });
        let parameter = way.parameter.as_deref().filter(|name| own.parameter.as_deref() != Some(*name));
        in_header
            || parameter.is_some_and(|name| !matches!(credentials::in_query(&call.head.uri, name), Ok(None)))
    }

    /// Takes out what the call shows for other ways than the one that let it in.
    fn hide_others(&self, by: usize, call: &mut Call) {
        let Some(own) = self.ways.get(by) else { return };
        for (place, way) in self.ways.iter().enumerate() {
            if place != by {
                let parameter = own.parameter.as_deref();
                way.policy.conceal(call, &|name| own.own.contains(name), &|name| parameter == Some(name));
            }
        }
    }
}

/// One refusal of several: what no other credential would mend comes first, and all challenges are told (RFC 9110
/// §11.6.1).
fn together(refusals: Vec<Failure>) -> Failure {
    let mut challenges: Vec<HeaderValue> = Vec::new();
    let mut hints: Vec<String> = Vec::new();
    let mut details: Vec<String> = Vec::new();
    let mut worst: Option<Failure> = None;
    for failure in refusals {
        let mut headers = HeaderMap::new();
        failure.add_headers(&mut headers);
        for challenge in headers.get_all(header::WWW_AUTHENTICATE) {
            if !challenges.contains(challenge) {
                challenges.push(challenge.clone());
            }
        }
        hints.extend(failure.hint().map(str::to_owned));
        details.extend(failure.to_record().detail);
        // 503 before 403 before 401: who is asked again later, or has shown who they are, is told that.
        if worst.as_ref().is_none_or(|worst| failure.status() > worst.status()) {
            worst = Some(failure);
        }
    }
    match worst {
        Some(failure) if failure.problem() != Problem::Unauthenticated => failure,
        _ => {
            let mut seen: Vec<String> = Vec::new();
            hints.retain(|hint| {
                !seen.contains(hint) && {
                    seen.push(hint.clone());
                    true
                }
            });
            let hint = format!("one of these is needed: {}", hints.join("; "));
            let failure =
                Failure::refused(Problem::Unauthenticated).with_hint(hint).with_detail(details.join("; "));
            challenges
                .into_iter()
                .fold(failure, |failure, challenge| failure.with_header(header::WWW_AUTHENTICATE, challenge))
        }
    }
}

impl NeedsOf for model::policy::AnyOf {
    fn needs(&self) -> Needs {
        let mut all = Needs::default();
        for policy in &self.policies {
            let needs = super::needs(policy);
            all.headers.extend(needs.headers);
            all.identity.extend(needs.identity);
            all.set.extend(needs.set);
            all.head_size |= needs.head_size;
            all.whole_head |= needs.whole_head;
        }
        all
    }
}

impl Policy for AnyOf {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        Flow::Wait(Box::pin(self.judge(call, body)))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        for way in self.ways.iter().rev() {
            way.policy.response(call, answer);
        }
    }
}
