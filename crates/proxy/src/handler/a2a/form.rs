//! How a client speaks and is answered: in JSON-RPC, or in HTTP and JSON.

use http::StatusCode;

use super::{
    json::{Object, quoted},
    json_answer,
    results::Told,
};
use crate::{body::Body, handler::mcp::sse::Event};

/// The binding that a client speaks.
pub(super) enum Form {
    /// JSON-RPC, with the id of the request as JSON.
    Rpc(Box<str>),
    /// HTTP and JSON.
    Rest,
}

impl Form {
    /// An answer in one piece.
    pub(super) fn answer(&self, told: Told) -> http::Response<Body> {
        match self {
            Self::Rpc(_) => json_answer(self.text(told)),
            Self::Rest => {
                let status = match &told {
                    Told::Result(_) => StatusCode::OK,
                    Told::Error { code, .. } => of_code(*code).0,
                };
                let mut response = json_answer(self.text(told));
                *response.status_mut() = status;
                response
            }
        }
    }

    /// An error of the protocol's.
    pub(super) fn error(&self, code: i32, text: &str) -> http::Response<Body> {
        self.answer(error(code, text))
    }

    /// Makes an event of a stream of it.
    pub(super) fn put(&self, told: Told, event: &mut Event) {
        if let (Self::Rest, Told::Error { .. }) = (self, &told) {
            event.kind = "error".to_owned();
        }
        event.data = self.text(told).into_bytes();
    }

    fn text(&self, told: Told) -> String {
        match (self, told) {
            (Self::Rpc(id), Told::Result(json)) => {
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{json}}}")
            }
            (Self::Rpc(id), Told::Error { json, .. }) => {
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{json}}}")
            }
            // The answer to a deletion.
            (Self::Rest, Told::Result(json)) if json == "null" => "{}".to_owned(),
            (Self::Rest, Told::Result(json)) => json,
            (Self::Rest, Told::Error { code, json }) => {
                let (status, name, reason) = of_code(code);
                let text = Object::parse(&json).and_then(|error| error.text("message")).unwrap_or_default();
                format!(
                    "{{\"error\":{{\"code\":{},\"status\":\"{name}\",\"message\":{},\"details\":[{{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"{reason}\",\"domain\":\"a2a-protocol.org\"}}]}}}}",
                    status.as_u16(),
                    quoted(&text)
                )
            }
        }
    }
}

/// An error of the gateway's own.
pub(super) fn error(code: i32, text: &str) -> Told {
    let json = format!("{{\"code\":{code},\"message\":{}}}", quoted(text));
    Told::Error { code: code.into(), json }
}

/// The status of an error of JSON-RPC's, its name and its reason, as the SDKs of the protocol have them.
fn of_code(code: i64) -> (StatusCode, &'static str, &'static str) {
    let bad = StatusCode::BAD_REQUEST;
    match code {
        -32001 => (StatusCode::NOT_FOUND, "NOT_FOUND", "TASK_NOT_FOUND"),
        -32002 => (bad, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
        -32003 => (bad, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        -32004 => (bad, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
        -32005 => (bad, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
        -32006 => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "INVALID_AGENT_RESPONSE"),
        -32007 => (bad, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
        -32008 => (bad, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED"),
        -32009 => (bad, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
        -32700 | -32600 | -32602 => (bad, "INVALID_ARGUMENT", "INVALID_PARAMS"),
        -32601 => (bad, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "INTERNAL_ERROR"),
    }
}
