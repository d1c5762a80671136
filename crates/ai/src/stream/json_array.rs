//! A JSON array that grows: how Gemini streams when nobody asks for `alt=sse`.

use super::{FRAME_BYTES_MAX, Frame, FrameError};

/// Reads the array's elements, each an object, from bytes, however they are split.
#[derive(Debug, Default)]
pub struct Reader {
    object: Vec<u8>,
    depth: u32,
    in_text: bool,
    escaped: bool,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Inside,
    After,
}

impl Reader {
    /// Takes bytes; whole elements are appended to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Frame>) -> Result<(), FrameError> {
        for byte in bytes {
            self.byte(*byte, out)?;
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<Frame>) -> Result<(), FrameError> {
        const MALFORMED: FrameError = FrameError::Malformed("a JSON array of objects");
        if self.depth == 0 {
            self.state = match (self.state, byte) {
                (state, b' ' | b'\t' | b'\r' | b'\n') => state,
                (State::Before, b'[') | (State::Inside, b',') => State::Inside,
                (State::Inside, b']') => State::After,
                // An error comes as an object alone.
                (State::Before | State::Inside, b'{') => {
                    self.depth = 1;
                    self.object.push(byte);
                    State::Inside
                }
                _ => return Err(MALFORMED),
            };
            return Ok(());
        }
        if self.object.len() >= FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        self.object.push(byte);
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        if self.depth == 0 {
            out.push(Frame { data: std::mem::take(&mut self.object), ..Frame::default() });
        }
        Ok(())
    }
}

/// Appends an element: the first opens the array, and [`end`] closes it.
pub fn write_json(first: bool, value: &impl serde::Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(if first { b"[" } else { b",\r\n" });
    // What is written has text keys and finite numbers, and a vector takes everything.
    let _ = serde_json::to_writer(&mut *out, value);
}

/// Closes the array; one that had no elements is opened first.
pub fn end(empty: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if empty { b"[]" } else { b"]" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_elements() {
        let stream = br#"[{"a":"]}\"{"}, {"b":[{"c":1}]}
            ,{}]
        "#;
        for first in 0..=stream.len() {
            let mut reader = Reader::default();
            let mut out = Vec::new();
            reader.push(&stream[..first], &mut out).expect("well formed");
            reader.push(&stream[first..], &mut out).expect("well formed");
            let got: Vec<&[u8]> = out.iter().map(|frame| &frame.data[..]).collect();
            assert_eq!(got, [&br#"{"a":"]}\"{"}"#[..], br#"{"b":[{"c":1}]}"#, b"{}"], "split at {first}");
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for bytes in [&b"x"[..], b"[1]", b"[]x", b"]"] {
            assert!(Reader::default().push(bytes, &mut Vec::new()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        write_json(true, &serde_json::json!({"a": 1}), &mut out);
        write_json(false, &serde_json::json!({"b": 2}), &mut out);
        end(false, &mut out);
        let mut frames = Vec::new();
        Reader::default().push(&out, &mut frames).expect("an array");
        assert_eq!(frames.len(), 2);
    }
}
