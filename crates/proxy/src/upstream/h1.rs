//! One exchange with an HTTP/1 upstream: the request goes out, the head comes back, the bodies flow both ways.
//!
//! The connection belongs to the call while in use and goes back to the worker's pool when the answer has ended as
//! it should; after anything early, ambiguous or unfinished it is closed.

mod answer;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use http1::{BodyDecoder, BodyEncoder, Framing, Limits, ResponseDecoder, ResponseHead};

pub(crate) use self::answer::AnswerBody;
use super::{
    Guards,
    allowance::Allowance,
    pool::{Pool, PoolKey},
};
use crate::{
    body::Body,
    call::Interim,
    conn::wire::{Io, Wire},
    failure::{Failure, Problem, Stage},
    guard,
    timer::Timer,
};

/// Bytes gathered before a write.
const GATHER_BYTES_MAX: usize = 16 * 1024;
/// How long an upstream may keep silent before the body of `Expect: 100-continue` is sent all the same
/// (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// A connection to an HTTP/1 upstream.
pub(crate) struct Conn {
    wire: Wire,
    pub(crate) key: PoolKey,
    pub(crate) requests: u32,
    pub(crate) born: Instant,
    pub(crate) parked: Instant,
    timer: Timer,
    /// Where it goes when it is free; nowhere, when it speaks for one client.
    home: Weak<Pool>,
    out: BytesMut,
    large: Bytes,
    /// A chunk's end is owed after `large`.
    owes_end: bool,
    upload: Option<Upload>,
    /// The body waits for the upstream's `100 Continue`, or for this.
    awaits: Option<Timer>,
    /// The upstream answered without wanting the body.
    unsent: bool,
    /// Pieces of the body that were taken so far, and bytes of it.
    moved: (u64, u64),
    /// What is left of the time until the answer's head, when there is a body to send first.
    allowance: Option<Allowance>,
    /// Whether any byte of the current request was accepted by the transport.
    wrote: bool,
}

struct Upload {
    body: Body,
    encoder: BodyEncoder,
}

enum UploadError {
    Io(io::Error),
    Body(Failure),
}

/// Why a try failed, and whether the connection had been used before and was found closed.
pub(crate) struct Broken {
    pub(crate) failure: Failure,
    /// The upstream closed a kept connection as the request went out: no sign that the endpoint is ill.
    pub(crate) stale: bool,
}

/// How long an exchange may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When the exchange begins.
    pub(crate) now: Instant,
    /// Until the head of the answer, while the request's body does not move.
    pub(crate) head: Duration,
    /// Between bytes of the answer's body.
    pub(crate) idle: Duration,
}

impl Conn {
    pub(crate) fn new(io: Io, key: PoolKey, home: Weak<Pool>) -> Self {
        let now = Instant::now();
        Self {
            wire: Wire::new(io),
            key,
            requests: 0,
            born: now,
            parked: now,
            timer: Timer::new(),
            home,
            out: BytesMut::new(),
            large: Bytes::new(),
            owes_end: false,
            upload: None,
            awaits: None,
            unsent: false,
            moved: (0, 0),
            allowance: None,
            wrote: false,
        }
    }

