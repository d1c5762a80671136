//! Prices as the catalogue holds them: whole picodollars, so that sums are exact.
//!
//! A dollar per million tokens is a million picodollars per token, and a picodollar per token is the smallest price
//! that a list price with six places can be.

use serde::{Deserialize, Deserializer, de};

/// Picodollars (10⁻¹² US dollars) for one token or one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Price(pub u64);

/// The highest price of a token that is taken for a price: $10,000 per million.
const PER_TOKEN_MAX: u64 = 10_000_000_000;
/// The highest price of a unit that is taken for a price: $1,000.
const PER_UNIT_MAX: u64 = 1_000_000_000_000_000;

impl Price {
    /// From US dollars per million tokens, such as `0.075`.
    pub fn per_million_tokens(text: &str) -> Result<Self, String> {
        let price = decimal(text, 6)?;
        if price > PER_TOKEN_MAX {
            return Err(format!("`{text}` dollars per million tokens is no price: $10,000 is the most"));
        }
        Ok(Self(price))
    }

    /// From US dollars per unit, such as `0.04`.
    pub fn per_unit(text: &str) -> Result<Self, String> {
        let price = decimal(text, 12)?;
        if price > PER_UNIT_MAX {
            return Err(format!("`{text}` dollars per unit is no price: $1,000 is the most"));
        }
        Ok(Self(price))
    }
}

/// A decimal number without sign or exponent, times ten to the power of `places`, exactly.
fn decimal(text: &str, places: usize) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is not a price: expected digits with at most {places} places, such as `0.25`");
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > places {
        return Err(wrong());
    }
    format!("{whole}{rest:0<places$}").parse().map_err(|_| wrong())
}

/// What a token costs, by its kind. `None` is not told; [`cost`](crate::cost) says what stands in for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Rates {
    /// A token of the prompt.
    #[serde(rename = "in", deserialize_with = "per_token")]
    pub input: Option<Price>,
    /// A token of the answer.
    #[serde(rename = "out", deserialize_with = "per_token")]
    pub output: Option<Price>,
    /// A token read from the prompt cache.
    #[serde(rename = "read", deserialize_with = "per_token")]
    pub cache_read: Option<Price>,
    /// A token written to the prompt cache.
    #[serde(rename = "write", deserialize_with = "per_token")]
    pub cache_write: Option<Price>,
    /// A token written to the prompt cache for an hour.
    #[serde(rename = "write-long", deserialize_with = "per_token")]
    pub cache_write_long: Option<Price>,
    /// A token of sound in the prompt.
    #[serde(rename = "audio-in", deserialize_with = "per_token")]
    pub input_audio: Option<Price>,
    /// A token of sound in the answer.
    #[serde(rename = "audio-out", deserialize_with = "per_token")]
    pub output_audio: Option<Price>,
    /// A token of a picture in the prompt.
    #[serde(rename = "image-in", deserialize_with = "per_token")]
    pub input_image: Option<Price>,
    /// A token of a picture in the answer.
    #[serde(rename = "image-out", deserialize_with = "per_token")]
    pub output_image: Option<Price>,
    /// A token of thought, where it costs something else than the answer.
    #[serde(rename = "thought", deserialize_with = "per_token")]
    pub thought: Option<Price>,
    /// In a tier: the prompt is longer than this many tokens.
    pub over: u64,
    /// Rates of long prompts, shortest first. The longest that fits holds for the whole call.
    pub above: Vec<Rates>,
}

/// What a model costs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prices {
    /// Tokens, in the common class of service.
    pub tokens: Rates,
    /// Tokens, in a batch.
    pub batch: Option<Rates>,
    /// Tokens, when they may take their time.
    pub flex: Option<Rates>,
    /// Tokens, when they go first.
    pub priority: Option<Rates>,
    /// Whatever is not paid by tokens.
    pub units: UnitPrices,
}

/// What is not paid by tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct UnitPrices {
    /// A picture made.
    #[serde(deserialize_with = "per_unit")]
    pub image: Option<Price>,
    /// A second of sound or film sent.
    #[serde(deserialize_with = "per_unit")]
    pub second_in: Option<Price>,
    /// A second of sound or film made.
    #[serde(deserialize_with = "per_unit")]
    pub second_out: Option<Price>,
    /// A letter to be spoken.
    #[serde(deserialize_with = "per_unit")]
    pub character: Option<Price>,
    /// A query, such as one reranking.
    #[serde(deserialize_with = "per_unit")]
    pub query: Option<Price>,
    /// A page read.
    #[serde(deserialize_with = "per_unit")]
    pub page: Option<Price>,
}

fn per_token<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Price>, D::Error> {
    let text = String::deserialize(from)?;
    Price::per_million_tokens(&text).map(Some).map_err(de::Error::custom)
}

fn per_unit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Price>, D::Error> {
    let text = String::deserialize(from)?;
    Price::per_unit(&text).map(Some).map_err(de::Error::custom)
}

impl Prices {
    /// Nothing is told about any price.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact() {
        for (text, want) in
            [("2.5", 2_500_000), ("0", 0), ("0.000001", 1), ("10000", 10_000_000_000), ("00.30", 300_000)]
        {
            assert_eq!(Price::per_million_tokens(text), Ok(Price(want)), "{text}");
        }
        assert_eq!(Price::per_unit("0.04"), Ok(Price(40_000_000_000)));
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "0.0000001",
            "10000.1",
            "99999999999999999999",
            "1,5",
            "٣",
        ] {
            assert!(Price::per_million_tokens(text).is_err(), "{text}");
        }
    }
}
