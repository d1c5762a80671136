//! The mapping of protobuf to JSON (protobuf.dev/programming-guides/json), well-known types included.

mod scan;
mod write;

use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor, SerializeOptions,
};

use self::write::Writer;
use crate::Wrong;

/// How messages are read and written.
#[derive(Debug, Clone)]
pub struct Json {
    read: DeserializeOptions,
    choices: Choices,
    /// For what is written in the one way that there is.
    plain: SerializeOptions,
    /// Whether names that a message does not have are ignored.
    pub ignores_unknown: bool,
}

/// What of the mapping may be chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Ignore fields that messages do not have.
    pub ignore_unknown: bool,
    /// Write fields that have their default.
    pub emit_defaults: bool,
    /// Write names of fields as the `.proto` file has them.
    pub proto_names: bool,
    /// Write enums as numbers.
    pub enum_numbers: bool,
    /// Write 64-bit integers as numbers.
    pub int64_numbers: bool,
}

impl Default for Json {
    fn default() -> Self {
        Self::new(Choices::default())
    }
}

impl Json {
    /// A mapping.
    pub fn new(choices: Choices) -> Self {
        Self {
            read: DeserializeOptions::new().deny_unknown_fields(!choices.ignore_unknown),
            choices,
            plain: SerializeOptions::new(),
            ignores_unknown: choices.ignore_unknown,
        }
    }

    /// Reads a message. The error names the place.
    pub fn read(&self, kind: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Wrong> {
        scan::check(kind, text).map_err(|why| Wrong::new("", why))?;
        let mut json = serde_json::Deserializer::from_slice(text);
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let read = DynamicMessage::deserialize_with_options(kind.clone(), tracked, &self.read);
        let message = read.map_err(|error: serde_json::Error| {
            let place = track.path().to_string();
            Wrong::new(if place == "." { String::new() } else { place }, error.to_string())
        })?;
        json.end().map_err(|error| Wrong::new("", error.to_string()))?;
        Ok(message)
    }

    /// Writes a message. Nothing is written when it cannot be.
    pub fn write(&self, message: &DynamicMessage, out: &mut Vec<u8>) -> Result<(), String> {
        let begin = out.len();
        let written = Writer::new(self.choices, &self.plain, message, out).message(message);
        written.inspect_err(|_| out.truncate(begin))
    }

    /// Writes what a field holds, as it stands in its message; `null` where it is not set and that can be told.
    pub fn write_field(
        &self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if field.supports_presence() && !message.has_field(field) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        let begin = out.len();
        let mut writer = Writer::new(self.choices, &self.plain, message, out);
        let written = writer.value(&message.get_field(field), &field.kind());
        written.inspect_err(|_| out.truncate(begin))
    }
}
