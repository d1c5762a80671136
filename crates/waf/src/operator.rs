//! Operators: the questions that rules ask of a text.

use std::net::IpAddr;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::{
    injection,
    pattern::{Pattern, Searched},
    template::Template,
};

/// Phrases that a rule may look for.
const PHRASES_MAX: usize = 100_000;

/// A compiled operator.
#[derive(Debug)]
pub(crate) enum Operator {
    /// `@unconditionalMatch`.
    Always,
    /// `@noMatch`, and what cannot be asked here, which a warning has named.
    Never,
    /// `@rx`.
    Rx(Pattern),
    /// `@rx` with macros, which is compiled when it is asked.
    RxOf(Template),
    /// `@pm`, `@pmFromFile`.
    Phrases(AhoCorasick),
    /// `@eq`, `@ge`, `@gt`, `@le`, `@lt`.
    Number(Order, Template),
    /// `@streq` and the like.
    Text(How, Template),
    /// `@ipMatch`, `@ipMatchFromFile`.
    Networks(Vec<(IpAddr, u8)>),
    /// `@validateByteRange`: which bytes are let in.
    Bytes(Box<[bool; 256]>),
    /// `@validateUrlEncoding`.
    UrlEncoding,
    /// `@validateUtf8Encoding`.
    Utf8,
    /// `@detectSQLi`.
    Sqli,
    /// `@detectXSS`.
    Xss,
    /// `@verifyCC`: a pattern whose digits pass Luhn's check.
    CardNumber(Pattern),
}

/// A comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    AtLeast,
    MoreThan,
    AtMost,
    LessThan,
}

/// A comparison of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Equals,
    Contains,
    ContainsWord,
    Within,
    BeginsWith,
    EndsWith,
}

/// The answer of an operator.
#[derive(Debug)]
pub(crate) enum Answer {
    No,
    Yes,
    /// With what it caught: the whole first, then its groups.
    Caught(Vec<Option<(usize, usize)>>),
    /// With a text that is not of the text that was asked.
    Named(Vec<u8>),
    /// It gave up.
    OutOfSteps,
}

impl Operator {
    /// The operator of `@pm`.
    pub(crate) fn phrases(phrases: &[&[u8]]) -> Result<Self, String> {
        if phrases.is_empty() {
            return Err("expected at least one phrase".into());
        }
        if phrases.len() > PHRASES_MAX {
            return Err(format!("expected {PHRASES_MAX} phrases at most, found {}", phrases.len()));
        }
        automaton(phrases).map(Self::Phrases)
    }

    /// The operator of `@validateByteRange`.
    pub(crate) fn bytes(text: &str) -> Result<Self, String> {
        let mut table = Box::new([false; 256]);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u8>();
            let (Ok(first), Ok(last)) = (number(first), number(last)) else {
                return Err(format!("expected numbers from 0 to 255 and ranges of them, found `{part}`"));
            };
            for byte in first..=last {
                table[usize::from(byte)] = true;
            }
        }
        Ok(Self::Bytes(table))
    }

    /// The operator of `@ipMatch`.
    pub(crate) fn networks<'t>(networks: impl Iterator<Item = &'t str>) -> Result<Self, String> {
        networks.map(network).collect::<Result<_, _>>().map(Self::Networks)
    }

    /// Asks. `argument` is the operator's own text with its macros replaced, where it has one.
    pub(crate) fn ask(&self, text: &[u8], argument: &[u8], wants_groups: bool) -> Answer {
        let yes = |is_so: bool| if is_so { Answer::Yes } else { Answer::No };
        match self {
            Self::Always => Answer::Yes,
            // Of a pattern with macros, the transaction asks the compiled one.
            Self::Never | Self::RxOf(_) => Answer::No,
            Self::Rx(pattern) => ask_pattern(pattern, text, wants_groups),
            Self::Phrases(automaton) => match automaton.find(text) {
                None => Answer::No,
                Some(found) => Answer::Caught(vec![Some((found.start(), found.end()))]),
            },
            Self::Number(order, _) => {
                let (left, right) = (number(text), number(argument));
                yes(match order {
                    Order::Equal => left == right,
                    Order::AtLeast => left >= right,
                    Order::MoreThan => left > right,
                    Order::AtMost => left <= right,
                    Order::LessThan => left < right,
                })
            }
            Self::Text(how, _) => yes(compare(*how, text, argument)),
            Self::Networks(networks) => yes(is_in(networks, text)),
            Self::Bytes(table) => {
                yes(text.iter().any(|byte| !table.get(usize::from(*byte)).copied().unwrap_or_default()))
            }
            Self::UrlEncoding => yes(!is_url_encoded(text)),
            Self::Utf8 => yes(std::str::from_utf8(text).is_err()),
            Self::Sqli => injection::sqli(text).map_or(Answer::No, Answer::Named),
            Self::Xss => yes(injection::xss(text)),
            Self::CardNumber(pattern) => match pattern.search(text) {
                Searched::No => Answer::No,
                Searched::OutOfSteps => Answer::OutOfSteps,
                Searched::Yes(groups) => {
                    let whole = groups.first().copied().flatten();
                    let digits = whole.and_then(|(start, end)| text.get(start..end)).unwrap_or_default();
                    if passes_luhn(digits) { Answer::Caught(groups) } else { Answer::No }
                }
            },
        }
    }

    /// The text with macros that it compares with.
    pub(crate) fn argument(&self) -> Option<&Template> {
        match self {
            Self::Number(_, template) | Self::Text(_, template) | Self::RxOf(template) => Some(template),
            _ => None,
        }
    }
}

