//! `rateLimit`: bounds calls per time, by GCRA or sliding windows, here or [together with other gateways](shared).
//!
//! With several limits all must have room; what a refused call took from the others is given back.

mod shared;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use model::policy::rate_limit::{Algorithm, Limit as LimitSettings};
use resilience::{
    gcra::{Decision, KeyedGcra, Quota},
    sliding::KeyedSliding,
};

use self::shared::Shared;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use self::shared::said_of;
use super::{
    Flow, Needs, NeedsOf, Policy,
    call_key::{CallKey, KeyHasher},
    needs::of_key,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
};

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The compiled policy.
pub(crate) struct RateLimit {
    limits: Vec<Limit>,
    /// `RateLimit-Policy`, when headers are wanted; it never changes.
    announced: Option<HeaderValue>,
    /// Whose counts are in a shared store: what is counted here then is this gateway's own part of them.
    shared: Option<Shared>,
}

struct Limit {
    key: CallKey,
    name: String,
    state: Arc<State>,
}

/// Goes on over reloads while its settings stay.
struct State {
    hasher: KeyHasher,
    cells: Cells,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each policy, and it is never moved")]
enum Cells {
    Even(KeyedGcra),
    Sliding(Box<KeyedSliding>),
}

impl Cells {
    fn check(&self, key: &[u8], now: std::time::Instant) -> Decision {
        match self {
            Self::Even(cells) => cells.check(key, now, 1),
            Self::Sliding(cells) => cells.check(key, now),
        }
    }

    fn give_back(&self, key: &[u8]) {
        match self {
            Self::Even(cells) => cells.give_back(key, 1),
            Self::Sliding(cells) => cells.give_back(key),
        }
    }
}

impl RateLimit {
    pub(crate) fn compile(settings: &model::policy::RateLimit, cx: &Building<'_>) -> Result<Self, String> {
        let all = settings.all();
        let share = match settings.store {
            model::resource::redis::Store::Memory => 1.0,
            model::resource::redis::Store::Redis => settings.share.fraction(),
        };
        let mut limits = Vec::with_capacity(all.len());
        let mut announced = Vec::with_capacity(all.len());
        for (index, limit) in all.iter().enumerate() {
            let key = limit.key.as_ref().unwrap_or(&settings.key);
            let name = limit.name.clone().or_else(|| settings.name.clone().filter(|_| index == 0));
            let name =
                name.unwrap_or_else(|| if index == 0 { "default".into() } else { format!("limit-{index}") });
            let window = limit.window.get();
            announced.push(format!("\"{name}\";q={};w={}", limit.limit, window.as_secs().max(1)));
            // The short form comes first, and is none of `limits`.
            let place =
                index.checked_sub(usize::from(settings.limit.is_some())).filter(|_| limit.key.is_some());
            let wrong = |error: String| match place {
                Some(place) => format!("`limits[{place}]`: {error}"),
                None => error,
            };
            limits.push(Limit {
                key: CallKey::compile(key, settings.ipv6_prefix).map_err(wrong)?,
                name,
                state: cx.keep(
                    &format!("limit-{index}"),
                    &(limit, key, settings.ipv6_prefix, settings.max_keys, settings.algorithm, share),
                    || state(limit, settings, share),
                ),
            });
        }
        let names: Vec<String> = limits.iter().map(|limit: &Limit| limit.name.clone()).collect();
        let shared = Shared::compile(settings, &names, cx)?;
        let announced = match settings.headers {
            true => {
                Some(HeaderValue::from_str(&announced.join(", ")).map_err(|error| format!("name: {error}"))?)
            }
            false => None,
        };
        Ok(Self { limits, announced, shared })
    }

    /// States what is left, or what ran out.
    fn tell(&self, call: &mut Call, decisions: &[(usize, Decision)]) {
        let Some(announced) = &self.announced else { return };
        let mut text = String::with_capacity(32);
        for (index, decision) in decisions {
            let (remaining, reset) = match decision {
                Decision::Allowed { remaining, reset } => (*remaining, *reset),
                Decision::Limited { retry_after, .. } => (0, *retry_after),
            };
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push('"');
            text.push_str(&self.limits[*index].name);
            text.push_str("\";r=");
            push(remaining, &mut text);
            text.push_str(";t=");
            push(seconds(reset), &mut text);
        }
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            join(call, RATE_LIMIT, value);
            join(call, RATE_LIMIT_POLICY, announced.clone());
        }
    }
}

/// Limits at several places tell of themselves one after the other.
pub(crate) fn join(call: &mut Call, name: HeaderName, value: HeaderValue) {
    let value = match call.answer_headers.get(&name) {
        None => value,
        Some(before) => {
            let both = [before.as_bytes(), b", ", value.as_bytes()].concat();
            HeaderValue::from_bytes(&both).unwrap_or(value)
        }
    };
    call.answer_headers.insert(name, value);
}

