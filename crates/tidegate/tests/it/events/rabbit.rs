//! A server of RabbitMQ's for one test, on ports of its own and with a place of its own for all that it writes, and a
//! client of Python's beside it.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{free_port, pause, peers_folder};

/// A running server; ends with the test.
pub struct Rabbit {
    epmd: Child,
    server: Child,
    client: Child,
    ends: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    ports: [u16; 3],
    pub tls_port: u16,
    folder: tempfile::TempDir,
}

fn root() -> PathBuf {
    let root = peers_folder().join("rabbitmq");
    assert!(root.join("usr/lib/rabbitmq").exists(), "{} is missing: run scripts/peers.sh", root.display());
    root
}

/// The one folder below another whose name begins so.
fn below(folder: PathBuf, begin: &str) -> PathBuf {
    let mut all = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin))
    };
    all.find(is_it).unwrap_or_else(|| panic!("no {begin} in {}", folder.display()))
}

impl Rabbit {
    /// Starts one; more lines of its configuration may say more.
    pub fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (ports, tls_port) = ([free_port(), free_port(), free_port()], free_port());
        let config = format!("listeners.tcp.1 = 127.0.0.1:{}\n{more}\n", ports[0])
            .replace("TLS_PORT", &tls_port.to_string());
        std::fs::write(folder.path().join("rabbitmq.conf"), config).expect("a file");
        std::fs::write(folder.path().join("plugins"), "[].\n").expect("a file");
        let program = below(root().join("usr/lib/erlang"), "erts-").join("bin/epmd");
        // Its own, and no daemon that would outlast the test.
        let epmd =
            Command::new(program).args(["-port", &ports[1].to_string(), "-address", "127.0.0.1"]).spawn();
        let server = spawn(&folder, ports);
        let mut client = Command::new(peers_folder().join("brokers/bin/python"))
            .args(["-c", include_str!("rabbit_client.py"), &ports[0].to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let ends = (client.stdin.take().expect("one"), BufReader::new(client.stdout.take().expect("one")));
        let rabbit = Self {
            epmd: epmd.expect("epmd starts"),
            server,
            client,
            ends: Mutex::new(ends),
            ports,
            tls_port,
            folder,
        };
        rabbit.wait();
        rabbit
    }

    /// It takes its time, and more on a machine that has much to do.
    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", self.ports[0])).is_err() {
            assert!(Instant::now() < until, "rabbitmq does not listen");
            pause(100);
        }
    }

    /// Ends it at once, and keeps its data.
    pub fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// Starts it again where it was.
    pub fn again(&mut self) {
        self.server = spawn(&self.folder, self.ports);
        self.wait();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.server.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Has the client do something.
    pub fn order(&self, order: &Value) -> Value {
        let (input, output) = &mut *self.ends.lock().expect("a lock");
        writeln!(input, "{order}").expect("an order");
        let mut line = String::new();
        output.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{order}: {line}"))
    }

    /// Makes a queue.
    pub fn queue(&self, name: &str, arguments: &Value) {
        self.order(&json!({"do": "queue", "name": name, "arguments": arguments}));
    }

    /// How many messages of a queue nobody has.
    pub fn count(&self, name: &str) -> i64 {
        self.order(&json!({"do": "count", "name": name})).as_i64().unwrap_or(-1)
    }

    /// Takes all messages of a queue.
    pub fn get(&self, name: &str) -> Vec<Value> {
        match self.order(&json!({"do": "get", "name": name})) {
            Value::Array(all) => all,
            other => panic!("{other}"),
        }
    }

    /// The configuration of a gateway that knows this server as the broker `events`.
    pub fn broker(&self, more: &str) -> String {
        let port = self.ports[0];
        format!("brokers:\n  - {{name: events, rabbitmq: {{servers: [\"127.0.0.1:{port}\"]{more}}}}}\n")
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .arg("-CONT")
            .arg(self.server.id().to_string())
            .stderr(Stdio::null())
            .status();
        self.stop();
        for child in [&mut self.client, &mut self.epmd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(folder: &tempfile::TempDir, ports: [u16; 3]) -> Child {
    let erlang = root().join("usr/lib/erlang");
    let script = below(root().join("usr/lib/rabbitmq/lib"), "rabbitmq_server-").join("sbin/rabbitmq-server");
    let log = std::fs::File::create(folder.path().join("output")).expect("a file");
    let at = |name: &str| folder.path().join(name);
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new(script)
        .env("HOME", folder.path())
        .env("PATH", format!("{}:{path}", erlang.join("bin").display()))
        .env("ERL_ROOTDIR", &erlang)
        .env("ERL_EPMD_PORT", ports[1].to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("tidegate{}@localhost", ports[0]))
        .env("RABBITMQ_DIST_PORT", ports[2].to_string())
        .env("RABBITMQ_MNESIA_BASE", at("data"))
        .env("RABBITMQ_LOG_BASE", at("log"))
        .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
        .env("RABBITMQ_CONF_ENV_FILE", at("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("rabbitmq starts")
}
