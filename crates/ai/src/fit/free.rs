//! Tools that take a free text (OpenAI's `custom`), for targets that know functions alone: the text travels as the one
//! field of an object, there and back.
//!
//! A grammar cannot be demanded of such a target. It is told it in words, and the loss report names it.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};

use crate::{
    canon::{Feature, Losses, Part, Request, ToolKind},
    dialect::Dialect,
    rules::Rules,
};

/// The field that holds the text.
const FIELD: &str = "input";

/// Whether a target takes such tools as they are.
pub(super) fn are_taken(dialect: Dialect, rules: &Rules) -> bool {
    match dialect {
        Dialect::OpenAiResponses => true,
        Dialect::OpenAiChat => !rules.no_custom_tools,
        Dialect::Anthropic | Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere => false,
    }
}

/// Makes functions of them, and objects of the texts that they were called with.
pub(super) fn fit(request: &mut Cow<'_, Request>, losses: &mut Losses) {
    if request.tools.iter().any(|tool| matches!(tool.kind, ToolKind::Custom { .. })) {
        for tool in &mut request.to_mut().tools {
            let ToolKind::Custom { format } = &tool.kind else { continue };
            let about = match grammar(format.as_ref()) {
                Some(grammar) => {
                    losses.feature_at(
                        Feature::CustomTool,
                        format_args!("tools.{}", crate::canon::flat(&tool.name)),
                    );
                    format!("The whole input of the tool, as it is. It must fit this grammar:\n{grammar}")
                }
                None => "The whole input of the tool, as it is.".to_owned(),
            };
            let field = json!({"type": "string", "description": about});
            let parameters = json!({
                "type": "object",
                "properties": {FIELD: field},
                "required": [FIELD],
                "additionalProperties": false,
            });
            tool.kind = ToolKind::Function { parameters: Some(parameters) };
        }
    }
    let is_free = |part: &Part| {
        matches!(part, Part::ToolCall { custom: true, .. } | Part::ToolResult { custom: true, .. })
    };
    if !request.messages.iter().flat_map(|message| &message.parts).any(is_free) {
        return;
    }
    for part in request.to_mut().messages.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::ToolCall { custom, arguments, .. } if *custom => {
                *custom = false;
                *arguments = json!({FIELD: arguments}).to_string();
            }
            Part::ToolResult { custom, .. } => *custom = false,
            _ => {}
        }
    }
}

/// A grammar in words: its language, and what it says.
fn grammar(format: Option<&Value>) -> Option<String> {
    let grammar = format?.get("grammar")?;
    let text = |key: &str| grammar.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(format!("({})\n{}", text("syntax"), text("definition")))
}

/// The text in the arguments of a call: what stands in their field, or in the one text that there is; else all of it.
pub(super) fn text_of(arguments: &str) -> String {
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, Value>>(arguments) else {
        return arguments.to_owned();
    };
    let only = || fields.values().next().filter(|_| fields.len() == 1);
    let text = fields.get(FIELD).or_else(only).and_then(Value::as_str);
    text.map_or_else(|| arguments.to_owned(), str::to_owned)
}

/// Takes the text out of arguments while they come.
#[derive(Debug, Default)]
pub(crate) struct Unwrapping {
    /// What has come and is not told.
    raw: String,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The text has not begun.
    #[default]
    Before,
    /// It has begun: what came is told as far as it can be read.
    Inside,
    /// It has ended.
    After,
}

impl Unwrapping {
    /// More of the arguments: what they add to the text.
    pub(crate) fn push(&mut self, more: &str) -> String {
        if self.state != State::After {
            self.raw.push_str(more);
        }
        if self.state == State::Before
            && let Some(at) = begin(&self.raw)
        {
            self.raw.drain(..at);
            self.state = State::Inside;
        }
        match self.state {
            State::Before | State::After => String::new(),
            State::Inside => self.read(),
        }
    }

    /// The arguments have ended: what is left of the text. Where they were no object with the field, all of it.
    pub(crate) fn finish(self) -> String {
        match self.state {
            State::Before if self.raw.trim().is_empty() => String::new(),
            State::Before => text_of(&self.raw),
            State::Inside | State::After => String::new(),
        }
    }

