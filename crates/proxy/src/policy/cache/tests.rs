//! The policy between a call and its answer.

use bytes::Bytes;
use http::{Response, header};
use serde_json::json;

use super::Cache;
use crate::{
    body::Body,
    call::Call,
    policy::{
        Flow, Policy,
        testing::{building, call, with_header},
    },
};

fn policy(settings: serde_json::Value) -> Cache {
    let settings = serde_json::from_value(settings).expect("good settings");
    building("", |cx| Cache::compile(&settings, cx)).expect("compiles")
}

/// The answer to a call, and whether the upstream was asked.
fn ask(policy: &Cache, mut call: Call, upstream: &[(&'static str, &str)]) -> (Response<Body>, bool) {
    match policy.request(&mut call, &mut Body::Empty) {
        Flow::Answer(answer) => return (*answer, false),
        Flow::Continue => {}
        Flow::Fail(failure) => panic!("{failure}"),
        Flow::Wait(_) => panic!("nobody else asks"),
    }
    let mut answer = Response::new(Body::Full(Bytes::from_static(b"0123456789")));
    for (name, value) in upstream {
        answer.headers_mut().append(*name, value.parse().expect("a value"));
    }
    policy.response(&mut call, &mut answer);
    (answer, true)
}

#[test]
fn what_is_fresh_is_given_and_what_varies_is_told_apart() {
    let policy = policy(json!({}));
    let fresh = [("cache-control", "max-age=60"), ("vary", "x-lang")];
    let lang = |lang: &str| with_header(call("GET", "/a"), "x-lang", lang);
    assert!(ask(&policy, lang("de"), &fresh).1);
    let (hit, asked) = ask(&policy, lang("de"), &fresh);
    assert!(!asked);
    assert_eq!(hit.headers()[header::AGE], "0");
    assert!(hit.headers()["cache-status"].to_str().expect("text").starts_with("tidegate; hit; ttl="));
    assert!(ask(&policy, lang("en"), &fresh).1);
    assert!(!ask(&policy, lang("en"), &fresh).1, "both are kept");
    assert!(!ask(&policy, lang("de"), &fresh).1, "both are kept");
}

#[test]
fn a_field_that_is_set_on_the_way_cannot_be_compared() {
    let policy = policy(json!({}));
    let mut first = call("GET", "/a");
    assert!(matches!(policy.request(&mut first, &mut Body::Empty), Flow::Continue));
    // As `headers` does for an upstream that must know who asks.
    first.head.headers.insert("x-user", "anna".parse().expect("a value"));
    let mut answer = Response::new(Body::Full(Bytes::from_static(b"anna's")));
    answer.headers_mut().insert(header::CACHE_CONTROL, "public, max-age=60".parse().expect("a value"));
    answer.headers_mut().insert(header::VARY, "x-user".parse().expect("a value"));
    policy.response(&mut first, &mut answer);
    assert!(ask(&policy, call("GET", "/a"), &[]).1, "the next one is somebody else");
}

#[test]
fn who_says_who_it_is_shares_nothing_that_is_not_for_all() {
    let policy = policy(json!({}));
    let authorized = || with_header(call("GET", "/a"), "authorization", "Bearer x");
    ask(&policy, authorized(), &[("cache-control", "max-age=60")]);
    assert!(ask(&policy, authorized(), &[]).1);
    assert!(ask(&policy, call("GET", "/a"), &[]).1);
    ask(&policy, authorized(), &[("cache-control", "max-age=60, public")]);
    assert!(!ask(&policy, call("GET", "/a"), &[]).1);
}

#[test]
fn an_unsafe_request_makes_what_is_kept_void() {
    let policy = policy(json!({}));
    let fresh = [("cache-control", "max-age=60")];
    for named in [None, Some("location"), Some("content-location")] {
        ask(&policy, call("GET", "/a"), &fresh);
        assert!(!ask(&policy, call("GET", "/a"), &fresh).1);
        match named {
            None => ask(&policy, call("POST", "/a"), &[]),
            Some(name) => ask(&policy, call("POST", "/other"), &[(name, "/a")]),
        };
        assert!(ask(&policy, call("GET", "/a"), &fresh).1, "{named:?}");
    }
}

#[test]
fn what_was_asked_before_a_change_is_not_kept_after_it() {
    let policy = policy(json!({}));
    let mut early = call("GET", "/a");
    assert!(matches!(policy.request(&mut early, &mut Body::Empty), Flow::Continue));
    ask(&policy, call("POST", "/a"), &[]);
    let mut answer = Response::new(Body::Full(Bytes::from_static(b"old")));
    answer.headers_mut().insert(header::CACHE_CONTROL, "max-age=60".parse().expect("a value"));
    policy.response(&mut early, &mut answer);
    drop(early);
    assert!(ask(&policy, call("GET", "/a"), &[]).1);
}

#[test]
fn larger_bodies_than_allowed_are_passed_on() {
    let policy = policy(json!({"maxBodySize": "9B"}));
    let fresh = [("cache-control", "max-age=60")];
    let (answer, _) = ask(&policy, call("GET", "/a"), &fresh);
    assert_eq!(answer.body().length(), Some(10));
    assert!(ask(&policy, call("GET", "/a"), &fresh).1);
}
