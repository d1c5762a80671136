//! A client's HTTP/1 connection: one task that reads a request, has it answered, writes the answer, and again.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use http::{HeaderValue, Method, Response, Version, header};
use http1::{BodyDecoder, Framing, RequestDecoder, RequestHead};

mod body;
mod closing;

pub(crate) use self::body::RequestBody;
use self::{
    body::Incoming,
    closing::{drain_now, linger},
};
use super::{
    answer::{self, Sending},
    peer::Peer,
    tunnel::Tunnel,
    wire::{Io, Wire},
};
use crate::{
    body::Body,
    call::{Call, Interim, client_left},
    failure::{Failure, Problem, Stage},
    guard, pipeline,
    timer::Timer,
    upstream::switch,
    worker::Worker,
};

/// Pipelined bytes that are read while an answer is awaited; past it a client that leaves is noticed by the write.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// A client's HTTP/1 connection.
pub(crate) struct Conn {
    pub(crate) wire: Wire,
    body: RefCell<Incoming>,
    pub(crate) timer: Timer,
    pub(super) body_timeout: Duration,
    half_close: bool,
    /// Between two requests: closing then harms nobody.
    idle: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    interim: RefCell<BytesMut>,
}

impl Conn {
    /// Wakes an idle connection so that it notices the drain.
    pub(crate) fn wake(&self) {
        if self.idle.get()
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Ready when the client has closed its side. Bytes that come before that are kept, be they of the body, which
    /// its reader may not want yet, or of a further request.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.wire.input.borrow().len() > AHEAD_BYTES_MAX {
                return Poll::Pending;
            }
            if self.half_close && self.wire.is_eof() {
                return Poll::Pending;
            }
            match ready!(self.wire.poll_fill(cx)) {
                Ok(0) if self.half_close => return Poll::Pending,
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    pub(crate) fn poll_gone_while_answering(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }

    /// What is still to come of the request is no longer timed for itself.
    fn answer_begins(&self) {
        self.body.borrow_mut().answering = true;
        self.timer.disarm();
    }

    /// Moves what is left of interim answers to what goes out next.
    pub(crate) fn finish_interim(&self, out: &mut BytesMut) {
        let mut interim = self.interim.borrow_mut();
        if !interim.is_empty() {
            out.extend_from_slice(&interim.split());
        }
    }

    /// Writes interim answers as far as the connection takes them.
    fn push_interim(&self, cx: &mut Context<'_>) {
        let mut interim = self.interim.borrow_mut();
        if !interim.is_empty() {
            let _ = self.wire.poll_write(cx, &mut interim);
        }
    }
}

impl Interim for Conn {
    fn send(&self, head: http::response::Parts) {
        let mut interim = self.interim.borrow_mut();
        if interim.len() < 16 * 1024 {
            let _ = http1::encode_response_head(
                &head,
                Framing::None,
                &Method::GET,
                true,
                Version::HTTP_11,
                &mut interim,
            );
        }
        drop(interim);
        self.push_interim(&mut Context::from_waker(Waker::noop()));
    }
}

/// Serves one HTTP/1 connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, io: Io) {
    let limits = peer.listener.limits;
    let conn = Rc::new(Conn {
        wire: Wire::new(io),
        body: RefCell::new(Incoming {
            decoder: BodyDecoder::new(Framing::None, &limits.http1),
            expects: false,
            received: 0,
            done: true,
            answering: false,
            plan: None,
        }),
        timer: Timer::new(),
        body_timeout: limits.body_timeout,
        half_close: peer.listener.half_close,
        idle: Cell::new(true),
        waker: RefCell::new(None),
        interim: RefCell::new(BytesMut::new()),
    });
    let _registered = worker.register(&conn);
    let mut decoder = RequestDecoder::new(limits.http1);
    let mut out = BytesMut::new();
    let mut served = 0u32;
    let old_at = limits.old_at(Instant::now(), worker.random());
    loop {
        match read_head(&worker, &peer, &conn, &mut decoder, (served == 0, old_at)).await {
            Heard::Request(head) => {
                served += 1;
                let is_old = old_at.is_some_and(|old_at| old_at <= Instant::now());
                let last = served >= limits.max_requests_per_connection || is_old;
                let mut future = Box::pin(exchange(&worker, &peer, &conn, *head, last, &mut out));
                match future.as_mut().await {
                    After::KeepAlive => {}
                    After::Close => break,
                    After::Tunnel(upstream, call) => {
                        drop(future);
                        // Only then is the call over: for limits, counts and the record.
                        upstream.with_connection(&conn.wire).await;
                        finish(&worker, &conn, call);
                        return;
                    }
                }
            }
            Heard::Refusal(failure) => {
                let mut call = guard::refused(&worker, &peer, &failure);
                let response = pipeline::refuse(&mut call, &failure);
                let _ = answer::refusal(&conn, response, &mut out).await;
                worker.finish(call);
                break;
            }
            Heard::End => break,
        }
        conn.wire.settle();
    }
    linger(&conn).await;
}

enum Heard {
    Request(Box<RequestHead>),
    Refusal(Failure),
    End,
}

