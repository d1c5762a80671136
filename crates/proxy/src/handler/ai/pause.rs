//! The longest pause between two tokens of a stream. Signs of life that say nothing do not end it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ai::canon::{Event, Opening};
use tokio::time::{Instant, Sleep};

use crate::failure::{Failure, Problem, Stage};

/// Runs from token to token.
pub(super) struct Pause {
    most: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Pause {
    pub(super) fn new(most: Duration) -> Self {
        Self { most, sleep: Box::pin(tokio::time::sleep(most)) }
    }

    /// Takes note of what came.
    pub(super) fn hear<'e>(&mut self, mut events: impl Iterator<Item = &'e Event>) {
        if events.any(is_token) {
            self.sleep.as_mut().reset(Instant::now() + self.most);
        }
    }

    /// What the stream fails with when it has been too long; else whoever polls is woken when it has.
    pub(super) fn over(&mut self, cx: &mut Context<'_>) -> Option<Failure> {
        let is_over = matches!(self.sleep.as_mut().poll(cx), Poll::Ready(()));
        is_over.then(|| {
            let error = format!("no token came for {:?} (`betweenTokens`)", self.most);
            Failure::upstream(Stage::Body, Problem::UpstreamTimeout, error)
        })
    }
}

fn is_token(event: &Event) -> bool {
    match event {
        Event::Delta { .. } | Event::Finish { .. } | Event::End => true,
        Event::Open { opening, .. } => matches!(opening, Opening::ToolCall { .. } | Opening::Whole(_)),
        _ => false,
    }
}
