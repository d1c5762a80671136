//! Fields by their paths (`book.author.name`), and values of them that are texts: of a path, or of a query.

use base64::Engine as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::{Wrong, json::Json};

/// Items that a query may put into one list.
const ITEMS_MAX: usize = 10_000;

/// A field of a message, or of one within it.
#[derive(Debug, Clone)]
pub struct FieldPath {
    /// As it was written.
    pub text: String,
    /// The messages on the way.
    way: Vec<FieldDescriptor>,
    /// The field.
    pub field: FieldDescriptor,
}

/// A field by its name in the `.proto` file, or by that in JSON.
fn named(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

impl FieldPath {
    /// Finds a field. The error says what is not there.
    pub fn find(message: &MessageDescriptor, text: &str) -> Result<Self, String> {
        let mut at = message.clone();
        let mut way: Vec<FieldDescriptor> = Vec::new();
        let mut parts = text.split('.').peekable();
        while let Some(part) = parts.next() {
            let lacking = || format!("`{}` has no field `{part}`", at.full_name());
            let field = named(&at, part).ok_or_else(lacking)?;
            if parts.peek().is_none() {
                return Ok(Self { text: text.to_owned(), way, field });
            }
            if field.is_list() || field.is_map() {
                return Err(format!("`{part}` has many values, and a path goes through one"));
            }
            match field.kind() {
                Kind::Message(within) => at = within,
                _ => return Err(format!("`{part}` is no message, and has no fields")),
            }
            way.push(field);
        }
        Err("no field is named".to_owned())
    }

    /// Whether its values can be said in a text; the error says why not.
    pub fn check_text(&self, may_repeat: bool) -> Result<(), String> {
        if self.field.is_map() {
            return Err(format!("`{}` is a map, which no text holds", self.text));
        }
        if self.field.is_list() && !may_repeat {
            return Err(format!("`{}` has many values", self.text));
        }
        match self.field.kind() {
            Kind::Message(message) if !is_textual(&message) => {
                Err(format!("`{}` is a message (`{}`), which no text holds", self.text, message.full_name()))
            }
            _ => Ok(()),
        }
    }

    /// Names of the fields on the way and of the field: two paths are of one field when these are equal.
    pub fn numbers(&self) -> Vec<u32> {
        self.way.iter().chain([&self.field]).map(FieldDescriptor::number).collect()
    }

    /// The value that a text says; none for an enum's unknown name where that is ignored.
    pub fn value(&self, text: &str, json: &Json) -> Result<Option<Value>, Wrong> {
        self.check_text(true).map_err(|error| Wrong::new(&*self.text, error))?;
        value(&self.field, text, json).map_err(|error| Wrong::new(&*self.text, error))
    }

    /// Sets it to a value; in a list it is one further item.
    pub fn set(&self, message: &mut DynamicMessage, value: Value) -> Result<(), Wrong> {
        let mut at = message;
        for field in &self.way {
            let next = at.get_field_mut(field).as_message_mut();
            at = next.ok_or_else(|| Wrong::new(&*self.text, "it is not in a message"))?;
        }
        if !self.field.is_list() {
            if let Some(oneof) = self.field.containing_oneof()
                && oneof.fields().any(|other| other != self.field && at.has_field(&other))
            {
                let why = format!("another field of `{}` is set, too", oneof.name());
                return Err(Wrong::new(&*self.text, why));
            }
            at.set_field(&self.field, value);
            return Ok(());
        }
        match at.get_field_mut(&self.field).as_list_mut() {
            Some(items) if items.len() < ITEMS_MAX => items.push(value),
            _ => return Err(Wrong::new(&*self.text, format!("more than {ITEMS_MAX} items"))),
        }
        Ok(())
    }

    /// Forgets what stands there, if anything does.
    pub fn clear(&self, message: &mut DynamicMessage) {
        let mut at = message;
        for field in &self.way {
            if !at.has_field(field) {
                return;
            }
            match at.get_field_mut(field).as_message_mut() {
                Some(next) => at = next,
                None => return,
            }
        }
        at.clear_field(&self.field);
    }
}

/// Messages whose JSON is a text or a number.
fn is_textual(message: &MessageDescriptor) -> bool {
    let Some(name) = message.full_name().strip_prefix("google.protobuf.") else { return false };
    matches!(name, "Timestamp" | "Duration" | "FieldMask" | "Value")
        || name.ends_with("Value") && name != "ListValue"
}

/// The value that a text says; none for an enum's unknown name where that is ignored.
fn value(field: &FieldDescriptor, text: &str, json: &Json) -> Result<Option<Value>, String> {
    fn number<T: std::str::FromStr>(text: &str, kind: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("`{text}` is no {kind}"))
    }
    Ok(Some(match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bool => Value::Bool(boolean(text)?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number(text, "int32")?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number(text, "int64")?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number(text, "uint32")?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number(text, "uint64")?),
        Kind::Float => Value::F32(float(text, "float", f32::is_finite)?),
        Kind::Double => Value::F64(float(text, "double", f64::is_finite)?),
        Kind::Bytes => Value::Bytes(base64(text).ok_or("it is no base64")?.into()),
        Kind::Enum(kind) => {
            let named = kind.get_value_by_name(text).map(|value| value.number());
            match named.or_else(|| text.parse().ok()) {
                Some(number) => Value::EnumNumber(number),
                None if json.ignores_unknown => return Ok(None),
                None => return Err(format!("`{}` has no value `{text}`", kind.full_name())),
            }
        }
        Kind::Message(kind) => {
            match kind.full_name() {
                "google.protobuf.DoubleValue" => drop(float(text, "double", f64::is_finite)?),
                "google.protobuf.FloatValue" => drop(float(text, "float", f32::is_finite)?),
                _ => {}
            }
            let written = match kind.full_name() {
                "google.protobuf.BoolValue" => serde_json::Value::Bool(boolean(text)?),
                _ => serde_json::Value::String(text.to_owned()),
            };
            let read = json.read(&kind, written.to_string().as_bytes()).map_err(|wrong| wrong.to_string())?;
            Value::Message(read)
        }
    }))
}

/// A number, or one of the three names that protobuf has for those that are none.
fn float<T: std::str::FromStr>(text: &str, kind: &str, is_finite: fn(T) -> bool) -> Result<T, String> {
    let wrong = || format!("`{text}` is no {kind}");
    match text {
        "NaN" | "Infinity" | "-Infinity" => text.parse().map_err(|_| wrong()),
        _ => {
            let value = text.parse::<T>().map_err(|_| wrong());
            let is_one = text.parse::<T>().is_ok_and(is_finite);
            if is_one { value } else { Err(wrong()) }
        }
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

/// Base64 of either alphabet, with or without padding.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::{
        alphabet,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = match text.contains(['-', '_']) {
        true => &alphabet::URL_SAFE,
        false => &alphabet::STANDARD,
    };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}
