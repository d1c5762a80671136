//! What an earlier turn left in a conversation that now goes, untranslated, to another vendor: thoughts that the gateway
//! sealed, ids that it made up, proofs that ride on the ids of calls. The vendor would refuse them.
//!
//! Its own proofs are opened, others are left out and named. A body without any of this is not touched, and of others
//! only the turns that hold some are written anew.

use std::ops::Range;

use memchr::memmem;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    canon::{Feature, Losses, Proof, ProofKind},
    dialect::Dialect,
};

/// How what the gateway wrote is known: an envelope, an envelope in base64, an id of its own.
const MARKS: [&[u8]; 3] = [b"tg1.", b"dGcxL", b"_tg_"];

#[derive(Deserialize)]
struct Turns<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    contents: Option<&'a RawValue>,
}

impl<'a> Turns<'a> {
    /// The turns, where a dialect has them. What stands under another's name beside is left to the vendor.
    fn of(self, dialect: Dialect) -> Option<&'a RawValue> {
        match dialect {
            Dialect::OpenAiResponses => self.input,
            Dialect::Gemini => self.contents,
            Dialect::OpenAiChat | Dialect::Anthropic | Dialect::Bedrock | Dialect::Cohere => self.messages,
        }
    }
}

/// A body without what the gateway has put into earlier turns, and what was left out of it. `None` when there is nothing
/// of the kind.
pub fn unsealed(dialect: Dialect, body: &[u8]) -> Option<(Vec<u8>, Losses)> {
    if !is_marked(body) {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let turns = serde_json::from_str::<Turns<'_>>(text).ok()?.of(dialect)?;
    let items: Vec<&RawValue> = serde_json::from_str(turns.get()).ok()?;
    let place = |raw: &RawValue| -> Option<Range<usize>> {
        let begin = (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        Some(begin..begin + raw.get().len())
    };
    let mut losses = Losses::default();
    let mut written: Vec<Option<String>> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if !is_marked(item.get().as_bytes()) {
            written.push(Some(item.get().to_owned()));
            continue;
        }
        let value: Value = serde_json::from_str(item.get()).ok()?;
        written.push(turn(dialect, value, index, &mut losses).map(|value| value.to_string()));
    }
    let at = place(turns)?;
    let kept: Vec<String> = written.into_iter().flatten().collect();
    let mut out = Vec::with_capacity(body.len());
    out.extend_from_slice(body.get(..at.start)?);
    out.extend_from_slice(format!("[{}]", kept.join(",")).as_bytes());
    out.extend_from_slice(body.get(at.end..)?);
    Some((out, losses))
}

fn is_marked(bytes: &[u8]) -> bool {
    MARKS.iter().any(|mark| memmem::find(bytes, mark).is_some())
}

/// One turn; `None` when nothing of it is left.
fn turn(dialect: Dialect, value: Value, index: usize, losses: &mut Losses) -> Option<Value> {
    let Value::Object(mut fields) = value else { return Some(value) };
    match dialect {
        Dialect::OpenAiResponses => item(fields, index, losses),
        Dialect::OpenAiChat => {
            details(&mut fields, index, losses);
            ids(&mut fields);
            Some(fields.into())
        }
        Dialect::Cohere => {
            ids(&mut fields);
            Some(fields.into())
        }
        Dialect::Anthropic | Dialect::Bedrock => {
            parts(fields, "content", index, losses, |block| match dialect {
                Dialect::Bedrock => converse_block(block),
                _ => block_of_claude(block),
            })
        }
        Dialect::Gemini => parts(fields, "parts", index, losses, gemini_part),
    }
}

/// What becomes of a piece: whether it stays.
enum Fate {
    Stays,
    Goes,
    /// It stays without its proof.
    Stripped,
}

fn parts(
    mut fields: Map<String, Value>,
    key: &str,
    index: usize,
    losses: &mut Losses,
    judge: impl Fn(&mut Map<String, Value>) -> Fate,
) -> Option<Value> {
    let place = if key == "parts" { "contents" } else { "messages" };
    if let Some(pieces) = fields.get_mut(key).and_then(Value::as_array_mut) {
        let mut at = 0;
        pieces.retain_mut(|piece| {
            let fate = piece.as_object_mut().map_or(Fate::Stays, &judge);
            if !matches!(fate, Fate::Stays) {
                losses.feature_at(Feature::ForeignThoughts, format_args!("{place}[{index}].{key}[{at}]"));
            }
            at += 1;
            !matches!(fate, Fate::Goes)
        });
        if pieces.is_empty() {
            return None;
        }
    }
    Some(fields.into())
}

/// The vendor's own value of an envelope; nothing if the envelope is another's, and the text itself if it is none.
fn opened(text: &str, issuer: &str) -> Option<String> {
    match Proof::open(text) {
        Some(proof) => (proof.issuer == issuer).then_some(proof.value),
        None => Some(text.to_owned()),
    }
}

fn block_of_claude(block: &mut Map<String, Value>) -> Fate {
    let key = match block.get("type").and_then(Value::as_str) {
        Some("thinking") => "signature",
        Some("redacted_thinking") => "data",
        _ => return Fate::Stays,
    };
    own(block, key, |text| opened(text, Dialect::Anthropic.issuer()))
}

fn converse_block(block: &mut Map<String, Value>) -> Fate {
    let Some(thought) = block.get_mut("reasoningContent").and_then(Value::as_object_mut) else {
        return Fate::Stays;
    };
    if thought.contains_key("redactedContent") {
        return own(thought, "redactedContent", |text| {
            let decoded = Dialect::Bedrock.decoded(text);
            decoded.map_or(Some(text.to_owned()), |text| opened(&text, Dialect::Bedrock.issuer()))
        });
    }
    match thought.get_mut("reasoningText").and_then(Value::as_object_mut) {
        Some(said) => own(said, "signature", |text| opened(text, Dialect::Bedrock.issuer())),
        None => Fate::Stays,
    }
}

fn gemini_part(part: &mut Map<String, Value>) -> Fate {
    let key = if part.contains_key("thoughtSignature") { "thoughtSignature" } else { "thought_signature" };
    let is_thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false);
    let says_nothing = part.get("text").is_some_and(|text| text == "");
    let fate = own(part, key, |text| {
        let decoded = Dialect::Gemini.decoded(text);
        let several = decoded.as_deref().map(Proof::open_all).unwrap_or_default();
        if several.len() > 1 {
            // Its own rides alone.
            return None;
        }
        decoded.map_or(Some(text.to_owned()), |text| opened(&text, Dialect::Gemini.issuer()))
    });
    match fate {
        Fate::Goes if !is_thought && !says_nothing => {
            part.shift_remove(key);
            Fate::Stripped
        }
        fate => fate,
    }
}

