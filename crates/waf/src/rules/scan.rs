//! One scan of a text for the literals of every rule, so that only patterns that may be found are tried.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use crate::{operator, pattern::Required};

/// A set of bits.
pub(crate) type Bits = Box<[u64]>;

/// Whether a bit is set.
pub(crate) fn has_bit(bits: &[u64], bit: u16) -> bool {
    bits.get(usize::from(bit) / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

/// The literals of all rules in one automaton.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    automaton: Option<AhoCorasick>,
    /// The bits of each literal.
    owners: Vec<Box<[u16]>>,
    words: usize,
}

/// A scan while it is gathered.
#[derive(Default)]
pub(super) struct Gathering {
    literals: HashMap<Vec<u8>, Vec<u16>>,
    bits: u16,
}

impl Gathering {
    /// A bit for whoever requires one of these literals.
    pub(super) fn add<'l>(&mut self, literals: impl Iterator<Item = &'l [u8]>) -> Option<u16> {
        let bit = self.bits;
        self.bits = bit.checked_add(1)?;
        for literal in literals {
            self.literals.entry(literal.to_ascii_lowercase()).or_default().push(bit);
        }
        Some(bit)
    }

    pub(super) fn add_required(&mut self, required: &Required) -> Option<u16> {
        self.add(required.iter().map(Vec::as_slice))
    }

    pub(super) fn finish(self) -> Result<Scan, String> {
        let words = usize::from(self.bits).div_ceil(64);
        let mut all: Vec<(Vec<u8>, Vec<u16>)> = self.literals.into_iter().collect();
        all.sort();
        let literals: Vec<&[u8]> = all.iter().map(|(literal, _)| literal.as_slice()).collect();
        let automaton = if literals.is_empty() { None } else { Some(operator::automaton(&literals)?) };
        Ok(Scan { automaton, owners: all.into_iter().map(|(_, bits)| bits.into()).collect(), words })
    }
}

impl Scan {
    /// The bits of a text.
    pub(crate) fn bits(&self, text: &[u8]) -> Bits {
        let mut bits = vec![0_u64; self.words].into_boxed_slice();
        let Some(automaton) = &self.automaton else { return bits };
        for found in automaton.find_overlapping_iter(text) {
            for bit in self.owners.get(found.pattern().as_usize()).into_iter().flatten() {
                if let Some(word) = bits.get_mut(usize::from(*bit) / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
        }
        bits
    }

    /// No bit at all.
    pub(crate) fn none(&self) -> Bits {
        vec![0; self.words].into_boxed_slice()
    }
}
