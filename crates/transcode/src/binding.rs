//! How a request becomes the message of a method: from its path, its query and its body.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use crate::{
    Wrong,
    field::FieldPath,
    json::Json,
    rule::{self, Rule},
    schema::{Method, Schema},
    template::Template,
    tree::Tree,
};

/// Parameters of a query.
const PARAMETERS_MAX: usize = 10_000;

/// Bodies of any kind (google/api/httpbody.proto).
const HTTP_BODY: &str = "google.api.HttpBody";

/// What of the message a body is.
#[derive(Debug, Clone)]
pub enum BodyIs {
    /// Nothing: there is none.
    Nothing,
    /// The whole message.
    All,
    /// One field.
    Field(FieldDescriptor),
}

/// One way to call a method.
#[derive(Debug, Clone)]
pub struct Binding {
    /// What is called.
    pub method: Arc<Method>,
    /// What the body is.
    pub body: BodyIs,
    /// The field that the answer is; the whole message without it.
    pub response_body: Option<FieldDescriptor>,
    /// The fields that the path's captures are, in order.
    pub captures: Vec<FieldPath>,
    /// Whether a query sets fields.
    pub takes_query: bool,
}

/// The body of a request.
#[derive(Debug, Clone, Copy)]
pub struct Body<'b> {
    /// Its bytes.
    pub bytes: &'b [u8],
    /// Its `content-type`.
    pub content_type: &'b str,
}

/// What a path holds for a variable; nothing where the match that was taken does not have it.
pub type Captured<'p> = Option<Cow<'p, str>>;

/// What a path and a query say, read once for all messages of a request.
#[derive(Debug, Clone, Default)]
pub struct Said {
    fields: Vec<SaidOf>,
}

#[derive(Debug, Clone)]
struct SaidOf {
    path: FieldPath,
    /// It is the first that is said of this field, and stands in place of what the body says.
    is_first: bool,
    value: Option<Value>,
}

/// All bindings of services, by their paths.
#[derive(Debug, Default)]
pub struct Bindings {
    /// The bindings.
    pub all: Vec<(Template, Arc<Binding>)>,
    tree: Tree,
}

pub use crate::tree::Found;

impl Bindings {
    /// Takes all bindings of these services. Every error is told.
    pub fn of(schema: &Schema, services: &[String]) -> Result<Self, Vec<String>> {
        let mut bindings = Self::default();
        let mut errors = Vec::new();
        for service in services {
            let methods = match schema.methods(service) {
                Ok(methods) => methods,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            for method in methods.into_iter().map(Arc::new) {
                match rule::of(schema, &method) {
                    Ok(rules) => {
                        errors.extend(rules.iter().filter_map(|rule| bindings.add(&method, rule).err()))
                    }
                    Err(error) => errors.push(format!("`{}`: {error}", method.name)),
                }
            }
        }
        if errors.is_empty() { Ok(bindings) } else { Err(errors) }
    }

    fn add(&mut self, method: &Arc<Method>, rule: &Rule) -> Result<(), String> {
        let told = |error: String| format!("`{}`, `{} {}`: {error}", method.name, rule.method, rule.path);
        let template = Template::parse(&rule.path).map_err(told)?;
        let binding = Binding::annotated(method.clone(), &template, rule).map_err(told)?;
        self.tree.add(&template, &rule.method, self.all.len()).map_err(|other| {
            let other = self.all.get(other).map_or("", |(_, binding)| &binding.method.name);
            told(format!("`{other}` has the same path"))
        })?;
        self.all.push((template, Arc::new(binding)));
        Ok(())
    }

    /// Finds what a request means.
    pub fn find(&self, method: &str, path: &str) -> Found {
        self.tree.find(method, path)
    }

    /// A binding, and what its path holds.
    pub fn bound<'b, 'p>(
        &'b self,
        index: usize,
        path: &'p str,
    ) -> Option<(&'b Arc<Binding>, Vec<Captured<'p>>)> {
        let (template, binding) = self.all.get(index)?;
        Some((binding, template.captures(path).into_iter().map(Some).collect()))
    }
}

impl Binding {
    fn annotated(method: Arc<Method>, template: &Template, rule: &Rule) -> Result<Self, String> {
        let input = &method.input;
        let mut captures = Vec::with_capacity(template.variables.len());
        for variable in &template.variables {
            let path = FieldPath::find(input, &variable.field)?;
            path.check_text(false)?;
            captures.push(path);
        }
        let body = match rule.body.as_str() {
            "" => BodyIs::Nothing,
            "*" => BodyIs::All,
            name => {
                BodyIs::Field(FieldPath::find(input, name).map_err(|error| format!("`body`: {error}"))?.field)
            }
        };
        if rule.body.contains('.') || rule.response_body.contains('.') {
            return Err("`body` and `response_body` name a field of the message itself".to_owned());
        }
        if method.takes_stream && matches!(body, BodyIs::Nothing) {
            return Err("a method that takes many messages needs a `body`".to_owned());
        }
        let response_body = match rule.response_body.as_str() {
            "" => None,
            name => {
                let found = FieldPath::find(&method.output, name);
                Some(found.map_err(|error| format!("`response_body`: {error}"))?.field)
            }
        };
        let takes_query = !matches!(body, BodyIs::All);
        Ok(Self { method, body, response_body, captures, takes_query })
    }

