//! Going on with an answer that broke off: what was said of it, what another model is asked for the rest, and how that
//! rest is told as the same answer's.
//!
//! Words alone can be taken up. A call, a refusal, sound or a thought that is half said cannot, nor can JSON, several
//! answers side by side, or a conversation that the provider keeps. Thoughts that are signed go back to their vendor
//! alone, so that only a model of the same vendor may go on after them.

use std::collections::BTreeMap;

use crate::{
    canon::{Delta, Event, Format, Message, Opening, Part, Request, Role, Usage},
    dialect::Dialect,
    estimate,
};

/// Bytes of what was said that are kept; a longer answer is not taken up.
const SAID_BYTES_MAX: usize = 1024 * 1024;
/// The least that the rest may be bounded to: some models take no smaller bound.
const OUTPUT_LEAST: u64 = 16;
/// What a model is asked that takes no beginning of its own answer.
const INSTRUCTION: &str = "Your last message was cut off in the middle. Go on exactly where it ends, in the same language, \
     tone and form. Write only what comes next: repeat nothing of it, and do not mention the interruption.";

/// What was said of an answer.
#[derive(Debug, Default)]
pub struct Said {
    text: String,
    /// The parts that are open.
    open: BTreeMap<u32, Kind>,
    /// The number of the next part.
    next: u32,
    /// Something was said that nobody else can take up.
    is_fixed: bool,
    /// Thoughts with a proof were told.
    has_proof: bool,
    has_finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

impl Said {
    /// Takes note of what the caller is told.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Open { choice, .. } | Event::Delta { choice, .. } if *choice > 0 => self.is_fixed = true,
            Event::Open { part, opening, .. } => {
                self.next = self.next.max(part.saturating_add(1));
                let kind = match opening {
                    Opening::Text => Kind::Text,
                    Opening::Thinking => Kind::Thinking,
                    _ => {
                        self.is_fixed = true;
                        return;
                    }
                };
                self.open.insert(*part, kind);
            }
            Event::Delta { part, delta, .. } => match delta {
                Delta::Text(text) if self.open.get(part) == Some(&Kind::Text) => {
                    if self.text.len() + text.len() > SAID_BYTES_MAX {
                        self.is_fixed = true;
                    } else {
                        self.text.push_str(text);
                    }
                }
                Delta::Proof(_) => self.has_proof = true,
                Delta::Audio(_) | Delta::Transcript(_) => self.is_fixed = true,
                Delta::Text(_) | Delta::Citation(_) => {}
            },
            Event::Close { part, .. } => {
                self.open.remove(part);
            }
            Event::Finish { .. } => self.has_finished = true,
            _ => {}
        }
    }

    /// Whether another model can take it up.
    pub fn can_be_taken_up(&self) -> bool {
        !self.is_fixed
            && !self.has_finished
            && !self.text.is_empty()
            && self.open.values().all(|kind| *kind == Kind::Text)
            && self.open.len() <= 1
    }

    /// Whether a model of another dialect may take up what one of `before` said.
    pub fn may_pass(&self, before: Dialect, next: Dialect) -> bool {
        !self.has_proof || before.issuer() == next.issuer()
    }

    /// How the rest is to be told, after `spent`.
    pub fn rejoin(&self, spent: Usage, begun: &Begun) -> Rejoin {
        Rejoin {
            open: self.open.keys().next().copied(),
            next: self.next,
            parts: BTreeMap::new(),
            skip: begun.skip.clone(),
            skipped: 0,
            spent,
        }
    }
}

/// Whether the rest of an answer to a request can be had from somebody else.
pub fn can_go_on(request: &Request) -> bool {
    request.format == Format::Text
        && request.choices.unwrap_or(1) <= 1
        && request.conversation.is_none()
        && request.modalities.iter().all(|modality| *modality == crate::canon::Modality::Text)
        && !request.tool_choice.as_ref().is_some_and(crate::canon::ToolChoice::is_forced)
}

/// A request for the rest of an answer.
#[derive(Debug)]
pub struct Begun {
    /// The request.
    pub request: Request,
    /// Blanks that the model may say again, since its beginning was given without them.
    skip: String,
}

/// What a model is asked for the rest of what was said.
pub fn begun(request: &Request, said: &Said, dialect: Dialect, model: &str) -> Begun {
    let mut request = request.clone();
    let is_taken = takes_beginnings(dialect, model)
        && request.reasoning.as_ref().is_none_or(crate::canon::Reasoning::is_off);
    let text = said.text.as_str();
    // Claude takes no beginning that ends in blanks.
    let (text, skip) = if is_taken { text.split_at(text.trim_end().len()) } else { (text, "") };
    request.messages.push(Message { role: Role::Assistant, name: None, parts: vec![Part::text(text)] });
    if !is_taken {
        request.messages.push(Message::text(Role::User, INSTRUCTION));
    }
    if let Some(most) = &mut request.max_output_tokens {
        *most = most.saturating_sub(estimate::tokens(text.as_bytes())).max(OUTPUT_LEAST);
    }
    request.stream = true;
    request.include_usage = true;
    Begun { request, skip: skip.to_owned() }
}

