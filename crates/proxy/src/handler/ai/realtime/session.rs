//! A Realtime conversation on its way: frames pass as they came, answers are paid for one by one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ai::{
    ask::Ask,
    canon::Usage,
    guard::screen::Screen,
    realtime::{self, Event},
};
use bytes::BytesMut;
use model::{GuardFired, TokenPrices, TokenUsage};

use super::{
    super::{
        Told,
        duties::{Hold, Metering},
        guards::fired,
        metered,
        meters::{Most, Spent},
        prices::Priced,
    },
    frames::{self, Broken, Frame, Frames},
};
use crate::{
    conn::tunnel::{Onward, Watch},
    failure::{Failure, Problem},
};

/// Closes for a reason of policy, and for a message that is too large (RFC 6455 §7.4.1).
const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;
const PROTOCOL: u16 = 1002;
const GOING_AWAY: u16 = 1001;

/// What a conversation is begun with.
pub(super) struct Begun {
    pub(super) told: Told,
    pub(super) most: Most,
    pub(super) prices: Option<Arc<Priced>>,
    /// Whoever counts, and for whom.
    pub(super) meters: Vec<(Metering, Vec<String>)>,
    pub(super) screens: Vec<Screen>,
    pub(super) random: u64,
    pub(super) idle: Duration,
    pub(super) lifetime: Duration,
    pub(super) message_bytes_max: u64,
}

/// A message whose frames come one by one.
#[derive(Default)]
struct Gathered {
    /// The frames as they came, where they wait for their message's end.
    raw: BytesMut,
    text: Vec<u8>,
    is_text: bool,
    is_open: bool,
}

/// A conversation.
pub(super) struct Session {
    begun: Begun,
    client: Frames,
    upstream: Frames,
    asked: Gathered,
    answered: Gathered,
    /// What is held for the answer that is being given.
    holds: Vec<Box<dyn Hold>>,
    is_answering: bool,
    /// Tokens that the next answer reads, about; tokens of sound and text of the present one, and its bound.
    context: u64,
    said: (u64, u64),
    max_output: Option<u64>,
    total: TokenUsage,
    ends: Instant,
    heard: Instant,
    is_over: bool,
}

impl Session {
    pub(super) fn new(begun: Begun) -> Self {
        let now = Instant::now();
        Self {
            client: Frames::new(begun.message_bytes_max),
            upstream: Frames::new(begun.message_bytes_max),
            ends: now + begun.lifetime,
            begun,
            asked: Gathered::default(),
            answered: Gathered::default(),
            holds: Vec::new(),
            is_answering: false,
            context: 0,
            said: (0, 0),
            max_output: None,
            total: TokenUsage::default(),
            heard: now,
            is_over: false,
        }
    }

    /// Has every meter hold the most that one more answer may spend.
    fn hold(&mut self, max_output: Option<u64>) -> Result<(), Failure> {
        if self.is_answering {
            return Ok(());
        }
        let output = max_output.or(self.max_output);
        let ask = Ask { input: self.context, output, answers: 1, has_audio: true, ..Ask::default() };
        let most = self.begun.most.with(ask);
        let mut holds = Vec::with_capacity(self.begun.meters.len());
        for (metering, subjects) in &self.begun.meters {
            holds.push(metering.meter.hold(subjects, &most, &mut Vec::new())?);
        }
        self.holds = holds;
        self.is_answering = true;
        self.said = (0, 0);
        Ok(())
    }

