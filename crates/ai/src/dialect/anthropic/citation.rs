//! Citations, as Anthropic tells them.

use serde_json::{Value, json};

use crate::canon::Citation;

/// Reads a citation.
pub(super) fn citation_of(value: &Value) -> Option<Citation> {
    let kind = value.get("type")?.as_str()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let url = match kind {
        "web_search_result_location" => text("url"),
        "search_result_location" => text("source"),
        _ => None,
    };
    Some(Citation {
        quote: text("cited_text"),
        title: text("document_title").or_else(|| text("title")),
        url,
        document: value.get("document_index").and_then(Value::as_u64),
        span: None,
        original: Some(value.clone()),
    })
}

/// The vendor's own form, when the vendor is this one.
pub(super) fn own(citation: &Citation) -> Option<&Value> {
    let original = citation.original.as_ref()?;
    let kind = original.get("type").and_then(Value::as_str).unwrap_or_default();
    (kind.ends_with("_location") && original.get("cited_text").is_some()).then_some(original)
}

/// Writes a citation. What another vendor cites has no place in a document that could be told: it is 0.
pub(super) fn citation_value(citation: &Citation) -> Value {
    if let Some(original) = own(citation) {
        return original.clone();
    }
    let quote = citation.quote.as_deref().unwrap_or_default();
    match (&citation.url, citation.document) {
        (Some(url), None) => json!({
            "type": "web_search_result_location",
            "url": url,
            "title": citation.title,
            "cited_text": quote,
            "encrypted_index": "",
        }),
        (_, document) => json!({
            "type": "char_location",
            "cited_text": quote,
            "document_index": document.unwrap_or(0),
            "document_title": citation.title,
            "start_char_index": 0,
            "end_char_index": 0,
        }),
    }
}
