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
    let pattern =
        r#"(?mi)(?:password|passwd|secret|token|api_?key|keys)["']?\s*:\s*\[?\s*([^\s{\[,#][^\n,}\]#]*)"#;
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
/// not be read to their end only keys and marks stay: what stands where in them is a guess.
pub(super) fn hide(sources: &[Source], literals: &[(Place, String)], broken: &[usize]) -> Arc<[Source]> {
    let mut sources = sources.to_vec();
    for (index, source) in sources.iter_mut().enumerate() {
        let known = literals.iter().filter(|(place, _)| place.source as usize == index);
        let known = known.map(|(place, _)| place.range());
        let telling =
            TELLING.captures_iter(&source.text).filter_map(|found| found.get(1)).map(|value| value.range());
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
        if !inner.is_empty() && !is_key {
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
        ] {
            let hidden = hide(&[Source::new("a", text)], &[], &[0]);
            assert_eq!(hidden[0].text, want, "{text}");
        }
    }
}
