//! As much of WASI 0.2 as the toolchains of Rust, JavaScript and Python need: clocks, random bytes, and output that goes to
//! the log. There are no files, no variables, no arguments and no sockets: what is not here traps when it is called.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use wasmtime::{
    StoreContextMut,
    component::{ComponentType, LinkerInstance, Lower, Resource, ResourceType},
};

use super::{Defines, tools::random};
use crate::{
    state::{Level, State},
    stopped::Stopped,
};

/// Bytes of a line in the log.
const LINE_BYTES_MAX: usize = 4096;
/// Bytes that are written at a time.
const WRITE_BYTES_MAX: u64 = 4096;
/// Things to wait for that there are at a time.
const POLLABLES_MAX: usize = 1024;
/// Bytes that are asked of a random source at a time are bounded there; a seed has these.
const SEED_BYTES: u64 = 16;
/// How long anything is waited for: longer than any component may take.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// The stream of what is said.
const OUTPUT: u32 = 1;
/// The stream of what is wrong.
const ERRORS: u32 = 2;

type Done<T> = wasmtime::Result<(T,)>;
type Store<'s> = StoreContextMut<'s, State>;

/// Something to wait for.
pub(crate) struct Pollable;
/// Nothing comes in.
pub(crate) struct InputStream;
/// What goes to the log: 1 is the output, 2 are errors.
pub(crate) struct OutputStream;
pub(crate) struct IoError;
pub(crate) struct Terminal;
pub(crate) struct Descriptor;

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[allow(dead_code, reason = "the world has it, and nothing fails so")]
    Failed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct DateTime {
    seconds: u64,
    nanoseconds: u32,
}

