//! Whatever fails when: nothing that was accepted is lost while the spill has room, the order stays, and nothing
//! comes twice but what was sent again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sinks::{Counts, Lane, Outcome, Reason, Step};

use crate::rules;

/// What happens to a lane.
#[derive(Debug, Clone)]
enum Event {
    /// So many records come.
    Come(u8),
    /// Time passes.
    Pass(u16),
    /// It is asked what to do, and if it sends, this becomes of it.
    Try(Fate),
    /// The process ends in order, and another one begins.
    Restart,
    /// The process is gone, and another one begins. What memory alone had is gone with it.
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Taken,
    /// The receiver has it, and its answer was lost.
    TakenUnheard,
    Again,
    /// Halves are refused for as long as the record that is poison is among them.
    Judged,
}

fn event(with_crashes: bool) -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        4 => Just(Fate::Taken),
        1 => Just(Fate::TakenUnheard),
        3 => Just(Fate::Again),
        2 => Just(Fate::Judged),
    ];
    prop_oneof![
        4 => (1_u8..12).prop_map(Event::Come),
        2 => (1_u16..1500).prop_map(Event::Pass),
        8 => fate.prop_map(Event::Try),
        1 => Just(Event::Restart),
        u32::from(with_crashes) => Just(Event::Crash),
    ]
}

struct World {
    folder: tempfile::TempDir,
    counts: Arc<Counts>,
    now: Instant,
    came: u32,
    /// How often each record arrived, and in which order they first did.
    arrived: BTreeMap<u32, u32>,
    order: Vec<u32>,
    /// Batches that were sent again although they had arrived.
    may_be_twice: bool,
}

/// Every seventh record is one that the receiver never takes.
fn is_poison(record: u32) -> bool {
    record % 7 == 3
}

impl World {
    fn lane(&self) -> Lane {
        Lane::new(rules(Some(self.folder.path())), self.counts.clone(), self.now)
    }

    fn arrive(&mut self, batch: &[u32]) {
        for record in batch {
            let times = self.arrived.entry(*record).or_default();
            *times += 1;
            if *times == 1 {
                self.order.push(*record);
            }
        }
    }

    /// Whether it sent something.
    fn attempt(&mut self, lane: &mut Lane, fate: Fate) -> bool {
        let batch: Vec<u32> = match lane.next(self.now) {
            Step::Send(batch) => batch
                .iter()
                .map(|one| std::str::from_utf8(one).expect("text").parse().expect("a number"))
                .collect(),
            Step::Wait(_) | Step::Idle => return false,
        };
        let again = || Outcome::Again { after: None, why: "away".into() };
        let has_poison = batch.iter().any(|record| is_poison(*record));
        let outcome = match fate {
            _ if has_poison && fate != Fate::Again => Outcome::Poison("a poison".into()),
            Fate::Taken | Fate::Judged => {
                self.arrive(&batch);
                Outcome::Taken
            }
            Fate::TakenUnheard => {
                self.arrive(&batch);
                self.may_be_twice = true;
                again()
            }
            Fate::Again => again(),
        };
        lane.done(outcome, self.now);
        true
    }
}

fn play(events: &[Event]) -> World {
    let mut world = World {
        folder: tempfile::tempdir().expect("a folder"),
        counts: Arc::default(),
        now: Instant::now(),
        came: 0,
        arrived: BTreeMap::new(),
        order: Vec::new(),
        may_be_twice: false,
    };
    let mut lane = world.lane();
    for event in events {
        match event {
            Event::Come(count) => {
                for _ in 0..*count {
                    lane.push(world.came.to_string().into(), world.now);
                    world.came += 1;
                }
            }
            Event::Pass(millis) => world.now += Duration::from_millis(u64::from(*millis)),
            Event::Try(fate) => drop(world.attempt(&mut lane, *fate)),
            Event::Restart => {
                lane.close();
                lane = world.lane();
            }
            Event::Crash => {
                drop(lane);
                lane = world.lane();
                world.may_be_twice = true;
            }
        }
    }
    // In the end the receiver is well.
    lane.end(world.now);
    for _ in 0..100_000 {
        if !world.attempt(&mut lane, Fate::Taken) {
            world.now += Duration::from_secs(1);
            if lane.next(world.now) == Step::Idle {
                break;
            }
        }
    }
    lane.close();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_that_was_accepted_is_lost_and_the_order_stays(events in prop::collection::vec(event(false), 1..60)) {
        let world = play(&events);
        let wanted: Vec<u32> = (0..world.came).filter(|record| !is_poison(*record)).collect();
        prop_assert_eq!(&world.order, &wanted);
        let poison = u64::from(world.came) - wanted.len() as u64;
        prop_assert_eq!(world.counts.dropped(Reason::Refused), poison, "each poison alone");
        prop_assert_eq!(world.counts.all_dropped(), poison);
        if !world.may_be_twice {
            prop_assert!(world.arrived.values().all(|times| *times == 1));
            prop_assert_eq!(world.counts.delivered(), wanted.len() as u64);
        }
    }

    #[test]
    fn a_crash_loses_no_more_than_memory_holds_and_mixes_nothing_up(events in prop::collection::vec(event(true), 1..60)) {
        let world = play(&events);
        let crashes = events.iter().filter(|event| matches!(event, Event::Crash)).count();
        let wanted = (0..world.came).filter(|record| !is_poison(*record)).count();
        prop_assert!(wanted - world.order.len() <= crashes * 8, "{} of {wanted}", world.order.len());
        prop_assert!(world.order.is_sorted(), "{:?}", world.order);
        prop_assert_eq!(world.counts.dropped(Reason::Corrupt), 0);
    }
}
