//! What callers ask of files and batches, as it is sent to the provider that has them.

use std::{cell::Cell, rc::Rc, sync::Arc};

use ai::{batch::Upload, canon::Losses, dialect::Dialect};
use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri, header};
use model::AiRecord;
use resilience::turnstile::Priority;

use super::{
    Asking, Desk, Named, PROVIDER, Sent, invalid,
    made::Kind,
    unknown,
    way::{self, Act},
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    handler::ai::{
        answer, gathered, outgoing, prepare,
        provider::Provider,
        sending::{self, Outgoing, Unanswered},
    },
    worker::Worker,
};

impl Asking<'_> {
    pub(super) async fn answer(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        if !matches!(self.way.act, Act::Create | Act::Part | Act::Complete) {
            // Nothing that is asked of a thing has a body that matters.
            drop(body);
            return match self.way.act {
                Act::List => self.list(worker, call).await,
                _ => self.of_one(worker, call).await,
            };
        }
        let body = gathered::gather(body, self.files.bytes_max).await.map_err(|why| match why {
            gathered::Ungathered::TooLarge => Failure::refused(Problem::BodyTooLarge).with_hint(format!(
                "the body is larger than the {} bytes of `files.maxSize`",
                self.files.bytes_max
            )),
            gathered::Ungathered::Failed(failure) => failure,
        })?;
        match (self.way.kind, self.dialect) {
            (Kind::Upload, _) => self.of_upload(worker, call, body).await,
            (Kind::File, _) => self.upload(worker, call, body).await,
            (Kind::Batch, Dialect::Anthropic) => self.create_items(worker, call, body).await,
            (Kind::Batch, _) => self.create_batch(worker, call, body).await,
        }
    }

    /// The providers that a caller may have a new thing at, the first first.
    pub(super) fn candidates(&self) -> Result<Vec<&Arc<Provider>>, Failure> {
        let operation = self.way.kind.operation();
        let speaks =
            |provider: &&Arc<Provider>| provider.kind.dialect == self.dialect && provider.offers(operation);
        let mut found: Vec<&Arc<Provider>> = self.files.providers.iter().filter(speaks).collect();
        if let Some(wanted) = self.came.get(PROVIDER) {
            found.retain(|provider| provider.name.as_bytes() == wanted.as_bytes());
            if found.is_empty() {
                return Err(invalid(format!(
                    "`{PROVIDER}`: no provider of this name keeps {} for callers of this dialect",
                    operation.name()
                )));
            }
        }
        if found.is_empty() {
            return Err(Failure::refused(Problem::NotImplemented).with_hint(format!(
                "no provider in `files.providers` of this route has {} in this dialect",
                operation.name()
            )));
        }
        Ok(found)
    }

    /// A file is sent to be kept. One of requests is read first.
    async fn upload(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let kind = self.came.get(header::CONTENT_TYPE).cloned();
        let kind = kind.ok_or_else(|| invalid("a file comes in a form (`multipart/form-data`)"))?;
        let upload = Upload::of(kind.to_str().unwrap_or_default(), &body).map_err(answer::refused)?;
        let mut candidates = self.candidates()?;
        let mut body = body;
        let (mut estimate, mut key) = (None, None);
        if upload.purpose.as_deref() == Some("batch") && self.dialect != Dialect::Anthropic {
            let file = body.get(upload.file.clone()).unwrap_or_default();
            let requests = ai::batch::lines(file).map_err(answer::refused)?;
            let read = self.read_requests(call, &candidates, file, &requests)?;
            candidates = vec![read.provider];
            let head = body.get(..upload.file.start).unwrap_or_default();
            let tail = body.get(upload.file.end..).unwrap_or_default();
            body = [head, &read.document, tail].concat().into();
            (estimate, key) = (Some(read.estimate), read.key);
        }
        let provider = candidates.first().ok_or_else(|| invalid("no provider"))?;
        let sent = Sent {
            provider,
            key: key.as_deref(),
            method: Method::POST,
            below: String::new(),
            form: Some(kind),
            body,
        };
        let (response, key) = self.send(worker, call, sent).await?;
        let named = |id: &str| Named {
            provider: provider.name.to_string(),
            key: key.clone(),
            id: id.to_owned(),
            estimate: estimate.clone(),
            batch: None,
            kept: None,
        };
        self.told(response, provider, &named).await.map(|(response, _)| response)
    }

    /// Something is asked of one thing.
    async fn of_one(&self, worker: &Rc<Worker>, call: &mut Call) -> Result<Response<Body>, Failure> {
        let Some(named) = self.files.seals.open(&self.who, &self.way.id) else {
            return Err(unknown(self.way.kind, &self.way.id));
        };
        let provider = self.files.provider(&named).filter(|provider| provider.kind.dialect == self.dialect);
        let provider = provider.ok_or_else(|| unknown(self.way.kind, &self.way.id))?;
        let id = ai::name::segment(&named.id).map_err(answer::refused)?;
        let sent = Sent {
            provider,
            key: Some(&named.key),
            method: call.head.method.clone(),
            below: format!("/{id}{}", self.way.act.verb()),
            form: None,
            body: Bytes::new(),
        };
        let (response, _) = self.send(worker, call, sent).await?;
        let is_good = response.status().is_success();
        match self.way.act {
            Act::Content | Act::Results if is_good => Ok(self.content(call, &named, provider, response)),
            _ => {
                let (response, object) = self.told(response, provider, &|_| named.clone()).await?;
                let is_gone =
                    response.status() == StatusCode::NOT_FOUND || (self.way.act == Act::Delete && is_good);
                if is_gone {
                    self.files.made.forget(&self.who, self.way.kind, self.dialect, &self.way.id);
                }
                if let (Some(object), Kind::Batch) = (object, self.way.kind) {
                    self.settle(call, &named, &object);
                }
                Ok(response)
            }
        }
    }
}

