//! Blanks out secrets in the texts that diagnostics draw.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{Arc, LazyLock},
};

use regex::Regex;
use serde_json::Value;

use crate::{
    diagnostic::{Place, Source},
    schema::SCHEMA,
};

/// Where a secret may stand when its key is misspelt or misplaced: a value beside a telling name. References
/// (`{env: …}`) are not secrets, and neither is a path beside `keyFile`.
static TELLING: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?mi)(\w*(?:password|passwd|secret|token|api_?key|keys))["']?\s*:\s*\[?\s*([^\s{}\[\],#][^\n,}\]#]*)"#;
    Regex::new(pattern).expect("a constant pattern")
});

/// Keys that end like telling ones and hold no secret.
const PLAIN: [&str; 3] = ["firstToken", "maxKeys", "metricKeys"];

/// A number, with a unit or without, and words of YAML: nobody's secret, unless a telling name stands before it.
static HARMLESS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(?:\d{1,6}(?:ms|s|m|h|d|B|KiB|MiB|GiB|%)?|true|false|null)$";
    Regex::new(pattern).expect("a constant pattern")
});

/// All keys that a configuration may have.
static KEYS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let mut keys = HashSet::new();
    collect(&SCHEMA, &mut keys);
    keys
});

fn collect(schema: &'static Value, keys: &mut HashSet<&'static str>) {
    match schema {
        Value::Object(map) => {
            let properties = map.get("properties").and_then(Value::as_object);
            keys.extend(properties.into_iter().flat_map(|map| map.keys()).map(String::as_str));
            map.values().for_each(|value| collect(value, keys));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, keys)),
        _ => {}
    }
}

/// The sources with every literal secret blanked out, byte for byte so that places stay right. Of sources that could
/// not be read to their end only keys, marks and what is no secret anywhere stay: what stands where in them is a guess.
pub(super) fn hide(sources: &[Source], literals: &[(Place, String)], broken: &[usize]) -> Arc<[Source]> {
    let mut sources = sources.to_vec();
    for (index, source) in sources.iter_mut().enumerate() {
        let known = literals.iter().filter(|(place, _)| place.source as usize == index);
        let known = known.map(|(place, _)| place.range());
        let is_telling = |key: &str| !PLAIN.contains(&key);
        let telling = TELLING
            .captures_iter(&source.text)
            .filter(|found| found.get(1).is_some_and(|key| is_telling(key.as_str())))
            .filter_map(|found| found.get(2))
            .map(|value| value.range());
        let mut hidden: Vec<_> = known.chain(telling).collect();
        if broken.contains(&index) {
            hidden.extend(values(&source.text));
        }
        let mut bytes = std::mem::take(&mut source.text).into_bytes();
        for range in hidden {
            bytes
                .iter_mut()
                .take(range.end)
                .skip(range.start)
                .filter(|byte| **byte != b'\n')
                .for_each(|byte| *byte = b'*');
        }
        // A range ends between characters, so that whole characters were replaced.
        source.text = String::from_utf8_lossy(&bytes).into_owned();
    }
    sources.into()
}

/// Marks that a word may begin or end with and that are no part of it.
const MARKS: [char; 9] = ['{', '}', '[', ']', ',', ':', '"', '\'', '-'];

/// The words of a text that are no keys which a configuration may have.
fn values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let whole = word.trim_end();
        let inner = whole.trim_matches(MARKS);
        let start = at + (whole.len() - whole.trim_start_matches(MARKS).len());
        let rest = &text[(start + inner.len()).min(text.len())..];
        let is_key = rest.trim_start_matches(['"', '\'']).starts_with(':') && KEYS.contains(inner);
        if !inner.is_empty() && !is_key && !HARMLESS.is_match(inner) {
            found.push(start..start + inner.len());
        }
        at += word.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_end_like_a_secrets_hide_nothing_and_brackets_stay() {
        for (text, want) in [
            ("firstToken: 2s, maxKeys: 5", "firstToken: 2s, maxKeys: 5"),
            ("accessToken: abc, myKeys: [one", "accessToken: ***, myKeys: [***"),
            ("hmac: {keys: [], style: paypal}", "hmac: {keys: [], style: paypal}"),
            ("oauth: {clientSecret: }", "oauth: {clientSecret: }"),
        ] {
            assert_eq!(hide(&[Source::new("a", text)], &[], &[])[0].text, want);
        }
    }

    #[test]
    fn of_a_text_that_cannot_be_read_only_keys_and_marks_stay() {
        for (text, want) in [
            ("routes: [{name: r,", "routes: [{name: *,"),
            (
                "  - {\"name\": c, keys: [one-secret, two, 'th ree']",
                "  - {\"name\": *, keys: [**********, ***, '** ***']",
            ),
            ("password: name: x", "password: *******"),
            ("token: hunter2:x # n\u{f6}te\n", "token: *********** *****\n"),
            ("name:\n  |\n  a b", "name:\n  *\n  * *"),
            (
                "rateLimit: {limit: 5, window: 1m\nkeys: [123456, 1234567, true]\ntoken: 12",
                "rateLimit: {limit: 5, window: 1m\nkeys: [******, *******, true]\ntoken: **",
            ),
        ] {
            let hidden = hide(&[Source::new("a", text)], &[], &[0]);
            assert_eq!(hidden[0].text, want, "{text}");
        }
    }
}
