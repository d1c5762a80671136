//! Personal data by their look: each detector judges whether its kind *begins* at the start of a text.
//!
//! That is what lets one set of them serve whole texts and streams: where the text ends before a detector is sure, and
//! more may come, it says so ([`Begins::More`]). A verdict other than that does not change, whatever comes after. Every
//! detector reads a bounded number of bytes.

use super::{ids, secrets};

/// Whether something begins at the start of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// It does not.
    No,
    /// It may: more text decides.
    More,
    /// It does, and is so many bytes long.
    Yes(usize),
}

/// A kind of personal data or secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A key, token or private key.
    Secret,
    /// An address of e-mail.
    Email,
    /// A bank account's number, its check digits right.
    Iban,
    /// A payment card's number, its check digit right and its beginning an issuer's.
    Card,
    /// A number by which a state knows a person.
    NationalId,
    /// A phone number.
    Phone,
}

impl Kind {
    /// Every kind, in the order in which they are looked for.
    pub const ALL: [Self; 6] =
        [Self::Secret, Self::Email, Self::Iban, Self::Card, Self::NationalId, Self::Phone];

    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::NationalId => "national-id",
            Self::Phone => "phone",
        }
    }

    /// The word in placeholders.
    pub fn word(self) -> &'static str {
        match self {
            Self::Secret => "SECRET",
            Self::Email => "EMAIL",
            Self::Iban => "IBAN",
            Self::Card => "CARD",
            Self::NationalId => "NATIONAL_ID",
            Self::Phone => "PHONE",
        }
    }

    /// Whether a digit is among the first three letters of every one.
    pub fn has_a_digit_soon(self) -> bool {
        matches!(self, Self::Iban | Self::Card | Self::NationalId | Self::Phone)
    }

    /// Whether one begins at the start of a text, which `before` stands in front of.
    pub fn begins(self, before: Option<char>, text: &str, more: bool) -> Begins {
        // Nothing of these begins inside a word.
        if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
            return Begins::No;
        }
        match self {
            Self::Secret => secrets::begins(text, more),
            Self::Email => email(text, more),
            Self::Iban => ids::iban(text, more),
            Self::Card => card(text, more),
            Self::NationalId => ids::national(before, text, more),
            Self::Phone => phone(before, text, more),
        }
    }
}

/// Bytes of the part before the `@`; RFC 5321 has 64, and some hosts take more.
const LOCAL_BYTES_MAX: usize = 128;
/// Bytes of a host name (RFC 1035).
const DOMAIN_BYTES_MAX: usize = 255;

fn email(text: &str, more: bool) -> Begins {
    if is_plain_word(text) {
        return Begins::No;
    }
    if !text.starts_with(char::is_alphanumeric) {
        return Begins::No;
    }
    let is_local = |letter: char| letter.is_alphanumeric() || "._%+-'".contains(letter);
    // No further than an address can go: every letter of a text may be the first of one.
    let at = head(text, LOCAL_BYTES_MAX + 1).find(|letter: char| !is_local(letter));
    let Some(at) = at.filter(|at| *at <= LOCAL_BYTES_MAX) else {
        return if at.is_none() && text.len() <= LOCAL_BYTES_MAX { undecided(more) } else { Begins::No };
    };
    let Some(domain) = text[at..].strip_prefix('@') else { return Begins::No };
    let is_domain = |letter: char| letter.is_alphanumeric() || letter == '.' || letter == '-';
    let near = head(domain, DOMAIN_BYTES_MAX + 1);
    let end = near.find(|letter: char| !is_domain(letter)).unwrap_or(near.len());
    if end == domain.len() && end <= DOMAIN_BYTES_MAX && more {
        return Begins::More;
    }
    let whole = domain[..end].trim_end_matches(['.', '-']);
    let Some((name, top)) = whole.rsplit_once('.') else { return Begins::No };
    let good = !name.is_empty()
        && whole.len() <= DOMAIN_BYTES_MAX
        && top.chars().count() >= 2
        && (top.chars().all(char::is_alphabetic) || top.starts_with("xn--"));
    if good { Begins::Yes(at + 1 + whole.len()) } else { Begins::No }
}

