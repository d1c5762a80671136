//! The gRPC call that every request comes to: sent like any other, in the name of the client's.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, response::Parts};
use http_body_util::BodyExt;
use transcode::{
    frame::{Broken, One},
    metadata,
    status::{Code, Status},
};

use super::{Transcode, target_of};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage, is_grpc},
    guard,
    handler::posing::Posing,
    policy::{Passed, chain},
    upstream::{outgoing, source::Harmless, tries},
    worker::Worker,
};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// An answer with one message, taken apart.
pub(super) struct Unary {
    pub(super) head: HeaderMap,
    pub(super) trailers: HeaderMap,
    pub(super) status: Status,
    /// Its message, unpacked; there is one when the status is good.
    pub(super) message: Bytes,
}

impl Transcode {
    /// The head of a gRPC request of the client's, with the time that it has.
    pub(super) fn head(&self, call: &Call, wanted: Option<Duration>, is_stream: bool) -> HeaderMap {
        let effort = &self.target.effort;
        let mut headers = metadata::request(&call.head.headers, call.head.headers.get(header::HOST));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip"));
        // What a stream takes is bounded by `total` alone; `request` is the time to its head.
        let own = match is_stream {
            true => effort.total,
            false => Some(effort.total.map_or(effort.request, |total| total.min(effort.request))),
        };
        // A client's own deadline holds where it is nearer.
        let asked =
            call.head.headers.get(&TIMEOUT).and_then(|value| outgoing::timeout_of(value.to_str().ok()?));
        if let Some(time) = [own, wanted, asked].into_iter().flatten().min() {
            headers.insert(
                TIMEOUT,
                metadata::timeout(time.saturating_sub(call.elapsed()).max(Duration::from_millis(1))),
            );
        }
        headers
    }

    /// Sends a call. `may_repeat` when a second one does no harm.
    pub(super) async fn send(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        path: &str,
        headers: HeaderMap,
        mut body: Body,
        may_repeat: bool,
    ) -> Result<Response<Body>, Failure> {
        let uri = target_of(path)?;
        let upstream = &self.target.upstream;
        let posing = Posing::new(call, Method::POST, uri, headers);
        let wanted = self.host_header.as_deref().unwrap_or(&upstream.settings.host_header);
        posing.call.host_from_endpoint = wanted == "upstream";
        if !matches!(wanted, "preserve" | "upstream")
            && let Ok(host) = HeaderValue::from_str(wanted)
        {
            posing.call.head.headers.insert(header::HOST, host);
        }
        if may_repeat {
            posing.call.head.extensions.insert(Harmless);
        }
        let passed = chain::upstream_request(&upstream.chain, posing.call, &mut body).await?;
        if let Some(consumer) = &posing.call.consumer {
            posing.call.record.consumer = Some(consumer.name.clone());
        }
        match passed {
            Passed::Answered(response) => Ok(*response),
            Passed::Through | Passed::Around => {
                let wish = tries::Wish { endpoint: None, hash: tries::hash_of(posing.call, upstream) };
                tries::forward(worker, posing.call, &self.target, &wish, body).await
            }
        }
    }

    /// Reads an answer that has one message.
    pub(super) async fn unary(
        &self,
        call: &mut Call,
        mut response: Response<Body>,
    ) -> Result<Unary, Failure> {
        guard::clean_answer(&mut response);
        let (head, mut body) = response.into_parts();
        let mut one = One::new(self.response_bytes_max);
        let mut status = not_grpc(&head).or_else(|| Status::read(&head.headers));
        // Where there is nothing but trailers, they are the head.
        let mut trailers = HeaderMap::new();
        let bad = |why: &str| Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why.to_owned());
        let of_broken = |broken: Broken| match broken {
            Broken::TooLarge(max) => large(max),
            broken => bad(&broken.to_string()),
        };
        if status.is_none() {
            while let Some(frame) = body.frame().await {
                match frame?.into_data() {
                    Ok(data) => one.push(&data).map_err(of_broken)?,
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                }
            }
            status = Status::read(&trailers);
        }
        let status = status.ok_or_else(|| bad("a gRPC answer without a status"))?;
        let message = match one.end() {
            Err(broken) if status.code == Code::Ok => return Err(of_broken(broken)),
            message => message.unwrap_or_default(),
        };
        call.record.grpc_status = Some(status.code.number());
        if status.code == Code::Ok && message.is_none() {
            return Err(bad("a good gRPC answer without a message"));
        }
        if let Some(record) = &call.record.transcoded {
            record.state(u64::from(message.is_some()));
        }
        Ok(Unary { head: head.headers, trailers, status, message: message.unwrap_or_default() })
    }

    /// The id by which an operator finds a call.
    pub(super) fn request_id(call: &Call) -> String {
        String::from_utf8_lossy(call.record.request_id.as_bytes()).into_owned()
    }
}

fn large(max: usize) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, format!("a message has more than {max} bytes"))
        .with_hint("the answer of the service is larger than `maxResponseSize`")
}

/// What an answer that is no gRPC means.
pub(super) fn not_grpc(head: &Parts) -> Option<Status> {
    if head.status == StatusCode::OK && is_grpc(&head.headers) {
        return None;
    }
    if head.headers.contains_key("grpc-status") {
        return None;
    }
    let status = head.status.as_u16();
    Some(Status::new(
        Code::of_http(status),
        format!("the service answered with status {status}, and no gRPC"),
    ))
}

/// How a failure of the gateway's is told within a stream.
pub(super) fn of_failure(failure: &Failure) -> Status {
    let problem = failure.told();
    let text = failure.hint().unwrap_or(problem.title());
    Status::new(Code::of(u32::from(problem.grpc_status())), text)
}

/// Shared by everything that has a body of messages.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + transcode::frame::PREFIX_BYTES);
    transcode::frame::put(0, message, &mut out);
    Bytes::from(out)
}

/// A descriptor set that calls share.
pub(super) type Shared = Option<Arc<transcode::schema::Schema>>;
