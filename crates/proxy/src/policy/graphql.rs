//! `graphql`: judges operations of GraphQL before the service runs them.
//!
//! Reading and measuring is the crate `graphql`; here a request is brought to it within its bounds, and goes on as it was
//! judged: what was not read does not reach the service. What is refused is told as GraphQL tells errors.

mod body;
mod core;
pub(crate) mod report;
mod rules;

use std::sync::Arc;

use ::graphql::{Code, Kind, Refusal, request};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, header};
use model::policy::graphql::GraphqlWebSocket;

use self::{
    body::Came,
    core::{Asking, Core, Judged},
    report::{KEPT, Kept},
    rules::Rules,
};
use super::{Flow, Needs, NeedsOf, Policy, Verdict, credentials};
use crate::{
    body::Body,
    call::{Call, Upgrade},
    compiled::Building,
    failure::{self, Failure, Problem, Stage},
    jq,
};

/// Bytes of a request that is judged beside the workers, so that others do not wait for it.
const ASIDE_BYTES_MIN: usize = 16 * 1024;
/// Bytes of a target that a document is put into. Servers take little more.
const TARGET_BYTES_MAX: usize = 60 * 1024;
/// Headers that tell of a body what is no longer so when it is written anew.
const OF_BODY: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

/// The compiled policy.
pub(crate) struct Graphql {
    core: Arc<Core>,
    rules: Rules,
    body_bytes_max: usize,
    upload_bytes_max: Option<usize>,
    passes_sockets: bool,
}

impl Graphql {
    pub(crate) fn compile(settings: &model::policy::Graphql, cx: &Building<'_>) -> Result<Self, String> {
        let bytes_max = settings.persisted.as_ref().and_then(|persisted| persisted.automatic);
        let kept = cx.keep(KEPT, settings, || Kept::new(bytes_max.map(|size| size.get())));
        Ok(Self {
            core: Arc::new(Core::compile(settings, kept, cx)?),
            rules: Rules::compile(&settings.fields)?,
            body_bytes_max: settings.limits.max_body_size.get(),
            upload_bytes_max: settings.max_upload_size.map(|size| size.get()),
            passes_sockets: settings.web_socket == GraphqlWebSocket::PassUnjudged,
        })
    }

    async fn judge(&self, call: &mut Call, body: &mut Body) -> Verdict {
        // From here on whatever goes wrong is told as GraphQL tells it.
        call.record.graphql = Some(Box::default());
        match self.judged(call, body).await {
            Ok(()) => Verdict::Continue,
            Err(Stop::Failed(failure)) => Verdict::Fail(failure),
            Err(Stop::Refused(refusal)) => self.refuse(call, refusal, None),
            Err(Stop::Forbidden(place)) => {
                let told = refusal(Code::Forbidden, "the caller may not ask for one of these fields");
                self.refuse(call, told, Some(format!("`fields[{place}]` does not let the caller in")))
            }
        }
    }

    async fn judged(&self, call: &mut Call, body: &mut Body) -> Result<(), Stop> {
        if call.upgrade.is_some() {
            return Err(refusal(Code::Upgrade, "operations are not taken over WebSocket here").into());
        }
        let limits = self.core.guard.limits();
        let (came, payload) = match call.head.method {
            Method::GET | Method::HEAD => body::of_url(call, body)?,
            Method::POST => {
                let bounds = body::Bounds {
                    body: self.body_bytes_max,
                    upload: self.upload_bytes_max,
                    batch: limits.batch,
                };
                let read = body::of_body(call, body, &bounds).await?;
                call.has_been_sent();
                read
            }
            _ => return Err(refusal(Code::Method, "operations come by GET or POST").into()),
        };
        let bytes = self.core.bytes(&payload);
        let reads = came.reads(call);
        let (payload, (record, judged)) = match bytes < ASIDE_BYTES_MIN {
            true => {
                let judged = self.core.judge(&payload, reads);
                (payload, judged)
            }
            false => {
                let core = self.core.clone();
                let done = jq::aside(move || {
                    let judged = core.judge(&payload, reads);
                    (payload, judged)
                });
                done.await
                    .map_err(|why| Failure::gateway(Stage::Policy, Problem::Overloaded).with_detail(why))?
            }
        };
        call.record.graphql = Some(Box::new(record));
        let judged = judged?;
        let touched = judged.iter().fold(0, |all, one| all | one.measured.rules);
        if let Some(place) = self.rules.broken(touched, call) {
            return Err(Stop::Forbidden(place));
        }
        self.core.register(&payload, &judged);
        rewrite(call, body, came, &payload, &judged)?;
        let each = judged.into_iter();
        let asking = each.map(|one| Asking { name: one.name, kind: one.kind, cost: one.measured.cost });
        call.keep(self, asking.collect::<Vec<_>>());
        Ok(())
    }

