//! A server of RabbitMQ's for one test, with ports, a folder and processes of its own, and a client of Python's beside it.
//!
//! The machine of Erlang's is started by itself, without the scripts around it: so the process that is signalled is the
//! server, and none stays behind, even if the test is killed. It finds no other node and needs no `epmd`, since it is told its port. What it runs is
//! loaded at once, from one folder, which is most of the time that a start takes.

mod clients;
mod publish;
mod queues;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Gateway, eventually, free_port, pause, peers_folder};

/// How long a start may take on a machine that has much else to do.
const START: Duration = Duration::from_secs(90);
/// Applications of RabbitMQ's and of Erlang's whose code is loaded.
const APPLICATIONS: [&str; 35] = [
    "amqp10_common-",
    "asn1-",
    "aten-",
    "compiler-",
    "credentials_obfuscation-",
    "crypto-",
    "cuttlefish-",
    "enough-",
    "gen_batch_server-",
    "getopt-",
    "inets-",
    "jsx-",
    "kernel-",
    "mnesia-",
    "observer_cli-",
    "os_mon-",
    "osiris-",
    "public_key-",
    "ra-",
    "rabbit-",
    "rabbit_common-",
    "rabbitmq_prelaunch-",
    "ranch-",
    "recon-",
    "sasl-",
    "seshat-",
    "ssl-",
    "stdlib-",
    "stdout_formatter-",
    "syntax_tools-",
    "syslog-",
    "sysmon_handler-",
    "systemd-",
    "tools-",
    "xmerl-",
];

/// A running server; ends with the test.
pub struct Rabbit {
    server: Child,
    client: Child,
    ends: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    pub port: u16,
    pub tls_port: u16,
    node_port: u16,
    folder: tempfile::TempDir,
}

fn is_up(gateway: &Gateway, up: f64) {
    eventually("the broker is up, or away", || gateway.metric("tidegate_broker_up") == Some(up));
}

/// The folders below another whose names begin so.
fn below(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let begins = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(begin);
    all.filter(begins).map(|entry| entry.path()).collect()
}

fn one_below(folder: &Path, begin: &str) -> PathBuf {
    let mut all = below(folder, begin).into_iter();
    all.next().unwrap_or_else(|| panic!("{}/{begin} is missing: run scripts/peers.sh", folder.display()))
}

/// Where it is installed: RabbitMQ, and Erlang.
fn installed() -> (PathBuf, PathBuf) {
    let root = peers_folder().join("rabbitmq/usr/lib");
    (one_below(&root.join("rabbitmq/lib"), "rabbitmq_server-"), root.join("erlang"))
}

/// Lays links to the applications into one folder, and to all of their code into another.
fn lay(folder: &Path) {
    let (rabbit, erlang) = installed();
    let (plugins, code) = (folder.join("plugins"), folder.join("code"));
    fs::create_dir_all(&plugins).expect("a folder");
    fs::create_dir_all(&code).expect("a folder");
    for name in APPLICATIONS {
        let own = below(&rabbit.join("plugins"), name);
        let application = own.first().cloned().unwrap_or_else(|| one_below(&erlang.join("lib"), name));
        if !own.is_empty() {
            let _ = symlink(&application, plugins.join(application.file_name().expect("a name")));
        }
        for file in fs::read_dir(application.join("ebin")).expect("its code").flatten() {
            if file.path().extension().is_some_and(|extension| extension == "beam") {
                let _ = symlink(file.path(), code.join(file.file_name()));
            }
        }
    }
}

