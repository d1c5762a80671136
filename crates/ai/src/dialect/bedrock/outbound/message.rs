//! Writes turns, block by block.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{
    canon::{CacheMark, Citation, Feature, Losses, Part, Proof, ProofKind, Source},
    dialect::{
        anthropic::{
            input_value,
            outbound::trim_last,
            thinking::is_dropped,
            turns::{Piece, Speaker, Turn, call_id, settled},
        },
        bedrock::{
            DIALECT, citation_value,
            media::{Media, document_name},
            own_citation, redacted,
        },
    },
};

/// Most cache marks in one request.
const CACHE_MARKS_MAX: usize = 4;

/// Writes blocks, and notes what they cannot hold.
pub(super) struct Blocks<'a> {
    pub(super) losses: &'a mut Losses,
    marks: usize,
    /// Names of documents, which must differ.
    names: HashSet<String>,
    documents: usize,
}

pub(super) fn write_system(pieces: &[Piece<'_>], blocks: &mut Blocks<'_>) -> Option<Value> {
    let content = blocks.content(pieces, Speaker::System);
    (!content.is_empty()).then(|| content.into())
}

pub(super) fn write_turns(turns: &[Turn<'_>], blocks: &mut Blocks<'_>) -> Value {
    let nothing = json!({"text": "."});
    let written =
        turns.iter().map(|turn| (turn.speaker, blocks.content(&turn.pieces, turn.speaker))).collect();
    let turn = |(speaker, mut content): (Speaker, Vec<Value>)| {
        let has = |key: &str| content.iter().any(|block| block.get(key).is_some());
        // A document without a text is refused.
        if has("document") && !has("text") {
            content.push(nothing.clone());
        }
        json!({"role": speaker.role(), "content": content})
    };
    let mut written: Vec<Value> = settled(written, &nothing).into_iter().map(turn).collect();
    trim_last(written.last_mut());
    written.into()
}

impl<'a> Blocks<'a> {
    pub(super) fn new(losses: &'a mut Losses) -> Self {
        Self { losses, marks: 0, names: HashSet::new(), documents: 0 }
    }

    /// The mark for the prompt cache that stands after a block.
    pub(super) fn mark(&mut self, cache: Option<&CacheMark>, place: &str) -> Option<Value> {
        let cache = cache?;
        if self.marks >= CACHE_MARKS_MAX {
            return self.lost(Feature::CacheMark, place);
        }
        self.marks += 1;
        let mut point = json!({"type": "default"});
        if let Some(ttl) = cache.ttl.as_deref().filter(|ttl| matches!(*ttl, "5m" | "1h")) {
            point["ttl"] = ttl.into();
        }
        Some(json!({"cachePoint": point}))
    }

    fn content(&mut self, pieces: &[Piece<'_>], speaker: Speaker) -> Vec<Value> {
        let mut written = Vec::with_capacity(pieces.len());
        for (index, part) in pieces {
            let place = format!("messages[{index}]");
            let Some(block) = self.block(part, speaker, &place) else { continue };
            written.push(block);
            written.extend(self.mark(cache_of(part), &place));
        }
        written
    }

    fn lost(&mut self, feature: Feature, place: &str) -> Option<Value> {
        self.losses.feature_at(feature, place);
        None
    }

    fn block(&mut self, part: &Part, speaker: Speaker, place: &str) -> Option<Value> {
        let user = speaker == Speaker::User;
        match part {
            Part::Text { text, citations, .. } => Some(self.text(text, citations, place)),
            Part::Refusal { text } => Some(json!({"text": text})),
            Part::Image { source, detail, .. } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.feature_at(Feature::ImageDetail, place);
                }
                self.media("image", Media::Image, source, user, Feature::Image, place)
            }
            Part::Audio { transcript: Some(text), .. } if speaker == Speaker::Assistant => {
                Some(json!({"text": text}))
            }
            Part::Audio { source, .. } => {
                self.media("audio", Media::Audio, source, user, Feature::Audio, place)
            }
            Part::Video { source } => self.media("video", Media::Video, source, user, Feature::Video, place),
            Part::Document { .. } => self.document(part, user, place),
            Part::Thinking { proof: Some(proof), text } if !is_dropped(part) => Some(thought(text, proof)),
            Part::Thinking { .. } => self.lost(Feature::ForeignThoughts, place),
            Part::ToolCall { id, name, arguments, custom, .. } => {
                let input = input_value(arguments, *custom);
                Some(json!({"toolUse": {"toolUseId": call_id(id), "name": name, "input": input}}))
            }
            Part::ToolResult { id, content, is_error, .. } => {
                self.note_inner_marks(part, place);
                let told =
                    content.iter().filter(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
                let content: Vec<Value> =
                    told.filter_map(|part| self.block(part, Speaker::User, place)).collect();
                let mut result = json!({"toolUseId": call_id(id), "content": content});
                if *is_error {
                    result["status"] = "error".into();
                }
                Some(json!({"toolResult": result}))
            }
            Part::Vendor { dialect, value } if *dialect == DIALECT => Some(value.clone()),
            Part::Vendor { .. } => self.lost(Feature::VendorPart, place),
        }
    }

    /// A result's content has no place for marks: one at its end is the result's own, all others are lost.
    fn note_inner_marks(&mut self, part: &Part, place: &str) {
        let Part::ToolResult { content, cache, .. } = part else { return };
        let inner = content.iter().filter(|part| cache_of(part).is_some()).count();
        let moved = cache.is_none() && content.last().is_some_and(|last| cache_of(last).is_some());
        if inner > usize::from(moved) {
            self.losses.feature_at(Feature::CacheMark, place);
        }
    }

    fn text(&mut self, text: &str, citations: &[Citation], place: &str) -> Value {
        let own: Vec<&Citation> =
            citations.iter().filter(|citation| own_citation(citation).is_some()).collect();
        if own.len() < citations.len() {
            self.losses.feature_at(Feature::Citations, place);
        }
        if own.is_empty() {
            return json!({"text": text});
        }
        let citations: Vec<Value> = own.into_iter().map(citation_value).collect();
        json!({"citationsContent": {"content": [{"text": text}], "citations": citations}})
    }

    fn media(
        &mut self,
        key: &str,
        media: Media,
        source: &Source,
        taken: bool,
        feature: Feature,
        place: &str,
    ) -> Option<Value> {
        let Some(written) = media.write(source).filter(|_| taken) else {
            let file = matches!(source, Source::File { .. });
            return self.lost(if file { Feature::File } else { feature }, place);
        };
        Some(json!({key: written}))
    }

    fn document(&mut self, part: &Part, taken: bool, place: &str) -> Option<Value> {
        let Part::Document { source, name, context, citable, .. } = part else { return None };
        let mut block = self.media("document", Media::Document, source, taken, Feature::Document, place)?;
        self.documents += 1;
        let number = self.documents;
        let mut name = document_name(name.as_deref(), number);
        if self.names.contains(&name) {
            name.push_str(&format!(" ({number})"));
        }
        let document = &mut block["document"];
        document["name"] = name.as_str().into();
        self.names.insert(name);
        if let Some(context) = context {
            document["context"] = context.as_str().into();
        }
        if *citable {
            document["citations"] = json!({"enabled": true});
        }
        Some(block)
    }
}

/// A part's mark for the prompt cache: a result's stands at its end.
fn cache_of(part: &Part) -> Option<&CacheMark> {
    part.cache().or_else(|| part.inner().last().and_then(cache_of))
}

/// A thought of Claude's own.
fn thought(text: &str, proof: &Proof) -> Value {
    match proof.kind {
        ProofKind::Encrypted => json!({"reasoningContent": {"redactedContent": redacted(proof)}}),
        ProofKind::Signature | ProofKind::Mark => {
            json!({"reasoningContent": {"reasoningText": {"text": text, "signature": proof.value}}})
        }
    }
}
