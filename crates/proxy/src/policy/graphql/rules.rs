//! Who may ask for which fields.

use std::collections::HashSet;

use model::policy::graphql::GraphqlFieldRule;
use serde_json::Value;

use crate::{
    call::Call,
    expression::{Expression, Scope},
    policy::facts::facts,
    template,
};

/// Rules by the bit that operations touch them by.
pub(super) struct Rules(Vec<Rule>);

/// The steps to a claim.
type Claim = Box<[Box<str>]>;

struct Rule {
    allow: HashSet<Box<str>>,
    scopes: Vec<String>,
    claims: Vec<(Claim, Vec<String>)>,
    when: Option<Expression>,
}

impl Rules {
    pub(super) fn compile(settings: &[GraphqlFieldRule]) -> Result<Self, String> {
        let rules = settings.iter().enumerate().map(|(place, rule)| {
            let when = rule.when.as_deref().map(|text| Expression::condition(text, Scope::Call));
            let wrong = |error| format!("`fields[{place}].when`: {error}");
            let path = |claim: &String| claim.split('.').map(Into::into).collect();
            Ok(Rule {
                allow: rule.allow.iter().map(|name| name.as_str().into()).collect(),
                scopes: rule.scopes.clone(),
                claims: rule.claims.iter().map(|(claim, values)| (path(claim), values.clone())).collect(),
                when: when.transpose().map_err(wrong)?,
            })
        });
        rules.collect::<Result<_, String>>().map(Self)
    }

    /// The place of the first rule of those that are touched that does not let this caller in.
    pub(super) fn broken(&self, touched: u64, call: &Call) -> Option<usize> {
        let is_touched = |place: usize| touched >> place & 1 == 1;
        self.0
            .iter()
            .enumerate()
            .find(|(place, rule)| is_touched(*place) && !rule.lets_in(call))
            .map(|(place, _)| place)
    }
}

impl Rule {
    fn lets_in(&self, call: &Call) -> bool {
        let is_named = || {
            call.consumer.as_ref().is_some_and(|consumer| {
                self.allow.contains(&*consumer.name)
                    || consumer.groups.iter().any(|group| self.allow.contains(group))
            })
        };
        let when = |when: &Expression| when.eval_bool(&facts(call));
        (self.allow.is_empty() || is_named())
            && self.scopes.iter().all(|scope| has_scope(call, scope))
            && self.claims.iter().all(|(path, values)| has_claim(call, path, values))
            && self.when.as_ref().is_none_or(when)
    }
}

/// Whether a scope is there: in `scope`, a text with spaces (RFC 8693 §4.2), or in `scp`, a list.
fn has_scope(call: &Call, scope: &str) -> bool {
    let Some(claims) = call.claims.as_deref() else { return false };
    ["scope", "scp"].iter().any(|name| match claims.get(*name) {
        Some(Value::String(text)) => text.split(' ').any(|one| one == scope),
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(scope)),
        _ => false,
    })
}

fn has_claim(call: &Call, path: &[Box<str>], values: &[String]) -> bool {
    let is_one = |value: &Value| match value {
        Value::Null | Value::Array(_) | Value::Object(_) => false,
        value => {
            template::claim_text(value).is_some_and(|text| values.iter().any(|wanted| **wanted == *text))
        }
    };
    match call.claims.as_deref().and_then(|claims| template::claim(claims, path)) {
        Some(Value::Array(all)) => all.iter().any(is_one),
        Some(value) => is_one(value),
        None => false,
    }
}
