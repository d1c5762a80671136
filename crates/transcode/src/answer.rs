//! A gRPC answer that is read as a stream, as each client reads it; and a client's stream as a gRPC server does.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use http::HeaderMap;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::{
    Wrong,
    binding::{Binding, Body, Said},
    connect,
    frame::{self, Broken, Reader},
    json::Json,
    schema::Schema,
    status::{Code, Status},
    web::{self, TextReader},
};

/// What is read and written at once, if no single message is more: what has come may become far more than it is, and is
/// turned into it piece by piece, as fast as somebody takes it.
pub const PIECE_BYTES: usize = 16 * 1024;

/// What messages are turned into.
pub enum Form {
    /// gRPC-Web.
    Web(web::Form),
    /// Connect, in envelopes.
    Connect {
        /// Messages are JSON.
        is_json: bool,
    },
    /// Server-sent events.
    Events(Arc<Binding>),
    /// A line of JSON for each.
    Lines(Arc<Binding>),
}

/// What turns the answer of a server into that of a client.
pub struct Answer {
    form: Form,
    schema: Option<Arc<Schema>>,
    output: Option<MessageDescriptor>,
    json: Arc<Json>,
    reader: Reader,
    bytes_max: usize,
    request_id: String,
    /// Messages so far.
    pub messages: u64,
    /// The type that the first says, where messages are bodies of any kind.
    pub kind: Option<String>,
}

impl Answer {
    /// An answer to a call of this output, which only JSON needs.
    pub fn new(
        form: Form,
        schema: Option<Arc<Schema>>,
        output: Option<MessageDescriptor>,
        json: Arc<Json>,
        bytes_max: usize,
        request_id: String,
    ) -> Self {
        Self {
            form,
            schema,
            output,
            json,
            reader: Reader::new(bytes_max),
            bytes_max,
            request_id,
            messages: 0,
            kind: None,
        }
    }

