//! Writes a whole answer: a `message` object.

use serde_json::{Value, json};

use crate::{
    canon::{Answer, Choice, Part, Proof, ProofKind, Source},
    dialect::{
        Telling,
        anthropic::{
            DIALECT, ISSUER, citation::citation_value, input_value, stop_words, turns::call_id, usage_value,
        },
    },
};

pub(in crate::dialect) fn write_answer(answer: Answer, telling: &Telling) -> Vec<u8> {
    // The dialect knows one answer.
    let choice = answer.choices.into_iter().next().unwrap_or_default();
    let mut content = Vec::new();
    for part in &choice.parts {
        blocks(part, &mut content);
    }
    let id = if answer.id.is_empty() { &telling.id } else { &answer.id };
    let mut value = message(id, &telling.model, content);
    let (reason, sequence) = stop_of(&choice);
    value["stop_reason"] = reason.into();
    value["stop_sequence"] = sequence.into();
    value["usage"] = usage_value(&answer.usage.unwrap_or_default(), answer.tier.as_deref());
    serde_json::to_vec(&value).unwrap_or_default()
}

/// A `message` that has not ended.
pub(super) fn message(id: &str, model: &str, content: Vec<Value>) -> Value {
    json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": null,
        "stop_sequence": null,
    })
}

fn stop_of(choice: &Choice) -> (&'static str, Option<&str>) {
    let called = choice.parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let refused = choice.parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    stop_words(choice.finish.as_ref(), called, refused)
}

/// A part as blocks. A mark of another vendor's on a call stands before it as hidden thoughts, one on a text after it.
fn blocks(part: &Part, content: &mut Vec<Value>) {
    match part {
        Part::Text { text, citations, proof, .. } => {
            if !text.is_empty() {
                let citations: Vec<Value> = citations.iter().map(citation_value).collect();
                let citations = if citations.is_empty() { Value::Null } else { citations.into() };
                content.push(json!({"type": "text", "text": text, "citations": citations}));
            }
            content.extend(proof.as_ref().map(|mark| hidden(&mark.after())));
        }
        Part::Thinking { text, proof } => match proof {
            Some(proof) if text.is_empty() && proof.kind != ProofKind::Signature => {
                content.push(hidden(proof))
            }
            proof => {
                let signature = proof.as_ref().map(|proof| proof.told_to(ISSUER)).unwrap_or_default();
                content.push(json!({"type": "thinking", "thinking": text, "signature": signature}));
            }
        },
        Part::ToolCall { id, name, arguments, custom, proof, .. } => {
            content.extend(proof.as_ref().map(hidden));
            let input = input_value(arguments, *custom);
            content.push(json!({"type": "tool_use", "id": call_id(id), "name": name, "input": input}));
        }
        Part::Refusal { text } if !text.is_empty() => {
            content.push(json!({"type": "text", "text": text, "citations": null}));
        }
        Part::Audio { transcript: Some(text), .. } => {
            content.push(json!({"type": "text", "text": text, "citations": null}));
        }
        Part::Document { source: Source::Text { text }, .. } => {
            content.push(json!({"type": "text", "text": text, "citations": null}));
        }
        Part::Vendor { dialect, value } if *dialect == DIALECT => content.push(value.clone()),
        // Pictures and sound are not in the dialect's answers.
        Part::Refusal { .. }
        | Part::Image { .. }
        | Part::Document { .. }
        | Part::Audio { .. }
        | Part::Video { .. }
        | Part::ToolResult { .. }
        | Part::Vendor { .. } => {}
    }
}

/// Thoughts that nobody can read.
pub(super) fn hidden(proof: &Proof) -> Value {
    json!({"type": "redacted_thinking", "data": proof.told_to(ISSUER)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{
        Spoken,
        anthropic::{inbound::read_request, laws},
    };

    #[test]
    fn proofs_of_every_vendor_come_back_with_the_next_turn() {
        let parts = laws::proven_parts();
        let choice = Choice { parts: parts.clone(), ..Choice::default() };
        let told = write_answer(Answer { choices: vec![choice], ..Answer::default() }, &Telling::default());
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        let body = json!({"model": "m", "messages": [{"role": "assistant", "content": told["content"]}]});
        let request = read_request(&Spoken::default(), body.to_string().as_bytes()).expect("read");
        assert_eq!(request.messages.first().map(|message| &message.parts), Some(&parts));
    }
}
