//! Numbers of states and banks, each with what makes it one: check digits where there are any, else its form.

use super::detect::{Begins, ends_well, fits, run, undecided};

/// Lengths of account numbers by country (ISO 13616 registry).
const IBANS: [(&str, usize); 44] = [
    ("AD", 24),
    ("AE", 23),
    ("AT", 20),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BR", 29),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("KW", 30),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("TR", 26),
];

pub(super) fn iban(text: &str, more: bool) -> Begins {
    let mut compact = Compact::default();
    let mut length = 4;
    let mut spaced = false;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b' ' && !spaced && compact.length >= 4 && compact.length < length {
            spaced = true;
            continue;
        }
        spaced = false;
        let good = match compact.length {
            0 | 1 => byte.is_ascii_alphabetic(),
            2 | 3 => byte.is_ascii_digit(),
            _ => byte.is_ascii_alphanumeric(),
        };
        if compact.length == length {
            return whole_iban(compact.letters(), text, at);
        }
        if !good {
            return Begins::No;
        }
        compact.push(byte.to_ascii_uppercase());
        if compact.length == 2 {
            let known = IBANS.iter().find(|(country, _)| country.as_bytes() == compact.letters());
            match known {
                Some((_, known)) => length = *known,
                None => return Begins::No,
            }
        }
    }
    if more {
        return Begins::More;
    }
    if compact.length == length { whole_iban(compact.letters(), text, text.len()) } else { Begins::No }
}

/// Letters of the longest account number (ISO 13616).
const IBAN_LETTERS_MAX: usize = 34;

/// An account number without its spaces.
struct Compact {
    letters: [u8; IBAN_LETTERS_MAX],
    length: usize,
}

impl Default for Compact {
    fn default() -> Self {
        Self { letters: [0; IBAN_LETTERS_MAX], length: 0 }
    }
}

impl Compact {
    fn push(&mut self, letter: u8) {
        if let Some(place) = self.letters.get_mut(self.length) {
            *place = letter;
            self.length += 1;
        }
    }

    fn letters(&self) -> &[u8] {
        self.letters.get(..self.length).unwrap_or_default()
    }
}

fn whole_iban(compact: &[u8], text: &str, end: usize) -> Begins {
    if !ends_well(text, end) {
        return Begins::No;
    }
    // ISO 7064, mod 97-10: the first four go last, letters count from 10.
    let (head, tail) = compact.split_at(4);
    let rest = tail.iter().chain(head).fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    if rest == 1 { Begins::Yes(end) } else { Begins::No }
}

/// A form of a number, and what more must be true of it.
type Form = fn(&str, bool) -> Begins;

const FORMS: [Form; 8] = [us_ssn, es_dni, es_nie, uk_nino, br_cpf, fr_nir, pl_pesel, de_tax];

pub(super) fn national(before: Option<char>, text: &str, more: bool) -> Begins {
    if before.is_some_and(|letter| matches!(letter, '.' | '-' | '/' | ',' | '+' | '$' | '#')) {
        return Begins::No;
    }
    let mut open = false;
    for form in FORMS {
        match form(text, more) {
            Begins::No => {}
            // One that is first in the list may still come to be.
            Begins::More => open = true,
            yes @ Begins::Yes(_) => return if open { Begins::More } else { yes },
        }
    }
    if open { Begins::More } else { Begins::No }
}

/// Social security numbers of the United States have no check digit; some were never given out.
fn us_ssn(text: &str, more: bool) -> Begins {
    let begins = fits(text, "DDD-DD-DDDD", more);
    let Begins::Yes(end) = begins else { return begins };
    let number = &text[..end];
    let bad = number.starts_with("000")
        || number.starts_with("666")
        || number.starts_with('9')
        || &number[4..6] == "00"
        || &number[7..] == "0000";
    if bad { Begins::No } else { begins }
}

const DNI_LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// `D` are digits, the letter after them is their remainder by 23.
fn dni(text: &str, digits_from: usize, first: u32, more: bool) -> Begins {
    let bytes = text.as_bytes();
    let mut number = first;
    for at in digits_from..8 {
        match bytes.get(at) {
            None => return undecided(more),
            Some(byte) if byte.is_ascii_digit() => number = number * 10 + u32::from(byte - b'0'),
            Some(_) => return Begins::No,
        }
    }
    let at = if bytes.get(8) == Some(&b'-') { 9 } else { 8 };
    let Some(letter) = bytes.get(at) else { return undecided(more) };
    if bytes.len() == at + 1 && more {
        return Begins::More;
    }
    let right = DNI_LETTERS[(number % 23) as usize] == letter.to_ascii_uppercase();
    if right && ends_well(text, at + 1) { Begins::Yes(at + 1) } else { Begins::No }
}

