//! Percent signs, undone and made.

use super::{hex_byte, hex_four, low_byte};

/// Undoes `%HH` and `+`, and `%uHHHH` where that is asked for; what is not well-formed stays.
pub(super) fn decode(text: &[u8], with_unicode: bool) -> Option<Vec<u8>> {
    let first = memchr::memchr2(b'%', b'+', text)?;
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(text.get(..first).unwrap_or_default());
    let mut at = first;
    let mut is_changed = false;
    while let Some(&byte) = text.get(at) {
        let is_unicode = with_unicode && matches!(text.get(at + 1), Some(b'u' | b'U'));
        let (decoded, length) = match byte {
            b'+' => (b' ', 1),
            b'%' if is_unicode => match hex_four(text, at + 2) {
                Some(code) => (low_byte(code), 6),
                None => (b'%', 1),
            },
            b'%' => match hex_byte(text, at + 1) {
                Some(decoded) => (decoded, 3),
                None => (b'%', 1),
            },
            byte => (byte, 1),
        };
        is_changed |= length > 1 || byte == b'+';
        out.push(decoded);
        at += length;
    }
    is_changed.then_some(out)
}

/// Everything but letters, digits and `*` with percent signs; spaces as `+`.
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for &byte in text {
        match byte {
            b' ' => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || byte == b'*' => out.push(byte),
            byte => out.extend_from_slice(format!("%{byte:02x}").as_bytes()),
        }
    }
    out
}
