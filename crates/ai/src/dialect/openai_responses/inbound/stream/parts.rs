//! The parts of a stream: each is an item of its own, but for texts, which share messages.

use serde_json::{Value, json};

use super::{Delta, Writer};
use crate::{
    canon::{Opening, Proof},
    dialect::openai_responses::{
        content,
        hands::Hand,
        inbound::answer::{call_prefix, call_value, refusal_value, text_value, whole_value},
        thought,
    },
};

/// A piece of a message: its item's place in the output, and its own in the item.
type Place = (usize, usize);

/// What an open part is.
pub(super) enum State {
    Text {
        place: Place,
        text: String,
        annotations: Vec<Value>,
        proof: Option<Proof>,
    },
    Refusal {
        place: Place,
        text: String,
    },
    Thinking {
        at: usize,
        text: String,
        proof: Option<Proof>,
    },
    /// A call that has not been told yet: its proof comes before it.
    Waiting {
        id: String,
        name: String,
        custom: bool,
        proof: Option<Proof>,
    },
    Call {
        at: usize,
        id: String,
        name: String,
        arguments: String,
        custom: bool,
        /// It is told by an item of its own, in one piece.
        hand: Option<Hand>,
    },
}

impl State {
    /// Where a text stands.
    pub(super) fn text_place(&self) -> Option<Place> {
        match self {
            Self::Text { place, .. } => Some(*place),
            _ => None,
        }
    }
}

impl Writer {
    pub(super) fn open(&mut self, part: u32, opening: Opening, out: &mut Vec<u8>) {
        let state = match opening {
            // Speech is told by its words.
            Opening::Text | Opening::Audio { .. } => {
                let place = self.open_piece(&text_value("", Vec::new(), &[]), out);
                State::Text { place, text: String::new(), annotations: Vec::new(), proof: None }
            }
            Opening::Refusal => {
                let place = self.open_piece(&refusal_value(""), out);
                State::Refusal { place, text: String::new() }
            }
            Opening::Thinking => {
                self.leave_message(out);
                let at = self.place();
                let id = self.item_id("rs", at);
                self.add_item(at, &thought::item(&id, "", None).into(), out);
                State::Thinking { at, text: String::new(), proof: None }
            }
            Opening::ToolCall { id, name, custom } => State::Waiting { id, name, custom, proof: None },
            Opening::Whole(whole) => {
                if let Some(item) = whole_value(*whole, &self.id, self.output.len()) {
                    self.whole_item(item, out);
                }
                return;
            }
        };
        self.parts.insert(part, state);
    }

    pub(super) fn add(&mut self, part: u32, delta: Delta, out: &mut Vec<u8>) {
        self.tell_call(part, &delta, out);
        let Some(mut state) = self.parts.remove(&part) else { return };
        match (&mut state, delta) {
            (State::Text { place, text, .. }, Delta::Text(more) | Delta::Transcript(more)) => {
                text.push_str(&more);
                let fields = json!({"delta": more, "logprobs": []});
                self.piece_event("response.output_text.delta", *place, fields, out);
            }
            (State::Text { place, annotations, .. }, Delta::Citation(citation)) => {
                if let Some(annotation) = content::annotation(&citation) {
                    let fields = json!({"annotation_index": annotations.len(), "annotation": annotation});
                    self.piece_event("response.output_text.annotation.added", *place, fields, out);
                    annotations.push(annotation);
                }
            }
            (State::Refusal { place, text }, Delta::Text(more)) => {
                text.push_str(&more);
                self.piece_event("response.refusal.delta", *place, json!({"delta": more}), out);
            }
            (State::Thinking { at, text, .. }, Delta::Text(more)) => {
                if text.is_empty() && !more.is_empty() {
                    let part = json!({"part": {"type": "summary_text", "text": ""}});
                    self.summary_event("part.added", *at, part, out);
                }
                text.push_str(&more);
                self.summary_event("text.delta", *at, json!({"delta": more}), out);
            }
            (
                State::Text { proof, .. } | State::Thinking { proof, .. } | State::Waiting { proof, .. },
                Delta::Proof(new),
            ) => Proof::grow(proof, *new),
            (State::Call { arguments, hand: Some(_), .. }, Delta::Text(more)) => arguments.push_str(&more),
            (State::Call { at, arguments, custom, .. }, Delta::Text(more)) => {
                arguments.push_str(&more);
                let kind = call_event(*custom, "delta");
                let fields = json!({"item_id": self.item_id(call_prefix(*custom), *at), "output_index": *at, "delta": more});
                self.emit(&kind, fields, out);
            }
            _ => {}
        }
        self.parts.insert(part, state);
    }

