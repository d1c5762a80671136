//! What clients and servers of tools write. Part of [`crate::fuzzing`].

use serde_json::Value;

use super::{
    asking, bridge,
    message::{Kind, Message, is_same, spelled},
    sse::{Event, Reader},
    strict,
};

/// Events of a stream after `:`, split where the next byte says: they are the same however they come, and as they are
/// written again. Else a message: what is taken for one says to every reader of JSON what it says here.
pub fn mcp(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b':', rest)) => events(rest),
        _ => message(bytes),
    }
}

/// The tools that a document of OpenAPI becomes, by name; those that none can be made of are left out.
pub(crate) fn tools_of(document: &crate::openapi::schema::Document) -> Vec<(String, Value)> {
    super::local::tools_of(document)
}

fn message(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(value) = strict::unique(text) {
        assert_eq!(serde_json::from_str::<Value>(text).ok(), Some(value), "{text}");
    }
    let Ok(message) = Message::parse(text) else { return };
    let again = message.members.json();
    let read = Message::parse(&again).expect("what was read is a message");
    assert_eq!((read.kind, &read.method), (message.kind, &message.method), "{again}");
    assert_eq!(read.id(), message.id(), "{again}");
    if let Some(id) = message.id() {
        assert!(is_same(id, &spelled(id)) && is_same(&spelled(id), id), "{id}");
    }
    if strict::check(&message).is_err() {
        return;
    }
    // Whoever reads it with any other reader finds the same.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    if message.kind != Kind::Response {
        assert_eq!(value["method"], message.method, "{text}");
    }
    let params = message.params();
    for name in ["name", "uri"] {
        let Some(said) = params.text(name) else { continue };
        assert_eq!(value["params"][name], said, "{text}");
        if let Some(header) = bridge::header_text(&said) {
            let header = header.to_str().expect("a header of text");
            assert_eq!(bridge::text_of(header).as_deref(), Some(&*said), "{header}");
        }
    }
    if message.kind == Kind::Request {
        let mut other = params.clone().into_owned();
        other.set_text("name", "another \"one\"");
        let written = message.with_params(&other);
        let read = Message::parse(&written).expect("a message with other parameters");
        assert_eq!(read.params().text("name").as_deref(), Some("another \"one\""), "{written}");
        assert_eq!((read.kind, read.id()), (Kind::Request, message.id()), "{written}");
    }
    let _ = asking::asks(&message.members);
}

fn events(bytes: &[u8]) {
    let Some((at, bytes)) = bytes.split_first() else { return };
    let read = |pieces: &[&[u8]]| {
        let (mut reader, mut out) = (Reader::default(), Vec::<Event>::new());
        pieces.iter().for_each(|piece| reader.push(piece, &mut out).expect("it is small"));
        out
    };
    let whole = read(&[bytes]);
    let (one, two) = bytes.split_at(usize::from(*at).min(bytes.len()));
    assert_eq!(whole, read(&[one, two]), "split at {at}");
    let mut written = Vec::new();
    whole.iter().for_each(|event| event.write(&mut written));
    let again = read(&[&written]);
    let data = |events: &[Event]| -> Vec<(Vec<u8>, Option<String>)> {
        events.iter().map(|event| (event.data.clone(), event.id.clone())).collect()
    };
    assert_eq!(data(&again), data(&whole), "{}", written.escape_ascii());
}
