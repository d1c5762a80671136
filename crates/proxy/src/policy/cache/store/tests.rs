//! Weight, order of going, purges.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::*;
use crate::policy::{
    cache::{
        freshness::{Clock, Terms},
        key::Keys,
    },
    testing::call,
};

fn key(path: &str) -> Key {
    Keys::new(&Default::default()).of(&call("GET", path))
}

fn stored(size: usize, tag: &'static str) -> Arc<Stored> {
    let mut headers = HeaderMap::new();
    headers.insert("surrogate-key", HeaderValue::from_static(tag));
    let terms = Terms {
        lifetime: 60,
        no_cache: false,
        must_revalidate: false,
        stale_while_revalidate: 0,
        stale_if_error: 0,
        age: 0,
        barred: Vec::new(),
    };
    let now = Instant::now();
    let body = Bytes::from(vec![0; size]);
    Arc::new(Stored::new(StatusCode::OK, headers, body, terms, Clock::new(0, now, now), Vec::new()))
}

fn put(memory: &Memory, path: &str, size: usize, tag: &'static str) -> bool {
    let key = key(path);
    memory.put(&key, stored(size, tag), None, memory.epoch(&key))
}

fn has(memory: &Memory, path: &str) -> bool {
    matches!(memory.find(&key(path), &HeaderMap::new()), Found::Answer(_))
}

#[test]
fn the_bound_holds_and_what_is_asked_for_stays() {
    let memory = Memory::new(100_000);
    assert!(!put(&memory, "/huge", 200_000, ""));
    assert!(put(&memory, "/often", 100, ""));
    for at in 0..2_000 {
        assert!(put(&memory, &format!("/{at}"), 4_000, ""));
        assert!(memory.size().0 <= 100_000, "{} bytes", memory.size().0);
        assert!(has(&memory, "/often"), "it went after {at} others");
    }
    assert!(!has(&memory, "/1000"), "nobody asked for it");
    assert!(memory.size().1 >= 15, "{} answers", memory.size().1);
    assert!(memory.evicted.load(Ordering::Relaxed) > 1_900);
}

#[test]
fn nothing_is_left_of_what_is_purged() {
    let memory = Memory::new(1_000_000);
    let fill = || {
        for path in ["/a", "/a/b", "/a/c?d", "/e"] {
            put(&memory, path, 100, if path == "/e" { "x y" } else { "y" });
        }
    };
    let address = |path: &str| format!("http://api.example.test{path}").into_bytes();
    for (what, want, left) in [
        (Purge::Address(&address("/a")), 1, &["/a/b", "/a/c?d", "/e"][..]),
        (Purge::Beginning(&address("/a/")), 2, &["/a", "/e"]),
        (Purge::Tag("x"), 1, &["/a", "/a/b", "/a/c?d"]),
        (Purge::Tag("y"), 4, &[]),
        (Purge::All, 4, &[]),
    ] {
        fill();
        assert_eq!(memory.purge(what, false), want);
        for path in ["/a", "/a/b", "/a/c?d", "/e"] {
            assert_eq!(has(&memory, path), left.contains(&path), "{path}");
        }
    }
    assert_eq!(memory.size(), (0, 0));
}

#[test]
fn a_soft_purge_only_makes_answers_stale() {
    let memory = Memory::new(1_000_000);
    put(&memory, "/a", 100, "x");
    assert_eq!(memory.purge(Purge::Tag("x"), true), 1);
    let Found::Answer(stored) = memory.find(&key("/a"), &HeaderMap::new()) else { panic!("it is gone") };
    assert!(stored.staleness(Instant::now()).is_some());
}

#[test]
fn a_change_of_one_address_bars_that_alone_for_as_long_as_it_is_remembered() {
    let memory = Memory::new(1_000_000);
    let (one, other) = (key("/a"), key("/b"));
    let before = [memory.epoch(&one), memory.epoch(&other)];
    memory.purge(Purge::Address(one.address()), false);
    assert!(!memory.put(&one, stored(1, ""), None, before[0]));
    assert!(memory.put(&other, stored(1, ""), None, before[1]));
    for at in 0..SHARDS * CHANGES_MAX * 2 {
        memory.purge(Purge::Address(key(&format!("/{at}")).address()), false);
    }
    assert!(!memory.put(&other, stored(1, ""), None, before[1]), "nobody knows any more");
}

#[test]
fn a_purge_bars_what_is_on_its_way() {
    let memory = Memory::new(1_000_000);
    let key = key("/a");
    for what in [Purge::Address(key.address()), Purge::Tag("other")] {
        let before = memory.epoch(&key);
        memory.purge(what, false);
        assert!(!memory.put(&key, stored(1, ""), None, before));
        assert!(memory.put(&key, stored(1, ""), None, memory.epoch(&key)));
    }
}

#[test]
fn room_is_made_for_what_comes_by_those_that_nobody_asked_for() {
    let memory = Memory::new(1_000_000);
    for at in 0..50 {
        assert!(put(&memory, &format!("/{at}"), 4_000, ""));
    }
    (0..10).for_each(|at| assert!(has(&memory, &format!("/{at}"))));
    let before = memory.size().0;
    assert!(memory.free(20_000));
    let freed = before - memory.size().0;
    assert!((20_000..30_000).contains(&freed), "{freed}");
    (0..10).for_each(|at| assert!(has(&memory, &format!("/{at}")), "{at} was asked for"));
    assert!(memory.free(usize::MAX) && memory.size().1 == 0);
    assert!(!memory.free(1), "nothing is left");
}
