//! Questions of servers with sessions, which ask in the middle of a call's stream, to clients without sessions, which get
//! them as the answer of their call (`input_required`) and make it again with what was asked.
//!
//! Between the two the call is [`Waiting`]: a task of the worker that has its stream, found by what the client comes back
//! with ([`State`]). The rest of the call is told by that task over a channel, to whichever worker the client came to.
//! How such calls are counted and found is in [`parked`](super::parked), what may be asked in [`Able`].

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use model::McpRecord;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Inner,
    able::Able,
    answer,
    asking::Pipe,
    begin, bridge, door,
    message::{self, Kind, Members, Message, is_same, quoted},
    modern::{self, Disguise},
    parked::{State, binding, count, fresh_id},
    relay::{self, OnItsWay, Way},
    server::Place,
    session::Session,
    sse::{Event, Reader},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// Requests that may be answered with questions.
const METHODS: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];
/// Questions of one round.
const QUESTIONS_MAX: usize = 16;
/// Rounds of one call.
const ROUNDS_MAX: usize = 16;
/// All rounds of a call may take so many times as long as one.
const CALL_ROUNDS: u32 = 4;
/// Bytes of a server's id of a request: it is kept until the answer.
const ID_BYTES_MAX: usize = 512;
/// Bytes that a server says while its client is asked; beyond it, it is not read.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Places of a server's bulkhead: a call that waits has one, the stream beside it another, the answer wants a third.
const PLACES_MIN: u32 = 4;
/// How long a server may take to take the answers of a round.
const ANSWERING_MAX: Duration = Duration::from_secs(30);
/// While a client is asked the server has nothing to say; what ends the call then is the client's deadline.
const SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// A client without sessions: who it is, what it can be asked, and what it came back with.
pub(super) struct Asker {
    pub(super) inner: Arc<Inner>,
    /// Whom its calls are made for.
    who: String,
    /// Whom they are counted for.
    owner: Box<str>,
    able: Able,
    /// What tells it from others with the same credentials, as far as it can be told.
    client: String,
    state: Option<State>,
}

impl Asker {
    pub(super) fn of(inner: &Arc<Inner>, call: &Call, message: &Message<'_>) -> Self {
        let params = message.params();
        let meta = params.object("_meta").unwrap_or_default();
        let capabilities = meta.object(bridge::META_CAPABILITIES).unwrap_or_default();
        let claim = |name: &str| {
            let claim = call.claims.as_ref().and_then(|claims| claims.get(name));
            claim.map(|claim| claim.to_string()).unwrap_or_default()
        };
        let able = Able::of(&capabilities);
        let state = params.text("requestState").and_then(|state| inner.sessions.state_of(&state));
        let client = if able.is_nothing() && state.is_none() {
            String::new()
        } else {
            let key = call.shown_key.map(|key| key.to_string()).unwrap_or_default();
            binding(&[
                &key,
                &claim("azp"),
                &claim("client_id"),
                meta.get(bridge::META_CLIENT).unwrap_or_default(),
                meta.get(bridge::META_CAPABILITIES).unwrap_or_default(),
            ])
        };
        let (who, owner) = (door::who(call), door::owner(call).into());
        Self { inner: inner.clone(), who, owner, able, client, state }
    }

    /// The server that a client came back to.
    pub(super) fn comes_back_to(&self) -> Option<&str> {
        self.state.as_ref().map(|state| &*state.server)
    }

    /// What a state is good for: this call, made for this caller by this client at this server.
    fn binding(&self, server: &str, message: &Message<'_>) -> String {
        let mut params = message.params();
        for name in ["_meta", "inputResponses", "requestState"] {
            params.remove(name);
        }
        let mut told: Vec<String> = params
            .names()
            .map(|name| {
                let value = params.get(name).unwrap_or_default();
                let value = serde_json::from_str::<serde_json::Value>(value).unwrap_or_default();
                format!("{}:{value}", quoted(name))
            })
            .collect();
        told.sort();
        binding(&[&self.who, &self.owner, &self.client, server, &message.method, &told.join(",")])
    }
}

