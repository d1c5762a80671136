//! gRPC-Web and Connect.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use prost::Message as _;
use transcode::{
    DynamicMessage,
    answer::{Answer, Form, Upload},
    connect, frame, metadata,
    status::{Code, Status},
    web::{self, TextReader},
};

use super::{
    Meant, Transcode, refused,
    send::{framed, not_grpc},
    stream::{Told, Uploaded},
    text,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    guard,
    handler::ai::gathered::{Ungathered, gather},
    policy::cors::Exposed,
    worker::Worker,
};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const CONNECT_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const CONNECT_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");

/// Fields of answers that scripts of other origins must be let read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-status, grpc-message, grpc-status-details-bin, grpc-encoding, connect-content-encoding",
);

fn expose(call: &Call, response: &mut Response<Body>) {
    if call.head.headers.contains_key(header::ORIGIN) {
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        response.extensions_mut().insert(Exposed(EXPOSED));
    }
}

fn needs_descriptors() -> Failure {
    Failure::client(Stage::Guard, Problem::UnsupportedMedia)
        .with_hint("messages of this route are not known, so none is taken as JSON; send them as `proto`")
}

impl Transcode {
    pub(super) async fn web(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        form: web::Form,
        meant: &Meant,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        if call.head.method != Method::POST {
            return Err(Failure::client(Stage::Guard, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static("POST")));
        }
        let (upload, output) = match form.is_json {
            false if form.is_text => (Uploaded::body(body, Upload::Text(TextReader::default())), None),
            false => (body, None),
            true => {
                let method = meant.method.as_ref().ok_or_else(needs_descriptors)?;
                let envelopes = self.envelopes(&method.input);
                let upload = match form.is_text {
                    true => Upload::TextEnvelopes(TextReader::default(), Box::new(envelopes)),
                    false => envelopes,
                };
                (Uploaded::body(body, upload), Some(method.output.clone()))
            }
        };
        let is_stream = meant.method.as_ref().is_none_or(|method| method.gives_stream || method.takes_stream);
        let mut headers = self.head(call, None, is_stream);
        for name in [GRPC_ENCODING, GRPC_ACCEPT_ENCODING] {
            headers.remove(&name);
            if let Some(value) = call.head.headers.get(&name).filter(|_| !form.is_json) {
                headers.insert(name, value.clone());
            }
        }
        let may_repeat =
            meant.method.as_ref().is_some_and(|method| method.is_idempotent && !method.takes_stream);
        let response = self.send(worker, call, &meant.path, headers, upload, may_repeat).await?;
        let answer = self.answer(call, Form::Web(form), meant, output);
        let mut told = self.flowing(call, response, answer, form.content_type());
        if let Some(value) = told.1.get(&GRPC_ENCODING).filter(|_| !form.is_json) {
            told.0.headers_mut().insert(GRPC_ENCODING, value.clone());
        }
        expose(call, &mut told.0);
        Ok(told.0)
    }

    pub(super) async fn connect_stream(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        form: connect::Form,
        meant: &Meant,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let wanted = connect::timeout(&call.head.headers).map_err(|wrong| refused(&wrong))?;
        let is_json = form.is_json;
        let (upload, output) = match is_json {
            false => (body, None),
            true => {
                let method = meant.method.as_ref().ok_or_else(needs_descriptors)?;
                (Uploaded::body(body, self.envelopes(&method.input)), Some(method.output.clone()))
            }
        };
        let mut headers = self.head(call, wanted, true);
        if !is_json {
            headers.remove(&GRPC_ACCEPT_ENCODING);
            for (from, to) in
                [(CONNECT_ENCODING, GRPC_ENCODING), (CONNECT_ACCEPT_ENCODING, GRPC_ACCEPT_ENCODING)]
            {
                if let Some(value) = call.head.headers.get(&from) {
                    headers.insert(to, value.clone());
                }
            }
        }
        let response = self.send(worker, call, &meant.path, headers, upload, false).await?;
        let answer = self.answer(call, Form::Connect { is_json }, meant, output);
        let (mut response, head) = self.flowing(call, response, answer, form.content_type());
        if let Some(value) = head.get(&GRPC_ENCODING).filter(|_| !is_json) {
            response.headers_mut().insert(CONNECT_ENCODING, value.clone());
        }
        expose(call, &mut response);
        Ok(response)
    }

    pub(super) async fn connect_unary(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        form: connect::Form,
        meant: &Meant,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let bytes = gather(body, self.request_bytes_max).await.map_err(|ungathered| match ungathered {
            Ungathered::TooLarge => Failure::client(Stage::Body, Problem::BodyTooLarge),
            Ungathered::Failed(failure) => failure,
        })?;
        let bytes = match text(&call.head.headers, &header::CONTENT_ENCODING) {
            "" | "identity" => bytes,
            "gzip" => match frame::gunzip(&bytes, self.request_bytes_max) {
                Ok(bytes) => bytes.into(),
                Err(error @ frame::Broken::TooLarge(_)) => {
                    return Err(
                        Failure::client(Stage::Body, Problem::BodyTooLarge).with_hint(error.to_string())
                    );
                }
                Err(error) => {
                    return Err(Failure::client(Stage::Body, Problem::Invalid).with_hint(error.to_string()));
                }
            },
            _ => {
                return Err(Failure::client(Stage::Body, Problem::UnsupportedMedia)
                    .with_hint("expected `gzip` or `identity`"));
            }
        };
        self.connect_call(worker, call, form, meant, bytes).await
    }

