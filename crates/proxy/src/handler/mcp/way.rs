//! Which server a message is for.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{
    Inner, answer, asking, ids, list,
    list::List,
    message::{Kind, Members, Message},
    relay::{self, Way, relay},
    server::Server,
    session::{Can, Session},
    tools,
    wire::{Letter, Sender},
};
use crate::{body::Body, call::Call, failure::Failure, worker::Worker};

/// Answers a request of a client's.
pub(super) async fn request(
    inner: &Arc<Inner>,
    worker: &Rc<Worker>,
    sender: &Sender,
    session: &Session,
    call: &mut Call,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    let id = message.id().unwrap_or("null");
    if let Some(list) = List::of(&message.method) {
        return list::answer(inner, sender, session, call, list, message).await;
    }
    let way = |server| Way { worker, sender, session, server };
    match message.method.as_str() {
        "tools/call" => {
            let mut params = message.params();
            let Some(full) = params.text("name") else { return Ok(required(id, "name")) };
            let (server, own) = match owner_of_tool(inner, sender, session, &full).await? {
                Ok(owner) => owner,
                Err(why) => return Ok(answer::error(id, answer::INVALID_PARAMS, &why)),
            };
            let is_known_tool =
                server.known.catalog.has_tool(&own) == Some(true) || inner.tools.is_named(&full);
            super::tell(call, |record| record.is_known_tool = is_known_tool);
            let way = way(&server);
            if let Some(refused) = inner.tools.judge(&way, call, id, &own, &params).await? {
                super::tell(call, |record| record.server = Some(server.name.clone())).ended(true, false);
                return Ok(refused);
            }
            params.set_text("name", &own);
            relay(&way, call, id, message.with_params(&params)).await
        }
        "prompts/get" => {
            let mut params = message.params();
            let Some(full) = params.text("name") else { return Ok(required(id, "name")) };
            let owners = tools::owners(&inner.servers, &full);
            let owners: Vec<_> =
                owners.into_iter().filter(|(server, _)| takes_part(session, server, Can::PROMPTS)).collect();
            let texts = owners.into_iter().map(|(server, own)| {
                params.set_text("name", &own);
                (server.clone(), message.with_params(&params))
            });
            let texts: Vec<_> = texts.collect();
            first(&way, call, id, &texts, &format!("unknown prompt: {full}")).await
        }
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            let Some(uri) = message.params().text("uri") else { return Ok(required(id, "uri")) };
            let texts: Vec<_> = owners_of_resource(inner, session, &uri)
                .into_iter()
                .map(|server| (server, message.members.json()))
                .collect();
            first(&way, call, id, &texts, &format!("unknown resource: {uri}")).await
        }
        "completion/complete" => complete(inner, &way, session, call, message).await,
        "logging/setLevel" => {
            let able: Vec<_> = all_that_can(inner, session, Can::LOGGING);
            let text = message.members.json();
            let asked = able.iter().map(|server| relay::ask(sender, session, server, id, &text));
            let answers = futures_util::future::join_all(asked).await;
            let good = answers.iter().any(|answer| matches!(answer, Ok(asked) if !is_error(&asked.text)));
            match answers.into_iter().next() {
                _ if good => Ok(answer::result(id, "{}")),
                Some(Ok(error)) => Ok(answer::json(StatusCode::OK, error.text)),
                Some(Err(failure)) => Err(failure),
                None => Ok(no_method(id, &message.method)),
            }
        }
        // What nobody here knows means something to the one server that there is.
        other => match inner.servers.as_slice() {
            [only] => relay(&way(only), call, id, message.members.json()).await,
            _ => Ok(no_method(id, other)),
        },
    }
}

fn required(id: &str, name: &str) -> Response<Body> {
    answer::error(id, answer::INVALID_PARAMS, &format!("`{name}` is required"))
}

fn no_method(id: &str, method: &str) -> Response<Body> {
    answer::error(id, answer::METHOD_NOT_FOUND, &format!("Method not found: {method}"))
}

