//! Requests that come before the handshake is over (0-RTT): refused by default, and where they are not, marked, safe ones
//! alone, and never twice.

use std::time::Duration;

use super::{
    Front, ONE_WORKER,
    client::{How, endpoint},
    hostile::{headers, status},
    relay::Relay,
};
use crate::harness::{
    Upstream,
    h2::{eventually, run},
};

/// A first connection that leaves a ticket and a token, and a second one that asks at once. The status of its answer,
/// and whether the gateway took it early.
///
/// A request that came early is early for as long as the handshake is not over (RFC 8470 §3), and what the gateway says is held
/// back until it has judged the request: so there is no other answer than the one to an early one.
async fn ask_early(front: &Front, method: &str) -> (u16, bool) {
    let relay = Relay::to(front.gateway.address);
    let endpoint = endpoint();
    let config = How::plain(&front.authority).config();
    let connect = || endpoint.connect_with(config.clone(), relay.address, "a.test").expect("a way");
    let first = connect().await.expect("a connection");
    // Tickets and tokens come behind the handshake.
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.close(0u32.into(), b"");
    relay.hold();
    // Without a ticket that allows it there is nothing early.
    let Ok((connection, accepted)) = connect().into_0rtt() else { return (0, false) };
    let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
    let path = format!("/{method}");
    let fields = [(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", &path)];
    send.write_all(&headers(&fields)).await.expect("sent");
    send.finish().expect("sent");
    eventually("it is judged", || front.gateway.records(0).iter().any(|record| record["path"] == path)).await;
    relay.release();
    if accepted.await {
        return (status(&recv.read_to_end(65_536).await.expect("an answer")), true);
    }
    (0, false)
}

#[test]
fn nothing_is_taken_early_by_default() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    assert_eq!(run(ask_early(&front, "GET")), (0, false));
    assert!(upstream.seen().is_empty());
}

#[test]
fn what_is_taken_early_says_so_and_what_is_not_safe_comes_again() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "{earlyData: true}", "", ONE_WORKER);
    assert_eq!(run(ask_early(&front, "GET")), (200, true));
    assert_eq!(run(ask_early(&front, "POST")), (425, true));
    assert_eq!(run(ask_early(&front, "DELETE")), (425, true));
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("early-data"), Some("1"));
    // Behind a handshake nothing is marked.
    run(async {
        let mut client = front.client().await;
        assert_eq!(
            client.fetch(super::client::request("POST", "/"), b"", None).await.expect("an answer").status,
            200
        );
    });
    assert_eq!(upstream.seen()[1].header("early-data"), None);
}
