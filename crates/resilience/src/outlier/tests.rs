//! When endpoints are set aside, and when they come back.

use proptest::prelude::*;

use super::*;

fn settings() -> OutlierSettings {
    OutlierSettings {
        consecutive_5xx: 5,
        consecutive_gateway_failure: 3,
        consecutive_local_origin_failure: 2,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(100),
        max_ejection_percent: 10.0,
        success_rate_minimum_hosts: 5,
        success_rate_request_volume: 100,
        success_rate_stdev_factor: 1900,
        failure_percentage_threshold: None,
    }
}

#[track_caller]
fn ejects_after(kinds: &[Kind], expected: usize) {
    let now = Instant::now();
    let (host, settings) = (HostOutlier::new(now), settings());
    let at = kinds.iter().cycle().take(50).position(|kind| host.on_result(&settings, now, *kind));
    assert_eq!(at.map(|index| index + 1), Some(expected));
}

#[test]
fn rows_of_failures_eject_by_their_kind() {
    ejects_after(&[Kind::ServerError], 5);
    ejects_after(&[Kind::GatewayFailure], 3);
    ejects_after(&[Kind::LocalFailure], 2);
}

#[test]
fn one_success_ends_a_row() {
    let now = Instant::now();
    let (host, settings) = (HostOutlier::new(now), settings());
    for _ in 0..20 {
        assert!(!(0..4).any(|_| host.on_result(&settings, now, Kind::ServerError)));
        assert!(!host.on_result(&settings, now, Kind::Success));
    }
}

#[test]
fn each_ejection_is_longer_up_to_the_longest_and_good_times_shorten_it() {
    let start = Instant::now();
    let (host, settings) = (HostOutlier::new(start), settings());
    let mut now = start + Duration::from_secs(1);
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let aside = host.eject(&settings, now).expect("it was in use");
        lengths.push(aside.as_secs());
        assert!(host.is_ejected(now + aside - Duration::from_millis(1)));
        // It is in use for a moment, and fails again.
        now += aside + Duration::from_secs(1);
        assert!(!host.is_ejected(now));
    }
    assert_eq!(lengths, [30, 60, 90, 100]);
    let later = now + Duration::from_secs(3600);
    assert_eq!(host.eject(&settings, later), Some(Duration::from_secs(30)));
}

#[test]
fn one_fault_ejects_once_however_many_calls_were_in_flight() {
    let now = Instant::now();
    let (host, settings) = (HostOutlier::new(now), settings());
    let fail = |at| host.on_result(&settings, at, Kind::LocalFailure);
    assert!(!fail(now) && fail(now));
    assert_eq!(host.eject(&settings, now), Some(settings.base_ejection_time));
    let later = now + Duration::from_millis(10);
    assert!((0..50).all(|_| !fail(later)), "they all were sent before");
    assert_eq!(host.eject(&settings, later), None);
    assert_eq!((host.ejections(), host.ejected_for(now)), (1, Some(settings.base_ejection_time)));
    assert!(!fail(now + settings.base_ejection_time), "its row begins anew");
}

#[test]
fn the_cap_holds_but_at_least_one_of_several_may_go() {
    assert!(may_eject(0, 2, 10.0));
    assert!(!may_eject(1, 2, 10.0));
    assert!(may_eject(1, 20, 10.0));
    assert!(!may_eject(2, 20, 10.0));
    assert!(!may_eject(0, 1, 10.0), "the only endpoint stays");
}

#[test]
fn a_refused_connect_sets_aside_at_once_and_a_good_check_takes_back() {
    let now = Instant::now();
    let host = HostOutlier::new(now);
    host.refuse(now, Duration::from_secs(30));
    assert!(host.is_ejected(now) && host.is_refusing(now));
    assert_eq!(host.ejected_for(now), Some(Duration::from_secs(30)));
    host.forgive();
    assert!(!host.is_ejected(now) && !host.is_refusing(now));
}

fn fill(hosts: &[HostOutlier], rates: &[u32]) {
    let now = Instant::now();
    for (host, rate) in hosts.iter().zip(rates) {
        for number in 0..100 {
            let kind = if number < *rate { Kind::Success } else { Kind::ServerError };
            host.on_result(&settings(), now, kind);
        }
    }
}

#[test]
fn an_endpoint_far_below_its_peers_is_found() {
    let now = Instant::now();
    let hosts: Vec<_> = (0..6).map(|_| HostOutlier::new(now)).collect();
    let all: Vec<_> = hosts.iter().collect();
    fill(&hosts, &[99, 98, 99, 60, 99, 100]);
    assert_eq!(compare(&settings(), &all, now), [3]);
    assert_eq!(compare(&settings(), &all, now), [0usize; 0], "counts begin anew with each interval");
    fill(&hosts, &[99, 98, 99, 98, 99, 100]);
    let found = compare(&settings(), &all, now);
    assert!(!found.contains(&0), "small differences: {found:?}");
}