/// What one call may still ask.
pub(super) struct Round {
    asker: Rc<Asker>,
    binding: String,
    /// How often its client was asked.
    rounds: usize,
    /// By when all rounds are over, from the first question on.
    end: Option<Instant>,
}

/// A question of a server's.
pub(super) struct Question {
    /// Its name for the client.
    key: String,
    /// Its id, as the server wrote it.
    id: String,
}

/// What a round is asked: questions, and the same for the client.
#[derive(Default)]
pub(super) struct Questions {
    open: Vec<Question>,
    requests: Members<'static>,
    /// How many there were, with those that the server took back.
    count: usize,
}

impl Questions {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The server takes back what it asked.
    pub(super) fn cancelled(&mut self, message: &Message<'_>) {
        let params = message.params();
        let Some(id) = params.get("requestId") else { return };
        if let Some(at) = self.open.iter().position(|one| is_same(&one.id, id)) {
            let gone = self.open.swap_remove(at);
            self.requests.remove(&gone.key);
        }
    }

    /// All that is open, which is put to nobody.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.open.iter().map(|one| &*one.id)
    }
}

/// Why a question is put to nobody.
pub(super) struct Refusal(pub(super) i32, pub(super) &'static str);

/// What a server is told that asks where nobody can be.
pub(super) const NOT_ASKED: Refusal =
    Refusal(answer::METHOD_NOT_FOUND, "clients of this revision are not asked back");

impl Round {
    /// Whether a request of the server's can be put to the client.
    fn can(&self, message: &Message<'_>) -> Result<(), Refusal> {
        let params = message.params();
        // A task is nothing that clients of this revision could make of it.
        if !self.asker.able.can(&message.method, &params) || params.get("task").is_some() {
            return Err(Refusal(
                answer::METHOD_NOT_FOUND,
                "this client is not asked back for that: it did not say that it can be",
            ));
        }
        if message.id().is_none_or(|id| id.len() > ID_BYTES_MAX) {
            return Err(Refusal(answer::INVALID_REQUEST, "the id of the request is too long"));
        }
        if self.rounds >= ROUNDS_MAX {
            return Err(Refusal(answer::REFUSED, "the call has asked as often as it may"));
        }
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return Err(Refusal(answer::REFUSED, "the call has asked for as long as it may"));
        }
        Ok(())
    }

    /// Notes a question, if it can be put to the client.
    pub(super) fn asks(&self, message: &Message<'_>, questions: &mut Questions) -> Result<(), Refusal> {
        let can = self.can(message).and_then(|()| match questions.open.len() {
            QUESTIONS_MAX.. => Err(Refusal(answer::REFUSED, "the call asks too much at once")),
            _ => Ok(message.id().unwrap_or("null")),
        });
        let id = can.inspect_err(|_| self.refused(message))?;
        if questions.open.iter().any(|one| is_same(&one.id, id)) {
            self.refused(message);
            return Err(Refusal(answer::INVALID_REQUEST, "the id of the request is that of another"));
        }
        let mut params = message.params().into_owned();
        if let Some(mut meta) = params.object("_meta").map(Members::into_owned) {
            // Nobody tells the server how far an answer has come.
            meta.remove("progressToken");
            if meta.names().next().is_some() {
                params.set("_meta", meta.json());
            } else {
                params.remove("_meta");
            }
        }
        questions.count += 1;
        let key = format!("question_{}", questions.count);
        let mut request = Members::default();
        request.set_text("method", &message.method);
        request.set("params", params.json());
        questions.requests.set(&key, request.json());
        questions.open.push(Question { key, id: id.to_owned() });
        Ok(())
    }

    /// A question was put to nobody. A sign of life is none.
    pub(super) fn refused(&self, message: &Message<'_>) {
        if message.method != "ping" {
            count(&self.asker.inner.sessions.parked.counts.refused);
        }
    }
}

