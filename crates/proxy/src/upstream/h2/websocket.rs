//! WebSocket to an HTTP/2 upstream, by extended CONNECT (RFC 8441).
//!
//! What the upstream agrees to with a 2xx is told to the rest of the gateway as the 101 that an HTTP/1.1 upstream would
//! have sent, and to the client in the words of its own version.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, ready},
};

use bytes::Bytes;
use h2::ext::Protocol;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts, response};

use super::{Channel, outgoing};
use crate::{
    body::Body,
    call::Upgrade,
    conn::{
        h2::{StreamBody, content_length},
        tunnel::{Far, Tunnel},
    },
    failure::{Failure, Problem, Stage},
    timer::Timer,
    upstream::{
        Guards,
        h1::{Broken, Patience},
        switch,
    },
};

impl Channel {
    /// Asks for a WebSocket, and waits for the head of the answer, which opens a tunnel when it is a 2xx. Nothing of
    /// the client's goes out before that.
    pub(in crate::upstream) async fn websocket(
        &self,
        head: &Parts,
        upgrade: Upgrade,
        tls: bool,
        patience: Patience,
        guards: &mut Guards,
    ) -> Result<Response<Body>, Broken> {
        let broken = |failure: Failure| Broken { failure, stale: false };
        if upgrade == Upgrade::Connection && !switch::has_key(&head.headers) {
            // An HTTP/1.1 upstream judges that for itself; here nobody else would.
            let failure = Failure::client(Stage::Guard, Problem::BadRequest);
            return Err(broken(failure.with_hint("`Sec-WebSocket-Key` is not 16 bytes in base64")));
        }
        let (reused, streaming, heard) = self.enter(patience.now);
        let timer = Timer::new();
        timer.arm_at(patience.now, patience.head);
        self.takes_websockets(&timer, reused).await?;
        let request = extended(head, tls).map_err(broken)?;
        let (response, mut stream) =
            self.begin(request, false, reused, &timer).await.inspect_err(|broken| {
                if broken.failure.problem() == Problem::UpstreamTimeout {
                    self.doubt(heard);
                }
            })?;
        let mut response = pin!(response);
        let answer = poll_fn(|cx| match response.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broke(&error))),
            Poll::Pending => {
                ready!(timer.poll(cx));
                Poll::Ready(Err(self.silent(heard)))
            }
        });
        let (mut parts, recv) = answer.await.map_err(broken)?.into_parts();
        let guards = Guards { streaming: Some(Box::new(streaming)), ..std::mem::take(guards) };
        if !parts.status.is_success() {
            // An answer like any other: our side of the stream ends.
            let _ = stream.send_data(Bytes::new(), true);
            if recv.is_end_stream() {
                return Ok(Response::from_parts(parts, Body::Empty));
            }
            let length = content_length(&parts.headers);
            let body = StreamBody::answer(recv, length, patience.idle, None, guards);
            return Ok(Response::from_parts(parts, Body::Stream(body)));
        }
        agree(&mut parts, head);
        let tunnel = Tunnel {
            far: Far::Stream(Box::new((stream, recv))),
            early: Bytes::new(),
            guards: Box::new(guards),
            held: None,
            watch: None,
        };
        Ok(Response::from_parts(parts, Body::Tunnel(Box::new(tunnel))))
    }

    /// Waits until the upstream has said what it takes, and fails where WebSockets are not among that.
    async fn takes_websockets(&self, timer: &Timer, reused: bool) -> Result<(), Broken> {
        let mut heard = pin!(self.greeting.wait());
        poll_fn(|cx| match heard.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => {
                ready!(timer.poll(cx));
                let failure = Failure::upstream(Stage::Send, Problem::UpstreamTimeout, "no SETTINGS in time");
                self.closed.set(true);
                Poll::Ready(Err(Broken { failure: failure.never_sent(), stale: false }))
            }
        })
        .await?;
        if self.send.is_extended_connect_protocol_enabled() {
            return Ok(());
        }
        if self.is_closed() {
            let failure =
                Failure::upstream(Stage::Send, Problem::UpstreamReset, "closed before its SETTINGS");
            return Err(Broken { failure: failure.never_sent(), stale: reused });
        }
        let failure = Failure::gateway(Stage::Send, Problem::NotImplemented)
            .with_hint("the upstream speaks HTTP/2 and does not announce extended CONNECT (RFC 8441), which a WebSocket needs");
        Err(Broken { failure: failure.never_sent(), stale: false })
    }
}

/// The extended CONNECT that stands for a request to upgrade (RFC 8441 §5).
fn extended(head: &Parts, tls: bool) -> Result<Request<()>, Failure> {
    let mut request = outgoing(head, tls, Some(0))?;
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    Ok(request)
}

/// Makes the upstream's agreement the one of HTTP/1.1, down to the proof that the client's key was read.
fn agree(parts: &mut response::Parts, asked: &Parts) {
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    let headers = &mut parts.headers;
    // What follows has no length (RFC 9110 §9.3.6).
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    if let Some(accept) = switch::accept(asked) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
}
