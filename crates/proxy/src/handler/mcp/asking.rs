//! Questions of servers, between revisions. A server without sessions asks by its answer (`input_required`) and is called
//! again with what it wants to know; one with sessions asks by a request of its own in the middle of its stream. Clients
//! are asked in their own way.
//!
//! What is open is remembered in this process alone: a call whose questions are answered elsewhere, or after a restart,
//! is to be made again.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use super::{
    answer, bridge, message,
    message::{Kind, Members, Message},
    modern::Disguise,
    relay::{self, OnItsWay},
    server::Server,
    session::{Leg, Session, locked},
    sse::{Event, Reader},
    wire::{self, Letter, Reply, Sender},
};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::Failure,
};

/// Questions in one answer.
const QUESTIONS_MAX: usize = 16;
/// Times that a server asks in one call.
const ROUNDS_MAX: usize = 16;
/// Questions that one session has open.
const OPEN_MAX: usize = 64;
/// How long a question stays open: people answer some of them.
const OPEN_TIME: Duration = Duration::from_secs(600);
/// Events that wait for whoever reads them.
const PIECES_MAX: usize = 16;
/// What a server with sessions may want to know.
const QUESTIONS: [&str; 3] = ["sampling/createMessage", "elicitation/create", "roots/list"];
/// The one question of an answer that the gateway makes.
const QUESTION: &str = "question";
/// How states that the gateway makes begin.
const STATE: &str = "tidegate-asks-";

/// What a session has open.
#[derive(Default)]
pub(super) struct Open {
    /// Questions to a client whose revision has sessions, by their ids.
    asked: HashMap<Box<str>, oneshot::Sender<String>>,
    /// Calls of clients without sessions that wait for an answer, by their states.
    parked: HashMap<Box<str>, Parked>,
}

/// A call that waits for its client's answer.
struct Parked {
    server: Arc<Server>,
    leg: Leg,
    /// The id of the call at the server.
    own: Box<str>,
    /// The id of the server's question.
    question: Box<str>,
    /// The method of the call.
    method: Box<str>,
    rest: mpsc::Receiver<Bytes>,
}

/// What comes as it is given.
struct Pipe(mpsc::Receiver<Bytes>);

impl Wrapper for Pipe {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Pipe {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A message as an event.
fn event(text: &str) -> Bytes {
    let mut out = Vec::new();
    Event::message(text.as_bytes()).write(&mut out);
    Bytes::from(out)
}

/// Whether a server's answer asks for something before it is one.
pub(super) fn asks(members: &Members<'_>) -> bool {
    members.object("result").and_then(|result| result.text("resultType")).as_deref() == Some("input_required")
}

/// Whether a client with sessions and a server without them meet.
pub(super) fn is_between(session: &Session, leg: &Leg) -> bool {
    session.seal.revision.has_sessions() && !leg.revision.has_sessions()
}

/// A call of a client with sessions whose server asks back.
pub(super) struct Asking {
    pub(super) sender: Sender,
    pub(super) session: Session,
    pub(super) server: Arc<Server>,
    pub(super) leg: Leg,
    pub(super) id: Box<str>,
    /// The call as it was made.
    pub(super) text: String,
}

impl Asking {
    /// The rest of the call, as a server with sessions would tell it, from the answer on that asks.
    pub(super) fn body(self, answer: String) -> Body {
        let (pieces, rest) = mpsc::channel(PIECES_MAX);
        tokio::task::spawn_local(async move {
            tokio::select! {
                // The client has left: nobody is asked any more.
                () = pieces.closed() => {}
                ended = self.rounds(answer, &pieces) => {
                    let text = ended.unwrap_or_else(|why| {
                        message::error(&self.id, answer::INTERNAL_ERROR, &why, None)
                    });
                    let _ = pieces.send(event(&text)).await;
                }
            }
        });
        Body::boxed(Pipe(rest))
    }

    /// Asks the client, and calls the server again, until it answers. An error is a sentence for the client.
    async fn rounds(&self, mut answer: String, pieces: &mpsc::Sender<Bytes>) -> Result<String, String> {
        for _ in 0..ROUNDS_MAX {
            let said = Members::parse(&answer).unwrap_or_default();
            if !asks(&said) {
                return Ok(answer);
            }
            let result = said.object("result").unwrap_or_default();
            let responses = match self.questions(&result, pieces).await? {
                Ok(responses) => responses,
                // The client would not answer: that is what its call has come to.
                Err(error) => return Ok(error),
            };
            let call = Message::parse(&self.text).map_err(str::to_owned)?;
            let mut params = call.params();
            params.set("inputResponses", responses.json());
            if let Some(state) = result.get("requestState") {
                params.set("requestState", state.to_owned());
            }
            let next = self.again(call.with_params(&params), pieces).await;
            answer = next.map_err(|failure| {
                tracing::debug!(server = %self.server.name, "a call that asked back failed: {failure}");
                "the server could not be called again".to_owned()
            })?;
        }
        Err(format!("the server asked more than {ROUNDS_MAX} times"))
    }

