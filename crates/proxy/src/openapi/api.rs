//! The operations of a document, found by method and path, and what each takes and gives.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};

use super::{
    check::{FAULTS_MAX, Fault, Where},
    form::Fields,
    kinds::Kinds,
    media::{self, MediaRange},
    parameter::{Pairs, Parameter, compiled, plain},
    path::{Captured, Paths, Pattern},
    read_json::read_json,
    schema::{Document, Told},
};
use crate::schema::Schema;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// An API as its document describes it.
pub(crate) struct Api {
    base: Box<str>,
    paths: Paths,
    items: Vec<Item>,
    /// Names of query parameters that carry credentials.
    credentials: Vec<String>,
}

struct Item {
    operations: Vec<(Method, Arc<Operation>)>,
    allow: HeaderValue,
}

/// What is compiled of a document.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) requests: bool,
    pub(crate) answers: bool,
}

/// One operation.
pub(crate) struct Operation {
    /// Its `operationId`, or method and path.
    pub(crate) name: Arc<str>,
    /// As the document has it.
    pub(crate) written: Value,
    parameters: Vec<Parameter>,
    object: Objects,
    body: Option<Content>,
    body_is_required: bool,
    /// By status, as it is written: `200`, `2XX`, `default`.
    answers: HashMap<Box<str>, AnswerForm>,
    judges_answers: bool,
}

/// Schemas over a whole query and all header fields.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) query: Option<Whole>,
    pub(crate) headers: Option<Whole>,
}

/// A schema over names and texts.
pub(crate) struct Whole {
    kinds: Kinds,
    schema: Schema,
}

struct AnswerForm {
    headers: Vec<Parameter>,
    content: Option<Content>,
}

/// Bodies by media type.
struct Content(Vec<Media>);

struct Media {
    range: MediaRange,
    schema: Option<Schema>,
    fields: Fields,
}

/// What a request is.
pub(crate) enum Found<'a> {
    Operation(&'a Arc<Operation>, Captured<'a>),
    /// The path is known, the method is not.
    Method(&'a HeaderValue),
    Nothing,
}

/// A body that is to be judged.
pub(crate) struct Judged<'o> {
    media: Option<&'o Media>,
    kind: String,
}

/// How a body can be judged.
pub(crate) enum Reading<'o> {
    /// There is nothing to judge in it.
    No,
    Yes(Judged<'o>),
    /// Its media type is none of those that the document has.
    Unsupported(String),
}

impl Api {
    /// Compiles a document.
    pub(crate) fn compile(document: &Document, base: Option<&str>, wanted: Wanted) -> Result<Self, String> {
        let base = match base {
            Some(base) => base.trim_end_matches('/').to_owned(),
            None => super::base(&document.root)?,
        };
        let paths = document.root.get("paths").and_then(Value::as_object);
        let (mut items, mut patterns) = (Vec::new(), Vec::new());
        for (path, item) in paths.into_iter().flatten().filter(|(path, _)| !path.starts_with("x-")) {
            let wrong = |error: String| format!("paths.{path}: {error}");
            let pattern = Pattern::parse(path).map_err(wrong)?;
            let item = document.part(item).map_err(wrong)?;
            let mut operations = Vec::new();
            for name in METHODS {
                let Some(written) = item.get(name).filter(|written| written.is_object()) else { continue };
                let method = Method::from_bytes(name.to_ascii_uppercase().as_bytes()).unwrap_or(Method::GET);
                let place = format!("paths.{path}.{name}");
                let operation =
                    Operation::compile(document, (&method, path), item, written, &pattern, wanted);
                operations.push((method, Arc::new(operation.map_err(|error| format!("{place}: {error}"))?)));
            }
            if operations.is_empty() {
                continue;
            }
            let mut allow: Vec<&str> = operations.iter().map(|(method, _)| method.as_str()).collect();
            if allow.contains(&"GET") && !allow.contains(&"HEAD") {
                allow.push("HEAD");
            }
            let allow = HeaderValue::from_str(&allow.join(", ")).map_err(|error| error.to_string())?;
            patterns.push((pattern, items.len()));
            items.push(Item { operations, allow });
        }
        if items.is_empty() {
            return Err("it has no operations".to_owned());
        }
        let schemes = document.root.pointer("/components/securitySchemes").and_then(Value::as_object);
        let of_query = schemes.into_iter().flatten().filter_map(|(_, scheme)| {
            let scheme = document.part(scheme).ok()?;
            let is_query = scheme.get("in").and_then(Value::as_str) == Some("query");
            scheme.get("name").and_then(Value::as_str).filter(|_| is_query).map(str::to_owned)
        });
        let credentials = of_query.collect();
        Ok(Self { base: base.into(), paths: Paths::new(patterns), items, credentials })
    }

