//! Values of expressions, texts and shapes, over what calls have answered.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write, sync::Arc};

use http::HeaderName;
use model::resource::compose_path::{
    ComposeLeaf, ComposePart, ComposePath, ComposeRoot, ComposeStep, ComposeText,
};
use serde_json::{Map, Value};

use crate::{call::Call, template::Template};

/// What expressions are evaluated over.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) call: &'s Call,
    /// Names of all calls, in the order of `results`.
    pub(super) names: &'s [Arc<str>],
    /// What they answered; none for one that has not, or that failed.
    pub(super) results: &'s [Option<Arc<Value>>],
    /// The client's request, where an expression asks for it.
    pub(super) request: Option<&'s Value>,
    /// The item and its place.
    pub(super) item: Option<(&'s Value, usize)>,
}

/// A value that is not there: whose fault that is, and its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) is_clients: bool,
    pub(super) what: String,
}

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Path {
    root: Root,
    steps: Box<[ComposeStep]>,
    /// As it is told.
    text: Box<str>,
}

#[derive(Debug, Clone, Copy)]
enum Root {
    Call(usize),
    Calls,
    Request,
    Item,
    Index,
}

impl Path {
    pub(super) fn compile(path: &ComposePath, places: &BTreeMap<&str, usize>) -> Result<Self, String> {
        let root = match &path.root {
            ComposeRoot::Call(name) => {
                Root::Call(*places.get(name.as_str()).ok_or_else(|| format!("there is no call `{name}`"))?)
            }
            ComposeRoot::Calls => Root::Calls,
            ComposeRoot::Request => Root::Request,
            ComposeRoot::Item => Root::Item,
            ComposeRoot::Index => Root::Index,
        };
        Ok(Self { root, steps: path.steps.clone().into(), text: path.to_string().into() })
    }

    pub(super) fn parse(text: &str, places: &BTreeMap<&str, usize>) -> Result<Self, String> {
        Self::compile(&text.parse()?, places)
    }

    /// Whether it asks for the client's request, and for its body.
    pub(super) fn asks(&self) -> (bool, bool) {
        let is_request = matches!(self.root, Root::Request);
        let key = self.steps.first().map(|step| matches!(step, ComposeStep::Key(key) if key == "body"));
        (is_request, is_request && key.unwrap_or(true))
    }

    /// The value; none when it is not there.
    pub(super) fn find<'s>(&self, scope: &Scope<'s>) -> Option<Cow<'s, Value>> {
        let start = match self.root {
            Root::Call(place) => scope.results.get(place)?.as_deref()?,
            Root::Request => scope.request?,
            Root::Item => scope.item?.0,
            Root::Index => return Some(Cow::Owned(Value::from(scope.item?.1))),
            Root::Calls => return Some(Cow::Owned(all(scope))),
        };
        let Some(first) = self.steps.iter().position(|step| *step == ComposeStep::All) else {
            return self.steps.iter().try_fold(start, step).map(Cow::Borrowed);
        };
        let (before, after) = self.steps.split_at(first);
        let list = before.iter().try_fold(start, step)?;
        if !list.is_array() && !list.is_object() {
            return None;
        }
        let mut found = Vec::new();
        every(list, after, &mut found);
        Some(Cow::Owned(Value::Array(found.into_iter().cloned().collect())))
    }

    pub(super) fn missing(&self) -> Missing {
        Missing { is_clients: matches!(self.root, Root::Request), what: self.text.to_string() }
    }
}

fn step<'v>(value: &'v Value, step: &ComposeStep) -> Option<&'v Value> {
    match step {
        ComposeStep::Key(name) => value.get(name.as_str()),
        ComposeStep::Index(index) => {
            let items = value.as_array()?;
            let place = match usize::try_from(*index) {
                Ok(place) => place,
                Err(_) => items.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
            };
            items.get(place)
        }
        ComposeStep::All => None,
    }
}

/// Whatever the steps lead to, over every item.
fn every<'v>(value: &'v Value, steps: &[ComposeStep], found: &mut Vec<&'v Value>) {
    match steps.split_first() {
        None => found.push(value),
        Some((ComposeStep::All, rest)) => match value {
            Value::Array(items) => items.iter().for_each(|item| every(item, rest, found)),
            Value::Object(members) => members.values().for_each(|member| every(member, rest, found)),
            _ => {}
        },
        Some((one, rest)) => {
            if let Some(inner) = step(value, one) {
                every(inner, rest, found);
            }
        }
    }
}

/// All results by their names.
pub(super) fn all(scope: &Scope<'_>) -> Value {
    let one = |(name, result): (&Arc<str>, &Option<Arc<Value>>)| {
        (name.to_string(), result.as_deref().cloned().unwrap_or(Value::Null))
    };
    Value::Object(scope.names.iter().zip(scope.results).map(one).collect::<Map<_, _>>())
}

