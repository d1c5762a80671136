//! `prompt`: a prompt and a model as a typed API.
//!
//! [`input`] reads and judges what a caller sends, [`edition`] makes the conversation of it from [`template`]s, the
//! machinery of `ai` routes has it answered, and [`reply`] or, as it comes, [`events`] tell the caller what [`output`]
//! found in the answer. To that machinery a prompt is a caller like any other: targets, weights, limits and guards
//! hold for it.

mod edition;
mod events;
mod input;
pub(in crate::handler) mod output;
pub(in crate::handler) mod reply;
mod template;

use std::{rc::Rc, sync::Arc};

use ai::canon::Request;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use model::{Route, resource::prompt::Prompt};

use self::{edition::Edition, events::Events, input::Input, output::Output, reply::Asked};
use super::{Answering, Answers};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

/// Chooses a version, and tells which it was.
const VERSION: HeaderName = HeaderName::from_static("x-tidegate-prompt-version");

/// Fields of the caller's that go on to a provider: what joins traces and logs.
const PASSED_ON: [&str; 4] = ["traceparent", "tracestate", "x-request-id", "user-agent"];

/// The compiled handler.
pub(crate) struct PromptApi {
    /// The default one first.
    editions: Vec<Edition>,
    input: Input,
    output: Arc<Output>,
    /// Ask once more when the answer does not fit.
    repair: bool,
    /// Where the OpenAPI document is served, and the document.
    openapi: Option<(String, Bytes)>,
}

impl PromptApi {
    pub(crate) fn compile(settings: &Prompt, route: &Route, cx: &Building<'_>) -> Result<Self, String> {
        let bytes_max = usize::try_from(settings.max_body_size.bytes()).unwrap_or(usize::MAX);
        let input = Input::compile(&settings.input, bytes_max)?;
        let output = Output::compile(settings.output.as_ref())?;
        let mut editions = Vec::new();
        for edition in settings.editions() {
            let place = match settings.versions.is_empty() {
                true => String::new(),
                false => format!("versions.{}.", edition.name.unwrap_or_default()),
            };
            let compiled = Edition::compile(settings, &edition, &route.name, &input, &output, cx);
            editions.push(compiled.map_err(|error| format!("{place}{error}"))?);
        }
        let openapi = settings.openapi_path.as_ref().map(|path| {
            let text = settings.document(route).to_string();
            (path.clone(), Bytes::from(text))
        });
        Ok(Self { editions, input, output: Arc::new(output), repair: settings.repair, openapi })
    }

    async fn handle(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        if let Some((path, text)) = &self.openapi
            && call.path() == path
        {
            return document(&call.head.method, text);
        }
        if !matches!(call.head.method, Method::GET | Method::POST | Method::PUT | Method::PATCH) {
            return Err(wrong_method("GET, POST, PUT, PATCH"));
        }
        let edition = self.chosen(&call.head.headers)?;
        call.record.prompt_version = edition.name.clone();
        let input = self.input.read(call, body).await?;
        let mut request = edition.request(&input)?;
        request.stream = accepts_events(&call.head.headers);
        request.include_usage = request.stream;
        let mut response = match request.stream {
            true => self.stream(worker, call, edition, &request).await?,
            false => self.whole(worker, call, edition, request).await?,
        };
        if let Some(name) = &edition.header {
            response.headers_mut().insert(VERSION, name.clone());
        }
        Ok(response)
    }

    /// The version that the caller asks for, or the default one.
    fn chosen(&self, headers: &HeaderMap) -> Result<&Edition, Failure> {
        let wanted = headers.get(VERSION);
        let found = match wanted {
            None => self.editions.first(),
            Some(wanted) => self.editions.iter().find(|edition| edition.header.as_ref() == Some(wanted)),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> =
                self.editions.iter().filter_map(|edition| edition.name.as_deref()).collect();
            let hint = match names.is_empty() {
                true => format!("`{VERSION}`: this prompt has no versions to choose from"),
                false => format!("`{VERSION}`: expected one of {}", names.join(", ")),
            };
            Failure::refused(Problem::Invalid).with_hint(hint)
        })
    }

    async fn stream(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        edition: &Edition,
        request: &Request,
    ) -> Result<Response<Body>, Failure> {
        let response = reply::good(ask(worker, call, edition, request).await?).await?;
        let asked = Asked::of(&response);
        let mut answer = reply::head(&response);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let events = Events::new(response, self.output.clone(), asked, call.record.request_id.clone());
        *answer.body_mut() = Body::boxed(events);
        Ok(answer)
    }

    async fn whole(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        edition: &Edition,
        mut request: Request,
    ) -> Result<Response<Body>, Failure> {
        let mut spent_before = None;
        for is_last in [!self.repair, true] {
            // What policies ask for holds for the second try as for the first.
            let duties = call.ai.clone();
            let response = ask(worker, call, edition, &request).await;
            call.ai = duties;
            let response = reply::good(response?).await?;
            let mut answer = reply::head(&response);
            let said = reply::said(response).await?;
            reply::add_spent(call, spent_before.take());
            match self.output.typed(&said) {
                Ok(value) => {
                    reply::fill(&mut answer, &value, &said);
                    return Ok(answer);
                }
                Err(unfit) if is_last || !unfit.can_be_mended => return Err(unfit.failure()),
                Err(unfit) => {
                    spent_before = call
                        .record
                        .ai
                        .as_ref()
                        .and_then(|told| told.spending())
                        .map(|spending| spending.usage);
                    edition::ask_again(&mut request, said.text, &unfit, self.output.schema_text());
                }
            }
        }
        Err(Failure::gateway(Stage::Body, Problem::Internal))
    }
}

impl Answers for PromptApi {
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(worker, call, body)))
    }

    fn explain(&self) -> String {
        "prompt".to_owned()
    }
}

/// Has a conversation answered by the machinery of `ai` routes. The head is the caller's own again afterwards.
async fn ask(
    worker: &Rc<Worker>,
    call: &mut Call,
    edition: &Edition,
    request: &Request,
) -> Result<Response<Body>, Failure> {
    let body = edition.written(request)?;
    let method = std::mem::replace(&mut call.head.method, Method::POST);
    let uri = call.head.uri.clone();
    let headers = std::mem::take(&mut call.head.headers);
    for name in PASSED_ON {
        for value in headers.get_all(name) {
            call.head.headers.append(name, value.clone());
        }
    }
    let answer = edition.gateway.converse(worker, call, body).await;
    call.head.method = method;
    call.head.uri = uri;
    call.head.headers = headers;
    answer
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(header::ACCEPT);
    kinds.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).any(|kind| {
        let mut parts = kind.split(';').map(str::trim);
        let is_events = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"));
        is_events && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
    })
}

fn wrong_method(allowed: &'static str) -> Failure {
    Failure::client(Stage::Router, Problem::MethodNotAllowed)
        .with_header(header::ALLOW, HeaderValue::from_static(allowed))
}

/// The OpenAPI document.
fn document(method: &Method, text: &Bytes) -> Result<Response<Body>, Failure> {
    let body = match *method {
        Method::GET => Body::Full(text.clone()),
        Method::HEAD => Body::Empty,
        _ => return Err(wrong_method("GET, HEAD")),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/openapi+json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Ok(response)
}
