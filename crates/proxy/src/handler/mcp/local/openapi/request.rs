//! Arguments of a tool as a request: path, query, header fields, cookies and body, in the styles of OpenAPI.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde_json::{Map, Value};

use super::multipart::{self, Part};

/// Where a parameter goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

/// How it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    Space,
    Pipe,
    Deep,
    /// As JSON.
    Json,
}

/// One parameter.
pub(super) struct Parameter {
    /// Its name among the arguments.
    pub(super) property: String,
    /// Its name in the request.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) style: Style,
    pub(super) explode: bool,
    /// Of a header.
    pub(super) header: Option<HeaderName>,
}

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Fields,
    Multipart,
    Text,
}

/// A body.
pub(super) struct Content {
    /// Its name among the arguments.
    pub(super) property: String,
    pub(super) kind: HeaderValue,
    pub(super) form: Form,
    /// Of one in several parts.
    pub(super) parts: Vec<Part>,
}

/// A part of a path.
pub(super) enum Piece {
    Text(String),
    /// A parameter, by its place in the list.
    Parameter(usize),
}

/// How requests of one operation are made.
pub(super) struct Plan {
    pub(super) method: Method,
    pub(super) path: Vec<Piece>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) content: Option<Content>,
    /// Fields of the operator's.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// A request.
pub(super) struct Ready {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Plan {
    /// The request for these arguments. The error is for whoever gave them.
    pub(super) fn request(&self, arguments: &Map<String, Value>) -> Result<Ready, String> {
        let value =
            |parameter: &Parameter| arguments.get(&parameter.property).filter(|value| !value.is_null());
        let mut path = String::new();
        for piece in &self.path {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Parameter(at) => {
                    let Some(parameter) = self.parameters.get(*at) else { continue };
                    let given =
                        value(parameter).ok_or_else(|| format!("`/{}` is required", parameter.property))?;
                    path.push_str(&in_path(parameter, given)?);
                }
            }
        }
        is_straight(&path)?;
        let (mut query, mut cookies) = (String::new(), Vec::new());
        let mut headers = HeaderMap::new();
        for parameter in &self.parameters {
            let Some(given) = value(parameter) else { continue };
            match parameter.place {
                Place::Path => {}
                Place::Query => in_query(parameter, given, &mut query),
                Place::Cookie => {
                    cookies.push(format!("{}={}", encoded(&parameter.name), encoded(&plain(given))))
                }
                Place::Header => {
                    let text = simple(given, parameter, &|text| text.to_owned());
                    let text = HeaderValue::from_str(&text).map_err(|_| {
                        format!("`/{}` has letters that no header field can have", parameter.property)
                    })?;
                    if let Some(name) = &parameter.header {
                        headers.insert(name.clone(), text);
                    }
                }
            }
        }
        if !cookies.is_empty()
            && let Ok(text) = HeaderValue::from_str(&cookies.join("; "))
        {
            headers.insert(header::COOKIE, text);
        }
        let mut body = Bytes::new();
        if let Some(content) = &self.content
            && let Some(given) = arguments.get(&content.property)
        {
            let kind;
            (body, kind) = match content.form {
                Form::Multipart => {
                    let (bytes, kind) = multipart::written(&content.parts, given)?;
                    (Bytes::from(bytes), kind)
                }
                _ => (written(content, given), content.kind.clone()),
            };
            headers.insert(header::CONTENT_TYPE, kind);
        }
        if !body.is_empty() || matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let uri =
            Uri::try_from(target).map_err(|_| "the arguments make a URL that is too long".to_owned())?;
        Ok(Ready { uri, headers, body })
    }
}

/// Whether every segment of a path is one: none leads up, or to nowhere, whoever decodes it.
fn is_straight(path: &str) -> Result<(), String> {
    for segment in path.split('/').skip(1) {
        let plain = segment.replace("%2E", ".").replace("%2e", ".");
        if matches!(plain.as_str(), "." | "..") {
            return Err("the arguments make a path that leads elsewhere".to_owned());
        }
    }
    Ok(())
}

fn in_path(parameter: &Parameter, given: &Value) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("`/{}` {what}", parameter.property));
    let mut texts = Vec::new();
    gather(given, &mut texts);
    if texts.is_empty() || texts.iter().all(String::is_empty) {
        return wrong("is empty, and stands in the path");
    }
    for text in &texts {
        if text.chars().any(char::is_control) {
            return wrong("has control characters, and stands in the path");
        }
        // An API may decode what is between its slashes before it looks.
        if text.split(['/', '\\']).any(|part| matches!(part, "." | "..")) {
            return wrong("leads out of its place in the path");
        }
    }
    let name = encoded(&parameter.name);
    Ok(match (parameter.style, parameter.explode) {
        (Style::Json, _) => encoded(&given.to_string()),
        (Style::Label, true) => pairs(given, "=").iter().map(|one| format!(".{one}")).collect(),
        (Style::Label, false) => format!(".{}", pairs(given, ",").join(",")),
        (Style::Matrix, true) => match given {
            Value::Object(_) => pairs(given, "=").iter().map(|one| format!(";{one}")).collect(),
            _ => pairs(given, "=").iter().map(|one| format!(";{name}={one}")).collect(),
        },
        (Style::Matrix, false) => format!(";{name}={}", pairs(given, ",").join(",")),
        _ => simple(given, parameter, &encoded),
    })
}