/// Writes all results by their names; false when there is no room for them.
pub(super) fn put_all(scope: &Scope<'_>, out: &mut Vec<u8>, bytes_max: usize) -> bool {
    out.push(b'{');
    for (place, (name, result)) in scope.names.iter().zip(scope.results).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let is_whole = put_json(&Value::String(name.to_string()), out, bytes_max) && {
            out.push(b':');
            put_json(result.as_deref().unwrap_or(&Value::Null), out, bytes_max)
        };
        if !is_whole {
            return false;
        }
    }
    out.push(b'}');
    out.len() <= bytes_max
}

/// A compiled text.
#[derive(Debug)]
pub(super) struct Text(Box<[Part]>);

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Path(Path),
    /// A capture of the route, by its name.
    Capture(Box<str>),
    /// What any template may name, and how it is told.
    Name(Template, Box<str>),
}

/// Where a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    /// Into a path: a value is part of one segment, and never empty.
    Path,
    /// Into a query: a value is part of one parameter.
    Query,
    /// Into a header field or a JSON text, as it is.
    Plain,
}

impl Text {
    pub(super) fn parse(text: &str, is_path: bool, places: &BTreeMap<&str, usize>) -> Result<Self, String> {
        Self::compile(&ComposeText::parse(text, is_path)?, places)
    }

