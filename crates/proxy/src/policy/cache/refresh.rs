//! `stale-while-revalidate`: asks for a new answer beside the call that was given the old one (RFC 5861 §3).
//!
//! What is asked is that call once more, from this policy on inwards; nobody waits for it, and what comes is kept or
//! thrown away like any other answer.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, Method};
use http_body::Body as _;

use super::{Asking, Kept, conditional::Conditions};
use crate::{
    body::Body,
    call::Call,
    failure, handler,
    policy::{Passed, chain},
    worker::Worker,
};

/// Refreshes of one policy at a time; one too many is left to the next request.
const AT_ONCE_MAX: usize = 256;
/// How long one may take, body included.
const PATIENCE: Duration = Duration::from_secs(120);
/// By its address the call's note of a refresh is found.
static NOTE: u8 = 0;

/// What is to be asked beside a call.
pub(super) struct Refresh {
    /// The policy, by its address.
    owner: usize,
    asking: Box<Asking>,
    place: Place,
    /// Fields that the upstream is told beside those of the call.
    beside: HeaderMap,
}

/// One of the places for refreshes; given back when it is dropped.
pub(super) struct Place(Arc<Kept>);

impl Place {
    pub(super) fn take(kept: &Arc<Kept>) -> Option<Self> {
        let place = Self(kept.clone());
        (kept.refreshing.fetch_add(1, Ordering::Relaxed) < AT_ONCE_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.refreshing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Leaves it to whoever has the worker.
pub(super) fn leave<P: ?Sized>(
    policy: &P,
    call: &mut Call,
    asking: Box<Asking>,
    place: Place,
    beside: HeaderMap,
) {
    let owner = (&raw const *policy).cast::<()>() as usize;
    call.keep(&NOTE, Refresh { owner, asking, place, beside });
}

/// Asks what a policy left to be asked beside this call.
pub(crate) fn begin(worker: &Rc<Worker>, call: &mut Call) {
    let Some(refresh) = call.take::<_, Refresh>(&NOTE) else { return };
    let Some(route) = call.route else { return };
    let mut head = call.head.clone();
    head.method = Method::GET;
    if let Some(stored) = &refresh.asking.stale {
        Conditions::ask_about(stored, &mut head.headers);
    }
    head.headers.extend(refresh.beside);
    let mut own = call.errand(head);
    own.host = call.host.clone();
    own.host_from_endpoint = call.host_from_endpoint;
    own.captures = call.captures.clone();
    own.claims = call.claims.clone();
    own.token = call.token.clone();
    own.forms = call.forms;
    own.shown_key = call.shown_key;
    own.chain = call.chain;
    own.record.uri = call.record.uri.clone();
    own.record.route = call.record.route.clone();
    let key = refresh.asking.key.clone();
    own.notes.push((refresh.owner, refresh.asking));
    let (worker, place) = (worker.clone(), refresh.place);
    tokio::task::spawn_local(async move {
        let ran = tokio::time::timeout(PATIENCE, Box::pin(run(&worker, &mut own, route))).await;
        let counts = &place.0.counts;
        match ran {
            Ok(true) => counts.refreshes.fetch_add(1, Ordering::Relaxed),
            Ok(false) | Err(_) => {
                let failure = own.record.failure.as_ref();
                tracing::warn!(
                    route = own.record.route.as_deref(),
                    upstream = own.record.upstream.as_deref(),
                    target = %own.record.uri.path(),
                    reason = failure.map_or("no good answer", |failure| failure.reason),
                    "a stale answer could not be asked about",
                );
                place.0.tiers.rest(&key);
                counts.failed_refreshes.fetch_add(1, Ordering::Relaxed)
            }
        };
    });
}

/// Whether it came to a good end: an answer that is none of a broken upstream, to its last byte.
async fn run(worker: &Rc<Worker>, call: &mut Call, route: usize) -> bool {
    let plan = call.plan.clone();
    let Some(route) = plan.routes.get(route) else { return false };
    let mut body = Body::Empty;
    let answer = match chain::request(call, &mut body).await {
        Ok(Passed::Answered(answer)) => Ok(*answer),
        Ok(Passed::Through | Passed::Around) => handler::handle(worker, call, &route.handler, body).await,
        Err(failure) => Err(failure),
    };
    let mut answer = answer.unwrap_or_else(|failure| {
        call.record_failure(&failure);
        failure::answer(&failure, &call.head.headers, &call.head.method, &call.record.request_id)
    });
    let is_good = call.record.failure.is_none() && !answer.status().is_server_error();
    if let Err(failure) = chain::judged(call, &mut answer).await {
        call.record_failure(&failure);
        return false;
    }
    // The copy that is kept is made of what is read.
    let mut body = std::mem::take(answer.body_mut());
    loop {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
            None => return is_good,
        }
    }
}
