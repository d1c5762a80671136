//! The doors of clouds at which Claude's own words are spoken: what `AnthropicBedrock` and `AnthropicVertex` send is
//! answered as any request of Anthropic's API, and told as their cloud tells it.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use ai::{
    canon::Error,
    dialect::Dialect,
    door::{Chunks, Cloud, Door},
    endpoint::Endpoint,
    stream::{FrameReader, Framing},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{AiGateway, answer, chat, gathered::gather, reply::is_stream, unpacked::unpacked};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

/// Bytes of a refusal that are read to be told otherwise.
const ERROR_BYTES_MAX: usize = 64 * 1024;
const BETA: &str = "anthropic-beta";
/// Bytes of the flags of a body, which go on in the head: no head is longer than servers read because of them, for those who
/// share a connection would lose theirs.
const BETAS_BYTES_MAX: usize = 8 * 1024;

/// Answers what is asked at a door.
pub(super) async fn answer(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    door: Door,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let body = unpacked(call, body, gateway.body_bytes_max)?;
    // What came is let go of before anybody is asked: a large body is held as it is asked for alone.
    let (body, betas) = {
        let came = chat::whole(body, gateway.body_bytes_max).await?;
        door.enter(&came).map_err(answer::refused)?
    };
    if betas.iter().map(|flag| flag.len() + 1).sum::<usize>() > BETAS_BYTES_MAX {
        let message = format!("`anthropic_beta` has flags of more than {BETAS_BYTES_MAX} bytes");
        return Err(answer::refused(Error::invalid("anthropic_beta", message)));
    }
    add_betas(&betas, &mut call.head.headers);
    let endpoint =
        Endpoint { dialect: Dialect::Anthropic, operation: door.operation, model: None, stream: door.stream };
    let response = chat::answer(gateway, worker, call, endpoint, Body::Full(body.into())).await?;
    match door.cloud {
        Cloud::Vertex => Ok(response),
        Cloud::Bedrock => as_bedrock(response).await,
    }
}

/// The flags of a body beside those of the head: a client may say some in either.
fn add_betas(betas: &[String], headers: &mut HeaderMap) {
    let said = headers.get_all(BETA).iter().filter_map(|value| value.to_str().ok());
    let said: Vec<String> =
        said.flat_map(|value| value.split(',')).map(|flag| flag.trim().to_owned()).collect();
    let more: Vec<&str> = betas.iter().filter(|flag| !said.contains(flag)).map(String::as_str).collect();
    if let Ok(value) = HeaderValue::from_str(&more.join(","))
        && !more.is_empty()
    {
        headers.append(BETA, value);
    }
}

/// An answer as Bedrock tells it: errors are AWS's, streams are frames of chunks.
async fn as_bedrock(response: Response<Body>) -> Result<Response<Body>, Failure> {
    if !response.status().is_success() {
        let (mut parts, body) = response.into_parts();
        let bytes = gather(body, ERROR_BYTES_MAX).await.unwrap_or_default();
        let error = Dialect::Anthropic.read_error(parts.status.as_u16(), &bytes);
        let text = Dialect::Bedrock.write_error(&error);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        return Ok(Response::from_parts(parts, Body::Full(text.into())));
    }
    if !is_stream(&response) {
        return Ok(response);
    }
    let mut response = response.map(|body| Body::boxed(Chunked::new(body)));
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Framing::EventStream.media_type()));
    headers.insert("x-amzn-bedrock-content-type", HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A stream of events, each in a frame of AWS's.
struct Chunked {
    inner: Body,
    reader: FrameReader,
    chunks: Chunks,
    is_over: bool,
}

impl Chunked {
    fn new(inner: Body) -> Self {
        let reader = FrameReader::new(Framing::Sse);
        Self { inner, reader, chunks: Chunks::default(), is_over: false }
    }

    fn framed(&mut self, data: &[u8]) -> Result<Bytes, Failure> {
        let mut frames = Vec::new();
        self.reader
            .push(data, &mut frames)
            .map_err(|error| Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error.to_string()))?;
        let mut out = Vec::new();
        frames.iter().for_each(|frame| self.chunks.write(frame, &mut out));
        Ok(out.into())
    }

    /// What has come and lacks its end alone.
    fn rest(&mut self) -> Bytes {
        let (mut frames, mut out) = (Vec::new(), Vec::new());
        self.reader.finish(&mut frames);
        frames.iter().for_each(|frame| self.chunks.write(frame, &mut out));
        out.into()
    }
}

impl Wrapper for Chunked {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Chunked {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        while !this.is_over {
            match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match this.framed(&data) {
                        Ok(out) if out.is_empty() => {}
                        Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                        Err(failure) => {
                            this.is_over = true;
                            return Poll::Ready(Some(Err(failure)));
                        }
                    },
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(failure)) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(failure)));
                }
                None => {
                    this.is_over = true;
                    let rest = this.rest();
                    if !rest.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_body_stand_beside_those_of_the_head_each_once() {
        for (head, body, want) in [
            (&[][..], &["a", "b"][..], &["a,b"][..]),
            (&["a, c"], &["a", "b"], &["a, c", "b"]),
            (&["a", "b"], &["b", "a"], &["a", "b"]),
            (&["a"], &[], &["a"]),
            (&[], &["no\nflag"], &[]),
        ] {
            let mut headers = HeaderMap::new();
            for value in head {
                headers.append(BETA, HeaderValue::from_static(value));
            }
            let body: Vec<String> = body.iter().map(|flag| (*flag).to_owned()).collect();
            add_betas(&body, &mut headers);
            let told: Vec<&str> =
                headers.get_all(BETA).iter().filter_map(|value| value.to_str().ok()).collect();
            assert_eq!(told, want);
        }
    }
}