    /// What a request is. HEAD is what GET is, where the document says nothing of it.
    pub(crate) fn find<'a>(&'a self, method: &Method, path: &'a str) -> Found<'a> {
        let inside = path.strip_prefix(&*self.base).filter(|rest| rest.starts_with('/'));
        // The base alone is the path `/`, when it is none of its own.
        let inside = inside.or_else(|| (!self.base.is_empty() && path == &*self.base).then_some("/"));
        let Some((at, captured)) = inside.and_then(|path| self.paths.find(path)) else {
            return Found::Nothing;
        };
        let Some(item) = self.items.get(at) else { return Found::Nothing };
        let of = |wanted: &Method| item.operations.iter().find(|(method, _)| method == wanted);
        let found = of(method).or_else(|| (method == Method::HEAD).then(|| of(&Method::GET)).flatten());
        match found {
            Some((_, operation)) => Found::Operation(operation, captured),
            None => Found::Method(&item.allow),
        }
    }

    /// All operations.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.items.iter().flat_map(|item| &item.operations).map(|(_, operation)| &**operation)
    }

    /// Names of query parameters that carry credentials.
    pub(crate) fn credentials(&self) -> &[String] {
        &self.credentials
    }
}

impl Operation {
    fn compile(
        document: &Document,
        (method, path): (&Method, &str),
        item: &Value,
        written: &Value,
        pattern: &Pattern,
        wanted: Wanted,
    ) -> Result<Self, String> {
        let id = written.get("operationId").and_then(Value::as_str).map(str::to_owned);
        let mut parameters: Vec<Parameter> = Vec::new();
        let lists = [item, written].map(|of| of.get("parameters").and_then(Value::as_array));
        for one in lists.into_iter().flatten().flatten().filter(|_| wanted.requests) {
            let Some(parameter) = Parameter::read(document.part(one)?, document)? else { continue };
            // One of the operation takes the place of the path's.
            parameters.retain(|known| (known.place, &known.name) != (parameter.place, &parameter.name));
            if parameter.place == Where::Path && !pattern.names().any(|name| name == &*parameter.name) {
                return Err(format!("parameter `{}` is not in the path", parameter.name));
            }
            parameters.push(parameter);
        }
        let (mut body, mut body_is_required) = (None, false);
        if let Some(written) = written.get("requestBody").filter(|_| wanted.requests) {
            let written = document.part(written)?;
            body_is_required = written.get("required").and_then(Value::as_bool) == Some(true);
            let content = Content::compile(written, document, Told::Request);
            body = content.map_err(|error| format!("requestBody: {error}"))?;
        }
        let mut answers = HashMap::new();
        let written_answers = written.get("responses").and_then(Value::as_object);
        for (status, answer) in written_answers.into_iter().flatten().filter(|_| wanted.answers) {
            let wrong = |error: String| format!("responses.{status}: {error}");
            let answer = document.part(answer).map_err(wrong)?;
            let content = Content::compile(answer, document, Told::Answer).map_err(wrong)?;
            let mut headers = Vec::new();
            for (name, one) in answer.get("headers").and_then(Value::as_object).into_iter().flatten() {
                let header = Parameter::header(name, document.part(one).map_err(wrong)?, document);
                headers.extend(header.map_err(wrong)?);
            }
            answers.insert(status.to_ascii_uppercase().into(), AnswerForm { headers, content });
        }
        let name = id.unwrap_or_else(|| format!("{method} {path}")).into();
        let object = Objects::default();
        let judges_answers = wanted.answers && !answers.is_empty();
        let written = written.clone();
        Ok(Self { name, written, parameters, object, body, body_is_required, answers, judges_answers })
    }

