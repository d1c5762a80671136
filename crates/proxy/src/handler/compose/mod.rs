//! `compose`: one answer made of several calls.
//!
//! [`value`] is expressions, texts and shapes, [`one`] a single call. All calls of an answer run in the task of the
//! client's call: those that need nothing of each other at once, the others as soon as what they need is there. When the
//! client leaves, or a call that the answer needs fails, the rest is cut off with it.

mod caching;
mod one;
mod value;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use model::{ComposeRecord, Route, resource::compose::Compose as Settings};
use serde_json::{Map, Value, json};

use self::{
    caching::Caching,
    one::{Made, One, Shared, Unmade},
    value::{Path, Scope, Shape},
};
use super::{Answering, Answers};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::ai::gathered::{Ungathered, gather},
    jq::{self, Jq, Stopped},
    upstream::Upstream,
    worker::Worker,
};

/// Names the calls that failed, whatever form the answer has.
const DEGRADED: HeaderName = HeaderName::from_static("x-tidegate-degraded");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What calls get beyond the deadline to tell of it themselves, so that breakers learn of it.
const GRACE: Duration = Duration::from_millis(250);

/// What a program gets at least, where calls took all the time.
const SHAPING: Duration = Duration::from_millis(500);

/// Calls that one answer may take, whatever lists it goes through.
const CALLS_MAX: usize = 1_000;

/// Bytes of answers for each value that they may hold: as values of JSON they take many times their bytes.
const BYTES_PER_VALUE: usize = 8;

/// The compiled handler.
pub(crate) struct Compose {
    calls: Box<[One]>,
    names: Box<[Arc<str>]>,
    answer: Answer,
    status: StatusCode,
    timeout: Duration,
    bytes_max: usize,
    request_bytes_max: usize,
    /// Whether an expression asks for the client's request, and for its body.
    asks_request: bool,
    asks_body: bool,
    server_timing: bool,
    /// Fields of the client's request that calls and shapes are made of.
    varies_by: Box<[HeaderName]>,
    /// Calls or shapes are made of who calls, or of each call.
    tells_who: bool,
}

enum Answer {
    /// All results by their names.
    All,
    Shape(Shape),
    Jq(Box<Jq>),
}

/// What calls came to.
struct Ended {
    results: Vec<Option<Arc<Value>>>,
    degraded: Vec<bool>,
}

/// A call that runs: its place, and what it comes to.
type Running<'f> = LocalBoxFuture<'f, (usize, Result<Made, Unmade>)>;

impl Compose {
    /// Compiles the handler; an error begins with the place in it.
    pub(crate) fn compile(settings: &Settings, _: &Route, cx: &Building<'_>) -> Result<Self, String> {
        let places: BTreeMap<&str, usize> =
            settings.calls.keys().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let one = |(name, call): (&String, &model::resource::compose::ComposeCall)| {
            One::compile(name, call, &settings.forward_headers, &places, cx)
                .map_err(|error| format!("calls.{name}.{error}"))
        };
        let calls = settings.calls.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        let answer = match (&settings.response, &settings.jq) {
            (Some(shape), _) => {
                let wrong = |error: String| {
                    format!("response{}{error}", if error.starts_with(['.', '[']) { "" } else { ": " })
                };
                Answer::Shape(Shape::compile(shape, &places).map_err(wrong)?)
            }
            (None, Some(program)) => {
                let jq = Jq::compile(program, &["$request", "$degraded"], settings.max_steps);
                Answer::Jq(Box::new(jq.map_err(|error| format!("jq: {error}"))?))
            }
            (None, None) => Answer::All,
        };
        let mut paths: Vec<&Path> = calls.iter().flat_map(One::paths).collect();
        if let Answer::Shape(shape) = &answer {
            shape.paths(&mut paths);
        }
        let asks: Vec<(bool, bool)> = paths.into_iter().map(Path::asks).collect();
        let of_program = match &answer {
            Answer::Jq(jq) => jq.asks,
            Answer::All | Answer::Shape(_) => (false, false),
        };
        let mut varies_by = Vec::new();
        calls.iter().for_each(|call| call.varies_by(&mut varies_by));
        let mut tells_who = calls.iter().any(One::tells_who);
        if let Answer::Shape(shape) = &answer {
            shape.varies_by(&mut varies_by);
            tells_who |= shape.tells_of_call();
        }
        Ok(Self {
            asks_request: asks.iter().any(|asks| asks.0) || of_program.0,
            asks_body: asks.iter().any(|asks| asks.1) || of_program.1,
            varies_by: varies_by.into(),
            tells_who,
            names: calls.iter().map(|call| call.name.clone()).collect(),
            calls: calls.into(),
            answer,
            status: StatusCode::from_u16(settings.status).map_err(|error| format!("status: {error}"))?,
            timeout: settings.timeout.get(),
            bytes_max: settings.max_size.get(),
            request_bytes_max: settings.max_request_size.get(),
            server_timing: settings.server_timing,
        })
    }

