//! What callers can do with the new doors that they could not with the old ones.
//!
//! Of two doors that have requests in common, the one that is tried first answers them. So each new door is held
//! against every old one that it meets: what both have in common was answered by the old one and is answered by the
//! new one, but for what a door before either of them takes away. What is left and asks for less than before is
//! exposure, and so is what no old door took. Where doors meet only in part, and that cannot be told for sure, they
//! count as meeting: a word too many is better than a hole.

use std::collections::BTreeSet;

use super::{
    Exposure,
    door::{Door, Doors},
    index::Index,
};

/// Methods as bits: the first is every method that no door names.
type Methods = u128;

/// Bits for named methods; the names beyond them count as the first bit where doors may meet and not at all where one
/// takes away from another.
const NAMED_MAX: usize = 127;

pub(super) fn exposure(old: &Doors, new: &Doors) -> Vec<Exposure> {
    let names: BTreeSet<&str> =
        old.all.iter().chain(&new.all).flat_map(|door| &door.methods).map(String::as_str).collect();
    let comparison = Comparison {
        old: Side::of(&old.all),
        new: Side::of(&new.all),
        known: old.known_from(new),
        names: names.into_iter().take(NAMED_MAX).collect(),
    };
    let mut found = Vec::new();
    for at in 0..new.all.len() {
        comparison.judge(at, &mut found);
    }
    found.sort_by(|a, b| {
        (&a.listener, &a.host, &a.path, &a.methods, &a.route).cmp(&(
            &b.listener,
            &b.host,
            &b.path,
            &b.methods,
            &b.route,
        ))
    });
    found.dedup();
    found
}

struct Comparison<'d> {
    old: Side<'d>,
    new: Side<'d>,
    /// For each place of the new doors, at which old places their callers could be as well.
    known: Vec<Vec<bool>>,
    names: Vec<&'d str>,
}

/// The doors of one configuration.
struct Side<'d> {
    doors: &'d [Door],
    index: Index<'d>,
}

impl<'d> Side<'d> {
    fn of(doors: &'d [Door]) -> Self {
        Self { doors, index: Index::new(doors) }
    }

    /// The doors before one at the same place that take all that it has in common with another.
    fn before<'a>(&'a self, at: usize, one: &'a Door, other: &'a Door) -> impl Iterator<Item = &'a Door> {
        let (host, paths) = one.narrower(other);
        let place = self.doors[at].place;
        let near = self.index.near(host, paths).into_iter().filter(move |index| *index < at);
        let doors = near.map(|index| &self.doors[index]);
        doors.filter(move |door| door.place == place && door.covers_common(one, other))
    }
}

impl Comparison<'_> {
    fn judge(&self, at: usize, found: &mut Vec<Exposure>) {
        let door = &self.new.doors[at];
        let taken = self.new.before(at, door, door).fold(0, |taken, before| taken | self.taken(before));
        let reached = self.met(door) & !taken;
        if reached == 0 {
            return;
        }
        let is_known = |old: &Door| self.known[door.place][old.place];
        let near: Vec<usize> = self.old.index.near(&door.host, &door.paths);
        let old = |index: &usize| &self.old.doors[*index];
        let covering = near.iter().map(old).filter(|old| is_known(old) && old.covers(door));
        let fresh = reached & !covering.fold(0, |taken, old| taken | self.taken(old));
        if fresh != 0 {
            found.push(door.exposure(None, self.words(fresh)));
        }
        for index in near {
            let was = &self.old.doors[index];
            if !is_known(was) || !door.meets(was) || !door.identity.is_weaker_than(&was.identity) {
                continue;
            }
            let mut common = reached & self.met(was);
            for before in self.old.before(index, door, was).chain(self.new.before(at, door, was)) {
                common &= !self.taken(before);
            }
            if common != 0 {
                found.push(door.exposure(Some(was), self.words(common)));
            }
        }
    }

    /// The methods that may come through a door.
    fn met(&self, door: &Door) -> Methods {
        self.bits(door, 1)
    }

    /// The methods that a door takes for sure.
    fn taken(&self, door: &Door) -> Methods {
        self.bits(door, 0)
    }

    fn bits(&self, door: &Door, unknown: Methods) -> Methods {
        if door.methods.is_empty() {
            return Methods::MAX;
        }
        let bit = |method: &String| match self.names.binary_search(&method.as_str()) {
            Ok(at) => 1 << (at + 1),
            Err(_) => unknown,
        };
        door.methods.iter().map(bit).fold(0, |all, bit| all | bit)
    }

    /// Methods by name; none when others come through, too.
    fn words(&self, methods: Methods) -> Vec<String> {
        if methods & 1 != 0 {
            return Vec::new();
        }
        let names = self.names.iter().enumerate();
        names.filter(|(at, _)| methods >> (at + 1) & 1 != 0).map(|(_, name)| (*name).to_owned()).collect()
    }
}
