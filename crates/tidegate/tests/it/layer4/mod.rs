//! Byte streams and datagrams that go on as they come, with real peers at both ends.

mod settings;
mod sni;
mod tcp;
mod udp;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::harness::{Gateway, Upstream, free_port};

/// A gateway with listeners and stream routes of the test's own, on one worker so that records keep their order.
fn open(text: &str, address: SocketAddr) -> Gateway {
    let all = format!("runtime: {{workers: 1}}\naccessLog: [{{kind: stdout, format: json}}]\n{text}");
    Gateway::from_text(&all, address, |_| {})
}

/// A free address.
fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// An upstream that gives back what it gets, in capitals, and says at the client's end how much it was.
fn shouting() -> Upstream {
    Upstream::raw(|mut reader, _| {
        let mut buffer = [0; 4096];
        let mut count = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(more) => {
                    count += more;
                    if reader.get_mut().write_all(&buffer[..more].to_ascii_uppercase()).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
        let _ = reader.get_mut().write_all(format!("<{count}>").as_bytes());
    })
}

/// A connection with a bound of patience.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// All that comes until the end.
fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}
