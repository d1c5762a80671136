//! One HTTP exchange with a server, and what it answered.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use super::{
    auth, door,
    message::{Kind, Message, is_same},
    server::{Place, Server},
    session::Leg,
    sse::{Event, Reader},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    guard::X_REQUEST_ID,
    handler::{
        ai::gathered::{Ungathered, gather},
        posing::Posing,
    },
    upstream::tries::{self, Wish},
    worker::Worker,
};

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Bytes of a server's answer in one piece.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of a server's refusal.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Events that come before the answer that is waited for.
const EVENTS_BEFORE_MAX: usize = 1000;

/// What goes to a server.
pub(super) struct Letter {
    method: Method,
    body: Bytes,
    last_event: Option<String>,
    extra: Vec<(HeaderName, HeaderValue)>,
    /// Its answer is a stream that may be silent.
    is_silent: bool,
}

impl Letter {
    /// A message.
    pub(super) fn post(text: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            body: text.into(),
            last_event: None,
            extra: Vec::new(),
            is_silent: false,
        }
    }

    /// A wish for a stream, from an event on.
    pub(super) fn listen(last_event: Option<String>) -> Self {
        Self { method: Method::GET, body: Bytes::new(), last_event, extra: Vec::new(), is_silent: true }
    }

    /// The end of a session.
    pub(super) fn end() -> Self {
        Self {
            method: Method::DELETE,
            body: Bytes::new(),
            last_event: None,
            extra: Vec::new(),
            is_silent: false,
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// What it says.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// For a stream that may be silent.
    pub(super) fn silent(mut self) -> Self {
        self.is_silent = true;
        self
    }

    /// With further header fields.
    pub(super) fn with(mut self, extra: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.extra = extra;
        self
    }
}

/// Sends what a handler has to say beside the call that it answers.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) worker: Rc<Worker>,
    base: Rc<Call>,
    /// Header fields of the client's that belong to its message.
    pub(super) extra: Rc<Vec<(HeaderName, HeaderValue)>>,
    /// The caller's token, for a token server alone.
    pub(super) subject: Option<Arc<str>>,
    /// Who is counted for what it takes of servers.
    owner: Rc<str>,
}

impl Sender {
    pub(super) fn of(worker: &Rc<Worker>, call: &Call) -> Self {
        let (head, ()) = Request::new(()).into_parts();
        Self {
            worker: worker.clone(),
            base: Rc::from(call.errand(head)),
            extra: Rc::default(),
            subject: auth::subject(call),
            owner: door::owner(call).into(),
        }
    }

    /// The same with header fields for servers that want them.
    pub(super) fn with(mut self, extra: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.extra = Rc::new(extra);
        self
    }

    /// Sends a letter in a call of its own.
    pub(super) async fn send(
        &self,
        server: &Server,
        leg: Option<&Leg>,
        letter: Letter,
    ) -> Result<Response<Body>, Failure> {
        let (head, ()) = Request::new(()).into_parts();
        let mut errand = self.base.errand(head);
        send(&self.worker, &mut errand, server, leg, letter, self).await
    }
}

/// Sends a letter in a call.
pub(super) async fn send(
    worker: &Rc<Worker>,
    call: &mut Call,
    server: &Server,
    leg: Option<&Leg>,
    letter: Letter,
    sender: &Sender,
) -> Result<Response<Body>, Failure> {
    let http = match &server.place {
        Place::Http(http) => http,
        Place::Processes(hub) => {
            let result = hub.send(leg, letter, &sender.owner).await;
            server.known.reached(result.is_ok());
            return result;
        }
        // Boxed: what its tools do is large, and few messages are for them.
        Place::Own(local) => {
            return Box::pin(local.answer(worker, call, leg, &letter.method, &letter.body)).await;
        }
    };
    let mut headers = HeaderMap::with_capacity(12);
    let accept = match letter.method {
        Method::GET => "text/event-stream",
        _ => "application/json, text/event-stream",
    };
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    headers.insert(X_REQUEST_ID, call.record.request_id.clone());
    if letter.method == Method::POST {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(letter.body.len()));
    }
    if let Some(leg) = leg {
        if let Some(Ok(id)) = leg.id.as_deref().map(HeaderValue::from_str) {
            headers.insert(SESSION, id);
        }
        headers.insert(REVISION, HeaderValue::from_static(leg.revision.as_str()));
    }
    if let Some(Ok(event)) = letter.last_event.as_deref().map(HeaderValue::from_str) {
        headers.insert(LAST_EVENT, event);
    }
    for (name, value) in letter.extra.iter().chain(&server.headers) {
        headers.insert(name.clone(), value.clone());
    }
    if let Some(auth) = &server.auth {
        headers.insert(header::AUTHORIZATION, auth.header(sender.subject.as_deref()).await?);
    }
    let uri = http.path.parse().map_err(|_| {
        Failure::gateway(Stage::Pick, Problem::Internal).with_detail("`url` has no good path")
    })?;
    call.record.upstream = Some(http.calls.upstream.name.clone());
    let target = if letter.is_silent { &http.streams } else { &http.calls };
    let body = if letter.body.is_empty() { Body::Empty } else { Body::Full(letter.body) };
    let posing = Posing::new(call, letter.method, uri, headers);
    let result = tries::forward(worker, posing.call, target, &Wish::default(), body).await;
    drop(posing);
    server.known.reached(result.is_ok());
    result
}

