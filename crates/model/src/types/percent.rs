//! A share of a hundred.

use std::{fmt, str::FromStr};

/// A number from 0 to 100; fractions are fine, so is a trailing `%`.
#[derive(Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Percent(pub f64);

impl Percent {
    /// All of it.
    pub const ALL: Self = Self(100.0);

    /// The number, 0 to 100.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The share, 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
        match number {
            Ok(number) if (0.0..=100.0).contains(&number) => Ok(Self(number)),
            _ => Err(format!("`{text}` is not a number from 0 to 100")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

super::textual!(Percent, "Percent", {
    "type": ["number", "string"],
    "format": "percent",
    "minimum": 0,
    "maximum": 100,
    "pattern": "^[0-9]+(\\.[0-9]+)?%?$",
});
