//! The answer's side of the cache: keeps what came, confirms what was kept, gives that instead of an error, and forgets
//! what may have changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use model::{Side, policy::cache::SetCookie};

use super::{
    Asking, Cache, conditional,
    entry::{Stored, selecting},
    freshness::{Asked, Clock, Terms, wall_clock},
    key::Key,
    outcome::{Account, Forward, Outcome},
    source,
    store::Purge,
    storing::{self, Pending, Storing},
};
use crate::{body::Body, call::Call};

/// What came of a head that says something of a kept answer.
enum Freshened {
    /// This is what is kept now.
    Kept(Arc<Stored>),
    /// It says something for this caller alone; what is kept stays as it is.
    ForTheCaller,
    /// What was kept may not be given any longer.
    Void,
}

impl Cache {
    /// Forgets what an unsafe request may have changed: its target, and what its answer names (RFC 9111 §4.4).
    pub(super) fn invalidate(&self, call: &Call, key: &Key, answer: &Response<Body>) {
        if !(answer.status().is_success() || answer.status().is_redirection())
            || call.record.failure.is_some()
        {
            return;
        }
        self.kept.tiers.purge(Purge::Address(key.address()), false);
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let named = answer.headers().get(name).and_then(|value| value.to_str().ok());
            if let Some(address) = named.and_then(|named| self.keys.address_of(call, named)) {
                self.kept.tiers.purge(Purge::Address(&address), false);
            }
        }
    }

    /// Whose request an answer is to, now that it is there: what an upstream's own policies found out counts.
    fn asked(&self, call: &Call, asking: &Asking) -> Asked {
        Asked {
            is_identified: asking.is_identified || asking.whom.has_changed(call),
            has_cookies: asking.has_cookies,
            no_store: asking.directives.no_store,
        }
    }

    /// Takes over what a head says of a kept answer: that of a 304, or of an answer to HEAD.
    fn freshen(&self, call: &Call, asking: &Asking, stored: &Arc<Stored>, newer: &HeaderMap) -> Freshened {
        // What one of the two heads bars is not kept of either, and a cookie is for whoever asked.
        let mut barred = stored.terms.barred.clone();
        if self.rules.set_cookie != SetCookie::Store && !barred.contains(&header::SET_COOKIE) {
            barred.push(header::SET_COOKIE);
        }
        let mut headers = stored.merged(newer, &barred);
        if let Some(age) = newer.get(header::AGE) {
            headers.insert(header::AGE, age.clone());
        }
        let judge = |asked| self.rules.judge(stored.status, &headers, asked, wall_clock());
        let for_all = judge(Asked::default());
        let Some(mut terms) = judge(self.asked(call, asking)) else {
            return if for_all.is_some() { Freshened::ForTheCaller } else { Freshened::Void };
        };
        if for_all.is_some_and(|for_all| for_all.lifetime != terms.lifetime) {
            return Freshened::ForTheCaller;
        }
        let Some(selecting) = selecting(&headers, &asking.headers, &sent(call, asking)) else {
            return Freshened::Void;
        };
        let clock = storing::clock(&terms, asking.sent);
        for name in std::mem::take(&mut terms.barred) {
            headers.remove(&name);
            if !barred.contains(&name) {
                barred.push(name);
            }
        }
        headers.remove(header::AGE);
        terms.barred = barred;
        self.pass_when_asked_each_time(asking, &terms);
        let fresh = Arc::new(stored.freshened(headers, terms, clock, selecting));
        self.kept.tiers.put(&asking.key, fresh.clone(), Some(stored), asking.epoch);
        Freshened::Kept(fresh)
    }

    /// Nobody waits for an answer that must be asked about again at once.
    fn pass_when_asked_each_time(&self, asking: &Asking, terms: &Terms) {
        if terms.no_cache || terms.lifetime <= terms.age {
            self.kept.tiers.pass(&asking.key);
        }
    }

    /// The upstream has confirmed what is kept.
    fn confirmed(&self, call: &mut Call, asking: &Asking, stored: &Arc<Stored>, answer: &mut Response<Body>) {
        let newer = std::mem::take(answer.headers_mut());
        let freshened = match conditional::is_of_another(stored, &newer) {
            true => Freshened::Kept(stored.clone()),
            false => self.freshen(call, asking, stored, &newer),
        };
        let is_void = matches!(freshened, Freshened::Void);
        if is_void {
            self.kept.tiers.purge(Purge::Address(asking.key.address()), false);
        }
        let account = Account {
            forward: Some(asking.forward),
            forward_status: Some(StatusCode::NOT_MODIFIED),
            ..Account::default()
        };
        match freshened {
            Freshened::Kept(fresh) => {
                *answer = self.give(call, asking, &fresh, Outcome::Revalidated, account);
                // What is not kept of it is for whoever asked.
                for name in &fresh.terms.barred {
                    for value in newer.get_all(name) {
                        answer.headers_mut().append(name.clone(), value.clone());
                    }
                }
            }
            Freshened::ForTheCaller | Freshened::Void => {
                let clock = Clock::new(0, asking.sent, Instant::now());
                let headers = stored.merged(&newer, &[]);
                let own = stored.freshened(headers, stored.terms.clone(), clock, stored.selecting().to_vec());
                *answer = self.give(call, asking, &own, Outcome::Revalidated, account);
            }
        }
    }

    /// What came for a request that went on.
    pub(super) fn came(&self, call: &mut Call, mut asking: Box<Asking>, answer: &mut Response<Body>) {
        let stale = asking.stale.take();
        if let Some(stored) = &stale {
            if asking.validates && answer.status() == StatusCode::NOT_MODIFIED {
                return self.confirmed(call, &asking, stored, answer);
            }
            if is_error(call, answer) && may_replace_error(stored, &asking) {
                let account = Account {
                    forward: Some(asking.forward),
                    forward_status: Some(answer.status()),
                    ..Account::default()
                };
                *answer = self.give(call, &asking, stored, Outcome::StaleIfError, account);
                if let Some(leader) = &asking.leader {
                    leader.not_for_others();
                }
                return;
            }
        }
        let outcome = if stale.is_some() { Outcome::Expired } else { Outcome::Miss };
        let mut account = Account {
            forward: Some(asking.forward),
            forward_status: stale.is_some().then(|| answer.status()),
            ..Account::default()
        };
        if call.head.method == Method::HEAD {
            if let Some(stored) = stale.filter(|_| answer.status() == StatusCode::OK) {
                let is_void = !conditional::are_alike(&stored, answer.headers())
                    || matches!(self.freshen(call, &asking, &stored, answer.headers()), Freshened::Void);
                if is_void {
                    self.kept.tiers.purge(Purge::Address(asking.key.address()), false);
                }
            }
            return self.tell(call, answer, outcome, &account);
        }
        match self.pending(call, &mut asking, answer) {
            Some(mut pending) => {
                self.pass_when_asked_each_time(&asking, &pending.terms);
                account.is_stored = true;
                account.ttl = i64::try_from(pending.terms.lifetime.saturating_sub(pending.terms.age)).ok();
                self.tell(call, answer, outcome, &account);
                let body = std::mem::take(answer.body_mut());
                match body {
                    Body::Full(bytes) => {
                        pending.keep(bytes.clone());
                        *answer.body_mut() = Body::Full(bytes);
                    }
                    body if body.is_empty() => {
                        pending.keep(Bytes::new());
                        *answer.body_mut() = body;
                    }
                    body => {
                        *answer.body_mut() = match pending.leader.take() {
                            Some(leader) => source::fetch(body, pending, leader),
                            None => Body::boxed(Storing::new(body, pending)),
                        }
                    }
                }
            }
            None => {
                if let Some(leader) = &asking.leader {
                    leader.not_for_others();
                    // The next one may be better.
                    if !is_error(call, answer) {
                        self.kept.tiers.pass(&asking.key);
                    }
                }
                self.tell(call, answer, outcome, &account);
            }
        }
    }

    /// What is kept of an answer once its body is whole; none when it may not be.
    fn pending(&self, call: &Call, asking: &mut Asking, answer: &mut Response<Body>) -> Option<Pending> {
        if call.record.failure.is_some() || call.record.stopped_by.is_some() || answer.body_mut().has_no_end()
        {
            return None;
        }
        let asked = self.asked(call, asking);
        let terms = self.rules.judge(answer.status(), answer.headers(), asked, wall_clock())?;
        let length = answer.body().length();
        if length.is_some_and(|length| length > self.bytes_max as u64) {
            return None;
        }
        let selecting = selecting(answer.headers(), &asking.headers, &sent(call, asking))?;
        Some(Pending {
            kept: self.kept.clone(),
            key: asking.key.clone(),
            epoch: asking.epoch,
            status: answer.status(),
            headers: Stored::head(answer.headers(), &terms.barred),
            clock: storing::clock(&terms, asking.sent),
            terms,
            selecting,
            bytes_max: self.bytes_max,
            leader: asking.leader.take(),
        })
    }
}

