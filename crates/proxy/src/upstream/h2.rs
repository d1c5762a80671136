//! Exchanges with an HTTP/2 upstream: streams of a connection that this worker's calls share.

mod greeting;
mod vital;
mod websocket;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Method, Request, Response, StatusCode, Uri, header, request::Parts};
use model::resource::http2::UpstreamHttp2;

use self::{
    greeting::Greeting,
    vital::{Heard, Listening},
};
use super::{
    Guards,
    allowance::Allowance,
    h1::{Broken, Patience},
    pool::PoolLimits,
    source::Source,
};
use crate::{
    body::Body,
    call::Interim,
    conn::{
        h2::{KeepAlive, StreamBody, Unsent, Upload, bytes, content_length},
        wire::Io,
    },
    failure::{Failure, Problem, Stage},
    guard,
    timer::Timer,
};

/// Most bytes that a window can have.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// How HTTP/2 is spoken to an upstream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// What a stream holds of an answer that its client does not read.
    stream_window: u32,
    /// Room for what every stream may hold at once: clients that do not read must not hold up the answers to others.
    connection_window: u32,
    frame: u32,
    table: u32,
    /// Streams on one connection before another is opened, whatever the upstream would allow.
    streams: usize,
    keep_alive: Option<KeepAlive>,
}

impl Terms {
    pub(crate) fn of(settings: &UpstreamHttp2) -> Self {
        let stream_window = bytes(settings.stream_window);
        let all = stream_window.saturating_mul(settings.max_concurrent_streams).min(WINDOW_BYTES_MAX);
        Self {
            stream_window,
            connection_window: settings.connection_window.map_or(all, bytes),
            frame: bytes(settings.max_frame_size),
            table: bytes(settings.header_table_size),
            streams: settings.max_concurrent_streams as usize,
            keep_alive: settings.keep_alive.as_ref().map(KeepAlive::of),
        }
    }
}

/// A connection to an HTTP/2 upstream.
pub(crate) struct Channel {
    send: SendRequest<Bytes>,
    streams_max: usize,
    /// It carries no further streams: it has ended, said goodbye, or answers no more.
    closed: Rc<Cell<bool>>,
    heard: Heard,
    greeting: Rc<Greeting>,
    streams: Rc<Cell<usize>>,
    started: Cell<u32>,
    born: Instant,
    used: Cell<Instant>,
}

