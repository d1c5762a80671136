//! A lane and its courier, driven: what comes is taken at any time, also while something is being sent.

use std::{
    sync::mpsc::SyncSender,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant as Tick, sleep_until},
};

use crate::lane::{Courier, Lane, Outcome, Step};

/// How long a lane whose orders have ended without a word may still send.
const ORPHANED: Duration = Duration::from_secs(5);

/// What a lane is told.
#[derive(Debug)]
pub enum Order<M> {
    /// To take this. Whoever sends it bounds how many wait.
    Take(M),
    /// To send what it has within this time, and to end; the sender is dropped when it has.
    Finish(Duration, SyncSender<()>),
}

/// Until when a lane may send, and who wants to know that it has ended.
type End = Option<(Tick, Option<SyncSender<()>>)>;

/// Runs a lane until it is told to finish. `encode` makes records of what comes.
pub async fn run<M, C: Courier + ?Sized>(
    mut lane: Lane,
    courier: &mut C,
    mut orders: UnboundedReceiver<Order<M>>,
    mut encode: impl FnMut(M, &mut dyn FnMut(Bytes)),
) {
    let mut end: End = None;
    loop {
        while let Ok(order) = orders.try_recv() {
            follow(order, &mut lane, &mut end, &mut encode);
        }
        if end.as_ref().is_some_and(|(until, _)| Tick::now() >= *until) {
            break;
        }
        match lane.next(now()) {
            Step::Send(batch) => {
                let outcome = send(&batch, &mut lane, courier, &mut orders, &mut end, &mut encode).await;
                match outcome {
                    Some(outcome) => lane.done(outcome, now()),
                    // The end came first. Whether it arrived nobody knows.
                    None => break,
                }
            }
            Step::Idle if end.is_some() => break,
            Step::Idle => hear(&mut orders, None, &mut lane, &mut end, &mut encode).await,
            Step::Wait(until) => {
                let until = end.as_ref().map_or(until, |(end, _)| until.min(end.into_std()));
                hear(&mut orders, Some(until), &mut lane, &mut end, &mut encode).await;
            }
        }
    }
    lane.close();
    drop(end);
}

fn now() -> Instant {
    Tick::now().into_std()
}

fn follow<M>(
    order: Order<M>,
    lane: &mut Lane,
    end: &mut End,
    encode: &mut impl FnMut(M, &mut dyn FnMut(Bytes)),
) {
    match order {
        Order::Take(records) => encode(records, &mut |record| lane.push(record, now())),
        Order::Finish(within, done) => {
            lane.end(now());
            *end = Some((Tick::now() + within, Some(done)));
        }
    }
}

/// Waits for an order, or until a moment.
async fn hear<M>(
    orders: &mut UnboundedReceiver<Order<M>>,
    until: Option<Instant>,
    lane: &mut Lane,
    end: &mut End,
    encode: &mut impl FnMut(M, &mut dyn FnMut(Bytes)),
) {
    // A folder that another process has is asked for now and then, whatever comes.
    let until = until.unwrap_or_else(|| now() + Duration::from_secs(1));
    if end.is_some() && orders.is_closed() {
        return sleep_until(Tick::from_std(until)).await;
    }
    tokio::select! {
        order = orders.recv() => match order {
            Some(order) => follow(order, lane, end, encode),
            None if end.is_none() => {
                lane.end(now());
                *end = Some((Tick::now() + ORPHANED, None));
            }
            None => sleep_until(Tick::from_std(until)).await,
        },
        () = sleep_until(Tick::from_std(until)) => {}
    }
}

/// Sends a batch, and takes what comes meanwhile. None when the end is over first.
async fn send<M, C: Courier + ?Sized>(
    batch: &[Bytes],
    lane: &mut Lane,
    courier: &mut C,
    orders: &mut UnboundedReceiver<Order<M>>,
    end: &mut End,
    encode: &mut impl FnMut(M, &mut dyn FnMut(Bytes)),
) -> Option<Outcome> {
    let timeout = lane.rules().timeout;
    let outcome = {
        let mut sending = courier.send(batch);
        let late = sleep_until(Tick::now() + timeout);
        tokio::pin!(late);
        let mut hears = true;
        loop {
            let over = end.as_ref().map(|(until, _)| *until);
            let over = async move {
                match over {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                outcome = &mut sending => break Some(Some(outcome)),
                () = &mut late => break Some(None),
                () = over => break None,
                order = orders.recv(), if hears => match order {
                    Some(order) => follow(order, lane, end, encode),
                    None => {
                        hears = false;
                        if end.is_none() {
                            lane.end(now());
                            *end = Some((Tick::now() + ORPHANED, None));
                        }
                    }
                },
            }
        }
    };
    match outcome {
        Some(Some(outcome)) => Some(outcome),
        Some(None) => {
            courier.reset();
            Some(Outcome::Again { after: None, why: format!("no answer within {timeout:?}") })
        }
        None => None,
    }
}
