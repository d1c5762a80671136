//! What is sent to the scripts and read from them. What the scripts do is tested with the server itself.

use ::redis::Value;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{hearing::News, scripts::*, *};
use crate::policy::{
    cache::{
        freshness::{Clock, Terms},
        key::Keys,
    },
    testing::call,
};

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn key(path: &str) -> Key {
    Keys::new(&Default::default()).of(&call("GET", path))
}

fn stored(tags: &str, lifetime: u64, stale: u64, must_revalidate: bool) -> Stored {
    let mut headers = HeaderMap::new();
    headers.insert("surrogate-key", HeaderValue::from_str(tags).expect("a value"));
    let terms = Terms {
        lifetime,
        no_cache: false,
        must_revalidate,
        stale_while_revalidate: stale,
        stale_if_error: 0,
        age: 0,
        barred: Vec::new(),
    };
    let clock = Clock::of_age(Duration::from_secs(10), Instant::now());
    Stored::new(StatusCode::OK, headers, Bytes::from_static(b"body"), terms, clock, Vec::new())
}

#[test]
fn answers_of_the_scripts_are_read_and_what_is_none_is_not() {
    let told = || [text("1700000000000000"), text("1600000000000000"), Value::Int(7)];
    let with = |more: Vec<Value>| Value::Array(told().into_iter().chain(more).collect());
    let want = Told { now: 1_700_000_000_000_000, born: 1_600_000_000_000_000, seq: 7 };
    let found_all = found(with(vec![Value::Int(2), text("value"), text("a,b")])).expect("it is one");
    assert_eq!((found_all.told, found_all.fate), (want.clone(), Fate::Spent));
    assert_eq!((found_all.value.as_deref(), found_all.names.as_deref()), (Some(&b"value"[..]), Some("a,b")));
    let nothing = found(with(vec![Value::Int(-1), Value::Nil, Value::Nil])).expect("it is one");
    assert_eq!((nothing.fate, nothing.value, nothing.names), (Fate::None, None, None));
    assert_eq!(kept(&with(vec![Value::Int(1)])), Some((want.clone(), true)));
    assert_eq!(kept(&with(vec![Value::Int(2)])), Some((want.clone(), false)));
    assert_eq!(purged(&with(Vec::new())), Some(want.clone()));
    assert_eq!(heard(with(vec![Value::Array(vec![text("x")])])), Some((want, vec![b"x".to_vec()])));
    for wrong in [Value::Nil, Value::Array(Vec::new()), with(Vec::new()), with(vec![text("1")]), Value::Okay]
    {
        assert!(found(wrong.clone()).is_none(), "{wrong:?}");
        assert!(kept(&wrong).is_none() && heard(wrong.clone()).is_none(), "{wrong:?}");
    }
    let wrong = Value::Array(vec![text("no time"), text("1"), Value::Int(0)]);
    assert!(purged(&wrong).is_none());
}

#[test]
fn what_stands_before_an_answer_tells_when_it_was_asked_for_and_its_tags() {
    for (tags, count) in [("", 0), ("a", 1), ("a b c", 3)] {
        let mut value = prefix(&stored(tags, 60, 0, false), 1_700_000_000_000_001);
        assert_eq!(value.len(), 20 + 16 * count);
        assert!(value.starts_with(format!("1700000000000001{count:04}").as_bytes()));
        value.extend_from_slice(b"the answer");
        assert_eq!(beside(&value), Some(20 + 16 * count));
        if count > 0 {
            assert!(value[20..].starts_with(tag_id("a").as_bytes()));
        }
    }
    for wrong in
        [&b""[..], b"1700000000000001", b"17000000000000010002aaaaaaaaaaaaaaaa", b"1700000000000001x002"]
    {
        assert_eq!(beside(wrong), None);
    }
}

#[test]
fn answers_are_of_use_as_long_as_they_are_given_without_a_question() {
    let secs = |stored: Stored| stored.usefulness(Instant::now()).as_secs_f64().round() as u64;
    assert_eq!(secs(stored("", 60, 0, false)), 50);
    assert_eq!(secs(stored("", 60, 30, false)), 80);
    assert_eq!(secs(stored("", 60, 30, true)), 50);
    assert_eq!(secs(stored("", 5, 0, false)), 0);
    assert!(secs(stored("", u64::MAX, u64::MAX, false)) > 1 << 60);
    assert_eq!(secs(stored("", 60, 30, false).spent_if(true)), 0);
}

