//! What the reader of JSON does not refuse by itself: a name that stands twice, numbers that none of their kind holds, times and
//! spans finer than a nanosecond, and `Any` within `Any` without end, each of which is read again with all that is within it.

use std::{borrow::Cow, collections::HashSet, fmt};

use prost_reflect::{Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::write::ANYS_MAX;

/// Bytes that are read again for `Any` within `Any`.
const AGAIN_BYTES: usize = 32 * 1024 * 1024;
/// The first number that 64 bits do not hold.
const UNSIGNED_END: f64 = 18_446_744_073_709_551_616.0;
/// Digits of what is less than a second.
const FRACTION_DIGITS_MAX: usize = 9;

/// What stands at a place, as far as it is known.
#[derive(Clone)]
enum Expected {
    /// Whatever it is.
    Something,
    Message(MessageDescriptor),
    /// A map with these values.
    Map(Box<Expected>),
    Float,
    Double,
    /// A number of 64 bits without a sign: the reader takes one that is too large for the largest.
    Unsigned,
    Time,
    Span,
}

/// Looks through the text of a message.
pub(super) fn check(kind: &MessageDescriptor, text: &[u8]) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut why = None;
    let seed = Seed { expected: Expected::of_message(kind.clone()), why: &mut why };
    let anys = match (seed.deserialize(&mut json), why) {
        (_, Some(why)) => return Err(why),
        (Err(error), None) => return Err(error.to_string()),
        (Ok(anys), None) => anys,
    };
    if anys > ANYS_MAX || anys > 1 && anys.saturating_mul(text.len()) > AGAIN_BYTES {
        return Err("`Any` within `Any` is nested too deep".to_owned());
    }
    Ok(())
}

impl Expected {
    fn of_message(kind: MessageDescriptor) -> Self {
        match kind.full_name().strip_prefix("google.protobuf.") {
            None => Self::Message(kind),
            Some("DoubleValue") => Self::Double,
            Some("FloatValue") => Self::Float,
            Some("UInt64Value") => Self::Unsigned,
            Some("Timestamp") => Self::Time,
            Some("Duration") => Self::Span,
            Some(_) => Self::Something,
        }
    }

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Message(kind) if kind.is_map_entry() => {
                Self::Map(Box::new(Self::of(kind.map_entry_value_field().kind())))
            }
            Kind::Message(kind) => Self::of_message(kind),
            Kind::Float => Self::Float,
            Kind::Double => Self::Double,
            Kind::Uint64 | Kind::Fixed64 => Self::Unsigned,
            _ => Self::Something,
        }
    }

    /// What a member holds, and by which name it is one.
    fn member<'n>(&self, name: Cow<'n, str>) -> (Cow<'n, str>, Self) {
        match self {
            Self::Map(values) => (name, (**values).clone()),
            Self::Message(kind) => {
                match kind.get_field_by_json_name(&name).or_else(|| kind.get_field_by_name(&name)) {
                    Some(field) if field.json_name() == name => (name, Self::of(field.kind())),
                    Some(field) => (Cow::Owned(field.json_name().to_owned()), Self::of(field.kind())),
                    None => (name, Self::Something),
                }
            }
            _ => (name, Self::Something),
        }
    }
}

/// Gives how many `Any` there are within one another.
struct Seed<'w> {
    expected: Expected,
    why: &'w mut Option<String>,
}

impl Seed<'_> {
    fn refuse<E: Error>(self, why: String) -> E {
        *self.why = Some(why);
        E::custom("refused")
    }

    fn number<E: Error>(self, text: &str) -> Result<usize, E> {
        let is_named = matches!(text, "NaN" | "Infinity" | "-Infinity");
        let is_finite = match self.expected {
            Expected::Double => text.parse::<f64>().map_or(true, f64::is_finite),
            Expected::Float => text.parse::<f32>().map_or(true, f32::is_finite),
            _ => true,
        };
        if is_named || is_finite {
            Ok(0)
        } else {
            Err(self.refuse(format!("`{text}` is no number that fits")))
        }
    }

    /// A time or a span: nanoseconds are the finest there is, and no minute has 61 seconds.
    fn moment<E: Error>(self, text: &str) -> Result<usize, E> {
        let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let is_leap = matches!(self.expected, Expected::Time) && text.get(17..19) == Some("60");
        if digits > FRACTION_DIGITS_MAX || is_leap {
            return Err(self.refuse(format!("`{text}` is no moment that fits")));
        }
        Ok(0)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<usize, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<usize, E> {
        if matches!(self.expected, Expected::Unsigned) && number >= UNSIGNED_END {
            return Err(self.refuse(format!("`{number}` is no number that fits")));
        }
        Ok(0)
    }

    fn visit_unit<E: Error>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        match self.expected {
            Expected::Float | Expected::Double => self.number(text),
            Expected::Time | Expected::Span => self.moment(text),
            _ => Ok(0),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<usize, A::Error> {
        let mut anys = 0;
        while let Some(one) =
            items.next_element_seed(Seed { expected: self.expected.clone(), why: &mut *self.why })?
        {
            anys = anys.max(one);
        }
        Ok(anys)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<usize, A::Error> {
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        let (mut anys, mut is_any) = (0, false);
        while let Some(Name(name)) = members.next_key()? {
            is_any |= name == "@type";
            let (name, expected) = self.expected.member(name);
            if seen.contains(&name) {
                return Err(self.refuse(format!("`{name}` stands twice")));
            }
            seen.insert(name);
            anys = anys.max(members.next_value_seed(Seed { expected, why: &mut *self.why })?);
        }
        Ok(anys + usize::from(is_any))
    }
}

/// A name, borrowed where nothing in it is escaped.
#[derive(serde::Deserialize)]
struct Name<'n>(#[serde(borrow)] Cow<'n, str>);
