//! WebSocket to upstreams of HTTP/2, by extended CONNECT (RFC 8441), for clients of either version.

use std::{
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
};

use ::h2::{RecvStream, SendStream};

use super::*;

/// What an upstream was asked for.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    protocol: Option<String>,
    headers: http::HeaderMap,
}

type Seen = Arc<Mutex<Vec<Asked>>>;

fn announcing() -> ::h2::server::Builder {
    let mut builder = ::h2::server::Builder::new();
    builder.enable_connect_protocol();
    builder
}

/// An upstream that answers as a function says, whose streams then go to another.
fn answering<F, Fut>(status: u16, then: F) -> (h2::Upstream, Seen)
where
    F: Fn(SendStream<Bytes>, RecvStream) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let seen = Seen::default();
    let told = seen.clone();
    let upstream = h2::Upstream::with(announcing(), move |request, mut respond| {
        let (seen, then) = (told.clone(), then.clone());
        async move {
            let (head, body) = request.into_parts();
            seen.lock().expect("not poisoned").push(Asked {
                line: format!("{} {}", head.method, head.uri),
                protocol: head.extensions.get::<::h2::ext::Protocol>().map(|name| name.as_str().to_owned()),
                headers: head.headers.clone(),
            });
            let answer = http::Response::builder().status(status).header("sec-websocket-protocol", "chat");
            let Ok(stream) = respond.send_response(answer.body(()).expect("an answer"), false) else {
                return;
            };
            then(stream, body).await;
        }
    });
    (upstream, seen)
}

/// Gives back what comes, says `bye` at its end, and ends.
async fn echo(mut stream: SendStream<Bytes>, mut body: RecvStream) {
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        let _ = stream.send_data(data, false);
    }
    let _ = stream.send_data("bye".into(), true);
}

fn front_http2(upstream: &h2::Upstream) -> Gateway {
    front_with(
        "limits: {idleTimeout: 500ms, bodyTimeout: 500ms, headerTimeout: 500ms}",
        upstream.address,
        "protocol: http2, timeouts: {request: 500ms, perTry: 500ms, idle: 500ms}",
        "",
    )
}

#[test]
fn real_peers_talk_by_http_2_and_close_with_their_codes() {
    let port = free_port();
    let mut server = Peer::start(python(include_str!("../websocket_http2_server.py"), &[&port.to_string()]));
    eventually("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let gateway = front_with(
        "limits: {idleTimeout: 500ms, bodyTimeout: 500ms, headerTimeout: 500ms}",
        SocketAddr::from(([127, 0, 0, 1], port)),
        "protocol: http2, timeouts: {request: 500ms, perTry: 500ms, idle: 500ms}",
        "",
    );
    let address = gateway.address.to_string();
    let client = Peer::start(python(include_str!("../websocket_client.py"), &[&address]));
    let (ended_well, text) = client.finish();
    assert!(ended_well && text.trim_end() == "ok", "{text}\n{}", gateway.stderr());
    // A client's own code is seen by its library; hypercorn tells its application of an end alone.
    for line in ["asked 2", "closed ", "asked 2", "closed 4002"] {
        let told = server.line().expect("a line");
        assert!(told.starts_with(line), "{told}");
    }
}

#[test]
fn clients_of_both_versions_reach_an_http_2_upstream_and_outlive_its_timeouts() {
    let (upstream, seen) = answering(200, echo);
    let gateway = front_http2(&upstream);
    let mut client = Client::connect(gateway.address);
    client.write(
        ASK.replace("host: a.test", "host: a.test\r\norigin: http://a.test").replace("/chat", "/chat?x=1"),
    );
    let answer = client.read().expect("an answer");
    assert_eq!(answer.status, 101);
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    assert!(answer.header("content-length").is_none() && answer.header("transfer-encoding").is_none());
    for at in 0..5 {
        pause(200);
        let text = format!("message {at}");
        client.write(&text);
        assert_eq!(client.read_bytes(text.len()), text.as_bytes());
    }
    client.stream().shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(client.read_bytes(3), b"bye");
    assert!(client.is_closed());
    h2::run(async {
        let (mut send, mut body) = extended(&gateway).await;
        for at in 0..5 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let text = format!("message {at}");
            send.send_data(text.clone().into(), false).expect("sent");
            assert_eq!(take(&mut body, text.len()).await, text.as_bytes());
        }
        send.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(take(&mut body, 3).await, b"bye");
        assert!(body.data().await.is_none_or(|end| end.expect("no error").is_empty()));
    });
    let all = seen.lock().expect("not poisoned").clone();
    assert_eq!(all.len(), 2);
    for asked in all {
        assert_eq!(asked.line, "CONNECT http://a.test/chat?x=1");
        assert_eq!(asked.protocol.as_deref(), Some("websocket"));
        for name in ["upgrade", "connection", "sec-websocket-key", "sec-websocket-accept", "content-length"] {
            assert!(!asked.headers.contains_key(name), "{asked:?}");
        }
        assert_eq!(asked.headers["sec-websocket-version"], "13");
        assert_eq!(asked.headers["origin"], "http://a.test");
    }
    let statuses: Vec<_> = gateway.records(2).iter().map(|record| record["status"].clone()).collect();
    assert_eq!(statuses, [101, 200]);
    assert_eq!(upstream.connections(), 1, "tunnels share a connection");
}

