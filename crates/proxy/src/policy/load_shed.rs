//! `loadShed`: refuses some calls while there are more than can be served, so that the others are.
//!
//! The limit follows [how long answers take](resilience::gradient). A place is taken until the call is over; what is
//! measured is the time to the head of the answer, for how fast a client reads says nothing about the upstream.

mod cpu;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Response;
use model::policy::load_shed::ShedPriority;
use resilience::gradient::{Bounds, Gradient};

use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Gauge, Metric},
    facts::facts,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    expression::{Expression, Scope},
    failure::{Failure, Problem, Stage},
    protected::of_expression,
};

static METRIC: Metric = Metric {
    name: "tidegate_load_shed_calls_total",
    help: "Calls that came to a limit by load, by what it did: let in, or refused for the calls on their way or for the CPU.",
    outcomes: &["allowed", "refused", "refused_cpu"],
    gauges: &[
        Gauge { name: "tidegate_load_shed_limit", help: "Calls at a time that a limit by load allows now." },
        Gauge {
            name: "tidegate_load_shed_in_flight",
            help: "Calls on their way that a limit by load counts.",
        },
        Gauge {
            name: "tidegate_load_shed_base_seconds",
            help: "How long answers take without a queue, as a limit by load has measured it.",
        },
        Gauge {
            name: "tidegate_load_shed_cpu_share",
            help: "The share of calls of normal priority that is refused for want of CPU.",
        },
    ],
};
const ALLOWED: usize = 0;
const REFUSED: usize = 1;
const REFUSED_CPU: usize = 2;
const LIMIT: usize = 0;
const IN_FLIGHT: usize = 1;
const BASE: usize = 2;
const SHARE: usize = 3;

/// The compiled policy.
pub(crate) struct LoadShed {
    state: Arc<State>,
    priorities: Vec<(Expression, ShedPriority)>,
    probes: Vec<String>,
    retry_after: Duration,
    cpu: Option<Arc<cpu::Watch>>,
}

/// Goes on over reloads while its settings stay.
struct State {
    in_flight: Arc<AtomicU32>,
    /// The limit in thousandths, for a look without the lock.
    limit: AtomicU64,
    gradient: Mutex<Gradient>,
    counted: Arc<Counted>,
}

/// A place; given back when it is dropped.
struct Place(Arc<State>);

/// When a call was let in.
struct LetIn(Instant);

impl State {
    fn new(bounds: Bounds, counted: Arc<Counted>) -> Self {
        counted.show(LIMIT, bounds.min);
        let in_flight = Arc::new(AtomicU32::new(0));
        counted.watch(IN_FLIGHT, &in_flight);
        Self {
            in_flight,
            limit: AtomicU64::new((bounds.min * 1000.0) as u64),
            gradient: Mutex::new(Gradient::new(bounds, Instant::now())),
            counted,
        }
    }

    /// A place, unless so much of the limit is taken.
    fn take(this: &Arc<Self>, priority: ShedPriority) -> Option<Place> {
        let limit = this.limit.load(Ordering::Relaxed) as f64 / 1000.0;
        let share = match priority {
            ShedPriority::Critical => f64::INFINITY,
            ShedPriority::High => 1.25,
            ShedPriority::Normal => 1.0,
            ShedPriority::Low => 0.75,
        };
        let before = this.in_flight.fetch_add(1, Ordering::Relaxed);
        // From here on it is given back.
        let place = Place(this.clone());
        if f64::from(before) + 1.0 > (limit * share).max(1.0) {
            return None;
        }
        Some(place)
    }