    /// Tells a client why nothing is run.
    fn refuse(&self, call: &mut Call, refusal: Refusal, detail: Option<String>) -> Verdict {
        let code = refusal.code;
        self.core.kept.refused(code);
        if let Some(record) = &mut call.record.graphql {
            record.refused = Some(code.as_str());
        }
        let failure = failed(refusal, &call.head.method);
        let failure = match detail {
            Some(detail) => failure.with_detail(detail),
            None => failure,
        };
        if matches!(code, Code::NotFound | Code::NotSupported) {
            // A step of the protocol: the client sends the document now.
            let told = failure::graphql::answer(&failure, call);
            return Verdict::Answer(Box::new(told));
        }
        Verdict::Fail(failure)
    }
}

/// Why a request stops here.
enum Stop {
    Failed(Failure),
    Refused(Refusal),
    /// A rule about fields, by its place, does not let the caller in.
    Forbidden(usize),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn refusal(code: Code, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

/// A refusal as a failure of the call.
fn failed(refusal: Refusal, method: &Method) -> Failure {
    let problem = match refusal.code {
        Code::TooLarge => Problem::BodyTooLarge,
        Code::Media => Problem::UnsupportedMedia,
        Code::Method => Problem::MethodNotAllowed,
        Code::Forbidden => Problem::Forbidden,
        _ => Problem::Invalid,
    };
    let failure = Failure::refused(problem).with_code(refusal.code.as_str()).with_hint(refusal.message);
    let failure = match http::StatusCode::from_u16(refusal.code.status()) {
        Ok(status) => failure.with_status(status),
        Err(_) => failure,
    };
    match refusal.code {
        Code::Method => {
            // What comes by GET comes so for some operations, of which this is none.
            let is_get = matches!(*method, Method::GET | Method::HEAD);
            let allowed = if is_get { "POST" } else { "GET, HEAD, POST" };
            failure.with_header(header::ALLOW, HeaderValue::from_static(allowed))
        }
        _ => failure,
    }
}

/// Lets a request go on as it was judged.
fn rewrite(
    call: &mut Call,
    body: &mut Body,
    came: Came,
    payload: &request::Payload,
    judged: &[Judged],
) -> Result<(), Stop> {
    let must_change = payload.asked.iter().any(request::Asked::must_change);
    let texts: Vec<&str> = judged.iter().map(|one| &*one.known.text).collect();
    let written = match came {
        Came::Url if must_change => {
            let (Some(asked), Some(text)) = (payload.asked.first(), texts.first()) else { return Ok(()) };
            let query = request::to_query(call.head.uri.query().unwrap_or_default(), asked, text);
            let target = format!("{}?{query}", call.path());
            if target.len() > TARGET_BYTES_MAX || !credentials::set_target(call, target) {
                let hint = "the document is too long for GET; it can be asked for by POST";
                return Err(Failure::refused(Problem::UriTooLong).with_hint(hint).into());
            }
            return Ok(());
        }
        Came::Url => return Ok(()),
        Came::Json(held) if !must_change => {
            *body = held;
            return Ok(());
        }
        Came::Upload { held, .. } if !must_change => {
            *body = held;
            return Ok(());
        }
        Came::Json(_) | Came::Text => {
            call.head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Bytes::from(request::to_json(payload, &texts))
        }
        Came::Upload { bytes, operations, .. } => {
            let before = bytes.get(..operations.start).unwrap_or_default();
            let after = bytes.get(operations.end..).unwrap_or_default();
            Bytes::from([before, request::to_json(payload, &texts).as_bytes(), after].concat())
        }
    };
    let headers = &mut call.head.headers;
    OF_BODY.iter().for_each(|name| {
        headers.remove(*name);
    });
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(written.len()));
    *body = Body::Full(written);
    Ok(())
}

impl NeedsOf for model::policy::Graphql {
    fn needs(&self) -> Needs {
        let mut headers = vec![header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT];
        let read = self.fields.iter().filter_map(|rule| rule.when.as_deref());
        headers.extend(read.flat_map(crate::protected::of_expression).collect::<Vec<HeaderName>>());
        Needs::headers(headers)
    }
}

impl Policy for Graphql {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        // A service that does not turn to WebSocket answers what stands in the URL or in a body.
        let asks_nothing = || {
            matches!(request::from_query(call.head.uri.query().unwrap_or_default()), Ok(None))
                && (call.body_is_tunnel() || body.is_empty())
        };
        let is_socket = matches!(call.upgrade, Some(Upgrade::Connection | Upgrade::Stream));
        if is_socket && self.passes_sockets && asks_nothing() {
            return Flow::Continue;
        }
        Flow::Wait(Box::pin(self.judge(call, body)))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let Some(asking) = call.take::<Self, Vec<Asking>>(self) else { return };
        let is_ok = call.record.failure.is_none() && answer.status().as_u16() < 400;
        let now = std::time::Instant::now();
        for one in &asking {
            self.core.kept.answered(one, is_ok, call.elapsed(), now);
        }
    }
}

/// Which operations may come so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Any.
    All,
    /// Those that change nothing.
    Queries,
    /// Those, and subscriptions, which a client takes as events.
    Events,
}

impl Reads {
    pub(super) fn lets(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Queries => kind == Kind::Query,
            Self::Events => kind != Kind::Mutation,
        }
    }
}
