//! Keeps what was read: a thread that reads, renews and reads again, and the door to it for threads that may wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc as blocking,
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;

use crate::{
    Fields, Settings,
    answer::{Fault, Kind, Lease},
    client::Client,
};

/// The first pause before something is asked again that may pass by itself; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// No path is read more often than that, whatever its lease says.
const AGAIN_MIN: Duration = Duration::from_secs(1);
/// A path that was refused is asked for again that often: somebody may have mended it.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);
/// At most so long passes between two looks at whether the machine has slept, or its clock was set.
const LOOK: Duration = Duration::from_secs(30);
/// By how much more the clock of the day may go on than that of the process, which stands still while the machine sleeps.
const SLEPT: Duration = Duration::from_secs(10);
/// Servers that are asked at a time: that of the live configuration, and those of configurations that were refused.
const SESSIONS_MAX: usize = 4;

/// How all of it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Status {
    /// Whether the last question was answered; nothing was asked yet without it.
    pub up: Option<bool>,
    /// Reads that were answered with a secret.
    pub reads: u64,
    /// Reads that were not.
    pub failures: u64,
    /// Logins, and renewals of tokens and leases.
    pub logins: u64,
    /// Renewals of tokens and leases.
    pub renewals: u64,
    /// Paths that are known, and those of them that could not be read again the last time.
    pub paths: usize,
    /// Those of them that could not be read again the last time.
    pub stale: usize,
    /// When something was read last.
    pub read_at: Option<SystemTime>,
    /// When the token ends.
    pub token_ends: Option<Instant>,
}

/// The door to what is kept. The thread behind it begins with the first question and ends with the last door.
#[derive(Clone, Default)]
pub struct Keeper {
    shared: Arc<Shared>,
    door: Arc<Mutex<Option<mpsc::UnboundedSender<Command>>>>,
}

#[derive(Default)]
struct Shared {
    changes: AtomicU64,
    status: Mutex<Status>,
}

/// What lies at a path, or why that is not known.
pub(crate) type Told = Result<Arc<Fields>, String>;

enum Command {
    /// What lies at these paths, waited for that long where the server is away.
    Need(Box<Settings>, Vec<String>, Duration, blocking::Sender<Vec<Told>>),
    /// Only this is of use from now on.
    Keep(Option<Box<(Settings, Vec<String>)>>),
    /// All of it is read again.
    Refresh(blocking::Sender<()>),
}

impl Keeper {
    /// What lies at these paths, in their order. What is known is told as it is known; the rest is read, and waited for as
    /// long as `patience` where the server is away. An error says what is wrong and what to do. It blocks its thread.
    pub fn need(
        &self,
        settings: &Settings,
        paths: &[String],
        patience: Duration,
    ) -> Vec<Result<Arc<Fields>, String>> {
        let (tell, told) = blocking::channel();
        let sent = self.send(Command::Need(Box::new(settings.clone()), paths.to_vec(), patience, tell));
        let gone = || paths.iter().map(|_| Err("nobody is there to ask the vault".to_owned())).collect();
        match sent {
            Ok(()) => told.recv().unwrap_or_else(|_| gone()),
            Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Forgets what is not of these paths of this server.
    pub fn keep(&self, of_use: Option<(Settings, Vec<String>)>) {
        let is_asleep = self.door.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        if !is_asleep {
            let _ = self.send(Command::Keep(of_use.map(Box::new)));
        }
    }

    /// Reads all of it again, and returns when that is done or cannot be. It blocks its thread.
    pub fn refresh(&self) {
        let is_asleep = self.door.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        let (tell, told) = blocking::channel();
        if !is_asleep && self.send(Command::Refresh(tell)).is_ok() {
            let _ = told.recv();
        }
    }

    /// How often something that is kept has become another, or can be had at last.
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Acquire)
    }

