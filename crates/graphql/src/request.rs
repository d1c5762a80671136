//! Requests of GraphQL over HTTP: what a client sent, read once and strictly, and written anew where that must change.
//!
//! What two readers might understand differently is refused: a name twice, or once in another case, which some services
//! take for the same. What was not read does not go on.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value as Json, value::RawValue};

use crate::refusal::{Code, Refusal};

const NAMES: [&str; 5] = ["query", "operationName", "variables", "extensions", "documentId"];
/// Bytes of an id.
const ID_BYTES_MAX: usize = 256;

/// One operation as it was asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The document.
    pub query: Option<String>,
    /// Which of its operations.
    pub operation_name: Option<String>,
    /// The id of a document that is known already.
    pub id: Option<Id>,
    variables: Option<Box<RawValue>>,
    extensions: Option<Box<RawValue>>,
    has_others: bool,
}

/// What a document is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// `extensions.persistedQuery.sha256Hash`, as Apollo has it.
    Hash(String),
    /// `documentId`.
    Document(String),
}

impl Id {
    /// The id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Hash(text) | Self::Document(text) => text,
        }
    }
}

/// What came in one request.
#[derive(Debug)]
pub struct Payload {
    /// The operations.
    pub asked: Vec<Asked>,
    /// Whether they came as a list.
    pub is_batch: bool,
}

/// The members of an object in their order, doubles and all.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// JSON without a name twice in one of its objects. Of two, one reader takes the first and another the last.
struct Strict(Json);