    fn sample(&self, took: Duration, now: Instant) {
        let mut gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        if gradient.sample(took, self.in_flight.load(Ordering::Relaxed), now) {
            self.limit.store((gradient.limit() * 1000.0) as u64, Ordering::Relaxed);
            self.counted.show(LIMIT, gradient.limit());
            self.counted.show(BASE, gradient.base().unwrap_or(0.0));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LoadShed {
    pub(crate) fn compile(settings: &model::policy::LoadShed, cx: &Building<'_>) -> Result<Self, String> {
        let bounds = Bounds {
            min: f64::from(settings.min_limit.max(1)),
            max: f64::from(settings.max_limit.max(settings.min_limit)),
            tolerance: settings.tolerance.clamp(1.1, 10.0),
            remeasure: settings.remeasure.get(),
        };
        let rule = |(index, rule): (usize, &model::policy::load_shed::PriorityRule)| {
            let when = Expression::condition(&rule.when, Scope::Call)
                .map_err(|error| format!("`priorities[{index}].when`: {error}"))?;
            Ok((when, rule.priority))
        };
        let counted = Counted::of(&METRIC, cx);
        Ok(Self {
            state: cx.keep("limit", settings, || State::new(bounds, counted)),
            priorities: settings.priorities.iter().enumerate().map(rule).collect::<Result<_, String>>()?,
            probes: settings.probes.clone(),
            retry_after: settings.retry_after.get(),
            cpu: settings.cpu.map(|most| {
                cx.keep("cpu", &settings.cpu, || cpu::Watch::new(most.fraction(), cx.background))
            }),
        })
    }

    fn priority(&self, call: &Call) -> ShedPriority {
        if self.priorities.is_empty() {
            return ShedPriority::Normal;
        }
        let facts = facts(call);
        let found = self.priorities.iter().find(|(when, _)| when.eval_bool(&facts));
        found.map_or(ShedPriority::Normal, |(_, priority)| *priority)
    }

    fn refuse(&self, outcome: usize) -> Flow<'static> {
        self.state.counted.note(outcome);
        let failure = Failure::gateway(Stage::Policy, Problem::Overloaded).with_retry_after(self.retry_after);
        Flow::Fail(match outcome {
            REFUSED_CPU => failure.with_detail("this process is short of CPU"),
            _ => failure.with_detail("as many calls are on their way as can be served"),
        })
    }
}

impl NeedsOf for model::policy::LoadShed {
    fn needs(&self) -> Needs {
        Needs::headers(self.priorities.iter().flat_map(|rule| of_expression(&rule.when)))
    }
}

impl Policy for LoadShed {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if self.probes.iter().any(|path| path == call.path()) {
            return Flow::Continue;
        }
        let priority = self.priority(call);
        if let Some(cpu) = &self.cpu {
            let share = cpu.share();
            self.state.counted.show(SHARE, share);
            let drawn = resilience::hash::mix(call.random ^ 0x10AD) as f64 / u64::MAX as f64;
            let is_refused = match priority {
                ShedPriority::Critical | ShedPriority::High => false,
                ShedPriority::Normal => drawn < share,
                ShedPriority::Low => share > 0.0,
            };
            if is_refused {
                return self.refuse(REFUSED_CPU);
            }
        }
        match State::take(&self.state, priority) {
            Some(place) => {
                self.state.counted.note(ALLOWED);
                call.keep(self, place);
                call.keep(self, LetIn(Instant::now()));
                Flow::Continue
            }
            None => self.refuse(REFUSED),
        }
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let Some(LetIn(at)) = call.take::<_, LetIn>(self) else { return };
        // Whoever loads nothing takes no place, and says nothing about how long it takes: as short as that it never is again.
        if is_from_here(call) {
            drop(call.take::<_, Place>(self));
            return;
        }
        // What fails at once says nothing about how long answers take, and neither does what the gateway answers.
        let is_late = call
            .record
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == Problem::UpstreamTimeout.slug());
        if is_late || !(answer.status().is_server_error() || call.record.failure.is_some()) {
            let now = Instant::now();
            self.state.sample(now.saturating_duration_since(at), now);
        }
    }
}

/// Whether an answer is a policy's own or was kept: nothing behind the gateway was asked for it, or had none.
fn is_from_here(call: &Call) -> bool {
    let record = &call.record;
    record.stopped_by.is_some()
        || matches!(record.cache, Some("hit" | "stale" | "stale-if-error"))
        || record.ai.as_ref().is_some_and(|ai| ai.cache == Some("hit"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome};

    fn policy(settings: serde_json::Value) -> LoadShed {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| LoadShed::compile(&settings, cx)).expect("compiles")
    }

    #[test]
    fn the_less_a_call_matters_the_less_of_the_limit_is_for_it() {
        let policy = policy(serde_json::json!({"minLimit": 4, "priorities": [
            {"when": "request.path == '/critical'", "priority": "critical"},
            {"when": "request.path == '/high'", "priority": "high"},
            {"when": "request.path == '/low'", "priority": "low"},
        ]}));
        let enter = |path: &str| {
            let mut call = call("GET", path);
            outcome(&policy, &mut call).map(|()| call)
        };
        let mut inside: Vec<_> = ["/low", "/low", "/low"].map(|path| enter(path).expect("room")).into();
        assert!(enter("/low").is_err());
        inside.push(enter("/").expect("room for one"));
        let refused = enter("/").err().expect("full");
        assert_eq!(
            (refused.problem(), refused.retry_after()),
            (Problem::Overloaded, Some(Duration::from_secs(1)))
        );
        inside.push(enter("/high").expect("a quarter more"));
        assert!(enter("/high").is_err());
        inside.extend((0..3).map(|_| enter("/critical").expect("never refused")));
        inside.extend((0..3).map(|_| enter("/healthz").expect("never refused, nor counted")));
        assert_eq!(policy.state.in_flight.load(Ordering::Relaxed), 8);
        drop(inside);
        assert_eq!(
            policy.state.in_flight.load(Ordering::Relaxed),
            0,
            "a place comes back however the call ends"
        );
        assert!(enter("/low").is_ok());
    }
}
