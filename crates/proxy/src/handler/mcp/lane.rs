//! A server's stream. It is opened again when it ends, from where it was, later with each time that it could not be.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::time::{Sleep, sleep};

use super::{
    asked::NOT_ASKED,
    begin, bridge, ids,
    message::{self, Kind, Message},
    relay,
    server::Server,
    session::{Leg, Session},
    sse::Reader,
    subscriptions::Wish,
    wire::{self, Letter, Reply, Sender},
};
use crate::{body::Body, failure::Failure};

/// Between two tries to open a lane, when its server says nothing else.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that a server may have its clients wait.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The shortest that a server may have its clients wait.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// A stream that was open for so long ended well.
const WELL: Duration = Duration::from_secs(10);

type Opening = Pin<Box<dyn Future<Output = Result<Reply, Failure>>>>;

pub(super) enum State {
    Opening(Opening),
    Open(Body),
    Waiting(Pin<Box<Sleep>>),
    /// It has none, or no more.
    Gone,
}

pub(super) struct Lane {
    pub(super) server: Arc<Server>,
    session: Session,
    leg: Leg,
    /// What a server without sessions is asked.
    listen: String,
    pub(super) state: State,
    pub(super) reader: Reader,
    pub(super) last: Option<String>,
    pub(super) pause: Duration,
    /// Streams in a row that could not be opened, or ended at once and empty.
    tries: u32,
    opened: Instant,
    pub(super) has_said: bool,
}

impl Lane {
    pub(super) fn new(
        sender: &Sender,
        session: &Session,
        server: &Arc<Server>,
        leg: Leg,
        last: Option<String>,
        filter: &str,
    ) -> Self {
        let params = format!("{{\"notifications\":{filter}}}");
        let listen = message::request("\"tidegate-listen\"", "subscriptions/listen", &params);
        let mut lane = Self {
            server: server.clone(),
            session: session.clone(),
            leg,
            listen,
            state: State::Gone,
            reader: Reader::default(),
            last,
            pause: PAUSE,
            tries: 0,
            opened: Instant::now(),
            has_said: false,
        };
        lane.state = State::Opening(lane.open(sender));
        lane
    }

    /// Asks the server for its stream, in the way of its revision.
    fn open(&self, sender: &Sender) -> Opening {
        let (sender, server, leg) = (sender.clone(), self.server.clone(), self.leg.clone());
        let letter = if leg.revision.has_sessions() {
            Letter::listen(self.last.clone())
        } else {
            bridge::letter(&sender, &leg, &self.session.seal.client, &self.listen).silent()
        };
        let session = self.session.clone();
        Box::pin(async move {
            let response = sender.send(&server, Some(&leg), letter).await?;
            let reply = wire::reply(response, leg.id.is_some()).await;
            // The next try is in a new session, unless somebody has begun one already.
            let is_current = session.leg(&server.name).is_none_or(|current| current.id == leg.id);
            if matches!(reply, Ok(Reply::SessionLost)) && is_current {
                begin::line(&sender, &session, &server, true).await?;
            }
            reply
        })
    }

    /// A server's message as a client gets it; `None` when it is nothing to it.
    pub(super) fn shown(
        &self,
        sender: &Sender,
        text: &str,
        is_single: bool,
        wish: Option<&Wish>,
    ) -> Option<String> {
        let message = Message::parse(text).ok()?;
        if message.kind == Kind::Request && (wish.is_some() || !self.leg.revision.has_sessions()) {
            // Nobody can be asked here.
            relay::refuse(sender, &self.server, &self.leg, &message, &NOT_ASKED);
            return None;
        }
        let changed = ids::from_server(&self.server, &message);
        if message.kind == Kind::Response && !is_single {
            // What is asked is answered on a stream of its own.
            return None;
        }
        let is_ours = matches!(message.kind, Kind::Response)
            || message.method == "notifications/subscriptions/acknowledged";
        match wish {
            _ if is_ours && !self.leg.revision.has_sessions() => None,
            Some(wish) => wish.wants(&message).then(|| wish.numbered(&message)),
            None => Some(changed.unwrap_or_else(|| text.to_owned())),
        }
    }

    /// Opens what can be opened. Whether something changed.
    pub(super) fn drive(&mut self, sender: &Sender, is_single: bool, cx: &mut Context<'_>) -> bool {
        match &mut self.state {
            State::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(Reply::Stream(body))) => {
                    self.opened = Instant::now();
                    self.has_said = false;
                    self.reader = Reader::default();
                    self.state = State::Open(body);
                    true
                }
                Poll::Ready(opened) => {
                    self.state = if is_single || Self::is_final(&opened) {
                        State::Gone
                    } else {
                        tracing::debug!(server = %self.server.name, "a stream could not be opened");
                        self.tries = self.tries.saturating_add(1);
                        self.wait()
                    };
                    true
                }
            },
            State::Waiting(wait) => match wait.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(()) => {
                    // It may have begun anew with the server since.
                    if let Some(leg) = self.session.leg(&self.server.name) {
                        self.leg = leg;
                    }
                    self.state = State::Opening(self.open(sender));
                    true
                }
            },
            State::Open(_) | State::Gone => false,
        }
    }

    /// Whether a server that answered so has no such stream, rather than trouble.
    fn is_final(opened: &Result<Reply, Failure>) -> bool {
        match opened {
            Ok(Reply::Refused(status, _)) => {
                status.is_client_error()
                    && !matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
                    || *status == StatusCode::NOT_IMPLEMENTED
            }
            Ok(Reply::Json(_) | Reply::Accepted) => true,
            Ok(Reply::Stream(_) | Reply::SessionLost) | Err(_) => false,
        }
    }

    /// Until the next try: as long as the server says, longer with each that failed, and never the same for all.
    fn wait(&self) -> State {
        let pause = pause(self.pause, self.tries, random());
        State::Waiting(Box::pin(sleep(pause)))
    }

    /// The lane's stream has ended.
    pub(super) fn ended(&mut self, is_single: bool) {
        let is_well = self.has_said || self.opened.elapsed() >= WELL;
        self.tries = if is_well { 0 } else { self.tries.saturating_add(1) };
        self.state = if is_single { State::Gone } else { self.wait() };
    }
}

/// How long to wait for the next try. `random` is any number.
fn pause(wished: Duration, tries: u32, random: u16) -> Duration {
    let pause = wished.max(PAUSE_MIN).saturating_mul(1 << tries.min(8)).min(PAUSE_MAX);
    // Up to half as long again, so that many clients do not come at once.
    pause + pause.mul_f64(f64::from(random) / f64::from(u16::MAX) / 2.0)
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn no_server_makes_the_gateway_hurry_and_none_is_given_up() {
        let wait = |wished, tries| pause(Duration::from_millis(wished), tries, 0);
        assert_eq!(wait(0, 0), PAUSE_MIN);
        assert_eq!(wait(0, 2), PAUSE_MIN * 4);
        assert_eq!(wait(1000, 100), PAUSE_MAX);
        assert_eq!(wait(u64::MAX, 0), PAUSE_MAX);
        assert_eq!(pause(PAUSE, 0, u16::MAX), PAUSE * 3 / 2);
        let refused = |status| Lane::is_final(&Ok(Reply::Refused(status, Bytes::new())));
        for (status, want) in
            [(405, true), (404, true), (501, true), (500, false), (503, false), (429, false)]
        {
            assert_eq!(refused(StatusCode::from_u16(status).expect("a status")), want, "{status}");
        }
        assert!(!Lane::is_final(&Ok(Reply::SessionLost)));
    }
}
