//! Messages over a WebSocket: each is a JSON object with its id, its subject and its data.
//!
//! The client's side is a tunnel like any other; its far end is a pair of sockets of the process's own, which a task of
//! the worker's serves.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json, value::RawValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::oneshot,
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::Served as Client;
use crate::{
    body::Body,
    broker::feed::Item,
    conn::{
        tunnel::{Far, Tunnel},
        watched::{Onward, Side, Watch},
        wire::{Io, Wire},
    },
    failure::{Failure, Problem, Stage},
    handler::ai::realtime::frames::{self, Broken, Frames},
};

const PING: u8 = 9;
const PONG: u8 = 10;
/// Whoever is served beats of their own accord: nothing else ends them.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of what a client may send: it has nothing to say.
const CLIENT_BYTES_MAX: u64 = 4096;

/// Why a WebSocket is closed (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;
const STRANGE: u16 = 1002;
const TOO_LARGE: u16 = 1009;
const TRY_AGAIN: u16 = 1013;

pub(super) fn open(served: Client, accept: Option<HeaderValue>) -> Result<Response<Body>, Failure> {
    let (near, far) = UnixStream::pair().map_err(|error| {
        Failure::gateway(Stage::Body, Problem::Internal).with_detail(format!("no pair of sockets: {error}"))
    })?;
    let patience = served.heartbeat.saturating_mul(2);
    let (tell, told) = oneshot::channel();
    tokio::task::spawn_local(async move {
        if serve(served, near).await == Served::Stuck {
            let _ = tell.send(());
        }
    });
    let tunnel = Tunnel {
        far: Far::Wire(Box::new(Wire::new(Io::Unix(far)))),
        early: Bytes::new(),
        guards: Box::default(),
        held: None,
        watch: Some(Box::new(Ends { told: Some(told), patience, last: None })),
    };
    let mut response = Response::new(Body::Tunnel(Box::new(tunnel)));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(accept) = accept {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

/// Ends a client's connection when nobody serves it any more: what it does not take would keep it open.
struct Ends {
    /// Told when the client takes nothing; dropped when it was served to the end.
    told: Option<oneshot::Receiver<()>>,
    /// How long it may take the last that was said.
    patience: Duration,
    last: Option<Pin<Box<Sleep>>>,
}

impl Watch for Ends {
    fn by_client(&mut self, data: &[u8], on: &mut Onward) {
        on.to_upstream.extend_from_slice(data);
    }

    fn by_upstream(&mut self, data: &[u8], on: &mut Onward) {
        on.to_client.extend_from_slice(data);
    }

    fn reads(&self, _: Side) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>, on: &mut Onward) -> Poll<()> {
        if let Some(told) = &mut self.told {
            let is_stuck = ready!(Pin::new(told).poll(cx)).is_ok();
            self.told = None;
            self.last = Some(Box::pin(sleep(if is_stuck { Duration::ZERO } else { self.patience })));
        }
        let Some(last) = &mut self.last else { return Poll::Pending };
        ready!(last.as_mut().poll(cx));
        self.last = None;
        on.is_over = true;
        Poll::Ready(())
    }

    fn deadline(&self) -> std::time::Instant {
        std::time::Instant::now() + FAR
    }

    fn time_out(&mut self, _: &mut Onward) {}
}

/// A message as its text.
fn text(item: &Item) -> String {
    let subject = Value::from(item.subject.as_str());
    let data = match std::str::from_utf8(&item.payload) {
        // JSON goes on as it was written.
        Ok(text) if serde_json::from_str::<&RawValue>(text).is_ok() => format!("\"data\":{}", text.trim()),
        Ok(text) => format!("\"data\":{}", Value::from(text)),
        Err(_) => {
            use base64::{Engine, engine::general_purpose::STANDARD};
            format!("\"data_base64\":{}", json!(STANDARD.encode(&item.payload)))
        }
    };
    let id = item.id.as_ref().map(|id| format!("\"id\":{},", Value::from(id.as_str()))).unwrap_or_default();
    format!("{{{id}\"subject\":{subject},{data}}}")
}

fn close(code: u16, out: &mut BytesMut) {
    frames::written(frames::CLOSE, &code.to_be_bytes(), None, out);
}

/// How serving a client ended.
#[derive(Debug, PartialEq, Eq)]
enum Served {
    /// It may hear the last that was said.
    Over,
    /// It takes nothing.
    Stuck,
}

/// Serves one client until either side has enough.
async fn serve(mut served: Client, mut socket: UnixStream) -> Served {
    let mut came = Frames::new(CLIENT_BYTES_MAX);
    let mut input = BytesMut::with_capacity(1024);
    let mut out = BytesMut::new();
    let mut beat = Instant::now() + served.heartbeat;
    let mut is_alive = true;
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            () = served.end.as_mut() => {
                close(GOING_AWAY, &mut out);
                is_over = true;
            }
            read = socket.read_buf(&mut input) => match read {
                Ok(0) | Err(_) => return Served::Over,
                Ok(_) => {
                    is_alive = true;
                    came.push(&input.split());
                    is_over = heard(&mut came, &mut out);
                }
            },
            item = served.feed.items.recv() => match item {
                Some(item) => {
                    frames::written(frames::TEXT, text(&item).as_bytes(), None, &mut out);
                    served.record.sent();
                }
                None => {
                    close(if served.feed.was_slow() { TRY_AGAIN } else { GOING_AWAY }, &mut out);
                    is_over = true;
                }
            },
            () = sleep_until(beat) => {
                // Whoever did not answer to the last one is not there.
                if !std::mem::replace(&mut is_alive, false) {
                    return Served::Stuck;
                }
                frames::written(PING, b"", None, &mut out);
                beat = Instant::now() + served.heartbeat;
            }
        }
        // Whoever takes nothing for so long is not there either.
        let patience = served.heartbeat.saturating_mul(2);
        match tokio::time::timeout(patience, socket.write_all_buf(&mut out)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Served::Over,
            Err(_) => return Served::Stuck,
        }
    }
    let _ = socket.shutdown().await;
    Served::Over
}

/// Answers to what the client sent; true when that ends it.
fn heard(came: &mut Frames, out: &mut BytesMut) -> bool {
    loop {
        match came.next() {
            Ok(None) => return false,
            // RFC 6455 §5.1 has a server end such a connection.
            Ok(Some(frame)) if !frame.is_masked() => {
                close(STRANGE, out);
                return true;
            }
            Ok(Some(frame)) => match frame.opcode {
                frames::CLOSE => {
                    let mut said = Vec::new();
                    frame.read(&mut said);
                    frames::written(frames::CLOSE, said.get(..2).unwrap_or_default(), None, out);
                    return true;
                }
                PING => {
                    let mut said = Vec::new();
                    frame.read(&mut said);
                    frames::written(PONG, &said, None, out);
                }
                _ => {}
            },
            Err(broken) => {
                close(if broken == Broken::TooLarge { TOO_LARGE } else { STRANGE }, out);
                return true;
            }
        }
    }
}
