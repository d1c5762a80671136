//! Requests over HTTP/3 go the way of all others: heads, bodies, trailers, interim answers, and clients that leave.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    Front, ONE_WORKER,
    client::{read, request},
};
use crate::harness::{
    Upstream, h2,
    h2::{eventually, run},
    pause, read_head, read_request,
};

#[test]
fn a_request_reaches_the_upstream_and_its_answer_the_client() {
    let upstream = Upstream::scripted(|seen| {
        let body = format!("{} {}", seen.line, String::from_utf8_lossy(&seen.body));
        Some(
            format!("HTTP/1.1 200 OK\r\nx-up: 1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .into_bytes(),
        )
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        let answer = client.get("/a/../b?c").await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "GET /b?c HTTP/1.1 "));
        assert_eq!(answer.header("x-up"), Some("1"));
        assert!(answer.header("date").is_some() && answer.header("x-request-id").is_some());
        let answer = client.fetch(request("POST", "/p"), b"a body", None).await.expect("an answer");
        assert_eq!(answer.text(), "POST /p HTTP/1.1 a body");
        let answer = client.fetch(request("HEAD", "/h"), b"", None).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    });
    let seen = upstream.seen();
    assert_eq!(seen[0].header("host"), Some("a.test"));
    assert_eq!(seen[0].header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen[0].header("transfer-encoding"), None, "a GET has no body");
    let records = front.gateway.records(3);
    assert!(records.iter().all(|record| record["protocol"] == "HTTP/3"), "{records:?}");
    assert_eq!((&records[1]["request_bytes"], &records[1]["status"]), (&6.into(), &200.into()));
}

#[test]
fn trailers_pass_both_ways_and_so_does_grpc() {
    let upstream = h2::Upstream::echo();
    let front = Front::start(
        "true",
        "",
        &format!(
            "{ONE_WORKER}
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, protocol: grpc, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
            upstream.address
        ),
    );
    run(async {
        let mut client = front.client().await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        trailers.insert("x-forwarded-for", "1.2.3.4".parse().expect("a value"));
        let mut asked = request("POST", "/pkg.Service/Method");
        asked.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        asked.headers_mut().insert("te", "trailers".parse().expect("a value"));
        let answer = client.fetch(asked, b"\0\0\0\0\x02hi", Some(trailers)).await.expect("an answer");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"\0\0\0\0\x02hi"[..]));
        assert_eq!(answer.trailer("grpc-status"), Some("0"));
        assert_eq!(answer.trailer("x-forwarded-for"), None, "trailers say nothing that a head is judged by");
    });
    assert_eq!(upstream.seen()[0].header("te"), Some("trailers"));
    assert_eq!(front.gateway.records(1)[0]["grpc_status"], 0);
}

#[test]
fn a_client_that_waits_for_100_is_told_and_early_hints_pass() {
    let upstream = Upstream::raw(|mut reader, seen| {
        while let Some(request) = read_head(&mut reader) {
            let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
            let _ = reader.get_mut().write_all(hints);
            let mut body = [0; 4];
            let _ = reader.read_exact(&mut body);
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        let mut asked = request("POST", "/");
        asked.headers_mut().insert("expect", "100-continue".parse().expect("a value"));
        asked.headers_mut().insert("content-length", "4".parse().expect("a value"));
        let mut stream = client.begin(asked).await.expect("a stream");
        let mut interim = Vec::new();
        loop {
            let head = stream.recv_response().await.expect("a head");
            interim.push(head.status().as_u16());
            match head.status().as_u16() {
                100 => {
                    stream.send_data(Bytes::from_static(b"body")).await.expect("sent");
                    stream.finish().await.expect("sent");
                }
                103 => assert_eq!(head.headers()["link"], "</a.css>"),
                _ => {
                    assert_eq!(read(&mut stream, head).await.expect("an answer").text(), "ok");
                    break;
                }
            }
        }
        assert!(interim.contains(&100) && interim.contains(&103), "{interim:?}");
    });
}

#[test]
fn an_answer_that_nobody_reads_stops_the_upstream() {
    const ALL: usize = 64 * 1024 * 1024;
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let upstream = Upstream::raw(move |mut reader, _| {
        if read_request(&mut reader).is_none() {
            return;
        }
        let stream = reader.get_mut();
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n").as_bytes());
        while count.load(Ordering::Relaxed) < ALL && stream.write_all(&[b'x'; 65_536]).is_ok() {
            count.fetch_add(65_536, Ordering::Relaxed);
        }
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        let mut stream = client.begin(request("GET", "/")).await.expect("a stream");
        stream.finish().await.expect("sent");
        let head = stream.recv_response().await.expect("a head");
        let mut last = 0;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = written.load(Ordering::Relaxed);
            if now == last && now > 0 {
                break;
            }
            last = now;
        }
        let held = written.load(Ordering::Relaxed);
        assert!(held < ALL / 2, "{held} bytes were taken for a client that reads nothing");
        // It goes on as soon as somebody reads.
        let answer = read(&mut stream, head).await.expect("an answer");
        assert_eq!(answer.body.len(), ALL);
    });
}

