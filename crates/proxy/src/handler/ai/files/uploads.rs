//! Uploads of OpenAI's: a large file that comes in parts, each up to `files.maxSize`. They belong to the caller that
//! began them, and so does the file that they become.

use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Response, header};
use serde_json::Value;

use super::{Asking, Desk, Sent, answer, ids::Named, invalid, made::Kind, unknown, way::Act};
use crate::{body::Body, call::Call, failure::Failure, worker::Worker};

/// Parts that an upload may be completed of.
const PARTS_MAX: usize = 10_000;

fn object(body: &[u8]) -> Result<Value, Failure> {
    let asked: Value =
        serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    if asked.is_object() { Ok(asked) } else { Err(invalid("the body must be a JSON object")) }
}

impl Asking<'_> {
    /// Something with a body is asked of uploads.
    pub(super) async fn of_upload(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        if self.way.act == Act::Create {
            return self.begin_upload(worker, call, &body).await;
        }
        let Some(named) = self.files.seals.open(&self.who, &self.way.id) else {
            return Err(unknown(Kind::Upload, &self.way.id));
        };
        let provider = self.files.provider(&named).filter(|provider| provider.kind.dialect == self.dialect);
        let provider = provider.ok_or_else(|| unknown(Kind::Upload, &self.way.id))?;
        let (form, body) = match self.way.act {
            Act::Part => {
                let form = self.came.get(header::CONTENT_TYPE).cloned();
                let form = form.ok_or_else(|| invalid("a part comes in a form (`multipart/form-data`)"))?;
                (Some(form), body)
            }
            _ => (None, self.complete(&named, &body)?.into()),
        };
        let id = ai::name::segment(&named.id).map_err(answer::refused)?;
        let below = format!("/{id}{}", self.way.act.verb());
        let sent = Sent { provider, key: Some(&named.key), method: Method::POST, below, form, body };
        let (response, _) = self.send(worker, call, sent).await?;
        let response = self.told(response, provider, &|_| named.clone()).await?;
        Ok(response.0)
    }

    async fn begin_upload(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: &[u8],
    ) -> Result<Response<Body>, Failure> {
        let asked = object(body)?;
        if asked["purpose"] == "batch" {
            return Err(invalid(
                "`purpose`: the requests of a batch are read when they come in, which parts cannot be: send them to `/v1/files`",
            ));
        }
        let candidates = self.candidates()?;
        let provider = candidates.first().ok_or_else(|| invalid("no provider"))?;
        // As it was read: what is there twice could be read in two ways.
        let body = asked.to_string().into();
        let (method, below) = (Method::POST, String::new());
        let sent = Sent { provider, key: None, method, below, form: None, body };
        let (response, key) = self.send(worker, call, sent).await?;
        let named = |id: &str| Named {
            provider: provider.name.to_string(),
            key: key.clone(),
            id: id.to_owned(),
            estimate: None,
            batch: None,
            kept: None,
        };
        self.told(response, provider, &named).await.map(|(response, _)| response)
    }

    /// What completes an upload, with the provider's ids of its parts.
    fn complete(&self, upload: &Named, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut asked = object(body)?;
        let parts = asked["part_ids"].as_array_mut().filter(|parts| parts.len() <= PARTS_MAX);
        let parts = parts.ok_or_else(|| {
            invalid(format!("`part_ids` is required: the ids of the parts in order, at most {PARTS_MAX}"))
        })?;
        for (index, part) in parts.iter_mut().enumerate() {
            let named = part.as_str().and_then(|id| self.files.seals.open(&self.who, id));
            let named =
                named.filter(|named| (&named.provider, &named.key) == (&upload.provider, &upload.key));
            let named =
                named.ok_or_else(|| invalid(format!("`part_ids[{index}]` is no part of this upload")))?;
            *part = named.id.into();
        }
        Ok(asked.to_string().into_bytes())
    }
}

impl Desk {
    /// Puts sealed ids where an upload, or a part of one, names others than its own.
    pub(super) fn seal_upload(&self, object: &mut Value, own: &Named) {
        if object["upload_id"].is_string() {
            object["upload_id"] = self.way.id.as_str().into();
        }
        let Some(raw) = object["file"]["id"].as_str() else { return };
        let named = Named { id: raw.to_owned(), ..own.clone() };
        let id = self.files.seals.seal(&self.who, &named);
        object["file"]["id"] = id.clone().into();
        if let Some(id) = id {
            self.files.made.remember(&self.who, Kind::File, self.dialect, &id, &object["file"]);
        }
    }
}
