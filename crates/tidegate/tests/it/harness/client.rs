//! A client that sends exactly the bytes that a test wants, and reads what comes.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{PATIENCE, converse};

/// One answer, taken apart.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers in the order of the wire, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, chunks joined.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first answer in these bytes that is not informational.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = BufReader::new(bytes);
        loop {
            let answer = Self::read(&mut reader, false)?;
            if answer.status >= 200 || answer.status == 101 {
                return Some(answer);
            }
        }
    }

    /// Reads one answer.
    pub fn read(reader: &mut impl BufRead, to_head: bool) -> Option<Self> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let status: u16 = line.split(' ').nth(1)?.trim().parse().ok()?;
        let headers = fields(reader)?;
        let find =
            |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut body = Vec::new();
        let mut trailers = Vec::new();
        if to_head || status < 200 || status == 204 || status == 304 {
        } else if find("transfer-encoding") == Some("chunked") {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size).ok().filter(|count| *count > 0)?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                if size == 0 {
                    trailers = fields(reader)?;
                    break;
                }
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).ok()?;
                body.extend_from_slice(&chunk[..size]);
            }
        } else if let Some(length) = find("content-length") {
            body = vec![0; length.parse().ok()?];
            reader.read_exact(&mut body).ok()?;
        } else {
            reader.read_to_end(&mut body).ok()?;
        }
        Some(Self { status, headers, body, trailers })
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The last part of a problem document's type.
    pub fn problem(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let slug = body["type"].as_str()?.strip_prefix("urn:tidegate:problem:")?.to_owned();
        // A problem document is whole, whichever test looks at it.
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        assert_eq!(body["status"], self.status, "{}", self.text());
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{}", self.text());
        let id = body["requestId"].as_str();
        assert!(id.is_none_or(|id| id.len() >= 8), "{}", self.text());
        assert_eq!(id, self.header("x-request-id"), "{}", self.text());
        Some(slug)
    }
}

fn fields(reader: &mut impl BufRead) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(fields);
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// A kept-alive connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { reader: BufReader::new(stream) }
    }

    /// Bounds how long a read may take.
    pub fn patience(&self, patience: Duration) {
        self.reader.get_ref().set_read_timeout(Some(patience)).expect("a timeout");
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("the bytes go out");
    }

    /// Reads one answer.
    pub fn read(&mut self) -> Option<Answer> {
        Answer::read(&mut self.reader, false)
    }

    /// Reads one answer to a HEAD request.
    pub fn read_head(&mut self) -> Option<Answer> {
        Answer::read(&mut self.reader, true)
    }

    /// Reads exactly this many bytes.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).expect("the bytes come");
        bytes
    }

    /// Reads what is there; nothing at the end.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> usize {
        self.reader.read(buffer).expect("bytes")
    }

    /// Reads one line.
    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line comes");
        line
    }

    /// Whether the other side has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0) | Err(_))
    }

    /// Sends a request for a path and reads the answer.
    pub fn get(&mut self, path: &str) -> Option<Answer> {
        self.write(format!("GET {path} HTTP/1.1\r\nhost: test.example\r\n\r\n"));
        self.read()
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

/// Sends bytes on a new connection and reads to its end.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    match TcpStream::connect(address) {
        Ok(mut stream) => converse(&mut stream, bytes),
        Err(_) => Vec::new(),
    }
}

/// One GET on a new connection.
pub fn get(address: SocketAddr, path: &str) -> Option<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n");
    Answer::parse(&raw(address, request.as_bytes()))
}