    /// Takes what has come, and writes it where it stays as it is; [`Self::next`] gives what becomes of the rest.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<u8>) {
        match self.form {
            Form::Web(web::Form { is_json: false, is_text: true }) => {
                web::encode(data, out);
            }
            Form::Web(web::Form { is_json: false, .. }) | Form::Connect { is_json: false } => {
                out.extend_from_slice(data);
            }
            _ => self.reader.push(data),
        }
    }

    /// Writes the next piece, and says how much was read and written for it: nothing when more must come first. After an
    /// error the answer is ended with it.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<usize, Status> {
        let (mut read, begin) = (0, out.len());
        while read + (out.len() - begin) < PIECE_BYTES {
            let Some(frame) = self.reader.next_frame().map_err(|error| of_broken(&error))? else { break };
            let message = frame.message(self.bytes_max).map_err(|error| of_broken(&error))?;
            read += frame::PREFIX_BYTES + message.len();
            self.message(message, out)?;
        }
        Ok(read + (out.len() - begin))
    }

    /// Whether messages are pieces of one body of any kind, which nothing may stand in that is not of it.
    pub fn is_raw(&self) -> bool {
        matches!(&self.form, Form::Lines(binding) if binding.gives_any())
    }

    fn message(&mut self, message: bytes::Bytes, out: &mut Vec<u8>) -> Result<(), Status> {
        self.messages += 1;
        let internal = |why: String| Status::new(Code::Internal, why);
        let unread = || internal("the answer of the service cannot be read".to_owned());
        let output = self.output.clone().ok_or_else(unread)?;
        let message = DynamicMessage::decode(output, message).map_err(|_| unread())?;
        match &self.form {
            Form::Web(form) => {
                let mut framed = Vec::new();
                let mut text = Vec::new();
                self.json.write(&message, &mut text).map_err(internal)?;
                frame::put(0, &text, &mut framed);
                match form.is_text {
                    true => web::encode(&framed, out),
                    false => out.extend_from_slice(&framed),
                }
            }
            Form::Connect { .. } => {
                let mut text = Vec::new();
                self.json.write(&message, &mut text).map_err(internal)?;
                frame::put(0, &text, out);
            }
            Form::Events(binding) => {
                let mut text = Vec::new();
                if binding.write(&message, &self.json, &mut text).map_err(internal)?.is_some() {
                    // A body of any kind may be no text, and is none of several lines.
                    text = Value::String(STANDARD.encode(&text)).to_string().into_bytes();
                }
                event("", &text, out);
            }
            Form::Lines(binding) => {
                let begin = out.len();
                let kind = binding.write(&message, &self.json, out).map_err(|error| {
                    out.truncate(begin);
                    internal(error)
                })?;
                match kind {
                    None => out.push(b'\n'),
                    Some(kind) => drop(self.kind.get_or_insert(kind)),
                }
            }
        }
        Ok(())
    }

    /// Writes the end. What is not finished is an error of its own.
    pub fn end(&mut self, trailers: &HeaderMap, out: &mut Vec<u8>) -> Status {
        let mut status = Status::read(trailers)
            .unwrap_or_else(|| Status::new(Code::Unknown, "the service ended the call without a status"));
        if self.reader.is_within() && status.code == Code::Ok {
            status = of_broken(&Broken::Unfinished);
        }
        self.close(&status, trailers, out);
        status
    }

    /// Writes the end of an answer that something else ended.
    pub fn close(&mut self, status: &Status, trailers: &HeaderMap, out: &mut Vec<u8>) {
        let schema = self.schema.as_deref();
        match &self.form {
            Form::Web(form) => {
                let mut trailers = trailers.clone();
                if Status::read(&trailers).is_none_or(|told| told.code != status.code) {
                    status.write(&mut trailers);
                }
                let mut framed = Vec::new();
                web::trailers(&trailers, &mut framed);
                match form.is_text {
                    true => web::encode(&framed, out),
                    false => out.extend_from_slice(&framed),
                }
            }
            Form::Connect { .. } => connect::end_stream(status, trailers, schema, &self.json, out),
            Form::Events(_) => match status.code {
                Code::Ok => event("end", b"{}", out),
                _ => event("error", &self.problem(status), out),
            },
            Form::Lines(_) => {
                if status.code != Code::Ok && !self.is_raw() {
                    out.extend_from_slice(b"{\"error\":");
                    out.extend_from_slice(&self.problem(status));
                    out.extend_from_slice(b"}\n");
                }
            }
        }
    }

    fn problem(&self, status: &Status) -> Vec<u8> {
        let members = status.problem(self.schema.as_deref(), &self.json, &self.request_id);
        Value::Object(members).to_string().into_bytes()
    }
}

fn of_broken(broken: &Broken) -> Status {
    match broken {
        Broken::TooLarge(max) => Status::new(
            Code::ResourceExhausted,
            format!("a message of the service has more than {max} bytes"),
        ),
        _ => Status::new(Code::Internal, "the answer of the service cannot be read"),
    }
}

/// An event; JSON has no line feeds.
fn event(name: &str, data: &[u8], out: &mut Vec<u8>) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// What turns the stream of a client into that of a gRPC server.
pub enum Upload {
    /// Base64.
    Text(TextReader),
    /// Envelopes of JSON.
    Envelopes {
        /// What takes them apart.
        reader: Reader,
        /// What each is.
        input: MessageDescriptor,
        /// How it is read.
        json: Arc<Json>,
        /// Bytes of a message.
        bytes_max: usize,
    },
    /// Base64 of such.
    TextEnvelopes(TextReader, Box<Upload>),
    /// Lines of JSON.
    Lines(Box<Lines>),
}

/// Lines of JSON, each a message of a binding.
pub struct Lines {
    left: BytesMut,
    /// How much of it has no line's end.
    seen: usize,
    count: u64,
    binding: Arc<Binding>,
    said: Said,
    json: Arc<Json>,
    bytes_max: usize,
}

