//! What a request waits for that memory has no answer for: the tier below, and what another has asked for already.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use http::{HeaderMap, Method, Response};

use super::{
    Asking, Cache, DISK, Forward, REDIS, Use,
    coming::{Coming, Reader},
    disk::Seeking,
    flights::{Follower, Landing, Turn},
    outcome::{Account, Outcome},
    shared::Sought,
    store::Entry,
    usable,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    policy::{Flow, Verdict},
};

impl Cache {
    /// Whether others may wait for the answer to this request.
    fn collapses(&self, call: &Call, asking: &Asking) -> bool {
        call.head.method == Method::GET
            && !asking.directives.no_store
            && asking.forward != Forward::Request
            && !asking.is_identified
            && (asking.conditions.want_all()
                || asking.stale.as_ref().is_some_and(|kept| kept.has_validator()))
            && !self.kept.tiers.passes(&asking.key)
    }

    /// Waits for an answer from the tier below memory, and does without one that does not come or may not be given.
    pub(super) async fn look_below(
        &self,
        call: &mut Call,
        mut asking: Box<Asking>,
        seeking: Seeking,
    ) -> Verdict {
        if let Some(found) = seeking.found().await
            && let Some(stored) = self.kept.tiers.take_up(&asking.key, found, asking.epoch)
        {
            let now = Instant::now();
            if let Some(answer) = self.use_kept(call, &mut asking, stored, now, Some(DISK)) {
                return Verdict::Answer(Box::new(answer));
            }
        }
        match self.miss(call, asking) {
            Flow::Continue => Verdict::Continue,
            Flow::Answer(answer) => Verdict::Answer(answer),
            Flow::Fail(failure) => Verdict::Fail(failure),
            Flow::Wait(waiting) => waiting.await,
        }
    }

    /// Waits for what another has asked for already, or else for the tier that gateways share, and does without an answer
    /// from there that does not come or may not be given.
    pub(super) async fn look_shared(&self, call: &mut Call, mut asking: Box<Asking>) -> Verdict {
        // Who asks for a kept answer alone does not wait for one that is asked for.
        let is_alone = asking.directives.only_if_cached || !self.collapses(call, &asking);
        if let Some(patience) = self.collapse.filter(|_| !is_alone) {
            match self.join(&asking, &call.head.headers) {
                Turn::Lead(leader) => asking.leader = Some(leader),
                Turn::Alone => {}
                Turn::Follow(follower) => {
                    let until = Instant::now() + patience;
                    return self.follow(call, asking, follower, until).await;
                }
            }
        }
        self.ask_shared(call, asking).await
    }

    /// Asks the tier that gateways share, where there is one, and lets the request go on without an answer.
    async fn ask_shared(&self, call: &mut Call, mut asking: Box<Asking>) -> Verdict {
        if let Some(shared) = &self.kept.tiers.shared {
            asking.epoch = self.kept.tiers.epoch(&asking.key);
            match shared.find(&asking.key, &call.head.headers).await {
                Sought::Answer(found) => {
                    let stored = self.kept.tiers.take_up(&asking.key, found, asking.epoch);
                    let now = Instant::now();
                    if let Some(stored) = stored
                        && let Some(answer) = self.use_kept(call, &mut asking, stored, now, Some(REDIS))
                    {
                        return Verdict::Answer(Box::new(answer));
                    }
                }
                Sought::OtherVariants if asking.stale.is_none() => asking.forward = Forward::VaryMiss,
                Sought::OtherVariants | Sought::Nothing => {}
            }
        }
        if asking.directives.only_if_cached {
            return Verdict::Fail(self.refuse(call));
        }
        self.go_on(call, asking);
        Verdict::Continue
    }

    /// Only a kept answer is wanted, and there is none.
    fn refuse(&self, call: &mut Call) -> Failure {
        self.kept.counts.note(Outcome::Refused);
        call.record.cache = Some(Outcome::Refused.as_str());
        Failure::refused(Problem::NotCached)
            .with_hint("the request asks for a kept answer alone, and none is there that may be given")
    }