    async fn handle(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let request = match self.asks_request {
            true => Some(self.request(call, body, deadline).await?),
            false => None,
        };
        let record = Arc::new(ComposeRecord::default());
        call.record.composed = Some(record.clone());
        let shared = Shared {
            worker,
            call,
            names: &self.names,
            request,
            deadline,
            record: record.clone(),
            bytes_left: Cell::new(self.bytes_max),
            values_left: Cell::new(values_max(self.bytes_max)),
            calls_left: Cell::new(CALLS_MAX),
            caching: RefCell::new(Caching::new(&self.varies_by, self.tells_who)),
        };
        let mut response = match self.run(&shared).await {
            Ok(ended) => self.answer(&shared, &ended).await?,
            Err(Unmade::PassedOn(response)) => *response,
            Err(Unmade::Failed(failure)) => return Err(failure),
        };
        if self.server_timing
            && let Ok(value) = HeaderValue::try_from(timing(&record, &self.names))
        {
            response.headers_mut().insert(SERVER_TIMING, value);
        }
        if call.head.method == Method::HEAD {
            *response.body_mut() = Body::Empty;
        }
        Ok(response)
    }

    /// The client's request as expressions see it.
    async fn request(&self, call: &Call, body: Body, deadline: Instant) -> Result<Value, Failure> {
        let body = match self.asks_body {
            true => {
                let late = |_| Failure::client(Stage::Body, Problem::RequestTimeout);
                tokio::time::timeout_at(deadline.into(), self.body(body)).await.map_err(late)??
            }
            false => Value::Null,
        };
        let captures = call.captures.iter(call.routed_path());
        let captures: Map<String, Value> = captures
            .map(|(name, text)| (name.to_owned(), value::decoded(text).into_owned().into()))
            .collect();
        let mut query = Map::new();
        for pair in call.head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // What is malformed is nobody's parameter; of several of one name the first counts.
            if let (Some(key), Some(value)) = (crate::template::decode(key), crate::template::decode(value)) {
                query.entry(key.into_owned()).or_insert_with(|| value.into_owned().into());
            }
        }
        Ok(json!({
            "method": call.head.method.as_str(),
            "path": call.path(),
            "captures": captures,
            "query": query,
            "body": body,
        }))
    }

    async fn body(&self, body: Body) -> Result<Value, Failure> {
        let bytes = gather(body, self.request_bytes_max).await.map_err(|ungathered| match ungathered {
            Ungathered::TooLarge => Failure::client(Stage::Body, Problem::BodyTooLarge),
            Ungathered::Failed(failure) => failure,
        })?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        if jq::nodes(&bytes) > values_max(self.request_bytes_max) {
            let why = "the body has more values than `maxRequestSize` leaves room for";
            return Err(Failure::client(Stage::Body, Problem::BodyTooLarge).with_hint(why));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::client(Stage::Body, Problem::Invalid).with_hint(format!("the body is no JSON: {error}"))
        })
    }

    /// Runs all calls.
    async fn run(&self, shared: &Shared<'_>) -> Result<Ended, Unmade> {
        let count = self.calls.len();
        let mut ended = Ended { results: vec![None; count], degraded: vec![false; count] };
        let mut is_over = vec![false; count];
        let mut is_begun = vec![false; count];
        let mut running: FuturesUnordered<Running<'_>> = FuturesUnordered::new();
        let backstop = tokio::time::Instant::from_std(shared.deadline + GRACE);
        loop {
            for (place, call) in self.calls.iter().enumerate() {
                let is_ready = call.needs.iter().all(|need| is_over.get(*need).copied().unwrap_or(true));
                if let Some(begun) = is_begun.get_mut(place).filter(|begun| !**begun && is_ready) {
                    *begun = true;
                    let results = ended.results.clone();
                    running.push(Box::pin(async move { (place, call.make(shared, &results).await) }));
                }
            }
            let next = match tokio::time::timeout_at(backstop, running.next()).await {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(ended),
                Err(_) => return self.out_of_time(ended, &is_over),
            };
            let (place, result) = next;
            let Some(call) = self.calls.get(place) else { continue };
            let (value, is_whole) = match result {
                Ok(made) => (Some(Arc::new(made.value)), made.is_whole),
                Err(Unmade::Failed(failure)) if call.is_optional => {
                    tracing::debug!(call = %call.name, %failure, "an optional call failed");
                    (None, false)
                }
                Err(unmade) => return Err(unmade),
            };
            if let (Some(result), Some(degraded), Some(over)) =
                (ended.results.get_mut(place), ended.degraded.get_mut(place), is_over.get_mut(place))
            {
                (*result, *degraded, *over) = (value, !is_whole, true);
            }
        }
    }

    /// What is optional is left out; without the rest there is no answer.
    fn out_of_time(&self, mut ended: Ended, is_over: &[bool]) -> Result<Ended, Unmade> {
        for ((call, is_over), degraded) in self.calls.iter().zip(is_over).zip(&mut ended.degraded) {
            if *is_over {
                continue;
            }
            if !call.is_optional {
                let failure = Failure::new(model::Side::Upstream, Stage::FirstByte, Problem::UpstreamTimeout);
                let why = format!("the call `{}` did not end in the time for all calls", call.name);
                return Err(Unmade::Failed(failure.with_hint(why)));
            }
            *degraded = true;
        }
        Ok(ended)
    }

    async fn answer(&self, shared: &Shared<'_>, ended: &Ended) -> Result<Response<Body>, Failure> {
        let degraded: Vec<&str> = self
            .names
            .iter()
            .zip(&ended.degraded)
            .filter_map(|(name, is_degraded)| is_degraded.then_some(&**name))
            .collect();
        let scope = Scope {
            call: shared.call,
            names: &self.names,
            results: &ended.results,
            request: shared.request.as_ref(),
            item: None,
        };
        let large = || {
            Failure::gateway(Stage::Body, Problem::Internal)
                .with_detail(format!("the answer would be larger than {} bytes (`maxSize`)", self.bytes_max))
        };
        let mut bytes = Vec::new();
        let is_whole = match &self.answer {
            Answer::All => value::put_all(&scope, &mut bytes, self.bytes_max),
            Answer::Shape(shape) => shape.write(&scope, &mut bytes, self.bytes_max),
            Answer::Jq(jq) => {
                let members = self.names.iter().cloned().zip(ended.results.iter().cloned()).collect();
                let variables = vec![shared.request.clone().unwrap_or(Value::Null), json!(degraded)];
                let until = shared.deadline.max(Instant::now() + SHAPING);
                let told = jq.run(members, variables, self.bytes_max, until).await;
                bytes = told.map_err(|stopped| match stopped {
                    Stopped::TooLarge => large(),
                    stopped => {
                        let problem = match stopped {
                            Stopped::Full => Problem::Unavailable,
                            _ => Problem::Internal,
                        };
                        Failure::gateway(Stage::Body, problem)
                            .with_hint("the answer could not be shaped")
                            .with_detail(format!("`jq`: {stopped}"))
                    }
                })?;
                true
            }
        };
        if !is_whole {
            return Err(large());
        }
        let mut response = Response::new(Body::Empty);
        shared.caching.borrow().tell(response.headers_mut());
        if !degraded.is_empty() {
            tell_degraded(&mut bytes, &degraded);
            let headers = response.headers_mut();
            if let Ok(value) = HeaderValue::try_from(degraded.join(", ")) {
                headers.insert(DEGRADED, value);
            }
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        *response.status_mut() = self.status;
        let has_body = !matches!(self.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
        if has_body {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            *response.body_mut() = Body::Full(Bytes::from(bytes));
        }
        Ok(response)
    }
}

impl Answers for Compose {
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(worker, call, body)))
    }

    fn explain(&self) -> String {
        super::asks("compose", self.upstreams())
    }

    /// Each once.
    fn upstreams(&self) -> Vec<&Arc<Upstream>> {
        let mut all: Vec<&Arc<Upstream>> = Vec::new();
        for call in &self.calls {
            if !all.iter().any(|known| Arc::ptr_eq(known, &call.upstream)) {
                all.push(&call.upstream);
            }
        }
        all
    }
}