/// Counts a stream for as long as it lives.
struct Streaming(Rc<Cell<usize>>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Channel {
    /// Opens HTTP/2 on a transport.
    pub(crate) async fn open(io: Io, terms: &Terms) -> Result<Rc<Self>, h2::Error> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(terms.stream_window)
            .initial_connection_window_size(terms.connection_window)
            .max_frame_size(terms.frame)
            .header_table_size(terms.table)
            .max_header_list_size(64 * 1024)
            .initial_max_send_streams(terms.streams);
        let (heard, greeting) = (Heard::default(), Rc::<Greeting>::default());
        let listening = Listening { io, heard: heard.clone(), greeting: greeting.clone() };
        let (send, connection) = builder.handshake::<_, Bytes>(listening).await?;
        let closed = Rc::new(Cell::new(false));
        let streams = Rc::new(Cell::new(0));
        let (ended, known) = (closed.clone(), greeting.clone());
        let driven =
            vital::drive(connection, heard.clone(), greeting.clone(), streams.clone(), terms.keep_alive);
        tokio::task::spawn_local(async move {
            driven.await;
            ended.set(true);
            known.end();
        });
        let now = Instant::now();
        Ok(Rc::new(Self {
            send,
            streams_max: terms.streams,
            closed,
            heard,
            greeting,
            streams,
            started: Cell::new(0),
            born: now,
            used: Cell::new(now),
        }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// A stream was given up. When nothing at all was heard since it began, nor may ever be again.
    fn doubt(&self, heard_before: u64) {
        if self.heard.get() == heard_before {
            self.closed.set(true);
        }
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.get()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.streams.get() < self.streams_max.min(self.send.current_max_send_streams())
    }

    /// Whether it should carry no further streams.
    pub(crate) fn is_worn(&self, limits: &PoolLimits, now: Instant) -> bool {
        self.started.get() >= limits.max_requests
            || limits.max_age.is_some_and(|age| now.duration_since(self.born) > age)
            || (self.streams.get() == 0 && now.duration_since(self.used.get()) > limits.idle_timeout)
    }

    /// Counts a stream that is about to begin: whether it is not the first, its place, and what was heard before it.
    fn enter(&self, now: Instant) -> (bool, Streaming, u64) {
        let reused = self.started.get() > 0;
        self.started.set(self.started.get().saturating_add(1));
        self.streams.set(self.streams.get() + 1);
        self.used.set(now);
        (reused, Streaming(self.streams.clone()), self.heard.get())
    }

    /// Sends a request and waits for the head of its answer, whose body takes the guards. The body is taken from its
    /// source once there is a stream for it, so that what was never sent can go elsewhere.
    pub(super) async fn exchange(
        &self,
        head: &Parts,
        tls: bool,
        source: &RefCell<Source>,
        patience: Patience,
        interim: Option<&Rc<dyn Interim>>,
        guards: &mut Guards,
    ) -> Result<Response<Body>, Broken> {
        let (reused, streaming, heard) = self.enter(patience.now);
        let timer = Timer::new();
        timer.arm_at(patience.now, patience.head);
        let broken = |failure: Failure| Broken { failure, stale: false };

        let (empty, length) = (source.borrow().is_empty(), source.borrow().length());
        let request = outgoing(head, tls, length).map_err(broken)?;
        let (response, stream) = self.begin(request, empty, reused, &timer).await.inspect_err(|broken| {
            if broken.failure.problem() == Problem::UpstreamTimeout {
                self.doubt(heard);
            }
        })?;
        let body = source.borrow_mut().take().ok_or_else(|| {
            broken(Failure::gateway(Stage::Send, Problem::Internal).with_detail("the body was already sent"))
        })?;
        let mut allowance = (!empty).then(|| {
            Allowance::new(
                Patience { now: Instant::now(), ..patience },
                crate::failure::is_grpc(&head.headers),
            )
        });
        let mut upload = (!empty).then(|| Box::new(Upload::new(stream, body)));
        let mut response = pin!(response);
        let answer = poll_fn(|cx| {
            if let Poll::Ready(Err(failure)) = poll_upload(&mut upload, &mut allowance, &timer, cx) {
                return Poll::Ready(Err(failure));
            }
            if let Some(interim) = interim {
                while let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
                    pass_interim(interim, head.into_parts().0);
                }
            }
            match response.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(self.broke(&error))),
                Poll::Pending => {
                    ready!(timer.poll(cx));
                    Poll::Ready(Err(self.silent(heard)))
                }
            }
        })
        .await
        .map_err(broken)?;
        let (parts, recv) = answer.into_parts();
        let length = content_length(&parts.headers);
        let body = if recv.is_end_stream() && upload.is_none() {
            *guards = Guards::default();
            Body::Empty
        } else {
            let guards = Guards { streaming: Some(Box::new(streaming)), ..std::mem::take(guards) };
            Body::Stream(StreamBody::answer(recv, length, patience.idle, upload, guards))
        };
        Ok(Response::from_parts(parts, body))
    }

    /// What an error of a stream is to its call; after some there are no further streams.
    fn broke(&self, error: &h2::Error) -> Failure {
        if error.is_go_away() || error.is_io() {
            self.closed.set(true);
        }
        refused(error)
    }

    fn silent(&self, heard_before: u64) -> Failure {
        self.doubt(heard_before);
        Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, "no answer in time")
    }

    /// Opens a stream with a request's head. A connection on which none can be opened is used no more.
    async fn begin(
        &self,
        request: Request<()>,
        empty: bool,
        reused: bool,
        timer: &Timer,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Broken> {
        let closed = |error: h2::Error| {
            self.closed.set(true);
            let failure = Failure::upstream(Stage::Send, Problem::UpstreamReset, error).never_sent();
            Broken { failure, stale: reused }
        };
        let mut ready_to_send = pin!(self.send.clone().ready());
        let mut send = poll_fn(|cx| match ready_to_send.as_mut().poll(cx) {
            Poll::Ready(send) => Poll::Ready(send.map_err(closed)),
            Poll::Pending => {
                ready!(timer.poll(cx));
                let failure = Failure::upstream(Stage::Send, Problem::UpstreamTimeout, "no stream in time");
                Poll::Ready(Err(Broken { failure: failure.never_sent(), stale: false }))
            }
        })
        .await?;
        send.send_request(request, empty).map_err(closed)
    }
}

