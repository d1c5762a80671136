//! Tries: how often and how long a call is sent to an upstream.
//!
//! The call has one deadline. Within it each try asks the breaker, then holds a place in the bulkhead, and picks an
//! endpoint: an open circuit is told at once and takes nobody's place, and neither does a pause between two tries.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use model::{TryRecord, resource::tries::RetryOn};
use resilience::{BulkheadPermit, Permit};

pub(crate) use super::outgoing::hash_of;
use super::{
    Effort, Guards, Upstream,
    attempt::{Attempt, Tried},
    cluster::{Endpoint, PickRequest, Picked},
    hedge::{Race, Raced},
    outgoing::{grpc_timeout, prepare},
    signing,
    source::Source,
    span::Span,
    switch,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Sent, Side, Stage},
    handler::backends::Target,
    worker::Worker,
};

/// Where the call would like to go.
#[derive(Default)]
pub(crate) struct Wish {
    /// The endpoint that it is tied to.
    pub(crate) endpoint: Option<Arc<str>>,
    /// What `ringHash` and `maglev` hash.
    pub(crate) hash: Option<u64>,
}

/// Sends a call to an upstream until an answer is good enough, or nothing more may be tried; holds it while the upstream is on
/// its way up, where that is asked for.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    call: &mut Call,
    target: &Target,
    wish: &Wish,
    mut body: Body,
) -> Result<Response<Body>, Failure> {
    let (upstream, effort) = (&*target.upstream, &target.effort);
    if signing::is_any(call) {
        Box::pin(signing::prepare(call, upstream, &mut body)).await?;
    }
    // What was read whole on the way waits for nobody's leave.
    if call.expects_continue && matches!(body, Body::Full(_) | Body::Empty) {
        call.has_been_sent();
    }
    prepare(call, upstream);
    let queue = upstream.settings.request_queue.as_ref();
    let is_kept = queue.is_some_and(|queue| queue.starting.is_some());
    let source = RefCell::new(Source::new(body, effort, call, is_kept));
    match (&upstream.cluster.queue, queue) {
        (Some(queue), Some(settings)) => {
            // Boxed: calls to other upstreams do not carry its state.
            Box::pin(super::held::forward(worker, call, target, wish, &source, queue, settings)).await
        }
        _ => tries(worker, call, target, wish, &source, None).await,
    }
}

/// When the whole exchange of a call must be over, if ever.
pub(super) fn end_of(call: &Call, effort: &Effort) -> Option<Instant> {
    let time = Bound::of(call, effort).time?;
    Some(call.asked.unwrap_or(call.started) + time)
}

