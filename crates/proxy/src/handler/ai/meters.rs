//! Reserve, then settle: what meters hold for a call, and the one place that settles it.
//!
//! A [`Bill`] is opened before the first target is asked and travels with the call: with the handler while it waits,
//! with the answer's body while that flows. Wherever it is dropped, it is settled: to what the provider told; else to
//! what was counted here, when a provider had the request; else to nothing.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use ai::{cost::Cost, endpoint::Operation};
use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Told,
    duties::{Asides, Hold, Metering},
    models::Asked,
    most::Most,
    prepare::Conversation,
    shared,
};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::Failure,
};

/// What a call spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spent {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cost: Cost,
}

impl Spent {
    fn add(&mut self, told: &Told) {
        let Some(spending) = told.spending() else { return };
        self.input = self.input.saturating_add(spending.usage.input);
        self.output = self.output.saturating_add(spending.usage.output);
        self.cost += Cost(spending.picodollars.unwrap_or_default());
    }

    fn add_aside(&mut self, asides: &Asides) {
        let aside = asides.spent();
        self.input = self.input.saturating_add(aside.input);
        self.output = self.output.saturating_add(aside.output);
        self.cost += aside.cost;
    }
}

/// What is held for a call, until it is settled.
#[derive(Default)]
pub(crate) struct Bill {
    holds: Vec<Box<dyn Hold>>,
    /// What was asked of the target that is asked now.
    now: Option<Told>,
    /// Of targets that failed after they had the request.
    before: Vec<Told>,
    /// Of whoever is asked beside them.
    asides: Option<Asides>,
    /// By which more can be held while the answer flows.
    terms: Option<Box<Terms>>,
    /// What was held then: the first holds are settled to all that is spent.
    more: Option<More>,
    /// What it costs is not told by its text: pictures and sound are counted where providers tell, and counting
    /// tokens is free.
    is_free: bool,
}

type More = Arc<Mutex<Vec<Box<dyn Hold>>>>;

/// Who counts a call, by which model, and the most that is held for it.
struct Terms {
    meters: Vec<Metering>,
    model: Arc<str>,
    most: Most,
}

/// Holds more for a call whose answer flows: before somebody is asked to go on with it.
pub(super) struct Room {
    terms: Box<Terms>,
    /// Who was asked until now, and what that cost.
    told: Vec<Told>,
    asides: Option<Asides>,
    more: More,
}

impl Room {
    /// Holds what a further request may cost beyond what is held. An error names the policy that has no room for it.
    pub(super) async fn hold(&mut self, next: Most) -> Result<(), &'static str> {
        let mut spent = Spent::default();
        self.told.iter().for_each(|told| spent.add(told));
        if let Some(asides) = &self.asides {
            spent.add_aside(asides);
        }
        let more = self.terms.hold(next, spent).await?;
        self.more.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
        Ok(())
    }
}

impl Terms {
    /// Holds what `next` may cost beyond what is held for the call, of which so much is `spent`: with all meters or with
    /// none. An error names the policy that has no room for it.
    async fn hold(&mut self, next: Most, spent: Spent) -> Result<Vec<Box<dyn Hold>>, &'static str> {
        let Self { meters, model, most: held } = self;
        let most = next.beyond(held.clone(), spent);
        let (mut more, mut shared) = (Vec::new(), Vec::new());
        for Metering { kind, meter, subjects } in meters.iter() {
            let subjects = subjects.resolve(model);
            if meter.shared().is_some() {
                shared.push(shared::Asked { kind, meter: meter.clone(), subjects });
                continue;
            }
            more.push(meter.hold(&subjects, &most, &mut Vec::new()).map_err(|_| *kind)?);
        }
        if !shared.is_empty() {
            let held = shared::hold(shared, &most, &mut Vec::new()).await;
            more.extend(held.map_err(|(_, kind)| kind)?);
        }
        *held = most;
        Ok(more)
    }
}

