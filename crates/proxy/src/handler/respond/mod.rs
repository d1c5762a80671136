//! `respond`: a fixed answer, or those that a document describes.

mod made;
mod mock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use model::resource::route::Respond as Settings;

use self::mock::Mock;
use crate::{body::Body, call::Call, compiled::Building, failure::Failure};

/// A fixed answer.
pub(crate) struct Respond {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    mock: Option<Box<Mock>>,
}

impl Respond {
    pub(crate) fn compile(settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        let status = StatusCode::from_u16(settings.status).map_err(|error| format!("`status`: {error}"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let wrong = |error: String| format!("`headers.{name}`: {error}");
            let name = HeaderName::from_bytes(name.to_string().as_bytes())
                .map_err(|error| wrong(error.to_string()))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?);
        }
        let mock = settings.openapi.as_ref().map(|mock| Mock::compile(mock, cx)).transpose()?;
        Ok(Self { status, headers, body: Bytes::from(settings.body.clone()), mock: mock.map(Box::new) })
    }

    pub(crate) async fn handle(&self, call: &Call, body: Body) -> Result<Response<Body>, Failure> {
        match &self.mock {
            None => Ok(self.fixed(&call.head.method)),
            Some(mock) => Box::pin(mock.handle(call, body)).await,
        }
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
