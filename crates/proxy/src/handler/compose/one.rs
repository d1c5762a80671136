//! One call of a composed answer: its request made of a template, sent as any other, and its answer read within bounds.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use model::{ComposeRecord, ComposedCall, resource::compose::ComposeCall};
use serde_json::Value;

use super::{
    caching::Caching,
    value::{Goes, Missing, Path, Scope, Shape, Text},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    guard,
    handler::backends::Target,
    policy::{Passed, chain},
    upstream::{Effort, Upstream, tries},
    worker::Worker,
};

/// Bytes of a target.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Fields of the client's that always go on: what joins traces and logs, and who is behind the gateway.
const ALWAYS: [&str; 9] = [
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "forwarded",
];

/// Bytes of a header field of a call's own.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// Fields of the client's that `*` leaves out: they are about its own body, connection and copies, or name its one
/// request, which several calls are not.
const NEVER: [&str; 22] = [
    "host",
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
    "content-encoding",
    "expect",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
    "te",
    "trailer",
    "content-language",
    "content-range",
    "content-md5",
    "content-digest",
    "repr-digest",
    "digest",
    "idempotency-key",
];

/// A compiled call.
pub(super) struct One {
    pub(super) name: Arc<str>,
    pub(super) upstream: Arc<Upstream>,
    effort: Effort,
    timeout: Option<Duration>,
    method: Method,
    path: Text,
    query: Box<[Text]>,
    headers: Box<[(HeaderName, Text)]>,
    forward: Forward,
    body: Option<Shape>,
    pub(super) is_optional: bool,
    for_each: Option<Each>,
    /// Places of the calls that must have ended before it begins.
    pub(super) needs: Box<[usize]>,
    /// Of them, those that must have ended well.
    pub(super) after: Box<[usize]>,
    pass_on: Box<[u16]>,
    bytes_max: usize,
}

struct Each {
    list: Path,
    max: usize,
    concurrency: usize,
}

/// Which of the client's fields go on.
pub(super) enum Forward {
    All,
    Names(Box<[HeaderName]>),
}

impl Forward {
    pub(super) fn compile(names: &[String]) -> Result<Self, String> {
        if names.iter().any(|name| name == "*") {
            return Ok(Self::All);
        }
        let one =
            |name: &String| HeaderName::try_from(name.as_str()).map_err(|error| format!("`{name}`: {error}"));
        names.iter().map(one).collect::<Result<Vec<_>, _>>().map(|names| Self::Names(names.into()))
    }
}

/// How a call ended without a result.
pub(super) enum Unmade {
    /// It failed.
    Failed(Failure),
    /// Its answer is the client's.
    PassedOn(Box<Response<Body>>),
}

/// A call's result, and whether all of it is there.
pub(super) struct Made {
    pub(super) value: Value,
    pub(super) is_whole: bool,
}

/// What all calls of one answer share.
pub(super) struct Shared<'h> {
    pub(super) worker: &'h Rc<Worker>,
    pub(super) call: &'h Call,
    pub(super) names: &'h [Arc<str>],
    pub(super) request: Option<Value>,
    pub(super) deadline: Instant,
    pub(super) record: Arc<ComposeRecord>,
    /// Bytes that answers and what is sent may still have.
    pub(super) bytes_left: Cell<usize>,
    /// Values that answers may still hold.
    pub(super) values_left: Cell<u64>,
    /// Calls that may still be made.
    pub(super) calls_left: Cell<usize>,
    /// What answers say of how long they hold, and for whom.
    pub(super) caching: RefCell<Caching>,
}

