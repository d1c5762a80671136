//! The mapping of protobuf to JSON (protobuf.dev/programming-guides/json), well-known types included.

use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage,
    SerializeOptions,
};

use crate::Wrong;

/// How messages are read and written.
#[derive(Debug, Clone)]
pub struct Json {
    read: DeserializeOptions,
    write: SerializeOptions,
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
            write: SerializeOptions::new()
                .skip_default_fields(!choices.emit_defaults)
                .use_proto_field_name(choices.proto_names)
                .use_enum_numbers(choices.enum_numbers)
                .stringify_64_bit_integers(!choices.int64_numbers),
            ignores_unknown: choices.ignore_unknown,
        }
    }

    /// Reads a message. The error names the place.
    pub fn read(&self, kind: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Wrong> {
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
        let mut to = serde_json::Serializer::new(&mut *out);
        let written = message.serialize_with_options(&mut to, &self.write);
        written.map_err(|error| {
            out.truncate(begin);
            error.to_string()
        })
    }

    /// Writes what a field holds, as it stands in its message.
    pub fn write_field(
        &self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        // Written in a message of its own, whose only member it is.
        let mut alone = DynamicMessage::new(message.descriptor());
        alone.set_field(field, message.get_field(field).into_owned());
        let mut text = Vec::new();
        let write = self.write.clone().skip_default_fields(true);
        let mut to = serde_json::Serializer::new(&mut text);
        alone.serialize_with_options(&mut to, &write).map_err(|error| error.to_string())?;
        // `{"name":` … `}`; `{}` when it has its default.
        match text.iter().position(|byte| *byte == b':') {
            Some(colon) => out.extend_from_slice(text.get(colon + 1..text.len() - 1).unwrap_or_default()),
            None => out.extend_from_slice(match field {
                field if field.is_list() => b"[]",
                field if field.is_map() => b"{}",
                field => match field.kind() {
                    Kind::Message(_) => b"{}",
                    Kind::String | Kind::Bytes => b"\"\"",
                    Kind::Bool => b"false",
                    Kind::Enum(_) => b"0",
                    _ => b"0",
                },
            }),
        }
        Ok(())
    }
}
