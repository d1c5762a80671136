//! What a match changes: variables, collections, and how the rest of the call is judged.

use std::{borrow::Cow, rc::Rc};

use super::{Transaction, rule::Current};
use crate::{
    collections::{Change, Collections},
    operator::number,
    rules::{Effect, Setting},
    template::{Piece, Template},
    variable::Variable,
};

/// Longest text that macros may make.
const TEXT_BYTES_MAX: usize = 64 << 10;

impl Transaction {
    pub(super) fn effect(&mut self, effect: &Effect, current: &Current<'_>) {
        match effect {
            Effect::Control(control) => self.control(control),
            Effect::Begin { collection, key } => {
                let key = Collections::key(*collection, &self.text(key, current));
                self.begun.retain(|(begun, _)| begun != collection);
                self.begun.push((*collection, key));
            }
            Effect::Expire { collection, name, seconds } => {
                let (name, seconds) = (self.name(name, current), number(&self.text(seconds, current)));
                let change = Change::Expires(u64::try_from(seconds).unwrap_or_default());
                self.change(*collection, &name, &change);
            }
            Effect::Set { collection: Variable::Tx, name, how } => {
                let name = self.name(name, current);
                let value = match how {
                    Setting::Gone => return self.set_tx(&name, None),
                    Setting::To(text) => self.text(text, current).into_owned(),
                    Setting::Plus(text) => self.sum(&name, number(&self.text(text, current))),
                    Setting::Minus(text) => {
                        self.sum(&name, number(&self.text(text, current)).checked_neg().unwrap_or_default())
                    }
                };
                self.set_tx(&name, Some(value));
            }
            Effect::Set { collection, name, how } => {
                let name = self.name(name, current);
                let value;
                let change = match how {
                    Setting::Gone => Change::Gone,
                    Setting::To(text) => {
                        value = self.text(text, current).into_owned();
                        Change::To(&value)
                    }
                    Setting::Plus(text) => Change::Plus(number(&self.text(text, current))),
                    Setting::Minus(text) => {
                        Change::Plus(number(&self.text(text, current)).checked_neg().unwrap_or_default())
                    }
                };
                self.change(*collection, &name, &change);
            }
        }
    }

    fn sum(&self, name: &str, count: i64) -> Vec<u8> {
        let before = self.tx_value(name).map(|value| number(&value)).unwrap_or_default();
        before.saturating_add(count).to_string().into_bytes()
    }

    fn set_tx(&mut self, name: &str, value: Option<Vec<u8>>) {
        let caught = one_digit(name).and_then(|digit| self.caught.get_mut(digit));
        match (caught, value) {
            (Some(caught), value) => *caught = value.map(Rc::from),
            (None, Some(value)) => self.tx.set(name, value),
            (None, None) => self.tx.remove(name),
        }
    }

    fn change(&self, collection: Variable, name: &str, change: &Change<'_>) {
        if let Some((_, key)) = self.begun.iter().find(|(begun, _)| *begun == collection) {
            let timeout = self.rules.collection_timeout.saturating_mul(1_000);
            self.collections.change(key, name, change, self.now, timeout);
        }
    }

    fn name<'t>(&self, template: &'t Template, current: &Current<'_>) -> Cow<'t, str> {
        match template.fixed() {
            Some(text) if !text.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Borrowed(text),
            Some(text) => Cow::Owned(text.to_ascii_lowercase()),
            None => {
                let text = self.text(template, current);
                Cow::Owned(String::from_utf8_lossy(&text).to_ascii_lowercase())
            }
        }
    }

    /// A text with its macros replaced.
    pub(super) fn text<'t>(&self, template: &'t Template, current: &Current<'_>) -> Cow<'t, [u8]> {
        if let Some(text) = template.fixed() {
            return Cow::Borrowed(text.as_bytes());
        }
        let mut out = Vec::new();
        for piece in template.pieces() {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable, key) => {
                    out.extend_from_slice(
                        &self.value(*variable, key.as_deref(), current).unwrap_or_default(),
                    );
                }
            }
            if out.len() > TEXT_BYTES_MAX {
                out.truncate(TEXT_BYTES_MAX);
                break;
            }
        }
        Cow::Owned(out)
    }

    pub(super) fn tx_value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match one_digit(name) {
            Some(digit) => self.caught.get(digit)?.as_deref().map(Cow::Borrowed),
            None => self.tx.get(name).map(Cow::Borrowed),
        }
    }

    /// The value that a macro means: of many the first.
    fn value(&self, variable: Variable, key: Option<&str>, current: &Current<'_>) -> Option<Cow<'_, [u8]>> {
        match variable {
            Variable::Tx => self.tx_value(key?),
            Variable::MatchedVar => self.matched.as_ref().map(|(_, value)| Cow::Borrowed(&**value)),
            Variable::MatchedVarName => self.matched.as_ref().map(|(name, _)| Cow::Borrowed(&**name)),
            Variable::Rule => Some(Cow::Owned(match key? {
                "id" => current.chain.id.to_string().into_bytes(),
                "msg" => current.chain.message.as_bytes().to_vec(),
                "severity" => current.chain.severity?.to_string().into_bytes(),
                _ => return None,
            })),
            Variable::Ip | Variable::Global | Variable::Session | Variable::User | Variable::Resource => {
                let (_, of) = self.begun.iter().find(|(begun, _)| *begun == variable)?;
                self.collections.get(of, key?, self.now).map(Cow::Owned)
            }
            Variable::Duration => Some(Cow::Owned(self.duration())),
            Variable::HighestSeverity => {
                Some(Cow::Owned(self.highest.unwrap_or(255).to_string().into_bytes()))
            }
            variable => {
                let is_meant = |name: &[u8]| key.is_none_or(|key| key.as_bytes().eq_ignore_ascii_case(name));
                let entry = self.list(variable).iter().find(|entry| is_meant(&entry.name))?;
                Some(Cow::Owned(self.texts.bytes(entry.text).to_vec()))
            }
        }
    }

    /// Something that differs from call to call: rules draw samples by the last digits of DURATION.
    pub(super) fn duration(&self) -> Vec<u8> {
        let sum = self.unique.iter().fold(self.now, |sum, byte| sum.wrapping_mul(31) ^ u64::from(*byte));
        (sum % 1_000_000).to_string().into_bytes()
    }
}

pub(super) fn one_digit(name: &str) -> Option<usize> {
    match name.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(usize::from(digit - b'0')),
        _ => None,
    }
}
