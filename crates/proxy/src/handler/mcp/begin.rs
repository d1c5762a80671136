//! How sessions begin: at every server at once, and later with one that was away or has forgotten.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Response, StatusCode};

use super::{
    Inner, answer, bridge,
    message::{self, Members, Message},
    revision::Revision,
    server::{Place, Server},
    session::{Can, Leg, Seal, Session},
    sessions::NoSession,
    wire::{self, Letter, SESSION, Sender},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// How long one server may take to begin, so that it does not take the others down.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same of a program, which has to start first.
const PROCESS_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of what a client tells of itself that go to servers which come later.
const CLIENT_BYTES_MAX: usize = 4096;
/// The id of a handshake of the gateway's own.
const OWN_ID: &str = "\"tidegate-initialize\"";

/// A server that has begun.
pub(super) struct Begun {
    pub(super) leg: Leg,
    /// What it answered.
    pub(super) result: String,
}

pub(super) fn can(capabilities: &Members<'_>) -> Can {
    let all = [
        ("tools", Can::TOOLS),
        ("resources", Can::RESOURCES),
        ("prompts", Can::PROMPTS),
        ("completions", Can::COMPLETIONS),
        ("logging", Can::LOGGING),
    ];
    Can(all.iter().filter(|(name, _)| capabilities.get(name).is_some()).map(|(_, bit)| bit).sum())
}

/// Has one server begin. `client` is what the client told of itself: an object with `capabilities` and `clientInfo`.
pub(super) async fn one(
    sender: &Sender,
    server: &Server,
    revision: Revision,
    client: &str,
) -> Result<Begun, Failure> {
    let begun = async {
        let knows_no_sessions = &server.known.is_stateless;
        let is_other = |failure: &Failure| failure.problem() == Problem::BadUpstreamAnswer;
        // A program that knows both ways begins with a handshake: one that does not know the question need not start twice.
        let is_program = matches!(server.place, Place::Processes(_));
        if !(revision.has_sessions() || is_program) || knows_no_sessions.load(Ordering::Relaxed) {
            match bridge::discover(sender, server, client).await {
                Err(failure) if is_other(&failure) => {}
                begun => return begun,
            }
        }
        match handshake(sender, server, revision.min(Revision::NEWEST_WITH_SESSIONS), client).await {
            // A server of the revision without sessions refuses a handshake.
            Err(failure) if is_other(&failure) => {
                let begun = bridge::discover(sender, server, client).await.map_err(|_| failure);
                knows_no_sessions.store(begun.is_ok(), Ordering::Relaxed);
                begun
            }
            begun => begun,
        }
    };
    let patience = match server.place {
        Place::Http(_) | Place::Own(_) => PATIENCE,
        Place::Processes(_) => PROCESS_PATIENCE,
    };
    match tokio::time::timeout(patience, begun).await {
        Ok(begun) => begun.inspect(|begun| server.known.says(&begun.result)),
        Err(_) => {
            server.known.reached(false);
            let late = format!("server `{}` does not begin within {patience:?}", server.name);
            Err(Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, late))
        }
    }
}

async fn handshake(
    sender: &Sender,
    server: &Server,
    revision: Revision,
    client: &str,
) -> Result<Begun, Failure> {
    let mut params = Members::parse(client).unwrap_or_default();
    params.set_text("protocolVersion", revision.as_str());
    let text = message::request(OWN_ID, "initialize", &params.json());
    let response = sender.send(server, None, Letter::post(text)).await?;
    let id = wire::session_of(&response);
    let text = wire::answer(wire::reply(response, false).await?, OWN_ID).await?;
    let bad = |why: &str| {
        Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, format!("server `{}`: {why}", server.name))
    };
    let text = std::str::from_utf8(&text).map_err(|_| bad("its answer is no text"))?;
    let said = Members::parse(text).ok_or_else(|| bad("its answer is no message"))?;
    let result = said.object("result").ok_or_else(|| bad("it refuses to begin"))?;
    let spoken = result.text("protocolVersion").and_then(|spoken| Revision::parse(&spoken));
    let spoken =
        spoken.filter(|spoken| spoken.has_sessions()).ok_or_else(|| bad("it speaks an unknown revision"))?;
    let can = can(&result.object("capabilities").unwrap_or_default());
    let leg = Leg { server: server.name.clone(), id, revision: spoken, can };
    Ok(Begun { leg, result: result.json() })
}

/// The line to a server, begun now when the session has none: it was away, or has forgotten.
pub(super) async fn line(
    sender: &Sender,
    session: &Session,
    server: &Arc<Server>,
    anew: bool,
) -> Result<Leg, Failure> {
    if let (Some(leg), false) = (session.leg(&server.name), anew) {
        return Ok(leg);
    }
    let begun = one(sender, server, session.seal.revision, &session.seal.client).await?;
    if begun.leg.revision.has_sessions() {
        let text = message::notification("notifications/initialized", "{}");
        let taken = sender.send(server, Some(&begun.leg), Letter::post(text)).await?;
        drop(taken);
    }
    tracing::debug!(server = %server.name, session = %session.digest, "a session with `{}` began later", server.name);
    session.begin(begun.leg.clone());
    Ok(begun.leg)
}

