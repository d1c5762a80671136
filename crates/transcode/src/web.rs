//! gRPC-Web: gRPC for those who cannot read trailers (github.com/grpc/grpc, doc/PROTOCOL-WEB.md).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;

use crate::frame;

/// Flag of the frame that holds the trailers.
pub const TRAILERS: u8 = 0x80;

/// A form of gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// All of it is base64.
    pub is_text: bool,
    /// Messages are JSON.
    pub is_json: bool,
}

impl Form {
    /// The form that a `content-type` says; none when it is no gRPC-Web.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let rest = essence.strip_prefix("application/grpc-web")?;
        let (is_text, codec) = match rest.strip_prefix("-text") {
            Some(codec) => (true, codec),
            None => (false, rest),
        };
        match codec {
            "" | "+proto" => Some(Self { is_text, is_json: false }),
            "+json" => Some(Self { is_text, is_json: true }),
            _ => None,
        }
    }

    /// The `content-type` of its answers.
    pub fn content_type(self) -> &'static str {
        match (self.is_text, self.is_json) {
            (false, false) => "application/grpc-web+proto",
            (false, true) => "application/grpc-web+json",
            (true, false) => "application/grpc-web-text+proto",
            (true, true) => "application/grpc-web-text+json",
        }
    }
}

/// The last frame of an answer: the trailers as a head of HTTP/1 has them.
pub fn trailers(from: &HeaderMap, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    for (name, value) in from {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    frame::put(TRAILERS, &text, out);
}

/// Writes bytes as text, by themselves: padding may stand within the whole.
pub fn encode(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(data).as_bytes());
}

/// Reads base64 that comes in pieces; each piece may be padded.
#[derive(Debug, Default)]
pub struct TextReader {
    left: Vec<u8>,
}

impl TextReader {
    /// Takes what has come, and gives what it says.
    pub fn read(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.left.extend(data.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let whole = self.left.len() - self.left.len() % 4;
        // A run ends where padding does.
        let mut begin = 0;
        while begin < whole {
            let run = self.left.get(begin..whole).unwrap_or_default();
            let padded = run.iter().position(|byte| *byte == b'=').map_or(run.len(), |at| (at / 4 + 1) * 4);
            let text = run.get(..padded.min(run.len())).unwrap_or_default();
            STANDARD.decode_vec(text, out).map_err(|error| format!("this is no base64: {error}"))?;
            begin += padded;
        }
        self.left.drain(..whole);
        Ok(())
    }

    /// Whether something is left over.
    pub fn is_within(&self) -> bool {
        !self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_by_their_types() {
        for (kind, want) in [
            ("application/grpc-web", Some((false, false))),
            ("application/grpc-web+proto; charset=x", Some((false, false))),
            ("application/grpc-web-text", Some((true, false))),
            ("Application/gRPC-Web-Text+proto", Some((true, false))),
            ("application/grpc-web+json", Some((false, true))),
            ("application/grpc", None),
            ("application/grpc-webby", None),
            ("application/grpc-web+thrift", None),
        ] {
            assert_eq!(Form::of(kind).map(|form| (form.is_text, form.is_json)), want, "{kind}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_is_read_however_it_is_cut_and_padded(
            pieces in proptest::collection::vec(proptest::collection::vec(0u8.., 0..20), 0..5),
            cut in 1usize..9,
        ) {
            let mut text = Vec::new();
            pieces.iter().for_each(|piece| encode(piece, &mut text));
            let (mut reader, mut out) = (TextReader::default(), Vec::new());
            for chunk in text.chunks(cut) {
                reader.read(chunk, &mut out).expect("base64");
            }
            proptest::prop_assert!(!reader.is_within());
            proptest::prop_assert_eq!(out, pieces.concat());
        }
    }
}
