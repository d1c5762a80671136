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

/// Bits of a step that are its next state.
const STATE_BITS: u8 = 6;
const STATE: u8 = (1 << STATE_BITS) - 1;
/// For each state and byte, the next state and the tokens that begin with the byte, in the two upper bits.
static STEPS: [u8; 1 << (STATE_BITS + 8)] = {
    let mut steps = [0; 1 << (STATE_BITS + 8)];
    let mut state = 0;
    while state < STATES {
        let mut of_kinds = [0; KINDS];
        let mut kind = 0;
        while kind < KINDS {
            let (next, tokens) = step(state as u8, kind as u8);
            of_kinds[kind] = next | tokens << STATE_BITS;
            kind += 1;
        }
        let mut byte = 0;
        while byte < 256 {
            steps[state << 8 | byte] = of_kinds[KIND[byte] as usize];
            byte += 1;
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

/// Bytes from which a text is counted in several parts.
const PARTS_BYTES_MIN: usize = 256;

/// Tokens of a text in which nothing is encoded.
pub(super) fn tokens(text: &[u8]) -> u64 {
    if text.len() < PARTS_BYTES_MIN {
        return counted(START, text);
    }
    // A step waits for the one before it: steps of several parts are taken at once.
    let (first, second) = halves(text);
    let ((one, two), (three, four)) = (halves(first), halves(second));
    let mut states = [START, behind(one), behind(first), behind(three)];
    let parts = [one, two, three, four];
    let together = parts.iter().map(|part| part.len()).min().unwrap_or_default();
    let [(one, rest_1), (two, rest_2), (three, rest_3), (four, rest_4)] =
        parts.map(|part| part.split_at(together));
    let mut count = 0;
    for (((one, two), three), four) in one.iter().zip(two).zip(three).zip(four) {
        for (state, byte) in states.iter_mut().zip([one, two, three, four]) {
            let step = step_of(*state, *byte);
            count += u64::from(step >> STATE_BITS);
            *state = step & STATE;
        }
    }
    let rests = states.into_iter().zip([rest_1, rest_2, rest_3, rest_4]);
    count + rests.map(|(state, rest)| counted(state, rest)).sum::<u64>()
}

/// The two halves of a text, the second of which begins behind a single space; all is in the first where there is none
/// near.
fn halves(text: &[u8]) -> (&[u8], &[u8]) {
    let near = text.get(text.len() / 2..).unwrap_or_default();
    let is_single = |pair: &[u8]| KIND[usize::from(pair[0])] != KIND[usize::from(b' ')] && pair[1] == b' ';
    let space = near.windows(2).take(PARTS_BYTES_MIN).position(is_single);
    space.map_or((text, &[]), |at| text.split_at(text.len() / 2 + at + 2))
}

/// The state behind a half.
fn behind(half: &[u8]) -> u8 {
    if half.is_empty() { START } else { SPACE }
}

fn step_of(state: u8, byte: u8) -> u8 {
    STEPS[usize::from(state & STATE) << 8 | usize::from(byte)]
}

/// Tokens of a text that begins in a state.
fn counted(mut state: u8, text: &[u8]) -> u64 {
    let mut count = 0;
    for byte in text {
        let step = step_of(state, *byte);
        count += u64::from(step >> STATE_BITS);
        state = step & STATE;
    }
    count
}
