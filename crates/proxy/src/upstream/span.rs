//! Tries as they are seen: each as a span whose id the upstream is given as its parent, and how far the last one came.

use std::{
    cell::{Cell, RefCell},
    sync::atomic::Ordering,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Response, header};
use model::{CallRecord, TraceContext, TryEnd, TrySpan};

use super::{Upstream, cluster::Endpoint};
use crate::{body::Body, call::Call, failure::Failure, guard, worker::Worker};

/// What the tries of a call leave behind while they run, several at once even. It outlives them, so that a call whose
/// client leaves in the middle of a try still says how far that try came.
#[derive(Default)]
pub(crate) struct Trail {
    spans: RefCell<Vec<TrySpan>>,
    phases: Cell<Phases>,
}

/// How long the phases of a try took; none for one that has not ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Phases {
    /// To a usable connection, or to the failure to get one.
    pub(super) connect: Option<Duration>,
    /// From there to the head of the answer, or to the failure to get one.
    pub(super) first_byte: Option<Duration>,
}

impl Trail {
    /// Forgets how far tries came that were made for something else.
    pub(crate) fn begin(&self) {
        self.reached(Phases::default());
    }

    /// Whether the try that counts has a connection, so that the upstream may have had the call.
    pub(crate) fn is_connected(&self) -> bool {
        self.phases.get().connect.is_some()
    }

    /// Says how far the try that counts has come.
    pub(super) fn reached(&self, phases: Phases) {
        self.phases.set(phases);
    }

    /// Forgets all tries but the first so many; none of them may run.
    pub(super) fn bound(&self, most: usize) {
        self.spans.borrow_mut().truncate(most);
    }

    /// Takes over the tries of a call that was made for this one and began so much later.
    pub(crate) fn adopt(&self, other: Self, later: Duration) {
        self.phases.set(other.phases.get());
        let shifted = other.spans.into_inner().into_iter();
        let shifted = shifted.map(|span| TrySpan { started: span.started.saturating_add(later), ..span });
        self.spans.borrow_mut().extend(shifted);
    }

    /// Writes it into the record of a call that has ended.
    pub(crate) fn write(self, record: &mut CallRecord) {
        let Phases { connect, first_byte } = self.phases.get();
        record.timings.connect = connect;
        record.timings.upstream_first_byte = first_byte;
        record.tries = self.spans.into_inner();
    }

    fn change(&self, span: Span, change: impl FnOnce(&mut TrySpan)) {
        if let Some(span) = self.spans.borrow_mut().get_mut(span.place) {
            change(span);
        }
    }
}

/// A span that has begun: its place in the trail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    place: usize,
    context: TraceContext,
}

impl Span {
    /// Begins a span when the call is sampled and spans are exported; else the upstream's parent is the call's own.
    pub(super) fn start(
        worker: &Worker,
        call: &Call,
        endpoint: &Endpoint,
        upstream: &Upstream,
        is_hedge: bool,
    ) -> Option<Self> {
        let trace = call.record.trace.filter(|trace| trace.sampled)?;
        if !worker.shared.exports_traces.load(Ordering::Relaxed) {
            return None;
        }
        let span_id = guard::span_id(worker);
        let host = if call.host_from_endpoint {
            HeaderValue::from_str(endpoint.authority()).ok()
        } else {
            call.head.headers.get(header::HOST).cloned()
        };
        let mut spans = call.trail.spans.borrow_mut();
        let place = spans.len();
        spans.push(TrySpan {
            span_id,
            upstream: upstream.name.clone(),
            started: call.elapsed(),
            duration: None,
            endpoint: endpoint.label.clone(),
            tls: upstream.tls.is_some(),
            uri: call.head.uri.clone(),
            host,
            is_hedge,
            end: TryEnd::CutOff,
        });
        Some(Self { place, context: TraceContext { span_id, ..trace } })
    }

    /// Names it as the parent of what the upstream does.
    pub(super) fn state(self, headers: &mut HeaderMap) {
        // A policy may have taken the header away.
        if headers.contains_key(guard::TRACEPARENT) {
            guard::state_trace(headers, &self.context);
        }
    }

    /// Ends it with the head of an answer, or with the failure to get one.
    pub(super) fn end(self, call: &Call, duration: Duration, result: &Result<Response<Body>, Failure>) {
        let end = match result {
            Ok(response) => TryEnd::Answered {
                status: response.status(),
                version: response.version(),
                is_passed_on: false,
            },
            Err(failure) => TryEnd::Failed(failure.problem().slug()),
        };
        call.trail.change(self, |span| (span.duration, span.end) = (Some(duration), end));
    }

    /// Ends it because another try has answered first.
    pub(super) fn overtaken(self, call: &Call, duration: Duration) {
        call.trail.change(self, |span| (span.duration, span.end) = (Some(duration), TryEnd::Overtaken));
    }

    /// Its answer is the one that the client gets, so that it lasts as long as the body.
    pub(super) fn pass_on(self, call: &Call) {
        call.trail.change(self, |span| {
            if let TryEnd::Answered { is_passed_on, .. } = &mut span.end {
                *is_passed_on = true;
            }
        });
    }
}
