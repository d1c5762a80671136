//! Real peers as processes: Python programs with the official clients that scripts/peers.sh installs.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

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

/// A running peer that prints lines; ends with the test.
pub struct Peer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the peer starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    /// Its next line; none when it has ended.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).ok().filter(|count| *count > 0)?;
        Some(line.trim_end().to_owned())
    }

    /// All that it prints until it ends, and whether it ended well.
    pub fn finish(mut self) -> (bool, String) {
        let mut text = String::new();
        let _ = self.lines.read_to_string(&mut text);
        (self.child.wait().is_ok_and(|status| status.success()), text)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
