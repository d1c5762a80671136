//! `tokenRateLimit`: bounds tokens of models per time.
//!
//! Buckets that leak evenly, as providers have them. The request phase finds out whose tokens they are; the handler of
//! models asks for what the call may take at most, and settles it to what it took.

mod statement;

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use resilience::token_bucket::KeyedBuckets;

use super::{
    Flow, Needs, NeedsOf, Policy,
    meter_key::{MeterKey, headers_of},
    rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY, seconds},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::ai::{
        duties::{Hold, Meter, Metering, Shared, SharedMeter},
        meters::Spent,
        most::Most,
        shared::{Sharing, share_is_used},
    },
    ledger::shared::{Account, Claim, Granted, Kind, Refusal},
};

/// The compiled policy.
pub(crate) struct TokenRateLimit {
    key: MeterKey,
    limits: Arc<Limits>,
}

struct Limits {
    name: String,
    headers: bool,
    assumed_output: Option<u64>,
    window: Duration,
    all: Vec<Limit>,
    /// Whose count is in a shared store: what is counted here then is this gateway's own part.
    sharing: Option<Sharing>,
    /// Whose tokens are counted together, as it is configured.
    counted_by: serde_json::Value,
}

struct Limit {
    what: What,
    tokens: u64,
    /// What this gateway lets pass alone: all of it, or its part while the shared store is away.
    own: u64,
    /// What every answer tells of it.
    told: Option<HeaderValue>,
    /// What its accounts are called in a shared store.
    account: String,
    /// Goes on over reloads while its settings stay.
    state: Arc<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Total,
    Input,
    Output,
}

struct State {
    hasher: std::hash::RandomState,
    buckets: KeyedBuckets,
}

impl What {
    fn of(self, input: u64, output: u64) -> u64 {
        match self {
            Self::Total => input.saturating_add(output),
            Self::Input => input,
            Self::Output => output,
        }
    }

    /// What follows the quota's name; the whole has the name alone.
    fn suffix(self) -> &'static str {
        match self {
            Self::Total => "",
            Self::Input => "-input",
            Self::Output => "-output",
        }
    }
}

impl TokenRateLimit {
    pub(crate) fn compile(
        settings: &model::policy::TokenRateLimit,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let window = settings.window.ok_or("expected a `window`")?.get();
        let given =
            [(What::Total, settings.tokens), (What::Input, settings.input), (What::Output, settings.output)];
        let given = given.into_iter().filter_map(|(what, tokens)| Some((what, tokens?)));
        let sharing = Sharing::of(settings.store, settings.when_away, cx)?;
        let share = if sharing.is_some() { settings.share.fraction() } else { 1.0 };
        let shape = serde_json::to_value((&settings.window, &settings.key)).unwrap_or_default();
        let all = given.map(|(what, limit)| {
            let account = format!("{}/{}{} {shape}", cx.owner, settings.name, what.suffix());
            let own = if share < 1.0 { ((limit as f64 * share) as u64).max(1) } else { limit };
            let kept_by = (own, settings.window, &settings.key, settings.ipv6_prefix, settings.max_keys);
            let state = cx.keep(&format!("tokens{}", what.suffix()), &kept_by, || State {
                hasher: std::hash::RandomState::new(),
                buckets: KeyedBuckets::new(own, window, settings.max_keys, Instant::now()),
            });
            let (name, seconds) = (&settings.name, window.as_secs().max(1));
            let told = format!("\"{name}{}\";q={limit};w={seconds}", what.suffix());
            Limit { what, tokens: limit, own, told: HeaderValue::try_from(told).ok(), account, state }
        });
        let this = Self {
            key: MeterKey::compile(&settings.key, settings.ipv6_prefix)?,
            limits: Arc::new(Limits {
                name: settings.name.clone(),
                headers: settings.headers,
                assumed_output: settings.assumed_output,
                window,
                all: all.collect(),
                sharing,
                counted_by: serde_json::to_value(&settings.key).unwrap_or_default(),
            }),
        };
        let purse: Weak<Limits> = Arc::downgrade(&this.limits);
        cx.ledger.watch(&format!("{}/{} tokens {shape}", cx.owner, settings.name), purse);
        Ok(this)
    }
}

