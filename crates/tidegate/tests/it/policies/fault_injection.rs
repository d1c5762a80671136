//! `faultInjection`.

use std::time::Instant;

use super::{
    super::harness::{Client, Gateway, Upstream},
    ask, guarded, refused, with_policies,
};

#[test]
fn a_share_of_the_calls_is_aborted() {
    let (gateway, upstream) = guarded("[{faultInjection: {abort: {status: 503, percent: 30%}}}]", "");
    let mut client = Client::connect(gateway.address);
    let aborted = (0..1_000).filter(|_| client.get("/").expect("an answer").status == 503).count();
    assert!((220..=380).contains(&aborted), "{aborted} of 1,000");
    assert_eq!(upstream.seen().len(), 1_000 - aborted);
    let (gateway, _upstream) = guarded("[{faultInjection: {abort: {status: 418}}}]", "");
    let answer = ask(&gateway, "/", "");
    assert_eq!((answer.status, answer.problem().as_deref()), (418, Some("injected-fault")));
}

#[test]
fn a_call_waits_as_long_as_it_should_and_no_other_does() {
    let (gateway, _upstream) =
        guarded("[{faultInjection: {delay: {fixed: 300ms, jitter: 100ms}, onlyWhenHeader: x-chaos}}]", "");
    let took = |headers: &str| {
        let start = Instant::now();
        assert_eq!(ask(&gateway, "/", headers).status, 200);
        start.elapsed().as_millis()
    };
    assert!(took("\nx-chaos: 1") >= 300);
    let quick = (0..5).map(|_| took("")).min().expect("a time");
    assert!(quick < 250, "{quick} ms");
}

#[test]
fn only_marked_calls_break_where_that_is_wanted() {
    let (gateway, upstream) =
        guarded("[{faultInjection: {abort: {status: 500}, onlyWhenHeader: x-chaos}}]", "");
    assert_eq!(ask(&gateway, "/", "").status, 200);
    assert_eq!(ask(&gateway, "/", "\nx-chaos:").status, 500, "whatever its value");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_narrow_answer_takes_its_time_and_stays_whole() {
    let upstream = Upstream::fixed(200, &"x".repeat(30_000));
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{faultInjection: {{bandwidth: 50KiB}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    let start = Instant::now();
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.body.len()), (200, 30_000));
    let took = start.elapsed().as_millis();
    assert!(took >= 450, "30,000 bytes at 51,200 a second took {took} ms");
}

#[test]
fn a_fault_that_is_none_is_refused() {
    for (settings, words) in [
        ("{}", "expected `delay`, `abort` or `bandwidth`"),
        ("{abort: {status: 101}}", "faultInjection.abort.status"),
        ("{bandwidth: 0B}", "faultInjection.bandwidth"),
        ("{abort: {status: 500, percent: 101}}", "faultInjection.abort.percent"),
    ] {
        refused(&with_policies(&format!("[{{faultInjection: {settings}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}
