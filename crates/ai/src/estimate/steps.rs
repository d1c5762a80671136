//! Tokens of a text by one step of a table for each byte: what most texts are counted with, for nothing in it depends on
//! how long a piece will be.

use super::{CLASSES, Class, REST, WORD};

/// Letters of a word after which its tokens come around.
const AROUND: u8 = (WORD + REST) as u8;

/// What was read of the piece that a text is in. Words and numbers have a state for each length, until it comes around.
const SPACE: u8 = 0;
const MORE_SPACE: u8 = 1;
const LONG_SPACE: u8 = 2;
const DIGIT: u8 = 3;
const SIGN: u8 = DIGIT + 3;
const CODE: u8 = SIGN + 2;
const WIDE: u8 = CODE + 2;
/// After capitals alone, a small letter goes on with the word.
const CAPITAL: u8 = WIDE + 2;
const SMALL: u8 = CAPITAL + AROUND;
/// Nothing was read.
const START: u8 = SMALL + AROUND;
const STATES: usize = START as usize + 1;

/// What a byte is, with letters outside of ASCII by their length.
const KINDS: usize = 10;
const PAIR: u8 = 6;
const TRIPLE: u8 = 7;
const QUADRUPLE: u8 = 8;
const INSIDE: u8 = 9;

const KIND: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match CLASSES[byte] {
            Class::Small => 0,
            Class::Capital => 1,
            Class::Digit => 2,
            Class::Code => 3,
            Class::Space => 4,
            Class::Sign => 5,
            Class::Wide => match byte as u8 {
                0xC0..=0xDF => PAIR,
                0xE0..=0xEF => TRIPLE,
                0xF0.. => QUADRUPLE,
                _ => INSIDE,
            },
        };
        byte += 1;
    }
    kinds
};

/// For each state and kind, the next state and the tokens that begin with the byte, in the two upper bits.
const STEPS: [[u8; 16]; STATES] = {
    let mut steps = [[0; 16]; STATES];
    let mut state = 0;
    while state < STATES {
        let mut kind = 0;
        while kind < KINDS {
            let (next, tokens) = step(state as u8, kind as u8);
            steps[state][kind] = next | tokens << 6;
            kind += 1;
        }
        state += 1;
    }
    steps
};

const fn step(state: u8, kind: u8) -> (u8, u8) {
    let (in_capitals, in_small) = (state >= CAPITAL && state < SMALL, state >= SMALL && state < START);
    match kind {
        // A word: its first letter is a token, and what is longer than most has more.
        0 if in_capitals => letter(SMALL, state - CAPITAL),
        0 if in_small => letter(SMALL, state - SMALL),
        0 => (SMALL, 1),
        1 if in_capitals => letter(CAPITAL, state - CAPITAL),
        1 => (CAPITAL, 1),
        2 => match state {
            DIGIT => (DIGIT + 1, 0),
            4 => (DIGIT + 2, 0),
            _ => (DIGIT, 1),
        },
        3 => {
            if state == CODE {
                (CODE + 1, 0)
            } else {
                (CODE, 1)
            }
        }
        // One space goes with the word behind it.
        4 => match state {
            SPACE => (MORE_SPACE, 1),
            MORE_SPACE | LONG_SPACE => (LONG_SPACE, 0),
            _ => (SPACE, 0),
        },
        5 => {
            if state == SIGN {
                (SIGN + 1, 0)
            } else {
                (SIGN, 1)
            }
        }
        // Of letters of two bytes, two are a token.
        PAIR => {
            if state == WIDE + 1 {
                (WIDE, 0)
            } else {
                (WIDE + 1, 1)
            }
        }
        _ => {
            let next = if state == WIDE + 1 { WIDE + 1 } else { WIDE };
            let tokens = match kind {
                TRIPLE => 1,
                QUADRUPLE => 2,
                _ => 0,
            };
            (next, tokens)
        }
    }
}

/// The next letter of a word of which so many, less one, were read.
const fn letter(of: u8, read: u8) -> (u8, u8) {
    let read = read + 1;
    let begins = read >= WORD as u8 && (read - WORD as u8).is_multiple_of(REST as u8);
    (of + if read == AROUND { WORD as u8 } else { read }, begins as u8)
}

/// Tokens of a text in which nothing is encoded.
pub(super) fn tokens(text: &[u8]) -> u64 {
    let (mut state, mut count) = (START, 0_u64);
    for byte in text {
        let step =
            STEPS.get(usize::from(state)).map_or(0, |row| row[usize::from(KIND[usize::from(*byte)] & 15)]);
        count += u64::from(step >> 6);
        state = step & 63;
    }
    count
}
