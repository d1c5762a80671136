//! One running program: whose request an answer belongs to, and what is said unasked to whom.
//!
//! Ids and progress tokens are numbered anew, so that lines find their way back whoever shares the process.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{
    answer,
    message::{self, Kind, Members, Message, is_same, spelled},
    share::{Held, Share},
    sse::Event,
    subscriptions::META_SUBSCRIPTION,
};
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// Messages on their way to one reader.
const READER_MAX: usize = 256;
/// Messages on their way to a process.
pub(super) const WRITER_MAX: usize = 64;
/// What a process says while nobody listens; the oldest goes first.
const UNHEARD_MAX: usize = 64;
/// Bytes of the same.
const UNHEARD_BYTES_MAX: usize = 1024 * 1024;
/// Requests of one process at a time.
const WAITING_MAX: usize = 1024;

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why)
}

/// It is no more, with what was asked of it; its error output is in the log.
fn gone() -> Failure {
    Failure::upstream(Stage::Body, Problem::UpstreamReset, "the process has ended")
}

/// One process.
pub(super) struct Running {
    pub(super) started: Instant,
    to: mpsc::Sender<Line>,
    pub(super) stop: tokio::sync::Notify,
    is_over: AtomicBool,
    lines: Mutex<Lines>,
    /// Of a shared one: what it answered to the handshake.
    pub(super) greeting: Mutex<Option<String>>,
    /// The consumer whose it is; or who began it, when it is everybody's.
    pub(super) share: Arc<Share>,
    pub(super) is_shared: bool,
}

/// A line for a process.
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    _held: Option<Held>,
}

struct Lines {
    next: u64,
    waiting: HashMap<u64, Waiting>,
    /// Streams that hear what is said unasked, by session.
    listeners: HashMap<Arc<str>, Listener>,
    unheard: VecDeque<String>,
    unheard_bytes: usize,
    used: Instant,
}

/// A stream of what is said unasked.
struct Listener {
    share: Arc<Share>,
    to: mpsc::Sender<Said>,
}

/// A request that waits for its answer.
struct Waiting {
    session: Arc<str>,
    share: Arc<Share>,
    id: Box<str>,
    token: Option<Box<str>>,
    /// It may be told what nobody asked for.
    hears: bool,
    /// It wants to be told of changes until it ends.
    subscribes: bool,
    to: mpsc::Sender<Said>,
}

/// What a reader is told.
struct Said {
    text: String,
    is_last: bool,
    _held: Option<Held>,
}

impl Said {
    /// Something for a reader; none when too much waits for its consumer.
    fn new(share: &Arc<Share>, text: String, is_last: bool) -> Option<Self> {
        let held = share.hold(text.len())?;
        Some(Self { text, is_last, _held: Some(held) })
    }
}

/// A message as one line. Ends of lines stand between its members alone.
fn line(text: &str, held: Option<Held>) -> Line {
    let mut bytes: Vec<u8> =
        text.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect();
    bytes.push(b'\n');
    Line { bytes, _held: held }
}

impl Running {
    /// A process that has not been asked anything.
    pub(super) fn new(to: mpsc::Sender<Line>, share: Arc<Share>, is_shared: bool) -> Self {
        let lines = Lines {
            next: 1,
            waiting: HashMap::new(),
            listeners: HashMap::new(),
            unheard: VecDeque::new(),
            unheard_bytes: 0,
            used: Instant::now(),
        };
        Self {
            started: Instant::now(),
            to,
            stop: tokio::sync::Notify::new(),
            is_over: false.into(),
            lines: Mutex::new(lines),
            greeting: Mutex::default(),
            share,
            is_shared,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A session listens no more.
    pub(super) fn unlisten(&self, session: &str) {
        locked(&self.lines).listeners.remove(session);
    }

    /// When it was last of use, if it is of none now.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let mut lines = locked(&self.lines);
        lines.listeners.retain(|_, one| !one.to.is_closed());
        let is_of_use = !lines.listeners.is_empty() || lines.waiting.values().any(|one| !one.to.is_closed());
        (!is_of_use).then_some(lines.used)
    }

    /// Whoever waits for it waits in vain: those who do.
    pub(super) fn over(&self) -> Vec<Arc<Share>> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut lines = locked(&self.lines);
        let mut waited: Vec<Arc<Share>> = Vec::new();
        for (_, one) in lines.waiting.drain() {
            if !waited.iter().any(|known| Arc::ptr_eq(known, &one.share)) {
                waited.push(one.share);
            }
        }
        lines.listeners.clear();
        waited
    }