/// Sends a call until an answer is good enough, or nothing more may be tried. The time for that counts from `resumed` on for
/// one that was held.
pub(super) async fn tries(
    worker: &Rc<Worker>,
    call: &mut Call,
    target: &Target,
    wish: &Wish,
    source: &RefCell<Source>,
    resumed: Option<Instant>,
) -> Result<Response<Body>, Failure> {
    let (upstream, effort) = (&*target.upstream, &target.effort);
    let bound = Bound::of(call, effort);
    let began = call.asked.unwrap_or(call.started);
    let end = bound.time.map(|time| began + time);
    let deadline = resumed.unwrap_or(began) + effort.request;
    let deadline = end.map_or(deadline, |end| end.min(deadline));
    let mut tried: Vec<u64> = Vec::new();
    let mut rounds = 0;
    let mut hedging = effort.hedging.filter(|_| Race::suits(call, &source.borrow()));
    loop {
        let permit = permit(upstream, Instant::now())?;
        let bulkhead = place(upstream, deadline).await?;
        let now = Instant::now();
        // However often one that is held tries, it is one call.
        if rounds == 0 && resumed.is_none() {
            upstream.cluster.budget.deposit(call.started);
        }
        let picked = Picked::new(choose(worker, call, upstream, wish, &tried, now)?);
        call.record.endpoint = Some(picked.endpoint.label.clone());
        call.record.attempts += 1;
        rounds += 1;
        let raced = match hedging {
            None => {
                let guards = Guards { in_flight: Some(picked.in_flight), bulkhead, ..Guards::default() };
                let endpoint = picked.endpoint;
                if call.host_from_endpoint
                    && let Ok(value) = HeaderValue::from_str(endpoint.authority())
                {
                    call.head.headers.insert(header::HOST, value);
                }
                let span = Span::start(worker, call, &endpoint, upstream, false);
                if let Some(span) = span {
                    span.state(&mut call.head.headers);
                }
                let result = match signed(call).await {
                    Ok(own) => {
                        let attempt = Attempt {
                            worker,
                            upstream,
                            effort,
                            endpoint: &endpoint,
                            call,
                            head: own.as_deref().unwrap_or(&call.head),
                            interim: call.interim.as_ref(),
                            source,
                            started: now,
                            left: deadline.saturating_duration_since(now),
                            end,
                        };
                        attempt.run(guards, permit).await
                    }
                    Err(failure) => Tried::unsent(failure),
                };
                if let Some(span) = span {
                    span.end(call, now.elapsed(), &result.result);
                }
                Raced::alone(result, endpoint, now, span)
            }
            Some(settings) => {
                let race =
                    Race { worker, call, upstream, effort, hedging: settings, wish, source, deadline, end };
                let raced = Box::pin(race.run(picked, (permit, bulkhead), &mut tried)).await;
                hedging = settings.after(raced.further);
                raced
            }
        };
        let Round { result, endpoint, started, span } = account(call, raced);
        let again = match result {
            Ok(response) if !effort.retries_status(response.status().as_u16()) => {
                return Ok(pass_on(call, &bound, span, response));
            }
            Ok(response) => Again::Status(response),
            Err(failure) => Again::Failure(failure),
        };
        let next = Next { rounds, deadline, random: worker.random() };
        let wait = match next.wait(call, upstream, effort, &source.borrow(), &again) {
            Some(wait) => wait,
            None => {
                return match again {
                    Again::Status(response) => Ok(pass_on(call, &bound, span, response)),
                    Again::Failure(failure) => Err(failure),
                };
            }
        };
        let why = match &again {
            Again::Status(response) => {
                Why { status: Some(response.status()), reason: "status", detail: None }
            }
            Again::Failure(failure) => Why::of(failure),
        };
        note(call, &endpoint, why, started.elapsed());
        drop(again);
        if hedging.is_none() {
            tried.push(endpoint.uid);
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// The head of a try, where it has signatures of its own.
async fn signed(call: &Call) -> Result<Option<Box<Parts>>, Failure> {
    match signing::is_any(call) {
        // Boxed: calls without signatures do not carry its state.
        true => Ok(Box::pin(signing::head(call, None)).await?.map(Box::new)),
        false => Ok(None),
    }
}

/// What the try that counts in a round came to.
struct Round {
    result: Result<Response<Body>, Failure>,
    endpoint: Arc<Endpoint>,
    started: Instant,
    span: Option<Span>,
}

/// The answer that the client gets.
fn pass_on(call: &Call, bound: &Bound, span: Option<Span>, response: Response<Body>) -> Response<Body> {
    if let Some(span) = span {
        span.pass_on(call);
    }
    bound.over(call, response)
}

/// Writes into the record what a round was like.
fn account(call: &mut Call, raced: Raced) -> Round {
    let Raced { tried, endpoint, started, span, beside, further, is_further } = raced;
    let record = &mut call.record;
    if further > 0 {
        let further = u16::try_from(further).unwrap_or(u16::MAX);
        record.attempts = record.attempts.saturating_add(further);
        record.hedges = record.hedges.saturating_add(further);
        record.hedge_won = is_further && tried.result.is_ok();
        record.endpoint = Some(endpoint.label.clone());
        record.failed_tries.extend(beside);
    }
    call.trail.reached(tried.phases);
    if let Some(after) = tried.stale {
        // A kept connection that the upstream had closed: no try at all, as far as anyone can tell.
        note(call, &endpoint, Why { status: None, reason: TryRecord::STALE, detail: None }, after);
    }
    Round { result: tried.result, endpoint, started, span }
}

/// What bounds the whole exchange: the route's `total`, and the deadline that a gRPC client sets.
struct Bound {
    time: Option<Duration>,
    is_grpc: bool,
}

impl Bound {
    fn of(call: &Call, effort: &Effort) -> Self {
        let time = [grpc_timeout(&call.head.headers), effort.total].into_iter().flatten().min();
        Self { time, is_grpc: crate::failure::is_grpc(&call.head.headers) }
    }

    /// An answer whose body ends with the time that is left.
    fn over(&self, call: &Call, response: Response<Body>) -> Response<Body> {
        match self.time {
            Some(time)
                if !switch::opens(&call.head.method, response.status()) && !response.body().is_empty() =>
            {
                let left = time.saturating_sub(call.asked.unwrap_or(call.started).elapsed());
                response.map(|body| Body::boxed(super::total::Bounded::new(body, left, self.is_grpc)))
            }
            _ => response,
        }
    }
}

/// Why another try is considered.
#[expect(clippy::large_enum_variant, reason = "one lives for a moment on the stack of its call")]
enum Again {
    Status(Response<Body>),
    Failure(Failure),
}

/// Why a try was not the last one.
pub(super) struct Why {
    pub(super) status: Option<StatusCode>,
    pub(super) reason: &'static str,
    pub(super) detail: Option<Box<str>>,
}

impl Why {
    pub(super) fn of(failure: &Failure) -> Self {
        let detail = failure.detail().map(Into::into);
        Self { status: None, reason: failure.problem().slug(), detail }
    }
}

fn note(call: &mut Call, endpoint: &Endpoint, why: Why, duration: Duration) {
    let Why { status, reason, detail } = why;
    call.record.failed_tries.push(TryRecord {
        endpoint: endpoint.label.clone(),
        status,
        reason,
        detail,
        duration,
        upstream: None,
    });
}

/// What decides on another try.
struct Next {
    /// Tries so far, those beside others not counted.
    rounds: u32,
    deadline: Instant,
    random: u64,
}

impl Next {
    /// Whether there is another try, and after how long.
    fn wait(
        &self,
        call: &Call,
        upstream: &Upstream,
        effort: &Effort,
        source: &Source,
        again: &Again,
    ) -> Option<Duration> {
        if self.rounds >= effort.max_attempts {
            return None;
        }
        let (sent, wanted, hint) = match again {
            Again::Status(response) => (Sent::Perhaps, true, telemetry::retry_after(response.headers())),
            Again::Failure(failure) if failure.side() == Side::Upstream => {
                (failure.sent(), effort.wants(failure), None)
            }
            Again::Failure(_) => return None,
        };
        if !wanted || !source.may_repeat(&call.head, sent) {
            return None;
        }
        // An upstream that was asked to switch may have begun to.
        if call.upgrade.is_some() && sent == Sent::Perhaps {
            return None;
        }
        let wait = match sent {
            Sent::Nothing => Duration::ZERO,
            Sent::Perhaps => {
                let unit = (self.random >> 11) as f64 / (1u64 << 53) as f64;
                effort.backoff.delay(self.rounds, unit).max(hint.unwrap_or_default().min(effort.backoff.max))
            }
        };
        let now = Instant::now();
        if now + wait >= self.deadline {
            return None;
        }
        // What was provably never sent put no load on anyone, and so does not draw on the budget.
        if sent == Sent::Perhaps && !upstream.cluster.budget.try_withdraw(now) {
            return None;
        }
        Some(wait)
    }
}

impl Effort {
    /// Whether a failed try of this kind is one to repeat.
    fn wants(&self, failure: &Failure) -> bool {
        let on = |wanted: RetryOn| self.on.contains(&wanted);
        match (failure.problem(), failure.stage()) {
            (Problem::ConnectFailed, _) => on(RetryOn::ConnectFailure),
            (Problem::UpstreamTimeout, Stage::Connect | Stage::Tls) if on(RetryOn::ConnectFailure) => true,
            (Problem::UpstreamTimeout, _) => on(RetryOn::Timeout) || self.retries_status(504),
            (Problem::UpstreamReset, _) if failure.sent() == Sent::Nothing => {
                on(RetryOn::RefusedStream) || on(RetryOn::Reset)
            }
            (Problem::UpstreamReset, _) => on(RetryOn::Reset) || self.retries_status(502),
            (Problem::BadUpstreamAnswer, _) => self.retries_status(502),
            _ => false,
        }
    }
}

/// Leave of the breaker for one try.
pub(super) fn permit(upstream: &Upstream, now: Instant) -> Result<Option<Permit>, Failure> {
    let Some(breaker) = &upstream.cluster.breaker else { return Ok(None) };
    breaker.try_acquire(now).map(Some).map_err(|rejected| {
        Failure::gateway(Stage::Pick, Problem::CircuitOpen).with_retry_after(rejected.retry_after)
    })
}

/// An endpoint for one try.
pub(super) fn choose(
    worker: &Worker,
    call: &Call,
    upstream: &Upstream,
    wish: &Wish,
    tried: &[u64],
    now: Instant,
) -> Result<Arc<Endpoint>, Failure> {
    let request = PickRequest {
        now,
        random: if tried.is_empty() { call.random } else { worker.random() },
        hash: wish.hash,
        tried,
        sticky: wish.endpoint.as_deref(),
    };
    upstream.cluster.choose(&request).ok_or_else(|| {
        let failure = Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint)
            .with_retry_after(Duration::from_secs(1));
        match upstream.cluster.nameless() {
            Some(detail) => failure.with_detail(detail),
            None => failure,
        }
    })
}

/// A place in the upstream's bulkhead for one try, if it has one; waiting for it takes from the call's time.
async fn place(upstream: &Upstream, deadline: Instant) -> Result<Option<BulkheadPermit>, Failure> {
    let Some(bulkhead) = &upstream.cluster.bulkhead else { return Ok(None) };
    let full =
        || Failure::gateway(Stage::Pick, Problem::BulkheadFull).with_retry_after(Duration::from_secs(1));
    if let Some(permit) = bulkhead.try_acquire() {
        return Ok(Some(permit));
    }
    let patience = bulkhead.max_wait().min(deadline.saturating_duration_since(Instant::now()));
    if patience.is_zero() {
        return Err(full());
    }
    let turn = bulkhead.wait().ok_or_else(full)?;
    tokio::time::timeout(patience, turn).await.map(Some).map_err(|_| full())
}
