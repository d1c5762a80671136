//! Lists of all servers as one, page by page.
//!
//! A page holds a page of each server that has one more; the cursor says how far each has come.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;

use super::{
    Inner, answer,
    catalog::Place,
    message::{self, Members, Message},
    modern, relay,
    server::Server,
    session::{Can, Session},
    sse::Event,
    strict,
    wire::Sender,
};
use crate::{body::Body, call::Call, failure::Failure};

/// A list that servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl List {
    pub(super) fn of(method: &str) -> Option<Self> {
        Some(match method {
            "tools/list" => Self::Tools,
            "prompts/list" => Self::Prompts,
            "resources/list" => Self::Resources,
            "resources/templates/list" => Self::Templates,
            _ => return None,
        })
    }

    fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of a result that holds the items.
    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    pub(super) fn needs(self) -> u8 {
        match self {
            Self::Tools => Can::TOOLS,
            Self::Prompts => Can::PROMPTS,
            Self::Resources | Self::Templates => Can::RESOURCES,
        }
    }
}

/// Pages that are read at once when the gateway itself needs a whole list.
const PAGES_MAX: usize = 100;
/// Bytes of a cursor that are read, and minted.
const CURSOR_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a server's own cursor that are kept.
const OWN_CURSOR_BYTES_MAX: usize = 8 * 1024;

/// How far each server has come: its own cursor, and where its next page stands.
type Cursors = HashMap<String, (String, (u64, u32))>;

/// What a cursor is sealed for: a list, and whose.
fn purpose(list: List, session: &Session) -> String {
    format!("cursor {} {}", list.method(), session.seal.who)
}

/// Where each server goes on. None of anybody's making but the gateway's own is read.
fn cursors(inner: &Inner, list: List, session: &Session, cursor: &str) -> Option<Cursors> {
    if cursor.len() > CURSOR_BYTES_MAX {
        return None;
    }
    let text = inner.sessions.unsealed(&purpose(list, session), cursor)?;
    serde_json::from_slice(&text).ok()
}

/// A page of one server.
struct Page {
    server: Arc<Server>,
    /// The whole answer.
    text: Bytes,
    place: Option<Place>,
}

/// Answers with a page of all servers.
pub(super) async fn answer(
    inner: &Arc<Inner>,
    sender: &Sender,
    session: &Session,
    call: &mut Call,
    list: List,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    let id = message.id().unwrap_or("null");
    let mut params = message.params();
    let cursor = params.get("cursor").map(|_| params.text("cursor").unwrap_or_default());
    let from = cursor.map(|cursor| cursors(inner, list, session, &cursor));
    let from = match from {
        None => None,
        Some(Some(from)) => Some(from),
        Some(None) => {
            return Ok(answer::error(id, answer::INVALID_PARAMS, "the cursor is none of this list's"));
        }
    };
    let (mut asked, mut missing) = (Vec::new(), Vec::new());
    for server in &inner.servers {
        params.remove("cursor");
        match &from {
            None => {}
            Some(from) => match from.get(&*server.name) {
                Some((cursor, _)) => params.set_text("cursor", cursor),
                None => continue,
            },
        }
        let leg = session.leg(&server.name);
        let is_away = leg.is_none() && server.known.is_away();
        if is_away {
            tracing::warn!(route = %inner.route, server = %server.name, "{} lacks server `{}`: it could not be reached a moment ago", list.method(), server.name);
            missing.push(&*server.name);
        }
        if is_away || leg.is_some_and(|leg| !leg.can.do_(list.needs())) {
            continue;
        }
        asked.push((server.clone(), message.with_params(&params)));
    }
    let place = |server: &Server| {
        let (_, place) = from.as_ref()?.get(&*server.name)?;
        Some(Place::of(*place))
    };
    call.record.attempts = u16::try_from(asked.len()).unwrap_or(u16::MAX);
    let pages =
        join_all(asked.iter().map(|(server, text)| async move {
            (server, relay::ask(sender, session, server, id, text).await)
        }))
        .await;
    let (mut good, mut error, mut failed) = (Vec::new(), None, None);
    let mut is_stream = false;
    for (server, page) in pages {
        match page {
            Ok(asked) if is_error(&asked.text) => {
                tracing::debug!(server = %server.name, "`{}` has no {}", server.name, list.method());
                error = Some(asked.text);
            }
            Ok(asked) => {
                is_stream |= asked.is_stream;
                good.push(Page { server: server.clone(), text: asked.text, place: place(server) });
            }
            Err(failure) => {
                tracing::warn!(route = %inner.route, server = %server.name, "{} lacks server `{}`: {failure}", list.method(), server.name);
                missing.push(&*server.name);
                failed = Some(failure);
            }
        }
    }
    if good.is_empty() {
        if let Some(failure) = failed {
            return Err(failure);
        }
        if let (Some(error), [_]) = (error, asked.as_slice()) {
            let error = std::str::from_utf8(&error).ok().and_then(Members::parse);
            let error = error.and_then(|said| said.get("error").map(str::to_owned));
            let mut refused = Members::default();
            refused.set_text("jsonrpc", "2.0");
            refused.set("id", id.to_owned());
            refused.set(
                "error",
                error.unwrap_or_else(|| "{\"code\":-32603,\"message\":\"no list\"}".to_owned()),
            );
            return Ok(answer::json(http::StatusCode::OK, refused.json()));
        }
    }
    let mut result = merged(inner, session, call, list, &good);
    let is_whole = missing.is_empty() && good.len() == asked.len() && !result.contains("\"nextCursor\"");
    if list == List::Tools && is_whole {
        inner.tools.tell_unused(&inner.route);
    }
    if !missing.is_empty() {
        result = lacking(&result, &missing);
    }
    if !session.seal.revision.has_sessions() {
        let mut members = Members::parse(&result).unwrap_or_default();
        modern::complete(list.method(), &mut members);
        // Who may see what is decided for each caller: nobody else's cache may answer with it.
        let is_chosen = list == List::Tools && inner.tools.choose();
        if is_chosen || call.consumer.is_some() || call.claims.is_some() {
            members.set_text("cacheScope", "private");
        }
        result = members.json();
    }
    let record = super::tell(call, |_| {});
    record.ended(false, false);
    if is_stream {
        // In the form that the servers chose.
        let event = Event::message(message::result(id, &result));
        return Ok(answer::stream(Body::Full(event.bytes())));
    }
    Ok(answer::result(id, &result))
}

