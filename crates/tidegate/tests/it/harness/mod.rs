//! Starts the real binary on free ports with a configuration of the test's own, and ends it by pid.

mod client;
pub mod dns;
pub mod h2;
mod peers;
mod redis;
mod succession;
mod upstream;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

pub use self::{
    client::{Answer, Client, get, raw},
    peers::{
        Peer, agents, cache_tests, coding_agent, folder as peers_folder, framework, graphql_peer,
        identity_provider, judge, node, node_binary, node_package, python, rpc_client, standards,
        standards_in_javascript, tokenizer,
    },
    redis::Redis,
    upstream::{Seen, Upstream, read_body, read_head, read_request},
};

/// How long anything may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway; ends with the test.
pub struct Gateway {
    child: Child,
    /// Where the first listener is.
    pub address: SocketAddr,
    /// Where the admin endpoint is.
    pub admin: SocketAddr,
    /// The folder of the configuration and of all data.
    pub folder: tempfile::TempDir,
}

/// A port that nobody listens on now. Under nextest, where each test is a process, each asks in a range of its own,
/// so that tests that run at once do not race for what the kernel would give to both.
pub fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    /// Below what the kernel gives to outgoing connections (32768 and up), of which there are many.
    const FIRST: usize = 10_000;
    const RANGES: usize = 220;
    const OF_A_TEST: usize = 100;
    let process = std::process::id() as usize % RANGES * OF_A_TEST;
    let is_alone = std::env::var_os("NEXTEST").is_none();
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let place =
            if is_alone { (process + offset) % (RANGES * OF_A_TEST) } else { process + offset % OF_A_TEST };
        let port = u16::try_from(FIRST + place).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Gateway {
    /// Starts a gateway on one plain listener named `public`; `rest` is the configuration without listeners and
    /// admin.
    pub fn start(rest: &str) -> Self {
        Self::with("", rest)
    }

    /// The same, with further settings of the listener, such as `limits: {headerTimeout: 1s}`.
    pub fn with(listener: &str, rest: &str) -> Self {
        let port = free_port();
        let comma = if listener.is_empty() { "" } else { ", " };
        let text =
            format!("listeners:\n  - {{name: public, address: 127.0.0.1:{port}{comma}{listener}}}\n{rest}");
        Self::from_text(&text, SocketAddr::from(([127, 0, 0, 1], port)), |_| {})
    }

    /// [`Gateway::start`] with a configuration that takes long to load.
    pub fn patiently(rest: &str, patience: Duration) -> Self {
        let [address, admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let listeners = format!("listeners: [{{name: public, address: \"{address}\"}}]");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        fs::write(&path, format!("admin: {{address: \"{admin}\"}}\n{listeners}\n{rest}")).expect("a file");
        let child = succession::command(folder.path(), &path).spawn().expect("the binary starts");
        let mut gateway = Self { child, address, admin, folder };
        gateway.wait_until_ready(patience);
        gateway
    }

    /// Starts a gateway on a whole configuration, to which only the admin endpoint is added.
    pub fn from_text(text: &str, address: SocketAddr, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::in_folder(folder, text, address, prepare)
    }

    /// The same in a folder that holds files the configuration refers to.
    pub fn in_folder(
        folder: tempfile::TempDir,
        text: &str,
        address: SocketAddr,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::with_admin(folder, &format!("admin: {{address: \"{admin}\"}}\n{text}"), address, admin, prepare)
    }

    /// The same on a configuration that names the admin endpoint itself.
    pub fn with_admin(
        folder: tempfile::TempDir,
        text: &str,
        address: SocketAddr,
        admin: SocketAddr,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let path = folder.path().join("tidegate.yaml");
        fs::write(&path, text).expect("a configuration");
        Self::spawn(folder, &path, address, admin, prepare)
    }

    /// Starts a gateway on configuration files of the test's own, admin endpoint included.
    pub fn on_folder(
        folder: tempfile::TempDir,
        config: &str,
        address: SocketAddr,
        admin: SocketAddr,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        Self::spawn(folder, Path::new(config), address, admin, prepare)
    }

    fn spawn(
        folder: tempfile::TempDir,
        path: &Path,
        address: SocketAddr,
        admin: SocketAddr,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = succession::command(folder.path(), path);
        prepare(&mut command);
        let child = command.spawn().expect("the binary starts");
        let mut gateway = Self { child, address, admin, folder };
        gateway.wait_until_ready(PATIENCE);
        gateway
    }

    fn wait_until_ready(&mut self, patience: Duration) {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the gateway ended with {status}:\n{}", self.stderr());
            }
            if get(self.admin, "/readyz").is_some_and(|answer| answer.status == 200) {
                return;
            }
            pause(20);
        }
        panic!("the gateway is not ready after {patience:?}:\n{}", self.stderr());
    }

    /// What the process has logged.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// The access log.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// The access log's lines once there are `count` of them.
    pub fn records(&self, count: usize) -> Vec<serde_json::Value> {
        let mut records = Vec::new();
        eventually(&format!("{count} access log lines"), || {
            records = self.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            records.len() >= count
        });
        records
    }

    /// The first line of the access log that is so, once there is one: lines of several workers come in any order,
    /// and the last ones come after their answers.
    pub fn record(&self, what: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let mut found = None;
        eventually(&format!("the record of {what} among\n{}", self.stdout()), || {
            found = self.records(0).into_iter().find(&is_so);
            found.is_some()
        });
        found.expect("a record")
    }

    /// Path of the configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("tidegate.yaml")
    }

    /// Replaces the configuration (the admin endpoint stays), and waits until it is live or refused.
    pub fn reload(&self, text: &str) -> serde_json::Value {
        let before = self.readiness();
        let count = |value: &serde_json::Value| {
            value["reloadsApplied"].as_u64().unwrap_or(0) + value["reloadsRefused"].as_u64().unwrap_or(0)
        };
        let fresh = self.folder.path().join("fresh.tmp");
        fs::write(&fresh, format!("admin: {{address: \"{}\"}}\n{text}", self.admin)).expect("a file");
        fs::rename(&fresh, self.config()).expect("a swap");
        self.signal("HUP");
        let mut after = before.clone();
        eventually("a reload", || {
            after = self.readiness();
            count(&after) > count(&before)
        });
        after
    }

    /// `/readyz?verbose`.
    pub fn readiness(&self) -> serde_json::Value {
        let answer = get(self.admin, "/readyz?verbose").expect("the admin endpoint answers");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// A GET at the admin API, with the token.
    pub fn admin_get(&self, path: &str) -> Answer {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer test-admin-token\r\nconnection: close\r\n\r\n",
            self.admin
        );
        Answer::parse(&raw(self.admin, request.as_bytes())).expect("an answer")
    }

    /// All metrics as text.
    pub fn metrics(&self) -> String {
        let answer = get(self.admin, "/metrics").expect("metrics");
        String::from_utf8(answer.body).expect("text")
    }

    /// The value of the first series whose line begins with `series`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the gateway does not end:\n{}", self.stderr());
            pause(10);
        }
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("statm");
        let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
        pages * 4096
    }

    /// Its threads.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads").count()
    }

    /// One GET through the gateway.
    pub fn get(&self, path: &str) -> Answer {
        get(self.address, path).expect("an answer")
    }

    /// One request through the gateway: request line and headers without the last empty line, and a body.
    pub fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut bytes = head.replace('\n', "\r\n").into_bytes();
        bytes.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
        bytes.extend_from_slice(body);
        Answer::parse(&raw(self.address, &bytes)).expect("an answer")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds, or fails the test.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never came to pass: {what}");
        pause(10);
    }
}

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "tests are no workers")]
pub fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    run_with(arguments, &[])
}

/// The same with variables in its environment.
pub fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs");
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Writes and reads until the end, bounded in time.
fn converse(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
