//! How the provider behaves: how long it thinks, how fast it speaks, how much it says, and what goes wrong.

use std::time::Duration;

/// How the provider behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conduct {
    /// From the request to the first token.
    pub(crate) first: Duration,
    /// Tokens a second after that; 0 is all at once.
    pub(crate) rate: f64,
    /// Tokens of an answer.
    pub(crate) tokens: u64,
    /// Answer with this error.
    pub(crate) error: Option<u16>,
    /// Of a thousand requests, this many are answered with 500.
    pub(crate) errors_per_mille: u64,
    /// Break the connection after so many tokens.
    pub(crate) cut: Option<u64>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { first: Duration::ZERO, rate: 0.0, tokens: 24, error: None, errors_per_mille: 0, cut: None }
    }
}

impl Conduct {
    /// The same with what a text such as `ttft=300ms, rate=50, tokens=20, error=429, cut=5` says.
    pub(crate) fn with(mut self, text: &str) -> Result<Self, String> {
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("`{pair}`: expected name=value"))?;
            let wrong = || format!("`{pair}`: not a value of `{name}`");
            match name.trim() {
                "ttft" => {
                    let (number, unit) = match value.trim() {
                        text if text.ends_with("ms") => (text.trim_end_matches("ms"), 1),
                        text if text.ends_with('s') => (text.trim_end_matches('s'), 1000),
                        text => (text, 1),
                    };
                    let number: u64 = number.parse().map_err(|_| wrong())?;
                    self.first = Duration::from_millis(number.checked_mul(unit).ok_or_else(wrong)?);
                }
                "rate" => {
                    self.rate = value.trim().parse().map_err(|_| wrong())?;
                    if !(self.rate >= 0.0 && self.rate.is_finite()) {
                        return Err(wrong());
                    }
                }
                "tokens" => {
                    self.tokens = value.trim().parse().map_err(|_| wrong())?;
                    if self.tokens > TOKENS_MAX {
                        return Err(format!("`{pair}`: {TOKENS_MAX} at most"));
                    }
                }
                "error" => {
                    let status = value.trim().parse().map_err(|_| wrong())?;
                    if !(400..600).contains(&status) {
                        return Err(wrong());
                    }
                    self.error = Some(status);
                }
                "errors" => self.errors_per_mille = value.trim().parse().map_err(|_| wrong())?,
                "cut" => self.cut = Some(value.trim().parse().map_err(|_| wrong())?),
                _ => {
                    return Err(format!(
                        "`{name}`: expected `ttft`, `rate`, `tokens`, `error`, `errors` or `cut`"
                    ));
                }
            }
        }
        Ok(self)
    }

    /// The time from one token to the next.
    pub(crate) fn pause(&self) -> Duration {
        if self.rate > 0.0 { Duration::from_secs_f64(1.0 / self.rate) } else { Duration::ZERO }
    }
}

/// Tokens of an answer, at most.
const TOKENS_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_changes_what_it_names() {
        let conduct = Conduct::default().with("ttft=300ms, rate=50,tokens=7").expect("a conduct");
        assert_eq!(conduct.first, Duration::from_millis(300));
        assert_eq!((conduct.pause(), conduct.tokens), (Duration::from_millis(20), 7));
        assert_eq!(conduct.with("").expect("the same"), conduct);
        for wrong in [
            "x",
            "x=1",
            "rate=-1",
            "rate=nan",
            "error=200",
            "tokens=100001",
            "ttft=soon",
            "ttft=5m",
            "ttft=s",
        ] {
            assert!(Conduct::default().with(wrong).is_err(), "{wrong}");
        }
    }
}
