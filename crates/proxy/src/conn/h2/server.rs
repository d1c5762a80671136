//! Serves a client's HTTP/2 connection: the connection is one task, each of its streams another.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};
use http::{Method, Request, Response, StatusCode, header};

use super::{
    Arriving, Settings, StreamBody, Upload,
    glitches::{Pulse, Watched},
    upload::Broken,
    vigil::Vigil,
};
use crate::{
    body::Body,
    call::{Call, Interim, NO_LISTENER, client_left},
    conn::{peer::Peer, wire::Io},
    failure::{Failure, Stage},
    guard,
    listener::Limits,
    pipeline,
    timer::Timer,
    upstream::switch,
    worker::Worker,
};

/// Streams that the client reset before they were accepted (CVE-2023-44487, rapid reset).
const PENDING_RESETS_MAX: usize = 20;
/// Streams that we had to reset because of the client's errors (CVE-2025-8671, MadeYouReset).
const LOCAL_RESETS_MAX: usize = 128;
/// How long a client that is cut off has to take what is said to it.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a connection and its streams share.
pub(crate) struct Shared {
    streams: Cell<usize>,
    /// Resets by the client less streams that ended well: what an attack drives up and traffic drives down.
    excess_resets: Cell<i64>,
    max_resets: i64,
    /// A request came after its listener was taken away: the connection ends with what is open.
    is_orphan: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Shared {
    /// Wakes the connection, so that it sees a drain or an end of its last stream.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

struct Open(Rc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        if self.0.streams.get() == 0 {
            self.0.wake();
        }
    }
}

fn builder(limits: &Limits, settings: &Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.http1.head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.frame)
        .header_table_size(settings.table)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .max_send_buffer_size(settings.send_buffer)
        .enable_connect_protocol();
    builder
}

