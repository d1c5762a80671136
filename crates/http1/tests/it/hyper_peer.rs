//! hyper, reading bytes from memory: what it makes of the same message.

use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, rt, service::service_fn};

/// How often a connection is polled before it counts as waiting for ever.
const POLLS_MAX: usize = 10_000;

/// One message as hyper read it; the body only if it ended well.
#[derive(Debug)]
pub struct Heard {
    pub start: String,
    pub status: StatusCode,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Option<Vec<u8>>,
    pub trailers: Vec<(String, Vec<u8>)>,
}

/// Gives its bytes, then the end; takes and forgets what is written.
struct Memory {
    bytes: Bytes,
    /// An answer must not come before the question.
    await_write: bool,
}

impl rt::Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.await_write {
            return Poll::Pending;
        }
        let len = buf.remaining().min(self.bytes.len());
        buf.put_slice(&self.bytes.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Memory {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.await_write = false;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

async fn heard(start: String, status: StatusCode, headers: &HeaderMap, body: Incoming) -> Heard {
    let headers = listed(headers);
    let (body, trailers) = match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().map(listed).unwrap_or_default();
            (Some(collected.to_bytes().to_vec()), trailers)
        }
        Err(_) => (None, Vec::new()),
    };
    Heard { start, status, headers, body, trailers }
}

/// The first request that hyper's server reads, if it accepts one.
pub fn first_request(bytes: &[u8]) -> Option<Heard> {
    let got = Rc::new(RefCell::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let got = Rc::clone(&got);
        async move {
            let (parts, body) = request.into_parts();
            let start = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
            let heard = heard(start, StatusCode::OK, &parts.headers, body).await;
            got.borrow_mut().get_or_insert(heard);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let io = Memory { bytes: Bytes::copy_from_slice(bytes), await_write: false };
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .auto_date_header(false)
            .max_headers(128)
            .serve_connection(io, service)
    );
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if connection.as_mut().poll(&mut cx).is_ready() || got.borrow().is_some() {
            break;
        }
    }
    got.take()
}

/// The final answer that hyper's client reads, if it accepts one.
pub fn final_response(bytes: &[u8], method: &Method) -> Option<Heard> {
    let io = Memory { bytes: Bytes::copy_from_slice(bytes), await_write: true };
    let whole = async {
        let builder = {
            let mut builder = hyper::client::conn::http1::Builder::new();
            builder.max_headers(128);
            builder
        };
        let (mut sender, connection) = builder.handshake(io).await.ok()?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method.clone();
        request.headers_mut().insert("host", http::HeaderValue::from_static("a"));
        let exchange = async {
            let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
            Some(heard(format!("{:?}", parts.version), parts.status, &parts.headers, body).await)
        };
        let mut connection = pin!(connection);
        let mut exchange = pin!(exchange);
        let mut closed = false;
        std::future::poll_fn(move |cx| {
            if !closed {
                closed = connection.as_mut().poll(cx).is_ready();
            }
            exchange.as_mut().poll(cx)
        })
        .await
    };
    let mut whole = pin!(whole);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(heard) = whole.as_mut().poll(&mut cx) {
            return heard;
        }
    }
    None
}
