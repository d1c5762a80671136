//! Laws of fair places.

use super::*;

fn class(weight: u32, guaranteed: usize) -> ClassSettings {
    ClassSettings { weight, guaranteed, most: usize::MAX, waiting: 1000 }
}

fn served(turn: &mut Turn) -> Option<Result<Place, Full>> {
    match Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Serves all turns one after the other on one place; the classes in the order in which they were served.
fn order(mut place: Option<Place>, mut turns: Vec<(usize, Turn)>) -> Vec<usize> {
    let mut order = Vec::new();
    while !turns.is_empty() {
        drop(place.take());
        let at = turns.iter_mut().position(|(_, turn)| {
            place = served(turn).map(|outcome| outcome.expect("a place"));
            place.is_some()
        });
        order.push(turns.remove(at.expect("somebody is served")).0);
    }
    order
}

#[test]
fn places_that_many_wait_for_go_by_weight_and_none_starves() {
    let fair = Fair::new(1, [class(8, 0), class(1, 0)]);
    let place = fair.try_enter(0);
    let turns = (0..180).map(|n| (n % 2, fair.wait(n % 2, 0).expect("room"))).collect();
    let order = order(place, turns);
    let heavy = order[..90].iter().filter(|class| **class == 0).count();
    assert_eq!(heavy, 80, "of ninety places eighty are the heavier class's while both wait");
    assert!(order[..9].contains(&1), "the lighter one is served among the first nine");
}

#[test]
fn what_is_kept_for_a_class_is_there_whatever_others_do() {
    let fair = Fair::new(4, [class(1, 2), class(100, 0)]);
    let crowd: Vec<Place> = std::iter::from_fn(|| fair.try_enter(1)).collect();
    assert_eq!(crowd.len(), 2);
    let waiting: Vec<Turn> = (0..50).map(|_| fair.wait(1, 0).expect("room")).collect();
    let mut own = fair.wait(0, 0).expect("a turn");
    let first = served(&mut own).expect("at once").expect("a place");
    let mut second = fair.wait(0, 0).expect("a turn");
    assert!(matches!(served(&mut second), Some(Ok(_))));
    assert_eq!((fair.in_flight(1), fair.waiting(1)), (2, 50));
    drop((first, waiting, crowd));
}

#[test]
fn a_class_has_no_more_than_it_may() {
    let fair = Fair::new(10, [ClassSettings { most: 3, ..class(1, 1) }, class(1, 0)]);
    let held: Vec<Place> = std::iter::from_fn(|| fair.try_enter(0)).collect();
    assert_eq!(held.len(), 3);
    let mut waits = fair.wait(0, 0).expect("a turn");
    assert!(served(&mut waits).is_none());
    let others: Vec<Place> = (0..6)
        .map_while(|_| {
            let mut turn = fair.wait(1, 0).ok()?;
            served(&mut turn)?.ok()
        })
        .collect();
    assert_eq!(others.len(), 6, "who waits for its own bound is in nobody's way");
    drop(held);
    assert!(matches!(served(&mut waits), Some(Ok(_))));
}

#[test]
fn callers_of_a_class_take_turns() {
    let fair = Fair::new(1, [class(1, 0)]);
    let place = fair.try_enter(0);
    let callers = [7, 7, 7, 7, 8, 9];
    let mut turns: Vec<(u64, Turn)> =
        callers.map(|caller| (caller, fair.wait(0, caller).expect("room"))).into();
    let (mut place, mut order) = (place, Vec::new());
    while !turns.is_empty() {
        drop(place.take());
        let at = turns.iter_mut().position(|(_, turn)| {
            place = served(turn).map(|outcome| outcome.expect("a place"));
            place.is_some()
        });
        order.push(turns.remove(at.expect("somebody")).0);
    }
    assert_eq!(order, [7, 8, 9, 7, 7, 7]);
}

#[test]
fn a_full_queue_has_room_for_whoever_has_less_in_it() {
    let fair = Fair::new(1, [ClassSettings { waiting: 3, ..class(1, 0) }]);
    let _place = fair.try_enter(0);
    let mut greedy: Vec<Turn> = (0..3).map(|_| fair.wait(0, 1).expect("room")).collect();
    assert!(fair.wait(0, 1).is_err());
    let _modest = fair.wait(0, 2).expect("room is made");
    assert!(matches!(served(&mut greedy[2]), Some(Err(Full))), "the last of the greedy one goes");
    assert!(served(&mut greedy[1]).is_none());
    let _third = fair.wait(0, 3).expect("room is made again");
    assert!(fair.wait(0, 4).is_err(), "each of three has one");
    assert_eq!(fair.waiting(0), 3);
}

#[test]
fn long_lines_cost_each_of_them_little() {
    const MANY: u64 = 100_000;
    let fair = Fair::new(1, [ClassSettings { waiting: MANY as usize, ..class(1, 0) }]);
    let mut place = fair.try_enter(0);
    let turns: Vec<Turn> = (0..MANY).map(|caller| fair.wait(0, caller).expect("room")).collect();
    let began = std::time::Instant::now();
    // Each further caller has as few as all others, and none gives way.
    assert!((0..20_000).all(|more| fair.wait(0, MANY + more).is_err()));
    for mut turn in turns {
        drop(place.take());
        place = served(&mut turn).map(|outcome| outcome.expect("a place"));
        assert!(place.is_some(), "in the order in which they came");
    }
    // And so it is when all of them are one caller's.
    let turns: Vec<Turn> = (0..MANY).map(|_| fair.wait(0, 0).expect("room")).collect();
    for mut turn in turns {
        drop(place.take());
        place = served(&mut turn).map(|outcome| outcome.expect("a place"));
        assert!(place.is_some(), "in the order in which they came");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn where_nobody_may_wait_a_place_that_is_kept_is_there_all_the_same() {
    let fair = Fair::new(2, [ClassSettings { waiting: 0, ..class(1, 1) }, class(1, 0)]);
    let _crowd = fair.try_enter(1).expect("the other place");
    let _waits = fair.wait(1, 0).expect("room");
    let own = fair.try_enter(0).expect("its own");
    assert!(fair.try_enter(0).is_none() && fair.wait(0, 0).is_err());
    drop(own);
    assert!(matches!(fair.wait(0, 0).as_mut().map(served), Ok(Some(Ok(_)))));
}

#[test]
fn whoever_leaves_gives_back_what_was_kept_for_it() {
    let fair = Fair::new(1, [class(1, 0)]);
    let place = fair.try_enter(0).expect("free");
    let (first, mut second) = (fair.wait(0, 0).expect("a turn"), fair.wait(0, 0).expect("a turn"));
    drop(place);
    drop(first);
    let place = served(&mut second).expect("its turn");
    drop((place, second));
    assert_eq!((fair.in_flight(0), fair.waiting(0)), (0, 0));
    assert!(fair.try_enter(0).is_some());
}

#[test]
fn guarantees_beyond_the_places_are_cut() {
    let fair = Fair::new(2, [class(1, 5), class(1, 5)]);
    assert_eq!(std::iter::from_fn(|| fair.try_enter(0)).take(9).collect::<Vec<_>>().len(), 2);
    let _all: Vec<_> = std::iter::from_fn(|| fair.try_enter(0)).collect();
}

#[test]
fn whoever_waits_is_served_whatever_threads_do() {
    let fair = Fair::new(3, [class(3, 1), ClassSettings { most: 2, ..class(1, 0) }]);
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let fair = &fair;
            scope.spawn(move || {
                let index = (thread % 2) as usize;
                for round in 0..2_000_u64 {
                    if round % 3 == 0
                        && let Some(place) = fair.try_enter(index)
                    {
                        drop(place);
                        continue;
                    }
                    let Ok(mut turn) = fair.wait(index, thread) else { continue };
                    if round % 7 == 0 {
                        continue;
                    }
                    let place = loop {
                        if let Some(outcome) = served(&mut turn) {
                            break outcome;
                        }
                        std::thread::yield_now();
                    };
                    assert!(fair.in_flight(0) <= 3 && fair.in_flight(1) <= 2);
                    drop(place);
                }
            });
        }
    });
    for class in [0, 1] {
        assert_eq!((fair.in_flight(class), fair.waiting(class)), (0, 0));
    }
}

