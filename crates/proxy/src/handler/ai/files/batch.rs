//! The requests of a batch, read where they come in: their models are those that the caller may use, written as the
//! provider names them, and the most that they may spend is reckoned at the prices of batches.

use std::{rc::Rc, sync::Arc};

use ai::{
    ask::Ask,
    batch::{self, Request},
    canon::{Error, ErrorKind},
    cost::{Class, Cost},
    dialect::Dialect,
    endpoint::Operation,
    peek::Peek,
};
use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::{
    Asking, answer,
    ids::Estimate,
    invalid,
    made::Kind,
    paid,
    sent::{self, Making},
    unknown,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    handler::ai::{models::Target, most::Most, provider::Provider, stored},
    worker::Worker,
};

/// Models of one batch, at most.
const MODELS_MAX: usize = 8;

/// The requests of a batch as they are sent.
pub(super) struct Read<'f> {
    pub(super) provider: &'f Arc<Provider>,
    pub(super) document: Vec<u8>,
    pub(super) estimate: Estimate,
    /// The mark of the one key that will do, where requests name what belongs to it.
    pub(super) key: Option<String>,
}

fn at(request: &Request, what: impl std::fmt::Display) -> Failure {
    invalid(format!("{}: {what}", request.place))
}

impl Asking<'_> {
    /// Reads requests, and finds the provider that serves them all.
    pub(super) fn read_requests<'f>(
        &self,
        call: &Call,
        candidates: &[&'f Arc<Provider>],
        document: &[u8],
        requests: &[Request],
    ) -> Result<Read<'f>, Failure> {
        if !call.ai.guards.is_empty() {
            return Err(Failure::refused(Problem::NotImplemented).with_hint(
                "the requests of a batch cannot be read by the rules of this route: send them one by one",
            ));
        }
        let first = requests.first().ok_or_else(|| invalid("the batch has no requests"))?;
        let provider = {
            let name = self.model_of(call, document, first)?.1;
            let serves = |provider: &&&Arc<Provider>| self.target(&name, provider).is_some();
            candidates.iter().find(serves).ok_or_else(|| {
                at(first, format!("the model `{name}` is at no provider that takes batches here"))
            })?
        };
        let mut estimate = Estimate { requests: requests.len() as u64, ..Estimate::default() };
        let mut cost = Cost::ZERO;
        let mut key = None;
        let mut bodies = Vec::with_capacity(requests.len());
        for request in requests {
            let (peek, name) = self.model_of(call, document, request)?;
            let body = document.get(request.body.clone()).unwrap_or_default();
            let Some((target, model)) = self.target(&name, provider) else {
                return Err(at(
                    request,
                    format!("the model `{name}` is not at the provider that this batch goes to"),
                ));
            };
            if !estimate.models.contains(&name) {
                if estimate.models.len() == MODELS_MAX {
                    return Err(at(request, format!("a batch has at most {MODELS_MAX} models")));
                }
                estimate.models.push(name.clone());
            }
            let ask = Ask { class: Class::Batch, ..Ask::of(request.dialect, body) };
            let most = Most::of_request(ask, target, &model, request.has_output);
            let (input, output) = most.tokens(None);
            estimate.input = estimate.input.saturating_add(input);
            estimate.output = estimate.output.saturating_add(output);
            match most.cost(None, false) {
                Ok(more) => cost += more,
                Err(model) => estimate.unpriced = Some(model.to_owned()),
            }
            let mut body = peek.with_model(body, &model);
            if let Some((opened, named)) = self.files.seals.opened(&self.who, &body) {
                for one in named {
                    if *one.provider != *provider.name || key.get_or_insert(one.key.clone()) != &one.key {
                        return Err(at(
                            request,
                            "it names a file or an answer that is at another provider or account",
                        ));
                    }
                }
                body = opened;
            }
            bodies.push(body);
        }
        estimate.cost = u64::try_from(cost.0.div_ceil(paid::MICRO)).unwrap_or(u64::MAX);
        Ok(Read { provider, document: batch::with(document, requests, &bodies), estimate, key })
    }

    /// The model that a request names, where the caller may use it.
    fn model_of(&self, call: &Call, document: &[u8], request: &Request) -> Result<(Peek, String), Failure> {
        let body = document.get(request.body.clone()).unwrap_or_default();
        let peek = Peek::of(body).map_err(|error| at(request, error.message))?;
        let name = peek.model.clone().ok_or_else(|| at(request, "`model` is required"))?;
        if call.consumer.as_ref().is_some_and(|consumer| !consumer.may_use(&name)) {
            return Err(Failure::refused(Problem::Forbidden).with_hint(format!(
                "{}: the key that was shown is not for the model `{name}`",
                request.place
            )));
        }
        if self.gateway.models.find(&name).is_none() {
            let message = format!("{}: no model `{name}` here", request.place);
            return Err(answer::refused(Error::new(ErrorKind::NotFound, message)));
        }
        if request.dialect == Dialect::OpenAiResponses {
            // As of one that comes alone.
            stored::check(call, &self.files.seals, &self.who, &peek).map_err(|error| {
                answer::refused(Error { message: format!("{}: {}", request.place, error.message), ..error })
            })?;
        }
        Ok((peek, name))
    }

    /// The target of a model at a provider, and how that names it.
    fn target<'s>(&'s self, name: &'s str, provider: &Provider) -> Option<(&'s Target, String)> {
        let asked = self.gateway.models.find(name)?;
        let target = asked.alias.targets.iter().find(|target| target.provider.name == provider.name)?;
        let model = asked.model(target);
        Some((target, model))
    }

    /// Makes a batch of a file of requests.
    pub(super) async fn create_batch(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let mut asked: Value = serde_json::from_slice(&body)
            .map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
        let input = asked["input_file_id"].as_str().ok_or_else(|| invalid("`input_file_id` is required"))?;
        let input = input.to_owned();
        let Some(named) = self.files.seals.open(&self.who, &input) else {
            return Err(unknown(Kind::File, &input));
        };
        let provider = self.files.provider(&named).filter(|provider| provider.offers(Operation::Batches));
        let provider = provider.ok_or_else(|| unknown(Kind::File, &input))?;
        let estimate = named.estimate.clone();
        let estimate = estimate
            .ok_or_else(|| invalid("`input_file_id`: this file was not uploaded with the purpose `batch`"))?;
        self.still_may(call, &estimate)?;
        asked["input_file_id"] = named.id.as_str().into();
        *self.way.input.borrow_mut() = Some(input);
        let held = self.hold(call, &estimate).await?;
        let (desk, provider, body) = (self.desk.clone(), provider.clone(), asked.to_string().into());
        sent::create(worker, call, Making { desk, provider, key: Some(named.key), body, held }).await
    }

    /// Makes a batch of the requests in the body.
    pub(super) async fn create_items(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let requests = batch::items(&body).map_err(answer::refused)?;
        let read = self.read_requests(call, &self.candidates()?, &body, &requests)?;
        let held = self.hold(call, &read.estimate).await?;
        let (desk, provider, body) = (self.desk.clone(), read.provider.clone(), read.document.into());
        sent::create(worker, call, Making { desk, provider, key: read.key, body, held }).await
    }

    /// Models may have been taken from the caller since the file came.
    fn still_may(&self, call: &Call, estimate: &Estimate) -> Result<(), Failure> {
        for name in &estimate.models {
            if call.consumer.as_ref().is_some_and(|consumer| !consumer.may_use(name)) {
                return Err(Failure::refused(Problem::Forbidden)
                    .with_hint(format!("the key that was shown is not for the model `{name}`")));
            }
        }
        Ok(())
    }
}