    /// Puts all questions of an answer to the client, and waits for what it says.
    async fn questions(
        &self,
        result: &Members<'_>,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<Result<Members<'static>, String>, String> {
        let requests = result.object("inputRequests").unwrap_or_default();
        let keys: Vec<&str> = requests.names().collect();
        if keys.len() > QUESTIONS_MAX {
            return Err(format!("the server asks more than {QUESTIONS_MAX} questions at once"));
        }
        let mut waiting = Vec::new();
        for key in keys {
            let request = requests.object(key).unwrap_or_default();
            let method = request.text("method").filter(|method| QUESTIONS.contains(&&**method));
            let method = method.ok_or("the server asks what clients cannot be asked")?;
            let id = relay::own_id("asks");
            let answered = self.session.asks(&id).ok_or("too many questions are open")?;
            let text = message::request(&id, &method, request.get("params").unwrap_or("{}"));
            let forgets = Forgets { session: &self.session, id };
            let _ = pieces.send(event(&text)).await;
            waiting.push((key.to_owned(), answered, forgets));
        }
        let mut responses = Members::default();
        for (key, answered, forgets) in waiting {
            let said = tokio::time::timeout(OPEN_TIME, answered).await;
            drop(forgets);
            let said = said.ok().and_then(Result::ok).ok_or("the client was asked and did not answer")?;
            let said = Members::parse(&said).unwrap_or_default();
            match said.get("result") {
                Some(result) => responses.set(&key, result.to_owned()),
                None => {
                    let error = said.get("error").unwrap_or("null");
                    return Ok(Err(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}", self.id)));
                }
            }
        }
        Ok(Ok(responses))
    }

    /// Makes the call again. What the server tells before its answer is passed on.
    async fn again(&self, text: String, pieces: &mpsc::Sender<Bytes>) -> Result<String, Failure> {
        let letter = bridge::letter(&self.sender, &self.leg, &self.session.seal.client, &text);
        let response = self.sender.send(&self.server, Some(&self.leg), letter).await?;
        let reply = wire::reply(response, false).await?;
        let Reply::Stream(mut body) = reply else {
            let text = wire::answer(reply, &self.id).await?;
            return Ok(String::from_utf8_lossy(&text).into_owned());
        };
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            reader.push(&data, &mut events).map_err(|_| wire::broken("an event is too large"))?;
            for one in events.drain(..) {
                let text = String::from_utf8_lossy(&one.data).into_owned();
                match Message::parse(&text) {
                    Ok(message) if message.kind == Kind::Response => return Ok(text),
                    Ok(_) => drop(pieces.send(event(&text)).await),
                    Err(_) => {}
                }
            }
        }
        Err(wire::broken("the server's stream ended before its answer"))
    }
}

/// Forgets a question that nobody waits for.
struct Forgets<'s> {
    session: &'s Session,
    id: String,
}

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        locked(&self.session.live.open).asked.remove(&*self.id);
    }
}

impl Session {
    /// Opens a question to the client.
    fn asks(&self, id: &str) -> Option<oneshot::Receiver<String>> {
        let (answer, answered) = oneshot::channel();
        let mut open = locked(&self.live.open);
        if open.asked.len() >= OPEN_MAX {
            return None;
        }
        open.asked.insert(id.into(), answer);
        Some(answered)
    }

    /// Takes a client's answer to a question of the gateway's own; whether it is one.
    pub(super) fn answers(&self, text: &str) -> bool {
        let said = Members::parse(text).unwrap_or_default();
        let open = said.get("id").and_then(|id| locked(&self.live.open).asked.remove(id));
        open.is_some_and(|open| open.send(text.to_owned()).is_ok())
    }
}

/// What becomes of a question in the middle of a stream whose client cannot be asked there.
pub(super) enum Instead {
    /// The client's call has this result for now, which asks; the rest of the stream goes where it waits.
    Waits(String, mpsc::Sender<Bytes>),
    /// The client is not asked; the server gets this.
    Refused(String),
}

