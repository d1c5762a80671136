//! One request to one server: its answer as it comes, event by event, and its end when the client leaves.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use model::McpRecord;

use super::{
    answer,
    asked::{self, Parking, Questions, Refusal, Round},
    asking::{self, Asking},
    begin,
    beside::{self, Stays},
    bridge, ids,
    message::{self, Kind, Members, Message},
    modern::{Disguise, Shown},
    server::{Place, Server},
    session::{Leg, Session},
    sse::{Event, Reader},
    wire::{self, Letter, Reply, Sender},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    handler::retold::{Flow, Retell, Retold},
    worker::Worker,
};

/// A request on its way to a server: who lets go of it before its answer cancels it there.
pub(super) struct OnItsWay {
    sender: Sender,
    session: Session,
    server: Arc<Server>,
    leg: Leg,
    id: Box<str>,
    /// The server is told when this is dropped, and why.
    is_open: bool,
    why: &'static str,
    /// The server's own stream beside the call.
    beside: Option<Stays>,
}

impl OnItsWay {
    fn new(sender: &Sender, session: &Session, server: &Arc<Server>, leg: &Leg, id: &str) -> Self {
        session.sent(id, &server.name);
        Self::of_several(sender, session, server, leg, id)
    }

    /// One of several that go to several servers under one id.
    fn of_several(sender: &Sender, session: &Session, server: &Arc<Server>, leg: &Leg, id: &str) -> Self {
        Self {
            sender: sender.clone(),
            session: session.clone(),
            server: server.clone(),
            leg: leg.clone(),
            id: id.into(),
            is_open: true,
            why: "the client left",
            beside: None,
        }
    }

    /// The same for whoever has the call from now on.
    fn handed_on(&mut self) -> Self {
        Self {
            sender: self.sender.clone(),
            session: self.session.clone(),
            server: self.server.clone(),
            leg: self.leg.clone(),
            id: self.id.clone(),
            is_open: std::mem::replace(&mut self.is_open, false),
            why: self.why,
            beside: self.beside.take(),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn server(&self) -> &str {
        &self.server.name
    }

    /// Why the server is told that nobody wants the call any more, when it is.
    pub(super) fn because(&mut self, why: &'static str) {
        self.why = why;
    }

    /// How long the server may be silent.
    pub(super) fn idle(&self) -> Duration {
        match &self.server.place {
            Place::Http(http) => http.calls.effort.idle,
            Place::Processes(_) | Place::Own(_) => self.server.patience,
        }
    }

    /// Sends the server a message of the call's session.
    pub(super) async fn tell(&self, text: String) -> Result<Response<Body>, Failure> {
        self.sender.send(&self.server, Some(&self.leg), Letter::post(text)).await
    }

    /// Sends the server what nobody waits for.
    fn say(&self, text: String) {
        say(&self.sender, &self.server, &self.leg, text);
    }

    /// Answers a request of the server's that can be put to nobody.
    pub(super) fn refuse(&self, request: &Message<'_>, why: &Refusal) {
        refuse(&self.sender, &self.server, &self.leg, request, why);
    }

    /// The rest of a call whose server's answer asks what the client can be asked. `call` is the call as it was made.
    fn asks(&self, call: &str, answer: &[u8]) -> Option<Body> {
        if self.session.in_batch || !asking::is_between(&self.session, &self.leg) {
            return None;
        }
        let answer = std::str::from_utf8(answer).ok()?;
        if !asking::asks(&Members::parse(answer)?) {
            return None;
        }
        let asking = Asking {
            sender: self.sender.clone(),
            session: self.session.clone(),
            server: self.server.clone(),
            leg: self.leg.clone(),
            id: self.id.clone(),
            text: call.to_owned(),
        };
        Some(asking.body(answer.to_owned()))
    }

    /// Nothing is to be cancelled any more.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.session.done(&self.id);
        // Without sessions, an answer that nobody reads is a call that nobody wants: but a program has to be told.
        if !self.is_open || !self.leg.revision.has_sessions() && self.leg.id.is_none() {
            return;
        }
        let params = format!("{{\"requestId\":{},\"reason\":{}}}", self.id, message::quoted(self.why));
        let text = message::notification("notifications/cancelled", &params);
        let (sender, server, leg) = (self.sender.clone(), self.server.clone(), self.leg.clone());
        tokio::task::spawn_local(async move {
            if let Err(failure) = sender.send(&server, Some(&leg), Letter::post(text)).await {
                tracing::debug!(server = %server.name, "a call could not be cancelled: {failure}");
            }
        });
    }
}

/// Answers a server's own request that can be put to nobody. One without sessions could not take the answer.
pub(super) fn refuse(sender: &Sender, server: &Arc<Server>, leg: &Leg, request: &Message<'_>, why: &Refusal) {
    if !leg.revision.has_sessions() {
        return;
    }
    say(sender, server, leg, asking::to_nobody(request, why));
}

/// Messages to servers that nobody waits for, of one worker; further ones are left out.
const SAID_MAX: usize = 256;

thread_local! {
    static SAID: Cell<usize> = const { Cell::new(0) };
}

/// One such message on its way.
struct OnePlace;

impl Drop for OnePlace {
    fn drop(&mut self) {
        let _ = SAID.try_with(|said| said.set(said.get() - 1));
    }
}

/// Sends a server what nobody waits for. One that asks without end is not answered without end.
fn say(sender: &Sender, server: &Arc<Server>, leg: &Leg, text: String) {
    if SAID.get() >= SAID_MAX {
        tracing::debug!(server = %server.name, "what a server asks is not answered: it asks too much");
        return;
    }
    SAID.set(SAID.get() + 1);
    let place = OnePlace;
    let (sender, server, leg) = (sender.clone(), server.clone(), leg.clone());
    tokio::task::spawn_local(async move {
        let _place = place;
        drop(sender.send(&server, Some(&leg), Letter::post(text)).await);
    });
}

/// What a request needs to be sent on.
pub(super) struct Way<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) sender: &'a Sender,
    pub(super) session: &'a Session,
    pub(super) server: &'a Arc<Server>,
}

