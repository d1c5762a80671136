//! Fields of heads, as components read and write them.
//!
//! What frames a message or belongs to one connection is the gateway's: components can read it and not write it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::types::Field;

/// Fields of a head that components may make it have.
const FIELDS_MAX: usize = 200;
/// Bytes of a field's value that components may write.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Fields that frame a message or belong to its connection (RFC 9110 §7.6.1), and the host, which the route decides.
const GATEWAYS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The text of a value; of one that is no UTF-8, each byte is a character.
pub(super) fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes)
        .map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

/// The first value of a name.
pub(super) fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(text)
}

/// All fields.
pub(super) fn all(headers: &HeaderMap) -> Vec<Field> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// A name that components may write.
pub(super) fn name(name: &str) -> Result<HeaderName, String> {
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
    if GATEWAYS.contains(&parsed.as_str()) {
        return Err(format!("`{parsed}` is the gateway's to say"));
    }
    Ok(parsed)
}

/// A value that components may write.
pub(super) fn value(text: &str) -> Result<HeaderValue, String> {
    if text.len() > VALUE_BYTES_MAX {
        return Err(format!("a header has {VALUE_BYTES_MAX} bytes at most"));
    }
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| "the value has bytes that no header can".to_owned())
}

/// Puts a field in the place of all of its name.
pub(super) fn set(headers: &mut HeaderMap, field: &str, text: &str) -> Result<(), String> {
    let (name, value) = (name(field)?, value(text)?);
    has_room(headers)?;
    headers.insert(name, value);
    Ok(())
}

/// Adds a field.
pub(super) fn add(headers: &mut HeaderMap, field: &str, text: &str) -> Result<(), String> {
    let (name, value) = (name(field)?, value(text)?);
    has_room(headers)?;
    headers.append(name, value);
    Ok(())
}

/// Takes out all fields of a name.
pub(super) fn remove(headers: &mut HeaderMap, field: &str) -> Result<(), String> {
    headers.remove(name(field)?);
    Ok(())
}

/// Whether a field is the gateway's to say.
pub(super) fn is_gateways(name: &str) -> bool {
    GATEWAYS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A head made of fields, without those that are the gateway's to say.
pub(super) fn make(fields: &[Field]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(fields.len().min(FIELDS_MAX));
    for (name, value) in fields.iter().filter(|(name, _)| !is_gateways(name)) {
        add(&mut headers, name, value)?;
    }
    Ok(headers)
}

fn has_room(headers: &HeaderMap) -> Result<(), String> {
    if headers.len() >= FIELDS_MAX { Err(format!("a head has {FIELDS_MAX} fields at most")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_a_message_is_not_for_components() {
        let mut headers = HeaderMap::new();
        for field in GATEWAYS.iter().copied().chain(["Content-Length", "a b", ""]) {
            assert!(set(&mut headers, field, "1").is_err(), "{field}");
            assert!(add(&mut headers, field, "1").is_err(), "{field}");
            assert!(remove(&mut headers, field).is_err(), "{field}");
        }
        for wrong in ["a\r\nb: c", "\0", &"x".repeat(VALUE_BYTES_MAX + 1)] {
            assert!(set(&mut headers, "x-a", wrong).is_err());
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn fields_are_set_added_and_removed_within_a_number() {
        let mut headers = HeaderMap::new();
        set(&mut headers, "X-A", "1").expect("a field");
        add(&mut headers, "x-a", "ü").expect("a field");
        assert_eq!(all(&headers), [("x-a".to_owned(), "1".to_owned()), ("x-a".to_owned(), "ü".to_owned())]);
        set(&mut headers, "x-a", "2").expect("a field");
        assert_eq!(first(&headers, "X-A").as_deref(), Some("2"));
        remove(&mut headers, "x-a").expect("a name");
        assert!(headers.is_empty());
        headers.insert("x-b", HeaderValue::from_bytes(b"\xe4").expect("a value"));
        assert_eq!(first(&headers, "x-b").as_deref(), Some("ä"));
        let many: Vec<Field> = (0..=FIELDS_MAX).map(|n| (format!("x-{n}"), String::new())).collect();
        assert!(make(&many).is_err());
        assert_eq!(make(&many[..FIELDS_MAX]).map(|made| made.len()), Ok(FIELDS_MAX));
        let framed = [("Content-Length".to_owned(), "7".to_owned())];
        assert_eq!(make(&framed), Ok(HeaderMap::new()), "what frames an answer is left out");
    }
}