    fn compile(text: &ComposeText, places: &BTreeMap<&str, usize>) -> Result<Self, String> {
        let one = |part: &ComposePart| {
            Ok(match part {
                ComposePart::Text(text) => Part::Text(text.as_str().into()),
                ComposePart::Path(path) => Part::Path(Path::compile(path, places)?),
                ComposePart::Capture(name) => Part::Capture(name.as_str().into()),
                ComposePart::Name(name) => match name.strip_prefix("captures.") {
                    Some(name) => Part::Capture(name.into()),
                    None => {
                        Part::Name(Template::compile(&format!("{{{{ {name} }}}}"))?, name.as_str().into())
                    }
                },
            })
        };
        text.parts.iter().map(one).collect::<Result<Vec<_>, String>>().map(|parts| Self(parts.into()))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|part| match part {
            Part::Path(path) => Some(path),
            _ => None,
        })
    }

    /// Adds the fields of the client's request that it takes values of.
    pub(super) fn varies_by(&self, out: &mut Vec<HeaderName>) {
        for part in &self.0 {
            let Part::Name(_, name) = part else { continue };
            let field = match name.strip_prefix("request.header.") {
                Some(field) => HeaderName::try_from(field).ok(),
                None => name.starts_with("request.cookie.").then_some(http::header::COOKIE),
            };
            out.extend(field.filter(|field| !out.contains(field)));
        }
    }

    /// Whether it tells who calls: something that no field of the request has, and that nobody else is to be told.
    pub(super) fn tells_who(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Name(template, _) if template.tells_who()))
    }

    /// Whether it tells of this one call, or of who calls.
    pub(super) fn tells_of_call(&self) -> bool {
        let is_of_call = |name: &str| matches!(name, "client.address" | "request.id" | "tls.sni");
        self.tells_who() || self.0.iter().any(|part| matches!(part, Part::Name(_, name) if is_of_call(name)))
    }

    /// The text, or the value that it lacks.
    pub(super) fn render(&self, scope: &Scope<'_>, goes: Goes, out: &mut String) -> Result<(), Missing> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(path) => {
                    let found = path.find(scope);
                    let is_put = found.is_some_and(|value| put(&value, goes, out));
                    if !is_put {
                        return Err(path.missing());
                    }
                }
                Part::Capture(name) => {
                    let clients = || Missing { is_clients: true, what: format!("captures.{name}") };
                    let value = scope.call.capture(name).ok_or_else(clients)?;
                    match goes {
                        // It is part of a canonical path already, with slashes where it is the rest of one.
                        Goes::Path if !value.is_empty() => out.push_str(value),
                        Goes::Path => return Err(clients()),
                        Goes::Query => encode(&decoded(value), out),
                        Goes::Plain => out.push_str(&decoded(value)),
                    }
                }
                Part::Name(template, name) => {
                    let value = template.render(scope.call);
                    let value = value.filter(|value| goes != Goes::Path || !value.is_empty());
                    match (value, goes) {
                        (Some(value), Goes::Plain) => out.push_str(&value),
                        (Some(value), _) => encode(&value, out),
                        (None, _) => return Err(Missing { is_clients: true, what: name.to_string() }),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Undoes the escapes of a path; what they hide that is no text stays as it came.
pub(super) fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    // `+` is itself in a path.
    crate::template::decode(&value.replace('+', "%2B"))
        .map_or(Cow::Borrowed(value), |text| Cow::Owned(text.into_owned()))
}

/// Puts a value into a text; false when it is none that a text can hold there.
fn put(value: &Value, goes: Goes, out: &mut String) -> bool {
    let scalar = |value: &Value, out: &mut String| match value {
        Value::String(text) if goes == Goes::Plain => {
            out.push_str(text);
            true
        }
        Value::String(text) => {
            encode(text, out);
            goes == Goes::Query || !text.is_empty()
        }
        Value::Bool(_) | Value::Number(_) => write!(out, "{value}").is_ok(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    match value {
        Value::Array(items) if items.is_empty() => goes != Goes::Path,
        Value::Array(items) => items.iter().enumerate().all(|(place, item)| {
            if place > 0 {
                out.push(',');
            }
            scalar(item, out)
        }),
        value => scalar(value, out),
    }
}

/// Encodes everything but the unreserved characters (RFC 3986 §2.3), so that no value can add a segment, a parameter
/// or a line.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A compiled shape: JSON in which texts stand for values.
#[derive(Debug)]
pub(super) enum Shape {
    Literal(Value),
    Path(Path),
    Text(Text),
    Array(Box<[Shape]>),
    Object(Box<[(Box<str>, Shape)]>),
}

impl Shape {
    /// Compiles a shape; an error begins with the place in it.
    pub(super) fn compile(value: &Value, places: &BTreeMap<&str, usize>) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => match ComposeLeaf::parse(text)? {
                ComposeLeaf::Path(path) => Self::Path(Path::compile(&path, places)?),
                ComposeLeaf::Text(text) => Self::Text(Text::compile(&text, places)?),
            },
            Value::Array(items) => {
                let one = |(place, item)| {
                    Self::compile(item, places).map_err(|error| format!("[{place}]: {error}"))
                };
                Self::Array(items.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?.into())
            }
            Value::Object(members) => {
                let one = |(key, member): (&String, &Value)| {
                    let shape = Self::compile(member, places).map_err(|error| format!(".{key}: {error}"))?;
                    Ok((key.as_str().into(), shape))
                };
                Self::Object(members.iter().map(one).collect::<Result<Vec<_>, String>>()?.into())
            }
            other => Self::Literal(other.clone()),
        })
    }

    /// Every expression in it.
    pub(super) fn paths<'s>(&'s self, out: &mut Vec<&'s Path>) {
        match self {
            Self::Literal(_) => {}
            Self::Path(path) => out.push(path),
            Self::Text(text) => out.extend(text.paths()),
            Self::Array(items) => items.iter().for_each(|item| item.paths(out)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.paths(out)),
        }
    }

    /// Adds the fields of the client's request that it takes values of.
    pub(super) fn varies_by(&self, out: &mut Vec<HeaderName>) {
        match self {
            Self::Literal(_) | Self::Path(_) => {}
            Self::Text(text) => text.varies_by(out),
            Self::Array(items) => items.iter().for_each(|item| item.varies_by(out)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.varies_by(out)),
        }
    }

    /// Whether a text in it tells of this one call, or of who calls.
    pub(super) fn tells_of_call(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Path(_) => false,
            Self::Text(text) => text.tells_of_call(),
            Self::Array(items) => items.iter().any(Self::tells_of_call),
            Self::Object(members) => members.iter().any(|(_, member)| member.tells_of_call()),
        }
    }

    /// Writes it as JSON; what is not there is null. False when it is larger than `bytes_max`.
    pub(super) fn write(&self, scope: &Scope<'_>, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        match self {
            Self::Literal(value) => return put_json(value, out, bytes_max),
            Self::Path(path) => {
                let found = path.find(scope);
                return put_json(found.as_deref().unwrap_or(&Value::Null), out, bytes_max);
            }
            Self::Text(text) => {
                let mut made = String::new();
                let is_whole = text.render(scope, Goes::Plain, &mut made).is_ok();
                let value = if is_whole { Value::String(made) } else { Value::Null };
                return put_json(&value, out, bytes_max);
            }
            Self::Array(items) => {
                out.push(b'[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    if !item.write(scope, out, bytes_max) {
                        return false;
                    }
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (place, (key, member)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    put_json(&Value::String(key.to_string()), out, bytes_max);
                    out.push(b':');
                    if !member.write(scope, out, bytes_max) {
                        return false;
                    }
                }
                out.push(b'}');
            }
        }
        out.len() <= bytes_max
    }
}

/// Writes a value as JSON; false when there is no room for it.
pub(super) fn put_json(value: &Value, out: &mut Vec<u8>, bytes_max: usize) -> bool {
    struct Bounded<'o>(&'o mut Vec<u8>, usize);
    impl std::io::Write for Bounded<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.len() + bytes.len() > self.1 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Bounded(out, bytes_max), value).is_ok()
}