    /// Settles the answer that was given.
    fn settle(&mut self, usage: &Usage) {
        let one = metered::counted(usage);
        let cost = self.begun.prices.as_ref().map_or(0, |prices| prices.picodollars(&one, None));
        let spent = Spent { input: one.input, output: one.output, cost: ai::cost::Cost(cost) };
        for mut hold in self.holds.drain(..) {
            hold.settle(&spent);
        }
        self.is_answering = false;
        self.context = one.input.saturating_add(one.output);
        let total = &mut self.total;
        total.input = total.input.saturating_add(one.input);
        total.cache_read = total.cache_read.saturating_add(one.cache_read);
        total.input_audio = total.input_audio.saturating_add(one.input_audio);
        total.input_image = total.input_image.saturating_add(one.input_image);
        total.output = total.output.saturating_add(one.output);
        total.output_audio = total.output_audio.saturating_add(one.output_audio);
        self.begun.told.spend(*total);
        self.begun.told.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        self.begun.random = self.begun.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e);
        self.begun.random.to_be_bytes().first_chunk::<4>().copied()
    }

    /// Ends the conversation on both sides. What the client hears last stands between two messages of the model's.
    fn cut(&mut self, code: u16, reason: &str, on: &mut Onward) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let payload = |code: u16| [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        frames::written(frames::CLOSE, &payload(code), None, &mut on.to_client);
        let mask = self.mask();
        frames::written(frames::CLOSE, &payload(GOING_AWAY), mask, &mut on.to_upstream);
        self.begun.told.break_off("realtime-closed");
        on.is_over = true;
    }

    fn tell(&self, error: &[u8], on: &mut Onward) {
        // In the middle of a message nothing else may be said (RFC 6455 §5.4); then the close alone tells.
        if !self.answered.is_open {
            frames::written(frames::TEXT, error, None, &mut on.to_client);
        }
    }

    fn refuse(&mut self, failure: &Failure, about: Option<&str>, on: &mut Onward) {
        let (kind, code) = match failure.problem() {
            Problem::BudgetSpent => ("insufficient_quota", "insufficient_quota"),
            Problem::RateLimited => ("rate_limit_error", "rate_limit_exceeded"),
            _ => ("invalid_request_error", "not_allowed"),
        };
        let message = failure.hint().unwrap_or(failure.problem().title());
        self.tell(&realtime::error(kind, code, message, about), on);
        self.cut(POLICY, code, on);
    }

    fn broken(&mut self, broken: &Broken, on: &mut Onward) {
        match broken {
            Broken::TooLarge => self.cut(TOO_LARGE, "message too large", on),
            Broken::Strange => self.cut(PROTOCOL, "protocol error", on),
        }
    }

    /// A message of the client's that is all there.
    fn asked(&mut self, on: &mut Onward) {
        let text = std::mem::take(&mut self.asked.text);
        let raw = self.asked.raw.split();
        if !self.asked.is_text {
            on.to_upstream.extend_from_slice(&raw);
            return;
        }
        let Some(event) = Event::of(&text) else {
            let error = "the message is no event: it must be a JSON object with one `type`";
            self.tell(&realtime::error("invalid_request_error", "invalid_event", error, None), on);
            return;
        };
        let about = event.id.as_deref();
        let mut edited = None;
        if event.has_words() && !self.begun.screens.is_empty() {
            match self.screen(&text) {
                Ok(other) => edited = other,
                Err(message) => {
                    self.tell(
                        &realtime::error("invalid_request_error", "guardrail_blocked", &message, about),
                        on,
                    );
                    return;
                }
            }
        }
        self.context = self.context.saturating_add(realtime::heard(&event, &text));
        if event.kind == "session.update" {
            self.max_output = realtime::max_output(&text).or(self.max_output);
        }
        if event.asks()
            && let Err(failure) = self.hold(realtime::max_output(&text))
        {
            self.refuse(&failure, about, on);
            return;
        }
        match edited {
            None => on.to_upstream.extend_from_slice(&raw),
            Some(text) => {
                let mask = self.mask();
                frames::written(frames::TEXT, &text, mask, &mut on.to_upstream);
            }
        }
    }

    /// Runs the rules over an event. What it is then, or why it is refused.
    fn screen(&mut self, text: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut edited: Option<Vec<u8>> = None;
        let mut blocked = None;
        for screen in &mut self.begun.screens {
            screen.again();
            let other = screen.request(edited.as_deref().unwrap_or(text)).map_err(|error| error.message)?;
            edited = other.or(edited);
            if let Some(rule) = screen.blocked() {
                blocked = Some(format!("refused by the rule `{}` of this gateway", rule.name));
            }
        }
        let all: Vec<GuardFired> = self.begun.screens.iter().flat_map(fired).collect();
        self.begun.told.guard(all);
        blocked.map_or(Ok(edited), Err)
    }

    /// A message of the model's that is all there; it has gone on already.
    fn answered(&mut self, on: &mut Onward) {
        let text = std::mem::take(&mut self.answered.text);
        let Some(event) = Event::of(&text).filter(|_| self.answered.is_text) else { return };
        self.begun.told.speak();
        let (sound, words) = realtime::said(&event, &text);
        self.said = (self.said.0 + sound, self.said.1 + words);
        match &*event.kind {
            // The model also answers when somebody has stopped speaking.
            "response.created" => {
                if let Err(failure) = self.hold(None) {
                    self.refuse(&failure, None, on);
                }
            }
            "response.done" => {
                let usage = realtime::usage(&text).unwrap_or_default();
                self.settle(&usage);
            }
            _ => {}
        }
    }

    fn take_from_client(&mut self, frame: &Frame, on: &mut Onward) -> Result<(), Broken> {
        if frame.opcode >= frames::CONTROL {
            on.to_upstream.extend_from_slice(&frame.raw);
            return Ok(());
        }
        let max = self.begun.message_bytes_max;
        self.asked.take(frame, true, max)?;
        if frame.is_last {
            self.asked.is_open = false;
            self.asked(on);
        }
        Ok(())
    }

    fn take_from_upstream(&mut self, frame: &Frame, on: &mut Onward) -> Result<(), Broken> {
        on.to_client.extend_from_slice(&frame.raw);
        if frame.opcode >= frames::CONTROL {
            return Ok(());
        }
        let max = self.begun.message_bytes_max;
        self.answered.take(frame, false, max)?;
        if frame.is_last {
            self.answered.is_open = false;
            self.answered(on);
        }
        Ok(())
    }
}

