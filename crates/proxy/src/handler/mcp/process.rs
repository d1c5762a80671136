//! Processes of servers: started without a shell, in a group of their own, with nothing of the gateway's environment;
//! read line by line; ended by their group's number, and always waited for.

use std::{
    collections::HashSet,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    runtime::Handle,
    sync::mpsc,
    time::sleep,
};

use super::{
    running::{Line, Running},
    stdio::Hub,
};

/// Bytes of a line; a process that writes a longer one is ended.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a line of its error output that go to the log.
const LOGGED_BYTES_MAX: usize = 2000;
/// Lines of its error output that go to the log within [`LOGGED_SPAN`].
const LOGGED_MAX: u32 = 100;
const LOGGED_SPAN: Duration = Duration::from_secs(10);
/// How often it is looked whether a process has ended, or is of no use.
const LOOK: Duration = Duration::from_millis(250);
/// How long a process has to end when its input has, and again when it is asked to.
const GRACE: Duration = Duration::from_secs(1);

/// What is run.
pub(super) struct Program {
    /// The server.
    pub(super) name: Arc<str>,
    pub(super) path: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) folder: Option<PathBuf>,
}

/// Groups of processes that run.
static GROUPS: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

fn groups<T>(with: impl FnOnce(&mut HashSet<i32>) -> T) -> T {
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    with(groups.get_or_insert_default())
}

/// Ends all processes, when the gateway itself ends.
pub(crate) async fn end_all() {
    let all = || groups(|groups| groups.iter().copied().collect::<Vec<_>>());
    for group in all() {
        signal(group, Signal::TERM);
    }
    let end = Instant::now() + GRACE;
    while !all().is_empty() && Instant::now() < end {
        sleep(Duration::from_millis(10)).await;
    }
    for group in all() {
        signal(group, Signal::KILL);
    }
}

fn signal(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, signal);
    }
}

/// A random name.
pub(super) fn random_id() -> String {
    let mut bytes = [0; 16];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Starts a process, which `background` looks after to its end.
pub(super) fn start(
    hub: &Arc<Hub>,
    running: &Arc<Running>,
    lines: mpsc::Receiver<Line>,
    background: &Handle,
) -> Result<(), String> {
    let program = &hub.program;
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn().map_err(|error| format!("cannot run {}: {error}", program.path))?;
    let group = i32::try_from(child.id()).unwrap_or_default();
    groups(|groups| groups.insert(group));
    let _guard = background.enter();
    let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
    let pipes = pipes.ok_or_else(|| "no pipes".to_owned()).and_then(|((stdin, stdout), stderr)| {
        let wrong = |error: std::io::Error| format!("its pipes cannot be used: {error}");
        let stdin = pipe::Sender::from_owned_fd(OwnedFd::from(stdin)).map_err(wrong)?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout)).map_err(wrong)?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr)).map_err(wrong)?;
        Ok((stdin, stdout, stderr))
    });
    tracing::info!(server = %program.name, pid = group, "started {}", program.path);
    let (hub, running) = (hub.clone(), running.clone());
    match pipes {
        Ok((stdin, stdout, stderr)) => {
            let writer = background.spawn(write(stdin, lines));
            background.spawn(log(stderr, program_name(&hub), group));
            background.spawn(async move {
                let was_asked = read(&hub, &running, &mut child, stdout).await;
                hub.ended(&running, was_asked);
                // Its input ends, which asks a process to end.
                writer.abort();
                let _ = writer.await;
                end(child, group).await;
                tracing::info!(server = %hub.program.name, pid = group, was_asked, "process {group} has ended");
            });
            Ok(())
        }
        Err(error) => {
            background.spawn(end(child, group));
            Err(error)
        }
    }
}

fn program_name(hub: &Hub) -> Arc<str> {
    hub.program.name.clone()
}

async fn write(mut stdin: pipe::Sender, mut lines: mpsc::Receiver<Line>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(&line.bytes).await.is_err() {
            return;
        }
    }
}

/// Reads to the end. Whether the process was asked to end.
async fn read(hub: &Arc<Hub>, running: &Arc<Running>, child: &mut Child, mut from: pipe::Receiver) -> bool {
    let (mut line, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            read = from.read(&mut chunk) => match read {
                Ok(0) | Err(_) => return false,
                Ok(count) => {
                    for piece in chunk.get(..count).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
                        if line.len() + piece.len() > LINE_BYTES_MAX {
                            tracing::warn!(server = %hub.program.name, "a process is ended: it wrote a line that is too long");
                            return false;
                        }
                        line.extend_from_slice(piece);
                        if piece.ends_with(b"\n") {
                            if let Ok(text) = std::str::from_utf8(&line)
                                && !text.trim().is_empty()
                            {
                                hub.heard(running, text.trim());
                            }
                            line.clear();
                        }
                    }
                }
            },
            () = running.stop.notified() => return true,
            _ = look.tick() => {
                // What it left behind may hold its output open.
                if !matches!(child.try_wait(), Ok(None)) {
                    return false;
                }
                if running.idle_since().is_some_and(|since| since.elapsed() > hub.idle) {
                    return true;
                }
            }
        }
    }
}

/// Ends a process and what it started, and waits for it.
async fn end(mut child: Child, group: i32) {
    let is_gone = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
    for ask in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        if let Some(ask) = ask {
            signal(group, ask);
        }
        let until = Instant::now() + GRACE;
        while !is_gone(&mut child) && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        if is_gone(&mut child) {
            break;
        }
    }
    // What it started goes, too.
    signal(group, Signal::KILL);
    while !is_gone(&mut child) {
        sleep(Duration::from_millis(100)).await;
    }
    groups(|groups| groups.remove(&group));
}

/// Writes what a process says beside its messages into the log, within bounds.
async fn log(mut from: pipe::Receiver, server: Arc<str>, pid: i32) {
    let (mut line, mut chunk) = (Vec::new(), [0; 4096]);
    let (mut since, mut count) = (Instant::now(), 0_u32);
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        for piece in chunk.get(..read).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let room = LOGGED_BYTES_MAX.saturating_sub(line.len());
            line.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
            if !piece.ends_with(b"\n") {
                continue;
            }
            if since.elapsed() > LOGGED_SPAN {
                (since, count) = (Instant::now(), 0);
            }
            count = count.saturating_add(1);
            let said: String = String::from_utf8_lossy(&line)
                .trim_end()
                .chars()
                .filter(|letter| !letter.is_control())
                .collect();
            match count {
                ..=LOGGED_MAX if !said.is_empty() => {
                    tracing::info!(server = %server, pid, "{server}: {said}")
                }
                ..=LOGGED_MAX => {}
                _ if count == LOGGED_MAX + 1 => {
                    tracing::warn!(server = %server, pid, "{server} says more than {LOGGED_MAX} lines in {LOGGED_SPAN:?}: the rest is left out");
                }
                _ => {}
            }
            line.clear();
        }
    }
}