impl One {
    /// Compiles a call; an error begins with the key in it.
    pub(super) fn compile(
        name: &str,
        settings: &ComposeCall,
        common: &[String],
        places: &BTreeMap<&str, usize>,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let upstream = cx.upstreams.get(settings.upstream.as_str());
        let upstream =
            upstream.ok_or_else(|| format!("upstream: no upstream `{}`", settings.upstream))?.clone();
        let own = &upstream.settings;
        let effort = Effort::new(&own.timeouts, &own.retry, own.hedging.as_ref());
        let (path, query) = match settings.path.split_once('?') {
            Some((path, query)) => (path, query.split('&').filter(|pair| !pair.is_empty()).collect()),
            None => (settings.path.as_str(), Vec::new()),
        };
        let text = |text: &str| Text::parse(text, true, places).map_err(|error| format!("path: {error}"));
        let header = |(name, value): (&model::HeaderName, &String)| {
            let value =
                Text::parse(value, false, places).map_err(|error| format!("headers.{name}: {error}"))?;
            Ok((name.to_http().clone(), value))
        };
        let forward = settings.forward_headers.as_deref().unwrap_or(common);
        let body = settings.body.as_ref().map(|body| Shape::compile(body, places)).transpose();
        let for_each = settings.for_each.as_ref().map(|each| {
            let list = Path::parse(&each.list, places).map_err(|error| format!("forEach.in: {error}"))?;
            Ok::<_, String>(Each { list, max: each.max, concurrency: each.concurrency.max(1) })
        });
        let place = |name: &String| {
            places.get(name.as_str()).copied().ok_or_else(|| format!("after: there is no call `{name}`"))
        };
        Ok(Self {
            name: name.into(),
            effort,
            timeout: settings.timeout.map(model::Duration::get),
            method: Method::try_from(settings.method.as_str()).map_err(|error| format!("method: {error}"))?,
            path: text(path)?,
            query: query.into_iter().map(text).collect::<Result<Vec<_>, _>>()?.into(),
            headers: settings.headers.iter().map(header).collect::<Result<Vec<_>, String>>()?.into(),
            forward: Forward::compile(forward).map_err(|error| format!("forwardHeaders: {error}"))?,
            body: body.map_err(|error| {
                format!("body{}{error}", if error.starts_with(['.', '[']) { "" } else { ": " })
            })?,
            is_optional: settings.optional,
            for_each: for_each.transpose()?,
            needs: settings.needs().iter().map(place).collect::<Result<Vec<_>, _>>()?.into(),
            after: settings.after.iter().map(place).collect::<Result<Vec<_>, _>>()?.into(),
            pass_on: settings.pass_on.clone().into(),
            bytes_max: settings.max_size.get(),
            upstream,
        })
    }

    /// Every expression in it.
    pub(super) fn paths(&self) -> Vec<&Path> {
        let mut paths: Vec<&Path> = self.path.paths().collect();
        paths.extend(self.query.iter().flat_map(Text::paths));
        paths.extend(self.headers.iter().flat_map(|(_, value)| value.paths()));
        paths.extend(self.for_each.iter().map(|each| &each.list));
        if let Some(body) = &self.body {
            body.paths(&mut paths);
        }
        paths
    }

    /// Adds the fields of the client's request that its own is made of.
    pub(super) fn varies_by(&self, out: &mut Vec<HeaderName>) {
        self.path.varies_by(out);
        self.query.iter().for_each(|parameter| parameter.varies_by(out));
        self.headers.iter().for_each(|(_, value)| value.varies_by(out));
        self.body.iter().for_each(|body| body.varies_by(out));
    }

    /// Whether what it asks for is another thing for whoever calls, or for each call. A field that says who calls may make
    /// another answer of it, one that numbers or traces calls does only where the answer varies by it.
    pub(super) fn tells_who(&self) -> bool {
        self.headers.iter().any(|(_, text)| text.tells_who())
            || self.query.iter().chain([&self.path]).any(Text::tells_of_call)
            || self.body.as_ref().is_some_and(Shape::tells_of_call)
    }

    /// Whether an answer varies by a field that is made of this one call, or that the upstream's own policies make of who calls. By
    /// what the gateway itself is known there it is the same for all.
    fn varies_by_call(&self, headers: &HeaderMap, is_known: bool) -> bool {
        let values = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
        let mut names = values.flat_map(|value| value.split(',')).map(str::trim);
        names.any(|name| {
            let is_it = |own: &HeaderName| own.as_str().eq_ignore_ascii_case(name);
            match self.headers.iter().find(|(own, _)| is_it(own)) {
                Some((_, text)) => text.tells_of_call(),
                None => {
                    let chain = &self.upstream.chain;
                    let is_any = is_it(&header::AUTHORIZATION)
                        && !self.forwards(&header::AUTHORIZATION)
                        && !chain.identity().contains(&header::AUTHORIZATION);
                    chain.of_callers().iter().any(is_it) || is_known && is_any
                }
            }
        })
    }

