//! Questions to a silent client: whether it is there.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use h2::{Ping, PingPong};

use super::{glitches::Pulse, settings::KeepAlive};
use crate::timer::Timer;

/// Asks a client that says nothing.
pub(super) struct Vigil {
    terms: KeepAlive,
    pings: PingPong,
    pulse: Rc<Pulse>,
    timer: Timer,
    /// What had been heard when it was last looked at.
    heard: u64,
    is_asked: bool,
    /// A question has no answer yet: there may be one at a time.
    is_out: bool,
}

impl Vigil {
    pub(super) fn new(terms: KeepAlive, pings: PingPong, pulse: Rc<Pulse>) -> Self {
        let timer = Timer::new();
        timer.arm(terms.interval);
        Self { terms, pings, pulse, timer, heard: 0, is_asked: false, is_out: false }
    }

    /// Ready when the client is not there. It has to be asked again whenever something may have been heard.
    pub(super) fn poll(&mut self, is_idle: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_out && self.pings.poll_pong(cx).is_ready() {
            self.is_out = false;
        }
        loop {
            let heard = self.pulse.heard.get();
            if heard != self.heard {
                // Whatever it says, it is there.
                (self.heard, self.is_asked) = (heard, false);
                self.timer.arm(self.terms.interval);
            }
            ready!(self.timer.poll(cx));
            if self.is_asked {
                return Poll::Ready(());
            }
            if is_idle && !self.terms.while_idle {
                self.timer.arm(self.terms.interval);
                continue;
            }
            self.is_asked = true;
            self.is_out |= self.pings.send_ping(Ping::opaque()).is_ok();
            self.timer.arm(self.terms.timeout);
        }
    }
}
