//! One try: a connection, an exchange, and what both say about the endpoint.
//!
//! A connection from the pool that turns out to be closed is no sign of illness: the try goes on with a new one.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use http::{Response, StatusCode, request::Parts};
use resilience::{Outcome, Permit};

use super::{
    Effort, Guards, Upstream,
    cluster::{Endpoint, TryResult},
    connect::{self, Connected, Miss},
    h1::{self, Broken},
    pool::{Opener, PoolKey},
    source::Source,
    span::Phases,
    switch,
};
use crate::{
    body::Body,
    call::{Call, GRPC_STATUS, Interim, Upgrade},
    failure::{Failure, Problem, Side, Stage},
    worker::Worker,
};

/// One try.
pub(super) struct Attempt<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) upstream: &'a Upstream,
    pub(super) effort: &'a Effort,
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) call: &'a Call,
    /// The call's head as this endpoint gets it.
    pub(super) head: &'a Parts,
    /// Where 1xx answers go.
    pub(super) interim: Option<&'a Rc<dyn Interim>>,
    pub(super) source: &'a RefCell<Source>,
    /// When it begins. The clock is read where time may have passed, and handed on elsewhere.
    pub(super) started: Instant,
    /// What is left of the time for all tries.
    pub(super) left: Duration,
    /// When the whole exchange must be over.
    pub(super) end: Option<Instant>,
}

/// How a try ended.
pub(super) struct Tried {
    pub(super) result: Result<Response<Body>, Failure>,
    pub(super) phases: Phases,
    /// A kept connection turned out to be closed first, after this long.
    pub(super) stale: Option<Duration>,
}

impl Tried {
    /// One that ended before anything was sent.
    pub(super) fn unsent(failure: Failure) -> Self {
        Self { result: Err(failure), phases: Phases::default(), stale: None }
    }
}

