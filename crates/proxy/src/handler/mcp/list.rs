//! Lists of all servers as one, page by page.
//!
//! A page holds a page of each server that has one more; the cursor says how far each has come.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;

use super::{
    Inner, answer,
    message::{self, Members, Message},
    modern, relay,
    server::Server,
    session::{Can, Session},
    sse::Event,
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
/// Bytes of a cursor that are read.
const CURSOR_BYTES_MAX: usize = 16 * 1024;

/// Where each server goes on.
fn cursors(cursor: &str) -> Option<HashMap<String, String>> {
    if cursor.len() > CURSOR_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

/// A page of one server.
struct Page {
    server: Arc<Server>,
    /// The whole answer.
    text: Bytes,
    is_first: bool,
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
    let from = match params.text("cursor").as_deref().map(cursors) {
        None => None,
        Some(Some(from)) => Some(from),
        Some(None) => {
            return Ok(answer::error(id, answer::INVALID_PARAMS, "the cursor is none of this list's"));
        }
    };
    let mut asked = Vec::new();
    for server in &inner.servers {
        params.remove("cursor");
        match &from {
            None => {}
            Some(from) => match from.get(&*server.name) {
                Some(cursor) => params.set_text("cursor", cursor),
                None => continue,
            },
        }
        let leg = session.leg(&server.name);
        let is_away = leg.is_none() && server.known.is_away();
        if is_away || leg.is_some_and(|leg| !leg.can.do_(list.needs())) {
            continue;
        }
        asked.push((server.clone(), message.with_params(&params)));
    }
    let is_first = from.is_none();
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
                good.push(Page { server: server.clone(), text: asked.text, is_first });
            }
            Err(failure) => {
                tracing::warn!(route = %inner.route, server = %server.name, "{} lacks server `{}`: {failure}", list.method(), server.name);
                failed = Some(failure);
            }
        }
    }
    if good.is_empty() {
        if let Some(failure) = failed {
            return Err(failure);
        }
        if let (Some(error), [_]) = (error, asked.as_slice()) {
            return Ok(answer::json(http::StatusCode::OK, error));
        }
    }
    let mut result = merged(inner, call, list, &good);
    if !session.seal.revision.has_sessions() {
        let mut members = Members::parse(&result).unwrap_or_default();
        modern::complete(list.method(), &mut members);
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

fn is_error(text: &Bytes) -> bool {
    let said = std::str::from_utf8(text).ok().and_then(Members::parse);
    said.is_none_or(|said| said.object("result").is_none())
}

/// The items of a result, each as it was written.
fn items<'a>(result: &'a Members<'_>, list: List) -> Vec<Members<'a>> {
    result.get(list.member()).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Notes what a page tells of its server.
fn learn(server: &Server, list: List, items: &[Members<'_>], is_first: bool, is_last: bool) {
    match list {
        List::Tools => server.known.catalog.tools(items, is_first, is_last),
        List::Resources => server.known.catalog.resources(items, false),
        List::Templates => server.known.catalog.resources(items, true),
        List::Prompts => {}
    }
}

fn merged(inner: &Inner, call: &Call, list: List, pages: &[Page]) -> String {
    let mut shown: Vec<(String, Arc<Server>, String)> = Vec::new();
    let mut next: HashMap<&str, String> = HashMap::new();
    let mut rest: Option<Members<'_>> = None;
    let read: Vec<(&Page, Members<'static>)> = pages
        .iter()
        .filter_map(|page| {
            let said = Members::parse(std::str::from_utf8(&page.text).ok()?)?;
            Some((page, said.object("result")?.into_owned()))
        })
        .collect();
    for (page, result) in &read {
        let server = &page.server;
        let items = items(result, list);
        let cursor = result.text("nextCursor").filter(|cursor| !cursor.is_empty());
        learn(server, list, &items, page.is_first, cursor.is_none());
        for mut item in items {
            let Some(name) =
                item.text(if matches!(list, List::Tools | List::Prompts) { "name" } else { "uri" })
            else {
                shown.push((String::new(), server.clone(), item.json()));
                continue;
            };
            if list == List::Tools && !inner.tools.shows(call, server, &name) {
                continue;
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
        if let Some(cursor) = cursor {
            next.insert(&server.name, cursor);
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
        result.set_text("nextCursor", &URL_SAFE_NO_PAD.encode(text));
    }
    result.json()
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
    const OWN_ID: &str = "\"tidegate-list\"";
    let mut cursor: Option<String> = None;
    for page in 0..PAGES_MAX {
        let mut params = Members::default();
        if let Some(cursor) = &cursor {
            params.set_text("cursor", cursor);
        }
        let text = message::request(OWN_ID, List::Tools.method(), &params.json());
        let answer = relay::ask(sender, session, server, OWN_ID, &text).await?;
        let Some(said) = std::str::from_utf8(&answer.text).ok().and_then(Members::parse) else {
            return Ok(());
        };
        let Some(result) = said.object("result") else { return Ok(()) };
        cursor = result.text("nextCursor").filter(|cursor| !cursor.is_empty());
        learn(server, List::Tools, &items(&result, List::Tools), page == 0, cursor.is_none());
        if cursor.is_none() {
            return Ok(());
        }
    }
    Ok(())
}