    /// What schemas alone say of all requests.
    pub(crate) fn of_schemas(
        body: Option<(Value, Schema)>,
        object: Objects,
        answer: Option<(Value, Schema)>,
    ) -> Result<Self, String> {
        let (body_is_required, judges_answers) = (body.is_some(), answer.is_some());
        let content = |(written, schema): (Value, Schema)| {
            let document = Document { root: written.clone(), is_old: false };
            let schema = Arc::new(schema);
            let media = |text: &str| {
                let range = MediaRange::parse(text).ok_or("no media type")?;
                let fields = Fields::of(&Value::Null, &written, &document)?;
                Ok::<_, String>(Media { range, schema: Some(Schema::shared(&schema)), fields })
            };
            let all = [
                "application/json",
                "application/*+json",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
            ];
            all.iter().map(|text| media(text)).collect::<Result<_, _>>().map(Content)
        };
        let mut answers = HashMap::new();
        if let Some(answer) = answer {
            let form = AnswerForm { headers: Vec::new(), content: Some(content(answer)?) };
            answers.insert("2XX".into(), form);
        }
        Ok(Self {
            name: "schemas".into(),
            written: Value::Null,
            parameters: Vec::new(),
            object,
            body: body.map(content).transpose()?,
            body_is_required,
            answers,
            judges_answers,
        })
    }

    /// Judges the head of a request. With names that are known besides, others in the query are faults.
    pub(crate) fn head(
        &self,
        captured: &Captured<'_>,
        query: &str,
        headers: &HeaderMap,
        known: Option<&[String]>,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let has = |place: Where| self.parameters.iter().any(|parameter| parameter.place == place);
        let pairs = match has(Where::Query) || known.is_some() {
            true => Pairs::of(query),
            false => Pairs(Vec::new()),
        };
        let cookies = if has(Where::Cookie) { cookies(headers) } else { Vec::new() };
        for parameter in &self.parameters {
            let name = &*parameter.name;
            match parameter.place {
                Where::Path => {
                    let values: Vec<&str> =
                        captured.iter().filter(|(known, _)| *known == name).map(|(_, text)| *text).collect();
                    parameter.check(&values, &mut faults);
                }
                Where::Query if parameter.is_spread() => {
                    let claimed = |other: &str| {
                        let others = self.parameters.iter().filter(|one| !std::ptr::eq(*one, parameter));
                        others.filter(|one| one.place == Where::Query).any(|one| one.owns(other))
                    };
                    parameter.check_spread(&pairs, &claimed, &mut faults);
                }
                Where::Query => {
                    let values: Vec<&str> =
                        pairs.0.iter().filter(|(known, _)| known == name).map(|(_, text)| *text).collect();
                    parameter.check(&values, &mut faults);
                }
                Where::Header => check_field(parameter, headers, &mut faults),
                _ => {
                    let values: Vec<&str> =
                        cookies.iter().filter(|(known, _)| *known == name).map(|(_, text)| *text).collect();
                    parameter.check(&values, &mut faults);
                }
            }
        }
        if let Some(known) = known {
            let of_query = || self.parameters.iter().filter(|one| one.place == Where::Query);
            for (name, _) in &pairs.0 {
                if !known.contains(name) && !of_query().any(|one| one.owns(name)) {
                    let expected = "is no parameter of the operation".to_owned();
                    let name = Some(name.as_str().into());
                    faults.push(Fault { at: Where::Query, name, pointer: String::new(), expected });
                }
                if faults.len() > FAULTS_MAX {
                    break;
                }
            }
        }
        self.object.check(query, headers, &mut faults);
        faults.truncate(FAULTS_MAX);
        faults
    }