    fn summary_event(&mut self, kind: &str, at: usize, mut fields: Value, out: &mut Vec<u8>) {
        fields["item_id"] = self.item_id("rs", at).into();
        fields["output_index"] = at.into();
        fields["summary_index"] = 0.into();
        self.emit(&format!("response.reasoning_summary_{kind}"), fields, out);
    }

    /// Tells a call that has waited for its proof, when what comes now is none.
    fn tell_call(&mut self, part: u32, next: &Delta, out: &mut Vec<u8>) {
        if matches!(next, Delta::Proof(_)) || !matches!(self.parts.get(&part), Some(State::Waiting { .. })) {
            return;
        }
        let Some(State::Waiting { id, name, custom, proof }) = self.parts.remove(&part) else { return };
        self.leave_message(out);
        if let Some(proof) = proof {
            let mark = self.item_id("rs", self.output.len());
            self.whole_item(thought::item(&mark, "", Some(proof.seal())).into(), out);
        }
        let at = self.place();
        let hand = Hand::among(self.telling.echo.get("tools"), &name);
        let begun = match hand {
            Some(hand) => hand.call(Some(&self.item_id(hand.prefix(), at)), &id, "", "in_progress"),
            None => {
                let item = self.item_id(call_prefix(custom), at);
                call_value(&item, &id, &name, "", custom, "in_progress")
            }
        };
        self.add_item(at, &begun, out);
        self.parts.insert(part, State::Call { at, id, name, arguments: String::new(), custom, hand });
    }

    pub(super) fn close(&mut self, part: u32, out: &mut Vec<u8>) {
        self.tell_call(part, &Delta::Text(String::new()), out);
        match self.parts.remove(&part) {
            Some(State::Text { place, text, annotations, proof }) => {
                self.piece_event(
                    "response.output_text.done",
                    place,
                    json!({"text": text, "logprobs": []}),
                    out,
                );
                self.close_piece(place, text_value(&text, annotations, &[]), out);
                if let Some(proof) = proof {
                    let mark = self.item_id("rs", self.output.len());
                    self.whole_item(
                        thought::item(&mark, "", Some(thought::encrypted_after(&proof))).into(),
                        out,
                    );
                }
            }
            Some(State::Refusal { place, text }) => {
                self.piece_event("response.refusal.done", place, json!({"refusal": text}), out);
                self.close_piece(place, refusal_value(&text), out);
            }
            Some(State::Thinking { at, text, proof }) => {
                if !text.is_empty() {
                    self.summary_event("text.done", at, json!({"text": text}), out);
                    let part = json!({"part": {"type": "summary_text", "text": text}});
                    self.summary_event("part.done", at, part, out);
                }
                let encrypted = proof.as_ref().and_then(thought::encrypted);
                let item = thought::item(&self.item_id("rs", at), &text, encrypted);
                self.item_done(at, item.into(), out);
            }
            Some(State::Call { at, id, arguments, hand: Some(hand), .. }) => {
                let item = self.item_id(hand.prefix(), at);
                self.item_done(at, hand.call(Some(&item), &id, &arguments, "completed"), out);
            }
            Some(State::Call { at, id, name, arguments, custom, hand: None }) => {
                let item = self.item_id(call_prefix(custom), at);
                let told = call_value(&item, &id, &name, &arguments, custom, "completed");
                let key = if custom { "input" } else { "arguments" };
                let mut fields = json!({"item_id": item, "output_index": at});
                fields[key] = told[key].clone();
                self.emit(&call_event(custom, "done"), fields, out);
                self.item_done(at, told, out);
            }
            Some(State::Waiting { .. }) | None => {}
        }
    }
}

/// The name of an event about a call.
fn call_event(custom: bool, what: &str) -> String {
    let about = if custom { "custom_tool_call_input" } else { "function_call_arguments" };
    format!("response.{about}.{what}")
}
