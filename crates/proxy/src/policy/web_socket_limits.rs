//! `webSocketLimits`: bounds what flows after an upgrade to WebSocket.
//!
//! What is too large never begins to pass: its frame is known by its head. Both sides hear why a connection is closed, by a frame
//! of CLOSE where one may stand, and the log says it, too. A question to a silent client is the gateway's own, and so is the
//! answer: the upstream hears of neither.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use http::{Response, header};
use model::policy::web_socket_limits::SocketBounds;

use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
};
use crate::{
    body::Body,
    call::{Call, Upgrade},
    compiled::Building,
    conn::{
        overseen::Overseen,
        socket_frames::{Bounds, CLOSE, Follower, PING, TooLarge, control},
        watched::{Onward, Side, Watch},
    },
};

/// When nothing is due.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// When a question that finds no place between frames is put again.
const AGAIN: Duration = Duration::from_millis(100);
/// Codes of CLOSE (RFC 6455 §7.4.1): the connection is given up, and what came is too large.
const GOING_AWAY: u16 = 1001;
const TOO_LARGE: u16 = 1009;

static METRIC: Metric = Metric {
    name: "tidegate_web_socket_closed_total",
    help: "WebSockets that the gateway closed, by what they went beyond.",
    outcomes: &["request-too-large", "response-too-large", "idle", "max-duration", "no-pong"],
    gauges: &[],
};
/// What the log says of each outcome.
const WHY: [&str; 5] = ["request too large", "response too large", "idle", "max duration", "no pong"];
const REQUEST: usize = 0;
const RESPONSE: usize = 1;
const IDLE: usize = 2;
const OLD: usize = 3;
const SILENT: usize = 4;

/// The compiled policy.
pub(crate) struct WebSocketLimits {
    terms: Terms,
    compression: bool,
    counted: Arc<Counted>,
}

/// What a connection is held to.
#[derive(Debug, Clone, Copy)]
struct Terms {
    request: Bounds,
    response: Bounds,
    idle: Option<Duration>,
    lifetime: Option<Duration>,
    /// How long a client may be silent, and how long it may take to answer then.
    ping: Option<(Duration, Duration)>,
}

/// A connection.
struct Socket {
    terms: Terms,
    forth: Follower,
    back: Follower,
    began: Instant,
    /// When something of a message came last, and when anything came from the client.
    moved: Instant,
    heard: Instant,
    /// When the client was asked.
    asked: Option<Instant>,
    /// A question waits for the end of a frame.
    is_owed: Option<Instant>,
    random: u64,
    told: Arc<OnceLock<&'static str>>,
    counted: Arc<Counted>,
}

impl WebSocketLimits {
    pub(crate) fn compile(
        settings: &model::policy::WebSocketLimits,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let bounds = |bounds: &Option<SocketBounds>| {
            let of = |size: Option<model::Size>| size.map_or(u64::MAX, model::Size::bytes);
            bounds.as_ref().map_or(Bounds::NONE, |bounds| Bounds {
                frame: of(bounds.max_frame_size),
                message: of(bounds.max_message_size),
            })
        };
        Ok(Self {
            terms: Terms {
                request: bounds(&settings.request),
                response: bounds(&settings.response),
                idle: settings.idle_timeout.map(model::Duration::get),
                lifetime: settings.max_duration.map(model::Duration::get),
                ping: settings.ping.as_ref().map(|ping| (ping.interval.get(), ping.timeout.get())),
            },
            compression: settings.compression,
            counted: Counted::of(&METRIC, cx),
        })
    }
}

impl NeedsOf for model::policy::WebSocketLimits {
    fn needs(&self) -> Needs {
        Needs::headers((!self.compression).then_some(header::SEC_WEBSOCKET_EXTENSIONS))
    }
}

/// Whether a call asks for a WebSocket.
fn is_asked_for(call: &Call) -> bool {
    matches!(call.upgrade, Some(Upgrade::Connection | Upgrade::Stream))
}

