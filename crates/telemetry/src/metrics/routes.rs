//! Cells by listener and route: found without making a key, and read in pieces.

use std::{collections::HashMap, sync::Arc};

use super::cells::RouteCells;

/// A hash that is quick rather than safe from collisions by intent: every name here is the configuration's.
pub(super) type Quick = foldhash::fast::FixedState;

/// The cells of all routes that were called.
#[derive(Debug, Default)]
pub(super) struct Routes {
    entries: Vec<Entry>,
    /// Place in `entries`, by listener and by route.
    places: HashMap<Arc<str>, HashMap<Arc<str>, usize, Quick>, Quick>,
}

/// One route on one listener.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) listener: Arc<str>,
    pub(super) route: Arc<str>,
    pub(super) cells: RouteCells,
}

impl Routes {
    /// The cells of a route, made when they are asked for first.
    pub(super) fn cells(&mut self, listener: &Arc<str>, route: &Arc<str>) -> &mut RouteCells {
        let known = self.places.get(&**listener).and_then(|routes| routes.get(&**route)).copied();
        let place = known.unwrap_or_else(|| self.insert(listener, route));
        &mut self.entries[place].cells
    }

    fn insert(&mut self, listener: &Arc<str>, route: &Arc<str>) -> usize {
        let place = self.entries.len();
        self.entries.push(Entry {
            listener: listener.clone(),
            route: route.clone(),
            cells: RouteCells::default(),
        });
        self.places.entry(listener.clone()).or_default().insert(route.clone(), place);
        place
    }

    /// All of them, in the order in which they were called first.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Forgets all but some.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&Entry) -> bool) {
        self.entries.retain(|entry| keeps(entry));
        self.places.clear();
        for (place, entry) in self.entries.iter().enumerate() {
            self.places.entry(entry.listener.clone()).or_default().insert(entry.route.clone(), place);
        }
    }
}
