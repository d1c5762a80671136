//! Asks for thinking, each provider in its own way.

use serde_json::{Map, Value, json};

use crate::{
    canon::{Effort, Feature, Losses, Reasoning},
    rules::{Measure, ReasoningRule, ReasoningStyle, Rules},
};

pub(crate) fn write_reasoning(
    reasoning: &Reasoning,
    rules: &Rules,
    body: &mut Map<String, Value>,
    losses: &mut Losses,
) {
    let measure = Measure::of(reasoning, &rules.reasoning, losses);
    // Who tells thoughts at all tells them unasked.
    if reasoning.asks_for_thoughts() && rules.thoughts.is_none() && rules.reasoning != ReasoningRule::None {
        losses.feature(Feature::ReasoningSummary);
    }
    if rules.reasoning == ReasoningRule::None {
        return;
    }
    let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
    // A model that knows one word beside none is switched, and the word says nothing more.
    let words = match &rules.reasoning {
        ReasoningRule::Effort(known) => known.iter().filter(|effort| **effort != Effort::None).count(),
        _ => 0,
    };
    let word = measure.effort.filter(|effort| *effort != Effort::None && words > 1).map(Effort::word);
    match rules.reasoning_style {
        ReasoningStyle::Effort => {
            // Thinking is on of its own, and where nobody said how much there is nothing to say.
            if let Some(effort) = measure.effort {
                put("reasoning_effort", effort.word().into());
            }
        }
        ReasoningStyle::Thinking => {
            let Some(on) = measure.on else { return };
            let mut thinking = json!({"type": if on { "enabled" } else { "disabled" }});
            if matches!(rules.reasoning, ReasoningRule::Budget { .. }) && on {
                thinking.as_object_mut().into_iter().for_each(|thinking| {
                    thinking.extend(measure.budget.map(|budget| ("budget_tokens".to_owned(), budget.into())));
                });
            } else {
                unsaid(measure, word, losses, &rules.reasoning);
            }
            put("thinking", thinking);
            if let Some(word) = word {
                put("reasoning_effort", word.into());
            }
        }
        ReasoningStyle::EnableThinking => {
            let Some(on) = measure.on else { return };
            put("enable_thinking", on.into());
            let budget = measure.budget.or(measure.effort.map(Effort::budget)).filter(|_| on);
            match (word, budget) {
                (Some(word), _) => drop(put("reasoning_effort", word.into())),
                (None, Some(budget)) => drop(put("thinking_budget", budget.into())),
                (None, None) => {}
            }
        }
        ReasoningStyle::Reasoning => {
            let mut told = match (measure.on, measure.budget, measure.effort) {
                (Some(false), ..) => json!({"enabled": false}),
                (Some(true), Some(budget), _) => json!({"max_tokens": budget}),
                (Some(true), None, Some(effort)) => json!({"effort": effort.word()}),
                (Some(true), None, None) => json!({"enabled": true}),
                (None, ..) => json!({}),
            };
            if reasoning.visible == Some(false) && measure.on != Some(false) {
                told["exclude"] = true.into();
            }
            if told.as_object().is_some_and(|told| !told.is_empty()) {
                put("reasoning", told);
            }
        }
        ReasoningStyle::ChatTemplate => {
            let Some(on) = measure.on else { return };
            put("chat_template_kwargs", json!({"enable_thinking": on}));
            unsaid(measure, None, losses, &rules.reasoning);
        }
    }
}