/// Sends a request to one server and answers with what it says.
pub(super) async fn relay(
    way: &Way<'_>,
    call: &mut Call,
    id: &str,
    text: String,
) -> Result<Response<Body>, Failure> {
    let record = super::tell(call, |record| record.server = Some(way.server.name.clone()));
    if let Some(rest) = asked::comes_back(way, &record, id, &text).await {
        return rest;
    }
    // Only clients without sessions have an asker.
    let made = way.session.asker.as_ref().and_then(|_| Message::parse(&text).ok());
    let answers = made.as_ref().is_some_and(asked::answers);
    let (asked, mut round) = made.and_then(|made| asked::session(way, &made)).unzip();
    let session = asked.as_ref().unwrap_or(way.session);
    let mut anew = false;
    loop {
        let leg = begin::line(way.sender, session, way.server, anew).await?;
        if answers && is_between_back(session, &leg) {
            record.ended(true, false);
            return Ok(asked::nobody_asked(id));
        }
        let (disguise, text) = match Disguise::new(session, &leg, &text) {
            Some((disguise, text)) => (Some(disguise), text),
            None => (None, text.clone()),
        };
        let own = disguise.as_ref().map_or(id, |disguise| &disguise.own);
        let mut held = OnItsWay::new(way.sender, session, way.server, &leg, own);
        if round.is_some() && leg.revision.has_sessions() {
            held.beside = beside::stay(way.sender, session, way.server, &leg).await;
        }
        let letter = bridge::letter(way.sender, &leg, &session.seal.client, &text);
        let response = wire::send(way.worker, call, way.server, Some(&leg), letter, way.sender).await;
        let reply = match response {
            Ok(response) => wire::reply(response, leg.id.is_some()).await,
            Err(failure) => Err(failure),
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) => {
                // What timed out may still be worked on; what broke is over.
                if failure.problem() != Problem::UpstreamTimeout {
                    held.close();
                }
                return Err(failure);
            }
        };
        match reply {
            Reply::Stream(body) => {
                return Ok(told(body, held, disguise, record, Some(text), round.take()));
            }
            Reply::SessionLost if !anew => {
                held.close();
                anew = true;
            }
            other => {
                held.close();
                let status = match &other {
                    Reply::Refused(status, _) => *status,
                    _ => StatusCode::OK,
                };
                let own = held.id.clone();
                let said = wire::answer(other, &own).await?;
                if let Some(rest) = held.asks(&text, &said) {
                    return Ok(told(rest, held, disguise, record, None, None));
                }
                let said = disguise.and_then(|one| one.answer_of(&said)).map_or(said, Bytes::from);
                let said = plain(session, &leg, said);
                note(&record, &said);
                return Ok(answer::json(status, said));
            }
        }
    }
}

