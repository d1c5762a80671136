//! Names that are unique at one server, made unique over all of them: ids of its requests, its progress tokens, the ids
//! of its events. All of them can be undone without anything being remembered.

use super::{
    message::{Kind, Members, Message, quoted},
    server::Server,
};

/// Stands between a server's name and what it named; no server's name holds it.
const MARK: char = '~';
/// Stands before an event id that tells of several servers' streams.
const MERGED: char = '*';

/// What a server named, as clients get it: a JSON string.
fn abroad(server: &str, raw: &str) -> String {
    quoted(&format!("{server}{MARK}{raw}"))
}

/// The server and what it named, of what a client got.
pub(super) fn home(json: &str) -> Option<(String, String)> {
    let text: String = serde_json::from_str(json).ok()?;
    let (server, raw) = text.split_once(MARK)?;
    // What it was is JSON again: a number or a string.
    serde_json::from_str::<serde_json::Value>(raw).ok()?;
    Some((server.to_owned(), raw.to_owned()))
}

/// A server's message as clients get it; `None` when it needs no change.
pub(super) fn from_server(server: &Server, message: &Message<'_>) -> Option<String> {
    match (message.kind, message.method.as_str()) {
        (Kind::Request, _) => {
            let mut members = message.members.clone();
            members.set("id", abroad(&server.name, message.id()?));
            let mut params = message.params();
            let token = params.object("_meta").and_then(|meta| meta.get("progressToken").map(str::to_owned));
            if let Some(token) = token {
                let mut meta = params.object("_meta")?;
                meta.set("progressToken", abroad(&server.name, &token));
                let meta = meta.json();
                params.set("_meta", meta);
                let params = params.json();
                members.set("params", params);
            }
            Some(members.json())
        }
        (Kind::Notification, "notifications/cancelled") => {
            let mut params = message.params();
            let id = abroad(&server.name, params.get("requestId")?);
            params.set("requestId", id);
            Some(message.with_params(&params))
        }
        (Kind::Notification, "notifications/tools/list_changed") => {
            server.known.catalog.stale();
            None
        }
        _ => None,
    }
}

/// A client's message about something that a server named: the server's name, and the message as it gets it.
pub(super) fn to_server(message: &Message<'_>) -> Option<(String, String)> {
    if message.kind == Kind::Response {
        let (server, id) = home(message.id()?)?;
        let mut members = message.members.clone();
        members.set("id", id);
        return Some((server, members.json()));
    }
    let mut params = message.params();
    let (server, token) = home(params.get("progressToken")?)?;
    params.set("progressToken", token);
    Some((server, message.with_params(&params)))
}

/// The id of an event of one stream.
pub(super) fn event(server: &str, id: &str) -> String {
    format!("{server}{MARK}{id}")
}

/// The id of an event of several streams: how far each of them has come.
pub(super) fn merged<'a>(last: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut members = Members::default();
    let mut is_empty = true;
    for (server, id) in last {
        members.set_text(server, id);
        is_empty = false;
    }
    // JSON of one line is an id of one line.
    (!is_empty).then(|| format!("{MERGED}{}", members.json()))
}

/// What a client has seen last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Of one stream of a server's.
    Stream(String, String),
    /// Of the streams of several, by name.
    Merged(Vec<(String, String)>),
}

/// What an event's id says.
pub(super) fn seen(id: &str) -> Option<Seen> {
    if let Some(text) = id.strip_prefix(MERGED) {
        let members = Members::parse(text)?;
        let all = members.names().filter_map(|name| Some((name.to_owned(), members.text(name)?)));
        return Some(Seen::Merged(all.collect()));
    }
    let (server, id) = id.split_once(MARK)?;
    Some(Seen::Stream(server.to_owned(), id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_names_comes_home_as_it_was() {
        for raw in ["1", "-7", r#""a~b""#, r#""é\"""#] {
            assert_eq!(home(&abroad("shop", raw)), Some(("shop".into(), raw.into())), "{raw}");
        }
        for other in ["1", r#""plain""#, r#""shop~""#, r#""shop~{""#] {
            assert_eq!(home(other), None, "{other}");
        }
    }

    #[test]
    fn an_event_tells_how_far_every_stream_has_come() {
        assert_eq!(seen(&event("shop", "a~1")), Some(Seen::Stream("shop".into(), "a~1".into())));
        let id = merged([("shop", "1"), ("docs", "a&b")].into_iter()).expect("an id");
        let want = vec![("shop".into(), "1".into()), ("docs".into(), "a&b".into())];
        assert_eq!(seen(&id), Some(Seen::Merged(want)));
        assert_eq!(merged([].into_iter()), None);
        assert_eq!(seen("7"), None);
    }
}
