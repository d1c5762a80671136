//! What a call costs, exactly: integers of picodollars, and no floating point anywhere.
//!
//! A price that is not told is never taken for nought: cached tokens cost what fresh ones do, sound and pictures what
//! text does. Only a model without any price for the prompt or the answer counts that side as free; whether such a
//! model may be called under a budget is for the caller to say ([`Prices::is_unknown`]).

mod parts;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
};

use self::parts::{Parts, Resolved};
use crate::{
    canon::Usage,
    catalogue::{Price, Prices, Rates},
};

/// An amount in picodollars (10⁻¹² US dollars). Sums stop at the most that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Cost(pub u128);

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    fn of(count: u64, price: Price) -> Self {
        Self(u128::from(count) * u128::from(price.0))
    }

    /// In millionths of a dollar, rounded up: what ledgers of lesser precision hold.
    pub fn microdollars(self) -> u128 {
        self.0.div_ceil(1_000_000)
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Self::add)
    }
}

/// Dollars, with as many places as there are, and at least two: `0.000125`, `1.50`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DOLLAR: u128 = 1_000_000_000_000;
        let places = format!("{:012}", self.0 % DOLLAR);
        let shown = places.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", self.0 / DOLLAR, &places[..shown])
    }
}

/// The class of service that a call was served in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Class {
    /// The common one.
    #[default]
    Standard,
    /// In a batch, later.
    Batch,
    /// Slower, cheaper.
    Flex,
    /// First, dearer.
    Priority,
}

impl Class {
    /// From the word that providers use for it (`service_tier`).
    pub fn from_word(word: &str) -> Self {
        match word {
            "batch" => Self::Batch,
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            _ => Self::Standard,
        }
    }

    /// The rates of this class; those of the common one where a model has none of its own.
    fn rates(self, prices: &Prices) -> &Rates {
        let own = match self {
            Self::Standard => None,
            Self::Batch => prices.batch.as_ref(),
            Self::Flex => prices.flex.as_ref(),
            Self::Priority => prices.priority.as_ref(),
        };
        own.unwrap_or(&prices.tokens)
    }
}

/// What is counted beside tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Units {
    /// Pictures made.
    pub images: u64,
    /// Seconds of sound or film sent, begun ones whole.
    pub seconds_in: u64,
    /// Seconds of sound or film made, begun ones whole.
    pub seconds_out: u64,
    /// Letters to be spoken.
    pub characters: u64,
    /// Queries.
    pub queries: u64,
    /// Pages read.
    pub pages: u64,
}

/// What a call cost by its tokens.
pub fn cost(prices: &Prices, usage: &Usage, class: Class) -> Cost {
    let parts = Parts::of(usage);
    Resolved::of(tier(class.rates(prices), usage.input)).cost(&parts)
}

/// What a call cost by its units.
pub fn cost_of_units(prices: &Prices, units: &Units) -> Cost {
    let units_of = [
        (units.images, prices.units.image),
        (units.seconds_in, prices.units.second_in),
        (units.seconds_out, prices.units.second_out),
        (units.characters, prices.units.character),
        (units.queries, prices.units.query),
        (units.pages, prices.units.page),
    ];
    units_of.into_iter().map(|(count, price)| Cost::of(count, price.unwrap_or_default())).sum()
}

/// What may occur in a call, for [`reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Most tokens of the prompt.
    pub input: u64,
    /// Most tokens of the answer, thoughts among them.
    pub output: u64,
    /// The prompt may hold sound.
    pub audio_in: bool,
    /// The answer may hold sound.
    pub audio_out: bool,
    /// The prompt may hold pictures that are counted apart.
    pub images_in: bool,
    /// The answer may hold pictures.
    pub images_out: bool,
    /// The prompt may be cached for an hour. For minutes it may be anyway: providers do so unasked.
    pub long_cache: bool,
    /// The class of service that is asked for. What is served in a cheaper one is settled later.
    pub class: Class,
}

/// The most that a call within bounds can cost. A long prompt's rates count only where the prompt can be so long; and
/// the provider may serve in the common class what was asked for in another.
pub fn reserve(prices: &Prices, bounds: &Bounds) -> Cost {
    let classes = [bounds.class.rates(prices), &prices.tokens];
    classes
        .into_iter()
        .flat_map(|rates| reachable(rates, bounds.input))
        .map(|rates| dearest(rates, bounds))
        .max()
        .unwrap_or_default()
}

fn dearest(rates: &Rates, bounds: &Bounds) -> Cost {
    let rates = Resolved::of(rates);
    let may = |allowed: bool, price: Price| if allowed { price } else { Price(0) };
    let input = rates
        .input
        .max(rates.cache_read)
        .max(rates.cache_write)
        .max(may(bounds.long_cache, rates.cache_write_long))
        .max(may(bounds.audio_in, rates.input_audio))
        .max(may(bounds.images_in, rates.input_image));
    let output = rates
        .output
        .max(rates.thought)
        .max(may(bounds.audio_out, rates.output_audio))
        .max(may(bounds.images_out, rates.output_image));
    Cost::of(bounds.input, input) + Cost::of(bounds.output, output)
}

/// The rates for a prompt of this length.
fn tier(rates: &Rates, input: u64) -> &Rates {
    rates.above.iter().rfind(|tier| input > tier.over).unwrap_or(rates)
}

/// The rates that a prompt of at most this length may meet.
fn reachable(rates: &Rates, input: u64) -> impl Iterator<Item = &Rates> {
    std::iter::once(rates).chain(rates.above.iter().filter(move |tier| input > tier.over))
}
