//! One request on its stream: has it answered, and sends the answer.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;
use http3::{Code, Error};
use quinn::{Connection, RecvStream, SendStream};

use super::{
    body::{Broken, Incoming, RequestBody},
    link::Open,
    sender::{Left, Sender},
};
use crate::{
    body::Body,
    call::{Call, Interim, NO_LISTENER, client_left},
    conn::{h2::Arriving, peer::Peer},
    failure::{Failure, Problem, Side, Stage},
    guard, pipeline,
    timer::Timer,
    worker::Worker,
};

/// How long the last of an answer has to arrive before the connection may end.
const DELIVERY: Duration = Duration::from_secs(10);
/// How long the end of a request is waited for that has no body as a rule.
const LOOK_AHEAD: Duration = Duration::from_secs(1);
/// How long what was sent has to leave before the stream is reset.
const BEFORE_RESET: Duration = Duration::from_millis(5);
/// Tells an upstream that a request may be a repetition (RFC 8470 §5.1).
const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Serves a request to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    connection: Connection,
    (send, recv): (SendStream, RecvStream),
    open: Open,
) {
    // Until the handshake is over, what comes may be a repetition of what came before.
    let is_early = recv.is_0rtt();
    let sender = Rc::new(StreamInterim(RefCell::new(Sender::new(send))));
    let limits = &peer.listener.limits;
    let mut incoming = Incoming::new(recv, connection, limits.http1.head_bytes);
    let head = match tokio::time::timeout(limits.header_timeout, read_head(&mut incoming)).await {
        Ok(Ok(head)) => *head,
        Ok(Err(Broken::Rule(Error::TooLarge))) => {
            let failure = Failure::client(Stage::Listener, Problem::HeadTooLarge);
            let mut call = guard::refused(&worker, &peer, &failure);
            call.head.version = http::Version::HTTP_3;
            call.record.version = http::Version::HTTP_3;
            let response = pipeline::refuse(&mut call, &failure);
            drop(incoming);
            let sent = deliver(&mut call, &sender, response).await;
            finish(&worker, call, sent, &open);
            return wait(&sender).await;
        }
        Ok(Err(Broken::Rule(Error::Stream(why)))) => {
            sender.0.borrow_mut().reset(why);
            return open.0.note_end(false);
        }
        Ok(Err(_)) => return open.0.note_end(false),
        Err(_) => return open.0.note_slow(),
    };
    let arriving = Rc::new(Arriving::default());
    let expects = head.headers.contains_key(header::EXPECT) && !incoming.is_whole();
    let is_connect = head.method == Method::CONNECT;
    let (mut call, admitted) = guard::admit(&worker, &peer, head, is_connect);
    call.interim = Some(sender.clone());
    let admitted = admitted.and_then(|()| if is_early { early(&mut call) } else { Ok(()) });
    if call.listener().http3.is_none() {
        open.0.orphan();
    }
    let response = match admitted {
        Err(failure) => {
            if call.listener == NO_LISTENER {
                open.0.orphan();
            }
            drop(incoming);
            Ok(pipeline::refuse(&mut call, &failure))
        }
        Ok(()) => {
            if expects {
                call.expects_continue = true;
                *arriving.expects.borrow_mut() = Some(sender.clone());
            }
            let body = match incoming.is_whole() {
                true => Body::Empty,
                false => {
                    let idle = limits.body_timeout;
                    Body::boxed(RequestBody::new(incoming, idle, arriving.clone(), call.plan.clone()))
                }
            };
            answered(&worker, &sender, &mut call, body).await
        }
    };
    let sent = match response {
        Ok(response) => {
            arriving.answering.set(true);
            deliver(&mut call, &sender, response).await
        }
        Err(failure) => Err(failure),
    };
    call.record.request_bytes = arriving.received.get();
    finish(&worker, call, sent, &open);
    wait(&sender).await;
}

/// Reads the head, and the end where it has come with it: an upstream would be sent a body without a length otherwise. Of a
/// request that has no body as a rule the end is waited for, as its client is about to say it.
async fn read_head(incoming: &mut Incoming) -> Result<Box<http::request::Parts>, Broken> {
    let head = incoming.head().await?;
    if head.headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(head);
    }
    let has_no_body = matches!(head.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS)
        && !head.headers.contains_key(header::EXPECT);
    let patience = if has_no_body { LOOK_AHEAD } else { Duration::ZERO };
    // The timer is asked last: what is there is seen without any patience, too.
    if let Ok(seen) = tokio::time::timeout(patience, incoming.look_ahead()).await {
        seen?;
    }
    Ok(head)
}

/// A request that came before the handshake was over: safe ones go on, and say so; others are to come again
/// (RFC 8470 §3, §5.1).
fn early(call: &mut Call) -> Result<(), Failure> {
    if !matches!(call.head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
        return Err(Failure::client(Stage::Guard, Problem::TooEarly));
    }
    call.head.headers.insert(EARLY_DATA, HeaderValue::from_static("1"));
    Ok(())
}

fn finish(worker: &Rc<Worker>, mut call: Box<Call>, sent: Result<(), Failure>, open: &Open) {
    match sent {
        Ok(()) => open.0.note_end(true),
        Err(failure) => {
            if call.record.timings.head.is_none() {
                call.record.status = failure.problem().recorded_status();
            }
            if failure.side() == Side::Client {
                open.0.note_end(false);
            }
            call.record_failure(&failure);
        }
    }
    worker.finish(call);
}