async fn read_head(
    worker: &Worker,
    peer: &Peer,
    conn: &Conn,
    decoder: &mut RequestDecoder,
    (first, old_at): (bool, Option<Instant>),
) -> Heard {
    let limits = &peer.listener.limits;
    conn.idle.set(true);
    let mut started = !conn.wire.input.borrow().is_empty();
    let mut leaving = false;
    // The first request of a connection gets the header timeout from the start: a connection that says nothing
    // is a slow request, not an idle one.
    let idle = match old_at {
        // A request may be on its way, as it may be when it is closed for being idle.
        Some(old_at) => limits.idle_timeout.min(old_at.saturating_duration_since(Instant::now())),
        None => limits.idle_timeout,
    };
    conn.timer.arm(if started || first { limits.header_timeout } else { idle });
    let heard = poll_fn(|cx| {
        loop {
            if started {
                conn.idle.set(false);
                match decoder.decode(&mut conn.wire.input.borrow_mut()) {
                    Ok(Some(head)) => return Poll::Ready(Heard::Request(Box::new(head))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Heard::Refusal(refusal(&error))),
                }
            } else if worker.is_draining() && !leaving {
                // A request may be on its way: closing at once would lose it (RFC 9112 §9.6).
                leaving = true;
                conn.timer.arm(worker.idle_grace().min(limits.idle_timeout));
            }
            match conn.wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Poll::Ready(Heard::End),
                Poll::Ready(Ok(_)) => {
                    if !started {
                        started = true;
                        if !first || leaving {
                            conn.timer.arm(limits.header_timeout);
                        }
                    }
                }
                Poll::Pending => {
                    if conn.timer.poll(cx).is_ready() {
                        if started {
                            let failure = Failure::client(Stage::Listener, Problem::RequestTimeout);
                            return Poll::Ready(Heard::Refusal(failure));
                        }
                        return Poll::Ready(Heard::End);
                    }
                    if !started {
                        *conn.waker.borrow_mut() = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
    conn.idle.set(false);
    conn.timer.disarm();
    heard
}

fn refusal(error: &http1::ParseError) -> Failure {
    let problem = match error.status().as_u16() {
        414 => Problem::UriTooLong,
        431 => Problem::HeadTooLarge,
        501 => Problem::NotImplemented,
        505 => Problem::VersionNotSupported,
        _ => Problem::BadRequest,
    };
    Failure::client(Stage::Listener, problem).with_hint(error.to_string())
}

/// What happens to the connection after an exchange.
enum After {
    KeepAlive,
    Close,
    Tunnel(Tunnel, Box<Call>),
}

/// Has one request answered, and writes the answer.
async fn exchange(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    conn: &Rc<Conn>,
    head: RequestHead,
    last: bool,
    out: &mut BytesMut,
) -> After {
    let limits = &peer.listener.limits;
    let empty = matches!(head.framing, Framing::None | Framing::Length(0));
    *conn.body.borrow_mut() = Incoming {
        decoder: BodyDecoder::new(head.framing, &limits.http1),
        expects: head.expect_continue && !empty,
        received: 0,
        done: empty,
        answering: false,
        plan: (!empty).then(|| worker.plan()),
    };
    let body = if empty { Body::Empty } else { Body::Request(RequestBody(conn.clone())) };
    let version = head.parts.version;
    let mut keep_alive = head.keep_alive && !last;
    let (mut call, admitted) = guard::admit(worker, peer, head.parts, head.upgrade);
    call.expects_continue = head.expect_continue && !empty;
    call.interim = (version == Version::HTTP_11).then(|| conn.clone() as Rc<dyn Interim>);

    let response = match admitted {
        Err(failure) => Ok(pipeline::refuse(&mut call, &failure)),
        Ok(()) => answered(worker, conn, &mut call, body).await,
    };
    let mut response = match response {
        Ok(response) => response,
        Err(failure) => {
            call.record_failure(&failure);
            call.record.status = failure.problem().recorded_status();
            finish(worker, conn, call);
            return After::Close;
        }
    };
    call.record.timings.head = Some(call.elapsed());
    conn.answer_begins();
    let switching = call.upgrade.is_some() && switch::opens(&call.head.method, response.status());
    keep_alive = keep_alive && !worker.is_draining() && !asks_to_close(&response);
    // An answer to a request whose body is still on its way: whether the rest will ever come is not known, so the
    // connection ends with the answer, and the head says so. Bytes of the body that nobody wants any more are taken
    // from what is here; the others still flow.
    if keep_alive && !switching && !conn.body.borrow().done {
        keep_alive = matches!(response.body(), Body::Empty | Body::Full(_)) && drain_now(conn);
    }
    response.headers_mut().remove(header::CONNECTION);
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let sending = Sending { method: &call.head.method.clone(), version, keep_alive };
    let sent = answer::send(conn, &mut call, response, &sending, out).await;
    let after = match sent {
        Ok(answer::Sent::Whole) if !keep_alive => After::Close,
        Ok(answer::Sent::Whole) if conn.body.borrow().done || drain_now(conn) => After::KeepAlive,
        Ok(answer::Sent::Whole) => After::Close,
        Ok(answer::Sent::Upgraded(upstream)) => return After::Tunnel(upstream, call),
        Err(failure) => {
            call.record_failure(&failure);
            After::Close
        }
    };
    finish(worker, conn, call);
    after
}

fn finish(worker: &Worker, conn: &Conn, mut call: Box<Call>) {
    let mut body = conn.body.borrow_mut();
    call.record.request_bytes = body.received;
    // While it idles, a connection keeps no snapshot alive.
    body.plan = None;
    drop(body);
    worker.finish(call);
}

/// Runs the call, and gives it up at once when the client goes.
async fn answered(
    worker: &Rc<Worker>,
    conn: &Conn,
    call: &mut Call,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let mut work = pin!(pipeline::handle(worker, call, body));
    poll_fn(|cx| {
        if let Poll::Ready(response) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(response));
        }
        ready!(conn.poll_gone(cx));
        Poll::Ready(Err(client_left(Stage::FirstByte)))
    })
    .await
}

fn asks_to_close(response: &Response<Body>) -> bool {
    response
        .headers()
        .get(header::CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
