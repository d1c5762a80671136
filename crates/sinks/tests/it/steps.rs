//! What a lane does at which moment: batches, pauses, refusals, bounds.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sinks::{Counts, Lane, Outcome, Reason, Rules, Step};

use crate::rules;

struct Bench {
    lane: Lane,
    counts: Arc<Counts>,
    now: Instant,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        let (counts, now) = (Arc::new(Counts::default()), Instant::now());
        Self { lane: Lane::new(rules, counts.clone(), now), counts, now }
    }

    fn push(&mut self, count: usize) {
        for number in 0..count {
            self.lane.push(format!("record {number}").into(), self.now);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// How many records it wants to send now.
    fn sends(&mut self) -> Option<usize> {
        match self.lane.next(self.now) {
            Step::Send(batch) => Some(batch.len()),
            Step::Wait(_) | Step::Idle => None,
        }
    }

    fn done(&mut self, outcome: Outcome) {
        self.lane.done(outcome, self.now);
    }
}

fn again() -> Outcome {
    Outcome::Again { after: None, why: "away".into() }
}

#[test]
fn a_batch_leaves_when_it_is_full_or_its_oldest_record_has_waited() {
    let mut bench = Bench::new(rules(None));
    bench.push(3);
    assert_eq!(bench.sends(), None);
    bench.pass(999);
    assert_eq!(bench.sends(), None);
    bench.pass(1);
    assert_eq!(bench.sends(), Some(3));
    bench.done(Outcome::Taken);
    bench.push(5);
    assert_eq!(bench.sends(), Some(4), "full");
    bench.done(Outcome::Taken);
    assert_eq!(bench.sends(), None, "the fifth has not waited");
    assert_eq!((bench.counts.delivered(), bench.counts.batches()), (7, 2));
    let mut small = rules(None);
    small.batch.bytes = 20;
    let mut bench = Bench::new(small);
    bench.push(3);
    assert_eq!(bench.sends(), Some(2), "bytes count, too");
}

#[test]
fn what_finds_no_room_is_dropped_and_counted_and_what_is_on_its_way_takes_room() {
    let mut bench = Bench::new(rules(None));
    bench.push(8);
    assert_eq!(bench.sends(), Some(4));
    bench.push(3);
    assert_eq!(bench.counts.dropped(Reason::QueueFull), 3);
    assert_eq!(bench.counts.waiting_records(), 8);
    bench.done(Outcome::Taken);
    bench.push(5);
    assert_eq!(bench.counts.dropped(Reason::QueueFull), 4);
}

#[test]
fn a_pause_follows_a_failure_and_a_receiver_that_names_one_gets_it() {
    let mut bench = Bench::new(rules(None));
    bench.push(4);
    assert_eq!(bench.sends(), Some(4));
    bench.done(again());
    assert!(!bench.counts.is_up() && bench.counts.error().is_some());
    assert_eq!(bench.sends(), None);
    bench.pass(100);
    assert_eq!(bench.sends(), Some(4));
    assert_eq!(bench.counts.retries(), 1);
    bench.done(Outcome::Again { after: Some(Duration::from_secs(30)), why: "slow down".into() });
    bench.pass(29_999);
    assert_eq!(bench.sends(), None);
    bench.pass(1);
    assert_eq!(bench.sends(), Some(4));
    bench.done(Outcome::Taken);
    assert!(bench.counts.is_up() && bench.counts.error().is_none());
}

#[test]
fn a_batch_that_is_never_taken_is_given_up_after_its_time() {
    let mut bench = Bench::new(rules(None));
    bench.push(4);
    for _ in 0..36 {
        if bench.sends().is_some() {
            bench.done(again());
        }
        bench.pass(100_000);
    }
    assert_eq!(bench.counts.dropped(Reason::Unreachable), 0);
    assert_eq!(bench.sends(), Some(4));
    bench.done(again());
    assert_eq!(bench.counts.dropped(Reason::Unreachable), 4);
    assert_eq!(bench.sends(), None);
}

#[test]
fn a_poison_is_found_by_halves_and_a_batch_of_poison_is_not_tried_for_ever() {
    let mut large = rules(None);
    (large.batch.records, large.queue.records) = (1000, 2000);
    let mut bench = Bench::new(large.clone());
    bench.push(1000);
    let mut tries = 0;
    while let Step::Send(batch) = bench.lane.next(bench.now) {
        let is_bad = batch.iter().any(|record| record[..] == b"record 617"[..]);
        bench.done(if is_bad { Outcome::Poison("400".into()) } else { Outcome::Taken });
        tries += 1;
    }
    assert_eq!((bench.counts.delivered(), bench.counts.dropped(Reason::Refused)), (999, 1));
    assert!(tries <= 22, "{tries}");
    let mut bench = Bench::new(large);
    bench.push(1000);
    let mut tries = 0;
    while bench.sends().is_some() {
        bench.done(Outcome::Poison("400".into()));
        tries += 1;
    }
    assert_eq!(bench.counts.dropped(Reason::Refused), 1000);
    assert!(tries < 100, "{tries}");
}

#[test]
fn what_a_receiver_leaves_is_counted_and_what_it_refuses_is_dropped_at_once() {
    let mut bench = Bench::new(rules(None));
    bench.push(4);
    assert_eq!(bench.sends(), Some(4));
    bench.done(Outcome::Partly { rejected: 3, why: "odd".into() });
    bench.push(4);
    assert_eq!(bench.sends(), Some(4));
    bench.done(Outcome::Refused("no".into()));
    let dropped = |reason| bench.counts.dropped(reason);
    assert_eq!((bench.counts.delivered(), dropped(Reason::Partial), dropped(Reason::Refused)), (1, 3, 4));
}

#[test]
fn a_full_queue_spills_in_order_and_a_later_process_goes_on_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::new(rules(Some(folder.path())));
    bench.push(20);
    assert_eq!(bench.counts.all_dropped(), 0);
    assert!(bench.counts.spilled_bytes() > 0);
    assert_eq!(bench.sends(), Some(4));
    bench.done(again());
    bench.lane.close();
    assert_eq!(bench.counts.all_dropped(), 0);
    assert_eq!(all(folder.path()), (0..20).map(|number| format!("record {number}")).collect::<Vec<_>>());
}

