//! Finds the doors that a door may meet, so that comparing two configurations does not take every pair.

use std::collections::HashMap;

use super::{door::Door, host::Host, path::Paths};

/// Literal segments by which doors are told apart at most, so that no path makes the tree deep.
const SEGMENTS_MAX: usize = 32;

/// Doors by their host and by the literal segments that their paths begin with.
#[derive(Default)]
pub(super) struct Index<'d> {
    hosts: HashMap<&'d Host, Node<'d>>,
}

#[derive(Default)]
struct Node<'d> {
    /// Doors whose literal segments end here, by their place in the order of matching.
    here: Vec<usize>,
    below: HashMap<&'d str, Node<'d>>,
}

impl<'d> Index<'d> {
    pub(super) fn new(doors: &'d [Door]) -> Self {
        let mut index = Self::default();
        for (at, door) in doors.iter().enumerate() {
            let mut node = index.hosts.entry(&door.host).or_default();
            for segment in door.paths.literals().take(SEGMENTS_MAX) {
                node = node.below.entry(segment).or_default();
            }
            node.here.push(at);
        }
        index
    }

    /// Places of all doors that may have a request in common with this host and path, and of some more.
    pub(super) fn near(&self, host: &Host, paths: &Paths) -> Vec<usize> {
        let mut found = Vec::new();
        match host {
            // A name has few patterns above it.
            Host::Exact(name) => {
                let above = name.match_indices('.').map(|(dot, _)| Host::Below(name[dot + 1..].to_owned()));
                for host in above.chain([host.clone(), Host::Any]) {
                    self.hosts.get(&host).into_iter().for_each(|node| node.near(paths, &mut found));
                }
            }
            Host::Below(_) | Host::Any => {
                let met = self.hosts.iter().filter(|(other, _)| other.meets(host));
                met.for_each(|(_, node)| node.near(paths, &mut found));
            }
        }
        found
    }
}

impl Node<'_> {
    fn near(&self, paths: &Paths, found: &mut Vec<usize>) {
        let mut node = self;
        for segment in paths.literals().take(SEGMENTS_MAX) {
            found.extend(&node.here);
            match node.below.get(segment) {
                Some(next) => node = next,
                None => return,
            }
        }
        if paths.is_one() && paths.literals().count() <= SEGMENTS_MAX {
            found.extend(&node.here)
        } else {
            node.all(found)
        }
    }

    fn all(&self, found: &mut Vec<usize>) {
        found.extend(&self.here);
        self.below.values().for_each(|node| node.all(found));
    }
}
