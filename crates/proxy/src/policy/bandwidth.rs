//! `bandwidth`: bounds bytes per second.
//!
//! [How long a piece waits](resilience::pace) is decided there. Bodies are [slowed](paced) where they are, and what flows after
//! an upgrade where [it is carried](tunnel): nothing is read of a source while a piece of it waits, so that no more than what was
//! read at once is ever held.

mod paced;
pub(crate) mod report;
mod tunnel;

use std::{sync::Arc, time::Instant};

use http::Response;
use model::{Paced as PacedRecord, policy::bandwidth::BytePace};
use resilience::pace::{KeyedPaces, Pace, Rate};

use self::{
    paced::{Clock, Paced},
    report::{Bytes, Direction},
};
use super::{
    Flow, Needs, NeedsOf, Policy,
    call_key::{CallKey, KeyHasher},
    needs::of_key,
};
use crate::{body::Body, call::Call, compiled::Building, conn::overseen::Overseen};

/// The compiled policy.
pub(crate) struct Bandwidth {
    /// Whose bytes are counted together; each call's own without it.
    key: Option<CallKey>,
    request: Option<Arc<Direct>>,
    response: Option<Arc<Direct>>,
    upgrades: bool,
    bytes: Arc<Bytes>,
}

/// One direction.
struct Direct {
    rate: Rate,
    hasher: KeyHasher,
    paces: KeyedPaces,
}

/// The pace of a call's answer, and what its record is told.
struct Answering {
    pace: Option<Arc<Pace>>,
    request: Option<Arc<Pace>>,
    record: Arc<PacedRecord>,
}

impl Bandwidth {
    pub(crate) fn compile(settings: &model::policy::Bandwidth, cx: &Building<'_>) -> Result<Self, String> {
        let key = settings.key.shared();
        let direct = |name: &str, pace: &Option<BytePace>| {
            let pace = pace.as_ref()?;
            let per_second = pace.per_second.bytes();
            let burst = pace.burst.map_or(per_second / 10, model::Size::bytes);
            let rate = Rate::new(per_second, burst);
            let terms = (pace, &settings.key, settings.ipv6_prefix, settings.max_keys);
            Some(cx.keep(name, &terms, || Direct {
                rate,
                hasher: KeyHasher::default(),
                paces: KeyedPaces::new(rate, settings.max_keys),
            }))
        };
        Ok(Self {
            key: match &key {
                Some(key) => Some(CallKey::compile(key, settings.ipv6_prefix)?),
                None => None,
            },
            request: direct("request", &settings.request),
            response: direct("response", &settings.response),
            upgrades: settings.upgrades,
            bytes: cx.keep(report::KEPT, &(), Bytes::default),
        })
    }

    /// The pace that a call shares with others, or one of its own.
    fn pace(&self, direct: &Direct, call: &Call, now: Instant) -> Arc<Pace> {
        match &self.key {
            Some(key) => direct.paces.of(key.of(call, &direct.hasher), now),
            None => Arc::new(Pace::new(direct.rate, now)),
        }
    }
}

impl NeedsOf for model::policy::Bandwidth {
    fn needs(&self) -> Needs {
        Needs::headers(self.key.shared().iter().flat_map(of_key))
    }
}

impl Policy for Bandwidth {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        let now = Instant::now();
        let pace = |direct: &Option<Arc<Direct>>| direct.as_ref().map(|direct| self.pace(direct, call, now));
        // Both are found out now: what a call is counted by is not its answer's to change.
        let (request, response) = (pace(&self.request), pace(&self.response));
        let record = call.traffic().paced.get_or_insert_default().clone();
        if let Some(pace) = &request
            && !call.body_is_tunnel()
            && !body.is_empty()
        {
            let clock = Clock::new(pace.clone(), Direction::Request, self.bytes.clone(), record.clone());
            *body = Body::boxed(Paced::new(std::mem::take(body), clock));
        }
        call.keep(self, Answering { pace: response, request, record });
        Flow::Continue
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let Some(Answering { pace, request, record }) = call.take::<_, Answering>(self) else { return };
        let clock = |pace: &Option<Arc<Pace>>, direction| {
            let clock =
                |pace: &Arc<Pace>| Clock::new(pace.clone(), direction, self.bytes.clone(), record.clone());
            pace.as_ref().map(clock)
        };
        let is_switched = call.upgrade.is_some() && call.is_switched_by(answer);
        if is_switched {
            if self.upgrades {
                let forth = clock(&request, Direction::Request);
                let back = clock(&pace, Direction::Response);
                let inner = std::mem::take(answer.body_mut());
                *answer.body_mut() = Overseen::by(inner, tunnel::Ways::new(forth, back));
            }
            return;
        }
        let Some(clock) = clock(&pace, Direction::Response).filter(|_| !answer.body().is_empty()) else {
            return;
        };
        let inner = std::mem::take(answer.body_mut());
        *answer.body_mut() = Body::boxed(Paced::new(inner, clock));
    }
}

#[cfg(test)]
mod tests;
