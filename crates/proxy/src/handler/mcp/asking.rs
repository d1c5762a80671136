//! Questions of servers without sessions, which ask by their answer (`input_required`) and are called again with what they
//! want to know, to clients with sessions, which are asked by requests in the middle of their call's stream.
//!
//! What is open is remembered in this process alone, with the session whose client is asked: a call whose questions are
//! answered elsewhere, or after a restart, is to be made again.

use std::{
    cell::RefCell,
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{
    able::Able,
    answer,
    asked::Refusal,
    bridge,
    message::{self, Kind, Members, Message, is_same, spelled},
    relay,
    server::Server,
    session::{Leg, Live, Session, locked},
    sse::{Event, Reader},
    wire::{self, Reply, Sender},
};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Questions in one answer.
const QUESTIONS_MAX: usize = 16;
/// Times that a server asks in one call.
const ROUNDS_MAX: usize = 16;
/// Calls of one session whose servers ask at a time, and questions that it has open.
const OPEN_MAX: usize = 64;
/// How long all questions of one call may take together: people answer some of them.
const OPEN_TIME: Duration = Duration::from_secs(600);
/// Before a server is called again that asked nothing: it has something to wait for.
const PAUSE: Duration = Duration::from_millis(250);
/// Events that wait for whoever reads them. Each may be as large as an answer.
const PIECES_MAX: usize = 1;

/// What a session has open.
#[derive(Default)]
pub(super) struct Open {
    /// Questions to its client, by their ids.
    asked: HashMap<Box<str>, oneshot::Sender<String>>,
    /// Calls whose servers ask, by numbers: the ids of the calls, and what ends them when it is dropped.
    calls: HashMap<u64, (String, oneshot::Sender<()>)>,
    next: u64,
    is_over: bool,
}

impl Live {
    /// The session is over: nobody is asked any more.
    pub(super) fn ask_no_more(&self) {
        let mut open = locked(&self.open);
        open.is_over = true;
        open.asked.clear();
        open.calls.clear();
    }
}

/// What comes as it is given.
pub(super) struct Pipe(pub(super) mpsc::Receiver<Bytes>);

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

/// Whether a client said that it can be asked this. `client` is what it told of itself when it began.
fn can_be_asked(client: &str, method: &str, params: &Members<'_>) -> bool {
    let client = Members::parse(client).unwrap_or_default();
    Able::of(&client.object("capabilities").unwrap_or_default()).can(method, params)
}

/// What a server gets whose request can be put to nobody.
pub(super) fn to_nobody(request: &Message<'_>, why: &Refusal) -> String {
    let id = request.id().unwrap_or("null");
    match request.method.as_str() {
        "ping" => message::result(id, "{}"),
        _ => message::error(id, why.0, why.1, None),
    }
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

/// What one such call has open; it is forgotten with this.
struct Opened<'s> {
    session: &'s Session,
    number: u64,
    /// By when everything must be answered.
    end: Instant,
    /// Questions that are not answered.
    ids: RefCell<Vec<String>>,
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let mut open = locked(&self.session.live.open);
        open.calls.remove(&self.number);
        self.ids.get_mut().iter().for_each(|id| drop(open.asked.remove(&**id)));
    }
}

impl Opened<'_> {
    /// Opens a question to the client.
    fn ask(&self, id: &str) -> Option<oneshot::Receiver<String>> {
        let (answer, answered) = oneshot::channel();
        let mut open = locked(&self.session.live.open);
        if open.is_over || open.asked.len() >= OPEN_MAX {
            return None;
        }
        open.asked.insert(id.into(), answer);
        self.ids.borrow_mut().push(id.to_owned());
        Some(answered)
    }

    /// A question is answered.
    fn close(&self, id: &str) {
        self.ids.borrow_mut().retain(|open| open != id);
    }
}

impl Asking {
    /// The rest of the call, as a server with sessions would tell it, from the answer on that asks.
    pub(super) fn body(self, answer: String) -> Body {
        let (pieces, rest) = mpsc::channel(PIECES_MAX);
        tokio::task::spawn_local(async move {
            tokio::select! {
                // The client has left: nobody is asked any more.
                () = pieces.closed() => {}
                () = self.tell(answer, &pieces) => {}
            }
        });
        Body::boxed(Pipe(rest))
    }

    /// Tells the client what becomes of its call, and which questions need no answer any more.
    async fn tell(&self, answer: String, pieces: &mpsc::Sender<Bytes>) {
        let ended = match self.session.is_asked(&self.id) {
            None => Err("too many questions are open".to_owned()),
            Some((opened, cancelled)) => {
                let ended = tokio::select! {
                    biased;
                    _ = cancelled => Err("the call was cancelled".to_owned()),
                    ended = self.rounds(answer, pieces, &opened) => ended,
                };
                let left = opened.ids.borrow().clone();
                drop(opened);
                for id in left {
                    let params = format!("{{\"requestId\":{id},\"reason\":\"the call is over\"}}");
                    let text = message::notification("notifications/cancelled", &params);
                    let _ = pieces.send(event(&text)).await;
                }
                ended
            }
        };
        let text = ended.unwrap_or_else(|why| message::error(&self.id, answer::INTERNAL_ERROR, &why, None));
        let _ = pieces.send(event(&text)).await;
    }

