//! Why a component did not come to its end.

use std::{fmt, time::Duration};

/// Why a component did not come to its end. The text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It trapped, for this reason.
    Trapped(String),
    /// It computed longer than it may.
    Cpu(Duration),
    /// It took longer than it may, with all that it waited for.
    Time(Duration),
    /// It wanted more bytes of memory than it may have.
    Memory(usize),
    /// As many instances are at work as there may be.
    Full,
    /// What it has said cannot be.
    Wrong(String),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trapped(why) => write!(f, "it trapped: {why}"),
            Self::Cpu(most) => write!(f, "it computed for more than {most:?}"),
            Self::Time(most) => write!(f, "it took more than {most:?}"),
            Self::Memory(most) => write!(f, "it wanted more than {most} bytes of memory"),
            Self::Full => f.write_str("as many instances are at work as there may be"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Stopped {}

impl Stopped {
    /// What comes out of the runtime.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if let Some(stopped) = error.downcast_ref::<Self>() {
            return stopped.clone();
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Full;
        }
        if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
            return Self::Trapped(trap.to_string());
        }
        Self::Trapped(error.root_cause().to_string())
    }
}