impl Desk {
    /// Notes in the record of a call whom it is sent to.
    pub(super) fn note(&self, call: &mut Call, provider: &Provider) {
        call.record.upstream = Some(provider.target.upstream.name.clone());
        let mut record = AiRecord::new(self.way.kind.operation().name(), self.dialect.name(), "".into());
        record.provider = provider.name.clone();
        record.kind = &provider.kind.name;
        call.record.ai = Some(Arc::new(record));
    }

    /// Sends a request, and tells the mark of the key that it was sent with.
    pub(super) async fn send(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        sent: Sent<'_>,
    ) -> Result<(Response<Body>, String), Failure> {
        let Sent { provider, key, method, below, form, body } = sent;
        let operation = self.way.kind.operation();
        let own = way::root(self.dialect, self.way.kind);
        let mut path = provider.path(self.dialect, operation, "", false, own).map_err(answer::refused)?;
        path.push_str(&below);
        if let (Some(query), false) = (&self.query, self.way.act == Act::List) {
            path.push('?');
            path.push_str(query);
        }
        let (came, spoken) = (&self.came, self.dialect);
        let mut headers = outgoing::headers(came, provider, spoken, spoken, &mut Losses::default());
        headers.remove(PROVIDER);
        // Of a part nobody could tell what all of it cost.
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
        outgoing::dialect_headers(&mut headers, &self.dialect.headers());
        if let Some(form) = form {
            headers.insert(header::CONTENT_TYPE, form);
        } else if body.is_empty() {
            headers.remove(header::CONTENT_TYPE);
        }
        provider.address(&mut headers);
        call.host_from_endpoint = false;
        call.head.method = method;
        self.note(call, provider);
        let used = Cell::new(key.and_then(|mark| provider.keys.place(mark)));
        let uri: Uri = prepare::uri(path)?;
        let (dialect, key) = (self.dialect, Some(&used));
        let outgoing = Outgoing {
            provider,
            model: "",
            dialect,
            uri,
            headers,
            body,
            key,
            priority: Priority::Normal,
            words: None,
        };
        let response =
            sending::send(worker, call, outgoing).await.map_err(|unanswered| match unanswered {
                Unanswered::Away(away) => sending::all_away(away),
                Unanswered::Failed(failure) => failure,
            })?;
        let mark = used.get().map_or("", |index| provider.keys.mark(index)).to_owned();
        Ok((response, mark))
    }
}
