//! What the specification asks of attributes.

use super::{ATTRIBUTES_MAX, Attribute, Wrong};

/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Characters of an attribute's name.
const NAME_BYTES_MAX: usize = 64;

/// Whether an event has what it needs.
pub(super) fn whole(attributes: &[(String, Attribute)]) -> Result<(), Wrong> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(Wrong(format!("expected at most {ATTRIBUTES_MAX} attributes")));
    }
    for name in REQUIRED {
        if !attributes.iter().any(|(known, _)| known == name) {
            return Err(Wrong(format!("`{name}` is required")));
        }
    }
    attributes.iter().try_for_each(|(name, value)| attribute(name, value))
}

/// Whether an attribute is one.
pub(super) fn attribute(name: &str, value: &Attribute) -> Result<(), Wrong> {
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        return Err(Wrong("the name of an attribute has small letters and digits, and nothing else".into()));
    }
    let is_ours =
        REQUIRED.contains(&name) || matches!(name, "subject" | "time" | "dataschema" | "datacontenttype");
    let text = match value {
        Attribute::Text(text) => text,
        _ if is_ours => return Err(Wrong(format!("`{name}`: expected a text"))),
        _ => return Ok(()),
    };
    let control =
        |one: char| one.is_control() || matches!(u32::from(one) & 0xFFFE, 0xFFFE) || is_noncharacter(one);
    if text.chars().any(control) {
        return Err(Wrong(format!("`{name}`: it has a control character")));
    }
    if is_ours && text.is_empty() {
        return Err(Wrong(format!("`{name}`: it is empty")));
    }
    let expected = match name {
        "specversion" if text != "1.0" => "`1.0`",
        "time" if !is_time(text) => "a time such as `2026-05-01T12:00:00Z` (RFC 3339)",
        "source" if !is_address(text) => "a URI reference",
        "dataschema" if !is_address(text) || !has_scheme(text) => "a URI",
        "datacontenttype" if !is_media_type(text) => "a media type",
        _ => return Ok(()),
    };
    Err(Wrong(format!("`{name}`: expected {expected}")))
}

fn is_noncharacter(one: char) -> bool {
    matches!(u32::from(one), 0xFDD0..=0xFDEF)
}

/// Whether all characters are such as URIs have, escapes included (RFC 3986).
fn is_address(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_media_type(text: &str) -> bool {
    let token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let kind = text.split(';').next().unwrap_or_default().trim();
    kind.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Whether a text is a time (RFC 3339).
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u32> {
        let digits = bytes.get(from..to)?;
        digits
            .iter()
            .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let parts = (number(0, 4), number(5, 7), number(8, 10), number(11, 13), number(14, 16), number(17, 19));
    let (Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)) = parts else {
        return false;
    };
    let marks = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let in_range = (1..=days).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let mut rest = bytes.get(19..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = fraction.get(digits..).unwrap_or_default();
    }
    let zone = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let two = |a: &u8, b: &u8| {
                (a.is_ascii_digit() && b.is_ascii_digit()).then(|| (a - b'0') * 10 + (b - b'0'))
            };
            two(h1, h2).is_some_and(|hours| hours < 24) && two(m1, m2).is_some_and(|minutes| minutes < 60)
        }
        _ => false,
    };
    marks && in_range && zone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for good in
            ["2026-05-01T12:00:00Z", "2024-02-29t23:59:60.123456789+05:30", "2026-12-31T00:00:00-00:00"]
        {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "2026-05-01",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-05-01T24:00:00Z",
            "2026-05-01T12:00:00",
            "2026-05-01T12:00:00.Z",
            "2026-05-01T12:00:00+1:00",
            "2026-05-01T12:00:00Zx",
            "２026-05-01T12:00:00Z",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
    }

    #[test]
    fn an_attribute_is_of_its_kind() {
        let text = |text: &str| Attribute::Text(text.to_owned());
        for (name, value) in [
            ("source", text("/orders?x=1")),
            ("source", text("urn:a:b")),
            ("dataschema", text("https://x.test/s")),
            ("datacontenttype", text("application/json; charset=utf-8")),
            ("partitionkey", text("")),
            ("sampled", Attribute::Boolean(true)),
        ] {
            assert_eq!(attribute(name, &value), Ok(()), "{name}");
        }
        for (name, value) in [
            ("specversion", text("0.3")),
            ("source", text("a b")),
            ("source", text("")),
            ("id", text("a\nb")),
            ("id", Attribute::Integer(1)),
            ("type", text("a\u{ffff}")),
            ("dataschema", text("/relative")),
            ("datacontenttype", text("json")),
            ("Upper", text("x")),
            ("with-dash", text("x")),
            ("", text("x")),
        ] {
            assert!(attribute(name, &value).is_err(), "{name}: {value:?}");
        }
    }
}