fn simple(given: &Value, parameter: &Parameter, encode: &dyn Fn(&str) -> String) -> String {
    if parameter.style == Style::Json {
        return encode(&given.to_string());
    }
    match given {
        Value::Array(items) => items.iter().map(|one| encode(&plain(one))).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let between = if parameter.explode { "=" } else { "," };
            let one = |(name, value): (&String, &Value)| {
                format!("{}{between}{}", encode(name), encode(&plain(value)))
            };
            members.iter().map(one).collect::<Vec<_>>().join(",")
        }
        other => encode(&plain(other)),
    }
}

/// The parts of a value, encoded; those of an object with their names.
fn pairs(given: &Value, between: &str) -> Vec<String> {
    match given {
        Value::Array(items) => items.iter().map(|one| encoded(&plain(one))).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{}{between}{}", encoded(name), encoded(&plain(value))))
            .collect(),
        other => vec![encoded(&plain(other))],
    }
}

fn gather(given: &Value, texts: &mut Vec<String>) {
    match given {
        Value::Array(items) => items.iter().for_each(|one| texts.push(plain(one))),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            texts.push(name.clone());
            texts.push(plain(value));
        }),
        other => texts.push(plain(other)),
    }
}

fn in_query(parameter: &Parameter, given: &Value, query: &mut String) {
    let mut add = |name: &str, value: &str| {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        query.push_str(value);
    };
    let name = encoded(&parameter.name);
    match (parameter.style, given) {
        (Style::Json, _) => add(&name, &encoded(&given.to_string())),
        (Style::Deep, Value::Object(members)) => {
            for (key, value) in members {
                let key = encoded(&format!("{}[{key}]", parameter.name));
                match value {
                    Value::Array(items) => items.iter().for_each(|one| add(&key, &encoded(&plain(one)))),
                    _ => add(&key, &encoded(&plain(value))),
                }
            }
        }
        (_, Value::Array(items)) if parameter.explode => {
            items.iter().for_each(|one| add(&name, &encoded(&plain(one))));
        }
        (_, Value::Object(members)) if parameter.explode => {
            members.iter().for_each(|(key, value)| add(&encoded(key), &encoded(&plain(value))));
        }
        (Style::Space, _) => add(&name, &pairs(given, "%20").join("%20")),
        (Style::Pipe, _) => add(&name, &pairs(given, "%7C").join("%7C")),
        _ => add(&name, &pairs(given, ",").join(",")),
    }
}

fn written(content: &Content, given: &Value) -> Bytes {
    match (content.form, given) {
        (Form::Fields, Value::Object(members)) => {
            let mut fields = form_urlencoded::Serializer::new(String::new());
            for (name, value) in members {
                match value {
                    Value::Null => {}
                    Value::Array(items) => items.iter().for_each(|one| {
                        fields.append_pair(name, &plain(one));
                    }),
                    other => {
                        fields.append_pair(name, &plain(other));
                    }
                }
            }
            fields.finish().into()
        }
        (Form::Text, other) => plain(other).into(),
        (_, other) => other.to_string().into(),
    }
}

