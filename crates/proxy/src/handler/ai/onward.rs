//! Going on with a stream that broke off: the next target is asked for the rest of what was said, and the caller's
//! stream goes on as one answer.

use std::{collections::VecDeque, future::Future, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use ai::{
    ask::Ask,
    canon::{Event, Request, Usage},
    dialect::{Dialect, Spoken},
    endpoint::Operation,
    resume::{self, Begun, Rejoin, Said},
    rules::Target as Written,
};
use http::{HeaderMap, Method};
use model::{AiRecord, Continued};
use resilience::turnstile::Priority;

use super::{
    Told,
    counter::Counter,
    fallback,
    meters::Room,
    models::Target,
    most::Most,
    outgoing,
    prepare::uri,
    reply::is_stream,
    sending::{self, Outgoing, is_due},
};
use crate::{body::Body, call::Call, worker::Worker};

/// A target that may go on.
pub(super) struct Next {
    pub(super) target: Arc<Target>,
    pub(super) model: String,
    /// How long it may take to its first word, and from word to word.
    pub(super) first_token: Option<Duration>,
    pub(super) between: Option<Duration>,
}

/// Who may go on, and with what.
pub(super) struct Heirs {
    pub(super) worker: Rc<Worker>,
    pub(super) call: Box<Call>,
    pub(super) targets: VecDeque<Next>,
    pub(super) request: Request,
    /// The caller's header fields.
    pub(super) came: HeaderMap,
    pub(super) caller: Dialect,
    /// The record of the call.
    pub(super) told: Told,
    /// The dialect of whoever spoke last.
    pub(super) spoke: Dialect,
    pub(super) priority: Priority,
    /// Nothing may be left out of what a target is told.
    pub(super) is_strict: bool,
    /// By which more is held before a target is asked.
    pub(super) room: Option<Room>,
    /// The policy that had no room for the last that might have been asked.
    pub(super) stopped_by: Option<&'static str>,
}

/// A stream that goes on.
pub(super) struct Found {
    pub(super) body: Body,
    pub(super) dialect: Dialect,
    pub(super) told: Told,
    pub(super) between: Option<Duration>,
}

type Asking = Pin<Box<dyn Future<Output = (Box<Heirs>, Said, Option<(Found, Begun)>)>>>;

/// A stream's way on.
pub(super) struct Onward {
    heirs: Option<Box<Heirs>>,
    said: Said,
    rejoin: Option<Rejoin>,
    pub(super) asking: Option<Asking>,
}

impl Onward {
    pub(super) fn new(heirs: Box<Heirs>) -> Self {
        Self { heirs: Some(heirs), said: Said::default(), rejoin: None, asking: None }
    }

    /// Tells what comes as the one answer's, and takes note of it.
    pub(super) fn pass(&mut self, events: &mut Vec<Event>) {
        if let Some(rejoin) = &mut self.rejoin {
            rejoin.pass(events);
        }
        events.iter().for_each(|event| self.said.hear(event));
    }

    /// Asks for the rest, if somebody may be asked. Whether it does.
    pub(super) fn ask(&mut self, reason: &'static str) -> bool {
        if !self.said.can_be_taken_up() || self.heirs.as_ref().is_none_or(|heirs| heirs.targets.is_empty()) {
            return false;
        }
        let Some(heirs) = self.heirs.take() else { return false };
        let said = std::mem::take(&mut self.said);
        self.asking = Some(Box::pin(heirs.ask(said, reason)));
        true
    }

    /// The policy that had no room for whoever might have gone on.
    pub(super) fn stopped_by(&self) -> Option<&'static str> {
        self.heirs.as_ref()?.stopped_by
    }

    /// Takes up what was asked for.
    pub(super) fn take(
        &mut self,
        (heirs, said, found): (Box<Heirs>, Said, Option<(Found, Begun)>),
        spent: Usage,
    ) -> Option<Found> {
        self.asking = None;
        self.heirs = Some(heirs);
        self.said = said;
        let (found, begun) = found?;
        self.rejoin = Some(self.said.rejoin(spent, &begun));
        Some(found)
    }
}

