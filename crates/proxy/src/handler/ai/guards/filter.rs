//! Rules over a stream: its texts go on as soon as nothing can be found in them any more, and what a rule refuses ends
//! it as a provider's own filter would.

use std::{collections::BTreeMap, sync::Arc};

use ai::{
    canon::{Delta, Event, Finish, Opening, Usage},
    guard::{hold::Hold, screen::Screen},
};
use model::{AiRecord, GuardFired};

use super::{super::cache::Ticket, told};

/// Rules at work on one stream, in the order in which they see what the provider says.
pub(in super::super) struct Filter {
    screens: Vec<Screen>,
    others: Vec<GuardFired>,
    record: Arc<AiRecord>,
    ticket: Option<Ticket>,
    /// By choice and part, those that are open.
    parts: BTreeMap<(u32, u32), Part>,
    /// The choices that have begun, and whether they have ended.
    choices: BTreeMap<u32, bool>,
    usage: Option<Usage>,
    is_over: bool,
}

/// An open part.
struct Part {
    holds: Vec<Hold>,
    /// It is what the answer says, and not a thought or a call.
    is_said: bool,
    is_sound: bool,
}

/// Choices side by side that are followed; a provider that sends more is not believed.
const CHOICES_MAX: usize = 256;

impl Filter {
    pub(super) fn new(screens: Vec<Screen>, others: Vec<GuardFired>, record: Arc<AiRecord>) -> Self {
        Self {
            screens,
            others,
            record,
            ticket: None,
            parts: BTreeMap::new(),
            choices: BTreeMap::new(),
            usage: None,
            is_over: false,
        }
    }

    /// With a place where what the provider says is kept.
    pub(in super::super) fn keeping(mut self, ticket: Option<Ticket>) -> Self {
        self.ticket = ticket;
        self
    }

    /// What two models said is not kept as one's answer.
    pub(in super::super) fn forget(&mut self) {
        self.ticket = None;
    }

