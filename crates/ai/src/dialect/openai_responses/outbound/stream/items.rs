//! The items of a stream, while they come.

use serde_json::Value;

use super::{ITEMS_MAX, Reader};
use crate::{
    canon::{Delta, Event, Finish, Opening, Part},
    dialect::{
        openai_chat::probability_of,
        openai_responses::{
            content,
            outbound::answer::{call_of, piece_of, whole_of},
            thought::{self, Thought},
        },
    },
};

/// An item that is not complete.
pub(super) enum Item {
    /// A message: its pieces, each with its part and how much of it came.
    Message(Vec<Piece>),
    /// Thoughts. Their part opens with the first text: until then they may turn out to be a mark.
    Thinking(Option<Thinking>),
    /// A call.
    Call { part: u32, told: bool },
    /// What is told when it is complete.
    Whole,
    /// What has been told.
    Done,
}

/// A piece of a message.
pub(super) struct Piece {
    index: u64,
    part: u32,
    open: bool,
    told: bool,
}

/// Thoughts that have begun to come.
#[derive(Clone, Copy)]
pub(super) struct Thinking {
    part: u32,
    /// They come as themselves, not summed up.
    raw: bool,
    /// Which part of the summary comes.
    index: u64,
}

fn number(event: &Value, key: &str) -> u64 {
    event.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Reader {
    pub(super) fn item_event(&mut self, kind: &str, event: &Value, out: &mut Vec<Event>) {
        let at = number(event, "output_index");
        if at >= ITEMS_MAX {
            return;
        }
        let piece = event.get("part").unwrap_or(&Value::Null);
        match kind {
            "response.output_item.added" => self.add_item(at, event.get("item").unwrap_or(&Value::Null), out),
            "response.output_item.done" => self.item_done(at, event.get("item").unwrap_or(&Value::Null), out),
            "response.content_part.added" => match text(piece, "type") {
                "output_text" => drop(self.piece(at, event, Opening::Text, out)),
                "refusal" => drop(self.piece(at, event, Opening::Refusal, out)),
                _ => {}
            },
            "response.content_part.done" => self.piece_done(at, event, out),
            "response.output_text.delta" => {
                self.say(at, event, Opening::Text, text(event, "delta"), out);
                self.probabilities(event, out);
            }
            "response.output_text.done" => self.say_whole(at, event, Opening::Text, text(event, "text"), out),
            "response.output_text.annotation.added" => self.annotate(at, event, out),
            "response.refusal.delta" => self.say(at, event, Opening::Refusal, text(event, "delta"), out),
            "response.refusal.done" => {
                self.say_whole(at, event, Opening::Refusal, text(event, "refusal"), out)
            }
            "response.reasoning_summary_text.delta" => self.think(at, event, "summary_index", out),
            "response.reasoning_text.delta" => self.think(at, event, "content_index", out),
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.argue(at, text(event, "delta"), false, out);
            }
            "response.function_call_arguments.done" => self.argue(at, text(event, "arguments"), true, out),
            "response.custom_tool_call_input.done" => self.argue(at, text(event, "input"), true, out),
            // The progress of hosted tools, whose items come whole; and what is not known yet.
            _ => {}
        }
    }

    fn open(&mut self, opening: Opening, out: &mut Vec<Event>) -> u32 {
        let part = self.parts;
        self.parts += 1;
        match &opening {
            Opening::ToolCall { .. } => self.said = Some(Finish::ToolCalls),
            Opening::Refusal => drop(self.said.get_or_insert(Finish::Refusal)),
            _ => {}
        }
        out.push(Event::Open { choice: 0, part, opening });
        part
    }

    fn add_item(&mut self, at: u64, item: &Value, out: &mut Vec<Event>) {
        if self.items.contains_key(&at) {
            return;
        }
        let state = match text(item, "type") {
            "message" => Item::Message(Vec::new()),
            "reasoning" => Item::Thinking(None),
            "function_call" | "custom_tool_call" => {
                let proof = self.mark.take();
                let Some(Part::ToolCall { id, name, custom, arguments, .. }) = call_of(item, None) else {
                    return;
                };
                let part = self.open(Opening::ToolCall { id, name, custom }, out);
                out.extend(proof.map(|proof| delta(part, Delta::Proof(Box::new(proof)))));
                let told = !arguments.is_empty();
                if told {
                    out.push(delta(part, Delta::Text(arguments)));
                }
                Item::Call { part, told }
            }
            _ => Item::Whole,
        };
        self.items.insert(at, state);
    }

    /// The part of a piece of a message, and whether it is open; a new one where nothing announced it.
    fn piece(
        &mut self,
        at: u64,
        event: &Value,
        opening: Opening,
        out: &mut Vec<Event>,
    ) -> Option<(u32, bool)> {
        let index = number(event, "content_index");
        let item = self.items.entry(at).or_insert_with(|| Item::Message(Vec::new()));
        let Item::Message(pieces) = item else { return None };
        if let Some(piece) = pieces.iter().find(|piece| piece.index == index) {
            return Some((piece.part, piece.open));
        }
        let part = self.open(opening, out);
        if let Some(Item::Message(pieces)) = self.items.get_mut(&at) {
            pieces.push(Piece { index, part, open: true, told: false });
        }
        Some((part, true))
    }

    fn say(&mut self, at: u64, event: &Value, opening: Opening, more: &str, out: &mut Vec<Event>) {
        let Some((part, true)) = self.piece(at, event, opening, out) else { return };
        if more.is_empty() {
            return;
        }
        if let Some(Item::Message(pieces)) = self.items.get_mut(&at) {
            pieces.iter_mut().filter(|piece| piece.part == part).for_each(|piece| piece.told = true);
        }
        out.push(delta(part, Delta::Text(more.to_owned())));
    }

    /// A whole text: told, when it did not come in pieces.
    fn say_whole(&mut self, at: u64, event: &Value, opening: Opening, whole: &str, out: &mut Vec<Event>) {
        let index = number(event, "content_index");
        let told = match self.items.get(&at) {
            Some(Item::Message(pieces)) => pieces.iter().any(|piece| piece.index == index && piece.told),
            Some(_) => true,
            None => false,
        };
        if !told {
            self.say(at, event, opening, whole, out);
        }
    }

    fn probabilities(&mut self, event: &Value, out: &mut Vec<Event>) {
        let tokens = event.get("logprobs").and_then(Value::as_array).into_iter().flatten();
        let tokens: Vec<_> = tokens.filter_map(probability_of).collect();
        if !tokens.is_empty() {
            self.probabilities = true;
            out.push(Event::LogProbabilities { choice: 0, tokens });
        }
    }

    fn annotate(&mut self, at: u64, event: &Value, out: &mut Vec<Event>) {
        let Some(citation) = event.get("annotation").and_then(content::citation_of) else { return };
        if let Some((part, true)) = self.piece(at, event, Opening::Text, out) {
            out.push(delta(part, Delta::Citation(Box::new(citation))));
        }
    }

    fn piece_done(&mut self, at: u64, event: &Value, out: &mut Vec<Event>) {
        let index = number(event, "content_index");
        if let Some(Item::Message(pieces)) = self.items.get_mut(&at) {
            pieces.iter_mut().filter(|piece| piece.index == index).for_each(|piece| close_piece(piece, out));
        }
    }

    fn think(&mut self, at: u64, event: &Value, key: &str, out: &mut Vec<Event>) {
        let (raw, index, more) = (key == "content_index", number(event, key), text(event, "delta"));
        if more.is_empty() {
            return;
        }
        let begun = match self.items.entry(at).or_insert(Item::Thinking(None)) {
            Item::Thinking(begun) => *begun,
            _ => return,
        };
        let thinking = match begun {
            // The summary and the thoughts themselves say the same.
            Some(thinking) if thinking.raw != raw => return,
            Some(thinking) => thinking,
            None => Thinking { part: self.open(Opening::Thinking, out), raw, index },
        };
        let more = if thinking.index == index || raw { more.to_owned() } else { format!("\n\n{more}") };
        out.push(delta(thinking.part, Delta::Text(more)));
        self.items.insert(at, Item::Thinking(Some(Thinking { index, ..thinking })));
    }

    fn argue(&mut self, at: u64, more: &str, whole: bool, out: &mut Vec<Event>) {
        if let Some(Item::Call { part, told }) = self.items.get_mut(&at)
            && !more.is_empty()
            && !(whole && *told)
        {
            *told = true;
            out.push(delta(*part, Delta::Text(more.to_owned())));
        }
    }

    fn item_done(&mut self, at: u64, item: &Value, out: &mut Vec<Event>) {
        if !self.items.contains_key(&at) {
            self.add_item(at, item, out);
        }
        match self.items.insert(at, Item::Done) {
            Some(Item::Message(pieces)) => self.message_done(pieces, item, out),
            Some(Item::Thinking(thinking)) => self.thinking_done(thinking, item, out),
            Some(Item::Call { part, told }) => {
                let whole = call_of(item, None);
                if let (false, Some(Part::ToolCall { arguments, .. })) = (told, whole)
                    && !arguments.is_empty()
                {
                    out.push(delta(part, Delta::Text(arguments)));
                }
                out.push(Event::Close { choice: 0, part });
            }
            Some(Item::Whole) if item.is_object() => self.whole(whole_of(item), out),
            Some(Item::Whole | Item::Done) | None => {}
        }
    }

    fn whole(&mut self, whole: Part, out: &mut Vec<Event>) {
        let part = self.open(Opening::Whole(Box::new(whole)), out);
        out.push(Event::Close { choice: 0, part });
    }

    /// A message that came without its pieces is told now.
    fn message_done(&mut self, mut pieces: Vec<Piece>, item: &Value, out: &mut Vec<Event>) {
        pieces.iter_mut().for_each(|piece| close_piece(piece, out));
        if !pieces.is_empty() {
            return;
        }
        for piece in item.get("content").and_then(Value::as_array).into_iter().flatten().filter_map(piece_of)
        {
            let (opening, said, citations) = match piece {
                Part::Text { text, citations, .. } => (Opening::Text, text, citations),
                Part::Refusal { text } => (Opening::Refusal, text, Vec::new()),
                _ => continue,
            };
            let part = self.open(opening, out);
            if !said.is_empty() {
                out.push(delta(part, Delta::Text(said)));
            }
            out.extend(
                citations.into_iter().map(|citation| delta(part, Delta::Citation(Box::new(citation)))),
            );
            out.push(Event::Close { choice: 0, part });
        }
    }

    fn thinking_done(&mut self, thinking: Option<Thinking>, item: &Value, out: &mut Vec<Event>) {
        let (said, proof) = match thought::read(item) {
            Thought::Part(Part::Thinking { text, proof }) => (text, proof),
            Thought::Mark(proof) if thinking.is_none() => return self.mark = Some(proof),
            // The text that it belongs to has been closed.
            Thought::MarkBefore(_) if thinking.is_none() => return,
            Thought::Mark(proof) | Thought::MarkBefore(proof) => (String::new(), Some(proof)),
            Thought::Part(_) => return,
        };
        let part = match thinking {
            Some(thinking) => thinking.part,
            None if said.is_empty() && proof.is_none() => return,
            None => {
                let part = self.open(Opening::Thinking, out);
                if !said.is_empty() {
                    out.push(delta(part, Delta::Text(said)));
                }
                part
            }
        };
        out.extend(proof.map(|proof| delta(part, Delta::Proof(Box::new(proof)))));
        out.push(Event::Close { choice: 0, part });
    }

    /// Closes what the provider left open.
    pub(super) fn close_all(&mut self, out: &mut Vec<Event>) {
        for item in self.items.values_mut() {
            match std::mem::replace(item, Item::Done) {
                Item::Message(mut pieces) => pieces.iter_mut().for_each(|piece| close_piece(piece, out)),
                Item::Thinking(Some(Thinking { part, .. })) | Item::Call { part, .. } => {
                    out.push(Event::Close { choice: 0, part });
                }
                Item::Thinking(None) | Item::Whole | Item::Done => {}
            }
        }
    }
}

fn close_piece(piece: &mut Piece, out: &mut Vec<Event>) {
    if std::mem::replace(&mut piece.open, false) {
        out.push(Event::Close { choice: 0, part: piece.part });
    }
}

fn delta(part: u32, delta: Delta) -> Event {
    Event::Delta { choice: 0, part, delta }
}
