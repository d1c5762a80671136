//! `transform`: makes other bodies and statuses of requests and answers.
//!
//! Bodies are held whole within a bound, and streams of events and lines go through piece by piece. The steps are in
//! [`crate::content`].

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    held::Held,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    content::{
        self,
        events::{Events, Format},
        steps::{Reads, Steps, Wrong},
    },
    failure::{Failure, Problem, Stage},
    openapi::media::{self, MediaRange},
};

const TRANSFORMED: usize = 0;
const FAILED: usize = 1;

static METRIC: Metric = Metric {
    name: "tidegate_transform_messages_total",
    help: "Messages that were made into others, by what came of it.",
    outcomes: &["transformed", "failed"],
    gauges: &[],
};

/// What a client says of encodings.
type Accepted = Vec<HeaderValue>;

/// The compiled policy.
pub(crate) struct Transform {
    kind: &'static str,
    request: Option<Arc<Steps>>,
    answer: Option<Arc<Steps>>,
    /// Statuses and first digits of them whose answers are made into others.
    on: Vec<u16>,
    statuses: HashMap<u16, StatusCode>,
    counted: Arc<Counted>,
}

impl Transform {
    pub(crate) fn compile(settings: &model::policy::Transform, cx: &Building<'_>) -> Result<Self, String> {
        let steps = |side: &str, all: &[model::policy::transform::TransformStep], size: model::Size| {
            (!all.is_empty())
                .then(|| Steps::compile(all, size.get()))
                .transpose()
                .map_err(|error| format!("{side}.{error}"))
        };
        let answer = steps("answer", &settings.answer.body, settings.answer.max_size)?;
        if cx.owner.starts_with("upstreams/") && answer.is_some() {
            return Err("`answer.body` is made on a route, a listener or globally, not on an upstream".into());
        }
        let status = |text: &String| {
            model::policy::transform::status(text).ok_or_else(|| format!("`{text}` is no status"))
        };
        let mut statuses = HashMap::new();
        for (from, to) in &settings.answer.status {
            let to = StatusCode::from_u16(*to).map_err(|error| format!("answer.status: {error}"))?;
            statuses.insert(status(from)?, to);
        }
        Ok(Self {
            kind: "transform",
            request: steps("request", &settings.request.body, settings.request.max_size)?,
            answer,
            on: settings.answer.on.iter().map(status).collect::<Result<_, _>>()?,
            statuses,
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// What another policy does in the same way.
    pub(super) fn of(
        kind: &'static str,
        request: Option<Arc<Steps>>,
        answer: Option<Arc<Steps>>,
        on: Vec<u16>,
        metric: &'static Metric,
        cx: &Building<'_>,
    ) -> Self {
        Self { kind, request, answer, on, statuses: HashMap::new(), counted: Counted::of(metric, cx) }
    }

    async fn make_request(
        &self,
        steps: &Arc<Steps>,
        call: &mut Call,
        body: &mut Body,
    ) -> Result<(), Failure> {
        let held = Held::read(body, steps.bytes_max).await?;
        call.has_been_sent();
        if !held.is_whole() {
            return Err(Failure::refused(Problem::BodyTooLarge)
                .with_hint(format!("the body has more than {} bytes", steps.bytes_max)));
        }
        let is_json = media::of(&call.head.headers).is_some_and(|kind| kind.is_json());
        let made = steps.run(held.beginning(steps.bytes_max), is_json, &facts(call, None)).await;
        let made = made.map_err(|wrong| {
            self.counted.note(FAILED);
            match wrong {
                Wrong::Malformed(told) => {
                    Failure::refused(Problem::Invalid).with_hint(format!("the body: {told}"))
                }
                Wrong::Failed(told) => Failure::refused(Problem::Invalid)
                    .with_hint("the body cannot be made into what the service expects")
                    .with_detail(told),
                Wrong::Full => Failure::gateway(Stage::Policy, Problem::Overloaded),
            }
        })?;
        self.counted.note(TRANSFORMED);
        describe(&mut call.head.headers, steps);
        call.head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(made.len()));
        *body = Body::Full(made);
        Ok(())
    }

    async fn make_answer(
        &self,
        steps: &Arc<Steps>,
        call: &Call,
        answer: &mut Response<Body>,
    ) -> Result<(), Failure> {
        let status = answer.status();
        let kind = media::of(answer.headers());
        let flows = matches!(steps.reads, Reads::Json | Reads::Texts) && steps.makes.is_none();
        let format = kind.as_ref().filter(|_| flows).and_then(|kind| match kind {
            kind if kind.is("text", "event-stream") => Some(Format::Events),
            kind if kind.is_lines() => Some(Format::Lines),
            _ => None,
        });
        let is_stream = kind.as_ref().is_some_and(|kind| kind.is_stream());
        // Parts of a body of whatever type it may be.
        let is_parts = kind.as_ref().is_some_and(|kind| kind.is("multipart", "byteranges"));
        if format.is_none() && !is_parts && (is_stream || !steps.fits(kind.as_ref())) {
            let is_meant = |kind: MediaRange| steps.fits(Some(&kind)) || flows && kind.is_stream();
            if !is_stream && media::all(answer.headers()).any(is_meant) {
                self.counted.note(FAILED);
                return Err(broken("it has several media types, or one that cannot be read"));
            }
            return Ok(());
        }
        if status == StatusCode::PARTIAL_CONTENT || is_parts {
            self.counted.note(FAILED);
            return Err(broken("it is a part, which was not asked for"));
        }
        if call.head.method == Method::HEAD {
            // What a GET would be sent is not known.
            describe(answer.headers_mut(), steps);
            return Ok(());
        }
        if !media::is_plain(answer.headers()) {
            self.counted.note(FAILED);
            return Err(broken("it is encoded, which it was not asked to be"));
        }
        if let Some(format) = format {
            let inner = std::mem::take(answer.body_mut());
            let facts = facts(call, Some(status));
            *answer.body_mut() = Body::boxed(Events::new(inner, format, steps.clone(), facts));
            content::changed(answer.headers_mut());
            self.counted.note(TRANSFORMED);
            return Ok(());
        }
        if answer.body().is_empty() && steps.reads != Reads::Any {
            return Ok(());
        }
        let held = Held::read(answer.body_mut(), steps.bytes_max).await?;
        let whole: Option<Bytes> = held.is_whole().then(|| held.beginning(steps.bytes_max));
        let made = match whole {
            None => Err(Wrong::Failed(format!("it has more than {} bytes", steps.bytes_max))),
            Some(bytes) => {
                let is_json = kind.is_some_and(|kind| kind.is_json());
                steps.run(bytes, is_json, &facts(call, Some(status))).await
            }
        };
        match made {
            Ok(made) => {
                self.counted.note(TRANSFORMED);
                describe(answer.headers_mut(), steps);
                *answer.body_mut() = Body::Full(made);
                Ok(())
            }
            Err(wrong) => {
                self.counted.note(FAILED);
                Err(match wrong {
                    Wrong::Malformed(told) | Wrong::Failed(told) => broken(told),
                    Wrong::Full => Failure::gateway(Stage::Policy, Problem::Overloaded),
                })
            }
        }
    }

    fn is_on(&self, status: StatusCode) -> bool {
        self.on.contains(&status.as_u16()) || self.on.contains(&(status.as_u16() / 100))
    }

    fn map_status(&self, answer: &mut Response<Body>) {
        let own = answer.status().as_u16();
        if let Some(status) = self.statuses.get(&own).or_else(|| self.statuses.get(&(own / 100))) {
            *answer.status_mut() = *status;
        }
    }
}

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::upstream(
        Stage::Policy,
        Problem::BadUpstreamAnswer,
        format!("the answer cannot be transformed: {why}"),
    )
}

/// Makes a head true of a body that came out of steps.
fn describe(headers: &mut HeaderMap, steps: &Steps) {
    content::changed(headers);
    if let Some(kind) = steps.makes.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
}

/// What steps may ask for beside the body.
fn facts(call: &Call, status: Option<StatusCode>) -> Value {
    let query = form_urlencoded::parse(call.head.uri.query().unwrap_or_default().as_bytes());
    let query: serde_json::Map<String, Value> =
        query.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
    json!({
        "request": {"method": call.head.method.as_str(), "path": call.path(), "query": query},
        "status": status.map(|status| status.as_u16()),
    })
}

impl NeedsOf for model::policy::Transform {
    fn needs(&self) -> Needs {
        Needs::headers([header::CONTENT_TYPE, header::CONTENT_ENCODING])
    }
}

impl Policy for Transform {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        if self.answer.is_some() {
            // What is made into something else must be readable, and whole. What the client takes is known again by
            // those who see the answer afterwards.
            let accepted: Accepted =
                call.head.headers.get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
            for name in [header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE] {
                call.head.headers.remove(name);
            }
            if !accepted.is_empty() {
                call.keep(self, accepted);
            }
        }
        let Some(steps) = self.request.as_ref().filter(|_| !call.body_is_tunnel() && !body.is_empty()) else {
            return Flow::Continue;
        };
        if !steps.fits(media::of(&call.head.headers).as_ref()) {
            // The service may go by a type that is not the one that was looked at.
            if media::all(&call.head.headers).any(|kind| steps.fits(Some(&kind))) {
                self.counted.note(FAILED);
                let hint = "expected one media type that can be read, in one `Content-Type`";
                return Flow::Fail(Failure::refused(Problem::UnsupportedMedia).with_hint(hint));
            }
            return Flow::Continue;
        }
        let said = media::text_of(&call.head.headers).filter(|_| steps.makes.is_none());
        // It goes on under the type that it came with: whoever decodes it so reads something else than was looked at.
        if said.is_some_and(|said| !media::is_like_ascii(said)) {
            self.counted.note(FAILED);
            let failure = Failure::refused(Problem::UnsupportedMedia);
            return Flow::Fail(failure.with_hint("the body is in another character set; expected UTF-8"));
        }
        if !media::is_plain(&call.head.headers) {
            return Flow::Fail(
                Failure::refused(Problem::UnsupportedMedia)
                    .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
                    .with_hint("the body must not be encoded"),
            );
        }
        Flow::Wait(Box::pin(async move {
            match self.make_request(steps, call, body).await {
                Ok(()) => Verdict::Continue,
                Err(failure) => Verdict::Fail(failure),
            }
        }))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        // What the gateway says itself stays as it is.
        if call.record.failure.is_none()
            && !call.is_switched_by(answer)
            && !content::is_bodiless(answer.status())
        {
            self.map_status(answer);
        }
    }

    fn waits_for_answers(&self) -> bool {
        self.answer.is_some()
    }

    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for value in call.take::<Self, Accepted>(self).unwrap_or_default() {
                call.head.headers.append(header::ACCEPT_ENCODING, value);
            }
            let (Some(steps), None) = (&self.answer, &call.record.failure) else { return Ok(()) };
            if call.is_switched_by(answer) {
                return Ok(());
            }
            let status = answer.status();
            if status == StatusCode::NOT_MODIFIED {
                // It speaks of what a 200 would be.
                content::changed(answer.headers_mut());
                return Ok(());
            }
            if content::is_bodiless(status) {
                return Ok(());
            }
            if self.is_on(status)
                && let Err(failure) = self.make_answer(steps, call, answer).await
            {
                call.record.stopped_by = Some(self.kind);
                return Err(failure);
            }
            self.map_status(answer);
            Ok(())
        })
    }
}