/// Keeps the request open until its client has the answer: a connection that ends takes with it what is on its way.
async fn wait(sender: &StreamInterim) {
    let delivered = poll_fn(|cx| sender.0.borrow_mut().poll_delivered(cx));
    let _ = tokio::time::timeout(DELIVERY, delivered).await;
}

/// Sends 1xx answers, and what comes after them.
struct StreamInterim(RefCell<Sender>);

impl Interim for StreamInterim {
    fn send(&self, head: http::response::Parts) {
        let Ok(mut sender) = self.0.try_borrow_mut() else { return };
        // A client that takes none gets none.
        if sender.is_empty() {
            sender.push(http3::encode_head(head.status, &head.headers));
            let _ = sender.poll_flush(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// Runs the call, and gives it up at once when the client leaves.
async fn answered(
    worker: &Rc<Worker>,
    sender: &StreamInterim,
    call: &mut Call,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let mut work = pin!(pipeline::handle(worker, call, body));
    poll_fn(|cx| {
        if let Poll::Ready(response) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(response));
        }
        let mut sender = sender.0.borrow_mut();
        let _ = sender.poll_flush(cx);
        sender.poll_left(cx).map(|left| Err(gone(Stage::FirstByte, left)))
    })
    .await
}

fn gone(stage: Stage, left: Left) -> Failure {
    client_left(stage).with_detail(left.0)
}

async fn deliver(call: &mut Call, sender: &StreamInterim, response: Response<Body>) -> Result<(), Failure> {
    let (mut parts, mut body) = response.into_parts();
    call.record.timings.head = Some(call.elapsed());
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        parts.headers.remove(name);
    }
    let no_body = call.head.method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED;
    if no_body {
        body = Body::Empty;
    } else if let Some(length) = body.length()
        && (length > 0 || !crate::failure::is_grpc(&parts.headers))
    {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    sender.0.borrow_mut().push(http3::encode_head(parts.status, &parts.headers));
    let stalled = Timer::new();
    let patience = call.peer.listener.limits.body_timeout;
    let mut moved = u64::MAX;
    let mut upload = Upload { body, queued: 0, last: 0, trailers: None, is_whole: false };
    let result = poll_fn(|cx: &mut Context<'_>| {
        let mut sender = sender.0.borrow_mut();
        let polled = upload.poll(&mut sender, cx);
        if polled.is_pending() {
            // A client that opens no window is not waited for without end.
            if sender.is_empty() {
                stalled.disarm();
            } else if sender.taken() != moved || !stalled.is_armed() {
                // One that reads slowly is, however large the piece that it is at.
                moved = sender.taken();
                stalled.arm(patience);
            }
            if stalled.is_armed() && stalled.poll(cx).is_ready() {
                return Poll::Ready(Err(client_left(Stage::Body).with_detail("the client does not read")));
            }
            upload.body.drive_upload(cx);
        }
        polled
    })
    .await;
    call.record.response_bytes = upload.sent(&sender.0.borrow());
    if let Some(trailers) = &upload.trailers {
        call.note_grpc_status(trailers);
    }
    if result.as_ref().is_err_and(|failure| failure.side() != Side::Client) {
        // A reset takes back what has not left yet: the client is to see how far its answer came.
        tokio::time::sleep(BEFORE_RESET).await;
    }
    let mut sender = sender.0.borrow_mut();
    match &result {
        Ok(()) => sender.finish(),
        Err(failure) if failure.side() == Side::Client => sender.reset(Code::REQUEST_CANCELLED),
        Err(_) => sender.reset(Code::INTERNAL_ERROR),
    }
    result
}

/// An answer's body on its way out.
struct Upload {
    body: Body,
    /// Bytes of it that were queued, and how many of them were queued last.
    queued: u64,
    last: u64,
    trailers: Option<http::HeaderMap>,
    /// Its last bytes are in the queue.
    is_whole: bool,
}

impl Upload {
    /// Bytes of it that are on their way, or were. Nothing is queued before what was queued last is.
    fn sent(&self, sender: &Sender) -> u64 {
        self.queued - sender.waiting().min(self.last)
    }

    /// Sends what can be sent; ready when all of it is on its way, or when that cannot be.
    fn poll(&mut self, sender: &mut Sender, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            match sender.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(left)) => return Poll::Ready(Err(gone(Stage::Body, left))),
                Poll::Pending => return sender.poll_left(cx).map(|left| Err(gone(Stage::Body, left))),
            }
            if self.is_whole || self.body.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                // That the client leaves must be noticed while there is nothing to send.
                Poll::Pending => {
                    let left = ready!(sender.poll_left(cx));
                    return Poll::Ready(Err(gone(Stage::Body, left)));
                }
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.last = data.len() as u64;
                        self.queued += self.last;
                        sender.push(http3::data_head(data.len()));
                        sender.push(data);
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.last = 0;
                        sender.push(http3::encode_trailers(&trailers));
                        self.trailers = Some(trailers);
                        self.is_whole = true;
                    }
                },
                None => self.is_whole = true,
                Some(Err(failure)) => return Poll::Ready(Err(failure)),
            }
        }
    }
}
