//! Bodies: parts of them, those that are broken off, and that nobody waits for the whole of one.

use std::io::Write;

use super::*;

#[test]
fn parts_are_cut_from_what_is_kept() {
    let upstream = Upstream::scripted(|seen| {
        match seen.header("range") {
        Some(_) => Some(
            b"HTTP/1.1 206 X\r\ncache-control: max-age=60\r\ncontent-range: bytes 0-1/10\r\ncontent-length: 2\r\n\r\n01".to_vec(),
        ),
        None => answer("cache-control: max-age=60\netag: \"1\"", "0123456789"),
    }
    });
    let gateway = cached(&upstream, "{}");
    // A part is passed on, and kept neither as the whole nor as itself.
    for _ in 0..2 {
        let part = ask(&gateway, "/a", "\nrange: bytes=0-1");
        assert_eq!((part.status, part.text().as_str()), (206, "01"));
    }
    assert_eq!(ask(&gateway, "/a", "").text(), "0123456789");
    for (fields, want, body, range) in [
        ("range: bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("range: bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("range: bytes=10-", 416, "", Some("bytes */10")),
        ("range: bytes=0-1,4-5", 200, "0123456789", None),
        ("range: bytes=2-4\nif-range: \"1\"", 206, "234", Some("bytes 2-4/10")),
        ("range: bytes=2-4\nif-range: \"2\"", 200, "0123456789", None),
        ("range: bytes=2-4\nif-none-match: \"1\"", 304, "", None),
    ] {
        let part = ask(&gateway, "/a", &format!("\n{fields}"));
        assert_eq!((part.status, part.text().as_str()), (want, body), "{fields}");
        assert_eq!(part.header("content-range"), range, "{fields}");
    }
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn what_is_broken_off_is_not_kept() {
    for broken in [
        &b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n01234"[..],
        b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n",
        // Whole or not: nobody knows.
        b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\n01234",
    ] {
        let upstream = Upstream::raw(move |mut reader, seen| {
            let Some(request) = super::super::super::harness::read_request(&mut reader) else { return };
            seen.lock().expect("not poisoned").push(request);
            let _ = reader.get_mut().write_all(broken);
        });
        let gateway = cached(&upstream, "{}");
        for count in 1..=2 {
            let mut client = Client::connect(gateway.address);
            client.write("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
            let _ = client.read();
            eventually("the upstream is asked", || upstream.seen().len() == count);
        }
        let entries = gateway.metric("tidegate_cache_entries{cache=\"routes/r\"}");
        assert_eq!(entries, Some(0.0));
    }
}

#[test]
fn bytes_beyond_the_length_reach_nobody() {
    let upstream = Upstream::scripted(|seen| {
        let path = seen.target().to_owned();
        Some(format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {}\r\n\r\n{path}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", path.len()).into_bytes())
    });
    let gateway = cached(&upstream, "{}");
    let mut client = Client::connect(gateway.address);
    for path in ["/one", "/other", "/one", "/third"] {
        assert_eq!(client.get(path).expect("an answer").text(), path);
    }
    assert_eq!(upstream.seen().len(), 3);
    assert_eq!(upstream.connections(), 3, "a connection with bytes that nobody asked for is not used again");
}

#[test]
fn bytes_go_out_as_they_come_while_a_copy_is_made() {
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::raw(move |mut reader, seen| {
        let Some(request) = super::super::super::harness::read_request(&mut reader) else { return };
        seen.lock().expect("not poisoned").push(request);
        let stream = reader.get_mut();
        let head = b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n01234";
        stream.write_all(head).expect("the first half");
        told.lock().expect("not poisoned").recv().expect("a word");
        stream.write_all(b"56789").expect("the second half");
    });
    let gateway = cached(&upstream, "{}");
    let mut client = Client::connect(gateway.address);
    client.write("GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n");
    while client.read_line() != "\r\n" {}
    assert_eq!(client.read_bytes(5), b"01234", "before the upstream has sent the rest");
    go_on.send(()).expect("it waits");
    assert_eq!(client.read_bytes(5), b"56789");
    let again = ask(&gateway, "/a", "");
    assert_eq!(again.text(), "0123456789");
    assert!(status(&again).contains("hit"));
}

#[test]
fn what_varies_is_told_apart_also_when_it_is_compressed_here() {
    let upstream = Upstream::scripted(|_| {
        answer("cache-control: max-age=60\ncontent-type: text/plain", &"again and ".repeat(500))
    });
    let gateway = behind(&upstream, "[{compress: {}}, {cache: {}}]", "");
    let coded = |accepts: &str| {
        let answer = ask(&gateway, "/a", &format!("\naccept-encoding: {accepts}"));
        (
            answer.header("content-encoding").map(str::to_owned),
            status(&answer).contains("hit"),
            answer.body.len(),
        )
    };
    let (first, plain) = (coded("gzip"), coded("identity"));
    assert_eq!((first.0.as_deref(), first.1), (Some("gzip"), false));
    assert_eq!((plain.0.as_deref(), plain.1, plain.2), (None, false, 5_000));
    assert_eq!(coded("gzip"), (Some("gzip".into()), true, first.2));
    assert_eq!(coded("identity"), (None, true, 5_000));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn what_is_compressed_here_is_confirmed_by_the_upstreams_own_tag() {
    let upstream = Upstream::scripted(|seen| {
        let plain = "again and ".repeat(500);
        let head = "etag: \"1\"\ncontent-type: text/plain";
        match (seen.header("if-none-match"), seen.line.starts_with("HEAD")) {
            (Some(_), _) => {
                Some(b"HTTP/1.1 304 X\r\ncache-control: max-age=60\r\netag: \"1\"\r\n\r\n".to_vec())
            }
            (None, true) => Some(
                b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\netag: \"1\"\r\ncontent-type: text/plain\r\ncontent-length: 5000\r\n\r\n"
                    .to_vec(),
            ),
            (None, false) => answer(&format!("cache-control: max-age=1\n{head}"), &plain),
        }
    });
    let gateway = behind(&upstream, "[{compress: {}}, {cache: {}}]", "");
    let coded = || ask(&gateway, "/a", "\naccept-encoding: gzip");
    assert_eq!(coded().header("etag"), Some("W/\"1\""));
    pause(1_200);
    assert!(status(&coded()).contains("fwd-status=304"));
    for _ in 0..3 {
        let again = coded();
        assert!(status(&again).contains("; hit"), "{}", status(&again));
        assert_eq!(again.header("content-encoding"), Some("gzip"));
    }
    // What HEAD says of the plain bytes says nothing against the compressed ones.
    let mut client = Client::connect(gateway.address);
    client.write(
        "HEAD /a HTTP/1.1\r\nhost: a.test\r\naccept-encoding: gzip\r\ncache-control: no-cache\r\n\r\n",
    );
    client.read_head().expect("an answer");
    assert!(status(&coded()).contains("; hit"), "{}", status(&coded()));
}

#[test]
fn copies_in_the_making_count_among_what_is_kept() {
    const SIZE: usize = 4 << 20;
    let upstream = Upstream::raw(|mut reader, seen| {
        let Some(request) = super::super::super::harness::read_request(&mut reader) else { return };
        seen.lock().expect("not poisoned").push(request);
        let stream = reader.get_mut();
        let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {SIZE}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&vec![b'z'; SIZE - 1]);
        // The last byte never comes.
        pause(20_000);
    });
    let gateway = cached(&upstream, "{maxSize: 16MiB, collapse: 0s}");
    let before = gateway.rss();
    let clients: Vec<Client> = (0..30)
        .map(|at| {
            let mut client = Client::connect(gateway.address);
            client.write(format!("GET /{at} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            while client.read_line() != "\r\n" {}
            client.read_bytes(SIZE - 1);
            client
        })
        .collect();
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 60 << 20, "{} MiB for {} answers of 4 MiB", grown >> 20, clients.len());
    let size = || gateway.metric("tidegate_cache_size_bytes{cache=\"routes/r\"}").expect("a metric");
    assert!((1.0..=16_777_216.0).contains(&size()), "{}", size());
    drop(clients);
    eventually("all of it is given back", || size() == 0.0);
}
