//! `mirror`: sends copies of requests to another upstream, and compares its answers with those that clients get.
//!
//! It stands around the handler: it listens to the request's body on its way in, sends the copy when that is whole, and
//! listens to the answer on its way out. Clients wait for none of it; what is too large, or one too many, is left out. One of the
//! places is taken when there is something to send: clients that take their time have some of the memory, and no place.

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
    overheard::{Gathered, HEAD_BYTES, Heard, Held, LeftOut, Room, overhear},
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
/// Requests whose bodies may be awaited beside those on their way.
const AWAITED_MAX: u64 = 1024;

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
    room: Arc<Room>,
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
        // Of a copy on its way there are its request, its answer and the client's; of a request that is awaited its head.
        let each = HEAD_BYTES + 3 * settings.max_body_size.bytes();
        let room = each.saturating_mul(most as u64).saturating_add(HEAD_BYTES * AWAITED_MAX);
        let room = cx.keep("room", &room, || Room::new(room));
        Ok(Self {
            methods: settings.methods.iter().map(method).collect::<Result<_, _>>()?,
            share: (settings.percent.fraction() * u64::MAX as f64) as u64,
            is_always: settings.percent.get() >= 100.0,
            mirror: Arc::new(Copies {
                owner: cx.owner.clone(),
                target: Target { upstream: upstream.clone(), effort, weight: 1 },
                places: (*places).clone(),
                room,
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
        match self.mirror.room.take(HEAD_BYTES) {
            Some(held) => around::put(call, Box::new(Copying { mirror: self.mirror.clone(), held })),
            None => self.mirror.mirrored.left_out(LeftOut::Memory),
        }
        Flow::Continue
    }
}

/// A request that is to be copied.
struct Copying {
    mirror: Arc<Copies>,
    held: Held,
}

impl Around for Copying {
    fn run<'a>(
        self: Box<Self>,
        mut next: Next,
        call: &'a mut Call,
    ) -> LocalBoxFuture<'a, Result<Response<Body>, Failure>> {
        Box::pin(async move {
            let Self { mirror, held } = *self;
            let (heard, mut body) = oneshot::channel();
            next.body = overhear(next.body, mirror.bytes_max, held, heard);
            // What is whole already is judged before anything is prepared for it.
            let body = match body.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => Source::Coming(body),
                heard => match mirror.place_for(heard.unwrap_or(Err(LeftOut::Broken))) {
                    Some((gathered, place)) => Source::Whole(gathered, place),
                    None => return next.go(call).await,
                },
            };
            let (ends, end) = oneshot::channel();
            let copy =
                Copy { worker: next.worker.clone(), call: copied(call, mirror.sends_tokens), body, end };
            tokio::task::spawn_local(run(mirror.clone(), copy));
            let began = Instant::now();
            let result = next.go(call).await;
            let Some(_) = &mirror.comparing else { return result };
            let mut response = result?;
            let held = mirror.room.nothing();
            let (heard, body) = oneshot::channel();
            let (status, headers) = (response.status(), response.headers().clone());
            let inner = std::mem::take(response.body_mut());
            *response.body_mut() = overhear(inner, mirror.bytes_max, held, heard);
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
type Ended = (Side, oneshot::Receiver<Heard>, Duration);

/// A copy on its way.
struct Copy {
    worker: Rc<Worker>,
    call: Box<Call>,
    body: Source,
    end: oneshot::Receiver<Ended>,
}

/// The body of a request.
enum Source {
    Whole(Gathered, BulkheadPermit),
    Coming(oneshot::Receiver<Heard>),
}

impl Copies {
    /// A place for what was heard; what has none is counted by why.
    fn place_for(&self, heard: Heard) -> Option<(Gathered, BulkheadPermit)> {
        let found = heard.and_then(|gathered| {
            let place = self.places.try_acquire().ok_or(LeftOut::Busy)?;
            Ok((gathered, place))
        });
        found.map_err(|why| self.mirrored.left_out(why)).ok()
    }
}

async fn run(mirror: Arc<Copies>, copy: Copy) {
    let Copy { worker, mut call, body, end } = copy;
    let mirrored = &mirror.mirrored;
    let (Gathered { bytes, mut held }, place) = match body {
        Source::Whole(gathered, place) => (gathered, place),
        Source::Coming(body) => {
            // A body that broke off is nobody's request.
            let heard = match tokio::time::timeout(PATIENCE, body).await {
                Ok(heard) => heard.unwrap_or(Err(LeftOut::Broken)),
                Err(_) => Err(LeftOut::Slow),
            };
            let Some(found) = mirror.place_for(heard) else { return };
            found
        }
    };
    mirrored.sent.fetch_add(1, Ordering::Relaxed);
    let began = Instant::now();
    let sent = Box::pin(send(&mirror, &worker, &mut call, bytes));
    let other = match tokio::time::timeout(mirror.timeout, sent).await {
        Ok(Ok(side)) => side,
        Ok(Err(_)) | Err(_) => {
            mirrored.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    let took = began.elapsed();
    // The mirror has done its part. A client that reads slowly has some of the memory, and no place.
    drop(place);
    let Some(comparing) = &mirror.comparing else { return };
    let has_room = held.grow(other.body.as_ref().map_or(0, |body| body.len() as u64));
    let ended = tokio::time::timeout(PATIENCE, end);
    let Some((mut own, body, _)) = (if has_room { ended.await.ok().and_then(Result::ok) } else { None })
    else {
        mirrored.uncompared.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let gathered = tokio::time::timeout(PATIENCE, body).await.ok().and_then(Result::ok).and_then(Result::ok);
    own.body = gathered.as_ref().map(|gathered| gathered.bytes.clone());
    let found = comparing.compare(&own, &other);
    mirrored.note(call.record.route.as_deref(), &found);
    if found.differences.is_empty() || !mirror.is_recorded {
        return;
    }
    let mut record = call.record;
    record.status = other.status;
    record.timings.total = took;
    record.mirrored = Some(Arc::new(MirrorRecord {
        policy: mirror.owner.as_str().into(),
        status: (own.status.as_u16(), other.status.as_u16()),
        differences: found.differences,
        is_cut: found.is_cut,
    }));
    worker.note(record);
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