impl Bill {
    /// Has every meter hold the most that the call may spend. A refusal of one gives back what the others hold.
    pub(super) async fn open(
        call: &mut Call,
        conversation: &Conversation<'_>,
        asked: &Asked<'_>,
    ) -> Result<Self, Failure> {
        let meters = std::mem::take(&mut call.ai.meters);
        if conversation.endpoint.operation == Operation::CountTokens {
            return Ok(Self::default().free(true));
        }
        let is_free = !matches!(
            conversation.endpoint.operation,
            Operation::Chat | Operation::Completions | Operation::Compact | Operation::Embeddings
        );
        if meters.is_empty() {
            return Ok(Self::default().free(is_free));
        }
        let most = Most::of(conversation, asked);
        let model = asked.alias.full_name();
        let mut bill = Self::hold(&meters, &most, model, call)?;
        let shared = meters.iter().filter(|metering| metering.meter.shared().is_some());
        let shared: Vec<_> = shared
            .map(|metering| shared::Asked {
                kind: metering.kind,
                meter: metering.meter.clone(),
                subjects: metering.subjects.resolve(model),
            })
            .collect();
        if !shared.is_empty() {
            Box::pin(bill.hold_shared(shared, &most, call)).await?;
        }
        // Whoever is asked from now on beside the call's own model is on the bill.
        bill.asides.clone_from(&call.ai.asides);
        bill.terms = Some(Box::new(Terms { meters, model: model.clone(), most }));
        Ok(bill.free(is_free))
    }

    /// Holds with meters whose counts are in a shared store.
    async fn hold_shared(
        &mut self,
        shared: Vec<shared::Asked>,
        most: &Most,
        call: &mut Call,
    ) -> Result<(), Failure> {
        let mut told = Vec::new();
        let held = shared::hold(shared, most, &mut told).await;
        for (name, value) in told {
            crate::policy::rate_limit::join(call, name, value);
        }
        match held {
            Ok(holds) => {
                self.holds.extend(holds);
                Ok(())
            }
            Err((failure, kind)) => {
                call.record.stopped_by = Some(kind);
                Err(failure)
            }
        }
    }

    /// Holds with meters that count here.
    pub(crate) fn hold(
        meters: &[Metering],
        most: &Most,
        model: &str,
        call: &mut Call,
    ) -> Result<Self, Failure> {
        let mut bill = Self::default();
        for metering in meters.iter().filter(|metering| metering.meter.shared().is_none()) {
            let mut told = Vec::new();
            let held = metering.meter.hold(&metering.subjects.resolve(model), most, &mut told);
            for (name, value) in told {
                crate::policy::rate_limit::join(call, name, value);
            }
            match held {
                Ok(hold) => bill.holds.push(hold),
                Err(failure) => {
                    call.record.stopped_by = Some(metering.kind);
                    return Err(failure);
                }
            }
        }
        Ok(bill)
    }

    fn free(mut self, is_free: bool) -> Self {
        self.is_free = is_free;
        self
    }

    /// A target is about to be asked.
    pub(super) fn asks(&mut self, told: &Told) {
        told.owe(!self.is_free);
        self.now = Some(told.clone());
    }

    /// The caller is given nothing of what it said. `is_due`: it took the request, and may bill it all the same.
    pub(super) fn set_aside(&mut self, is_due: bool) {
        match (self.now.take(), is_due) {
            (now, true) => self.before.extend(now),
            (Some(now), false) => now.owe(false),
            (None, false) => {}
        }
    }