    pub(super) async fn connect_get(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        meant: &Meant,
    ) -> Result<Response<Body>, Failure> {
        if !meant.method.as_ref().is_some_and(|method| method.is_safe) {
            return Err(Failure::client(Stage::Guard, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static("POST"))
                .with_hint("the method is not marked `NO_SIDE_EFFECTS`"));
        }
        let query = call.head.uri.query().unwrap_or_default();
        let get = connect::Get::read(query, self.request_bytes_max).map_err(|wrong| refused(&wrong))?;
        let form = connect::Form { is_stream: false, is_json: get.is_json };
        self.connect_call(worker, call, form, meant, get.message.into()).await
    }

    async fn connect_call(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        form: connect::Form,
        meant: &Meant,
        bytes: Bytes,
    ) -> Result<Response<Body>, Failure> {
        if let Some(method) = &meant.method
            && (method.takes_stream || method.gives_stream)
        {
            return Err(Failure::client(Stage::Guard, Problem::UnsupportedMedia)
                .with_hint("the method has streams: send `application/connect+proto` or `+json`"));
        }
        let wanted = connect::timeout(&call.head.headers).map_err(|wrong| refused(&wrong))?;
        let bytes = match (form.is_json, &meant.method) {
            (false, _) => bytes,
            (true, None) => return Err(needs_descriptors()),
            (true, Some(method)) => {
                let read = match bytes.trim_ascii() {
                    [] => Ok(DynamicMessage::new(method.input.clone())),
                    text => self.json.read(&method.input, text),
                };
                read.map_err(|wrong| refused(&wrong))?.encode_to_vec().into()
            }
        };
        let headers = self.head(call, wanted, false);
        let may_repeat = meant.method.as_ref().is_some_and(|method| method.is_idempotent);
        let body = Body::Full(framed(&bytes));
        let response = self.send(worker, call, &meant.path, headers, body, may_repeat).await?;
        let unary = self.unary(call, response).await?;
        let mut headers = HeaderMap::new();
        metadata::answer(&unary.head, "", &mut headers);
        metadata::answer(&unary.trailers, "trailer-", &mut headers);
        let (status, body) = match unary.status.code {
            Code::Ok => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
                (StatusCode::OK, self.connect_message(form, meant, unary.message)?)
            }
            code => {
                let error = connect::error(&unary.status, meant.schema.as_deref(), &self.json);
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let status = StatusCode::from_u16(code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, Bytes::from(error.to_string()))
            }
        };
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let mut response = Response::new(Body::Full(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        expose(call, &mut response);
        Ok(response)
    }

    fn connect_message(&self, form: connect::Form, meant: &Meant, message: Bytes) -> Result<Bytes, Failure> {
        let Some(method) = meant.method.as_ref().filter(|_| form.is_json) else { return Ok(message) };
        let unread = |why: String| Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why);
        let message = DynamicMessage::decode(method.output.clone(), message)
            .map_err(|error| unread(error.to_string()))?;
        let mut out = Vec::new();
        self.json.write(&message, &mut out).map_err(unread)?;
        Ok(out.into())
    }

    fn envelopes(&self, input: &transcode::schema::Kind) -> Upload {
        Upload::Envelopes {
            reader: frame::Reader::new(self.request_bytes_max),
            input: input.clone(),
            json: self.json.clone(),
            bytes_max: self.request_bytes_max,
        }
    }

    fn answer(
        &self,
        call: &Call,
        form: Form,
        meant: &Meant,
        output: Option<transcode::schema::Kind>,
    ) -> Answer {
        let (json, id) = (self.json.clone(), Self::request_id(call));
        Answer::new(form, meant.schema.clone(), output, json, self.response_bytes_max, id)
    }

    /// The answer as it flows, and the head that the server's had.
    fn flowing(
        &self,
        call: &mut Call,
        mut response: Response<Body>,
        answer: Answer,
        content_type: &'static str,
    ) -> (Response<Body>, HeaderMap) {
        guard::clean_answer(&mut response);
        let (head, body) = response.into_parts();
        let mut headers = HeaderMap::new();
        // Where there are trailers alone, their metadata is told with them.
        let whole = Status::read(&head.headers);
        if whole.is_none() {
            metadata::answer(&head.headers, "", &mut headers);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut told = Told::new(body, answer, call.record.transcoded.clone());
        let ended = not_grpc(&head).map(|status| {
            let mut trailers = HeaderMap::new();
            status.write(&mut trailers);
            trailers
        });
        let ended = ended.or_else(|| {
            let mut trailers = head.headers.clone();
            [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::DATE, header::SERVER].iter().for_each(
                |name| {
                    trailers.remove(name);
                },
            );
            whole.map(|_| trailers)
        });
        if let Some(trailers) = ended {
            told.take(Some(Ok(http_body::Frame::trailers(trailers))));
        }
        let mut response = Response::new(Body::boxed(told));
        *response.headers_mut() = headers;
        (response, head.headers)
    }
}
