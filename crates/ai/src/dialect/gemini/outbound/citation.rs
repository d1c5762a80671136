//! Reads what an answer rests on: `groundingMetadata` and `citationMetadata`.

use serde_json::Value;

use crate::canon::Citation;

/// A citation, and where it applies, in bytes of the answer's text.
pub(super) struct Cited {
    pub(super) citation: Citation,
    /// The part of the content, where it is told.
    pub(super) part: Option<usize>,
    pub(super) bytes: Option<(usize, usize)>,
}

/// Every citation of a candidate.
pub(super) fn citations_of(grounding: Option<&Value>, citations: Option<&Value>) -> Vec<Cited> {
    let mut found = grounding.map(grounded).unwrap_or_default();
    // Before `citations` there were `citationSources`.
    for key in ["citations", "citationSources"] {
        found.extend(list(citations, key).map(recited));
    }
    found
}

fn list<'a>(value: Option<&'a Value>, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.and_then(|value| value.get(key)).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn place(value: &Value, key: &str) -> Option<usize> {
    value.get(key).and_then(Value::as_u64).and_then(|place| usize::try_from(place).ok())
}

/// What supports the answer piece by piece, or else the sources alone.
fn grounded(metadata: &Value) -> Vec<Cited> {
    let chunks: Vec<&Value> = list(Some(metadata), "groundingChunks").collect();
    let mut found = Vec::new();
    for support in list(Some(metadata), "groundingSupports") {
        let segment = support.get("segment");
        let end = segment.and_then(|segment| place(segment, "endIndex"));
        // A beginning of 0 is left out, as every zero is.
        let start = segment.and_then(|segment| place(segment, "startIndex")).unwrap_or(0);
        let part = segment.and_then(|segment| place(segment, "partIndex"));
        let indices = list(Some(support), "groundingChunkIndices").filter_map(Value::as_u64);
        for chunk in indices.filter_map(|index| chunks.get(usize::try_from(index).ok()?)) {
            let bytes = end.map(|end| (start, end));
            found.push(Cited { citation: source(chunk), part, bytes });
        }
    }
    if found.is_empty() {
        found.extend(chunks.iter().map(|chunk| Cited { citation: source(chunk), part: None, bytes: None }));
    }
    found
}

/// A chunk has its source under the name of its kind: `web`, `retrievedContext`, `maps`, `image`.
fn source(chunk: &Value) -> Citation {
    let inner = chunk.as_object().and_then(|chunk| chunk.values().next());
    let field = |key: &str| inner.and_then(|inner| text(inner, key));
    Citation {
        quote: field("text"),
        title: field("title"),
        url: field("uri").or_else(|| field("sourceUri")),
        document: None,
        span: None,
        original: Some(chunk.clone()),
    }
}

/// Words that stand in somebody else's text.
fn recited(value: &Value) -> Cited {
    let citation = Citation {
        title: text(value, "title"),
        url: text(value, "uri"),
        original: Some(value.clone()),
        ..Citation::default()
    };
    let bytes = place(value, "endIndex").map(|end| (place(value, "startIndex").unwrap_or(0), end));
    Cited { citation, part: None, bytes }
}

/// Bytes of a text as characters.
pub(super) fn span(text: &str, bytes: (usize, usize)) -> (u64, u64) {
    let place = |byte: usize| text.char_indices().take_while(|(at, _)| *at < byte).count() as u64;
    (place(bytes.0), place(bytes.1))
}