/// A switch says nothing of how much.
fn unsaid(measure: Measure, word: Option<&str>, losses: &mut Losses, rule: &ReasoningRule) {
    // Where the model has one measure alone, what is lost has been named with the rule.
    let is_switch = matches!(rule, ReasoningRule::Effort(_));
    if measure.on == Some(true) && measure.effort.is_some() && word.is_none() && !is_switch {
        losses.feature(Feature::Reasoning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(style: ReasoningStyle, rule: ReasoningRule, asked: &Reasoning, want: Value, met: bool) {
        let rules = Rules { reasoning: rule, reasoning_style: style, ..Rules::default() };
        let (mut body, mut losses) = (Map::new(), Losses::default());
        write_reasoning(asked, &rules, &mut body, &mut losses);
        assert_eq!(Value::Object(body), want, "{style:?} {asked:?} under {:?}", rules.reasoning);
        assert_eq!(losses.is_empty(), met, "{style:?} {asked:?} under {:?}", rules.reasoning);
    }

    #[test]
    fn what_nobody_asked_for_is_not_told_as_lost() {
        let asked = Reasoning { budget: Some(3_000), visible: Some(true), ..Reasoning::default() };
        let unasked = Reasoning { unasked: crate::canon::Unasked(true), ..asked.clone() };
        let want = || json!({"reasoning_effort": "low"});
        check(ReasoningStyle::Effort, ReasoningRule::AsAsked, &asked, want(), false);
        check(ReasoningStyle::Effort, ReasoningRule::AsAsked, &unasked, want(), true);
    }

    #[test]
    fn every_style_asks_in_its_own_words() {
        use ReasoningStyle::{ChatTemplate, EnableThinking, Thinking};
        let switch = || ReasoningRule::Effort(vec![Effort::None, Effort::High]);
        let words = || ReasoningRule::Effort(vec![Effort::None, Effort::Low, Effort::High, Effort::Max]);
        let tokens = || ReasoningRule::Budget { least: 128, most: 32_768, can_be_off: true };
        let low = Reasoning { effort: Some(Effort::Low), ..Reasoning::default() };
        let off = Reasoning { enabled: Some(false), ..Reasoning::default() };
        let on = Reasoning { enabled: Some(true), ..Reasoning::default() };
        let some = Reasoning { budget: Some(3_000), ..Reasoning::default() };
        let hidden = Reasoning { visible: Some(false), ..low.clone() };
        let style = ReasoningStyle::Effort;
        check(style, ReasoningRule::AsAsked, &low, json!({"reasoning_effort": "low"}), true);
        check(style, ReasoningRule::AsAsked, &off, json!({"reasoning_effort": "none"}), true);
        check(style, tokens(), &some, json!({"reasoning_effort": "low"}), true);
        check(style, ReasoningRule::None, &low, json!({}), false);
        let enabled = json!({"type": "enabled"});
        check(Thinking, switch(), &on, json!({"thinking": enabled}), true);
        check(Thinking, switch(), &off, json!({"thinking": {"type": "disabled"}}), true);
        check(Thinking, switch(), &low, json!({"thinking": enabled}), false);
        check(Thinking, words(), &low, json!({"thinking": enabled, "reasoning_effort": "low"}), true);
        check(Thinking, ReasoningRule::AsAsked, &low, json!({"thinking": enabled}), false);
        let counted = json!({"thinking": {"type": "enabled", "budget_tokens": 3_000}});
        check(Thinking, tokens(), &some, counted, true);
        let budget = |tokens: u64| json!({"enable_thinking": true, "thinking_budget": tokens});
        check(EnableThinking, tokens(), &some, budget(3_000), true);
        check(EnableThinking, tokens(), &low, budget(2_048), true);
        check(EnableThinking, tokens(), &off, json!({"enable_thinking": false}), true);
        check(EnableThinking, ReasoningRule::AsAsked, &on, json!({"enable_thinking": true}), true);
        let style = ReasoningStyle::Reasoning;
        check(style, words(), &low, json!({"reasoning": {"effort": "low"}}), true);
        check(style, words(), &off, json!({"reasoning": {"enabled": false}}), true);
        check(style, ReasoningRule::AsAsked, &some, json!({"reasoning": {"max_tokens": 3_000}}), true);
        check(style, ReasoningRule::AsAsked, &on, json!({"reasoning": {"enabled": true}}), true);
        check(style, words(), &hidden, json!({"reasoning": {"effort": "low", "exclude": true}}), true);
        let template = |on: bool| json!({"chat_template_kwargs": {"enable_thinking": on}});
        check(ChatTemplate, ReasoningRule::AsAsked, &on, template(true), true);
        check(ChatTemplate, ReasoningRule::AsAsked, &off, template(false), true);
        check(ChatTemplate, ReasoningRule::AsAsked, &low, template(true), false);
    }
}
