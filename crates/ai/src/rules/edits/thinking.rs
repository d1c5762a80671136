//! How much is thought, in the words of each dialect, as a target takes it.

use serde_json::{Value, json};

use super::fields::camel;
use crate::{
    canon::Effort,
    dialect,
    rules::{ReasoningRule, ReasoningStyle, Rules, nearest},
};

/// What becomes of what a body says of thinking.
#[derive(Debug, PartialEq)]
pub(super) enum Thought {
    Stays,
    /// It goes; whether anything is lost by that.
    Goes(bool),
    Becomes(Value),
    /// The same, and this effort says how much.
    Measured(Value, Option<Effort>),
}

/// `thinking` of Claude's, here and at Bedrock; `most` is the limit of the answer. Where Claude thinks between calls a
/// budget is that of several answers, and may be beyond it (Anthropic: Extended thinking, Interleaved thinking).
pub(super) fn of_claude(said: &Value, rules: &Rules, most: Option<u64>, is_interleaved: bool) -> Thought {
    let kind = said.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "disabled" {
        let is_never_off = match &rules.reasoning {
            ReasoningRule::Effort(known) => !known.contains(&Effort::None),
            ReasoningRule::Budget { can_be_off, .. } => !can_be_off,
            ReasoningRule::AsAsked | ReasoningRule::None => false,
        };
        return if is_never_off { Thought::Goes(true) } else { Thought::Stays };
    }
    if rules.reasoning == ReasoningRule::None {
        return Thought::Goes(true);
    }
    let asked = said.get("budget_tokens").and_then(Value::as_u64);
    let with = |budget: u64| {
        let mut said = said.clone();
        said["type"] = "enabled".into();
        said["budget_tokens"] = budget.into();
        said
    };
    let below = |budget: u64| match most {
        Some(most) if !is_interleaved => dialect::budget_below(budget, most),
        _ => Some(budget),
    };
    let fitting = match (kind, &rules.reasoning, asked) {
        ("enabled", ReasoningRule::Effort(known), asked) if rules.no_thinking_budget => {
            let mut adaptive = said.clone();
            adaptive["type"] = "adaptive".into();
            if let Some(fields) = adaptive.as_object_mut() {
                fields.shift_remove("budget_tokens");
            }
            return Thought::Measured(
                adaptive,
                asked.and_then(|asked| nearest(Effort::of_budget(asked), known)),
            );
        }
        ("adaptive", ReasoningRule::Budget { least, most, .. }, _) => {
            below(Effort::Medium.budget().clamp(*least, (*most).max(*least)))
        }
        ("enabled", ReasoningRule::Budget { least, most, .. }, Some(asked)) => {
            let bounded = asked.clamp(*least, (*most).max(*least));
            below(if is_interleaved { asked.max(*least) } else { bounded })
        }
        ("enabled", _, Some(asked)) => below(asked),
        _ => return Thought::Stays,
    };
    match fitting {
        Some(budget) if kind == "enabled" && asked == Some(budget) => Thought::Stays,
        Some(budget) => Thought::Becomes(with(budget)),
        None => Thought::Goes(true),
    }
}

