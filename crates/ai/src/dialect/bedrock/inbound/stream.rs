//! Writes a stream: events from `messageStart` to `metadata` in AWS event-stream frames.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{answer::tier_word, error::exception};
use crate::{
    canon::{Delta, Event, Finish, Opening, Part, Proof, ProofKind, Usage},
    dialect::{
        StreamWriter, Telling,
        anthropic::turns::call_id,
        bedrock::{ISSUER, citation_value, redacted, stop_word, usage_value},
    },
    stream::event_stream,
};

/// Writes blocks. Only those of calls and pictures have a beginning of their own; the others begin with what is in
/// them.
#[derive(Default)]
pub(in crate::dialect) struct Writer {
    started: bool,
    over: bool,
    parts: BTreeMap<u32, State>,
    /// Blocks told until now.
    blocks: u32,
    /// The part whose block is open.
    open: Option<u32>,
    usage: Usage,
    tier: Option<String>,
    finish: Option<Finish>,
    called: bool,
}

/// A part that has begun.
struct State {
    kind: Kind,
    /// Its block, once it is told.
    block: Option<u32>,
    proof: Option<Proof>,
}

enum Kind {
    Text,
    Thinking,
    Call {
        id: String,
        name: String,
    },
    /// Its argument is a text, which must be put in an object whole.
    Custom {
        id: String,
        name: String,
        text: String,
    },
}

fn frame(event: &str, value: &Value, out: &mut Vec<u8>) {
    event_stream::write(event, false, value.to_string().as_bytes(), out);
}

