//! Clients of the revision without sessions (2026-07-28): every request says who sends it and stands for itself.
//!
//! Servers that speak it, too, get what the client sent. For the others the gateway keeps one session per caller, in
//! which requests of several clients meet; [`Disguise`] keeps their ids apart. Who is nobody has a session for each call.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, Response, StatusCode};

use super::{
    Inner,
    able::Able,
    answer,
    asked::Asker,
    begin, bridge, door,
    message::{self, Kind, Members, Message, quoted},
    revision::Revision,
    session::{Leg, Live, Seal, Session},
    subscriptions, way,
    wire::{REVISION, Sender},
};
use crate::{body::Body, call::Call, failure::Failure, worker::Worker};

/// What a client may ask.
const METHODS: [&str; 10] = [
    "server/discover",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
    "subscriptions/listen",
];
/// Results that a client may keep, which say for how long.
const KEPT: [&str; 6] = [
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];
const META_LOG: &str = "io.modelcontextprotocol/logLevel";

/// A refusal with its status.
fn refuse(id: &str, code: i32, text: &str) -> Response<Body> {
    answer::json(status_of(code), message::error(id, code, text, None))
}

fn status_of(code: i32) -> StatusCode {
    match code {
        answer::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        answer::PARSE_ERROR
        | answer::INVALID_REQUEST
        | answer::INVALID_PARAMS
        | answer::HEADER_MISMATCH
        | answer::UNSUPPORTED_REVISION
        | -32021 => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// Tells a client which revisions there are.
pub(super) fn unsupported(id: &str, requested: &str) -> Response<Body> {
    let all: Vec<String> = Revision::ALL.iter().rev().map(|revision| quoted(revision.as_str())).collect();
    let data = format!("{{\"supported\":[{}],\"requested\":{}}}", all.join(","), quoted(requested));
    let code = answer::UNSUPPORTED_REVISION;
    let text = message::error(id, code, "Unsupported protocol version", Some(&data));
    answer::json(status_of(code), text)
}

/// What the headers of a request must say of it. The error is for the client.
fn check(headers: &HeaderMap, message: &Message<'_>) -> Result<(), (i32, String)> {
    let one = |name: &HeaderName| {
        let mut all = headers.get_all(name).iter();
        match (all.next(), all.next()) {
            (_, Some(_)) => Err((answer::HEADER_MISMATCH, format!("`{name}` is there more than once"))),
            (first, None) => Ok(first.and_then(|value| value.to_str().ok())),
        }
    };
    let params = message.params();
    let Some(meta) = params.object("_meta") else {
        return Err((answer::INVALID_PARAMS, "`params._meta` must say who sends the request".to_owned()));
    };
    for name in [bridge::META_REVISION, bridge::META_CAPABILITIES] {
        if meta.get(name).is_none() {
            return Err((answer::INVALID_PARAMS, format!("`params._meta` lacks `{name}`")));
        }
    }
    let differs = |name: &HeaderName, what: &str| {
        Err((answer::HEADER_MISMATCH, format!("`{name}` does not say what the message's {what} does")))
    };
    if one(&REVISION)? != meta.text(bridge::META_REVISION).as_deref() {
        return differs(&REVISION, "revision");
    }
    if one(&bridge::METHOD)? != Some(&*message.method) {
        return differs(&bridge::METHOD, "method");
    }
    let told = one(&bridge::NAME)?.and_then(bridge::text_of);
    let name = bridge::named_by(&message.method).and_then(|name| params.text(name));
    if name.is_some() && told != name {
        return differs(&bridge::NAME, "name");
    }
    Ok(())
}

/// Answers a message of such a client.
pub(super) async fn post(
    inner: &Arc<Inner>,
    worker: &Rc<Worker>,
    sender: &Sender,
    call: &mut Call,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    let id = message.id().unwrap_or("null");
    match message.kind {
        Kind::Request => {}
        // There are none that mean something; who leaves cancels.
        Kind::Notification => return Ok(answer::accepted()),
        Kind::Response => {
            return Ok(refuse("null", answer::INVALID_REQUEST, "no server here asked anything"));
        }
    }
    if let Err((code, text)) = check(&call.head.headers, message) {
        return Ok(refuse(id, code, &text));
    }
    if !METHODS.contains(&&*message.method) {
        return Ok(refuse(id, answer::METHOD_NOT_FOUND, &format!("Method not found: {}", message.method)));
    }
    let session = house(inner, sender, call, message);
    let extra: Vec<_> = call
        .head
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("mcp-param-"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let sender = &sender.clone().with(extra);
    super::note(call, &message.method, super::name_of(message), Some(&session));
    let response = match message.method.as_str() {
        "server/discover" => discover(inner, sender, &session, call, id).await?,
        "subscriptions/listen" => subscriptions::subscribe(inner, sender, &session, message).await?,
        _ => way::request(inner, worker, sender, &session, call, message).await?,
    };
    Ok(with_status(response))
}

/// A session at servers that want one, of a caller who is nobody: it is begun for one call and ends with it, so that
/// strangers never meet in one.
struct Guest {
    inner: Arc<Inner>,
    sender: Sender,
    live: Arc<Live>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        begin::end_all(&self.inner, &self.sender, self.live.begun());
    }
}

/// A session of a caller who is nobody, or of one beyond all room.
pub(super) fn guest(inner: &Arc<Inner>, sender: &Sender, seal: Seal) -> Session {
    let mut session = Session::of_one_call(seal);
    let (inner, sender, live) = (inner.clone(), sender.clone(), session.live.clone());
    session.guest = Some(Rc::new(Guest { inner, sender, live }));
    session
}

/// The session in which this caller's requests meet at servers that want one.
fn house(inner: &Arc<Inner>, sender: &Sender, call: &Call, message: &Message<'_>) -> Session {
    let who = door::who(call);
    let params = message.params();
    let info = params.object("_meta").and_then(|meta| meta.get(bridge::META_CLIENT).map(str::to_owned));
    let mut client = Members::default();
    // Calls that may ask are made in a session of their own; see `asked`.
    client.set("capabilities", "{}".to_owned());
    client.set("clientInfo", info.unwrap_or_else(|| "{\"name\":\"client\",\"version\":\"0\"}".to_owned()));
    let seal = Seal {
        began: 0,
        who: who.clone(),
        revision: Revision::V2026_07_28,
        client: client.json(),
        legs: Vec::new(),
    };
    let housed = door::somebody(call).and_then(|_| {
        let (session, gone) = inner.sessions.house(&who, Able::default(), seal.clone());
        gone.iter().for_each(|live| begin::end_all(inner, sender, live.begun()));
        session
    });
    let mut session = housed.unwrap_or_else(|| guest(inner, sender, seal));
    session.asker = Some(Rc::new(Asker::of(inner, call, message)));
    session
}

/// Errors have statuses of their own in this revision.
fn with_status(mut response: Response<Body>) -> Response<Body> {
    let code = match response.body() {
        Body::Full(text) if response.status() == StatusCode::OK => {
            let said = std::str::from_utf8(text).ok().and_then(Members::parse);
            let error = said.as_ref().and_then(|said| said.object("error"));
            error.and_then(|error| error.get("code").and_then(|code| code.parse().ok()))
        }
        _ => None,
    };
    if let Some(code) = code {
        *response.status_mut() = status_of(code);
    }
    response
}

/// Answers `server/discover`: what all servers together are.
async fn discover(
    inner: &Arc<Inner>,
    sender: &Sender,
    session: &Session,
    call: &mut Call,
    id: &str,
) -> Result<Response<Body>, Failure> {
    let lines = inner.servers.iter().map(|server| begin::line(sender, session, server, false));
    let lines = futures_util::future::join_all(lines).await;
    let (mut all, mut failed) = (Vec::new(), None);
    for (server, line) in inner.servers.iter().zip(lines) {
        match line {
            Ok(leg) => {
                all.push((server.clone(), begin::Begun { leg, result: server.known.said() }));
            }
            Err(failure) => {
                tracing::warn!(server = %server.name, "server `{}` takes no part: {failure}", server.name);
                failed = Some(failure);
            }
        }
    }
    if let (true, Some(failure)) = (all.is_empty(), failed) {
        return Err(failure);
    }
    let merged = begin::merged(inner, Revision::V2026_07_28, &all);
    let merged = Members::parse(&merged).unwrap_or_default();
    let mut result = Members::default();
    let spoken: Vec<String> = Revision::ALL.iter().rev().map(|one| quoted(one.as_str())).collect();
    result.set("supportedVersions", format!("[{}]", spoken.join(",")));
    for name in ["capabilities", "instructions"] {
        if let Some(value) = merged.get(name) {
            result.set(name, value.to_owned());
        }
    }
    if let Some(info) = merged.get("serverInfo") {
        let mut meta = Members::default();
        meta.set("io.modelcontextprotocol/serverInfo", info.to_owned());
        result.set("_meta", meta.json());
    }
    complete("server/discover", &mut result);
    super::tell(call, |_| {}).ended(false, false);
    Ok(answer::result(id, &result.json()))
}

/// Adds what results of this revision have and older ones lack.
pub(super) fn complete(method: &str, result: &mut Members<'_>) {
    if result.get("resultType").is_none() {
        result.set_text("resultType", "complete");
    }
    if KEPT.contains(&method) {
        if result.get("ttlMs").is_none() {
            result.set("ttlMs", "0".to_owned());
        }
        if result.get("cacheScope").is_none() {
            result.set_text("cacheScope", "private");
        }
    }
}

/// How a request looks in a session that others share: its id and its progress token are ones of their own.
pub(super) struct Disguise {
    method: Box<str>,
    /// The id as the client wrote it, and as the server gets it.
    id: Box<str>,
    pub(super) own: Box<str>,
    /// The same of its progress token.
    token: Option<Box<str>>,
    logs: bool,
}

/// What becomes of a server's message.
pub(super) enum Shown {
    /// The client gets it so.
    As(String),
    /// It is nothing to this client.
    Not,
    /// It asks for what nobody can answer.
    Asks,
}

impl Disguise {
    /// A request in disguise; none where it has the session for itself.
    pub(super) fn new(session: &Session, leg: &Leg, text: &str) -> Option<(Self, String)> {
        if session.seal.revision.has_sessions() || !leg.revision.has_sessions() {
            return None;
        }
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let message = Message::parse(text).ok()?;
        let own = quoted(&format!("tidegate-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut params = message.params();
        let mut meta = params.object("_meta").map(Members::into_owned).unwrap_or_default();
        let token = meta.get("progressToken").map(Into::into);
        let logs = meta.get(META_LOG).is_some();
        for name in [bridge::META_REVISION, bridge::META_CLIENT, bridge::META_CAPABILITIES, META_LOG] {
            meta.remove(name);
        }
        if token.is_some() {
            meta.set("progressToken", own.clone());
        }
        params.remove("_meta");
        if meta.names().next().is_some() {
            params.set("_meta", meta.json());
        }
        let mut members = message.members.clone();
        members.set("id", own.clone());
        members.set("params", params.json());
        let id = message.id()?.into();
        let method = message.method.as_str().into();
        Some((Self { method, id, own: own.into(), token, logs }, members.json()))
    }

    /// A server's message as the client gets it.
    pub(super) fn take_off(&self, message: &Message<'_>) -> Shown {
        match (message.kind, message.method.as_str()) {
            (Kind::Response, _) if message.id().is_some_and(|id| message::is_same(id, &self.own)) => {
                Shown::As(self.answer(&message.members))
            }
            (Kind::Response, _) => Shown::Not,
            (Kind::Request, _) => Shown::Asks,
            (Kind::Notification, "notifications/progress") => {
                let mut params = message.params();
                match &self.token {
                    Some(token)
                        if params
                            .get("progressToken")
                            .is_some_and(|said| message::is_same(said, &self.own)) =>
                    {
                        params.set("progressToken", token.to_string());
                        Shown::As(message.with_params(&params))
                    }
                    _ => Shown::Not,
                }
            }
            (Kind::Notification, "notifications/message") if self.logs => Shown::As(message.members.json()),
            (Kind::Notification, _) => Shown::Not,
        }
    }

    /// The id of the client's request.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The same of the request that the client makes now for the same call.
    pub(super) fn anew(&self, text: &str) -> Self {
        let message = Message::parse(text).ok();
        let id = message.as_ref().and_then(|message| message.id().map(Into::into));
        let params = message.as_ref().map(Message::params).unwrap_or_default();
        let meta = params.object("_meta").unwrap_or_default();
        Self {
            method: self.method.clone(),
            id: id.unwrap_or_else(|| self.id.clone()),
            own: self.own.clone(),
            token: meta.get("progressToken").map(Into::into),
            logs: meta.get(META_LOG).is_some(),
        }
    }

    /// An answer as the client gets it.
    pub(super) fn answer(&self, members: &Members<'_>) -> String {
        let mut members = members.clone();
        members.set("id", self.id.to_string());
        if let Some(mut result) = members.object("result").map(Members::into_owned) {
            complete(&self.method, &mut result);
            members.set("result", result.json());
        }
        members.json()
    }

    /// The same of a whole answer's text.
    pub(super) fn answer_of(&self, text: &[u8]) -> Option<String> {
        let members = Members::parse(std::str::from_utf8(text).ok()?)?;
        Some(self.answer(&members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_must_say_what_the_message_does() {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
        let good =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"käse",{meta}}}}}"#);
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, http::HeaderValue::from_static(value));
            }
            headers
        };
        let (revision, method) = (("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"));
        let name = ("mcp-name", "=?base64?a8Okc2U=?=");
        let message = Message::parse(&good).expect("a message");
        for (pairs, want) in [
            (&[revision, method, name][..], None),
            (&[revision, method], Some(answer::HEADER_MISMATCH)),
            (&[revision, name], Some(answer::HEADER_MISMATCH)),
            (&[method, name], Some(answer::HEADER_MISMATCH)),
            (&[revision, method, name, name], Some(answer::HEADER_MISMATCH)),
            (&[revision, method, ("mcp-name", "other")], Some(answer::HEADER_MISMATCH)),
        ] {
            assert_eq!(check(&headers(pairs), &message).err().map(|(code, _)| code), want, "{pairs:?}");
        }
        let bare = Message::parse(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).expect("a message");
        let code = check(&headers(&[revision]), &bare).err().map(|(code, _)| code);
        assert_eq!(code, Some(answer::INVALID_PARAMS));
    }
}
