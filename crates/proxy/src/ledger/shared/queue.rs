//! What calls cost, on its way to the shared accounts; and leases of what calls in flight hold.
//!
//! Settlements are sent off the way of calls, and kept while the store is away, up to [`SETTLEMENTS_MAX`]. One that may
//! have been done is told again as such, and the script counts it once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError, Weak,
        atomic::{Ordering, fence},
    },
    time::{Duration, Instant},
};

use super::{
    Accounts, Claim,
    claim::{period, settled, terms},
    scripts,
};
use crate::redis::Unanswered;

/// Settlements that wait while the store is away; what comes on top is dropped, and counted.
const SETTLEMENTS_MAX: usize = 100_000;
/// Settlements that are sent at a time.
const AT_A_TIME: usize = 64;
/// Accounts whose leases are renewed in one script.
const RENEWALS: usize = 64;
/// How often one that the store refuses is tried, and how long it is left before the next time. A store that is full has as
/// long as one that is away.
const TRIES_MAX: u8 = 10;
const REFUSED: Duration = Duration::from_secs(1);
/// How long the store is left alone while it is away.
const PAUSE: Duration = Duration::from_millis(50);
/// How long what calls cost is told to a store that no configuration names any more.
const FAREWELL: Duration = Duration::from_secs(60);
/// How often it is looked whether anybody needs this any more.
const LOOK: Duration = Duration::from_secs(1);

/// How a settlement comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// For the first time, of something that is held.
    First,
    /// It may have been done, or what it is about was never held.
    Again,
    /// Of something that was never held.
    Added,
}

/// What one call cost.
pub(super) struct Settlement {
    id: String,
    way: Way,
    claims: Arc<[Claim]>,
    periods: Vec<i64>,
    costs: Vec<u128>,
    /// What is still to be told, by the place of its claim; those of one slot together.
    groups: Option<Vec<Vec<usize>>>,
    tries: u8,
    /// The store was full when it was told of it.
    is_put_off: bool,
}

impl Settlement {
    pub(super) fn new(
        id: String,
        way: Way,
        claims: Arc<[Claim]>,
        periods: Vec<i64>,
        costs: Vec<u128>,
    ) -> Self {
        Self { id, way, claims, periods, costs, groups: None, tries: 0, is_put_off: false }
    }
}

/// Settlements that wait.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Settlement>,
    /// Those that the store refused, and when they are told again.
    refused: VecDeque<(Instant, Settlement)>,
    /// Those that the store was too full for, and when it is tried whether it still is.
    put_off: VecDeque<Settlement>,
    full_until: Option<Instant>,
    on_the_way: usize,
    pub(super) dropped: u64,
}

impl Queue {
    pub(super) fn push(&mut self, settlement: Settlement) {
        if self.len() - self.on_the_way >= SETTLEMENTS_MAX {
            self.drop_one(&settlement, "too many wait");
            return;
        }
        self.waiting.push_back(settlement);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.refused.len() + self.put_off.len() + self.on_the_way
    }

    fn drop_one(&mut self, one: &Settlement, why: &str) {
        // What cost nothing is lost to nobody: what was held for it comes back with its lease.
        if one.costs.iter().all(|cost| *cost == 0) {
            return;
        }
        self.dropped += 1;
        if self.dropped.is_power_of_two() {
            tracing::error!(
                dropped = self.dropped,
                "what a call cost is not counted in the shared store: {why}"
            );
        }
    }

    /// What of one is still to be told.
    fn give_back(&mut self, one: Settlement, now: Instant) {
        match one.tries {
            TRIES_MAX.. => self.drop_one(&one, "the store refuses it"),
            _ if one.is_put_off => {
                self.full_until = Some(now + REFUSED);
                self.put_off.push_back(one);
            }
            0 => self.waiting.push_front(one),
            // Nobody waits behind it.
            _ => self.refused.push_back((now + REFUSED, one)),
        }
    }

    fn take(&mut self, now: Instant) -> Vec<Settlement> {
        while self.refused.front().is_some_and(|(due, _)| *due <= now) {
            self.waiting.extend(self.refused.pop_front().map(|(_, one)| one));
        }
        // A few find out whether it still is full; where it is not, all the others follow them.
        if self.full_until.is_none_or(|until| until <= now) {
            let count = self.put_off.len().min(AT_A_TIME);
            self.waiting.extend(self.put_off.drain(..count));
        }
        let count = self.waiting.len().min(AT_A_TIME);
        self.on_the_way = count;
        self.waiting.drain(..count).collect()
    }
}