impl Policy for WebSocketLimits {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if !self.compression && is_asked_for(call) {
            // What is not offered is not agreed on (RFC 6455 §9.1).
            call.head.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        }
        Flow::Continue
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        if !is_asked_for(call) || !call.is_switched_by(answer) {
            return;
        }
        let told = call.traffic().socket_end.get_or_insert_default().clone();
        let inner = std::mem::take(answer.body_mut());
        let counted = self.counted.clone();
        let socket = Socket::new(self.terms, call.random, told, counted, Instant::now());
        *answer.body_mut() = Overseen::by(inner, socket);
    }
}

impl Socket {
    fn new(
        terms: Terms,
        random: u64,
        told: Arc<OnceLock<&'static str>>,
        counted: Arc<Counted>,
        now: Instant,
    ) -> Self {
        Self {
            forth: Follower::new(terms.request),
            back: Follower::new(terms.response),
            terms,
            began: now,
            moved: now,
            heard: now,
            asked: None,
            is_owed: None,
            random,
            told,
            counted,
        }
    }

    /// Ends the connection: each side is told, unless it is in the middle of a frame.
    fn close(&mut self, code: u16, outcome: usize, on: &mut Onward) {
        // The first reason is the one that counts.
        if WHY.get(outcome).is_some_and(|why| self.told.set(*why).is_ok()) {
            self.counted.note(outcome);
        }
        let payload = code.to_be_bytes();
        if self.back.is_between() {
            control(CLOSE, &payload, None, &mut on.to_client);
        }
        if self.forth.is_between() {
            let [a, b, c, d, ..] = self.random.to_be_bytes();
            control(CLOSE, &payload, Some([a, b, c, d]), &mut on.to_upstream);
        }
        on.is_over = true;
    }

    /// Asks the client whether it is there, between two frames.
    fn ask(&mut self, now: Instant, on: &mut BytesMut) {
        if !self.back.is_between() {
            self.is_owed = Some(now + AGAIN);
            return;
        }
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let question = self.random.to_be_bytes();
        self.forth.await_pong(question);
        control(PING, &question, None, on);
        (self.asked, self.is_owed) = (Some(now), None);
    }

    /// When the client is to be asked, or to have answered.
    fn patience(&self) -> Option<Instant> {
        let (interval, timeout) = self.terms.ping?;
        Some(match (self.is_owed, self.asked) {
            (Some(owed), _) => owed,
            (None, Some(asked)) => asked + timeout,
            (None, None) => self.heard + interval,
        })
    }
}

impl Watch for Socket {
    fn by_client(&mut self, data: &[u8], on: &mut Onward) {
        let now = Instant::now();
        // Whatever it says, it is there.
        (self.heard, self.asked, self.is_owed) = (now, None, None);
        match self.forth.take(data, &mut on.to_upstream) {
            Ok(passed) if passed.is_message => self.moved = now,
            Ok(_) => {}
            Err(TooLarge) => self.close(TOO_LARGE, REQUEST, on),
        }
    }

    fn by_upstream(&mut self, data: &[u8], on: &mut Onward) {
        let now = Instant::now();
        match self.back.take(data, &mut on.to_client) {
            Ok(passed) if passed.is_message => self.moved = now,
            Ok(_) => {}
            Err(TooLarge) => return self.close(TOO_LARGE, RESPONSE, on),
        }
        if self.is_owed.is_some() {
            self.ask(now, &mut on.to_client);
        }
    }

    fn reads(&self, _: Side) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>, _: &mut Onward) -> Poll<()> {
        Poll::Pending
    }

    fn deadline(&self) -> Instant {
        let ends = [
            self.terms.lifetime.map(|lifetime| self.began + lifetime),
            self.terms.idle.map(|idle| self.moved + idle),
            self.patience(),
        ];
        ends.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + NEVER)
    }

    fn time_out(&mut self, on: &mut Onward) {
        let now = Instant::now();
        if self.terms.lifetime.is_some_and(|lifetime| self.began + lifetime <= now) {
            return self.close(GOING_AWAY, OLD, on);
        }
        if self.terms.idle.is_some_and(|idle| self.moved + idle <= now) {
            return self.close(GOING_AWAY, IDLE, on);
        }
        if self.patience().is_some_and(|patience| patience <= now) {
            match self.asked {
                Some(_) => self.close(GOING_AWAY, SILENT, on),
                None => self.ask(now, &mut on.to_client),
            }
        }
    }
}

#[cfg(test)]
mod tests;