    /// How all of it is.
    pub fn status(&self) -> Status {
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, command: Command) -> Result<(), String> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let command = match &*door {
            Some(open) => match open.send(command) {
                Ok(()) => return Ok(()),
                Err(back) => back.0,
            },
            None => command,
        };
        let (open, commands) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot ask the vault: {error}"))?;
        let shared = self.shared.clone();
        let begun = std::thread::Builder::new()
            .name("vault".to_owned())
            .spawn(move || runtime.block_on(Watch { sessions: Vec::new(), shared }.run(commands)));
        begun.map_err(|error| format!("cannot ask the vault: {error}"))?;
        let sent = open.send(command).map_err(|_| "nobody is there to ask the vault".to_owned());
        *door = Some(open);
        sent
    }
}

struct Watch {
    sessions: Vec<Session>,
    shared: Arc<Shared>,
}

/// A server with what was read of it.
struct Session {
    settings: Settings,
    client: Client,
    kept: BTreeMap<String, Kept>,
    /// The server is away: until then nothing is asked.
    pause: Option<(Instant, Duration)>,
}

/// A path.
struct Kept {
    fields: Option<Arc<Fields>>,
    lease: Option<Lease>,
    /// How long the lease was good for at first.
    granted: Option<Duration>,
    due: Instant,
    /// Why it could not be read the last time.
    fault: Option<Fault>,
}

impl Watch {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut seen = (Instant::now(), SystemTime::now());
        loop {
            let due = self.sessions.iter().filter_map(Session::due).min();
            let waits = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.min(seen.0 + LOOK).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                () = waits => {
                    let now = (Instant::now(), SystemTime::now());
                    if has_slept(seen, now) {
                        self.sessions.iter_mut().for_each(Session::wake);
                    }
                    seen = now;
                    for session in &mut self.sessions {
                        session.tend(&self.shared).await;
                    }
                }
            }
            self.tell();
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Need(settings, paths, patience, tell) => {
                let session = match self.session(*settings) {
                    Ok(session) => session,
                    Err(error) => {
                        let _ = tell.send(paths.iter().map(|_| Err(error.clone())).collect());
                        return;
                    }
                };
                let shared = self.shared.clone();
                let _ = tell.send(self.sessions[session].need(&paths, patience, &shared).await);
            }
            Command::Keep(None) => self.sessions.clear(),
            Command::Keep(Some(of_use)) => {
                let (settings, paths) = *of_use;
                self.sessions.retain(|session| session.settings == settings);
                for session in &mut self.sessions {
                    session.kept.retain(|path, _| paths.contains(path));
                }
            }
            Command::Refresh(tell) => {
                let now = Instant::now();
                for session in &mut self.sessions {
                    session.pause = None;
                    // What was made for us alone is not made anew.
                    session
                        .kept
                        .values_mut()
                        .filter(|kept| kept.lease.is_none())
                        .for_each(|kept| kept.due = now);
                    session.tend(&self.shared).await;
                }
                let _ = tell.send(());
            }
        }
    }

    fn session(&mut self, settings: Settings) -> Result<usize, String> {
        if let Some(known) = self.sessions.iter().position(|session| session.settings == settings) {
            return Ok(known);
        }
        let client = Client::new(settings.clone())?;
        if self.sessions.len() >= SESSIONS_MAX {
            // The first is that of the live configuration.
            self.sessions.remove(1);
        }
        self.sessions.push(Session { settings, client, kept: BTreeMap::new(), pause: None });
        Ok(self.sessions.len() - 1)
    }

    fn tell(&self) {
        let mut status = self.shared.status.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = || self.sessions.iter().map(|session| session.client.counts);
        // Those of sessions that are gone are gone: counters that fall begin anew.
        status.logins = counts().map(|counts| counts.logins).sum();
        status.renewals = counts().map(|counts| counts.renewals).sum();
        let kept = || self.sessions.iter().flat_map(|session| session.kept.values());
        status.paths = kept().filter(|kept| kept.fields.is_some()).count();
        status.stale = kept().filter(|kept| kept.fault.is_some()).count();
        status.token_ends = self.sessions.first().and_then(|session| session.client.token_ends());
    }
}