fn es_dni(text: &str, more: bool) -> Begins {
    dni(text, 0, 0, more)
}

fn es_nie(text: &str, more: bool) -> Begins {
    match text.as_bytes().first() {
        None => undecided(more),
        Some(first @ b'X'..=b'Z') => dni(text, 1, u32::from(first - b'X'), more),
        Some(_) => Begins::No,
    }
}

/// National insurance numbers of the United Kingdom: two letters, six digits, a letter from A to D.
fn uk_nino(text: &str, more: bool) -> Begins {
    let mut place = 0;
    let mut spaced = true;
    for (at, byte) in text.bytes().enumerate() {
        if place == 9 {
            return if ends_well(text, at) { Begins::Yes(at) } else { Begins::No };
        }
        if byte == b' ' && !spaced {
            spaced = true;
            continue;
        }
        spaced = false;
        let good = match place {
            0 => byte.is_ascii_uppercase() && !b"DFIQUV".contains(&byte),
            1 => byte.is_ascii_uppercase() && !b"DFIQUVO".contains(&byte),
            2..=7 => byte.is_ascii_digit(),
            _ => matches!(byte, b'A'..=b'D'),
        };
        if !good {
            return Begins::No;
        }
        place += 1;
    }
    if more {
        return Begins::More;
    }
    if place == 9 { Begins::Yes(text.len()) } else { Begins::No }
}

/// Tax numbers of persons in Brazil, as they are written, with two check digits.
fn br_cpf(text: &str, more: bool) -> Begins {
    let begins = fits(text, "DDD.DDD.DDD-DD", more);
    let Begins::Yes(end) = begins else { return begins };
    let digits: Vec<u32> =
        text[..end].bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0')).collect();
    let right = [9, 10].iter().all(|count| {
        let sum: u32 = digits[..*count].iter().zip((2..=*count as u32 + 1).rev()).map(|(d, w)| d * w).sum();
        digits[*count] == sum * 10 % 11 % 10
    });
    if right { begins } else { Begins::No }
}

/// Numbers of social security in France: 13 digits and a key of two.
fn fr_nir(text: &str, more: bool) -> Begins {
    if !text.starts_with(['1', '2']) {
        return if text.is_empty() { undecided(more) } else { Begins::No };
    }
    let run = run(text, " ", 16);
    if run.open && more {
        return Begins::More;
    }
    let (15, Some(end)) = (run.digits.len(), run.ends.last().copied()) else { return Begins::No };
    let value = |digits: &[u8]| digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(*digit));
    let right = 97 - value(&run.digits[..13]) % 97 == value(&run.digits[13..]);
    let month = value(&run.digits[3..5]);
    if right && (1..=42).contains(&month) && ends_well(text, end) { Begins::Yes(end) } else { Begins::No }
}

/// Eleven digits in a row.
fn eleven(text: &str, more: bool) -> Result<[u8; 11], Begins> {
    match fits(text, "DDDDDDDDDDD", more) {
        Begins::Yes(_) => {
            let mut digits = [0; 11];
            digits.iter_mut().zip(text.bytes()).for_each(|(digit, byte)| *digit = byte - b'0');
            Ok(digits)
        }
        other => Err(other),
    }
}

/// Numbers of persons in Poland begin with a date and end in a check digit.
fn pl_pesel(text: &str, more: bool) -> Begins {
    let digits = match eleven(text, more) {
        Ok(digits) => digits,
        Err(other) => return other,
    };
    let weights = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1];
    let sum: u32 = digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    let (month, day) = ((digits[2] % 2) * 10 + digits[3], digits[4] * 10 + digits[5]);
    let right = sum.is_multiple_of(10) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if right { Begins::Yes(11) } else { Begins::No }
}

/// Tax numbers of persons in Germany: one digit of the first ten stands there twice or thrice, and ISO 7064
/// mod 11,10 gives the last.
fn de_tax(text: &str, more: bool) -> Begins {
    let digits = match eleven(text, more) {
        Ok(digits) => digits,
        Err(other) => return other,
    };
    let mut counts = [0; 10];
    let mut product = 10_u32;
    for digit in &digits[..10] {
        counts[usize::from(*digit)] += 1;
        let sum = (u32::from(*digit) + product) % 10;
        product = if sum == 0 { 10 } else { sum } * 2 % 11;
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let check = (11 - product) % 10;
    let right = digits[0] != 0
        && repeated == 1
        && counts.iter().all(|count| *count <= 3)
        && u32::from(digits[10]) == check;
    if right { Begins::Yes(11) } else { Begins::No }
}
