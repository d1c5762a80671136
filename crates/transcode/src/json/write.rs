//! Messages as JSON. What is written nests no deeper than what is read, whatever is packed into `Any`, and grows no further
//! than its bound: the answer of a service is a stranger's.

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, SerializeOptions, Value,
};

use super::Choices;

/// Messages within messages, those that are packed into `Any` among them.
const DEPTH_MAX: usize = 100;
/// `Any` within `Any`.
pub(super) const ANYS_MAX: usize = 16;
const NANOS_OF_A_SECOND: i64 = 1_000_000_000;
/// What may be written of any message.
const WRITTEN_BYTES: usize = 16 * 1024 * 1024;
/// What may be written for each byte of a large one.
const WRITTEN_TIMES: usize = 8;

/// What writes one message.
pub(super) struct Writer<'w> {
    choices: Choices,
    plain: &'w SerializeOptions,
    out: &'w mut Vec<u8>,
    end: usize,
    depth: usize,
    anys: usize,
}

/// How a message stands in JSON.
enum Looks {
    /// An object with its fields.
    Object,
    Any,
    /// As its `value` does.
    Wrapper,
    /// In a way of its own.
    Own,
}

fn looks(kind: &MessageDescriptor) -> Looks {
    match kind.full_name().strip_prefix("google.protobuf.") {
        Some("Any") => Looks::Any,
        Some(
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
            | "BoolValue" | "StringValue" | "BytesValue",
        ) => Looks::Wrapper,
        Some("Timestamp" | "Duration" | "FieldMask" | "Struct" | "Value" | "ListValue" | "Empty") => {
            Looks::Own
        }
        _ => Looks::Object,
    }
}

impl<'w> Writer<'w> {
    pub(super) fn new(
        choices: Choices,
        plain: &'w SerializeOptions,
        message: &DynamicMessage,
        out: &'w mut Vec<u8>,
    ) -> Self {
        let most = WRITTEN_BYTES.max(message.encoded_len().saturating_mul(WRITTEN_TIMES));
        let end = out.len().saturating_add(most);
        Self { choices, plain, out, end, depth: 0, anys: 0 }
    }

