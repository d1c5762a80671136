//! A server that is a program of this machine: its processes, and which of them a message is for.
//!
//! To the rest it looks like a server over HTTP: a process is a session, its answers are JSON or events, and an ended
//! process is a session that is not known. One process is [`Running`]; what each consumer has is a [`Share`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Response, StatusCode};
use tokio::sync::mpsc;

use super::{
    answer, bridge,
    message::{self, Kind, Members, Message},
    process::{self, Program},
    running::{Running, WRITER_MAX, broken, locked},
    server::Known,
    session::Leg,
    share::{Pause, Share, Shares},
    wire::{Letter, SESSION},
};
use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
};

/// A process that ends before this has failed.
const WELL: Duration = Duration::from_secs(5);

/// All processes of one server.
pub(super) struct Hub {
    pub(super) program: Program,
    known: Arc<Known>,
    is_shared: bool,
    max: usize,
    max_each: usize,
    pub(super) idle: Duration,
    patience: Duration,
    background: tokio::runtime::Handle,
    state: Mutex<State>,
    shares: Shares,
    /// Held by who starts the one process that all share.
    starting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// By the ids of sessions.
    all: HashMap<Arc<str>, Arc<Running>>,
    /// For whom some are started that are not among `all` yet.
    beginning: Vec<Arc<Share>>,
    /// After failures that are nobody's doing.
    pause: Pause,
    /// The configuration has it no more.
    is_over: bool,
}

/// What bounds the processes of a server.
pub(super) struct Bounds {
    pub(super) is_shared: bool,
    pub(super) max: usize,
    /// Of one consumer.
    pub(super) max_each: usize,
    /// Bytes that wait for one consumer.
    pub(super) queue_bytes_max: usize,
    pub(super) idle: Duration,
    pub(super) patience: Duration,
}

/// All that may have processes, for reloads and for the end.
static HUBS: Mutex<Vec<Weak<Hub>>> = Mutex::new(Vec::new());

/// Ends the processes of servers that a new configuration has no more.
pub(super) fn keep_only(live: &[Arc<Hub>]) {
    let mut hubs = locked(&HUBS);
    hubs.retain(|hub| {
        let Some(hub) = hub.upgrade() else { return false };
        let goes_on = live.iter().any(|live| Arc::ptr_eq(live, &hub));
        if !goes_on {
            hub.end();
        }
        goes_on
    });
}

impl Hub {
    pub(super) fn new(
        program: Program,
        known: Arc<Known>,
        bounds: &Bounds,
        background: &tokio::runtime::Handle,
    ) -> Self {
        Self {
            program,
            known,
            is_shared: bounds.is_shared,
            max: bounds.max,
            max_each: bounds.max_each,
            idle: bounds.idle,
            patience: bounds.patience,
            background: background.clone(),
            state: Mutex::default(),
            shares: Shares::new(bounds.queue_bytes_max),
            starting: tokio::sync::Mutex::default(),
        }
    }

