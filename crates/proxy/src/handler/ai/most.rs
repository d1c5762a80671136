//! The most that a call may spend: what meters hold for it before anybody is asked.

use std::sync::Arc;

use ai::{
    ask::Ask,
    catalogue::Model,
    cost::{Bounds, Cost, reserve},
    endpoint::Operation,
    units,
};

use super::{
    beside::Beside,
    meters::Spent,
    models::{Asked, Target},
    prepare::Conversation,
    prices::Priced,
};

/// Tokens of a prompt that goes on from something unseen, where nobody knows how long the model's may be.
const UNSEEN_TOKENS: u64 = 128_000;

/// The most that a call may spend: what is asked now, and whoever was asked for it before.
#[derive(Debug, Clone)]
pub(crate) struct Most {
    /// In their order.
    before: Vec<Round>,
    now: Round,
}

/// Something that is asked for a call.
#[derive(Debug, Clone)]
struct Round {
    one: Arc<One>,
    /// What the call had spent when this was asked.
    spent: Spent,
}

/// The most that one request may spend, over all targets that may be asked.
#[derive(Debug, Clone)]
struct One {
    ask: Ask,
    targets: Vec<MostOfTarget>,
    /// It answers with text; else with vectors, whose tokens are those of the prompt alone.
    has_output: bool,
    /// What is asked for beside tokens.
    units: Option<units::Asked>,
    /// Of many requests: what they may take together.
    sum: Option<Sum>,
    /// Who may be asked beside the model.
    beside: Vec<Beside>,
}

/// The most that many requests may take together.
#[derive(Debug, Clone)]
struct Sum {
    tokens: (u64, u64),
    cost: Cost,
    unpriced: Option<String>,
}

#[derive(Debug, Clone)]
struct MostOfTarget {
    name: String,
    /// Most tokens that the model can answer with.
    output: u64,
    context: Option<u64>,
    prices: Option<Arc<Priced>>,
}

impl MostOfTarget {
    fn of(target: &Target, model: String, facts: Option<&Model>) -> Self {
        let rules = target.rules(&model);
        Self {
            output: rules.max_output_tokens.unwrap_or(rules.default_max_output_tokens),
            context: facts.and_then(|facts| facts.context),
            prices: target.prices.of(&model),
            name: model,
        }
    }
}

impl From<One> for Most {
    fn from(one: One) -> Self {
        let now = Round { one: Arc::new(one), spent: Spent::default() };
        Self { before: Vec::new(), now }
    }
}

impl Most {
    pub(super) fn of(conversation: &Conversation<'_>, asked: &Asked<'_>) -> Self {
        let targets = asked.alias.targets().iter().map(|target| {
            let model = asked.model(target);
            let facts = match target.is_one() {
                true => target.facts,
                false => ai::catalogue::find(&target.provider.kind.name, &model),
            };
            MostOfTarget::of(target, model, facts)
        });
        let units = conversation.units();
        let mut ask = Ask::peeked(conversation.endpoint.dialect, &conversation.peek, &conversation.body);
        ask.input = units.as_ref().and_then(|units| units.input).unwrap_or(ask.input);
        One {
            ask,
            targets: targets.collect(),
            has_output: matches!(
                conversation.endpoint.operation,
                Operation::Chat | Operation::Completions | Operation::Compact
            ),
            units,
            sum: None,
            beside: conversation.beside.clone(),
        }
        .into()
    }

    /// Of one request to one target.
    pub(super) fn of_request(ask: Ask, target: &Target, model: &str, has_output: bool) -> Self {
        Self::of_requests(ask, std::iter::once((target, model.to_owned())), has_output)
    }

    /// Of one request to one of several targets.
    pub(super) fn of_requests<'t>(
        ask: Ask,
        targets: impl Iterator<Item = (&'t Target, String)>,
        has_output: bool,
    ) -> Self {
        let targets = targets.map(|(target, model)| {
            let facts = ai::catalogue::find(&target.provider.kind.name, &model);
            MostOfTarget::of(target, model, facts)
        });
        One { ask, targets: targets.collect(), has_output, units: None, sum: None, beside: Vec::new() }.into()
    }

    /// The same for another request to the same target.
    pub(super) fn with(&self, ask: Ask) -> Self {
        One { ask, ..One::clone(&self.now.one) }.into()
    }

    /// Of the requests of a batch together. `unpriced` is a model whose price nobody knows.
    pub(super) fn of_batch(tokens: (u64, u64), cost: Cost, unpriced: Option<String>) -> Self {
        let sum = Some(Sum { tokens, cost, unpriced });
        let (ask, targets, beside) = (Ask::default(), Vec::new(), Vec::new());
        One { ask, targets, has_output: true, units: None, sum, beside }.into()
    }

