//! Server-sent events: each leaves at once, through compression too, and a stream outlives every timeout but idle.

use std::{
    io::Write,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use super::{
    super::harness::{Client, Upstream, pause, read_request},
    front_with,
};

/// Lets an upstream send one more event.
#[derive(Default)]
struct Turns(Mutex<usize>, Condvar);

impl Turns {
    fn give(&self) {
        *self.0.lock().expect("not poisoned") += 1;
        self.1.notify_all();
    }

    fn take(&self) {
        let turns = self.0.lock().expect("not poisoned");
        let mut turns = self.1.wait_while(turns, |turns| *turns == 0).expect("not poisoned");
        *turns -= 1;
    }
}

/// Sends an event for each turn.
fn events(turns: Arc<Turns>) -> Upstream {
    Upstream::raw(move |mut reader, _| {
        if read_request(&mut reader).is_none() {
            return;
        }
        let stream = reader.get_mut();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        for at in 0.. {
            turns.take();
            let event = format!("data: event {at}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            if stream.write_all(chunk.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// One chunk of a chunked body.
fn chunk(client: &mut Client) -> Vec<u8> {
    let size = usize::from_str_radix(client.read_line().trim_end(), 16).expect("a size");
    let mut data = client.read_bytes(size + 2);
    data.truncate(size);
    data
}

#[test]
fn events_leave_at_once_also_compressed() {
    for (route, coding) in
        [("", None), ("policies: [{compress: {algorithms: [gzip], minSize: 1B}}]", Some("gzip"))]
    {
        let turns = Arc::new(Turns::default());
        let upstream = events(turns.clone());
        let gateway = front_with("", upstream.address, "", route);
        let mut client = Client::connect(gateway.address);
        client.write("GET / HTTP/1.1\r\nhost: a.test\r\naccept-encoding: gzip\r\n\r\n");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push_str(&client.read_line());
        }
        assert_eq!(head.contains("content-encoding: gzip"), coding.is_some(), "{head}");
        let mut plain = flate2::write::MultiGzDecoder::new(Vec::new());
        for at in 0..10 {
            turns.give();
            let want = format!("data: event {at}\n\n");
            if coding.is_none() {
                assert_eq!(chunk(&mut client), want.as_bytes());
                continue;
            }
            while !plain.get_ref().ends_with(want.as_bytes()) {
                let data = chunk(&mut client);
                plain.write_all(&data).expect("gzip");
                plain.flush().expect("gzip");
            }
        }
    }
}

#[test]
fn a_stream_of_events_outlives_the_timeouts_of_its_route() {
    let turns = Arc::new(Turns::default());
    let upstream = events(turns.clone());
    let route = "timeouts: {request: 300ms, perTry: 300ms, idle: 5s}";
    let gateway = front_with(
        "limits: {bodyTimeout: 300ms, idleTimeout: 300ms, headerTimeout: 300ms}",
        upstream.address,
        "",
        route,
    );
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    while client.read_line() != "\r\n" {}
    let start = Instant::now();
    for at in 0..4 {
        pause(400);
        turns.give();
        assert_eq!(chunk(&mut client), format!("data: event {at}\n\n").as_bytes());
    }
    assert!(start.elapsed() > Duration::from_millis(1_500));
}
