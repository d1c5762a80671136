//! What providers tell of files and batches, as the caller is told: with sealed ids, and remembered.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::{Desk, ids::Named, made::Kind};
use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
    handler::ai::{provider::Provider, reply},
};

/// Bytes of what a provider tells of a file or batch.
const OBJECT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a refusal that are looked through for ids.
const ERROR_BYTES_MAX: usize = 64 * 1024;

impl Desk {
    /// What a provider tells of a thing, with its ids sealed; remembered, and given as it was written too.
    pub(super) async fn told(
        &self,
        response: Response<Body>,
        provider: &Provider,
        named: &dyn Fn(&str) -> Named,
    ) -> Result<(Response<Body>, Option<Value>), Failure> {
        let status = response.status();
        if !status.is_success() {
            return self.refused(response).await.map(|response| (response, None));
        }
        let (object, raw) = object(response).await?;
        self.tell(status, object, provider, named(&raw)).map(|(response, object)| (response, Some(object)))
    }

    /// The same of what was read.
    pub(super) fn tell(
        &self,
        status: StatusCode,
        mut object: Value,
        provider: &Provider,
        own: Named,
    ) -> Result<(Response<Body>, Value), Failure> {
        let raw = object["id"].as_str().unwrap_or_default();
        let id = self.files.seals.seal(&self.who, &Named { id: raw.to_owned(), ..own.clone() });
        let id = id.ok_or_else(|| strange("its `id` cannot be sealed".to_owned()))?;
        let is_deleted = object["deleted"] == true
            || object["type"].as_str().is_some_and(|kind| kind.ends_with("_deleted"));
        self.seal_in(&mut object, &own, &id);
        if !is_deleted && self.way.kind != Kind::Upload {
            self.files.made.remember(&self.who, self.way.kind, self.dialect, &id, &object);
        }
        let mut response = whole(status, &object);
        if let Ok(name) = HeaderValue::from_str(&provider.name) {
            response.headers_mut().insert("x-tidegate-provider", name);
        }
        Ok((response, object))
    }

    /// Puts sealed ids in the places of a provider's.
    pub(super) fn seal_in(&self, object: &mut Value, own: &Named, id: &str) {
        let raw = object["id"].as_str().unwrap_or_default().to_owned();
        object["id"] = id.into();
        let known = self.files.made.find(&self.who, self.way.kind, self.dialect, id);
        for field in ["input_file_id", "output_file_id", "error_file_id"] {
            let Some(file) = object[field].as_str() else { continue };
            // The file of requests is named as the caller named it.
            let before = known.as_ref().and_then(|thing| thing.object[field].as_str());
            let batch = (field == "output_file_id").then(|| raw.clone());
            let named = Named { id: file.to_owned(), estimate: None, batch, ..own.clone() };
            let sealed = match (field, before) {
                ("input_file_id", Some(before)) => Some(before.to_owned()),
                ("input_file_id", None) if self.way.input.borrow().is_some() => {
                    self.way.input.borrow().clone()
                }
                _ => self.files.seals.seal(&self.who, &named),
            };
            object[field] = sealed.into();
        }
        if self.way.kind == Kind::Upload {
            self.seal_upload(object, own);
        }
        if object["results_url"].is_string() {
            object["results_url"] = format!("/v1/messages/batches/{id}/results").into();
        }
    }

    /// A refusal of a provider's, in which the caller's own id stands for the provider's.
    pub(super) async fn refused(&self, response: Response<Body>) -> Result<Response<Body>, Failure> {
        if reply::refuses_us(response.status()) {
            return reply::failed(self.dialect, self.dialect, response).await;
        }
        let (mut parts, body) = response.into_parts();
        let body = reply::provided(body, ERROR_BYTES_MAX).await.unwrap_or_default();
        let mut text = String::from_utf8_lossy(&body).into_owned();
        if let Some(named) = self.files.seals.open(&self.who, &self.way.id) {
            text = text.replace(&named.id, &self.way.id);
        }
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        Ok(Response::from_parts(parts, Body::Full(text.into())))
    }
}

fn strange(error: String) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, error)
        .with_hint("the provider's answer could not be understood")
}

/// What a provider tells, and the id of it.
pub(super) async fn object(response: Response<Body>) -> Result<(Value, String), Failure> {
    let body = reply::provided(response.into_body(), OBJECT_BYTES_MAX).await?;
    let object: Value = serde_json::from_slice(&body).map_err(|error| strange(error.to_string()))?;
    let raw = object["id"].as_str().ok_or_else(|| strange("it has no `id`".to_owned()))?.to_owned();
    Ok((object, raw))
}

/// A whole answer.
pub(super) fn whole(status: StatusCode, value: &Value) -> Response<Body> {
    let text = value.to_string();
    let length = text.len();
    let mut response = Response::new(Body::Full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