    /// How a request's body is to be judged. `is_there` when there is one.
    pub(crate) fn reading(&self, headers: &HeaderMap, is_there: bool) -> Result<Reading<'_>, Fault> {
        match (&self.body, is_there) {
            (_, false) if self.body_is_required => Err(Fault::body("", "a body is required")),
            (_, false) | (None, true) => Ok(Reading::No),
            (Some(content), true) => Ok(content.reading(headers)),
        }
    }

    /// Whether answers are judged.
    pub(crate) fn judges_answers(&self) -> bool {
        self.judges_answers
    }

    /// Whether ranges of answers may be asked for: they are among those that it knows, and nothing is read of a whole one,
    /// as of a film.
    pub(crate) fn gives_ranges(&self) -> bool {
        let whole = self.answer(StatusCode::OK).and_then(|form| form.content.as_ref());
        let is_read = whole.is_some_and(|content| content.0.iter().any(Media::may_be_read));
        !is_read && self.answer(StatusCode::PARTIAL_CONTENT).is_some()
    }

    fn answer(&self, status: StatusCode) -> Option<&AnswerForm> {
        let class = format!("{}XX", status.as_u16() / 100);
        let all = &self.answers;
        all.get(status.as_str()).or_else(|| all.get(class.as_str())).or_else(|| all.get("DEFAULT"))
    }

    /// Judges the head of an answer, and says how its body is to be judged.
    pub(crate) fn answer_head(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        has_body: bool,
    ) -> (Vec<Fault>, Reading<'_>) {
        let Some(form) = self.answer(status) else {
            // Schemas alone say nothing of others than those that went well.
            if self.written.is_null() {
                return (Vec::new(), Reading::No);
            }
            let expected = format!("{} is none of the answers of the operation", status.as_u16());
            let fault = Fault { at: Where::Status, name: None, pointer: String::new(), expected };
            return (vec![fault], Reading::No);
        };
        let mut faults = Vec::new();
        for parameter in &form.headers {
            check_field(parameter, headers, &mut faults);
        }
        let reading = match &form.content {
            Some(content) if has_body => content.reading(headers),
            _ => Reading::No,
        };
        faults.truncate(FAULTS_MAX);
        (faults, reading)
    }
}

fn check_field(parameter: &Parameter, headers: &HeaderMap, faults: &mut Vec<Fault>) {
    let Ok(name) = HeaderName::try_from(&*parameter.name) else { return };
    let values: Vec<String> = headers
        .get_all(&name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let joined = values.join(", ");
    let values: &[&str] = if values.is_empty() { &[] } else { &[joined.as_str()] };
    parameter.check(values, faults);
}

fn cookies(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('=')).collect()
}

impl Objects {
    fn check(&self, query: &str, headers: &HeaderMap, faults: &mut Vec<Fault>) {
        if let Some(whole) = &self.query {
            let pairs = Pairs::of(query).0.into_iter();
            whole.check(Where::Query, pairs.map(|(name, text)| (name, plain(text, true))).collect(), faults);
        }
        if let Some(whole) = &self.headers {
            let values = |name: &String| {
                let field = HeaderName::try_from(name.as_str()).ok()?;
                let all = headers.get_all(field).iter();
                let all: Vec<_> =
                    all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
                (!all.is_empty()).then(|| (name.clone(), all.join(", ")))
            };
            whole.check(Where::Header, whole.kinds.properties.keys().filter_map(values).collect(), faults);
        }
    }
}

impl Whole {
    /// Of a schema as it is written.
    pub(crate) fn new(written: &Value, schema: Schema) -> Result<Self, String> {
        let document = Document { root: written.clone(), is_old: false };
        Ok(Self { kinds: Kinds::of(written, &document)?, schema })
    }

    fn check(&self, at: Where, pairs: Vec<(String, String)>, faults: &mut Vec<Fault>) {
        let value = |prefer: bool| {
            let mut all = Map::new();
            for (name, text) in &pairs {
                let nothing = Kinds::text();
                let kinds = self.kinds.property(name).unwrap_or(&nothing);
                if kinds.array {
                    let list = all.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                    if let Value::Array(list) = list {
                        list.push(kinds.item(text, prefer));
                    }
                } else if all.insert(name.clone(), kinds.value(text, prefer)).is_some() {
                    return Err(name.clone());
                }
            }
            Ok(Value::Object(all))
        };
        let fault = |pointer: &str, expected: String| {
            let mut steps = pointer.splitn(3, '/').skip(1);
            let name = steps.next().map(|name| name.replace("~1", "/").replace("~0", "~").into());
            let pointer = steps.next().map(|rest| format!("/{rest}")).unwrap_or_default();
            Fault { at, name, pointer, expected }
        };
        match value(false) {
            Err(twice) => {
                faults.push(fault(&format!("/{}", twice.replace('/', "~1")), "expected once".to_owned()))
            }
            Ok(read) => {
                let otherwise =
                    || self.kinds.is_ambiguous() && value(true).is_ok_and(|read| self.schema.fits(&read));
                if !self.schema.fits(&read) && !otherwise() {
                    let all = self.schema.violations(&read);
                    faults.extend(all.into_iter().map(|(pointer, expected)| fault(&pointer, expected)));
                }
            }
        }
    }
}