/// Lets the call wait in which a server asks, until its client comes again with the answer.
pub(super) fn wait(held: &OnItsWay, disguise: &Disguise, question: &Message<'_>) -> Instead {
    let id = question.id().unwrap_or("null");
    if question.method == "ping" {
        return Instead::Refused(message::result(id, "{}"));
    }
    let (session, state) = (&held.session, relay::own_id("asks").trim_matches('"').to_owned());
    let (pieces, rest) = mpsc::channel(PIECES_MAX);
    let mut open = locked(&session.live.open);
    // Whoever is nobody has a session for each call, to which nobody comes back.
    let is_open = session.guest.is_none() && open.parked.len() < OPEN_MAX;
    if !is_open || !QUESTIONS.contains(&&*question.method) {
        let text = "clients of this revision are not asked so";
        return Instead::Refused(message::error(id, answer::METHOD_NOT_FOUND, text, None));
    }
    let parked = Parked {
        server: held.server.clone(),
        leg: held.leg.clone(),
        own: disguise.own.clone(),
        question: id.into(),
        method: disguise.method.clone(),
        rest,
    };
    open.parked.insert(state.as_str().into(), parked);
    drop(open);
    let (live, forgotten) = (session.live.clone(), state.clone());
    tokio::task::spawn_local(async move {
        tokio::time::sleep(OPEN_TIME).await;
        drop(locked(&live.open).parked.remove(&*forgotten));
    });
    let mut request = Members::default();
    request.set_text("method", &question.method);
    request.set("params", question.params().json());
    let (mut requests, mut result) = (Members::default(), Members::default());
    requests.set(QUESTION, request.json());
    result.set_text("resultType", "input_required");
    result.set("inputRequests", requests.json());
    result.set_text("requestState", &state);
    Instead::Waits(result.json(), pieces)
}

/// Reads the rest of a stream for whoever comes for it. With nobody left to come, the call is cancelled at the server.
pub(super) fn drive(
    mut held: OnItsWay,
    mut rest: Body,
    mut reader: Reader,
    mut events: Vec<Event>,
    pieces: mpsc::Sender<Bytes>,
) {
    tokio::task::spawn_local(async move {
        loop {
            for one in events.drain(..) {
                let text = std::str::from_utf8(&one.data).unwrap_or_default();
                let is_answer = Message::parse(text).is_ok_and(|message| {
                    let is_own = message.id().is_some_and(|id| message::is_same(id, &held.id));
                    message.kind == Kind::Response && is_own
                });
                let mut out = Vec::new();
                one.write(&mut out);
                if pieces.send(out.into()).await.is_err() {
                    return;
                }
                if is_answer {
                    held.close();
                    return;
                }
            }
            let frame = tokio::select! {
                () = pieces.closed() => return,
                frame = rest.frame() => frame,
            };
            let data = match frame {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) | None => Bytes::new(),
            };
            if data.is_empty() || reader.push(&data, &mut events).is_err() {
                // It broke off, which whoever reads the pipe is told by its end.
                held.close();
                return;
            }
        }
    });
}

/// Goes on with a call that waited for what its client says now; `None` when the request is no such answer.
pub(super) async fn go_on(
    sender: &Sender,
    session: &Session,
    call: &mut Call,
    message: &Message<'_>,
) -> Option<Result<Response<Body>, Failure>> {
    let (id, params) = (message.id().unwrap_or("null"), message.params());
    let state = params.text("requestState").filter(|state| state.starts_with(STATE))?;
    let responses = params.object("inputResponses").unwrap_or_default();
    let answered = responses.get(QUESTION);
    let parked = {
        let mut open = locked(&session.live.open);
        let is_it = open.parked.get(&*state).is_some_and(|parked| *parked.method == *message.method);
        if is_it && answered.is_some() { open.parked.remove(&*state) } else { None }
    };
    let (Some(parked), Some(answered)) = (parked, answered) else {
        let text = "nothing waits for this answer any more: make the call again without `requestState`";
        return Some(Ok(answer::error(id, answer::INVALID_PARAMS, text)));
    };
    let record = super::tell(call, |record| record.server = Some(parked.server.name.clone()));
    let letter = Letter::post(message::result(&parked.question, answered));
    if let Err(failure) = sender.send(&parked.server, Some(&parked.leg), letter).await {
        return Some(Err(failure));
    }
    let disguise = Disguise::again(message, &parked.own);
    let held = OnItsWay::answered(sender, session, &parked.server, &parked.leg, &parked.own);
    let rest = Body::boxed(Pipe(parked.rest));
    Some(Ok(relay::follow(rest, held, Some(disguise), record, String::new())))
}
