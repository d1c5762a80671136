//! `a2a`: agents of the Agent2Agent protocol, 0.3 and 1.0 over JSON-RPC, and 1.0 over HTTP and JSON ([`rest`]).
//!
//! A path leads to an [`agent`] or its [`card`]. Messages are judged by [`rules`]; the [`ids`] in them become the agent's
//! own on the way in ([`params`]) and the caller's on the way out ([`results`], [`events`]), so that whose a task is
//! needs no table. [`json`] takes no more apart than needed.

pub(crate) mod agent;
mod card;
mod events;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod ids;
mod json;
mod params;
mod rest;
mod results;
mod rules;

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method as HttpMethod, Response, StatusCode, header};
use model::{
    A2aRecord,
    resource::a2a::{A2aMethod as Method, A2aRoute},
};

use self::{
    agent::{Agent, bad},
    card::Cards,
    events::{Events, Whose},
    form::Form,
    ids::Keys,
    json::{Object, quoted},
    params::Inbound,
    results::Outbound,
    rules::Rules,
};
use super::{
    Answering, Answers, Handler,
    ai::gathered::{Ungathered, gather},
    mcp::{door, session},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
/// Bytes of an id of a request.
const REQUEST_ID_BYTES_MAX: usize = 1024;

/// The compiled handler.
pub(crate) struct A2aGateway {
    inner: Arc<Inner>,
}

/// What calls share with what outlives them.
struct Inner {
    agents: Vec<Agent>,
    rules: Rules,
    cards: Cards,
    keys: Keys,
    public_url: Option<String>,
    public_cards: bool,
    push_hosts: Vec<String>,
    body_bytes_max: usize,
    event_bytes_max: usize,
}

/// What a path asks for.
struct Wanted<'a> {
    agent: &'a Agent,
    is_card: bool,
    /// The path of the agent at the gateway.
    path: &'a str,
}

/// A message of a client's, whatever its binding.
struct Question<'a> {
    agent: &'a Agent,
    /// Where clients find the agent.
    address: String,
    form: Form,
    method: Method,
    /// The method is called as 0.3 does.
    is_old: bool,
    /// As JSON-RPC has it.
    message: Object,
}

/// Whether a refused call asks for a card that whoever asks may see.
pub(crate) fn is_open_card(call: &Call, handler: &Handler, failure: &Failure) -> bool {
    let Handler::A2a(gateway) = handler else { return false };
    let is_get = matches!(call.head.method, HttpMethod::GET | HttpMethod::HEAD);
    gateway.inner.public_cards
        && is_get
        && failure.problem() == Problem::Unauthenticated
        && gateway.wanted(call.path()).is_some_and(|wanted| wanted.is_card)
}

impl A2aGateway {
    pub(crate) fn compile(
        settings: &A2aRoute,
        route: &model::Route,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let given = settings.id_key.as_ref().map(|key| cx.snapshot.secret(key));
        let secret = session::secret(given).map_err(|error| error.replace("sessionKey", "idKey"))?;
        let agents: Result<Vec<Agent>, String> =
            settings.agents.iter().map(|agent| Agent::compile(&route.name, agent, cx)).collect();
        let bytes = |size: model::Size| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let inner = Inner {
            agents: agents?,
            rules: Rules::compile(settings, cx)?,
            cards: Cards::compile(route, settings),
            keys: Keys::new(&secret, &route.name)?,
            public_url: settings.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            public_cards: settings.public_cards,
            push_hosts: settings.push_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            body_bytes_max: bytes(settings.max_body_size),
            event_bytes_max: bytes(settings.max_event_size),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The agent that a path leads to: the one that its last segment names, or the only one.
    fn wanted<'a>(&'a self, path: &'a str) -> Option<Wanted<'a>> {
        let card = card::PLACES.iter().find_map(|place| path.strip_suffix(place));
        let (path, is_card) = (card.unwrap_or(path).trim_end_matches('/'), card.is_some());
        let name = path.rsplit('/').next().unwrap_or_default();
        let agents = &self.inner.agents;
        let named = agents.iter().find(|agent| *agent.name == *name);
        let agent = match (named, agents.as_slice()) {
            (Some(agent), _) => agent,
            (None, [only]) => only,
            _ => return None,
        };
        Some(Wanted { agent, is_card, path })
    }

    /// Where clients find an agent.
    fn address(&self, call: &Call, agent: &Agent, path: &str) -> String {
        if let Some(url) = &self.inner.public_url {
            return format!("{url}/{}", agent.name);
        }
        let scheme = if call.peer.tls.is_some() { "https" } else { "http" };
        let host = call.record.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        format!("{scheme}://{host}{}", if path.is_empty() { "/" } else { path })
    }

    async fn handle(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let path = call.path().to_owned();
        if let Some(asked) = rest::asked(&path, &call.head.method)
            && let Some(wanted) = self.wanted(asked.base).filter(|wanted| !wanted.is_card)
        {
            let address = self.address(call, wanted.agent, wanted.path);
            return self.rest(worker, call, (wanted.agent, address), &asked, body).await;
        }
        let Some(wanted) = self.wanted(&path) else {
            let names: Vec<&str> = self.inner.agents.iter().map(|agent| &*agent.name).collect();
            return Err(Failure::client(Stage::Router, Problem::NoRoute)
                .with_hint(format!("the path must end with the name of an agent: {}", names.join(", "))));
        };
        let address = self.address(call, wanted.agent, wanted.path);
        let agent = wanted.agent;
        if wanted.is_card {
            return self.card(worker, call, agent, &address).await;
        }
        if call.head.method != HttpMethod::POST {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static("POST"))
                .with_hint("this is no path of the protocol's HTTP and JSON, and JSON-RPC is POST"));
        }
        self.post(worker, call, agent, address, body).await
    }