    /// Asks the client, and calls the server again, until it answers. An error is a sentence for the client.
    async fn rounds(
        &self,
        mut answer: String,
        pieces: &mpsc::Sender<Bytes>,
        opened: &Opened<'_>,
    ) -> Result<String, String> {
        let mut round = 0;
        loop {
            let said = Members::parse(&answer).unwrap_or_default();
            if !asks(&said) {
                return Ok(answer);
            }
            if round == ROUNDS_MAX {
                return Err(format!("the server asked more than {ROUNDS_MAX} times"));
            }
            round += 1;
            let result = said.object("result").unwrap_or_default();
            let responses = match self.questions(&result, pieces, opened).await? {
                Ok(responses) => responses,
                // The client would not answer: that is what its call has come to.
                Err(error) => return Ok(error),
            };
            let call = Message::parse(&self.text).map_err(str::to_owned)?;
            let mut params = call.params();
            if responses.names().next().is_none() {
                sleep(PAUSE).await;
            }
            params.set("inputResponses", responses.json());
            params.remove("requestState");
            if let Some(state) = result.get("requestState") {
                params.set("requestState", state.to_owned());
            }
            let next = self.again(call.with_params(&params), pieces).await;
            answer = next.map_err(|failure| {
                tracing::debug!(server = %self.server.name, "a call that asked back failed: {failure}");
                "the server could not be called again".to_owned()
            })?;
        }
    }

    /// Puts all questions of an answer to the client, and waits for what it says.
    async fn questions(
        &self,
        result: &Members<'_>,
        pieces: &mpsc::Sender<Bytes>,
        opened: &Opened<'_>,
    ) -> Result<Result<Members<'static>, String>, String> {
        let requests = result.object("inputRequests").unwrap_or_default();
        let keys: Vec<&str> = requests.names().collect();
        if keys.len() > QUESTIONS_MAX {
            return Err(format!("the server asks more than {QUESTIONS_MAX} questions at once"));
        }
        // All of them are looked at before the first is put.
        let mut all = Vec::new();
        for key in keys {
            let request = requests.object(key).ok_or("a question of the server's is none")?;
            let method = request.text("method").unwrap_or_default();
            let params = request.get("params").unwrap_or("{}");
            let read = Members::parse(params).ok_or("a question of the server's is none")?;
            if !can_be_asked(&self.session.seal.client, &method, &read) {
                return Err("the server asks back for what this client cannot be asked".to_owned());
            }
            let id = relay::own_id("asks");
            let text = message::request(&id, &method, params);
            // What is no message would reach the client as it is, with an id that nobody could answer.
            Message::parse(&text).map_err(|_| "a question of the server's is none")?;
            all.push((key, id, text));
        }
        let mut waiting = Vec::new();
        for (key, id, text) in all {
            let answered = opened.ask(&id).ok_or("too many questions are open")?;
            let _ = pieces.send(event(&text)).await;
            waiting.push((key, id, answered));
        }
        let mut responses = Members::default();
        for (key, id, answered) in waiting {
            let said = timeout_at(opened.end, answered).await.ok().and_then(Result::ok);
            let said = said.ok_or("the client was asked and did not answer")?;
            opened.close(&id);
            let said = Members::parse(&said).unwrap_or_default();
            match said.get("result") {
                Some(result) => responses.set(key, result.to_owned()),
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
            let said = std::str::from_utf8(&text).ok().and_then(Members::parse);
            let mut said = said.ok_or_else(|| wire::broken("its answer is no message"))?;
            said.set("id", self.id.to_string());
            return Ok(said.json());
        };
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            reader.push(&data, &mut events).map_err(|_| wire::broken("an event is too large"))?;
            for one in events.drain(..) {
                let text = String::from_utf8_lossy(&one.data).into_owned();
                let Ok(message) = Message::parse(&text) else { continue };
                match message.kind {
                    Kind::Response if message.id().is_some_and(|id| is_same(id, &self.id)) => {
                        return Ok(text);
                    }
                    Kind::Notification => drop(pieces.send(event(&text)).await),
                    // Nobody could answer a request, nor take an answer to nothing.
                    Kind::Request | Kind::Response => {}
                }
            }
        }
        Err(wire::broken("the server's stream ended before its answer"))
    }
}

impl Session {
    /// Notes a call whose server asks; what is given with it ends when the call is cancelled.
    fn is_asked(&self, id: &str) -> Option<(Opened<'_>, oneshot::Receiver<()>)> {
        let (end, ended) = oneshot::channel();
        let mut open = locked(&self.live.open);
        if open.is_over || open.calls.len() >= OPEN_MAX {
            return None;
        }
        open.next += 1;
        let number = open.next;
        open.calls.insert(number, (spelled(id), end));
        let end = Instant::now() + OPEN_TIME;
        Some((Opened { session: self, number, end, ids: RefCell::default() }, ended))
    }

    /// Takes a client's answer to a question of the gateway's own; whether it is one.
    pub(super) fn answers(&self, text: &str) -> bool {
        let said = Members::parse(text).unwrap_or_default();
        let open = said.get("id").and_then(|id| locked(&self.live.open).asked.remove(id));
        open.is_some_and(|open| open.send(text.to_owned()).is_ok())
    }

    /// The client wants no answer to a call any more.
    pub(super) fn cancels(&self, id: &str) {
        let id = spelled(id);
        locked(&self.live.open).calls.retain(|_, (call, _)| *call != id);
    }
}