#[test]
fn a_share_of_failures_ejects_from_its_threshold_on_whatever_the_peers_do() {
    let now = Instant::now();
    let found = |threshold: Option<f64>, stdev_factor: u32, rates: &[u32]| {
        let settings = OutlierSettings {
            failure_percentage_threshold: threshold,
            success_rate_stdev_factor: stdev_factor,
            ..settings()
        };
        let hosts: Vec<_> = rates.iter().map(|_| HostOutlier::new(now)).collect();
        fill(&hosts, rates);
        compare(&settings, &hosts.iter().collect::<Vec<_>>(), now)
    };
    let rates = [100, 60, 61, 59, 80, 0];
    assert_eq!(found(Some(40.0), 0, &rates), [5, 3, 1], "at and above it, the worst first");
    assert_eq!(found(None, 0, &rates), [0usize; 0], "neither is set");
    assert_eq!(found(Some(100.0), 0, &rates), [5]);
    assert_eq!(found(Some(40.0), 0, &[50; 6]).len(), 6, "it looks at no mean");
    assert_eq!(found(None, 1900, &[50; 6]).len(), 0, "where deviation would find nobody");
    // Either of the two is enough.
    let one_bad = [99, 98, 99, 65, 99, 100];
    assert_eq!((found(Some(40.0), 1900, &one_bad), found(Some(30.0), 0, &one_bad)), (vec![3], vec![3]));
    assert_eq!(found(Some(40.0), 0, &[100, 100, 100, 0]), [0usize; 0], "too few peers");
}

#[test]
fn too_few_peers_are_not_compared() {
    let now = Instant::now();
    let hosts: Vec<_> = (0..4).map(|_| HostOutlier::new(now)).collect();
    fill(&hosts, &[100, 100, 100, 0]);
    assert!(compare(&settings(), &hosts.iter().collect::<Vec<_>>(), now).is_empty());
}

proptest! {
    #[test]
    fn whatever_fails_never_more_are_ejected_than_the_cap_or_one(
        steps in proptest::collection::vec((0usize..12, 0u64..20, 0u8..4), 1..400),
        total in 1usize..=12,
        percent in 0u32..=100,
    ) {
        let (settings, start) = (settings(), Instant::now());
        let hosts: Vec<_> = (0..total).map(|_| HostOutlier::new(start)).collect();
        let mut now = start;
        for (which, pause, kind) in steps {
            now += Duration::from_secs(pause);
            let host = &hosts[which % total];
            let kind = [Kind::Success, Kind::ServerError, Kind::GatewayFailure, Kind::LocalFailure][usize::from(kind)];
            let ejected = |hosts: &[HostOutlier]| hosts.iter().filter(|host| host.is_ejected(now)).count();
            if host.on_result(&settings, now, kind)
                && !host.is_ejected(now)
                && may_eject(ejected(&hosts), total, f64::from(percent))
            {
                let aside = host.eject(&settings, now).expect("it was in use");
                prop_assert!(aside >= settings.base_ejection_time && aside <= settings.max_ejection_time);
                prop_assert!(host.is_ejected(now) && !host.is_ejected(now + settings.max_ejection_time));
            }
            let out = ejected(&hosts);
            let cap = (total as f64 * f64::from(percent) / 100.0).floor() as usize;
            prop_assert!(out <= cap.max(1), "{out} of {total} at {percent}%");
            prop_assert!(total > 1 || percent == 100 || out == 0, "the only endpoint stays");
        }
    }

    #[test]
    fn a_comparison_takes_the_worst_and_leaves_the_best(rates in proptest::collection::vec(0u32..=100, 5..12)) {
        let now = Instant::now();
        let hosts: Vec<_> = rates.iter().map(|_| HostOutlier::new(now)).collect();
        fill(&hosts, &rates);
        let found = compare(&settings(), &hosts.iter().collect::<Vec<_>>(), now);
        let mean = rates.iter().sum::<u32>() as f64 / rates.len() as f64;
        prop_assert!(found.iter().all(|index| f64::from(rates[*index]) < mean));
        prop_assert!(found.windows(2).all(|pair| rates[pair[0]] <= rates[pair[1]]), "the worst comes first");
        if let Some(last) = found.last() {
            let worse = rates.iter().enumerate().filter(|(_, rate)| **rate < rates[*last]);
            prop_assert!(worse.map(|(index, _)| index).all(|index| found.contains(&index)));
        }
    }
}
