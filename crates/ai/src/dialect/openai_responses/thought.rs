//! Items of type `reasoning`, and the proofs in them.
//!
//! Besides thoughts they carry marks on other parts (Gemini signs calls and texts), for which the dialect has no place:
//! a mark stands in an item of its own, before the call or after the text that it belongs to.

use serde_json::{Map, Value, json};

use super::ISSUER;
use crate::canon::{Part, Proof, ProofKind};

/// How ids of items begin that no vendor gave.
pub(super) const OWN_ID: &str = "_tg_";

/// A reasoning item, and what it turned out to be.
pub(super) enum Thought {
    /// Thoughts.
    Part(Part),
    /// A mark on the call that comes next.
    Mark(Proof),
    /// A mark on the text that came before.
    MarkBefore(Proof),
}

/// An item.
pub(super) fn item(id: &str, text: &str, encrypted: Option<String>) -> Map<String, Value> {
    let mut item = Map::new();
    item.insert("id".into(), id.into());
    item.insert("type".into(), "reasoning".into());
    item.insert("summary".into(), summary(text));
    if let Some(encrypted) = encrypted {
        item.insert("encrypted_content".into(), encrypted.into());
    }
    item
}

fn summary(text: &str) -> Value {
    if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) }
}

/// What to write as `encrypted_content`. A reference to stored thoughts has an id alone.
pub(super) fn encrypted(proof: &Proof) -> Option<String> {
    match proof.issuer == ISSUER && proof.kind == ProofKind::Encrypted {
        true => Some(proof.value.clone()).filter(|value| !value.is_empty()),
        false => Some(proof.seal()),
    }
}

/// The same for a mark on the text before it.
pub(super) fn encrypted_after(proof: &Proof) -> String {
    proof.after().seal()
}

/// The vendor's id of thoughts, if it is one that this dialect's vendor gave.
pub(super) fn vendor_id(proof: Option<&Proof>) -> Option<&str> {
    proof.filter(|proof| proof.issuer == ISSUER).and_then(|proof| proof.id.as_deref())
}

/// Reads an item.
pub(super) fn read(item: &Value) -> Thought {
    let id = item.get("id").and_then(Value::as_str).filter(|id| !id.contains(OWN_ID)).map(str::to_owned);
    let content = item.get("encrypted_content").and_then(Value::as_str).filter(|text| !text.is_empty());
    let text = text_of(item);
    let Some(mut proof) = proof_of(content, id) else {
        return Thought::Part(Part::Thinking { text, proof: None });
    };
    if proof.kind != ProofKind::Mark || !text.is_empty() {
        return Thought::Part(Part::Thinking { text, proof: Some(proof) });
    }
    if proof.take_after() {
        return Thought::MarkBefore(proof);
    }
    Thought::Mark(proof)
}

/// The proof of an item: what is encrypted, or its id alone when the provider has stored the thoughts.
fn proof_of(content: Option<&str>, id: Option<String>) -> Option<Proof> {
    let Some(content) = content else {
        let id = Some(id?);
        return Some(Proof {
            issuer: ISSUER.to_owned(),
            kind: ProofKind::Encrypted,
            value: String::new(),
            id,
        });
    };
    let mut proof = Proof::received(content.to_owned(), ISSUER, ProofKind::Encrypted);
    if proof.issuer == ISSUER {
        proof.id = proof.id.or(id);
    }
    Some(proof)
}

/// The summary, or the thoughts themselves where a model shows them.
fn text_of(item: &Value) -> String {
    let texts = |key: &str| -> Vec<&str> {
        let pieces = item.get(key).and_then(Value::as_array).into_iter().flatten();
        pieces.filter_map(|piece| piece.get("text").and_then(Value::as_str)).collect()
    };
    let summary = texts("summary");
    if summary.iter().any(|text| !text.is_empty()) { summary.join("\n\n") } else { texts("content").concat() }
}

/// Adds a thought to what has been read; a mark for what comes next is left in `mark`.
pub(super) fn add(thought: Thought, parts: &mut Vec<Part>, mark: &mut Option<Proof>) {
    match thought {
        Thought::Part(part) => parts.push(part),
        Thought::Mark(proof) => *mark = Some(proof),
        Thought::MarkBefore(new) => {
            if let Some(Part::Text { proof, .. }) = parts.last_mut() {
                *proof = Some(new);
            }
        }
    }
}