/// The session in which a call is made whose client can be asked, and what it may ask; none where it cannot be.
pub(super) fn session(way: &Way<'_>, message: &Message<'_>) -> Option<(Session, Round)> {
    let asker = way.session.asker.as_ref()?;
    if asker.able.is_nothing()
        || asker.inner.question_timeout.is_zero()
        || !METHODS.contains(&&*message.method)
    {
        return None;
    }
    // Whose call a program asks for nobody can tell: it has one output for all.
    let Place::Http(http) = &way.server.place else { return None };
    let bulkhead = http.calls.upstream.settings.bulkhead.as_ref();
    if bulkhead.is_some_and(|bulkhead| bulkhead.max_concurrent_calls < PLACES_MIN) {
        return None;
    }
    // A server that knows no sessions asks the client itself.
    if way.session.leg(&way.server.name).is_some_and(|leg| !leg.revision.has_sessions()) {
        return None;
    }
    let mut seal = (*way.session.seal).clone();
    let mut client = Members::parse(&seal.client).map(Members::into_owned).unwrap_or_default();
    client.set("capabilities", asker.able.capabilities());
    seal.client = client.json();
    let inner = &asker.inner;
    let mut session = match &way.session.guest {
        Some(_) => modern::guest(inner, way.sender, seal),
        None => {
            let (session, gone) = inner.sessions.house(&asker.who, asker.able, seal);
            gone.iter().for_each(|live| begin::end_all(inner, way.sender, live.begun()));
            session?
        }
    };
    session.asker = Some(asker.clone());
    let binding = asker.binding(&way.server.name, message);
    Some((session, Round { asker: asker.clone(), binding, rounds: 0, end: None }))
}

/// Whether a request answers questions, which a server with sessions never put that way.
pub(super) fn answers(message: &Message<'_>) -> bool {
    let params = message.params();
    ["requestState", "inputResponses"]
        .iter()
        .any(|name| params.get(name).is_some_and(|value| value != "null"))
}

/// What a client is told that answers what a server with sessions never asked it.
pub(super) fn nobody_asked(id: &str) -> Response<Body> {
    let text = "this answers no question of this gateway's: it was put before a restart, or by another gateway; make the call again without `requestState` and `inputResponses`";
    answer::error(id, answer::INVALID_PARAMS, text)
}

/// What a client comes back with, for the worker that has its call.
pub(super) struct Resume {
    responses: Members<'static>,
    /// The request as it is made now.
    text: String,
    record: Arc<McpRecord>,
    /// Whom the rest of the call is told.
    pieces: mpsc::Sender<Bytes>,
    verdict: oneshot::Sender<Verdict>,
}

/// The way to a call that waits.
pub(super) type ToCall = oneshot::Sender<Resume>;

/// What becomes of a call whose client came back.
enum Verdict {
    /// The rest of it follows.
    GoesOn,
    /// Some questions are not answered: it waits as before.
    Lacks(String),
    /// The server could not be told now: it waits as before.
    Unreached(String),
    /// The server would not take the answer.
    Over(String),
}

