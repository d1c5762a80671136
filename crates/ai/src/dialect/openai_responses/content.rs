//! What both sides share about contents: annotations, tool formats, arguments.

use serde_json::{Value, json};

use crate::canon::Citation;

/// An annotation. The dialect knows addresses; other citations have a place only in their vendor's own form.
pub(super) fn annotation(citation: &Citation) -> Option<Value> {
    if let Some(url) = &citation.url {
        let (from, to) = citation.span.unwrap_or((0, 0));
        return Some(json!({
            "type": "url_citation",
            "url": url,
            "title": citation.title.as_deref().unwrap_or_default(),
            "start_index": from,
            "end_index": to,
        }));
    }
    let kind = citation.original.as_ref()?.get("type")?.as_str()?;
    matches!(kind, "file_citation" | "container_file_citation" | "file_path")
        .then(|| citation.original.clone())?
}

/// Reads an annotation.
pub(super) fn citation_of(annotation: &Value) -> Option<Citation> {
    let text = |key: &str| annotation.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| annotation.get(key).and_then(Value::as_u64);
    text("type")?;
    let span = number("start_index").zip(number("end_index")).filter(|span| *span != (0, 0));
    Some(Citation {
        quote: None,
        title: text("title").or_else(|| text("filename")).filter(|title| !title.is_empty()),
        url: text("url"),
        document: None,
        span,
        original: Some(annotation.clone()),
    })
}

/// The `format` of a custom tool: flat here, while the canonical form nests a grammar as Chat Completions does.
pub(super) fn flat_format(format: &Value) -> Value {
    match format.get("grammar") {
        Some(Value::Object(grammar)) => {
            let mut flat = json!({"type": "grammar"});
            for (key, value) in grammar {
                flat[key] = value.clone();
            }
            flat
        }
        _ => format.clone(),
    }
}

/// The canonical `format` of a custom tool.
pub(super) fn nested_format(mut format: Value) -> Value {
    match format.as_object_mut() {
        Some(fields) if fields.contains_key("definition") => {
            fields.shift_remove("type");
            json!({"type": "grammar", "grammar": fields})
        }
        _ => format,
    }
}

/// A call without arguments has none to say; whoever reads it parses JSON all the same.
pub(super) fn arguments(text: &str) -> &str {
    if text.is_empty() { "{}" } else { text }
}

/// `wav` or `mp3`, which are all that the dialect knows.
pub(super) fn audio_format(media_type: &str) -> Option<&'static str> {
    match media_type {
        "audio/mpeg" | "audio/mp3" => Some("mp3"),
        "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
        _ => None,
    }
}
