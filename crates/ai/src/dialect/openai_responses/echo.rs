//! What an answer repeats of its request: the dialect's clients expect the whole of it.

use serde_json::{Map, Value, json};

use super::outbound::request_fields;
use crate::canon::{Message, Part, Request, Role};

/// The fields of a request that its answer repeats.
pub(in crate::dialect) fn echo(request: &Request) -> Map<String, Value> {
    let mut fields = request_fields(request);
    if let Some(Message { role: Role::System, parts, .. }) = request.messages.first()
        && let [Part::Text { text, .. }] = parts.as_slice()
    {
        fields.insert("instructions".to_owned(), text.as_str().into());
    }
    fields.extend(
        request.extra.iter().filter(|(path, _)| path == "max_tool_calls" || path == "truncation").cloned(),
    );
    fields.retain(|key, _| BASE.iter().any(|(known, _)| known == key));
    fields
}

/// What stands in an answer whose request is not told, and does not say.
const BASE: [(&str, &str); 18] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort": null, "summary": null}"#),
    ("safety_identifier", "null"),
    ("store", "false"),
    ("temperature", "null"),
    ("text", r#"{"format": {"type": "text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "null"),
    ("truncation", r#""disabled""#),
];

/// The fields of a response besides what it answers.
pub(super) fn with_defaults(echo: &Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::new();
    for (key, default) in BASE {
        let default = || serde_json::from_str(default).unwrap_or(Value::Null);
        let mut value = echo.get(key).cloned().unwrap_or_else(default);
        if key == "text" && value.get("format").is_none() {
            value["format"] = json!({"type": "text"});
        }
        fields.insert(key.to_owned(), value);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_what_was_asked_and_fills_in_the_rest() {
        let request = Request {
            messages: vec![Message::text(Role::System, "Be terse."), Message::text(Role::User, "Hi")],
            max_output_tokens: Some(7),
            extra: vec![("truncation".to_owned(), "auto".into())],
            ..Request::default()
        };
        let fields = with_defaults(&echo(&request));
        assert_eq!(fields["instructions"], "Be terse.");
        assert_eq!(fields["max_output_tokens"], 7);
        assert_eq!(fields["truncation"], "auto");
        assert_eq!(fields["tool_choice"], "auto");
        assert_eq!(fields["text"]["format"]["type"], "text");
    }
}