    /// Before another target is asked: what is held covers one, and one that took the request and gave nothing may cost,
    /// too. An error names the policy that has no room for `model` beside that.
    pub(super) async fn hold_for(&mut self, model: &str) -> Result<(), &'static str> {
        let mut spent = Spent::default();
        self.before.iter().for_each(|told| spent.add(told));
        if let Some(asides) = &self.asides {
            spent.add_aside(asides);
        }
        let Some(terms) = self.terms.as_mut().filter(|_| !self.before.is_empty()) else { return Ok(()) };
        let next = terms.most.of_one(model);
        let held = Box::pin(terms.hold(next, spent)).await?;
        let more = self.more.get_or_insert_default();
        more.lock().unwrap_or_else(PoisonError::into_inner).extend(held);
        Ok(())
    }

    /// By which more is held for the call while its answer flows, if anything is.
    pub(super) fn room(&mut self) -> Option<Room> {
        let terms = self.terms.take().filter(|_| !self.holds.is_empty())?;
        let more = self.more.get_or_insert_default().clone();
        let told = self.before.iter().chain(&self.now).cloned().collect();
        Some(Room { terms, told, asides: self.asides.clone(), more })
    }

    /// Goes with the answer to its end; what is all there is settled now.
    pub(super) fn travel(self, response: Response<Body>) -> Response<Body> {
        if self.holds.is_empty() {
            return response;
        }
        match response.body() {
            Body::Full(_) | Body::Empty => response,
            _ => response.map(|inner| Body::boxed(Billed { inner, bill: Some(self) })),
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let mut spent = Spent::default();
        self.before.iter().chain(&self.now).for_each(|told| spent.add(told));
        if let Some(asides) = &self.asides {
            spent.add_aside(asides);
        }
        for hold in &mut self.holds {
            hold.settle(&spent);
        }
        // What nobody settles costs nothing: all of it is in the first.
        if let Some(more) = &self.more {
            more.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// An answer's body that settles the bill when it ends, or when nobody wants the rest of it.
struct Billed {
    inner: Body,
    bill: Option<Bill>,
}

impl Wrapper for Billed {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Billed {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.bill = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use model::{AiRecord, Continued, TokenUsage};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        body::Body as OfAnswer,
        failure::{Problem, Stage},
        handler::ai::{duties::Meter, prices::Priced, sending::may_be_due},
        ledger::{Book, Ledger},
        policy::{
            Policy,
            budget::Budget,
            testing::{building_for, call},
        },
    };

    /// Refuses everything.
    struct Closed;

    impl Meter for Closed {
        fn hold(
            &self,
            _: &[String],
            _: &Most,
            _: &mut Vec<(http::HeaderName, http::HeaderValue)>,
        ) -> Result<Box<dyn Hold>, Failure> {
            Err(Failure::refused(Problem::RateLimited))
        }

        fn spend(&self, _: &[String], _: &Spent) {}
    }

    /// Every byte is a token.
    #[derive(Debug)]
    struct Bytewise(u64);

    impl model::CountsTokens for Bytewise {
        fn prompt(&self) -> u64 {
            self.0
        }

        fn text(&self, text: &str) -> u64 {
            text.len() as u64
        }

        fn passing(&self, text: &str) -> u64 {
            self.text(text)
        }
    }

    const INPUT: u64 = 2_500_000;
    const OUTPUT: u64 = 10_000_000;

    /// What becomes of a call.
    #[derive(Debug, Clone, Copy)]
    enum Way {
        /// A whole answer, its usage told.
        Whole,
        /// A stream that ends, its usage told.
        Stream,
        /// A stream whose usage nobody tells.
        Untold,
        /// The client leaves while the stream goes on, after the provider has told a beginning.
        Leaves,
        /// The client leaves before the answer begins.
        LeavesEarly,
        /// The provider answers with an error.
        Error,
        /// Nobody could be reached.
        Unreached,
        /// The first target fails with an error, the second answers.
        Fallback,
        /// The first target takes the request and is silent, the second answers.
        Silent,
        /// Two are silent before the third answers.
        SilentTwice,
        /// A filter cuts the first answer, which is paid, and the second is given.
        CutThenAnswered,
        /// A policy behind refuses.
        RefusedBehind,
        /// Refused before any target was asked.
        NeverAsked,
        /// It was in the cache, which a vector of its text was asked for.
        Kept,
        /// A rule keeps the whole answer, which the provider has made, from the client.
        GuardedAfter,
        /// The same after a judge was asked, who costs, too.
        Judged,
        /// A rule ends a stream that the provider has told the usage of.
        GuardedStream,
        /// A stream breaks off, and another target says the rest.
        Continued,
        /// The same, and the client leaves before that has told anything.
        ContinuedLeaves,
    }

    const WAYS: [Way; 19] = [
        Way::Whole,
        Way::Stream,
        Way::Untold,
        Way::Leaves,
        Way::LeavesEarly,
        Way::Error,
        Way::Unreached,
        Way::Fallback,
        Way::Silent,
        Way::SilentTwice,
        Way::CutThenAnswered,
        Way::RefusedBehind,
        Way::NeverAsked,
        Way::Kept,
        Way::GuardedAfter,
        Way::Judged,
        Way::GuardedStream,
        Way::Continued,
        Way::ContinuedLeaves,
    ];

    fn record(prompt: u64) -> Told {
        let mut record = AiRecord::new("chat", "openai-chat", "m".into());
        record.counter = Some(Arc::new(Bytewise(prompt)));
        record.prices = Some(Arc::new(Priced::in_test(INPUT, OUTPUT)));
        Arc::new(record)
    }

    fn cost(input: u64, output: u64) -> u128 {
        u128::from(input) * u128::from(INPUT) + u128::from(output) * u128::from(OUTPUT)
    }

    /// A body that the policy of a stream would wrap.
    fn flowing() -> OfAnswer {
        crate::policy::testing::pieces(&["a", "b"])
    }

    /// A call that is on its way, and what it will have cost when it is over.
    struct Open {
        answer: Option<Response<OfAnswer>>,
        bill: Option<Bill>,
        told: Option<Told>,
        room: Option<Room>,
        way: Way,
        tokens: (u64, u64),
        costs: u128,
    }

    /// Somebody beside the model was asked for a call; what that cost.
    fn beside(bill: &mut Bill, input: u64) -> u128 {
        let asides = Asides::default();
        let costs = cost(input, 0);
        asides.spend(&TokenUsage { input, ..Default::default() }, Some(costs));
        bill.asides = Some(asides);
        costs
    }

    /// Whether another target may be asked.
    fn has_room(bill: &mut Bill) -> bool {
        bill.hold_for("m").now_or_never().expect("no store is waited for").is_ok()
    }

    fn begin(policy: &Budget, way: Way, tokens: (u64, u64)) -> Option<Open> {
        let mut call = call("POST", "/");
        let _ = policy.request(&mut call, &mut OfAnswer::Empty);
        if matches!(way, Way::RefusedBehind) {
            let (meter, subjects) = (Arc::new(Closed), crate::policy::meter_key::Subjects::Model);
            call.ai.meters.push(Metering { kind: "closed", meter, subjects });
        }
        let (input, output) = tokens;
        let most = Most::in_test(input + 100, output + 1000, Some(Priced::in_test(INPUT, OUTPUT)));
        let meters = std::mem::take(&mut call.ai.meters);
        let mut bill = Bill::hold(&meters, &most, "m", &mut call).ok()?;
        bill.terms = Some(Box::new(Terms { meters, model: "m".into(), most }));
        let (prompt, mut costs, mut told, mut answer, mut room) = (input + 3, 0, None, None, None);
        let ask = |bill: &mut Bill| {
            let record = record(prompt);
            bill.asks(&record);
            record
        };
        let usage = TokenUsage { input, output, ..Default::default() };
        match way {
            Way::NeverAsked | Way::RefusedBehind => {}
            Way::Kept => {
                costs = beside(&mut bill, input);
            }
            Way::GuardedAfter | Way::Judged => {
                let record = ask(&mut bill);
                record.spend(usage);
                record.end();
                bill.set_aside(true);
                costs = cost(input, output);
                if matches!(way, Way::Judged) {
                    costs += beside(&mut bill, input);
                }
            }
            Way::Error => {
                ask(&mut bill);
                bill.set_aside(false);
            }
            Way::Unreached => {
                ask(&mut bill);
                bill.set_aside(may_be_due(&Failure::upstream(
                    Stage::Connect,
                    Problem::ConnectFailed,
                    "away",
                )));
            }
            Way::LeavesEarly => {
                ask(&mut bill);
                costs = cost(prompt, 0);
            }
            Way::Whole | Way::Fallback | Way::Silent | Way::SilentTwice | Way::CutThenAnswered => {
                if matches!(way, Way::Fallback) {
                    ask(&mut bill);
                    bill.set_aside(false);
                }
                let silent = match way {
                    Way::Silent => 1,
                    Way::SilentTwice => 2,
                    _ => 0,
                };
                for _ in 0..silent {
                    ask(&mut bill);
                    let failure = Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, "silent");
                    bill.set_aside(may_be_due(&failure));
                    costs += cost(prompt, 0);
                    if !has_room(&mut bill) {
                        return Some(Open { answer, bill: Some(bill), told, room, way, tokens, costs });
                    }
                }
                if matches!(way, Way::CutThenAnswered) {
                    let record = ask(&mut bill);
                    record.spend(usage);
                    record.end();
                    bill.set_aside(true);
                    costs += cost(input, output);
                    if !has_room(&mut bill) {
                        return Some(Open { answer, bill: Some(bill), told, room, way, tokens, costs });
                    }
                }
                let record = ask(&mut bill);
                record.spend(usage);
                record.end();
                costs += cost(input, output);
            }
            Way::Stream
            | Way::Untold
            | Way::Leaves
            | Way::GuardedStream
            | Way::Continued
            | Way::ContinuedLeaves => {
                told = Some(ask(&mut bill));
                room = bill.room().filter(|_| matches!(way, Way::Continued | Way::ContinuedLeaves));
                costs = match way {
                    Way::Stream | Way::GuardedStream => cost(input, output),
                    Way::Untold => cost(prompt, output),
                    Way::Continued => cost(prompt, output) + cost(input, output),
                    Way::ContinuedLeaves => cost(prompt, output) + cost(prompt, 0),
                    _ => cost(input, output.max(1)),
                };
                answer = Some(std::mem::take(&mut bill).travel(Response::new(flowing())));
            }
        }
        let bill = answer.is_none().then_some(bill);
        Some(Open { answer, bill, told, room, way, tokens, costs })
    }

    fn end(open: Open) -> u128 {
        let (input, output) = open.tokens;
        let text = "x".repeat(usize::try_from(output).expect("small"));
        if let Some(told) = &open.told {
            match open.way {
                Way::Stream | Way::GuardedStream => {
                    told.hear(&text);
                    told.spend(TokenUsage { input, output, ..Default::default() });
                    told.end();
                }
                Way::Untold => {
                    told.hear(&text);
                    told.end();
                }
                Way::Continued | Way::ContinuedLeaves => {
                    told.hear(&text);
                    let most =
                        Most::in_test(input + 100, output + 1000, Some(Priced::in_test(INPUT, OUTPUT)));
                    let held = open.room.and_then(|mut room| room.hold(most).now_or_never());
                    if held != Some(Ok(())) {
                        // Nobody is asked, and the caller is told so.
                        told.end();
                        drop(open.answer);
                        return cost(input + 3, output);
                    }
                    let next = record(input + 3);
                    next.owe(true);
                    if matches!(open.way, Way::Continued) {
                        next.spend(TokenUsage { input, output, ..Default::default() });
                        next.end();
                    }
                    told.go_on(Continued { record: next, reason: "cut", has_answered: true });
                }
                _ => {
                    told.spend(TokenUsage { input, output: 1, ..Default::default() });
                    told.hear(&text);
                }
            }
        }
        if let Some(mut answer) = open.answer
            && !matches!(open.way, Way::Leaves | Way::GuardedStream | Way::ContinuedLeaves)
        {
            let frame = || http_body_util::BodyExt::frame(answer.body_mut()).now_or_never();
            std::iter::repeat_with(frame).take_while(|frame| matches!(frame, Some(Some(_)))).for_each(drop);
        }
        drop(open.bill);
        open.costs
    }

    fn taken(book: &Book) -> (u128, u128) {
        book.of("client:192.0.2.7")
    }

    proptest! {
        #[test]
        fn whatever_becomes_of_calls_and_in_whatever_order_they_end_the_ledger_is_what_they_cost(
            calls in proptest::collection::vec((0usize..WAYS.len(), 0u64..5000, 0u64..900, any::<bool>()), 1..80),
        ) {
            let settings = serde_json::from_value(serde_json::json!({"amount": 1000})).expect("settings");
            let policy = building_for("routes/r/budget", "", |cx| Budget::compile(&settings, cx)).expect("compiles");
            let (mut spent, mut open) = (0u128, std::collections::VecDeque::new());
            for (way, input, output, ends) in calls {
                if let Some(call) = begin(&policy, WAYS[way], (input, output)) {
                    open.push_back(call);
                }
                if ends && let Some(call) = open.pop_front() {
                    spent += end(call);
                    prop_assert_eq!(taken(policy.book()).0, spent);
                }
            }
            for call in open {
                spent += end(call);
            }
            prop_assert_eq!(taken(policy.book()), (spent, 0));
        }
    }

    proptest! {
        /// Whatever calls cost together, it was held before they cost it: no budget is overdrawn.
        #[test]
        fn nothing_is_spent_that_was_not_held(
            thousandths in 1u32..400,
            calls in proptest::collection::vec((0usize..WAYS.len(), 0u64..5000, 0u64..900, any::<bool>()), 1..60),
        ) {
            let dollars = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            let amount: f64 = dollars.parse().expect("a number");
            let settings = serde_json::from_value(serde_json::json!({"amount": amount})).expect("settings");
            let policy = building_for("routes/r/budget", "", |cx| Budget::compile(&settings, cx)).expect("compiles");
            let most = u128::from(thousandths) * 1_000_000_000;
            let mut open = std::collections::VecDeque::new();
            for (way, input, output, ends) in calls {
                // What somebody beside the model costs is held with the call that it is for, which this one is not.
                if matches!(WAYS[way], Way::Kept | Way::Judged) {
                    continue;
                }
                if let Some(call) = begin(&policy, WAYS[way], (input, output)) {
                    open.push_back(call);
                }
                if ends && let Some(call) = open.pop_front() {
                    end(call);
                }
                let (spent, held) = taken(policy.book());
                prop_assert!(spent + held <= most, "{spent} and {held} of {most}");
            }
            for call in open {
                end(call);
            }
            let (spent, held) = taken(policy.book());
            prop_assert!(spent <= most && held == 0, "{spent} and {held} of {most}");
        }
    }

    #[test]
    fn books_are_kept_by_their_name_while_the_amount_changes() {
        let ledger = Ledger::default();
        let calendar = crate::ledger::Calendar::new(Default::default(), "UTC").expect("a zone");
        let one = ledger.book("a", &calendar).expect("a book");
        assert!(Arc::ptr_eq(&one, &ledger.book("a", &calendar).expect("a book")));
        assert!(!Arc::ptr_eq(&one, &ledger.book("b", &calendar).expect("a book")));
    }
}
