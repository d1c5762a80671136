//! The laws of the balancers.

use proptest::prelude::*;

use super::*;

fn members(weights: &[u32]) -> Vec<Member> {
    weights
        .iter()
        .enumerate()
        .map(|(index, weight)| Member {
            weight: *weight,
            load: Arc::new(EndpointLoad::new(Duration::from_secs(10), Instant::now())),
            hash_name: format!("10.0.0.{index}:80").into(),
        })
        .collect()
}

const ALL: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::LeastRequest,
    Algorithm::PeakEwma,
    Algorithm::Random,
    Algorithm::RingHash { points: 160 },
    Algorithm::Maglev,
];

fn shares(balancer: &Balancer, picks: usize, usable: impl Fn(usize) -> bool) -> Vec<f64> {
    let now = Instant::now();
    let mut counts = vec![0.0; balancer.members.len()];
    for number in 0..picks as u64 {
        let is_hashed = matches!(balancer.way, Way::Ring(_) | Way::Maglev(_));
        let hash = is_hashed.then(|| mix(number ^ 7));
        let picked = balancer.pick(now, mix(number), hash, &usable);
        counts[picked.expect("one is usable")] += 1.0 / picks as f64;
    }
    counts
}

#[track_caller]
fn about(found: &[f64], expected: &[f64], slack: f64) {
    let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= slack);
    assert!(close, "{found:?} is not about {expected:?}");
}

#[test]
fn round_robin_goes_by_weight_and_smoothly() {
    let balancer = Balancer::new(Algorithm::RoundRobin, members(&[5, 1, 1]), None);
    let now = Instant::now();
    let turns: Vec<_> = (0..7).filter_map(|_| balancer.pick(now, 0, None, |_| true)).collect();
    assert_eq!(turns.iter().filter(|turn| **turn == 0).count(), 5);
    assert!(turns.windows(4).all(|four| four.iter().any(|turn| *turn != 0)), "no long runs: {turns:?}");
}

#[test]
fn weighted_algorithms_keep_shares() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::Random] {
        about(
            &shares(&Balancer::new(algorithm, members(&[1, 2, 1]), None), 20_000, |_| true),
            &[0.25, 0.5, 0.25],
            0.02,
        );
    }
    for algorithm in [Algorithm::RingHash { points: 500 }, Algorithm::Maglev] {
        about(
            &shares(&Balancer::new(algorithm, members(&[1, 2, 1]), None), 20_000, |_| true),
            &[0.25, 0.5, 0.25],
            0.05,
        );
    }
}

#[test]
fn the_share_of_one_that_is_out_goes_to_all_others() {
    for algorithm in ALL {
        let found =
            shares(&Balancer::new(algorithm, members(&[1, 1, 1, 1]), None), 20_000, |index| index != 2);
        about(&found, &[0.333, 0.333, 0.0, 0.333], 0.12);
        assert_eq!(found[2], 0.0, "{algorithm:?}");
    }
}

#[test]
fn least_request_avoids_the_busy_one() {
    let all = members(&[1, 1]);
    let _busy: Vec<_> = (0..10).map(|_| all[0].load.enter()).collect();
    let found = shares(&Balancer::new(Algorithm::LeastRequest, all, None), 1000, |_| true);
    assert_eq!(found[0], 0.0, "of two, always the less busy one");
}

#[test]
fn peak_ewma_avoids_the_slow_one() {
    let all = members(&[1, 1]);
    all[0].load.observe(Instant::now(), Duration::from_millis(300));
    all[1].load.observe(Instant::now(), Duration::from_millis(3));
    let found = shares(&Balancer::new(Algorithm::PeakEwma, all, None), 1000, |_| true);
    assert!(found[1] > 0.95, "{found:?}");
}

