//! `mirror`: sends copies of requests to another upstream, and compares its answers with those that clients get.
//!
//! It stands around the handler: it listens to the request's body on its way in, sends the copy when that is whole, and
//! listens to the answer on its way out. Clients wait for none of it; what is too large, or one too many, is left out.

mod compare;
mod overheard;
pub(crate) mod report;

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, Method, Response, header, request::Parts};
use model::MirrorRecord;
use resilience::{Bulkhead, BulkheadPermit, hash};
use tokio::sync::oneshot;

use self::{
    compare::{Comparing, Side},
    overheard::overhear,
    report::Mirrored,
};
use super::{Flow, Needs, NeedsOf, Policy, chain, onward, rewrite::SentHost};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::Failure,
    guard,
    handler::{
        ai::gathered::gather,
        around::{self, Around, Next},
        backends::Target,
    },
    policy::Passed,
    upstream::{Effort, tries},
    worker::Worker,
};

/// Marks a copy, so that who gets it can tell it from a request.
const MARK: HeaderName = HeaderName::from_static("x-tidegate-mirror");
/// How long a client's answer may go on after its copy's.
const PATIENCE: Duration = Duration::from_secs(120);

/// The compiled policy.
pub(crate) struct Mirror {
    mirror: Arc<Copies>,
    methods: Vec<Method>,
    /// Of 2⁶⁴ requests, how many are copied.
    share: u64,
    is_always: bool,
}

/// What a copy needs of its policy, which a reload may replace.
struct Copies {
    owner: String,
    target: Target,
    places: Arc<Bulkhead>,
    bytes_max: usize,
    timeout: Duration,
    comparing: Option<Comparing>,
    is_recorded: bool,
    sends_tokens: bool,
    mirrored: Arc<Mirrored>,
}

impl Mirror {
    pub(crate) fn compile(settings: &model::policy::Mirror, cx: &Building<'_>) -> Result<Self, String> {
        if cx.owner.starts_with("upstreams/") || cx.owner.starts_with("consumers/") {
            return Err("`mirror` stands on a route, a listener or globally, not here".into());
        }
        let upstream = cx.upstreams.get(settings.upstream.as_str());
        let upstream = upstream.ok_or_else(|| format!("upstream: no upstream `{}`", settings.upstream))?;
        let own = &upstream.settings;
        let timeout = settings.timeout.get();
        // One copy is one request: what is tried again would be seen twice there.
        let mut effort = Effort::new(&own.timeouts, &Default::default(), None);
        effort.request = effort.request.min(timeout);
        effort.total = Some(timeout);
        effort.max_attempts = 1;
        let method =
            |name: &String| Method::from_bytes(name.as_bytes()).map_err(|error| format!("methods: {error}"));
        let comparing = settings.diff.as_ref().map(|diff| Comparing {
            headers: diff.headers.iter().map(model::HeaderName::to_http).collect(),
            body: diff.body,
            ignore: diff.ignore.iter().map(|path| compare::path(path)).collect(),
        });
        let most = settings.max_concurrent;
        let places = cx.keep("places", &most, || Bulkhead::new(most, Duration::ZERO));
        Ok(Self {
            methods: settings.methods.iter().map(method).collect::<Result<_, _>>()?,
            share: (settings.percent.fraction() * u64::MAX as f64) as u64,
            is_always: settings.percent.get() >= 100.0,
            mirror: Arc::new(Copies {
                owner: cx.owner.clone(),
                target: Target { upstream: upstream.clone(), effort, weight: 1 },
                places: (*places).clone(),
                bytes_max: settings.max_body_size.get(),
                timeout,
                comparing,
                is_recorded: settings.diff.as_ref().is_some_and(|diff| diff.record),
                sends_tokens: settings.send_tokens,
                mirrored: cx.keep(report::KEPT, &settings.upstream, Mirrored::default),
            }),
        })
    }
}

impl NeedsOf for model::policy::Mirror {
    fn needs(&self) -> Needs {
        Needs::headers([MARK])
    }
}

impl Policy for Mirror {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let is_meant = self.methods.is_empty() || self.methods.contains(&call.head.method);
        // Each policy draws for itself, and the same way for all tries of a call.
        let drawn = hash::mix(call.random ^ 0x3149_5A0D);
        if !is_meant || call.upgrade.is_some() || !(self.is_always || drawn < self.share) {
            return Flow::Continue;
        }
        match self.mirror.places.try_acquire() {
            Some(place) => around::put(call, Box::new(Copying { mirror: self.mirror.clone(), place })),
            None => {
                self.mirror.mirrored.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
        Flow::Continue
    }
}

/// A request that is to be copied.
struct Copying {
    mirror: Arc<Copies>,
    place: BulkheadPermit,
}

impl Around for Copying {
    fn run<'a>(
        self: Box<Self>,
        mut next: Next,
        call: &'a mut Call,
    ) -> LocalBoxFuture<'a, Result<Response<Body>, Failure>> {
        Box::pin(async move {
            let Self { mirror, place } = *self;
            let (heard, body) = oneshot::channel();
            next.body = overhear(next.body, mirror.bytes_max, heard);
            let (ends, end) = oneshot::channel();
            let copy = Copy {
                worker: next.worker.clone(),
                call: copied(call, mirror.sends_tokens),
                body,
                end,
                _place: place,
            };
            tokio::task::spawn_local(run(mirror.clone(), copy));
            let began = Instant::now();
            let result = next.go(call).await;
            let Some(_) = &mirror.comparing else { return result };
            let mut response = result?;
            let (heard, body) = oneshot::channel();
            let (status, headers) = (response.status(), response.headers().clone());
            let inner = std::mem::take(response.body_mut());
            *response.body_mut() = overhear(inner, mirror.bytes_max, heard);
            let _ = ends.send((Side { status, headers, body: None }, body, began.elapsed()));
            Ok(response)
        })
    }
}

