//! Hedging: further tries beside one that is slow. The first good answer wins, and the others are cancelled at once.
//!
//! All tries of a call run within its own task. A further try goes to another endpoint while there is one, draws on
//! the retry budget, and is sent only when a repetition does no harm and all of the request's body is here.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use http::{HeaderValue, Response, header, request::Parts};
use model::TryRecord;
use resilience::{BulkheadPermit, Permit};

use super::{
    Effort, Guards, Hedging, Upstream,
    attempt::{Attempt, Tried},
    cluster::{Endpoint, Picked, TryResult},
    signing,
    source::Source,
    span::Span,
    tries::{Why, Wish, choose, permit},
};
use crate::{body::Body, call::Call, failure::Sent, timer::Timer, worker::Worker};

/// What a try needs before it picks: leave of the breaker, and a place in the bulkhead.
pub(super) type Leave = (Option<Permit>, Option<BulkheadPermit>);

/// Tries of one call that run at the same time.
pub(super) struct Race<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) call: &'a Call,
    pub(super) upstream: &'a Upstream,
    pub(super) effort: &'a Effort,
    pub(super) hedging: Hedging,
    pub(super) wish: &'a Wish,
    pub(super) source: &'a RefCell<Source>,
    pub(super) deadline: Instant,
    /// When the whole exchange must be over.
    pub(super) end: Option<Instant>,
}

/// How a race ended.
pub(super) struct Raced {
    pub(super) tried: Tried,
    /// Where the try that counts went, and when.
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) started: Instant,
    pub(super) span: Option<Span>,
    /// The tries that failed or lost.
    pub(super) beside: Vec<TryRecord>,
    /// Further tries that were started.
    pub(super) further: u32,
    /// Whether one of them counts.
    pub(super) is_further: bool,
}

impl Raced {
    /// A single try, beside which nothing ran.
    pub(super) fn alone(tried: Tried, endpoint: Arc<Endpoint>, started: Instant, span: Option<Span>) -> Self {
        Self { tried, endpoint, started, span, beside: Vec::new(), further: 0, is_further: false }
    }
}

impl Hedging {
    /// What is left of it after so many further tries.
    pub(super) fn after(self, used: u32) -> Option<Self> {
        let further = self.further.checked_sub(used).filter(|left| *left > 0)?;
        Some(Self { further, ..self })
    }
}

/// A try that runs.
struct Lane<'a> {
    endpoint: Arc<Endpoint>,
    started: Instant,
    span: Option<Span>,
    is_further: bool,
    run: Pin<Box<dyn Future<Output = Tried> + 'a>>,
}

/// A try that has failed, or whose answer would be tried again.
struct Failed<'a> {
    lane: Lane<'a>,
    tried: Tried,
    record: TryRecord,
}

impl<'a> Failed<'a> {
    /// The one that is better to have, and the other: an answer before none, and a later one before an earlier.
    fn against(self, other: Option<Self>) -> (Self, Option<Self>) {
        match other {
            Some(other) if self.tried.result.is_err() && other.tried.result.is_ok() => (other, Some(self)),
            other => (self, other),
        }
    }
}

impl<'a> Race<'a> {
    /// Whether a call may be tried twice at a time at all.
    pub(super) fn suits(call: &Call, source: &Source) -> bool {
        call.upgrade.is_none() && source.may_repeat(&call.head, Sent::Perhaps)
    }