#[test]
fn lines_of_the_log_are_read_and_what_is_none_is_not() {
    let news = News::read(b"12\0me-1\0us\0http://a.test/x").expect("it is one");
    assert_eq!((news.number, news.origin, news.is_soft), (12, &b"me-1"[..], true));
    assert!(matches!(news.what, Purge::Address(b"http://a.test/x")));
    assert!(matches!(News::read(b"1\0o\0th\0a tag").expect("one").what, Purge::Tag("a tag")));
    assert!(matches!(News::read(b"1\0o\0bh\0http://").expect("one").what, Purge::Beginning(b"http://")));
    assert!(matches!(News::read(b"1\0o\0ah\0").expect("one").what, Purge::All));
    for wrong in [
        &b""[..],
        b"1\0o\0uh",
        b"x\0o\0uh\0a",
        b"1\0o\0zh\0a",
        b"1\0o\0ux\0a",
        b"1\0o\0\0a",
        b"1\0o\0th\0\xff",
    ] {
        assert!(News::read(wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn selecting_fields_are_told_apart_and_found_again_by_their_names() {
    let field = |name: &'static str, value: Option<&str>| -> Selecting {
        (HeaderName::from_static(name), value.map(|value| value.as_bytes().into()))
    };
    let mut request = HeaderMap::new();
    request.insert("x-a", HeaderValue::from_static("1"));
    let selecting = of_request("x-a,x-b", &request).expect("names");
    assert_eq!(names_of(&selecting), "x-a,x-b");
    assert_eq!(selecting, [field("x-a", Some("=1")), field("x-b", None)]);
    assert!(of_request("x a", &request).is_none());
    let all = [
        vec![field("x-a", Some("=1")), field("x-b", None)],
        vec![field("x-a", None), field("x-b", Some("=1"))],
        vec![field("x-a", Some("")), field("x-b", None)],
        vec![field("x-a", Some("=1"))],
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(all.iter().skip(at + 1).all(|other| spelled(one) != spelled(other)));
    }
}

#[test]
fn purges_are_remembered_until_they_are_told_and_too_many_are_one_of_all() {
    let queue = Queue::new();
    queue.purge(Purging::new(Purge::Address(key("/a").address()), false));
    assert!(queue.may_be_void(&key("/a")) && !queue.may_be_void(&key("/b")));
    queue.purge(Purging::new(Purge::Tag("t"), false));
    assert!(queue.may_be_void(&key("/b")), "nobody knows its tags");
    assert!(!queue.settle(Instant::now() + Duration::from_millis(10)));
    for _ in 0..1_000 {
        queue.purge(Purging::new(Purge::Address(b"http://other.test/"), true));
    }
    assert!(queue.waiting() < 10 && queue.may_be_void(&key("/a")));
}

#[test]
fn so_much_is_written_at_once_as_comes_through_in_time() {
    let queue = Queue::new();
    let write = |size: usize| {
        let terms = stored("", 60, 0, false).terms.clone();
        let clock = Clock::of_age(Duration::ZERO, Instant::now());
        let body = Bytes::from(vec![0; size]);
        let stored = Arc::new(Stored::new(StatusCode::OK, HeaderMap::new(), body, terms, clock, Vec::new()));
        queue.write(Writing { key: key("/a"), stored, since: 1, ttl: Duration::from_secs(1) })
    };
    assert!((0..10).all(|_| write(100)));
    assert!(write(700_000) && write(700_000) && write(3_000_000) && write(100));
    let written = std::iter::from_fn(|| queue.next_writings()).collect::<Vec<_>>();
    assert_eq!(written, [8, 3, 1, 1, 1], "small ones together, large ones alone");
    assert!(write(100) && write(15_000_000), "what was taken makes room");
}

#[test]
fn what_waits_to_be_written_is_bounded() {
    let queue = Queue::new();
    let write = |size: usize| {
        let terms = stored("", 60, 0, false).terms.clone();
        let clock = Clock::of_age(Duration::ZERO, Instant::now());
        let body = Bytes::from(vec![0; size]);
        let stored = Arc::new(Stored::new(StatusCode::OK, HeaderMap::new(), body, terms, clock, Vec::new()));
        queue.write(Writing { key: key("/a"), stored, since: 1, ttl: Duration::from_secs(1) })
    };
    assert!((0..16).all(|_| write(1_000_000)));
    assert!(!write(1_000_000));
    assert!(write(1_000));
    let queue = Queue::new();
    let small = Arc::new(stored("", 60, 0, false));
    let write = || {
        queue.write(Writing { key: key("/a"), stored: small.clone(), since: 1, ttl: Duration::from_secs(1) })
    };
    assert_eq!((0..5_000).filter(|_| write()).count(), 4_096);
}
