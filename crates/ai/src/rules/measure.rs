//! How much a target thinks: what was asked for, as far as its rule can meet it.

use super::ReasoningRule;
use crate::canon::{Effort, Feature, Losses, Reasoning};

/// What there is to say of thinking. A dialect says what it has a place for: a word, a number, or a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Measure {
    /// Whether to think at all.
    pub(crate) on: Option<bool>,
    /// How much, by word.
    pub(crate) effort: Option<Effort>,
    /// How much, in tokens.
    pub(crate) budget: Option<u64>,
}

/// The word nearest to a wish among those that a model knows. Who wants some thinking does not get none.
pub(crate) fn nearest(wish: Effort, known: &[Effort]) -> Option<Effort> {
    let distance = |effort: &&Effort| (**effort as i8 - wish as i8).unsigned_abs();
    let some = |effort: &&Effort| wish == Effort::None || **effort != Effort::None;
    known.iter().filter(some).min_by_key(distance).copied()
}

impl Measure {
    /// What a wish becomes under a rule. A wish that is not met to the word, or about to the token, is named.
    pub(crate) fn of(reasoning: &Reasoning, rule: &ReasoningRule, losses: &mut Losses) -> Self {
        let off = reasoning.is_off();
        let asked = reasoning.effort.or(reasoning.budget.map(Effort::of_budget));
        let on = match off {
            true => Some(false),
            false => reasoning.enabled.or(asked.map(|_| true)),
        };
        let none = Self { on: Some(false), effort: Some(Effort::None), budget: Some(0) };
        let measure = match rule {
            ReasoningRule::None => {
                if !off {
                    losses.feature(Feature::Reasoning);
                }
                return Self::default();
            }
            ReasoningRule::AsAsked if off => none,
            ReasoningRule::AsAsked => return Self { on, effort: asked, budget: reasoning.budget },
            ReasoningRule::Effort(known) if off && known.contains(&Effort::None) => none,
            ReasoningRule::Effort(known) => {
                let wish = if off { Some(Effort::None) } else { asked };
                let effort = wish.and_then(|wish| nearest(wish, known));
                Self { on: on.map(|_| true), effort, budget: reasoning.budget.filter(|_| !off) }
            }
            ReasoningRule::Budget { can_be_off: true, .. } if off => none,
            ReasoningRule::Budget { least, most, .. } => {
                let wish = if off { Some(0) } else { reasoning.budget.or(asked.map(Effort::budget)) };
                let budget = wish.map(|wish| wish.clamp(*least, (*most).max(*least)));
                Self { on: on.map(|_| true), effort: budget.map(Effort::of_budget), budget }
            }
        };
        let met = match off {
            true => measure.on == Some(false),
            false => measure.effort == asked,
        };
        if !met {
            losses.feature(Feature::Reasoning);
        }
        measure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_met_as_far_as_the_rule_goes() {
        use Effort::{ExtraHigh, High, Low, Medium, Minimal, None as Not};
        let words = |known: &[Effort]| ReasoningRule::Effort(known.to_vec());
        let budget = |can_be_off| ReasoningRule::Budget { least: 1_024, most: 20_000, can_be_off };
        let by = |effort| Reasoning { effort: Some(effort), ..Reasoning::default() };
        let tokens = |tokens| Reasoning { budget: Some(tokens), ..Reasoning::default() };
        let off = || Reasoning { enabled: Some(false), ..Reasoning::default() };
        let on = || Reasoning { enabled: Some(true), ..Reasoning::default() };
        let (yes, no) = (Some(true), Some(false));
        for (asked, rule, want, met) in [
            (by(Low), ReasoningRule::None, (None, None, None), false),
            (off(), ReasoningRule::None, (None, None, None), true),
            (off(), ReasoningRule::AsAsked, (no, Some(Not), Some(0)), true),
            (by(Low), ReasoningRule::AsAsked, (yes, Some(Low), None), true),
            (tokens(5_000), ReasoningRule::AsAsked, (yes, Some(Medium), Some(5_000)), true),
            (on(), words(&[Not, High]), (yes, None, None), true),
            (by(Low), words(&[Not, High]), (yes, Some(High), None), false),
            (by(Minimal), words(&[Low, High]), (yes, Some(Low), None), false),
            (off(), words(&[Not, High]), (no, Some(Not), Some(0)), true),
            (off(), words(&[Low, High]), (yes, Some(Low), None), false),
            (by(High), budget(true), (yes, Some(High), Some(16_384)), true),
            (by(ExtraHigh), budget(true), (yes, Some(High), Some(20_000)), false),
            (off(), budget(true), (no, Some(Not), Some(0)), true),
            (off(), budget(false), (yes, Some(Minimal), Some(1_024)), false),
            (on(), budget(false), (yes, None, None), true),
        ] {
            let mut losses = Losses::default();
            let found = Measure::of(&asked, &rule, &mut losses);
            assert_eq!((found.on, found.effort, found.budget), want, "{asked:?} under {rule:?}");
            assert_eq!(losses.is_empty(), met, "{asked:?} under {rule:?}");
        }
    }
}
