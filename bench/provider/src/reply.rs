//! What is answered: a call where a tool is at hand and has not been called yet, JSON where it is asked for, else words.

use ai::canon::{
    Answer, Choice, Delta, Event, Finish, Format, Opening, Part, Request, Role, ToolChoice, ToolKind, Usage,
};
use serde_json::{Map, Value, json};

/// The words of an answer, over and over.
const WORDS: [&str; 12] =
    ["tide", "gate", "opens", "slowly", "while", "the", "water", "rises", "and", "boats", "come", "in"];
/// How deep samples of a schema go.
const DEPTH_MAX: usize = 12;

/// What is said.
pub(crate) enum Said {
    /// This text.
    Text(String),
    /// A call of a tool with these arguments.
    Call { tool: String, arguments: String },
}

/// What is answered to a request, with about so many tokens.
pub(crate) fn said(request: &Request, tokens: u64) -> Said {
    if let Some(call) = call(request) {
        return call;
    }
    match &request.format {
        Format::Schema { schema, .. } => Said::Text(sample(schema, DEPTH_MAX).to_string()),
        Format::Json => Said::Text(json!({"answer": words(tokens)}).to_string()),
        Format::Text => {
            let asked = last_text(request);
            let begin = if asked.is_empty() { String::new() } else { format!("You said: {asked} ") };
            Said::Text(begin + &words(tokens))
        }
    }
}

/// The first tool, or the one that is demanded, when nothing came back from one yet.
fn call(request: &Request) -> Option<Said> {
    let is_answered = request
        .messages
        .iter()
        .rev()
        .take_while(|message| message.role != Role::User || has_result(message))
        .any(|message| message.role == Role::Tool || has_result(message));
    if is_answered || matches!(request.tool_choice, Some(ToolChoice::None)) {
        return None;
    }
    let named = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => Some(name.as_str()),
        Some(ToolChoice::Among { names, .. }) => names.first().map(String::as_str),
        _ => None,
    };
    let tool = request.tools.iter().find(|tool| named.is_none_or(|name| tool.name == name))?;
    let arguments = match &tool.kind {
        ToolKind::Function { parameters: Some(schema) } => sample(schema, DEPTH_MAX).to_string(),
        ToolKind::Function { parameters: None } => "{}".to_owned(),
        ToolKind::Custom { .. } => words(3),
        ToolKind::Vendor { .. } => return None,
    };
    Some(Said::Call { tool: tool.name.clone(), arguments })
}

fn has_result(message: &ai::canon::Message) -> bool {
    message.parts.iter().any(|part| matches!(part, Part::ToolResult { .. }))
}

