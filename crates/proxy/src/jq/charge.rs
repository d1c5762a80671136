//! What a run of a program may still take: steps, bytes and time.
//!
//! Everything is charged before it is done where its price can be told from what it is given, and in any case as soon as
//! it is there. A run has a thread to itself, so its account is the thread's.

use std::{
    cell::{Cell, RefCell},
    time::Instant,
};

use jaq_core::Exn;
use jaq_json::{Num, Val};

use super::regex::Compiled;

/// Parts of a step: what is smaller than a step is charged in these, each about a nanosecond of work.
pub(super) const TICKS: u64 = 64;
/// Bytes that a program may make in all, whether they are let go of or not.
const MADE_MAX: u64 = 128 * 1024 * 1024;
/// Bytes of a text, and items of a list, that a program may add up or multiply to.
pub(super) const VALUE_SIZE_MAX: usize = 16 * 1024 * 1024;
/// Bits of a whole number.
pub(super) const NUMBER_BITS_MAX: u64 = 64 * 1024;
/// Charges between two looks at the clock.
const CHARGES_PER_LOOK: u32 = 256;

/// Codes with which programs are halted.
pub(super) const OUT_OF_STEPS: i32 = 1;
pub(super) const TOO_LARGE: i32 = 2;
pub(super) const OUT_OF_TIME: i32 = 3;

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static BYTES_LEFT: Cell<u64> = const { Cell::new(0) };
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
    static UNTIL_LOOK: Cell<u32> = const { Cell::new(0) };
    pub(super) static NESTING_COST: Cell<u64> = const { Cell::new(1) };
    pub(super) static PATTERNS: RefCell<Vec<Compiled>> = const { RefCell::new(Vec::new()) };
}

/// Opens the account of a run.
pub(super) fn open(steps: u64, nestings: u64, until: Instant) {
    LEFT.set(steps.saturating_mul(TICKS));
    NESTING_COST.set((steps / nestings).max(1).saturating_mul(TICKS));
    BYTES_LEFT.set(MADE_MAX);
    UNTIL.set(Some(until));
    UNTIL_LOOK.set(0);
    PATTERNS.with(|patterns| patterns.borrow_mut().clear());
}

/// Takes ticks; halts when there are none left, and when the time is over.
pub(super) fn take<'a>(ticks: u64) -> Result<(), Exn<'a, Val>> {
    let Some(left) = LEFT.get().checked_sub(ticks) else {
        LEFT.set(0);
        return Err(Exn::halt(OUT_OF_STEPS));
    };
    LEFT.set(left);
    match UNTIL_LOOK.get().checked_sub(1) {
        Some(fewer) if ticks < TICKS * 64 => {
            UNTIL_LOOK.set(fewer);
            Ok(())
        }
        _ => look(),
    }
}

/// Halts when the time is over.
pub(super) fn look<'a>() -> Result<(), Exn<'a, Val>> {
    UNTIL_LOOK.set(CHARGES_PER_LOOK);
    match UNTIL.get().is_some_and(|until| Instant::now() >= until) {
        true => Err(Exn::halt(OUT_OF_TIME)),
        false => Ok(()),
    }
}

/// Takes bytes that are made.
pub(super) fn make<'a>(bytes: u64) -> Result<(), Exn<'a, Val>> {
    match BYTES_LEFT.get().checked_sub(bytes) {
        Some(left) => {
            BYTES_LEFT.set(left);
            Ok(())
        }
        None => {
            BYTES_LEFT.set(0);
            Err(Exn::halt(TOO_LARGE))
        }
    }
}

/// Bits of a number that is a whole one of any size.
pub(super) fn bits(value: &Val) -> u64 {
    match value {
        Val::Num(Num::BigInt(number)) => number.bits(),
        _ => 0,
    }
}

/// The weight of a value without what lies in its items: bytes, roughly.
pub(super) fn shallow(value: &Val) -> u64 {
    match value {
        Val::TStr(text) | Val::BStr(text) => text.len() as u64 + 32,
        Val::Arr(items) => items.len() as u64 * 16 + 32,
        Val::Obj(members) => members.len() as u64 * 64 + 64,
        Val::Num(Num::Dec(text)) => text.len() as u64,
        value => 16 + bits(value).pow(2) / 4096,
    }
}

/// The weight of a value with all that lies in it, as often as it lies there; none when it is more than `most`.
pub(super) fn weight(value: &Val, most: u64) -> Option<u64> {
    let mut all = 0_u64;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        all += 16;
        match value {
            Val::Arr(items) => open.extend(items.iter()),
            Val::Obj(members) => members.iter().for_each(|(key, value)| open.extend([key, value])),
            value => all += shallow(value),
        }
        // What waits weighs something, too.
        if all + open.len() as u64 * 16 > most {
            return None;
        }
    }
    Some(all)
}

/// Takes for looking at all of a value, so many times.
pub(super) fn weigh<'a>(value: &Val, times: u64) -> Result<u64, Exn<'a, Val>> {
    // A tick for four of its bytes.
    let most = LEFT.get() / times * 4;
    let Some(weight) = weight(value, most) else {
        LEFT.set(0);
        return Err(Exn::halt(OUT_OF_STEPS));
    };
    take(weight * times / 4)?;
    Ok(weight)
}

/// Takes for comparing two values: it ends where the smaller one does.
pub(super) fn compare<'a>(left: &Val, right: &Val) -> Result<(), Exn<'a, Val>> {
    // The operator itself, whatever it compares.
    take(TICKS / 4)?;
    let (small, large) = match (left, right) {
        (Val::TStr(left) | Val::BStr(left), Val::TStr(right) | Val::BStr(right)) => {
            return take(left.len().min(right.len()) as u64 / 16 + 1);
        }
        (Val::Arr(_), Val::Arr(_)) | (Val::Obj(_), Val::Obj(_)) => {
            if shallow(left) <= shallow(right) {
                (left, right)
            } else {
                (right, left)
            }
        }
        (left, right) => return take(1 + (bits(left) + bits(right)) / 64),
    };
    let small = weigh(small, 1)?;
    take(weight(large, small).unwrap_or(small) / 4)
}

/// Takes for holding every part of a value against every part of another.
pub(super) fn product<'a>(left: &Val, right: &Val) -> Result<(), Exn<'a, Val>> {
    if let (Val::TStr(left) | Val::BStr(left), Val::TStr(right) | Val::BStr(right)) = (left, right) {
        // Found by a search that looks at each byte a few times at most, or made a window of at each character.
        return take((left.len() as u64 + right.len() as u64) / 4 + 1);
    }
    let (left, right) = (weigh(left, 1)?, weigh(right, 1)?);
    take((left / 16).saturating_mul(right / 16).saturating_mul(8))
}
