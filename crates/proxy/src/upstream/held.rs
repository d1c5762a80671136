//! Holds a call while its upstream is on its way up, and sends it when it is let go.
//!
//! Only what was not sent is held: nothing of the request has gone out, or the upstream has said that it did nothing with it and
//! the request may be sent again. A body that is not read stays where it is; the client is not asked for more.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Response;
use model::resource::request_queue::{RequestQueue as Settings, StartingMarker};
use resilience::cold::{Full, Pass, Turn};

use super::{
    Effort, Upstream,
    cluster::{Came, RequestQueue},
    source::Source,
    tries::{self, Wish},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Sent, Side, Stage},
    handler::backends::Target,
    worker::Worker,
};

/// Tries in vain of a held call that its record and its trace keep.
const TRIES_MAX: usize = 16;

/// A call that may be held.
struct Holding<'a> {
    upstream: &'a Upstream,
    effort: &'a Effort,
    queue: &'a Arc<RequestQueue>,
    settings: &'a Settings,
    /// When its time of waiting is over, once it waits.
    until: Option<Instant>,
    waited: Duration,
}

/// Sends a call as [`tries::tries`] does, and holds it while the upstream is not there.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    call: &mut Call,
    target: &Target,
    wish: &Wish,
    source: &RefCell<Source>,
    queue: &Arc<RequestQueue>,
    settings: &Settings,
) -> Result<Response<Body>, Failure> {
    let upstream = &*target.upstream;
    let mut holding =
        Holding { upstream, effort: &target.effort, queue, settings, until: None, waited: Duration::ZERO };
    let mut pass = match queue.line.is_open() {
        true => None,
        false => {
            let turn = holding.stand(queue.line.enter())?;
            Some(holding.wait(call, turn).await?)
        }
    };
    loop {
        let resumed = holding.until.is_some().then(Instant::now);
        // Others would be tried though all are ill; who may wait does.
        let result = match upstream.cluster.is_any_healthy() {
            true => tries::tries(worker, call, target, wish, source, resumed).await,
            false => Err(Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint)),
        };
        let is_held = pass.is_some();
        if !holding.is_cold(call, &source.borrow(), &result, is_held) {
            if let Some(pass) = pass {
                holding.tell(call, pass, &result);
            }
            return result;
        }
        call.record.failed_tries.truncate(TRIES_MAX);
        call.trail.bound(TRIES_MAX);
        // What stands in a refused answer is nobody's.
        drop(result);
        pass = Some(match pass {
            Some(pass) => {
                let (turn, began) = pass.cold();
                holding.begun(began);
                holding.wait(call, turn).await?
            }
            None => {
                let (turn, began) = holding.stand(queue.line.found_cold())?;
                holding.begun(began);
                holding.wait(call, turn).await?
            }
        });
    }
}

impl Holding<'_> {
    /// Takes note of whether there was room in the line.
    fn stand<T>(&self, room: Result<T, Full>) -> Result<T, Failure> {
        self.queue.counts.note(if room.is_ok() { Came::Held } else { Came::Full });
        room.map_err(|_| self.refusal("as many calls are held as may"))
    }

    fn begun(&self, generation: Option<u64>) {
        if let Some(generation) = generation {
            self.upstream.cluster.hold(generation);
        }
    }

    async fn wait(&mut self, call: &mut Call, turn: Turn) -> Result<Pass, Failure> {
        let began = Instant::now();
        let until = *self.until.get_or_insert(began + self.settings.max_wait.get());
        let end = tries::end_of(call, self.effort).map_or(until, |end| end.min(until));
        let outcome = tokio::time::timeout_at(end.into(), turn).await;
        let waited = began.elapsed();
        self.waited += waited;
        self.queue.counts.waited(waited);
        call.traffic().held = Some(self.waited);
        outcome.map_err(|_| {
            self.queue.counts.note(Came::TimedOut);
            self.refusal("it did not come up in time")
        })
    }

    fn refusal(&self, detail: &str) -> Failure {
        Failure::gateway(Stage::Pick, Problem::UpstreamStarting)
            .with_retry_after(self.settings.retry_after.get())
            .with_detail(detail)
    }

    /// Says what somebody found who was let go.
    fn tell(&self, call: &Call, pass: Pass, result: &Result<Response<Body>, Failure>) {
        let is_there = match result {
            // One that is on its way up may answer calls that cannot be held for it.
            Ok(response) => !self.is_marked(response),
            Err(failure) => failure.side() == Side::Upstream,
        };
        if !is_there {
            return drop(pass);
        }
        if let (Ok(response), Some(endpoint)) = (result, &call.record.endpoint)
            && !response.status().is_server_error()
        {
            self.upstream.cluster.welcome(endpoint, Instant::now());
        }
        self.queue.counts.note(Came::Released);
        pass.found();
    }

    fn is_marked(&self, response: &Response<Body>) -> bool {
        self.settings.starting.as_ref().is_some_and(|marker| says(marker, response))
    }

    /// Whether the upstream is not there, and the call can wait for it.
    fn is_cold(
        &self,
        call: &Call,
        source: &Source,
        result: &Result<Response<Body>, Failure>,
        is_held: bool,
    ) -> bool {
        match result {
            Err(failure) => {
                let is_connecting = failure.stage() == Stage::Connect && failure.sent() == Sent::Nothing;
                let is_cold = match failure.problem() {
                    Problem::NoHealthyEndpoint => true,
                    Problem::ConnectFailed | Problem::UpstreamTimeout => is_connecting,
                    // It opened for the very reason that calls are held for.
                    Problem::CircuitOpen => is_held,
                    _ => false,
                };
                is_cold && source.may_repeat(&call.head, Sent::Nothing)
            }
            Ok(response) => {
                self.is_marked(response)
                    && call.upgrade.is_none()
                    && source.may_repeat(&call.head, Sent::Perhaps)
            }
        }
    }
}

/// Whether an answer says that its upstream is on its way up.
fn says(marker: &StartingMarker, response: &Response<Body>) -> bool {
    let mut values = response.headers().get_all(marker.header.to_http()).iter();
    response.status().as_u16() == marker.status
        && values.any(|shown| marker.value.as_ref().is_none_or(|value| shown.as_bytes() == value.as_bytes()))
}