impl NeedsOf for model::policy::TokenRateLimit {
    fn needs(&self) -> Needs {
        Needs::headers(headers_of(&self.key))
    }
}

impl Policy for TokenRateLimit {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let subjects = self.key.of(call);
        let meter = self.limits.clone();
        call.ai.meters.push(Metering { kind: "tokenRateLimit", meter, subjects });
        Flow::Continue
    }
}

impl Limits {
    fn tell(&self, limit: &Limit, left: u64, reset: u64, told: &mut Vec<(HeaderName, HeaderValue)>) {
        if !self.headers {
            return;
        }
        let text = format!("\"{}{}\";r={left};t={reset}", self.name, limit.what.suffix());
        told.extend(HeaderValue::from_str(&text).ok().map(|value| (RATE_LIMIT, value)));
        told.extend(limit.told.clone().map(|value| (RATE_LIMIT_POLICY, value)));
    }
}

impl Limits {
    fn refuse(
        &self,
        limit: &Limit,
        wanted: u64,
        left: u64,
        wait: Duration,
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Failure {
        self.tell(limit, left, seconds(wait), told);
        let (kind, way) = match limit.what {
            What::Total => ("", "ask for a shorter answer"),
            What::Input => ("input ", "send less"),
            What::Output => ("output ", "ask for a shorter answer"),
        };
        let all = limit.tokens;
        let mut hint = format!(
            "the call may take up to {wanted} {kind}tokens, {left} of {all} are left: {way}, or wait"
        );
        let assumed = most.assumed(self.assumed_output).filter(|_| limit.what != What::Input);
        if let Some(tokens) = assumed {
            hint += &format!(
                "; {tokens} tokens of the answer are assumed, for it names no `max_tokens`: give one, or the limit a \
                 smaller `assumedOutput`"
            );
        }
        Failure::refused(Problem::RateLimited).with_retry_after(wait).with_hint(hint)
    }

    fn limit_of(&self, claim: &Claim) -> Option<&Limit> {
        self.all.get(usize::from(claim.mark))
    }
}

impl Limits {
    /// The tokens that a call asks of a limit, of which `room` is all that there is. A call holds no more than that, and owes
    /// the rest: what is asked for it later is no more than what is missing to that.
    fn wanted(&self, what: What, most: &Most, room: u64) -> u64 {
        if !most.is_beyond() {
            let (input, output) = most.tokens(self.assumed_output);
            return what.of(input, output);
        }
        let (held, all) = most.held_and_all(self.assumed_output);
        let (held, all) = (what.of(held.0, held.1), what.of(all.0, all.1));
        all.min(room).saturating_sub(held.min(room))
    }
}

impl SharedMeter for Limits {
    fn claims(&self, subjects: &[String], most: &Most) -> Result<Vec<Claim>, Failure> {
        let mut claims = Vec::with_capacity(self.all.len() * subjects.len());
        for (mark, limit) in (0_u8..).zip(&self.all) {
            let wanted = self.wanted(limit.what, most, limit.tokens);
            for subject in subjects.iter().filter(|_| wanted > 0 || !most.is_beyond()) {
                let account = Arc::new(Account {
                    subject: subject.clone(),
                    name: limit.account.clone(),
                    kind: Kind::Bucket(self.window),
                    limit: u128::from(limit.tokens),
                    warn: None,
                });
                claims.push(Claim { account, amount: u128::from(wanted), mark });
            }
        }
        Ok(claims)
    }