/// Whether the clock of the day has gone on and that of the process has not: leases and tokens may have ended unnoticed.
fn has_slept(before: (Instant, SystemTime), now: (Instant, SystemTime)) -> bool {
    let day = now.1.duration_since(before.1).unwrap_or_default();
    day > now.0.saturating_duration_since(before.0) + SLEPT
}

impl Shared {
    fn note(&self, outcome: Result<(), bool>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                status.reads += 1;
                status.up = Some(true);
                status.read_at = Some(SystemTime::now());
            }
            Err(is_away) => {
                status.failures += 1;
                status.up = Some(!is_away);
            }
        }
    }
}

impl Session {
    /// When something has to be done.
    fn due(&self) -> Option<Instant> {
        let paths = self.kept.values().map(|kept| kept.due).min();
        let due = paths.into_iter().chain(self.client.token_due()).min()?;
        Some(self.pause.map_or(due, |(until, _)| due.max(until)))
    }

    /// Has everything looked at that may have ended while the machine slept. What can be renewed is not made anew.
    fn wake(&mut self) {
        let now = Instant::now();
        self.pause = None;
        self.client.wake(now);
        self.kept.values_mut().for_each(|kept| kept.due = now);
    }

    /// What lies at these paths.
    async fn need(&mut self, paths: &[String], patience: Duration, shared: &Shared) -> Vec<Told> {
        let until = Instant::now() + patience;
        let mut told = Vec::with_capacity(paths.len());
        let mut away: Option<Fault> = None;
        for path in paths {
            if let Some(fields) = self.kept.get(path).and_then(|kept| kept.fields.clone()) {
                told.push(Ok(fields));
                continue;
            }
            // Of a server that was waited for in vain nobody waits for the next path, too.
            let read = match away.clone() {
                Some(fault) => Err(fault),
                None => self.read_patiently(path, until, shared).await,
            };
            told.push(read.map_err(|fault| {
                let text = self.in_words(path, &fault);
                if fault.may_pass() {
                    away = Some(fault);
                }
                text
            }));
        }
        told
    }

