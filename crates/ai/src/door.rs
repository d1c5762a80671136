//! Claude's own words at the doors of two clouds, as the clients `AnthropicBedrock` and `AnthropicVertex` knock at them:
//! the model is in the path, a version in the body, and Bedrock frames streams in its own way. Behind the door it is a
//! request to `/v1/messages` like any other.
//!
//! Shapes: Anthropic's SDKs for Bedrock and Vertex AI; Amazon Bedrock, `InvokeModelWithResponseStream`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    canon::{Error, ErrorKind, Event},
    dialect::{Dialect, StreamReader, Telling},
    endpoint::{Operation, decoded},
    members::Members,
    stream::{Frame, event_stream},
};

/// Bytes by which a request may be longer inside: the model's name, and the wish for a stream.
const WRITTEN_MORE: usize = 256;

/// Whose door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// `InvokeModel` of Bedrock.
    Bedrock,
    /// `rawPredict` of Vertex AI.
    Vertex,
}

/// What is asked for at a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Whose it is.
    pub cloud: Cloud,
    /// The model, where the path names it.
    pub model: Option<String>,
    /// A stream is asked for.
    pub stream: bool,
    /// An answer, or the count of its tokens.
    pub operation: Operation,
}

impl Door {
    /// The door at a path below the route's prefix.
    pub fn of(path: &str) -> Option<Self> {
        Self::of_bedrock(path).or_else(|| Self::of_vertex(path))
    }

    fn of_bedrock(path: &str) -> Option<Self> {
        let (model, method) = path.strip_prefix("/model/")?.rsplit_once('/')?;
        let stream = match method {
            "invoke" => false,
            "invoke-with-response-stream" => true,
            _ => return None,
        };
        let (cloud, operation) = (Cloud::Bedrock, Operation::Chat);
        Some(Self { cloud, model: Some(decoded(model)), stream, operation })
    }

    /// With its version before it or without: the base address that clients are given has it.
    fn of_vertex(path: &str) -> Option<Self> {
        let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let (_, named) = path.strip_prefix("/projects/")?.split_once("/publishers/anthropic/models/")?;
        let (model, method) = named.rsplit_once(':')?;
        let stream = match method {
            "rawPredict" => false,
            "streamRawPredict" => true,
            _ => return None,
        };
        let (operation, model) = match model {
            "count-tokens" => (Operation::CountTokens, None),
            model => (Operation::Chat, Some(decoded(model))),
        };
        Some(Self { cloud: Cloud::Vertex, model, stream, operation })
    }

    /// The dialect in which failures are told here.
    pub fn dialect(&self) -> Dialect {
        match self.cloud {
            Cloud::Bedrock => Dialect::Bedrock,
            Cloud::Vertex => Dialect::Anthropic,
        }
    }

    /// What is asked for, as Anthropic's own API has it, and the flags that stand in its header there. All other fields
    /// stay as they are written.
    pub fn enter(&self, body: &[u8]) -> Result<(Vec<u8>, Vec<String>), Error> {
        let wrong = |error: serde_json::Error| {
            Error::new(ErrorKind::Invalid, format!("the body is not JSON: {error}"))
        };
        let members = Members::of(body).map_err(wrong)?;
        if !members.iter().any(|(key, _)| key == "anthropic_version") {
            let message = "bodies with `anthropic_version` alone are read at this path, those of Claude: ask other models \
                           by `/model/MODEL/converse`";
            return Err(Error { status: 501, ..Error::new(ErrorKind::Invalid, message) });
        }
        // Each value is written once, at its place: values are as large as bodies are.
        let mut written = Vec::with_capacity(body.len() + WRITTEN_MORE);
        let mut put = |key: &str, value: &str| {
            written.push(if written.is_empty() { b'{' } else { b',' });
            written.extend_from_slice(Value::from(key).to_string().as_bytes());
            written.push(b':');
            written.extend_from_slice(value.as_bytes());
        };
        if let Some(model) = &self.model {
            put("model", &Value::from(model.as_str()).to_string());
        }
        let mut betas = Vec::new();
        for (key, raw) in &members {
            match &**key {
                "anthropic_version" => {}
                "anthropic_beta" => {
                    betas = serde_json::from_str(raw.get()).map_err(|_| {
                        Error::invalid("anthropic_beta", "`anthropic_beta` must be a list of strings")
                    })?;
                }
                "stream" => {}
                "model" if self.model.is_some() => {
                    return Err(Error::invalid("model", "`model` stands in the path here"));
                }
                key => put(key, raw.get()),
            }
        }
        if self.stream {
            put("stream", "true");
        }
        if written.is_empty() {
            written.push(b'{');
        }
        written.push(b'}');
        Ok((written, betas))
    }
}

