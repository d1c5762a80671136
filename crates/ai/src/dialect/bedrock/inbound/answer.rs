//! Writes a whole answer.

use serde_json::{Value, json};

use crate::{
    canon::{Answer, Part, Proof, ProofKind, Source},
    dialect::{
        Telling,
        anthropic::{input_value, turns::call_id},
        bedrock::{DIALECT, ISSUER, citation_value, media::Media, redacted, stop_word, usage_value},
    },
};

pub(in crate::dialect) fn write_answer(answer: Answer, _: &Telling) -> Vec<u8> {
    // The dialect knows one answer.
    let choice = answer.choices.into_iter().next().unwrap_or_default();
    let mut content = Vec::new();
    for part in &choice.parts {
        blocks(part, &mut content);
    }
    let called = choice.parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let mut value = json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_word(choice.finish.as_ref(), called),
        "usage": usage_value(&answer.usage.unwrap_or_default()),
        "metrics": {"latencyMs": 0},
    });
    if let Some(tier) = answer.tier.as_deref().and_then(tier_word) {
        value["serviceTier"] = json!({"type": tier});
    }
    serde_json::to_vec(&value).unwrap_or_default()
}

/// The class of service in Bedrock's words.
pub(super) fn tier_word(tier: &str) -> Option<&str> {
    ["priority", "default", "flex", "reserved"].contains(&tier).then_some(tier)
}

/// A part as blocks. A mark of another vendor's on a call stands before it as hidden thoughts, one on a text after it.
fn blocks(part: &Part, content: &mut Vec<Value>) {
    match part {
        Part::Text { text, citations, proof, .. } => {
            match (text.is_empty(), citations.is_empty()) {
                (true, _) => {}
                (false, true) => content.push(json!({"text": text})),
                (false, false) => {
                    let citations: Vec<Value> = citations.iter().map(citation_value).collect();
                    content.push(
                        json!({"citationsContent": {"content": [{"text": text}], "citations": citations}}),
                    );
                }
            }
            content.extend(proof.as_ref().map(|mark| hidden(&mark.after())));
        }
        Part::Thinking { text, proof } => match proof {
            Some(proof) if text.is_empty() && proof.kind != ProofKind::Signature => {
                content.push(hidden(proof))
            }
            proof => {
                let mut said = json!({"text": text});
                if let Some(proof) = proof {
                    said["signature"] = proof.told_to(ISSUER).into();
                }
                content.push(json!({"reasoningContent": {"reasoningText": said}}));
            }
        },
        Part::ToolCall { id, name, arguments, custom, proof, .. } => {
            content.extend(proof.as_ref().map(hidden));
            let input = input_value(arguments, *custom);
            content.push(json!({"toolUse": {"toolUseId": call_id(id), "name": name, "input": input}}));
        }
        Part::Refusal { text } | Part::Audio { transcript: Some(text), .. } if !text.is_empty() => {
            content.push(json!({"text": text}));
        }
        Part::Document { source: Source::Text { text }, .. } => content.push(json!({"text": text})),
        Part::Image { source, .. } => {
            content.extend(Media::Image.write(source).map(|image| json!({"image": image})));
        }
        Part::Audio { source, .. } => {
            content.extend(Media::Audio.write(source).map(|audio| json!({"audio": audio})));
        }
        Part::Vendor { dialect, value } if *dialect == DIALECT => content.push(value.clone()),
        Part::Refusal { .. }
        | Part::Document { .. }
        | Part::Video { .. }
        | Part::ToolResult { .. }
        | Part::Vendor { .. } => {}
    }
}

/// Thoughts that nobody can read.
pub(super) fn hidden(proof: &Proof) -> Value {
    json!({"reasoningContent": {"redactedContent": redacted(proof)}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        canon::Choice,
        dialect::{Spoken, anthropic::laws, bedrock::inbound::read_request},
    };

    #[test]
    fn proofs_of_every_vendor_come_back_with_the_next_turn() {
        let parts = laws::proven_parts();
        let choice = Choice { parts: parts.clone(), ..Choice::default() };
        let told = write_answer(Answer { choices: vec![choice], ..Answer::default() }, &Telling::default());
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        let body = json!({"messages": [told["output"]["message"]]});
        let spoken = Spoken { model: Some("m".to_owned()), stream: false };
        let request = read_request(&spoken, body.to_string().as_bytes()).expect("read");
        assert_eq!(request.messages.first().map(|message| &message.parts), Some(&parts));
    }
}
