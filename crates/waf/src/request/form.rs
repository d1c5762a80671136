//! Queries, forms and cookies.

use super::{Pair, too_many};

/// What a query or a form has.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// Names and values.
    pub(crate) found: Vec<Pair>,
    /// A percent sign begins nothing.
    pub(crate) is_badly_encoded: bool,
    /// There are more than may be.
    pub(crate) error: Option<String>,
}

/// Names and values of a query or a form, at most so many.
pub(crate) fn pairs(text: &[u8], most: usize) -> Pairs {
    let mut found = Vec::new();
    let mut is_well = true;
    let mut error = None;
    for part in text.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
        if found.len() >= most {
            error = Some(too_many(most));
            break;
        }
        let at = memchr::memchr(b'=', part);
        let (name, value) = match at {
            Some(at) => (part.get(..at).unwrap_or_default(), part.get(at + 1..).unwrap_or_default()),
            None => (part, &[][..]),
        };
        found.push((decode(name, &mut is_well), decode(value, &mut is_well)));
    }
    Pairs { found, is_badly_encoded: !is_well, error }
}

fn decode(text: &[u8], is_well: &mut bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let digit =
        |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (digit(at), digit(at + 1)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    at += 2;
                }
                _ => {
                    *is_well = false;
                    out.push(byte);
                }
            },
            byte => out.push(byte),
        }
    }
    out
}

/// Names and values of a `Cookie` header.
pub(crate) fn cookies(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    parts.map(|part| match memchr::memchr(b'=', part) {
        Some(at) => (part.get(..at).unwrap_or_default(), part.get(at + 1..).unwrap_or_default()),
        None => (part, &[][..]),
    })
}
