//! What passes, what is closed, and who is asked.

use super::*;
use crate::policy::testing::{building, call, with_header};

fn policy(settings: serde_json::Value) -> WebSocketLimits {
    let settings = serde_json::from_value(settings).expect("good settings");
    building("", |cx| WebSocketLimits::compile(&settings, cx)).expect("compiles")
}

fn socket(settings: serde_json::Value, began: Instant) -> (Socket, Arc<OnceLock<&'static str>>) {
    let told = Arc::<OnceLock<_>>::default();
    let policy = policy(settings);
    (Socket::new(policy.terms, 7, told.clone(), policy.counted.clone(), began), told)
}

const HELLO: &[u8] = &[0x81, 5, b'h', b'e', b'l', b'l', b'o'];

#[test]
fn what_is_too_large_closes_both_sides_and_what_came_before_passes() {
    let (mut socket, told) = socket(serde_json::json!({"request": {"maxMessageSize": 200}}), Instant::now());
    let mut on = Onward::default();
    socket.by_client(&[HELLO, &[0x82, 126, 0, 201, 1, 2]].concat(), &mut on);
    assert!(on.is_over);
    assert_eq!(&on.to_client[..], [0x88, 2, 0x03, 0xf1]);
    let close = on.to_upstream.strip_prefix(HELLO).expect("what came before");
    let payload: Vec<u8> = close[6..].iter().zip(&close[2..6]).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!((&close[..2], &payload[..]), (&[0x88, 0x82][..], &[0x03, 0xf1][..]));
    assert_eq!(told.get(), Some(&"request too large"));
}

#[test]
fn a_side_in_the_middle_of_a_frame_is_not_talked_into_it() {
    let (mut socket, _) = socket(serde_json::json!({"request": {"maxFrameSize": 200}}), Instant::now());
    let mut on = Onward::default();
    socket.by_upstream(&HELLO[..4], &mut on);
    socket.by_client(&[0x82, 126, 0, 201], &mut on);
    assert!(on.is_over);
    assert_eq!(&on.to_client[..], &HELLO[..4]);
}

#[test]
fn pings_keep_no_idle_connection_open() {
    let began = Instant::now() - Duration::from_secs(10);
    let (mut socket, told) = socket(serde_json::json!({"idleTimeout": "5s"}), began);
    let mut on = Onward::default();
    socket.by_client(&[0x89, 0], &mut on);
    assert!(socket.deadline() <= Instant::now());
    socket.time_out(&mut on);
    assert_eq!((on.is_over, told.get()), (true, Some(&"idle")));
}

#[test]
fn a_silent_client_is_asked_and_closed_when_it_does_not_answer() {
    let began = Instant::now() - Duration::from_secs(31);
    let ping = serde_json::json!({"ping": {"interval": "30s", "timeout": "5s"}});
    let (mut socket, told) = socket(ping, began);
    let mut on = Onward::default();
    // In the middle of a frame there is no place for a question; it comes at the frame's end.
    socket.by_upstream(&HELLO[..4], &mut on);
    socket.time_out(&mut on);
    assert_eq!(&on.to_client[..], &HELLO[..4]);
    socket.by_upstream(&HELLO[4..], &mut on);
    let question = on.to_client.strip_prefix(HELLO).expect("the message").to_vec();
    assert_eq!((&question[..2], question.len()), (&[0x89, 8][..], 10));
    let left = socket.deadline().saturating_duration_since(Instant::now());
    assert!(left > Duration::from_secs(4) && left <= Duration::from_secs(5), "{left:?}");
    // The answer is for nobody else.
    socket.by_client(&[&[0x8a, 0x88, 0, 0, 0, 0], &question[2..]].concat(), &mut on);
    assert!(on.to_upstream.is_empty() && !on.is_over);
    assert!(socket.deadline().saturating_duration_since(Instant::now()) > Duration::from_secs(29));
    // And without one it is over.
    socket.asked = Some(began);
    socket.time_out(&mut on);
    assert_eq!((on.is_over, told.get()), (true, Some(&"no pong")));
}

#[test]
fn compression_is_not_offered_where_it_is_not_wanted() {
    for (settings, stays) in
        [(serde_json::json!({"compression": false}), false), (serde_json::json!({"idleTimeout": "5s"}), true)]
    {
        let policy = policy(settings);
        let mut call = with_header(call("GET", "/"), "sec-websocket-extensions", "permessage-deflate");
        call.upgrade = Some(Upgrade::Connection);
        assert!(matches!(policy.request(&mut call, &mut Body::Empty), Flow::Continue));
        assert_eq!(call.head.headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS), stays);
    }
}
