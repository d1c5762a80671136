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

/// Where an expression finds what is no argument.
const OTHER_FACTS: [&str; 5] = ["request", "client", "consumer", "jwt", "tool"];

/// The names of arguments in an expression: members of whatever is not known to be something else, and all texts.
fn words(text: &str) -> Vec<Box<str>> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut words: Vec<Box<str>> = Vec::new();
    // Whether the chain of members that goes on here is of other facts.
    let mut is_other = false;
    let mut behind = ' ';
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if !is_word(letter) {
            if letter != '.' {
                is_other = false;
            }
            if !letter.is_whitespace() {
                behind = letter;
            }
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            continue;
        }
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let is_member = behind == '.';
        behind = 'a';
        if !is_member {
            is_other = OTHER_FACTS.contains(&word);
        } else if !is_other && !after.trim_start().starts_with('(') {
            words.push(word.into());
        }
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
pub(in crate::handler) fn unfit(hint: &str) -> Failure {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_expression_asks_for_is_a_name_of_arguments() {
        for (text, want) in [
            ("arguments.amount <= 100", &["amount"][..]),
            ("arguments.message.parts[0].data.amount < 100", &["message", "parts", "data", "amount"]),
            ("arguments.items.all(i, i.price < 5 && i . count > 0)", &["items", "price", "count"]),
            ("arguments[\"a-b\"].c == 'd'", &["c", "a-b", "d"]),
            ("consumer.name == jwt.claims.sub && size(arguments.to) < 3", &["to"]),
            ("arguments.of[consumer.name].limit > 1.5", &["of", "limit", "5"]),
        ] {
            let found = words(text);
            assert_eq!(found.iter().map(|word| &**word).collect::<Vec<_>>(), want, "{text}");
        }
    }
}
