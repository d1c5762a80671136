//! Reads a stream of events.

use serde_json::Value;

use super::error::error_of;
use crate::{
    canon::{Delta, Error, ErrorKind, Event, Opening},
    dialect::{
        StreamReader,
        cohere::{citation::citations_of, finish_of, probability_of, usage_of},
    },
    stream::Frame,
    way::Way,
};

/// Reads events. A text stays open after its end, for its citations may come later, until something else begins.
#[derive(Default)]
pub(in crate::dialect) struct Reader {
    started: bool,
    over: bool,
    parts: u32,
    open: Option<(u32, Kind)>,
    calls: Vec<Call>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Plan,
}

/// A call that is open.
struct Call {
    index: u64,
    part: u32,
}

impl StreamReader for Reader {
    fn read(&mut self, frame: Frame, out: &mut Vec<Event>) {
        if self.over || frame.data.is_empty() || frame.data == b"[DONE]" {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Value>(&frame.data) else {
            return self
                .fail(Error::of_status(502, "the provider's stream holds an event that is not JSON"), out);
        };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or(&frame.event).to_owned();
        let message = |pointer: &str| event.at(&format!("/delta/message{pointer}"));
        let text = |pointer: &str| message(pointer).and_then(Value::as_str).unwrap_or_default();
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match kind.as_str() {
            "message-start" => self.start(&event, out),
            "content-start" => {
                let thinking = text("/content/type") == "thinking";
                self.close(out);
                self.said(if thinking { Kind::Thinking } else { Kind::Text }, text("/content/text"), out);
                self.said(Kind::Thinking, text("/content/thinking"), out);
            }
            "content-delta" => {
                self.said(Kind::Thinking, text("/content/thinking"), out);
                self.said(Kind::Text, text("/content/text"), out);
                if let Some(token) = event.get("logprobs").and_then(probability_of) {
                    self.start(&event, out);
                    out.push(Event::LogProbabilities { choice: 0, tokens: vec![token] });
                }
            }
            "tool-plan-delta" => self.said(Kind::Plan, text("/tool_plan"), out),
            "tool-call-start" => self.call(index, message("/tool_calls").unwrap_or(&Value::Null), out),
            "tool-call-delta" => self.arguments(index, text("/tool_calls/function/arguments"), out),
            "tool-call-end" => self.close_call(index, out),
            "citation-start" => self.cite(message("/citations").unwrap_or(&Value::Null), out),
            "message-end" => self.finish(&event, out),
            // An error may come as it does for a whole answer.
            "" if event.get("message").is_some_and(Value::is_string) => self.fail(error_of(502, &event), out),
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if !self.over {
            let message = "the provider's stream broke off before its end";
            self.fail(Error { status: 502, ..Error::new(ErrorKind::Server, message) }, out);
        }
    }
}

impl Reader {
    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Error(error));
    }

    fn start(&mut self, event: &Value, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let id = event.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            out.push(Event::Start { id, model: String::new(), created: None });
        }
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            out.push(Event::Close { choice: 0, part });
        }
    }

    fn next(&mut self, opening: Opening, out: &mut Vec<Event>) -> u32 {
        self.start(&Value::Null, out);
        self.close(out);
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Open { choice: 0, part, opening });
        part
    }

    /// A piece of text, thought or plan: of the open part if it is of that kind, else of a new one.
    fn said(&mut self, kind: Kind, text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let part = match self.open {
            Some((part, open)) if open == kind => part,
            _ => {
                let opening = if kind == Kind::Text { Opening::Text } else { Opening::Thinking };
                let part = self.next(opening, out);
                self.open = Some((part, kind));
                part
            }
        };
        out.push(Event::Delta { choice: 0, part, delta: Delta::Text(text.to_owned()) });
    }

    fn call(&mut self, index: u64, call: &Value, out: &mut Vec<Event>) {
        let text = |pointer: &str| call.at(pointer).and_then(Value::as_str).unwrap_or_default();
        self.close_call(index, out);
        let id = match text("/id") {
            "" => format!("call_{}", self.parts),
            id => id.to_owned(),
        };
        let opening = Opening::ToolCall { id, name: text("/function/name").to_owned(), custom: false };
        let part = self.next(opening, out);
        self.calls.push(Call { index, part });
        self.arguments(index, text("/function/arguments"), out);
    }

    fn arguments(&mut self, index: u64, text: &str, out: &mut Vec<Event>) {
        let Some(call) = self.calls.iter().find(|call| call.index == index).filter(|_| !text.is_empty())
        else {
            return;
        };
        out.push(Event::Delta { choice: 0, part: call.part, delta: Delta::Text(text.to_owned()) });
    }

    fn close_call(&mut self, index: u64, out: &mut Vec<Event>) {
        if let Some(at) = self.calls.iter().position(|call| call.index == index) {
            let call = self.calls.remove(at);
            out.push(Event::Close { choice: 0, part: call.part });
        }
    }

    fn cite(&mut self, citation: &Value, out: &mut Vec<Event>) {
        let Some((part, Kind::Text)) = self.open else { return };
        // One citation or, in some versions, a list of them.
        let list = citation.as_array().map_or(std::slice::from_ref(citation), Vec::as_slice);
        for citation in list.iter().filter(|citation| citation.is_object()).flat_map(citations_of) {
            out.push(Event::Delta { choice: 0, part, delta: Delta::Citation(Box::new(citation)) });
        }
    }

    fn finish(&mut self, event: &Value, out: &mut Vec<Event>) {
        self.start(event, out);
        let delta = event.get("delta").unwrap_or(&Value::Null);
        out.extend(delta.get("usage").and_then(usage_of).map(Event::Usage));
        let reason = delta.get("finish_reason").and_then(Value::as_str).unwrap_or("COMPLETE");
        if let Some(message) = delta.get("error").and_then(Value::as_str) {
            let error = match delta.get("details") {
                Some(details) => error_of(502, details),
                None if reason == "TIMEOUT" => Error::new(ErrorKind::Timeout, message),
                None => Error::of_status(502, message),
            };
            return self.fail(error, out);
        }
        self.close(out);
        while let Some(call) = self.calls.pop() {
            out.push(Event::Close { choice: 0, part: call.part });
        }
        self.over = true;
        out.push(Event::Finish { choice: 0, finish: finish_of(reason) });
        out.push(Event::End);
    }
}