/// The rest of a call whose client comes back; none where it makes a new one.
pub(super) async fn comes_back(
    way: &Way<'_>,
    record: &Arc<McpRecord>,
    id: &str,
    text: &str,
) -> Option<Result<Response<Body>, Failure>> {
    let asker = way.session.asker.as_ref()?;
    let state = asker.state.as_ref()?;
    // A server without sessions says itself what a client comes back with, and may be a gateway with the same key.
    match begin::line(way.sender, way.session, way.server, false).await {
        Ok(leg) if leg.revision.has_sessions() => {}
        Ok(_) => return None,
        Err(failure) => return Some(Err(failure)),
    }
    let wrong = |why: &str| {
        record.ended(true, false);
        Some(Ok(answer::error(id, answer::INVALID_PARAMS, why)))
    };
    let message = Message::parse(text).ok()?;
    if state.binding.as_ref() != asker.binding(&way.server.name, &message) {
        return wrong("`requestState` is of another call, or of another caller's");
    }
    if state.until < seconds() {
        return wrong("`requestState` is too old: the call that asked is over");
    }
    let Some(responses) = responses(&message) else {
        return wrong("`inputResponses` must be an object with an object for each question");
    };
    let Some(call) = asker.inner.sessions.parked.take(&state.id) else {
        return wrong(
            "no call waits for this answer here: it was answered, gave way to newer ones or came to an end, or the gateway was restarted, or another one asked; make the call again",
        );
    };
    let (pieces, rest) = mpsc::channel(1);
    let (verdict, judged) = oneshot::channel();
    let (text, record_of_rest) = (text.to_owned(), record.clone());
    let resume = Resume { responses, text, record: record_of_rest, pieces, verdict };
    let over = "the call that asked is over";
    if call.send(resume).is_err() {
        return wrong(over);
    }
    match judged.await {
        Ok(Verdict::GoesOn) => Some(Ok(answer::stream(Body::boxed(Pipe(rest))))),
        Ok(Verdict::Lacks(why)) => wrong(&why),
        Ok(Verdict::Over(why)) => {
            record.ended(true, false);
            Some(Ok(answer::error(id, answer::INTERNAL_ERROR, &why)))
        }
        Ok(Verdict::Unreached(why)) => {
            record.ended(true, false);
            let hint = "the server could not be told the answer; it can be given again";
            Some(Err(Failure::upstream(Stage::Connect, Problem::ConnectFailed, why).with_hint(hint)))
        }
        Err(_) => wrong(over),
    }
}

