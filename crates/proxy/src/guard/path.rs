//! One canonical path, for the router, the policies, the log and the upstream alike.
//!
//! Two spellings that RFC 3986 calls equivalent become one; a form that two readers may take for different paths
//! is refused, or kept where the configuration allows it. The result is its own canonical form. What leaves the
//! gateway after a rewrite is held against the same function.

use std::borrow::Cow;

use model::resource::path_rules::{Allowance, PathRules};

mod forms;
#[cfg(test)]
mod tests;

pub(crate) use forms::{Form, Forms};

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathRefusal {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A byte that a path cannot hold: a control character, a space, `#`, `?`, or beyond ASCII.
    #[error("the path holds the byte 0x{0:02x}, which must be percent-encoded or absent")]
    Byte(u8),
    /// `%` without two hexadecimal digits.
    #[error("the path holds a `%` without two hexadecimal digits")]
    Escape,
    /// ASCII written in more bytes than it has (RFC 3629 §3): lax readers take `%C0%AE` for a dot.
    #[error("the path holds an overlong UTF-8 sequence")]
    Overlong,
    /// More `..` than there are segments above.
    #[error("the path climbs above its root")]
    AboveRoot,
    /// A dot segment that only shows once an allowed form is read another way: `..;x`, `..%2f`.
    #[error("the path hides a dot segment")]
    HiddenDots,
    /// An ambiguous form that the rules do not allow.
    #[error("the path holds {0}, which is not allowed here")]
    Form(Form),
}

/// A canonical path and the ambiguous forms that it holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Canonical<'a> {
    /// The path.
    pub(crate) path: Cow<'a, str>,
    /// Forms that stand in it only where a rule allows them.
    pub(crate) forms: Forms,
}

/// The canonical form of a path as it came on the wire, under rules that are already known.
///
/// # Errors
/// [`PathRefusal`], for what is never a path and for what the rules do not allow.
pub(crate) fn normalise<'a>(raw: &'a str, rules: &PathRules) -> Result<Cow<'a, str>, PathRefusal> {
    let canonical = canonical(raw, rules.merge_slashes.unwrap_or(true))?;
    canonical.forms.judge(rules)?;
    Ok(canonical.path)
}

/// Whether a path is its own canonical form under the rules: what a rewrite made must be.
pub(crate) fn is_canonical(path: &str, rules: &PathRules) -> bool {
    matches!(normalise(path, rules), Ok(Cow::Borrowed(same)) if same == path)
}

/// The canonical form of a path that stands in the configuration: a pattern may hold every form.
pub(crate) fn canonical_pattern(pattern: &str, merge_slashes: bool) -> Result<String, PathRefusal> {
    Ok(canonical(pattern, merge_slashes)?.path.into_owned())
}

/// The canonical form of a path whose rules are known only once its route is found: the forms that it holds are
/// to be [judged](Forms::judge) by the rules of that route.
///
/// # Errors
/// [`PathRefusal`], for what no rule can allow.
pub(crate) fn canonical(raw: &str, merge_slashes: bool) -> Result<Canonical<'_>, PathRefusal> {
    if raw.is_empty() {
        return Ok(Canonical { path: Cow::Borrowed("/"), forms: Forms::default() });
    }
    if !raw.starts_with('/') {
        return Err(PathRefusal::NotAbsolute);
    }
    if is_plain(raw.as_bytes(), merge_slashes) {
        return Ok(Canonical { path: Cow::Borrowed(raw), forms: Forms::default() });
    }
    let (decoded, forms) = decode(raw.as_bytes())?;
    if !forms.is_empty() && hides_dots(&decoded) {
        return Err(PathRefusal::HiddenDots);
    }
    let path = resolve(&decoded, merge_slashes)?;
    let path = if path == raw { Cow::Borrowed(raw) } else { Cow::Owned(path) };
    Ok(Canonical { path, forms })
}

/// What a byte is at first sight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself and needs no second look.
    Plain,
    Slash,
    Dot,
    Percent,
    Semicolon,
    Backslash,
    /// Tolerated, but written as an escape: `"<>[]^`{|}`.
    Escaped,
    Refused,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refused; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Class::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
                Class::Plain
            }
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b'%' => Class::Percent,
            b';' => Class::Semicolon,
            b'\\' => Class::Backslash,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Escaped,
            _ => Class::Refused,
        };
        byte += 1;
    }
    classes
};

/// One scan, without a copy: whether the path is canonical and holds no ambiguous form. `false` decides nothing.
fn is_plain(path: &[u8], merge_slashes: bool) -> bool {
    let mut at = 0;
    let mut after_slash = false;
    while at < path.len() {
        match CLASSES[usize::from(path[at])] {
            Class::Plain => after_slash = false,
            Class::Slash if after_slash && merge_slashes => return false,
            Class::Slash => after_slash = true,
            Class::Dot if after_slash && is_dot_segment(&path[at..]) => return false,
            Class::Dot => after_slash = false,
            Class::Percent => match escape(path, at) {
                Some(byte) if stays_escaped(byte) && path[at + 1..at + 3].iter().all(is_upper_hex) => {
                    after_slash = false;
                    at += 2;
                }
                _ => return false,
            },
            _ => return false,
        }
        at += 1;
    }
    true
}