    async fn card(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        agent: &Agent,
        address: &str,
    ) -> Result<Response<Body>, Failure> {
        if !matches!(call.head.method, HttpMethod::GET | HttpMethod::HEAD) {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        call.record.a2a = Some(Arc::new(A2aRecord::new(agent.name.clone(), "card")));
        let is_head = call.head.method == HttpMethod::HEAD;
        let card = self.inner.cards.of(agent, worker, call, address).await?;
        let mut response = json_answer(card);
        if is_head {
            *response.body_mut() = Body::Empty;
        }
        Ok(response)
    }

    async fn post(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        agent: &Agent,
        address: String,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        call.rpc = Some("null".into());
        let kind = call.head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Failure::refused(Problem::UnsupportedMedia)
                .with_rpc_code(INVALID_REQUEST)
                .with_hint("a message is sent as `application/json`"));
        }
        let bytes = self.gathered(body).await?;
        let (message, id, method) = match read(&bytes) {
            Ok(read) => read,
            Err((id, code, text)) => {
                let record = A2aRecord::new(agent.name.clone(), "unknown");
                record.fail(code.into());
                call.record.a2a = Some(Arc::new(record));
                return Ok(Form::Rpc(id.into()).error(code, &text));
            }
        };
        call.rpc = Some(id.as_str().into());
        let is_old = message.text("method").is_some_and(|name| name.contains('/'));
        let question = Question { agent, address, form: Form::Rpc(id.into()), method, is_old, message };
        self.exchange(worker, call, question).await
    }

    /// Answers what was asked in HTTP and JSON.
    async fn rest(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        (agent, address): (&Agent, String),
        asked: &rest::Asked<'_>,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let fail = |code: i32, text: &str| {
            let record = A2aRecord::new(agent.name.clone(), asked.method.name());
            record.fail(code.into());
            (Some(Arc::new(record)), Ok(Form::Rest.error(code, text)))
        };
        let version = call.head.headers.get(agent::VERSION).map(HeaderValue::as_bytes);
        if version.is_some_and(|version| version != b"1" && !version.starts_with(b"1.")) {
            let answer;
            let text = "HTTP and JSON is spoken in 1.0 here; `A2A-Version` says otherwise";
            (call.record.a2a, answer) = fail(rest::VERSION_NOT_SUPPORTED, text);
            return answer;
        }
        let kind = call.head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is_json =
            ["application/json", "application/a2a+json"].iter().any(|one| kind.eq_ignore_ascii_case(one));
        let bytes = self.gathered(body).await?;
        if !bytes.is_empty() && !is_json {
            return Err(Failure::refused(Problem::UnsupportedMedia)
                .with_hint("a message is sent as `application/json`"));
        }
        let params = match asked.params(call.head.uri.query(), &bytes) {
            Ok(params) => params,
            Err((code, text)) => {
                let answer;
                (call.record.a2a, answer) = fail(code, &text);
                return answer;
            }
        };
        let mut message = Object::default();
        message.set("jsonrpc", quoted("2.0"));
        message.set("id", "1".to_owned());
        message.set("method", quoted(asked.method.name()));
        message.set("params", params.json());
        let question =
            Question { agent, address, form: Form::Rest, method: asked.method, is_old: false, message };
        self.exchange(worker, call, question).await
    }

    async fn gathered(&self, body: Body) -> Result<Bytes, Failure> {
        gather(body, self.inner.body_bytes_max).await.map_err(|why| match why {
            Ungathered::TooLarge => Failure::refused(Problem::BodyTooLarge)
                .with_hint(format!("the message is larger than {} bytes", self.inner.body_bytes_max)),
            Ungathered::Failed(failure) => failure,
        })
    }

    /// Passes a question on, and its answer back.
    async fn exchange(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        question: Question<'_>,
    ) -> Result<Response<Body>, Failure> {
        let Question { agent, address, form, method, is_old, mut message } = question;
        let record = Arc::new(A2aRecord::new(agent.name.clone(), method.name()));
        call.record.a2a = Some(record.clone());
        let written = message.get("params").unwrap_or("{}").to_owned();
        let judged = self.inner.rules.judge(call, &agent.name, method, &written).await;
        if let Err(failure) = judged {
            record.fail(failure.rpc_code().unwrap_or(rules::REFUSED).into());
            return Err(failure);
        }
        let who = door::who(call);
        let ids = self.inner.keys.of(&agent.name, &who);
        let inbound = Inbound { ids: &ids, record: &record, push_hosts: &self.inner.push_hosts };
        let params = Object::parse(&written).unwrap_or_default();
        let params = match inbound.rewrite(method, is_old, params) {
            Ok(params) => params,
            Err(refused) => {
                record.fail(refused.code.into());
                return Ok(form.error(refused.code, &refused.text));
            }
        };
        let context = params.text("contextId");
        if message.get("params").is_some() {
            message.set("params", params.json());
        }
        let version = matches!(form, Form::Rest).then_some(rest::VERSION);
        let is_stream = matches!(method, Method::SendStreamingMessage | Method::SubscribeToTask);
        let response = match agent.send(worker, call, message.json(), is_stream, version).await {
            Ok(response) => response,
            Err(failure) => {
                record.fail(-32603);
                return Err(failure.with_rpc_code(-32603));
            }
        };
        if response.status().is_success() && is_stream && is_kind(&response, "text/event-stream") {
            let whose = Whose {
                inner: self.inner.clone(),
                agent: agent.name.clone(),
                who,
                method,
                form,
                address,
                record,
            };
            let body = Events::body(response.into_body(), whose);
            return Ok(stream(body));
        }
        let outbound = Outbound {
            ids: &ids,
            record: &record,
            cards: &self.inner.cards,
            address: &address,
            context: context.as_deref(),
        };
        let told = whole(response, self.inner.event_bytes_max, &outbound, method, &form).await;
        if told.is_err() {
            record.fail(-32603);
        }
        told.map_err(|failure| failure.with_rpc_code(-32603))
    }
}

