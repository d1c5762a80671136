//! `respond`: a fixed answer, those that a document describes, or the keys of an issuer of tokens.

mod made;
mod mock;

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use model::{
    Finding, Phase, Route,
    resource::{respond::Respond as Settings, route::Handler},
};

use self::mock::Mock;
use super::{Answering, Answers};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    issuers::{self, Issuer},
    openapi::fitting::Fitting,
    worker::Worker,
};

/// A fixed answer.
pub(crate) struct Respond {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    mock: Option<Box<Mock>>,
    /// Whose keys are published.
    keys: Option<Arc<Issuer>>,
}

/// Documents of routes that know none of their requests.
pub(crate) fn unfit(fitting: &mut Fitting<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let snapshot = fitting.snapshot;
    for route in &snapshot.config.routes {
        let Handler::Respond(settings) = &route.handler else { continue };
        let Some(mock) = &settings.openapi else { continue };
        if let Some(wrong) = fitting.wrong((&mock.file, mock.base_path.as_deref()), route, Phase::Handler) {
            found.push(Finding::new(format!("routes/{}", route.name), "respond.openapi", wrong));
        }
    }
    found
}

impl Respond {
    pub(crate) fn compile(settings: &Settings, _: &Route, cx: &Building<'_>) -> Result<Self, String> {
        let status = StatusCode::from_u16(settings.status).map_err(|error| format!("`status`: {error}"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let wrong = |error: String| format!("`headers.{name}`: {error}");
            let name = HeaderName::from_bytes(name.to_string().as_bytes())
                .map_err(|error| wrong(error.to_string()))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?);
        }
        let mock = settings.openapi.as_ref().map(|mock| Mock::compile(mock, cx)).transpose()?;
        let keys = settings.jwks.as_deref().map(|name| {
            let found = cx.issuers.and_then(|issuers| issuers.get(name)).cloned();
            found.ok_or_else(|| format!("`jwks`: there is no token issuer `{name}`"))
        });
        let keys = keys.transpose()?;
        let body = Bytes::from(settings.body.clone());
        Ok(Self { status, headers, body, mock: mock.map(Box::new), keys })
    }

    fn fixed(&self, method: &Method) -> Response<Body> {
        let body = if self.body.is_empty() { Body::Empty } else { Body::Full(self.body.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        if *method == Method::HEAD && !self.body.is_empty() {
            // What a GET would be sent (RFC 9110 §8.6).
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        response
    }
}

impl Answers for Respond {
    fn serve<'a>(&'a self, _: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        if let Some(issuer) = &self.keys {
            return Answering::Now(Ok(published(issuer, &call.head.method)));
        }
        match &self.mock {
            None => Answering::Now(Ok(self.fixed(&call.head.method))),
            Some(mock) => Answering::Later(Box::pin(mock.handle(call, body))),
        }
    }

    fn explain(&self) -> String {
        "respond".to_owned()
    }
}

/// The public keys of an issuer (RFC 7517 §5).
fn published(issuer: &Issuer, method: &Method) -> Response<Body> {
    let text = issuer.jwks(issuers::now()).to_string();
    let length = text.len();
    let mut response = match *method == Method::HEAD {
        true => Response::new(Body::Empty),
        false => Response::new(Body::Full(text.into())),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let kept = format!("public, max-age={}", issuer.kept().as_secs());
    if let Ok(kept) = HeaderValue::from_str(&kept) {
        headers.insert(header::CACHE_CONTROL, kept);
    }
    response
}