    /// What is left when nothing that is kept could be given.
    pub(super) fn miss<'a>(&'a self, call: &'a mut Call, mut asking: Box<Asking>) -> Flow<'a> {
        if asking.directives.only_if_cached {
            return Flow::Fail(self.refuse(call));
        }
        let Some(patience) = self.collapse.filter(|_| self.collapses(call, &asking)) else {
            self.go_on(call, asking);
            return Flow::Continue;
        };
        match self.join(&asking, &call.head.headers) {
            Turn::Lead(leader) => asking.leader = Some(leader),
            Turn::Alone => {}
            Turn::Follow(follower) => {
                let until = Instant::now() + patience;
                return Flow::Wait(Box::pin(self.follow(call, asking, follower, until)));
            }
        }
        self.go_on(call, asking);
        Flow::Continue
    }

    /// Takes part in fetching what this request asks for.
    fn join(&self, asking: &Asking, request: &HeaderMap) -> Turn {
        self.kept.flights.join(&asking.key, |coming| self.is_for(coming, asking, request))
    }

    /// Whether an answer that is on its way is one to this request.
    fn is_for(&self, coming: &Coming, asking: &Asking, request: &HeaderMap) -> bool {
        coming.is_open()
            && coming.head.fits(request)
            && !self.kept.tiers.has_changed(&asking.key, coming.epoch)
    }

    /// Waits for an answer that another has asked for, and asks for it when that comes to nothing.
    async fn follow(
        &self,
        call: &mut Call,
        mut asking: Box<Asking>,
        mut follower: Follower,
        until: Instant,
    ) -> Verdict {
        let reads = asking.conditions.want_all();
        loop {
            match follower.landed(until, reads).await {
                Landing::NotForOthers => break,
                Landing::TooLate => {
                    // Whoever comes next need not find out again.
                    self.kept.tiers.pass(&asking.key);
                    break;
                }
                Landing::Coming(coming) => {
                    if self.is_for(&coming, &asking, &call.head.headers) {
                        let outcome = match usable(&coming.head, &asking.directives, Instant::now()) {
                            Use::Fresh => Outcome::Hit,
                            Use::Stale | Use::StaleWhileRefreshed => Outcome::Stale,
                            Use::Ask(_) => break,
                        };
                        if let Some(reader) = coming.reader(Some(self.kept.clone())) {
                            let answer = self.read_along(call, &mut asking, &coming, reader, outcome);
                            return Verdict::Answer(Box::new(answer));
                        }
                    }
                }
                Landing::Landed => {
                    (asking.is_collapsed, asking.stale) = (true, None);
                    if let Some(answer) = self.look(call, &mut asking) {
                        self.kept.counts.collapsed.fetch_add(1, Ordering::Relaxed);
                        return Verdict::Answer(Box::new(answer));
                    }
                    if self.kept.tiers.passes(&asking.key) {
                        break;
                    }
                }
            }
            // It has gone without an answer, or its answer is for others: one of those who waited asks now.
            match self.join(&asking, &call.head.headers) {
                Turn::Follow(next) => follower = next,
                Turn::Alone => break,
                Turn::Lead(leader) => {
                    asking.leader = Some(leader);
                    break;
                }
            }
        }
        asking.is_collapsed = false;
        // Who asks for others as well may find at another gateway what they want.
        if asking.leader.is_some() {
            return self.ask_shared(call, asking).await;
        }
        self.go_on(call, asking);
        Verdict::Continue
    }

    /// The answer that another has asked for, as it comes.
    fn read_along(
        &self,
        call: &mut Call,
        asking: &mut Asking,
        coming: &Arc<Coming>,
        reader: Reader,
        outcome: Outcome,
    ) -> Response<Body> {
        asking.is_collapsed = true;
        self.kept.counts.collapsed.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut answer = asking.conditions.answer(&coming.head, &call.head.method, now);
        *answer.body_mut() = Body::boxed(reader);
        self.tell_given(call, asking, &mut answer, (&coming.head, now), outcome, Account::default());
        answer
    }
}
