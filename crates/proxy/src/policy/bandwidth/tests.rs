//! Bodies that pass at their pace.

use std::{future::poll_fn, pin::Pin, time::Duration};

use http_body::Body as _;

use super::*;
use crate::{
    policy::testing::{building, call, chunks},
    timer,
};

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(timer::drive());
        test.await
    })
}

fn policy(settings: serde_json::Value) -> Bandwidth {
    let settings = serde_json::from_value(settings).expect("good settings");
    building("", |cx| Bandwidth::compile(&settings, cx)).expect("compiles")
}

/// Reads a body to its end: its bytes, and the largest piece of it.
async fn read(mut body: Body) -> (usize, usize) {
    let (mut all, mut most) = (0, 0);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let data = frame.expect("whole").into_data().expect("data");
        (all, most) = (all + data.len(), most.max(data.len()));
    }
    (all, most)
}

#[test]
fn a_body_takes_its_time_and_comes_whole_in_small_pieces() {
    let policy = policy(serde_json::json!({"request": {"perSecond": "100KiB", "burst": "10KiB"}}));
    run(async {
        let mut call = call("POST", "/");
        let data = vec![7; 30 * 1024];
        let mut body = chunks([&data[..], &data[..]]);
        assert!(matches!(policy.request(&mut call, &mut body), Flow::Continue));
        let began = Instant::now();
        let (all, most) = read(body).await;
        let took = began.elapsed();
        assert_eq!(all, 60 * 1024);
        assert!(most <= 5 * 1024 + 1, "{most}");
        assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
        let paced = call.record.traffic.as_ref().and_then(|traffic| traffic.paced.as_ref()).expect("noted");
        assert!(paced.waited().0 >= Duration::from_millis(300), "{paced:?}");
    });
}

#[test]
fn callers_of_one_key_share_a_pace_and_others_have_their_own() {
    let policy = policy(serde_json::json!({
        "response": {"perSecond": "1MiB"}, "key": {"header": "x-tenant"},
    }));
    let pace = |tenant: &str| {
        let call = crate::policy::testing::with_header(call("GET", "/"), "x-tenant", tenant);
        policy.pace(policy.response.as_ref().expect("there is one"), &call, Instant::now())
    };
    assert!(Arc::ptr_eq(&pace("a"), &pace("a")));
    assert!(!Arc::ptr_eq(&pace("a"), &pace("b")));
}

#[test]
fn what_never_passes_is_nobodys_wait() {
    let policy =
        policy(serde_json::json!({"request": {"perSecond": "1KiB", "burst": "1KiB"}, "key": "global"}));
    run(async {
        let mut call = call("POST", "/");
        let mut body = chunks([&[7; 100_000][..]]);
        assert!(matches!(policy.request(&mut call, &mut body), Flow::Continue));
        // Somebody reads until something waits, and leaves.
        let reading = tokio::time::timeout(Duration::from_millis(20), read(body)).await;
        assert!(reading.is_err());
        let direct = policy.request.as_ref().expect("there is one");
        let wait = policy.pace(direct, &call, Instant::now()).reserve(1, Instant::now());
        assert!(wait < Duration::from_millis(100), "{wait:?}");
    });
}