/// Asks a pattern; groups cost more than a yes.
pub(crate) fn ask_pattern(pattern: &Pattern, text: &[u8], wants_groups: bool) -> Answer {
    if !wants_groups {
        return match pattern.is_match(text) {
            None => Answer::OutOfSteps,
            Some(true) => Answer::Yes,
            Some(false) => Answer::No,
        };
    }
    match pattern.search(text) {
        Searched::No => Answer::No,
        Searched::Yes(groups) => Answer::Caught(groups),
        Searched::OutOfSteps => Answer::OutOfSteps,
    }
}

/// Finds phrases without regard to case.
pub(crate) fn automaton(phrases: &[&[u8]]) -> Result<AhoCorasick, String> {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(phrases)
        .map_err(|error| error.to_string())
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let text = text.trim();
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let wrong = || format!("expected an address or a network such as 192.0.2.0/24, found `{text}`");
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(whole), |prefix| prefix.parse().map_err(|_| wrong()))?;
    if prefix > whole { Err(wrong()) } else { Ok((address, prefix)) }
}

fn is_in(networks: &[(IpAddr, u8)], text: &[u8]) -> bool {
    let Some(address) = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<IpAddr>().ok())
    else {
        return false;
    };
    let address = address.to_canonical();
    networks.iter().any(|(network, prefix)| match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32 - u32::from(*prefix);
            a.to_bits().checked_shr(shift).unwrap_or_default()
                == b.to_bits().checked_shr(shift).unwrap_or_default()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128 - u32::from(*prefix);
            a.to_bits().checked_shr(shift).unwrap_or_default()
                == b.to_bits().checked_shr(shift).unwrap_or_default()
        }
        _ => false,
    })
}

/// The number that a text begins with, 0 when it begins with none.
pub(crate) fn number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    sign * digits.fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
}

fn compare(how: How, text: &[u8], argument: &[u8]) -> bool {
    match how {
        How::Equals => text == argument,
        How::Contains => memchr::memmem::find(text, argument).is_some(),
        How::Within => memchr::memmem::find(argument, text).is_some(),
        How::BeginsWith => text.starts_with(argument),
        How::EndsWith => text.ends_with(argument),
        How::ContainsWord => {
            let is_word =
                |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            argument.is_empty()
                || memchr::memmem::find_iter(text, argument).any(|at| {
                    let before = at.checked_sub(1).and_then(|before| text.get(before));
                    !is_word(before) && !is_word(text.get(at + argument.len()))
                })
        }
    }
}

fn is_url_encoded(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).all(|at| {
        let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit);
        is_digit(at + 1) && is_digit(at + 2)
    })
}

fn passes_luhn(text: &[u8]) -> bool {
    let digits: Vec<u32> = text.iter().filter_map(|byte| char::from(*byte).to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_yes(operator: &Operator, text: &str, argument: &str) -> bool {
        !matches!(operator.ask(text.as_bytes(), argument.as_bytes(), true), Answer::No | Answer::OutOfSteps)
    }

    #[test]
    fn texts_and_numbers_are_compared() {
        let none = || Template::new("").expect("a template");
        for (how, text, argument, want) in [
            (How::Within, "GET", "GET POST", true),
            (How::Within, "", "GET", true),
            (How::Contains, "abc", "b", true),
            (How::ContainsWord, "a select b", "select", true),
            (How::ContainsWord, "selected", "select", false),
            (How::BeginsWith, "abc", "ab", true),
            (How::EndsWith, "abc", "bc", true),
            (How::Equals, "abc", "abc", true),
        ] {
            assert_eq!(
                is_yes(&Operator::Text(how, none()), text, argument),
                want,
                "{how:?} {text} {argument}"
            );
        }
        for (order, text, argument, want) in [
            (Order::Equal, "5", "5", true),
            (Order::Equal, "x", "0", true),
            (Order::AtLeast, "5", "5", true),
            (Order::MoreThan, "5", "5", false),
            (Order::LessThan, "-1", "0", true),
            (Order::AtMost, "99999999999999999999", "1", false),
        ] {
            assert_eq!(is_yes(&Operator::Number(order, none()), text, argument), want, "{order:?} {text}");
        }
    }

    #[test]
    fn bytes_addresses_encodings_and_cards_are_judged() {
        let bytes = Operator::bytes("32-126, 9,10").expect("ranges");
        assert!(!is_yes(&bytes, "plain\n", ""));
        assert!(is_yes(&bytes, "\0", ""));
        assert!(Operator::bytes("300").is_err());
        let networks =
            Operator::networks(["192.0.2.0/24", "2001:db8::/32", "127.0.0.1"].into_iter()).expect("networks");
        for (address, want) in [
            ("192.0.2.9", true),
            ("::ffff:192.0.2.9", true),
            ("192.0.3.1", false),
            ("2001:db8::1", true),
            ("x", false),
        ] {
            assert_eq!(is_yes(&networks, address, ""), want, "{address}");
        }
        assert!(is_yes(&Operator::UrlEncoding, "a%zz", "") && !is_yes(&Operator::UrlEncoding, "a%20", ""));
        let card = Operator::CardNumber(Pattern::new(r"\d{13,16}", false, 1_000).expect("a pattern"));
        assert!(is_yes(&card, "4111111111111111", "") && !is_yes(&card, "4111111111111112", ""));
        let phrases = Operator::phrases(&[b"Nikto", b"sqlmap"]).expect("phrases");
        assert!(is_yes(&phrases, "a NIKTO b", "") && !is_yes(&phrases, "curl", ""));
    }
}
