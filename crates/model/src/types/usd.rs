//! Money: US dollars, exactly.

use std::{fmt, str::FromStr};

/// Picodollars in a dollar.
const DOLLAR: u128 = 1_000_000_000_000;
/// Places behind the point that a picodollar has.
const PLACES: usize = 12;
/// The most that is taken for an amount: a billion dollars.
const MOST: u128 = 1_000_000_000 * DOLLAR;

/// An amount of US dollars such as `5`, `0.25` or `"12.50"`, held in picodollars (10⁻¹²) so that sums are exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(u128);

impl Usd {
    /// From picodollars.
    pub const fn of(picodollars: u128) -> Self {
        Self(picodollars)
    }

    /// In picodollars.
    pub const fn picodollars(self) -> u128 {
        self.0
    }
}

impl FromStr for Usd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an amount of dollars such as `5` or `0.25`");
        let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(rest) || rest.len() > PLACES {
            return Err(wrong());
        }
        let amount: u128 = format!("{whole}{rest:0<PLACES$}").parse().map_err(|_| wrong())?;
        if amount > MOST {
            return Err(format!("`{text}` dollars are more than a billion"));
        }
        Ok(Self(amount))
    }
}

/// With as many places as there are, and at least two: `0.000125`, `1.50`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Less than a dollar fits, and is quicker to take apart.
        let mut rest = u64::try_from(self.0 % DOLLAR).unwrap_or_default();
        let mut places = [b'0'; PLACES];
        for place in places.iter_mut().rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        let zeros = places.iter().rev().take_while(|place| **place == b'0').count();
        let shown = places.get(..(PLACES - zeros).max(2)).unwrap_or_default();
        let shown = std::str::from_utf8(shown).unwrap_or_default();
        match u64::try_from(self.0 / DOLLAR) {
            Ok(dollars) => write!(f, "{dollars}.{shown}"),
            Err(_) => write!(f, "{}.{shown}", self.0 / DOLLAR),
        }
    }
}

impl fmt::Debug for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${self}")
    }
}

super::textual!(Usd, "Usd", {
    "type": ["number", "string"],
    "format": "usd",
    "minimum": 0,
    "pattern": "^[0-9]+(\\.[0-9]{1,12})?$",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_read_back() {
        for (text, picodollars, shown) in [
            ("5", 5 * DOLLAR, "5.00"),
            ("0.25", DOLLAR / 4, "0.25"),
            ("0.000000000001", 1, "0.000000000001"),
            ("12.50", 25 * DOLLAR / 2, "12.50"),
            ("0", 0, "0.00"),
        ] {
            let usd: Usd = text.parse().expect(text);
            assert_eq!((usd.picodollars(), usd.to_string().as_str()), (picodollars, shown));
            assert_eq!(shown.parse(), Ok(usd));
        }
        for text in ["", ".5", "5.", "-1", "+1", "1e3", "0.0000000000001", "1000000001", "1,5", "٣"] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }
}
