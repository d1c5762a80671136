//! Load at a fixed rate: an open loop, free of coordinated omission.
//!
//! Every request has a time at which it is due, whatever happened to those before it, and its latency counts from
//! then: a proxy that stalls is charged for all that was due meanwhile. One blocking thread per connection keeps the
//! times exact; a runtime's timers have a grain of a millisecond.

use std::{
    error::Error,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// A request without an answer for so long is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the start of the threads and the first request.
const START_DELAY: Duration = Duration::from_millis(200);

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// Microseconds from due to answered.
    latencies: Vec<u32>,
    lost: u64,
    /// Why the first lost one was lost.
    reason: Option<String>,
}

/// Sends and prints one line of JSON: what was sent, lost, and the latencies in microseconds.
pub(crate) fn run(
    address: &str,
    path: &str,
    rate: &str,
    connections: &str,
    seconds: &str,
    headers: &[&str],
) -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = address.parse()?;
    let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
    let connections: u32 = connections.parse()?;
    let request = request(path, headers)?;
    let interval = Duration::from_secs_f64(f64::from(connections) / rate);
    let start = Instant::now() + START_DELAY;
    let end = start + Duration::from_secs_f64(seconds);
    let threads: Vec<_> = (0..connections)
        .map(|number| {
            let (request, first) = (request.clone(), start + interval * number / connections);
            thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(move || drive(address, &request, first, interval, end))
        })
        .collect::<Result<_, _>>()?;
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| "a thread panicked")?;
        all.latencies.extend(seen.latencies);
        all.lost += seen.lost;
        all.reason = all.reason.or(seen.reason);
    }
    report(&mut all);
    Ok(())
}

/// A GET with these header fields, or a POST of the file that `@FILE` among them names.
fn request(path: &str, headers: &[&str]) -> std::io::Result<Vec<u8>> {
    let file = headers.iter().find_map(|header| header.strip_prefix('@'));
    let body = file.map(std::fs::read).transpose()?;
    let fields = headers.iter().filter(|header| !header.starts_with('@'));
    let mut fields: String = fields.map(|header| format!("{header}\r\n")).collect();
    if let Some(body) = &body {
        fields.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let method = if body.is_some() { "POST" } else { "GET" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: bench.test\r\n{fields}\r\n");
    Ok([head.into_bytes(), body.unwrap_or_default()].concat())
}

fn report(all: &mut Seen) {
    all.latencies.sort_unstable();
    let at = |share: f64| {
        let last = all.latencies.len().saturating_sub(1);
        all.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    };
    println!(
        "{{\"sent\": {}, \"lost\": {}, \"reason\": {:?}, \"p50\": {}, \"p99\": {}, \"p999\": {}, \"max\": {}}}",
        all.latencies.len() as u64 + all.lost,
        all.lost,
        all.reason.as_deref().unwrap_or(""),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
}

/// One connection's share of the requests.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own that has nothing else to do; the grain is finer"
)]
fn drive(address: SocketAddr, request: &[u8], first: Instant, interval: Duration, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    let mut due = first;
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match exchange(&mut connection, address, request) {
            Ok(()) => seen.latencies.push(due.elapsed().as_micros().try_into().unwrap_or(u32::MAX)),
            Err(error) => {
                connection = None;
                seen.lost += 1;
                seen.reason.get_or_insert(error.to_string());
            }
        }
        due += interval;
    }
    seen
}

fn exchange(
    connection: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
) -> Result<(), Box<dyn Error>> {
    // A server may close a connection that it has nothing to answer on; a client that looks first loses nothing.
    if connection.as_ref().is_some_and(was_closed) {
        *connection = None;
    }
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(connect(address)?),
    };
    stream.write_all(request)?;
    if !read_answer(stream)? {
        *connection = None;
    }
    Ok(())
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

fn was_closed(stream: &TcpStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let open = matches!(&looked, Err(error) if error.kind() == ErrorKind::WouldBlock);
    !open || stream.set_nonblocking(false).is_err()
}

/// Reads one answer with a Content-Length; says whether the connection stays open.
fn read_answer(stream: &mut TcpStream) -> Result<bool, Box<dyn Error>> {
    let mut buffer = [0; 16 * 1024];
    let mut filled = 0;
    let head = loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err("closed before the head ended".into());
        }
        filled += read;
        if let Some(at) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(format!("answered {}", text.lines().next().unwrap_or_default()).into());
    }
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = field("content-length:").ok_or("no content-length")?.parse()?;
    let mut left = (head + length).saturating_sub(filled);
    while left > 0 {
        let room = left.min(buffer.len());
        let read = stream.read(&mut buffer[..room])?;
        if read == 0 {
            return Err("closed before the body ended".into());
        }
        left -= read;
    }
    Ok(field("connection:") != Some("close"))
}