#[test]
fn an_upstream_that_does_not_announce_it_is_told_nothing_and_the_client_why() {
    let upstream = h2::Upstream::echo();
    let gateway = front_with(
        "",
        upstream.address,
        "protocol: http2, circuitBreaker: {minimumNumberOfCalls: 1, failureRateThreshold: 1}",
        "",
    );
    // On its first connection, whose settings have yet to come, and on one that is in use.
    for round in 0..3 {
        let mut client = Client::connect(gateway.address);
        client.write(format!("{ASK}early"));
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.problem().as_deref()), (501, Some("not-implemented")), "{round}");
        assert!(answer.text().contains("RFC 8441"), "{}", answer.text());
        h2::run(async {
            let answer = h2::read_answer(ask_extended(&gateway).await.1).await.expect("an answer");
            assert_eq!(answer.status, 501);
            assert!(answer.text().contains("RFC 8441"), "{}", answer.text());
        });
        assert!(upstream.seen().len() <= round);
        // It is no fault of the upstream's.
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn an_upstream_that_says_nothing_is_not_waited_for_without_end() {
    let silent = Upstream::raw(|mut reader, _| while matches!(reader.read(&mut [0; 1000]), Ok(1..)) {});
    let gateway = front_with("", silent.address, "protocol: http2, timeouts: {request: 400ms}", "");
    let mut client = Client::connect(gateway.address);
    client.write(ASK);
    let answer = client.read().expect("an answer");
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
}

#[test]
fn nothing_flows_as_a_tunnel_before_the_2xx() {
    let (tell, told) = mpsc::channel();
    let upstream = h2::Upstream::with(announcing(), move |request, mut respond| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            let early = tokio::time::timeout(Duration::from_millis(400), body.data()).await;
            let _ = tell.send(early.is_ok());
            let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
            if let Some(Ok(data)) = body.data().await {
                let _ = stream.send_data(data, true);
            }
        }
    });
    let gateway = front_with("", upstream.address, "protocol: http2", "");
    let mut client = Client::connect(gateway.address);
    client.write(format!("{ASK}early"));
    assert_eq!(told.recv(), Ok(false), "the upstream saw bytes before it agreed");
    while client.read_line() != "\r\n" {}
    assert_eq!(client.read_bytes(5), b"early");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let (response, mut stream) = ask_on(&client).await;
        stream.send_data("early".into(), false).expect("sent");
        let mut body = response.await.expect("an answer").into_body();
        assert_eq!(told.recv(), Ok(false), "the upstream saw bytes before it agreed");
        assert_eq!(take(&mut body, 5).await, b"early");
    });
}

#[test]
fn an_http_2_upstream_that_refuses_stays_http() {
    let (upstream, seen) = answering(403, |mut stream, mut body| async move {
        let mut came = 0;
        let _ = stream.send_data("no ".into(), false);
        while let Some(Ok(data)) = body.data().await {
            came += data.len();
        }
        let _ = stream.send_data(format!("{came}").into(), true);
    });
    let gateway = front_http2(&upstream);
    let mut client = Client::connect(gateway.address);
    client.write(format!("{ASK}{ASK}\u{1}\u{2}garbage\r\n\r\n"));
    // What follows is a request and not a frame.
    for _ in 0..2 {
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (403, "no 0"));
        assert!(answer.header("sec-websocket-accept").is_none() && answer.header("upgrade").is_none());
    }
    assert_eq!(client.read().expect("an answer").status, 400);
    h2::run(async {
        let answer = h2::read_answer(ask_extended(&gateway).await.1).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (403, "no 0"));
    });
    assert_eq!(seen.lock().expect("not poisoned").len(), 3);
}

