//! What servers have to say of themselves: the streams of all of them as one.
//!
//! A lane is a server's stream. It is opened again when it ends, from where it was; its last event stands in the id of
//! every event that the client gets, so that a client that comes back finds all lanes where it left them.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{
    Inner, answer, begin, bridge, ids,
    message::{self, Kind, Members, Message, quoted},
    relay,
    server::Server,
    session::{Can, Leg, Session},
    sse::{Event, Reader},
    wire::{self, LAST_EVENT, Letter, Reply, Sender},
};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// How long the answer waits for servers that have not answered, before it begins without them.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries to open a lane, when its server says nothing else.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that a server may have its clients wait.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A client that is gone is noticed by then.
const PULSE: Duration = Duration::from_secs(25);
/// The shortest that a server may have its clients wait.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// A stream that was open for so long ended well.
const WELL: Duration = Duration::from_secs(10);
/// Resources that one client may want to hear of on one stream.
const URIS_MAX: usize = 64;
/// How long the servers may take to note all of them.
const NOTING_MAX: Duration = Duration::from_secs(10);

type Opening = Pin<Box<dyn Future<Output = Result<Reply, Failure>>>>;

enum State {
    Opening(Opening),
    Open(Body),
    Waiting(Pin<Box<Sleep>>),
    /// It has none, or no more.
    Gone,
}

struct Lane {
    server: Arc<Server>,
    session: Session,
    leg: Leg,
    /// What a server without sessions is asked.
    listen: String,
    state: State,
    reader: Reader,
    last: Option<String>,
    pause: Duration,
    /// Streams in a row that could not be opened, or ended at once and empty.
    tries: u32,
    opened: Instant,
    has_said: bool,
}

/// All lanes as one body.
struct Merged {
    sender: Sender,
    lanes: Vec<Lane>,
    /// One stream that is taken up again, rather than all that servers have to say.
    is_single: bool,
    /// What a client of the revision without sessions wants to hear.
    wish: Option<Wish>,
    out: Vec<u8>,
    pulse: Pin<Box<Sleep>>,
    next: usize,
}

/// What a client of the revision without sessions wants to hear.
struct Wish {
    /// The id of its request, which stands in every notification.
    id: String,
    /// What it wants, as it wrote it.
    filter: String,
    tools: bool,
    prompts: bool,
    resources: bool,
    /// Resources that it wants to hear of.
    uris: Vec<String>,
}

const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

impl Wish {
    fn of(message: &Message<'_>) -> Option<Self> {
        let params = message.params();
        let filter = params.object("notifications")?;
        let is = |name: &str| filter.get(name) == Some("true");
        let uris = filter.get("resourceSubscriptions").and_then(|text| serde_json::from_str(text).ok());
        let mut uris: Vec<String> = uris.unwrap_or_default();
        uris.sort();
        uris.dedup();
        Some(Self {
            id: message.id()?.to_owned(),
            filter: filter.json(),
            tools: is("toolsListChanged"),
            prompts: is("promptsListChanged"),
            resources: is("resourcesListChanged"),
            uris,
        })
    }

    /// A notification with the number of the subscription.
    fn numbered(&self, message: &Message<'_>) -> String {
        let mut params = message.params();
        let mut meta = params.object("_meta").map(Members::into_owned).unwrap_or_default();
        meta.set(META_SUBSCRIPTION, self.id.clone());
        params.set("_meta", meta.json());
        message.with_params(&params)
    }

    fn wants(&self, message: &Message<'_>) -> bool {
        match message.method.as_str() {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => {
                message.params().text("uri").is_some_and(|uri| self.uris.contains(&uri))
            }
            _ => false,
        }
    }
}

