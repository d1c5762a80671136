//! Vectors of texts that mean something to each other: texts that share words are near.

use serde_json::{Value, json};

const DIMENSIONS: usize = 64;

/// OpenAI's answer to a request for embeddings.
pub(crate) fn answer(body: &Value) -> Value {
    let texts: Vec<&str> = match body.get("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}))
        .collect();
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    json!({
        "object": "list",
        "data": data,
        "model": body.get("model").cloned().unwrap_or_default(),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

/// Counts of words by their hash, of length 1.
fn vector(text: &str) -> Vec<f32> {
    let mut counts = [0.0f32; DIMENSIONS];
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        // FNV-1a, 64 bits.
        let hash = word.to_lowercase().bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        counts[(hash % DIMENSIONS as u64) as usize] += 1.0;
    }
    let length = counts.iter().map(|count| count * count).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    counts.iter().map(|count| count / length).collect()
}
