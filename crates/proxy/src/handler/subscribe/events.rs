//! Messages as server-sent events.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Served;
use crate::{
    body::{Body, Wrapper},
    broker::feed::Item,
    failure::Failure,
};

/// Bytes of events that are sent together.
const TOGETHER_BYTES: usize = 16 * 1024;

/// A stream of events, from its opening to its end.
struct Events {
    served: Served,
    next_beat: Pin<Box<Sleep>>,
    is_open: bool,
    has_ended: bool,
}

pub(super) fn answer(served: Served) -> Response<Body> {
    let next_beat = Box::pin(tokio::time::sleep(served.heartbeat));
    let events = Events { served, next_beat, is_open: false, has_ended: false };
    let mut response = Response::new(Body::boxed(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Writes one event. What is no text is base64, and its event is `binary`.
fn write(item: &Item, out: &mut Vec<u8>) {
    if let Some(id) = &item.id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    match std::str::from_utf8(&item.payload) {
        Ok(text) => {
            // Any of these ends a line there.
            for line in text.split("\r\n").flat_map(|part| part.split(['\r', '\n'])) {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
        }
        Err(_) => {
            out.extend_from_slice(
                format!("event: binary\ndata: {}\n", STANDARD.encode(&item.payload)).as_bytes(),
            );
        }
    }
    out.push(b'\n');
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        if this.has_ended {
            return Poll::Ready(None);
        }
        let data = |out: Vec<u8>| Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
        if !std::mem::replace(&mut this.is_open, true) {
            return data(b"retry: 1000\n\n".to_vec());
        }
        if this.served.end.as_mut().poll(cx).is_ready() {
            this.has_ended = true;
            return Poll::Ready(None);
        }
        let mut out = Vec::new();
        while out.len() < TOGETHER_BYTES {
            match this.served.feed.items.poll_recv(cx) {
                Poll::Ready(Some(item)) => {
                    write(&item, &mut out);
                    this.served.record.sent();
                }
                Poll::Ready(None) => {
                    this.has_ended = true;
                    if this.served.feed.was_slow() {
                        out.extend_from_slice(b": too slow, come again\n\n");
                    }
                    break;
                }
                Poll::Pending => break,
            }
        }
        if out.is_empty() && this.has_ended {
            return Poll::Ready(None);
        }
        let has_beaten = this.next_beat.as_mut().poll(cx).is_ready();
        if has_beaten && out.is_empty() {
            out.extend_from_slice(b":\n\n");
        }
        if out.is_empty() {
            return Poll::Pending;
        }
        let next = Instant::now() + this.served.heartbeat;
        this.next_beat.as_mut().reset(next);
        data(out)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Wrapper for Events {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_payload_is_more_than_one_event() {
        for (payload, want) in [
            (&b"a"[..], "id: 7\ndata: a\n\n"),
            (b"", "id: 7\ndata: \n\n"),
            (
                b"a\n\nid: 9\r\rdata: b\r\nc",
                "id: 7\ndata: a\ndata: \ndata: id: 9\ndata: \ndata: data: b\ndata: c\n\n",
            ),
            (b"\xff", "id: 7\nevent: binary\ndata: /w==\n\n"),
        ] {
            let item = Item {
                id: Some("7".to_owned()),
                subject: "s".into(),
                key: None,
                payload: Bytes::copy_from_slice(payload),
            };
            let mut out = Vec::new();
            write(&item, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }
}
