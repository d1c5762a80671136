//! Writes a stream: the events of a response as Server-Sent Events, each with its number.
//!
//! The last event holds the whole response, and events that close an item hold the whole item; so what has been said
//! is kept until the end.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

mod parts;

use self::parts::State;
use super::answer::{Head, Outcome, item_id, message_value};
use crate::{
    canon::{Delta, Error, ErrorKind, Event, Finish, TokenProbability, Usage},
    dialect::{StreamWriter, Telling, openai_chat::inbound::error_value, openai_chat::probability_value},
    stream::sse,
};

/// Writes events of one response.
pub(in crate::dialect) struct Writer {
    telling: Telling,
    id: String,
    created: u64,
    sequence: u64,
    begun: bool,
    /// The items, each `null` until it is complete.
    output: Vec<Value>,
    /// Messages that are not complete, by their place in `output`.
    messages: BTreeMap<usize, Message>,
    /// The message that takes the next text.
    current: Option<usize>,
    parts: BTreeMap<u32, State>,
    tokens: Vec<TokenProbability>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    tier: Option<String>,
}

/// A message that is not complete.
struct Message {
    id: String,
    content: Vec<Value>,
    open: usize,
}

impl Writer {
    pub(in crate::dialect) fn new(telling: Telling) -> Self {
        Self {
            id: telling.id.clone(),
            created: telling.created,
            telling,
            sequence: 0,
            begun: false,
            output: Vec::new(),
            messages: BTreeMap::new(),
            current: None,
            parts: BTreeMap::new(),
            tokens: Vec::new(),
            finish: None,
            usage: None,
            tier: None,
        }
    }

    fn emit(&mut self, kind: &str, mut fields: Value, out: &mut Vec<u8>) {
        let mut event = Map::new();
        event.insert("type".into(), kind.into());
        event.insert("sequence_number".into(), self.sequence.into());
        if let Some(fields) = fields.as_object_mut() {
            event.append(fields);
        }
        self.sequence += 1;
        sse::write_json(Some(kind), &event, out);
    }