/// Serves one HTTP/2 connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, io: Io) {
    let limits = &peer.listener.limits;
    let settings = peer.listener.http2.unwrap_or_else(|| Settings::of(&Default::default()));
    let builder = builder(limits, &settings);
    let now = Instant::now();
    let timer = Timer::new();
    timer.arm_at(now, limits.header_timeout);
    let pulse = Rc::<Pulse>::default();
    let mut handshake = pin!(builder.handshake::<_, Bytes>(Watched::new(io, pulse.clone())));
    let opened = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(opened) => Poll::Ready(opened.ok()),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await;
    let Some(mut connection) = opened else { return };
    let shared = Rc::new(Shared {
        streams: Cell::new(0),
        excess_resets: Cell::new(0),
        max_resets: i64::from(limits.max_resets),
        is_orphan: Cell::new(false),
        waker: RefCell::new(None),
    });
    let _registered = worker.register_h2(&shared);
    let old = Timer::new();
    if let Some(old_at) = limits.old_at(now, worker.random()) {
        old.arm_at(now, old_at.saturating_duration_since(now));
    }
    let pings = settings.keep_alive.and_then(|terms| Some((terms, connection.ping_pong()?)));
    let mut vigil = pings.map(|(terms, pings)| Vigil::new(terms, pings, pulse.clone()));
    let (mut leaving, mut cut) = (false, false);
    let (mut served, mut resumed) = (0u32, 0);
    let (mut timed, head_timer) = (None, Timer::new());
    timer.disarm();
    loop {
        let accepted = poll_fn(|cx| {
            if !leaving
                && (worker.is_draining()
                    || served >= limits.max_requests_per_connection
                    || (old.is_armed() && old.poll(cx).is_ready())
                    || shared.is_orphan.get())
            {
                leaving = true;
                connection.graceful_shutdown();
            }
            if shared.excess_resets.get() > shared.max_resets {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            *shared.waker.borrow_mut() = Some(cx.waker().clone());
            if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
            let is_idle = shared.streams.get() == 0;
            if vigil.as_mut().is_some_and(|vigil| vigil.poll(is_idle, cx).is_ready()) {
                return Poll::Ready(None);
            }
            // Each head has its own time: a busy connection may always be in the middle of one.
            if pulse.in_head.get() != timed {
                timed = pulse.in_head.get();
                match timed {
                    Some(_) => head_timer.arm(limits.header_timeout),
                    None => head_timer.disarm(),
                }
            }
            if timed.is_some() && head_timer.poll(cx).is_ready() {
                if cut {
                    return Poll::Ready(None);
                }
                // The client is told why, if it still listens.
                cut = true;
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                head_timer.arm(GOODBYE);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if shared.streams.get() > 0 {
                timer.disarm();
                return Poll::Pending;
            }
            // What was answered last may still be on its way to a client that reads slowly.
            if !timer.is_armed() || pulse.resumed.get() != resumed {
                resumed = pulse.resumed.get();
                timer.arm(if leaving { limits.header_timeout } else { limits.idle_timeout });
            }
            if timer.poll(cx).is_ready() {
                if leaving {
                    return Poll::Ready(None);
                }
                leaving = true;
                connection.graceful_shutdown();
                timer.arm(limits.header_timeout);
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        let Some(Ok((request, respond))) = accepted else { return };
        served += 1;
        shared.streams.set(shared.streams.get() + 1);
        let open = Open(shared.clone());
        tokio::task::spawn_local(stream(worker.clone(), peer.clone(), request, respond, open));
    }
}

/// Sends 1xx answers on a stream.
struct StreamInterim(RefCell<SendResponse<Bytes>>);

impl Interim for StreamInterim {
    fn send(&self, head: http::response::Parts) {
        let _ = self.0.borrow_mut().send_informational(Response::from_parts(head, ()));
    }
}

/// Has one request answered, and sends the answer.
async fn stream(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    open: Open,
) {
    let (parts, recv) = request.into_parts();
    let arriving = Rc::new(Arriving::default());
    let length = content_length(&parts.headers);
    let expects = parts.headers.contains_key(header::EXPECT);
    let upgrade = parts.method == Method::CONNECT;
    let (mut call, admitted) = guard::admit(&worker, &peer, parts, upgrade);
    let interim = Rc::new(StreamInterim(RefCell::new(respond)));
    call.interim = Some(interim.clone());
    let mut recv = Some(recv);
    let response = match admitted {
        Err(failure) => {
            if call.listener == NO_LISTENER {
                open.0.is_orphan.set(true);
                open.0.wake();
            }
            Ok(pipeline::refuse(&mut call, &failure))
        }
        Ok(()) => {
            if expects {
                call.expects_continue = true;
                *arriving.expects.borrow_mut() = Some(interim.clone());
            }
            let body = if upgrade { Body::Empty } else { request_body(&call, length, &mut recv, &arriving) };
            answered(&worker, &interim, &mut call, body).await
        }
    };
    let outcome = match response {
        Ok(response) => {
            arriving.answering.set(true);
            deliver(&mut call, &interim, response, recv).await
        }
        Err(failure) => Err(failure),
    };
    let shared = &open.0;
    match outcome {
        Ok(()) => shared.excess_resets.set((shared.excess_resets.get() - 1).max(0)),
        Err(failure) => {
            if call.record.timings.head.is_none() {
                call.record.status = failure.problem().recorded_status();
            }
            if failure.side() == crate::failure::Side::Client {
                shared.excess_resets.set(shared.excess_resets.get() + 1);
                if shared.excess_resets.get() > shared.max_resets {
                    shared.wake();
                }
            }
            call.record_failure(&failure);
        }
    }
    call.record.request_bytes = arriving.received.get();
    worker.finish(call);
}

fn request_body(
    call: &Call,
    length: Option<u64>,
    recv: &mut Option<RecvStream>,
    arriving: &Rc<Arriving>,
) -> Body {
    match recv.take() {
        Some(recv) if !recv.is_end_stream() => {
            let idle = call.peer.listener.limits.body_timeout;
            let plan = Some(call.plan.clone());
            Body::Stream(StreamBody::request(recv, length, idle, arriving.clone(), plan))
        }
        _ => Body::Empty,
    }
}

/// The length that a head states; h2 has checked it against what arrives.
pub(crate) fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Runs the call, and gives it up at once when the client resets the stream.
async fn answered(
    worker: &Rc<Worker>,
    respond: &StreamInterim,
    call: &mut Call,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let mut work = pin!(pipeline::handle(worker, call, body));
    poll_fn(|cx| {
        if let Poll::Ready(response) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(response));
        }
        match respond.0.borrow_mut().poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(client_left(Stage::FirstByte))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn deliver(
    call: &mut Call,
    respond: &StreamInterim,
    response: Response<Body>,
    recv: Option<RecvStream>,
) -> Result<(), Failure> {
    let left = |error: h2::Error| client_left(Stage::Body).with_detail(error.to_string());
    let (mut parts, mut body) = response.into_parts();
    call.record.timings.head = Some(call.elapsed());
    parts.version = http::Version::HTTP_2;
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        parts.headers.remove(name);
    }
    if call.upgrade.is_some() && switch::opens(&call.head.method, parts.status) {
        // To an HTTP/2 client a tunnel begins with 200 (RFC 8441 §5).
        parts.status = StatusCode::OK;
        call.record.status = StatusCode::OK;
        parts.headers.remove("sec-websocket-accept");
        let tunnel = body.into_tunnel().zip(recv);
        let send =
            respond.0.borrow_mut().send_response(Response::from_parts(parts, ()), false).map_err(left)?;
        if let Some((tunnel, recv)) = tunnel {
            tunnel.with_stream(send, recv).await;
        }
        return Ok(());
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
    let ended = body.is_empty();
    let send = respond.0.borrow_mut().send_response(Response::from_parts(parts, ()), ended).map_err(left)?;
    if ended {
        return Ok(());
    }
    let mut upload = Upload::new(send, body);
    let stalled = Timer::new();
    let patience = call.peer.listener.limits.body_timeout;
    let mut moved = 0;
    let result = poll_fn(|cx: &mut Context<'_>| {
        let polled = upload.poll(cx);
        if polled.is_pending() {
            // A client that opens no window is not waited for without end.
            if !upload.waits_for_sink() {
                stalled.disarm();
            } else if upload.sent != moved || !stalled.is_armed() {
                moved = upload.sent;
                stalled.arm(patience);
            }
            if stalled.is_armed() && stalled.poll(cx).is_ready() {
                upload.give_up();
                return Poll::Ready(Err(Broken::Sink(Some(Reason::CANCEL))));
            }
            upload.body_mut().drive_upload(cx);
        }
        polled
    })
    .await;
    call.record.response_bytes = upload.sent;
    if let Some(trailers) = &upload.trailers {
        call.note_grpc_status(trailers);
    }
    match result {
        Ok(()) => Ok(()),
        Err(Broken::Source(failure)) => Err(failure),
        Err(Broken::Sink(reason)) => Err(client_left(Stage::Body).with_detail(
            reason.map_or_else(|| "the connection ended".to_owned(), |reason| reason.to_string()),
        )),
    }
}
