//! Consistent hashing with a Maglev table (Eisenbud et al., NSDI 2016, §3.4): even shares, few moves.

use super::Member;
use crate::hash::{hash64, mix};

/// Entries of the table: a prime, about a hundred times as many as there are members in most settings.
const TABLE: usize = 65_537;

/// A table of members.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Vec<u32>,
}

impl Maglev {
    pub(super) fn new(members: &[Member]) -> Self {
        let heaviest = members.iter().map(|member| member.weight).max().unwrap_or(0);
        if heaviest == 0 {
            return Self { table: Vec::new() };
        }
        let mut walks: Vec<Walk> = members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.weight > 0)
            .map(|(index, member)| Walk::new(index as u32, member, heaviest))
            .collect();
        let mut table = vec![u32::MAX; TABLE];
        let mut filled = 0;
        'rounds: loop {
            for walk in &mut walks {
                // A member of half the weight claims an entry in every second round.
                walk.credit += walk.share;
                if walk.credit < 1.0 {
                    continue;
                }
                walk.credit -= 1.0;
                let free = walk.next_free(&table);
                table[free] = walk.member;
                filled += 1;
                if filled == TABLE {
                    break 'rounds;
                }
            }
        }
        Self { table }
    }

    pub(super) fn pick(&self, hash: u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        // Where the entry's member is out, its keys spread over the others by further draws.
        let mut word = hash;
        for _ in 0..32 {
            let index = self.table[(word % TABLE as u64) as usize] as usize;
            if usable(index) {
                return Some(index);
            }
            word = mix(word);
        }
        let start = (word % TABLE as u64) as usize;
        let (before, after) = self.table.split_at(start);
        after.iter().chain(before).map(|index| *index as usize).find(|index| usable(*index))
    }
}

/// The order in which a member prefers entries.
struct Walk {
    member: u32,
    at: usize,
    skip: usize,
    share: f64,
    credit: f64,
}

impl Walk {
    fn new(index: u32, member: &Member, heaviest: u32) -> Self {
        let hash = hash64(member.hash_name.as_bytes());
        Self {
            member: index,
            at: (hash % TABLE as u64) as usize,
            skip: (mix(hash) % (TABLE as u64 - 1)) as usize + 1,
            share: f64::from(member.weight) / f64::from(heaviest),
            credit: 0.0,
        }
    }

    /// The next entry of the walk that nobody has claimed; the table's size is prime, so the walk meets all.
    fn next_free(&mut self, table: &[u32]) -> usize {
        while table[self.at] != u32::MAX {
            self.at = (self.at + self.skip) % TABLE;
        }
        self.at
    }
}
