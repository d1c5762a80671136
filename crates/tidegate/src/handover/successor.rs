//! Starts the program anew, to take over from this process: what SIGUSR2 asks for.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// How this process was started, and whether one that follows it is on its way.
pub(crate) struct Successor {
    program: PathBuf,
    args: Vec<OsString>,
    is_starting: Arc<AtomicBool>,
}

impl Successor {
    /// The program as it was called: a link that is moved to a new version leads to the new one.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut args = std::env::args_os();
        let called = args.next().map(PathBuf::from).unwrap_or_default();
        let program = match called.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => std::path::absolute(called)?,
            _ => std::env::current_exe()?,
        };
        let mut args: Vec<_> = args.collect();
        if !args.iter().any(|arg| arg == "--upgrade") {
            args.push("--upgrade".into());
        }
        Ok(Self { program, args, is_starting: Arc::default() })
    }

    /// Starts it. It asks for the sockets when it is ready to serve; should it end before, this process goes on.
    pub(crate) fn start(&self) {
        if self.is_starting.swap(true, Ordering::AcqRel) {
            tracing::warn!("an upgrade is under way already");
            return;
        }
        let is_starting = self.is_starting.clone();
        let mut command = Command::new(&self.program);
        // What the service manager says to one process by its id holds for the next without it.
        command.args(&self.args).env_remove("WATCHDOG_PID").env_remove("LISTEN_PID").env_remove("LISTEN_FDS");
        tracing::info!(program = %self.program.display(), "starting a new process to take over");
        let watch = move || {
            match command.spawn().and_then(|mut child| child.wait()) {
                Ok(status) => tracing::error!("the new process ended ({status}); this one goes on"),
                Err(error) => tracing::error!("cannot start a new process: {error}; this one goes on"),
            }
            is_starting.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("successor".into()).spawn(watch) {
            tracing::error!("cannot start a new process: {error}; this one goes on");
            self.is_starting.store(false, Ordering::Release);
        }
    }
}