    fn head(&self) -> Head<'_> {
        Head { id: &self.id, created: self.created, telling: &self.telling }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let response = self.head().response("in_progress", Vec::new());
        self.emit("response.created", json!({"response": response}), out);
        self.emit("response.in_progress", json!({"response": response}), out);
    }

    /// Takes the next place in the output.
    fn place(&mut self) -> usize {
        self.output.push(Value::Null);
        self.output.len() - 1
    }

    fn add_item(&mut self, at: usize, item: &Value, out: &mut Vec<u8>) {
        self.emit("response.output_item.added", json!({"output_index": at, "item": item}), out);
    }

    fn item_done(&mut self, at: usize, item: Value, out: &mut Vec<u8>) {
        self.emit("response.output_item.done", json!({"output_index": at, "item": item}), out);
        if let Some(place) = self.output.get_mut(at) {
            *place = item;
        }
    }

    /// An item that comes whole.
    fn whole_item(&mut self, item: Value, out: &mut Vec<u8>) {
        self.leave_message(out);
        let at = self.place();
        self.add_item(at, &item, out);
        self.item_done(at, item, out);
    }

    fn item_id(&self, prefix: &str, at: usize) -> String {
        item_id(prefix, &self.id, at)
    }

    /// A new piece of the message that stands last, or of a new one: where it stands.
    fn open_piece(&mut self, piece: &Value, out: &mut Vec<u8>) -> (usize, usize) {
        let at = match self.current {
            Some(at) => at,
            None => {
                let at = self.place();
                let id = self.item_id("msg", at);
                self.add_item(at, &message_value(&id, Vec::new(), "in_progress"), out);
                self.messages.insert(at, Message { id, content: Vec::new(), open: 0 });
                self.current = Some(at);
                at
            }
        };
        let Some(message) = self.messages.get_mut(&at) else { return (at, 0) };
        let index = message.content.len();
        message.content.push(piece.clone());
        message.open += 1;
        self.piece_event("response.content_part.added", (at, index), json!({"part": piece}), out);
        (at, index)
    }

    /// An event about a piece of a message.
    fn piece_event(&mut self, kind: &str, (at, index): (usize, usize), mut fields: Value, out: &mut Vec<u8>) {
        let Some(message) = self.messages.get(&at) else { return };
        fields["item_id"] = message.id.as_str().into();
        fields["output_index"] = at.into();
        fields["content_index"] = index.into();
        self.emit(kind, fields, out);
    }

    fn close_piece(&mut self, (at, index): (usize, usize), piece: Value, out: &mut Vec<u8>) {
        self.piece_event("response.content_part.done", (at, index), json!({"part": piece}), out);
        if let Some(message) = self.messages.get_mut(&at) {
            message.open = message.open.saturating_sub(1);
            if let Some(place) = message.content.get_mut(index) {
                *place = piece;
            }
        }
        if self.current != Some(at) {
            self.settle(at, out);
        }
    }

    /// The next text begins a new message.
    fn leave_message(&mut self, out: &mut Vec<u8>) {
        if let Some(at) = self.current.take() {
            self.settle(at, out);
        }
    }

    /// Completes a message, if nothing of it is open.
    fn settle(&mut self, at: usize, out: &mut Vec<u8>) {
        if self.messages.get(&at).is_some_and(|message| message.open == 0)
            && let Some(message) = self.messages.remove(&at)
        {
            self.item_done(at, message_value(&message.id, message.content, "completed"), out);
        }
    }

    /// Probabilities come with the text that is open; without one, the whole response has them.
    fn probabilities(&mut self, mut tokens: Vec<TokenProbability>, out: &mut Vec<u8>) {
        let open = self.parts.values().find_map(State::text_place);
        if let Some(place) = open {
            let told: Vec<Value> = tokens.iter().map(passing_probability).collect();
            self.piece_event(
                "response.output_text.delta",
                place,
                json!({"delta": "", "logprobs": told}),
                out,
            );
        }
        self.tokens.append(&mut tokens);
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        while let Some(part) = self.parts.first_key_value().map(|(part, _)| *part) {
            self.close(part, out);
        }
        self.leave_message(out);
    }

    /// The items that are complete, with probabilities in the first text.
    fn take_output(&mut self) -> Vec<Value> {
        let mut output = std::mem::take(&mut self.output);
        output.retain(|item| !item.is_null());
        if !self.tokens.is_empty() {
            let pieces =
                output.iter_mut().filter_map(|item| item.get_mut("content")?.as_array_mut()).flatten();
            let mut texts = pieces.filter(|piece| piece["type"] == "output_text");
            if let Some(text) = texts.next() {
                text["logprobs"] = self.tokens.iter().map(probability_value).collect();
            }
        }
        output
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.close_all(out);
        let output = self.take_output();
        let (finish, usage, tier) = (self.finish.take(), self.usage.take(), self.tier.take());
        let outcome = Outcome { finish: finish.as_ref(), usage: usage.as_ref(), tier: tier.as_deref() };
        let response = self.head().complete(output, &outcome);
        let kind = match response.get("status").and_then(Value::as_str) {
            Some("incomplete") => "response.incomplete",
            _ => "response.completed",
        };
        self.emit(kind, json!({"response": response}), out);
    }

    /// An event `error` with all that is known, and the end that clients wait for.
    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let told = error_value(error);
        let told = told.get("error").cloned().unwrap_or(Value::Null);
        let code = failed_code(error.kind);
        let full = json!({
            "code": told.get("code").filter(|code| !code.is_null()).unwrap_or(&code.into()),
            "message": error.message,
            "param": error.param,
        });
        self.emit("error", full, out);
        if self.begun {
            let output = self.take_output();
            let mut response = self.head().response("failed", output);
            response.insert("error".into(), json!({"code": code, "message": error.message}));
            self.emit("response.failed", json!({"response": response}), out);
        }
    }
}

/// `code` of a response that failed. SDKs know a list of words, agents two more.
fn failed_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ContextLength => "context_length_exceeded",
        ErrorKind::Quota => "insufficient_quota",
        ErrorKind::RateLimited => "rate_limit_exceeded",
        ErrorKind::Invalid | ErrorKind::ContentFilter | ErrorKind::TooLarge | ErrorKind::NotFound => {
            "invalid_prompt"
        }
        ErrorKind::Authentication
        | ErrorKind::Permission
        | ErrorKind::Server
        | ErrorKind::Overloaded
        | ErrorKind::Timeout => "server_error",
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, created, .. } => {
                if !id.is_empty() {
                    self.id = id;
                }
                self.created = created.unwrap_or(self.created);
                self.begin(out);
            }
            // The dialect knows one answer at a time.
            Event::Open { choice: 0, part, opening } => {
                self.begin(out);
                self.open(part, opening, out);
            }
            Event::Delta { choice: 0, part, delta } => self.add(part, delta, out),
            Event::Close { choice: 0, part } => self.close(part, out),
            Event::LogProbabilities { choice: 0, tokens } => self.probabilities(tokens, out),
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Close { .. }
            | Event::LogProbabilities { .. }
            | Event::Finish { .. }
            | Event::Extra(_) => {}
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => self.fail(&error, out),
            Event::End => self.end(out),
        }
    }
}

/// A token as events tell it, without the bytes that the whole answer has.
fn passing_probability(token: &TokenProbability) -> Value {
    let value = |token: &TokenProbability| json!({"token": token.token, "logprob": token.log_probability});
    let mut told = value(token);
    told["top_logprobs"] = token.alternatives.iter().map(value).collect();
    told
}
