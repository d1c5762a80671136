//! Reads a stream of named events.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    answer::{proof, refusal_of},
    error::{error_of, status_of},
};
use crate::{
    canon::{Delta, Error, ErrorKind, Event, Finish, Opening, Part, ProofKind},
    dialect::{
        StreamReader,
        anthropic::{Counts, DIALECT, citation::citation_of, finish_of, tier_of},
    },
    stream::{FRAME_BYTES_MAX, Frame},
};

/// Reads events. The dialect knows one answer, of blocks.
#[derive(Default)]
pub(in crate::dialect) struct Reader {
    started: bool,
    over: bool,
    parts: u32,
    /// Blocks that are open, by the index that the provider gives them.
    blocks: BTreeMap<u64, Block>,
    counts: Counts,
    finish: Option<Finish>,
}

/// A block that is open.
enum Block {
    Part(u32),
    /// A call, and arguments that came with its beginning: they count if no others follow.
    Call {
        part: u32,
        whole: Option<String>,
    },
    /// What one of the vendor's own tools is asked: it is told when it is whole.
    Vendor {
        value: Value,
        input: String,
    },
}

/// Most blocks that are open at once; a provider that opens more has lost its senses.
const BLOCKS_OPEN_MAX: usize = 1_024;

impl StreamReader for Reader {
    fn read(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Value>(&frame.data) else {
            return self
                .fail(Error::of_status(502, "the provider's stream holds an event that is not JSON"), out);
        };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or(&frame.event);
        if kind == "error" {
            return self.fail(error_of(status_of(&event), &event), out);
        }
        if kind == "message_start" || !matches!(kind, "ping" | "message_stop") {
            self.start(event.get("message"), out);
        }
        match kind {
            "content_block_start" => self.open(&event, out),
            "content_block_delta" => self.delta(&event, out),
            "content_block_stop" => {
                if let Some(block) = self.blocks.remove(&index(&event)) {
                    self.close(block, out);
                }
            }
            "message_delta" => self.message_delta(&event, out),
            "message_stop" => {
                // Some compatible providers give no reason.
                self.finish.get_or_insert(Finish::Stop);
                self.end(out);
            }
            "ping" if self.started => out.push(Event::Ping),
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        let Some(finish) = self.finish.take() else {
            let message = "the provider's stream broke off before its end";
            return self.fail(Error { status: 502, ..Error::new(ErrorKind::Server, message) }, out);
        };
        self.over = true;
        self.close_all(out);
        out.push(Event::Finish { choice: 0, finish });
        out.push(Event::End);
    }
}

fn index(event: &Value) -> u64 {
    event.get("index").and_then(Value::as_u64).unwrap_or(0)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Reader {
    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error));
    }

    fn start(&mut self, message: Option<&Value>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let said = |key: &str| message.map(|message| text(message, key)).unwrap_or_default().to_owned();
        out.push(Event::Start { id: said("id"), model: said("model"), created: None });
        if let Some(usage) = message.and_then(|message| message.get("usage")) {
            let tier = usage.get("service_tier").and_then(Value::as_str);
            out.extend(tier.map(|tier| Event::Tier(tier_of(tier))));
            self.counts.take(usage);
            out.push(Event::Usage(self.counts.usage()));
        }
    }

    fn next(&mut self) -> u32 {
        self.parts += 1;
        self.parts - 1
    }

    /// Begins a part; what it is known to hold already is told.
    fn begin(&mut self, opening: Opening, said: Option<Delta>, out: &mut Vec<Event>) -> u32 {
        let part = self.next();
        out.push(Event::Open { choice: 0, part, opening });
        out.extend(said.map(|delta| Event::Delta { choice: 0, part, delta }));
        part
    }

    fn open(&mut self, event: &Value, out: &mut Vec<Event>) {
        let Some(block) = event.get("content_block").filter(|_| self.blocks.len() < BLOCKS_OPEN_MAX) else {
            return;
        };
        let said = |key: &str| Some(text(block, key).to_owned()).filter(|said| !said.is_empty());
        let open = match text(block, "type") {
            "text" => Block::Part(self.begin(Opening::Text, said("text").map(Delta::Text), out)),
            "thinking" => {
                let part = self.begin(Opening::Thinking, said("thinking").map(Delta::Text), out);
                let signature = said("signature").map(|value| Box::new(proof(value, ProofKind::Signature)));
                out.extend(signature.map(|proof| Event::Delta {
                    choice: 0,
                    part,
                    delta: Delta::Proof(proof),
                }));
                Block::Part(part)
            }
            "redacted_thinking" => {
                let data = proof(text(block, "data").to_owned(), ProofKind::Encrypted);
                Block::Part(self.begin(Opening::Thinking, Some(Delta::Proof(Box::new(data))), out))
            }
            "tool_use" => {
                let (id, name) = (text(block, "id").to_owned(), text(block, "name").to_owned());
                let input = block.get("input").and_then(Value::as_object).filter(|input| !input.is_empty());
                let whole = input.and_then(|input| serde_json::to_string(input).ok());
                let part = self.begin(Opening::ToolCall { id, name, custom: false }, None, out);
                Block::Call { part, whole }
            }
            _ => Block::Vendor { value: block.clone(), input: String::new() },
        };
        if let Some(old) = self.blocks.insert(index(event), open) {
            self.close(old, out);
        }
    }

    fn delta(&mut self, event: &Value, out: &mut Vec<Event>) {
        let Some(value) = event.get("delta") else { return };
        let Some(block) = self.blocks.get_mut(&index(event)) else { return };
        let (part, delta) = match (block, text(value, "type")) {
            (Block::Part(part), "text_delta") => (*part, Delta::Text(text(value, "text").to_owned())),
            (Block::Part(part), "thinking_delta") => (*part, Delta::Text(text(value, "thinking").to_owned())),
            (Block::Part(part), "signature_delta") => {
                let signature = proof(text(value, "signature").to_owned(), ProofKind::Signature);
                (*part, Delta::Proof(Box::new(signature)))
            }
            (Block::Part(part), "citations_delta") => match value.get("citation").and_then(citation_of) {
                Some(citation) => (*part, Delta::Citation(Box::new(citation))),
                None => return,
            },
            (Block::Call { part, whole }, "input_json_delta") => {
                let more = text(value, "partial_json").to_owned();
                if !more.is_empty() {
                    *whole = None;
                }
                (*part, Delta::Text(more))
            }
            (Block::Vendor { input, .. }, "input_json_delta") => {
                let more = text(value, "partial_json");
                if input.len() + more.len() <= FRAME_BYTES_MAX {
                    input.push_str(more);
                }
                return;
            }
            _ => return,
        };
        let empty = match &delta {
            Delta::Text(text) => text.is_empty(),
            Delta::Proof(proof) => proof.value.is_empty(),
            _ => false,
        };
        if !empty {
            out.push(Event::Delta { choice: 0, part, delta });
        }
    }

    fn close(&mut self, block: Block, out: &mut Vec<Event>) {
        let part = match block {
            Block::Part(part) => part,
            Block::Call { part, whole } => {
                out.extend(whole.map(|text| Event::Delta { choice: 0, part, delta: Delta::Text(text) }));
                part
            }
            Block::Vendor { mut value, input } => {
                if let (Ok(input), Some(object)) =
                    (serde_json::from_str::<Value>(&input), value.as_object_mut())
                {
                    object.insert("input".to_owned(), input);
                }
                let whole = Part::Vendor { dialect: DIALECT, value };
                self.begin(Opening::Whole(Box::new(whole)), None, out)
            }
        };
        out.push(Event::Close { choice: 0, part });
    }

    fn close_all(&mut self, out: &mut Vec<Event>) {
        for (_, block) in std::mem::take(&mut self.blocks) {
            self.close(block, out);
        }
    }

    fn message_delta(&mut self, event: &Value, out: &mut Vec<Event>) {
        self.close_all(out);
        if let Some(delta) = event.get("delta") {
            if let Some(Part::Refusal { text }) = delta.get("stop_details").and_then(refusal_of) {
                let part = self.begin(Opening::Refusal, Some(Delta::Text(text)), out);
                out.push(Event::Close { choice: 0, part });
            }
            if let Some(word) = delta.get("stop_reason").and_then(Value::as_str) {
                self.finish = Some(finish_of(word, delta.get("stop_sequence").and_then(Value::as_str)));
            }
        }
        if let Some(usage) = event.get("usage").filter(|usage| usage.is_object()) {
            self.counts.take(usage);
            out.push(Event::Usage(self.counts.usage()));
        }
    }
}