/// Where clients are told which servers a list lacks.
const MISSING: &str = "tidegate/missing-servers";

/// A result that says which servers it lacks.
fn lacking(result: &str, missing: &[&str]) -> String {
    let mut members = Members::parse(result).unwrap_or_default();
    let mut meta = members.object("_meta").map(Members::into_owned).unwrap_or_default();
    meta.set(MISSING, serde_json::to_string(missing).unwrap_or_default());
    members.set("_meta", meta.json());
    members.json()
}

fn is_error(text: &Bytes) -> bool {
    let said = std::str::from_utf8(text).ok().and_then(Members::parse);
    said.is_none_or(|said| said.object("result").is_none())
}

/// The items of a result, each as it was written.
fn items<'a>(result: &'a Members<'_>, list: List) -> Vec<Members<'a>> {
    result.get(list.member()).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn merged(inner: &Inner, session: &Session, call: &Call, list: List, pages: &[Page]) -> String {
    let mut shown: Vec<(String, Arc<Server>, String)> = Vec::new();
    let mut next: Cursors = HashMap::new();
    let mut rest: Option<Members<'_>> = None;
    let read: Vec<(&Page, Members<'static>)> = pages
        .iter()
        .filter_map(|page| {
            let said = Members::parse(std::str::from_utf8(&page.text).ok()?)?;
            let result = said.object("result")?.into_owned();
            if !strict::is_clear_list(&result, list.member()) {
                tracing::warn!(server = %page.server.name, "{} of `{}` can be read in two ways: it is left out", list.method(), page.server.name);
                return None;
            }
            Some((page, result))
        })
        .collect();
    for (page, result) in &read {
        let server = &page.server;
        let items = items(result, list);
        let cursor = result.text("nextCursor").filter(|cursor| !cursor.is_empty());
        let place = show(inner, call, list, page, items, cursor.is_none(), &mut shown);
        match cursor {
            Some(cursor) if cursor.len() <= OWN_CURSOR_BYTES_MAX => {
                next.insert(server.name.to_string(), (cursor, place.parts()));
            }
            Some(_) => {
                tracing::warn!(server = %server.name, "{} of `{}` ends early: its cursor is too long", list.method(), server.name);
            }
            None => {}
        }
        if read.len() == 1 {
            rest = Some(result.clone());
        }
    }
    if list == List::Tools {
        without_doubles(inner, &mut shown);
    }
    let mut result = rest.unwrap_or_default();
    result.remove("nextCursor");
    let items: Vec<&str> = shown.iter().map(|(.., item)| item.as_str()).collect();
    result.set(list.member(), format!("[{}]", items.join(",")));
    if !next.is_empty() {
        let text = serde_json::to_vec(&next).unwrap_or_default();
        let sealed = inner.sessions.sealed(&purpose(list, session), text);
        match sealed.filter(|sealed| sealed.len() <= CURSOR_BYTES_MAX) {
            Some(sealed) => result.set_text("nextCursor", &sealed),
            None => {
                tracing::warn!(route = %inner.route, "{} ends early: its cursor is too long", list.method())
            }
        }
    }
    result.json()
}

/// Takes the items of a page that a caller is told of. Where the server's next page stands.
fn show(
    inner: &Inner,
    call: &Call,
    list: List,
    page: &Page,
    items: Vec<Members<'_>>,
    is_last: bool,
    shown: &mut Vec<(String, Arc<Server>, String)>,
) -> Place {
    let server = &page.server;
    let catalog = &server.known.catalog;
    let mut next = Place::of((0, 0));
    let mut known = Vec::new();
    match list {
        List::Tools => (known, next) = catalog.tools(&items, page.place, is_last),
        List::Resources => catalog.resources(&items, false),
        List::Templates => catalog.resources(&items, true),
        List::Prompts => {}
    }
    for (at, mut item) in items.into_iter().enumerate() {
        let key = if matches!(list, List::Tools | List::Prompts) { "name" } else { "uri" };
        let Some(name) = item.text(key) else {
            if list != List::Tools {
                shown.push((String::new(), server.clone(), item.json()));
            }
            continue;
        };
        if list == List::Tools {
            let Some(Some(tool)) = known.get(at) else {
                tracing::warn!(server = %server.name, "a tool of `{}` can be read in two ways: it is left out", server.name);
                continue;
            };
            inner.tools.note(&format!("{}{name}", server.prefix));
            if !inner.tools.shows(call, server, &name, tool) {
                continue;
            }
        }
        let full = match list {
            List::Tools | List::Prompts => format!("{}{name}", server.prefix),
            List::Resources | List::Templates => name.clone(),
        };
        if full != name {
            item.set_text("name", &full);
        }
        shown.push((full, server.clone(), item.json()));
    }
    next
}

/// A tool that two servers have under one name is neither's: a call would reach one of them by chance.
fn without_doubles(inner: &Inner, shown: &mut Vec<(String, Arc<Server>, String)>) {
    let mut owners: HashMap<&str, &Arc<Server>> = HashMap::new();
    let mut doubles: Vec<String> = Vec::new();
    for (name, server, _) in shown.iter().filter(|(name, ..)| !name.is_empty()) {
        let other = owners.insert(name, server).filter(|other| other.name != server.name);
        // A server whose list came on another page counts, too.
        let elsewhere = || {
            inner.servers.iter().find(|other| {
                other.name != server.name
                    && name
                        .strip_prefix(other.prefix.as_str())
                        .is_some_and(|own| other.known.catalog.has_tool(own) == Some(true))
            })
        };
        if let Some(other) = other.or_else(elsewhere) {
            tracing::warn!(
                route = %inner.route,
                "the servers `{}` and `{}` both have a tool `{name}`: neither is listed; give one of them another `prefix`",
                other.name,
                server.name
            );
            doubles.push(name.clone());
        }
    }
    shown.retain(|(name, ..)| !doubles.contains(name));
}

/// Reads a server's whole list of tools, for the gateway's own needs.
pub(super) async fn learn_tools(
    sender: &Sender,
    session: &Session,
    server: &Arc<Server>,
) -> Result<(), Failure> {
    let mut cursor: Option<String> = None;
    let mut place = None;
    for _ in 0..PAGES_MAX {
        let mut params = Members::default();
        if let Some(cursor) = &cursor {
            params.set_text("cursor", cursor);
        }
        let id = relay::own_id("list");
        let text = message::request(&id, List::Tools.method(), &params.json());
        let answer = relay::ask(sender, session, server, &id, &text).await?;
        let Some(said) = std::str::from_utf8(&answer.text).ok().and_then(Members::parse) else {
            return Ok(());
        };
        let Some(result) =
            said.object("result").filter(|one| strict::is_clear_list(one, List::Tools.member()))
        else {
            return Ok(());
        };
        cursor = result.text("nextCursor").filter(|cursor| !cursor.is_empty());
        let items = items(&result, List::Tools);
        place = Some(server.known.catalog.tools(&items, place, cursor.is_none()).1);
        if cursor.is_none() {
            return Ok(());
        }
    }
    Ok(())
}