/// The head as the upstream got it, but for the conditions that were put into it here.
fn sent(call: &Call, asking: &Asking) -> HeaderMap {
    let mut sent = call.head.headers.clone();
    if asking.validates {
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE] {
            sent.remove(&name);
            if let Some(value) = asking.headers.get(&name) {
                sent.insert(name, value.clone());
            }
        }
    }
    sent
}

/// Whether what came is an error that a stale answer may stand in for (RFC 5861 §4): a broken upstream's. What a policy
/// says, of the route or of the upstream, is the answer, and so is what the client did wrong.
fn is_error(call: &Call, answer: &Response<Body>) -> bool {
    let is_broken = matches!(answer.status().as_u16(), 500 | 502 | 503 | 504);
    call.record.stopped_by.is_none()
        && match &call.record.failure {
            Some(failure) => match failure.side {
                Side::Upstream => true,
                Side::Client => false,
                Side::Gateway => is_broken,
            },
            None => is_broken,
        }
}

fn may_replace_error(stored: &Stored, asking: &Asking) -> bool {
    let terms = &stored.terms;
    let longest = terms.stale_if_error.max(asking.directives.stale_if_error.unwrap_or(0));
    let staleness = stored.staleness(Instant::now()).unwrap_or_default();
    longest > 0
        && !terms.must_revalidate
        && !terms.no_cache
        && asking.forward != Forward::Request
        && staleness <= Duration::from_secs(longest)
}
