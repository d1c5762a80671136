//! A gRPC answer that is read as a stream, as each client reads it; and a client's stream as a gRPC server does.

use std::sync::Arc;

use http::HeaderMap;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::{
    Wrong,
    binding::{Binding, Body},
    connect,
    frame::{self, Broken, Reader},
    json::Json,
    schema::Schema,
    status::{Code, Status},
    web::{self, TextReader},
};

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
        }
    }

    /// Takes what has come, and writes what it becomes. After an error the answer is ended with it.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
        match self.form {
            Form::Web(web::Form { is_json: false, is_text: true }) => {
                web::encode(data, out);
                return Ok(());
            }
            Form::Web(web::Form { is_json: false, .. }) | Form::Connect { is_json: false } => {
                out.extend_from_slice(data);
                return Ok(());
            }
            _ => {}
        }
        self.reader.push(data);
        while let Some(frame) = self.reader.next_frame().map_err(|error| of_broken(&error))? {
            let message = frame.message(self.bytes_max).map_err(|error| of_broken(&error))?;
            self.message(&message, out)?;
        }
        Ok(())
    }

    fn message(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
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
                let kind = binding.write(&message, &self.json, &mut text).map_err(internal)?;
                event("", kind.is_some(), &text, out);
            }
            Form::Lines(binding) => {
                let begin = out.len();
                let kind = binding.write(&message, &self.json, out).map_err(|error| {
                    out.truncate(begin);
                    internal(error)
                })?;
                if kind.is_none() {
                    out.push(b'\n');
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
                Code::Ok => event("end", false, b"{}", out),
                _ => event("error", false, &self.problem(status), out),
            },
            Form::Lines(_) => {
                if status.code != Code::Ok {
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

/// An event; bytes that are no JSON may have several lines.
fn event(name: &str, is_any: bool, data: &[u8], out: &mut Vec<u8>) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    match is_any {
        false => put_line(data, out),
        true => data.split(|byte| *byte == b'\n').for_each(|line| put_line(line, out)),
    }
    out.push(b'\n');
}

fn put_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    out.push(b'\n');
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
    /// What has come of the next.
    pub left: Vec<u8>,
    /// Lines so far.
    pub count: u64,
    /// What makes messages of them.
    pub binding: Arc<Binding>,
    /// What the path holds.
    pub captures: Vec<String>,
    /// The query.
    pub query: Option<String>,
    /// How they are read.
    pub json: Arc<Json>,
    /// Bytes of a line.
    pub bytes_max: usize,
}

impl Upload {
    /// Takes what has come, and writes what it becomes.
    pub fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        match self {
            Self::Text(reader) => reader.read(data, out).map_err(|error| Wrong::new("", error)),
            Self::Envelopes { reader, input, json, bytes_max } => {
                reader.push(data);
                while let Some(frame) = reader.next_frame().map_err(of_upload)? {
                    let text = frame.message(*bytes_max).map_err(of_upload)?;
                    put(&json.read(input, &text)?, out);
                }
                Ok(())
            }
            Self::TextEnvelopes(text, inner) => {
                let mut bytes = Vec::new();
                text.read(data, &mut bytes).map_err(|error| Wrong::new("", error))?;
                inner.data(&bytes, out)
            }
            Self::Lines(lines) => lines.data(data, out),
        }
    }

    /// Writes what is left at the end.
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
    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
        let mut left = data;
        while let Some(end) = left.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = left.split_at(end);
            left = rest.get(1..).unwrap_or_default();
            if self.left.is_empty() {
                self.line(line, out)?;
            } else {
                let mut whole = std::mem::take(&mut self.left);
                whole.extend_from_slice(line);
                self.line(&whole, out)?;
            }
        }
        self.left.extend_from_slice(left);
        self.bounded(self.left.len())
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
        let captures: Vec<_> = self.captures.iter().map(|text| text.as_str().into()).collect();
        let body = Body { bytes: line, content_type: "application/json" };
        let message = self.binding.message(&captures, self.query.as_deref(), Some(body), &self.json);
        let message = message.map_err(|wrong| {
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
