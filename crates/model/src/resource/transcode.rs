//! `transcode`: REST, gRPC-Web and Connect in front of a gRPC server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, FilePath, Size};

/// A gRPC server for those who do not speak gRPC: JSON over HTTP by `google.api.http` or for one method, gRPC-Web and
/// Connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transcode {
    /// Where calls go: a name of `upstreams`, whose balancing, retries, breaker and policies hold for them.
    pub upstream: String,
    /// Descriptors of its services, as `protoc --include_imports --descriptor_set_out=…` or `buf build` writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor_set: Option<FilePath>,
    /// Ask the server for its descriptors (server reflection), in place of `descriptorSet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reflection: Option<Reflection>,
    /// The one method that answers every request of this route: `package.Service/Method`. Captures of the route and
    /// parameters of the query are its fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// With `method`: what of its message the client's body is, `*` for all of it, or a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// With `method`: the field of its answer that the client gets; all of it without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
    /// Services that are reached, by their full names; all that the descriptors have when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Taken off the path before a method is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "absolute-path"))]
    pub strip_prefix: Option<String>,
    /// What clients may speak.
    #[serde(default = "all_protocols")]
    pub protocols: Vec<TranscodeProtocol>,
    /// How messages are read and written as JSON.
    #[serde(default)]
    pub json: TranscodeJson,
    /// Bytes of a message of a client's.
    #[serde(default = "message_size")]
    pub max_request_size: Size,
    /// Bytes of a message of the server's, where it is read here.
    #[serde(default = "message_size")]
    pub max_response_size: Size,
}

/// How a server is asked for its descriptors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reflection {
    /// After how long it is asked again. What it said before holds until it has answered.
    pub refresh: Duration,
    /// How long it may take to answer.
    pub timeout: Duration,
}

impl Default for Reflection {
    fn default() -> Self {
        Self { refresh: Duration::from_secs(300), timeout: Duration::from_secs(5) }
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TranscodeProtocol {
    /// JSON over HTTP, by paths.
    Rest,
    /// gRPC-Web, binary and text.
    GrpcWeb,
    /// Connect.
    Connect,
    /// gRPC itself, which is passed on as it is.
    Grpc,
}

/// How messages are read and written as JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TranscodeJson {
    /// Ignore fields and parameters that a message does not have; else they are a 400.
    pub ignore_unknown: bool,
    /// Write fields that have their default value, too.
    pub emit_defaults: bool,
    /// Write names of fields as the `.proto` file has them, in place of `lowerCamelCase`.
    pub proto_names: bool,
    /// Write enums as numbers, in place of their names.
    pub enum_numbers: bool,
    /// Write 64-bit integers as numbers, in place of texts: JavaScript reads those beyond 2⁵³ wrong.
    pub int64_numbers: bool,
}

fn all_protocols() -> Vec<TranscodeProtocol> {
    use TranscodeProtocol::{Connect, Grpc, GrpcWeb, Rest};
    vec![Rest, GrpcWeb, Connect, Grpc]
}

fn message_size() -> Size {
    Size::mib(4)
}
