//! Starts a gateway on a folder, and others after it that take over.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::Gateway;

/// The command that serves the configuration from a folder and logs into it.
pub(super) fn command(folder: &Path, config: &Path) -> Command {
    let log = |name| {
        let opened = fs::OpenOptions::new().create(true).append(true).open(folder.join(name));
        opened.expect("a log file")
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .arg("run")
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .env("TIDEGATE_ADMIN_TOKEN", "test-admin-token")
        .stdin(Stdio::null())
        .stdout(log("stdout"))
        .stderr(log("stderr"));
    command
}

impl Gateway {
    /// The command that starts this gateway once more.
    pub fn again(&self) -> Command {
        command(self.folder.path(), &self.config())
    }

    /// The same with another configuration.
    pub fn again_with(&self, config: &Path) -> Command {
        command(self.folder.path(), config)
    }

    /// Ends the process by a signal, and starts another on the same folder.
    pub fn restart(&mut self, signal: &str) {
        self.restart_after(signal, |_| {});
    }

    /// The same, with something that is done to its data directory while nobody runs.
    pub fn restart_after(&mut self, signal: &str, meanwhile: impl FnOnce(&std::path::Path)) {
        self.signal(signal);
        self.wait();
        meanwhile(&self.folder.path().join("data"));
        self.child = self.again().spawn().expect("the binary starts");
        self.wait_until_ready(super::PATIENCE);
    }

    /// Goes on with a process that takes over, once the one before has ended, which it does well.
    pub fn replace(&mut self, next: std::process::Child) {
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.stderr());
        self.child = next;
        self.wait_until_ready(super::PATIENCE);
    }

    /// Starts a process that takes over, and waits until the one before has ended, which it does well. Returns the
    /// id of the one before.
    pub fn upgrade(&mut self) -> u32 {
        let next = self.again().arg("--upgrade").spawn().expect("the binary starts");
        let before = self.pid();
        self.replace(next);
        before
    }
}
