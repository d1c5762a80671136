//! An HTTP/1.1 upstream that does what a test tells it, and remembers what it saw.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// One request as the upstream saw it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The request line.
    pub line: String,
    /// Headers in the order of the wire, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Trailers, names as they came.
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The target of the request line.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What a test makes of a request: bytes for the wire; none closes the connection.
type Script = dyn Fn(&Seen) -> Option<Vec<u8>> + Send + Sync;

/// A running upstream; ends with the test.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Upstream {
    /// Answers each request with a status and a body.
    pub fn fixed(status: u16, body: &str) -> Self {
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Self::scripted(move |_| Some(answer.clone().into_bytes()))
    }

    /// Answers with the request's own target.
    pub fn echo() -> Self {
        Self::scripted(|seen| {
            let body = seen.target().to_owned();
            Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
        })
    }

    /// Answers as a script says.
    pub fn scripted(script: impl Fn(&Seen) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], super::free_port())), script)
    }

    /// The same at a given address.
    pub fn on(
        address: SocketAddr,
        script: impl Fn(&Seen) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<Script> = Arc::new(script);
        Self::raw_on(address, move |mut reader, seen| {
            while let Some(request) = read_request(&mut reader) {
                seen.lock().expect("not poisoned").push(request.clone());
                match script(&request) {
                    Some(bytes) => {
                        if reader.get_mut().write_all(&bytes).is_err() {
                            return;
                        }
                    }
                    None => return,
                }
            }
        })
    }

    /// Hands each connection to a function.
    pub fn raw(serve: impl Fn(BufReader<TcpStream>, &Mutex<Vec<Seen>>) + Send + Sync + 'static) -> Self {
        Self::raw_on(SocketAddr::from(([127, 0, 0, 1], super::free_port())), serve)
    }

    fn raw_on(
        address: SocketAddr,
        serve: impl Fn(BufReader<TcpStream>, &Mutex<Vec<Seen>>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let upstream =
            Self { address, seen: seen.clone(), connections: connections.clone(), stop: stop.clone() };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                let (serve, seen) = (serve.clone(), seen.clone());
                std::thread::spawn(move || serve(BufReader::new(stream), &seen));
            }
        });
        upstream
    }

    /// What it saw so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// How many connections it took.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Reads one request to the end of its body.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut seen = read_head(reader)?;
    read_body(reader, &mut seen)?;
    Some(seen)
}

/// Reads a request's head.
pub fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut seen = Seen::default();
    reader.read_line(&mut seen.line).ok().filter(|count| *count > 0)?;
    seen.line = seen.line.trim_end().to_owned();
    seen.headers = read_fields(reader)?;
    Some(seen)
}

/// Reads the body that a head announces, and its trailers; nothing when it breaks off.
pub fn read_body(reader: &mut BufReader<TcpStream>, seen: &mut Seen) -> Option<()> {
    if let Some(length) = seen.header("content-length") {
        seen.body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut seen.body).ok()?;
    } else if seen.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok().filter(|count| *count > 0)?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            if size == 0 {
                seen.trailers = read_fields(reader)?;
                break;
            }
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            seen.body.extend_from_slice(&chunk[..size]);
        }
    }
    Some(())
}

/// Reads fields to the empty line.
fn read_fields(reader: &mut BufReader<TcpStream>) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(fields);
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}