/// Values that so many bytes may hold.
fn values_max(bytes: usize) -> u64 {
    (bytes / BYTES_PER_VALUE).max(1_024) as u64
}

/// Adds the list to an answer that is an object, in place of what an upstream may have called so.
fn tell_degraded(bytes: &mut Vec<u8>, degraded: &[&str]) {
    if bytes.first() != Some(&b'{') || bytes.last() != Some(&b'}') {
        return;
    }
    if let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(bytes)
        && let Some(own) = object.get_mut("degraded")
    {
        *own = json!(degraded);
        // What was read can be written.
        *bytes = serde_json::to_vec(&object).unwrap_or_default();
        return;
    }
    bytes.pop();
    if bytes.len() > 1 {
        bytes.push(b',');
    }
    bytes.extend_from_slice(format!("\"degraded\":{}}}", json!(degraded)).as_bytes());
}

/// How long each call took, from the first of its requests to the end of its last.
fn timing(record: &ComposeRecord, names: &[Arc<str>]) -> String {
    record.with(|calls| {
        let one = |name: &Arc<str>| {
            let own = || calls.iter().filter(|call| call.name == *name);
            let begin = own().map(|call| call.started).min()?;
            let end = own().map(|call| call.started + call.duration).max()?;
            let millis = end.saturating_sub(begin).as_secs_f64() * 1000.0;
            Some(format!("{name};dur={millis:.1}"))
        };
        names.iter().filter_map(one).collect::<Vec<_>>().join(", ")
    })
}