impl Content {
    fn compile(written: &Value, document: &Document, told: Told) -> Result<Option<Self>, String> {
        let Some(content) = written.get("content").and_then(Value::as_object).filter(|all| !all.is_empty())
        else {
            return Ok(None);
        };
        let mut all = Vec::new();
        for (name, media) in content {
            let wrong = |error: String| format!("content.{name}: {error}");
            let range = MediaRange::parse(name).ok_or_else(|| wrong("it is no media type".to_owned()))?;
            let media = document.part(media).map_err(wrong)?;
            let is_form =
                range.is("application", "x-www-form-urlencoded") || range.is("multipart", "form-data");
            let is_read = range.is_json() || is_form || range.is("text", "plain") || !range.is_one();
            let schema = media.get("schema").filter(|_| is_read);
            let fields = match schema.filter(|_| is_form || !range.is_one()) {
                Some(schema) => Fields::of(media, schema, document).map_err(wrong)?,
                None => Fields::default(),
            };
            let schema = schema.map(|schema| compiled(schema, document, told)).transpose().map_err(wrong)?;
            all.push(Media { range, schema, fields });
        }
        Ok(Some(Self(all)))
    }

    fn reading(&self, headers: &HeaderMap) -> Reading<'_> {
        let told = || self.0.iter().map(|media| media.range.to_string()).collect::<Vec<_>>().join(", ");
        let Some(kind) = media::of(headers) else { return Reading::Unsupported(told()) };
        let fitting = self.0.iter().filter_map(|media| Some((media.range.fits(&kind)?, media)));
        match fitting.max_by_key(|(closeness, _)| *closeness) {
            None => Reading::Unsupported(told()),
            // What is a stream fits a range such as `application/*+json` in name alone: nothing of it would be judged.
            Some((_, media)) if kind.is_stream() && media.schema.is_some() && !media.range.is_stream() => {
                Reading::Unsupported(told())
            }
            Some((_, media)) if media.is_read(&kind) => {
                let kind = media::text_of(headers).unwrap_or_default().to_owned();
                Reading::Yes(Judged { media: Some(media), kind })
            }
            Some(_) => Reading::No,
        }
    }
}

impl Media {
    /// Whether there are bodies of it that are read.
    fn may_be_read(&self) -> bool {
        self.schema.is_some() || self.range.is_json() || !self.range.is_one()
    }

    fn is_read(&self, kind: &MediaRange) -> bool {
        let is_known = kind.is_json()
            || kind.is("application", "x-www-form-urlencoded")
            || kind.is("multipart", "form-data")
            || kind.is("text", "plain");
        // JSON is read even without a schema: it must be JSON.
        is_known && !kind.is_stream() && (self.schema.is_some() || kind.is_json())
    }
}

impl Judged<'_> {
    /// What is wrong with a body.
    pub(crate) fn faults(&self, body: &Bytes) -> Vec<Fault> {
        let (Some(media), Some(kind)) = (self.media, MediaRange::parse(&self.kind)) else {
            return Vec::new();
        };
        // The parts of a form say it each for itself.
        if !kind.is("multipart", "form-data") && !media::is_like_ascii(&self.kind) {
            return vec![Fault::body("", "is in another character set; expected UTF-8")];
        }
        let mut faults = match &kind {
            kind if kind.is_json() => judged(media, |_| read_json(body), false),
            kind if kind.is("multipart", "form-data") => judged(
                media,
                |prefer| media.fields.multipart(&self.kind, body, prefer),
                media.fields.is_ambiguous(),
            ),
            kind if kind.is("application", "x-www-form-urlencoded") => {
                judged(media, |prefer| media.fields.urlencoded(body, prefer), media.fields.is_ambiguous())
            }
            _ => {
                let text = || std::str::from_utf8(body).map_err(|_| "is no UTF-8".to_owned());
                judged(media, |_| text().map(Value::from), false)
            }
        };
        faults.truncate(FAULTS_MAX);
        faults
    }
}

fn judged(media: &Media, read: impl Fn(bool) -> Result<Value, String>, is_ambiguous: bool) -> Vec<Fault> {
    let value = match read(false) {
        Ok(value) => value,
        Err(wrong) => return vec![Fault::body("", wrong)],
    };
    let Some(schema) = &media.schema else { return Vec::new() };
    if schema.fits(&value) || (is_ambiguous && read(true).is_ok_and(|value| schema.fits(&value))) {
        return Vec::new();
    }
    schema.violations(&value).into_iter().map(|(pointer, expected)| Fault::body(pointer, expected)).collect()
}