#[test]
fn a_key_that_is_none_is_refused_where_no_upstream_sees_it() {
    let (upstream, seen) = answering(200, echo);
    let gateway = front_http2(&upstream);
    for key in [
        "",
        "sec-websocket-key: \r\n",
        "sec-websocket-key: c2hvcnQ=\r\n",
        "sec-websocket-key: not base64 at all!!!!!==\r\n",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ] {
        let mut client = Client::connect(gateway.address);
        client.write(ASK.replace("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", key));
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.problem().as_deref()), (400, Some("bad-request")), "{key}");
    }
    assert!(seen.lock().expect("not poisoned").is_empty());
}

#[test]
fn an_end_and_a_reset_reach_the_other_side() {
    let (tell, told) = mpsc::channel();
    let (upstream, _) = answering(200, move |mut stream, mut body| {
        let tell = tell.clone();
        async move {
            let _ = stream.send_data("bye".into(), true);
            let mut rest = Vec::new();
            let end = loop {
                match body.data().await {
                    Some(Ok(data)) => rest.extend_from_slice(&data),
                    Some(Err(error)) => break error.reason(),
                    None => break None,
                }
            };
            let _ = tell.send((rest, end));
        }
    });
    let gateway = front_http2(&upstream);
    let mut client = upgraded(&gateway);
    assert_eq!(client.read_bytes(3), b"bye");
    assert!(client.is_closed(), "the upstream's end is the client's");
    client.write("last words");
    client.stream().shutdown(Shutdown::Write).expect("closed");
    assert_eq!(told.recv().expect("an upstream"), (b"last words".to_vec(), None));
    h2::run(async {
        let (mut send, mut body) = extended(&gateway).await;
        assert_eq!(take(&mut body, 3).await, b"bye");
        assert!(body.data().await.is_none_or(|end| end.expect("no error").is_empty()));
        send.send_reset(::h2::Reason::CANCEL);
        tokio::task::yield_now().await;
        let end = tokio::task::spawn_blocking(move || told.recv().expect("an upstream")).await;
        assert_eq!(end.expect("a thread"), (Vec::new(), Some(::h2::Reason::CANCEL)));
    });

    let (upstream, _) = answering(200, |mut stream, mut body| async move {
        let _ = body.data().await;
        stream.send_reset(::h2::Reason::INTERNAL_ERROR);
    });
    let gateway = front_http2(&upstream);
    let mut client = upgraded(&gateway);
    client.write("x");
    assert!(client.is_closed(), "the upstream's reset ends the client's connection");
    h2::run(async {
        let (mut send, mut body) = extended(&gateway).await;
        send.send_data("x".into(), false).expect("sent");
        assert!(body.data().await.expect("an end").is_err(), "the upstream's reset is the client's");
    });
    eventually("no connection is left", || gateway.metric("tidegate_connections") == Some(0.0));
    let states = gateway.admin_get("/api/v1/status").json()["upstreams"][0].clone();
    assert_eq!(states["endpoints"][0]["inFlight"], 0);
}

