//! A listener's limits hold for HTTP/3: streams at a time, requests of a connection, idle connections, Retry.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    FIXED, Front, ONE_WORKER,
    client::{How, PATIENCE, dial, request},
    relay::Relay,
};
use crate::harness::{Upstream, h2::run, pause, read_request};

#[test]
fn streams_at_a_time_are_bounded() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let upstream = Upstream::raw(move |mut reader, _| {
        while read_request(&mut reader).is_some() {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            pause(100);
            now.fetch_sub(1, Ordering::SeqCst);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let front = Front::before(upstream.address, "true", "limits: {maxConcurrentStreams: 3}", ONE_WORKER);
    run(async {
        let client = front.client().await;
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let mut send = client.send.clone();
            asking.spawn_local(async move {
                let mut stream = send.send_request(request("GET", "/")).await.expect("a stream");
                stream.finish().await.expect("sent");
                stream.recv_response().await.expect("an answer").status()
            });
        }
        while let Some(status) = asking.join_next().await {
            assert_eq!(status.expect("no panic"), 200);
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn a_connection_that_has_had_its_requests_says_goodbye() {
    let front = Front::start(
        "true",
        "limits: {maxRequestsPerConnection: 3}",
        &format!("{FIXED}shutdown: {{idleGrace: 100ms}}\n"),
    );
    run(async {
        let mut client = front.client().await;
        let mut answered = 0;
        while let Ok(answer) = client.get("/").await {
            assert_eq!(answer.text(), "inside");
            answered += 1;
        }
        assert_eq!(answered, 3);
        assert_eq!(client.end().await, 0x100);
    });
}

#[test]
fn an_idle_connection_ends_and_a_slow_answer_does_not_make_it_idle() {
    let upstream = Upstream::scripted(|_| {
        pause(2500);
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
    });
    let front = Front::before(upstream.address, "true", "limits: {idleTimeout: 1s}", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        assert_eq!(client.get("/").await.expect("an answer").text(), "ok");
        let start = Instant::now();
        assert_eq!(client.end().await, 0x100);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
}

#[test]
fn a_client_shows_that_it_has_its_address_when_it_is_asked_to() {
    const RETRY: u8 = 3;
    for (http3, is_asked) in [("{retry: always}", true), ("true", false)] {
        let front = Front::start(http3, "", FIXED);
        let relay = Relay::to(front.gateway.address);
        run(async {
            let how = How::plain(&front.authority);
            let (endpoint, connection) = dial(relay.address, &how).await.expect("a connection");
            let mut client = super::client::Client::over(endpoint, connection).await;
            assert_eq!(client.get("/").await.expect("an answer").text(), "inside");
        });
        assert_eq!(relay.kinds().contains(&RETRY), is_asked, "{http3}");
    }
}

#[test]
fn handshakes_of_an_address_are_bounded() {
    let front = Front::start(
        "{maxHandshakesPerAddress: 2}",
        "limits: {tlsTimeout: 3s}",
        "runtime: {workers: 1}\nroutes: [{name: r, match: [{path: {prefix: /}}], respond: {body: inside}}]\n",
    );
    let first = super::hostile::first_datagrams(&front, 3);
    super::hostile::replay(&first, front.gateway.address);
    run(async {
        // Asked to show that it has the address, a client does, and has then had its share.
        let how = How::plain(&front.authority);
        let error = dial(front.gateway.address, &how).await.expect_err("it is refused");
        assert!(matches!(error, quinn::ConnectionError::ConnectionClosed(_)), "{error}");
        // Handshakes that lead to nothing are forgotten.
        let served = async {
            while dial(front.gateway.address, &how).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, served).await.expect("there is room again");
    });
    assert!(front.gateway.metric("tidegate_quic_refused_total") > Some(0.0));
}