/// Puts the vendor's own value in a field's place.
fn own(fields: &mut Map<String, Value>, key: &str, open: impl Fn(&str) -> Option<String>) -> Fate {
    let Some(Value::String(text)) = fields.get_mut(key) else { return Fate::Stays };
    match open(text) {
        Some(own) => {
            *text = own;
            Fate::Stays
        }
        None => Fate::Goes,
    }
}

/// `reasoning_details` of a message of OpenAI's chat dialect.
fn details(message: &mut Map<String, Value>, index: usize, losses: &mut Losses) {
    let Some(list) = message.get_mut("reasoning_details").and_then(Value::as_array_mut) else { return };
    let issuer = Dialect::OpenAiChat.issuer();
    let mut at = 0;
    list.retain_mut(|detail| {
        let Some(detail) = detail.as_object_mut() else { return true };
        let goes = ["signature", "data"]
            .iter()
            .any(|key| matches!(own(detail, key, |text| opened(text, issuer)), Fate::Goes));
        if goes {
            let place = format_args!("messages[{index}].reasoning_details[{at}]");
            losses.feature_at(Feature::ForeignThoughts, place);
        }
        at += 1;
        !goes
    });
    if list.is_empty() {
        message.shift_remove("reasoning_details");
    }
}

/// Riders get off the ids of calls and of their results. What they prove is another vendor's.
fn ids(message: &mut Map<String, Value>) {
    fn dismount(id: Option<&mut Value>) {
        if let Some(Value::String(id)) = id {
            let plain = Proof::dismount(id).0.to_owned();
            *id = plain;
        }
    }
    dismount(message.get_mut("tool_call_id"));
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
    calls.for_each(|call| dismount(call.get_mut("id")));
}

