//! A row of the attack tables: its bytes, its source, what is answered and what the upstream may see of it; and how
//! a table of them is played against one gateway.

use std::{
    collections::HashMap,
    io::{BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::super::harness::{Answer, Gateway, Upstream, eventually};

/// What the upstream may see of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaches {
    /// Nothing at all.
    Nothing,
    /// The head, for its body was wrong later; never a whole request.
    Head,
    /// One whole request, and nothing that was hidden behind it.
    Whole,
}

/// One attack.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    /// CVE, RFC section or paper.
    pub(super) source: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Statuses of which one is answered; 0 is an end of the connection without an answer.
    pub(super) answers: &'static [u16],
    pub(super) reaches: Reaches,
}

/// A row that is refused and reaches nobody.
pub(super) fn row(
    name: &str,
    source: &'static str,
    bytes: impl Into<Vec<u8>>,
    answers: &'static [u16],
) -> Row {
    Row { name: name.to_owned(), source, bytes: bytes.into(), answers, reaches: Reaches::Nothing }
}

impl Row {
    /// The same row, of which the upstream may see this.
    pub(super) fn reaching(mut self, reaches: Reaches) -> Self {
        self.reaches = reaches;
        self
    }
}

pub(super) const BAD: &[u16] = &[400];

/// A second request that must never be seen.
pub(super) const HIDDEN: &str = "GET /api/hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// The path that rows are about; each row gets one of its own in its place.
pub(super) const PATH: &str = "/api/x000";

/// A POST to a route that takes it, with these header lines and this body.
pub(super) fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST {PATH} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n{body}").into_bytes()
}

/// A GET of this target.
pub(super) fn target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").into_bytes()
}

/// A request line and header lines.
pub(super) fn head(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\n{headers}\r\n").into_bytes()
}

/// An upstream that answers at once, and notes heads and whole requests apart.
pub(super) struct Watcher {
    pub(super) upstream: Upstream,
    whole: Arc<Mutex<Vec<String>>>,
}

impl Watcher {
    pub(super) fn new() -> Self {
        let whole = Arc::new(Mutex::new(Vec::new()));
        let done = whole.clone();
        let upstream = Upstream::raw(move |mut reader, seen| {
            while let Some(mut head) = super::super::harness::read_head(&mut reader) {
                let line = head.line.clone();
                seen.lock().expect("not poisoned").push(head.clone());
                if super::super::harness::read_body(&mut reader, &mut head).is_none() {
                    return;
                }
                done.lock().expect("not poisoned").push(line);
                if reader.get_mut().write_all(b"HTTP/1.1 200 X\r\ncontent-length: 7\r\n\r\nreached").is_err()
                {
                    return;
                }
            }
        });
        Self { upstream, whole }
    }

    /// Everything that these rows let the upstream see and should not have, told row by row. Rows have paths of
    /// their own, so that what comes late is still told apart.
    fn judge(&self, rows: &HashMap<String, Row>) -> Vec<String> {
        let heads = self.upstream.seen();
        let whole = self.whole.lock().expect("not poisoned").clone();
        let path = |line: &str| {
            let target = line.split(' ').nth(1).unwrap_or(line);
            target.split('?').next().unwrap_or(target).to_owned()
        };
        let mut wrong = Vec::new();
        for line in heads.iter().map(|head| &head.line) {
            let allowed = rows.get(&path(line)).is_some_and(|row| row.reaches != Reaches::Nothing);
            if !allowed && !line.contains("/api/alive") {
                wrong.push(format!(
                    "the upstream saw `{line}` of {:?}",
                    rows.get(&path(line)).map(|row| &row.name)
                ));
            }
        }
        for row in rows.iter().filter(|(_, row)| row.reaches != Reaches::Nothing) {
            let count = whole.iter().filter(|line| path(line) == *row.0).count();
            let most = usize::from(row.1.reaches == Reaches::Whole);
            if count > most || (count < most && row.1.answers == [200]) {
                wrong.push(format!("{}: the upstream saw it whole {count} times", row.1.name));
            }
        }
        wrong
    }
}

/// The status of the first answer to these bytes; 0 when the connection ends without one.
pub(super) fn status(address: SocketAddr, bytes: &[u8]) -> u16 {
    let Ok(mut stream) = TcpStream::connect(address) else { return 0 };
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let _ = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    loop {
        match Answer::read(&mut reader, false) {
            Some(answer) if answer.status < 200 => {}
            Some(answer) => return answer.status,
            None => return 0,
        }
    }
}

/// The configuration that tables are played against: a route that takes anything, and two that let nobody in.
pub(super) fn gateway(watcher: &Watcher) -> Gateway {
    Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: c, keys: [secret-of-the-test]}}, {{name: outsider, keys: [key-of-the-outsider]}}, {{name: insider, groups: [staff], keys: [key-of-the-insider]}}]
routes:
  - name: api
    match: [{{path: {{prefix: /api}}}}]
    policies: [{{requestLimits: {{maxBodySize: 1KiB}}}}]
    backends: [{{upstream: u}}]
  - name: admin
    match: [{{path: {{prefix: /admin}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    backends: [{{upstream: u}}]
  - name: staff
    match: [{{path: {{prefix: /staff}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}, {{acl: {{allow: [staff]}}}}]
    backends: [{{upstream: u}}]
",
        watcher.upstream.address
    ))
}

/// These bytes with one part put in the place of another, wherever it is.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    [&out, rest].concat()
}

/// Memory that a row may take for good, and a whole table.
const ROW_BYTES_MAX: u64 = 12 << 20;
const TABLE_BYTES_MAX: u64 = 24 << 20;

/// Plays a table: every row is answered as it says, the upstream sees no more than it says, memory stays bounded and
/// the gateway works on.
pub(super) fn play(rows: Vec<Row>, send: impl Fn(SocketAddr, &[u8]) -> u16) {
    let watcher = Watcher::new();
    let gateway = gateway(&watcher);
    assert_eq!(gateway.get("/api/alive").text(), "reached");
    let before = gateway.rss();
    let mut wrong = Vec::new();
    let mut played = HashMap::new();
    for (number, row) in rows.into_iter().enumerate() {
        // As long as the common path, so that lengths that a row states stay right.
        let path = format!("/api/x{number:03}");
        let bytes = replace(&row.bytes, PATH.as_bytes(), path.as_bytes());
        let held = gateway.rss();
        let status = send(gateway.address, &bytes);
        if !row.answers.contains(&status) {
            wrong.push(format!("{} ({}): {status}, not {:?}", row.name, row.source, row.answers));
        }
        let grown = gateway.rss().saturating_sub(held);
        if grown > ROW_BYTES_MAX {
            wrong.push(format!("{} ({}): memory grew by {grown} bytes", row.name, row.source));
        }
        played.insert(path, row);
    }
    assert_eq!(gateway.get("/api/alive").text(), "reached", "the gateway still works");
    eventually("what came is judged", || watcher.upstream.seen().len() >= 2);
    wrong.extend(watcher.judge(&played));
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), played.len(), wrong.join("\n"));
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < TABLE_BYTES_MAX, "memory grew by {grown} bytes over the table");
}
