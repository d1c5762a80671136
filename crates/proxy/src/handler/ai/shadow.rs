//! A second model beside the one that answers: it is asked the same out of the caller's way, and how its answer compares
//! is a record of its own.
//!
//! It is asked when the caller's answer begins, for a whole answer, with what the gateway itself would send: none of the
//! caller's header fields. Nothing waits for it; a call that would be one too many at a time is left out.

use std::{
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ai::{
    canon::{Answer, Assembler, Request},
    compare::{self, Likeness},
    dialect::{Dialect, Spoken},
    endpoint::Operation,
    rules::Target as Written,
    stream::{FrameReader, Framing},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::{AiRecord, Comparison, resource::ai::Shadow as Settings};
use resilience::{Bulkhead, BulkheadPermit, hash, turnstile::Priority};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    Told,
    counter::Counter,
    gathered::gather,
    models::{Asked, Target},
    outgoing,
    prepare::{Conversation, uri},
    read,
    sending::{self, Outgoing, Unanswered, is_due},
};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    compiled::Building,
    failure::Failure,
    worker::Worker,
};

/// Bytes of an answer that are compared; a longer one is not.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long a caller's answer may go on after its shadow's.
const PATIENCE: Duration = Duration::from_secs(900);

/// A model that is asked the same.
pub(super) struct Shadow {
    target: Arc<Target>,
    model: String,
    /// Of 2⁶⁴ calls, how many are repeated.
    share: u64,
    is_always: bool,
    places: Arc<Bulkhead>,
    timeout: Duration,
    records_text: bool,
}

/// What the shadows at a provider have come to.
#[derive(Default)]
pub(crate) struct Counts {
    asked: AtomicU64,
    left_out: AtomicU64,
    failed: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    /// In a billionth of a dollar.
    nanodollars: AtomicU64,
}

/// What the shadows at a provider have come to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowStatus {
    /// Calls that were repeated.
    pub asked: u64,
    /// Calls that were not, since too many were at the time.
    pub left_out: u64,
    /// Repeated calls without an answer.
    pub failed: u64,
    /// Tokens of their prompts.
    pub input_tokens: u64,
    /// Tokens of their answers.
    pub output_tokens: u64,
    /// What they cost in dollars, as far as prices are known.
    pub cost_usd: f64,
}

impl Counts {
    /// As they are now.
    pub(super) fn status(&self) -> ShadowStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ShadowStatus {
            asked: count(&self.asked),
            left_out: count(&self.left_out),
            failed: count(&self.failed),
            input_tokens: count(&self.input),
            output_tokens: count(&self.output),
            cost_usd: count(&self.nanodollars) as f64 / 1e9,
        }
    }
}

impl Shadow {
    /// The shadow at `place` of the model `name`, with its target.
    pub(super) fn new(settings: &Settings, target: Target, place: &str, cx: &Building<'_>) -> Self {
        let most = settings.max_concurrent as usize;
        let key = format!("ai/shadow/{place}/{}/{}", settings.provider, settings.model);
        let places = cx.keep(&key, &most, || Bulkhead::new(most, Duration::ZERO));
        Self {
            target: Arc::new(target),
            model: settings.model.clone(),
            share: (settings.percent / 100.0 * u64::MAX as f64) as u64,
            is_always: settings.percent >= 100.0,
            places: (*places).clone(),
            timeout: settings.timeout.get(),
            records_text: settings.record_text,
        }
    }
}

/// What the caller was given.
struct Given {
    bytes: Vec<u8>,
    is_whole: bool,
    took: Duration,
}

/// One shadow at work.
struct Task {
    shadow: Arc<Shadow>,
    worker: Rc<Worker>,
    call: Box<Call>,
    request: Request,
    /// The record of the call.
    of: Told,
    caller: Dialect,
    /// How the caller's stream is framed, where it is one.
    framing: Option<Framing>,
    _place: BulkheadPermit,
}