/// What a lane of a later process sends.
fn all(folder: &Path) -> Vec<String> {
    let mut bench = Bench::new(rules(Some(folder)));
    let mut found = Vec::new();
    bench.lane.end(bench.now);
    while let Step::Send(batch) = bench.lane.next(bench.now) {
        found.extend(batch.iter().map(|record| String::from_utf8_lossy(record).into_owned()));
        bench.done(Outcome::Taken);
    }
    bench.lane.close();
    found
}

#[test]
fn a_full_spill_drops_what_is_new_and_a_damaged_one_costs_what_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut narrow = rules(Some(folder.path()));
    narrow.spill.as_mut().expect("a spill").bytes = 400;
    let mut bench = Bench::new(narrow);
    bench.push(60);
    let lost = bench.counts.dropped(Reason::QueueFull);
    assert!((20..50).contains(&lost), "{lost}");
    assert_eq!(bench.sends(), Some(4));
    drop(bench);
    let files = std::fs::read_dir(folder.path()).expect("a folder").flatten();
    let mut files: Vec<_> = files.map(|file| file.path()).filter(|path| path.extension().is_some()).collect();
    files.sort();
    let last = files.last().expect("a file");
    let content = std::fs::read(last).expect("a file");
    std::fs::write(last, &content[..content.len() - 2]).expect("a file");
    let counts = Arc::new(Counts::default());
    let now = Instant::now();
    let mut lane = Lane::new(rules(Some(folder.path())), counts.clone(), now);
    lane.end(now);
    while let Step::Send(_) = lane.next(now) {
        lane.done(Outcome::Taken, now);
    }
    // Memory was gone with the process; of what was on disk one record is.
    assert_eq!((counts.dropped(Reason::Corrupt), counts.delivered()), (1, 60 - 8 - lost - 1));
}

#[test]
fn a_folder_that_another_process_has_is_taken_over_when_that_one_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut old = Bench::new(rules(Some(folder.path())));
    let mut new = Bench::new(rules(Some(folder.path())));
    old.push(20);
    new.push(2);
    assert_eq!(new.counts.spilled_bytes(), 0);
    old.lane.close();
    new.pass(1000);
    let mut count = 0;
    new.lane.end(new.now);
    while let Some(sent) = new.sends() {
        count += sent;
        new.done(Outcome::Taken);
    }
    assert_eq!(count, 22);
}
