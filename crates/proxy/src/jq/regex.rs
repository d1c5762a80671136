//! Regular expressions of programs: compiled once in a run, and charged match by match.

use std::ops::Range;

use bytes::Bytes;
use jaq_core::{Cv, Error, Exn, ValX};
use jaq_json::{Map, Val};
use regex::bytes::{Regex, RegexBuilder};

use super::{
    Data,
    charge::{PATTERNS, TICKS, look, make, take},
};

/// Bytes of a compiled expression.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Compiled expressions that a run keeps.
const PATTERNS_MAX: usize = 32;
/// What compiling one takes.
const COMPILING: u64 = 500 * TICKS;
/// Bytes of one group of one match, as a value.
const GROUP_BYTES: u64 = 400;

/// An expression, its flags, and what they were compiled to.
pub(super) struct Compiled {
    pattern: Bytes,
    flags: Bytes,
    regex: Regex,
}

/// What is wanted of the matches.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) between: bool,
    pub(super) matches: bool,
}

fn error<'a>(text: impl std::fmt::Display) -> Exn<'a, Val> {
    Exn::from(Error::str(text))
}

fn compiled<'a>(pattern: &Bytes, flags: &Bytes) -> Result<Regex, Exn<'a, Val>> {
    let known = PATTERNS.with(|patterns| {
        let patterns = patterns.borrow();
        patterns
            .iter()
            .find(|known| known.pattern == pattern && known.flags == flags)
            .map(|known| known.regex.clone())
    });
    if let Some(regex) = known {
        return Ok(regex);
    }
    take(COMPILING + pattern.len() as u64 * TICKS)?;
    let text = std::str::from_utf8(pattern).map_err(|_| error("invalid regex: it is no text"))?;
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX);
    for flag in flags.iter() {
        match flag {
            b'g' | b'n' => {}
            b'i' => _ = builder.case_insensitive(true),
            b'm' => _ = builder.multi_line(true),
            b's' => _ = builder.dot_matches_new_line(true),
            b'l' => _ = builder.swap_greed(true),
            b'x' => _ = builder.ignore_whitespace(true),
            b'p' => _ = builder.multi_line(true).dot_matches_new_line(true),
            other => return Err(error(format_args!("invalid regex flag: {}", char::from(*other)))),
        }
    }
    let regex = builder.build().map_err(|reason| error(format_args!("invalid regex: {reason}")))?;
    PATTERNS.with(|patterns| {
        let mut patterns = patterns.borrow_mut();
        if patterns.len() < PATTERNS_MAX {
            let (pattern, flags) = (pattern.clone(), flags.clone());
            patterns.push(Compiled { pattern, flags, regex: regex.clone() });
        }
    });
    Ok(regex)
}

/// Characters of a text: every byte but those that continue one.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

fn text_of<'a>(value: Val) -> Result<Bytes, Exn<'a, Val>> {
    match value {
        Val::TStr(text) => Ok(*text),
        other => Err(Exn::from(Error::typ(other, "string"))),
    }
}

fn key(name: &'static str) -> Val {
    Val::utf8_str(Bytes::from_static(name.as_bytes()))
}

/// Runs `matches`, `split_matches` and `split_`, whose variables are the expression and its flags.
pub(super) fn run<'a>(mut cv: Cv<'a, Data>, wanted: Wanted) -> ValX<'a, Val> {
    let flags = text_of(cv.0.pop_var())?;
    let pattern = text_of(cv.0.pop_var())?;
    let text = text_of(cv.1)?;
    let regex = compiled(&pattern, &flags)?;
    let names: Vec<Option<&str>> = regex.capture_names().collect();
    let (is_global, skips_empty) = (flags.contains(&b'g'), flags.contains(&b'n'));
    let slice = |range: Range<usize>| Val::utf8_str(text.slice(range));
    let mut out = Vec::new();
    let mut last = 0;
    // A place in the text, in bytes and in characters.
    let mut place = (0, 0);
    take(text.len() as u64 / 4 + 1)?;
    for found in regex.captures_iter(&text) {
        // How far a search looks is not told: so each is followed by a look at the clock.
        look()?;
        take(TICKS + names.len() as u64 * 32)?;
        let Some(whole) = found.get(0) else { continue };
        if skips_empty && whole.is_empty() {
            continue;
        }
        if wanted.between {
            make(64)?;
            out.push(slice(last..whole.start().max(last)));
            last = whole.end();
        }
        if wanted.matches {
            make(names.len() as u64 * GROUP_BYTES)?;
            // Groups may stand before the place of the one before them.
            place =
                (whole.start(), place.1 + characters(text.get(place.0..whole.start()).unwrap_or_default()));
            let groups = found.iter().zip(&names).filter_map(|(group, name)| Some((group?, name)));
            let groups = groups.map(|(group, name)| {
                let before = text.get(place.0..group.start()).unwrap_or_default();
                let mut members = Map::default();
                members.insert(key("offset"), Val::from(place.1 + characters(before)));
                members.insert(key("length"), Val::from(characters(group.as_bytes())));
                members.insert(key("string"), slice(group.range()));
                if let Some(name) = name {
                    members.insert(key("name"), Val::from((*name).to_owned()));
                }
                Val::obj(members)
            });
            out.push(groups.collect());
            take(whole.len() as u64 * names.len() as u64)?;
        }
        if !is_global {
            break;
        }
    }
    if wanted.between {
        out.push(slice(last..text.len()));
    }
    Ok(out.into_iter().collect())
}