#[test]
fn a_client_that_vanishes_resets_its_stream_alone() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let (upstream, _) = answering(200, move |mut stream, mut body| {
        let count = count.clone();
        async move {
            while let Some(Ok(data)) = body.data().await {
                let _ = stream.send_data(data, false);
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let gateway = front_http2(&upstream);
    let mut stays = upgraded(&gateway);
    drop(upgraded(&gateway));
    eventually("the end reaches the upstream", || ended.load(Ordering::Relaxed) == 1);
    h2::run(async {
        let (mut send, _body) = extended(&gateway).await;
        send.send_reset(::h2::Reason::CANCEL);
        h2::eventually("the reset reaches the upstream", || ended.load(Ordering::Relaxed) == 2).await;
    });
    stays.write("still here");
    assert_eq!(stays.read_bytes(10), b"still here");
    assert_eq!((ended.load(Ordering::Relaxed), upstream.connections()), (2, 1));
}

#[test]
fn a_slow_reader_pushes_back_through_a_tunnel_of_http_2() {
    const LARGE: u64 = 100 << 20;
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let (upstream, _) = answering(200, move |mut stream, _body| {
        let count = count.clone();
        async move {
            count.store(0, Ordering::Relaxed);
            let piece = Bytes::from(vec![b'x'; 16 * 1024]);
            while count.load(Ordering::Relaxed) < LARGE {
                stream.reserve_capacity(piece.len());
                while stream.capacity() < piece.len() {
                    match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                        Some(Ok(_)) => {}
                        _ => return,
                    }
                }
                let _ = stream.send_data(piece.clone(), false);
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            let _ = stream.send_data(Bytes::new(), true);
        }
    });
    let gateway = front_http2(&upstream);
    let before = gateway.rss();
    let standstill = || {
        let mut last = 0;
        eventually("a standstill", || {
            let now = sent.load(Ordering::Relaxed);
            let stands = now > 0 && now == last;
            last = now;
            pause(300);
            stands
        });
        assert!(last < 20 << 20, "{last}");
        assert!(gateway.rss().saturating_sub(before) < 16 << 20);
    };
    let mut client = upgraded(&gateway);
    standstill();
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    while received < LARGE {
        let taken = client.read_some(&mut buffer);
        assert!(taken > 0, "it ends after {received}");
        received += taken as u64;
    }
    assert!(client.is_closed());
    drop(client);
    h2::run(async {
        let (_send, mut body) = extended(&gateway).await;
        h2::eventually("bytes under way", || sent.load(Ordering::Relaxed) > 0).await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        standstill();
        assert_eq!(take(&mut body, 1 << 20).await.len(), 1 << 20);
    });
}

#[test]
fn an_upload_through_a_tunnel_waits_for_an_http_2_upstream_that_does_not_read() {
    const LARGE: u64 = 60 << 20;
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let may = go.clone();
    let (upstream, _) = answering(200, move |mut stream, mut body| {
        let may = may.clone();
        async move {
            let _permit = may.acquire().await;
            let mut received = 0u64;
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                received += data.len() as u64;
            }
            let _ = stream.send_data(received.to_string().into(), true);
        }
    });
    let gateway = front_http2(&upstream);
    let before = gateway.rss();
    let mut client = upgraded(&gateway);
    let sent = Arc::new(AtomicU64::new(0));
    let (count, mut stream) = (sent.clone(), client.stream().try_clone().expect("a socket"));
    let writer = std::thread::spawn(move || {
        let piece = vec![b'x'; 64 * 1024];
        while count.load(Ordering::Relaxed) < LARGE {
            stream.write_all(&piece).expect("sent");
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        stream.shutdown(Shutdown::Write).expect("an end");
    });
    let mut last = 0;
    eventually("a standstill", || {
        let now = sent.load(Ordering::Relaxed);
        let stands = now > 0 && now == last;
        last = now;
        pause(300);
        stands
    });
    assert!(last < 20 << 20, "{last}");
    assert!(gateway.rss().saturating_sub(before) < 16 << 20);
    go.add_permits(1);
    assert_eq!(client.read_bytes(LARGE.to_string().len()), LARGE.to_string().as_bytes());
    writer.join().expect("all was sent");
}

#[test]
fn a_tunnel_of_http_2_counts_as_a_call_until_it_ends() {
    let (upstream, _) = answering(200, echo);
    let gateway = front_with("", upstream.address, "protocol: http2, bulkhead: {maxConcurrentCalls: 1}", "");
    let client = upgraded(&gateway);
    assert_eq!(gateway.get("/").problem().as_deref(), Some("bulkhead-full"));
    drop(client);
    eventually("its place is free", || {
        let states = gateway.admin_get("/api/v1/status").json()["upstreams"][0].clone();
        states["bulkhead"]["inFlight"] == 0 && states["endpoints"][0]["inFlight"] == 0
    });
}

#[test]
fn bounds_of_frames_hold_for_streams_of_http_2() {
    let (upstream, _) = answering(200, echo);
    let policy = "policies: [{webSocketLimits: {request: {maxFrameSize: 200}}}]";
    let gateway = front_with("", upstream.address, "protocol: http2", policy);
    let mut client = upgraded(&gateway);
    let small = [0x82, 0x83, 0, 0, 0, 0, b'a', b'b', b'c'];
    client.stream().write_all(&small).expect("sent");
    assert_eq!(client.read_bytes(small.len()), small, "it comes back");
    // Its head says that it is one byte too long.
    client.stream().write_all(&[0x82, 0xfe, 0, 201]).expect("sent");
    client.stream().write_all(&[0; 100]).expect("sent");
    assert_eq!(client.read_bytes(4), [0x88, 2, 0x03, 0xf1], "closed with 1009");
}