proptest::proptest! {
    /// Whatever comes and goes, nobody has more than there is, and nobody waits beside a free place.
    #[test]
    fn no_place_is_free_beside_one_who_may_have_it(
        steps in proptest::collection::vec((0_u8..4, 0_usize..3, 0_u64..3), 1..200),
        guaranteed in 0_usize..3,
    ) {
        let places = 4;
        let settings = [class(4, guaranteed), class(1, 1), ClassSettings { most: 1, ..class(2, 0) }];
        let fair = Fair::new(places, settings.clone());
        let (mut held, mut turns): (Vec<Place>, Vec<Turn>) = Default::default();
        for (what, index, caller) in steps {
            match what {
                0 => held.extend(fair.try_enter(index)),
                1 => turns.extend(fair.wait(index, caller).ok()),
                2 if !held.is_empty() => _ = held.swap_remove(caller as usize % held.len()),
                _ if !turns.is_empty() => _ = turns.remove(caller as usize % turns.len()),
                _ => {}
            }
            turns.retain_mut(|turn| match served(turn) {
                Some(outcome) => { held.extend(outcome.ok()); false }
                None => true,
            });
            let flying: Vec<usize> = (0..3).map(|class| fair.in_flight(class)).collect();
            proptest::prop_assert_eq!(flying.iter().sum::<usize>(), held.len());
            proptest::prop_assert!(held.len() <= places && flying[2] <= 1);
            for (index, class) in fair.classes.iter().enumerate() {
                let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
                if fair.waiting(index) > 0 {
                    let most = class.settings.most - class.settings.guaranteed;
                    proptest::prop_assert_eq!(count(&class.kept), class.settings.guaranteed);
                    proptest::prop_assert!(count(&class.open) == most || count(&fair.taken) == fair.open);
                }
            }
        }
        drop((held, turns));
        proptest::prop_assert_eq!((0..3).map(|class| fair.in_flight(class)).sum::<usize>(), 0);
    }
}
