//! Writes a whole answer: a `GenerateContentResponse`.

use serde_json::{Map, Value, json};

use crate::{
    canon::{Answer, Choice, Citation, Finish, Part, Proof, Source},
    dialect::{
        Telling,
        anthropic::input_value,
        gemini::{
            DIALECT, ISSUER, finish_word, part::media_value, probabilities_value, signature_of,
            signature_of_all, usage_value,
        },
    },
};

pub(in crate::dialect) fn write_answer(answer: Answer, telling: &Telling) -> Vec<u8> {
    let candidates: Vec<Value> =
        (0u32..).zip(answer.choices).map(|(index, choice)| candidate(index, choice)).collect();
    let mut value = json!({"candidates": candidates});
    if let Some(usage) = &answer.usage {
        value["usageMetadata"] = usage_value(usage, answer.tier.as_deref());
    }
    value["modelVersion"] = telling.model.as_str().into();
    value["responseId"] = if answer.id.is_empty() { &telling.id } else { &answer.id }.as_str().into();
    serde_json::to_vec(&value).unwrap_or_default()
}

fn candidate(index: u32, choice: Choice) -> Value {
    let mut grounding = Grounding::default();
    let parts = parts_of(choice.parts, &mut grounding);
    let finish = choice.finish.as_ref().unwrap_or(&Finish::Stop);
    let mut value = json!({
        "content": {"parts": parts, "role": "model"},
        "finishReason": finish_word(finish),
        "index": index,
    });
    if let Some(metadata) = grounding.value() {
        value["groundingMetadata"] = metadata;
    }
    if !choice.log_probabilities.is_empty() {
        value["logprobsResult"] = probabilities_value(&choice.log_probabilities);
    }
    value
}

fn parts_of(parts: Vec<Part>, grounding: &mut Grounding) -> Vec<Value> {
    let mut written = Vec::new();
    let mut rider = Rider::default();
    for part in parts {
        match part {
            Part::Text { text, citations, proof, .. } => {
                citations.iter().for_each(|citation| grounding.add(citation, written.len(), &text));
                if !text.is_empty() || proof.is_some() {
                    rider.said();
                    written.push(signed(json!({"text": text}), proof.as_ref()));
                }
            }
            Part::Thinking { text, proof } => {
                rider.thought(proof.as_ref());
                if !text.is_empty() || proof.is_some() {
                    written.push(signed(json!({"text": text, "thought": true}), proof.as_ref()));
                }
            }
            Part::ToolCall { id, name, arguments, custom, proof, .. } => {
                written.push(rider.seat(call_value(&id, &name, &arguments, custom), proof.as_ref()));
            }
            Part::Refusal { text } => written.push(json!({"text": text})),
            other => written.extend(whole_value(other)),
        }
    }
    written
}

/// The proofs that another vendor gave for the thoughts before a call. They go on the call as well, all of them, for callers
/// who keep nothing of the thoughts.
#[derive(Default)]
pub(super) struct Rider {
    waiting: Vec<Proof>,
    /// Something was said already: what is thought from now on stands behind it.
    said: bool,
}

impl Rider {
    pub(super) fn thought(&mut self, proof: Option<&Proof>) {
        if let Some(proof) = proof.filter(|proof| proof.issuer != ISSUER) {
            self.waiting.push(if self.said { proof.behind() } else { proof.clone() });
        }
    }

    /// Something was said.
    pub(super) fn said(&mut self) {
        self.said = true;
    }

    /// A call with its own proof, else with all that have waited.
    pub(super) fn seat(&mut self, call: Value, own: Option<&Proof>) -> Value {
        if own.is_some() {
            return signed(call, own);
        }
        let mut call = call;
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            call["thoughtSignature"] = signature_of_all(&waiting).into();
        }
        call
    }
}

pub(super) fn signed(mut part: Value, proof: Option<&Proof>) -> Value {
    if let Some(proof) = proof {
        part["thoughtSignature"] = signature_of(proof).into();
    }
    part
}

pub(super) fn call_value(id: &str, name: &str, arguments: &str, custom: bool) -> Value {
    let mut call = Map::new();
    if !id.is_empty() {
        call.insert("id".into(), id.into());
    }
    call.insert("name".into(), name.into());
    call.insert("args".into(), input_value(arguments, custom));
    json!({"functionCall": call})
}

/// Parts that come whole.
pub(super) fn whole_value(part: Part) -> Option<Value> {
    match part {
        Part::Image { source, .. } => media_value(&source, "image/png"),
        Part::Audio { source, .. } => media_value(&source, "audio/wav"),
        Part::Video { source } => media_value(&source, "video/mp4"),
        Part::Document { source: Source::Text { text }, .. } => Some(json!({"text": text})),
        Part::Document { source, .. } => media_value(&source, "application/pdf"),
        Part::Vendor { dialect: DIALECT, value } => Some(value),
        _ => None,
    }
}

/// `groundingMetadata`: sources once each, and which pieces of the answer rest on them.
#[derive(Default)]
pub(super) struct Grounding {
    chunks: Vec<Value>,
    supports: Vec<Value>,
}

impl Grounding {
    /// Adds a citation of the part at a place. Google counts in bytes of UTF-8.
    pub(super) fn add(&mut self, citation: &Citation, part: usize, text: &str) {
        let Some(chunk) = chunk_of(citation) else { return };
        let at = self.chunks.iter().position(|known| *known == chunk).unwrap_or_else(|| {
            self.chunks.push(chunk);
            self.chunks.len() - 1
        });
        let Some((from, to)) = citation.span else { return };
        let byte = |place: u64| {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            text.char_indices().nth(place).map_or(text.len(), |(byte, _)| byte)
        };
        let (from, to) = (byte(from), byte(to.max(from)));
        let mut segment =
            json!({"startIndex": from, "endIndex": to, "text": text.get(from..to).unwrap_or_default()});
        if part > 0 {
            segment["partIndex"] = part.into();
        }
        if let Some(same) = self.supports.iter_mut().find(|support| support["segment"] == segment) {
            if let Some(indices) = same["groundingChunkIndices"].as_array_mut() {
                indices.push(at.into());
            }
            return;
        }
        self.supports.push(json!({"segment": segment, "groundingChunkIndices": [at]}));
    }

    pub(super) fn value(&self) -> Option<Value> {
        (!self.chunks.is_empty())
            .then(|| json!({"groundingChunks": self.chunks, "groundingSupports": self.supports}))
    }
}

fn chunk_of(citation: &Citation) -> Option<Value> {
    let title = citation.title.as_deref();
    let mut chunk = Map::new();
    chunk.extend(citation.url.as_deref().map(|url| ("uri".to_owned(), url.into())));
    chunk.extend(title.map(|title| ("title".to_owned(), title.into())));
    if citation.quote.is_some() || (citation.url.is_none() && title.is_some()) {
        chunk.extend(citation.quote.as_deref().map(|quote| ("text".to_owned(), quote.into())));
        return Some(json!({"retrievedContext": chunk}));
    }
    (!chunk.is_empty()).then(|| json!({"web": chunk}))
}
