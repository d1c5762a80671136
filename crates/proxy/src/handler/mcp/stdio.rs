//! A server that is a program of this machine: messages are lines of its standard input and output.
//!
//! To the rest it looks like a server over HTTP: a process is a session, its answers are JSON or events, and an ended
//! process is a session that is not known. Ids and progress tokens are numbered anew, so that lines find their way back
//! whoever shares the process.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{
    answer,
    message::{self, Kind, Members, Message, is_same, spelled},
    process::{self, Program},
    server::Known,
    session::Leg,
    sse::Event,
    wire::{Letter, SESSION},
};
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// Messages on their way to one reader.
const READER_MAX: usize = 256;
/// Messages on their way to a process.
const WRITER_MAX: usize = 64;
/// What a process says while nobody listens; the oldest goes first.
const UNHEARD_MAX: usize = 64;
/// Requests of one process at a time.
const WAITING_MAX: usize = 1024;
/// A process that ends before this has failed.
const WELL: Duration = Duration::from_secs(5);
/// The wait after the first failure in a row; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why)
}

/// All processes of one server.
pub(super) struct Hub {
    pub(super) program: Program,
    known: Arc<Known>,
    is_shared: bool,
    max: usize,
    pub(super) idle: Duration,
    patience: Duration,
    background: tokio::runtime::Handle,
    state: Mutex<State>,
    /// Held by who starts the one process that all share.
    starting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// By the ids of sessions.
    all: HashMap<Arc<str>, Arc<Running>>,
    /// Started, but not among `all` yet.
    beginning: usize,
    failures: u32,
    not_before: Option<Instant>,
    /// The configuration has it no more.
    is_over: bool,
}

/// What bounds the processes of a server.
pub(super) struct Bounds {
    pub(super) is_shared: bool,
    pub(super) max: usize,
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

/// One process.
pub(super) struct Running {
    started: Instant,
    to: mpsc::Sender<Vec<u8>>,
    pub(super) stop: tokio::sync::Notify,
    is_over: AtomicBool,
    lines: Mutex<Lines>,
    /// Of a shared one: what it answered to the handshake.
    greeting: Mutex<Option<String>>,
    is_shared: bool,
}

struct Lines {
    next: u64,
    waiting: HashMap<u64, Waiting>,
    /// Streams that hear what is said unasked, by session.
    listeners: HashMap<Arc<str>, mpsc::Sender<Said>>,
    unheard: VecDeque<String>,
    used: Instant,
}

/// A request that waits for its answer.
struct Waiting {
    session: Arc<str>,
    id: Box<str>,
    token: Option<Box<str>>,
    /// It may be told what nobody asked for.
    hears: bool,
    to: mpsc::Sender<Said>,
}

/// What a reader is told.
struct Said {
    text: String,
    is_last: bool,
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
            idle: bounds.idle,
            patience: bounds.patience,
            background: background.clone(),
            state: Mutex::default(),
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

    /// What a letter to a server over HTTP would be answered.
    pub(super) async fn send(
        self: &Arc<Self>,
        leg: Option<&Leg>,
        letter: Letter,
    ) -> Result<Response<Body>, Failure> {
        let session = leg.and_then(|leg| leg.id.as_deref()).unwrap_or_default();
        let text = std::str::from_utf8(letter.body()).map_err(|_| broken("its own message is no text"))?;
        let message =
            if *letter.method() == Method::POST { Some(Message::parse(text).map_err(broken)?) } else { None };
        if message.as_ref().is_some_and(|message| message.method == "initialize") {
            return self.begin(text).await;
        }
        if session.is_empty() {
            return Err(broken("a process begins with a handshake"));
        }
        let Some(running) = self.running(session) else {
            return Ok(status(StatusCode::NOT_FOUND));
        };
        let session: Arc<str> = session.into();
        match message {
            None if *letter.method() == Method::GET => Ok(answer::stream(running.listen(session))),
            None => {
                self.leave(&session, &running);
                Ok(status(StatusCode::NO_CONTENT))
            }
            Some(message) if message.kind == Kind::Request => {
                running.request(session, &message, self.patience).await
            }
            Some(message) => {
                running.tell(&session, &message, self.patience).await?;
                Ok(status(StatusCode::ACCEPTED))
            }
        }
    }

    /// The process of a session.
    fn running(&self, session: &str) -> Option<Arc<Running>> {
        let name = if self.is_shared { session.split('.').next().unwrap_or_default() } else { session };
        let running = locked(&self.state).all.get(name).cloned();
        running.filter(|running| !running.is_over.load(Ordering::Relaxed))
    }

