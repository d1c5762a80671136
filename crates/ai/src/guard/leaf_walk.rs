//! JSON read over without building it: every string and number with its place and the names that lead to it.
//!
//! The text has been judged to be JSON by a real parser; what is here trusts that for meaning, never for safety.

use std::{borrow::Cow, ops::Range};

/// How deep values may lie in each other.
const DEPTH_MAX: usize = 256;

/// One step towards a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'t> {
    /// A member of an object.
    Key(Cow<'t, str>),
    /// An item of a list.
    Item(usize),
}

/// A value that holds no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// Where it stands, quotes included.
    pub(super) at: Range<usize>,
    /// What it is.
    pub(super) kind: Token,
}

/// What holds no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A string.
    Text,
    /// A number.
    Number,
    /// The name of a member.
    Name,
}

/// Calls `each` with the steps to every string, number and name, in the order of the text. `None` when values lie too
/// deep, or the text is no JSON.
pub(super) fn walk<'t>(text: &'t str, mut each: impl FnMut(&[Step<'t>], Value)) -> Option<()> {
    walk_knowing(text, (), |(), _, _| (), |steps, (), value| each(steps, value))
}

/// The same with what is known of each place: `top` of the text, and `below` makes of what is known of a container what
/// is known of its members and items. It is asked once for each list and for each name, however much stands there. A
/// name is told with what is known of the object that it is in.
pub(super) fn walk_knowing<'t, K: Copy>(
    text: &'t str,
    top: K,
    below: impl Fn(K, &[Step<'t>], &Step<'t>) -> K,
    mut each: impl FnMut(&[Step<'t>], K, Value),
) -> Option<()> {
    let bytes = text.as_bytes();
    let mut steps: Vec<Step<'t>> = Vec::new();
    // What is known of each container, and of what stands at the step into it.
    let mut known: Vec<(K, K)> = Vec::new();
    let mut at = 0;
    // What may come next in the innermost container is known by its step: a key when it has none yet.
    let mut wants_key = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                if steps.len() >= DEPTH_MAX {
                    return None;
                }
                wants_key = *byte == b'{';
                let of = known.last().map_or(top, |(_, of)| *of);
                let step = if wants_key { Step::Key(Cow::Borrowed("")) } else { Step::Item(0) };
                known.push((of, if wants_key { of } else { below(of, &steps, &step) }));
                steps.push(step);
                at += 1;
            }
            b'}' | b']' => {
                steps.pop();
                known.pop();
                wants_key = false;
                at += 1;
            }
            b',' => {
                match steps.last_mut() {
                    Some(Step::Item(index)) => *index += 1,
                    Some(Step::Key(_)) => wants_key = true,
                    None => return None,
                }
                at += 1;
            }
            b'"' => {
                let end = string_end(bytes, at)?;
                if wants_key {
                    let of = known.last().map_or(top, |(of, _)| *of);
                    let raw = text.get(at + 1..end - 1)?;
                    let key = match raw.contains('\\') {
                        true => Cow::Owned(serde_json::from_str(text.get(at..end)?).ok()?),
                        false => Cow::Borrowed(raw),
                    };
                    let step = Step::Key(key);
                    let way = steps.get(..steps.len().checked_sub(1)?)?;
                    let within = below(of, way, &step);
                    each(way, of, Value { at: at..end, kind: Token::Name });
                    *steps.last_mut()? = step;
                    *known.last_mut()? = (of, within);
                    wants_key = false;
                } else {
                    let of = known.last().map_or(top, |(_, of)| *of);
                    each(&steps, of, Value { at: at..end, kind: Token::Text });
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..)?;
                let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = at + rest.iter().position(|byte| !is_number(byte)).unwrap_or(rest.len());
                let of = known.last().map_or(top, |(_, of)| *of);
                each(&steps, of, Value { at: at..end, kind: Token::Number });
                at = end;
            }
            _ => at += 1,
        }
    }
    Some(())
}

/// Behind the quote that ends the string that begins here.
fn string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_with_its_way() {
        let text = r#" {"a":[1.5,{"b\"c":"x\\\"y"},true,[]],"d":"z", "e":{"f":-1e5}} "#;
        let mut seen = Vec::new();
        walk(text, |steps, value| {
            if value.kind == Token::Name {
                return;
            }
            let way: Vec<String> = steps
                .iter()
                .map(|step| match step {
                    Step::Key(key) => key.to_string(),
                    Step::Item(index) => index.to_string(),
                })
                .collect();
            seen.push(format!("{}={}", way.join("/"), &text[value.at]));
        })
        .expect("JSON");
        assert_eq!(seen, ["a/0=1.5", r#"a/1/b"c="x\\\"y""#, r#"d="z""#, "e/f=-1e5"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\0-9a-z é-]{0,40}") {
            let _ = walk(&text, |_, value| assert!(text.get(value.at).is_some()));
        }
    }
}