#[test]
fn a_body_that_the_upstream_does_not_read_stops_the_client() {
    let upstream = Upstream::raw(|mut reader, _| {
        if read_head(&mut reader).is_none() {
            return;
        }
        pause(1500);
        let mut rest = vec![0; 16 * 1024 * 1024];
        if reader.read_exact(&mut rest).is_ok() {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        let mut asked = request("PUT", "/");
        asked.headers_mut().insert("content-length", (16 * 1024 * 1024).into());
        let stream = client.begin(asked).await.expect("a stream");
        let (mut send, mut recv) = stream.split();
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let sending = tokio::task::spawn_local(async move {
            for _ in 0..256 {
                send.send_data(Bytes::from(vec![b'x'; 65_536])).await.expect("sent");
                count.fetch_add(65_536, Ordering::Relaxed);
            }
            send.finish().await.expect("sent");
        });
        tokio::time::sleep(Duration::from_millis(1000)).await;
        // What this client's own window and the kernel's buffers to the upstream hold is not the gateway's.
        let before = front.gateway.rss();
        assert!(before < 200 << 20, "{before} bytes");
        sending.await.expect("all of it goes");
        assert_eq!(recv.recv_response().await.expect("a head").status(), 200);
    });
}

#[test]
fn a_client_that_leaves_ends_the_call() {
    let gone = Arc::new(AtomicUsize::new(0));
    let count = gone.clone();
    let upstream = Upstream::raw(move |mut reader, seen| {
        let Some(request) = read_request(&mut reader) else { return };
        seen.lock().expect("not poisoned").push(request);
        let _ = reader.read(&mut [0; 1]);
        count.fetch_add(1, Ordering::Relaxed);
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        let mut stream = client.begin(request("GET", "/stream")).await.expect("a stream");
        stream.finish().await.expect("sent");
        eventually("the upstream is asked", || upstream.seen().len() == 1).await;
        stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
        eventually("its connection ends", || gone.load(Ordering::Relaxed) == 1).await;
        // The same when the whole connection goes.
        let mut stream = client.begin(request("GET", "/connection")).await.expect("a stream");
        stream.finish().await.expect("sent");
        eventually("the upstream is asked", || upstream.seen().len() == 2).await;
        client.connection.close(0u32.into(), b"");
        eventually("its connection ends", || gone.load(Ordering::Relaxed) == 2).await;
    });
    let records = front.gateway.records(2);
    assert!(records.iter().all(|record| record["status"] == 499), "{records:?}");
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let upstream = Upstream::raw(|mut reader, _| {
        if read_request(&mut reader).is_some() {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
        }
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        let mut stream = client.begin(request("GET", "/")).await.expect("a stream");
        stream.finish().await.expect("sent");
        // A reset may overtake what came before it.
        let error = match stream.recv_response().await {
            Ok(head) => read(&mut stream, head).await.expect_err("it is cut"),
            Err(error) => error,
        };
        assert!(error.to_string().contains("INTERNAL_ERROR"), "{error}");
    });
}

#[test]
fn connect_and_websocket_are_not_there() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "connect: true", ONE_WORKER);
    run(async {
        let mut client = front.client().await;
        let asked = http::Request::builder().method("CONNECT").uri("a.test:22").body(()).expect("a request");
        let answer = super::hostile::ask(&client.connection, &super::hostile::fields_of(&asked)).await;
        assert_eq!(answer, super::hostile::Outcome::Status(501));
        // Nothing was broken by that.
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    });
    assert_eq!(upstream.seen().len(), 1);
}
