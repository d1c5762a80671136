//! Reads a stream of AWS event-stream frames.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    answer::proof,
    error::{error_of, status_of},
};
use crate::{
    canon::{Delta, Error, ErrorKind, Event, Finish, Opening, Part, Source},
    dialect::{
        StreamReader,
        bedrock::{DIALECT, citation_of, finish_of, media::Media, redacted_of, usage_of},
    },
    stream::{FRAME_BYTES_MAX, Frame},
    way::Way,
};

/// Reads events. The dialect knows one answer, of blocks; what a block is shows in its first delta unless it is a call.
#[derive(Default)]
pub(in crate::dialect) struct Reader {
    started: bool,
    over: bool,
    parts: u32,
    /// Blocks that are open, by the index that the provider gives them.
    blocks: BTreeMap<u64, Block>,
    finish: Option<Finish>,
}

/// A block that is open.
enum Block {
    Part(u32),
    /// A picture, which is told when it is whole.
    Image {
        format: String,
        data: String,
    },
    /// What one of the vendor's own tools is asked or gives: it is told when it is whole.
    Vendor {
        start: Value,
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
        if frame.exception || frame.event.ends_with("Exception") {
            return self.fail(error_of(status_of(&frame.event), &frame.event, &event), out);
        }
        if !std::mem::replace(&mut self.started, true) {
            // Neither an id nor a model is told.
            out.push(Event::Start { id: String::new(), model: String::new(), created: None });
        }
        match frame.event.as_str() {
            "contentBlockStart" => self.open(&event, out),
            "contentBlockDelta" => self.delta(&event, out),
            "contentBlockStop" => {
                if let Some(block) = self.blocks.remove(&index(&event)) {
                    self.close(block, out);
                }
            }
            "messageStop" => {
                self.close_all(out);
                let word = event.get("stopReason").and_then(Value::as_str).unwrap_or("end_turn");
                let finish = finish_of(word, event.get("additionalModelResponseFields"));
                self.finish.get_or_insert(finish);
            }
            "metadata" => {
                let tier = event.at("/serviceTier/type").and_then(Value::as_str);
                out.extend(tier.map(|tier| Event::Tier(tier.to_owned())));
                out.extend(event.get("usage").and_then(usage_of).map(Event::Usage));
                // It is the last event, unless the message has not ended.
                if self.finish.is_some() {
                    self.end(out);
                }
            }
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
    event.get("contentBlockIndex").and_then(Value::as_u64).unwrap_or(0)
}

impl Reader {
    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error));
    }

    fn begin(&mut self, opening: Opening, out: &mut Vec<Event>) -> u32 {
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Open { choice: 0, part, opening });
        part
    }

    fn open(&mut self, event: &Value, out: &mut Vec<Event>) {
        let Some(start) = event.get("start").filter(|_| self.blocks.len() < BLOCKS_OPEN_MAX) else { return };
        let text = |pointer: &str| start.at(pointer).and_then(Value::as_str).map(str::to_owned);
        let vendor = start.get("toolResult").is_some() || start.at("/toolUse/type").is_some();
        let block = if vendor {
            Block::Vendor { start: start.clone(), input: String::new() }
        } else if let Some(name) = text("/toolUse/name") {
            let id = text("/toolUse/toolUseId").unwrap_or_default();
            Block::Part(self.begin(Opening::ToolCall { id, name, custom: false }, out))
        } else if let Some(format) = text("/image/format") {
            Block::Image { format, data: String::new() }
        } else {
            // A block of text that says so: its first delta opens it.
            return;
        };
        if let Some(old) = self.blocks.insert(index(event), block) {
            self.close(old, out);
        }
    }

    fn delta(&mut self, event: &Value, out: &mut Vec<Event>) {
        let Some(value) = event.get("delta") else { return };
        let at = index(event);
        let text = |pointer: &str| value.at(pointer).and_then(Value::as_str);
        match self.blocks.get_mut(&at) {
            Some(Block::Image { data, .. }) => return hold(data, text("/image/source/bytes")),
            Some(Block::Vendor { input, .. }) => {
                let result = value.at("/toolResult/0/text").and_then(Value::as_str);
                return hold(input, text("/toolUse/input").or(result));
            }
            Some(Block::Part(_)) | None => {}
        }
        let thought = |delta| Some((Opening::Thinking, delta));
        let said = if let Some(text) = text("/text") {
            Some((Opening::Text, Delta::Text(text.to_owned())))
        } else if let Some(text) = text("/reasoningContent/text") {
            thought(Delta::Text(text.to_owned()))
        } else if let Some(signature) = text("/reasoningContent/signature") {
            thought(Delta::Proof(Box::new(proof(signature.to_owned()))))
        } else if let Some(data) = text("/reasoningContent/redactedContent") {
            thought(Delta::Proof(Box::new(redacted_of(data.to_owned()))))
        } else if let Some(input) = text("/toolUse/input") {
            // A call has a beginning; what has none cannot be joined with anything.
            self.blocks.contains_key(&at).then(|| (Opening::Text, Delta::Text(input.to_owned())))
        } else {
            let citation = value.get("citation").map(citation_of);
            citation.map(|citation| (Opening::Text, Delta::Citation(Box::new(citation))))
        };
        let Some((opening, delta)) = said else { return };
        let empty = match &delta {
            Delta::Text(text) => text.is_empty(),
            Delta::Proof(proof) => proof.value.is_empty(),
            _ => false,
        };
        if empty {
            return;
        }
        let part = match self.blocks.get(&at) {
            Some(Block::Part(part)) => *part,
            _ if self.blocks.len() >= BLOCKS_OPEN_MAX => return,
            _ => {
                let part = self.begin(opening, out);
                self.blocks.insert(at, Block::Part(part));
                part
            }
        };
        out.push(Event::Delta { choice: 0, part, delta });
    }

    fn close(&mut self, block: Block, out: &mut Vec<Event>) {
        let whole = match block {
            Block::Part(part) => return out.push(Event::Close { choice: 0, part }),
            Block::Image { format, data } => {
                let source = Source::Inline { media_type: Media::Image.media_type(&format), data };
                Part::Image { source, detail: None, cache: None }
            }
            Block::Vendor { mut start, input } => {
                let content = serde_json::from_str::<Value>(&input).unwrap_or(Value::String(input));
                if let Some(call) = start.get_mut("toolUse").and_then(Value::as_object_mut) {
                    call.insert("input".to_owned(), content);
                } else if let Some(result) = start.get_mut("toolResult").and_then(Value::as_object_mut) {
                    let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
                    result.insert("content".to_owned(), serde_json::json!([{"text": text}]));
                }
                Part::Vendor { dialect: DIALECT, value: start }
            }
        };
        let part = self.begin(Opening::Whole(Box::new(whole)), out);
        out.push(Event::Close { choice: 0, part });
    }

    fn close_all(&mut self, out: &mut Vec<Event>) {
        for (_, block) in std::mem::take(&mut self.blocks) {
            self.close(block, out);
        }
    }
}

/// Adds to what is told when it is whole, within bounds.
fn hold(held: &mut String, more: Option<&str>) {
    if let Some(more) = more.filter(|more| held.len() + more.len() <= FRAME_BYTES_MAX) {
        held.push_str(more);
    }
}