impl Gathered {
    fn take(&mut self, frame: &Frame, keeps: bool, bytes_max: u64) -> Result<(), Broken> {
        if (frame.opcode == frames::CONTINUATION) != self.is_open {
            return Err(Broken::Strange);
        }
        if !self.is_open {
            self.is_text = frame.opcode == frames::TEXT;
            self.is_open = true;
        }
        if keeps {
            self.raw.extend_from_slice(&frame.raw);
        }
        if self.is_text {
            frame.read(&mut self.text);
        }
        if self.text.len().max(self.raw.len()) as u64 > bytes_max.saturating_add(64 * 1024) {
            return Err(Broken::TooLarge);
        }
        Ok(())
    }
}

impl Watch for Session {
    fn by_client(&mut self, data: &[u8], on: &mut Onward) {
        self.heard = Instant::now();
        self.client.push(data);
        while !self.is_over {
            let taken = match self.client.next() {
                Ok(None) => return,
                Ok(Some(frame)) => self.take_from_client(&frame, on),
                Err(broken) => Err(broken),
            };
            if let Err(broken) = taken {
                self.broken(&broken, on);
            }
        }
    }

    fn by_upstream(&mut self, data: &[u8], on: &mut Onward) {
        self.heard = Instant::now();
        self.upstream.push(data);
        while !self.is_over {
            let taken = match self.upstream.next() {
                Ok(None) => return,
                Ok(Some(frame)) => self.take_from_upstream(&frame, on),
                Err(broken) => Err(broken),
            };
            if let Err(broken) = taken {
                self.broken(&broken, on);
            }
        }
    }

    fn deadline(&self) -> Instant {
        self.ends.min(self.heard + self.begun.idle)
    }

    fn time_out(&mut self, on: &mut Onward) {
        let (code, message) = match Instant::now() >= self.ends {
            true => {
                ("session_expired", "the conversation has come to the longest time that this gateway allows")
            }
            false => ("session_idle", "nothing was said for too long"),
        };
        self.tell(&realtime::error("invalid_request_error", code, message, None), on);
        self.cut(GOING_AWAY, code, on);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // An answer that broke off, which its provider may have begun.
        if self.is_answering {
            let (sound, words) = self.said;
            let output = sound.saturating_add(words);
            let usage = Usage { input: self.context, output, output_audio: sound, ..Usage::default() };
            self.settle(&usage);
        }
    }
}
