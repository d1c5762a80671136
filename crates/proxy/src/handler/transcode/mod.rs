//! `transcode`: a gRPC server for those who do not speak gRPC.
//!
//! What a client speaks is told by its `content-type` and its path: [`rest`] is JSON by paths, [`rpc`] gRPC-Web and
//! Connect; gRPC itself is passed on. [`source`] knows the descriptors, [`send`] sends the one call that all of them come
//! to, [`stream`] carries what flows. What can be said without sockets is in the crate `transcode`.

mod descriptors;
mod rest;
mod rpc;
mod send;
mod stream;

use std::{rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use model::{
    TranscodeRecord,
    resource::transcode::{Transcode as Settings, TranscodeProtocol},
};
use transcode::{
    Wrong, connect,
    json::{Choices, Json},
    web,
};

use self::descriptors::{Known, Source};
use super::{Answering, Answers, backends::Target};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage, is_grpc},
    upstream::{Effort, Upstream},
    worker::Worker,
};

/// The compiled handler.
pub(crate) struct Transcode {
    target: Arc<Target>,
    host_header: Option<String>,
    source: Source,
    json: Arc<Json>,
    strip_prefix: Option<String>,
    protocols: Box<[TranscodeProtocol]>,
    request_bytes_max: usize,
    response_bytes_max: usize,
}

/// What a client speaks, and the method that it means.
struct Meant {
    path: String,
    method: Option<Arc<transcode::schema::Method>>,
    schema: Option<Arc<transcode::schema::Schema>>,
}

impl Transcode {
    /// Compiles the handler; an error begins with the place in it.
    pub(crate) fn compile(
        settings: &Settings,
        route: &model::Route,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let upstream = cx.upstreams.get(settings.upstream.as_str());
        let upstream =
            upstream.ok_or_else(|| format!("upstream: no upstream `{}`", settings.upstream))?.clone();
        let timeouts = route.timeouts.apply(&upstream.settings.timeouts);
        let retry = route.retry.apply(&upstream.settings.retry);
        let effort = Effort::new(&timeouts, &retry, upstream.settings.hedging.as_ref());
        let choices = Choices {
            ignore_unknown: settings.json.ignore_unknown,
            emit_defaults: settings.json.emit_defaults,
            proto_names: settings.json.proto_names,
            enum_numbers: settings.json.enum_numbers,
            int64_numbers: settings.json.int64_numbers,
        };
        Ok(Self {
            source: Source::compile(route, settings, cx)?,
            target: Arc::new(Target { upstream, effort, weight: 1 }),
            host_header: route.host_header.clone(),
            json: Arc::new(Json::new(choices)),
            strip_prefix: settings
                .strip_prefix
                .as_deref()
                .map(|prefix| prefix.trim_end_matches('/').to_owned()),
            protocols: settings.protocols.clone().into(),
            request_bytes_max: settings.max_request_size.get(),
            response_bytes_max: settings.max_response_size.get(),
        })
    }

