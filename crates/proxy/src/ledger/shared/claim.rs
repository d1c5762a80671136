//! What is claimed of shared accounts, and how it is written for the scripts and read from them.

use std::{sync::Arc, time::Duration};

use ::redis::Value;
use jiff::Timestamp;

use super::{super::Calendar, look::Looked};

/// Amounts are sent as two numbers, of which the second counts to here: scripts know no larger ones exactly.
const BASE: u128 = 1_000_000_000_000;

/// Somebody is told that an account has come to the share that warns, once per period.
pub(crate) type Warn = Arc<dyn Fn(&str, u128) + Send + Sync>;

/// One account.
pub(crate) struct Account {
    /// Whose it is; accounts of one subject lie in one slot.
    pub(crate) subject: String,
    /// Which of theirs.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) limit: u128,
    pub(crate) warn: Option<(u128, Warn)>,
}

/// How what is spent comes back.
pub(crate) enum Kind {
    /// At the end of a period.
    Book(Calendar),
    /// Evenly, the whole limit over this time.
    Bucket(Duration),
}

/// An amount that is claimed of an account.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) account: Arc<Account>,
    pub(crate) amount: u128,
    /// Which of its maker's counts it is.
    pub(crate) mark: u8,
}

impl Claim {
    /// When the period of this moment began by the gateway's own clock; 0 where there is none.
    pub(crate) fn period(&self) -> i64 {
        period(&self.account)
    }
}

/// What a claim got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) left: u128,
    pub(crate) spent: u128,
    /// When all of it is there again.
    pub(crate) reset: Duration,
    /// When its period began, in seconds since 1970.
    pub(crate) period: i64,
    /// It is the first in its period that comes to the share that warns.
    pub(crate) warns: bool,
}

/// Why a claim got nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) left: u128,
    /// What is spent, and what is held for calls that are on their way.
    pub(crate) spent: u128,
    pub(crate) held: u128,
    pub(crate) wait: Duration,
}

/// What a script answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Granted(Vec<Granted>),
    Refused(usize, Refusal),
}

/// Writes the terms of an account: eleven arguments.
pub(super) fn terms(account: &Account, amount: u128, out: &mut Vec<String>) {
    let bounds = match &account.kind {
        Kind::Book(calendar) => {
            out.push("b".to_owned());
            periods(calendar, Timestamp::now())
        }
        Kind::Bucket(window) => {
            out.push("t".to_owned());
            [i64::try_from(window.as_micros()).unwrap_or(i64::MAX).max(1), 0, 0, 0]
        }
    };
    let mut pair = |amount: u128| out.extend([(amount / BASE).to_string(), (amount % BASE).to_string()]);
    pair(amount);
    pair(account.limit);
    out.extend(bounds.iter().map(ToString::to_string));
    let warn = account.warn.as_ref().map_or(u128::from(u64::MAX) * BASE, |(from, _)| *from);
    out.extend([(warn / BASE).to_string(), (warn % BASE).to_string()]);
}

/// When the last, this and the next period begin, and when that ends: the server's clock picks one of them.
fn periods(calendar: &Calendar, now: Timestamp) -> [i64; 4] {
    let (begin, end) = calendar.around(now);
    let at = |second: i64| Timestamp::from_second(second).unwrap_or(now);
    let before = calendar.around(at(begin - 1)).0;
    let after = calendar.around(at(end)).1;
    [before, begin, end, after]
}

/// The period of this moment by the gateway's own clock; 0 where there is none.
pub(super) fn period(account: &Account) -> i64 {
    match &account.kind {
        Kind::Book(calendar) => calendar.around(Timestamp::now()).0,
        Kind::Bucket(_) => 0,
    }
}

fn numbers(value: &Value) -> Option<Vec<i64>> {
    let Value::Array(values) = value else { return None };
    values
        .iter()
        .map(|value| match value {
            Value::Int(number) => Some(*number),
            _ => None,
        })
        .collect()
}

fn amount(high: i64, low: i64) -> u128 {
    let part = |number: i64| u128::try_from(number).unwrap_or_default();
    part(high) * BASE + part(low)
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or_default())
}

/// Reads what was answered to a hold of so many claims.
pub(super) fn read(value: &Value, claims: usize) -> Option<Answer> {
    let numbers = numbers(value)?;
    match *numbers.as_slice() {
        [0, which, high, low, wait, spent_high, spent_low, held_high, held_low] => {
            let which = usize::try_from(which).ok()?.checked_sub(1).filter(|which| *which < claims)?;
            let (spent, held) = (amount(spent_high, spent_low), amount(held_high, held_low));
            Some(Answer::Refused(which, Refusal { left: amount(high, low), spent, held, wait: millis(wait) }))
        }
        [1, _, ref all @ ..] if all.len() == claims * 7 => {
            let granted = all.chunks_exact(7).filter_map(|one| match *one {
                [left_high, left_low, spent_high, spent_low, reset, period, warned] => Some(Granted {
                    left: amount(left_high, left_low),
                    spent: amount(spent_high, spent_low),
                    reset: millis(reset),
                    period,
                    warns: warned == 1,
                }),
                _ => None,
            });
            Some(Answer::Granted(granted.collect()))
        }
        _ => None,
    }
}

/// Reads what was answered to a settlement: what is spent in each account, and whether it warns now.
pub(super) fn settled(value: &Value) -> Vec<(usize, u128, bool)> {
    let numbers = numbers(value).unwrap_or_default();
    let all = numbers.chunks_exact(4).enumerate();
    all.filter_map(|(place, one)| match *one {
        [_, high, low, warns] => Some((place, amount(high, low), warns == 1)),
        _ => None,
    })
    .collect()
}

/// Reads what was answered to a look at an account.
pub(super) fn looked(value: &Value) -> Option<Looked> {
    match *numbers(value)?.as_slice() {
        [spent_high, spent_low, held_high, held_low, left_high, left_low, warned] => Some(Looked {
            spent: amount(spent_high, spent_low),
            held: amount(held_high, held_low),
            left: amount(left_high, left_low),
            is_warned: warned == 1,
        }),
        _ => None,
    }
}
