//! Embeddings of a provider that speaks another dialect than their caller: read whole, and told in the caller's.

use ai::{dialect::Dialect, embed};
use bytes::Bytes;
use http::{HeaderValue, Response, header};

use super::{answer, gathered::gather, prepare::Conversation};
use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
};

/// Bytes of an answer at most: two thousand texts of three thousand numbers each.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

pub(super) async fn told(
    conversation: &Conversation<'_>,
    dialect: Dialect,
    model: &str,
    response: Response<Body>,
) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = response.into_parts();
    let broken = |what: &'static str| Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, what);
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(broken("the provider's answer is encoded, though nobody asked for that"));
    }
    let bytes = gather(body, ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|_| broken("the provider's answer broke off, or is too large"))?;
    let caller = conversation.endpoint.dialect;
    let asked = embed::read(caller, &conversation.body).map_err(answer::refused)?;
    let told = embed::tell(&asked, dialect, caller, model, &bytes).map_err(answer::refused)?;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::ETAG);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Response::from_parts(parts, Body::Full(Bytes::from(told))))
}