    /// Whether a field of its request is the client's own.
    fn forwards(&self, name: &HeaderName) -> bool {
        let is_own = self.headers.iter().any(|(own, _)| own == name);
        let is_forwarded = match &self.forward {
            Forward::All => !NEVER.contains(&name.as_str()),
            Forward::Names(names) => names.contains(name) || ALWAYS.contains(&name.as_str()),
        };
        is_forwarded && !is_own
    }

    /// A call that was not even begun is in the record, too.
    fn unsent(&self, shared: &Shared<'_>, index: Option<usize>, why: &'static str) {
        shared.record.ended(ComposedCall {
            name: self.name.clone(),
            index,
            upstream: self.upstream.name.clone(),
            endpoint: None,
            method: self.method.clone(),
            span_id: guard::span_id(shared.worker),
            started: shared.call.elapsed(),
            duration: Duration::ZERO,
            first_byte: None,
            status: None,
            failed: Some(why),
            bytes: 0,
            attempts: 0,
            hedges: 0,
            hedge_won: false,
            tries: Vec::new(),
        });
    }

    /// Makes the call, once or for each item.
    pub(super) async fn make(
        &self,
        shared: &Shared<'_>,
        results: &[Option<Arc<Value>>],
    ) -> Result<Made, Unmade> {
        let scope = Scope {
            call: shared.call,
            names: shared.names,
            results,
            request: shared.request.as_ref(),
            item: None,
        };
        if let Some(first) = self.after.iter().find(|place| results.get(**place).is_none_or(Option::is_none))
        {
            self.unsent(shared, None, "needs-call");
            let name = shared.names.get(*first).map_or("", |name| &**name);
            return Err(self.failed(Problem::CallFailed, format!("comes after `{name}`, which failed")));
        }
        let Some(each) = &self.for_each else {
            let value = self.send(shared, &scope).await?;
            return Ok(Made { value, is_whole: true });
        };
        let list = each.list.find(&scope);
        let items = match list.as_deref() {
            Some(Value::Array(items)) => items,
            _ => {
                self.unsent(shared, None, "no-list");
                return Err(self.lacks_list(each.list.missing()));
            }
        };
        if items.len() > each.max {
            self.unsent(shared, None, "too-many-items");
            let why = format!("would be made for {} items, and `max` is {}", items.len(), each.max);
            return Err(self.failed(Problem::CallFailed, why));
        }
        let calls = items.iter().enumerate().map(|(index, item)| {
            let scope = Scope { item: Some((item, index)), ..scope };
            async move { self.send(shared, &scope).await }
        });
        let mut ended = stream::iter(calls).buffered(each.concurrency);
        let mut values = Vec::with_capacity(items.len());
        let mut is_whole = true;
        while let Some(result) = ended.next().await {
            match result {
                Ok(value) => values.push(value),
                Err(Unmade::Failed(_)) if self.is_optional => {
                    is_whole = false;
                    values.push(Value::Null);
                }
                Err(unmade) => return Err(unmade),
            }
        }
        Ok(Made { value: Value::Array(values), is_whole })
    }

    fn failed(&self, problem: Problem, why: impl std::fmt::Display) -> Unmade {
        let failure = match problem {
            Problem::Invalid => Failure::client(Stage::Pick, problem),
            problem => Failure::new(model::Side::Upstream, Stage::Pick, problem),
        };
        Unmade::Failed(failure.with_hint(format!("the call `{}` {why}", self.name)))
    }

    /// A value that the call needs is not there.
    fn lacks(&self, missing: Missing) -> Unmade {
        match missing.is_clients {
            true => self
                .failed(Problem::Invalid, format_args!("needs `{}`, which the request lacks", missing.what)),
            false => {
                self.failed(Problem::CallFailed, format_args!("needs `{}`, which is not there", missing.what))
            }
        }
    }

    /// What a call is made for each item of is no list.
    fn lacks_list(&self, missing: Missing) -> Unmade {
        let problem = if missing.is_clients { Problem::Invalid } else { Problem::CallFailed };
        self.failed(problem, format_args!("has no list to be made for: `{}` is none", missing.what))
    }

