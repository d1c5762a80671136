//! Reads a whole answer.

use serde_json::Value;

use super::error::error_of;
use crate::{
    canon::{Answer, Choice, Error, ErrorKind, Extra, Part},
    dialect::cohere::{
        citation::{citations_of, content_index},
        finish_of, probability_of, usage_of,
    },
    fields::Fields,
};

pub(in crate::dialect) fn read_answer(body: &[u8]) -> Result<Answer, Error> {
    read(body).map_err(|error| match error.kind {
        ErrorKind::Invalid => Error {
            status: 502,
            ..Error::new(ErrorKind::Server, format!("the provider's answer: {}", error.message))
        },
        _ => error,
    })
}

fn read(body: &[u8]) -> Result<Answer, Error> {
    let mut fields = Fields::document(body)?;
    if fields.peek_text("message").is_some() {
        return Err(error_of(502, &fields.into_value()));
    }
    let mut extra = Extra::new();
    let mut message = fields.object("message")?.ok_or_else(|| fields.missing("message"))?;
    message.take("role");
    let mut choice = Choice { parts: read_message(&mut message, &mut extra)?, ..Choice::default() };
    message.rest(&mut extra);
    choice.finish = fields.text("finish_reason")?.as_deref().map(finish_of);
    choice.log_probabilities = fields.list("logprobs")?.iter().filter_map(probability_of).collect();
    let mut answer = Answer {
        id: fields.text("id")?.unwrap_or_default(),
        usage: fields.take("usage").as_ref().and_then(usage_of),
        choices: vec![choice],
        ..Answer::default()
    };
    fields.rest(&mut extra);
    answer.extra = extra;
    Ok(answer)
}

fn read_message(message: &mut Fields, extra: &mut Extra) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    if message.peek_text("content").is_some() {
        parts.push(Part::text(message.text("content")?.unwrap_or_default()));
    }
    for mut block in message.objects("content")? {
        match block.text("type")?.as_deref() {
            Some("thinking") => {
                parts.push(Part::Thinking { text: block.text("thinking")?.unwrap_or_default(), proof: None });
            }
            // A block of another kind keeps its place as an empty text, for citations count blocks.
            _ => parts.push(Part::text(block.text("text")?.unwrap_or_default())),
        }
        block.rest(extra);
    }
    for citation in message.list("citations")? {
        cite(&mut parts, &citation);
    }
    parts.retain(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
    if let Some(text) = message.text("tool_plan")?.filter(|text| !text.is_empty()) {
        parts.push(Part::Thinking { text, proof: None });
    }
    for mut call in message.objects("tool_calls")? {
        let mut function = call.object("function")?.ok_or_else(|| call.missing("function"))?;
        parts.push(Part::ToolCall {
            id: call.text("id")?.unwrap_or_default(),
            name: function.required_text("name")?,
            arguments: function.text("arguments")?.unwrap_or_default(),
            custom: false,
            proof: None,
            cache: None,
        });
    }
    Ok(parts)
}

/// Puts a citation on its text: the block that it names, else the first text. What is cited for thoughts and plans goes.
fn cite(parts: &mut [Part], citation: &Value) {
    let kind = citation.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "TEXT_CONTENT") {
        return;
    }
    let named = content_index(citation).filter(|at| matches!(parts.get(*at), Some(Part::Text { .. })));
    let first = || parts.iter().position(|part| matches!(part, Part::Text { .. }));
    if let Some(Part::Text { citations, .. }) = named.or_else(first).and_then(|at| parts.get_mut(at)) {
        citations.extend(citations_of(citation));
    }
}