/// The text that came last: of a user, or of a tool.
fn last_text(request: &Request) -> String {
    let texts = |parts: &[Part]| {
        parts
            .iter()
            .filter_map(|part| match part {
                Part::Text { text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    let Some(message) = request.messages.last() else { return String::new() };
    message
        .parts
        .iter()
        .rev()
        .find_map(|part| match part {
            Part::ToolResult { content, .. } => Some(texts(content)),
            _ => None,
        })
        .unwrap_or_else(|| texts(&message.parts))
}

fn words(tokens: u64) -> String {
    let count = usize::try_from(tokens).unwrap_or(usize::MAX);
    WORDS.iter().copied().cycle().take(count).collect::<Vec<_>>().join(" ")
}

/// A value that fits a JSON Schema, as far as its commonest words go.
fn sample(schema: &Value, depth: usize) -> Value {
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
        return value.clone();
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(key).and_then(Value::as_array).and_then(|all| all.first()) {
            return sample(first, depth.saturating_sub(1));
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None if schema.get("properties").is_some() => Some("object"),
        None => None,
    };
    match kind.map(str::to_ascii_lowercase).as_deref() {
        Some("object") if depth > 0 => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let fields = properties.into_iter().flatten();
            Value::Object(
                fields.map(|(name, schema)| (name.clone(), sample(schema, depth - 1))).collect::<Map<_, _>>(),
            )
        }
        Some("array") if depth > 0 => {
            let items = schema.get("items").map(|items| sample(items, depth - 1));
            Value::Array(items.into_iter().collect())
        }
        Some("object") => json!({}),
        Some("array") => json!([]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        _ => json!("tide"),
    }
}

/// Tokens of a text: its words.
fn count(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// What a request and its answer cost.
fn usage(request: &Request, said: &Said) -> Usage {
    let of_part = |part: &Part| match part {
        Part::Text { text, .. } => count(text),
        Part::ToolResult { content, .. } => content
            .iter()
            .map(|part| match part {
                Part::Text { text, .. } => count(text),
                _ => 1,
            })
            .sum(),
        _ => 1,
    };
    let input = request.messages.iter().flat_map(|message| &message.parts).map(of_part).sum();
    let output = match said {
        Said::Text(text) => count(text),
        Said::Call { arguments, .. } => 1 + count(arguments),
    };
    Usage { input, output, ..Usage::default() }
}

fn finish(said: &Said) -> Finish {
    match said {
        Said::Text(_) => Finish::Stop,
        Said::Call { .. } => Finish::ToolCalls,
    }
}

/// The answer as a whole.
pub(crate) fn whole(request: &Request, said: Said, id: String) -> Answer {
    let (usage, finish) = (usage(request, &said), finish(&said));
    let part = match said {
        Said::Text(text) => Part::text(text),
        Said::Call { tool, arguments } => Part::ToolCall {
            id: format!("call_{id}"),
            name: tool,
            arguments,
            custom: false,
            proof: None,
            cache: None,
        },
    };
    Answer {
        id,
        model: request.model.clone(),
        choices: vec![Choice { parts: vec![part], finish: Some(finish), ..Choice::default() }],
        usage: Some(usage),
        ..Answer::default()
    }
}

/// The answer step by step: what comes before the first token, one step for each token, and what comes after.
pub(crate) fn steps(request: &Request, said: Said, id: String) -> (Vec<Event>, Vec<Event>, Vec<Event>) {
    let (usage, finish) = (usage(request, &said), finish(&said));
    let opening = match &said {
        Said::Text(_) => Opening::Text,
        Said::Call { tool, .. } => {
            Opening::ToolCall { id: format!("call_{id}"), name: tool.clone(), custom: false }
        }
    };
    let begin = vec![
        Event::Start { id, model: request.model.clone(), created: None },
        Event::Open { choice: 0, part: 0, opening },
    ];
    let text = match &said {
        Said::Text(text) => text,
        Said::Call { arguments, .. } => arguments,
    };
    let delta = |token: &str| Event::Delta { choice: 0, part: 0, delta: Delta::Text(token.to_owned()) };
    let tokens = text.split_inclusive(' ').map(delta).collect();
    let end = vec![
        Event::Close { choice: 0, part: 0 },
        Event::Finish { choice: 0, finish },
        Event::Usage(usage),
        Event::End,
    ];
    (begin, tokens, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ai::canon::{Message, Tool};

    fn text_of(said: Said) -> String {
        match said {
            Said::Text(text) => text,
            Said::Call { .. } => panic!("a text"),
        }
    }

    #[test]
    fn a_tool_is_called_once() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
        let tool = Tool {
            kind: ToolKind::Function { parameters: Some(schema) },
            name: "weather".into(),
            description: None,
            strict: None,
            cache: None,
        };
        let mut request = Request {
            messages: vec![Message::text(Role::User, "how is it?")],
            tools: vec![tool],
            ..Request::default()
        };
        let Said::Call { tool, arguments } = said(&request, 3) else { panic!("a call") };
        assert_eq!((tool.as_str(), arguments.as_str()), ("weather", r#"{"city":"tide","days":1}"#));
        request.messages.push(Message {
            role: Role::Tool,
            name: None,
            parts: vec![Part::ToolResult {
                id: "call_1".into(),
                name: None,
                content: vec![Part::text("sunny")],
                is_error: false,
                custom: false,
                cache: None,
            }],
        });
        assert_eq!(text_of(said(&request, 2)), "You said: sunny tide gate");
    }

    #[test]
    fn json_is_as_its_schema_has_it() {
        let schema = json!({"type": "object", "properties": {
            "kind": {"enum": ["a", "b"]},
            "all": {"type": "array", "items": {"type": ["number", "null"], "minimum": 2}},
            "good": {"type": "boolean"},
        }});
        let format = Format::Schema { name: String::new(), description: None, schema, strict: None };
        let request = Request { format, ..Request::default() };
        assert_eq!(text_of(said(&request, 9)), r#"{"kind":"a","all":[2],"good":true}"#);
    }
}
