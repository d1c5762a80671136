//! What came: by the URL, as JSON, as a text alone, or with uploads.

use std::ops::Range;

use ::graphql::{
    Code, multipart,
    request::{self, Asked, Payload},
};
use bytes::Bytes;
use http::{HeaderMap, header};

use super::{Reads, Stop, refusal};
use crate::{body::Body, call::Call, openapi::media, policy::held::Held};

/// Bounds of bodies, and of operations in one.
pub(super) struct Bounds {
    pub(super) body: usize,
    pub(super) upload: Option<usize>,
    pub(super) batch: usize,
}

/// How a request came, with its body where that may go on.
pub(super) enum Came {
    Url,
    Json(Body),
    Text,
    Upload { held: Body, bytes: Bytes, operations: Range<usize> },
}

impl Came {
    /// Which operations may come so.
    pub(super) fn reads(&self, call: &Call) -> Reads {
        match self {
            Self::Url if accepts_events(&call.head.headers) => Reads::Events,
            Self::Url => Reads::Queries,
            _ => Reads::All,
        }
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let all = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = all.flat_map(|value| value.split(','));
    kinds.any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/event-stream")
    })
}

/// An operation in the query of a URL.
pub(super) fn of_url(call: &Call, body: &Body) -> Result<(Came, Payload), Stop> {
    if !body.is_empty() {
        return Err(refusal(Code::BadRequest, "a GET has no body").into());
    }
    let asked = request::from_query(call.head.uri.query().unwrap_or_default())?;
    let asked = asked.ok_or_else(|| refusal(Code::BadRequest, "the request has no `query`"))?;
    Ok((Came::Url, Payload { asked: vec![asked], is_batch: false }))
}

/// Operations in a body.
pub(super) async fn of_body(call: &Call, body: &mut Body, bounds: &Bounds) -> Result<(Came, Payload), Stop> {
    // Some services prefer what is in the URL to what is in the body.
    if request::from_query(call.head.uri.query().unwrap_or_default())?.is_some() {
        return Err(refusal(Code::BadRequest, "a POST has its operation in its body alone").into());
    }
    if !media::is_plain(&call.head.headers) {
        return Err(refusal(Code::Media, "the body must not be encoded").into());
    }
    let mut kinds = call.head.headers.get_all(header::CONTENT_TYPE).iter();
    let whole = match (kinds.next().and_then(|kind| kind.to_str().ok()), kinds.next()) {
        (Some(kind), None) => kind,
        _ => return Err(unsupported(bounds).into()),
    };
    let kind = whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !is_utf8(whole) {
        return Err(refusal(Code::Media, "expected UTF-8").into());
    }
    match (kind.as_str(), bounds.upload) {
        ("application/json" | "application/graphql+json", _) => {
            let (held, bytes) = whole_of(body, bounds.body).await?;
            let payload = request::from_json(&bytes, bounds.batch)?;
            Ok((Came::Json(held.into_body()), payload))
        }
        ("application/graphql", _) => {
            let (_, bytes) = whole_of(body, bounds.body).await?;
            let text = String::from_utf8(bytes.to_vec());
            let text = text.map_err(|_| refusal(Code::BadRequest, "the body is no UTF-8"))?;
            Ok((Came::Text, Payload { asked: vec![Asked::of_text(text)], is_batch: false }))
        }
        ("multipart/form-data", Some(limit)) => {
            let boundary = multipart::boundary(whole)
                .ok_or_else(|| refusal(Code::BadRequest, "the boundary of the parts cannot be read"))?
                .to_owned();
            let (held, bytes) = whole_of(body, limit).await?;
            let upload = multipart::read(&bytes, &boundary)?;
            let own = bytes.get(upload.operations.clone()).unwrap_or_default();
            if own.len() > bounds.body {
                return Err(too_large(bounds.body).into());
            }
            let payload = request::from_json(own, bounds.batch)?;
            upload.judge(&payload)?;
            let operations = upload.operations;
            Ok((Came::Upload { held: held.into_body(), bytes, operations }, payload))
        }
        _ => Err(unsupported(bounds).into()),
    }
}

async fn whole_of(body: &mut Body, limit: usize) -> Result<(Held, Bytes), Stop> {
    let held = Held::read(body, limit).await?;
    if !held.is_whole() {
        *body = held.into_body();
        return Err(too_large(limit).into());
    }
    let bytes = held.beginning(limit);
    Ok((held, bytes))
}

fn too_large(limit: usize) -> ::graphql::Refusal {
    refusal(Code::TooLarge, format!("the request has more than the {limit} bytes that are read"))
}

fn unsupported(bounds: &Bounds) -> ::graphql::Refusal {
    refusal(
        Code::Media,
        match bounds.upload {
            Some(_) => "expected application/json, application/graphql or multipart/form-data",
            None => "expected application/json or application/graphql",
        },
    )
}

/// Whether a type names no other character set.
fn is_utf8(kind: &str) -> bool {
    kind.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}
