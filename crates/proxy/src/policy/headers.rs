//! `headers`: changes headers of requests and answers.
//!
//! What carries the message itself cannot be touched: framing, the connection, and the host (which `rewrite` sets).

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use model::policy::headers::HeaderChanges;

use super::{Flow, Needs, NeedsOf, Policy, needs::of_template};
use crate::{body::Body, call::Call, compiled::Building, template::Template};

/// Headers that decide where a message ends and which way it takes (RFC 9110 §7.6.1, RFC 9112 §6, RFC 9113 §8.2.2).
const UNTOUCHABLE: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The compiled policy.
pub(crate) struct Headers {
    request: Changes,
    response: Changes,
}

struct Changes {
    rename: Vec<(HeaderName, HeaderName)>,
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
}

enum Value {
    Constant(HeaderValue),
    Template(Template),
}

impl Headers {
    pub(crate) fn compile(settings: &model::policy::Headers, _: &Building<'_>) -> Result<Self, String> {
        Ok(Self {
            request: Changes::compile(&settings.request).map_err(|error| format!("`request`: {error}"))?,
            response: Changes::compile(&settings.response).map_err(|error| format!("`response`: {error}"))?,
        })
    }
}

impl Changes {
    fn compile(settings: &HeaderChanges) -> Result<Self, String> {
        let values = |map: &std::collections::BTreeMap<model::HeaderName, String>| {
            map.iter()
                .map(|(key, text)| Ok((name(key)?, Value::compile(text)?)))
                .collect::<Result<_, String>>()
        };
        Ok(Self {
            rename: settings
                .rename
                .iter()
                .map(|(from, to)| Ok((name(from)?, name(to)?)))
                .collect::<Result<_, String>>()?,
            remove: settings.remove.iter().map(name).collect::<Result<_, _>>()?,
            set: values(&settings.set)?,
            add: values(&settings.add)?,
        })
    }