    pub(super) async fn write(
        &self,
        share: &Arc<Share>,
        text: &str,
        patience: Duration,
    ) -> Result<(), Failure> {
        let held = share.hold(text.len()).ok_or_else(|| {
            Failure::gateway(Stage::Send, Problem::Unavailable)
                .with_hint("too much of this caller's waits for the server's process")
                .with_retry_after(Duration::from_secs(1))
        })?;
        match tokio::time::timeout(patience, self.to.send(line(text, Some(held)))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                Err(Failure::upstream(Stage::Send, Problem::UpstreamTimeout, "the process reads nothing"))
            }
        }
    }

    /// Writes what need not arrive.
    fn write_if_free(&self, text: &str) {
        if self.to.try_send(line(text, None)).is_err() {
            tracing::debug!("a process reads nothing");
        }
    }

    /// Passes a notification or an answer of a client's on.
    pub(super) async fn tell(
        &self,
        share: &Arc<Share>,
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
        self.write(share, &text, patience).await
    }

    /// Sends a request: its answer, or a stream where something comes before it.
    pub(super) async fn request(
        self: &Arc<Self>,
        share: &Arc<Share>,
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
                share: share.clone(),
                id: message.id().unwrap_or("null").into(),
                token: token.clone(),
                hears: message.method == "tools/call",
                subscribes: message.method == "subscriptions/listen",
                to,
            };
            lines.waiting.insert(own, waiting);
            own
        };
        let mut reader = Reader { running: self.clone(), own: Some(own), from, first: None, is_over: false };
        if self.is_over() {
            return Err(gone());
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
        if let Err(failure) = self.write(share, &members.json(), patience).await {
            // Nothing will answer what was never asked.
            locked(&self.lines).waiting.remove(&own);
            return Err(failure);
        }
        match tokio::time::timeout_at(end, reader.from.recv()).await {
            Ok(Some(said)) if said.is_last => Ok(answer::json(StatusCode::OK, said.text)),
            Ok(Some(said)) => {
                reader.first = Some(said);
                Ok(answer::stream(Body::boxed(reader)))
            }
            Ok(None) => Err(gone()),
            Err(_) => {
                let late = format!("the process did not answer within {patience:?}");
                Err(Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, late))
            }
        }
    }

    /// A stream of what is said unasked.
    pub(super) fn listen(self: &Arc<Self>, share: Arc<Share>, session: Arc<str>) -> Body {
        let (to, from) = mpsc::channel(READER_MAX);
        let mut lines = locked(&self.lines);
        lines.used = Instant::now();
        lines.unheard_bytes = 0;
        for text in std::mem::take(&mut lines.unheard) {
            let Some(said) = Said::new(&share, text, false) else { break };
            let _ = to.try_send(said);
        }
        if !self.is_over() {
            lines.listeners.insert(session, Listener { share, to });
        }
        drop(lines);
        Body::boxed(Reader { running: self.clone(), own: None, from, first: None, is_over: false })
    }

    /// A message of the process.
    pub(super) fn heard(&self, message: &Message<'_>) {
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
                let said = Said::new(&waiting.share, members.json(), true).unwrap_or_else(|| {
                    let text = "too much waits to be read by this caller";
                    let text = message::error(&waiting.id, answer::INTERNAL_ERROR, text, None);
                    Said { text, is_last: true, _held: None }
                });
                let _ = waiting.to.try_send(said);
            }
            (Kind::Notification, "notifications/progress") => {
                let mut params = message.params();
                let own = params.get("progressToken").and_then(number);
                let Some((own, waiting)) = own.and_then(|own| Some((own, lines.waiting.get(&own)?))) else {
                    return;
                };
                let Some(token) = &waiting.token else { return };
                params.set("progressToken", token.to_string());
                let said = Said::new(&waiting.share, message.with_params(&params), false);
                if said.is_none_or(|said| waiting.to.try_send(said).is_err()) {
                    // Whoever does not read loses its stream, not the others their process.
                    lines.waiting.remove(&own);
                }
            }
            (Kind::Notification, _) if subscription(message).is_some() => {
                let own = subscription(message).as_deref().and_then(number);
                let Some((own, waiting)) = own.and_then(|own| Some((own, lines.waiting.get(&own)?))) else {
                    return;
                };
                let mut params = message.params();
                let mut meta = params.object("_meta").map(Members::into_owned).unwrap_or_default();
                meta.set(META_SUBSCRIPTION, waiting.id.to_string());
                params.set("_meta", meta.json());
                let said = Said::new(&waiting.share, message.with_params(&params), false);
                if said.is_none_or(|said| waiting.to.try_send(said).is_err()) {
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
                    for one in lines.listeners.values() {
                        let said = Said::new(&one.share, message.members.json(), false);
                        let _ = said.map(|said| one.to.try_send(said));
                    }
                }
            }
            _ => lines.say(&self.share, message.members.json()),
        }
    }
}

/// The request that a notification belongs to, as JSON.
fn subscription(message: &Message<'_>) -> Option<String> {
    Some(message.params().object("_meta")?.get(META_SUBSCRIPTION)?.to_owned())
}

impl Lines {
    /// Tells the session what nobody asked for: on its own stream, or else on that of a call.
    fn say(&mut self, share: &Arc<Share>, text: String) {
        let Some(mut said) = Said::new(share, text, false) else {
            tracing::debug!("what a process says unasked is left out: too much waits to be read");
            return;
        };
        for one in self.listeners.values() {
            match one.to.try_send(said) {
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
        let text = said.text;
        if text.len() > UNHEARD_BYTES_MAX {
            return;
        }
        self.unheard_bytes += text.len();
        self.unheard.push_back(text);
        while self.unheard.len() > UNHEARD_MAX || self.unheard_bytes > UNHEARD_BYTES_MAX {
            let Some(oldest) = self.unheard.pop_front() else { break };
            self.unheard_bytes = self.unheard_bytes.saturating_sub(oldest.len());
        }
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
        if lines.waiting.get(&own).is_some_and(|waiting| waiting.subscribes) {
            lines.waiting.remove(&own);
            let params = format!("{{\"requestId\":{own},\"reason\":\"the client left\"}}");
            self.running.write_if_free(&message::notification("notifications/cancelled", &params));
        } else if let Some(waiting) = lines.waiting.get_mut(&own) {
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