/// Has the shadows of a model asked the same as the caller, whose answer has begun.
pub(super) fn beside(
    worker: &Rc<Worker>,
    call: &Call,
    asked: &Asked<'_>,
    conversation: &mut Conversation<'_>,
    response: Response<Body>,
) -> Response<Body> {
    let shadows = &asked.alias.shadows;
    let is_chat = conversation.endpoint.operation == Operation::Chat;
    let is_plain = !response.headers().contains_key(header::CONTENT_ENCODING);
    let Some(of) = call.record.ai.clone().filter(|_| is_chat && is_plain && response.status().is_success())
    else {
        return response;
    };
    let mut response = response;
    for (index, shadow) in (0_u64..).zip(shadows) {
        // Each draws for itself.
        let drawn = hash::mix(call.random ^ hash::mix(index.wrapping_add(0x5AD0)));
        if !shadow.is_always && drawn >= shadow.share {
            continue;
        }
        let counts = &shadow.target.provider.shadows;
        let Some(place) = shadow.places.try_acquire() else {
            counts.left_out.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        read::read_request(conversation);
        let Some(request) = &conversation.canonical else { break };
        counts.asked.fetch_add(1, Ordering::Relaxed);
        let caller = conversation.endpoint.dialect;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_stream = conversation.stream || kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut head = http::Request::new(()).into_parts().0;
        head.method = Method::POST;
        let mut errand = call.errand(head);
        errand.record.route.clone_from(&call.record.route);
        errand.record.consumer.clone_from(&call.record.consumer);
        errand.record.uri = call.record.uri.clone();
        errand.record.host.clone_from(&call.record.host);
        errand.record.trace = None;
        let task = Task {
            shadow: shadow.clone(),
            worker: worker.clone(),
            call: errand,
            request: Request { stream: false, ..request.clone() },
            of: of.clone(),
            caller,
            framing: is_stream.then(|| caller.caller_framing(conversation.query.as_deref())),
            _place: place,
        };
        let (ends, end) = oneshot::channel();
        tokio::task::spawn_local(task.run(end));
        response = overheard(response, &of, ends);
    }
    response
}

/// An answer that is listened to on its way.
fn overheard(response: Response<Body>, of: &Told, ends: oneshot::Sender<Given>) -> Response<Body> {
    match response.body() {
        Body::Full(bytes) => {
            let is_whole = bytes.len() <= ANSWER_BYTES_MAX;
            let bytes = if is_whole { bytes.to_vec() } else { Vec::new() };
            let _ = ends.send(Given { bytes, is_whole, took: of.age() });
            response
        }
        Body::Empty => response,
        _ => response.map(|inner| {
            Body::boxed(Overheard {
                inner,
                bytes: Vec::new(),
                is_whole: true,
                of: of.clone(),
                ends: Some(ends),
            })
        }),
    }
}

struct Overheard {
    inner: Body,
    bytes: Vec<u8>,
    is_whole: bool,
    of: Told,
    ends: Option<oneshot::Sender<Given>>,
}

impl Overheard {
    fn end(&mut self, is_whole: bool) {
        if let Some(ends) = self.ends.take() {
            let (bytes, took) = (std::mem::take(&mut self.bytes), self.of.age());
            let _ = ends.send(Given { bytes, is_whole: is_whole && self.is_whole, took });
        }
    }
}

impl Drop for Overheard {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl Wrapper for Overheard {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Overheard {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.is_whole &= self.bytes.len() + data.len() <= ANSWER_BYTES_MAX;
                    if self.is_whole {
                        self.bytes.extend_from_slice(data);
                    }
                }
            }
            Some(Err(_)) => self.end(false),
            None => self.end(true),
        }
        if self.inner.is_end_stream() {
            self.end(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Task {
    async fn run(mut self, end: oneshot::Receiver<Given>) {
        let (shadow, began) = (self.shadow.clone(), Instant::now());
        let provider = &shadow.target.provider;
        let mut record = AiRecord::new("shadow", self.caller.name(), self.of.model.clone());
        record.provider = provider.name.clone();
        record.kind = &provider.kind.name;
        record.served.clone_from(&shadow.model);
        record.alias = self.of.alias.clone();
        if let Some(prices) = shadow.target.prices.of(&shadow.model) {
            record.prices = Some(prices);
        }
        self.call.record.upstream = Some(provider.target.upstream.name.clone());
        let asked = tokio::time::timeout(shadow.timeout, Box::pin(self.ask(&mut record))).await;
        let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", shadow.timeout)));
        let took = began.elapsed();
        let given = tokio::time::timeout(PATIENCE, end).await.ok().and_then(Result::ok);
        self.count(&record, answer.is_err());
        record.comparison = Some(Box::new(self.compared(answer, given, took)));
        let Self { worker, call, .. } = self;
        let mut noted = call.record;
        noted.timings.total = took;
        noted.ai = Some(Arc::new(record));
        worker.note(noted);
    }

    fn count(&self, record: &AiRecord, has_failed: bool) {
        let counts = &self.shadow.target.provider.shadows;
        counts.failed.fetch_add(u64::from(has_failed), Ordering::Relaxed);
        let spending = record.spending().unwrap_or_default();
        counts.input.fetch_add(spending.usage.input, Ordering::Relaxed);
        counts.output.fetch_add(spending.usage.output, Ordering::Relaxed);
        let nanodollars = spending.picodollars.unwrap_or_default() / 1000;
        counts.nanodollars.fetch_add(u64::try_from(nanodollars).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Asks the second model.
    async fn ask(&mut self, record: &mut AiRecord) -> Result<Answer, String> {
        let shadow = self.shadow.clone();
        let (provider, model) = (&shadow.target.provider, shadow.model.as_str());
        let dialect = provider.dialect_for(self.caller, model);
        let rules = shadow.target.rules(model);
        let written = dialect.write_request(&self.request, Written { model, rules: &rules });
        let written = written.map_err(|error| error.message)?;
        let path = provider.path(dialect, Operation::Chat, model, false, &written.path);
        let uri = uri(path.map_err(|error| error.message)?)
            .map_err(|failure| failure.problem().title().to_owned())?;
        let body =
            provider.body(Operation::Chat, written.body.into(), model).map_err(|error| error.message)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        outgoing::dialect_headers(&mut headers, &written.headers);
        provider.address(&mut headers);
        let spoken = Spoken { model: Some(model.to_owned()), stream: false };
        record.counter = Some(Counter::new(model, dialect, spoken, &body));
        record.owe(true);
        let call = &mut *self.call;
        call.host_from_endpoint = false;
        // Others go first where calls wait for a key.
        let priority = Priority::Low;
        let outgoing =
            Outgoing { provider, model, dialect, uri, headers, body, priority, key: None, words: None };
        let response = match sending::send(&self.worker, call, outgoing).await {
            Ok(response) => response,
            Err(unanswered) => {
                // Nobody knows what a provider did that had the request and then was silent.
                record.owe(is_due(&unanswered));
                call.record.status = StatusCode::BAD_GATEWAY;
                return Err(match unanswered {
                    Unanswered::Away(_) => "none of its keys can be taken".to_owned(),
                    Unanswered::Failed(failure) => failure.problem().title().to_owned(),
                });
            }
        };
        call.record.status = response.status();
        if !response.status().is_success() {
            record.owe(false);
            return Err(format!("it answered {}", response.status()));
        }
        let bytes = gather(response.into_body(), ANSWER_BYTES_MAX).await;
        let bytes = bytes.map_err(|_| "its answer broke off, or is too large".to_owned())?;
        let answer = dialect.read_answer(&bytes).map_err(|error| error.message)?;
        match &answer.usage {
            Some(usage) => super::metered::spend(record, usage),
            None => record.hear(&compare::text(&answer)),
        }
        record.end();
        Ok(answer)
    }

    fn compared(&self, answer: Result<Answer, String>, given: Option<Given>, took: Duration) -> Comparison {
        let first = given.as_ref().map_or(Duration::ZERO, |given| given.took);
        let own = given.filter(|given| given.is_whole).and_then(|given| self.read(&given.bytes));
        let mut comparison = Comparison {
            of: self.of.clone(),
            took: (first, took),
            finish: (own.as_ref().and_then(compare::finish), answer.as_ref().ok().and_then(compare::finish)),
            error: None,
            same_text: None,
            words: None,
            same_json: None,
            length_ratio: None,
            same_tools: None,
            texts: None,
        };
        match (own, answer) {
            (Some(own), Ok(answer)) => {
                let Likeness { same_text, words, same_json, length_ratio, same_tools } =
                    compare::compare(&own, &answer);
                comparison.same_text = Some(same_text);
                comparison.words = Some(words);
                comparison.same_json = same_json;
                comparison.length_ratio = length_ratio;
                comparison.same_tools = same_tools;
                if self.shadow.records_text {
                    comparison.texts = Some((compare::text(&own), compare::text(&answer)));
                }
            }
            (None, Ok(_)) => {
                comparison.error = Some("the caller's answer did not come to its end".to_owned())
            }
            (_, Err(error)) => comparison.error = Some(error),
        }
        comparison
    }

    /// The caller's answer, as it was told.
    fn read(&self, bytes: &[u8]) -> Option<Answer> {
        let Some(framing) = self.framing else { return self.caller.read_answer(bytes).ok() };
        let mut frames = FrameReader::new(framing);
        let (mut whole, mut events) = (Vec::new(), Vec::new());
        frames.push(bytes, &mut whole).ok()?;
        frames.finish(&mut whole);
        let mut reader = self.caller.stream_reader();
        whole.into_iter().for_each(|frame| reader.read(frame, &mut events));
        reader.end(&mut events);
        let mut assembler = Assembler::default();
        events.into_iter().for_each(|event| assembler.push(event));
        assembler.finish().ok()
    }
}
