//! Writes a stream: named Server-Sent Events from `message_start` to `message_stop`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    answer::{hidden, message},
    error::error_value,
};
use crate::{
    canon::{Delta, Event, Finish, Opening, Part, Proof, ProofKind, Usage},
    dialect::{
        StreamWriter, Telling,
        anthropic::{DIALECT, ISSUER, citation::citation_value, stop_words, turns::call_id, usage_value},
    },
    stream::sse,
};

/// Writes blocks. A block begins with the first thing in it: what it is may show only then, and empty ones are
/// refused when they are sent back.
pub(in crate::dialect) struct Writer {
    telling: Telling,
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
    refused: bool,
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

impl Writer {
    pub(in crate::dialect) fn new(telling: Telling) -> Self {
        Self {
            telling,
            started: false,
            over: false,
            parts: BTreeMap::new(),
            blocks: 0,
            open: None,
            usage: Usage::default(),
            tier: None,
            finish: None,
            called: false,
            refused: false,
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            let mut message = message(&self.telling.id, &self.telling.model, Vec::new());
            message["usage"] = usage_value(&self.usage, self.tier.as_deref());
            sse::write_json(
                Some("message_start"),
                &json!({"type": "message_start", "message": message}),
                out,
            );
        }
    }

    /// Begins the next block; the one before it is complete.
    fn begin(&mut self, block: &Value, out: &mut Vec<u8>) -> u32 {
        self.stop_open(out);
        let index = self.blocks;
        self.blocks += 1;
        let value = json!({"type": "content_block_start", "index": index, "content_block": block});
        sse::write_json(Some("content_block_start"), &value, out);
        index
    }

    /// A block that comes whole.
    fn whole(&mut self, block: &Value, out: &mut Vec<u8>) {
        let index = self.begin(block, out);
        stop(index, out);
    }

    fn stop_open(&mut self, out: &mut Vec<u8>) {
        let state = self.open.take().and_then(|part| self.parts.get(&part));
        let Some(State { kind, block: Some(index), proof }) = state else { return };
        if let (Kind::Thinking, Some(proof)) = (kind, proof) {
            delta(*index, json!({"type": "signature_delta", "signature": proof.told_to(ISSUER)}), out);
        }
        stop(*index, out);
    }

    /// The block of a part, which begins now if it has not.
    fn block(&mut self, part: u32, out: &mut Vec<u8>) -> Option<u32> {
        let state = self.parts.get_mut(&part)?;
        if let Some(index) = state.block {
            return Some(index);
        }
        let (block, mark) = match &state.kind {
            Kind::Text => (json!({"type": "text", "text": ""}), None),
            Kind::Thinking => (json!({"type": "thinking", "thinking": "", "signature": ""}), None),
            Kind::Call { id, name } | Kind::Custom { id, name, .. } => {
                let block = json!({"type": "tool_use", "id": call_id(id), "name": name, "input": {}});
                (block, state.proof.take())
            }
        };
        if let Some(mark) = mark {
            self.whole(&hidden(&mark), out);
        }
        let index = self.begin(&block, out);
        self.open = Some(part);
        self.parts.get_mut(&part)?.block = Some(index);
        Some(index)
    }

    fn open_part(&mut self, part: u32, opening: Opening, out: &mut Vec<u8>) {
        let kind = match opening {
            Opening::Text | Opening::Audio { .. } => Kind::Text,
            Opening::Refusal => {
                self.refused = true;
                Kind::Text
            }
            Opening::Thinking => Kind::Thinking,
            Opening::ToolCall { id, name, custom: false } => Kind::Call { id, name },
            Opening::ToolCall { id, name, custom: true } => Kind::Custom { id, name, text: String::new() },
            Opening::Whole(whole) => {
                if let Part::Vendor { dialect: DIALECT, value } = &*whole {
                    self.whole(value, out);
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
            (Kind::Text, Delta::Text(text) | Delta::Transcript(text)) => {
                json!({"type": "text_delta", "text": text})
            }
            (Kind::Text, Delta::Citation(citation)) => {
                json!({"type": "citations_delta", "citation": citation_value(&citation)})
            }
            (Kind::Thinking, Delta::Text(text)) => json!({"type": "thinking_delta", "thinking": text}),
            (Kind::Call { .. }, Delta::Text(text)) => {
                json!({"type": "input_json_delta", "partial_json": text})
            }
            (Kind::Custom { text, .. }, Delta::Text(more)) => return text.push_str(&more),
            _ => return,
        };
        if let Some(index) = self.block(part, out) {
            delta(index, value, out);
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
                Some(proof) => self.whole(&hidden(&proof), out),
                None => {}
            },
            Kind::Call { .. } => {
                self.block(part, out);
            }
            Kind::Custom { text, .. } => {
                let input = json!({"input": text}).to_string();
                if let Some(index) = self.block(part, out) {
                    delta(index, json!({"type": "input_json_delta", "partial_json": input}), out);
                }
            }
        }
        if self.open == Some(part) {
            self.stop_open(out);
        }
        let mark = self.parts.remove(&part).filter(|state| matches!(state.kind, Kind::Text));
        if let Some(mark) = mark.and_then(|state| state.proof) {
            self.whole(&hidden(&mark.after()), out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.stop_open(out);
        let (reason, sequence) = stop_words(self.finish.as_ref(), self.called, self.refused);
        let mut usage = usage_value(&self.usage, None);
        // How long what was written is kept is told at the start alone.
        if let Some(usage) = usage.as_object_mut() {
            usage.shift_remove("cache_creation");
        }
        let value = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": usage,
        });
        sse::write_json(Some("message_delta"), &value, out);
        sse::write_json(Some("message_stop"), &json!({"type": "message_stop"}), out);
    }
}

fn delta(index: u32, delta: Value, out: &mut Vec<u8>) {
    let value = json!({"type": "content_block_delta", "index": index, "delta": delta});
    sse::write_json(Some("content_block_delta"), &value, out);
}

fn stop(index: u32, out: &mut Vec<u8>) {
    let value = json!({"type": "content_block_stop", "index": index});
    sse::write_json(Some("content_block_stop"), &value, out);
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, .. } => {
                if !id.is_empty() {
                    self.telling.id = id;
                }
                self.start(out);
            }
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
            Event::Ping => {
                self.start(out);
                sse::write_json(Some("ping"), &json!({"type": "ping"}), out);
            }
            Event::Error(error) => {
                self.over = true;
                sse::write_json(Some("error"), &error_value(&error), out);
            }
            Event::End => {
                self.over = true;
                self.end(out);
            }
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Close { .. }
            | Event::Finish { .. }
            | Event::LogProbabilities { .. }
            | Event::Extra(_) => {}
        }
    }
}
