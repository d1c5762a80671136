//! Conditions over who calls and with which arguments, and arguments that a server could read otherwise than they do.

use serde_json::{Map, Value};

use super::{answer, message::quoted, strict};
use crate::{
    call::Call,
    expression::{Expression, Scope, ToolFacts},
    failure::{Failure, Problem, Stage},
    policy::facts::facts,
};

/// A compiled condition.
pub(in crate::handler) struct Allow {
    expression: Expression,
    /// It cannot be decided before there are any.
    pub(in crate::handler) asks_for_arguments: bool,
    /// Names of arguments that it may ask about.
    words: Vec<Box<str>>,
}

/// The names of arguments in an expression: what follows `arguments`, and all texts.
fn words(text: &str) -> Vec<Box<str>> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut words: Vec<Box<str>> = Vec::new();
    for rest in text.split("arguments").skip(1) {
        let chain: &str =
            &rest[..rest.find(|letter| !is_word(letter) && letter != '.').unwrap_or(rest.len())];
        words.extend(chain.split('.').filter(|word| !word.is_empty()).map(Into::into));
    }
    for mark in ['"', '\''] {
        words.extend(text.split(mark).skip(1).step_by(2).map(Into::into));
    }
    words
}

/// A member, at any depth, that a reader without regard to case takes for one of these names.
pub(super) fn lookalike<'v>(value: &'v Value, known: &[Box<str>]) -> Option<&'v str> {
    match value {
        Value::Object(members) => in_members(members, known),
        Value::Array(items) => items.iter().find_map(|item| lookalike(item, known)),
        _ => None,
    }
}

fn in_members<'v>(members: &'v Map<String, Value>, known: &[Box<str>]) -> Option<&'v str> {
    members.iter().find_map(|(name, value)| {
        let names = known.iter().map(|known| &**known);
        if strict::resembles(name, names) { Some(name.as_str()) } else { lookalike(value, known) }
    })
}

/// What arguments that cannot be taken are answered.
pub(super) fn unfit(hint: &str) -> Failure {
    Failure::client(Stage::Policy, Problem::Invalid).with_hint(hint).with_rpc_code(answer::INVALID_PARAMS)
}

impl Allow {
    pub(in crate::handler) fn compile(text: &str) -> Result<Self, String> {
        Ok(Self {
            expression: Expression::condition(text, Scope::Tool)?,
            asks_for_arguments: text.contains("arguments"),
            words: words(text),
        })
    }

    /// Refuses arguments of which a server could read something else than the condition does, if it asks for any.
    pub(in crate::handler) fn judgeable(&self, arguments: &Map<String, Value>) -> Result<(), Failure> {
        if !self.asks_for_arguments {
            return Ok(());
        }
        match in_members(arguments, &self.words) {
            Some(name) => Err(unfit(&format!("{} is spelled otherwise than in the rule", quoted(name)))),
            None => Ok(()),
        }
    }

    pub(in crate::handler) fn holds(
        &self,
        call: &Call,
        name: &str,
        arguments: Option<&Map<String, Value>>,
    ) -> bool {
        let mut facts = facts(call);
        facts.tool = Some(ToolFacts { name, arguments });
        self.expression.eval_bool(&facts)
    }
}