/// What an instance has of WASI.
#[derive(Default)]
pub(crate) struct Wasi {
    /// When each is ready; none is ready at once.
    pollables: Vec<Option<Option<Instant>>>,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Wasi {
    fn wait(&mut self, until: Option<Instant>) -> Result<Resource<Pollable>, Stopped> {
        let free = self.pollables.iter().position(Option::is_none);
        let at = match free {
            Some(at) => at,
            None if self.pollables.len() < POLLABLES_MAX => {
                self.pollables.push(None);
                self.pollables.len() - 1
            }
            None => return Err(Stopped::Wrong("it waits for too many things at a time".to_owned())),
        };
        self.pollables[at] = Some(until);
        Ok(Resource::new_own(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    fn until(&self, pollable: &Resource<Pollable>) -> Option<Instant> {
        self.pollables.get(pollable.rep() as usize).copied().flatten().flatten()
    }

    fn forget(&mut self, at: u32) {
        if let Some(pollable) = self.pollables.get_mut(at as usize) {
            *pollable = None;
        }
    }
}

impl State {
    /// Takes what is written, and sends whole lines to the log.
    fn write(&mut self, stream: u32, bytes: &[u8]) {
        let level = if stream == ERRORS { Level::Warn } else { Level::Info };
        for byte in bytes {
            let buffer = if stream == ERRORS { &mut self.wasi.errors } else { &mut self.wasi.output };
            if *byte != b'\n' {
                // The rest of a line that is too long is left out.
                if buffer.len() < LINE_BYTES_MAX {
                    buffer.push(*byte);
                }
                continue;
            }
            let whole = std::mem::take(buffer);
            self.log(level, &String::from_utf8_lossy(&whole));
        }
    }

    /// Sends what is left of lines to the log.
    pub(crate) fn flush(&mut self) {
        for (stream, is_empty) in
            [(OUTPUT, self.wasi.output.is_empty()), (ERRORS, self.wasi.errors.is_empty())]
        {
            if !is_empty {
                self.write(stream, b"\n");
            }
        }
    }

    /// The call is over, and the instance waits for the next.
    pub(crate) fn rest(&mut self) {
        self.flush();
    }
}

/// As much of a message as a line of the log has.
pub(super) fn line(message: &str) -> &str {
    let mut end = message.len().min(LINE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// The interfaces that there are.
pub(super) const INTERFACES: [(&str, Defines); 17] = [
    ("wasi:io/error", error),
    ("wasi:io/poll", poll),
    ("wasi:io/streams", streams),
    ("wasi:clocks/monotonic-clock", monotonic_clock),
    ("wasi:clocks/wall-clock", wall_clock),
    ("wasi:random/random", |at| randoms(at, "get-random-bytes", "get-random-u64")),
    ("wasi:random/insecure", |at| randoms(at, "get-insecure-random-bytes", "get-insecure-random-u64")),
    ("wasi:random/insecure-seed", insecure_seed),
    ("wasi:cli/environment", environment),
    ("wasi:cli/exit", exit),
    ("wasi:cli/stdin", stdin),
    ("wasi:cli/stdout", |at| written(at, "get-stdout", OUTPUT)),
    ("wasi:cli/stderr", |at| written(at, "get-stderr", ERRORS)),
    ("wasi:cli/terminal-stdin", |at| no_terminal(at, "get-terminal-stdin")),
    ("wasi:cli/terminal-stdout", |at| no_terminal(at, "get-terminal-stdout")),
    ("wasi:cli/terminal-stderr", |at| no_terminal(at, "get-terminal-stderr")),
    ("wasi:filesystem/preopens", preopens),
];

/// Defines a resource by the name that all interfaces have for it. Others are those of traps.
pub(super) fn resource(at: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    let kind = match name {
        "pollable" => {
            return at.resource(name, ResourceType::host::<Pollable>(), |mut store, rep| {
                store.data_mut().wasi.forget(rep);
                Ok(())
            });
        }
        "error" | "io-error" => ResourceType::host::<IoError>(),
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "terminal-input" | "terminal-output" => ResourceType::host::<Terminal>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        _ => return Ok(()),
    };
    at.resource(name, kind, |_, _| Ok(()))
}

fn error(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap(
        "[method]error.to-debug-string",
        |_: Store<'_>, (_,): (Resource<IoError>,)| -> Done<String> { Ok(("error".to_owned(),)) },
    )
}

fn poll(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap(
        "[method]pollable.ready",
        |store: Store<'_>, (one,): (Resource<Pollable>,)| -> Done<bool> {
            Ok((store.data().wasi.until(&one).is_none_or(|until| until <= Instant::now()),))
        },
    )?;
    at.func_wrap_async("[method]pollable.block", |store: Store<'_>, (one,): (Resource<Pollable>,)| {
        Box::new(async move {
            if let Some(until) = store.data().wasi.until(&one) {
                tokio::time::sleep_until(until.into()).await;
            }
            Ok(()) as wasmtime::Result<()>
        })
    })?;
    at.func_wrap_async("poll", |store: Store<'_>, (all,): (Vec<Resource<Pollable>>,)| {
        Box::new(async move {
            let times: Vec<Option<Instant>> = all.iter().map(|one| store.data().wasi.until(one)).collect();
            if times.is_empty() {
                return Err(Stopped::Wrong("it waits for nothing".to_owned()).into());
            }
            let first = times.iter().map(|until| until.unwrap_or_else(Instant::now)).min();
            if let Some(first) = first.filter(|first| *first > Instant::now()) {
                tokio::time::sleep_until(first.into()).await;
            }
            let now = Instant::now();
            let ready = times.iter().enumerate().filter(|(_, until)| until.is_none_or(|until| until <= now));
            let ready: Vec<u32> = ready.filter_map(|(at, _)| u32::try_from(at).ok()).collect();
            Ok((ready,)) as Done<Vec<u32>>
        })
    })
}

type Written = Done<Result<(), StreamError>>;
type Read = Done<Result<Vec<u8>, StreamError>>;

fn streams(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        at.func_wrap(name, |_: Store<'_>, (_, _): (Resource<InputStream>, u64)| -> Read {
            Ok((Err(StreamError::Closed),))
        })?;
    }
    at.func_wrap(
        "[method]input-stream.subscribe",
        |mut store: Store<'_>, (_,): (Resource<InputStream>,)| -> Done<Resource<Pollable>> {
            Ok((store.data_mut().wasi.wait(None)?,))
        },
    )?;
    at.func_wrap(
        "[method]output-stream.check-write",
        |_: Store<'_>, (_,): (Resource<OutputStream>,)| -> Done<Result<u64, StreamError>> {
            Ok((Ok(WRITE_BYTES_MAX),))
        },
    )?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        at.func_wrap(
            name,
            |mut store: Store<'_>, (stream, bytes): (Resource<OutputStream>, Vec<u8>)| -> Written {
                if bytes.len() as u64 > WRITE_BYTES_MAX {
                    return Err(Stopped::Wrong(format!(
                        "it wrote more than the {WRITE_BYTES_MAX} bytes at a time that it was granted"
                    ))
                    .into());
                }
                store.data_mut().write(stream.rep(), &bytes);
                Ok((Ok(()),))
            },
        )?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        at.func_wrap(name, |_: Store<'_>, (_,): (Resource<OutputStream>,)| -> Written { Ok((Ok(()),)) })?;
    }
    at.func_wrap(
        "[method]output-stream.subscribe",
        |mut store: Store<'_>, (_,): (Resource<OutputStream>,)| -> Done<Resource<Pollable>> {
            Ok((store.data_mut().wasi.wait(None)?,))
        },
    )
}