impl Upload {
    /// Takes what has come, and writes it where it stays as it is; [`Self::next`] gives what becomes of the rest.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Self::Text(reader) => return reader.read(data, out).map_err(|error| Wrong::new("", error)),
            Self::Envelopes { reader, .. } => reader.push(data),
            Self::TextEnvelopes(text, inner) => {
                let mut bytes = Vec::new();
                text.read(data, &mut bytes).map_err(|error| Wrong::new("", error))?;
                return inner.data(&bytes, out);
            }
            Self::Lines(lines) => lines.left.extend_from_slice(data),
        }
        Ok(())
    }

    /// Writes the next piece, and says how much was read and written for it: nothing when more must come first.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<usize, Wrong> {
        match self {
            Self::Text(_) => Ok(0),
            Self::Envelopes { reader, input, json, bytes_max } => {
                let (mut read, begin) = (0, out.len());
                while read + (out.len() - begin) < PIECE_BYTES {
                    let Some(frame) = reader.next_frame().map_err(of_upload)? else { break };
                    let text = frame.message(*bytes_max).map_err(of_upload)?;
                    read += frame::PREFIX_BYTES + text.len();
                    put(&json.read(input, &text)?, out);
                }
                Ok(read + (out.len() - begin))
            }
            Self::TextEnvelopes(_, inner) => inner.next(out),
            Self::Lines(lines) => lines.next(out),
        }
    }

    /// Writes what is left at the end, when nothing is next any more.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Self::Text(reader) if reader.is_within() => {
                Err(Wrong::new("", "the base64 ends within a group of four"))
            }
            Self::Envelopes { reader, .. } if reader.is_within() => Err(of_upload(Broken::Unfinished)),
            Self::TextEnvelopes(text, inner) => match text.is_within() {
                true => Err(Wrong::new("", "the base64 ends within a group of four")),
                false => inner.end(out),
            },
            Self::Lines(lines) => {
                let last = std::mem::take(&mut lines.left);
                lines.line(&last, out)
            }
            _ => Ok(()),
        }
    }
}

impl Lines {
    /// Lines, each of which says what path and query do, and what is its own; each has at most so many bytes.
    pub fn new(binding: Arc<Binding>, said: Said, json: Arc<Json>, bytes_max: usize) -> Self {
        Self { left: BytesMut::new(), seen: 0, count: 0, binding, said, json, bytes_max }
    }

    fn next(&mut self, out: &mut Vec<u8>) -> Result<usize, Wrong> {
        let (mut read, begin) = (0, out.len());
        while read + (out.len() - begin) < PIECE_BYTES {
            let rest = self.left.get(self.seen..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.seen = self.left.len();
                self.bounded(self.left.len())?;
                break;
            };
            let line = self.left.split_to(self.seen + end + 1);
            self.seen = 0;
            read += line.len();
            self.line(line.strip_suffix(b"\n").unwrap_or(&line), out)?;
        }
        Ok(read + (out.len() - begin))
    }

    fn bounded(&self, bytes: usize) -> Result<(), Wrong> {
        match bytes > self.bytes_max {
            true => {
                Err(Wrong::large(format!("line {} has more than {} bytes", self.count + 1, self.bytes_max)))
            }
            false => Ok(()),
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.bounded(line.len())?;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.count += 1;
        let body = Body { bytes: line, content_type: "application/json" };
        let message = self.binding.filled(&self.said, Some(body), &self.json).map_err(|wrong| {
            let place = if wrong.place.is_empty() { String::new() } else { format!(", `{}`", wrong.place) };
            Wrong {
                place: String::new(),
                what: format!("line {}{place}: {}", self.count, wrong.what),
                ..wrong
            }
        })?;
        put(&message, out);
        Ok(())
    }
}

fn put(message: &DynamicMessage, out: &mut Vec<u8>) {
    frame::put(0, &message.encode_to_vec(), out);
}

fn of_upload(broken: Broken) -> Wrong {
    match broken {
        Broken::TooLarge(_) => Wrong::large(broken.to_string()),
        _ => Wrong::new("", broken.to_string()),
    }
}
