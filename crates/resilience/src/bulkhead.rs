//! Bulkhead: bounds the calls that are in flight at a time.
//!
//! A call that finds no place may wait for one; those who wait are bounded too, and are served in the order in which
//! they came. How long to wait is the caller's to bound: a [`Turn`] that is dropped leaves the queue.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Calls that may wait for a place, for each place that there is.
const WAITING_PER_PLACE: usize = 4;

/// Bounds the calls that are in flight at a time.
#[derive(Debug)]
pub struct Bulkhead {
    max: usize,
    max_wait: Duration,
    in_flight: AtomicUsize,
    /// Length of the queue, for a look without the lock.
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<Arc<Seat>>>,
}

/// A place; gives itself back when dropped.
#[derive(Debug)]
pub struct BulkheadPermit(Arc<Bulkhead>);

/// A turn in the queue for a place: a future of the place, which leaves the queue when dropped.
#[derive(Debug)]
#[must_use = "a turn that is dropped leaves the queue"]
pub struct Turn {
    bulkhead: Arc<Bulkhead>,
    seat: Arc<Seat>,
}

/// What stands for a waiting call in the queue.
#[derive(Debug, Default)]
struct Seat(Mutex<Wait>);

#[derive(Debug, Default)]
struct Wait {
    /// A place was kept for it.
    is_served: bool,
    waker: Option<Waker>,
}

impl Bulkhead {
    /// A bulkhead of `max` places, for one of which a call may wait up to `max_wait`.
    pub fn new(max: usize, max_wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_wait,
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    /// A place, if one is free that nobody waits for.
    pub fn try_acquire(self: &Arc<Self>) -> Option<BulkheadPermit> {
        (self.waiting() == 0 && self.take()).then(|| BulkheadPermit(self.clone()))
    }

    /// A turn in the queue, if not too many wait.
    pub fn wait(self: &Arc<Self>) -> Option<Turn> {
        let seat = Arc::<Seat>::default();
        let mut queue = lock(&self.queue);
        if queue.len() >= self.max.saturating_mul(WAITING_PER_PLACE) {
            return None;
        }
        queue.push_back(seat.clone());
        // Known to those who leave before this looks for a place: one of both sees the other.
        self.waiting.store(queue.len(), Ordering::SeqCst);
        self.serve(queue);
        Some(Turn { bulkhead: self.clone(), seat })
    }

    /// How long a call may wait for a place.
    pub fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// Places taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Places.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        let next = |count| (count < self.max).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }

    fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.waiting() > 0 {
            self.serve(lock(&self.queue));
        }
    }

    /// Gives places that are free to those who wait the longest.
    fn serve(&self, mut queue: MutexGuard<'_, VecDeque<Arc<Seat>>>) {
        while !queue.is_empty() && self.take() {
            if let Some(seat) = queue.pop_front() {
                let mut wait = lock(&seat.0);
                wait.is_served = true;
                if let Some(waker) = wait.waker.take() {
                    waker.wake();
                }
            }
        }
        self.waiting.store(queue.len(), Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Future for Turn {
    type Output = BulkheadPermit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BulkheadPermit> {
        let mut wait = lock(&self.seat.0);
        if std::mem::take(&mut wait.is_served) {
            return Poll::Ready(BulkheadPermit(self.bulkhead.clone()));
        }
        wait.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = lock(&self.bulkhead.queue);
        queue.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.bulkhead.waiting.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        if std::mem::take(&mut lock(&self.seat.0).is_served) {
            self.bulkhead.leave();
        }
    }
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bulkhead_refuses_and_a_dropped_permit_makes_room() {
        let bulkhead = Bulkhead::new(2, Duration::ZERO);
        let first = bulkhead.try_acquire();
        let second = bulkhead.try_acquire();
        assert!(first.is_some() && second.is_some());
        assert!(bulkhead.try_acquire().is_none());
        drop(first);
        assert_eq!(bulkhead.in_flight(), 1);
        assert!(bulkhead.try_acquire().is_some());
    }

    #[test]
    fn those_who_wait_are_bounded() {
        let bulkhead = Bulkhead::new(1, Duration::from_secs(1));
        let _place = bulkhead.try_acquire().expect("free");
        let turns: Vec<_> = std::iter::from_fn(|| bulkhead.wait()).take(100).collect();
        assert_eq!(turns.len(), WAITING_PER_PLACE);
        drop(turns);
        assert_eq!(bulkhead.waiting(), 0);
    }

    fn served(turn: &mut Turn) -> Option<BulkheadPermit> {
        match Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn those_who_wait_are_served_in_order_and_nobody_overtakes_them() {
        let bulkhead = Bulkhead::new(1, Duration::from_secs(1));
        let place = bulkhead.try_acquire().expect("free");
        let (mut first, mut second) = (bulkhead.wait().expect("a turn"), bulkhead.wait().expect("a turn"));
        assert!(served(&mut first).is_none());
        drop(place);
        assert!(bulkhead.try_acquire().is_none(), "the place is kept for the first");
        assert!(served(&mut second).is_none());
        let place = served(&mut first).expect("its turn");
        drop(place);
        assert!(served(&mut second).is_some());
    }

    #[test]
    fn one_who_leaves_the_queue_gives_the_place_that_was_kept_to_the_next() {
        let bulkhead = Bulkhead::new(1, Duration::from_secs(1));
        let place = bulkhead.try_acquire().expect("free");
        let (first, mut second) = (bulkhead.wait().expect("a turn"), bulkhead.wait().expect("a turn"));
        drop(place);
        drop(first);
        let place = served(&mut second).expect("its turn");
        drop((place, second));
        assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
    }

    #[test]
    fn a_place_that_is_free_when_the_turn_begins_is_served_at_once() {
        let bulkhead = Bulkhead::new(1, Duration::from_secs(1));
        assert!(served(&mut bulkhead.wait().expect("a turn")).is_some());
    }

    #[test]
    fn whoever_waits_is_woken_whatever_threads_do() {
        let bulkhead = Bulkhead::new(2, Duration::from_secs(1));
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let Some(mut turn) = bulkhead.wait() else { continue };
                        let permit = loop {
                            if let Some(permit) = served(&mut turn) {
                                break permit;
                            }
                            std::thread::yield_now();
                        };
                        assert!(bulkhead.in_flight() <= 2);
                        drop(permit);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
        assert_eq!(done.load(Ordering::Relaxed), 12_000, "eight may wait for two places, so six always may");
    }

    #[test]
    fn threads_never_get_more_places_than_there_are() {
        let bulkhead = Bulkhead::new(3, Duration::ZERO);
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if let Some(_permit) = bulkhead.try_acquire() {
                            most.fetch_max(bulkhead.in_flight(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::Relaxed)));
        assert_eq!(bulkhead.in_flight(), 0);
    }
}
