//! Those who wait for what another has asked for: they get it as it comes, and nobody's fate is another's.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{super::super::harness::read_request, *};

/// How far an upstream may go with its answers.
#[derive(Clone, Default)]
struct Valve(Arc<AtomicUsize>);

impl Valve {
    /// Lets answers go on to this part.
    fn open(&self, part: usize) {
        self.0.store(part, Ordering::SeqCst);
    }

    fn wait_for(&self, part: usize) -> bool {
        (0..4_000).any(|_| {
            pause(5);
            self.0.load(Ordering::SeqCst) >= part
        })
    }
}

/// An upstream whose answers to GET come in parts, each when the valve lets it; one that is not whole ends with its
/// connection.
fn in_parts(head: &'static str, parts: Vec<Vec<u8>>, is_whole: bool) -> (Upstream, Valve) {
    let valve = Valve::default();
    let own = valve.clone();
    let upstream = Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            let is_change = request.line.starts_with("POST");
            seen.lock().expect("not poisoned").push(request);
            if is_change {
                let _ = reader.get_mut().write_all(b"HTTP/1.1 204 X\r\n\r\n");
                continue;
            }
            let head = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", head.replace('\n', "\r\n"));
            if reader.get_mut().write_all(head.as_bytes()).is_err() {
                return;
            }
            for (at, part) in parts.iter().enumerate() {
                if at > 0 && !own.wait_for(at) || reader.get_mut().write_all(part).is_err() {
                    return;
                }
            }
            if !is_whole {
                return;
            }
        }
    });
    (upstream, valve)
}

const KEPT: &str = "cache-control: max-age=60\ncontent-length: 12";

/// A client that has asked, and reads when it is told.
struct Reading {
    client: Client,
    head: String,
}

fn begin(gateway: &Gateway, fields: &str) -> Reading {
    let mut client = Client::connect(gateway.address);
    let fields = fields.replace('\n', "\r\n");
    client.write(format!("GET /a HTTP/1.1\r\nhost: a.test{fields}\r\n\r\n"));
    Reading { client, head: String::new() }
}

impl Reading {
    fn head(&mut self) -> &str {
        while !self.head.ends_with("\r\n\r\n") {
            let line = self.client.read_line();
            assert!(!line.is_empty(), "the connection is closed");
            self.head.push_str(&line.to_ascii_lowercase());
        }
        &self.head
    }

    fn text(&mut self, count: usize) -> String {
        self.head();
        String::from_utf8(self.client.read_bytes(count)).expect("text")
    }

