//! A NATS server of the test's own, and a client that speaks its protocol as it is written on the wire.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{eventually, free_port, peers_folder};

/// A running server with JetStream; ends with the test.
pub struct Nats {
    child: Child,
    pub port: u16,
    data: tempfile::TempDir,
}

/// The configuration of a gateway that knows the broker `events` at a port.
pub fn broker(port: u16) -> String {
    format!("brokers:\n  - {{name: events, nats: {{servers: [\"127.0.0.1:{port}\"]}}}}\n")
}

fn program() -> PathBuf {
    let program = peers_folder().join("nats/usr/sbin/nats-server");
    assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
    program
}

impl Nats {
    /// Starts one that everybody may use.
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same with more of its configuration.
    pub fn with(more: &str) -> Self {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{more}\n",
            data.path().display()
        );
        std::fs::write(data.path().join("nats.conf"), config).expect("a file");
        let child = spawn(&data);
        let nats = Self { child, port, data };
        nats.wait();
        nats
    }

    fn wait(&self) {
        eventually("nats listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Ends it at once, and keeps its data.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was.
    pub fn again(&mut self) {
        self.child = spawn(&self.data);
        self.wait();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// The configuration of a gateway that knows this server as the broker `events`.
    pub fn broker(&self) -> String {
        broker(self.port)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port, "")
    }

    /// Makes a stream.
    pub fn stream(&self, name: &str, subjects: &[&str]) {
        self.stream_of(name, subjects, -1);
    }

    /// The same of messages that are no larger than this.
    pub fn stream_of(&self, name: &str, subjects: &[&str], largest: i64) {
        let mut answer = Value::Null;
        // JetStream comes up a little after the port does.
        eventually("a stream is made", || {
            let settings = json!({
                "name": name, "subjects": subjects, "storage": "file", "num_replicas": 1, "max_msg_size": largest,
            });
            answer = self.client().ask(&format!("$JS.API.STREAM.CREATE.{name}"), &settings);
            answer["config"]["name"] == *name
        });
    }

    /// How many messages a stream has.
    pub fn count(&self, stream: &str) -> u64 {
        let info = self.client().ask(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({}));
        info["state"]["messages"].as_u64().unwrap_or_else(|| panic!("{info}"))
    }

    /// A message of a stream.
    pub fn message(&self, stream: &str, sequence: u64) -> Kept {
        let wish = json!({"seq": sequence});
        let answer = self.client().ask(&format!("$JS.API.STREAM.MSG.GET.{stream}"), &wish);
        let message = &answer["message"];
        let decode = |field: &Value| STANDARD.decode(field.as_str().unwrap_or_default()).expect("base64");
        let headers = String::from_utf8(decode(&message["hdrs"])).expect("text");
        let headers = headers.lines().skip(1).filter_map(|line| line.split_once(':'));
        Kept {
            subject: message["subject"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
            data: decode(&message["data"]),
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // One that was stopped in its tracks cannot end.
        let _ =
            Command::new("kill").arg("-CONT").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        self.stop();
    }
}

fn spawn(data: &tempfile::TempDir) -> Child {
    let log = std::fs::File::create(data.path().join("log")).expect("a file");
    Command::new(program())
        .arg("-c")
        .arg(data.path().join("nats.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("nats starts")
}

/// What a proxy does with the payloads that the server sends.
type Loses = dyn Fn(&[u8]) -> bool + Send + Sync;

/// A network between a server and its clients that loses messages, and connections without a word.
pub struct Lossy {
    pub port: u16,
    /// The number of breaks: connections from before the last one carry nothing any more, and stand.
    breaks: Arc<AtomicUsize>,
    /// Both ends of those that stand.
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Lossy {
    /// Stands before a server; loses the messages of which this says so.
    pub fn before(nats: &Nats, loses: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (port, to) = (listener.local_addr().expect("an address").port(), nats.port);
        let (breaks, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, known, loses): (_, _, Arc<Loses>) = (breaks.clone(), open.clone(), Arc::new(loses));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let copy = |stream: &TcpStream| stream.try_clone().expect("a socket");
                known.lock().expect("a lock").extend([copy(&client), copy(&server)]);
                let born = counted.load(Ordering::SeqCst);
                let (one, other) = ((copy(&client), copy(&server)), (server, client));
                let (counted, loses) = (counted.clone(), loses.clone());
                let lives = move || counted.load(Ordering::SeqCst) == born;
                let also = lives.clone();
                std::thread::spawn(move || forth(one.0, one.1, &lives));
                std::thread::spawn(move || back(other.0, other.1, &also, &*loses));
            }
        });
        Self { port, breaks, open }
    }

    /// Whatever is sent on the connections of now is swallowed, and nobody is told.
    pub fn swallow(&self) {
        self.breaks.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends the connections of now.
    pub fn cut(&self) {
        for stream in self.open.lock().expect("a lock").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// What the client says, as it is.
fn forth(mut client: TcpStream, mut server: TcpStream, lives: &dyn Fn() -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        if lives() && server.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

/// What the server says, message by message.
fn back(server: TcpStream, mut client: TcpStream, lives: &dyn Fn() -> bool, loses: &Loses) {
    let mut server = BufReader::new(server);
    loop {
        let mut line = String::new();
        if server.read_line(&mut line).is_err() || line.is_empty() {
            return;
        }
        let mut all = line.clone().into_bytes();
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        let is_message = matches!(words.first(), Some(&("MSG" | "HMSG")));
        if let Some(length) = words.last().and_then(|last| last.parse::<usize>().ok()).filter(|_| is_message)
        {
            let mut payload = vec![0; length + 2];
            if server.read_exact(&mut payload).is_err() {
                return;
            }
            if loses(&payload) {
                continue;
            }
            all.extend_from_slice(&payload);
        }
        if lives() && client.write_all(&all).is_err() {
            return;
        }
    }
}

/// A message that is kept.
#[derive(Debug)]
pub struct Kept {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub data: Vec<u8>,
}

impl Kept {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.data.clone()).expect("text")
    }
}

/// A client.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// `who` is more of what it says of itself, such as `"user":"a","pass":"b"`.
    pub fn connect(port: u16, who: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut client = Self { stream: BufReader::new(stream) };
        assert!(client.line().starts_with("INFO"));
        let comma = if who.is_empty() { "" } else { "," };
        client.write(&format!("CONNECT {{\"verbose\":false,\"headers\":true{comma}{who}}}\r\n"));
        client
    }

    fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("a write");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Listens to a subject from now on.
    pub fn subscribe(&mut self, subject: &str) {
        self.write(&format!("SUB {subject} 7\r\nPING\r\n"));
        while self.line() != "PONG" {}
    }

    /// Publishes something.
    pub fn publish(&mut self, subject: &str, payload: &str) {
        self.write(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
    }

    /// Publishes something with headers.
    pub fn publish_with(&mut self, subject: &str, headers: &[(&str, &str)], payload: &str) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("NATS/1.0\r\n{headers}\r\n");
        let (own, all) = (head.len(), head.len() + payload.len());
        self.write(&format!("HPUB {subject} {own} {all}\r\n{head}{payload}\r\n"));
    }

    /// The next message: its subject and its payload, without its headers.
    pub fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            let line = self.line();
            if line == "PING" {
                self.write("PONG\r\n");
                continue;
            }
            let words: Vec<&str> = line.split(' ').collect();
            let (Some(&kind), Some(length)) =
                (words.first(), words.last().and_then(|last| last.parse::<usize>().ok()))
            else {
                continue;
            };
            if kind != "MSG" && kind != "HMSG" {
                continue;
            }
            let mut payload = vec![0; length + 2];
            self.stream.read_exact(&mut payload).expect("a payload");
            payload.truncate(length);
            if kind == "HMSG" {
                let headers: usize = words[words.len() - 2].parse().expect("a number");
                payload.drain(..headers);
            }
            return (words[1].to_owned(), payload);
        }
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, subject: &str, wish: &Value) -> Value {
        let payload = wish.to_string();
        self.write(&format!(
            "SUB _INBOX.test 9\r\nPUB {subject} _INBOX.test {}\r\n{payload}\r\n",
            payload.len()
        ));
        serde_json::from_slice(&self.next().1).unwrap_or_default()
    }
}
