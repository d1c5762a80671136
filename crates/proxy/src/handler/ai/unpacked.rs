//! Bodies that callers compress: agents do so with long conversations. They are unpacked before anything reads them, and
//! go on as they were before.

use http::{HeaderMap, HeaderValue, header};

use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    policy::coding::{Caps, Coding, Decoded, content_codings},
};

/// Fields about the bytes as they came.
const OF_THE_CODED_BYTES: [&str; 6] =
    ["content-encoding", "content-length", "content-md5", "digest", "content-digest", "repr-digest"];

/// The codings that are read, as callers are told.
const ACCEPTED: &str = "gzip, br, zstd";

/// To how many times its size a body may unfold. Conversations say much again; bombs are a thousand times what came.
const RATIO_MAX: u64 = 400;

/// A body as it was before it was compressed, and a call that says nothing of that. What unfolds beyond `bytes_max` is
/// refused while it does.
pub(super) fn unpacked(call: &mut Call, body: Body, bytes_max: usize) -> Result<Body, Failure> {
    let Some(coding) = coding(&call.head.headers)? else { return Ok(body) };
    let caps = Caps { size: bytes_max as u64, ratio: RATIO_MAX };
    let decoded = Decoded::new(body, coding, caps)
        .map_err(|error| Failure::gateway(Stage::Body, Problem::Internal).with_detail(error.to_string()))?;
    for name in OF_THE_CODED_BYTES {
        call.head.headers.remove(name);
    }
    Ok(Body::boxed(decoded))
}

fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Failure> {
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(None);
    }
    let refused = |why: &str| {
        Failure::refused(Problem::UnsupportedMedia)
            .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED))
            .with_hint(format!("{why}: send it as it is, or as one of {ACCEPTED}"))
    };
    match *content_codings(headers) {
        [] => Ok(None),
        [name] => match Coding::named(name) {
            Some(coding) => Ok(Some(coding)),
            None => Err(refused("the body's content coding is not known here")),
        },
        // Layers multiply what a few bytes unfold to.
        _ => Err(refused("the body is encoded more than once")),
    }
}
