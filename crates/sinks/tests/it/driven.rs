//! Lanes in time: what comes while something is sent, receivers that never answer, and the end.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, mpsc::sync_channel},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sinks::{Counts, Courier, Lane, Order, Outcome, Reason, Rules, Sending};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::{JoinHandle, LocalSet, spawn_local},
    time::{Instant as Tick, sleep},
};

use crate::rules;

/// A receiver that takes so long, and then answers so.
struct Receiver {
    got: Rc<RefCell<Vec<usize>>>,
    takes: Duration,
    answer: fn(usize) -> Outcome,
    resets: Rc<RefCell<u32>>,
}

impl Courier for Receiver {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async {
            sleep(self.takes).await;
            self.got.borrow_mut().push(batch.len());
            (self.answer)(self.got.borrow().len())
        })
    }

    fn reset(&mut self) {
        *self.resets.borrow_mut() += 1;
    }
}

struct Driven {
    orders: UnboundedSender<Order<usize>>,
    counts: Arc<Counts>,
    got: Rc<RefCell<Vec<usize>>>,
    resets: Rc<RefCell<u32>>,
    task: JoinHandle<()>,
}

fn drive(rules: Rules, takes: Duration, answer: fn(usize) -> Outcome) -> Driven {
    let (orders, receiver) = unbounded_channel();
    let counts = Arc::new(Counts::default());
    let (got, resets) = (Rc::default(), Rc::default());
    let mut courier = Receiver { got: Rc::clone(&got), takes, answer, resets: Rc::clone(&resets) };
    let lane = Lane::new(rules, counts.clone(), Tick::now().into_std());
    let task = spawn_local(async move {
        let encode = |count: usize, push: &mut dyn FnMut(Bytes)| (0..count).for_each(|_| push("a".into()));
        sinks::run(lane, &mut courier, receiver, encode).await;
    });
    Driven { orders, counts, got, resets, task }
}

/// Runs with a clock of its own, which jumps when nothing else is to be done.
fn paused(test: impl Future<Output = ()> + 'static) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn what_comes_while_something_is_sent_is_taken_and_what_is_too_much_is_counted() {
    paused(async {
        let driven = drive(rules(None), Duration::from_secs(1), |_| Outcome::Taken);
        for _ in 0..3 {
            driven.orders.send(Order::Take(4)).expect("it runs");
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(driven.counts.dropped(Reason::QueueFull), 4, "one batch on its way, one waits");
        sleep(Duration::from_secs(3)).await;
        assert_eq!(*driven.got.borrow(), [4, 4]);
    });
}

#[test]
fn a_receiver_that_never_answers_is_given_up_after_the_timeout_and_asked_again() {
    paused(async {
        let driven = drive(rules(None), Duration::from_secs(3600), |_| Outcome::Taken);
        driven.orders.send(Order::Take(4)).expect("it runs");
        sleep(Duration::from_millis(4500)).await;
        assert!(*driven.resets.borrow() >= 2);
        assert!(driven.counts.error().is_some_and(|error| error.contains("no answer within 2s")));
        assert_eq!(driven.counts.waiting_records(), 4);
    });
}

#[test]
fn at_the_end_everything_is_sent_at_once_and_what_cannot_be_within_the_bound_is_counted() {
    paused(async {
        let driven = drive(rules(None), Duration::from_millis(10), |_| Outcome::Taken);
        driven.orders.send(Order::Take(7)).expect("it runs");
        let (done, wait) = sync_channel(1);
        driven.orders.send(Order::Finish(Duration::from_secs(2), done)).expect("it runs");
        driven.task.await.expect("it ends");
        assert_eq!(*driven.got.borrow(), [4, 3]);
        assert!(wait.try_recv().is_err_and(|error| error == std::sync::mpsc::TryRecvError::Disconnected));

        let away = |_| Outcome::Again { after: None, why: "away".into() };
        let driven = drive(rules(None), Duration::from_millis(10), away);
        driven.orders.send(Order::Take(7)).expect("it runs");
        let (done, _wait) = sync_channel(1);
        let began = Tick::now();
        driven.orders.send(Order::Finish(Duration::from_secs(2), done)).expect("it runs");
        driven.task.await.expect("it ends");
        assert!(began.elapsed() <= Duration::from_millis(2050), "{:?}", began.elapsed());
        assert!(driven.got.borrow().len() > 5, "it is tried to the end");
        assert_eq!(driven.counts.dropped(Reason::Shutdown), 7);
    });
}

#[test]
fn what_is_not_sent_at_the_end_is_on_disk_where_there_is_a_place_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    paused(async move {
        let never = drive(rules(Some(&path)), Duration::from_secs(3600), |_| Outcome::Taken);
        never.orders.send(Order::Take(21)).expect("it runs");
        let (done, _wait) = sync_channel(1);
        never.orders.send(Order::Finish(Duration::from_secs(1), done)).expect("it runs");
        never.task.await.expect("it ends");
        assert_eq!(never.counts.all_dropped(), 0);
        let well = drive(rules(Some(&path)), Duration::ZERO, |_| Outcome::Taken);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(well.counts.delivered(), 21);
        assert_eq!(well.counts.spilled_bytes(), 0);
    });
}

#[test]
fn a_lane_whose_sender_is_gone_ends_on_its_own() {
    paused(async {
        let driven = drive(rules(None), Duration::ZERO, |_| Outcome::Taken);
        driven.orders.send(Order::Take(1)).expect("it runs");
        drop(driven.orders);
        let began = Instant::now();
        driven.task.await.expect("it ends");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(driven.counts.delivered(), 1);
    });
}
