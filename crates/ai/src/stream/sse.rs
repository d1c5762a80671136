//! Server-Sent Events (WHATWG HTML §9.2), read and written.

use super::{FRAME_BYTES_MAX, Frame, FrameError};

/// Reads events from bytes, however they are split. Comments, `id` and `retry` are passed over.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    frame: Frame,
    has_data: bool,
    /// The last byte was CR: a LF after it belongs to the same line end.
    after_cr: bool,
    begun: bool,
}

impl Reader {
    /// Takes bytes; whole events are appended to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Frame>) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if bytes[0] == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.hold(bytes)?;
                break;
            };
            if self.line.is_empty() {
                self.take_line(&bytes[..end], out)?;
            } else {
                self.hold(&bytes[..end])?;
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, out)?;
                self.line = line;
                self.line.clear();
            }
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Whether all that came belongs to events that are whole.
    pub fn is_between(&self) -> bool {
        self.line.is_empty() && !self.has_data && self.frame == Frame::default()
    }

    /// The stream has ended: an event that only lacks its empty line is still one.
    pub fn finish(&mut self, out: &mut Vec<Frame>) {
        let line = std::mem::take(&mut self.line);
        // Lines that were held are within their bound.
        let _ = self.take_line(&line, out);
        self.dispatch(out);
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        if self.line.len() + self.frame.data.len() + bytes.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, mut line: &[u8], out: &mut Vec<Frame>) -> Result<(), FrameError> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(out);
            return Ok(());
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.frame.data.len() + value.len() > FRAME_BYTES_MAX {
                    return Err(FrameError::TooLarge);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.frame.data.push(b'\n');
                }
                self.frame.data.extend_from_slice(value);
            }
            b"event" => self.frame.event = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, out: &mut Vec<Frame>) {
        let frame = std::mem::take(&mut self.frame);
        if std::mem::take(&mut self.has_data) {
            out.push(frame);
        }
    }
}

/// Appends an event. `data` must be of one line, as JSON is that a serializer wrote.
pub fn write(event: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
    if let Some(event) = event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Appends an event whose data is a value as JSON.
pub fn write_json(event: Option<&str>, value: &impl serde::Serialize, out: &mut Vec<u8>) {
    if let Some(event) = event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    // What is written has text keys and finite numbers, and a vector takes everything.
    let _ = serde_json::to_writer(&mut *out, value);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut reader = Reader::default();
        let mut out = Vec::new();
        for piece in pieces {
            reader.push(piece, &mut out).expect("small");
        }
        reader.finish(&mut out);
        out.into_iter().map(|frame| (frame.event, String::from_utf8(frame.data).expect("text"))).collect()
    }

    const STREAM: &str = "\u{feff}: hello\n\ndata: 1\n\nevent: x\r\ndata: a\r\ndata:b\r\nid: 7\r\n\r\ndata\r\rdata:  two\n\nevent: lost\n\ndata: [DONE]";

    #[test]
    fn any_split_gives_the_same_events() {
        let whole = read(&[STREAM.as_bytes()]);
        let want = [("", "1"), ("x", "a\nb"), ("", ""), ("", " two"), ("", "[DONE]")];
        assert_eq!(whole, want.map(|(event, data)| (event.to_owned(), data.to_owned())));
        for first in 0..=STREAM.len() {
            let (a, rest) = STREAM.as_bytes().split_at(first);
            assert_eq!(read(&[a, rest]), whole, "split at {first}");
        }
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), whole);
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1024 * 1024];
        let mut out = Vec::new();
        let refused = (0..64).map(|_| reader.push(&piece, &mut out)).find(Result::is_err);
        assert_eq!(refused, Some(Err(FrameError::TooLarge)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        write(Some("ping"), b"{}", &mut out);
        write_json(None, &serde_json::json!({"a": "line\nline"}), &mut out);
        let want = [("ping", "{}"), ("", r#"{"a":"line\nline"}"#)];
        assert_eq!(read(&[&out]), want.map(|(event, data)| (event.to_owned(), data.to_owned())));
    }
}
