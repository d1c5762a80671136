//! Chunk-size lines: `1*HEXDIG *( ";" name [ "=" value ] ) CRLF` (RFC 9112 §7.1), and nothing looser.

use crate::{ParseErrorKind, framing::LENGTH_MAX, rules};

/// Digits of a chunk size, leading zeros included.
pub(crate) const SIZE_DIGITS_MAX: usize = 16;

/// A chunk-size line, without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SizeLine {
    pub(crate) size: u64,
    /// Bytes of extensions.
    pub(crate) extension_bytes: usize,
}

pub(crate) fn parse(line: &[u8]) -> Result<SizeLine, ParseErrorKind> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    if digits == 0 || digits > SIZE_DIGITS_MAX {
        return Err(ParseErrorKind::MalformedChunkSize);
    }
    let (digits, extensions) = line.split_at(digits);
    let size = digits.iter().fold(0u64, |size, digit| size << 4 | u64::from(hex(*digit)));
    if size > LENGTH_MAX {
        return Err(ParseErrorKind::ChunkTooLarge);
    }
    if !extensions.is_empty() {
        check_extensions(extensions)?;
    }
    Ok(SizeLine { size, extension_bytes: extensions.len() })
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn check_extensions(mut rest: &[u8]) -> Result<(), ParseErrorKind> {
    if rest[0] != b';' {
        return Err(if rest[0] == b'\r' {
            ParseErrorKind::BareCr
        } else {
            ParseErrorKind::MalformedChunkSize
        });
    }
    while let [b';', after @ ..] = rest {
        rest = skip_token(after)?;
        if let [b'=', value @ ..] = rest {
            rest = match value {
                [b'"', quoted @ ..] => skip_quoted(quoted)?,
                token => skip_token(token)?,
            };
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(bad_extension(rest)) }
}

fn skip_token(bytes: &[u8]) -> Result<&[u8], ParseErrorKind> {
    match bytes.iter().position(|byte| !rules::is_token_byte(*byte)).unwrap_or(bytes.len()) {
        0 => Err(bad_extension(bytes)),
        len => Ok(&bytes[len..]),
    }
}

/// Goes past a quoted string's end (RFC 9110 §5.6.4).
fn skip_quoted(bytes: &[u8]) -> Result<&[u8], ParseErrorKind> {
    let mut escaped = false;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            byte if !rules::is_text_byte(*byte) => return Err(bad_extension(&bytes[index..])),
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(&bytes[index + 1..]),
            _ => {}
        }
    }
    Err(ParseErrorKind::MalformedChunkExtension)
}

#[cold]
fn bad_extension(rest: &[u8]) -> ParseErrorKind {
    if rest.first() == Some(&b'\r') {
        ParseErrorKind::BareCr
    } else {
        ParseErrorKind::MalformedChunkExtension
    }
}
