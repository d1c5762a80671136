//! Tries: how often and how long a call is sent to an upstream.
//!
//! Retry nests breaker nests timeout nests bulkhead: each try asks the breaker and picks an endpoint; the call as a
//! whole holds one place in the bulkhead and one deadline.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Response, StatusCode, header};
use model::{TryRecord, resource::tries::RetryOn};
use resilience::{Outcome, Permit};

use super::{
    Effort, Guards, Upstream,
    cluster::{Endpoint, PickRequest, Picked, TryResult},
    connect::{self, Connected, Miss},
    h1::{self, Patience},
    replay::Replay,
    span::Span,
};
use crate::{
    body::Body,
    call::{Call, Upgrade, is_idempotent},
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

/// What the balancer hashes for this call, when its algorithm does.
pub(crate) fn hash_of(call: &Call, upstream: &Upstream) -> Option<u64> {
    use model::resource::balancing::HashKey;
    let bytes: &[u8] = match upstream.settings.load_balancing.hash.as_ref()? {
        HashKey::Header(name) => call.head.headers.get(name.to_http())?.as_bytes(),
        HashKey::Query(name) => {
            let query = call.head.uri.query()?;
            query.split('&').find_map(|pair| pair.strip_prefix(name.as_str())?.strip_prefix('='))?.as_bytes()
        }
        HashKey::Cookie(name) => call
            .head
            .headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))?,
        HashKey::Consumer => call.consumer.as_ref()?.name.as_bytes(),
        HashKey::ClientAddress => return Some(resilience::hash::hash64(call.client.to_string().as_bytes())),
        HashKey::Path => call.path().as_bytes(),
    };
    Some(resilience::hash::hash64(bytes))
}