impl Answers for A2aGateway {
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(worker, call, body)))
    }

    fn explain(&self) -> String {
        "a2a".to_owned()
    }
}

/// Answers with what an agent said in one piece.
async fn whole(
    response: Response<Body>,
    bytes_max: usize,
    outbound: &Outbound<'_>,
    method: Method,
    form: &Form,
) -> Result<Response<Body>, Failure> {
    let status = response.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(bad(format!("the agent answered {status}"))
            .with_hint("the agent refuses the gateway's credentials"));
    }
    if !is_kind(&response, "application/json") {
        return Err(bad(format!("the agent answered {status} without JSON")));
    }
    let bytes = gather(response.into_body(), bytes_max).await.map_err(|why| match why {
        Ungathered::TooLarge => bad(format!("the agent's answer is larger than {bytes_max} bytes")),
        Ungathered::Failed(failure) => failure,
    })?;
    let told = outbound.message(method, agent::text_of(&bytes)?);
    told.map(|told| form.answer(told))
        .ok_or_else(|| bad(format!("the agent answered {status} with no answer of JSON-RPC")))
}

type Read = (Object, String, Method);

/// Reads a message. The error is what the client is told: the id, a code and a sentence.
fn read(bytes: &Bytes) -> Result<Read, (String, i32, String)> {
    let null = || "null".to_owned();
    let wrong = |code: i32, text: &str| (null(), code, text.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(PARSE_ERROR, "the body is no UTF-8"))?;
    json::check(text).map_err(|why| {
        let code = if why.ends_with("JSON") { PARSE_ERROR } else { INVALID_REQUEST };
        wrong(code, why)
    })?;
    let message =
        Object::parse(text).ok_or_else(|| wrong(INVALID_REQUEST, "a message is one JSON object"))?;
    if let Some(name) = message.lookalike(&["jsonrpc", "id", "method", "params"]) {
        let name: String = name.chars().take(64).collect();
        return Err(wrong(INVALID_REQUEST, &format!("`{name}` is no member of a message")));
    }
    if message.text("jsonrpc").as_deref() != Some("2.0") {
        return Err(wrong(INVALID_REQUEST, "`jsonrpc` must be \"2.0\""));
    }
    let id = message.get("id").unwrap_or("null").to_owned();
    let number = id.strip_prefix('-').unwrap_or(&id);
    let is_id = id == "null"
        || id.starts_with('"')
        || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_id || id.len() > REQUEST_ID_BYTES_MAX {
        return Err(wrong(INVALID_REQUEST, "`id` is a text or a whole number"));
    }
    let Some(name) = message.text("method") else {
        return Err((id, INVALID_REQUEST, "`method` is required".to_owned()));
    };
    if message.get("params").is_some() && message.object("params").is_none() {
        return Err((id, params::INVALID_PARAMS, "`params` must be an object".to_owned()));
    }
    match Method::of(&name) {
        Some(method) => Ok((message, id, method)),
        None => {
            let short: String = name.chars().take(64).collect();
            Err((id, METHOD_NOT_FOUND, format!("Method not found: {short}")))
        }
    }
}

fn is_kind(response: &Response<Body>, kind: &str) -> bool {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind))
}

fn json_answer(text: impl Into<Bytes>) -> Response<Body> {
    let text: Bytes = text.into();
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::Full(text);
    response
}

fn stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