/// Answers `subscriptions/listen`.
pub(super) async fn subscribe(
    inner: &Arc<Inner>,
    sender: &Sender,
    session: &Session,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    let id = message.id().unwrap_or("null");
    let Some(wish) = Wish::of(message) else {
        return Ok(answer::error(id, answer::INVALID_PARAMS, "`notifications` is required"));
    };
    if wish.uris.len() > URIS_MAX {
        let text = format!("`resourceSubscriptions` names more than {URIS_MAX} resources");
        return Ok(answer::error(id, answer::INVALID_PARAMS, &text));
    }
    let lines = inner.servers.iter().map(|server| begin::line(sender, session, server, false));
    let lines = futures_util::future::join_all(lines).await;
    let legs: Vec<(&Arc<Server>, Leg)> =
        inner.servers.iter().zip(lines).filter_map(|(server, leg)| Some((server, leg.ok()?))).collect();
    note_wishes(sender, session, &legs, &wish.uris).await;
    let lanes = legs
        .into_iter()
        .map(|(server, leg)| Lane::new(sender, session, server, leg, None, &wish.filter))
        .collect();
    let mut out = Vec::new();
    let params = format!("{{\"notifications\":{}}}", wish.filter);
    let told = message::notification("notifications/subscriptions/acknowledged", &params);
    if let Ok(told) = Message::parse(&told) {
        Event::message(wish.numbered(&told)).write(&mut out);
    }
    let mut merged = Merged::new(sender, lanes, false);
    merged.out = out;
    merged.wish = Some(wish);
    merged.settle().await;
    Ok(answer::stream(Body::boxed(merged)))
}

/// Tells servers with sessions which resources a client wants to hear of: one after another, each only to the servers
/// that can have it.
async fn note_wishes(sender: &Sender, session: &Session, legs: &[(&Arc<Server>, Leg)], uris: &[String]) {
    let able = |leg: &Leg| leg.revision.has_sessions() && leg.can.do_(Can::RESOURCES);
    let noted = async {
        for uri in uris {
            let surely = |server: &Server| server.known.catalog.knows_resource(uri) == usize::MAX;
            let owner = legs.iter().find(|(server, leg)| able(leg) && surely(server));
            let asked = legs.iter().filter(|(server, leg)| match owner {
                Some((owner, _)) => server.name == owner.name,
                None => able(leg),
            });
            for (server, _) in asked {
                let own = relay::own_id("subscribe");
                let text =
                    message::request(&own, "resources/subscribe", &format!("{{\"uri\":{}}}", quoted(uri)));
                // Whose it is not refuses.
                drop(relay::ask(sender, session, server, &own, &text).await);
            }
        }
    };
    if tokio::time::timeout(NOTING_MAX, noted).await.is_err() {
        tracing::warn!(
            "servers did not note within {NOTING_MAX:?} which resources a client wants to hear of"
        );
    }
}

/// Answers a GET.
pub(super) async fn listen(
    inner: &Arc<Inner>,
    sender: &Sender,
    session: &Session,
    call: &mut Call,
) -> Result<Response<Body>, Failure> {
    let seen = match call.head.headers.get(LAST_EVENT) {
        None => None,
        Some(id) => {
            let seen = id.to_str().ok().and_then(ids::seen);
            let hint = "`Last-Event-ID` is none of this endpoint's";
            Some(seen.ok_or_else(|| answer::refusal(StatusCode::BAD_REQUEST, answer::INVALID_REQUEST, hint))?)
        }
    };
    let mut lanes = Vec::new();
    let is_single = matches!(seen, Some(ids::Seen::Stream(..)));
    for server in &inner.servers {
        let Some(leg) = session.leg(&server.name) else { continue };
        let last = match &seen {
            None => None,
            Some(ids::Seen::Stream(name, id)) if **name == *server.name => Some(id.clone()),
            Some(ids::Seen::Stream(..)) => continue,
            Some(ids::Seen::Merged(all)) => {
                all.iter().find(|(name, _)| **name == *server.name).map(|(_, id)| id.clone())
            }
        };
        lanes.push(Lane::new(sender, session, server, leg, last, EVERYTHING));
    }
    let mut merged = Merged::new(sender, lanes, is_single);
    merged.settle().await;
    if merged.is_over() {
        return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
            .with_hint("no server here has a stream of its own")
            .with_header(header::ALLOW, HeaderValue::from_static("POST, DELETE")));
    }
    Ok(answer::stream(Body::boxed(merged)))
}

/// What a client hears that did not say what it wants.
const EVERYTHING: &str = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;

impl Lane {
    fn new(
        sender: &Sender,
        session: &Session,
        server: &Arc<Server>,
        leg: Leg,
        last: Option<String>,
        filter: &str,
    ) -> Self {
        let params = format!("{{\"notifications\":{filter}}}");
        let listen = message::request("\"tidegate-listen\"", "subscriptions/listen", &params);
        let mut lane = Self {
            server: server.clone(),
            session: session.clone(),
            leg,
            listen,
            state: State::Gone,
            reader: Reader::default(),
            last,
            pause: PAUSE,
            tries: 0,
            opened: Instant::now(),
            has_said: false,
        };
        lane.state = State::Opening(lane.open(sender));
        lane
    }