    fn granted(&self, claim: &Claim, granted: &Granted, told: &mut Vec<(HeaderName, HeaderValue)>) {
        if let Some(limit) = self.limit_of(claim) {
            let left = u64::try_from(granted.left).unwrap_or(u64::MAX);
            self.tell(limit, left, seconds(granted.reset), told);
        }
    }

    fn refused(
        &self,
        subjects: &[String],
        place: usize,
        refusal: &Refusal,
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Failure {
        let (input, output) = most.tokens(self.assumed_output);
        let Some(limit) = self.all.get(place / subjects.len().max(1)) else {
            return Failure::refused(Problem::RateLimited).with_retry_after(refusal.wait);
        };
        let left = u64::try_from(refusal.left).unwrap_or(u64::MAX);
        self.refuse(limit, limit.what.of(input, output), left, refusal.wait, most, told)
    }

    fn cost(&self, claim: &Claim, spent: &Spent) -> u128 {
        self.limit_of(claim).map_or(0, |limit| u128::from(limit.what.of(spent.input, spent.output)))
    }

    fn spend_here(&self, claim: &Claim, cost: u128) {
        use std::hash::BuildHasher;
        if let Some(limit) = self.limit_of(claim).filter(|_| cost > 0) {
            let key = limit.state.hasher.hash_one(&claim.account.subject);
            limit.state.buckets.settle(key, 0, u64::try_from(cost).unwrap_or(u64::MAX), Instant::now());
        }
    }

    fn hold_here(
        &self,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Failure> {
        let held = self.hold_all(subjects, most, told);
        held.map_err(|full| match full.wanted <= full.limit.tokens && full.limit.own < full.limit.tokens {
            true => {
                let share = format!("{} of {} tokens", full.limit.own, full.limit.tokens);
                share_is_used(&format!("the limit `{}`", self.name), &share, full.wait)
            }
            false => self.refuse(full.limit, full.wanted, full.left, full.wait, most, told),
        })
    }
}

impl Meter for Limits {
    fn shared(&self) -> Option<Shared<'_>> {
        Some(Shared { sharing: self.sharing.as_ref()?, meter: self })
    }

    fn hold(
        &self,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Failure> {
        let held = self.hold_all(subjects, most, told);
        held.map_err(|full| self.refuse(full.limit, full.wanted, full.left, full.wait, most, told))
    }

    fn spend(&self, subjects: &[String], spent: &Spent) {
        use std::hash::BuildHasher;
        let now = Instant::now();
        for limit in &self.all {
            let tokens = limit.what.of(spent.input, spent.output);
            for subject in subjects {
                limit.state.buckets.settle(limit.state.hasher.hash_one(subject), 0, tokens, now);
            }
        }
    }
}

/// A limit that has no room here.
struct Full<'l> {
    limit: &'l Limit,
    wanted: u64,
    left: u64,
    wait: Duration,
}

impl Limits {
    /// Holds in the buckets that are here: in all of them, or in none.
    fn hold_all(
        &self,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Full<'_>> {
        use std::hash::BuildHasher;
        let now = Instant::now();
        let mut taken = TokenHold::default();
        for limit in &self.all {
            let wanted = self.wanted(limit.what, most, limit.own);
            for subject in subjects.iter().filter(|_| wanted > 0 || !most.is_beyond()) {
                let key = limit.state.hasher.hash_one(subject);
                match limit.state.buckets.hold(key, wanted, now) {
                    Ok(held) => {
                        self.tell(limit, held.left, seconds(held.reset), told);
                        taken.0.push((limit.state.clone(), limit.what, key, held.tokens));
                    }
                    Err(full) => {
                        told.clear();
                        return Err(Full { limit, wanted, left: full.left, wait: full.retry_after });
                    }
                }
            }
        }
        Ok(Box::new(taken))
    }
}

/// Tokens held in several buckets.
#[derive(Default)]
struct TokenHold(Vec<(Arc<State>, What, u64, u64)>);

impl Hold for TokenHold {
    fn settle(&mut self, spent: &Spent) {
        let now = Instant::now();
        for (state, what, key, held) in self.0.drain(..) {
            state.buckets.settle(key, held, what.of(spent.input, spent.output), now);
        }
    }
}

impl Drop for TokenHold {
    fn drop(&mut self) {
        self.settle(&Spent::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::building;

    fn policy(settings: serde_json::Value) -> TokenRateLimit {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| TokenRateLimit::compile(&settings, cx)).expect("compiles")
    }

    fn hold(
        policy: &TokenRateLimit,
        who: &[&str],
        input: u64,
        output: u64,
    ) -> Result<Box<dyn Hold>, Failure> {
        let subjects: Vec<String> = who.iter().map(|who| (*who).to_owned()).collect();
        policy.limits.hold(&subjects, &Most::in_test(input, output, None), &mut Vec::new())
    }

    #[test]
    fn each_kind_of_token_has_a_limit_and_a_refusal_gives_back_the_others() {
        let policy = policy(serde_json::json!({"tokens": 1000, "output": 100, "window": "1m"}));
        let refused = hold(&policy, &["a"], 10, 101).map(drop);
        assert!(refused.is_ok(), "more than the whole limit holds the whole limit");
        let first = hold(&policy, &["a"], 10, 60).expect("room");
        assert!(hold(&policy, &["a"], 10, 60).is_err(), "no room for the answer");
        drop(first);
        for _ in 0..20 {
            let mut held = hold(&policy, &["a"], 500, 60).expect("what was refused holds nothing");
            held.settle(&Spent::default());
        }
        hold(&policy, &["a"], 0, 0).expect("room").settle(&Spent {
            input: 900,
            output: 10,
            ..Spent::default()
        });
        let refused = hold(&policy, &["a"], 100, 10).err().expect("no room for the whole");
        assert_eq!(refused.problem(), Problem::RateLimited);
        assert!(refused.retry_after().is_some());
        assert!(hold(&policy, &["b"], 100, 10).is_ok(), "others have their own");
    }

    #[test]
    fn a_call_that_holds_the_whole_limit_may_be_asked_of_another_and_owes_the_rest() {
        let who = ["a".to_owned()];
        let most = || Most::in_test(100, 900, None);
        let further = || most().beyond(most(), Spent { input: 100, output: 0, ..Spent::default() });
        for limit in [500, 1000, 1050] {
            let policy = policy(serde_json::json!({"tokens": limit, "window": "1m"}));
            let mut first = policy.limits.hold(&who, &most(), &mut Vec::new()).expect("room");
            let second = policy.limits.hold(&who, &further(), &mut Vec::new());
            assert!(second.is_ok(), "{limit}");
            first.settle(&Spent { input: 200, output: 900, ..Spent::default() });
            drop(second);
            assert!(hold(&policy, &["a"], 1, 0).is_err(), "{limit}: it owes what it took");
        }
        let policy = policy(serde_json::json!({"tokens": 1400, "window": "1m"}));
        hold(&policy, &["a"], 0, 0).expect("room").settle(&Spent { input: 390, ..Spent::default() });
        let _first = policy.limits.hold(&who, &most(), &mut Vec::new()).expect("room");
        let second = policy.limits.hold(&who, &further(), &mut Vec::new());
        assert!(second.is_err(), "what others took is not there for it");
    }

    #[test]
    fn all_groups_must_have_room() {
        let policy = policy(serde_json::json!({"tokens": 100, "window": "1m"}));
        let _held = hold(&policy, &["group:b"], 90, 0).expect("room");
        for _ in 0..5 {
            assert!(hold(&policy, &["group:a", "group:b"], 50, 0).is_err());
        }
        assert!(
            hold(&policy, &["group:a"], 100, 0).is_ok(),
            "a refused call holds nothing in its other group"
        );
    }
}