/// Answers `initialize`.
pub(super) async fn answer(
    inner: &Arc<Inner>,
    sender: &Sender,
    call: &mut Call,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    let id = message.id().unwrap_or("null");
    let params = message.params();
    let Some(asked) = params.text("protocolVersion") else {
        return Ok(answer::error(id, answer::INVALID_PARAMS, "`protocolVersion` is required"));
    };
    let revision = Revision::negotiate(&asked);
    let client = client_of(&params);
    let servers = &inner.servers;
    call.record.attempts = u16::try_from(servers.len()).unwrap_or(u16::MAX);
    let begun = join_all(servers.iter().map(|server| one(sender, server, revision, &client))).await;
    let mut all = Vec::with_capacity(servers.len());
    let mut failed = None;
    for (server, begun) in servers.iter().zip(begun) {
        match begun {
            Ok(begun) => all.push((server.clone(), begun)),
            Err(failure) => {
                tracing::warn!(route = %inner.route, server = %server.name, "server `{}` takes no part in a session: {failure}", server.name);
                failed = Some(failure);
            }
        }
    }
    if all.is_empty() {
        return Err(failed.unwrap_or_else(|| Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint)));
    }
    let result = merged(inner, revision, &all);
    let seal = Seal {
        began: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
        who: super::door::who(call),
        revision,
        client,
        legs: all.into_iter().map(|(_, begun)| begun.leg).collect(),
    };
    let legs = seal.legs.clone();
    let session = match inner.sessions.begin(seal, &super::door::owner(call)) {
        Ok(session) => session,
        Err(why) => {
            end_all(inner, sender, legs);
            return Err(no_session(why));
        }
    };
    super::tell(call, |record| record.session = Some((&*session.digest).into()));
    let mut response = answer::json(StatusCode::OK, Bytes::from(message::result(id, &result)));
    if let Ok(value) = http::HeaderValue::from_str(&session.id) {
        response.headers_mut().insert(SESSION, value);
    }
    Ok(response)
}

/// Ends what was begun at servers, in passing.
pub(super) fn end_all(inner: &Arc<Inner>, sender: &Sender, legs: Vec<Leg>) {
    for leg in legs.into_iter().filter(|leg| leg.id.is_some()) {
        let Some(server) = inner.servers.iter().find(|server| server.name == leg.server).cloned() else {
            continue;
        };
        let sender = sender.clone();
        tokio::task::spawn_local(async move {
            if let Err(failure) = sender.send(&server, Some(&leg), Letter::end()).await {
                tracing::debug!(server = %server.name, "a session could not be ended: {failure}");
            }
        });
    }
}

/// Why a caller has no session.
pub(super) fn no_session(why: NoSession) -> Failure {
    let full = |problem, hint: &str| {
        Failure::gateway(Stage::Policy, problem).with_hint(hint).with_retry_after(Duration::from_secs(30))
    };
    match why {
        NoSession::Unknown => answer::refusal(StatusCode::NOT_FOUND, answer::NO_SESSION, "Session not found"),
        NoSession::TooMany => full(Problem::Unavailable, "there are as many sessions as there may be"),
        NoSession::TooManyOfOne => full(
            Problem::RateLimited,
            "this caller has as many sessions as it may; it can end one with DELETE",
        ),
    }
}

/// What a client tells of itself, for servers that come later.
fn client_of(params: &Members<'_>) -> String {
    let mut client = params.clone();
    client.remove("protocolVersion");
    client.remove("_meta");
    if client.json().len() > CLIENT_BYTES_MAX {
        let mut small = Members::default();
        small.set("capabilities", "{}".to_owned());
        small.set("clientInfo", "{\"name\":\"client\",\"version\":\"0\"}".to_owned());
        return small.json();
    }
    client.json()
}

/// One result of all servers': what any of them can, and what each says about itself.
pub(super) fn merged(inner: &Inner, revision: Revision, all: &[(Arc<Server>, Begun)]) -> String {
    let results: Vec<(&Server, Members<'_>)> = all
        .iter()
        .map(|(server, begun)| (&**server, Members::parse(&begun.result).unwrap_or_default()))
        .collect();
    if let ([(_, only)], 1) = (results.as_slice(), inner.servers.len()) {
        let mut only = only.clone();
        only.set_text("protocolVersion", revision.as_str());
        return only.json();
    }
    let mut capabilities = serde_json::Map::new();
    for (_, result) in &results {
        let own: Option<serde_json::Map<_, _>> =
            result.get("capabilities").and_then(|text| serde_json::from_str(text).ok());
        unite(&mut capabilities, own.unwrap_or_default());
    }
    // Tasks have ids of their server's own that nothing here leads back to it.
    capabilities.remove("tasks");
    let mut merged = Members::default();
    merged.set_text("protocolVersion", revision.as_str());
    merged.set("capabilities", serde_json::Value::Object(capabilities).to_string());
    let name = message::quoted(&inner.route);
    let version = env!("CARGO_PKG_VERSION");
    merged.set("serverInfo", format!("{{\"name\":{name},\"version\":\"{version}\"}}"));
    let told: Vec<String> = results
        .iter()
        .filter_map(|(server, result)| Some(format!("# {}\n\n{}", server.name, result.text("instructions")?)))
        .collect();
    if !told.is_empty() {
        merged.set_text("instructions", &told.join("\n\n"));
    }
    merged.json()
}

/// What either can.
fn unite(
    into: &mut serde_json::Map<String, serde_json::Value>,
    from: serde_json::Map<String, serde_json::Value>,
) {
    use serde_json::Value;
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(more)) => unite(known, more),
            (Some(known @ Value::Bool(false)), Value::Bool(true)) => *known = Value::Bool(true),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(name, value);
            }
        }
    }
}
