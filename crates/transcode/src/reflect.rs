//! Server reflection (grpc/reflection/v1 and v1alpha, which are the same on the wire): what is asked, and what comes back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::{
    frame::{self, Reader},
    schema::{FileHead, Schema},
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
    Files(Files),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Error(ErrorResponse),
}

#[derive(Clone, PartialEq, Message)]
struct Files {
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
#[derive(Debug)]
pub struct Asking {
    files: BTreeMap<String, Bytes>,
    next: Vec<Ask>,
    rounds: usize,
}

/// Bytes of all that a server may tell.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

impl Asking {
    /// Asks for services; for all that there are when none is named.
    pub fn new(services: &[String]) -> Self {
        let next = match services {
            [] => vec![Ask::ListServices(String::new())],
            named => named.iter().cloned().map(Ask::FileContainingSymbol).collect(),
        };
        Self { files: BTreeMap::new(), next, rounds: 0 }
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

    /// Takes the body of an answer.
    pub fn take(&mut self, body: &[u8]) -> Result<(), String> {
        let asked = std::mem::take(&mut self.next);
        self.rounds += 1;
        let mut reader = Reader::new(BYTES_MAX);
        reader.push(body);
        let mut said = 0;
        let mut lacking = BTreeSet::new();
        while let Some(frame) = reader.next_frame().map_err(|error| error.to_string())? {
            let message = frame.message(BYTES_MAX).map_err(|error| error.to_string())?;
            let response =
                Response::decode(message).map_err(|error| format!("its answer is no reflection: {error}"))?;
            said += 1;
            match response.say {
                Some(Say::Files(files)) => {
                    for file in files.file {
                        let head = FileHead::decode(file.clone())
                            .map_err(|error| format!("a descriptor cannot be read: {error}"))?;
                        lacking.extend(head.dependency);
                        self.files.entry(head.name).or_insert(file);
                    }
                }
                Some(Say::Services(services)) => {
                    let names = services.service.into_iter().map(|service| service.name);
                    self.next.extend(
                        names
                            .filter(|name| !name.starts_with("grpc.reflection."))
                            .map(Ask::FileContainingSymbol),
                    );
                }
                Some(Say::Error(error)) => {
                    let about = asked.get(said - 1).map_or("", |ask| match ask {
                        Ask::FileByFilename(name) | Ask::FileContainingSymbol(name) => name.as_str(),
                        Ask::ListServices(_) => "its services",
                    });
                    return Err(format!("asked for `{about}`, it says: {}", error.message));
                }
                None => return Err("its answer is no reflection".to_owned()),
            }
        }
        if said < asked.len() {
            return Err(format!("it answered {said} of {} questions", asked.len()));
        }
        self.next.extend(
            lacking.into_iter().filter(|name| !self.files.contains_key(name)).map(Ask::FileByFilename),
        );
        if self.rounds > ROUNDS_MAX
            || self.files.len() > FILES_MAX
            || self.next.len() > SERVICES_MAX.max(FILES_MAX)
        {
            return Err("it has more services or files than are taken".to_owned());
        }
        Ok(())
    }

    /// What has been told.
    pub fn schema(self) -> Result<Schema, String> {
        if self.files.is_empty() {
            return Err("it tells of no service".to_owned());
        }
        Schema::of_files(self.files.into_values().collect())
    }
}