    /// All that comes before the connection is closed.
    fn rest(&mut self) -> Vec<u8> {
        self.head();
        let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            match self.client.read_some(&mut buffer) {
                0 => return all,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// The length of a body in chunks, when it has come to its end.
    fn chunked(&mut self) -> usize {
        self.head();
        let mut length = 0;
        loop {
            let line = self.client.read_line();
            let size = usize::from_str_radix(line.trim(), 16).expect("the size of a chunk");
            self.client.read_bytes(size + 2);
            length += size;
            if size == 0 {
                return length;
            }
        }
    }
}

#[test]
fn who_waits_reads_along_from_the_first_byte_whenever_they_come() {
    let (upstream, valve) = in_parts(KEPT, vec![b"first ".to_vec(), b"second".to_vec()], true);
    let gateway = cached(&upstream, "{}");
    let mut first = begin(&gateway, "");
    assert_eq!(first.text(6), "first ");
    let mut others: Vec<_> = (0..10).map(|_| begin(&gateway, "")).collect();
    for other in &mut others {
        assert_eq!(other.text(6), "first ", "before the rest is there");
        let head = other.head();
        assert!(head.contains("content-length: 12") && head.contains("age: "), "{head}");
        assert!(head.contains("cache-status: tidegate; hit; ttl=") && head.contains("; collapsed"), "{head}");
    }
    valve.open(1);
    assert!(others.iter_mut().all(|other| other.text(6) == "second") && first.text(6) == "second");
    assert!(status(&ask(&gateway, "/a", "")).starts_with("tidegate; hit"), "it is kept");
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(gateway.metric("tidegate_cache_collapsed_total{cache=\"routes/r\"}"), Some(10.0));
}

#[test]
fn what_is_for_the_first_alone_is_not_for_those_who_read_along() {
    let head = "cache-control: max-age=60, private=\"x-mine\"\nset-cookie: session=1\nx-mine: 1\nx-all: 1\ncontent-length: 12";
    let (upstream, valve) = in_parts(head, vec![b"first ".to_vec(), b"second".to_vec()], true);
    let gateway = cached(&upstream, "{setCookie: strip}");
    let mut first = begin(&gateway, "");
    assert_eq!(first.text(6), "first ");
    let mut other = begin(&gateway, "");
    assert_eq!(other.text(6), "first ");
    for (reading, is_first) in [(&mut first, true), (&mut other, false)] {
        let head = reading.head();
        assert!(head.contains("x-all: 1"), "{head}");
        for name in ["set-cookie: session=1", "x-mine: 1"] {
            assert_eq!(head.contains(name), is_first, "{name}: {head}");
        }
    }
    valve.open(1);
    assert!(first.text(6) == "second" && other.text(6) == "second");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn when_the_first_leaves_while_it_reads_the_others_get_all_of_it() {
    let (upstream, valve) = in_parts(KEPT, vec![b"first ".to_vec(), b"second".to_vec()], true);
    let gateway = cached(&upstream, "{}");
    let mut first = begin(&gateway, "");
    assert_eq!(first.text(6), "first ");
    let mut others: Vec<_> = (0..5).map(|_| begin(&gateway, "")).collect();
    assert!(others.iter_mut().all(|other| other.text(6) == "first "));
    drop(first);
    drop(others.pop());
    pause(300);
    valve.open(1);
    assert!(others.iter_mut().all(|other| other.text(6) == "second"));
    assert!(status(&ask(&gateway, "/a", "")).starts_with("tidegate; hit"), "it is kept");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn when_all_have_left_it_is_fetched_no_further() {
    let (upstream, valve) = in_parts(KEPT, vec![b"first ".to_vec(), b"second".to_vec()], true);
    let gateway = cached(&upstream, "{}");
    let (mut first, mut other) = (begin(&gateway, ""), begin(&gateway, ""));
    assert_eq!((first.text(6), other.text(6)), ("first ".into(), "first ".into()));
    drop((first, other));
    pause(300);
    valve.open(1);
    pause(100);
    assert!(status(&ask(&gateway, "/a", "")).contains("fwd=uri-miss"));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn what_breaks_off_breaks_off_for_each_and_is_not_kept() {
    for head in [KEPT, "cache-control: max-age=60\ntransfer-encoding: chunked"] {
        let parts = match head == KEPT {
            true => vec![b"first ".to_vec(), b"sec".to_vec()],
            false => vec![b"6\r\nfirst \r\n".to_vec(), b"3\r\nsec\r\n".to_vec()],
        };
        let (upstream, valve) = in_parts(head, parts, false);
        let gateway = cached(&upstream, "{}");
        let mut all: Vec<_> = (0..4).map(|_| begin(&gateway, "")).collect();
        for reading in &mut all {
            reading.head();
        }
        valve.open(1);
        for reading in &mut all {
            let came = String::from_utf8(reading.rest()).expect("text");
            assert!(came.contains("first ") && came.contains("sec"), "{came:?}");
            assert!(!came.ends_with("0\r\n\r\n"), "it looks whole: {came:?}");
        }
        assert_eq!(upstream.seen().len(), 1);
        let told = |record: &serde_json::Value| record["failure"]["reason"] == "upstream-reset";
        eventually("each is told in the log", || {
            gateway.records(4).iter().filter(|record| told(record)).count() == 4
        });
        assert_eq!(gateway.metric("tidegate_cache_entries{cache=\"routes/r\"}"), Some(0.0));
    }
}

#[test]
fn whoever_does_not_read_holds_nobody_up() {
    const BYTES: usize = 12_000_000;
    let body = vec![b'z'; BYTES - 1];
    let (upstream, valve) =
        in_parts("cache-control: max-age=60\ncontent-length: 12000000", vec![body, b"z".to_vec()], true);
    let gateway = cached(&upstream, "{maxSize: 128MiB, maxBodySize: 64MiB}");
    let (mut first, mut second) = (begin(&gateway, ""), begin(&gateway, ""));
    first.head();
    second.head();
    // Neither reads any further.
    let mut third = begin(&gateway, "");
    assert_eq!(third.text(BYTES - 1).len(), BYTES - 1);
    valve.open(1);
    assert_eq!(third.text(1), "z");
    assert!(status(&ask(&gateway, "/a", "")).contains("hit"), "it is kept before all have read it");
    assert_eq!((first.text(BYTES).len(), second.text(BYTES).len()), (BYTES, BYTES));
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn what_grows_too_large_reaches_those_who_read_it_in_bounded_room() {
    const BYTES: usize = 40_000_000;
    let chunk = |bytes: usize| {
        let mut chunk = format!("{bytes:x}\r\n").into_bytes();
        chunk.resize(chunk.len() + bytes, b'z');
        chunk.extend_from_slice(b"\r\n");
        chunk
    };
    let mut rest = chunk(BYTES - 1000);
    rest.extend_from_slice(b"0\r\n\r\n");
    let (upstream, valve) =
        in_parts("cache-control: max-age=60\ntransfer-encoding: chunked", vec![chunk(1000), rest], true);
    let gateway = cached(&upstream, "{maxBodySize: 1MiB}");
    let before = gateway.rss();
    let mut all: Vec<_> = (0..3).map(|_| begin(&gateway, "")).collect();
    let mut stalled = begin(&gateway, "");
    for reading in all.iter_mut().chain([&mut stalled]) {
        reading.head();
    }
    valve.open(1);
    let lengths: Vec<usize> = std::thread::scope(|scope| {
        let read = |mut reading: Reading| scope.spawn(move || reading.chunked());
        let reads: Vec<_> = all.into_iter().map(read).collect();
        reads.into_iter().map(|read| read.join().expect("no panic")).collect()
    });
    assert_eq!(lengths, [BYTES; 3], "though one of four does not read");
    // What the sockets hold is not the gateway's.
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 24_000_000, "{grown} bytes");
    assert!(stalled.rest().len() < BYTES, "it was told that it breaks off");
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(gateway.metric("tidegate_cache_entries{cache=\"routes/r\"}"), Some(0.0));
}

#[test]
fn what_is_for_others_is_not_waited_for() {
    let (upstream, valve) = in_parts(
        "cache-control: max-age=60\nvary: accept-language\netag: \"1\"\ncontent-length: 12",
        vec![b"first ".to_vec(), b"second".to_vec()],
        true,
    );
    let gateway = cached(&upstream, "{}");
    let mut german = begin(&gateway, "\naccept-language: de");
    assert_eq!(german.text(6), "first ");
    let mut english = begin(&gateway, "\naccept-language: en");
    assert_eq!(english.text(6), "first ", "while the first is on its way");
    assert_eq!(upstream.seen().len(), 2);
    let mut others = [begin(&gateway, "\naccept-language: de"), begin(&gateway, "\naccept-language: en")];
    assert!(others.iter_mut().all(|other| other.text(6) == "first "));
    assert_eq!(upstream.seen().len(), 2, "each reads its own along");
    // What is void by now is for nobody who comes after.
    gateway.send("POST /a HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    assert_eq!(upstream.seen().len(), 3);
    let mut after = begin(&gateway, "\naccept-language: de");
    assert_eq!(after.text(6), "first ");
    assert_eq!(upstream.seen().len(), 4);
    // Who may have it already asks for itself.
    let mut known = begin(&gateway, "\naccept-language: de\nif-none-match: \"1\"");
    valve.open(1);
    assert!(known.head().starts_with("http/1.1 200"));
    for mut reading in [german, english, after].into_iter().chain(others) {
        assert_eq!(reading.text(6), "second");
    }
}
