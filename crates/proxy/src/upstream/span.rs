//! A try as a span: begun before the request goes out, so that the upstream is given its id as parent.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use http::{HeaderValue, Response, header};
use model::{TraceContext, TrySpan};

use super::{Upstream, cluster::Endpoint, h1::Broken};
use crate::{body::Body, call::Call, guard, worker::Worker};

/// A span that has begun: its place in the call's record.
pub(super) struct Span(usize);

impl Span {
    /// Begins a span when the call is sampled and spans are exported; else the upstream's parent is the call's own.
    pub(super) fn start(
        worker: &Rc<Worker>,
        call: &mut Call,
        endpoint: &Endpoint,
        upstream: &Upstream,
    ) -> Option<Self> {
        let trace = call.record.trace.filter(|trace| trace.sampled)?;
        if !worker.shared.exports_traces.load(Ordering::Relaxed) {
            return None;
        }
        let span_id = guard::span_id(worker);
        // A policy may have taken the header away.
        if call.head.headers.contains_key(guard::TRACEPARENT) {
            guard::state_trace(&mut call.head.headers, &TraceContext { span_id, ..trace });
        }
        let host = if call.host_from_endpoint {
            HeaderValue::from_str(endpoint.authority()).ok()
        } else {
            call.head.headers.get(header::HOST).cloned()
        };
        let place = call.record.tries.len();
        call.record.tries.push(TrySpan {
            span_id,
            started: call.elapsed(),
            duration: None,
            endpoint: endpoint.label.clone(),
            tls: upstream.tls.is_some(),
            version: None,
            uri: call.head.uri.clone(),
            host,
            status: None,
            failure: None,
        });
        Some(Self(place))
    }

    /// Ends it with the head of an answer, or with the failure to get one.
    pub(super) fn end(self, call: &mut Call, duration: Duration, result: &Result<Response<Body>, Broken>) {
        let Some(span) = call.record.tries.get_mut(self.0) else { return };
        span.duration = Some(duration);
        match result {
            Ok(response) => {
                span.version = Some(response.version());
                span.status = Some(response.status());
            }
            Err(broken) if broken.stale => span.failure = Some("stale-connection"),
            Err(broken) => span.failure = Some(broken.failure.problem().slug()),
        }
    }
}