    /// Runs the first try, and others beside it while it takes its time. What they meet is added to `met`.
    pub(super) async fn run(self, first: Picked, leave: Leave, met: &mut Vec<u64>) -> Raced {
        met.push(first.endpoint.uid);
        let mut lanes = vec![self.lane(first, leave, false)];
        let mut may_start = self.hedging.further;
        let (mut further, mut beside) = (0, Vec::new());
        // The best of those that have failed: an answer of any kind is better than none.
        let mut best: Option<Failed<'_>> = None;
        let timer = Timer::new();
        timer.arm(self.hedging.delay);
        loop {
            // Which try has ended; none when the delay has.
            let ended = poll_fn(|cx| {
                for (at, lane) in lanes.iter_mut().enumerate() {
                    if let Poll::Ready(tried) = lane.run.as_mut().poll(cx) {
                        return Poll::Ready(Some((at, tried)));
                    }
                }
                if may_start > 0 && timer.poll(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
            })
            .await;
            match ended {
                None => match self.another(met) {
                    Some(lane) => {
                        lanes.push(lane);
                        further += 1;
                        may_start -= 1;
                        timer.arm(self.hedging.delay);
                    }
                    None => may_start = 0,
                },
                Some((at, tried)) => {
                    let lane = lanes.remove(at);
                    if let Some(span) = lane.span {
                        span.end(self.call, lane.started.elapsed(), &tried.result);
                    }
                    let (mut lane, mut tried) = (lane, tried);
                    if self.wins(&tried.result) {
                        beside.extend(best.take().map(|failed| failed.record));
                    } else {
                        let record = lane.record(&tried);
                        let failed = Failed { lane, tried, record };
                        let (better, worse) = failed.against(best.take());
                        beside.extend(worse.map(|failed| failed.record));
                        if !lanes.is_empty() {
                            best = Some(better);
                            continue;
                        }
                        (lane, tried) = (better.lane, better.tried);
                    }
                    beside.extend(lanes.iter().map(|loser| self.give_up(loser)));
                    let Lane { endpoint, started, span, is_further, .. } = lane;
                    return Raced { tried, endpoint, started, span, beside, further, is_further };
                }
            }
        }
    }

    /// An answer that wins while others are still out: one that would not be tried again.
    fn wins(&self, result: &Result<Response<Body>, crate::failure::Failure>) -> bool {
        result.as_ref().is_ok_and(|response| !self.effort.retries_status(response.status().as_u16()))
    }

    /// A try beside those that run, if anything allows it.
    fn another(&self, met: &mut Vec<u64>) -> Option<Lane<'a>> {
        if !self.source.borrow().is_complete() || Instant::now() >= self.deadline {
            return None;
        }
        // Asked in this order, so that nothing is counted for a try that does not go out.
        let (now, cluster) = (Instant::now(), &self.upstream.cluster);
        if cluster.budget.balance(now) < 1.0 {
            return None;
        }
        let permit = permit(self.upstream, now).ok()?;
        // A try of its own needs a place of its own, and is not worth a wait for one.
        let place = match &cluster.bulkhead {
            Some(bulkhead) => Some(bulkhead.try_acquire()?),
            None => None,
        };
        let endpoint = choose(self.worker, self.call, self.upstream, self.wish, met, now).ok()?;
        // One that is ill would not be faster; and where all are, more load is no help.
        if !endpoint.is_good(now) || !cluster.budget.try_withdraw(now) {
            return None;
        }
        met.push(endpoint.uid);
        Some(self.lane(Picked::new(endpoint), (permit, place), true))
    }

    fn lane(&self, picked: Picked, (permit, bulkhead): Leave, is_further: bool) -> Lane<'a> {
        let (worker, call, upstream, effort, source) =
            (self.worker, self.call, self.upstream, self.effort, self.source);
        let Picked { endpoint, in_flight } = picked;
        let guards = Guards { in_flight: Some(in_flight), bulkhead, ..Guards::default() };
        let (started, end) = (Instant::now(), self.end);
        let left = self.deadline.saturating_duration_since(started);
        let span = Span::start(worker, call, &endpoint, upstream, is_further);
        let target = endpoint.clone();
        let run = async move {
            let endpoint = &target;
            let own = match signing::head(call, own_head(call, endpoint, span)).await {
                Ok(own) => own,
                Err(failure) => return Tried::unsent(failure),
            };
            // Two tries would tell the client twice.
            let interim = if is_further { None } else { call.interim.as_ref() };
            let attempt = Attempt {
                worker,
                upstream,
                effort,
                endpoint,
                call,
                head: own.as_ref().unwrap_or(&call.head),
                interim,
                source,
                started,
                left,
                end,
            };
            attempt.run(guards, permit).await
        };
        Lane { endpoint, started, span, is_further, run: Box::pin(run) }
    }

    /// Accounts for a try that another has overtaken; it ends when it is dropped.
    fn give_up(&self, lane: &Lane<'_>) -> TryRecord {
        let waited = lane.started.elapsed();
        if let Some(span) = lane.span {
            span.overtaken(self.call, waited);
        }
        self.upstream.cluster.report(&lane.endpoint, Instant::now(), TryResult::Overtaken { waited });
        TryRecord {
            endpoint: lane.endpoint.label.clone(),
            status: None,
            reason: "hedge-lost",
            detail: None,
            duration: waited,
            upstream: None,
        }
    }
}

/// The call's head for one of several tries, when it differs from that of the others.
fn own_head(call: &Call, endpoint: &Endpoint, span: Option<Span>) -> Option<Parts> {
    let host = HeaderValue::from_str(endpoint.authority()).ok().filter(|_| call.host_from_endpoint);
    if host.is_none() && span.is_none() {
        return None;
    }
    let mut head = call.head.clone();
    if let Some(host) = host {
        head.headers.insert(header::HOST, host);
    }
    if let Some(span) = span {
        span.state(&mut head.headers);
    }
    Some(head)
}

impl Lane<'_> {
    fn record(&self, tried: &Tried) -> TryRecord {
        let Why { status, reason, detail } = match &tried.result {
            Ok(response) => Why { status: Some(response.status()), reason: "status", detail: None },
            Err(failure) => Why::of(failure),
        };
        TryRecord {
            endpoint: self.endpoint.label.clone(),
            status,
            reason,
            detail,
            duration: self.started.elapsed(),
            upstream: None,
        }
    }
}