    /// What of a JSON string can be read: whole letters and escapes up to its end.
    fn read(&mut self) -> String {
        let bytes = self.raw.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    self.state = State::After;
                    break;
                }
                b'\\' => match escape(bytes.get(at..).unwrap_or_default()) {
                    Some(length) => at += length,
                    None => break,
                },
                _ => at += 1,
            }
        }
        let text: String = serde_json::from_str(&format!("\"{}\"", self.raw.get(..at).unwrap_or_default()))
            .unwrap_or_else(|_| self.raw.get(..at).unwrap_or_default().to_owned());
        match self.state {
            // What comes behind the text is nobody's.
            State::After => self.raw.clear(),
            State::Before | State::Inside => drop(self.raw.drain(..at)),
        }
        text
    }
}

/// The bytes of the escape with which these begin; `None` when it is not there whole. Halves of a pair go together.
fn escape(bytes: &[u8]) -> Option<usize> {
    // Nothing while digits may still come; what is no digit never becomes one.
    let unit = |at: usize| {
        let digit = |at: usize| Some(char::from(*bytes.get(at)?).to_digit(16));
        let mut unit = 0;
        for place in at..at + 4 {
            let Some(digit) = digit(place)? else { return Some(None) };
            unit = unit * 16 + digit;
        }
        Some(Some(unit))
    };
    match bytes.get(1)? {
        b'u' => match unit(2)? {
            None => Some(2),
            Some(0xd800..=0xdbff) => match (bytes.get(6), bytes.get(7)) {
                (Some(b'\\'), Some(b'u')) => unit(8).map(|second| if second.is_some() { 12 } else { 6 }),
                (Some(b'\\'), None) | (None, _) => None,
                _ => Some(6),
            },
            Some(_) => Some(6),
        },
        _ => Some(2),
    }
}

/// Where the text begins, behind `{"input": "`.
fn begin(raw: &str) -> Option<usize> {
    let rest = raw.trim_start().strip_prefix('{')?.trim_start();
    let rest = rest.strip_prefix('"')?.strip_prefix(FIELD)?.strip_prefix('"')?.trim_start();
    let rest = rest.strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(raw.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of arguments that come in pieces of so many bytes.
    fn pieces(arguments: &str, size: usize) -> String {
        let mut unwrapping = Unwrapping::default();
        let letters: Vec<char> = arguments.chars().collect();
        let mut text: String =
            letters.chunks(size).map(|piece| unwrapping.push(&piece.iter().collect::<String>())).collect();
        text.push_str(&unwrapping.finish());
        text
    }

    #[test]
    fn a_text_comes_out_of_its_object_however_it_is_cut() {
        for text in ["", "*** Begin Patch\n+\"a\\b\"\n", "größe 🦀", "{\"input\": \"x\"}", "\u{1}\t"] {
            let plain = json!({FIELD: text}).to_string();
            let spaced = format!(" {{ \"input\" : {} }} ", json!(text));
            let escaped = plain.replace('🦀', "\\ud83e\\udd80").replace('ö', "\\u00f6");
            for arguments in [&plain, &spaced, &escaped] {
                assert_eq!(text_of(arguments), text, "{arguments}");
                for size in 1..=arguments.len() {
                    assert_eq!(pieces(arguments, size), text, "{arguments} by {size}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_such_object_is_told_as_it_is() {
        for (arguments, text) in [
            ("*** Begin Patch", "*** Begin Patch"),
            (r#"{"patch": "p"}"#, "p"),
            (r#"{"a": "p", "b": "q"}"#, r#"{"a": "p", "b": "q"}"#),
            (r#"{"b": 1, "input": "p"}"#, "p"),
            ("", ""),
            ("[1]", "[1]"),
        ] {
            assert_eq!(text_of(arguments), text);
            assert_eq!(pieces(arguments, 1), text, "{arguments}");
        }
        assert_eq!(pieces(r#"{"input": "a\u12"#, 1), "a", "a broken end is left out");
        for size in 1..=20 {
            let told = pieces("{\"input\": \"a\\u12é and\"}", size);
            assert!(told.starts_with('a') && told.ends_with("é and"), "what is no escape is told: {told}");
            let told = pieces("{\"input\": \"a\\ud83d\\u1é and\"}", size);
            assert!(told.ends_with("é and"), "{told}");
        }
        let mut unwrapping = Unwrapping::default();
        unwrapping.push(r#"{"input": "a"}"#);
        (0..100).for_each(|_| drop(unwrapping.push("  ")));
        assert!(unwrapping.raw.is_empty(), "what comes behind the text is not kept");
    }
}