    fn is_empty(&self) -> bool {
        self.rename.is_empty() && self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// What is set and added for this call; read before anything changes, so that the order of lines does not count.
    fn values(&self, call: &Call) -> Values {
        let of = |list: &[(HeaderName, Value)]| list.iter().map(|(_, value)| value.for_call(call)).collect();
        Values { set: of(&self.set), add: of(&self.add) }
    }

    fn apply(&self, headers: &mut HeaderMap, values: Values) {
        for (from, to) in &self.rename {
            let moved: Vec<HeaderValue> = headers.get_all(from).iter().cloned().collect();
            if !moved.is_empty() {
                headers.remove(from);
                headers.remove(to);
            }
            for value in moved {
                headers.append(to, value);
            }
        }
        for name in &self.remove {
            headers.remove(name);
        }
        for ((name, _), value) in self.set.iter().zip(values.set) {
            // What is not there must not be left as the client sent it.
            match value {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
        for ((name, _), value) in self.add.iter().zip(values.add) {
            if let Some(value) = value {
                headers.append(name, value);
            }
        }
    }
}

struct Values {
    set: Vec<Option<HeaderValue>>,
    add: Vec<Option<HeaderValue>>,
}

impl Value {
    fn compile(text: &str) -> Result<Self, String> {
        let template = Template::compile(text)?;
        match template.constant() {
            Some(text) => HeaderValue::from_str(text)
                .map(Self::Constant)
                .map_err(|_| format!("`{}` cannot stand in a header", text.escape_debug())),
            None => Ok(Self::Template(template)),
        }
    }

    fn for_call(&self, call: &Call) -> Option<HeaderValue> {
        let value = match self {
            Self::Constant(value) => value.clone(),
            Self::Template(template) => template.render_header(call)?,
        };
        (!value.is_empty()).then_some(value)
    }
}

fn name(name: &model::HeaderName) -> Result<HeaderName, String> {
    if UNTOUCHABLE.contains(&name.as_str()) {
        let instead = if name.as_str() == "host" { "; `rewrite` has `host` for it" } else { "" };
        return Err(format!("`{name}` carries the message itself and cannot be changed{instead}"));
    }
    Ok(name.to_http())
}

impl NeedsOf for model::policy::Headers {
    fn needs(&self) -> Needs {
        let both = self.request.set.iter().chain(&self.request.add);
        let told = both.filter(|(_, text)| Template::compile(text).is_ok_and(|text| text.tells_who()));
        let read_here = read(&self.request);
        let identity =
            told.map(|(name, _)| name.to_http()).filter(|name| !read_here.contains(name)).collect();
        let set = self.request.set.keys().map(model::HeaderName::to_http);
        let set = set.filter(|name| !read_here.contains(name)).collect();
        let headers = changed(&self.request).into_iter().chain(read_here).chain(read(&self.response));
        Needs { headers: headers.collect(), identity, set, ..Needs::default() }
    }
}

/// Headers that the values read.
fn read(changes: &HeaderChanges) -> Vec<HeaderName> {
    changes.set.values().chain(changes.add.values()).flat_map(|text| of_template(text)).collect()
}

fn changed(changes: &HeaderChanges) -> Vec<HeaderName> {
    let renamed = changes.rename.iter().flat_map(|(from, to)| [from, to]);
    let all = renamed.chain(&changes.remove).chain(changes.set.keys()).chain(changes.add.keys());
    all.map(model::HeaderName::to_http).collect()
}

impl Policy for Headers {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if !self.request.is_empty() {
            let values = self.request.values(call);
            self.request.apply(&mut call.head.headers, values);
        }
        Flow::Continue
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        if !self.response.is_empty() {
            let values = self.response.values(call);
            self.response.apply(answer.headers_mut(), values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome, with_claims, with_header};

    fn compile(settings: serde_json::Value) -> Result<Headers, String> {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| Headers::compile(&settings, cx))
    }

    fn sent(call: &Call, name: &str) -> Vec<String> {
        let values = call.head.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn changes_happen_in_their_order() {
        let policy = compile(serde_json::json!({"request": {
            "rename": {"x-old": "x-new"}, "remove": ["cookie"],
            "set": {"x-user": "{{ jwt.sub }}", "x-where": "{{ request.method }} {{ request.path }}"},
            "add": {"x-list": "mine"},
        }}))
        .expect("compiles");
        let mut call = with_claims(call("GET", "/a"), r#"{"sub":"ann"}"#);
        for (name, value) in [
            ("x-old", "1"),
            ("x-old", "2"),
            ("x-new", "spoofed"),
            ("cookie", "a=1"),
            ("x-user", "root"),
            ("x-user", "root2"),
            ("x-list", "theirs"),
        ] {
            call = with_header(call, name, value);
        }
        outcome(&policy, &mut call).expect("goes on");
        assert_eq!(sent(&call, "x-new"), ["1", "2"]);
        assert_eq!(sent(&call, "x-old"), [""; 0]);
        assert_eq!(sent(&call, "cookie"), [""; 0]);
        assert_eq!(sent(&call, "x-user"), ["ann"]);
        assert_eq!(sent(&call, "x-where"), ["GET /a"]);
        assert_eq!(sent(&call, "x-list"), ["theirs", "mine"]);
    }

    #[test]
    fn an_identity_header_stays_absent_when_there_is_no_identity() {
        let policy = compile(serde_json::json!({"request": {"set": {"x-user": "{{ jwt.sub }}"}}}));
        let policy = policy.expect("compiles");
        for call in [call("GET", "/"), with_claims(call("GET", "/"), r#"{"sub":"a\r\nx-role: admin"}"#)] {
            let mut call = with_header(call, "x-user", "root");
            outcome(&policy, &mut call).expect("goes on");
            assert!(!call.head.headers.contains_key("x-user"));
            assert!(!call.head.headers.contains_key("x-role"));
        }
    }

    #[test]
    fn answers_are_changed_too() {
        let policy = compile(
            serde_json::json!({"response": {"set": {"x-served-by": "tidegate"}, "remove": ["server"]}}),
        );
        let mut answer = Response::builder().header("server", "old").body(Body::Empty).expect("an answer");
        policy.expect("compiles").response(&mut call("GET", "/"), &mut answer);
        assert_eq!(answer.headers()["x-served-by"], "tidegate");
        assert!(!answer.headers().contains_key("server"));
    }

    #[test]
    fn framing_and_hop_by_hop_headers_cannot_be_touched() {
        for name in UNTOUCHABLE {
            for settings in [
                serde_json::json!({"request": {"set": {name: "x"}}}),
                serde_json::json!({"request": {"add": {name: "x"}}}),
                serde_json::json!({"response": {"remove": [name]}}),
                serde_json::json!({"response": {"rename": {"x-a": name}}}),
                serde_json::json!({"request": {"rename": {name: "x-a"}}}),
            ] {
                assert!(compile(settings.clone()).is_err(), "{settings}");
            }
        }
        assert!(compile(serde_json::json!({"request": {"set": {"x-a": "a\nb"}}})).is_err());
        assert!(compile(serde_json::json!({"request": {"set": {"x-a": "{{ nope }}"}}})).is_err());
    }
}
