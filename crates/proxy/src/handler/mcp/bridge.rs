//! Between revisions: a server that knows no sessions is told with every request who sends it.

use http::{HeaderName, HeaderValue};

use super::{
    begin::Begun,
    message::{Kind, Members, Message, quoted},
    revision::Revision,
    server::{Place, Server},
    session::{Can, Leg},
    wire::{self, Letter, REVISION, Sender},
};
use crate::failure::{Failure, Problem, Stage};

pub(super) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Members of `_meta` that say who sends a request.
pub(super) const META_REVISION: &str = "io.modelcontextprotocol/protocolVersion";
pub(super) const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// The member of the parameters that a request is about, which goes into a header, too.
pub(super) fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    }
}

/// A text as a header has it: what is not plain is in Base64, as the protocol says.
pub(super) fn header_text(text: &str) -> Option<HeaderValue> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let is_plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.trim() == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if is_plain {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(text))).ok()
}

/// The text of a header that [`header_text`] wrote.
pub(super) fn text_of(header: &str) -> Option<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    match header.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(payload) => String::from_utf8(STANDARD.decode(payload).ok()?).ok(),
        None => Some(header.to_owned()),
    }
}

/// A message as a server of this revision wants it. `client` is what the client told of itself when it began.
pub(super) fn letter(sender: &Sender, leg: &Leg, client: &str, text: &str) -> Letter {
    if leg.revision.has_sessions() {
        return Letter::post(text.to_owned());
    }
    match Message::parse(text) {
        Ok(message) if message.kind == Kind::Request => stateless(sender, &message, client),
        _ => Letter::post(text.to_owned()),
    }
}

/// What a client whose revision has sessions is told when a server asks back in a batch, whose answers come together.
pub(super) fn without_questions(members: &Members<'_>) -> Option<String> {
    let text = "the server asks back, which nobody can be in a batch: send the message by itself";
    let asks = super::asking::asks(members);
    asks.then(|| super::message::error(members.get("id").unwrap_or("null"), -32603, text, None))
}

fn stateless(sender: &Sender, message: &Message<'_>, client: &str) -> Letter {
    let mut params = message.params();
    let mut meta = params.object("_meta").map(Members::into_owned).unwrap_or_default();
    if meta.get(META_REVISION).is_none() {
        let client = Members::parse(client).unwrap_or_default();
        meta.set_text(META_REVISION, Revision::V2026_07_28.as_str());
        meta.set(META_CAPABILITIES, client.get("capabilities").unwrap_or("{}").to_owned());
        if let Some(info) = client.get("clientInfo") {
            meta.set(META_CLIENT, info.to_owned());
        }
        params.set("_meta", meta.json());
    }
    let mut headers = vec![(REVISION, HeaderValue::from_static(Revision::V2026_07_28.as_str()))];
    headers.extend(HeaderValue::from_str(&message.method).map(|method| (METHOD, method)));
    let name = named_by(&message.method).and_then(|name| params.text(name));
    headers.extend(name.and_then(|name| header_text(&name)).map(|name| (NAME, name)));
    headers.extend(sender.extra.iter().cloned());
    let text = message.with_params(&params);
    Letter::post(text).with(headers)
}

/// Asks a server of the revision without sessions what it is, as if it had been a handshake.
pub(super) async fn discover(sender: &Sender, server: &Server, client: &str) -> Result<Begun, Failure> {
    const OWN_ID: &str = "\"tidegate-discover\"";
    let text = super::message::request(OWN_ID, "server/discover", "{}");
    let message = Message::parse(&text).map_err(|_| bad("its own request is none"))?;
    let response = sender.send(server, None, stateless(sender, &message, client)).await?;
    // A program has a process, which further messages are for.
    let id = if matches!(server.place, Place::Processes(_)) { wire::session_of(&response) } else { None };
    let answer = wire::answer(wire::reply(response, false).await?, OWN_ID).await?;
    let said = std::str::from_utf8(&answer).ok().and_then(Members::parse);
    let said = said.ok_or_else(|| bad("its answer is no message"))?;
    let result = said.object("result").ok_or_else(|| bad("it does not say what it is"))?;
    let spoken: Vec<String> =
        result.get("supportedVersions").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if !spoken.iter().any(|spoken| spoken == Revision::V2026_07_28.as_str()) {
        return Err(bad("it speaks no revision that is known here"));
    }
    let mut as_handshake = Members::default();
    as_handshake.set_text("protocolVersion", Revision::V2026_07_28.as_str());
    for name in ["capabilities", "instructions"] {
        if let Some(value) = result.get(name) {
            as_handshake.set(name, value.to_owned());
        }
    }
    let info = result.object("_meta").and_then(|meta| meta.get(META_SERVER).map(str::to_owned));
    let unnamed = || format!("{{\"name\":{},\"version\":\"0\"}}", quoted(&server.name));
    as_handshake.set("serverInfo", info.unwrap_or_else(unnamed));
    let can: Can = super::begin::can(&result.object("capabilities").unwrap_or_default());
    let leg = Leg { server: server.name.clone(), id, revision: Revision::V2026_07_28, can };
    Ok(Begun { leg, result: as_handshake.json() })
}

fn bad(why: &str) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_headers_come_back_as_they_were() {
        for text in ["plain", "käse", " edge ", "=?base64?eA==?=", "line\nbreak", ""] {
            let header = header_text(text).expect("a header");
            assert_eq!(text_of(header.to_str().expect("text")).as_deref(), Some(text));
        }
        assert_eq!(text_of("=?base64?*?="), None);
    }
}