    /// Makes it known to reloads.
    pub(super) fn enrol(self: &Arc<Self>) {
        let mut hubs = locked(&HUBS);
        hubs.retain(|hub| hub.strong_count() > 0);
        if !hubs.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(self))) {
            hubs.push(Arc::downgrade(self));
        }
    }

    /// Ends all processes; no more are started.
    fn end(&self) {
        let mut state = locked(&self.state);
        state.is_over = true;
        let all = std::mem::take(&mut state.all);
        drop(state);
        all.into_values().for_each(|running| running.stop.notify_one());
    }

    /// What a letter of `owner`'s to a server over HTTP would be answered.
    pub(super) async fn send(
        self: &Arc<Self>,
        leg: Option<&Leg>,
        letter: Letter,
        owner: &str,
    ) -> Result<Response<Body>, Failure> {
        let share = self.shares.of(owner);
        let session = leg.and_then(|leg| leg.id.as_deref()).unwrap_or_default();
        let text = std::str::from_utf8(letter.body()).map_err(|_| broken("its own message is no text"))?;
        let message =
            if *letter.method() == Method::POST { Some(Message::parse(text).map_err(broken)?) } else { None };
        let begins = |message: &Message<'_>| {
            message.method == "initialize" || session.is_empty() && message.method == "server/discover"
        };
        if message.as_ref().is_some_and(begins) {
            return self.begin(&share, text).await;
        }
        if session.is_empty() {
            return Err(broken("a process begins with a handshake"));
        }
        let Some(running) = self.running(session) else {
            return Ok(status(StatusCode::NOT_FOUND));
        };
        let session: Arc<str> = session.into();
        match message {
            None if *letter.method() == Method::GET => Ok(answer::stream(running.listen(share, session))),
            None => {
                self.leave(&session, &running);
                Ok(status(StatusCode::NO_CONTENT))
            }
            Some(message) if message.kind == Kind::Request => {
                // Whoever made one fail that all share does so again at most when its pause is over.
                if let (true, Some((wait, failures))) = (self.is_shared, share.lasts()) {
                    return Err(paused(wait, failures));
                }
                let unnamed = self.is_shared.then(|| unnamed(&message)).flatten();
                let unnamed = unnamed.as_deref().map(Message::parse).transpose().map_err(broken)?;
                running.request(&share, session, unnamed.as_ref().unwrap_or(&message), self.patience).await
            }
            Some(message) => {
                running.tell(&share, &session, &message, self.patience).await?;
                Ok(status(StatusCode::ACCEPTED))
            }
        }
    }

    /// The process of a session.
    fn running(&self, session: &str) -> Option<Arc<Running>> {
        let name = if self.is_shared { session.split('.').next().unwrap_or_default() } else { session };
        let running = locked(&self.state).all.get(name).cloned();
        running.filter(|running| !running.is_over())
    }

    /// A session is over; its process, too, unless others share it.
    fn leave(&self, session: &Arc<str>, running: &Arc<Running>) {
        running.unlisten(session);
        if !self.is_shared {
            locked(&self.state).all.remove(session);
            running.stop.notify_one();
        }
    }

    /// Answers what a process begins with, a handshake or the question what it is: by a process of its own, or by the one
    /// that all share. One that refuses is not kept.
    async fn begin(self: &Arc<Self>, share: &Arc<Share>, text: &str) -> Result<Response<Body>, Failure> {
        if !self.is_shared {
            let started = self.start(share, text).await?;
            return Ok(match started.running {
                Some((id, _)) => greeted(&id, started.said),
                None => answer::json(StatusCode::OK, started.said),
            });
        }
        let _turn = self.starting.lock().await;
        let known = locked(&self.state).all.iter().next().map(|(id, running)| (id.clone(), running.clone()));
        let known = known.filter(|(_, running)| !running.is_over());
        let (id, running) = match known {
            Some(known) => known,
            None => {
                // Nobody can be asked back where several share a process, and it is told of none of them.
                let message = Message::parse(text).map_err(broken)?;
                let is_handshake = message.method == "initialize";
                let told = match unnamed(&message) {
                    Some(told) if !is_handshake => told,
                    _ => {
                        let mut params = message.params();
                        params.set("capabilities", "{}".to_owned());
                        params.set("clientInfo", own_name());
                        message.with_params(&params)
                    }
                };
                let Started { running, said } = self.start(share, &told).await?;
                let Some((id, running)) = running else { return Ok(answer::json(StatusCode::OK, said)) };
                if is_handshake {
                    let initialized = message::notification("notifications/initialized", "{}");
                    running.write(share, &initialized, self.patience).await?;
                }
                *locked(&running.greeting) = Some(said);
                (id, running)
            }
        };
        let said = locked(&running.greeting).clone().unwrap_or_default();
        let mut said = Members::parse(&said).ok_or_else(|| broken("it did not begin"))?;
        let own = Members::parse(text).and_then(|own| own.get("id").map(str::to_owned));
        said.set("id", own.unwrap_or_else(|| "null".to_owned()));
        let session = format!("{id}.{}", process::random_id());
        Ok(greeted(&session, said.json()))
    }

    /// Starts a process and begins with it.
    async fn start(self: &Arc<Self>, share: &Arc<Share>, text: &str) -> Result<Started, Failure> {
        self.may_start(share)?;
        let (to, lines) = mpsc::channel(WRITER_MAX);
        let running = Arc::new(Running::new(to, share.clone(), self.is_shared));
        let begun = Beginning { hub: self, share, running: Some(running.clone()) };
        if let Err(error) = process::start(self, &running, lines, &self.background) {
            // It cannot be run, whoever asks.
            locked(&self.state).pause.failed(Instant::now());
            return Err(Failure::upstream(Stage::Connect, Problem::ConnectFailed, error));
        }
        let message = Message::parse(text).map_err(broken)?;
        let id: Arc<str> = process::random_id().into();
        let response = running.request(share, id.clone(), &message, self.patience).await?;
        let Body::Full(said) = response.into_body() else {
            return Err(broken("it said something else before it had begun"));
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        if Members::parse(&said).is_none_or(|said| said.get("error").is_some()) {
            return Ok(Started { running: None, said });
        }
        if !begun.goes_on(&id, &running) {
            return Err(broken("the server is no longer configured"));
        }
        Ok(Started { running: Some((id, running)), said })
    }

    fn may_start(&self, share: &Arc<Share>) -> Result<(), Failure> {
        let mut state = locked(&self.state);
        if state.is_over {
            return Err(broken("the server is no longer configured"));
        }
        let own = share.lasts();
        if let Some((wait, failures)) = state.pause.lasts(Instant::now()).or(own) {
            return Err(paused(wait, failures));
        }
        let full = |problem, hint: &str| {
            let failure = Failure::gateway(Stage::Connect, problem).with_hint(hint);
            Err(failure.with_retry_after(Duration::from_secs(30)))
        };
        if state.all.len() + state.beginning.len() >= self.max {
            return full(Problem::Unavailable, "there are as many processes of this server as there may be");
        }
        let is_own = |other: &&Arc<Share>| Arc::ptr_eq(other, share);
        let running = state.all.values().map(|running| &running.share);
        let own = running.chain(&state.beginning).filter(is_own).count();
        if !self.is_shared && own >= self.max_each {
            return full(
                Problem::RateLimited,
                "this caller has as many processes of this server as it may; it can end a session with DELETE",
            );
        }
        state.beginning.push(share.clone());
        Ok(())
    }

    /// A process has ended, asked to or not. Whose doing it is that one failed: of those who waited for it, or, where
    /// nobody did or one that all share had not begun, nobody's.
    pub(super) fn ended(&self, running: &Arc<Running>, was_asked: bool) {
        let mut waited = running.over();
        let mut state = locked(&self.state);
        state.all.retain(|_, known| !Arc::ptr_eq(known, running));
        if was_asked {
            return;
        }
        let is_failure = running.started.elapsed() < WELL;
        if !running.is_shared {
            waited = vec![running.share.clone()];
        } else if locked(&running.greeting).is_none() {
            waited.clear();
        }
        if waited.is_empty() && is_failure {
            state.pause.failed(Instant::now());
        }
        if !is_failure {
            state.pause.went_well();
        }
        drop(state);
        for share in waited {
            if is_failure {
                share.failed();
            } else {
                share.went_well();
            }
        }
    }

    /// A line of a process.
    pub(super) fn heard(&self, running: &Arc<Running>, line: &str) {
        let Ok(message) = Message::parse(line) else {
            tracing::debug!(server = %self.program.name, "a line is no message");
            return;
        };
        if message.method == "notifications/tools/list_changed" {
            self.known.catalog.stale();
        }
        running.heard(&message);
    }
}

