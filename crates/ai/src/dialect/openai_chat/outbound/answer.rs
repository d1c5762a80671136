//! Reads a whole answer.

use serde_json::Value;

use crate::{
    canon::{Answer, Choice, Citation, Error, ErrorKind, Extra, Part, Proof, ProofKind, Source},
    dialect::openai_chat::{ISSUER, finish_of, probability_of, usage_of},
    fields::Fields,
    way::Way,
};

pub(in crate::dialect) fn read_answer(body: &[u8]) -> Result<Answer, Error> {
    read(body).map_err(|error| Error {
        status: 502,
        ..Error::new(ErrorKind::Server, format!("the provider's answer: {}", error.message))
    })
}

fn read(body: &[u8]) -> Result<Answer, Error> {
    let mut fields = Fields::document(body)?;
    if let Some(error) = fields.take("error") {
        // Some providers say 200 and mean it not.
        return Err(super::error::error_of(502, &error));
    }
    let mut extra = Extra::new();
    fields.take("object");
    let mut answer = Answer {
        id: fields.text("id")?.unwrap_or_default(),
        model: fields.text("model")?.unwrap_or_default(),
        created: fields.count("created")?,
        usage: fields.take("usage").as_ref().and_then(usage_of),
        tier: fields.text("service_tier")?,
        ..Answer::default()
    };
    for choice in fields.objects("choices")? {
        answer.choices.push(read_choice(choice, &mut extra)?);
    }
    fields.rest(&mut extra);
    answer.extra = extra;
    if answer.choices.is_empty() {
        return Err(fields_missing());
    }
    Ok(answer)
}

fn fields_missing() -> Error {
    Error::invalid("choices", "`choices` is empty")
}

fn read_choice(mut fields: Fields, extra: &mut Extra) -> Result<Choice, Error> {
    let mut choice =
        Choice { finish: fields.text("finish_reason")?.as_deref().map(finish_of), ..Choice::default() };
    fields.take("index");
    if let Some(probabilities) = fields.take("logprobs") {
        let content = probabilities.get("content").and_then(Value::as_array);
        choice.log_probabilities = content.into_iter().flatten().filter_map(probability_of).collect();
    }
    let mut message = fields.object("message")?.ok_or_else(|| fields.missing("message"))?;
    message.take("role");
    choice.parts = read_message(&mut message)?;
    message.rest(extra);
    fields.rest(extra);
    Ok(choice)
}

fn read_message(message: &mut Fields) -> Result<Vec<Part>, Error> {
    let mut parts = read_thoughts(message)?;
    let citations: Vec<Citation> =
        message.list("annotations")?.into_iter().filter_map(|annotation| citation_of(&annotation)).collect();
    match message.take("content") {
        Some(Value::String(text)) if !text.is_empty() || !citations.is_empty() => {
            parts.push(Part::Text { text, citations, cache: None, proof: None });
        }
        // Mistral tells thoughts and text as a list.
        Some(Value::Array(pieces)) => parts.extend(pieces.iter().filter_map(piece_of)),
        _ => {}
    }
    if let Some(text) = message.text("refusal")? {
        parts.push(Part::Refusal { text });
    }
    for mut call in message.objects("tool_calls")? {
        let custom = call.has("custom");
        let key = if custom { "custom" } else { "function" };
        let mut function = call.object(key)?.ok_or_else(|| call.missing(key))?;
        parts.push(Part::ToolCall {
            id: call.text("id")?.unwrap_or_default(),
            name: function.required_text("name")?,
            arguments: arguments_of(function.take(if custom { "input" } else { "arguments" })),
            custom,
            proof: None,
            cache: None,
        });
    }
    if let Some(mut audio) = message.object("audio")? {
        let data = audio.text("data")?.unwrap_or_default();
        parts.push(Part::Audio {
            source: Source::Inline { media_type: "audio/wav".to_owned(), data },
            transcript: audio.text("transcript")?,
            id: audio.text("id")?,
        });
    }
    parts.extend(message.list("images")?.iter().filter_map(image_of));
    Ok(parts)
}

/// Arguments are JSON in a text; some providers write the JSON itself.
pub(super) fn arguments_of(value: Option<Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

fn read_thoughts(message: &mut Fields) -> Result<Vec<Part>, Error> {
    let long = message.text("reasoning")?;
    let text = message.text("reasoning_content")?.or(long);
    let mut parts: Vec<Part> = message.list("reasoning_details")?.iter().filter_map(thought_of).collect();
    if let (true, Some(text)) = (parts.is_empty(), text.filter(|text| !text.is_empty())) {
        parts.push(Part::Thinking { text, proof: None });
    }
    Ok(parts)
}

/// One of OpenRouter's `reasoning_details`.
fn thought_of(detail: &Value) -> Option<Part> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str);
    let said = text("text").or_else(|| text("summary")).unwrap_or_default().to_owned();
    let proof = proof_of(detail);
    (proof.is_some() || !said.is_empty()).then_some(Part::Thinking { text: said, proof })
}

/// The proof in one of OpenRouter's `reasoning_details`.
pub(super) fn proof_of(detail: &Value) -> Option<Proof> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let signature = text("signature").map(|value| (value, ProofKind::Signature));
    let (value, kind) = text("data").map(|value| (value, ProofKind::Encrypted)).or(signature)?;
    let id = text("id").map(str::to_owned);
    Some(Proof { issuer: ISSUER.to_owned(), kind, value: value.to_owned(), id })
}

fn piece_of(piece: &Value) -> Option<Part> {
    let text = |value: &Value| value.get("text").and_then(Value::as_str).map(str::to_owned);
    match piece.get("type").and_then(Value::as_str)? {
        "text" => text(piece).map(Part::text),
        "thinking" => {
            let said: String = match piece.get("thinking")? {
                Value::String(said) => said.clone(),
                Value::Array(pieces) => pieces.iter().filter_map(text).collect(),
                _ => return None,
            };
            Some(Part::Thinking { text: said, proof: None })
        }
        _ => None,
    }
}

pub(super) fn citation_of(annotation: &Value) -> Option<Citation> {
    let inner = annotation.get("url_citation")?;
    let text = |key: &str| inner.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| inner.get(key).and_then(Value::as_u64);
    Some(Citation {
        quote: text("content"),
        title: text("title"),
        url: text("url"),
        document: None,
        span: number("start_index").zip(number("end_index")),
        original: Some(annotation.clone()),
    })
}

pub(super) fn image_of(image: &Value) -> Option<Part> {
    let url = image.at("/image_url/url")?.as_str()?;
    let source = match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((media_type, data)) => {
            Source::Inline { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None => Source::Url { url: url.to_owned(), media_type: None },
    };
    Some(Part::Image { source, detail: None, cache: None })
}