    /// Puts what goes on in the place of what came.
    pub(in super::super) fn pass(&mut self, events: &mut Vec<Event>) {
        let mut out = Vec::with_capacity(events.len());
        for event in events.drain(..) {
            if let Some(ticket) = &mut self.ticket {
                ticket.hear(&event);
            }
            if matches!(event, Event::End)
                && let Some(ticket) = self.ticket.take()
            {
                ticket.keep();
            }
            self.event(event, &mut out);
        }
        *events = out;
        if self.screens.iter().any(|screen| !screen.fired().is_empty()) {
            let screens = self.screens.iter().rev().flat_map(Screen::fired);
            self.record.guard(screens.map(told).chain(self.others.iter().cloned()).collect());
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<Event>) {
        if self.is_over {
            return;
        }
        match event {
            Event::Open { choice, part, opening } => self.open(choice, part, opening, out),
            Event::Delta { choice, part, delta } => self.delta(choice, part, delta, out),
            Event::Close { choice, part } => {
                self.close(choice, part, out);
                if !self.is_over {
                    out.push(Event::Close { choice, part });
                }
            }
            // Tokens would tell what the text no longer says.
            Event::LogProbabilities { .. } if !self.screens.is_empty() => {}
            Event::Finish { choice, finish } => {
                let open: Vec<(u32, u32)> =
                    self.parts.keys().filter(|(of, _)| *of == choice).copied().collect();
                open.into_iter().for_each(|(choice, part)| self.close(choice, part, out));
                self.screens.iter_mut().for_each(Screen::heard);
                self.choices.insert(choice, true);
                if !self.stops(out) {
                    out.push(Event::Finish { choice, finish });
                }
            }
            Event::Error(_) | Event::End => {
                let open: Vec<(u32, u32)> = self.parts.keys().copied().collect();
                open.into_iter().for_each(|(choice, part)| self.close(choice, part, out));
                if !self.is_over {
                    self.is_over = true;
                    out.push(event);
                }
            }
            Event::Usage(usage) => {
                self.usage = Some(usage);
                out.push(event);
            }
            Event::Start { .. }
            | Event::LogProbabilities { .. }
            | Event::Tier(_)
            | Event::Extra(_)
            | Event::Ping => out.push(event),
        }
    }

    fn open(&mut self, choice: u32, part: u32, mut opening: Opening, out: &mut Vec<Event>) {
        if self.choices.len() < CHOICES_MAX {
            self.choices.entry(choice).or_default();
        }
        let is_json = matches!(opening, Opening::ToolCall { custom: false, .. });
        let is_said = matches!(opening, Opening::Text | Opening::Refusal);
        let is_sound = matches!(opening, Opening::Audio { .. });
        if let Opening::Whole(whole) = &mut opening {
            self.screens.iter_mut().for_each(|screen| screen.part(whole));
            if self.stops(out) {
                return;
            }
        } else {
            let holds = self.screens.iter().map(|screen| screen.hold(is_json)).collect();
            self.parts.insert((choice, part), Part { holds, is_said, is_sound });
        }
        out.push(Event::Open { choice, part, opening });
    }

    fn delta(&mut self, choice: u32, part: u32, delta: Delta, out: &mut Vec<Event>) {
        let (text, is_transcript) = match delta {
            Delta::Text(text) => (text, false),
            Delta::Transcript(text) => (text, true),
            Delta::Citation(mut citation) => {
                if let Some(quote) = &mut citation.quote {
                    for screen in &mut self.screens {
                        if let Some(changed) = screen.whole(quote) {
                            *quote = changed;
                            citation.original = None;
                        }
                    }
                }
                out.push(Event::Delta { choice, part, delta: Delta::Citation(citation) });
                return;
            }
            Delta::Proof(_) | Delta::Audio(_) => {
                out.push(Event::Delta { choice, part, delta });
                return;
            }
        };
        let written = self.write(choice, part, text, false);
        if self.stops(out) {
            return;
        }
        if !written.is_empty() {
            let delta = if is_transcript { Delta::Transcript(written) } else { Delta::Text(written) };
            out.push(Event::Delta { choice, part, delta });
        }
    }

    /// What of a text goes on, through every rule.
    fn write(&mut self, choice: u32, part: u32, mut text: String, is_last: bool) -> String {
        let Some(open) = self.parts.get_mut(&(choice, part)) else { return text };
        for (screen, hold) in self.screens.iter_mut().zip(&mut open.holds) {
            if open.is_said && !text.is_empty() {
                screen.hears(&text);
            }
            text = screen.piece(hold, &text, is_last);
        }
        text
    }

    /// Tells what is held of a part.
    fn close(&mut self, choice: u32, part: u32, out: &mut Vec<Event>) {
        let Some(is_sound) = self.parts.get(&(choice, part)).map(|open| open.is_sound) else { return };
        let rest = self.write(choice, part, String::new(), true);
        if self.stops(out) {
            return;
        }
        self.parts.remove(&(choice, part));
        if !rest.is_empty() {
            let delta = if is_sound { Delta::Transcript(rest) } else { Delta::Text(rest) };
            out.push(Event::Delta { choice, part, delta });
        }
    }

    /// Ends the stream when a rule refuses it: every part is closed, every choice was cut by a filter.
    fn stops(&mut self, out: &mut Vec<Event>) -> bool {
        if self.is_over {
            return true;
        }
        if self.screens.iter().all(|screen| screen.blocked().is_none()) {
            return false;
        }
        self.is_over = true;
        out.extend(self.parts.keys().map(|(choice, part)| Event::Close { choice: *choice, part: *part }));
        self.parts.clear();
        let open = self.choices.iter().filter(|(_, ended)| !**ended).map(|(choice, _)| *choice);
        out.extend(open.map(|choice| Event::Finish { choice, finish: Finish::ContentFilter }));
        out.extend(self.usage.map(Event::Usage));
        out.push(Event::End);
        true
    }
}
