//! Numbers that look random and follow from a seed (SplitMix64, Steele, Lea and Flood 2014).

/// A stream of numbers.
pub(crate) struct Random(u64);

impl Random {
    /// The stream of one round of a run.
    pub(crate) fn new(seed: u64, round: u64) -> Self {
        let mut start = Self(seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(start.next() ^ round)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below a bound; 0 when there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// One of several, if there are any.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}