/// When the process began to look at the clock that only goes on.
fn began() -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn monotonic_clock(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("now", |_: Store<'_>, (): ()| -> Done<u64> { Ok((nanos(began().elapsed()),)) })?;
    at.func_wrap("resolution", |_: Store<'_>, (): ()| -> Done<u64> { Ok((1,)) })?;
    at.func_wrap("subscribe-instant", |mut store: Store<'_>, (when,): (u64,)| -> Done<Resource<Pollable>> {
        let left = Duration::from_nanos(when).saturating_sub(began().elapsed());
        Ok((store.data_mut().wasi.wait(Some(Instant::now() + left.min(WAIT_MAX)))?,))
    })?;
    at.func_wrap("subscribe-duration", |mut store: Store<'_>, (time,): (u64,)| -> Done<Resource<Pollable>> {
        let left = Duration::from_nanos(time).min(WAIT_MAX);
        Ok((store.data_mut().wasi.wait(Some(Instant::now() + left))?,))
    })
}

fn wall_clock(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("now", |_: Store<'_>, (): ()| -> Done<DateTime> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((DateTime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() },))
    })?;
    at.func_wrap("resolution", |_: Store<'_>, (): ()| -> Done<DateTime> {
        Ok((DateTime { seconds: 0, nanoseconds: 1 },))
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn randoms(
    at: &mut LinkerInstance<'_, State>,
    bytes: &'static str,
    one: &'static str,
) -> wasmtime::Result<()> {
    at.func_wrap(bytes, |_: Store<'_>, (count,): (u64,)| -> Done<Vec<u8>> { Ok((random(count)?,)) })?;
    at.func_wrap(one, |_: Store<'_>, (): ()| -> Done<u64> { Ok((number(&random(SEED_BYTES / 2)?),)) })
}

fn insecure_seed(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("insecure-seed", |_: Store<'_>, (): ()| -> Done<(u64, u64)> {
        let seed = random(SEED_BYTES)?;
        let (high, low) = seed.split_at(seed.len() / 2);
        Ok(((number(high), number(low)),))
    })
}

fn environment(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("get-environment", |_: Store<'_>, (): ()| -> Done<Vec<(String, String)>> {
        Ok((Vec::new(),))
    })?;
    at.func_wrap("get-arguments", |_: Store<'_>, (): ()| -> Done<Vec<String>> { Ok((Vec::new(),)) })?;
    at.func_wrap("initial-cwd", |_: Store<'_>, (): ()| -> Done<Option<String>> { Ok((None,)) })
}

fn exit(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("exit", |_: Store<'_>, (_,): (Result<(), ()>,)| -> wasmtime::Result<()> {
        Err(Stopped::Trapped("it exited".to_owned()).into())
    })
}

fn stdin(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("get-stdin", |_: Store<'_>, (): ()| -> Done<Resource<InputStream>> {
        Ok((Resource::new_own(0),))
    })
}

fn written(at: &mut LinkerInstance<'_, State>, name: &str, stream: u32) -> wasmtime::Result<()> {
    at.func_wrap(name, move |_: Store<'_>, (): ()| -> Done<Resource<OutputStream>> {
        Ok((Resource::new_own(stream),))
    })
}

fn no_terminal(at: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    at.func_wrap(name, |_: Store<'_>, (): ()| -> Done<Option<Resource<Terminal>>> { Ok((None,)) })
}

fn preopens(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("get-directories", |_: Store<'_>, (): ()| -> Done<Vec<(Resource<Descriptor>, String)>> {
        Ok((Vec::new(),))
    })
}
