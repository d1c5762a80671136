//! How Claude is told to think, here and on Bedrock: by a budget below the most tokens of the answer, or as it sees
//! fit with an effort. What forbids thinking is found before the provider refuses the call.

use super::{
    ISSUER,
    turns::{Speaker, Turn},
};
use crate::{
    canon::{Effort, Feature, Losses, Part, ProofKind, Reasoning, Request, ToolChoice},
    rules::{ReasoningRule, Rules, nearest},
};

/// The least budget that Claude takes.
const BUDGET_LEAST: u64 = 1_024;

/// What is said of thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum Mode {
    /// Nothing.
    Unsaid,
    /// Not to think.
    Off,
    /// This many tokens.
    Budget(u64),
    /// As it sees fit.
    Adaptive,
}

/// What a request says of thinking and of its answer's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) struct Plan {
    pub(in crate::dialect) mode: Mode,
    pub(in crate::dialect) effort: Option<Effort>,
    pub(in crate::dialect) max_tokens: u64,
}

impl Plan {
    /// Whether it thinks: then temperature and its like are fixed.
    pub(in crate::dialect) fn thinks(self) -> bool {
        matches!(self.mode, Mode::Budget(_) | Mode::Adaptive)
    }
}

/// Makes the plan.
pub(in crate::dialect) fn plan(
    request: &Request,
    turns: &[Turn<'_>],
    rules: &Rules,
    losses: &mut Losses,
) -> Plan {
    let most = rules.max_output_tokens.unwrap_or(u64::MAX);
    let max_tokens = max_tokens(request, rules);
    let unsaid = Plan { mode: Mode::Unsaid, effort: None, max_tokens };
    let Some(reasoning) = &request.reasoning else { return unsaid };
    let mut plan =
        Plan { mode: mode(reasoning, rules, losses), effort: effort(reasoning, rules, losses), ..unsaid };
    let forced = request.tool_choice.as_ref().is_some_and(ToolChoice::is_forced) && !request.tools.is_empty();
    let manual = matches!(plan.mode, Mode::Budget(_));
    if plan.thinks() && forced || manual && !has_thoughts(turns) {
        losses.feature(Feature::Reasoning);
        plan.mode = Mode::Unsaid;
    }
    fit(plan, request.max_output_tokens.is_some(), most, losses)
}

/// The plan for a model that is not Claude's: an effort is all that there is to say.
pub(in crate::dialect) fn effort_alone(request: &Request, rules: &Rules, losses: &mut Losses) -> Plan {
    let max_tokens = max_tokens(request, rules);
    let mut plan = Plan { mode: Mode::Unsaid, effort: None, max_tokens };
    if let Some(reasoning) = &request.reasoning {
        let budget = reasoning.budget.filter(|budget| *budget > 0).map(Effort::of_budget);
        let asked = Reasoning { effort: reasoning.effort.or(budget), ..reasoning.clone() };
        plan.effort = effort(&asked, rules, losses);
        // Whether thoughts are shown cannot be said either.
        if reasoning.asks_for_thoughts() && rules.reasoning != ReasoningRule::None {
            losses.feature(Feature::ReasoningSummary);
        }
        // An effort of none, or thinking without one, cannot be said.
        let said = plan.effort.is_some() || *reasoning == Reasoning::default();
        if !said && (rules.reasoning != ReasoningRule::None || wanted(&asked)) {
            losses.feature(Feature::Reasoning);
        }
    }
    plan
}

/// The most tokens of the answer: as asked, as far as the model can.
fn max_tokens(request: &Request, rules: &Rules) -> u64 {
    let most = rules.max_output_tokens.unwrap_or(u64::MAX);
    request.max_output_tokens.unwrap_or(rules.default_max_output_tokens).min(most)
}

fn mode(reasoning: &Reasoning, rules: &Rules, losses: &mut Losses) -> Mode {
    let off = reasoning.enabled == Some(false)
        || reasoning.effort == Some(Effort::None)
        || reasoning.budget == Some(0);
    match &rules.reasoning {
        ReasoningRule::None if off => Mode::Unsaid,
        ReasoningRule::None => {
            losses.feature(Feature::Reasoning);
            Mode::Unsaid
        }
        ReasoningRule::Budget { can_be_off: false, least, .. } if off => {
            losses.feature(Feature::Reasoning);
            Mode::Budget(*least)
        }
        // It always thinks.
        ReasoningRule::Effort(known) if off && !known.contains(&Effort::None) => {
            losses.feature(Feature::Reasoning);
            Mode::Unsaid
        }
        _ if off => Mode::Off,
        ReasoningRule::Budget { least, most, .. } => {
            let wish = reasoning.budget.or(reasoning.effort.map(Effort::budget));
            let most = (*most).max(*least);
            Mode::Budget(wish.unwrap_or(Effort::Medium.budget()).clamp(*least, most))
        }
        ReasoningRule::AsAsked => match reasoning.budget {
            Some(budget) => Mode::Budget(budget),
            None if wanted(reasoning) => Mode::Adaptive,
            None => Mode::Unsaid,
        },
        ReasoningRule::Effort(_) if wanted(reasoning) => Mode::Adaptive,
        ReasoningRule::Effort(_) => Mode::Unsaid,
    }
}

/// Thoughts are asked for, in whatever way.
fn wanted(reasoning: &Reasoning) -> bool {
    reasoning.enabled == Some(true)
        || reasoning.effort.is_some_and(|effort| effort != Effort::None)
        || reasoning.budget.is_some()
        || reasoning.visible == Some(true)
        || reasoning.summary.is_some()
}

/// `effort`, in the words that there are. One that is not there is named.
fn effort(reasoning: &Reasoning, rules: &Rules, losses: &mut Losses) -> Option<Effort> {
    const WORDS: [Effort; 5] = [Effort::Low, Effort::Medium, Effort::High, Effort::ExtraHigh, Effort::Max];
    let asked = reasoning.effort.filter(|effort| *effort != Effort::None);
    let (asked, chosen) = match &rules.reasoning {
        ReasoningRule::AsAsked => (asked?, nearest(asked?, &WORDS)),
        ReasoningRule::Effort(known) => {
            let known: Vec<Effort> = known.iter().copied().filter(|effort| WORDS.contains(effort)).collect();
            let budget = reasoning.budget.filter(|budget| *budget > 0).map(Effort::of_budget);
            let asked = asked.or(budget)?;
            (asked, nearest(asked, &known))
        }
        ReasoningRule::None | ReasoningRule::Budget { .. } => return None,
    };
    if chosen != Some(asked) {
        losses.feature(Feature::Reasoning);
    }
    chosen
}

/// A round of calls must go on from the model's own thoughts. When another model made the calls there are none.
fn has_thoughts(turns: &[Turn<'_>]) -> bool {
    let Some(last) = turns.iter().rev().find(|turn| turn.speaker == Speaker::Assistant) else { return true };
    let calls = last.pieces.iter().any(|(_, part)| matches!(part, Part::ToolCall { .. }));
    let first = last.pieces.iter().map(|(_, part)| *part).find(|part| !is_dropped(part));
    !calls || matches!(first, Some(Part::Thinking { .. }))
}

/// Thoughts that are not Claude's own: they are not sent.
pub(in crate::dialect) fn is_dropped(part: &Part) -> bool {
    match part {
        Part::Thinking { proof, .. } => {
            !proof.as_ref().is_some_and(|proof| proof.issuer == ISSUER && proof.kind != ProofKind::Mark)
        }
        _ => false,
    }
}

/// Makes the budget and the most tokens fit each other.
fn fit(mut plan: Plan, asked: bool, most: u64, losses: &mut Losses) -> Plan {
    let Mode::Budget(budget) = plan.mode else { return plan };
    let budget = budget.max(BUDGET_LEAST);
    if !asked {
        // The answer has its room beside the thoughts.
        plan.max_tokens = plan.max_tokens.saturating_add(budget).min(most);
    }
    let fitting = below(budget, plan.max_tokens);
    if fitting != Some(budget) {
        losses.feature(Feature::Reasoning);
    }
    plan.mode = fitting.map_or(Mode::Unsaid, Mode::Budget);
    plan
}

/// A budget below the most tokens of the answer; nothing where there is none that Claude takes.
pub(crate) fn below(budget: u64, max_tokens: u64) -> Option<u64> {
    let budget = budget.max(BUDGET_LEAST);
    let lowered = (max_tokens / 4).saturating_mul(3);
    match budget {
        budget if budget < max_tokens => Some(budget),
        _ if lowered >= BUDGET_LEAST => Some(lowered),
        _ => Some(BUDGET_LEAST).filter(|least| *least < max_tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        canon::{Message, Proof, Role},
        dialect::anthropic::turns::turns,
    };

    fn asked(max: Option<u64>, reasoning: Reasoning) -> Request {
        Request { max_output_tokens: max, reasoning: Some(reasoning), ..Request::default() }
    }

    fn planned(request: &Request, rules: &Rules) -> (Mode, u64, bool) {
        let mut losses = Losses::default();
        let ordered = turns(&request.messages, rules, &mut losses);
        let plan = plan(request, &ordered.turns, rules, &mut losses);
        (plan.mode, plan.max_tokens, losses.is_empty())
    }

    #[test]
    fn a_budget_is_below_the_most_tokens() {
        let rules = Rules::default();
        let budget = |tokens| Reasoning { budget: Some(tokens), ..Reasoning::default() };
        assert_eq!(planned(&asked(None, budget(9_000)), &rules), (Mode::Budget(9_000), 13_096, true));
        assert_eq!(planned(&asked(Some(8_000), budget(8_000)), &rules), (Mode::Budget(6_000), 8_000, false));
        assert_eq!(planned(&asked(Some(1_100), budget(8_000)), &rules), (Mode::Budget(1_024), 1_100, false));
        assert_eq!(planned(&asked(Some(1_000), budget(8_000)), &rules), (Mode::Unsaid, 1_000, false));
        assert_eq!(planned(&asked(Some(4_000), budget(1)), &rules), (Mode::Budget(1_024), 4_000, true));
    }

    #[test]
    fn who_always_thinks_is_not_told_not_to() {
        let rules = |efforts: &[Effort]| Rules {
            reasoning: ReasoningRule::Effort(efforts.to_vec()),
            ..Rules::default()
        };
        let off = || asked(Some(9_000), Reasoning { enabled: Some(false), ..Reasoning::default() });
        assert_eq!(planned(&off(), &rules(&[Effort::None, Effort::High])), (Mode::Off, 9_000, true));
        assert_eq!(planned(&off(), &rules(&[Effort::High])), (Mode::Unsaid, 9_000, false));
    }

    #[test]
    fn calls_of_another_model_forbid_a_budget() {
        let call = Part::ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: "{}".into(),
            custom: false,
            proof: None,
            cache: None,
        };
        let thought = |issuer: &str| Part::Thinking {
            text: "hm".into(),
            proof: Some(Proof {
                issuer: issuer.into(),
                kind: ProofKind::Signature,
                value: "s".into(),
                id: None,
            }),
        };
        let with = |parts: Vec<Part>, reasoning| {
            let mut request = asked(Some(9_000), reasoning);
            request.messages =
                vec![Message::text(Role::User, "a"), Message { role: Role::Assistant, name: None, parts }];
            planned(&request, &Rules::default()).0
        };
        let budget = || Reasoning { budget: Some(2_000), ..Reasoning::default() };
        assert_eq!(with(vec![thought("anthropic"), call.clone()], budget()), Mode::Budget(2_000));
        assert_eq!(with(vec![thought("gemini"), call.clone()], budget()), Mode::Unsaid);
        let adaptive = Reasoning { enabled: Some(true), ..Reasoning::default() };
        assert_eq!(with(vec![call], adaptive), Mode::Adaptive);
    }
}