    /// A session is over; its process, too, unless others share it.
    fn leave(&self, session: &Arc<str>, running: &Arc<Running>) {
        locked(&running.lines).listeners.remove(session);
        if !self.is_shared {
            locked(&self.state).all.remove(session);
            running.stop.notify_one();
        }
    }

    /// Answers `initialize`: by a process of its own, or by the one that all share.
    async fn begin(self: &Arc<Self>, text: &str) -> Result<Response<Body>, Failure> {
        if !self.is_shared {
            return self.start(text).await.map(|(id, _, said)| greeted(&id, said));
        }
        let _turn = self.starting.lock().await;
        let known = locked(&self.state).all.iter().next().map(|(id, running)| (id.clone(), running.clone()));
        let known = known.filter(|(_, running)| !running.is_over.load(Ordering::Relaxed));
        let (id, running) = match known {
            Some(known) => known,
            None => {
                // Nobody can be asked back where several share a process.
                let message = Message::parse(text).map_err(broken)?;
                let mut params = message.params();
                params.set("capabilities", "{}".to_owned());
                let (id, running, said) = self.start(&message.with_params(&params)).await?;
                let initialized = message::notification("notifications/initialized", "{}");
                running.write(&initialized, self.patience).await?;
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
    async fn start(self: &Arc<Self>, text: &str) -> Result<(Arc<str>, Arc<Running>, String), Failure> {
        self.may_start()?;
        let (to, lines) = mpsc::channel(WRITER_MAX);
        let running = Arc::new(Running {
            started: Instant::now(),
            to,
            stop: tokio::sync::Notify::new(),
            is_over: false.into(),
            lines: Mutex::new(Lines {
                next: 1,
                waiting: HashMap::new(),
                listeners: HashMap::new(),
                unheard: VecDeque::new(),
                used: Instant::now(),
            }),
            greeting: Mutex::default(),
            is_shared: self.is_shared,
        });
        let begun = Beginning { hub: self, running: Some(running.clone()) };
        if let Err(error) = process::start(self, &running, lines, &self.background) {
            self.failed();
            return Err(Failure::upstream(Stage::Connect, Problem::ConnectFailed, error));
        }
        let message = Message::parse(text).map_err(broken)?;
        let id: Arc<str> = process::random_id().into();
        let response = running.request(id.clone(), &message, self.patience).await?;
        let Body::Full(said) = response.into_body() else {
            return Err(broken("it said something else before it had begun"));
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        if !begun.goes_on(&id, &running) {
            return Err(broken("the server is no longer configured"));
        }
        Ok((id, running, said))
    }

    fn may_start(&self) -> Result<(), Failure> {
        let mut state = locked(&self.state);
        if state.is_over {
            return Err(broken("the server is no longer configured"));
        }
        let wait = state.not_before.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            let why = format!("it ended too soon {} times; it is tried again in {wait:.1?}", state.failures);
            return Err(Failure::upstream(Stage::Connect, Problem::ConnectFailed, why));
        }
        if state.all.len() + state.beginning >= self.max {
            return Err(Failure::gateway(Stage::Connect, Problem::Unavailable)
                .with_hint("there are as many processes of this server as there may be")
                .with_retry_after(Duration::from_secs(30)));
        }
        state.beginning += 1;
        Ok(())
    }

    fn failed(&self) {
        let mut state = locked(&self.state);
        state.failures = state.failures.saturating_add(1);
        let wait = BACKOFF_FIRST.saturating_mul(1 << (state.failures - 1).min(10)).min(BACKOFF_MAX);
        state.not_before = Some(Instant::now() + wait);
    }

    /// A process has ended, asked to or not.
    pub(super) fn ended(&self, running: &Arc<Running>, was_asked: bool) {
        running.over();
        locked(&self.state).all.retain(|_, known| !Arc::ptr_eq(known, running));
        if was_asked {
            return;
        }
        if running.started.elapsed() < WELL {
            self.failed();
        } else {
            locked(&self.state).failures = 0;
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

/// A process that has not begun; it ends with this unless it has.
struct Beginning<'h> {
    hub: &'h Hub,
    running: Option<Arc<Running>>,
}

impl Beginning<'_> {
    /// It has begun. Whether it may go on.
    fn goes_on(mut self, id: &Arc<str>, running: &Arc<Running>) -> bool {
        let mut state = locked(&self.hub.state);
        if state.is_over || running.is_over.load(Ordering::Relaxed) {
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
        state.beginning = state.beginning.saturating_sub(1);
        drop(state);
        if let Some(running) = &self.running {
            running.stop.notify_one();
        }
    }
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

/// A message as one line. Ends of lines stand between its members alone.
fn line(text: &str) -> Vec<u8> {
    let mut line: Vec<u8> =
        text.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect();
    line.push(b'\n');
    line
}

impl Running {
    /// When it was last of use, if it is of none now.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let mut lines = locked(&self.lines);
        lines.listeners.retain(|_, to| !to.is_closed());
        let is_of_use = !lines.listeners.is_empty() || lines.waiting.values().any(|one| !one.to.is_closed());
        (!is_of_use).then_some(lines.used)
    }

    /// Whoever waits for it waits in vain.
    fn over(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut lines = locked(&self.lines);
        lines.waiting.clear();
        lines.listeners.clear();
    }

    async fn write(&self, text: &str, patience: Duration) -> Result<(), Failure> {
        match tokio::time::timeout(patience, self.to.send(line(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(broken("the process has ended")),
            Err(_) => {
                Err(Failure::upstream(Stage::Send, Problem::UpstreamTimeout, "the process reads nothing"))
            }
        }
    }

    /// Writes what need not arrive.
    fn write_if_free(&self, text: &str) {
        if self.to.try_send(line(text)).is_err() {
            tracing::debug!("a process reads nothing");
        }
    }

    /// Passes a notification or an answer of a client's on.
    async fn tell(
        &self,
        session: &Arc<str>,
        message: &Message<'_>,
        patience: Duration,
    ) -> Result<(), Failure> {
        let text = match message.method.as_str() {
            "notifications/cancelled" => {
                let mut params = message.params();
                let id = params.get("requestId").unwrap_or_default().to_owned();
                let lines = locked(&self.lines);
                let own =
                    lines.waiting.iter().find(|(_, one)| one.session == *session && is_same(&one.id, &id));
                let Some((own, _)) = own else { return Ok(()) };
                params.set("requestId", own.to_string());
                drop(lines);
                message.with_params(&params)
            }
            // Those who share a process have begun with it together, and it asks none of them.
            _ if self.is_shared => return Ok(()),
            _ => message.members.json(),
        };
        self.write(&text, patience).await
    }

    /// Sends a request: its answer, or a stream where something comes before it.
    async fn request(
        self: &Arc<Self>,
        session: Arc<str>,
        message: &Message<'_>,
        patience: Duration,
    ) -> Result<Response<Body>, Failure> {
        let (to, from) = mpsc::channel(READER_MAX);
        let mut params = message.params();
        let mut meta = params.object("_meta").map(Members::into_owned).unwrap_or_default();
        let token: Option<Box<str>> = meta.get("progressToken").map(Into::into);
        let own = {
            let mut lines = locked(&self.lines);
            if lines.waiting.len() >= WAITING_MAX {
                return Err(Failure::gateway(Stage::Send, Problem::Unavailable)
                    .with_hint("too many requests wait for the server's process"));
            }
            let own = lines.next;
            lines.next += 1;
            lines.used = Instant::now();
            let waiting = Waiting {
                session,
                id: message.id().unwrap_or("null").into(),
                token: token.clone(),
                hears: message.method == "tools/call",
                to,
            };
            lines.waiting.insert(own, waiting);
            own
        };
        let mut reader = Reader { running: self.clone(), own: Some(own), from, first: None, is_over: false };
        if self.is_over.load(Ordering::Relaxed) {
            return Err(broken("the process has ended"));
        }
        if token.is_some() {
            meta.set("progressToken", own.to_string());
            params.set("_meta", meta.json());
        }
        let mut members = message.members.clone();
        members.set("id", own.to_string());
        if message.members.get("params").is_some() {
            members.set("params", params.json());
        }
        let end = tokio::time::Instant::now() + patience;
        self.write(&members.json(), patience).await?;
        match tokio::time::timeout_at(end, reader.from.recv()).await {
            Ok(Some(said)) if said.is_last => Ok(answer::json(StatusCode::OK, said.text)),
            Ok(Some(said)) => {
                reader.first = Some(said);
                Ok(answer::stream(Body::boxed(reader)))
            }
            Ok(None) => Err(broken("the process has ended")),
            Err(_) => {
                let late = format!("the process did not answer within {patience:?}");
                Err(Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, late))
            }
        }
    }

    /// A stream of what is said unasked.
    fn listen(self: &Arc<Self>, session: Arc<str>) -> Body {
        let (to, from) = mpsc::channel(READER_MAX);
        let mut lines = locked(&self.lines);
        lines.used = Instant::now();
        for text in std::mem::take(&mut lines.unheard) {
            let _ = to.try_send(Said { text, is_last: false });
        }
        if !self.is_over.load(Ordering::Relaxed) {
            lines.listeners.insert(session, to);
        }
        drop(lines);
        Body::boxed(Reader { running: self.clone(), own: None, from, first: None, is_over: false })
    }

    /// A message of the process.
    fn heard(&self, message: &Message<'_>) {
        let mut lines = locked(&self.lines);
        let number = |json: &str| spelled(json).parse::<u64>().ok();
        match (message.kind, message.method.as_str()) {
            (Kind::Response, _) => {
                let Some(waiting) = message.id().and_then(number).and_then(|own| lines.waiting.remove(&own))
                else {
                    return;
                };
                // What a program says unasked keeps nobody's session alive.
                lines.used = Instant::now();
                let mut members = message.members.clone();
                members.set("id", waiting.id.to_string());
                let _ = waiting.to.try_send(Said { text: members.json(), is_last: true });
            }
            (Kind::Notification, "notifications/progress") => {
                let mut params = message.params();
                let own = params.get("progressToken").and_then(number);
                let Some((own, waiting)) = own.and_then(|own| Some((own, lines.waiting.get(&own)?))) else {
                    return;
                };
                let Some(token) = &waiting.token else { return };
                params.set("progressToken", token.to_string());
                let said = Said { text: message.with_params(&params), is_last: false };
                if waiting.to.try_send(said).is_err() {
                    // Whoever does not read loses its stream, not the others their process.
                    lines.waiting.remove(&own);
                }
            }
            (Kind::Request, _) if self.is_shared => {
                drop(lines);
                let id = message.id().unwrap_or("null");
                let text = "the clients of a shared process are not asked back";
                self.write_if_free(&message::error(id, answer::METHOD_NOT_FOUND, text, None));
            }
            (Kind::Notification, method) if self.is_shared => {
                // What is said to one of several is not told to all.
                if method.ends_with("/list_changed") {
                    for to in lines.listeners.values() {
                        let _ = to.try_send(Said { text: message.members.json(), is_last: false });
                    }
                }
            }
            _ => lines.say(message.members.json()),
        }
    }
}

impl Lines {
    /// Tells the session what nobody asked for: on its own stream, or else on that of a call.
    fn say(&mut self, text: String) {
        let mut said = Said { text, is_last: false };
        for to in self.listeners.values() {
            match to.try_send(said) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => {
                    said = back;
                }
            }
        }
        let newest = self.waiting.iter().filter(|(_, one)| one.hears).max_by_key(|(own, _)| **own);
        if let Some((_, one)) = newest {
            match one.to.try_send(said) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => {
                    said = back;
                }
            }
        }
        if self.unheard.len() >= UNHEARD_MAX {
            self.unheard.pop_front();
        }
        self.unheard.push_back(said.text);
    }
}

/// What one request, or one listener, is told, as events.
struct Reader {
    running: Arc<Running>,
    /// The number of the request.
    own: Option<u64>,
    from: mpsc::Receiver<Said>,
    first: Option<Said>,
    is_over: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // What is to be cancelled is told apart from this, and needs the number until then: it goes with the answer.
        let Some(own) = self.own else { return };
        let mut lines = locked(&self.running.lines);
        if let Some(waiting) = lines.waiting.get_mut(&own) {
            waiting.hears = false;
            // A process that never answers must not keep numbers for ever.
            let gone = lines.waiting.iter().filter(|(_, one)| one.to.is_closed()).count();
            if gone > WAITING_MAX / 2 {
                lines.waiting.retain(|_, one| !one.to.is_closed());
            }
        }
    }
}

impl Wrapper for Reader {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let said = match self.first.take() {
            Some(first) => Some(first),
            None => std::task::ready!(self.from.poll_recv(cx)),
        };
        let Some(said) = said else {
            self.is_over = true;
            return Poll::Ready(None);
        };
        self.is_over = said.is_last;
        Poll::Ready(Some(Ok(Frame::data(Event::message(said.text).bytes()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