    async fn read_patiently(
        &mut self,
        path: &str,
        until: Instant,
        shared: &Shared,
    ) -> Result<Arc<Fields>, Fault> {
        let mut pause = PAUSE_FIRST;
        loop {
            let fault = match self.read(path, shared).await {
                Ok(fields) => return Ok(fields),
                Err(fault) => fault,
            };
            let wait = fault.retry_after.unwrap_or(pause).min(PAUSE_MAX);
            if !fault.may_pass() || Instant::now() + wait > until {
                return Err(fault);
            }
            if pause == PAUSE_FIRST {
                tracing::warn!("the vault is waited for: {}", self.in_words(path, &fault));
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Reads a path and notes what came of it.
    async fn read(&mut self, path: &str, shared: &Shared) -> Result<Arc<Fields>, Fault> {
        let read = self.client.read(path).await;
        shared.note(read.as_ref().map(drop).map_err(Fault::may_pass));
        let now = Instant::now();
        let known = self.kept.entry(path.to_owned()).or_insert_with(|| Kept {
            fields: None,
            lease: None,
            granted: None,
            due: now,
            fault: None,
        });
        match read {
            Ok(read) => {
                let refresh = self.settings.refresh;
                let lasts = match (&read.lease, read.lasts) {
                    (Some(_), Some(lasts)) => lasts * 2 / 3,
                    (_, Some(lasts)) => lasts.min(refresh),
                    (_, None) => refresh,
                };
                known.due = now + lasts.max(AGAIN_MIN);
                let was_away = known.fault.take().is_some();
                (known.lease, known.granted) = (read.lease, read.lasts);
                let is_new = known.fields.as_ref().is_none_or(|before| **before != read.fields);
                if is_new {
                    known.fields = Some(Arc::new(read.fields));
                    shared.changes.fetch_add(1, Ordering::AcqRel);
                }
                if was_away {
                    tracing::info!("`{path}` can be read from the vault again");
                }
                known.fields.clone().ok_or_else(|| Fault::new(Kind::Missing, "nothing lies there"))
            }
            Err(fault) => {
                known.due = now + if fault.may_pass() { PAUSE_FIRST } else { REFUSED_AGAIN };
                known.fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    /// Does what is due. What cannot be done now leaves everything as it is.
    async fn tend(&mut self, shared: &Shared) {
        let now = Instant::now();
        if self.pause.is_some_and(|(until, _)| until > now) {
            return;
        }
        if let Err(fault) = self.client.tend_token().await {
            shared.note(Err(fault.may_pass()));
            return self.rest(&fault);
        }
        let due: Vec<String> =
            self.kept.iter().filter(|(_, kept)| kept.due <= now).map(|(path, _)| path.clone()).collect();
        for path in due {
            if self.renewed(&path).await {
                continue;
            }
            let before = self.kept.get(&path).and_then(|kept| kept.fault.clone());
            if let Err(fault) = self.read(&path, shared).await {
                let is_news = before.is_none_or(|before| before.kind != fault.kind);
                if is_news {
                    let known = self.kept.get(&path).is_some_and(|kept| kept.fields.is_some());
                    let rest = if known { "; what was read last stays" } else { "" };
                    tracing::error!("{}{rest}", self.in_words(&path, &fault));
                }
                if fault.may_pass() {
                    // The next path would only wait as long.
                    return self.rest(&fault);
                }
            }
        }
        self.pause = None;
    }

    /// Renews the lease of a path, where it has one that can be renewed.
    async fn renewed(&mut self, path: &str) -> bool {
        let Some(lease) =
            self.kept.get(path).and_then(|kept| kept.lease.clone()).filter(|lease| lease.renewable)
        else {
            return false;
        };
        let Ok(lasts) = self.client.renew(&lease).await else { return false };
        let Some(kept) = self.kept.get_mut(path) else { return false };
        match lasts {
            // The end of all renewals is near, for they get shorter: another secret, while this one is still good.
            Some(lasts)
                if lasts < AGAIN_MIN * 3 || kept.granted.is_some_and(|granted| lasts * 3 < granted) =>
            {
                false
            }
            Some(lasts) => {
                kept.due = Instant::now() + (lasts * 2 / 3).max(AGAIN_MIN);
                true
            }
            None => false,
        }
    }

    /// Asks nothing for a while.
    fn rest(&mut self, fault: &Fault) {
        let pause = self.pause.map_or(PAUSE_FIRST, |(_, pause)| (pause * 2).min(PAUSE_MAX));
        if self.pause.is_none() {
            tracing::warn!("the vault at {} is away: {}", self.settings.address, fault.text);
        }
        let wait = fault.retry_after.unwrap_or(pause).clamp(PAUSE_FIRST, PAUSE_MAX);
        self.pause = Some((Instant::now() + wait, pause));
    }

    fn in_words(&self, path: &str, fault: &Fault) -> String {
        format!("cannot read `{path}` from the vault at {}: {}", self.settings.address, fault.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_slept_is_told_from_one_that_was_busy() {
        let (then, day) = (Instant::now(), SystemTime::now());
        let slept = |own: u64, of_day: u64| {
            let now = (then + Duration::from_secs(own), day + Duration::from_secs(of_day));
            has_slept((then, day), now)
        };
        assert!(!slept(30, 30) && !slept(30, 35) && !slept(3_600, 3_600));
        assert!(slept(30, 3_630));
        // The clock of the day was put back.
        assert!(!has_slept((then, day), (then, day - Duration::from_secs(60))));
    }
}