/// A server's events for a client. `call` is the call as it was made, unless the events are those of [`Asking`].
fn told(
    events: Body,
    held: OnItsWay,
    disguise: Option<Disguise>,
    record: Arc<McpRecord>,
    call: Option<String>,
    round: Option<Round>,
) -> Response<Body> {
    let server = held.server.clone();
    let (flow, is_answered, may_resume) = (Flow::new(events), false, false);
    let relay = Relay { flow, server, held, disguise, record, call, round, is_answered, may_resume };
    answer::stream(Body::boxed(Retold(relay)))
}

/// The rest of a call whose client was asked: what its server has said since, and what it says from now on.
pub(super) fn rest(parking: Parking, said: Vec<Event>, record: Arc<McpRecord>) -> Body {
    let Parking { body, reader, held, disguise, round } = parking;
    let server = held.server.clone();
    let flow = Flow { reader, ..Flow::new(body) };
    let (is_answered, may_resume) = (false, false);
    let (disguise, round) = (Some(disguise), Some(round));
    let mut relay =
        Relay { flow, server, held, disguise, record, call: None, round, is_answered, may_resume };
    relay.tell(said);
    Body::boxed(Retold(relay))
}

/// Whether a client without sessions and a server that has them meet.
fn is_between_back(session: &Session, leg: &Leg) -> bool {
    !session.seal.revision.has_sessions() && leg.revision.has_sessions()
}

/// What a client whose revision has sessions gets of a server that knows none; everything else stays as it is.
fn plain(session: &Session, leg: &Leg, text: Bytes) -> Bytes {
    if !asking::is_between(session, leg) {
        return text;
    }
    let members = std::str::from_utf8(&text).ok().and_then(Members::parse);
    let changed = members.and_then(|members| bridge::without_questions(&members));
    changed.map_or(text, Bytes::from)
}

/// The same of one message of a stream.
fn asked_back(held: &OnItsWay, members: &Members<'_>) -> Option<String> {
    if asking::is_between(&held.session, &held.leg) { bridge::without_questions(members) } else { None }
}

/// Writes into the record how a request ended.
pub(super) fn note(record: &McpRecord, text: &[u8]) {
    let Some(members) = std::str::from_utf8(text).ok().and_then(Members::parse) else { return };
    note_members(record, &members);
}

fn note_members(record: &McpRecord, members: &Members<'_>) {
    let is_error = members.get("error").is_some();
    let is_tools = members.object("result").is_some_and(|result| result.get("isError") == Some("true"));
    record.ended(is_error, is_tools);
}

/// A server's events for a client, one by one.
struct Relay {
    flow: Flow,
    server: Arc<Server>,
    held: OnItsWay,
    disguise: Option<Disguise>,
    record: Arc<McpRecord>,
    /// The call as it was made; none once its server asks back.
    call: Option<String>,
    /// What the server may ask a client without sessions.
    round: Option<Round>,
    is_answered: bool,
    /// The server gave its events ids: a client that leaves may come back for the rest.
    may_resume: bool,
}

impl Retell for Relay {
    fn flow(&mut self) -> &mut Flow {
        &mut self.flow
    }

    fn flow_of(&self) -> &Flow {
        &self.flow
    }

    fn take(&mut self, data: &[u8]) {
        if self.flow.reader.push(data, &mut self.flow.events).is_err() {
            self.broken("the server sent an event that is too large");
            return;
        }
        let events = std::mem::take(&mut self.flow.events);
        self.tell(events);
    }

    fn broke_off(&mut self, failure: &Failure) {
        match self.may_resume {
            true => {
                tracing::debug!(server = %self.server.name, "a stream broke off: {failure}");
                self.flow.is_over = true;
            }
            false => self.broken("the server's stream broke off"),
        }
    }

    fn ended(&mut self) {
        self.flow.is_over = true;
        if !self.is_answered && !self.may_resume {
            self.broken("the server's stream ended before its answer");
        }
    }
}