/// A value as text: what has parts of its own is JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A text of which nothing means anything in a URL (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parameter(name: &str, place: Place, style: Style, explode: bool) -> Parameter {
        let header = (place == Place::Header).then(|| HeaderName::try_from(name).expect("a header"));
        Parameter { property: name.to_owned(), name: name.to_owned(), place, style, explode, header }
    }

    fn uri(parameters: Vec<Parameter>, arguments: Value) -> Result<String, String> {
        let in_path = |one: &&(usize, &Parameter)| one.1.place == Place::Path;
        let mut path = vec![Piece::Text("/v1/x/".to_owned())];
        let all: Vec<_> = parameters.iter().enumerate().collect();
        path.extend(all.iter().filter(in_path).map(|(at, _)| Piece::Parameter(*at)));
        let plan = Plan { method: Method::GET, path, parameters, content: None, headers: Vec::new() };
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        plan.request(&arguments).map(|ready| ready.uri.to_string())
    }

    #[test]
    fn styles_are_those_of_openapi() {
        let (list, object) = (json!({"p": [3, "a b", "c,d"]}), json!({"p": {"R": 100, "G": "a&b"}}));
        for (place, style, explode, of_list, of_object) in [
            (Place::Path, Style::Simple, false, "3,a%20b,c%2Cd", "R,100,G,a%26b"),
            (Place::Path, Style::Simple, true, "3,a%20b,c%2Cd", "R=100,G=a%26b"),
            (Place::Path, Style::Label, true, ".3.a%20b.c%2Cd", ".R=100.G=a%26b"),
            (Place::Path, Style::Matrix, false, ";p=3,a%20b,c%2Cd", ";p=R,100,G,a%26b"),
            (Place::Path, Style::Matrix, true, ";p=3;p=a%20b;p=c%2Cd", ";R=100;G=a%26b"),
            (Place::Query, Style::Form, true, "?p=3&p=a%20b&p=c%2Cd", "?R=100&G=a%26b"),
            (Place::Query, Style::Form, false, "?p=3,a%20b,c%2Cd", "?p=R,100,G,a%26b"),
            (Place::Query, Style::Space, false, "?p=3%20a%20b%20c%2Cd", "?p=R%20100%20G%20a%26b"),
            (Place::Query, Style::Pipe, false, "?p=3%7Ca%20b%7Cc%2Cd", "?p=R%7C100%7CG%7Ca%26b"),
            (Place::Query, Style::Deep, true, "?p=3&p=a%20b&p=c%2Cd", "?p%5BR%5D=100&p%5BG%5D=a%26b"),
        ] {
            for (arguments, want) in [(&list, of_list), (&object, of_object)] {
                let out = uri(vec![parameter("p", place, style, explode)], arguments.clone());
                let out = out.map(|uri| {
                    // The order of an object's members is not the style's.
                    uri.replace("G=a%26b,R=100", "R=100,G=a%26b")
                        .replace("G,a%26b,R,100", "R,100,G,a%26b")
                        .replace(".G=a%26b.R=100", ".R=100.G=a%26b")
                        .replace(";G=a%26b;R=100", ";R=100;G=a%26b")
                        .replace("G=a%26b&R=100", "R=100&G=a%26b")
                        .replace("G%20a%26b%20R%20100", "R%20100%20G%20a%26b")
                        .replace("G%7Ca%26b%7CR%7C100", "R%7C100%7CG%7Ca%26b")
                        .replace("p%5BG%5D=a%26b&p%5BR%5D=100", "p%5BR%5D=100&p%5BG%5D=a%26b")
                });
                assert_eq!(out, Ok(format!("/v1/x/{want}")));
            }
        }
    }

    #[test]
    fn no_argument_leads_out_of_its_place_in_the_path() {
        let one = || vec![parameter("id", Place::Path, Style::Simple, false)];
        for (id, want) in [
            ("7", Some("/v1/x/7")),
            ("a/b", Some("/v1/x/a%2Fb")),
            ("a?b#c", Some("/v1/x/a%3Fb%23c")),
            ("%2e%2e", Some("/v1/x/%252e%252e")),
            ("...", Some("/v1/x/...")),
            ("..", None),
            (".", None),
            ("../admin", None),
            ("a/../../admin", None),
            ("..\\admin", None),
            ("", None),
            ("a\r\nb", None),
        ] {
            assert_eq!(uri(one(), json!({"id": id})).ok().as_deref(), want, "{id:?}");
        }
        let two = vec![
            parameter("a", Place::Path, Style::Simple, false),
            parameter("b", Place::Path, Style::Simple, false),
        ];
        assert!(uri(two, json!({"a": "x", "b": ".."})).is_err());
        assert!(uri(one(), json!({})).is_err());
        assert!(is_straight("/a/%2E./b").is_err());
    }

    #[test]
    fn header_fields_and_bodies_hold_what_was_given() {
        let plan = Plan {
            method: Method::POST,
            path: vec![Piece::Text("/x".to_owned())],
            parameters: vec![
                parameter("x-tags", Place::Header, Style::Simple, false),
                parameter("sid", Place::Cookie, Style::Form, true),
            ],
            content: Some(Content {
                property: "body".to_owned(),
                kind: HeaderValue::from_static("application/x-www-form-urlencoded"),
                form: Form::Fields,
                parts: Vec::new(),
            }),
            headers: vec![(header::AUTHORIZATION, HeaderValue::from_static("Bearer own"))],
        };
        let arguments = json!({"x-tags": ["a", "b"], "sid": "x;y", "body": {"n": 1, "l": ["p", "q&r"]}});
        let ready = plan.request(arguments.as_object().expect("an object")).expect("a request");
        assert_eq!(ready.headers["x-tags"], "a,b");
        assert_eq!(ready.headers["cookie"], "sid=x%3By");
        assert_eq!(ready.headers["authorization"], "Bearer own");
        let body = String::from_utf8_lossy(&ready.body).into_owned();
        assert!(body.contains("n=1") && body.contains("l=p&l=q%26r"), "{body}");
        let hostile = json!({"x-tags": "a\r\nx-evil: 1"});
        assert!(plan.request(hostile.as_object().expect("an object")).is_err());
    }
}
