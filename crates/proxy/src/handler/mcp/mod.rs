//! `mcp`: several servers of the Model Context Protocol as one endpoint.
//!
//! A message comes in at the [`door`]; [`sessions`] knows whose it is and [`begin`] how they begin. Lists of all
//! servers are one ([`list`]), everything else goes to one server ([`relay`]) that its name or URI leads to; [`tools`]
//! judges calls by [`allow`]. [`streams`] is what servers say unasked ([`subscriptions`]
//! to those who say what they want), [`ids`] how names stay unique, [`bridge`] how revisions
//! meet, [`asking`] and [`asked`] how their clients are asked what servers want to know, [`batch`] several messages at once, [`wire`] one exchange with a server; one that is a program of this machine is [`stdio`], of which one is
//! [`running`], run by [`process`].

mod able;
pub(crate) mod allow;
pub(crate) mod answer;
mod asked;
mod asking;
mod auth;
mod batch;
mod begin;
mod beside;
mod bridge;
mod catalog;
pub(crate) mod door;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod ids;
mod keys;
mod lane;
mod list;
mod local;
mod message;
pub(crate) mod metadata;
mod modern;
mod parked;
pub(crate) mod process;
mod relay;
pub(crate) mod report;
mod revision;
mod running;
pub(crate) mod server;
pub(crate) mod session;
mod sessions;
mod share;
pub(in crate::handler) mod sse;
mod stdio;
mod streams;
pub(in crate::handler) mod strict;
mod subscriptions;
mod tools;
mod way;
mod wire;

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use model::{McpRecord, resource::mcp::McpRoute};

use self::{
    door::Door,
    message::{Kind, Message},
    metadata::Metadata,
    revision::Revision,
    server::Server,
    session::Session,
    sessions::Sessions,
    tools::Tools,
    wire::{Letter, REVISION, SESSION, Sender},
};
use super::{
    Answering, Answers,
    ai::gathered::{Ungathered, gather},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

/// Header fields that say what a message is and whose.
pub(crate) const HEADERS: [&str; 5] =
    ["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"];
/// The longest that a client may take to answer a server's questions.
const QUESTION_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of a method or a name in the record.
const RECORDED_CHARS_MAX: usize = 200;

/// The compiled handler.
pub(crate) struct McpGateway {
    inner: Arc<Inner>,
    door: Door,
    metadata: Option<Metadata>,
    body_bytes_max: usize,
}

/// Ends the processes of servers that a configuration, which has just become the live one, has no more.
pub(crate) fn reloaded(plan: &crate::compiled::Compiled) {
    let hubs = plan.routes.iter().filter_map(|route| match &route.handler {
        super::Handler::Mcp(gateway) => Some(gateway.hubs()),
        _ => None,
    });
    stdio::keep_only(&hubs.flatten().collect::<Vec<_>>());
}

/// What calls share with what outlives them.
pub(crate) struct Inner {
    route: Box<str>,
    servers: Vec<Arc<Server>>,
    sessions: Arc<Sessions>,
    tools: Tools,
    /// How long a client without sessions may take to answer a server's questions.
    question_timeout: Duration,
}

impl McpGateway {
    pub(crate) fn compile(
        settings: &McpRoute,
        route: &model::Route,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let idle = settings.idle_timeout.get();
        let servers: Vec<Arc<Server>> = settings
            .servers
            .iter()
            .map(|server| Server::compile(&route.name, server, idle, cx).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let given = settings.session_key.as_ref().map(|key| cx.snapshot.secret(key));
        let secret = session::secret(given)?;
        let bounds = sessions::Bounds {
            max: settings.max_sessions,
            max_each: settings.max_sessions_per_consumer,
            idle: settings.idle_timeout.get(),
            lifetime: settings.lifetime.get(),
        };
        let fresh = Sessions::new(&secret, &route.name, bounds)?;
        let digest: Vec<u8> =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &secret).as_ref().to_vec();
        let most = (settings.max_sessions, settings.max_sessions_per_consumer);
        let identity = (most, settings.idle_timeout, settings.lifetime, digest);
        Ok(Self {
            inner: Arc::new(Inner {
                route: route.name.as_str().into(),
                servers,
                sessions: cx.keep("mcp-sessions", &identity, || fresh),
                tools: Tools::compile(settings, cx)?,
                question_timeout: settings.question_timeout.get().min(QUESTION_TIMEOUT_MAX),
            }),
            door: Door::new(settings, route),
            metadata: settings.oauth.as_ref().map(Metadata::compile),
            body_bytes_max: usize::try_from(settings.max_body_size.bytes()).unwrap_or(usize::MAX),
        })
    }

    fn hubs(&self) -> impl Iterator<Item = Arc<stdio::Hub>> {
        self.inner.servers.iter().filter_map(|server| match &server.place {
            server::Place::Processes(hub) => Some(hub.clone()),
            server::Place::Http(_) | server::Place::Own(_) => None,
        })
    }

    fn door(&self) -> &Door {
        &self.door
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    async fn handle(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        call.rpc = Some("null".into());
        self.door.check(call)?;
        door::manners(call)?;
        if call.head.method == Method::POST {
            return self.post(worker, call, body).await;
        }
        if revision_of(&call.head.headers)? == Some(Revision::V2026_07_28) {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
                .with_header(http::header::ALLOW, http::HeaderValue::from_static("POST")));
        }
        let session = self.session(call)?;
        let sender = Sender::of(worker, call);
        if call.head.method == Method::GET {
            note(call, "", None, Some(&session));
            return streams::listen(&self.inner, &sender, &session, call).await;
        }
        note(call, "", None, Some(&session));
        self.end(&sender, &session).await;
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// Ends a session, and those of the servers with it.
    async fn end(&self, sender: &Sender, session: &Session) {
        self.inner.sessions.end(session);
        let each = self.inner.servers.iter().filter_map(|server| {
            let leg = session.leg(&server.name).filter(|leg| leg.id.is_some())?;
            Some((server, leg))
        });
        let ended = each.map(|(server, leg)| async move {
            if let Err(failure) = sender.send(server, Some(&leg), Letter::end()).await {
                tracing::debug!(server = %server.name, "a session could not be ended: {failure}");
            }
        });
        futures_util::future::join_all(ended).await;
    }

    /// The session that a request names.
    fn session(&self, call: &Call) -> Result<Session, Failure> {
        let Some(id) = call.head.headers.get(SESSION) else {
            return Err(answer::refusal(
                StatusCode::BAD_REQUEST,
                answer::INVALID_REQUEST,
                "`Mcp-Session-Id` is required; a session begins with `initialize`",
            ));
        };
        revision_of(&call.head.headers)?;
        self.inner
            .sessions
            .find(id.to_str().unwrap_or_default(), &door::who(call), &door::owner(call))
            .map_err(begin::no_session)
    }

    async fn post(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let bytes = gather(body, self.body_bytes_max).await.map_err(|why| match why {
            Ungathered::TooLarge => Failure::refused(Problem::BodyTooLarge)
                .with_hint(format!("the message is larger than {} bytes", self.body_bytes_max)),
            Ungathered::Failed(failure) => failure,
        })?;
        let text = text_of(&bytes)?;
        if batch::is_one(text) {
            return Box::pin(batch::post(self, worker, call, text)).await;
        }
        let message = Message::parse(text)
            .and_then(|message| strict::check(&message).map(|()| message))
            .map_err(|why| answer::refusal(StatusCode::BAD_REQUEST, answer::INVALID_REQUEST, why))?;
        if message.kind == Kind::Request {
            call.rpc = message.id().map(Into::into);
        }
        let sender = Sender::of(worker, call);
        match revision_of(&call.head.headers) {
            Ok(Some(Revision::V2026_07_28)) => {
                return modern::post(&self.inner, worker, &sender, call, &message).await;
            }
            Ok(_) => {}
            Err(_) => {
                let asked = call.head.headers.get(REVISION).and_then(|value| value.to_str().ok());
                return Ok(modern::unsupported(message.id().unwrap_or("null"), asked.unwrap_or_default()));
            }
        }
        if message.method == "initialize" && message.kind == Kind::Request {
            note(call, &message.method, None, None);
            return begin::answer(&self.inner, &sender, call, &message).await;
        }
        if message.method == "ping" && message.kind == Kind::Request {
            note(call, "ping", None, None);
            return Ok(answer::result(message.id().unwrap_or("null"), "{}"));
        }
        let session = self.session(call)?;
        note(call, &message.method, name_of(&message), Some(&session));
        match message.kind {
            Kind::Request => way::request(&self.inner, worker, &sender, &session, call, &message).await,
            Kind::Notification => {
                way::notification(&self.inner, &sender, &session, &message, text).await;
                Ok(answer::accepted())
            }
            Kind::Response => way::response(&self.inner, &sender, &session, &message).await,
        }
    }
}

impl Answers for McpGateway {
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(worker, call, body)))
    }

    fn explain(&self) -> String {
        "mcp".to_owned()
    }
}