    fn target(&self, scope: &Scope<'_>) -> Result<Uri, Unmade> {
        let mut target = String::new();
        self.path.render(scope, Goes::Path, &mut target).map_err(|missing| self.lacks(missing))?;
        // No value may make one of these, whatever stands around it.
        let is_dots = |segment: &str| {
            let dots = segment.replace("%2e", ".").replace("%2E", ".");
            dots == "." || dots == ".."
        };
        let wrong = |why: &str| self.failed(Problem::Invalid, why);
        if target.split('/').any(is_dots) {
            return Err(wrong("would leave its path with a value of `.` or `..`"));
        }
        let mut separator = '?';
        for parameter in &self.query {
            let end = target.len();
            target.push(separator);
            match parameter.render(scope, Goes::Query, &mut target) {
                Ok(()) => separator = '&',
                Err(_) => target.truncate(end),
            }
        }
        if target.len() > TARGET_BYTES_MAX {
            return Err(wrong("would have a target that is too long"));
        }
        Uri::try_from(target).map_err(|_| wrong("would have a malformed target"))
    }

    fn head_and_body(
        &self,
        shared: &Shared<'_>,
        scope: &Scope<'_>,
    ) -> Result<(http::request::Parts, Body), Unmade> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = self.target(scope)?;
        head.method = self.method.clone();
        let headers = &mut head.headers;
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        forward(&self.forward, shared.call, headers);
        headers.insert(guard::X_REQUEST_ID, shared.call.record.request_id.clone());
        let mut body = Body::Empty;
        if let Some(shape) = &self.body {
            let mut bytes = Vec::new();
            if !shape.write(scope, &mut bytes, self.bytes_max) {
                return Err(self.failed(Problem::CallFailed, "would have a body that is too large"));
            }
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            body = Body::Full(bytes.into());
        } else if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        let mut sent = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
        sent += body.length().unwrap_or(0) as usize;
        for (name, text) in &self.headers {
            let mut value = String::new();
            let value = text.render(scope, Goes::Plain, &mut value).ok().map(|()| value);
            let length = value.as_ref().map_or(0, String::len);
            if length > FIELD_BYTES_MAX {
                let why = format_args!("would have a field `{name}` of more than {FIELD_BYTES_MAX} bytes");
                return Err(self.failed(Problem::CallFailed, why));
            }
            sent += length;
            // One that a header cannot hold is left out, never cut or cleaned; nor is the client's own in its place.
            match value.and_then(|value| HeaderValue::try_from(value).ok()) {
                Some(value) => headers.insert(name.clone(), value),
                None => headers.remove(name),
            };
        }
        match shared.bytes_left.get().checked_sub(sent) {
            Some(left) => shared.bytes_left.set(left),
            None => {
                return Err(self.failed(Problem::CallFailed, "would send more than `maxSize` leaves for it"));
            }
        }
        Ok((head, body))
    }

    /// Sends one request, and reads its answer.
    async fn send(&self, shared: &Shared<'_>, scope: &Scope<'_>) -> Result<Value, Unmade> {
        let index = scope.item.map(|(_, index)| index);
        let Some(calls_left) = shared.calls_left.get().checked_sub(1) else {
            self.unsent(shared, index, "too-many-calls");
            let why = format_args!("would be one of more than {} calls of one answer", super::CALLS_MAX);
            return Err(self.failed(Problem::CallFailed, why));
        };
        shared.calls_left.set(calls_left);
        let (head, body) = match self.head_and_body(shared, scope) {
            Ok(made) => made,
            Err(unmade) => {
                self.unsent(shared, index, "not-made");
                return Err(unmade);
            }
        };
        let left = shared.deadline.saturating_duration_since(Instant::now());
        let left = self.timeout.map_or(left, |timeout| timeout.min(left));
        if left.is_zero() {
            return Err(self.failed(Problem::UpstreamTimeout, "was not made in the time for all calls"));
        }
        let mut effort = self.effort.clone();
        effort.request = effort.request.min(left);
        effort.total = Some(effort.total.map_or(left, |total| total.min(left)));
        let target = Target { upstream: self.upstream.clone(), effort, weight: 1 };
        let mut sent = Sent::new(self, shared, head, index);
        let result = self.exchange(shared, &mut sent, &target, body).await;
        sent.failed = match &result {
            Ok(_) => None,
            Err(Unmade::Failed(failure)) => Some(failure.problem().slug()),
            Err(Unmade::PassedOn(_)) => Some("passed-on"),
        };
        result
    }

    async fn exchange(
        &self,
        shared: &Shared<'_>,
        sent: &mut Sent,
        target: &Target,
        mut body: Body,
    ) -> Result<Value, Unmade> {
        let Some(own) = &mut sent.call else { return Err(self.failed(Problem::Internal, "was not begun")) };
        // Their own words are for the log.
        let named =
            |failure: Failure| Unmade::Failed(failure.with_hint(format!("the call `{}` failed", self.name)));
        let passed = chain::upstream_request(&self.upstream.chain, own, &mut body).await.map_err(named)?;
        let mut response = match passed {
            Passed::Answered(response) => *response,
            Passed::Through | Passed::Around => {
                let wish = tries::Wish { endpoint: None, hash: tries::hash_of(own, &self.upstream) };
                tries::forward(shared.worker, own, target, &wish, body).await.map_err(named)?
            }
        };
        chain::judged(own, &mut response).await.map_err(named)?;
        guard::clean_answer(&mut response);
        let status = response.status();
        sent.status = Some(status);
        let (head, answer) = response.into_parts();
        let is_passed_on = self.pass_on.contains(&status.as_u16());
        if !status.is_success() && !is_passed_on {
            return Err(
                self.failed(Problem::CallFailed, format_args!("was answered with {}", status.as_u16()))
            );
        }
        let has_credentials = [header::AUTHORIZATION, header::COOKIE]
            .iter()
            .any(|name| self.forwards(name) && shared.call.head.headers.contains_key(name));
        let is_somebody = shared.call.consumer.is_some() || shared.call.claims.is_some();
        let is_known = is_somebody && !shared.call.is_stranger;
        // Who calls is the client's own, too, by whatever word of the gateway's policies it goes on.
        let stated = match head.headers.contains_key(header::VARY) {
            true => chain::stated_identity(shared.call),
            false => Vec::new(),
        };
        let is_clients = |name: &HeaderName| self.forwards(name) || stated.contains(name);
        shared.caching.borrow_mut().hear(&head.headers, has_credentials || is_known, is_clients);
        if self.varies_by_call(&head.headers, is_known) {
            shared.caching.borrow_mut().keep_from_others();
        }
        let bytes = self.read(answer, &shared.bytes_left, &mut sent.bytes).await?;
        if is_passed_on {
            return Err(Unmade::PassedOn(Box::new(passed_on(status, &head.headers, bytes))));
        }
        let malformed = |why: &str| self.failed(Problem::BadUpstreamAnswer, why);
        let coding = head.headers.get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(malformed("was answered in a content coding that was not asked for"));
        }
        if status == StatusCode::NO_CONTENT || self.method == Method::HEAD || bytes.is_empty() {
            return Ok(Value::Null);
        }
        match shared.values_left.get().checked_sub(crate::jq::nodes(&bytes)) {
            Some(left) => shared.values_left.set(left),
            None => return Err(malformed("was answered with more values than `maxSize` leaves room for")),
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            let is_number = error.to_string().starts_with("number out of range");
            malformed(match is_number {
                true => "was answered with a number that no 64-bit one can hold",
                false => "was answered with what is no JSON",
            })
        })
    }

    /// Reads a body as far as it may go.
    async fn read(&self, mut body: Body, bytes_left: &Cell<usize>, read: &mut u64) -> Result<Bytes, Unmade> {
        let mut all = BytesMut::new();
        let large = |what: &str| self.failed(Problem::BadUpstreamAnswer, what);
        if body.length().is_some_and(|length| length > self.bytes_max as u64) {
            return Err(large("was answered with more than its `maxSize`"));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|failure| {
                Unmade::Failed(failure.with_hint(format!("the answer of the call `{}` broke off", self.name)))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            *read += data.len() as u64;
            if all.len() + data.len() > self.bytes_max {
                return Err(large("was answered with more than its `maxSize`"));
            }
            match bytes_left.get().checked_sub(data.len()) {
                Some(left) => bytes_left.set(left),
                None => return Err(large("was answered with more than `maxSize` leaves for it")),
            }
            if all.is_empty() && body.length() == Some(0) {
                return Ok(data);
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }
}

/// Fields of an answer that the client gets as it came.
const PASSED_ON: [HeaderName; 10] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::RETRY_AFTER,
    header::LOCATION,
    header::WWW_AUTHENTICATE,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::AGE,
    header::VARY,
];

/// An answer that the client gets as it came, without what was between the gateway and the upstream.
fn passed_on(status: StatusCode, headers: &HeaderMap, bytes: Bytes) -> Response<Body> {
    let length = bytes.len();
    let mut response = Response::new(if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) });
    *response.status_mut() = status;
    for name in PASSED_ON {
        for value in headers.get_all(&name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Puts the client's fields that go on into a head.
fn forward(which: &Forward, call: &Call, headers: &mut HeaderMap) {
    let came = &call.head.headers;
    let mut put = |name: &HeaderName| {
        let values: Vec<_> = came.get_all(name).iter().cloned().collect();
        headers.remove(name);
        for value in values {
            headers.append(name.clone(), value);
        }
    };
    match which {
        Forward::All => {
            for name in came.keys().filter(|name| !NEVER.contains(&name.as_str())) {
                put(name);
            }
            return;
        }
        Forward::Names(names) => names.iter().filter(|name| came.contains_key(*name)).for_each(&mut put),
    }
    for name in ALWAYS.into_iter().map(HeaderName::from_static) {
        if came.contains_key(&name) {
            put(&name);
        }
    }
    // What policies say the caller is: a client's own words of that kind were taken away before.
    for name in chain::stated_identity(call) {
        if came.contains_key(&name) {
            put(&name);
        }
    }
}

/// A call that is under way. However it ends, it is in the record.
struct Sent {
    call: Option<Box<Call>>,
    name: Arc<str>,
    upstream: Arc<str>,
    index: Option<usize>,
    span_id: [u8; 8],
    later: Duration,
    record: Arc<ComposeRecord>,
    status: Option<StatusCode>,
    failed: Option<&'static str>,
    bytes: u64,
}

impl Sent {
    fn new(one: &One, shared: &Shared<'_>, head: http::request::Parts, index: Option<usize>) -> Self {
        let mut own = shared.call.errand(head);
        // What the upstream's policies find out about whoever calls has no consequences on the route.
        own.route = None;
        // Each draws its own endpoint.
        own.random = shared.worker.random();
        own.listener = crate::call::NO_LISTENER;
        own.claims = shared.call.claims.clone();
        own.token = shared.call.token.clone();
        own.record.upstream = Some(one.upstream.name.clone());
        let host = one.upstream.settings.host_header.as_str();
        let host = match host {
            "upstream" => None,
            "preserve" => {
                let came = &shared.call.head;
                let authority = || HeaderValue::from_str(came.uri.authority()?.as_str()).ok();
                came.headers.get(header::HOST).cloned().or_else(authority)
            }
            own => HeaderValue::from_str(own).ok(),
        };
        own.host_from_endpoint = host.is_none();
        if let Some(host) = host {
            own.head.headers.insert(header::HOST, host);
        }
        Self {
            later: own.started.saturating_duration_since(shared.call.started),
            call: Some(own),
            name: one.name.clone(),
            upstream: one.upstream.name.clone(),
            index,
            span_id: guard::span_id(shared.worker),
            record: shared.record.clone(),
            status: None,
            failed: Some("cut-off"),
            bytes: 0,
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let Some(mut own) = self.call.take() else { return };
        std::mem::take(&mut own.trail).write(&mut own.record);
        let later = self.later;
        let tries = std::mem::take(&mut own.record.tries).into_iter();
        self.record.ended(ComposedCall {
            name: self.name.clone(),
            index: self.index,
            upstream: self.upstream.clone(),
            endpoint: own.record.endpoint.take(),
            method: own.record.method.clone(),
            span_id: self.span_id,
            started: later,
            duration: own.elapsed(),
            first_byte: own.record.timings.upstream_first_byte,
            status: self.status,
            failed: self.failed,
            bytes: self.bytes,
            attempts: own.record.attempts,
            hedges: own.record.hedges,
            hedge_won: own.record.hedge_won,
            tries: tries
                .map(|span| model::TrySpan { started: span.started.saturating_add(later), ..span })
                .collect(),
        });
    }
}