    /// Whether a parked connection can be used again.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wire.is_quiet()
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        loop {
            let Some(upload) = &mut self.upload else {
                return self.poll_write(cx).map_err(UploadError::Io);
            };
            if !self.large.is_empty() || self.out.len() >= GATHER_BYTES_MAX {
                ready!(self.poll_write(cx)).map_err(UploadError::Io)?;
                continue;
            }
            let frame = Pin::new(&mut upload.body).poll_frame(cx);
            self.moved.0 += u64::from(frame.is_ready());
            match frame {
                Poll::Ready(Some(Ok(frame))) => {
                    match frame.into_data().inspect(|data| self.moved.1 += data.len() as u64) {
                        Ok(data) if self.out.len() + data.len() <= GATHER_BYTES_MAX => {
                            upload.encoder.data(&data, &mut self.out).map_err(encode_error)?;
                        }
                        Ok(data) => {
                            upload.encoder.data_framing(data.len(), &mut self.out).map_err(encode_error)?;
                            self.large = data;
                            self.owes_end = true;
                        }
                        Err(frame) => {
                            let trailers = frame.into_trailers().ok();
                            upload.encoder.end(trailers.as_ref(), &mut self.out).map_err(encode_error)?;
                            self.upload = None;
                        }
                    }
                }
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(UploadError::Body(failure))),
                Poll::Ready(None) => {
                    upload.encoder.end(None, &mut self.out).map_err(encode_error)?;
                    self.upload = None;
                }
                Poll::Pending => {
                    ready!(self.poll_write(cx)).map_err(UploadError::Io)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes all that is gathered.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() || !self.large.is_empty() {
            let before = self.out.len() + self.large.len();
            let wrote = self.wire.poll_write_pair(cx, &mut self.out, &mut self.large);
            self.wrote |= self.out.len() + self.large.len() < before;
            ready!(wrote)?;
        }
        if std::mem::take(&mut self.owes_end)
            && let Some(upload) = &mut self.upload
        {
            upload.encoder.data_end(&mut self.out);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what may be sent of the request, and times what the upstream is waited for. The client is waited for by
    /// the reader of its body, and what its body takes is counted as it comes.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.awaits.as_ref().is_some_and(|wait| wait.poll(cx).is_ready()) {
            self.awaits = None;
        }
        if self.awaits.is_some() {
            return self.poll_write(cx).map_err(UploadError::Io);
        }
        if self.is_uploaded() {
            return Poll::Ready(Ok(()));
        }
        let (before, for_client) = (self.moved, self.waits_for_client());
        let sent = self.poll_upload(cx);
        let is_moved = self.moved != before;
        let Some(allowance) = &mut self.allowance else { return sent };
        if is_moved {
            let bytes = self.moved.1 - before.1;
            allowance.moved(bytes, for_client, Instant::now()).map_err(UploadError::Body)?;
        }
        let left = allowance.left();
        if self.waits_for_client() {
            self.timer.disarm();
        } else if is_moved || !self.timer.is_armed() {
            self.timer.arm(left);
        }
        sent
    }

    /// All that came of the body is sent, and more is to come.
    fn waits_for_client(&self) -> bool {
        self.upload.is_some() && self.out.is_empty() && self.large.is_empty()
    }

    /// Gives up what is still to be sent.
    fn stop_upload(&mut self) {
        self.upload = None;
        self.awaits = None;
        self.out.clear();
        self.large = Bytes::new();
    }

    /// Everything of the request has gone out.
    fn is_uploaded(&self) -> bool {
        self.upload.is_none() && self.out.is_empty() && self.large.is_empty()
    }

    /// Gives the connection back, or closes it.
    fn go_home(mut self: Box<Self>) {
        self.timer.disarm();
        self.wire.settle();
        if let Some(home) = self.home.upgrade() {
            self.parked = Instant::now();
            home.park(self);
        }
    }
}

fn encode_error(error: http1::EncodeError) -> UploadError {
    UploadError::Body(Failure::client(Stage::Send, Problem::BadRequest).with_detail(error.to_string()))
}

/// Sends a request and waits for the head of its answer, whose body takes the guards.
pub(crate) async fn exchange(
    mut conn: Box<Conn>,
    head: &Parts,
    body: Body,
    patience: Patience,
    interim: Option<&Rc<dyn Interim>>,
    guards: &mut Guards,
) -> Result<Response<Body>, Broken> {
    let reused = conn.requests > 0;
    conn.requests += 1;
    conn.wrote = false;
    let framing = request_framing(head, &body);
    conn.out.clear();
    if let Err(error) = http1::encode_request_head(head, framing, &mut conn.out) {
        let failure = Failure::gateway(Stage::Send, Problem::Internal).with_detail(error.to_string());
        return Err(Broken { failure: failure.never_sent(), stale: false });
    }
    conn.upload = (framing != Framing::None).then(|| Upload { body, encoder: BodyEncoder::new(framing) });
    conn.unsent = false;
    conn.awaits = (conn.upload.is_some() && head.headers.contains_key(header::EXPECT)).then(|| {
        let wait = Timer::new();
        wait.arm(CONTINUE_WAIT);
        wait
    });
    conn.allowance =
        conn.upload.is_some().then(|| Allowance::new(patience, crate::failure::is_grpc(&head.headers)));
    conn.timer.arm_at(patience.now, patience.head);

    let mut decoder = ResponseDecoder::new(Limits::default());
    let method = &head.method;
    let head = poll_fn(|cx| poll_head(&mut conn, &mut decoder, method, interim, cx)).await;
    let head = match head {
        Ok(head) => head,
        Err(failure) => {
            let silent = conn.wire.input.borrow().is_empty();
            let stale = reused && silent && failure.problem() == Problem::UpstreamReset;
            let failure = if conn.wrote { failure } else { failure.never_sent() };
            return Err(Broken { failure, stale });
        }
    };
    conn.timer.disarm();
    Ok(respond(conn, method, head, patience, std::mem::take(guards)))
}

fn poll_head(
    conn: &mut Conn,
    decoder: &mut ResponseDecoder,
    method: &Method,
    interim: Option<&Rc<dyn Interim>>,
    cx: &mut Context<'_>,
) -> Poll<Result<ResponseHead, Failure>> {
    let mut send_error = None;
    match conn.poll_request(cx) {
        Poll::Ready(Err(UploadError::Body(failure))) => return Poll::Ready(Err(failure)),
        // The upstream may have answered before it closed: the answer is read first.
        Poll::Ready(Err(UploadError::Io(error))) => {
            conn.stop_upload();
            send_error = Some(error);
        }
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    loop {
        let decoded = decoder.decode(&mut conn.wire.input.borrow_mut(), method);
        match decoded {
            Ok(Some(mut head)) if is_interim(head.parts.status) => {
                // 100 is between the upstream and us; 102 and 103 are for the client (RFC 9110 §15.2).
                if head.parts.status == StatusCode::CONTINUE {
                    if conn.awaits.take().is_some() {
                        cx.waker().wake_by_ref();
                    }
                } else if let Some(interim) = interim {
                    guard::headers::clean_answer(&mut head.parts.headers);
                    interim.send(head.parts);
                }
                continue;
            }
            Ok(Some(head)) => {
                if conn.awaits.take().is_some() {
                    conn.stop_upload();
                    conn.unsent = true;
                }
                return Poll::Ready(Ok(head));
            }
            Ok(None) => {}
            Err(error) => {
                return Poll::Ready(Err(Failure::upstream(
                    Stage::FirstByte,
                    Problem::BadUpstreamAnswer,
                    error,
                )));
            }
        }
        match conn.wire.poll_fill(cx) {
            Poll::Ready(Ok(0)) => {
                let failure = match send_error {
                    Some(error) => Failure::upstream(Stage::Send, Problem::UpstreamReset, error),
                    None => {
                        Failure::upstream(Stage::FirstByte, Problem::UpstreamReset, "closed before an answer")
                    }
                };
                return Poll::Ready(Err(failure));
            }
            Poll::Ready(Err(error)) => {
                let stage = if send_error.is_some() { Stage::Send } else { Stage::FirstByte };
                return Poll::Ready(Err(Failure::upstream(stage, Problem::UpstreamReset, error)));
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => {
                ready!(conn.timer.poll(cx));
                return Poll::Ready(Err(Failure::upstream(
                    Stage::FirstByte,
                    Problem::UpstreamTimeout,
                    "no answer in time",
                )));
            }
        }
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn request_framing(head: &Parts, body: &Body) -> Framing {
    match body.length() {
        // Methods that expect content say so even when it is empty (RFC 9110 §8.6).
        Some(0) if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) => Framing::Length(0),
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

fn respond(
    conn: Box<Conn>,
    method: &Method,
    head: ResponseHead,
    patience: Patience,
    guards: Guards,
) -> Response<Body> {
    let switching = super::switch::opens(method, head.parts.status);
    let reusable = head.keep_alive && !switching && !conn.unsent && head.framing != Framing::UntilClose;
    if matches!(head.framing, Framing::None | Framing::Length(0)) && !switching {
        if reusable && conn.is_uploaded() && conn.wire.input.borrow().is_empty() {
            conn.go_home();
        }
        return Response::from_parts(head.parts, Body::Empty);
    }
    let body = AnswerBody {
        decoder: BodyDecoder::new(head.framing, &Limits::default()),
        conn: Some(conn),
        idle: patience.idle,
        reusable,
        switching,
        guards,
    };
    Response::from_parts(head.parts, Body::Answer(Box::new(body)))
}
