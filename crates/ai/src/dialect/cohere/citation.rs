//! Citations, for both sides: which words of an answer rest on which documents and results of tools.

use serde_json::{Map, Value, json};

use crate::canon::Citation;

/// Reads a citation: one for each of its sources.
pub(super) fn citations_of(value: &Value) -> Vec<Citation> {
    let number = |key: &str| value.get(key).and_then(Value::as_u64);
    let span = number("start").zip(number("end"));
    let one = |source: Option<&Value>| {
        let data = source.and_then(|source| source.get("document").or_else(|| source.get("tool_output")));
        let text = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| data?.get(*key)?.as_str());
            found.map(str::to_owned)
        };
        let id = source.and_then(|source| source.get("id")).and_then(Value::as_str);
        Citation {
            quote: text(&["snippet", "text", "content"]),
            title: text(&["title"]).or_else(|| id.map(str::to_owned)),
            url: text(&["url"]),
            // Documents without ids are numbered.
            document: id.and_then(|id| id.strip_prefix("doc:")).and_then(|number| number.parse().ok()),
            span,
            original: Some(value.clone()),
        }
    };
    match value.get("sources").and_then(Value::as_array).filter(|sources| !sources.is_empty()) {
        Some(sources) => sources.iter().map(|source| one(Some(source))).collect(),
        None => vec![one(None)],
    }
}

/// Which block of the content a citation is about.
pub(super) fn content_index(value: &Value) -> Option<usize> {
    value.get("content_index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok())
}

/// Writes the citations of a text. Sources of one place stand together.
pub(super) fn citation_values(citations: &[Citation], text: &str, content: usize) -> Vec<Value> {
    let mut written: Vec<Value> = Vec::new();
    for citation in citations {
        if let Some(own) = own(citation) {
            if written.last() != Some(own) {
                written.push(own.clone());
            }
            continue;
        }
        let (from, to) = citation.span.unwrap_or((0, text.chars().count() as u64));
        let same = |value: &Value| value["start"] == json!(from) && value["end"] == json!(to);
        match written.last_mut().filter(|last| same(last)).and_then(|last| last["sources"].as_array_mut()) {
            Some(sources) => sources.push(source(citation)),
            None => {
                let length = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
                let start = usize::try_from(from).unwrap_or(usize::MAX);
                let cited: String = text.chars().skip(start).take(length).collect();
                written.push(json!({
                    "start": from,
                    "end": to,
                    "text": cited,
                    "sources": [source(citation)],
                    "content_index": content,
                    "type": "TEXT_CONTENT",
                }));
            }
        }
    }
    written
}

/// The form in which Cohere itself gave it.
fn own(citation: &Citation) -> Option<&Value> {
    citation
        .original
        .as_ref()
        .filter(|original| original.get("sources").is_some() && original.get("start").is_some())
}

fn source(citation: &Citation) -> Value {
    let mut data = Map::new();
    let fields = [("title", &citation.title), ("url", &citation.url), ("snippet", &citation.quote)];
    for (key, value) in fields {
        data.extend(value.as_ref().map(|value| (key.to_owned(), value.as_str().into())));
    }
    let numbered = citation.document.map(|number| format!("doc:{number}"));
    let id = numbered.or_else(|| citation.url.clone()).or_else(|| citation.title.clone());
    json!({"type": "document", "id": id.unwrap_or_default(), "document": data})
}