impl Rabbit {
    /// Starts one.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts one with more settings, as terms of Erlang's that end with commas. `TLS_PORT` is a port for TLS.
    pub fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, tls_port, node_port) = (free_port(), free_port(), free_port());
        lay(folder.path());
        let more = more.replace("TLS_PORT", &tls_port.to_string());
        // Without `rabbitmq.conf`: what reads that takes a second to start.
        let settings = format!("[{{rabbit, [{more}{{tcp_listeners, [{{\"127.0.0.1\", {port}}}]}}]}}].\n");
        fs::write(folder.path().join("advanced.config"), settings).expect("a file");
        fs::write(folder.path().join("enabled"), "[].\n").expect("a file");
        let server = spawn(folder.path(), node_port);
        let python = peers_folder().join("brokers/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
        let mut client = Command::new(python)
            .args(["-c", include_str!("client.py"), &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let ends = (client.stdin.take().expect("one"), BufReader::new(client.stdout.take().expect("one")));
        let mut rabbit = Self { server, client, ends: Mutex::new(ends), port, tls_port, node_port, folder };
        rabbit.wait();
        rabbit
    }

    fn wait(&mut self) {
        let until = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let output = || fs::read_to_string(self.folder.path().join("output")).unwrap_or_default();
            let ended = self.server.try_wait().expect("a child");
            assert!(ended.is_none(), "rabbitmq has ended with {ended:?}: {}", output());
            assert!(Instant::now() < until, "rabbitmq does not listen: {}", output());
            pause(20);
        }
    }

    /// Ends it at once, as the loss of power would; its data stays.
    pub fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// Starts it again where it was.
    pub fn again(&mut self) {
        self.server = spawn(self.folder.path(), self.node_port);
        self.wait();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.server.id().to_string()).status();
        assert!(status.expect("kill runs").success());
        // Each of its threads stops in its own time.
        let tasks = format!("/proc/{}/task", self.server.id());
        let is_stopped = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        if name == "STOP" {
            eventually("it stands still", || fs::read_dir(&tasks).expect("tasks").flatten().all(is_stopped));
        }
    }

    /// Has the client do something.
    pub fn order(&self, order: &Value) -> Value {
        let (input, output) = &mut *self.ends.lock().expect("a lock");
        writeln!(input, "{order}").expect("an order");
        let mut line = String::new();
        output.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{order}: {line}"))
    }

    /// Makes a durable queue.
    pub fn queue(&self, name: &str, arguments: &Value) {
        self.order(&json!({"do": "queue", "name": name, "arguments": arguments}));
    }

    /// Makes a topic exchange.
    pub fn exchange(&self, name: &str) {
        self.order(&json!({"do": "exchange", "name": name}));
    }

    /// Publishes messages to an exchange, each with its routing key.
    pub fn publish(&self, exchange: &str, messages: &[Value]) {
        self.order(&json!({"do": "publish", "exchange": exchange, "messages": messages}));
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
        let port = self.port;
        format!("brokers:\n  - {{name: events, rabbitmq: {{servers: [\"127.0.0.1:{port}\"]{more}}}}}\n")
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.stop();
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

fn spawn(folder: &Path, node_port: u16) -> Child {
    let (rabbit, erlang) = installed();
    let programs = one_below(&erlang, "erts-").join("bin");
    let log = fs::File::create(folder.join("output")).expect("a file");
    let (code, node_port) = (folder.join("code"), node_port.to_string());
    // A test that is killed takes it along.
    let load = format!(
        "code:ensure_modules_loaded([list_to_atom(filename:basename(F, \".beam\")) || F <- filelib:wildcard(\"{}/*.beam\")]), \
         spawn(fun W() -> timer:sleep(1000), filelib:is_dir(\"/proc/{}\") orelse erlang:halt(1), W() end).",
        code.display(),
        std::process::id()
    );
    let mut command = Command::new(programs.join("erlexec"));
    command
        .current_dir(folder)
        .env("HOME", folder)
        .env("ROOTDIR", &erlang)
        .env("BINDIR", &programs)
        .env("EMU", "beam")
        .env("PROGNAME", "erl")
        .env("ERL_LIBS", folder.join("plugins"))
        .env("RABBITMQ_HOME", rabbit)
        .env("RABBITMQ_PLUGINS_DIR", folder.join("plugins"))
        .env("RABBITMQ_NODENAME", "tidegate@localhost")
        .env("RABBITMQ_DIST_PORT", &node_port)
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("none.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("advanced.config"))
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled"))
        .env("SYS_PREFIX", "");
    command
        .args(["-pa", &code.display().to_string()])
        .args(["-noinput", "-eval", &load, "-s", "rabbit", "boot", "-boot", "start_sasl"])
        .args(["+W", "w", "+S", "2:2", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"])
        .args(["-sname", "tidegate@localhost", "-start_epmd", "false", "-erl_epmd_port", &node_port])
        .args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"])
        .args(["-kernel", "prevent_overlapping_partitions", "false"])
        .args(["-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("rabbitmq starts")
}
