//! Escapes of HTML, CSS, JavaScript, C and SQL, undone.

use super::{digit, hex_byte, hex_four, low_byte};

/// Runs over a text: `step` looks at a place where `mark` stands and gives what it decodes to and how long it was.
fn decode(
    text: &[u8],
    mark: u8,
    mut step: impl FnMut(&[u8], usize, &mut Vec<u8>) -> Option<usize>,
) -> Option<Vec<u8>> {
    let first = memchr::memchr(mark, text)?;
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(text.get(..first).unwrap_or_default());
    let mut at = first;
    let mut is_changed = false;
    while let Some(&byte) = text.get(at) {
        if byte == mark
            && let Some(length) = step(text, at, &mut out)
        {
            is_changed = true;
            at += length.max(1);
            continue;
        }
        out.push(byte);
        at += 1;
    }
    is_changed.then_some(out)
}

/// Entities by number and the few by name that matter in attacks.
pub(super) fn html(text: &[u8]) -> Option<Vec<u8>> {
    const NAMES: [(&[u8], u8); 6] =
        [(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"nbsp", 0xA0), (b"apos", b'\'')];
    decode(text, b'&', |text, at, out| {
        let rest = text.get(at + 1..)?;
        let closed = |length: usize| length + usize::from(text.get(at + length) == Some(&b';'));
        if let [b'#', after @ ..] = rest {
            let (radix, skipped) = if matches!(after.first(), Some(b'x' | b'X')) { (16, 1) } else { (10, 0) };
            let digits = after.get(skipped..)?;
            let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
            let length = digits.iter().take_while(|byte| is_digit(byte)).count();
            if length == 0 {
                return None;
            }
            let value = digits.iter().take(length).fold(0_u32, |value, byte| {
                value.wrapping_mul(radix).wrapping_add(char::from(*byte).to_digit(radix).unwrap_or_default())
            });
            out.push(value as u8);
            return Some(closed(2 + skipped + length));
        }
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let name = rest.get(..length)?;
        let (_, byte) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        out.push(*byte);
        Some(closed(1 + length))
    })
}

/// `\xHH`, `\uHHHH`, octal and single characters.
pub(super) fn js(text: &[u8]) -> Option<Vec<u8>> {
    decode(text, b'\\', |text, at, out| {
        let next = *text.get(at + 1)?;
        match next {
            b'u' if let Some(code) = hex_four(text, at + 2) => {
                out.push(low_byte(code));
                Some(6)
            }
            b'x' if let Some(byte) = hex_byte(text, at + 2) => {
                out.push(byte);
                Some(4)
            }
            b'0'..=b'7' => Some(1 + octal(text, at + 1, out)),
            other => {
                out.push(single(other).unwrap_or(other));
                Some(2)
            }
        }
    })
}

/// Octal digits at a place, three at most and none above a byte.
fn octal(text: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let digits = text.get(at..).unwrap_or_default();
    let mut length = digits.iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    if length == 3 && digits.first().is_some_and(|byte| *byte > b'3') {
        length = 2;
    }
    let value = digits.iter().take(length).fold(0_u32, |value, byte| value * 8 + u32::from(byte - b'0'));
    out.push(value as u8);
    length
}

fn single(byte: u8) -> Option<u8> {
    Some(match byte {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0B,
        _ => return None,
    })
}

/// Escapes of ANSI C.
pub(super) fn escapes(text: &[u8]) -> Option<Vec<u8>> {
    decode(text, b'\\', |text, at, out| {
        let next = *text.get(at + 1)?;
        match next {
            b'x' | b'X' if let Some(byte) = hex_byte(text, at + 2) => {
                out.push(byte);
                Some(4)
            }
            b'0'..=b'7' => Some(1 + octal(text, at + 1, out)),
            other => {
                out.push(single(other).unwrap_or(other));
                Some(2)
            }
        }
    })
}

/// Up to six hexadecimal digits and one blank, line ends that are taken away, and other characters as they are.
pub(super) fn css(text: &[u8]) -> Option<Vec<u8>> {
    decode(text, b'\\', |text, at, out| {
        let rest = text.get(at + 1..)?;
        let length = rest.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if length > 0 {
            let value = rest
                .iter()
                .take(length)
                .fold(0_u32, |value, byte| value << 4 | u32::from(digit(*byte).unwrap_or_default()));
            // Of full-width forms the plain character, as in URLs.
            out.push(if length >= 4 { low_byte(value as u16) } else { value as u8 });
            let blank =
                rest.get(length).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0C));
            return Some(1 + length + usize::from(blank));
        }
        match rest.first()? {
            b'\n' => Some(2),
            byte => {
                out.push(*byte);
                Some(2)
            }
        }
    })
}

/// Pairs of hexadecimal digits, as long as there are any.
pub(super) fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let out: Vec<u8> = (0..text.len()).step_by(2).map_while(|at| hex_byte(text, at)).collect();
    (!out.is_empty()).then_some(out)
}

/// `0x414243` as `ABC`.
pub(super) fn sql_hex(text: &[u8]) -> Option<Vec<u8>> {
    decode(text, b'0', |text, at, out| {
        if !matches!(text.get(at + 1), Some(b'x' | b'X')) {
            return None;
        }
        let mut from = at + 2;
        while let Some(byte) = hex_byte(text, from) {
            out.push(byte);
            from += 2;
        }
        (from > at + 2).then_some(from - at)
    })
}

/// Characters beyond ASCII as `%uHHHH`.
pub(super) fn utf8_to_unicode(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_ascii() {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 2);
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_ascii() => out.push(c as u8),
                c if u32::from(c) <= 0xFFFF => {
                    out.extend_from_slice(format!("%u{:04x}", u32::from(c)).as_bytes());
                }
                c => out.extend_from_slice(format!("%u{:06x}", u32::from(c)).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
    Some(out)
}