/// Whether a model goes on from a beginning of its own turn. Claude did until its generation 4.5; later ones refuse it.
fn takes_beginnings(dialect: Dialect, model: &str) -> bool {
    matches!(dialect, Dialect::Anthropic | Dialect::Bedrock)
        && model.contains("claude")
        && ["claude-2", "claude-3", "-4-0", "-4-1", "-4-5", "-4-2025", "haiku-4-5"]
            .iter()
            .any(|generation| model.contains(generation))
}

/// Tells the rest of an answer as the same answer's.
#[derive(Debug)]
pub struct Rejoin {
    /// The part that was open when the answer broke off.
    open: Option<u32>,
    next: u32,
    /// Parts of the rest, and what they are told as; thoughts are not told.
    parts: BTreeMap<u32, Option<u32>>,
    /// Blanks that may be said again, and how many bytes of them were.
    skip: String,
    skipped: usize,
    spent: Usage,
}

impl Rejoin {
    /// Puts what is told in the place of what comes.
    pub fn pass(&mut self, events: &mut Vec<Event>) {
        let mut out = Vec::with_capacity(events.len());
        events.drain(..).for_each(|event| self.event(event, &mut out));
        *events = out;
    }

    fn event(&mut self, event: Event, out: &mut Vec<Event>) {
        match event {
            // It has begun, and its head is another's.
            Event::Start { .. } | Event::Extra(_) | Event::Tier(_) => {}
            Event::Open { choice, .. }
            | Event::Delta { choice, .. }
            | Event::Close { choice, .. }
            | Event::Finish { choice, .. }
            | Event::LogProbabilities { choice, .. }
                if choice > 0 => {}
            Event::Open { part, opening, .. } => {
                let told = match (&opening, self.open) {
                    (Opening::Thinking, _) => None,
                    (Opening::Text, Some(open)) if !self.parts.values().any(|told| *told == Some(open)) => {
                        self.parts.insert(part, Some(open));
                        return;
                    }
                    _ => Some(self.next),
                };
                self.parts.insert(part, told);
                if let Some(told) = told {
                    self.close_open(out);
                    self.next = self.next.saturating_add(1);
                    out.push(Event::Open { choice: 0, part: told, opening });
                }
            }
            Event::Delta { part, mut delta, .. } => {
                let Some(Some(told)) = self.parts.get(&part).copied() else { return };
                if let Delta::Text(text) = &mut delta {
                    self.skip(text);
                    if text.is_empty() {
                        return;
                    }
                }
                out.push(Event::Delta { choice: 0, part: told, delta });
            }
            Event::Close { part, .. } => {
                let Some(Some(told)) = self.parts.get(&part).copied() else { return };
                if self.open == Some(told) {
                    self.open = None;
                }
                out.push(Event::Close { choice: 0, part: told });
            }
            Event::Finish { finish, .. } => {
                self.close_open(out);
                out.push(Event::Finish { choice: 0, finish });
            }
            Event::Usage(usage) => out.push(Event::Usage(self.spent.and(&usage))),
            event @ (Event::LogProbabilities { .. } | Event::Ping | Event::Error(_) | Event::End) => {
                out.push(event)
            }
        }
    }

    /// Closes the part that was open, unless the rest goes on with it.
    fn close_open(&mut self, out: &mut Vec<Event>) {
        let is_told = |open: u32| self.parts.values().any(|told| *told == Some(open));
        if let Some(open) = self.open.filter(|open| !is_told(*open)) {
            out.push(Event::Close { choice: 0, part: open });
            self.open = None;
        }
    }