pub(crate) fn strict(raw: &RawValue) -> Result<Map<String, Json>, serde_json::Error> {
    match serde_json::from_str(raw.get())? {
        Strict(Json::Object(all)) => Ok(all),
        Strict(_) => Err(serde::de::Error::custom("expected an object")),
    }
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Strict;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Json::Null))
            }

            fn visit_bool<E>(self, given: bool) -> Result<Strict, E> {
                Ok(Strict(given.into()))
            }

            fn visit_u64<E>(self, given: u64) -> Result<Strict, E> {
                Ok(Strict(given.into()))
            }

            fn visit_i64<E>(self, given: i64) -> Result<Strict, E> {
                Ok(Strict(given.into()))
            }

            fn visit_f64<E>(self, given: f64) -> Result<Strict, E> {
                Ok(Strict(given.into()))
            }

            fn visit_str<E>(self, given: &str) -> Result<Strict, E> {
                Ok(Strict(given.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Strict, A::Error> {
                let mut items = Vec::new();
                while let Some(Strict(item)) = all.next_element()? {
                    items.push(item);
                }
                Ok(Strict(Json::Array(items)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Strict, A::Error> {
                let mut members = Map::new();
                while let Some((name, Strict(member))) = all.next_entry::<String, _>()? {
                    if members.contains_key(&name) {
                        return Err(serde::de::Error::custom("a name is there twice"));
                    }
                    members.insert(name, member);
                }
                Ok(Strict(Json::Object(members)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What is read of `extensions`.
#[derive(Deserialize)]
struct Extensions {
    #[serde(rename = "persistedQuery")]
    persisted: Option<Persisted>,
}

#[derive(Deserialize)]
struct Persisted {
    version: Option<u64>,
    #[serde(rename = "sha256Hash")]
    hash: String,
}

/// Reads a body of JSON: one operation, or a list of at most so many.
///
/// # Errors
/// It is none, or there are too many.
pub fn from_json(bytes: &[u8], batch_max: usize) -> Result<Payload, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| bad("the body is no UTF-8"))?;
    if text.trim_start().starts_with('[') {
        let all: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| bad(format!("the body is no JSON: {error}")))?;
        if all.is_empty() {
            return Err(bad("the list of operations is empty"));
        }
        if all.len() > batch_max {
            let message = match batch_max {
                0 | 1 => "operations are taken one by one here".to_owned(),
                most => format!("the request has {} operations, of {most} at most", all.len()),
            };
            return Err(Refusal::new(Code::Batch, message));
        }
        let asked = all.into_iter().map(|one| Asked::read(one.get())).collect::<Result<_, _>>()?;
        return Ok(Payload { asked, is_batch: true });
    }
    Ok(Payload { asked: vec![Asked::read(text)?], is_batch: false })
}

/// Reads the query of a URL. Nothing when there is no operation in it.
///
/// # Errors
/// It has something twice, or something that is no JSON where that is expected.
pub fn from_query(query: &str) -> Result<Option<Asked>, Refusal> {
    refuse_odd(query)?;
    let mut asked = Asked::default();
    let mut seen = [false; NAMES.len()];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(place) = NAMES.iter().position(|known| *known == name) else {
            refuse_lookalike(&name)?;
            continue;
        };
        if std::mem::replace(&mut seen[place], true) {
            return Err(bad(format!("`{name}` is there twice")));
        }
        let raw = |value: &str| match value.trim() {
            "" => Ok(None),
            value => RawValue::from_string(value.to_owned())
                .map(Some)
                .map_err(|_| bad(format!("`{name}` is no JSON"))),
        };
        match &*name {
            "query" => asked.query = Some(value.into_owned()).filter(|query| !query.is_empty()),
            "operationName" => {
                asked.operation_name = Some(value.into_owned()).filter(|name| !name.is_empty())
            }
            "variables" => asked.variables = raw(&value)?,
            "extensions" => asked.extensions = raw(&value)?,
            _ => asked.id = Some(Id::Document(value.into_owned())),
        }
    }
    asked.settle()?;
    let has_some = seen.contains(&true);
    Ok(has_some.then_some(asked))
}

/// The query of a URL with this document in it. What is not about GraphQL stays.
pub fn to_query(query: &str, asked: &Asked, text: &str) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !NAMES.contains(&&*name) {
            out.append_pair(&name, &value);
        }
    }
    out.append_pair("query", text);
    if let Some(name) = &asked.operation_name {
        out.append_pair("operationName", name);
    }
    if let Some(variables) = &asked.variables {
        out.append_pair("variables", variables.get());
    }
    if let Some(extensions) = asked.other_extensions() {
        out.append_pair("extensions", &Json::Object(extensions).to_string());
    }
    out.finish()
}

/// A body with these documents.
pub fn to_json(payload: &Payload, texts: &[&str]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct One<'a> {
        query: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        operation_name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        variables: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        extensions: Option<Map<String, Json>>,
    }
    let one = |(asked, text): (&'_ Asked, &&'_ str)| {
        let one = One {
            query: text,
            operation_name: asked.operation_name.as_deref(),
            variables: asked.variables.as_deref(),
            extensions: asked.other_extensions(),
        };
        // Texts and JSON that was read can be written.
        serde_json::to_string(&one).unwrap_or_default()
    };
    let all: Vec<String> = payload.asked.iter().zip(texts).map(one).collect();
    match payload.is_batch {
        true => format!("[{}]", all.join(",")),
        false => all.concat(),
    }
}

impl Asked {
    /// A document alone, as `application/graphql` has it.
    pub fn of_text(text: String) -> Self {
        Self { query: Some(text), ..Self::default() }
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let members: Members =
            serde_json::from_str(text).map_err(|error| bad(format!("the body is no operation: {error}")))?;
        let mut asked = Self::default();
        let mut seen = [false; NAMES.len()];
        for (name, value) in members.0 {
            let Some(place) = NAMES.iter().position(|known| *known == name) else {
                refuse_lookalike(&name)?;
                asked.has_others = true;
                continue;
            };
            if std::mem::replace(&mut seen[place], true) {
                return Err(bad(format!("`{name}` is there twice")));
            }
            let string = |value: &RawValue| {
                serde_json::from_str::<Option<String>>(value.get())
                    .map_err(|_| bad(format!("`{name}` is no text")))
            };
            match name.as_str() {
                "query" => asked.query = string(&value)?.filter(|query| !query.is_empty()),
                "operationName" => asked.operation_name = string(&value)?.filter(|name| !name.is_empty()),
                "variables" => asked.variables = Some(value).filter(|value| value.get() != "null"),
                "extensions" => asked.extensions = Some(value).filter(|value| value.get() != "null"),
                _ => asked.id = string(&value)?.map(Id::Document),
            }
        }
        asked.settle()?;
        Ok(asked)
    }

    /// Finds the id, and judges what is JSON in JSON.
    fn settle(&mut self) -> Result<(), Refusal> {
        if let Some(variables) = &self.variables
            && !variables.get().trim_start().starts_with('{')
        {
            return Err(bad("`variables` are no object"));
        }
        if let Some(extensions) = &self.extensions {
            strict(extensions).map_err(|error| bad(format!("`extensions`: {error}")))?;
            let read: Extensions = serde_json::from_str(extensions.get())
                .map_err(|_| bad("`extensions` are none, or their `persistedQuery` is none"))?;
            if let Some(persisted) = read.persisted {
                if persisted.version.is_some_and(|version| version != 1) {
                    return Err(bad("this version of persisted queries is not known"));
                }
                if self.id.is_some() {
                    return Err(bad("`documentId` and `extensions.persistedQuery` are there at once"));
                }
                self.id = Some(Id::Hash(persisted.hash));
            }
        }
        match &self.id {
            Some(id) if id.as_str().is_empty() || id.as_str().len() > ID_BYTES_MAX => {
                Err(bad(format!("expected an id of at most {ID_BYTES_MAX} bytes")))
            }
            _ => Ok(()),
        }
    }

    /// Whether it cannot go on as it came: it names its document by an id, or holds what was not read.
    pub fn must_change(&self) -> bool {
        self.id.is_some() || self.has_others
    }

    /// Bytes of what is to be judged.
    pub fn bytes(&self) -> usize {
        let variables = self.variables.as_ref().map_or(0, |variables| variables.get().len());
        self.query.as_ref().map_or(0, String::len) + variables
    }

    /// The variables.
    ///
    /// # Errors
    /// They are no object that can be read.
    pub fn variables(&self) -> Result<Option<Map<String, Json>>, Refusal> {
        let Some(raw) = &self.variables else { return Ok(None) };
        strict(raw).map(Some).map_err(|error| bad(format!("`variables`: {error}")))
    }

    fn other_extensions(&self) -> Option<Map<String, Json>> {
        // It was read as such before.
        let mut all = strict(self.extensions.as_ref()?).ok()?;
        all.shift_remove("persistedQuery");
        (!all.is_empty()).then_some(all)
    }
}

/// Refuses what some services cut or read otherwise than others: `;` between names, and escapes that are no UTF-8.
fn refuse_odd(query: &str) -> Result<(), Refusal> {
    if query.contains(';') {
        return Err(bad("the URL has a `;`, which some take for `&`; it is to be escaped"));
    }
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => return Err(bad("the URL has a broken escape")),
            },
            (b'%', _) => return Err(bad("the URL has a broken escape")),
            _ => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(bad("the URL has escapes that are no UTF-8")),
    }
}

/// A name as the most lenient service reads it: what stands before brackets, dots and the like, without spaces.
pub(crate) fn bare(name: &str) -> &str {
    let is_space = |letter: char| letter.is_whitespace() || letter.is_control();
    let name = name.trim_matches(is_space);
    let end = name.find(['[', ']', '.', ';', '\0', '=']).unwrap_or(name.len());
    name.get(..end).unwrap_or_default().trim_matches(is_space)
}

/// Refuses names that some services take for one of ours.
pub(crate) fn refuse_lookalike(name: &str) -> Result<(), Refusal> {
    let bare = bare(name);
    let is_alike = !name.is_ascii() || NAMES.iter().any(|known| known.eq_ignore_ascii_case(bare));
    match is_alike {
        true => Err(bad("a name is not quite that of a part of the request".to_owned())),
        false => Ok(()),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}
