//! Rules as they are configured, and as they are run.

use std::sync::Arc;

use ai::guard::{
    detect::Kind,
    patterns::{Patterns, Wanted},
    rule::{Action, Check, Rule, Rules},
};
use model::policy::guardrails::{GuardMode, GuardRule, GuardSide, OnGuardError, PersonalData};

use super::{
    Guard,
    outside::{Ask, Outside},
    schema::Form,
};

impl Guard {
    /// Compiles rules. The error is a sentence for the operator.
    pub(crate) fn compile(settings: &model::policy::Guardrails) -> Result<Self, String> {
        let mut rules = Vec::new();
        let (mut outside, mut forms) = (Vec::new(), Vec::new());
        for rule in &settings.rules {
            if let Some(check) = check(rule) {
                rules.push(Rule {
                    name: rule.name.as_str().into(),
                    check,
                    action: action(rule.mode),
                    on_request: rule.on != GuardSide::Answer,
                    on_answer: rule.on != GuardSide::Request && rule.injection.is_none(),
                });
            }
            outside.extend(ask(rule));
            if let Some(form) = &rule.json_schema {
                forms.push(
                    Form::compile(&rule.name, action(rule.mode), form)
                        .map_err(|error| format!("`rules.{}.jsonSchema`: {error}", rule.name))?,
                );
            }
        }
        let names: Vec<Arc<str>> = rules.iter().map(|rule| rule.name.clone()).collect();
        let rules =
            Rules::compile(rules, settings.hold_back.get()).map_err(|(at, error)| match names.get(at) {
                Some(name) => format!("`{}`: {error}", place(settings, name)),
                None => format!("`rules`: {error}"),
            })?;
        Ok(Self {
            rules: Arc::new(rules),
            outside,
            forms,
            record_text: settings.record_text,
            message: settings.message.clone(),
            judge_at_most: usize::try_from(settings.judge_at_most.bytes()).unwrap_or(usize::MAX),
        })
    }
}

/// Where a rule is wrong: the pattern, where one by itself cannot be compiled.
fn place(settings: &model::policy::Guardrails, name: &str) -> String {
    let rule = settings.rules.iter().find(|rule| rule.name == name);
    let mut patterns = rule.and_then(|rule| rule.patterns.as_ref()).into_iter().flatten();
    let is_wrong = |pattern: &String| Patterns::compile(&[Wanted::Pattern(pattern.clone())]).is_err();
    match patterns.position(is_wrong) {
        Some(index) => format!("rules.{name}.patterns[{index}]"),
        None => format!("rules.{name}"),
    }
}

fn action(mode: GuardMode) -> Action {
    match mode {
        GuardMode::Block => Action::Block,
        GuardMode::Mask => Action::Mask,
        GuardMode::Flag => Action::Flag,
    }
}

fn check(rule: &GuardRule) -> Option<Check> {
    let least = rule.at_least.unwrap_or(1);
    if let Some(kinds) = &rule.personal_data {
        return Some(Check::Kinds(kinds.iter().copied().map(kind).collect()));
    }
    if let Some(words) = &rule.words {
        return Some(Check::Patterns(words.iter().cloned().map(Wanted::Phrase).collect(), least));
    }
    if let Some(patterns) = &rule.patterns {
        return Some(Check::Patterns(patterns.iter().cloned().map(Wanted::Pattern).collect(), least));
    }
    if let Some(injection) = &rule.injection {
        return Some(Check::Injection(injection.threshold));
    }
    if let Some(most) = rule.max_characters {
        return Some(Check::Length(most));
    }
    rule.languages.clone().map(Check::Languages)
}

fn kind(kind: PersonalData) -> Kind {
    match kind {
        PersonalData::Email => Kind::Email,
        PersonalData::Phone => Kind::Phone,
        PersonalData::Card => Kind::Card,
        PersonalData::Iban => Kind::Iban,
        PersonalData::NationalId => Kind::NationalId,
        PersonalData::Secret => Kind::Secret,
    }
}

fn ask(rule: &GuardRule) -> Option<Outside> {
    let (ask, timeout, on_error) = if let Some(moderation) = &rule.moderation {
        (Ask::Moderation(moderation.clone()), moderation.timeout, moderation.on_error)
    } else if let Some(webhook) = &rule.webhook {
        (Ask::Webhook(webhook.clone()), webhook.timeout, webhook.on_error)
    } else if let Some(judge) = &rule.judge {
        (Ask::Judge(judge.clone()), judge.timeout, judge.on_error)
    } else {
        return None;
    };
    Some(Outside {
        name: rule.name.as_str().into(),
        action: action(rule.mode),
        on_request: rule.on != GuardSide::Answer,
        on_answer: rule.on != GuardSide::Request,
        ask,
        timeout: timeout.get(),
        passes_errors: on_error == OnGuardError::Pass,
    })
}
