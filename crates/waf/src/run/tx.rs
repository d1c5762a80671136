//! Variables of TX: by name, bounded.

use std::{collections::HashMap, rc::Rc};

use foldhash::fast::RandomState;

/// Variables that a call may have, and bytes of one.
const VARIABLES_MAX: usize = 4_096;
const VALUE_BYTES_MAX: usize = 1 << 20;

/// Variables by name, lower-case, in the order in which they came.
#[derive(Default)]
pub(super) struct Named {
    places: HashMap<Rc<str>, usize, RandomState>,
    all: Vec<(Rc<str>, Option<Vec<u8>>)>,
}

impl Named {
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.places.get(name).and_then(|at| self.all.get(*at)).and_then(|(_, value)| value.as_deref())
    }

    /// Sets a variable whose name is in lower case.
    pub(super) fn set(&mut self, name: &str, mut value: Vec<u8>) {
        value.truncate(VALUE_BYTES_MAX);
        if let Some(at) = self.places.get(name) {
            if let Some((_, kept)) = self.all.get_mut(*at) {
                *kept = Some(value);
            }
        } else if self.all.len() < VARIABLES_MAX {
            let name: Rc<str> = name.into();
            self.places.insert(name.clone(), self.all.len());
            self.all.push((name, Some(value)));
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some((_, value)) = self.places.get(name).and_then(|at| self.all.get_mut(*at)) {
            *value = None;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Rc<str>, &[u8])> {
        self.all.iter().filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
    }
}
