//! Lists of what a caller has made, as far as it is remembered here. Batches that are not over are asked after.

use std::{rc::Rc, time::Duration};

use ai::dialect::Dialect;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Asking, Sent, answer, invalid,
    made::{Kind, Thing},
    results,
    telling::whole,
    way,
};
use crate::{body::Body, call::Call, failure::Failure, worker::Worker};

/// What a list tells at a time, where the caller wants more.
const LISTED_MAX: usize = 100;
/// Providers are asked so often at a time, and for so long in all: what they have not told by then is listed as it was
/// told last.
const ASKED_AT_A_TIME: usize = 8;
const ASKING_MAX: Duration = Duration::from_secs(10);

/// What a provider tells of a thing.
enum Now {
    Told(Value),
    Gone,
    /// It tells nothing at the moment.
    Unknown,
}

impl Asking<'_> {
    pub(super) async fn list(&self, worker: &Rc<Worker>, call: &mut Call) -> Result<Response<Body>, Failure> {
        let query = self.query.as_deref().unwrap_or_default();
        let parameter = |name: &str| way::parameter(query, name);
        let mut all = self.files.made.all(&self.who, self.way.kind, self.dialect);
        if let Some(purpose) = parameter("purpose") {
            all.retain(|thing| thing.object["purpose"].as_str() == Some(&purpose));
        }
        if parameter("order").as_deref() == Some("asc") {
            all.reverse();
        }
        let place = |id: Option<String>| id.map(|id| all.iter().position(|thing| thing.id == id));
        let cursor = parameter("after").or_else(|| parameter("after_id"));
        let from = match place(cursor) {
            Some(Some(at)) => at + 1,
            Some(None) => return Err(invalid("the cursor names nothing in this list")),
            None => 0,
        };
        let limit = parameter("limit").map(|limit| limit.parse::<usize>());
        let limit =
            limit.unwrap_or(Ok(20)).map_err(|_| invalid("`limit` must be a number"))?.clamp(1, LISTED_MAX);
        let until = place(parameter("before_id")).flatten().unwrap_or(all.len());
        let from = if until < all.len() { until.saturating_sub(limit) } else { from };
        let page: Vec<Thing> = all.get(from..until.min(from + limit)).unwrap_or_default().to_vec();
        let has_more = from + page.len() < all.len();
        let told = self.as_it_is(worker, call, page).await;
        let id = |object: Option<&Value>| object.map_or(Value::Null, |object| object["id"].clone());
        let mut list = json!({
            "data": told, "has_more": has_more, "first_id": id(told.first()), "last_id": id(told.last()),
        });
        if self.dialect != Dialect::Anthropic {
            list["object"] = "list".into();
        }
        Ok(whole(StatusCode::OK, &list))
    }

    /// Things as they are now, without those that are gone.
    async fn as_it_is(&self, worker: &Rc<Worker>, call: &mut Call, page: Vec<Thing>) -> Vec<Value> {
        let deadline = Instant::now() + ASKING_MAX;
        let asker = &*call;
        let asked = page.into_iter().map(|thing| async move {
            let is_open = self.way.kind == Kind::Batch && !results::is_over(&thing.object);
            // What was too large to be remembered is asked for.
            if !(is_open || thing.is_part) || Instant::now() >= deadline {
                return (Some(thing.object), None);
            }
            let mut errand = asker.errand(http::Request::new(()).into_parts().0);
            let now = Box::pin(self.refreshed(worker, &mut errand, &thing.id));
            let now = tokio::time::timeout_at(deadline, now).await.unwrap_or(Now::Unknown);
            let object = match now {
                Now::Told(object) => Some(object),
                Now::Gone => None,
                Now::Unknown => Some(thing.object),
            };
            (object, Some(errand.record))
        });
        let asked: Vec<_> = stream::iter(asked).buffered(ASKED_AT_A_TIME).collect().await;
        let mut told = Vec::with_capacity(asked.len());
        for (object, record) in asked {
            told.extend(object);
            if let Some(record) = record {
                call.record.attempts = call.record.attempts.saturating_add(record.attempts);
                (call.record.upstream, call.record.ai) = (record.upstream, record.ai);
            }
        }
        told
    }

    /// A thing as its provider tells it now.
    async fn refreshed(&self, worker: &Rc<Worker>, call: &mut Call, id: &str) -> Now {
        let named = self.files.seals.open(&self.who, id);
        let Some((named, provider)) =
            named.and_then(|named| Some((named.clone(), self.files.provider(&named)?)))
        else {
            return Now::Gone;
        };
        let Ok(raw) = ai::name::segment(&named.id).map_err(answer::refused) else { return Now::Gone };
        let sent = Sent {
            provider,
            key: Some(&named.key),
            method: Method::GET,
            below: format!("/{raw}"),
            form: None,
            body: Bytes::new(),
        };
        let Ok((response, _)) = self.send(worker, call, sent).await else { return Now::Unknown };
        if response.status() == StatusCode::NOT_FOUND {
            self.files.made.forget(&self.who, self.way.kind, self.dialect, id);
            return Now::Gone;
        }
        match self.told(response, provider, &|_| named.clone()).await {
            Ok((_, Some(object))) => Now::Told(object),
            _ => Now::Unknown,
        }
    }
}
