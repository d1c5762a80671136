//! The scripts, which the server runs as one, and what they answer.
//!
//! All keys of a cache are of one slot. Beside its answers it has a book (a hash), which says when what was purged, and a
//! log (a list) of the last purges, by which gateways hear of them. A book that is lost, or thrown out by a full server, makes all void that
//! was kept before.

use std::sync::LazyLock;

use ::redis::{Script, Value};

use super::{super::entry::Stored, hex};
use crate::policy::cache::file;

pub(super) static FIND: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("common.lua"), include_str!("find.lua"))));
pub(super) static KEEP: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("common.lua"), include_str!("keep.lua"))));
pub(super) static PURGE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("common.lua"), include_str!("purge.lua"))));
pub(super) static LISTEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("common.lua"), include_str!("listen.lua"))));

/// Digits of when an answer was asked for, of how many tags it has, and of a tag's digest.
const SINCE_DIGITS: usize = 16;
const COUNT_DIGITS: usize = 4;
const TAG_DIGITS: usize = 16;

/// What each script tells first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The server's time, in microseconds.
    pub(super) now: u64,
    /// Which book it is: when it was begun.
    pub(super) born: u64,
    /// The number of the last purge.
    pub(super) seq: i64,
}

/// What an answer that is there is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    None,
    Void,
    Good,
    Spent,
}

/// What is there of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) told: Told,
    pub(super) fate: Fate,
    pub(super) value: Option<Vec<u8>>,
    pub(super) names: Option<String>,
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn told(values: &[Value]) -> Option<Told> {
    match values {
        [now, born, Value::Int(seq), ..] => Some(Told { now: number(now)?, born: number(born)?, seq: *seq }),
        _ => None,
    }
}

/// Reads what was found.
pub(super) fn found(value: Value) -> Option<Found> {
    let Value::Array(mut values) = value else { return None };
    let told = told(&values)?;
    let (names, value, fate) = (values.pop()?, values.pop()?, values.pop()?);
    let fate = match fate {
        Value::Int(-1) => Fate::None,
        Value::Int(0) => Fate::Void,
        Value::Int(1) => Fate::Good,
        Value::Int(2) => Fate::Spent,
        _ => return None,
    };
    let bytes = |value| match value {
        Value::BulkString(bytes) => Some(Some(bytes)),
        Value::Nil => Some(None),
        _ => None,
    };
    let names = bytes(names)?.and_then(|names| String::from_utf8(names).ok());
    (values.len() == 3).then_some(())?;
    Some(Found { told, fate, value: bytes(value)?, names })
}

/// Reads whether an answer was kept.
pub(super) fn kept(value: &Value) -> Option<(Told, bool)> {
    let Value::Array(values) = value else { return None };
    match values.last()? {
        Value::Int(done) if values.len() == 4 => Some((told(values)?, *done == 1)),
        _ => None,
    }
}

/// Reads what every script tells.
pub(super) fn purged(value: &Value) -> Option<Told> {
    let Value::Array(values) = value else { return None };
    told(values)
}

/// Reads what was purged since.
pub(super) fn heard(value: Value) -> Option<(Told, Vec<Vec<u8>>)> {
    let Value::Array(mut values) = value else { return None };
    let told = told(&values)?;
    let Some(Value::Array(news)) = values.pop() else { return None };
    let line = |value| match value {
        Value::BulkString(line) => Some(line),
        _ => None,
    };
    Some((told, news.into_iter().map(line).collect::<Option<_>>()?))
}

/// What stands before an answer: when it was asked for, and its tags.
pub(super) fn prefix(stored: &Stored, since: u64) -> Vec<u8> {
    let tags = stored.tags();
    let mut out = format!("{since:0SINCE_DIGITS$}{:0COUNT_DIGITS$}", tags.len());
    tags.iter().for_each(|tag| out.push_str(&tag_id(tag)));
    out.into_bytes()
}

/// Whether the tags that stand before an answer are those that it has.
pub(super) fn has_its_tags(beside: &[u8], stored: &Stored) -> bool {
    beside.get(SINCE_DIGITS..) == prefix(stored, 0).get(SINCE_DIGITS..)
}

/// What a tag is known by.
pub(super) fn tag_id(tag: &str) -> String {
    let mut id = hex(&file::sum(tag.as_bytes()));
    id.truncate(TAG_DIGITS);
    id
}

/// The length of what stands before an answer.
pub(super) fn beside(value: &[u8]) -> Option<usize> {
    let count = value.get(SINCE_DIGITS..SINCE_DIGITS + COUNT_DIGITS)?;
    let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
    let length = SINCE_DIGITS + COUNT_DIGITS + TAG_DIGITS * count;
    (length <= value.len()).then_some(length)
}