impl Relay {
    /// Tells the client what its server says. What that asks of a client without sessions comes at the end.
    fn tell(&mut self, events: Vec<Event>) {
        let mut questions = Questions::default();
        for event in events {
            if !self.tell_one(event, &mut questions) {
                return;
            }
        }
        if questions.is_empty() {
            return;
        }
        if self.is_answered {
            // The client has its answer: nobody makes the call again for what is asked behind it.
            self.put_to_nobody(&questions, "the call is over");
        } else {
            self.park(&questions);
        }
    }

    /// Whether there is more to tell of the same stream.
    fn tell_one(&mut self, mut event: Event, questions: &mut Questions) -> bool {
        let text = std::str::from_utf8(&event.data).unwrap_or_default();
        if let Ok(message) = Message::parse(text) {
            let (mut message, mut respelled) = (message, None);
            if message.kind == Kind::Response {
                if !message.id().is_some_and(|id| message::is_same(id, &self.held.id)) {
                    // It answers what this server was not asked here.
                    return true;
                }
                let call = self.call.as_deref();
                if let Some(rest) = call.and_then(|call| self.held.asks(call, &event.data)) {
                    self.flow.inner = rest;
                    self.flow.reader = Reader::default();
                    (self.call, self.may_resume) = (None, false);
                    return false;
                }
                if message.id() != Some(&*self.held.id) {
                    message.members.set("id", self.held.id.to_string());
                    respelled = Some(message.members.json());
                }
                self.is_answered = true;
                self.held.close();
                note_members(&self.record, &message.members);
            }
            let is_between = asking::is_between(&self.held.session, &self.held.leg);
            if message.kind == Kind::Request && is_between && self.call.is_some() {
                // It could not take the answer.
                return true;
            }
            if self.round.is_some() && message.method == "notifications/cancelled" {
                questions.cancelled(&message);
            }
            match self.disguise.as_ref().map(|disguise| disguise.take_off(&message)) {
                Some(Shown::As(text)) => event.data = text.into_bytes(),
                Some(Shown::Not) => return true,
                Some(Shown::Asks) => {
                    let asked = self.round.as_ref().map(|round| round.asks(&message, questions));
                    if let Err(why) = asked.unwrap_or(Err(asked::NOT_ASKED)) {
                        self.held.refuse(&message, &why);
                    }
                    return true;
                }
                None => {
                    let changed = match message.kind {
                        Kind::Response => asked_back(&self.held, &message.members),
                        _ => ids::from_server(&self.server, &message),
                    };
                    if let Some(text) = changed.or(respelled) {
                        event.data = text.into_bytes();
                    }
                }
            }
        } else if self.disguise.is_some() && !event.data.is_empty() {
            // Whose it is cannot be known.
            return true;
        }
        if self.disguise.is_some() {
            // A revision without sessions has nothing to come back to.
            (event.id, event.retry) = (None, None);
            if event.data.is_empty() {
                return true;
            }
        }
        if let Some(id) = &mut event.id {
            *id = ids::event(&self.server.name, id);
            if !self.may_resume {
                self.may_resume = true;
                self.held.close();
            }
        }
        event.write(&mut self.flow.out);
        true
    }

    /// The client is asked, and makes the call again with its answers; until then the call waits.
    fn park(&mut self, questions: &Questions) {
        let (Some(round), Some(disguise)) = (self.round.take(), self.disguise.take()) else { return };
        let body = std::mem::take(&mut self.flow.inner);
        let reader = std::mem::take(&mut self.flow.reader);
        let parking = Parking { body, reader, held: self.held.handed_on(), disguise, round };
        match asked::park(parking, questions) {
            Ok(told) => {
                self.record.asked();
                (self.is_answered, self.flow.is_over) = (true, true);
                Event::message(told).write(&mut self.flow.out);
            }
            Err(parking) => {
                let Parking { body, reader, held, disguise, round } = *parking;
                (self.flow.inner, self.flow.reader, self.held) = (body, reader, held);
                (self.disguise, self.round) = (Some(disguise), Some(round));
                self.put_to_nobody(questions, asked::TOO_MANY);
            }
        }
    }

    fn put_to_nobody(&self, questions: &Questions, why: &str) {
        for id in questions.ids() {
            self.held.say(message::error(id, answer::REFUSED, why, None));
        }
    }

