//! The laws of the breaker.

use proptest::prelude::*;

use super::*;

const TOOK: Duration = Duration::from_millis(5);

fn settings() -> BreakerSettings {
    BreakerSettings {
        failure_rate_threshold: 50.0,
        slow_call_rate_threshold: 100.0,
        slow_call_duration_threshold: Duration::from_secs(10),
        sliding_window: Duration::from_secs(10),
        minimum_number_of_calls: 10,
        wait_duration_in_open_state: Duration::from_secs(2),
        permitted_number_of_calls_in_half_open_state: 2,
        max_wait_duration_in_half_open_state: Duration::from_secs(30),
    }
}

fn call(breaker: &Arc<Breaker>, now: Instant, outcome: Outcome) -> Option<Transition> {
    breaker.try_acquire(now).ok()?.record(now, TOOK, outcome)
}

/// A breaker that has just opened.
fn opened(now: Instant) -> Arc<Breaker> {
    let breaker = Breaker::new(settings(), now);
    (0..10).for_each(|_| _ = call(&breaker, now, Outcome::Failure));
    assert_eq!(breaker.state(now), State::Open);
    breaker
}

#[test]
fn it_trips_at_the_threshold_and_not_below() {
    let now = Instant::now();
    let breaker = Breaker::new(settings(), now);
    (0..6).for_each(|_| _ = call(&breaker, now, Outcome::Success));
    (0..5).for_each(|_| assert_eq!(call(&breaker, now, Outcome::Failure), None, "5 of 11 are below half"));
    let tripped = call(&breaker, now, Outcome::Failure);
    assert_eq!(tripped, Some(Transition { from: State::Closed, to: State::Open }), "6 of 12 are half");
}

#[test]
fn slow_calls_trip_it_too() {
    let now = Instant::now();
    let breaker = Breaker::new(settings(), now);
    for _ in 0..10 {
        let permit = breaker.try_acquire(now).expect("closed");
        let _ = permit.record(now, Duration::from_secs(11), Outcome::Success);
    }
    assert_eq!(breaker.state(now), State::Open);
}

#[test]
fn old_results_are_forgotten() {
    let now = Instant::now();
    let breaker = Breaker::new(settings(), now);
    (0..9).for_each(|_| _ = call(&breaker, now, Outcome::Failure));
    let later = now + Duration::from_secs(11);
    assert_eq!(call(&breaker, later, Outcome::Failure), None);
    assert_eq!(breaker.status(later).calls, 1);
}

#[test]
fn open_refuses_until_its_wait_is_over_and_says_how_long() {
    let now = Instant::now();
    let breaker = opened(now);
    let refused = breaker.try_acquire(now + Duration::from_millis(500)).expect_err("open");
    assert_eq!(refused, Rejected { retry_after: Duration::from_millis(1500), state: State::Open });
    assert_eq!(breaker.status(now).not_permitted, 1);
    assert_eq!(breaker.state(now + Duration::from_secs(2)), State::HalfOpen);
}

#[test]
fn trial_calls_that_succeed_close_it() {
    let now = Instant::now();
    let breaker = opened(now);
    let later = now + Duration::from_secs(2);
    assert_eq!(call(&breaker, later, Outcome::Success), None);
    let closed = call(&breaker, later, Outcome::Success);
    assert_eq!(closed, Some(Transition { from: State::HalfOpen, to: State::Closed }));
    assert_eq!(breaker.status(later).calls, 0, "it begins with a clean window");
}

#[test]
fn trial_calls_that_fail_open_it_again() {
    let now = Instant::now();
    let breaker = opened(now);
    let later = now + Duration::from_secs(2);
    let _ = call(&breaker, later, Outcome::Success);
    assert_eq!(
        call(&breaker, later, Outcome::Failure),
        Some(Transition { from: State::HalfOpen, to: State::Open })
    );
}

#[test]
fn breaker_half_open_permit_returns_when_the_client_leaves() {
    let now = Instant::now();
    let breaker = opened(now);
    let later = now + Duration::from_secs(2);
    for _ in 0..100 {
        let permits: Vec<_> = std::iter::from_fn(|| breaker.try_acquire(later).ok()).take(10).collect();
        assert_eq!(permits.len(), 2, "all permits are free again");
    }
    let permit = breaker.try_acquire(later).expect("free");
    let _ = permit.record(later, TOOK, Outcome::Ignored);
    assert!(breaker.try_acquire(later).is_ok());
}

#[test]
fn half_open_without_results_does_not_last_for_ever() {
    let now = Instant::now();
    let breaker = opened(now);
    let later = now + Duration::from_secs(2);
    let _held: Vec<_> = std::iter::from_fn(|| breaker.try_acquire(later).ok()).take(2).collect();
    assert_eq!(breaker.state(later + Duration::from_secs(30)), State::Open);
}

