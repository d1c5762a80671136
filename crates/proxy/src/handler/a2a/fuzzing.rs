//! What clients and agents write. Part of [`crate::fuzzing`].

use std::sync::OnceLock;

use bytes::Bytes;
use http::Method as Http;
use model::{A2aRecord, resource::a2a::A2aMethod as Method};

use super::{
    card::Cards,
    ids::{Ids, Keys, Kind},
    json::{Object, quoted},
    params::Inbound,
    read, rest,
    results::{Outbound, Told},
};

/// The hosts that agents may push to.
const PUSH_HOSTS: [&str; 2] = ["push.example", "*.hooks.example"];

/// A path of HTTP and JSON with its query on the first line after `/`, and a body below it. After `<` an agent's answer:
/// what comes of it is JSON, and the id of a task that the client is told opens to the agent's own, for this client
/// alone. Else a message of JSON-RPC: what goes to the agent is JSON, and names no task that was not this client's.
pub fn a2a(bytes: &[u8]) {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Keys::new(b"a key of the fuzz target's own", "route").expect("keys"));
    let (ids, others) = (keys.of("agent", "client"), keys.of("agent", "somebody else"));
    match bytes.first() {
        Some(b'/') => path(bytes, &ids),
        Some(b'<') => answer(bytes.get(1..).unwrap_or_default(), &ids, &others),
        _ => {
            let Ok((message, id, method)) = read(&Bytes::copy_from_slice(bytes)) else { return };
            assert!(is_json(&id), "{id}");
            let is_old = message.text("method").is_some_and(|name| name.contains('/'));
            asked(&ids, method, is_old, message.object("params").unwrap_or_default());
        }
    }
}

/// A number that no reader can hold is JSON all the same, and passes as it is.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// What is asked goes on as JSON, with the agent's own ids.
fn asked(ids: &Ids<'_>, method: Method, is_old: bool, params: Object) {
    let record = A2aRecord::new("agent".into(), method.name());
    let push_hosts = PUSH_HOSTS.map(str::to_owned);
    let inbound = Inbound { ids, record: &record, push_hosts: &push_hosts };
    let before = params.text("id");
    let Ok(after) = inbound.rewrite(method, is_old, params) else { return };
    let after = after.json();
    assert!(is_json(&after), "{after}");
    let Ok(value) = serde_json::from_str::<serde_json::Value>(&after) else { return };
    if matches!(method, Method::GetTask | Method::CancelTask | Method::SubscribeToTask) {
        let before = before.expect("no task without an id");
        assert_eq!(value["id"].as_str(), ids.open(Kind::Task, &before).as_deref(), "{before}");
    }
    for place in ["/url", "/pushNotificationConfig/url", "/configuration/pushNotificationConfig/url"] {
        let Some(url) = value.pointer(place).and_then(serde_json::Value::as_str) else { continue };
        let is_push = !matches!(method, Method::GetTask | Method::CancelTask | Method::SubscribeToTask);
        if is_push
            && url.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some())
            && places(method, place)
        {
            let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
            let host = host.unwrap_or_default();
            // A name that is whole as it stands ends with a dot.
            let host = host.trim_end_matches('.');
            assert!(host == "push.example" || host.ends_with(".hooks.example"), "{url} is pushed to");
        }
    }
}

/// Whether an address in this place of a method's parameters is one that is pushed to.
fn places(method: Method, place: &str) -> bool {
    match method {
        Method::CreateTaskPushNotificationConfig => place != "/configuration/pushNotificationConfig/url",
        Method::SendMessage | Method::SendStreamingMessage => {
            place == "/configuration/pushNotificationConfig/url"
        }
        _ => false,
    }
}

fn path(bytes: &[u8], ids: &Ids<'_>) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(first) = std::str::from_utf8(first) else { return };
    let (path, query) = first.split_once('?').map_or((first, None), |(path, query)| (path, Some(query)));
    for http in [Http::GET, Http::POST, Http::DELETE] {
        let Some(asked_for) = rest::asked(path, &http) else { continue };
        assert!(path.starts_with(asked_for.base), "{path}");
        let Ok(params) = asked_for.params(query, body) else { continue };
        asked(ids, asked_for.method, false, params);
    }
}

fn answer(bytes: &[u8], ids: &Ids<'_>, others: &Ids<'_>) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let cards = Cards::plain();
    for (method, ..) in Method::ALL {
        let record = A2aRecord::new("agent".into(), method.name());
        let address = "https://gw.example/a2a/agent";
        let outbound = Outbound { ids, record: &record, cards: &cards, address, context: Some("c") };
        let told = match outbound.message(method, text) {
            None => continue,
            Some(Told::Result(json) | Told::Error { json, .. }) => json,
        };
        assert!(is_json(&told), "{told}");
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&told) else { continue };
        // Of twins readers take one or the other, and the gateway the first.
        let has_twins = |said: &Object| {
            ["id", "kind"].iter().any(|name| said.names().filter(|own| own == name).count() > 1)
        };
        let said = Object::parse(text).and_then(|said| said.object("result"));
        let own = said.filter(|said| !has_twins(said)).and_then(|said| said.text("id"));
        let is_task = matches!(method, Method::GetTask) && value["kind"] == "task";
        if let (true, Some(own), Some(id)) = (is_task, own, value["id"].as_str())
            && !own.is_empty()
        {
            assert_eq!(ids.open(Kind::Task, id).as_deref(), Some(&*own), "{id}");
            assert_eq!(others.open(Kind::Task, id), None, "{id} opens for somebody else");
            let params = Object::parse(&format!("{{\"id\":{}}}", quoted(id))).expect("an object");
            asked(ids, Method::GetTask, false, params);
        }
    }
}
