//! How far each rule has come, for operators: numbers, and what they may force.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Instant,
};

use resilience::cutover::{Cutover, Returned};
use serde::Serialize;
use telemetry::{Collect, Exposition};

use crate::{compiled::Compiled, worker::Shared};

/// What the standing of a rule is kept under, with its name.
pub(super) const KEPT: &str = "standing";

/// What an operator has forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forced {
    Auto,
    Old,
    New,
}

/// What has been, whatever the share was.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    forced: AtomicU8,
    old: AtomicU64,
    new: AtomicU64,
    failed: AtomicU64,
    returns: AtomicU64,
}

impl Progress {
    pub(super) fn forced(&self) -> Forced {
        match self.forced.load(Ordering::Relaxed) {
            1 => Forced::Old,
            2 => Forced::New,
            _ => Forced::Auto,
        }
    }

    pub(super) fn sent(&self, is_new: bool) {
        let count = if is_new { &self.new } else { &self.old };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, is_failure: bool) {
        self.failed.fetch_add(u64::from(is_failure), Ordering::Relaxed);
    }

    pub(super) fn returned(&self) {
        self.returns.fetch_add(1, Ordering::Relaxed);
    }
}

/// A rule as it stands in the live configuration.
pub(crate) struct Standing {
    pub(super) rule: Arc<str>,
    pub(super) to: Arc<str>,
    /// The share of callers that has moved, from 0 to 1.
    pub(super) configured: f64,
    pub(super) progress: Arc<Progress>,
    pub(super) cutover: Option<Arc<Cutover>>,
}

/// How far a rule has come.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StranglerStatus {
    /// The route.
    pub route: String,
    /// The rule.
    pub rule: Arc<str>,
    /// The upstream that it moves to.
    pub to: Arc<str>,
    /// `MOVING`, `RETURNED`, `RESUMING`, `FORCED_OLD` or `FORCED_NEW`.
    pub state: &'static str,
    /// The share of callers that the configuration has on the new side, in percent.
    pub configured_percent: f64,
    /// The share that is there now.
    pub effective_percent: f64,
    /// Requests that the old side got.
    pub old_requests: u64,
    /// Requests that the new side got.
    pub new_requests: u64,
    /// Of these, those that it failed.
    pub new_failures: u64,
    /// How often everybody has returned.
    pub returns: u64,
    /// Calls in the window by which that is decided.
    pub window_calls: u32,
    /// Failed calls of them, in percent.
    pub failure_rate: f64,
    /// Slow calls of them, in percent.
    pub slow_rate: f64,
}

/// What an operator wants of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StranglerWish {
    /// As configured, with nothing remembered of failures.
    Auto,
    /// Everybody is on the old side.
    ForcedOld,
    /// Everybody is on the new side.
    ForcedNew,
}

const STATES: [&str; 5] = ["MOVING", "RETURNED", "RESUMING", "FORCED_OLD", "FORCED_NEW"];

impl Standing {
    /// On which side a caller at this place is, and why.
    pub(super) fn side(&self, place: f64, choice: Option<bool>, now: Instant) -> (bool, &'static str) {
        match (self.progress.forced(), choice) {
            // Where an operator has everybody go back, testers go, too.
            (Forced::Old, _) => return (false, "forced"),
            (_, Some(is_new)) => return (is_new, "override"),
            (Forced::New, None) => return (true, "forced"),
            (Forced::Auto, None) => {}
        }
        let part = self.cutover.as_ref().map_or(1.0, |cutover| cutover.part(now));
        match (place < self.configured * part, place < self.configured) {
            (true, _) => (true, "share"),
            (false, true) => (false, "returned"),
            (false, false) => (false, "share"),
        }
    }

    /// The new service has answered a call, or failed it.
    pub(super) fn ended(&self, began: Instant, now: Instant, is_failure: bool) {
        self.progress.ended(is_failure);
        self.note(self.cutover.as_ref().and_then(|cutover| cutover.on_result(began, now, is_failure)));
    }

    /// The client has left before the new service has answered.
    pub(super) fn left(&self, began: Instant, now: Instant) {
        self.note(self.cutover.as_ref().and_then(|cutover| cutover.on_left(began, now)));
    }

    fn note(&self, returned: Option<Returned>) {
        let Some(Returned { failure_rate, slow_rate }) = returned else { return };
        self.progress.returned();
        tracing::warn!(
            rule = %self.rule, upstream = %self.to, failure_rate, slow_rate,
            "everybody returns to the old system: the new one fails"
        );
    }