fn is_error(text: &Bytes) -> bool {
    let said = std::str::from_utf8(text).ok().and_then(Members::parse);
    said.is_none_or(|said| said.get("error").is_some())
}

/// Whether a server asks a client that it cannot ask itself.
fn asks_back(session: &Session, server: &Server, text: &Bytes) -> bool {
    let said = std::str::from_utf8(text).ok().and_then(Members::parse);
    let is_between = session.leg(&server.name).is_some_and(|leg| asking::is_between(session, &leg));
    is_between && said.is_some_and(|said| asking::asks(&said))
}

/// Whether a server may be asked for something: it can do it, or has not said what it can.
fn takes_part(session: &Session, server: &Server, what: u8) -> bool {
    session.leg(&server.name).is_none_or(|leg| leg.can.do_(what))
}

fn all_that_can(inner: &Inner, session: &Session, what: u8) -> Vec<Arc<Server>> {
    inner.servers.iter().filter(|server| takes_part(session, server, what)).cloned().collect()
}

/// The server that has a tool, and its own name of it. The error is for the client.
async fn owner_of_tool(
    inner: &Inner,
    sender: &Sender,
    session: &Session,
    full: &str,
) -> Result<Result<(Arc<Server>, String), String>, Failure> {
    let owners = tools::owners(&inner.servers, full);
    let unknown = || format!("unknown tool: {full}");
    if let [(server, own)] = owners.as_slice() {
        return Ok(Ok(((*server).clone(), own.clone())));
    }
    // Several may have it: what each of them has is learned, unless it is known.
    let mut having = Vec::new();
    for (server, own) in owners {
        let must_ask =
            server.known.catalog.has_tool(&own).is_none() && takes_part(session, server, Can::TOOLS);
        if must_ask && let Err(failure) = list::learn_tools(sender, session, server).await {
            tracing::warn!(server = %server.name, "the tools of `{}` are not known: {failure}", server.name);
        }
        if server.known.catalog.has_tool(&own) == Some(true) {
            having.push((server.clone(), own));
        }
    }
    Ok(match having.as_slice() {
        [] => Err(unknown()),
        [(server, own)] => Ok((server.clone(), own.clone())),
        [(one, _), (other, _), ..] => Err(format!(
            "the servers `{}` and `{}` both have a tool `{full}`; the operator can give one of them another prefix",
            one.name, other.name
        )),
    })
}

/// The servers that may have a resource, the likeliest first.
fn owners_of_resource(inner: &Inner, session: &Session, uri: &str) -> Vec<Arc<Server>> {
    let mut able = all_that_can(inner, session, Can::RESOURCES);
    able.sort_by_key(|server| std::cmp::Reverse(server.known.catalog.knows_resource(uri)));
    if let Some(first) = able.first()
        && first.known.catalog.knows_resource(uri) == usize::MAX
    {
        able.truncate(1);
    }
    able
}

/// Asks one server after another until one does not refuse. The answer of a single one comes as it is, event by event.
async fn first<'w>(
    way: &impl Fn(&'w Arc<Server>) -> Way<'w>,
    call: &mut Call,
    id: &str,
    texts: &'w [(Arc<Server>, String)],
    unknown: &str,
) -> Result<Response<Body>, Failure> {
    let Some(((last, text), before)) = texts.split_last() else {
        return Ok(answer::error(id, answer::NO_RESOURCE, unknown));
    };
    // Who comes back with answers comes back to the server that asked.
    let asker = way(last).session.asker.clone();
    let came_back = asker.as_ref().and_then(|asker| asker.comes_back_to());
    let asked = texts.iter().find(|(server, _)| came_back == Some(&*server.name));
    if let Some((server, text)) = asked {
        return relay(&way(server), call, id, text.clone()).await;
    }
    for (server, text) in before {
        let way = way(server);
        match relay::ask(way.sender, way.session, server, id, text).await {
            // Its client is asked on the way of a single one.
            Ok(asked) if asks_back(way.session, server, &asked.text) => {
                return relay(&way, call, id, text.clone()).await;
            }
            Ok(asked) if !is_error(&asked.text) => {
                super::tell(call, |record| record.server = Some(server.name.clone())).ended(false, false);
                return Ok(answer::json(StatusCode::OK, asked.text));
            }
            Ok(_) => {}
            Err(failure) => {
                tracing::debug!(server = %server.name, "`{}` was passed over: {failure}", server.name);
            }
        }
    }
    relay(&way(last), call, id, text.clone()).await
}