    /// A method that answers every request of a route: captures of these names are its fields, as are parameters of
    /// the query; the body is the whole message, or the field that is named.
    pub fn fixed(
        method: Arc<Method>,
        captures: &[String],
        body: &str,
        response_body: Option<&str>,
    ) -> Result<Self, String> {
        let rule = Rule {
            method: "*".to_owned(),
            path: String::new(),
            body: body.to_owned(),
            response_body: response_body.unwrap_or_default().to_owned(),
        };
        let nothing = Template { segments: Vec::new(), variables: Vec::new(), verb: None };
        let mut binding = Self::annotated(method, &nothing, &rule)?;
        for name in captures {
            let path = FieldPath::find(&binding.method.input, name)
                .map_err(|error| format!("the capture `{{{name}}}` of the route is no field: {error}"))?;
            path.check_text(false)?;
            binding.captures.push(path);
        }
        binding.takes_query = true;
        Ok(binding)
    }

    /// The message of a request.
    pub fn message(
        &self,
        captures: &[Captured<'_>],
        query: Option<&str>,
        body: Option<Body<'_>>,
        json: &Json,
    ) -> Result<DynamicMessage, Wrong> {
        self.filled(&self.said(captures, query, json)?, body, json)
    }

    /// What the path and the query of a request say.
    pub fn said(&self, captures: &[Captured<'_>], query: Option<&str>, json: &Json) -> Result<Said, Wrong> {
        let mut said = Said::default();
        if self.takes_query
            && let Some(query) = query.filter(|query| !query.is_empty())
        {
            self.query(&mut said, query, json)?;
        }
        for (path, text) in self.captures.iter().zip(captures) {
            if let Some(text) = text {
                let value = path.value(text, json)?;
                said.fields.push(SaidOf { path: path.clone(), is_first: true, value });
            }
        }
        Ok(said)
    }

    /// The message of a body, filled with what path and query say.
    pub fn filled(&self, said: &Said, body: Option<Body<'_>>, json: &Json) -> Result<DynamicMessage, Wrong> {
        let input = &self.method.input;
        let mut message = match (&self.body, body) {
            (_, None) | (BodyIs::Nothing, Some(Body { bytes: [], .. })) => DynamicMessage::new(input.clone()),
            (BodyIs::Nothing, Some(_)) => return Err(Wrong::new("", "this request takes no body")),
            (BodyIs::All, Some(body)) => read(input, body, json)?,
            (BodyIs::Field(field), Some(body)) => {
                let mut message = DynamicMessage::new(input.clone());
                if let Some(value) = field_of(field, input, body, json)? {
                    message.set_field(field, value);
                }
                message
            }
        };
        for one in &said.fields {
            if one.is_first {
                one.path.clear(&mut message);
            }
            if let Some(value) = &one.value {
                one.path.set(&mut message, value.clone())?;
            }
        }
        Ok(message)
    }

    /// Whether answers are bodies of any kind (`google.api.HttpBody`), and not JSON.
    pub fn gives_any(&self) -> bool {
        match &self.response_body {
            None => self.method.output.full_name() == HTTP_BODY,
            Some(field) if field.is_list() => false,
            Some(field) => field.kind().as_message().is_some_and(|kind| kind.full_name() == HTTP_BODY),
        }
    }

    fn query(&self, said: &mut Said, query: &str, json: &Json) -> Result<(), Wrong> {
        let mut seen: HashSet<Vec<u32>> = HashSet::new();
        for (at, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if at == PARAMETERS_MAX {
                return Err(Wrong::large(format!("more than {PARAMETERS_MAX} parameters")));
            }
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_decoded(name);
            let path = match FieldPath::find(&self.method.input, &name) {
                Ok(path) => path,
                Err(_) if json.ignores_unknown => continue,
                Err(error) => return Err(Wrong::new(name, error)),
            };
            let numbers = path.numbers();
            if let BodyIs::Field(field) = &self.body
                && numbers.first() == Some(&field.number())
            {
                return Err(Wrong::new(name, "it is in the body"));
            }
            let is_first = seen.insert(numbers);
            if !is_first && !path.field.is_list() {
                return Err(Wrong::new(name, "it is given twice"));
            }
            let value = path.value(&form_decoded(text), json)?;
            said.fields.push(SaidOf { path, is_first, value });
        }
        Ok(())
    }

    /// Writes an answer's message, and says of what type it is where that is not JSON.
    pub fn write(
        &self,
        message: &DynamicMessage,
        json: &Json,
        out: &mut Vec<u8>,
    ) -> Result<Option<String>, String> {
        match &self.response_body {
            None => write(message, json, out),
            Some(field) => match message.get_field(field).as_message() {
                Some(within) if within.descriptor().full_name() == HTTP_BODY => write(within, json, out),
                _ => json.write_field(message, field, out).map(|()| None),
            },
        }
    }
}

fn read(kind: &MessageDescriptor, body: Body<'_>, json: &Json) -> Result<DynamicMessage, Wrong> {
    if kind.full_name() == HTTP_BODY {
        let mut message = DynamicMessage::new(kind.clone());
        let put = |message: &mut DynamicMessage, name: &str, value| {
            message.try_set_field_by_name(name, value).map_err(|error| Wrong::new(name, error.to_string()))
        };
        put(&mut message, "content_type", Value::String(body.content_type.to_owned()))?;
        put(&mut message, "data", Value::Bytes(bytes::Bytes::copy_from_slice(body.bytes)))?;
        return Ok(message);
    }
    match body.bytes.trim_ascii() {
        [] => Ok(DynamicMessage::new(kind.clone())),
        bytes => json.read(kind, bytes),
    }
}

/// A body that is one field: it is read as the only member of its message.
fn field_of(
    field: &FieldDescriptor,
    message: &MessageDescriptor,
    body: Body<'_>,
    json: &Json,
) -> Result<Option<Value>, Wrong> {
    if let (Kind::Message(kind), false, false) = (field.kind(), field.is_list(), field.is_map()) {
        return read(&kind, body, json).map(|message| Some(Value::Message(message)));
    }
    if body.bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    // It must be one value by itself: what looks like further members is none.
    serde_json::from_slice::<serde::de::IgnoredAny>(body.bytes)
        .map_err(|error| Wrong::new(field.json_name(), error.to_string()))?;
    let mut text = Vec::with_capacity(body.bytes.len() + 16);
    text.extend_from_slice(b"{\"");
    text.extend_from_slice(field.json_name().as_bytes());
    text.extend_from_slice(b"\":");
    text.extend_from_slice(body.bytes);
    text.push(b'}');
    Ok(json.read(message, &text)?.take_field(field))
}

fn write(message: &DynamicMessage, json: &Json, out: &mut Vec<u8>) -> Result<Option<String>, String> {
    if message.descriptor().full_name() != HTTP_BODY {
        return json.write(message, out).map(|()| None);
    }
    if let Some(data) = message.get_field_by_name("data")
        && let Some(data) = data.as_bytes()
    {
        out.extend_from_slice(data);
    }
    let kind = message.get_field_by_name("content_type");
    let kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).filter(|kind| !kind.is_empty());
    Ok(Some(kind.unwrap_or_else(|| "application/octet-stream".to_owned())))
}

/// A name or a value of a query: `+` is a space there.
fn form_decoded(text: &str) -> String {
    match text.contains('+') {
        true => crate::template::decoded(&text.replace('+', " "), false).into_owned(),
        false => crate::template::decoded(text, false).into_owned(),
    }
}
