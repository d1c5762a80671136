//! JSON-RPC messages, taken apart no further than needed: what is not read stays as it was written.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

/// The members of an object in their order, each value as it was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, Cow<'de, RawValue>)> = Vec::new();
                while let Some((Key(name), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((name, Cow::Borrowed(value)));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Read)
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, &**value)?;
        }
        map.end()
    }
}

impl<'a> Members<'a> {
    /// Reads an object.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The text of a member's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// A member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// A member that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Members<'_>> {
        Members::parse(self.get(name)?)
    }

    /// Puts a value in a member's place, or at the end. A text that is no JSON changes nothing.
    pub(super) fn set(&mut self, name: &str, json: String) {
        let Ok(value) = RawValue::from_string(json) else { return };
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = Cow::Owned(value),
            None => self.0.push((Cow::Owned(name.to_owned()), Cow::Owned(value))),
        }
    }

    /// Sets a member to a string.
    pub(super) fn set_text(&mut self, name: &str, text: &str) {
        self.set(name, quoted(text));
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// The same, borrowed from nobody.
    pub(super) fn into_owned(self) -> Members<'static> {
        let own = |(name, value): (Cow<'a, str>, Cow<'a, RawValue>)| {
            (Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned()))
        };
        Members(self.0.into_iter().map(own).collect())
    }

    /// The names of all members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Whether a name stands here twice: two readers could take two different values.
    fn is_ambiguous(&self) -> bool {
        self.0.iter().enumerate().any(|(at, (name, _))| self.0[..at].iter().any(|(known, _)| known == name))
    }

    /// The object as text.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An id or a token in the one spelling that all of its spellings share: `1.0` is `1`, and `"\\u0061"` is `"a"`.
pub(super) fn spelled(id: &str) -> String {
    use serde_json::Value;
    /// Beyond it not every whole number is one of its own in floating point.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    match serde_json::from_str::<Value>(id) {
        Ok(Value::Number(number)) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= WHOLE_MAX => {
                format!("{float:.0}").replace("-0", "0")
            }
            _ => number.to_string(),
        },
        Ok(value) => value.to_string(),
        Err(_) => id.to_owned(),
    }
}

/// Whether two ids or tokens are the same value, however they are spelled.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one == other || spelled(one) == spelled(other)
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It wants an answer.
    Request,
    /// It wants none.
    Notification,
    /// It is an answer.
    Response,
}

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    /// All that it holds.
    pub(super) members: Members<'a>,
    pub(super) kind: Kind,
    /// Of a request or notification; empty for a response.
    pub(super) method: String,
}

/// Members of a message or its parameters; more are no message of this protocol.
const MEMBERS_MAX: usize = 64;

impl<'a> Message<'a> {
    /// Reads a message. The error is a sentence for whoever sent it.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let members = Members::parse(text).ok_or("a message is one JSON object")?;
        if members.0.len() > MEMBERS_MAX || members.is_ambiguous() {
            return Err("a message has each member once");
        }
        if members.text("jsonrpc").as_deref() != Some("2.0") {
            return Err("`jsonrpc` must be \"2.0\"");
        }
        let id = members.get("id");
        let is_id = |id: &str| {
            let number = id.strip_prefix('-').unwrap_or(id);
            let is_text = id.starts_with('"') && serde_json::from_str::<String>(id).is_ok();
            is_text || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let (kind, method) = match (members.text("method"), id) {
            (Some(method), None) => (Kind::Notification, method),
            (Some(method), Some(id)) if is_id(id) => (Kind::Request, method),
            (None, Some(id)) if members.get("method").is_none() && !id.starts_with(['{', '[', 't', 'f']) => {
                if members.get("result").is_some() == members.get("error").is_some() {
                    return Err("an answer has either `result` or `error`");
                }
                (Kind::Response, String::new())
            }
            _ => return Err("a message has a `method` that is a string, or an `id` and a `result`"),
        };
        if kind != Kind::Response && members.get("params").is_some() {
            let params = members.object("params").ok_or("`params` must be an object")?;
            if params.0.len() > MEMBERS_MAX || params.is_ambiguous() {
                return Err("`params` has each member once");
            }
        }
        Ok(Self { members, kind, method })
    }

    /// Its id as it was written.
    pub(super) fn id(&self) -> Option<&str> {
        self.members.get("id")
    }

    /// Its parameters; none are an empty object.
    pub(super) fn params(&self) -> Members<'_> {
        self.members.object("params").unwrap_or_default()
    }

    /// The message with other parameters.
    pub(super) fn with_params(&self, params: &Members<'_>) -> String {
        let mut members = self.members.clone();
        members.set("params", params.json());
        members.json()
    }
}

/// A request of the gateway's own.
pub(super) fn request(id: &str, method: &str, params: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{},\"params\":{params}}}", quoted(method))
}

/// A notification of the gateway's own.
pub(super) fn notification(method: &str, params: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":{},\"params\":{params}}}", quoted(method))
}

/// An answer with a result.
pub(super) fn result(id: &str, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

/// An answer with an error.
pub(super) fn error(id: &str, code: i32, message: &str, data: Option<&str>) -> String {
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    let message = quoted(message);
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{message}{data}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_stays_as_it_was_written() {
        let text = r#"{"jsonrpc":"2.0","id":1.0e3,"x":{"a" : 1.50,"b":"\u00e9"},"method":"tools/call"}"#;
        assert!(Message::parse(text).is_err(), "such an id is none");
        let text = text.replace("1.0e3", "7");
        let message = Message::parse(&text).expect("a message");
        let mut params = message.params();
        params.set_text("name", "a\"b");
        let out = message.with_params(&params);
        let want = text.replace("\"tools/call\"}", r#""tools/call","params":{"name":"a\"b"}}"#);
        assert_eq!(out, want);
    }

    #[test]
    fn ids_are_values_and_not_spellings() {
        for (one, other, want) in [
            ("1", "1.0", true),
            ("100", "1e2", true),
            ("0", "-0.0", true),
            ("-10", "-1e1", true),
            (r#""a""#, r#""\u0061""#, true),
            ("1", r#""1""#, false),
            ("9007199254740993", "9007199254740992", false),
        ] {
            assert_eq!(is_same(one, other), want, "{one} {other}");
        }
        let text = r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#;
        assert_eq!(Message::parse(text).map(|message| message.kind), Ok(Kind::Response));
    }

    #[test]
    fn kinds_are_told_apart_and_ambiguous_messages_refused() {
        for (text, want) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Some(Kind::Request)),
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#, Some(Kind::Request)),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Some(Kind::Notification)),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Some(Kind::Response)),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"ping"}"#, Some(Kind::Request)),
            (r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"ping","method":"x"}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, None),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, None),
            (r#"[]"#, None),
            ("", None),
        ] {
            assert_eq!(Message::parse(text).ok().map(|message| message.kind), want, "{text}");
        }
    }
}