impl Attempt<'_> {
    /// Makes the try, and tells the endpoint's account and the breaker how it ended.
    pub(super) async fn run(&self, mut guards: Guards, permit: Option<Permit>) -> Tried {
        let mut started = self.started;
        let mut now;
        let end = started + self.effort.per_try.map_or(self.left, |per_try| per_try.min(self.left));
        let (mut phases, mut stale) = (Phases::default(), None);
        self.call.trail.reached(phases);
        let result = loop {
            let connected = self.connected(started, end, stale.is_some()).await;
            now = connected.as_ref().map_or_else(|_| Instant::now(), |(_, since)| *since);
            phases = Phases { connect: Some(now.duration_since(started)), first_byte: None };
            self.call.trail.reached(phases);
            let result = match connected {
                Ok((connected, since)) => {
                    let result = self.exchange(connected, since, end, &mut guards).await;
                    now = Instant::now();
                    phases.first_byte = Some(now.duration_since(since));
                    self.call.trail.reached(phases);
                    result
                }
                Err(failure) => Err(Broken { failure, stale: false }),
            };
            match result {
                Err(broken) if broken.stale && stale.is_none() && self.may_repeat(&broken.failure) => {
                    stale = Some(now.duration_since(started));
                    started = now;
                }
                Ok(response) => break Ok(response),
                Err(broken) => break Err(broken),
            }
        };
        let elapsed = now.duration_since(started);
        let (report, outcome) = match &result {
            Ok(response) => {
                let status = status_of(response);
                let outcome = if status >= 500 { Outcome::Failure } else { Outcome::Success };
                (TryResult::Answered { status, latency: elapsed }, outcome)
            }
            Err(broken) if broken.stale => (TryResult::Cancelled, Outcome::Ignored),
            Err(broken) => judge(&broken.failure, elapsed),
        };
        if !matches!(report, TryResult::Cancelled) {
            self.upstream.cluster.report(self.endpoint, now, report);
        }
        if let Some(permit) = permit {
            permit.record(now, elapsed, outcome);
        }
        Tried { result: result.map_err(|broken| broken.failure), phases, stale }
    }

    fn may_repeat(&self, failure: &Failure) -> bool {
        self.source.borrow().may_repeat(self.head, failure.sent())
    }

    async fn exchange(
        &self,
        connected: Connected,
        now: Instant,
        end: Instant,
        guards: &mut Guards,
    ) -> Result<Response<Body>, Broken> {
        let broken = |failure| Broken { failure, stale: false };
        let patience = h1::Patience { now, head: end.saturating_duration_since(now), idle: self.effort.idle };
        let exchange = async {
            match connected {
                Connected::H1(conn) => {
                    let body = self.source.borrow_mut().take().ok_or_else(|| {
                        let failure = Failure::gateway(Stage::Send, Problem::Internal);
                        broken(failure.with_detail("the body was already sent"))
                    })?;
                    h1::exchange(conn, self.head, body, patience, self.interim, guards).await
                }
                Connected::H2(channel) => {
                    let tls = self.upstream.tls.is_some();
                    if let Some(upgrade) = self.call.upgrade {
                        return Box::pin(channel.websocket(self.head, upgrade, tls, patience, guards)).await;
                    }
                    Box::pin(channel.exchange(self.head, tls, self.source, patience, self.interim, guards))
                        .await
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
        let response = result?;
        switch::judge(self.call.upgrade, self.head, &response).map_err(broken)?;
        Ok(response)
    }

    /// A connection, and since when it is there: a kept one, unless those of HTTP/1 were found closed. A shared one
    /// that was is not offered again.
    async fn connected(
        &self,
        mut now: Instant,
        end: Instant,
        fresh: bool,
    ) -> Result<(Connected, Instant), Failure> {
        let key = connect::key(self.upstream, self.endpoint);
        let pool = self.worker.pool();
        let is_own = self.upstream.proxy_protocol().is_some();
        if self.call.upgrade.is_some() && !self.upstream.is_http2() {
            // A switch of protocols takes a connection of HTTP/1.1 for itself, where that is spoken.
            if !fresh
                && !is_own
                && let Some(conn) = pool.take(key, now)
            {
                return Ok((Connected::H1(conn), now));
            }
            // Where it is not, that is found out once for as long as a connection of HTTP/2 stands.
            let is_tunnel = self.call.upgrade == Some(Upgrade::Connect);
            let lacks_http1 = &self.endpoint.lacks_http1;
            let is_known = lacks_http1.load(Ordering::Relaxed) && pool.channel(key, now).is_some();
            if is_tunnel || is_own || !is_known {
                let opened = self.open_as(key, end, true).await;
                let is_lacking = matches!(&opened, Err((_, Miss::NoHttp1)));
                lacks_http1.store(is_lacking, Ordering::Relaxed);
                if is_tunnel || !is_lacking {
                    return opened.map_err(told);
                }
            }
        }
        // With a PROXY header, a connection speaks for one client: it is not shared between calls.
        if is_own {
            return self.open(key, end).await;
        }
        loop {
            if let Some(channel) = pool.channel(key, now) {
                return Ok((Connected::H2(channel), now));
            }
            if !fresh && let Some(conn) = pool.take(key, now) {
                return Ok((Connected::H1(conn), now));
            }
            match pool.opener(key, self.upstream) {
                Opener::Alone => return self.open(key, end).await,
                Opener::ForAll(opening) => {
                    let opened = self.open(key, end).await;
                    if opened.is_ok() {
                        opening.opened();
                    }
                    return opened;
                }
                Opener::Another(opening) => {
                    let left = end.saturating_duration_since(now);
                    let ended = tokio::time::timeout(left, opening.ended()).await;
                    // What failed for another is tried again at once, by each for itself.
                    if !ended.unwrap_or(false) {
                        return self.open(key, end).await;
                    }
                    now = Instant::now();
                }
            }
        }
    }

    /// Boxed: opening is rare, and its state would be carried in every future around it.
    async fn open(&self, key: PoolKey, end: Instant) -> Result<(Connected, Instant), Failure> {
        self.open_as(key, end, false).await.map_err(told)
    }

    async fn open_as(
        &self,
        key: PoolKey,
        end: Instant,
        only_http1: bool,
    ) -> Result<(Connected, Instant), (Failure, Miss)> {
        let patience = connect::Patience {
            connect: self.effort.connect,
            tls: self.effort.tls,
            whole: end.saturating_duration_since(Instant::now()),
        };
        let how = connect::How { patience, peer: Some(&self.call.peer), only_http1 };
        let opening = connect::open(self.worker, self.upstream, self.endpoint, &how, key);
        Ok((Box::pin(opening).await?, Instant::now()))
    }
}

/// What a connection that could not be opened is to the call.
fn told((failure, miss): (Failure, Miss)) -> Failure {
    if miss == Miss::Refused { failure.with_refused() } else { failure }
}

/// The status that an answer counts as. A gRPC call that fails before any message says so in its head, as 200; what
/// comes after messages is the matter of that call (gRPC over HTTP/2, "Trailers-Only"; statuses as Envoy maps them).
fn status_of(response: &Response<Body>) -> u16 {
    let status = response.status();
    if status != StatusCode::OK || !matches!(response.body(), Body::Empty) {
        return status.as_u16();
    }
    match response.headers().get(GRPC_STATUS).map(http::HeaderValue::as_bytes) {
        Some(b"14") => 503,
        Some(b"4") => 504,
        Some(b"2" | b"13" | b"15") => 500,
        _ => 200,
    }
}

/// What a failed try says about the endpoint and to the breaker.
fn judge(failure: &Failure, waited: Duration) -> (TryResult, Outcome) {
    if failure.side() != Side::Upstream {
        return (TryResult::Cancelled, Outcome::Ignored);
    }
    let result = match (failure.problem(), failure.stage()) {
        (Problem::ConnectFailed, _) if failure.was_refused() => TryResult::ConnectRefused,
        (Problem::ConnectFailed, _) => TryResult::ConnectFailed,
        (Problem::UpstreamTimeout, Stage::Connect | Stage::Tls) => TryResult::ConnectTimeout,
        (Problem::UpstreamTimeout, _) => TryResult::Timeout { waited },
        _ => TryResult::Reset { waited },
    };
    (result, Outcome::Failure)
}