/// What a server answered.
pub(super) enum Reply {
    /// One message.
    Json(Bytes),
    /// Events; the message is among them.
    Stream(Body),
    /// It took what needs no answer.
    Accepted,
    /// It does not know the session.
    SessionLost,
    /// It refused, with what it said.
    Refused(StatusCode, Bytes),
}

fn is_kind(response: &Response<Body>, kind: &str) -> bool {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind))
}

/// What a server said cannot be used.
pub(super) fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error)
}

/// Reads a body whole.
async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    gather(body, bytes_max).await.map_err(|why| match why {
        Ungathered::TooLarge => broken(format!("the server's answer is larger than {bytes_max} bytes")),
        Ungathered::Failed(failure) => failure,
    })
}

/// Reads what a server answered. `in_session` says that the letter named a session.
pub(super) async fn reply(response: Response<Body>, in_session: bool) -> Result<Reply, Failure> {
    let status = response.status();
    if response.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(broken("the server compressed its answer, which it was not asked for"));
    }
    if status == StatusCode::NOT_FOUND && in_session {
        return Ok(Reply::SessionLost);
    }
    if !status.is_success() {
        let is_json = is_kind(&response, "application/json");
        let text = whole(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
        return Ok(Reply::Refused(status, if is_json { text } else { Bytes::new() }));
    }
    if is_kind(&response, "text/event-stream") {
        return Ok(Reply::Stream(response.into_body()));
    }
    if is_kind(&response, "application/json") {
        let text = whole(response.into_body(), ANSWER_BYTES_MAX).await?;
        return Ok(if text.trim_ascii().is_empty() { Reply::Accepted } else { Reply::Json(text) });
    }
    match status {
        StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(Reply::Accepted),
        _ if response.body().is_empty() => Ok(Reply::Accepted),
        _ => Err(broken("the server's answer is neither JSON nor a stream of events")),
    }
}

/// What a refusal is for the caller: an error of the protocol's that came with it, or a failure.
pub(super) fn refused(status: StatusCode, text: &Bytes) -> Result<Bytes, Failure> {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(broken(format!("the server answered {status}"))
            .with_hint("the server refuses the gateway's credentials"));
    }
    let said = std::str::from_utf8(text).ok().and_then(|text| Message::parse(text).ok());
    if said.is_some_and(|said| said.kind == Kind::Response && said.members.get("error").is_some()) {
        return Ok(text.clone());
    }
    // Such an error often has no id, which this reader takes for no message.
    let error = std::str::from_utf8(text).ok().and_then(super::message::Members::parse);
    if error.is_some_and(|members| members.object("error").is_some()) {
        return Ok(text.clone());
    }
    Err(broken(format!("the server answered {status}")))
}

/// The one answer to a request, whatever form it came in; what comes before it in a stream is passed over.
pub(super) async fn answer(reply: Reply, id: &str) -> Result<Bytes, Failure> {
    match reply {
        Reply::Json(text) => Ok(text),
        Reply::Refused(status, text) => refused(status, &text),
        Reply::Accepted => Err(broken("the server took a request without an answer")),
        Reply::SessionLost => Err(broken("the server does not know its own session")),
        Reply::Stream(body) => in_stream(body, id, |_| {}).await,
    }
}

/// The same of a stream; `asked` is told what the server itself requests.
pub(super) async fn in_stream(
    mut body: Body,
    id: &str,
    asked: impl Fn(&Message<'_>),
) -> Result<Bytes, Failure> {
    use http_body_util::BodyExt;
    let mut reader = Reader::default();
    let mut events: Vec<Event> = Vec::new();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        reader.push(&data, &mut events).map_err(|_| broken("the server sent an event that is too large"))?;
        for event in events.drain(..) {
            count += 1;
            let text = std::str::from_utf8(&event.data).unwrap_or_default();
            let is_it = Message::parse(text).is_ok_and(|message| {
                if message.kind == Kind::Request {
                    asked(&message);
                }
                message.kind == Kind::Response && message.id().is_some_and(|said| is_same(said, id))
            });
            if is_it {
                return Ok(event.data.into());
            }
        }
        if count > EVENTS_BEFORE_MAX {
            return Err(broken("the server sent too much before its answer"));
        }
    }
    Err(broken("the server's stream ended before its answer"))
}

/// The id of a session that a server began.
pub(super) fn session_of(response: &Response<Body>) -> Option<Box<str>> {
    let id = response.headers().get(SESSION)?.to_str().ok()?;
    // The protocol allows visible ASCII alone, and a sealed id has no room for what is longer.
    (id.len() <= 1024 && id.bytes().all(|byte| (0x21..=0x7e).contains(&byte))).then(|| id.into())
}