fn delta(index: u32, delta: &Value, out: &mut Vec<u8>) {
    frame("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}), out);
}

fn stop(index: u32, out: &mut Vec<u8>) {
    frame("contentBlockStop", &json!({"contentBlockIndex": index}), out);
}

impl Writer {
    pub(in crate::dialect) fn new(_: Telling) -> Self {
        Self::default()
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            frame("messageStart", &json!({"role": "assistant"}), out);
        }
    }

    /// Begins the next block; the one before it is complete.
    fn begin(&mut self, start: Option<&Value>, out: &mut Vec<u8>) -> u32 {
        self.stop_open(out);
        let index = self.blocks;
        self.blocks += 1;
        if let Some(start) = start {
            frame("contentBlockStart", &json!({"contentBlockIndex": index, "start": start}), out);
        }
        index
    }

    /// A block of one delta.
    fn whole(&mut self, start: Option<&Value>, content: &Value, out: &mut Vec<u8>) {
        let index = self.begin(start, out);
        delta(index, content, out);
        stop(index, out);
    }

    fn hidden(&mut self, proof: &Proof, out: &mut Vec<u8>) {
        self.whole(None, &json!({"reasoningContent": {"redactedContent": redacted(proof)}}), out);
    }

    fn stop_open(&mut self, out: &mut Vec<u8>) {
        let state = self.open.take().and_then(|part| self.parts.get(&part));
        let Some(State { kind, block: Some(index), proof }) = state else { return };
        if let (Kind::Thinking, Some(proof)) = (kind, proof) {
            delta(*index, &json!({"reasoningContent": {"signature": proof.told_to(ISSUER)}}), out);
        }
        stop(*index, out);
    }

    /// The block of a part, which begins now if it has not.
    fn block(&mut self, part: u32, out: &mut Vec<u8>) -> Option<u32> {
        let state = self.parts.get_mut(&part)?;
        if let Some(index) = state.block {
            return Some(index);
        }
        let (start, mark) = match &state.kind {
            Kind::Text | Kind::Thinking => (None, None),
            Kind::Call { id, name } | Kind::Custom { id, name, .. } => {
                let start = json!({"toolUse": {"toolUseId": call_id(id), "name": name}});
                (Some(start), state.proof.take())
            }
        };
        if let Some(mark) = mark {
            self.hidden(&mark, out);
        }
        let index = self.begin(start.as_ref(), out);
        self.open = Some(part);
        self.parts.get_mut(&part)?.block = Some(index);
        Some(index)
    }

    fn open_part(&mut self, part: u32, opening: Opening, out: &mut Vec<u8>) {
        let kind = match opening {
            Opening::Text | Opening::Audio { .. } | Opening::Refusal => Kind::Text,
            Opening::Thinking => Kind::Thinking,
            Opening::ToolCall { id, name, custom: false } => Kind::Call { id, name },
            Opening::ToolCall { id, name, custom: true } => Kind::Custom { id, name, text: String::new() },
            Opening::Whole(whole) => {
                if let Part::Image { source, .. } = &*whole
                    && let Some(image) = crate::dialect::bedrock::media::Media::Image.write(source)
                {
                    let start = json!({"image": {"format": image.get("format")}});
                    let content = json!({"image": {"source": image.get("source")}});
                    self.whole(Some(&start), &content, out);
                }
                return;
            }
        };
        self.called |= matches!(kind, Kind::Call { .. } | Kind::Custom { .. });
        self.parts.insert(part, State { kind, block: None, proof: None });
    }

    fn add(&mut self, part: u32, added: Delta, out: &mut Vec<u8>) {
        let Some(state) = self.parts.get_mut(&part) else { return };
        let value = match (&mut state.kind, added) {
            (_, Delta::Proof(new)) => {
                return Proof::grow(&mut state.proof, *new);
            }
            (Kind::Text, Delta::Text(text) | Delta::Transcript(text)) => json!({"text": text}),
            (Kind::Text, Delta::Citation(citation)) => json!({"citation": citation_value(&citation)}),
            (Kind::Thinking, Delta::Text(text)) => json!({"reasoningContent": {"text": text}}),
            (Kind::Call { .. }, Delta::Text(text)) => json!({"toolUse": {"input": text}}),
            (Kind::Custom { text, .. }, Delta::Text(more)) => return text.push_str(&more),
            _ => return,
        };
        if let Some(index) = self.block(part, out) {
            delta(index, &value, out);
        }
    }

    fn close(&mut self, part: u32, out: &mut Vec<u8>) {
        let Some(state) = self.parts.get(&part) else { return };
        let told = state.block.is_some();
        match &state.kind {
            Kind::Text => {}
            Kind::Thinking if told => {}
            Kind::Thinking => match state.proof.clone() {
                Some(proof) if proof.kind == ProofKind::Signature => {
                    self.block(part, out);
                }
                Some(proof) => self.hidden(&proof, out),
                None => {}
            },
            Kind::Call { .. } => {
                self.block(part, out);
            }
            Kind::Custom { text, .. } => {
                let input = json!({"input": text}).to_string();
                if let Some(index) = self.block(part, out) {
                    delta(index, &json!({"toolUse": {"input": input}}), out);
                }
            }
        }
        if self.open == Some(part) {
            self.stop_open(out);
        }
        let mark = self.parts.remove(&part).filter(|state| matches!(state.kind, Kind::Text));
        if let Some(mark) = mark.and_then(|state| state.proof) {
            self.hidden(&mark.after(), out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.stop_open(out);
        frame("messageStop", &json!({"stopReason": stop_word(self.finish.as_ref(), self.called)}), out);
        let mut metadata = json!({"usage": usage_value(&self.usage), "metrics": {"latencyMs": 0}});
        if let Some(tier) = self.tier.as_deref().and_then(tier_word) {
            metadata["serviceTier"] = json!({"type": tier});
        }
        frame("metadata", &metadata, out);
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { .. } => self.start(out),
            // The dialect knows one answer.
            Event::Open { choice: 0, part, opening } => {
                self.start(out);
                self.open_part(part, opening, out);
            }
            Event::Delta { choice: 0, part, delta } => self.add(part, delta, out),
            Event::Close { choice: 0, part } => self.close(part, out),
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Usage(usage) => self.usage = usage,
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Error(error) => {
                self.over = true;
                let (name, value) = exception(&error);
                event_stream::write(name, true, value.to_string().as_bytes(), out);
            }
            Event::End => {
                self.over = true;
                self.end(out);
            }
            // There is no sign of life in the dialect.
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Close { .. }
            | Event::Finish { .. }
            | Event::LogProbabilities { .. }
            | Event::Extra(_)
            | Event::Ping => {}
        }
    }
}