#[test]
fn a_member_that_leaves_moves_its_own_keys_and_few_others() {
    let before = members(&[1; 10]);
    let after: Vec<_> = before.iter().filter(|member| &*member.hash_name != "10.0.0.3:80").cloned().collect();
    for algorithm in ALL {
        let (old, new) =
            (Balancer::new(algorithm, before.clone(), None), Balancer::new(algorithm, after.clone(), None));
        let now = Instant::now();
        let moved = (0..10_000u64)
            .filter(|key| {
                let name = |balancer: &Balancer| {
                    let index = balancer.pick(now, 0, Some(mix(*key)), |_| true).expect("usable");
                    balancer.members[index].hash_name.clone()
                };
                let was = name(&old);
                &*was != "10.0.0.3:80" && was != name(&new)
            })
            .count();
        let bound = if algorithm == Algorithm::Maglev { 500 } else { 0 };
        assert!(moved <= bound, "{algorithm:?} moved {moved} of 10,000 keys that could have stayed");
    }
}

#[test]
fn the_same_key_always_meets_the_same_endpoint() {
    for algorithm in ALL {
        let balancer = Balancer::new(algorithm, members(&[1; 5]), None);
        let now = Instant::now();
        let picks: std::collections::BTreeSet<_> =
            (0..100).map(|random| balancer.pick(now, random, Some(42), |_| true)).collect();
        assert_eq!(picks.len(), 1);
    }
}

#[test]
fn tied_clients_are_shared_out_by_weight() {
    let balancer = Balancer::new(Algorithm::RoundRobin, members(&[1, 3]), None);
    let now = Instant::now();
    let second =
        (0..10_000).filter(|key| balancer.pick(now, 0, Some(mix(*key)), |_| true) == Some(1)).count();
    assert!((7_200..=7_800).contains(&second), "{second} of 10,000");
}

#[test]
fn a_new_endpoint_grows_to_its_share() {
    let start = Instant::now();
    let all = members(&[1, 1]);
    all[1].load.warm_up(start);
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::Random, Algorithm::PeakEwma]
    {
        let balancer = Balancer::new(algorithm, all.clone(), Some(Duration::from_secs(100)));
        let share = |after: u64| {
            let now = start + Duration::from_secs(after);
            (0..10_000u64).filter(|n| balancer.pick(now, mix(*n), None, |_| true) == Some(1)).count() as f64
                / 1e4
        };
        let (cold, warm, hot) = (share(1), share(50), share(100));
        assert!(cold < 0.2, "{algorithm:?} {cold}");
        assert!(cold < warm && warm < hot, "{algorithm:?} {cold} {warm} {hot}");
        assert!((0.45..0.55).contains(&hot), "{algorithm:?} {hot}");
        // One that comes back grows anew.
        all[1].load.warm_up(start + Duration::from_secs(200));
        let back = share(201);
        assert!(back < 0.2, "{algorithm:?} {back}");
        all[1].load.warm_up(start);
    }
}

#[test]
fn least_request_and_peak_ewma_weigh_load_by_weight() {
    // Calls that never end: what is drawn to an endpoint stays there, so that loads settle by weight.
    for algorithm in [Algorithm::LeastRequest, Algorithm::PeakEwma] {
        let all = members(&[1, 2, 1]);
        let balancer = Balancer::new(algorithm, all.clone(), None);
        let now = Instant::now();
        let held: Vec<_> = (0..4_000u64)
            .filter_map(|number| balancer.pick(now, mix(number), None, |_| true))
            .map(|index| all[index].load.enter())
            .collect();
        let found: Vec<_> =
            all.iter().map(|one| f64::from(one.load.in_flight()) / held.len() as f64).collect();
        about(&found, &[0.25, 0.5, 0.25], 0.03);
    }
}

#[test]
fn panic_begins_below_the_threshold() {
    assert!(!panics(1, 2, 50.0));
    assert!(panics(1, 3, 50.0));
    assert!(!panics(0, 3, 0.0), "a threshold of zero never panics");
}

