//! Exit codes, the same for every command: docs/operations.md lists them.

use std::process::ExitCode;

/// Why the process ends with something else than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed while running.
    Failed = 1,
    /// The configuration is refused.
    Configuration = 3,
    /// An address cannot be listened on.
    Address = 4,
    /// What was asked for was not found: no route matches, for one.
    NotFound = 5,
    /// The change would expose more than before.
    Exposure = 6,
    /// Another process runs with the same data directory.
    Running = 7,
    /// A second SIGINT ended the drain.
    Interrupted = 130,
    /// A second SIGTERM ended the drain.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
