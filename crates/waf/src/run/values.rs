//! Texts of a call and what they become, each found out once.

use std::{collections::HashMap, rc::Rc};

use foldhash::fast::RandomState;

use super::Transaction;
use crate::{
    request::Pair,
    rules::{Bits, NO_STEP, Rules},
    variable::Variable,
};

/// A value: its name and its text.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Rc<[u8]>,
    pub(super) text: u32,
}

/// Bytes of changed texts that are kept, so that rules share them.
const CHANGED_BYTES_MAX: usize = 8 << 20;
/// From this number on texts are changed ones.
const CHANGED: u32 = 1 << 31;

/// Texts by number.
#[derive(Default)]
pub(super) struct Texts {
    all: Vec<Text>,
    /// What they became: it can be found out again.
    derived: Vec<Text>,
    derived_bytes: usize,
    changed: HashMap<(u32, u16), u32, RandomState>,
}

struct Text {
    bytes: Rc<[u8]>,
    bits: Option<Rc<Bits>>,
}

impl Texts {
    pub(super) fn add(&mut self, bytes: &[u8]) -> u32 {
        self.all.push(Text { bytes: bytes.into(), bits: None });
        (self.all.len() - 1) as u32
    }

    fn get(&self, text: u32) -> Option<&Text> {
        match text.checked_sub(CHANGED) {
            Some(derived) => self.derived.get(derived as usize),
            None => self.all.get(text as usize),
        }
    }

    fn add_changed(&mut self, bytes: &[u8]) -> u32 {
        self.derived_bytes += bytes.len() + size_of::<Text>();
        self.derived.push(Text { bytes: bytes.into(), bits: None });
        CHANGED | (self.derived.len() - 1) as u32
    }

    /// Forgets what texts became.
    pub(super) fn forget(&mut self) {
        self.derived = Vec::new();
        self.derived_bytes = 0;
        self.changed = HashMap::default();
    }

    /// Forgets it when it is more than is kept.
    pub(super) fn keep_within_bounds(&mut self) {
        if self.derived_bytes > CHANGED_BYTES_MAX {
            self.forget();
        }
    }

    pub(super) fn bytes(&self, text: u32) -> Rc<[u8]> {
        self.get(text).map_or_else(|| Rc::from(&b""[..]), |text| text.bytes.clone())
    }

    pub(super) fn len(&self, text: u32) -> usize {
        self.get(text).map_or(0, |text| text.bytes.len())
    }

    /// The text after a step of transformations; adds what that took to `steps`.
    pub(super) fn after(&mut self, text: u32, step: u16, rules: &Rules, steps: &mut usize) -> u32 {
        if step == NO_STEP {
            return text;
        }
        if let Some(known) = self.changed.get(&(text, step)) {
            return *known;
        }
        let Some(&(before, transform)) = rules.steps.get(usize::from(step)) else { return text };
        let from = self.after(text, before, rules, steps);
        let bytes = self.bytes(from);
        *steps += bytes.len();
        // What stays as it is shares what is found out about it.
        let to = transform.apply(&bytes).map_or(from, |changed| self.add_changed(&changed));
        self.changed.insert((text, step), to);
        to
    }

    /// The scan of a text.
    pub(super) fn bits(&mut self, text: u32, rules: &Rules, steps: &mut usize) -> Rc<Bits> {
        let text = match text.checked_sub(CHANGED) {
            Some(derived) => self.derived.get_mut(derived as usize),
            None => self.all.get_mut(text as usize),
        };
        let Some(text) = text else { return Rc::new(rules.scan.none()) };
        let bytes = &text.bytes;
        text.bits
            .get_or_insert_with(|| {
                *steps += bytes.len();
                Rc::new(rules.scan.bits(bytes))
            })
            .clone()
    }
}

impl Transaction {
    /// The values of a variable that the call itself brings.
    pub(super) fn list(&self, variable: Variable) -> &[Entry] {
        self.lists.get(variable as usize).map_or(&[], Vec::as_slice)
    }

    pub(super) fn push(&mut self, variable: Variable, entry: Entry) {
        if let Some(list) = self.lists.get_mut(variable as usize) {
            list.push(entry);
        }
    }

    /// Sets a variable of one value.
    pub(super) fn single(&mut self, variable: Variable, value: &[u8]) {
        let text = self.texts.add(value);
        if let Some(list) = self.lists.get_mut(variable as usize) {
            list.clear();
            list.push(Entry { name: Rc::from(&b""[..]), text });
        }
    }

    /// Adds a value to a variable of many, and its name to that of names.
    pub(super) fn named(&mut self, variable: Variable, names: Option<Variable>, name: &[u8], value: &[u8]) {
        let (name, text): (Rc<[u8]>, u32) = (name.into(), self.texts.add(value));
        self.push(variable, Entry { name: name.clone(), text });
        if let Some(names) = names {
            let text = self.texts.add(&name);
            self.push(names, Entry { name, text });
        }
    }

    /// Adds arguments to ARGS, to ARGS_NAMES, and to their own; gives their size.
    pub(super) fn arguments(&mut self, pairs: &[Pair], own: [Variable; 2]) -> usize {
        let mut size = 0;
        for (name, value) in pairs {
            size += name.len() + value.len();
            let (name, text): (Rc<[u8]>, u32) = (name.as_slice().into(), self.texts.add(value));
            let entry = Entry { name: name.clone(), text };
            self.push(Variable::Args, entry.clone());
            self.push(own[0], entry);
            let entry = Entry { text: self.texts.add(&name), name };
            self.push(Variable::ArgsNames, entry.clone());
            self.push(own[1], entry);
        }
        size
    }
}
