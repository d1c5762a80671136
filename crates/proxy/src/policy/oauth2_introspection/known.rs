//! What issuers have said of tokens, or directories of passwords, by their digests, for as long as that holds; and what they
//! are being asked.
//!
//! Good tokens and others have room of their own: who makes tokens up forgets nobody's good one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest;
use serde_json::{Map, Value};
use tokio::sync::watch;

pub(in crate::policy) type Digest = [u8; 32];

/// What an issuer says.
#[derive(Debug, Clone)]
pub(in crate::policy) enum Said {
    /// The token is good, and this is claimed.
    Active(Arc<Map<String, Value>>),
    Inactive,
    /// Nobody could tell; why, for the log.
    Away(Arc<str>),
}

/// What is known of a token.
pub(in crate::policy) enum Looked {
    Said(Said),
    /// It is being asked.
    Asked(watch::Receiver<Option<Said>>),
    Nothing,
    /// As many as may be are being asked.
    Full,
}

/// What is known.
pub(in crate::policy) struct Known {
    in_flight_max: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    good: Side,
    bad: Side,
    asked: HashMap<Digest, watch::Receiver<Option<Said>>>,
}

struct Side {
    max: usize,
    said: HashMap<Digest, (Said, Instant)>,
    /// In the order in which they came.
    order: VecDeque<Digest>,
}

impl Side {
    fn new(max: usize) -> Self {
        Self { max: max.max(1), said: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&self, digest: &Digest, now: Instant) -> Option<Said> {
        self.said.get(digest).filter(|(_, until)| now < *until).map(|(said, _)| said.clone())
    }

    fn put(&mut self, digest: Digest, said: Said, until: Instant) {
        if self.said.insert(digest, (said, until)).is_none() {
            self.order.push_back(digest);
        }
        // Of what was said otherwise meanwhile the place in the order is left.
        while self.said.len() > self.max || self.order.len() > self.max.saturating_mul(2) {
            let Some(oldest) = self.order.pop_front() else { break };
            self.said.remove(&oldest);
        }
    }
}

pub(in crate::policy) fn digest(token: &str) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

/// Seconds since 1970.
pub(in crate::policy) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Known {
    pub(in crate::policy) fn new(max: usize, in_flight_max: usize) -> Self {
        let inner = Inner { good: Side::new(max), bad: Side::new(max), asked: HashMap::new() };
        Self { in_flight_max, inner: Mutex::new(inner) }
    }

    pub(in crate::policy) fn look(&self, digest: &Digest) -> Looked {
        let now = Instant::now();
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = inner.good.get(digest, now).or_else(|| inner.bad.get(digest, now)) {
            return Looked::Said(said);
        }
        match inner.asked.get(digest) {
            Some(told) => Looked::Asked(told.clone()),
            None if inner.asked.len() >= self.in_flight_max => Looked::Full,
            None => Looked::Nothing,
        }
    }

    /// Notes that a token is being asked about.
    pub(in crate::policy) fn begin(&self, digest: Digest, told: watch::Receiver<Option<Said>>) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).asked.insert(digest, told);
    }

    /// Notes what was said.
    pub(in crate::policy) fn end(&self, digest: Digest, said: Said, lasts: Duration) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.asked.remove(&digest);
        let until = Instant::now() + lasts.min(Duration::from_secs(30 * 86_400));
        match &said {
            _ if lasts.is_zero() => {}
            Said::Active(_) => {
                inner.bad.said.remove(&digest);
                inner.good.put(digest, said, until);
            }
            Said::Inactive => {
                inner.good.said.remove(&digest);
                inner.bad.put(digest, said, until);
            }
            Said::Away(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_kept(known: &Known, token: &str) -> bool {
        matches!(known.look(&digest(token)), Looked::Said(_))
    }

    #[test]
    fn what_is_said_is_kept_for_its_time_and_bad_tokens_crowd_out_no_good_ones() {
        let known = Known::new(3, 10);
        let good = || Said::Active(Arc::default());
        known.end(digest("good"), good(), Duration::from_secs(60));
        known.end(digest("once"), good(), Duration::ZERO);
        for n in 0..100 {
            known.end(digest(&format!("bad {n}")), Said::Inactive, Duration::from_secs(60));
        }
        assert!(is_kept(&known, "good") && !is_kept(&known, "once"));
        assert!(is_kept(&known, "bad 99") && !is_kept(&known, "bad 0"));
        let sides = known.inner.lock().expect("not poisoned");
        assert!(sides.bad.said.len() == 3 && sides.bad.order.len() == 3);
    }

    #[test]
    fn a_token_that_is_no_good_any_more_is_known_as_that_alone() {
        let known = Known::new(3, 10);
        known.end(digest("a"), Said::Active(Arc::default()), Duration::from_secs(60));
        known.end(digest("a"), Said::Inactive, Duration::from_secs(60));
        assert!(matches!(known.look(&digest("a")), Looked::Said(Said::Inactive)));
    }

    #[test]
    fn no_more_are_asked_about_at_a_time_than_may_be() {
        let known = Known::new(3, 1);
        let (_tell, told) = watch::channel(None);
        known.begin(digest("a"), told);
        assert!(matches!(known.look(&digest("a")), Looked::Asked(_)));
        assert!(matches!(known.look(&digest("b")), Looked::Full));
        known.end(digest("a"), Said::Away("x".into()), Duration::ZERO);
        assert!(matches!(known.look(&digest("b")), Looked::Nothing));
    }
}