/// Sends a call to an upstream until an answer is good enough, or nothing more may be tried.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    call: &mut Call,
    target: &Target,
    wish: &Wish,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let (upstream, effort) = (&*target.upstream, &target.effort);
    let cluster = &upstream.cluster;
    let bound = Bound::of(call, effort);
    let deadline = call.started + bound.time.map_or(effort.request, |time| time.min(effort.request));
    prepare(call, upstream);
    let guards = Guards { bulkhead: bulkhead(call, upstream, deadline).await?, ..Guards::default() };
    let mut guards = Some(guards);
    cluster.budget.deposit(call.started);
    let mut source = Source::new(body, effort, call);
    let mut tried: Vec<u64> = Vec::new();
    let mut stale_tries = 0;
    loop {
        let permit = match &cluster.breaker {
            Some(breaker) => Some(breaker.try_acquire(Instant::now()).map_err(|rejected| {
                Failure::gateway(Stage::Pick, Problem::CircuitOpen).with_retry_after(rejected.retry_after)
            })?),
            None => None,
        };
        let picked = pick(worker, call, upstream, wish, &tried)?;
        let endpoint = picked.endpoint.clone();
        call.record.endpoint = Some(endpoint.label.clone());
        call.record.attempts += 1;
        let mut held = guards.take().unwrap_or_default();
        held.in_flight = Some(picked.in_flight);
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started);
        let end = bound.time.map(|time| call.started + time);
        let attempt = Attempt { upstream, effort, endpoint: &endpoint, left, end, fresh: stale_tries > 0 };
        let result = attempt.run(worker, call, &mut source, held, permit).await;
        let again = match result {
            Ok(response) if !effort.retries_status(response.status().as_u16()) => {
                return Ok(bound.over(call, response));
            }
            Ok(response) => Again::Status(response),
            Err(broken) if broken.stale && stale_tries < 2 && source.may_repeat(call, Sent::Perhaps) => {
                // A kept connection that the upstream had closed: no try at all, as far as anyone can tell.
                stale_tries += 1;
                note(call, &endpoint, None, "stale-connection", started);
                continue;
            }
            Err(broken) => Again::Failure(broken.failure),
        };
        tried.push(endpoint.uid);
        let wait = match next(call, upstream, effort, &mut source, &again, deadline, worker.random()) {
            Some(wait) => wait,
            None => {
                return match again {
                    Again::Status(response) => Ok(response),
                    Again::Failure(failure) => Err(failure),
                };
            }
        };
        let (status, reason) = match &again {
            Again::Status(response) => (Some(response.status()), "status"),
            Again::Failure(failure) => (None, failure.problem().slug()),
        };
        note(call, &endpoint, status, reason, started);
        drop(again);
        if guards.is_none() {
            guards =
                Some(Guards { bulkhead: bulkhead(call, upstream, deadline).await?, ..Guards::default() });
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// What bounds the whole exchange: the route's `total`, and the deadline that a gRPC client sets.
struct Bound {
    time: Option<Duration>,
    is_grpc: bool,
}

impl Bound {
    fn of(call: &Call, effort: &Effort) -> Self {
        let time = [grpc_timeout(call), effort.total].into_iter().flatten().min();
        Self { time, is_grpc: crate::failure::is_grpc(&call.head.headers) }
    }

    /// An answer whose body ends with the time that is left.
    fn over(&self, call: &Call, response: Response<Body>) -> Response<Body> {
        match self.time {
            Some(time)
                if response.status() != StatusCode::SWITCHING_PROTOCOLS && !response.body().is_empty() =>
            {
                let left = time.saturating_sub(call.elapsed());
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

fn note(
    call: &mut Call,
    endpoint: &Endpoint,
    status: Option<StatusCode>,
    reason: &'static str,
    started: Instant,
) {
    call.record.failed_tries.push(TryRecord {
        endpoint: endpoint.label.clone(),
        status,
        reason,
        duration: started.elapsed(),
    });
}

/// Whether there is another try, and after how long.
fn next(
    call: &Call,
    upstream: &Upstream,
    effort: &Effort,
    source: &mut Source,
    again: &Again,
    deadline: Instant,
    random: u64,
) -> Option<Duration> {
    let tries =
        call.record.failed_tries.iter().filter(|try_| try_.reason != "stale-connection").count() as u32 + 1;
    if tries >= effort.max_attempts || call.upgrade.is_some() {
        return None;
    }
    let (sent, wanted, hint) = match again {
        Again::Status(response) => (Sent::Perhaps, true, retry_after(response)),
        Again::Failure(failure) if failure.side() == Side::Upstream => {
            (failure.sent(), effort.wants(failure), None)
        }
        Again::Failure(_) => return None,
    };
    if !wanted || !source.may_repeat(call, sent) {
        return None;
    }
    let now = Instant::now();
    // What was provably never sent put no load on anyone, and so does not draw on the budget.
    if sent == Sent::Perhaps && !upstream.cluster.budget.try_withdraw(now) {
        return None;
    }
    let wait = match sent {
        Sent::Nothing => Duration::ZERO,
        Sent::Perhaps => {
            let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
            effort.backoff.delay(tries, unit).max(hint.unwrap_or_default().min(effort.backoff.max))
        }
    };
    (now + wait < deadline).then_some(wait)
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl Effort {
    /// Whether a failed try of this kind is one to repeat.
    fn wants(&self, failure: &Failure) -> bool {
        let on = |wanted: RetryOn| self.on.contains(&wanted);
        match (failure.problem(), failure.stage()) {
            (Problem::ConnectFailed, _) => on(RetryOn::ConnectFailure),
            (Problem::UpstreamTimeout, Stage::Connect | Stage::Tls) => on(RetryOn::ConnectFailure),
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

/// The request's body, for as many tries as it is good for.
enum Source {
    Empty,
    Once(Option<Body>),
    Kept(Replay),
}

impl Source {
    fn new(body: Body, effort: &Effort, call: &Call) -> Self {
        if body.is_empty() {
            return Self::Empty;
        }
        if effort.max_attempts < 2 || call.upgrade.is_some() {
            return Self::Once(Some(body));
        }
        Self::Kept(Replay::new(body, effort.replay_bytes))
    }

    fn body(&mut self) -> Option<Body> {
        match self {
            Self::Empty => Some(Body::Empty),
            Self::Once(body) => body.take(),
            Self::Kept(replay) => Some(replay.body()),
        }
    }

    /// Whether the request can be sent again without doing twice what it asks for.
    fn may_repeat(&self, call: &Call, sent: Sent) -> bool {
        let harmless = sent == Sent::Nothing
            || is_idempotent(&call.head.method)
            || (matches!(call.head.method, Method::POST | Method::PATCH)
                && call.head.headers.contains_key("idempotency-key"));
        harmless
            && match self {
                Self::Empty => true,
                Self::Once(body) => body.is_some(),
                Self::Kept(replay) => replay.is_whole(),
            }
    }
}

/// One try.
struct Attempt<'a> {
    upstream: &'a Upstream,
    effort: &'a Effort,
    endpoint: &'a Arc<Endpoint>,
    left: Duration,
    /// When the whole exchange must be over.
    end: Option<Instant>,
    /// Pooled connections were found closed: open a new one.
    fresh: bool,
}

impl Attempt<'_> {
    async fn run(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        source: &mut Source,
        guards: Guards,
        permit: Option<Permit>,
    ) -> Result<Response<Body>, h1::Broken> {
        let started = Instant::now();
        let span = Span::start(worker, call, self.endpoint, self.upstream);
        let result = self.exchange(worker, call, source, guards).await;
        let now = Instant::now();
        let elapsed = now.duration_since(started);
        let (report, outcome) = match &result {
            Ok(response) => {
                let status = response.status().as_u16();
                let outcome = if status >= 500 { Outcome::Failure } else { Outcome::Success };
                (TryResult::Answered { status, latency: elapsed }, outcome)
            }
            Err(broken) if broken.stale => (TryResult::Cancelled, Outcome::Ignored),
            Err(broken) => judge(&broken.failure),
        };
        if let Some(span) = span {
            span.end(call, elapsed, &result);
        }
        if !matches!(report, TryResult::Cancelled) {
            self.upstream.cluster.report(self.endpoint, now, report);
        }
        if let Some(permit) = permit {
            permit.record(now, elapsed, outcome);
        }
        result
    }

    async fn exchange(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        source: &mut Source,
        guards: Guards,
    ) -> Result<Response<Body>, h1::Broken> {
        let broken = |failure| h1::Broken { failure, stale: false };
        let began = Instant::now();
        let connected = self.connected(worker, call).await;
        let connecting = began.elapsed();
        call.record.timings.connect = Some(connecting);
        call.record.timings.upstream_first_byte = None;
        let connected = connected.map_err(broken)?;
        let left = self.left.saturating_sub(connecting);
        let patience = Patience {
            head: self.effort.per_try.map_or(left, |per_try| per_try.min(left)),
            idle: self.effort.idle,
        };
        if call.host_from_endpoint
            && let Ok(value) = HeaderValue::from_str(self.endpoint.authority())
        {
            call.head.headers.insert(header::HOST, value);
        }
        let body = source.body().ok_or_else(|| {
            broken(Failure::gateway(Stage::Send, Problem::Internal).with_detail("the body was already sent"))
        })?;
        let interim = call.interim.clone();
        let sending = Instant::now();
        let exchange = async {
            match connected {
                Connected::H1(conn) => {
                    h1::exchange(conn, &call.head, body, patience, interim.as_ref(), guards).await
                }
                Connected::H2(channel) => {
                    let tls = self.upstream.tls.is_some();
                    channel.exchange(&call.head, tls, body, patience, interim.as_ref(), guards).await
                }
            }
        };
        let result = match self.end {
            None => exchange.await,
            Some(end) => tokio::time::timeout_at(end.into(), exchange).await.unwrap_or_else(|_| {
                let text = "the whole exchange took too long";
                Err(broken(Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, text)))
            }),
        };
        call.record.timings.upstream_first_byte = Some(sending.elapsed());
        let response = result?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && call.upgrade.is_none() {
            // A tunnel that the client has not asked for would carry its next requests past every policy.
            let text = "it switched protocols without being asked";
            return Err(broken(Failure::upstream(Stage::FirstByte, Problem::BadUpstreamAnswer, text)));
        }
        Ok(response)
    }

    async fn connected(&self, worker: &Rc<Worker>, call: &Call) -> Result<Connected, Failure> {
        let key = connect::key(self.upstream, self.endpoint);
        // With a PROXY header, a connection speaks for one client: it is not shared between calls.
        let poolable = self.upstream.proxy_protocol().is_none() && !self.fresh;
        if poolable {
            if let Some(channel) = worker.pool().channel(key) {
                return Ok(Connected::H2(channel));
            }
            if let Some(conn) = worker.pool().take(key, Instant::now()) {
                return Ok(Connected::H1(conn));
            }
        }
        connect::open(worker, self.upstream, self.endpoint, self.effort, key, Some(&call.peer)).await.map_err(
            |(failure, miss)| {
                if miss == Miss::Refused { failure.with_refused() } else { failure }
            },
        )
    }
}

/// What a failed try says about the endpoint and to the breaker.
fn judge(failure: &Failure) -> (TryResult, Outcome) {
    if failure.side() != Side::Upstream {
        return (TryResult::Cancelled, Outcome::Ignored);
    }
    let result = match (failure.problem(), failure.stage()) {
        (Problem::ConnectFailed, _) if failure.was_refused() => TryResult::ConnectRefused,
        (Problem::ConnectFailed, _) => TryResult::ConnectFailed,
        (Problem::UpstreamTimeout, Stage::Connect | Stage::Tls) => TryResult::ConnectTimeout,
        (Problem::UpstreamTimeout, _) => TryResult::Timeout,
        _ => TryResult::Reset,
    };
    (result, Outcome::Failure)
}

fn pick(
    worker: &Worker,
    call: &Call,
    upstream: &Upstream,
    wish: &Wish,
    tried: &[u64],
) -> Result<Picked, Failure> {
    let request = PickRequest {
        now: Instant::now(),
        random: if tried.is_empty() { call.random } else { worker.random() },
        hash: wish.hash,
        tried,
        sticky: wish.endpoint.as_deref(),
    };
    upstream.cluster.pick(&request).ok_or_else(|| {
        Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint).with_retry_after(Duration::from_secs(1))
    })
}

/// A place in the upstream's bulkhead, if it has one; waiting for it takes from the call's time.
async fn bulkhead(
    call: &Call,
    upstream: &Upstream,
    deadline: Instant,
) -> Result<Option<resilience::BulkheadPermit>, Failure> {
    let Some(bulkhead) = &upstream.cluster.bulkhead else { return Ok(None) };
    let full =
        || Failure::gateway(Stage::Pick, Problem::BulkheadFull).with_retry_after(Duration::from_secs(1));
    if let Some(permit) = bulkhead.try_acquire() {
        return Ok(Some(permit));
    }
    let _ = call;
    let patience = bulkhead.max_wait().min(deadline.saturating_duration_since(Instant::now()));
    if patience.is_zero() {
        return Err(full());
    }
    let _ticket = bulkhead.try_wait().ok_or_else(full)?;
    let end = Instant::now() + patience;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Some(permit) = bulkhead.try_acquire() {
            return Ok(Some(permit));
        }
    }
    Err(full())
}

/// States what this hop's connection needs, and nothing of the client's own.
fn prepare(call: &mut Call, upstream: &Upstream) {
    let headers = &mut call.head.headers;
    if call.expects_continue {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if call.upgrade.is_some() && !upstream.is_http2() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if call.upgrade == Some(Upgrade::Stream) && !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            // RFC 8441 has no key; HTTP/1.1 wants one (RFC 6455 §4.1), any 16 bytes in base64.
            headers.insert(header::SEC_WEBSOCKET_KEY, websocket_key(call.random));
        }
    } else if headers.contains_key(header::TE) && !upstream.is_http2() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Sixteen bytes drawn from `random`, in base64.
fn websocket_key(random: u64) -> HeaderValue {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; 24];
    let mut bits = random;
    for (index, byte) in text[..22].iter_mut().enumerate() {
        bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        // The last digit of 16 bytes carries two bits only.
        let digit = if index == 21 { (bits >> 62 << 4) as usize } else { (bits >> 58) as usize };
        *byte = ALPHABET[digit];
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// What `grpc-timeout` of a gRPC call allows.
fn grpc_timeout(call: &Call) -> Option<Duration> {
    if !crate::failure::is_grpc(&call.head.headers) {
        return None;
    }
    let text = call.head.headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount.saturating_mul(3600)),
        "M" => Duration::from_secs(amount.saturating_mul(60)),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}