/// Sends what waits, and at last what the calls cost that let go of the store after everybody else: where its settings
/// change, the configuration that named them is gone by then.
pub(super) async fn settle(accounts: Weak<Accounts>) {
    let Some(strong) = accounts.upgrade() else { return };
    let mut alone: Option<tokio::time::Instant> = None;
    loop {
        if Arc::strong_count(&strong) > 1 {
            alone = None;
        } else {
            // Nobody can add anything now, and what they added before is seen from here on.
            fence(Ordering::Acquire);
            let unsettled = strong.unsettled();
            let since = *alone.get_or_insert_with(tokio::time::Instant::now);
            if unsettled > 0 && since.elapsed() > FAREWELL {
                tracing::error!(
                    unsettled,
                    "what calls cost is not counted in a shared store that is no longer configured, and away"
                );
            }
            if unsettled == 0 || since.elapsed() > FAREWELL {
                return;
            }
        }
        let batch = match strong.client.is_up() {
            true => strong.queue.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()),
            false => Vec::new(),
        };
        if batch.is_empty() {
            let is_waiting = strong.unsettled() > 0;
            let pause = if is_waiting { PAUSE } else { LOOK };
            let _ = tokio::time::timeout(pause, strong.wake.notified()).await;
            if is_waiting {
                // What comes meanwhile wakes, and the store is away all the same.
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        }
        let sent = futures_util::future::join_all(batch.into_iter().map(|one| strong.send(one))).await;
        let mut queue = strong.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.on_the_way = 0;
        for one in sent.into_iter().flatten().rev() {
            queue.give_back(one, Instant::now());
        }
    }
}

impl Accounts {
    /// Sends a settlement; what of it is still to be sent comes back.
    async fn send(&self, mut settlement: Settlement) -> Option<Settlement> {
        let groups = settlement.groups.take().unwrap_or_else(|| self.groups(&settlement.claims));
        let mut left = Vec::new();
        settlement.is_put_off = false;
        for group in groups {
            match self.send_group(&settlement, &group).await {
                Ok(()) => {}
                Err(unanswered) => {
                    match unanswered {
                        Unanswered::Refused => settlement.tries = settlement.tries.saturating_add(1),
                        Unanswered::Full => settlement.is_put_off = true,
                        // It may have been done: the script finds out by what is still held.
                        Unanswered::Unknown if settlement.way == Way::First => settlement.way = Way::Again,
                        Unanswered::Unknown | Unanswered::Away => {}
                    }
                    left.push(group);
                }
            }
        }
        settlement.groups = Some(left).filter(|left| !left.is_empty());
        settlement.groups.is_some().then_some(settlement)
    }

    async fn send_group(&self, settlement: &Settlement, group: &[usize]) -> Result<(), Unanswered> {
        let of = |place: usize| {
            let claim = settlement.claims.get(place)?;
            Some((claim, *settlement.costs.get(place)?, settlement.periods.get(place).copied()))
        };
        let all: Vec<_> = group.iter().filter_map(|place| of(*place)).collect();
        let keys = self.keys(all.iter().map(|(claim, ..)| &*claim.account));
        let way = match settlement.way {
            Way::First => "first",
            Way::Again => "again",
            Way::Added => "added",
        };
        let mut arguments = vec![settlement.id.clone(), self.lease.as_millis().to_string(), way.to_owned()];
        for (claim, cost, held_in) in &all {
            terms(&claim.account, *cost, &mut arguments);
            let held_in = held_in.filter(|period| *period != 0).unwrap_or_else(|| period(&claim.account));
            arguments.push(held_in.to_string());
        }
        let value = self.client.eval(&scripts::SETTLE, &keys, &arguments).await?;
        for (place, spent, warns) in settled(&value) {
            let Some((claim, ..)) = all.get(place) else { continue };
            self.note(&claim.account, period(&claim.account), spent);
            if warns && let Some((_, warn)) = &claim.account.warn {
                warn(&claim.account.subject, spent);
            }
        }
        Ok(())
    }