/// The text of a body, which must be JSON.
fn text_of(bytes: &Bytes) -> Result<&str, Failure> {
    let wrong = |why: &str| answer::refusal(StatusCode::BAD_REQUEST, answer::PARSE_ERROR, why);
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("the body is no UTF-8"))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|_| wrong("the body is no JSON"))?;
    Ok(text)
}

/// The revision that a request says it speaks. One that nobody knows is refused.
fn revision_of(headers: &HeaderMap) -> Result<Option<Revision>, Failure> {
    let Some(revision) = headers.get(REVISION) else { return Ok(None) };
    match revision.to_str().ok().and_then(Revision::parse) {
        Some(revision) => Ok(Some(revision)),
        None => Err(unsupported()),
    }
}

fn unsupported() -> Failure {
    answer::refusal(
        StatusCode::BAD_REQUEST,
        answer::UNSUPPORTED_REVISION,
        "Unsupported protocol version: 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28 are spoken here",
    )
}

/// What a message is about, as the client names it.
fn name_of(message: &Message<'_>) -> Option<String> {
    let params = message.params();
    match message.method.as_str() {
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => params.text("uri"),
        "tools/call" | "prompts/get" => params.text("name"),
        _ => None,
    }
}

/// Begins the record of a message.
fn note(call: &mut Call, method: &str, name: Option<String>, session: Option<&Session>) {
    let bounded = |text: &str| text.chars().take(RECORDED_CHARS_MAX).collect::<String>().into_boxed_str();
    let method = match (method, &call.head.method) {
        ("", &Method::GET) => "listen",
        ("", &Method::DELETE) => "end",
        ("", _) => "response",
        (method, _) => method,
    };
    let mut record = McpRecord::default();
    record.method = bounded(method);
    record.name = name.as_deref().map(bounded);
    record.session = session.map(|session| (&*session.digest).into());
    record.revision = session.map_or("", |session| session.seal.revision.as_str());
    call.record.mcp = Some(Arc::new(record));
}

/// Adds to the record of a message, and gives it to who learns how it ends.
fn tell(call: &mut Call, add: impl FnOnce(&mut McpRecord)) -> Arc<McpRecord> {
    let record = call.record.mcp.get_or_insert_with(Arc::default);
    if let Some(record) = Arc::get_mut(record) {
        add(record);
    }
    record.clone()
}
