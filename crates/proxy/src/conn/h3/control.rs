//! The client's streams of one direction: its control stream, those of QPACK, and kinds that nobody knows.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use http3::{Code, ControlDecoder, Error, QpackDecoder, StreamKind};
use quinn::{Connection, RecvStream};

use super::code;

/// Streams that mean nothing, within [`MEMORY`]: of kinds that nobody knows, and those that end before they say theirs.
const USELESS_MAX: u32 = 1000;
/// How long what has no use is remembered: a browser's connection may live for a day.
const MEMORY: Duration = Duration::from_secs(10);
const CHUNK_BYTES_MAX: usize = 4096;

/// Streams of which there may be one.
#[derive(Default)]
struct Seen {
    control: Cell<bool>,
    encoder: Cell<bool>,
    decoder: Cell<bool>,
    useless: Cell<u32>,
    since: Cell<Option<Instant>>,
}

/// Whether what was counted since then is to be forgotten, and the count begins anew.
fn is_past(since: &Cell<Option<Instant>>) -> bool {
    let now = Instant::now();
    let is_past = since.get().is_none_or(|since| now.saturating_duration_since(since) >= MEMORY);
    if is_past {
        since.set(Some(now));
    }
    is_past
}

impl Seen {
    /// Counts a stream that means nothing.
    fn useless(&self) -> Result<(), Error> {
        if is_past(&self.since) {
            self.useless.set(0);
        }
        self.useless.set(self.useless.get() + 1);
        match self.useless.get() > USELESS_MAX {
            true => Err(Error::Connection(Code::EXCESSIVE_LOAD)),
            false => Ok(()),
        }
    }
}

/// Reads all of them for as long as the connection lives; what is wrong there ends it.
pub(super) async fn listen(connection: Connection) {
    let seen = Rc::<Seen>::default();
    // So many at a time as the client may open; they end with this.
    let mut open = tokio::task::JoinSet::new();
    while let Ok(stream) = connection.accept_uni().await {
        let (seen, connection) = (seen.clone(), connection.clone());
        open.spawn_local(async move {
            if let Err(Error::Connection(why) | Error::Stream(why)) = read(stream, &seen).await {
                connection.close(code(why), b"");
            }
        });
        while open.try_join_next().is_some() {}
    }
}

async fn read(mut stream: RecvStream, seen: &Seen) -> Result<(), Error> {
    let mut begun = BytesMut::new();
    let (kind, used) = loop {
        if let Some(told) = StreamKind::read(&begun)? {
            break told;
        }
        match stream.read_chunk(CHUNK_BYTES_MAX, true).await {
            Ok(Some(chunk)) => begun.extend_from_slice(&chunk.bytes),
            // It may end before it says what it is (RFC 9114 §6.2).
            _ => return seen.useless(),
        }
    };
    begun.advance(used);
    let one = |place: &Cell<bool>| match place.replace(true) {
        true => Err(Error::Connection(Code::STREAM_CREATION_ERROR)),
        false => Ok(()),
    };
    match kind {
        StreamKind::Unknown => {
            let _ = stream.stop(code(Code::STREAM_CREATION_ERROR));
            return seen.useless();
        }
        StreamKind::Control => one(&seen.control)?,
        StreamKind::Encoder => one(&seen.encoder)?,
        StreamKind::Decoder => one(&seen.decoder)?,
    }
    let mut reader = match kind {
        StreamKind::Control => Reader::Control(ControlDecoder::default()),
        _ => Reader::Qpack(QpackDecoder::new(kind)),
    };
    let mut chunk = begun.freeze();
    let since = Cell::default();
    loop {
        if is_past(&since) {
            reader.forgive();
        }
        reader.decode(&mut chunk)?;
        match stream.read_chunk(CHUNK_BYTES_MAX, true).await {
            Ok(Some(more)) => chunk = more.bytes,
            Err(quinn::ReadError::ConnectionLost(_)) => return Ok(()),
            // These have to stay open (RFC 9114 §6.2.1, RFC 9204 §4.2).
            Ok(None) | Err(_) => return Err(Error::Connection(Code::CLOSED_CRITICAL_STREAM)),
        }
    }
}

enum Reader {
    Control(ControlDecoder),
    Qpack(QpackDecoder),
}

impl Reader {
    fn forgive(&mut self) {
        match self {
            Self::Control(control) => control.forgive(),
            Self::Qpack(qpack) => qpack.forgive(),
        }
    }

    fn decode(&mut self, input: &mut Bytes) -> Result<(), Error> {
        match self {
            Self::Control(control) => control.decode(input),
            Self::Qpack(qpack) => qpack.decode(input),
        }
    }
}