/// Whether what follows a slash is `.` or `..` up to the next slash or the end.
fn is_dot_segment(rest: &[u8]) -> bool {
    let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    matches!(&rest[..end], b"." | b"..")
}

fn is_upper_hex(byte: &u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(byte)
}

/// An escape that is canonical and unambiguous: not of an unreserved character, nor of one with a rule.
fn stays_escaped(byte: u8) -> bool {
    match CLASSES[usize::from(byte)] {
        // The bytes that begin overlong sequences are looked at twice.
        Class::Refused if matches!(byte, 0xc0 | 0xc1 | 0xe0 | 0xf0) => false,
        Class::Refused => byte >= 0x80 || matches!(byte, b' ' | b'#' | b'?'),
        Class::Escaped => true,
        Class::Plain => !is_unreserved(byte),
        Class::Slash | Class::Dot | Class::Percent | Class::Semicolon | Class::Backslash => false,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that the escape at `at` stands for.
fn escape(path: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*path.get(at + 1)?)?, digit(*path.get(at + 2)?)?);
    u8::try_from(high << 4 | low).ok()
}

/// Decodes escapes of unreserved characters, writes the others in capitals, and notes ambiguous forms.
fn decode(raw: &[u8]) -> Result<(String, Forms), PathRefusal> {
    let mut path = String::with_capacity(raw.len() + 8);
    let mut forms = Forms::default();
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        match CLASSES[usize::from(byte)] {
            Class::Plain | Class::Slash | Class::Dot => path.push(char::from(byte)),
            Class::Semicolon => {
                forms.note(Form::Semicolon);
                path.push(';');
            }
            Class::Backslash => {
                forms.note(Form::Backslash);
                push_escape(&mut path, byte);
            }
            Class::Escaped => push_escape(&mut path, byte),
            Class::Refused => return Err(PathRefusal::Byte(byte)),
            Class::Percent => {
                let decoded = escape(raw, at).ok_or(PathRefusal::Escape)?;
                if is_unreserved(decoded) {
                    path.push(char::from(decoded));
                } else {
                    push_escape(&mut path, decoded);
                }
                if let Some(form) = Form::of_escaped(decoded) {
                    forms.note(form);
                }
                at += 2;
            }
        }
        at += 1;
    }
    if overlong(path.as_bytes()) {
        return Err(PathRefusal::Overlong);
    }
    // Judged on the result: `%25%32%66` only shows its second escape once the digits are decoded.
    if doubly_encoded(path.as_bytes()) {
        forms.note(Form::DoubleEncoding);
    }
    Ok((path, forms))
}

fn push_escape(path: &mut String, byte: u8) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    path.push('%');
    path.push(char::from(HEX[usize::from(byte >> 4)]));
    path.push(char::from(HEX[usize::from(byte & 15)]));
}

/// Whether escapes spell a sequence that is longer than it need be.
fn overlong(path: &[u8]) -> bool {
    path.windows(6).any(|six| {
        let next = matches!(six[4], b'8' | b'9' | b'A' | b'B');
        six[3] == b'%'
            && match &six[..3] {
                b"%C0" | b"%C1" => next,
                b"%E0" => matches!(six[4], b'8' | b'9'),
                b"%F0" => six[4] == b'8',
                _ => false,
            }
    })
}

fn doubly_encoded(path: &[u8]) -> bool {
    path.windows(5)
        .any(|five| five.starts_with(b"%25") && five[3].is_ascii_hexdigit() && five[4].is_ascii_hexdigit())
}

/// Whether an upstream that decodes once more, splits at a backslash, or drops parameters would see a dot segment
/// where we see none.
fn hides_dots(path: &str) -> bool {
    let mut bytes = path.as_bytes().to_vec();
    // Each round shortens the path, so this ends; a path that needs more rounds than this is no accident.
    for _ in 0..8 {
        let shown = decode_all(&bytes);
        if shown == bytes {
            return has_hidden_dots(&bytes, path);
        }
        bytes = shown;
    }
    true
}

pub(crate) fn decode_all(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        let byte = (path[at] == b'%').then(|| escape(path, at)).flatten();
        decoded.push(byte.unwrap_or(path[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    decoded
}

/// Dot segments of the fully decoded path that are none of the canonical path's own, which are about to be
/// resolved: those stand in both.
fn has_hidden_dots(decoded: &[u8], path: &str) -> bool {
    let dots = |segment: &&[u8]| matches!(*segment, b"." | b"..");
    let shown = path.as_bytes().split(|&byte| byte == b'/').filter(dots).count();
    let all = decoded
        .split(|&byte| matches!(byte, b'/' | b'\\') || byte.is_ascii_control())
        .map(|segment| segment.split(|&byte| byte == b';').next().unwrap_or(segment))
        .filter(dots)
        .count();
    all > shown
}

/// Removes dot segments (RFC 3986 §5.2.4) and, where asked, empty ones, before any `..` counts them.
fn resolve(path: &str, merge_slashes: bool) -> Result<String, PathRefusal> {
    let mut kept: Vec<&str> = Vec::with_capacity(16);
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if merge_slashes && !last => {}
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop().ok_or(PathRefusal::AboveRoot)?;
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in kept {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if resolved.is_empty() {
        resolved.push('/');
    }
    Ok(resolved)
}