/// Answers `completion/complete`, which is about a prompt or a resource.
async fn complete<'w>(
    inner: &'w Inner,
    way: &impl Fn(&'w Arc<Server>) -> Way<'w>,
    session: &Session,
    call: &mut Call,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    let id = message.id().unwrap_or("null");
    let mut params = message.params();
    let Some(about) = params.object("ref").map(Members::into_owned) else { return Ok(required(id, "ref")) };
    let owner = if let Some(full) = about.text("name") {
        let owners = tools::owners(&inner.servers, &full);
        let owner = owners.into_iter().find(|(server, _)| takes_part(session, server, Can::COMPLETIONS));
        owner.map(|(server, own)| {
            let mut about = about.clone();
            about.set_text("name", &own);
            (server, about)
        })
    } else {
        let uri = about.text("uri").unwrap_or_default();
        let likeliest = owners_of_resource(inner, session, &uri).into_iter().next();
        let found = likeliest.and_then(|known| inner.servers.iter().find(|server| server.name == known.name));
        found.map(|server| (server, about))
    };
    let Some((server, about)) = owner else {
        return Ok(answer::error(id, answer::INVALID_PARAMS, "nobody here has what `ref` names"));
    };
    params.set("ref", about.json());
    relay(&way(server), call, id, message.with_params(&params)).await
}

/// Passes a notification of a client's on.
pub(super) async fn notification(
    inner: &Inner,
    sender: &Sender,
    session: &Session,
    message: &Message<'_>,
    text: &str,
) {
    let only = |name: &str| inner.servers.iter().find(|server| *server.name == *name).cloned();
    let (servers, text): (Vec<Arc<Server>>, String) = match message.method.as_str() {
        "notifications/cancelled" => {
            // Whoever works on it; all of them when that is not known here, for only one knows the id.
            let id = message.params().get("requestId").map(str::to_owned).unwrap_or_default();
            session.cancels(&id);
            let works = session.works_on(&id).and_then(|name| only(&name));
            (works.map_or_else(|| inner.servers.clone(), |server| vec![server]), text.to_owned())
        }
        "notifications/progress" => match ids::to_server(message) {
            Some((server, text)) => (only(&server).into_iter().collect(), text),
            None => return,
        },
        // A request without an id would pass every rule for requests.
        method if !method.starts_with("notifications/") => return,
        _ => (inner.servers.clone(), text.to_owned()),
    };
    relay::tell_all(sender, session, &servers, &text).await;
}

/// Passes a client's answer to a server's request on.
pub(super) async fn response(
    inner: &Inner,
    sender: &Sender,
    session: &Session,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    debug_assert_eq!(message.kind, Kind::Response);
    let to = ids::to_server(message).and_then(|(name, text)| {
        let server = inner.servers.iter().find(|server| *server.name == *name)?;
        Some((server, session.leg(&server.name)?, text))
    });
    match to {
        Some((server, leg, text)) if leg.revision.has_sessions() => {
            drop(sender.send(server, Some(&leg), Letter::post(text)).await?);
            Ok(answer::accepted())
        }
        // The gateway asks for servers that have no sessions; they would not know what this answers.
        Some((_, _, text)) if session.answers(&text) => Ok(answer::accepted()),
        _ => Err(answer::refusal(
            StatusCode::BAD_REQUEST,
            answer::INVALID_REQUEST,
            "this answers no request of a server's",
        )),
    }
}