/// `thinkingConfig` of Gemini's: a budget or a level, and never both (Gemini API: Gemini 3 developer guide).
pub(super) fn of_gemini(said: &Value, rules: &Rules) -> Thought {
    let Some(fields) = said.as_object() else { return Thought::Stays };
    let name = |wanted: &str| fields.keys().find(|name| camel(name) == wanted).cloned();
    let (budget_name, level_name) = (name("thinkingBudget"), name("thinkingLevel"));
    let value = |name: &Option<String>| name.as_ref().and_then(|name| fields.get(name));
    let budget = value(&budget_name).and_then(Value::as_i64);
    let level = value(&level_name).and_then(Value::as_str).map(str::to_ascii_lowercase);
    let level = level.as_deref().and_then(Effort::from_word);
    let with = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut fields = fields.clone();
        change(&mut fields);
        Thought::Becomes(fields.into())
    };
    match &rules.reasoning {
        ReasoningRule::AsAsked => Thought::Stays,
        ReasoningRule::None => Thought::Goes(budget != Some(0)),
        ReasoningRule::Effort(known) => match (level, &level_name, &budget_name) {
            (Some(level), Some(name), budget_name) => {
                let next = nearest(level, known).unwrap_or(level);
                if next == level && budget_name.is_none() {
                    return Thought::Stays;
                }
                with(&|fields| {
                    budget_name.iter().for_each(|name| drop(fields.shift_remove(name)));
                    fields.insert(name.clone(), next.word().to_ascii_uppercase().into());
                })
            }
            // A budget alone is taken (the same page).
            _ => Thought::Stays,
        },
        ReasoningRule::Budget { least, most, can_be_off } => {
            let within = |budget: u64| budget.clamp(*least, (*most).max(*least));
            let wish = match (budget, level) {
                // As it likes.
                (Some(..=-1), _) => None,
                (Some(0), _) if *can_be_off => None,
                (Some(budget), _) => Some(within(budget.unsigned_abs())),
                (None, Some(level)) => Some(within(level.budget())),
                (None, None) => None,
            };
            let wish = wish.and_then(|wish| i64::try_from(wish).ok());
            if level_name.is_none() && (wish.is_none() || wish == budget) {
                return Thought::Stays;
            }
            with(&|fields| {
                level_name.iter().for_each(|name| drop(fields.shift_remove(name)));
                if let Some(wish) = wish {
                    let name = budget_name.clone().unwrap_or_else(|| "thinkingBudget".to_owned());
                    fields.insert(name, wish.into());
                }
            })
        }
    }
}

/// `thinking` of Cohere's, whose budget is below the limit of the answer.
pub(super) fn of_cohere(said: &Value, rules: &Rules, most: Option<u64>) -> Thought {
    let is_off = said.get("type").is_some_and(|kind| kind == "disabled");
    if rules.reasoning == ReasoningRule::None {
        return if is_off { Thought::Stays } else { Thought::Goes(true) };
    }
    let Some(asked) = said.get("token_budget").and_then(Value::as_u64).filter(|_| !is_off) else {
        return Thought::Stays;
    };
    let bounded = match &rules.reasoning {
        ReasoningRule::Budget { least, most, .. } => asked.clamp(*least, (*most).max(*least)),
        _ => asked,
    };
    let room = most.map(|most| most.saturating_sub(1)).filter(|room| *room > 0);
    let fitting = room.map_or(bounded, |room| bounded.min(room));
    if fitting == asked {
        return Thought::Stays;
    }
    let mut said = said.clone();
    said["token_budget"] = fitting.into();
    Thought::Becomes(said)
}

/// `reasoning` of Responses.
pub(super) fn of_responses(said: &Value, rules: &Rules) -> Thought {
    let asks_nothing = said.get("effort").is_some_and(|effort| effort == "none")
        || said.as_object().is_some_and(|fields| fields.values().all(Value::is_null));
    match rules.reasoning {
        ReasoningRule::None => Thought::Goes(!asks_nothing),
        _ => Thought::Stays,
    }
}

/// `thinking` and `reasoning`, as providers of OpenAI's dialect have them.
pub(super) fn of_chat(name: &str, said: &Value, rules: &Rules) -> Thought {
    let (style, of_switch) = match name {
        "thinking" => (ReasoningStyle::Thinking, said.get("type").map(|kind| kind != "disabled")),
        _ => (ReasoningStyle::Reasoning, said.get("enabled").and_then(Value::as_bool)),
    };
    if rules.reasoning_style != style {
        return Thought::Stays;
    }
    let is_on = of_switch != Some(false) && said.get("effort").is_none_or(|effort| effort != "none");
    match &rules.reasoning {
        ReasoningRule::None if is_on => Thought::Goes(true),
        ReasoningRule::Effort(known) if !is_on && !known.contains(&Effort::None) => Thought::Goes(true),
        ReasoningRule::Budget { least, most, .. } if name == "thinking" => {
            let Some(asked) = said.get("budget_tokens").and_then(Value::as_u64) else {
                return Thought::Stays;
            };
            let budget = asked.clamp(*least, (*most).max(*least));
            if budget == asked {
                return Thought::Stays;
            }
            Thought::Becomes({
                let mut said = said.clone();
                said["budget_tokens"] = json!(budget);
                said
            })
        }
        _ => Thought::Stays,
    }
}