fn state(limit: &LimitSettings, settings: &model::policy::RateLimit, share: f64) -> State {
    let of = |calls: u64| if share < 1.0 { ((calls as f64 * share) as u64).max(1) } else { calls };
    let (window, max_keys, now) = (limit.window.get(), settings.max_keys, std::time::Instant::now());
    let cells = match settings.algorithm {
        Algorithm::Gcra => {
            let quota = Quota::new(of(limit.limit), window, of(limit.burst.unwrap_or(limit.limit)));
            Cells::Even(KeyedGcra::new(quota, max_keys, now))
        }
        Algorithm::SlidingWindow => {
            Cells::Sliding(Box::new(KeyedSliding::new(of(limit.limit), window, max_keys, now)))
        }
    };
    State { hasher: KeyHasher::default(), cells }
}

fn push(number: u64, text: &mut String) {
    use std::fmt::Write;
    let _ = write!(text, "{number}");
}

/// Whole seconds, rounded up: who comes then is let in.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl NeedsOf for model::policy::RateLimit {
    fn needs(&self) -> Needs {
        let all = self.all();
        let keys = all.iter().filter_map(|limit| limit.key.as_ref()).chain([&self.key]);
        Needs::headers(keys.flat_map(of_key))
    }
}

impl Policy for RateLimit {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        match &self.shared {
            None => self.decide_here(call),
            Some(shared) => shared.request(self, call),
        }
    }
}

impl RateLimit {
    /// Counts what was decided elsewhere, as far as there is room.
    fn count_here(&self, call: &Call) {
        for limit in &self.limits {
            limit.state.cells.check(&limit.key.of(call, &limit.state.hasher).to_ne_bytes(), call.started);
        }
    }

    /// Decides by what is counted here.
    fn decide_here(&self, call: &mut Call) -> Flow<'static> {
        let now = call.started;
        if let [only] = &self.limits[..] {
            let key = only.key.of(call, &only.state.hasher).to_ne_bytes();
            let decision = only.state.cells.check(&key, now);
            self.tell(call, &[(0, decision)]);
            return verdict(decision);
        }
        let mut taken: Vec<(usize, [u8; 8])> = Vec::with_capacity(self.limits.len());
        let mut decisions = Vec::with_capacity(self.limits.len());
        for (index, limit) in self.limits.iter().enumerate() {
            let key = limit.key.of(call, &limit.state.hasher).to_ne_bytes();
            let decision = limit.state.cells.check(&key, now);
            if !decision.is_allowed() {
                for (other, key) in taken {
                    self.limits[other].state.cells.give_back(&key);
                }
                self.tell(call, &[(index, decision)]);
                return verdict(decision);
            }
            taken.push((index, key));
            decisions.push((index, decision));
        }
        self.tell(call, &decisions);
        Flow::Continue
    }
}

fn verdict(decision: Decision) -> Flow<'static> {
    match decision {
        Decision::Allowed { .. } => Flow::Continue,
        Decision::Limited { retry_after, .. } => {
            Flow::Fail(Failure::refused(Problem::RateLimited).with_retry_after(retry_after))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome};

    fn policy(settings: serde_json::Value) -> RateLimit {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| RateLimit::compile(&settings, cx)).expect("compiles")
    }

    #[test]
    fn the_call_over_the_limit_is_refused_and_told_when_to_come_back() {
        let policy = policy(serde_json::json!({"limit": 2, "window": "10s"}));
        for left in ["1", "0"] {
            let mut call = call("GET", "/");
            outcome(&policy, &mut call).expect("room");
            let told = call.answer_headers["ratelimit"].to_str().expect("text");
            assert!(told.starts_with(&format!("\"default\";r={left};t=")), "{told}");
            assert_eq!(call.answer_headers["ratelimit-policy"], "\"default\";q=2;w=10");
        }
        let mut over = call("GET", "/");
        let refused = outcome(&policy, &mut over).expect_err("over the limit");
        assert_eq!(refused.problem(), Problem::RateLimited);
        assert!(refused.retry_after().is_some_and(|after| after <= Duration::from_secs(5)));
        assert_eq!(over.answer_headers["ratelimit"], "\"default\";r=0;t=5");
    }

    #[test]
    fn a_call_that_one_limit_refuses_takes_nothing_from_the_others() {
        let policy = policy(serde_json::json!({"limits": [
            {"limit": 10, "window": "1m", "name": "minute"},
            {"limit": 1, "window": "1m", "key": "global", "name": "all"},
        ]}));
        outcome(&policy, &mut call("GET", "/")).expect("room in both");
        for _ in 0..20 {
            assert!(outcome(&policy, &mut call("GET", "/")).is_err());
        }
        let minute = &policy.limits[0];
        let key = minute.key.of(&call("GET", "/"), &minute.state.hasher).to_ne_bytes();
        let left = minute.state.cells.check(&key, std::time::Instant::now());
        assert!(matches!(left, Decision::Allowed { remaining: 8, .. }), "{left:?}");
    }
}