    fn skip(&mut self, text: &mut String) {
        let left = self.skip.get(self.skipped..).unwrap_or_default();
        let same = left.chars().zip(text.chars()).take_while(|(known, next)| known == next);
        let again: usize = same.map(|(known, _)| known.len_utf8()).sum();
        let is_over = again < left.len() && again < text.len();
        text.drain(..again);
        self.skipped += again;
        if is_over {
            self.skip.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Answer, Assembler, Choice, Finish, Proof, ProofKind, events_of};

    fn open(part: u32, opening: Opening) -> Event {
        Event::Open { choice: 0, part, opening }
    }

    fn text(part: u32, text: &str) -> Event {
        Event::Delta { choice: 0, part, delta: Delta::Text(text.into()) }
    }

    fn said(events: &[Event]) -> Said {
        let mut said = Said::default();
        events.iter().for_each(|event| said.hear(event));
        said
    }

    fn rest(words: &str) -> Vec<Event> {
        let parts = vec![Part::Thinking { text: "hm".into(), proof: None }, Part::text(words)];
        let choice = Choice { parts, finish: Some(Finish::Stop), log_probabilities: Vec::new() };
        let usage = Some(Usage { input: 9, output: 4, ..Usage::default() });
        events_of(Answer {
            id: "b".into(),
            model: "other".into(),
            choices: vec![choice],
            usage,
            ..Answer::default()
        })
    }

    #[test]
    fn the_rest_goes_on_in_the_part_that_was_open() {
        for is_closed in [false, true] {
            let mut first = vec![
                Event::Start { id: "a".into(), model: "one".into(), created: None },
                open(0, Opening::Text),
                text(0, "the tide "),
            ];
            if is_closed {
                first.push(Event::Close { choice: 0, part: 0 });
            }
            let said = said(&first);
            assert!(said.can_be_taken_up());
            let begun = begun(&Request::default(), &said, Dialect::OpenAiChat, "gpt-4o");
            assert_eq!(begun.request.messages.len(), 2, "it is asked to go on");
            let mut events = rest("is high");
            let spent = Usage { input: 5, output: 3, ..Usage::default() };
            said.rejoin(spent, &begun).pass(&mut events);
            let mut assembler = Assembler::default();
            first.into_iter().chain(events).for_each(|event| assembler.push(event));
            let answer = assembler.finish().expect("an answer");
            assert_eq!((&*answer.id, answer.choices.len()), ("a", 1));
            let want = if is_closed { vec!["the tide ", "is high"] } else { vec!["the tide is high"] };
            assert_eq!(answer.choices[0].parts, want.into_iter().map(Part::text).collect::<Vec<_>>());
            assert_eq!(answer.usage.map(|usage| (usage.input, usage.output)), Some((14, 7)));
        }
    }

    #[test]
    fn models_that_take_a_beginning_get_it_without_blanks_at_its_end() {
        let said = said(&[open(0, Opening::Text), text(0, "the tide ")]);
        let request = Request { max_output_tokens: Some(100), ..Request::default() };
        let claude = begun(&request, &said, Dialect::Anthropic, "claude-sonnet-4-5");
        assert_eq!(claude.request.messages, [Message::text(Role::Assistant, "the tide")]);
        assert!(claude.request.max_output_tokens.is_some_and(|most| (90..100).contains(&most)));
        for words in [" is high", "is high"] {
            let mut events = rest(words);
            said.rejoin(Usage::default(), &claude).pass(&mut events);
            assert!(events.contains(&text(0, "is high")), "{events:?}");
        }
        let later = begun(&request, &said, Dialect::Anthropic, "claude-opus-4-6");
        assert_eq!(later.request.messages.len(), 2);
    }

    #[test]
    fn what_nobody_else_can_take_up_is_not_taken_up() {
        let call = Opening::ToolCall { id: "1".into(), name: "f".into(), custom: false };
        let words = [open(0, Opening::Text), text(0, "a"), Event::Close { choice: 0, part: 0 }];
        let with = |event: &[Event]| said(&[&words, event].concat());
        assert!(!said(&[]).can_be_taken_up(), "nothing was said");
        assert!(!with(&[open(1, call)]).can_be_taken_up(), "a call is half said");
        assert!(!with(&[open(1, Opening::Thinking)]).can_be_taken_up(), "so is a thought");
        assert!(!with(&[Event::Finish { choice: 0, finish: Finish::Stop }]).can_be_taken_up(), "all is said");
        let proof =
            Proof { issuer: "anthropic".into(), kind: ProofKind::Signature, value: "x".into(), id: None };
        let signed = said(&[
            open(0, Opening::Thinking),
            Event::Delta { choice: 0, part: 0, delta: Delta::Proof(Box::new(proof)) },
            Event::Close { choice: 0, part: 0 },
            open(1, Opening::Text),
            text(1, "a"),
        ]);
        assert!(signed.can_be_taken_up());
        assert!(signed.may_pass(Dialect::Anthropic, Dialect::Bedrock));
        assert!(!signed.may_pass(Dialect::Anthropic, Dialect::OpenAiChat), "signed for another vendor");
        assert!(!can_go_on(&Request { format: Format::Json, ..Request::default() }));
        assert!(can_go_on(&Request::default()));
    }
}
