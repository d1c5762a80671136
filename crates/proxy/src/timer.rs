//! Coarse timers: one wheel per worker, so that arming a timeout costs a cell and no system call.
//!
//! A timer lives as long as its connection and is armed again and again. Moving a deadline further away, which is
//! what almost every byte does, touches nothing but the timer's own cell; the wheel looks again when the old
//! deadline comes. Precision is [`TICK`]; what needs better uses tokio's timers.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Precision of every coarse timeout.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Slots of the wheel: a horizon of about ten seconds, after which a timer is looked at and put back.
const SLOTS: usize = 1024;
const NOWHERE: usize = usize::MAX;

thread_local! {
    static WHEEL: Rc<Wheel> = Rc::new(Wheel::new());
}

struct Wheel {
    start: Instant,
    slots: RefCell<Vec<Vec<Rc<Entry>>>>,
    /// The tick up to which everything has been looked at.
    passed: Cell<u64>,
    /// The tick at which the driver will wake.
    wakes_at: Cell<u64>,
    count: Cell<usize>,
    earlier: Notify,
}

#[derive(Default)]
struct Entry {
    /// Tick at which the timer fires; `u64::MAX` when it is not armed.
    due: Cell<u64>,
    fired: Cell<bool>,
    /// Tick at which its slot comes up: until then it may be armed for later, again and again, and stay where it is.
    looked_at: Cell<u64>,
    slot: Cell<usize>,
    position: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// A timeout that can be armed many times.
pub(crate) struct Timer(Rc<Entry>);

impl Timer {
    /// A timer that is not armed.
    pub(crate) fn new() -> Self {
        let entry = Entry::default();
        entry.due.set(u64::MAX);
        entry.slot.set(NOWHERE);
        Self(Rc::new(entry))
    }

    /// Fires after `after`, whatever was armed before.
    pub(crate) fn arm(&self, after: Duration) {
        self.arm_at(Instant::now(), after);
    }

    /// Fires so long after `now`, for whoever has just read the clock.
    pub(crate) fn arm_at(&self, now: Instant, after: Duration) {
        WHEEL.with(|wheel| {
            let now = wheel.tick_of(now);
            let due = now + (after.as_millis() as u64).div_ceil(TICK.as_millis() as u64) + 1;
            self.0.fired.set(false);
            self.0.due.set(due);
            if self.0.slot.get() == NOWHERE {
                wheel.catch_up(now);
                wheel.insert(&self.0, due);
            } else if due < self.0.looked_at.get() {
                wheel.remove(&self.0);
                wheel.insert(&self.0, due);
            }
        });
    }

    /// Fires no more.
    pub(crate) fn disarm(&self) {
        self.0.due.set(u64::MAX);
        self.0.fired.set(false);
    }

    /// Whether it is armed or has fired.
    pub(crate) fn is_armed(&self) -> bool {
        self.0.due.get() != u64::MAX
    }

    /// Ready once the timer has fired, until it is armed again.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.fired.get() {
            return Poll::Ready(());
        }
        let mut waker = self.0.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The wheel is gone when the thread ends.
        let _ = WHEEL.try_with(|wheel| wheel.remove(&self.0));
    }
}

impl Wheel {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            slots: RefCell::new((0..SLOTS).map(|_| Vec::new()).collect()),
            passed: Cell::new(0),
            wakes_at: Cell::new(u64::MAX),
            count: Cell::new(0),
            earlier: Notify::new(),
        }
    }

    fn tick_of(&self, now: Instant) -> u64 {
        (now.duration_since(self.start).as_millis() / TICK.as_millis()) as u64
    }

    /// Skips the time in which nothing was armed: there is nothing to look at in it.
    fn catch_up(&self, now: u64) {
        if self.count.get() == 0 && self.passed.get() < now {
            self.passed.set(now);
        }
    }

    fn insert(&self, entry: &Rc<Entry>, due: u64) {
        let at = due.clamp(self.passed.get() + 1, self.passed.get() + SLOTS as u64 - 1);
        let slot = (at % SLOTS as u64) as usize;
        let mut slots = self.slots.borrow_mut();
        entry.slot.set(slot);
        entry.looked_at.set(at);
        entry.position.set(slots[slot].len());
        slots[slot].push(entry.clone());
        self.count.set(self.count.get() + 1);
        if at < self.wakes_at.get() {
            self.wakes_at.set(at);
            self.earlier.notify_one();
        }
    }

    fn remove(&self, entry: &Rc<Entry>) {
        let slot = entry.slot.replace(NOWHERE);
        if slot == NOWHERE {
            return;
        }
        let mut slots = self.slots.borrow_mut();
        let position = entry.position.get();
        slots[slot].swap_remove(position);
        if let Some(moved) = slots[slot].get(position) {
            moved.position.set(position);
        }
        self.count.set(self.count.get() - 1);
    }

    /// Fires what is due up to `now`, and puts back what was moved further away.
    fn advance(&self, now: u64) {
        // One turn sees every slot; when this thread has slept for longer, more turns would see nothing new.
        self.passed.set(self.passed.get().max(now.saturating_sub(SLOTS as u64)));
        while self.passed.get() < now {
            if self.count.get() == 0 {
                self.passed.set(now);
                return;
            }
            let tick = self.passed.get() + 1;
            self.passed.set(tick);
            let entries = {
                let mut slots = self.slots.borrow_mut();
                std::mem::take(&mut slots[(tick % SLOTS as u64) as usize])
            };
            self.count.set(self.count.get() - entries.len());
            for entry in entries {
                entry.slot.set(NOWHERE);
                let due = entry.due.get();
                if due <= tick {
                    entry.fired.set(true);
                    if let Some(waker) = entry.waker.borrow_mut().take() {
                        waker.wake();
                    }
                } else if due != u64::MAX {
                    self.insert(&entry, due);
                }
            }
        }
    }

    /// The next tick at which a slot holds anything.
    fn next(&self) -> Option<u64> {
        if self.count.get() == 0 {
            return None;
        }
        let slots = self.slots.borrow();
        let from = self.passed.get() + 1;
        (from..from + SLOTS as u64).find(|tick| !slots[(tick % SLOTS as u64) as usize].is_empty())
    }
}

