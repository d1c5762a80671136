//! REST: JSON by paths, as annotations or the route say.

use std::{borrow::Cow, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use model::TranscodeRecord;
use prost::Message as _;
use serde_json::Value;
use transcode::{
    DynamicMessage,
    answer::{Answer, Form, Lines, Upload},
    binding::{Binding, Body as Received, BodyIs, Captured, Found},
    metadata,
    status::{Code, Status},
    template::decoded,
};

use super::{
    Transcode,
    descriptors::Known,
    refused,
    send::{Shared, framed, not_grpc},
    stream::{Told, Uploaded},
    text,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    guard,
    handler::ai::gathered::{Ungathered, gather},
    worker::Worker,
};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// How long the head of a stream's answer waits for a first message or an end, so that what fails at once has its own
/// status.
const FIRST: Duration = Duration::from_millis(250);

/// A request as it was understood.
struct Asked {
    binding: Arc<Binding>,
    captures: Vec<Captured<'static>>,
}

impl Transcode {
    pub(super) async fn rest(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        known: &Known,
        path: &str,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let asked = asked(call, known, path)?;
        let method = asked.binding.method.clone();
        call.record.transcoded = Some(Arc::new(TranscodeRecord::new(method.name.clone(), "rest")));
        let upload = self.upload(call, &asked, body).await?;
        let is_stream = method.gives_stream || method.takes_stream;
        let headers = self.head(call, None, is_stream);
        let may_repeat =
            !method.takes_stream && (method.is_idempotent || crate::call::is_idempotent(&call.head.method));
        let response = self.send(worker, call, &method.path, headers, upload, may_repeat).await?;
        let schema = Some(known.schema.clone());
        let mut answer = match method.gives_stream {
            true => self.rest_stream(call, &asked.binding, schema, response).await?,
            false => self.rest_unary(call, &asked.binding, schema, response).await?,
        };
        if call.head.method == Method::HEAD {
            *answer.body_mut() = Body::Empty;
        }
        Ok(answer)
    }

    /// What the server is sent.
    async fn upload(&self, call: &Call, asked: &Asked, body: Body) -> Result<Body, Failure> {
        let headers = &call.head.headers;
        let content_type = text(headers, &header::CONTENT_TYPE);
        let coding = text(headers, &header::CONTENT_ENCODING);
        let unsupported =
            |hint: &str| Failure::client(Stage::Body, Problem::UnsupportedMedia).with_hint(hint);
        if !matches!(coding, "" | "identity") {
            return Err(unsupported("the body is compressed; the policy `decompress` takes such"));
        }
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if asked.binding.method.takes_stream {
            if !matches!(
                essence.as_str(),
                "application/x-ndjson"
                    | "application/ndjson"
                    | "application/jsonl"
                    | "application/json-lines"
            ) {
                return Err(unsupported("expected a message on each line, as `application/x-ndjson`"));
            }
            let said = asked.binding.said(&asked.captures, call.head.uri.query(), &self.json);
            let said = said.map_err(|wrong| refused(&wrong))?;
            let lines = Lines::new(asked.binding.clone(), said, self.json.clone(), self.request_bytes_max);
            return Ok(Uploaded::body(body, Upload::Lines(Box::new(lines))));
        }
        let bytes = gather(body, self.request_bytes_max).await.map_err(|ungathered| match ungathered {
            Ungathered::TooLarge => Failure::client(Stage::Body, Problem::BodyTooLarge).with_hint(format!(
                "a message has at most {} bytes (`maxRequestSize`)",
                self.request_bytes_max
            )),
            Ungathered::Failed(failure) => failure,
        })?;
        let is_json = essence.is_empty() || essence.ends_with("/json") || essence.ends_with("+json");
        if !bytes.is_empty() && !is_json && !takes_any(&asked.binding) {
            return Err(unsupported("expected `application/json`"));
        }
        let received = (!bytes.is_empty()).then_some(Received { bytes: &bytes, content_type });
        let message = asked.binding.message(&asked.captures, call.head.uri.query(), received, &self.json);
        Ok(Body::Full(framed(&message.map_err(|wrong| refused(&wrong))?.encode_to_vec())))
    }

    async fn rest_unary(
        &self,
        call: &mut Call,
        binding: &Binding,
        schema: Shared,
        response: Response<Body>,
    ) -> Result<Response<Body>, Failure> {
        let unary = self.unary(call, response).await?;
        let mut headers = HeaderMap::new();
        metadata::answer(&unary.head, "", &mut headers);
        metadata::answer(&unary.trailers, "trailer-", &mut headers);
        if unary.status.code != Code::Ok {
            return Ok(self.problem(call, &unary.status, schema, headers));
        }
        let unread = |why: String| Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why);
        let message = DynamicMessage::decode(binding.method.output.clone(), unary.message)
            .map_err(|error| unread(error.to_string()))?;
        let mut out = Vec::new();
        let kind = binding.write(&message, &self.json, &mut out).map_err(unread)?;
        let kind = kind.and_then(|kind| HeaderValue::try_from(kind).ok());
        headers.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/json")));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(out.len()));
        let mut response = Response::new(Body::Full(Bytes::from(out)));
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn rest_stream(
        &self,
        call: &mut Call,
        binding: &Arc<Binding>,
        schema: Shared,
        mut response: Response<Body>,
    ) -> Result<Response<Body>, Failure> {
        guard::clean_answer(&mut response);
        let (head, mut body) = response.into_parts();
        let mut headers = HeaderMap::new();
        metadata::answer(&head.headers, "", &mut headers);
        if let Some(status) = not_grpc(&head).or_else(|| Status::read(&head.headers)) {
            call.record.grpc_status = Some(status.code.number());
            if status.code != Code::Ok {
                return Ok(self.problem(call, &status, schema, headers));
            }
        }
        if matches!(body, Body::Empty) && Status::read(&head.headers).is_none() {
            let why = "a gRPC answer without a status";
            return Err(Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why));
        }
        let first = match body {
            Body::Empty => None,
            // The head needs the type that the first message says.
            _ if binding.gives_any() => Some(body.frame().await),
            _ => tokio::time::timeout(FIRST, body.frame()).await.ok(),
        };
        // What ends before anything has come is told as a status.
        match &first {
            Some(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(status) = Status::read(trailers)
                    && status.code != Code::Ok
                {
                    call.record.grpc_status = Some(status.code.number());
                    metadata::answer(trailers, "trailer-", &mut headers);
                    return Ok(self.problem(call, &status, schema, headers));
                }
            }
            Some(Some(Err(_))) => {
                if let Some(Some(Err(failure))) = first {
                    return Err(failure);
                }
            }
            _ => {}
        }
        let is_any = binding.gives_any();
        let is_events = accepts_events(&call.head.headers) && !is_any;
        let form = if is_events { Form::Events(binding.clone()) } else { Form::Lines(binding.clone()) };
        let answer = Answer::new(
            form,
            schema,
            Some(binding.method.output.clone()),
            self.json.clone(),
            self.response_bytes_max,
            Self::request_id(call),
        );
        let is_empty = matches!(body, Body::Empty) && first.is_none();
        let mut told = Told::new(body, answer, call.record.transcoded.clone());
        match first {
            Some(frame) => told.take(frame),
            None if is_empty => told.take(Some(Ok(http_body::Frame::trailers(head.headers)))),
            None => {}
        }
        let mut kind = HeaderValue::from_static(if is_events { EVENTS } else { LINES });
        if is_any {
            let said = told.kind().await;
            if let Some(failure) = told.broken() {
                return Err(failure);
            }
            let said = said.and_then(|kind| HeaderValue::try_from(kind).ok());
            kind = said.unwrap_or(HeaderValue::from_static("application/octet-stream"));
        }
        headers.insert(header::CONTENT_TYPE, kind);
        if !is_any {
            // Whoever keeps it must not give events to those who take lines.
            headers.append(header::VARY, HeaderValue::from_static("accept"));
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        let mut response = Response::new(Body::boxed(told));
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// An error of the server's as a problem document.
    fn problem(
        &self,
        call: &Call,
        status: &Status,
        schema: Shared,
        mut headers: HeaderMap,
    ) -> Response<Body> {
        let members = status.problem(schema.as_deref(), &self.json, &Self::request_id(call));
        let text = Value::Object(members).to_string();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if let Some(seconds) = status.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let mut response = Response::new(Body::Full(Bytes::from(text)));
        *response.status_mut() =
            StatusCode::from_u16(status.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response
    }
}

/// Whether a body may be of any type.
fn takes_any(binding: &Binding) -> bool {
    let kind = match &binding.body {
        BodyIs::All => Some(binding.method.input.full_name().to_owned()),
        BodyIs::Field(field) => field.kind().as_message().map(|kind| kind.full_name().to_owned()),
        BodyIs::Nothing => None,
    };
    kind.as_deref() == Some("google.api.HttpBody")
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let types = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    types
        .flat_map(|line| line.split(','))
        .any(|one| one.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(EVENTS)))
}

/// What a request means.
fn asked(call: &Call, known: &Known, path: &str) -> Result<Asked, Failure> {
    if let Some(binding) = &known.fixed {
        let one = |path: &transcode::field::FieldPath| {
            call.capture(&path.text).map(|text| Cow::Owned(decoded(text, false).into_owned()))
        };
        let captures = binding.captures.iter().map(one).collect();
        return Ok(Asked { binding: binding.clone(), captures });
    }
    let method = if call.head.method == Method::HEAD { "GET" } else { call.head.method.as_str() };
    match known.paths.find(method, path) {
        Found::Binding(index) => {
            let bound = known.paths.bound(index, path);
            let (binding, captures) =
                bound.ok_or_else(|| Failure::gateway(Stage::Router, Problem::Internal))?;
            let owned = |text: Captured<'_>| text.map(|text| Cow::Owned(text.into_owned()));
            Ok(Asked { binding: binding.clone(), captures: captures.into_iter().map(owned).collect() })
        }
        Found::OtherMethods(methods) => {
            let failure = Failure::client(Stage::Router, Problem::MethodNotAllowed);
            Err(match HeaderValue::try_from(methods.join(", ")) {
                Ok(allow) => failure.with_header(header::ALLOW, allow),
                Err(_) => failure,
            })
        }
        Found::Nothing => Err(Failure::client(Stage::Router, Problem::NoRoute)
            .with_hint("no method of the service has this path")),
    }
}