/// What came of a process's beginning.
struct Started {
    /// The process and the id of its session; none where it refused, and was ended.
    running: Option<(Arc<str>, Arc<Running>)>,
    /// What it answered.
    said: String,
}

/// The gateway as a client.
fn own_name() -> String {
    format!("{{\"name\":\"tidegate\",\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION"))
}

/// A request that says who sends it, as a process that all share gets it: of nobody whom it could ask back.
fn unnamed(message: &Message<'_>) -> Option<String> {
    let mut params = message.params();
    let mut meta = params.object("_meta").map(Members::into_owned)?;
    meta.get(bridge::META_REVISION)?;
    meta.set(bridge::META_CAPABILITIES, "{}".to_owned());
    meta.set(bridge::META_CLIENT, own_name());
    params.set("_meta", meta.json());
    Some(message.with_params(&params))
}

/// A process that has not begun; it ends with this unless it has.
struct Beginning<'h> {
    hub: &'h Hub,
    share: &'h Arc<Share>,
    running: Option<Arc<Running>>,
}

impl Beginning<'_> {
    /// It has begun. Whether it may go on.
    fn goes_on(mut self, id: &Arc<str>, running: &Arc<Running>) -> bool {
        let mut state = locked(&self.hub.state);
        if state.is_over || running.is_over() {
            return false;
        }
        state.all.insert(id.clone(), running.clone());
        drop(state);
        self.running = None;
        true
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.hub.state);
        let at = state.beginning.iter().position(|share| Arc::ptr_eq(share, self.share));
        at.map(|at| state.beginning.swap_remove(at));
        drop(state);
        if let Some(running) = &self.running {
            running.stop.notify_one();
        }
    }
}

/// It is too soon after a failure.
fn paused(wait: Duration, failures: u32) -> Failure {
    let why = format!("it ended too soon {failures} times; it is tried again in {wait:.1?}");
    Failure::upstream(Stage::Connect, Problem::ConnectFailed, why)
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn greeted(session: &str, said: String) -> Response<Body> {
    let mut response = answer::json(StatusCode::OK, said);
    if let Ok(id) = HeaderValue::from_str(session) {
        response.headers_mut().insert(SESSION, id);
    }
    response
}
