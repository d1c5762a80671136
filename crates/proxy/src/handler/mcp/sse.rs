//! Events of a server's stream, with what a client needs to take a stream up again: ids and pauses.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::handler) struct Event {
    /// Its type; empty for `message`.
    pub(in crate::handler) kind: String,
    pub(in crate::handler) data: Vec<u8>,
    /// Its id, when it has one of its own.
    pub(in crate::handler) id: Option<String>,
    /// How long a client waits before it comes again, in milliseconds.
    pub(in crate::handler) retry: Option<u64>,
}

/// Bytes of one event; a server that sends more is cut off.
pub(in crate::handler) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An event is larger than [`EVENT_BYTES_MAX`].
#[derive(Debug)]
pub(in crate::handler) struct TooLarge;

/// Reads events from bytes, however they are split (WHATWG HTML §9.2).
#[derive(Debug, Default)]
pub(in crate::handler) struct Reader {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    is_begun: bool,
    after_cr: bool,
}

impl Reader {
    /// Takes bytes; whole events are appended.
    pub(in crate::handler) fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), TooLarge> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', rest);
            let (piece, after) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &rest[rest.len()..]),
            };
            if self.line.len() + self.event.data.len() + piece.len() > EVENT_BYTES_MAX {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(piece);
            if let Some(end) = end {
                self.after_cr = rest.get(end) == Some(&b'\r');
                let line = std::mem::take(&mut self.line);
                self.take(&line, out);
                self.line = line;
                self.line.clear();
            }
            rest = after;
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<Event>) {
        let line = if std::mem::replace(&mut self.is_begun, true) {
            line
        } else {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        };
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let has_data = std::mem::take(&mut self.has_data);
            // An event of an id alone tells where a stream begins, one of `retry` alone when to come again.
            if has_data || event.id.is_some() || event.retry.is_some() {
                out.push(event);
            }
            return;
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => self.event.id = String::from_utf8(value.to_vec()).ok(),
            b"retry" => self.event.retry = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            _ => {}
        }
    }
}

impl Event {
    /// An event of a message.
    pub(in crate::handler) fn message(text: impl Into<Vec<u8>>) -> Self {
        Self { data: text.into(), ..Self::default() }
    }

    /// Appends it as it goes over the wire.
    pub(in crate::handler) fn write(&self, out: &mut Vec<u8>) {
        if let Some(id) = &self.id {
            line(b"id: ", id.as_bytes(), out);
        }
        if let Some(retry) = self.retry {
            line(b"retry: ", retry.to_string().as_bytes(), out);
        }
        line(b"event: ", if self.kind.is_empty() { b"message" } else { self.kind.as_bytes() }, out);
        for part in self.data.split(|byte| *byte == b'\n') {
            line(b"data: ", part, out);
        }
        out.push(b'\n');
    }

    /// It alone, as it goes over the wire.
    pub(in crate::handler) fn bytes(&self) -> bytes::Bytes {
        let mut out = Vec::with_capacity(self.data.len() + 64);
        self.write(&mut out);
        out.into()
    }
}

fn line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\nid: 1\ndata:\n\nevent: message\r\ndata: {\"a\":1}\r\nid: x y\r\n\r\nretry: 500\n\ndata: a\ndata: b\r\rdata: lost";

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut out) = (Reader::default(), Vec::new());
        pieces.iter().for_each(|piece| reader.push(piece, &mut out).expect("small"));
        out
    }

    #[test]
    fn any_split_gives_the_same_events_with_their_ids() {
        let whole = read(&[STREAM.as_bytes()]);
        let id = |text: &str| Some(text.to_owned());
        let want = [
            Event { id: id("1"), ..Event::default() },
            Event { kind: "message".into(), data: b"{\"a\":1}".to_vec(), id: id("x y"), retry: None },
            Event { retry: Some(500), ..Event::default() },
            Event::message("a\nb"),
        ];
        assert_eq!(whole, want);
        for at in 0..=STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(at);
            assert_eq!(read(&[head, tail]), whole, "split at {at}");
        }
        let mut written = Vec::new();
        whole.iter().for_each(|event| event.write(&mut written));
        let again: Vec<Event> = read(&[&written]).into_iter().collect();
        assert_eq!(again.len(), whole.len());
        assert_eq!(again[1], whole[1]);
    }

    #[test]
    fn an_event_without_an_end_is_bounded() {
        let (mut reader, mut out) = (Reader::default(), Vec::new());
        let piece = vec![b'x'; 1024 * 1024];
        assert!((0..64).any(|_| reader.push(&piece, &mut out).is_err()));
    }
}