/// Whether a text begins with a word of ASCII that ends, near, with what is in no address.
fn is_plain_word(text: &str) -> bool {
    let mut near = text.as_bytes().iter().take(LOCAL_BYTES_MAX);
    near.find(|byte| !IS_LOCAL[usize::from(**byte)]).is_some_and(|end| end.is_ascii() && *end != b'@')
}

/// What may stand before the `@`, of ASCII.
const IS_LOCAL: [bool; 256] = {
    let mut is_local = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let letter = byte as u8;
        is_local[byte] =
            letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'');
        byte += 1;
    }
    is_local
};

/// The beginning of a text, of so many bytes and the rest of a letter at most.
fn head(text: &str, bytes: usize) -> &str {
    let end = (bytes..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

pub(super) fn undecided(more: bool) -> Begins {
    if more { Begins::More } else { Begins::No }
}

/// Digits with separators between them.
pub(super) struct Run {
    /// The digits.
    pub(super) digits: Vec<u8>,
    /// Where each of them ends.
    pub(super) ends: Vec<usize>,
    /// The text went on to its end, so that more digits may come.
    pub(super) open: bool,
}

/// Reads up to `most` digits with at most one separator (two of them in a row where one is a space) between two.
pub(super) fn run(text: &str, separators: &str, most: usize) -> Run {
    let (mut digits, mut ends) = (Vec::new(), Vec::new());
    let mut gap = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_digit() {
            if digits.len() == most {
                return Run { digits, ends, open: false };
            }
            digits.push(byte - b'0');
            ends.push(at + 1);
            gap = 0;
        } else if separators.as_bytes().contains(&byte) && gap < 2 {
            gap += 1;
            if gap == 2 && !text[..=at].ends_with([' ', '(']) && !text[..at].ends_with([' ', ')']) {
                return Run { digits, ends, open: false };
            }
        } else {
            return Run { digits, ends, open: false };
        }
    }
    Run { digits, ends, open: true }
}

/// Whether a number may end here: not before another digit or letter.
pub(super) fn ends_well(text: &str, end: usize) -> bool {
    text[end..].chars().next().is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
}

/// Digits of the longest card number.
const CARD_DIGITS_MAX: usize = 19;

fn card(text: &str, more: bool) -> Begins {
    if !text.starts_with(['2', '3', '4', '5', '6']) {
        return Begins::No;
    }
    let run = run(text, " -", CARD_DIGITS_MAX);
    // Whether the last digit is followed by another is known only with what comes after it.
    if run.open && more {
        return Begins::More;
    }
    // What follows a card is often its date: the longest that is one.
    for count in (13..=run.digits.len()).rev() {
        let end = run.ends[count - 1];
        if ends_well(text, end) && is_issued(&run.digits[..count]) && luhn(&run.digits[..count]) {
            return Begins::Yes(end);
        }
    }
    Begins::No
}

/// Whether an issuer gives numbers of this beginning and length.
fn is_issued(digits: &[u8]) -> bool {
    let first = |count: usize| digits[..count].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
    let length = digits.len();
    match first(4) {
        4000..=4999 => matches!(length, 13 | 16 | 19),
        2221..=2720 | 5100..=5599 => length == 16,
        3400..=3499 | 3700..=3799 => length == 15,
        3000..=3059 | 3600..=3699 | 3800..=3999 => matches!(length, 14..=19),
        3528..=3589 => matches!(length, 16..=19),
        6000..=6999 => matches!(length, 16..=19),
        _ => false,
    }
}

/// ISO/IEC 7812: the check digit of card numbers.
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(*digit) << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// E.164 has at most 15 digits.
const PHONE_DIGITS_MAX: usize = 15;

fn phone(before: Option<char>, text: &str, more: bool) -> Begins {
    // `1.234`, `12-34` and `+1` at the end of something else are no beginnings.
    if before
        .is_some_and(|letter| matches!(letter, '+' | '.' | '-' | '/' | ':' | ',' | '=' | '$' | '€' | '#'))
    {
        return Begins::No;
    }
    if let Some(rest) = text.strip_prefix('+') {
        return after(1, international(rest, more));
    }
    match text.as_bytes() {
        [b'(', ..] => national(text, more),
        [b'0', b'0', b'1'..=b'9', ..] => after(2, international(&text[2..], more)),
        [b'0', b'0'] | [b'0'] if more => Begins::More,
        [b'0', b'1'..=b'9', ..] => trunk(text, more),
        [b'2'..=b'9', ..] => national(text, more),
        _ => Begins::No,
    }
}

fn after(bytes: usize, begins: Begins) -> Begins {
    if let Begins::Yes(length) = begins { Begins::Yes(bytes + length) } else { begins }
}

/// With the country's code in front.
fn international(text: &str, more: bool) -> Begins {
    match text.bytes().next() {
        None => return undecided(more),
        Some(b'1'..=b'9') => {}
        Some(_) => return Begins::No,
    }
    let run = run(text, " -.()/", PHONE_DIGITS_MAX);
    if run.open && more {
        return Begins::More;
    }
    match run.ends.last() {
        Some(end) if run.digits.len() >= 8 && ends_well(text, *end) => Begins::Yes(*end),
        _ => Begins::No,
    }
}

/// As in much of Europe: a zero, groups behind it. A date has two slashes.
fn trunk(text: &str, more: bool) -> Begins {
    let run = run(text, " /", 12);
    if run.open && more {
        return Begins::More;
    }
    let Some(end) = run.ends.last().copied() else { return Begins::No };
    let separators = end - run.digits.len();
    let slashes = text[..end].matches('/').count();
    let good = run.digits.len() >= 9 && separators > 0 && slashes <= 1 && ends_well(text, end);
    if good { Begins::Yes(end) } else { Begins::No }
}

/// As in North America: `(212) 555-0123`, `212-555-0123`, `212.555.0123`, `212 555 0123`.
fn national(text: &str, more: bool) -> Begins {
    const FORMS: [&str; 6] =
        ["(DDD) DDD-DDDD", "(DDD)DDD-DDDD", "(DDD) DDD DDDD", "DDD-DDD-DDDD", "DDD.DDD.DDDD", "DDD DDD DDDD"];
    let mut open = false;
    for form in FORMS {
        match fits(text, form, more) {
            Begins::No => {}
            Begins::More => open = true,
            Begins::Yes(length) => return Begins::Yes(length),
        }
    }
    if open { Begins::More } else { Begins::No }
}

/// Whether a text begins with a form, in which `D` is a digit, and ends well after it.
pub(super) fn fits(text: &str, form: &str, more: bool) -> Begins {
    let bytes = text.as_bytes();
    for (at, wanted) in form.bytes().enumerate() {
        let Some(byte) = bytes.get(at) else { return undecided(more) };
        let good = if wanted == b'D' { byte.is_ascii_digit() } else { *byte == wanted };
        if !good {
            return Begins::No;
        }
    }
    if bytes.len() == form.len() && more {
        return Begins::More;
    }
    if ends_well(text, form.len()) { Begins::Yes(form.len()) } else { Begins::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a kind is found, looking at every place.
    fn found(kind: Kind, text: &str) -> Vec<&str> {
        let (mut all, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let before = text[..at].chars().next_back();
            match kind.begins(before, &text[at..], false) {
                Begins::Yes(length) => {
                    all.push(&text[at..at + length]);
                    at += length;
                }
                Begins::No => at += text[at..].chars().next().map_or(1, char::len_utf8),
                Begins::More => panic!("nothing more comes"),
            }
        }
        all
    }

    fn check(kind: Kind, cases: &[(&str, &[&str])]) {
        for (text, want) in cases {
            assert_eq!(found(kind, text), *want, "{kind:?} in {text}");
        }
    }

    #[test]
    fn addresses_of_mail() {
        check(
            Kind::Email,
            &[
                ("write to ann.lee+x@mail.example.org.", &["ann.lee+x@mail.example.org"]),
                ("<a@b.co>,c@d.de", &["a@b.co", "c@d.de"]),
                ("jörg@müller.de", &["jörg@müller.de"]),
                ("not@host, @b.co, a@, a@b.1", &[]),
                (".a@b.co", &["a@b.co"]),
            ],
        );
    }

    #[test]
    fn cards_have_a_right_check_digit_and_an_issuer() {
        check(
            Kind::Card,
            &[
                ("4111 1111 1111 1111 12/26", &["4111 1111 1111 1111"]),
                ("pay 5500-0000-0000-0004!", &["5500-0000-0000-0004"]),
                ("378282246310005", &["378282246310005"]),
                ("4111 1111 1111 1112", &[]),
                ("41111111111111111111111111", &[]),
                ("9999999999999995", &[]),
                ("x4111111111111111", &[]),
            ],
        );
    }

    #[test]
    fn phones_in_their_common_forms() {
        check(
            Kind::Phone,
            &[
                ("+49 30 1234567 now", &["+49 30 1234567"]),
                ("+1 (212) 555-0123", &["+1 (212) 555-0123"]),
                ("0049 170 1234567", &["0049 170 1234567"]),
                ("(212) 555-0123 or 212.555.0123", &["(212) 555-0123", "212.555.0123"]),
                ("0171/1234567, 01 23 45 67 89", &["0171/1234567", "01 23 45 67 89"]),
                ("on 01/02/2024 at 12:30, 3.14159265358, 1700000000, +5", &[]),
            ],
        );
    }

    #[test]
    fn other_numbers() {
        check(
            Kind::Iban,
            &[
                ("DE89 3704 0044 0532 0130 00.", &["DE89 3704 0044 0532 0130 00"]),
                ("GB82WEST12345698765432", &["GB82WEST12345698765432"]),
                ("DE88 3704 0044 0532 0130 00", &[]),
                ("DE89", &[]),
            ],
        );
        check(
            Kind::NationalId,
            &[
                ("SSN 536-90-4399", &["536-90-4399"]),
                ("666-12-3456, 000-12-3456, 123-00-4567", &[]),
                ("DNI 12345678Z, 12345678A", &["12345678Z"]),
                ("X1234567L", &["X1234567L"]),
                ("CPF 529.982.247-25, 529.982.247-24", &["529.982.247-25"]),
                ("PESEL 44051401359, 44051401358", &["44051401359"]),
                ("NIR 2 55 08 14 168 025 38", &["2 55 08 14 168 025 38"]),
                ("NINO AB 12 34 56 C", &["AB 12 34 56 C"]),
            ],
        );
    }

    #[test]
    fn keys_and_tokens() {
        let key = format!("sk-{}", "a1B2".repeat(8));
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAAAA\n-----END RSA PRIVATE KEY-----";
        check(
            Kind::Secret,
            &[
                (&format!("key={key}."), &[key.as_str()]),
                ("AKIAIOSFODNN7EXAMPLE", &["AKIAIOSFODNN7EXAMPLE"]),
                ("sk-short, akia, a risk-averse-and-very-long-word-indeed", &[]),
                (&format!("x\n{pem}\ny"), &[pem]),
                (
                    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n",
                    &["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n"],
                ),
            ],
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_sure_stays_so_whatever_comes(
            text in "[a-z0-9@.+ ()/-]{0,40}|[2-6][0-9 -]{10,30}|[A-Z]{2}[0-9A-Z ]{2,36}|\\+?[0-9 ().-]{5,30}|sk-[a-zA-Z0-9]{0,40}|eyJ[a-zA-Z0-9.]{0,60}",
            rest in "[a-z0-9@. -]{0,20}",
        ) {
            for kind in Kind::ALL {
                let early = kind.begins(None, &text, true);
                if early != Begins::More {
                    let whole = format!("{text}{rest}");
                    proptest::prop_assert_eq!(early, kind.begins(None, &whole, false), "{:?} {} {}", kind, text, rest);
                }
            }
        }
    }
}
