//! Shares: whose turn it is among classes that wait, so that each gets turns in proportion to its weight.
//!
//! Virtual time: a turn costs its class the inverse of its weight, and the class that has spent the least is next. A class
//! that had nobody waiting has saved nothing up, and none starves.

/// What a turn costs a class of weight 1.
const TURN: u64 = 1 << 20;
/// Where the clock begins anew, long before it would overflow.
const CLOCK_MAX: u64 = 1 << 60;

/// Who is next among classes of these weights.
#[derive(Debug, Clone)]
pub struct Shares {
    /// What a turn costs each class.
    prices: Vec<u64>,
    /// What the turns of each class have cost.
    spent: Vec<u64>,
    /// Where the class stood that was served last.
    clock: u64,
}

impl Shares {
    /// Classes of these weights; one of 0 counts as 1.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let prices: Vec<u64> =
            weights.into_iter().map(|weight| (TURN / u64::from(weight.max(1))).max(1)).collect();
        Self { spent: vec![0; prices.len()], prices, clock: 0 }
    }

    /// Somebody waits in a class in which nobody did.
    pub fn awakes(&mut self, class: usize) {
        if let Some(spent) = self.spent.get_mut(class) {
            *spent = (*spent).max(self.clock);
        }
    }

    /// The one of these classes that is next; of equals the first.
    pub fn next(&self, among: impl IntoIterator<Item = usize>) -> Option<usize> {
        among.into_iter().min_by_key(|class| self.spent.get(*class).copied().unwrap_or(u64::MAX))
    }

    /// A class has its turn.
    pub fn charge(&mut self, class: usize) {
        let (Some(spent), Some(price)) = (self.spent.get_mut(class), self.prices.get(class)) else { return };
        self.clock = self.clock.max(*spent);
        *spent = spent.saturating_add(*price);
        if self.clock > CLOCK_MAX {
            for spent in &mut self.spent {
                *spent = spent.saturating_sub(self.clock);
            }
            self.clock = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(shares: &mut Shares, count: usize, among: &[usize]) -> Vec<usize> {
        let mut turns = vec![0; 8];
        for _ in 0..count {
            let next = shares.next(among.iter().copied()).expect("somebody");
            shares.charge(next);
            turns[next] += 1;
        }
        turns
    }

    #[test]
    fn turns_follow_weights() {
        let mut shares = Shares::new([5, 3, 2]);
        assert_eq!(turns(&mut shares, 1000, &[0, 1, 2])[..3], [500, 300, 200]);
    }

    #[test]
    fn a_class_that_was_away_has_saved_nothing_up() {
        let mut shares = Shares::new([1, 1]);
        turns(&mut shares, 1000, &[0]);
        shares.awakes(1);
        let after = turns(&mut shares, 10, &[0, 1]);
        assert_eq!(after[..2], [5, 5]);
    }

    #[test]
    fn the_clock_never_runs_out() {
        let mut shares = Shares::new([1, 2]);
        shares.clock = CLOCK_MAX;
        shares.spent = vec![CLOCK_MAX + 1, CLOCK_MAX + 1];
        assert_eq!(turns(&mut shares, 300, &[0, 1])[..2], [100, 200]);
        assert!(shares.clock < CLOCK_MAX);
    }

    proptest::proptest! {
        #[test]
        fn each_gets_its_share_to_within_a_turn(weights in proptest::collection::vec(1_u32..50, 2..6)) {
            let mut shares = Shares::new(weights.iter().copied());
            let all: Vec<usize> = (0..weights.len()).collect();
            let sum: u32 = weights.iter().sum();
            let got = turns(&mut shares, 20 * sum as usize, &all);
            for (class, weight) in weights.iter().enumerate() {
                let due = 20 * i64::from(*weight);
                proptest::prop_assert!((got[class] as i64 - due).abs() <= 2, "{got:?} of {weights:?}");
            }
        }
    }
}
