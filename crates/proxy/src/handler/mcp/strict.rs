//! Messages that two readers could take for two different things: members that stand twice, and members that are
//! spelled like a known one but for case, which readers without regard to case take for it.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::message::{Kind, Members, Message};

/// Members of a message.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// Members of parameters that the gateway or a server reads.
const PARAMS: [&str; 17] = [
    "name",
    "uri",
    "arguments",
    "_meta",
    "cursor",
    "ref",
    "argument",
    "context",
    "level",
    "requestId",
    "reason",
    "progressToken",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "notifications",
    "task",
];
/// Objects in parameters that are read, and their members.
const INNER: [(&str, &[&str]); 3] = [
    (
        "_meta",
        &[
            "progressToken",
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/clientCapabilities",
            "io.modelcontextprotocol/logLevel",
        ],
    ),
    ("ref", &["type", "name", "uri", "title"]),
    (
        "notifications",
        &["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"],
    ),
];

/// A name without regard to case, as widely as any reader folds it (Go's takes `ſ` for `s`).
pub(super) fn folded(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect())
}

/// Whether a name is none of these but would be without regard to case.
pub(super) fn resembles<'k>(name: &str, mut known: impl Iterator<Item = &'k str> + Clone) -> bool {
    if known.clone().any(|known| known == name) {
        return false;
    }
    let name = folded(name);
    known.any(|known| folded(known) == name)
}

/// Whether two members are one without regard to case.
pub(super) fn has_twins(members: &Members<'_>) -> bool {
    let mut seen = HashSet::new();
    members.names().any(|name| !seen.insert(folded(name)))
}

fn is_clear(members: &Members<'_>, known: &[&str]) -> bool {
    !has_twins(members) && !members.names().any(|name| resembles(name, known.iter().copied()))
}

/// Refuses a client's message that two readers could take for two. The error is a sentence for whoever sent it.
pub(super) fn check(message: &Message<'_>) -> Result<(), &'static str> {
    if !is_clear(&message.members, &ENVELOPE) {
        return Err("a message has each member once, spelled as the protocol spells it");
    }
    if message.kind == Kind::Response {
        return Ok(());
    }
    let params = message.params();
    if !is_clear(&params, &PARAMS) {
        return Err("`params` has each member once, spelled as the protocol spells it");
    }
    for (name, known) in INNER {
        let Some(text) = params.get(name) else { continue };
        if text.starts_with('{') && !Members::parse(text).is_some_and(|inner| is_clear(&inner, known)) {
            return Err(
                "`_meta`, `ref` and `notifications` have each member once, spelled as the protocol does",
            );
        }
    }
    Ok(())
}

/// A tool as its server lists it, if all readers take it for the same.
pub(super) fn is_clear_tool(tool: &Members<'_>) -> bool {
    is_clear(
        tool,
        &[
            "name",
            "title",
            "description",
            "inputSchema",
            "outputSchema",
            "annotations",
            "icons",
            "_meta",
            "execution",
        ],
    )
}

/// A result with a list, if all readers take it for the same.
pub(super) fn is_clear_list(result: &Members<'_>, member: &str) -> bool {
    is_clear(result, &[member, "nextCursor", "_meta", "resultType", "ttlMs", "cacheScope"])
}

/// JSON in which no object has two members that are one without regard to case, at any depth.
pub(in crate::handler) fn unique(text: &str) -> Option<Value> {
    serde_json::from_str::<Unique>(text).ok().map(|read| read.0)
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Read).map(Self)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with each member once")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (mut all, mut seen) = (Map::new(), HashSet::new());
        while let Some((name, Unique(value))) = map.next_entry::<String, Unique>()? {
            if !seen.insert(folded(&name).into_owned()) {
                return Err(A::Error::custom("a member stands here twice"));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_one_without_regard_to_case_are_no_message() {
        for (text, want) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1,"_meta":{"a/b":1}}}"#, true),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":1,"X":1}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Arguments":{}}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","argumentſ":{}}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"NAME":"a"}}"#, false),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1,"progresstoken":2}}}"#,
                false,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progresstoken":2}}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"ref":{"name":"a","n\u0061me":"b"}}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"A":1,"a":2}}"#, true),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"Id":2}"#, false),
        ] {
            let message = Message::parse(text).expect("a message");
            assert_eq!(check(&message).is_ok(), want, "{text}");
        }
    }

    #[test]
    fn what_is_judged_has_each_member_once_at_any_depth() {
        for (text, want) in [
            (r#"{"a":{"b":[{"c":1.5,"d":null},{"c":true}]}}"#, true),
            (r#"{"a":1,"a":2}"#, false),
            (r#"{"a":1,"\u0061":2}"#, false),
            (r#"{"a":[{"b":1,"B":2}]}"#, false),
            (r#"{"a":1e400}"#, false),
        ] {
            let read = unique(text);
            assert_eq!(read.is_some(), want, "{text}");
            assert!(read.is_none_or(|read| read == serde_json::from_str::<Value>(text).expect("JSON")));
        }
    }
}