/// A target that is asked to go on. However that ends, also where nobody waits for it any more, what it may have cost is part
/// of the call.
struct Going {
    /// The record of the call.
    of: Told,
    told: Told,
    reason: &'static str,
    has_answered: bool,
}

impl Drop for Going {
    fn drop(&mut self) {
        if self.told.is_due() {
            let (record, reason, has_answered) = (self.told.clone(), self.reason, self.has_answered);
            self.of.go_on(Continued { record, reason, has_answered });
        }
    }
}

impl Heirs {
    async fn ask(
        mut self: Box<Self>,
        said: Said,
        reason: &'static str,
    ) -> (Box<Self>, Said, Option<(Found, Begun)>) {
        while let Some(next) = self.targets.pop_front() {
            if let Some(found) = self.of(&next, &said, reason).await {
                self.spoke = found.0.dialect;
                return (self, said, Some(found));
            }
        }
        (self, said, None)
    }

    /// Asks one target.
    async fn of(&mut self, next: &Next, said: &Said, reason: &'static str) -> Option<(Found, Begun)> {
        let (provider, model) = (&next.target.provider, next.model.as_str());
        let dialect = provider.dialect_for(self.caller, model);
        // Calls would come under names that the caller does not know.
        let renames = dialect != self.spoke && !dialect.names(&self.request).is_empty();
        if !said.may_pass(self.spoke, dialect) || renames {
            return None;
        }
        let begun = resume::begun(&self.request, said, dialect, model);
        let rules = next.target.rules(model);
        let written = dialect.write_request(&begun.request, Written { model, rules: &rules }).ok()?;
        let path = provider.path(dialect, Operation::Chat, model, true, &written.path).ok()?;
        let body = provider.body(Operation::Chat, written.body.into(), model).ok()?;
        let mut losses = written.losses;
        let mut headers = outgoing::headers(&self.came, provider, self.caller, dialect, &mut losses);
        if self.is_strict && !losses.is_empty() {
            return None;
        }
        if let Some(room) = &mut self.room {
            let most = Most::of_request(Ask::of(dialect, &body), &next.target, model, true);
            self.stopped_by = room.hold(most).await.err();
            if self.stopped_by.is_some() {
                return None;
            }
        }
        outgoing::dialect_headers(&mut headers, &written.headers);
        provider.address(&mut headers);
        let mut record = AiRecord::new(self.told.operation, self.told.dialect, self.told.model.clone());
        record.provider = provider.name.clone();
        record.kind = &provider.kind.name;
        record.alias = self.told.alias.clone();
        record.is_stream = true;
        record.variant = next.target.standing.variant.clone();
        let spoken = Spoken { model: Some(model.to_owned()), stream: true };
        record.counter = Some(Counter::new(model, dialect, spoken, &body));
        if let Some(prices) = next.target.prices.of(model) {
            record.prices = Some(prices);
        }
        record.served = next.model.clone();
        let told = Arc::new(record);
        told.owe(true);
        let uri = uri(path).ok()?;
        let priority = self.priority;
        let outgoing =
            Outgoing { provider, model, dialect, uri, headers, body, priority, key: None, words: None };
        let call = &mut *self.call;
        call.started = std::time::Instant::now();
        call.host_from_endpoint = false;
        call.head.method = Method::POST;
        call.record.ai = Some(told.clone());
        let mut going = Going { of: self.told.clone(), told: told.clone(), reason, has_answered: false };
        let answer = sending::speak(&self.worker, call, outgoing, next.first_token, (&[], 1), &told).await;
        let response = match answer {
            Ok(Some(response)) if response.status().is_success() && is_stream(&response) => response,
            other => {
                // Nobody knows what a provider did that had the request and then was silent.
                let is_due = match &other {
                    Ok(answer) => answer.as_ref().is_some_and(fallback::is_due),
                    Err(unanswered) => is_due(unanswered),
                };
                told.owe(is_due);
                return None;
            }
        };
        going.has_answered = true;
        drop(going);
        let found = Found { body: response.into_body(), dialect, told, between: next.between };
        Some((found, begun))
    }
}