#[test]
fn a_result_from_an_earlier_state_does_not_count() {
    let now = Instant::now();
    let breaker = Breaker::new(settings(), now);
    let stragglers: Vec<_> = (0..5).filter_map(|_| breaker.try_acquire(now).ok()).collect();
    (0..10).for_each(|_| _ = call(&breaker, now, Outcome::Failure));
    let later = now + Duration::from_secs(2);
    assert_eq!(breaker.state(later), State::HalfOpen);
    for straggler in stragglers {
        assert_eq!(straggler.record(later, TOOK, Outcome::Failure), None);
    }
    assert_eq!(breaker.state(later), State::HalfOpen);
}

#[test]
fn an_operator_can_force_it() {
    let now = Instant::now();
    let breaker = Breaker::new(settings(), now);
    breaker.force(State::ForcedOpen, now);
    assert!(breaker.try_acquire(now + Duration::from_secs(3600)).is_err());
    breaker.force(State::Disabled, now);
    (0..100).for_each(|_| assert_eq!(call(&breaker, now, Outcome::Failure), None));
    breaker.reset(now);
    assert_eq!(breaker.state(now), State::Closed);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u16),
    Acquire,
    Drop,
    Record(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0u16..3000).prop_map(Step::Wait),
        3 => Just(Step::Acquire),
        1 => Just(Step::Drop),
        3 => any::<bool>().prop_map(Step::Record),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_half_open_admits_no_more_than_permitted(steps in proptest::collection::vec(step(), 1..300)) {
        let mut now = Instant::now();
        let breaker = Breaker::new(settings(), now);
        let mut held: Vec<Permit> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(u64::from(millis)),
                Step::Acquire => {
                    let state = breaker.state(now);
                    match breaker.try_acquire(now) {
                        Ok(permit) => {
                            prop_assert!(matches!(state, State::Closed | State::HalfOpen));
                            held.push(permit);
                        }
                        Err(refused) => prop_assert!(refused.state != State::Closed),
                    }
                }
                Step::Drop => drop(held.pop()),
                Step::Record(is_good) => {
                    if let Some(permit) = held.pop() {
                        let outcome = if is_good { Outcome::Success } else { Outcome::Failure };
                        let _ = permit.record(now, TOOK, outcome);
                    }
                }
            }
            let trials = breaker.lock().trials;
            prop_assert!(trials <= 2);
        }
        // Never stuck: with everything given back, a call is let through in bounded time.
        held.clear();
        let later = now + Duration::from_secs(2);
        prop_assert!(breaker.try_acquire(later).is_ok() || breaker.try_acquire(later + Duration::from_secs(32)).is_ok());
    }

    #[test]
    fn it_opens_at_the_first_result_that_makes_the_share_and_not_before(
        results in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..60),
        threshold in 1u32..=100,
        slow_threshold in 1u32..=100,
        minimum in 1u32..20,
    ) {
        let now = Instant::now();
        let breaker = Breaker::new(BreakerSettings {
            failure_rate_threshold: f64::from(threshold),
            slow_call_rate_threshold: f64::from(slow_threshold),
            minimum_number_of_calls: minimum,
            ..settings()
        }, now);
        let (mut calls, mut failed, mut slow) = (0, 0, 0);
        for (fails, is_slow) in results {
            let Ok(permit) = breaker.try_acquire(now) else { break };
            let took = if is_slow { Duration::from_secs(11) } else { TOOK };
            let outcome = if fails { Outcome::Failure } else { Outcome::Success };
            let opened = permit.record(now, took, outcome).is_some();
            calls += 1;
            failed += u32::from(fails);
            slow += u32::from(is_slow);
            let expected = calls >= minimum
                && (failed * 100 >= threshold * calls || slow * 100 >= slow_threshold * calls);
            prop_assert_eq!(opened, expected, "{} of {} failed, {} slow", failed, calls, slow);
        }
    }

    #[test]
    fn half_open_is_decided_by_exactly_its_trials(
        outcomes in proptest::collection::vec(any::<bool>(), 2),
        ignored in 0usize..5,
    ) {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + Duration::from_secs(2);
        for _ in 0..ignored {
            prop_assert_eq!(call(&breaker, later, Outcome::Ignored), None, "what is no result decides nothing");
        }
        let transitions: Vec<_> = outcomes
            .iter()
            .map(|is_good| call(&breaker, later, if *is_good { Outcome::Success } else { Outcome::Failure }))
            .collect();
        prop_assert_eq!(transitions[0], None);
        // One failure of two is the threshold of half.
        let to = if outcomes.iter().all(|is_good| *is_good) { State::Closed } else { State::Open };
        prop_assert_eq!(transitions[1], Some(Transition { from: State::HalfOpen, to }));
    }

    #[test]
    fn fewer_calls_than_the_minimum_never_open_it(outcomes in proptest::collection::vec(any::<bool>(), 0..10)) {
        let now = Instant::now();
        let breaker = Breaker::new(settings(), now);
        for is_good in outcomes.into_iter().take(9) {
            let _ = call(&breaker, now, if is_good { Outcome::Success } else { Outcome::Failure });
        }
        prop_assert_eq!(breaker.state(now), State::Closed);
    }
}
