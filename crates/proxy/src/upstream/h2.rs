//! Exchanges with an HTTP/2 upstream: streams of a connection that this worker's calls share.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{Method, Request, Response, Uri, header, request::Parts};

use super::{
    Guards,
    h1::{Broken, Patience},
    pool::PoolLimits,
};
use crate::{
    body::Body,
    call::Interim,
    conn::{
        h2::{StreamBody, Upload},
        wire::Io,
    },
    failure::{Failure, Problem, Stage},
    timer::Timer,
};

const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Streams on one connection before another is opened, whatever the upstream would allow.
const STREAMS_MAX: usize = 100;

/// A connection to an HTTP/2 upstream.
pub(crate) struct Channel {
    send: SendRequest<Bytes>,
    closed: Rc<Cell<bool>>,
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
    pub(crate) async fn open(io: Io) -> Result<Rc<Self>, h2::Error> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(64 * 1024)
            .initial_max_send_streams(STREAMS_MAX);
        let (send, connection) = builder.handshake::<_, Bytes>(io).await?;
        let closed = Rc::new(Cell::new(false));
        let ended = closed.clone();
        tokio::task::spawn_local(async move {
            // Every stream has its own error; the connection's adds nothing.
            let _ = connection.await;
            ended.set(true);
        });
        let now = Instant::now();
        Ok(Rc::new(Self {
            send,
            closed,
            streams: Rc::new(Cell::new(0)),
            started: Cell::new(0),
            born: now,
            used: Cell::new(now),
        }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.get()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.streams.get() < STREAMS_MAX.min(self.send.current_max_send_streams())
    }

    /// Whether it should carry no further streams.
    pub(crate) fn is_worn(&self, limits: &PoolLimits, now: Instant) -> bool {
        self.started.get() >= limits.max_requests
            || limits.max_age.is_some_and(|age| now.duration_since(self.born) > age)
            || (self.streams.get() == 0 && now.duration_since(self.used.get()) > limits.idle_timeout)
    }

    /// Sends a request and waits for the head of its answer, whose body takes the guards.
    pub(crate) async fn exchange(
        &self,
        head: &Parts,
        tls: bool,
        body: Body,
        patience: Patience,
        interim: Option<&Rc<dyn Interim>>,
        guards: &mut Guards,
    ) -> Result<Response<Body>, Broken> {
        let reused = self.started.get() > 0;
        self.started.set(self.started.get().saturating_add(1));
        self.streams.set(self.streams.get() + 1);
        self.used.set(Instant::now());
        let streaming = Streaming(self.streams.clone());
        let timer = Timer::new();
        timer.arm(patience.head);
        let broken = |failure: Failure, stale: bool| Broken { failure, stale };

        let request = outgoing(head, tls, &body).map_err(|failure| broken(failure, false))?;
        let mut ready_to_send = pin!(self.send.clone().ready());
        let mut send = poll_fn(|cx| match ready_to_send.as_mut().poll(cx) {
            Poll::Ready(Ok(send)) => Poll::Ready(Ok(send)),
            Poll::Ready(Err(error)) => {
                let failure = Failure::upstream(Stage::Send, Problem::UpstreamReset, error).never_sent();
                Poll::Ready(Err(broken(failure, reused)))
            }
            Poll::Pending => {
                ready!(timer.poll(cx));
                let failure = Failure::upstream(Stage::Send, Problem::UpstreamTimeout, "no stream in time");
                Poll::Ready(Err(broken(failure.never_sent(), false)))
            }
        })
        .await?;
        let empty = body.is_empty();
        let (response, stream) = send.send_request(request, empty).map_err(|error| {
            let failure = Failure::upstream(Stage::Send, Problem::UpstreamReset, error).never_sent();
            broken(failure, reused)
        })?;
        let mut upload = (!empty).then(|| Box::new(Upload::new(stream, body)));
        let mut response = pin!(response);
        let answer = poll_fn(|cx| {
            if let Some(sending) = &mut upload {
                let before = sending.sent;
                if let Poll::Ready(sent) = sending.poll(cx) {
                    if let Err(crate::conn::h2::Unsent::Source(failure)) = sent {
                        return Poll::Ready(Err(failure));
                    }
                    upload = None;
                    timer.arm(patience.head);
                } else if !sending.waits_for_sink() {
                    // The client is waited for, not the upstream.
                    timer.disarm();
                } else if sending.sent != before || !timer.is_armed() {
                    timer.arm(patience.head);
                }
            }
            if let Some(interim) = interim {
                while let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
                    interim.send(head.into_parts().0);
                }
            }
            match response.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(refused(&error))),
                Poll::Pending => {
                    ready!(timer.poll(cx));
                    let text = "no answer in time";
                    Poll::Ready(Err(Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, text)))
                }
            }
        })
        .await
        .map_err(|failure| broken(failure, false))?;
        let (parts, recv) = answer.into_parts();
        let length =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = if recv.is_end_stream() && upload.is_none() {
            *guards = Guards::default();
            Body::Empty
        } else {
            let guards = Guards { streaming: Some(Box::new(streaming)), ..std::mem::take(guards) };
            Body::Stream(StreamBody::answer(recv, length, patience.idle, upload, guards))
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// `REFUSED_STREAM`, and a GOAWAY that did not reach our stream, mean that nothing was done (RFC 9113 §8.7).
fn refused(error: &h2::Error) -> Failure {
    let failure = Failure::upstream(Stage::FirstByte, Problem::UpstreamReset, error);
    let untouched = error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR));
    if untouched { failure.never_sent() } else { failure }
}

fn outgoing(head: &Parts, tls: bool, body: &Body) -> Result<Request<()>, Failure> {
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
    if let Some(length) = body.length()
        && (length > 0 || matches!(head.method, Method::POST | Method::PUT | Method::PATCH))
        && !crate::failure::is_grpc(headers)
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(request)
}
