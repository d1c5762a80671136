//! Ends on either side: a client that leaves ends the upstream's work at once, half-close, and answers that come early.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use super::{
    super::harness::{Client, Upstream, h2, read_request},
    front_with,
};

/// Longer than a busy machine takes, and much shorter than any timeout of the gateway.
const AT_ONCE: Duration = Duration::from_secs(5);

/// An upstream that never ends its answer, and tells when it is left alone.
fn endless(version: u8, begins: bool) -> (SocketAddr, mpsc::Receiver<&'static str>) {
    let (tell, told) = mpsc::channel();
    if version == 2 {
        let upstream = h2::Upstream::start(move |_, mut respond| {
            let tell = tell.clone();
            async move {
                let _ = tell.send("came");
                let reset = if begins {
                    let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
                    let _ = stream.send_data("begun".into(), false);
                    std::future::poll_fn(|cx| stream.poll_reset(cx)).await
                } else {
                    std::future::poll_fn(|cx| respond.poll_reset(cx)).await
                };
                let _ = reset;
                let _ = tell.send("left");
            }
        });
        return (upstream.address, told);
    }
    let tell = Mutex::new(tell);
    let upstream = Upstream::raw(move |mut reader, _| {
        if read_request(&mut reader).is_none() {
            return;
        }
        let tell = tell.lock().expect("not poisoned").clone();
        let _ = tell.send("came");
        if begins {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
            let _ = reader.get_mut().write_all(head);
        }
        let _ = reader.read(&mut [0; 100]);
        let _ = tell.send("left");
    });
    let address = upstream.address;
    std::mem::forget(upstream);
    (address, told)
}

#[test]
fn a_client_that_leaves_ends_the_upstreams_work_at_once() {
    for (client, upstream) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        for begins in [false, true] {
            let what = format!("HTTP/{client} to HTTP/{upstream}, begun: {begins}");
            let (address, told) = endless(upstream, begins);
            let gateway = front_with("", address, &format!("protocol: http{upstream}"), "");
            let left = if client == 1 {
                let mut client = Client::connect(gateway.address);
                client.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
                assert_eq!(told.recv_timeout(AT_ONCE), Ok("came"), "{what}");
                if begins {
                    while client.read_line() != "\r\n" {}
                }
                Instant::now()
            } else {
                h2::run(async {
                    let client = h2::Client::connect(gateway.address).await;
                    let mut send = client.send.clone().ready().await.expect("ready");
                    let (response, mut stream) =
                        send.send_request(h2::request("POST", "/"), begins).expect("sent");
                    if begins {
                        let _ = response.await.expect("an answer");
                    } else {
                        let _ = stream.send_data("abc".into(), true);
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                    assert_eq!(told.recv_timeout(AT_ONCE), Ok("came"), "{what}");
                    // One stream of a connection that lives on.
                    stream.send_reset(::h2::Reason::CANCEL);
                    let left = Instant::now();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    assert_eq!(told.recv_timeout(AT_ONCE), Ok("left"), "{what}");
                    left
                })
            };
            if client == 1 {
                assert_eq!(told.recv_timeout(AT_ONCE), Ok("left"), "{what}");
            }
            assert!(left.elapsed() < AT_ONCE, "{what}");
            let record = gateway.records(1).remove(0);
            assert_eq!(record["failure"]["reason"], "client-left", "{what}: {record}");
            if !begins {
                assert_eq!(record["status"], 499, "{what}: {record}");
            }
        }
    }
}

#[test]
fn a_client_that_leaves_while_its_body_is_not_wanted_yet_is_noticed() {
    let upstream = Upstream::echo();
    let gateway = front_with("", upstream.address, "", "policies: [{faultInjection: {delay: {fixed: 15s}}}]");
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nhalf");
    super::super::harness::pause(300);
    drop(client);
    let left = Instant::now();
    let record = gateway.records(1).remove(0);
    assert!(left.elapsed() < AT_ONCE, "{:?}", left.elapsed());
    assert_eq!(
        (&record["status"], &record["failure"]["reason"]),
        (&499.into(), &"client-left".into()),
        "{record}"
    );
    assert!(upstream.seen().is_empty());
}

#[test]
fn half_close_is_an_end_unless_the_listener_allows_it() {
    for allowed in [true, false] {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let upstream = Upstream::raw(move |mut reader, _| {
            if read_request(&mut reader).is_some() {
                let _ = wait.lock().expect("not poisoned").recv_timeout(Duration::from_millis(500));
                let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate");
            }
        });
        let gateway = front_with(&format!("halfClose: {allowed}"), upstream.address, "", "");
        let mut client = Client::connect(gateway.address);
        client.write("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nok");
        client.stream().shutdown(Shutdown::Write).expect("half closed");
        if allowed {
            assert_eq!(client.read().expect("an answer").text(), "late");
        } else {
            assert!(client.is_closed());
            assert_eq!(gateway.records(1)[0]["status"], 499);
        }
        drop(go);
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let upstream = Upstream::raw(|mut reader, _| {
        let mut byte = [0; 1];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && reader.read(&mut byte).is_ok_and(|count| count > 0) {
            head.push(byte[0]);
        }
        let _ = reader
            .get_mut()
            .write_all(b"HTTP/1.1 413 No\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge");
    });
    let gateway = front_with("", upstream.address, "retry: {maxAttempts: 1}", "");
    for _ in 0..5 {
        let mut client = Client::connect(gateway.address);
        client.write("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 50000000\r\n\r\n");
        let mut stream = client.stream().try_clone().expect("a socket");
        let sending = std::thread::spawn(move || {
            let piece = vec![b'x'; 64 * 1024];
            while stream.write_all(&piece).is_ok() {}
        });
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (413, "large"));
        drop(client);
        sending.join().expect("it ends");
    }
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let upstream = Upstream::raw(|mut reader, _| {
        if let Some(seen) = read_request(&mut reader) {
            let head = match seen.target() {
                "/length" => "content-length: 100\r\n\r\nhalf",
                _ => "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            };
            let _ = reader.get_mut().write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
        }
    });
    let gateway = front_with("", upstream.address, "", "");
    for path in ["/length", "/chunked"] {
        let mut client = Client::connect(gateway.address);
        client.write(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        assert!(client.read().is_none(), "{path}: the body has no end");
        h2::run(async {
            let client = h2::Client::connect(gateway.address).await;
            let error = client.get(path).await.expect_err("a reset");
            assert!(error.is_reset(), "{path}: {error:?}");
        });
    }
    for record in gateway.records(4) {
        assert_eq!(record["failure"]["side"], "upstream", "{record}");
    }
}
