//! The request's body, for as many tries as it is good for.

use http::{Method, request::Parts};

use super::{Effort, replay::Replay};
use crate::{
    body::Body,
    call::{Call, is_idempotent},
    failure::Sent,
};

/// Among the extensions of a head: a second request of it does no harm, whatever its method is.
#[derive(Clone)]
pub(crate) struct Harmless;

/// The request's body, for as many tries as it is good for.
pub(super) enum Source {
    Empty,
    Once(Option<Body>),
    Kept(Replay),
}

impl Source {
    /// `is_kept` has a body kept though no further try is foreseen.
    pub(super) fn new(body: Body, effort: &Effort, call: &Call, is_kept: bool) -> Self {
        if body.is_empty() {
            return Self::Empty;
        }
        if (effort.max_attempts < 2 && effort.hedging.is_none() && !is_kept) || call.upgrade.is_some() {
            return Self::Once(Some(body));
        }
        Self::Kept(Replay::new(body, effort.replay_bytes))
    }

    /// The body, for one try.
    pub(super) fn take(&mut self) -> Option<Body> {
        match self {
            Self::Empty => Some(Body::Empty),
            Self::Once(body) => body.take(),
            Self::Kept(replay) => Some(replay.body()),
        }
    }

    /// Whether there is no body at all.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Its length, when it is known beforehand.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Once(body) => body.as_ref().and_then(Body::length),
            Self::Kept(replay) => replay.length(),
        }
    }

    /// Whether the request can be sent again without doing twice what it asks for.
    pub(super) fn may_repeat(&self, head: &Parts, sent: Sent) -> bool {
        let harmless = sent == Sent::Nothing
            || is_idempotent(&head.method)
            || head.extensions.get::<Harmless>().is_some()
            || (matches!(head.method, Method::POST | Method::PATCH)
                && head.headers.contains_key("idempotency-key"));
        harmless
            && match self {
                Self::Empty => true,
                Self::Once(body) => body.is_some(),
                Self::Kept(replay) => replay.is_whole(),
            }
    }

    /// Whether all of it is here, so that two tries can send it at the same time.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(_) => false,
            Self::Kept(replay) => replay.is_complete(),
        }
    }
}
