//! Writes an answer to an HTTP/1 client: head and first bytes in one write, the rest as it comes.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode, Version, header};
use http_body::Body as _;
use http1::{BodyEncoder, Framing};

use super::{h1::Conn, tunnel::Tunnel};
use crate::{
    body::Body,
    call::{Call, client_left},
    failure::{Failure, Problem, Side, Stage},
    upstream::switch,
};

/// Bytes gathered before a write; larger pieces of a body are written as they are, without a copy.
const GATHER_BYTES_MAX: usize = 16 * 1024;

/// How the answer is to be framed.
pub(crate) struct Sending<'a> {
    pub(crate) method: &'a Method,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
}

/// What became of the connection.
pub(crate) enum Sent {
    /// The answer is complete.
    Whole,
    /// The protocol was switched; this is the other side.
    Upgraded(Tunnel),
}

/// Writes a refusal of something that was no request.
pub(crate) async fn refusal(
    conn: &Conn,
    response: Response<Body>,
    out: &mut BytesMut,
) -> Result<(), Failure> {
    let (parts, body) = response.into_parts();
    let framing = Framing::Length(body.length().unwrap_or_default());
    out.clear();
    encode_head(&parts, framing, &Method::GET, false, Version::HTTP_11, out)?;
    if let Body::Full(bytes) = body {
        out.extend_from_slice(&bytes);
    }
    write(conn, None, out, &mut Bytes::new()).await
}

/// Writes an answer to its end.
pub(crate) async fn send(
    conn: &Conn,
    call: &mut Call,
    response: Response<Body>,
    how: &Sending<'_>,
    out: &mut BytesMut,
) -> Result<Sent, Failure> {
    let (parts, mut body) = response.into_parts();
    out.clear();
    // An interim answer that was cut by a full socket is finished first.
    conn.finish_interim(out);
    if call.upgrade.is_some() && switch::opens(how.method, parts.status) {
        encode_head(&parts, Framing::None, how.method, true, Version::HTTP_11, out)?;
        let Some(mut tunnel) = body.into_tunnel() else {
            return Err(
                Failure::gateway(Stage::Body, Problem::Internal).with_detail("a switch without a tunnel")
            );
        };
        // Bytes that came with the 101 belong to the client.
        if tunnel.watch.is_none() {
            out.extend_from_slice(&std::mem::take(&mut tunnel.early));
        }
        write(conn, None, out, &mut Bytes::new()).await?;
        return Ok(Sent::Upgraded(tunnel));
    }
    let framing = framing(&parts, &body, how);
    let keep_alive = how.keep_alive && framing != Framing::UntilClose;
    encode_head(&parts, framing, how.method, keep_alive, how.version, out)?;
    if framing == Framing::None {
        // HEAD and the like: the upstream's connection is freed, nothing is sent.
        drop(body);
        write(conn, None, out, &mut Bytes::new()).await?;
        return Ok(Sent::Whole);
    }
    let mut encoder = BodyEncoder::new(framing);
    stream(conn, call, &mut body, &mut encoder, framing, out).await?;
    Ok(Sent::Whole)
}

async fn stream(
    conn: &Conn,
    call: &mut Call,
    body: &mut Body,
    encoder: &mut BodyEncoder,
    framing: Framing,
    out: &mut BytesMut,
) -> Result<(), Failure> {
    let broken = |error: http1::EncodeError| {
        Failure::new(Side::Upstream, Stage::Body, Problem::BadUpstreamAnswer).with_detail(error.to_string())
    };
    loop {
        let next = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Next::Frame(frame)),
            Poll::Pending if !out.is_empty() => Poll::Ready(Next::Flush),
            Poll::Pending => {
                // What is wrapped may not have been asked for a frame just now.
                if let Body::Boxed(_) = body {
                    body.drive_upload(cx);
                }
                conn.poll_gone_while_answering(cx).map(|()| Next::Gone)
            }
        })
        .await;
        match next {
            Next::Frame(Some(Ok(frame))) => match frame.into_data() {
                Ok(mut data) => {
                    call.record.response_bytes += data.len() as u64;
                    if out.len() + data.len() <= GATHER_BYTES_MAX {
                        encoder.data(&data, out).map_err(broken)?;
                        continue;
                    }
                    encoder.data_framing(data.len(), out).map_err(broken)?;
                    write(conn, Some(body), out, &mut data).await?;
                    encoder.data_end(out);
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        call.note_grpc_status(&trailers);
                        let trailers = (framing == Framing::Chunked).then_some(&trailers);
                        encoder.end(trailers, out).map_err(broken)?;
                        return write(conn, None, out, &mut Bytes::new()).await;
                    }
                }
            },
            Next::Frame(None) => {
                encoder.end(None, out).map_err(broken)?;
                return write(conn, None, out, &mut Bytes::new()).await;
            }
            // What has come is sent, so that the client sees the same broken answer; no end is written.
            Next::Frame(Some(Err(failure))) => {
                let _ = write(conn, None, out, &mut Bytes::new()).await;
                return Err(failure);
            }
            Next::Flush => write(conn, Some(body), out, &mut Bytes::new()).await?,
            Next::Gone => return Err(client_left(Stage::Body)),
        }
    }
}

enum Next {
    Frame(Option<Result<http_body::Frame<Bytes>, Failure>>),
    Flush,
    Gone,
}

/// Writes everything, and meanwhile keeps the request's body flowing to the upstream.
async fn write(
    conn: &Conn,
    mut body: Option<&mut Body>,
    out: &mut BytesMut,
    data: &mut Bytes,
) -> Result<(), Failure> {
    if out.is_empty() && data.is_empty() {
        return Ok(());
    }
    let mut left = usize::MAX;
    poll_fn(|cx: &mut Context<'_>| {
        let wrote = if data.is_empty() {
            conn.wire.poll_write(cx, out)
        } else {
            conn.wire.poll_write_pair(cx, out, data)
        };
        match wrote {
            Poll::Ready(Ok(())) => {
                if left != usize::MAX {
                    conn.timer.disarm();
                }
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Err(client_left(Stage::Body))),
            Poll::Pending => {}
        }
        if let Some(body) = body.as_deref_mut() {
            body.drive_upload(cx);
        }
        // A client that reads slowly is waited for; one that reads nothing is not.
        if out.len() + data.len() != left || !conn.timer.is_armed() {
            left = out.len() + data.len();
            conn.timer.arm(conn.body_timeout);
        }
        ready!(conn.timer.poll(cx));
        Poll::Ready(Err(client_left(Stage::Body).with_detail("the client does not read")))
    })
    .await
}

fn framing(parts: &http::response::Parts, body: &Body, how: &Sending<'_>) -> Framing {
    if how.method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED
        || parts.status.is_informational()
    {
        return Framing::None;
    }
    match body.length() {
        Some(length) => Framing::Length(length),
        None if how.version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

fn encode_head(
    parts: &http::response::Parts,
    framing: Framing,
    method: &Method,
    keep_alive: bool,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), Failure> {
    debug_assert!(!parts.headers.contains_key(header::TRANSFER_ENCODING) || framing != Framing::None);
    http1::encode_response_head(parts, framing, method, keep_alive, version, out)
        .map_err(|error| Failure::gateway(Stage::Body, Problem::Internal).with_detail(error.to_string()))
}