    /// Asks the server for its stream, in the way of its revision.
    fn open(&self, sender: &Sender) -> Opening {
        let (sender, server, leg) = (sender.clone(), self.server.clone(), self.leg.clone());
        let letter = if leg.revision.has_sessions() {
            Letter::listen(self.last.clone())
        } else {
            bridge::letter(&sender, &leg, &self.session.seal.client, &self.listen).silent()
        };
        let session = self.session.clone();
        Box::pin(async move {
            let response = sender.send(&server, Some(&leg), letter).await?;
            let reply = wire::reply(response, leg.id.is_some()).await;
            // The next try is in a new session, unless somebody has begun one already.
            let is_current = session.leg(&server.name).is_none_or(|current| current.id == leg.id);
            if matches!(reply, Ok(Reply::SessionLost)) && is_current {
                begin::line(&sender, &session, &server, true).await?;
            }
            reply
        })
    }

    /// A server's message as a client gets it; `None` when it is nothing to it.
    fn shown(&self, text: &str, is_single: bool, wish: Option<&Wish>) -> Option<String> {
        let message = Message::parse(text).ok()?;
        let changed = ids::from_server(&self.server, &message);
        if message.kind == Kind::Response && !is_single {
            // What is asked is answered on a stream of its own.
            return None;
        }
        let is_ours = matches!(message.kind, Kind::Response)
            || message.method == "notifications/subscriptions/acknowledged";
        match wish {
            _ if is_ours && !self.leg.revision.has_sessions() => None,
            Some(wish) => wish.wants(&message).then(|| wish.numbered(&message)),
            None => Some(changed.unwrap_or_else(|| text.to_owned())),
        }
    }

    /// Opens what can be opened. Whether something changed.
    fn drive(&mut self, sender: &Sender, is_single: bool, cx: &mut Context<'_>) -> bool {
        match &mut self.state {
            State::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(Reply::Stream(body))) => {
                    self.opened = Instant::now();
                    self.has_said = false;
                    self.reader = Reader::default();
                    self.state = State::Open(body);
                    true
                }
                Poll::Ready(opened) => {
                    self.state = if is_single || Self::is_final(&opened) {
                        State::Gone
                    } else {
                        tracing::debug!(server = %self.server.name, "a stream could not be opened");
                        self.tries = self.tries.saturating_add(1);
                        self.wait()
                    };
                    true
                }
            },
            State::Waiting(wait) => match wait.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(()) => {
                    // It may have begun anew with the server since.
                    if let Some(leg) = self.session.leg(&self.server.name) {
                        self.leg = leg;
                    }
                    self.state = State::Opening(self.open(sender));
                    true
                }
            },
            State::Open(_) | State::Gone => false,
        }
    }

    /// Whether a server that answered so has no such stream, rather than trouble.
    fn is_final(opened: &Result<Reply, Failure>) -> bool {
        match opened {
            Ok(Reply::Refused(status, _)) => {
                status.is_client_error()
                    && !matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
                    || *status == StatusCode::NOT_IMPLEMENTED
            }
            Ok(Reply::Json(_) | Reply::Accepted) => true,
            Ok(Reply::Stream(_) | Reply::SessionLost) | Err(_) => false,
        }
    }

    /// Until the next try: as long as the server says, longer with each that failed, and never the same for all.
    fn wait(&self) -> State {
        let pause = pause(self.pause, self.tries, random());
        State::Waiting(Box::pin(sleep(pause)))
    }

    /// The lane's stream has ended.
    fn ended(&mut self, is_single: bool) {
        let is_well = self.has_said || self.opened.elapsed() >= WELL;
        self.tries = if is_well { 0 } else { self.tries.saturating_add(1) };
        self.state = if is_single { State::Gone } else { self.wait() };
    }
}