proptest! {
    #[test]
    fn a_cycle_gives_each_exactly_its_weight(weights in proptest::collection::vec(0u32..50, 1..12)) {
        let cycle = WeightedCycle::new(&weights);
        let sum: u32 = weights.iter().sum();
        prop_assert_eq!(cycle.is_empty(), sum == 0);
        let mut counts = vec![0u32; weights.len()];
        for _ in 0..sum {
            if let Some(index) = cycle.next() {
                counts[index] += 1;
            }
        }
        prop_assert_eq!(counts, weights);
    }

    #[test]
    fn shares_hold_in_every_stretch_of_a_cycle(weights in proptest::collection::vec(1u32..30, 1..8), stretch in 1usize..200) {
        let cycle = WeightedCycle::new(&weights);
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut counts = vec![0f64; weights.len()];
        for _ in 0..stretch {
            counts[cycle.next().expect("not empty")] += 1.0;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let fair = stretch as f64 * f64::from(*weight) / sum;
            prop_assert!((count - fair).abs() <= weights.len() as f64, "{} against {}", count, fair);
        }
    }

    #[test]
    fn what_is_not_usable_is_never_picked_and_what_is_always_found(
        weights in proptest::collection::vec(1u32..9, 1..20),
        mask in any::<u32>(),
        random in any::<u64>(),
    ) {
        let usable = |index: usize| mask >> (index % 32) & 1 == 1;
        let some = (0..weights.len()).any(usable);
        for algorithm in ALL {
            if matches!(algorithm, Algorithm::Maglev) && random % 16 != 0 {
                continue;
            }
            let balancer = Balancer::new(algorithm, members(&weights), None);
            let picked = balancer.pick(Instant::now(), random, Some(random), usable);
            prop_assert_eq!(picked.is_some(), some, "{:?}", algorithm);
            prop_assert!(picked.is_none_or(usable));
        }
    }

    #[test]
    fn shares_follow_weights_whatever_they_are(weights in proptest::collection::vec(1u32..8, 2..8)) {
        let sum: u32 = weights.iter().sum();
        let fair: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) / f64::from(sum)).collect();
        for (algorithm, slack) in [
            (Algorithm::RoundRobin, 0.005),
            (Algorithm::Random, 0.05),
            (Algorithm::RingHash { points: 400 }, 0.1),
            (Algorithm::Maglev, 0.05),
        ] {
            let found = shares(&Balancer::new(algorithm, members(&weights), None), 4_000, |_| true);
            let close = found.iter().zip(&fair).all(|(found, fair)| (found - fair).abs() <= slack);
            prop_assert!(close, "{:?}: {:?} is not about {:?}", algorithm, found, fair);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_hashed_and_drawn_shares_follow_any_weights(
        weights in proptest::collection::vec(1u32..9, 2..8),
        seed in any::<u64>(),
    ) {
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for algorithm in [Algorithm::RoundRobin, Algorithm::Random, Algorithm::RingHash { points: 1_000 }, Algorithm::Maglev] {
            let balancer = Balancer::new(algorithm, members(&weights), None);
            let now = Instant::now();
            let mut counts = vec![0u32; weights.len()];
            for number in 0..4_000u64 {
                let word = mix(seed ^ number);
                counts[balancer.pick(now, word, Some(mix(word)), |_| true).expect("all are usable")] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let (share, fair) = (f64::from(*count) / 4_000.0, f64::from(*weight) / sum);
                prop_assert!((share - fair).abs() < 0.06, "{:?}: {} against {} of {:?}", algorithm, share, fair, weights);
            }
        }
    }
}

#[test]
fn a_hash_falls_by_weight_and_moves_only_from_what_goes_or_gets_less() {
    let falls = |weights: [u32; 3], hash: u64| {
        let all = ["a", "b", "c"].into_iter().zip(weights).filter(|(_, weight)| *weight > 0);
        all.max_by(|one, other| pull(hash, one.0, one.1).total_cmp(&pull(hash, other.0, other.1)))
            .expect("one")
            .0
    };
    let count = |name: &str| (0..10_000).filter(|key| falls([1, 2, 1], mix(*key)) == name).count();
    assert!((4_700..=5_300).contains(&count("b")), "{}", count("b"));
    for key in (0..10_000).map(mix) {
        let before = falls([1, 2, 1], key);
        for (weights, less) in [([1, 0, 1], "b"), ([1, 1, 1], "b"), ([0, 2, 1], "a"), ([1, 2, 0], "c")] {
            assert!(before == less || falls(weights, key) == before, "{key}: only {less} gives up any");
        }
    }
}
