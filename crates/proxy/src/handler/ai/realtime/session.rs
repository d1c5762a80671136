//! A Realtime conversation on its way: frames pass as they came, messages are read, and answers are
//! [paid for](super::answers) one by one.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ai::{
    guard::screen::Screen,
    realtime::{self, Event, Longest},
};
use bytes::{Bytes, BytesMut};
use model::GuardFired;

use super::{
    super::{Told, guards::fired},
    answers::{Answers, Awaited, Holding, Holds, Terms},
    frames::{self, Broken, Frame, Frames},
};
use crate::{
    conn::watched::{Onward, Side, Watch},
    failure::{Failure, Problem},
};

/// Closes for a reason of policy, and for a message that is too large (RFC 6455 §7.4.1).
const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;
const PROTOCOL: u16 = 1002;
const GOING_AWAY: u16 = 1001;

/// What a conversation is begun with.
pub(super) struct Begun {
    /// Who pays.
    pub(super) terms: Terms,
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

/// Something that goes on when what it may spend is held.
struct Waits {
    holds: Awaited,
    what: What,
}

/// What that is.
enum What {
    /// The client's event of this id asks for an answer.
    Asked { event: Option<String>, message: Bytes },
    /// The model has begun to answer by itself.
    Begun { id: String },
}

/// A conversation.
pub(super) struct Session {
    told: Told,
    screens: Vec<Screen>,
    random: u64,
    idle: Duration,
    message_bytes_max: u64,
    client: Frames,
    upstream: Frames,
    asked: Gathered,
    answered: Gathered,
    answers: Answers,
    /// What is waited for before more of the client is read, and of the upstream.
    client_waits: Option<Waits>,
    upstream_waits: Option<Waits>,
    ends: Instant,
    heard: Instant,
    is_over: bool,
}

impl Session {
    pub(super) fn new(begun: Begun) -> Self {
        let now = Instant::now();
        let Begun { terms, screens, random, idle, lifetime, message_bytes_max } = begun;
        Self {
            told: terms.told.clone(),
            screens,
            random,
            idle,
            message_bytes_max,
            client: Frames::new(message_bytes_max),
            upstream: Frames::new(message_bytes_max),
            asked: Gathered::default(),
            answered: Gathered::default(),
            answers: Answers::new(terms),
            client_waits: None,
            upstream_waits: None,
            ends: now + lifetime,
            heard: now,
            is_over: false,
        }
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e);
        self.random.to_be_bytes().first_chunk::<4>().copied()
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
        self.told.break_off("realtime-closed");
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
    ///
    /// OpenAI documents messages of text alone. One of bytes that is an event all the same is read as one; what else
    /// bytes may be passes only where nobody would have had to read it.
    fn asked(&mut self, on: &mut Onward) {
        let text = std::mem::take(&mut self.asked.text);
        let raw = self.asked.raw.split().freeze();
        let is_text = self.asked.is_text;
        let Some(event) = Event::of(&text) else {
            let is_read = is_text || self.answers.are_metered() || !self.screens.is_empty();
            if !is_read {
                on.to_upstream.extend_from_slice(&raw);
                return;
            }
            let what = if is_text { "the message" } else { "the message, which is one of bytes," };
            let error = format!("{what} is no event: it must be a JSON object with one `type`");
            self.tell(&realtime::error("invalid_request_error", "invalid_event", &error, None), on);
            return;
        };
        let about = event.id.as_deref();
        let mut edited = None;
        if event.has_words() && !self.screens.is_empty() {
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
        if event.asks() && self.answers.are_many() {
            let message = "too many answers are asked for at once in this conversation";
            self.tell(&realtime::error("invalid_request_error", "too_many_responses", message, about), on);
            return;
        }
        self.answers.hear(realtime::heard(&event, &text));
        if event.kind == "session.update" {
            self.answers.wish(realtime::longest(&event, &text));
        }
        let message = match edited {
            None => raw,
            Some(text) => {
                let (mask, mut out) = (self.mask(), BytesMut::new());
                let opcode = if is_text { frames::TEXT } else { frames::BINARY };
                frames::written(opcode, &text, mask, &mut out);
                out.freeze()
            }
        };
        if !event.asks() {
            on.to_upstream.extend_from_slice(&message);
            return;
        }
        let longest = realtime::longest(&event, &text);
        self.client_waits = self.hold(longest, What::Asked { event: event.id, message }, on);
    }

    /// Has something held before it goes on. What must be waited for is given back.
    fn hold(&mut self, longest: Option<Longest>, what: What, on: &mut Onward) -> Option<Waits> {
        match self.answers.hold(longest) {
            Ok(Holding::Waits(holds)) => return Some(Waits { holds, what }),
            Ok(Holding::Held(holds)) => self.held(Ok(holds), what, on),
            Err(failure) => self.held(Err(failure), what, on),
        }
        None
    }

    /// It is held, or refused.
    fn held(&mut self, held: Result<Holds, Failure>, what: What, on: &mut Onward) {
        match (held, what) {
            (Ok(holds), What::Asked { event, message }) => {
                self.answers.ask(event, holds);
                on.to_upstream.extend_from_slice(&message);
            }
            (Ok(holds), What::Begun { id }) => self.answers.begin(id, Some(holds)),
            (Err(failure), What::Asked { event, .. }) => self.refuse(&failure, event.as_deref(), on),
            (Err(failure), What::Begun { id }) => {
                // Its provider has begun, and will take something for what it has read.
                self.answers.begin(id, None);
                self.refuse(&failure, None, on);
            }
        }
    }

    /// Runs the rules over an event. What it is then, or why it is refused.
    fn screen(&mut self, text: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut edited: Option<Vec<u8>> = None;
        let mut blocked = None;
        for screen in &mut self.screens {
            screen.again();
            let other = screen.request(edited.as_deref().unwrap_or(text)).map_err(|error| error.message)?;
            edited = other.or(edited);
            if let Some(rule) = screen.blocked() {
                blocked = Some(format!("refused by the rule `{}` of this gateway", rule.name));
            }
        }
        let all: Vec<GuardFired> = self.screens.iter().flat_map(fired).collect();
        self.told.guard(all);
        blocked.map_or(Ok(edited), Err)
    }

    /// A message of the model's that is all there; it has gone on already.
    fn answered(&mut self, on: &mut Onward) {
        let text = std::mem::take(&mut self.answered.text);
        let Some(event) = Event::of(&text) else { return };
        self.told.speak();
        match &*event.kind {
            "response.created" => {
                let id = realtime::answer_of(&text).unwrap_or_default();
                if self.answers.begin_asked(&id) {
                    return;
                }
                // The model also answers when somebody has stopped speaking.
                if self.answers.are_many() {
                    self.cut(POLICY, "too many answers at once", on);
                    return;
                }
                self.upstream_waits = self.hold(None, What::Begun { id }, on);
            }
            "response.done" => {
                let id = realtime::answer_of(&text).unwrap_or_default();
                self.answers.end(&id, &realtime::done(&text));
            }
            "error" => self.answers.refused(realtime::error_about(&text).as_deref()),
            "session.created" => self.answers.bound(false, realtime::longest(&event, &text)),
            "session.updated" => self.answers.bound(true, realtime::longest(&event, &text)),
            _ => match realtime::said(&event, &text) {
                (0, 0) => {}
                said => self.answers.say(realtime::answer_of(&text).as_deref(), said),
            },
        }
    }

    fn take_from_client(&mut self, frame: &Frame, on: &mut Onward) -> Result<(), Broken> {
        if frame.opcode >= frames::CONTROL {
            on.to_upstream.extend_from_slice(&frame.raw);
            return Ok(());
        }
        let max = self.message_bytes_max;
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
        let max = self.message_bytes_max;
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
        frame.read(&mut self.text);
        if self.text.len().max(self.raw.len()) as u64 > bytes_max.saturating_add(64 * 1024) {
            return Err(Broken::TooLarge);
        }
        Ok(())
    }
}

impl Session {
    /// Reads what the client has said, until something must be waited for.
    fn read_client(&mut self, on: &mut Onward) {
        while !self.is_over && self.client_waits.is_none() {
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

    /// The same of the upstream.
    fn read_upstream(&mut self, on: &mut Onward) {
        while !self.is_over && self.upstream_waits.is_none() {
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
}

/// What was waited for, once it is there.
fn come(waits: &mut Option<Waits>, cx: &mut Context<'_>) -> Option<Come> {
    let held = match waits.as_mut()?.holds.as_mut().poll(cx) {
        Poll::Ready(held) => held,
        Poll::Pending => return None,
    };
    waits.take().map(|waits| (held, waits.what))
}

type Come = (Result<Holds, Failure>, What);

impl Watch for Session {
    fn by_client(&mut self, data: &[u8], on: &mut Onward) {
        self.heard = Instant::now();
        self.client.push(data);
        self.read_client(on);
    }

    fn by_upstream(&mut self, data: &[u8], on: &mut Onward) {
        self.heard = Instant::now();
        self.upstream.push(data);
        self.read_upstream(on);
    }

    fn reads(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client_waits.is_none(),
            Side::Upstream => self.upstream_waits.is_none(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, on: &mut Onward) -> Poll<()> {
        let mut has_come = false;
        while !self.is_over
            && let Some((held, what)) = come(&mut self.client_waits, cx)
        {
            self.held(held, what, on);
            self.read_client(on);
            has_come = true;
        }
        while !self.is_over
            && let Some((held, what)) = come(&mut self.upstream_waits, cx)
        {
            self.held(held, what, on);
            self.read_upstream(on);
            has_come = true;
        }
        if has_come { Poll::Ready(()) } else { Poll::Pending }
    }

    fn deadline(&self) -> Instant {
        self.ends.min(self.heard + self.idle)
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
