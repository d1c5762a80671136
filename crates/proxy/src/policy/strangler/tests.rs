//! Who moves, and who does not.

use std::time::Duration;

use resilience::cutover::Cutover;

use super::*;
use crate::policy::testing::{call, with_claims, with_header};

fn key(settings: serde_json::Value, seed: &str) -> Key {
    Key::compile(&serde_json::from_value(settings).expect("good settings"), seed)
}

fn from(address: &str) -> Call {
    let mut call = call("GET", "/");
    call.client = address.parse().expect("an address");
    call
}

fn standing(configured: f64, fallback: Option<StranglerFallback>) -> Standing {
    Standing {
        rule: "r".into(),
        to: "new".into(),
        configured,
        progress: Arc::default(),
        cutover: fallback.map(|fallback| Arc::new(Cutover::new(cutover(&fallback), Instant::now()))),
    }
}

#[test]
fn a_larger_share_moves_further_callers_and_none_back() {
    let key = key(serde_json::json!({"header": "x-user"}), "shop");
    let now = Instant::now();
    let shares: Vec<Standing> = [0.0, 0.05, 0.25, 0.5, 1.0].map(|share| standing(share, None)).into();
    let mut counts = [0; 5];
    for user in 0..4000 {
        let (place, _) = key.place(&with_header(call("GET", "/"), "x-user", &format!("user-{user}")));
        let sides: Vec<bool> = shares.iter().map(|share| share.side(place, None, now).0).collect();
        assert!(sides.is_sorted(), "{sides:?}");
        sides.iter().zip(&mut counts).for_each(|(is_new, count)| *count += u32::from(*is_new));
    }
    assert_eq!((counts[0], counts[4]), (0, 4000));
    assert!((140..260).contains(&counts[1]) && (900..1100).contains(&counts[2]), "{counts:?}");
}

/// These are written down: a gateway of another release must have the same callers on the same sides.
#[test]
fn places_are_the_same_on_every_gateway() {
    let key = key(serde_json::json!({"header": "x-user"}), "shop");
    let place = |user: &str| (key.place(&with_header(call("GET", "/"), "x-user", user)).0 * 1e6) as u64;
    assert_eq!([place("ann"), place("bob"), place("eve")], PLACES);
}

const PLACES: [u64; 3] = [152_492, 972_660, 46_374];

#[test]
fn callers_are_told_apart_by_what_they_show_and_by_their_address_otherwise() {
    let by_claim = key(serde_json::json!({"claim": "sub"}), "s");
    let claims = |sub: &str| with_claims(call("GET", "/"), &format!(r#"{{"sub":"{sub}"}}"#));
    let place = |call: &Call| by_claim.place(call).0;
    assert_eq!(place(&claims("a")), place(&claims("a")));
    assert_ne!(place(&claims("a")), place(&claims("b")));
    assert_eq!(place(&from("192.0.2.9")), place(&from("::ffff:192.0.2.9")));
    assert_ne!(place(&from("192.0.2.9")), place(&from("192.0.2.8")));
    assert_eq!(place(&from("2001:db8::1")), place(&from("2001:db8::ffff:2")));
    let other = key(serde_json::json!({"claim": "sub"}), "t");
    assert_ne!(other.place(&claims("a")).0, place(&claims("a")), "another seed, other callers");
}

#[test]
fn a_cookie_is_given_once_and_counts_from_the_first_call_on() {
    let key = key(serde_json::json!({"cookie": {"name": "sid", "issue": true}}), "s");
    let (place, given) = key.place(&call("GET", "/"));
    let given = given.expect("a cookie");
    let text = given.to_str().expect("text");
    let value = text.strip_prefix("sid=").and_then(|rest| rest.split(';').next()).expect("a value");
    let next = with_header(call("GET", "/"), "cookie", &format!("a=b; sid={value}"));
    assert_eq!(key.place(&next), (place, None));
}

#[test]
fn an_operator_comes_before_testers_and_testers_before_failures() {
    let fallback = StranglerFallback { minimum_calls: 1, ..StranglerFallback::default() };
    let standing = standing(0.5, Some(fallback));
    let now = Instant::now();
    assert_eq!(standing.side(0.4, None, now), (true, "share"));
    assert_eq!(standing.side(0.6, None, now), (false, "share"));
    assert_eq!(standing.side(0.6, Some(true), now), (true, "override"));
    let cutover = standing.cutover.clone().expect("there is one");
    assert!(cutover.on_result(now, now, true).is_some());
    assert_eq!(standing.side(0.4, None, now), (false, "returned"));
    assert_eq!(standing.side(0.6, None, now), (false, "share"), "it never was on the other side");
    assert_eq!(standing.side(0.4, Some(true), now), (true, "override"));
    standing.force(report::StranglerWish::ForcedOld, now);
    assert_eq!(standing.side(0.4, Some(true), now), (false, "forced"));
    standing.force(report::StranglerWish::ForcedNew, now);
    assert_eq!(standing.side(0.9, None, now), (true, "forced"));
    assert_eq!(standing.side(0.9, Some(false), now), (false, "override"));
    standing.force(report::StranglerWish::Auto, now);
    assert_eq!(
        standing.side(0.4, None, now + Duration::from_millis(1)),
        (true, "share"),
        "failures are forgotten"
    );
}
