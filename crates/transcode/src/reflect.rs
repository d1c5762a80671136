//! Server reflection (grpc/reflection/v1 and v1alpha, which are the same on the wire): what is asked, and what comes back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::{
    frame::{self, Broken, Reader},
    schema::{FileHead, Schema, bundled_names},
};

/// Where servers are asked, the newer first.
pub const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Files that a server may tell.
const FILES_MAX: usize = 5_000;
/// Services that a server may tell.
const SERVICES_MAX: usize = 1_000;
/// Times that it is asked for imports of imports.
const ROUNDS_MAX: usize = 64;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Ask", tags = "3, 4, 7")]
    ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Ask {
    #[prost(string, tag = "3")]
    FileByFilename(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(oneof = "Say", tags = "4, 6, 7")]
    say: Option<Say>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Say {
    #[prost(message, tag = "4")]
    Files(FilesResponse),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Error(ErrorResponse),
}

#[derive(Clone, PartialEq, Message)]
struct FilesResponse {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    service: Vec<ServiceResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceResponse {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorResponse {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Asks a server, round by round: each is one call with several questions.
#[derive(Debug, Clone)]
pub struct Asking {
    files: Files,
    next: Vec<Ask>,
    rounds: usize,
    /// Bytes that were told, unpacked.
    bytes: usize,
    /// It was asked for all that there is: what it does not tell of is left out.
    takes_all: bool,
    /// What it did not tell of, and why.
    pub skipped: Vec<String>,
}

/// Files as they are encoded, by their names.
pub type Files = BTreeMap<String, Bytes>;

/// Bytes of all that a server may tell.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

impl Asking {
    /// Asks for services; for all that there are when none is named.
    pub fn new(services: &[String]) -> Self {
        let next = match services {
            [] => vec![Ask::ListServices(String::new())],
            named => named.iter().cloned().map(Ask::FileContainingSymbol).collect(),
        };
        let (files, takes_all) = (Files::new(), services.is_empty());
        Self { files, next, rounds: 0, bytes: 0, takes_all, skipped: Vec::new() }
    }

    /// The body of the next call; none when all is known.
    pub fn body(&self) -> Option<Vec<u8>> {
        if self.next.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        for ask in &self.next {
            let request = Request { host: String::new(), ask: Some(ask.clone()) };
            frame::put(0, &request.encode_to_vec(), &mut out);
        }
        Some(out)
    }

    /// Bytes that it may still tell.
    pub fn left(&self) -> usize {
        BYTES_MAX - self.bytes.min(BYTES_MAX)
    }

    /// Takes the body of an answer.
    pub fn take(&mut self, body: &[u8]) -> Result<(), String> {
        let asked = std::mem::take(&mut self.next);
        self.rounds += 1;
        let mut reader = Reader::new(BYTES_MAX);
        reader.push(body);
        let mut asks = asked.iter();
        let mut lacking = BTreeSet::new();
        while let Some(frame) = reader.next_frame().map_err(|error| error.to_string())? {
            let ask = asks.next().ok_or("it answers more than it was asked")?;
            let message = frame.message(self.left()).map_err(|error| match error {
                Broken::TooLarge(_) => "it tells of more than is taken".to_owned(),
                error => error.to_string(),
            })?;
            self.bytes += message.len();
            let response =
                Response::decode(message).map_err(|error| format!("its answer is no reflection: {error}"))?;
            match response.say {
                Some(Say::Files(files)) => self.files(files, &mut lacking)?,
                Some(Say::Services(services)) => {
                    let names = services.service.into_iter().map(|service| service.name);
                    self.next.extend(
                        names
                            .filter(|name| !name.starts_with("grpc.reflection."))
                            .map(Ask::FileContainingSymbol),
                    );
                    if self.next.len() > SERVICES_MAX {
                        return Err(format!("it has more than {SERVICES_MAX} services"));
                    }
                }
                Some(Say::Error(error)) => {
                    let (about, may_lack) = match ask {
                        Ask::FileByFilename(name) | Ask::FileContainingSymbol(name) => (name.as_str(), true),
                        Ask::ListServices(_) => ("its services", false),
                    };
                    let told = format!("asked for `{about}`, it says: {}", error.message);
                    if !(self.takes_all && may_lack) {
                        return Err(told);
                    }
                    self.skipped.push(told);
                }
                None => return Err("its answer is no reflection".to_owned()),
            }
        }
        if asks.len() > 0 {
            return Err(format!("it answered {} of {} questions", asked.len() - asks.len(), asked.len()));
        }
        if self.rounds > ROUNDS_MAX {
            return Err("its files import one another too deep".to_owned());
        }
        self.next.extend(
            lacking.into_iter().filter(|name| !self.files.contains_key(name)).map(Ask::FileByFilename),
        );
        Ok(())
    }

    fn files(&mut self, files: FilesResponse, lacking: &mut BTreeSet<String>) -> Result<(), String> {
        for file in files.file {
            let head = FileHead::decode(file.clone())
                .map_err(|error| format!("a descriptor cannot be read: {error}"))?;
            lacking.extend(head.dependency);
            self.files.entry(head.name).or_insert(file);
            if self.files.len().max(lacking.len()) > FILES_MAX {
                return Err(format!("it has more than {FILES_MAX} files"));
            }
        }
        Ok(())
    }

    /// The files that have been told, those left out that import what was not; and what was left out, and why.
    pub fn end(mut self) -> Result<(Files, Vec<String>), String> {
        if self.takes_all {
            self.leave_out();
        }
        if self.files.is_empty() {
            let why = self.skipped.first().map_or(String::new(), |why| format!(" ({why})"));
            return Err(format!("it tells of no service{why}"));
        }
        Ok((self.files, self.skipped))
    }

    /// Leaves out files that import what was not told, and those that import them.
    fn leave_out(&mut self) {
        let mut importers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, file) in &self.files {
            for import in FileHead::decode(file.clone()).map(|head| head.dependency).unwrap_or_default() {
                importers.entry(import).or_default().push(name.clone());
            }
        }
        let bundled = bundled_names();
        let is_lacking = |name: &&String| !self.files.contains_key(*name) && !bundled.contains(*name);
        let mut lacking: Vec<String> = importers.keys().filter(is_lacking).cloned().collect();
        while let Some(import) = lacking.pop() {
            for name in importers.remove(&import).unwrap_or_default() {
                if self.files.remove(&name).is_some() {
                    self.skipped.push(format!("`{name}` imports `{import}`, which it does not tell of"));
                    lacking.push(name);
                }
            }
        }
    }

    /// What has been told.
    pub fn schema(self) -> Result<Schema, String> {
        self.end().and_then(|(files, _)| Schema::of_files(files.into_values().collect()))
    }
}
