//! What a model said, as the typed answer of a prompt.

use ai::canon::{Answer, Finish, Part, Usage};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Problem, Stage};
use crate::schema::Schema;

/// What a prompt answers with: a text, or JSON that fits a schema.
pub(super) struct Output {
    schema: Option<Schema>,
    schema_text: String,
}

/// What a model said.
pub(in crate::handler) struct Said {
    pub(in crate::handler) text: String,
    calls: Vec<Value>,
    pub(in crate::handler) refusal: Option<String>,
    pub(in crate::handler) finish: &'static str,
    pub(in crate::handler) usage: Option<Usage>,
}

/// An answer that cannot be used.
#[derive(Debug)]
pub(super) struct Unfit {
    /// What is wrong with it.
    pub(super) why: String,
    /// Asking again may help.
    pub(super) can_be_mended: bool,
}

impl Output {
    pub(super) fn compile(schema: Option<&Value>) -> Result<Self, String> {
        let schema_text = schema.map(Value::to_string).unwrap_or_default();
        let schema = schema.map(Schema::compile).transpose().map_err(|error| format!("output: {error}"))?;
        Ok(Self { schema, schema_text })
    }

    /// The schema as it is written.
    pub(super) fn schema(&self) -> Option<&Value> {
        self.schema.as_ref().map(Schema::written)
    }

    /// The same as text.
    pub(super) fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// What is wrong with a value.
    pub(super) fn faults(&self, value: &Value) -> Vec<String> {
        self.schema.as_ref().map(|schema| schema.faults(value)).unwrap_or_default()
    }

    /// What the caller gets for what the model said.
    pub(super) fn typed(&self, said: &Said) -> Result<Value, Unfit> {
        let never = |why: String| Unfit { why, can_be_mended: false };
        if !said.calls.is_empty() {
            let mut answer = Map::new();
            if !said.text.is_empty() {
                answer.insert("text".into(), said.text.as_str().into());
            }
            answer.insert("toolCalls".into(), said.calls.clone().into());
            return Ok(answer.into());
        }
        if let Some(refusal) = said.refusal.as_ref().filter(|_| said.text.is_empty()) {
            return Err(never(format!("the model declined: {}", shortened(refusal))));
        }
        if said.finish == "contentFilter" && said.text.is_empty() {
            return Err(never("the provider's filter held the answer back".to_owned()));
        }
        if self.schema.is_none() {
            return Ok(json!({"text": said.text}));
        }
        let is_cut = matches!(said.finish, "length" | "contextFull");
        let why = match serde_json::from_str::<Value>(unfenced(&said.text)) {
            Ok(value) => match self.faults(&value) {
                faults if faults.is_empty() => return Ok(value),
                faults => faults.join("; "),
            },
            Err(_) if is_cut => {
                "it ended at the most tokens allowed, before the JSON was complete".to_owned()
            }
            Err(error) => format!("it is not JSON: {error}"),
        };
        Err(Unfit { why, can_be_mended: !is_cut })
    }
}

impl Unfit {
    /// The same as a failure of the model's.
    pub(super) fn failure(&self) -> Failure {
        Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, &self.why)
            .with_hint(format!("the model's answer cannot be used: {}", self.why))
    }
}

impl Said {
    /// The first of the answers side by side.
    pub(super) fn of(answer: Answer) -> Self {
        let choice = answer.choices.into_iter().next().unwrap_or_default();
        let mut said = Self {
            text: String::new(),
            calls: Vec::new(),
            refusal: None,
            finish: choice.finish.as_ref().map_or("stop", word),
            usage: answer.usage,
        };
        for part in choice.parts {
            match part {
                Part::Text { text, .. } => said.text.push_str(&text),
                Part::ToolCall { id, name, arguments, .. } => {
                    // A model may break off amidst the arguments; then they are told as the text that they are.
                    let arguments = match arguments.trim() {
                        "" => json!({}),
                        text => serde_json::from_str(text).unwrap_or(Value::String(arguments)),
                    };
                    said.calls.push(json!({"id": id, "name": name, "arguments": arguments}));
                }
                Part::Refusal { text } => said.refusal.get_or_insert_default().push_str(&text),
                Part::Image { .. }
                | Part::Document { .. }
                | Part::Audio { .. }
                | Part::Video { .. }
                | Part::Thinking { .. }
                | Part::ToolResult { .. }
                | Part::Vendor { .. } => {}
            }
        }
        said
    }
}

fn word(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::StopSequence(_) => "stopSequence",
        Finish::Length => "length",
        Finish::ToolCalls => "toolCalls",
        Finish::ContentFilter => "contentFilter",
        Finish::Refusal => "refusal",
        Finish::Pause => "pause",
        Finish::ContextFull => "contextFull",
        Finish::Other(_) => "other",
    }
}

/// A text without the fence that models like to put round JSON.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    rest.split_once('\n').map_or(rest, |(_, json)| json).trim()
}

/// At most so much of what a model says goes into a problem document.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Tokens as callers are told them.
pub(super) fn tokens(usage: &Usage) -> Value {
    json!({
        "inputTokens": usage.input,
        "cachedInputTokens": usage.cache_read,
        "outputTokens": usage.output,
        "reasoningTokens": usage.reasoning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, finish: &'static str) -> Said {
        Said { text: text.to_owned(), calls: Vec::new(), refusal: None, finish, usage: None }
    }

    #[test]
    fn json_is_found_in_a_fence_and_judged() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
        let output = Output::compile(Some(&schema)).expect("a schema");
        for text in ["{\"a\":1}", "```json\n{\"a\": 1}\n```", "```\n{\"a\":1}```\n", "  {\"a\":1}\n"] {
            assert_eq!(output.typed(&said(text, "stop")).ok(), Some(json!({"a": 1})), "{text}");
        }
        for (text, finish, says, can_be_mended) in [
            ("{\"a\":\"x\"}", "stop", "`/a`", true),
            ("Sure! Here you are", "stop", "not JSON", true),
            ("{\"a\":", "length", "most tokens", false),
            ("```", "stop", "not JSON", true),
        ] {
            let unfit = output.typed(&said(text, finish)).expect_err(text);
            assert!(unfit.why.contains(says) && unfit.can_be_mended == can_be_mended, "{text}: {unfit:?}");
        }
    }
}