/// An item of Responses.
fn item(mut item: Map<String, Value>, index: usize, losses: &mut Losses) -> Option<Value> {
    let is_ours = |item: &Map<String, Value>| {
        item.get("id").and_then(Value::as_str).is_some_and(|id| id.contains("_tg_"))
    };
    let place = format!("input[{index}]");
    match item.get("type").and_then(Value::as_str) {
        Some("reasoning") => {
            let content =
                item.get("encrypted_content").and_then(Value::as_str).filter(|text| !text.is_empty());
            let proof = content.and_then(Proof::open);
            let is_own = proof.as_ref().map_or(content.is_some() || !is_ours(&item), |proof| {
                proof.issuer == Dialect::OpenAiResponses.issuer() && proof.kind == ProofKind::Encrypted
            });
            if !is_own {
                losses.feature_at(Feature::ForeignThoughts, place);
                return None;
            }
            if is_ours(&item) {
                item.shift_remove("id");
            }
            if let Some(proof) = proof {
                item.extend(proof.id.map(|id| ("id".to_owned(), id.into())));
                item.insert("encrypted_content".to_owned(), proof.value.into());
            }
        }
        // What they point at is not there, or was never this vendor's to know.
        Some("item_reference") | None if is_ours(&item) && !item.contains_key("role") => {
            losses.feature_at(Feature::VendorPart, place);
            return None;
        }
        Some("image_generation_call") if is_ours(&item) => {
            losses.feature_at(Feature::Image, place);
            return None;
        }
        _ if is_ours(&item) => {
            item.shift_remove("id");
            item.shift_remove("status");
        }
        _ => {}
    }
    Some(item.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        canon::{Answer, Choice, Part},
        dialect::Telling,
    };

    fn proof(issuer: &str, kind: ProofKind, value: &str) -> Option<Proof> {
        Some(Proof { issuer: issuer.to_owned(), kind, value: value.to_owned(), id: None })
    }

    /// What an answer of another vendor's is told as, and sent back in the next turn.
    fn next_turn(dialect: Dialect) -> String {
        let parts = vec![
            Part::Thinking { text: "hm".into(), proof: proof("another", ProofKind::Signature, "c2ln") },
            Part::Thinking { text: String::new(), proof: proof("another", ProofKind::Encrypted, "ZGF0YQ==") },
            Part::Text {
                text: "yes".into(),
                citations: Vec::new(),
                cache: None,
                proof: proof("another", ProofKind::Mark, "bWFyaw=="),
            },
            Part::ToolCall {
                id: "call_1".into(),
                name: "f".into(),
                arguments: "{}".into(),
                custom: false,
                proof: None,
                cache: None,
            },
        ];
        let choice = Choice { parts, ..Choice::default() };
        let told =
            dialect.write_answer(Answer { choices: vec![choice], ..Answer::default() }, &Telling::default());
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        let at = |pointer: &str| told.pointer(pointer).cloned().expect("there");
        let body = match dialect {
            Dialect::OpenAiChat => json!({"model": "m", "messages": [at("/choices/0/message"),
                {"role": "tool", "tool_call_id": at("/choices/0/message/tool_calls/0/id"), "content": "1"}]}),
            Dialect::OpenAiResponses => json!({"model": "m", "input": at("/output")}),
            Dialect::Anthropic => {
                json!({"model": "m", "messages": [{"role": "assistant", "content": at("/content")}]})
            }
            Dialect::Gemini => json!({"contents": [at("/candidates/0/content")]}),
            Dialect::Bedrock => json!({"messages": [at("/output/message")]}),
            Dialect::Cohere => json!({"model": "m", "messages": [at("/message"),
                {"role": "tool", "tool_call_id": at("/message/tool_calls/0/id"), "content": "1"}]}),
        };
        body.to_string()
    }

    #[test]
    fn nothing_of_another_vendor_goes_to_this_one() {
        for dialect in Dialect::ALL {
            let body = next_turn(dialect);
            assert!(is_marked(body.as_bytes()), "{}: {body}", dialect.name());
            let (out, losses) = unsealed(dialect, body.as_bytes()).expect("sealed");
            let text = String::from_utf8(out).expect("text");
            assert!(!is_marked(text.as_bytes()), "{}: {text}", dialect.name());
            assert!(text.contains("yes") && text.contains("call_1"), "{}: {text}", dialect.name());
            assert_eq!(losses.is_empty(), dialect == Dialect::Cohere, "{}: {losses:?}", dialect.name());
        }
    }

    #[test]
    fn bodies_without_any_of_it_are_not_touched() {
        for dialect in Dialect::ALL {
            assert_eq!(unsealed(dialect, br#"{"messages": [{"role": "user", "content": "hm"}]}"#), None);
            // Whoever merely speaks of it is not touched either, but for white space between turns; another's list
            // beside one's own changes nothing.
            let (list, other) = match dialect {
                Dialect::OpenAiResponses => ("input", "messages"),
                Dialect::Gemini => ("contents", "messages"),
                _ => ("messages", "input"),
            };
            let body = format!(
                r#"{{"x":1.50,"{list}":[{{"role":"user","content":"what is tg1.x?"}}],"{other}":[]}}"#
            );
            let (out, losses) = unsealed(dialect, body.as_bytes()).expect("a look");
            assert_eq!((String::from_utf8_lossy(&out).into_owned(), losses.is_empty()), (body, true));
        }
    }

    #[test]
    fn the_vendors_own_is_opened() {
        let sealed = Proof {
            id: Some("rs_1".to_owned()),
            ..proof("openai", ProofKind::Encrypted, "gAAA").expect("a proof")
        };
        let body = json!({"model": "m", "input": [
            {"type": "reasoning", "id": "rs_tg_x_0", "summary": [], "encrypted_content": sealed.seal()},
            {"type": "reasoning", "id": "rs_tg_x_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "id": "msg_tg_x_2", "role": "assistant", "status": "completed", "content": []},
        ]});
        let (out, _) = unsealed(Dialect::OpenAiResponses, body.to_string().as_bytes()).expect("sealed");
        let out: Value = serde_json::from_slice(&out).expect("JSON");
        let want = json!([
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "message", "role": "assistant", "content": []},
        ]);
        assert_eq!(out["input"], want);
    }
}