    /// Tells a client that waits for an answer that there will be none.
    fn broken(&mut self, why: &str) {
        self.flow.is_over = true;
        self.flow.inner = Body::Empty;
        self.held.close();
        if !std::mem::replace(&mut self.is_answered, true) {
            self.record.ended(true, false);
            let mut text = message::error(&self.held.id, answer::INTERNAL_ERROR, why, None);
            if let Some(told) = self.disguise.as_ref().and_then(|one| one.answer_of(text.as_bytes())) {
                text = told;
            }
            Event::message(text).write(&mut self.flow.out);
        }
    }
}

/// Sends a message that wants no answer to several servers; one that cannot be reached is nobody else's trouble.
pub(super) async fn tell_all(sender: &Sender, session: &Session, servers: &[Arc<Server>], text: &str) {
    let each = servers.iter().filter_map(|server| Some((server, session.leg(&server.name)?)));
    let told = each.map(|(server, leg)| async move {
        // There is nothing to tell where nothing is remembered.
        if !leg.revision.has_sessions() {
            return;
        }
        if let Err(failure) = sender.send(server, Some(&leg), Letter::post(text.to_owned())).await {
            tracing::debug!(server = %server.name, "a message did not arrive: {failure}");
        }
    });
    futures_util::future::join_all(told).await;
}

/// A server's whole answer.
pub(super) struct Asked {
    pub(super) text: Bytes,
    /// It came among events.
    pub(super) is_stream: bool,
}

/// An id for a request of the gateway's own, as JSON.
pub(super) fn own_id(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("\"tidegate-{what}-{}\"", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Asks one server and waits for its whole answer, as long as the server's requests may take. Who lets go before
/// cancels it there.
pub(super) async fn ask(
    sender: &Sender,
    session: &Session,
    server: &Arc<Server>,
    id: &str,
    text: &str,
) -> Result<Asked, Failure> {
    match tokio::time::timeout(server.patience, ask_patiently(sender, session, server, id, text)).await {
        Ok(asked) => asked,
        Err(_) => {
            let late = format!("server `{}` did not answer within {:?}", server.name, server.patience);
            Err(Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, late))
        }
    }
}

async fn ask_patiently(
    sender: &Sender,
    session: &Session,
    server: &Arc<Server>,
    id: &str,
    text: &str,
) -> Result<Asked, Failure> {
    let mut anew = false;
    loop {
        let leg = begin::line(sender, session, server, anew).await?;
        if is_between_back(session, &leg) && Message::parse(text).is_ok_and(|made| asked::answers(&made)) {
            // Another of the servers may have asked.
            let why = message::error(id, answer::INVALID_PARAMS, "nobody here asked", None);
            return Ok(Asked { text: why.into(), is_stream: false });
        }
        let disguised = Disguise::new(session, &leg, text);
        let sent = disguised.as_ref().map_or(text, |(_, text)| text);
        let own = disguised.as_ref().map_or(id, |(disguise, _)| &disguise.own);
        let mut held = OnItsWay::of_several(sender, session, server, &leg, own);
        let letter = bridge::letter(sender, &leg, &session.seal.client, sent);
        let response = sender.send(server, Some(&leg), letter).await;
        let reply = match response {
            Ok(response) => wire::reply(response, leg.id.is_some()).await,
            Err(failure) => Err(failure),
        };
        let reply = reply.inspect_err(|failure| {
            if failure.problem() != Problem::UpstreamTimeout {
                held.close();
            }
        })?;
        match reply {
            Reply::SessionLost if !anew => {
                held.close();
                anew = true;
            }
            reply => {
                let is_stream = matches!(reply, Reply::Stream(_));
                let answer = match reply {
                    Reply::Stream(body) => {
                        // Who waits for one whole answer cannot be asked before it.
                        let refuse =
                            |asked: &Message<'_>| refuse(sender, server, &leg, asked, &asked::NOT_ASKED);
                        wire::in_stream(body, own, refuse).await
                    }
                    reply => wire::answer(reply, own).await,
                };
                held.close();
                let answer = answer?;
                let told = disguised.as_ref().and_then(|(disguise, _)| disguise.answer_of(&answer));
                return Ok(Asked { text: told.map_or(answer, Bytes::from), is_stream });
            }
        }
    }
}