    /// Renews what was held or renewed before this moment.
    async fn renew_before(&self, before: Instant) {
        let mut due: Vec<(String, Arc<[Claim]>)> = Vec::new();
        for (id, open) in self.open().iter_mut().filter(|(_, open)| open.renewed < before) {
            open.renewed = Instant::now();
            due.push((id.clone(), open.claims.clone()));
        }
        let mut asked: Vec<(&str, &super::Account, String)> = Vec::new();
        for (id, claims) in &due {
            for group in self.groups(claims) {
                // The scripts number accounts within what they are asked together.
                for (number, place) in group.iter().enumerate() {
                    if let Some(claim) = claims.get(*place) {
                        let held = format!("h:{id}.{}", number + 1);
                        asked.push((&claim.account.subject, &claim.account, held));
                    }
                }
            }
        }
        if self.client.is_cluster() {
            asked.sort_by(|a, b| a.0.cmp(b.0));
        }
        let is_together = |a: &(&str, _, _), b: &(&str, _, _)| !self.client.is_cluster() || a.0 == b.0;
        for chunk in asked.chunk_by(is_together).flat_map(|slot| slot.chunks(RENEWALS)) {
            let keys = self.keys(chunk.iter().map(|(_, account, _)| *account));
            let mut arguments = vec![self.lease.as_millis().to_string()];
            arguments.extend(chunk.iter().map(|(.., held)| held.clone()));
            if self.client.eval(&scripts::RENEW, &keys, &arguments).await.is_err() {
                return;
            }
        }
    }
}

/// Renews leases, each three times as often as it must be.
pub(super) async fn renew(accounts: Weak<Accounts>) {
    loop {
        let Some(strong) = accounts.upgrade() else { return };
        let third = strong.lease / 3;
        if let Some(before) = Instant::now().checked_sub(third.mul_f64(0.8)) {
            strong.renew_before(before).await;
        }
        drop(strong);
        let step = third / 5;
        tokio::time::sleep(step.clamp(Duration::from_millis(20), LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_refuses_is_told_again_later_and_holds_up_nobody() {
        let of = |tries, cost| {
            let none: Vec<Claim> = Vec::new();
            let new = Settlement::new(String::new(), Way::First, none.into(), Vec::new(), vec![cost]);
            Settlement { tries, ..new }
        };
        let one = |tries| of(tries, 7);
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.give_back(one(1), now);
        queue.give_back(one(0), now);
        queue.push(one(0));
        assert_eq!((queue.take(now).len(), queue.len()), (2, 3));
        queue.on_the_way = 0;
        assert_eq!((queue.take(now).len(), queue.len()), (0, 1));
        assert_eq!((queue.take(now + REFUSED).len(), queue.len()), (1, 1));
        queue.on_the_way = 0;
        queue.give_back(one(TRIES_MAX), now);
        assert_eq!((queue.len(), queue.dropped), (0, 1));
        queue.give_back(of(TRIES_MAX, 0), now);
        assert_eq!((queue.len(), queue.dropped), (0, 1), "nothing is lost of what cost nothing");
    }

    #[test]
    fn a_full_store_is_asked_by_a_few_until_it_is_not() {
        let one = || {
            let none: Vec<Claim> = Vec::new();
            Settlement::new(String::new(), Way::Added, none.into(), Vec::new(), vec![7])
        };
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        for _ in 0..3 * AT_A_TIME {
            queue.give_back(Settlement { is_put_off: true, ..one() }, now);
        }
        for _ in 0..20 {
            assert_eq!(queue.take(now).len(), 0, "it is left alone for a while");
            now += REFUSED;
            let few = queue.take(now);
            queue.on_the_way = 0;
            assert_eq!(few.len(), AT_A_TIME);
            few.into_iter().for_each(|one| queue.give_back(Settlement { is_put_off: true, ..one }, now));
            queue.push(one());
            assert_eq!(queue.take(now).len(), 1, "what is new may be no more than a release");
            queue.on_the_way = 0;
        }
        now += REFUSED;
        for left in [2, 1, 0] {
            assert_eq!(queue.take(now).len(), AT_A_TIME);
            queue.on_the_way = 0;
            assert_eq!((queue.len(), queue.dropped), (left * AT_A_TIME, 0));
        }
    }
}