    fn status(&self, route: String, now: Instant) -> StranglerStatus {
        let measured = self.cutover.as_ref().map(|cutover| cutover.status(now));
        let (state, part) = measured.as_ref().map_or(("MOVING", 1.0), |now| (now.side.name(), now.part));
        let (state, effective) = match self.progress.forced() {
            Forced::Old => ("FORCED_OLD", 0.0),
            Forced::New => ("FORCED_NEW", 1.0),
            Forced::Auto => (state, self.configured * part),
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StranglerStatus {
            route,
            rule: self.rule.clone(),
            to: self.to.clone(),
            state,
            configured_percent: self.configured * 100.0,
            effective_percent: effective * 100.0,
            old_requests: count(&self.progress.old),
            new_requests: count(&self.progress.new),
            new_failures: count(&self.progress.failed),
            returns: count(&self.progress.returns),
            window_calls: measured.map_or(0, |now| now.calls),
            failure_rate: measured.map_or(0.0, |now| now.failure_rate),
            slow_rate: measured.map_or(0.0, |now| now.slow_rate),
        }
    }

    pub(super) fn force(&self, wish: StranglerWish, now: Instant) {
        let forced = match wish {
            StranglerWish::Auto => 0,
            StranglerWish::ForcedOld => 1,
            StranglerWish::ForcedNew => 2,
        };
        self.progress.forced.store(forced, Ordering::Relaxed);
        if wish == StranglerWish::Auto
            && let Some(cutover) = &self.cutover
        {
            cutover.reset(now);
        }
    }
}

/// All rules of the live configuration, with the routes that they are of.
fn all(compiled: &Compiled) -> Vec<(String, Arc<Standing>)> {
    let route = |place: String| {
        let rest = place.strip_prefix("routes/").unwrap_or(&place);
        rest.rsplit_once(&format!("/strangler/{KEPT}/")).map_or(rest, |(route, _)| route).to_owned()
    };
    let all = compiled.kept::<Standing>().into_iter();
    let mut all: Vec<_> = all.map(|(place, standing)| (route(place), standing)).collect();
    all.sort_by(|one, other| (&one.0, &one.1.rule).cmp(&(&other.0, &other.1.rule)));
    all
}

/// How far all rules have come.
pub(crate) fn status(compiled: &Compiled) -> Vec<StranglerStatus> {
    let now = Instant::now();
    all(compiled).into_iter().map(|(route, standing)| standing.status(route, now)).collect()
}

/// Does what an operator wants of a rule; how it stands then, or none where there is no such rule.
pub(crate) fn operate(
    compiled: &Compiled,
    route: &str,
    rule: &str,
    wish: StranglerWish,
) -> Option<StranglerStatus> {
    let now = Instant::now();
    let of = all(compiled).into_iter().filter(|(of, standing)| of == route && *standing.rule == *rule);
    let mut last = None;
    for (route, standing) in of {
        standing.force(wish, now);
        let status = standing.status(route, now);
        tracing::warn!(route = %status.route, rule, state = status.state, "an operator set a move to a new system");
        last = Some(status);
    }
    last
}

type Share = fn(&StranglerStatus) -> f64;
type Count = fn(&StranglerStatus) -> u64;

fn labels(one: &StranglerStatus) -> [(&'static str, &str); 2] {
    [("route", &one.route), ("rule", &one.rule)]
}

/// Tells of the live configuration's rules at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let all = status(&shared.compiled.load());
        let gauges: [(&str, &str, Share); 2] = [
            (
                "tidegate_strangler_configured_share",
                "The share of callers that the configuration has on the new side of a move.",
                |one| one.configured_percent / 100.0,
            ),
            (
                "tidegate_strangler_effective_share",
                "The share of callers that is on the new side of a move now.",
                |one| one.effective_percent / 100.0,
            ),
        ];
        for (name, help, value) in gauges {
            for one in &all {
                out.gauge(name, help, &labels(one), value(one));
            }
        }
        for one in &all {
            for state in STATES {
                let labels = [("route", one.route.as_str()), ("rule", &*one.rule), ("state", state)];
                let is = f64::from(u8::from(one.state == state));
                out.gauge("tidegate_strangler_state", "1 for the state that a move is in.", &labels, is);
            }
        }
        let help = "Requests under a move, by the side that they were sent to.";
        for one in &all {
            for (side, count) in [("old", one.old_requests), ("new", one.new_requests)] {
                let labels = [("route", one.route.as_str()), ("rule", &*one.rule), ("side", side)];
                out.counter("tidegate_strangler_requests_total", help, &labels, count as f64);
            }
        }
        let counters: [(&str, &str, Count); 2] = [
            ("tidegate_strangler_failures_total", "Requests that the new side of a move failed.", |one| {
                one.new_failures
            }),
            (
                "tidegate_strangler_returns_total",
                "How often everybody has returned to the old side of a move.",
                |one| one.returns,
            ),
        ];
        for (name, help, count) in counters {
            for one in &all {
                out.counter(name, help, &labels(one), count(one) as f64);
            }
        }
    }
}
