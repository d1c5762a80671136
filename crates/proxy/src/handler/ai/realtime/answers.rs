//! Answers of a conversation that are on their way: what is held for each, by its id, until it is settled.
//!
//! A client may ask for several at once, and the model begins some by itself. What is held when one is asked for belongs
//! to the answer that begins next, and is settled to what that tells when it is done.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use ai::{
    ask::Ask,
    canon::Usage,
    realtime::{Done, Longest},
};
use model::{TokenPrices, TokenUsage};

use super::super::{
    Told,
    duties::{Hold, Metering},
    metered,
    meters::Spent,
    most::Most,
    prices::Priced,
    shared,
};
use crate::failure::Failure;

/// Answers of one conversation that are asked for or under way at a time.
const ANSWERS_MAX: usize = 64;

pub(super) type Holds = Vec<Box<dyn Hold>>;
/// What is held, once that is known.
pub(super) type Awaited = Pin<Box<dyn Future<Output = Result<Holds, Failure>>>>;

/// What comes of asking every meter.
pub(super) enum Holding {
    Held(Holds),
    /// Some of it is held in a shared store, which takes a while.
    Waits(Awaited),
}

/// One that is asked for.
struct Asked {
    /// The id of the client's event.
    event: Option<String>,
    holds: Holds,
    /// Tokens that it reads, about.
    context: u64,
}

/// One that has begun.
struct Begun {
    id: String,
    /// None where nobody could hold it: it is spent all the same.
    holds: Option<Holds>,
    context: u64,
    /// Tokens of sound and of text until now, about.
    said: (u64, u64),
    /// What had been heard in all before it began.
    heard: u64,
}

/// Who pays for answers, and what they cost.
pub(super) struct Terms {
    pub(super) told: Told,
    pub(super) most: Most,
    pub(super) prices: Option<Arc<Priced>>,
    /// Whoever counts, and for whom.
    pub(super) meters: Vec<(Metering, Vec<String>)>,
}

/// How long answers may become that say nothing themselves.
#[derive(Default)]
struct Bound {
    tokens: Option<u64>,
    /// Changes that the provider has not told of yet: until then a smaller one is a wish.
    wished: u64,
}

/// The answers of a conversation.
pub(super) struct Answers {
    terms: Terms,
    /// In the order in which they were asked for, which is the one in which they begin.
    asked: VecDeque<Asked>,
    begun: Vec<Begun>,
    /// Tokens that the next answer reads, about, and what was heard in all.
    context: u64,
    heard: u64,
    bound: Bound,
    total: TokenUsage,
}