/// When a tick comes, after the wheel's start.
fn time_of(tick: u64) -> Duration {
    Duration::from_millis(tick.saturating_mul(TICK.as_millis() as u64))
}

/// Drives this worker's wheel; runs for as long as the worker.
pub(crate) async fn drive() {
    let wheel = WHEEL.with(Rc::clone);
    loop {
        wheel.advance(wheel.tick_of(Instant::now()));
        let Some(next) = wheel.next() else {
            wheel.wakes_at.set(u64::MAX);
            wheel.earlier.notified().await;
            continue;
        };
        wheel.wakes_at.set(next);
        let at = wheel.start + time_of(next);
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => {}
            () = wheel.earlier.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            tokio::task::spawn_local(drive());
            test.await;
        });
    }

    #[test]
    fn fires_after_its_time_and_not_before() {
        run(async {
            let timer = Timer::new();
            let start = Instant::now();
            timer.arm(Duration::from_millis(50));
            poll_fn(|cx| timer.poll(cx)).await;
            assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_millis(500));
        });
    }

    #[test]
    fn a_deadline_that_moves_away_is_kept() {
        run(async {
            let timer = Timer::new();
            let start = Instant::now();
            timer.arm(Duration::from_millis(30));
            timer.arm(Duration::from_millis(120));
            poll_fn(|cx| timer.poll(cx)).await;
            assert!(start.elapsed() >= Duration::from_millis(120));
        });
    }

    #[test]
    fn a_deadline_that_comes_nearer_is_kept() {
        run(async {
            let timer = Timer::new();
            let start = Instant::now();
            timer.arm(Duration::from_secs(60));
            timer.arm(Duration::from_millis(30));
            poll_fn(|cx| timer.poll(cx)).await;
            assert!(start.elapsed() < Duration::from_secs(1));
        });
    }

    #[test]
    fn years_of_silence_cost_nothing_and_end_nothing() {
        let wheel = Wheel::new();
        let entry = Rc::new(Entry::default());
        let years = 5 * 365 * 24 * 3600 * 100;
        for now in [years, 2 * years] {
            entry.due.set(now + 7);
            entry.fired.set(false);
            entry.slot.set(NOWHERE);
            wheel.catch_up(now);
            wheel.insert(&entry, now + 7);
            assert_eq!((wheel.passed.get(), wheel.next()), (now, Some(now + 7)));
            wheel.advance(now + 6);
            assert!(!entry.fired.get());
            wheel.advance(now + 7);
            assert!(entry.fired.get());
        }
        assert_eq!(time_of(years), Duration::from_secs(5 * 365 * 24 * 3600), "beyond 32 bits of ticks too");
        assert_eq!(time_of(1 << 33), Duration::from_millis(10 << 33));
    }

    #[test]
    fn a_long_sleep_of_the_thread_loses_no_timer() {
        let wheel = Wheel::new();
        let entries: Vec<_> = (1..3000).map(|_| Rc::new(Entry::default())).collect();
        for (entry, due) in entries.iter().zip(1u64..) {
            entry.due.set(due);
            entry.slot.set(NOWHERE);
            wheel.insert(entry, due);
        }
        wheel.advance(1_000_000);
        assert!(entries.iter().all(|entry| entry.fired.get()));
        assert_eq!(wheel.count.get(), 0);
    }

    #[test]
    fn a_disarmed_timer_stays_silent_and_a_dropped_one_leaves_the_wheel() {
        run(async {
            let timer = Timer::new();
            timer.arm(Duration::from_millis(20));
            timer.disarm();
            let fired = tokio::time::timeout(Duration::from_millis(80), poll_fn(|cx| timer.poll(cx))).await;
            assert!(fired.is_err());
            for _ in 0..1000 {
                Timer::new().arm(Duration::from_secs(5));
            }
            assert_eq!(WHEEL.with(|wheel| wheel.count.get()), 0);
        });
    }
}
