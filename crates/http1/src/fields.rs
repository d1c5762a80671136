//! Field lines: `name ":" OWS value OWS` (RFC 9112 §5), and what they say of the message.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{ParseErrorKind, find::find, framing::Facts, names::known, rules};

/// Fields that whoever handles a message usually adds; without room for them the map would be built twice.
pub(crate) const ROOM: usize = 8;

/// Reads one field line of `head`, notes what it says of framing and connection, and appends it to `headers`.
pub(crate) fn read(
    head: &Bytes,
    line: (usize, usize),
    headers: &mut HeaderMap,
    facts: &mut Facts,
) -> Result<(), ParseErrorKind> {
    let (name, start, end) = split(head, line)?;
    let value = &head[start..end];
    // Only names of these lengths matter to framing; comparing lengths first spares most fields the rest.
    match name.as_str().len() {
        4 if name == header::HOST && facts.host.replace((start, end)).is_some() => {
            return Err(ParseErrorKind::RepeatedHost);
        }
        6 if name == header::EXPECT => facts.expect_continue |= value.eq_ignore_ascii_case(b"100-continue"),
        7 if name == header::UPGRADE => facts.has_upgrade = true,
        10 if name == header::CONNECTION => facts.connection(value)?,
        14 if name == header::CONTENT_LENGTH => facts.content_length(value)?,
        17 if name == header::TRANSFER_ENCODING => facts.transfer_encoding(value)?,
        _ => {}
    }
    let value =
        HeaderValue::from_maybe_shared(head.slice(start..end)).map_err(|_| bad_value(&head[start..end]))?;
    headers.try_append(name, value).map_err(|_| ParseErrorKind::TooManyHeaders)?;
    Ok(())
}

/// The name, and where the value lies, without the white space around it.
pub(crate) fn split(head: &[u8], line: (usize, usize)) -> Result<(HeaderName, usize, usize), ParseErrorKind> {
    let (start, end) = line;
    // The search may run past the line: that is quicker than a search that must stop at an odd place.
    let Some(colon) = find(b':', &head[start..]).map(|colon| start + colon).filter(|colon| *colon < end)
    else {
        return Err(bad_line(&head[start..end]));
    };
    let raw_name = &head[start..colon];
    let name = match known(raw_name) {
        Some(name) => name,
        None => HeaderName::from_bytes(raw_name).map_err(|_| bad_name(raw_name))?,
    };
    let mut value = &head[colon + 1..end];
    let mut from = colon + 1;
    while let [first, rest @ ..] = value
        && is_space(*first)
    {
        value = rest;
        from += 1;
    }
    while let [rest @ .., last] = value
        && is_space(*last)
    {
        value = rest;
    }
    Ok((name, from, from + value.len()))
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cold]
fn bad_line(line: &[u8]) -> ParseErrorKind {
    match line {
        [b' ' | b'\t', ..] => ParseErrorKind::ObsoleteFold,
        line if line.contains(&b'\r') => ParseErrorKind::BareCr,
        _ => ParseErrorKind::MissingColon,
    }
}

#[cold]
fn bad_name(name: &[u8]) -> ParseErrorKind {
    match name {
        [] => ParseErrorKind::EmptyName,
        [b' ' | b'\t', ..] => ParseErrorKind::ObsoleteFold,
        [.., b' ' | b'\t'] => ParseErrorKind::SpaceBeforeColon,
        name if name.contains(&b'\r') => ParseErrorKind::BareCr,
        name if name.iter().copied().all(rules::is_token_byte) => ParseErrorKind::HeadTooLarge,
        _ => ParseErrorKind::MalformedName,
    }
}

#[cold]
fn bad_value(value: &[u8]) -> ParseErrorKind {
    if value.contains(&b'\r') { ParseErrorKind::BareCr } else { ParseErrorKind::ControlInValue }
}