/// The call of a copy: what the upstream of the client's call gets, but for what is about its connection, and tokens that are
/// for that upstream.
fn copied(call: &Call, sends_tokens: bool) -> Box<Call> {
    let mut head: Parts = call.head.clone();
    if !sends_tokens {
        onward::take_out(call, &mut head.headers);
    }
    head.headers.remove(header::EXPECT);
    head.headers.insert(MARK, HeaderValue::from_static("true"));
    let mut own = call.errand(head);
    own.host = call.host.clone();
    own.host_from_endpoint = call.host_from_endpoint;
    own.captures = call.captures.clone();
    own.claims = call.claims.clone();
    own.token = call.token.clone();
    own.record.route.clone_from(&call.record.route);
    own.record.consumer.clone_from(&call.record.consumer);
    own.record.uri = call.record.uri.clone();
    own.record.host.clone_from(&call.record.host);
    own.record.trace = None;
    own
}

/// The client's answer, its body once that has ended, and how long its head took.
type Ended = (Side, oneshot::Receiver<Bytes>, Duration);

/// A copy on its way.
struct Copy {
    worker: Rc<Worker>,
    call: Box<Call>,
    body: oneshot::Receiver<Bytes>,
    end: oneshot::Receiver<Ended>,
    _place: BulkheadPermit,
}

async fn run(mirror: Arc<Copies>, mut copy: Copy) {
    let mirrored = &mirror.mirrored;
    // A body that broke off, or is too large, is nobody's request.
    let Ok(Ok(body)) = tokio::time::timeout(PATIENCE, &mut copy.body).await else {
        mirrored.left_out.fetch_add(1, Ordering::Relaxed);
        return;
    };
    mirrored.sent.fetch_add(1, Ordering::Relaxed);
    let began = Instant::now();
    let sent = Box::pin(send(&mirror, &copy.worker, &mut copy.call, body));
    let other = match tokio::time::timeout(mirror.timeout, sent).await {
        Ok(Ok(side)) => side,
        Ok(Err(_)) | Err(_) => {
            mirrored.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    let took = began.elapsed();
    let Some(comparing) = &mirror.comparing else { return };
    let Ok(Ok((mut own, body, _))) = tokio::time::timeout(PATIENCE, copy.end).await else {
        mirrored.uncompared.fetch_add(1, Ordering::Relaxed);
        return;
    };
    own.body = tokio::time::timeout(PATIENCE, body).await.ok().and_then(Result::ok);
    let found = comparing.compare(&own, &other);
    mirrored.note(copy.call.record.route.as_deref(), &found);
    if found.differences.is_empty() || !mirror.is_recorded {
        return;
    }
    let mut record = copy.call.record;
    record.status = other.status;
    record.timings.total = took;
    record.mirrored = Some(Arc::new(MirrorRecord {
        policy: mirror.owner.as_str().into(),
        status: (own.status.as_u16(), other.status.as_u16()),
        differences: found.differences,
        is_cut: found.is_cut,
    }));
    copy.worker.note(record);
}

/// States the host that the upstream is asked for.
fn host(call: &mut Call, wanted: &str) {
    let is_sent = call.head.extensions.get::<SentHost>().is_some();
    call.host_from_endpoint = !is_sent && wanted == "upstream";
    if !is_sent
        && !["preserve", "upstream"].contains(&wanted)
        && let Ok(value) = HeaderValue::from_str(wanted)
    {
        call.head.headers.insert(header::HOST, value);
    }
}

/// Sends a copy, and reads its answer.
async fn send(mirror: &Copies, worker: &Rc<Worker>, call: &mut Call, body: Bytes) -> Result<Side, Failure> {
    let target = &mirror.target;
    let mut body = if body.is_empty() { Body::Empty } else { Body::Full(body) };
    call.record.upstream = Some(target.upstream.name.clone());
    host(call, &target.upstream.settings.host_header);
    let mut response = match chain::upstream_request(&target.upstream.chain, call, &mut body).await? {
        Passed::Answered(response) => *response,
        Passed::Through | Passed::Around => {
            let wish = tries::Wish { endpoint: None, hash: tries::hash_of(call, &target.upstream) };
            tries::forward(worker, call, target, &wish, body).await?
        }
    };
    chain::judged(call, &mut response).await?;
    guard::clean_answer(&mut response);
    let (head, body) = response.into_parts();
    let body = match &mirror.comparing {
        Some(comparing) if comparing.body => gather(body, mirror.bytes_max).await.ok(),
        // Whoever sends it is let send it: as it would be if it were wanted.
        _ => gather(body, mirror.bytes_max).await.ok().map(|_| Bytes::new()),
    };
    Ok(Side { status: head.status, headers: head.headers, body })
}