/// Frames Anthropic's events as Bedrock does: each whole, in base64, in a frame of the type `chunk`; an error as the
/// exception that it is there.
pub struct Chunks {
    reader: Box<dyn StreamReader>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { reader: Dialect::Anthropic.stream_reader() }
    }
}

impl Chunks {
    /// Appends what an event is at Bedrock.
    pub fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        if frame.event == "error" {
            let mut events = Vec::new();
            self.reader.read(frame.clone(), &mut events);
            let mut writer = Dialect::Bedrock.stream_writer(Telling::default());
            let errors = events.into_iter().filter(|event| matches!(event, Event::Error(_)));
            return errors.for_each(|error| writer.write(error, out));
        }
        let value = json!({"bytes": STANDARD.encode(&frame.data)}).to_string();
        event_stream::write("chunk", false, value.as_bytes(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{FrameReader, Framing};

    #[test]
    fn the_doors_of_both_clouds_are_known() {
        let claude = Some("anthropic.claude-sonnet-4-5-20250929-v1:0".to_owned());
        for (path, cloud, model, stream, operation) in [
            (
                "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
                Cloud::Bedrock,
                claude.clone(),
                false,
                Operation::Chat,
            ),
            (
                "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/invoke-with-response-stream",
                Cloud::Bedrock,
                claude,
                true,
                Operation::Chat,
            ),
            (
                "/v1/projects/p/locations/global/publishers/anthropic/models/claude@1:streamRawPredict",
                Cloud::Vertex,
                Some("claude@1".to_owned()),
                true,
                Operation::Chat,
            ),
            (
                "/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
                Cloud::Vertex,
                None,
                false,
                Operation::CountTokens,
            ),
        ] {
            assert_eq!(Door::of(path), Some(Door { cloud, model, stream, operation }), "{path}");
        }
        for path in [
            "/model/m/converse",
            "/model/invoke",
            "/v1/projects/p/locations/l/publishers/google/models/m:rawPredict",
            "/v1/projects/p/locations/l/publishers/anthropic/models/m:predict",
            "/v1/messages",
        ] {
            assert_eq!(Door::of(path), None, "{path}");
        }
    }

    #[test]
    fn behind_the_door_it_is_anthropics_own_request() {
        let door = Door::of("/model/a/invoke-with-response-stream").expect("a door");
        let body = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1.50, "new" : {"a":[ ]},"anthropic_beta":["x","y"]}"#;
        let (entered, betas) = door.enter(body.as_bytes()).expect("entered");
        assert_eq!(
            String::from_utf8_lossy(&entered),
            r#"{"model":"a","max_tokens":1.50,"new":{"a":[ ]},"stream":true}"#
        );
        assert_eq!(betas, ["x", "y"]);
        let count = Door::of("/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict");
        let (entered, _) =
            count.expect("a door").enter(br#"{"anthropic_version":"vertex-2023-10-16"}"#).expect("entered");
        assert_eq!(entered, b"{}");
        let status = |body: &str| door.enter(body.as_bytes()).map_err(|error| error.status).err();
        assert_eq!(status(r#"{"inputText":"x"}"#), Some(501), "Titan's words");
        assert_eq!(status("[]"), Some(400));
        assert_eq!(status(r#"{"anthropic_version":"x","model":"b"}"#), Some(400));
        assert_eq!(status(r#"{"anthropic_version":"x","anthropic_beta":"b"}"#), Some(400));
    }

    #[test]
    fn events_are_chunks_and_errors_exceptions() {
        let (mut chunks, mut out) = (Chunks::default(), Vec::new());
        let event =
            |name: &str, data: &str| Frame { event: name.into(), data: data.into(), exception: false };
        chunks.write(&event("ping", r#"{"type":"ping"}"#), &mut out);
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"later"}}"#;
        chunks.write(&event("error", error), &mut out);
        let mut frames = Vec::new();
        FrameReader::new(Framing::EventStream).push(&out, &mut frames).expect("framed");
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].event.as_str(), frames[0].exception), ("chunk", false));
        assert_eq!(frames[0].data, br#"{"bytes":"eyJ0eXBlIjoicGluZyJ9"}"#);
        assert_eq!((frames[1].event.as_str(), frames[1].exception), ("serviceUnavailableException", true));
    }
}