    async fn handle(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        call.record.upstream = Some(self.target.upstream.name.clone());
        if call.upgrade.is_some() {
            return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
                .with_hint("this route does not switch protocols"));
        }
        let known = self.source.known(worker, call, &self.target).await?;
        let path = self.path(call)?;
        let content_type = text(&call.head.headers, &header::CONTENT_TYPE).to_owned();
        let speaks = |protocol| self.protocols.contains(&protocol);
        if is_grpc(&call.head.headers) && speaks(TranscodeProtocol::Grpc) {
            let meant = self.meant(path, known.as_deref())?;
            self.note(call, &meant, "grpc");
            return self.pass(worker, call, &meant, body).await;
        }
        if speaks(TranscodeProtocol::GrpcWeb)
            && let Some(form) = web::Form::of(&content_type)
        {
            let meant = self.meant(path, known.as_deref())?;
            self.note(call, &meant, "grpc-web");
            return self.web(worker, call, form, &meant, body).await;
        }
        if speaks(TranscodeProtocol::Connect) {
            let headers = &call.head.headers;
            let form = connect::Form::of(&content_type).filter(|_| call.head.method == Method::POST);
            let is_get = call.head.method == Method::GET && connect::Get::is_one(call.head.uri.query());
            let is_said = headers.contains_key("connect-protocol-version")
                || form.is_some_and(|form| form.is_stream || !form.is_json);
            if form.is_some() || is_get {
                match self.meant(path.clone(), known.as_deref()) {
                    Ok(meant) => {
                        self.note(call, &meant, "connect");
                        return match form {
                            Some(form) if form.is_stream => {
                                self.connect_stream(worker, call, form, &meant, body).await
                            }
                            Some(form) => self.connect_unary(worker, call, form, &meant, body).await,
                            None => self.connect_get(worker, call, &meant).await,
                        };
                    }
                    Err(failure) if is_said => return Err(failure),
                    Err(_) => {}
                }
            }
        }
        match known.filter(|_| speaks(TranscodeProtocol::Rest)) {
            Some(known) => self.rest(worker, call, &known, &path, body).await,
            None => Err(Failure::client(Stage::Guard, Problem::UnsupportedMedia)
                .with_hint("this route takes gRPC, gRPC-Web or Connect alone")),
        }
    }

    /// The path without what stands before it.
    fn path(&self, call: &Call) -> Result<String, Failure> {
        let path = call.path();
        let Some(prefix) = &self.strip_prefix else { return Ok(path.to_owned()) };
        match path.strip_prefix(&**prefix) {
            Some("") => Ok("/".to_owned()),
            Some(rest) if rest.starts_with('/') => Ok(rest.to_owned()),
            _ => Err(Failure::client(Stage::Router, Problem::NoRoute)),
        }
    }

    /// The method that a path of gRPC means. Without descriptors it is whatever it says.
    fn meant(&self, path: String, known: Option<&Known>) -> Result<Meant, Failure> {
        let Some(known) = known else { return Ok(Meant { path, method: None, schema: None }) };
        match known.method_of(&path) {
            Some(method) => Ok(Meant { path, method: Some(method), schema: Some(known.schema.clone()) }),
            None => {
                let hint = format!("there is no method `{}`", path.trim_start_matches('/'));
                Err(Failure::client(Stage::Router, Problem::NoRoute).with_hint(hint))
            }
        }
    }

    fn note(&self, call: &mut Call, meant: &Meant, protocol: &'static str) {
        // Names that nobody knows are the client's own, and no labels of metrics.
        let method = meant.method.as_ref().map_or_else(|| "unknown".into(), |method| method.name.clone());
        call.record.transcoded = Some(Arc::new(TranscodeRecord::new(method, protocol)));
    }

    /// gRPC as it is.
    async fn pass(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        meant: &Meant,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let mut headers = call.head.headers.clone();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let mut response = self.send(worker, call, &meant.path, headers, body, false).await?;
        crate::guard::clean_answer(&mut response);
        Ok(response)
    }
}

impl Answers for Transcode {
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(worker, call, body)))
    }

    fn explain(&self) -> String {
        super::asks("transcode", self.upstreams())
    }

    fn upstreams(&self) -> Vec<&Arc<Upstream>> {
        vec![&self.target.upstream]
    }

    fn passes_grpc(&self) -> bool {
        self.protocols.contains(&TranscodeProtocol::Grpc)
    }
}

/// A field as text; nothing when it is not there, or is none.
fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What a client sent that no message can be made of.
fn refused(wrong: &Wrong) -> Failure {
    let problem = if wrong.is_too_large { Problem::BodyTooLarge } else { Problem::Invalid };
    Failure::client(Stage::Body, problem).with_hint(wrong.to_string())
}

fn target_of(path: &str) -> Result<Uri, Failure> {
    Uri::try_from(path)
        .map_err(|error| Failure::client(Stage::Router, Problem::BadPath).with_detail(error.to_string()))
}