/// Passes a 1xx answer on. What 100 says is between the upstream and us, and 101 has no meaning here (RFC 9113 §8.6):
/// a client of HTTP/1.1 would take it for the beginning of a tunnel.
fn pass_interim(interim: &Rc<dyn Interim>, mut head: http::response::Parts) {
    if !matches!(head.status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
        guard::headers::clean_answer(&mut head.headers);
        interim.send(head);
    }
}

/// Sends what may be sent of the body, and times what the upstream is waited for.
fn poll_upload(
    upload: &mut Option<Box<Upload>>,
    allowance: &mut Option<Allowance>,
    timer: &Timer,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    let (Some(sending), Some(allowance)) = (&mut *upload, allowance) else { return Poll::Ready(Ok(())) };
    let (before, for_client) = (sending.sent, !sending.waits_for_sink());
    let polled = sending.poll(cx);
    let bytes = sending.sent - before;
    if bytes > 0 || polled.is_ready() {
        allowance.moved(bytes, for_client, Instant::now())?;
    }
    if let Poll::Ready(sent) = polled {
        if let Err(Unsent::Source(failure)) = sent {
            return Poll::Ready(Err(failure));
        }
        *upload = None;
        timer.arm(allowance.left());
        return Poll::Ready(Ok(()));
    }
    if !sending.waits_for_sink() {
        timer.disarm();
    } else if bytes > 0 || !timer.is_armed() {
        timer.arm(allowance.left());
    }
    Poll::Pending
}

/// `REFUSED_STREAM`, and a GOAWAY that did not reach our stream, mean that nothing was done (RFC 9113 §8.7). A reset of
/// our own is about what the upstream answered: a head that is too large, or none at all.
fn refused(error: &h2::Error) -> Failure {
    if error.is_library() && error.is_reset() {
        return Failure::upstream(Stage::FirstByte, Problem::BadUpstreamAnswer, error);
    }
    let failure = Failure::upstream(Stage::FirstByte, Problem::UpstreamReset, error);
    let untouched = error.is_remote()
        && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)));
    if untouched { failure.never_sent() } else { failure }
}

fn outgoing(head: &Parts, tls: bool, length: Option<u64>) -> Result<Request<()>, Failure> {
    let bad =
        |error: String| Failure::gateway(Stage::Send, Problem::Internal).with_detail(error).never_sent();
    let host = head.headers.get(header::HOST).map(|host| host.as_bytes()).unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host)
        .path_and_query(path)
        .build()
        .map_err(|error| bad(error.to_string()))?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    *headers = head.headers.clone();
    headers.remove(header::HOST);
    headers.remove(header::CONNECTION);
    headers.remove(header::UPGRADE);
    headers.remove(header::EXPECT);
    if let Some(length) = length
        && (length > 0 || matches!(head.method, Method::POST | Method::PUT | Method::PATCH))
        && !crate::failure::is_grpc(headers)
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(request)
}
