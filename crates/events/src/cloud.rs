//! CloudEvents 1.0: an event's attributes and its data, read from and written in the forms that have them: binary
//! (attributes are header fields), structured (all of it is JSON) and batches.
//!
//! The bindings of HTTP and of NATS write both forms the same way: fields that begin with `ce-`, and `content-type`.
//! Data is never changed: JSON goes from one form into the other as it was written, number by number.

mod check;
mod fields;
mod json;

use bytes::Bytes;
use serde_json::Value;

pub use self::fields::{decoded, encoded};

/// Attributes of an event.
pub const ATTRIBUTES_MAX: usize = 64;
/// The media type of an event that is all JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of several.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// What the names of fields begin with that are attributes.
pub const PREFIX: &str = "ce-";

/// Why something is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Attributes are header fields.
    Binary,
    /// All of it is JSON.
    Structured,
    /// Several, in a JSON array.
    Batch,
}

impl Form {
    /// What a message is, by its content type and whether it has `ce-specversion`; none when it is no event. An error
    /// is a format of events that is not known here.
    pub fn of(content_type: Option<&str>, has_version: bool) -> Result<Option<Self>, Wrong> {
        let kind = content_type.map(media_type).unwrap_or_default();
        match kind.as_str() {
            STRUCTURED => Ok(Some(Self::Structured)),
            BATCH => Ok(Some(Self::Batch)),
            other if other.starts_with("application/cloudevents") => {
                Err(Wrong(format!("expected `{STRUCTURED}` or `{BATCH}`")))
            }
            _ => Ok(has_version.then_some(Self::Binary)),
        }
    }
}

/// The type and subtype of a content type, in lower case.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a content type is that of JSON; without any it is, as the specification says.
pub fn is_json(content_type: Option<&str>) -> bool {
    let kind = content_type.map_or_else(|| "application/json".to_owned(), media_type);
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A text, a time, an address.
    Text(String),
    /// A truth value.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
}

impl Attribute {
    /// As the header field has it, before it is encoded.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Boolean(truth) => truth.to_string().into(),
            Self::Integer(number) => number.to_string().into(),
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Data {
    /// Nothing.
    #[default]
    None,
    /// JSON, as it was written.
    Json(String),
    /// Anything.
    Bytes(Bytes),
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    attributes: Vec<(String, Attribute)>,
    /// What it is about.
    pub data: Data,
}

impl Event {
    /// Reads an event whose attributes are header fields. Names are in lower case.
    pub fn binary<'f>(
        all: impl Iterator<Item = (&'f str, &'f [u8])>,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Self, Wrong> {
        fields::read(all, content_type, body)
    }

    /// Reads an event that is all JSON.
    pub fn structured(text: &[u8]) -> Result<Self, Wrong> {
        json::read(text)
    }

    /// Reads a batch.
    pub fn batch(text: &[u8], most: usize) -> Result<Vec<Self>, Wrong> {
        json::read_batch(text, most)
    }

    /// Makes an event.
    pub fn new(id: &str, source: &str, kind: &str) -> Self {
        let text = |name: &str, value: &str| (name.to_owned(), Attribute::Text(value.to_owned()));
        let attributes =
            vec![text("specversion", "1.0"), text("id", id), text("source", source), text("type", kind)];
        Self { attributes, data: Data::None }
    }

    /// All header fields, with the content type, and the payload.
    pub fn to_binary(&self) -> (Vec<(String, String)>, Bytes) {
        fields::write(self)
    }

    /// All of it as JSON.
    pub fn to_structured(&self) -> Bytes {
        json::write(self)
    }

    /// All attributes.
    pub fn attributes(&self) -> &[(String, Attribute)] {
        &self.attributes
    }

    /// An attribute that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).and_then(|(_, value)| match value {
            Attribute::Text(text) => Some(text.as_str()),
            Attribute::Boolean(_) | Attribute::Integer(_) => None,
        })
    }

    /// Sets an attribute that is a text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        let value = Attribute::Text(value.to_owned());
        check::attribute(name, &value)?;
        match self.attributes.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Its id, and where it comes from: together no two events have the same.
    pub fn identity(&self) -> (&str, &str) {
        (self.text("source").unwrap_or_default(), self.text("id").unwrap_or_default())
    }

    /// The data as a value, where it is JSON; an error where it only says that it is.
    pub fn value(&self) -> Result<Option<Value>, Wrong> {
        let told = |error: serde_json::Error| Wrong(format!("the data is not JSON: {error}"));
        match &self.data {
            Data::None => Ok(None),
            Data::Json(text) => serde_json::from_str(text).map(Some).map_err(told),
            Data::Bytes(bytes) if is_json(self.text("datacontenttype")) => {
                serde_json::from_slice(bytes).map(Some).map_err(told)
            }
            Data::Bytes(_) => Ok(None),
        }
    }
}