/// How long to wait for the next try. `random` is any number.
fn pause(wished: Duration, tries: u32, random: u16) -> Duration {
    let pause = wished.max(PAUSE_MIN).saturating_mul(1 << tries.min(8)).min(PAUSE_MAX);
    // Up to half as long again, so that many clients do not come at once.
    pause + pause.mul_f64(f64::from(random) / f64::from(u16::MAX) / 2.0)
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

impl Merged {
    fn new(sender: &Sender, lanes: Vec<Lane>, is_single: bool) -> Self {
        Self {
            sender: sender.clone(),
            lanes,
            is_single,
            wish: None,
            out: Vec::new(),
            pulse: Box::pin(sleep(PULSE)),
            next: 0,
        }
    }

    fn is_over(&self) -> bool {
        // Who said what it wants to hear waits for it, even where nobody has anything to say.
        self.wish.is_none() && self.lanes.iter().all(|lane| matches!(lane.state, State::Gone))
    }

    /// Waits until every server has answered, or for as long as there is patience.
    async fn settle(&mut self) {
        let mut patience = Box::pin(sleep(PATIENCE));
        std::future::poll_fn(|cx| {
            for lane in &mut self.lanes {
                lane.drive(&self.sender, self.is_single, cx);
            }
            let is_opening = self.lanes.iter().any(|lane| matches!(lane.state, State::Opening(_)));
            if !is_opening { Poll::Ready(()) } else { patience.as_mut().poll(cx) }
        })
        .await;
    }

    /// Takes bytes of a lane.
    fn take(&mut self, at: usize, data: &[u8]) {
        let mut events = Vec::new();
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.reader.push(data, &mut events).is_err() {
            tracing::warn!(server = %lane.server.name, "a server's stream is closed: an event is too large");
            lane.ended(self.is_single);
        }
        for mut event in events {
            let Some(lane) = self.lanes.get_mut(at) else { return };
            if !event.data.is_empty() {
                let text = std::str::from_utf8(&event.data).unwrap_or_default();
                let Some(text) = lane.shown(text, self.is_single, self.wish.as_ref()) else { continue };
                event.data = text.into_bytes();
            } else if self.wish.is_some() {
                continue;
            }
            lane.has_said = true;
            if let Some(retry) = event.retry {
                lane.pause = Duration::from_millis(retry).min(PAUSE_MAX);
            }
            if self.wish.is_some() {
                (event.id, event.retry) = (None, None);
            }
            if let Some(id) = event.id.take() {
                lane.last = Some(id.clone());
                event.id =
                    if self.is_single { Some(ids::event(&lane.server.name, &id)) } else { self.how_far() };
            }
            event.write(&mut self.out);
        }
    }

    fn how_far(&self) -> Option<String> {
        ids::merged(self.lanes.iter().filter_map(|lane| Some((&*lane.server.name, lane.last.as_deref()?))))
    }

    /// Polls one lane. Whether something changed.
    fn turn(&mut self, at: usize, cx: &mut Context<'_>) -> bool {
        let is_single = self.is_single;
        let Some(lane) = self.lanes.get_mut(at) else { return false };
        let State::Open(body) = &mut lane.state else { return lane.drive(&self.sender, is_single, cx) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.take(at, &data);
                }
                true
            }
            Poll::Ready(Some(Err(_)) | None) => {
                lane.ended(is_single);
                true
            }
        }
    }
}

impl Wrapper for Merged {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Merged {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        loop {
            if !this.out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(std::mem::take(&mut this.out))))));
            }
            if this.is_over() {
                return Poll::Ready(None);
            }
            // Each lane has its turn first, so that a busy server does not silence the others.
            let mut is_changed = false;
            this.next = (this.next + 1) % this.lanes.len().max(1);
            for step in 0..this.lanes.len() {
                let at = (this.next + step) % this.lanes.len();
                is_changed |= this.turn(at, cx);
                if !this.out.is_empty() {
                    break;
                }
            }
            if is_changed {
                continue;
            }
            if this.pulse.as_mut().poll(cx).is_ready() {
                this.pulse = Box::pin(sleep(PULSE));
                this.out.extend_from_slice(b": still here\n\n");
                continue;
            }
            return Poll::Pending;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.out.is_empty() && self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_makes_the_gateway_hurry_and_none_is_given_up() {
        let wait = |wished, tries| pause(Duration::from_millis(wished), tries, 0);
        assert_eq!(wait(0, 0), PAUSE_MIN);
        assert_eq!(wait(0, 2), PAUSE_MIN * 4);
        assert_eq!(wait(1000, 100), PAUSE_MAX);
        assert_eq!(wait(u64::MAX, 0), PAUSE_MAX);
        assert_eq!(pause(PAUSE, 0, u16::MAX), PAUSE * 3 / 2);
        let refused = |status| Lane::is_final(&Ok(Reply::Refused(status, Bytes::new())));
        for (status, want) in
            [(405, true), (404, true), (501, true), (500, false), (503, false), (429, false)]
        {
            assert_eq!(refused(StatusCode::from_u16(status).expect("a status")), want, "{status}");
        }
        assert!(!Lane::is_final(&Ok(Reply::SessionLost)));
    }
}