    /// What the call's own request may spend at this one of its models, without what was asked before.
    pub(super) fn of_one(&self, model: &str) -> Self {
        let mut one = One::clone(&self.before.first().unwrap_or(&self.now).one);
        if one.targets.iter().any(|target| target.name == model) {
            one.targets.retain(|target| target.name == model);
        }
        one.into()
    }

    /// What this needs more than `held`, of which so much is spent: what is left of that is for this, too.
    pub(crate) fn beyond(self, held: Self, spent: Spent) -> Self {
        let mut before = held.before;
        before.push(held.now);
        Self { before, now: Round { spent, ..self.now } }
    }

    /// Whether something is held for the call already, so that this may need nothing.
    pub(crate) fn is_beyond(&self) -> bool {
        !self.before.is_empty()
    }

    /// The tokens that are held for the call already, where this follows others of it, and those of all together.
    pub(crate) fn held_and_all(&self, assumed: Option<u64>) -> ((u64, u64), (u64, u64)) {
        let with = |held: (u64, u64), round: &Round| {
            let own = round.one.tokens(assumed);
            let needed = |spent: u64, own: u64, held: u64| held.max(spent.saturating_add(own));
            (needed(round.spent.input, own.0, held.0), needed(round.spent.output, own.1, held.1))
        };
        let held = self.before.iter().fold((0, 0), with);
        (held, with(held, &self.now))
    }

    /// Most tokens of the prompt and of the answer; `assumed` stands in for the answer's where the call says nothing.
    pub(crate) fn tokens(&self, assumed: Option<u64>) -> (u64, u64) {
        let (held, all) = self.held_and_all(assumed);
        (all.0 - held.0.min(all.0), all.1 - held.1.min(all.1))
    }

    /// How many tokens are taken for the answer's where the call says nothing of them.
    pub(crate) fn assumed(&self, assumed: Option<u64>) -> Option<u64> {
        self.now.one.assumed(assumed)
    }

    /// The most that it can cost. An error names a model that has no price.
    pub(crate) fn cost(&self, assumed: Option<u64>, takes_unknown: bool) -> Result<Cost, &str> {
        let with =
            |held: Cost, round: &Round, own: Cost| held.max(Cost(round.spent.cost.0.saturating_add(own.0)));
        let own = self.now.one.cost(assumed, takes_unknown)?;
        let held =
            self.before.iter().fold(Cost::ZERO, |held, round| match round.one.cost(assumed, takes_unknown) {
                Ok(own) => with(held, round, own),
                // Nothing is held by whoever does not know what it costs.
                Err(_) => Cost::ZERO,
            });
        Ok(Cost(with(held, &self.now, own).0.saturating_sub(held.0)))
    }

    #[cfg(test)]
    pub(crate) fn in_test(input: u64, output: u64, prices: Option<Priced>) -> Self {
        let target = MostOfTarget { name: "m".into(), output, context: None, prices: prices.map(Arc::new) };
        let ask = Ask { input, answers: 1, ..Ask::default() };
        One { ask, targets: vec![target], has_output: true, units: None, sum: None, beside: Vec::new() }
            .into()
    }
}

impl One {
    /// What somebody beside the model is asked at most, where the model answers with so many tokens.
    fn of_beside(&self, output: u64) -> impl Iterator<Item = Self> {
        self.beside.iter().map(move |beside| {
            let mut one = One::clone(&beside.most.now.one);
            if beside.reads_answer {
                one.ask.input = one.ask.input.saturating_add(output);
            }
            one
        })
    }