impl Answers {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            asked: VecDeque::new(),
            begun: Vec::new(),
            context: 0,
            heard: 0,
            bound: Bound::default(),
            total: TokenUsage::default(),
        }
    }

    /// Whether anybody counts.
    pub(super) fn are_metered(&self) -> bool {
        !self.terms.meters.is_empty()
    }

    /// Whether as many are on their way as may be.
    pub(super) fn are_many(&self) -> bool {
        self.asked.len() + self.begun.len() >= ANSWERS_MAX
    }

    /// The client said something that answers read.
    pub(super) fn hear(&mut self, tokens: u64) {
        self.heard = self.heard.saturating_add(tokens);
        self.context = self.context.saturating_add(tokens);
    }

    /// The client wishes another bound. One that is wider may hold at once.
    pub(super) fn wish(&mut self, longest: Option<Longest>) {
        self.bound.wished = self.bound.wished.saturating_add(1);
        self.widen(longest);
    }

    /// The provider tells the bound that is.
    pub(super) fn bound(&mut self, is_change: bool, longest: Option<Longest>) {
        if is_change {
            self.bound.wished = self.bound.wished.saturating_sub(1);
        }
        match longest {
            Some(Longest::Tokens(tokens)) if self.bound.wished == 0 => self.bound.tokens = Some(tokens),
            wider => self.widen(wider),
        }
    }

    fn widen(&mut self, longest: Option<Longest>) {
        match longest {
            Some(Longest::Model) => self.bound.tokens = None,
            Some(Longest::Tokens(tokens)) => {
                self.bound.tokens = self.bound.tokens.map(|known| known.max(tokens));
            }
            None => {}
        }
    }

    /// Has every meter hold the most that one more answer may spend.
    pub(super) fn hold(&self, longest: Option<Longest>) -> Result<Holding, Failure> {
        let output = match longest {
            Some(Longest::Tokens(tokens)) => Some(tokens),
            Some(Longest::Model) => None,
            None => self.bound.tokens,
        };
        let ask = Ask { input: self.context, output, answers: 1, has_audio: true, ..Ask::default() };
        let most = self.terms.most.with(ask);
        let mut holds = Vec::with_capacity(self.terms.meters.len());
        let mut elsewhere = Vec::new();
        for (metering, subjects) in &self.terms.meters {
            let (kind, meter, subjects) = (metering.kind, metering.meter.clone(), subjects.clone());
            match meter.shared() {
                Some(_) => elsewhere.push(shared::Asked { kind, meter, subjects }),
                None => holds.push(meter.hold(&subjects, &most, &mut Vec::new())?),
            }
        }
        if elsewhere.is_empty() {
            return Ok(Holding::Held(holds));
        }
        Ok(Holding::Waits(Box::pin(async move {
            let more = shared::hold(elsewhere, &most, &mut Vec::new()).await;
            holds.extend(more.map_err(|(failure, _)| failure)?);
            Ok(holds)
        })))
    }

    /// One is asked for.
    pub(super) fn ask(&mut self, event: Option<String>, holds: Holds) {
        self.asked.push_back(Asked { event, holds, context: self.context });
    }

    /// One begins; whether it was asked for. Else something must be held for it.
    pub(super) fn begin_asked(&mut self, id: &str) -> bool {
        let Some(Asked { holds, context, .. }) = self.asked.pop_front() else { return false };
        self.begun.push(Begun {
            id: id.to_owned(),
            holds: Some(holds),
            context,
            said: (0, 0),
            heard: self.heard,
        });
        true
    }

    /// One begins that nobody has asked for. Where nothing could be held for it, it is spent all the same.
    pub(super) fn begin(&mut self, id: String, holds: Option<Holds>) {
        let (context, heard) = (self.context, self.heard);
        self.begun.push(Begun { id, holds, context, said: (0, 0), heard });
    }

    /// Something was said in one.
    pub(super) fn say(&mut self, id: Option<&str>, (sound, words): (u64, u64)) {
        let found = match id {
            Some(id) => self.begun.iter_mut().find(|one| one.id == id),
            None => self.begun.last_mut(),
        };
        if let Some(one) = found {
            one.said = (one.said.0.saturating_add(sound), one.said.1.saturating_add(words));
        }
    }

    /// The provider refuses what the client's event asked for. One that has no id was answered by an error without
    /// one; should it begin all the same, something is held for it anew.
    pub(super) fn refused(&mut self, event: Option<&str>) {
        if let Some(at) = self.asked.iter().position(|one| one.event.as_deref() == event) {
            self.asked.remove(at);
        }
    }

    /// One is done, and settled to what it tells, or what was counted here.
    pub(super) fn end(&mut self, id: &str, done: &Done) {
        let at = self.begun.iter().position(|one| one.id == id);
        let one = match at {
            Some(at) => self.begun.remove(at),
            // It never said that it began.
            None if self.begin_asked(id) => match self.begun.pop() {
                Some(one) => one,
                None => return,
            },
            None => Begun {
                id: id.to_owned(),
                holds: None,
                context: self.context,
                said: (0, 0),
                heard: self.heard,
            },
        };
        let heard = self.heard.saturating_sub(one.heard);
        let usage = match &done.usage {
            Some(usage) => *usage,
            // A provider takes nothing for what it could not even begin.
            None if done.has_failed && one.said == (0, 0) => Usage::default(),
            None => self.estimate(one.context, one.said),
        };
        let spent = self.settle(one.holds, &usage);
        if !done.is_aside {
            self.context = spent.input.saturating_add(spent.output).saturating_add(heard);
        }
    }

    /// What one spent, about, of which its provider tells nothing.
    fn estimate(&self, context: u64, (sound, words): (u64, u64)) -> Usage {
        self.terms.told.guess();
        let output = sound.saturating_add(words);
        Usage { input: context, output, output_audio: sound, ..Usage::default() }
    }

    fn settle(&mut self, holds: Option<Holds>, usage: &Usage) -> Spent {
        let one = metered::counted(usage);
        let cost = self.terms.prices.as_ref().map_or(0, |prices| prices.picodollars(&one, None));
        let spent = Spent { input: one.input, output: one.output, cost: ai::cost::Cost(cost) };
        match holds {
            Some(holds) => holds.into_iter().for_each(|mut hold| hold.settle(&spent)),
            None => {
                for (metering, subjects) in &self.terms.meters {
                    metering.meter.spend(subjects, &spent);
                    shared::spend(&*metering.meter, subjects, &spent);
                }
            }
        }
        let total = &mut self.total;
        total.input = total.input.saturating_add(one.input);
        total.cache_read = total.cache_read.saturating_add(one.cache_read);
        total.input_audio = total.input_audio.saturating_add(one.input_audio);
        total.input_image = total.input_image.saturating_add(one.input_image);
        total.output = total.output.saturating_add(one.output);
        total.output_audio = total.output_audio.saturating_add(one.output_audio);
        self.terms.told.spend(*total);
        self.terms.told.turns.fetch_add(1, Ordering::Relaxed);
        spent
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // What broke off, and what was asked for: its provider may have begun.
        let begun = std::mem::take(&mut self.begun).into_iter();
        let begun = begun.map(|one| (one.holds, one.context, one.said));
        let asked = std::mem::take(&mut self.asked).into_iter();
        let all: Vec<_> = begun.chain(asked.map(|one| (Some(one.holds), one.context, (0, 0)))).collect();
        for (holds, context, said) in all {
            let usage = self.estimate(context, said);
            self.settle(holds, &usage);
        }
    }
}