/// What a client answers; none where it is no answer.
fn responses(message: &Message<'_>) -> Option<Members<'static>> {
    let params = message.params();
    let Some(text) = params.get("inputResponses").filter(|text| *text != "null") else {
        return Some(Members::default());
    };
    let responses = Members::parse(text)?;
    let is_good = responses.names().all(|name| responses.object(name).is_some());
    is_good.then(|| responses.into_owned())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a call needs that waits for its client.
pub(super) struct Parking {
    pub(super) body: Body,
    pub(super) reader: Reader,
    pub(super) held: OnItsWay,
    pub(super) disguise: Disguise,
    pub(super) round: Round,
}

/// The place of a call among those that wait, and of what its server says meanwhile.
struct Kept {
    asker: Rc<Asker>,
    id: Box<str>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let parked = &self.asker.inner.sessions.parked;
        parked.lets_go(self.bytes);
        drop(parked.take(&self.id));
    }
}

/// A call that waits for its client.
struct Waiting {
    parking: Parking,
    until: Instant,
    /// Questions that the server has no answers to.
    open: Vec<Question>,
    /// What it said meanwhile.
    said: Vec<Event>,
    kept: Kept,
    /// It has answered, or is gone.
    is_done: bool,
}

/// Why nobody is asked.
pub(super) const TOO_MANY: &str = "too many calls wait for answers of clients";

/// Has a call wait for its client: what the client gets as the answer. Where there is no room the call is given back.
pub(super) fn park(mut parking: Parking, questions: &Questions) -> Result<String, Box<Parking>> {
    let round = &mut parking.round;
    let asker = round.asker.clone();
    let parked = &asker.inner.sessions.parked;
    let now = Instant::now();
    let each = asker.inner.question_timeout;
    let end = *round.end.get_or_insert(now + each * CALL_ROUNDS);
    let until = end.min(now + each);
    let open_for = until.saturating_duration_since(now).as_secs();
    let sealed = fresh_id().and_then(|id| {
        let state = State::new(&id, seconds() + open_for + 1, parking.held.server(), &round.binding);
        Some((asker.inner.sessions.state_sealed(&state)?, id))
    });
    let Some((state, id)) = sealed else { return Err(Box::new(parking)) };
    let (to, came) = oneshot::channel();
    match parked.put(&id, &asker.owner, to) {
        Ok(gone) => gone.iter().for_each(|_| count(&parked.counts.evicted)),
        Err(_) => {
            questions.open.iter().for_each(|_| count(&parked.counts.refused));
            return Err(Box::new(parking));
        }
    }
    round.rounds += 1;
    count(&parked.counts.asked);
    let mut result = Members::default();
    result.set_text("resultType", "input_required");
    result.set("inputRequests", questions.requests.json());
    result.set_text("requestState", &state);
    let told = message::result(parking.disguise.id(), &result.json());
    let open = questions.open.iter().map(|one| Question { key: one.key.clone(), id: one.id.clone() });
    parking.body.set_idle(SILENCE);
    let open = open.collect();
    let kept = Kept { asker, id, bytes: 0 };
    let waiting = Waiting { parking, until, open, said: Vec::new(), kept, is_done: false };
    tokio::task::spawn_local(waiting.wait(came));
    Ok(told)
}

impl Waiting {
    /// Waits until the client comes back, or for as long as it may take. Who is let go of here is cancelled.
    async fn wait(mut self, mut came: oneshot::Receiver<Resume>) {
        let asker = self.kept.asker.clone();
        let counts = &asker.inner.sessions.parked.counts;
        loop {
            let reads = self.reads();
            let resume = tokio::select! {
                biased;
                resume = &mut came => resume,
                () = sleep_until(self.until) => {
                    // Who takes it from now on is told that it is over.
                    count(&counts.expired);
                    self.parking.held.because("the client did not answer in time");
                    return;
                }
                frame = self.parking.body.frame(), if reads => {
                    self.hears(frame);
                    continue;
                }
            };
            let Ok(resume) = resume else {
                self.parking.held.because("the call gave way to newer ones of its caller");
                return;
            };
            match self.comes(resume).await {
                Next::Waits(again) => came = again,
                Next::Goes(rest) => {
                    count(&counts.answered);
                    return self.goes_on(rest).await;
                }
                Next::Over => {
                    count(&counts.lost);
                    return;
                }
            }
        }
    }

    /// Whether the server is listened to. What it says beyond the bounds waits on its connection.
    fn reads(&self) -> bool {
        let has_room = self.kept.asker.inner.sessions.parked.has_room();
        !self.is_done && self.kept.bytes < KEPT_BYTES_MAX && has_room
    }

    /// Takes what the server says while its client is asked.
    fn hears(&mut self, frame: Option<Result<http_body::Frame<Bytes>, Failure>>) {
        let Some(Ok(frame)) = frame else {
            // The client learns it when it comes back.
            self.parking.body = Body::Empty;
            self.is_done = true;
            return;
        };
        let Ok(data) = frame.into_data() else { return };
        self.kept.bytes += data.len();
        self.kept.asker.inner.sessions.parked.holds(data.len());
        let mut events = Vec::new();
        if self.parking.reader.push(&data, &mut events).is_err() {
            self.parking.body = Body::Empty;
            self.is_done = true;
            return;
        }
        for event in events {
            let text = std::str::from_utf8(&event.data).unwrap_or_default();
            let Ok(message) = Message::parse(text) else { continue };
            match (message.kind, message.method.as_str()) {
                (Kind::Response, _) => {
                    if !message.id().is_some_and(|id| is_same(id, self.parking.held.id())) {
                        continue;
                    }
                    self.is_done = true;
                    self.parking.held.close();
                }
                (Kind::Request, _) => {
                    if let Err(why) = self.parking.round.can(&message) {
                        self.parking.round.refused(&message);
                        self.parking.held.refuse(&message, &why);
                        continue;
                    }
                }
                (Kind::Notification, "notifications/cancelled") => {
                    let params = message.params();
                    if let Some(id) = params.get("requestId") {
                        self.open.retain(|one| !is_same(&one.id, id));
                    }
                }
                (Kind::Notification, "notifications/progress" | "notifications/message") => {}
                (Kind::Notification, _) => continue,
            }
            self.said.push(event);
            if self.is_done {
                self.parking.body = Body::Empty;
                return;
            }
        }
    }

    /// Tells the server what the client answers.
    async fn comes(&mut self, resume: Resume) -> Next {
        let Resume { responses, text, record, pieces, verdict } = resume;
        let lacks: Vec<&str> =
            self.open.iter().map(|one| &*one.key).filter(|key| responses.get(key).is_none()).collect();
        let waits = if lacks.is_empty() || self.is_done {
            match timeout(ANSWERING_MAX, self.answer(&responses)).await {
                Ok(Ok(())) => None,
                Ok(Err(Untold::Later(why))) => Some(Verdict::Unreached(why)),
                Ok(Err(Untold::Never(why))) => {
                    self.parking.held.because("the server would not take an answer that it asked for");
                    let _ = verdict.send(Verdict::Over(why));
                    return Next::Over;
                }
                Err(_) => {
                    self.parking.held.because("the server did not take an answer that it asked for");
                    let why = "the server did not take the answer in time";
                    let _ = verdict.send(Verdict::Over(why.to_owned()));
                    return Next::Over;
                }
            }
        } else {
            Some(Verdict::Lacks(format!("`inputResponses` lacks {}", lacks.join(", "))))
        };
        let Some(why) = waits else {
            let goes_on = verdict.send(Verdict::GoesOn).is_ok();
            return if goes_on { Next::Goes(Rest { text, record, pieces }) } else { Next::Over };
        };
        let (to, again) = oneshot::channel();
        let asker = &self.kept.asker;
        match asker.inner.sessions.parked.put(&self.kept.id, &asker.owner, to) {
            Ok(gone) => gone.iter().for_each(|_| count(&asker.inner.sessions.parked.counts.evicted)),
            Err(_) => {
                self.parking.held.because(TOO_MANY);
                let _ = verdict.send(Verdict::Over(TOO_MANY.to_owned()));
                return Next::Over;
            }
        }
        let _ = verdict.send(why);
        Next::Waits(again)
    }

    /// Answers what is open, each question once.
    async fn answer(&mut self, responses: &Members<'_>) -> Result<(), Untold> {
        while let Some(question) = self.open.first() {
            if self.is_done {
                // It wants no answer any more.
                return Ok(());
            }
            let response = responses.get(&question.key).unwrap_or("{}");
            let sent = self.parking.held.tell(message::result(&question.id, response)).await;
            let status = match sent {
                Ok(response) => response.status(),
                Err(failure) => {
                    tracing::debug!(
                        server = self.parking.held.server(),
                        "an answer did not arrive: {failure}"
                    );
                    return Err(Untold::Later(failure.to_string()));
                }
            };
            match status {
                status if status.is_success() => drop(self.open.remove(0)),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    return Err(Untold::Later(format!("the server answered {status}")));
                }
                status => {
                    tracing::debug!(server = self.parking.held.server(), "an answer was refused: {status}");
                    return Err(Untold::Never(
                        "the server would not take the answer; the call is over".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Tells the client the rest of the call.
    async fn goes_on(mut self, rest: Rest) {
        self.parking.body.set_idle(self.parking.held.idle());
        let Rest { text, record, pieces } = rest;
        self.parking.disguise = self.parking.disguise.anew(&text);
        drop(text);
        let Self { parking, said, kept, .. } = self;
        let body = relay::rest(parking, said, record);
        drop(kept);
        pour(body, &pieces).await;
    }
}

/// What follows when a client came back.
enum Next {
    /// It waits again.
    Waits(oneshot::Receiver<Resume>),
    Goes(Rest),
    Over,
}

/// Whom the rest of a call is told.
struct Rest {
    text: String,
    record: Arc<McpRecord>,
    pieces: mpsc::Sender<Bytes>,
}

/// Why a server was not told an answer.
enum Untold {
    /// It could not be reached.
    Later(String),
    /// It would not take it.
    Never(String),
}

/// Gives a body on, piece by piece. Who leaves lets go of the body.
async fn pour(mut body: Body, to: &mpsc::Sender<Bytes>) {
    loop {
        let frame = tokio::select! {
            biased;
            () = to.closed() => return,
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { return };
        if let Ok(data) = frame.into_data()
            && to.send(data).await.is_err()
        {
            return;
        }
    }
}