    fn tokens(&self, assumed: Option<u64>) -> (u64, u64) {
        if let Some(sum) = &self.sum {
            return sum.tokens;
        }
        let each = self.targets.iter().map(|target| self.of_target(target, assumed));
        let own = each.fold((0_u64, 0_u64), |most, one| (most.0.max(one.0), most.1.max(one.1)));
        self.of_beside(own.1)
            .map(|one| one.tokens(assumed))
            .fold(own, |sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)))
    }

    fn assumed(&self, assumed: Option<u64>) -> Option<u64> {
        let is_open =
            self.ask.output.is_none() && self.has_output && self.units.is_none() && self.sum.is_none();
        let most = self.targets.iter().map(|target| assumed.unwrap_or(target.output)).max();
        most.filter(|_| is_open)
    }

    /// An error names a model that has no price.
    fn cost(&self, assumed: Option<u64>, takes_unknown: bool) -> Result<Cost, &str> {
        if let Some(sum) = &self.sum {
            let unpriced = sum.unpriced.as_deref().filter(|_| !takes_unknown);
            return unpriced.map_or(Ok(sum.cost), Err);
        }
        let mut most = Cost::ZERO;
        for target in &self.targets {
            let Some(prices) = &target.prices else {
                if takes_unknown {
                    continue;
                }
                return Err(&target.name);
            };
            let (input, output) = self.of_target(target, assumed);
            let units = self.units.as_ref().map(|units| units.most).unwrap_or_default();
            let bounds = Bounds {
                input,
                output,
                audio_in: self.ask.has_audio || units.seconds_in > 0,
                audio_out: self.ask.has_audio || units.seconds_out > 0,
                images_in: self.ask.has_images,
                images_out: self.ask.has_images || units.images > 0,
                long_cache: self.ask.caches_long,
                class: self.ask.class,
            };
            let cost = reserve(prices.prices(), &bounds);
            let Some(units) = &self.units else {
                most = most.max(cost);
                continue;
            };
            if !takes_unknown && units::is_unpriced(prices.prices(), &units.most) {
                return Err(&target.name);
            }
            // Either is paid, never both.
            most = most.max(cost).max(units.cost(prices.prices()).unwrap_or_default());
        }
        if !self.beside.is_empty() {
            let output = self.targets.iter().map(|target| self.of_target(target, assumed).1).max();
            for one in self.of_beside(output.unwrap_or_default()) {
                most += one.cost(assumed, true).unwrap_or_default();
            }
        }
        Ok(most)
    }

    fn of_target(&self, target: &MostOfTarget, assumed: Option<u64>) -> (u64, u64) {
        let unseen = if self.ask.is_continued { target.context.unwrap_or(UNSEEN_TOKENS) } else { 0 };
        let one = self.ask.output.unwrap_or_else(|| assumed.unwrap_or(target.output));
        let output = match &self.units {
            Some(units) => units.output,
            None if self.has_output => one.saturating_mul(self.ask.answers),
            None => 0,
        };
        (self.ask.input.max(unseen), output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_that_follows_is_held_for_at_its_own_price() {
        let priced = |name: &str, price: u64| MostOfTarget {
            name: name.into(),
            output: 10,
            context: None,
            prices: Some(Arc::new(Priced::in_test(price, price))),
        };
        let mut one = One::clone(&Most::in_test(100, 10, None).now.one);
        one.targets = vec![priced("a", 1_000_000), priced("b", 2_000_000), priced("c", 3_000_000)];
        let call = Most::from(one);
        let of = |most: &Most| most.cost(None, false).map(|cost| cost.0).ok();
        assert_eq!(of(&call), Some(330_000_000));
        // The first took 300 and gave nothing; the second is in what is left of the dearest.
        let silent = |cost: u128| Spent { input: 100, output: 0, cost: Cost(cost) };
        let second = call.of_one("b").beyond(call.clone(), silent(100_000_000));
        assert_eq!(of(&second), Some(0));
        let third = second.of_one("c").beyond(second.clone(), silent(300_000_000));
        assert_eq!(of(&third), Some(300_000_000));
        // However many were asked, no round is kept twice.
        let mut many = call.clone();
        for round in 1..=40 {
            many = many.of_one("b").beyond(many.clone(), silent(round * 200_000_000));
        }
        assert_eq!((many.before.len(), of(&many)), (40, Some(200_000_000)));
        // The first is also in the other calls above.
        assert!(many.before.iter().skip(1).all(|round| Arc::strong_count(&round.one) <= 2));
        // One that nobody named is the dearest.
        assert_eq!(of(&call.of_one("d")), Some(330_000_000));
    }

    #[test]
    fn who_goes_on_needs_what_it_may_spend_beyond_what_is_left_of_what_is_held() {
        let most = |input, output| Most::in_test(input, output, Some(Priced::in_test(1_000_000, 4_000_000)));
        let spent = |input, output| Spent {
            input,
            output,
            cost: Cost(u128::from(input) * 1_000_000 + u128::from(output) * 4_000_000),
        };
        // What was held: 100 and 1000. What is spent until then, what follows, and what that needs more.
        for ((spent_in, spent_out), (input, output), more, dollars) in [
            ((100, 300), (130, 700), (130, 0), 130_000_000_u128),
            ((100, 0), (100, 1000), (100, 0), 100_000_000),
            ((40, 10), (50, 900), (0, 0), 0),
            ((100, 1000), (100, 16), (100, 16), 164_000_000),
        ] {
            let next = most(input, output).beyond(most(100, 1000), spent(spent_in, spent_out));
            assert_eq!(next.tokens(None), more);
            assert_eq!(next.cost(None, false), Ok(Cost(dollars)));
            // A third needs what the second has not left.
            let third = most(input, output).beyond(next.clone(), spent(spent_in + input, spent_out + output));
            assert_eq!(third.tokens(None).0, spent_in + 2 * input - (100 + more.0));
        }
    }
}