    pub(super) fn message(&mut self, message: &DynamicMessage) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("its messages are nested too deep".to_owned());
        }
        match looks(&message.descriptor()) {
            Looks::Object => {
                self.out.push(b'{');
                self.fields(message, true)?;
                self.out.push(b'}');
            }
            Looks::Any => self.any(message)?,
            Looks::Wrapper => {
                let field = message.descriptor().get_field_by_name("value");
                let field = field.ok_or("a wrapper without a value")?;
                self.value(&message.get_field(&field), &field.kind())?;
            }
            Looks::Own => {
                fits(message)?;
                let mut to = serde_json::Serializer::new(&mut *self.out);
                message.serialize_with_options(&mut to, self.plain).map_err(|error| error.to_string())?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn any(&mut self, message: &DynamicMessage) -> Result<(), String> {
        let url = message.get_field_by_name("type_url").ok_or("an `Any` without `type_url`")?;
        let url = url.as_str().ok_or("an `Any` without `type_url`")?;
        let packed = message.get_field_by_name("value");
        let packed = packed.as_ref().and_then(|value| value.as_bytes()).cloned().unwrap_or_default();
        if url.is_empty() && packed.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        self.anys += 1;
        if self.anys > ANYS_MAX {
            return Err(format!("more than {ANYS_MAX} `Any` within one another"));
        }
        let name = url.rsplit_once('/').map_or("", |(_, name)| name);
        let kind = message.descriptor().parent_pool().get_message_by_name(name);
        let kind =
            kind.ok_or_else(|| format!("an `Any` holds `{url}`, which the descriptors do not have"))?;
        let is_object = matches!(looks(&kind), Looks::Object);
        let unpacked = DynamicMessage::decode(kind, packed).map_err(|error| error.to_string())?;
        self.out.extend_from_slice(b"{\"@type\":");
        self.text(url)?;
        if is_object {
            self.fields(&unpacked, false)?;
        } else {
            self.out.extend_from_slice(b",\"value\":");
            self.message(&unpacked)?;
        }
        self.out.push(b'}');
        self.anys -= 1;
        Ok(())
    }

    fn fields(&mut self, message: &DynamicMessage, mut is_first: bool) -> Result<(), String> {
        if self.choices.emit_defaults {
            for field in message.descriptor().fields() {
                if !field.supports_presence() || message.has_field(&field) {
                    self.field(&field, &message.get_field(&field), &mut is_first)?;
                }
            }
        } else {
            for (field, value) in message.fields() {
                self.field(&field, value, &mut is_first)?;
            }
        }
        for (extension, value) in message.extensions() {
            self.member(extension.json_name(), &mut is_first)?;
            self.value(value, &extension.kind())?;
        }
        Ok(())
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value, is_first: &mut bool) -> Result<(), String> {
        let name = if self.choices.proto_names { field.name() } else { field.json_name() };
        self.member(name, is_first)?;
        self.value(value, &field.kind())
    }

    fn member(&mut self, name: &str, is_first: &mut bool) -> Result<(), String> {
        if !std::mem::replace(is_first, false) {
            self.out.push(b',');
        }
        self.text(name)?;
        self.out.push(b':');
        Ok(())
    }

    /// Writes a value of a field of this kind.
    pub(super) fn value(&mut self, value: &Value, kind: &Kind) -> Result<(), String> {
        if self.out.len() > self.end {
            return Err("it is far larger in JSON than it came".to_owned());
        }
        match value {
            Value::Bool(value) => self.plain(value),
            Value::I32(value) => self.plain(value),
            Value::U32(value) => self.plain(value),
            Value::I64(value) if self.choices.int64_numbers => self.plain(value),
            Value::U64(value) if self.choices.int64_numbers => self.plain(value),
            Value::I64(value) => self.quoted(value),
            Value::U64(value) => self.quoted(value),
            Value::F32(value) if value.is_finite() => self.plain(value),
            Value::F64(value) if value.is_finite() => self.plain(value),
            Value::F32(value) => self.text(not_finite(f64::from(*value))),
            Value::F64(value) => self.text(not_finite(*value)),
            Value::String(value) => self.text(value),
            Value::Bytes(value) => self.quoted(Base64Display::new(value, &STANDARD)),
            Value::EnumNumber(number) => match kind.as_enum() {
                Some(kind) if kind.full_name() == "google.protobuf.NullValue" => self.plain(()),
                Some(kind) if !self.choices.enum_numbers => match kind.get_value(*number) {
                    Some(value) => self.text(value.name()),
                    None => self.plain(number),
                },
                _ => self.plain(number),
            },
            Value::Message(message) => self.message(message),
            Value::List(values) => {
                self.out.push(b'[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        self.out.push(b',');
                    }
                    self.value(value, kind)?;
                }
                self.out.push(b']');
                Ok(())
            }
            Value::Map(values) => {
                let entry = kind.as_message().filter(|kind| kind.is_map_entry()).ok_or("a map of nothing")?;
                let kind = entry.map_entry_value_field().kind();
                self.out.push(b'{');
                let mut is_first = true;
                for (key, value) in values {
                    match key {
                        MapKey::String(key) => self.member(key, &mut is_first)?,
                        MapKey::Bool(key) => self.member(&key.to_string(), &mut is_first)?,
                        MapKey::I32(key) => self.member(&key.to_string(), &mut is_first)?,
                        MapKey::I64(key) => self.member(&key.to_string(), &mut is_first)?,
                        MapKey::U32(key) => self.member(&key.to_string(), &mut is_first)?,
                        MapKey::U64(key) => self.member(&key.to_string(), &mut is_first)?,
                    }
                    self.value(value, &kind)?;
                }
                self.out.push(b'}');
                Ok(())
            }
        }
    }

    fn plain(&mut self, value: impl serde::Serialize) -> Result<(), String> {
        serde_json::to_writer(&mut *self.out, &value).map_err(|error| error.to_string())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        self.plain(text)
    }

    /// What has nothing that is to be escaped.
    fn quoted(&mut self, value: impl std::fmt::Display) -> Result<(), String> {
        use std::io::Write as _;
        write!(self.out, "\"{value}\"").map_err(|error| error.to_string())
    }
}

/// A moment or a span whose parts do not go together would be written as another.
fn fits(message: &DynamicMessage) -> Result<(), String> {
    let part = |name: &str| match message.get_field_by_name(name).as_deref() {
        Some(Value::I32(value)) => i64::from(*value),
        Some(Value::I64(value)) => *value,
        _ => 0,
    };
    let is_good = match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => (0..NANOS_OF_A_SECOND).contains(&part("nanos")),
        "google.protobuf.Duration" => {
            let (seconds, nanos) = (part("seconds"), part("nanos"));
            nanos.abs() < NANOS_OF_A_SECOND && seconds.signum() * nanos.signum() >= 0
        }
        _ => true,
    };
    if is_good { Ok(()) } else { Err("a moment whose parts do not go together".to_owned()) }
}

fn not_finite(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}
