//! Sends what makes a batch. A provider may have taken it whether or not anybody hears that it did: so the caller's leaving
//! does not end the sending, the batch is then in the caller's list, and where nobody can know whether it was made, the
//! most that it may spend is spent.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response};
use tokio::sync::oneshot;

use super::{Desk, Named, Sent, paid::Held, telling};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    handler::ai::provider::Provider,
    worker::Worker,
};

/// How long making a batch may take, whatever the provider's own bounds are.
const MAKING_MAX: Duration = Duration::from_secs(600);

/// A batch that is to be made.
pub(super) struct Making {
    pub(super) desk: Rc<Desk>,
    pub(super) provider: Arc<Provider>,
    /// The mark of the one key that will do.
    pub(super) key: Option<String>,
    pub(super) body: Bytes,
    pub(super) held: Held,
}

/// Makes a batch.
pub(super) async fn create(
    worker: &Rc<Worker>,
    call: &mut Call,
    making: Making,
) -> Result<Response<Body>, Failure> {
    let made = making.desk.files.made.clone();
    // Where nothing is held nothing is lost; and beyond the bound what is held is spent when the caller leaves.
    let Some(place) = (!making.held.is_empty()).then(|| made.begin()).flatten() else {
        return Box::pin(making.make(worker, call)).await;
    };
    making.desk.note(call, &making.provider);
    let mut errand = call.errand(http::Request::new(()).into_parts().0);
    errand.record = call.record.clone();
    let (tell, told) = oneshot::channel();
    let sender = worker.clone();
    tokio::task::spawn_local(async move {
        let making = Box::pin(making.make(&sender, &mut errand));
        let answer = tokio::time::timeout(MAKING_MAX, making).await;
        let _ = tell.send((answer.unwrap_or_else(|_| Err(unanswered())), errand));
        drop(place);
    });
    let (answer, errand) = told.await.map_err(|_| unanswered())?;
    (call.record, call.trail) = (errand.record, errand.trail);
    answer
}

fn unanswered() -> Failure {
    Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, "the provider did not tell of the batch")
}

impl Making {
    async fn make(self, worker: &Rc<Worker>, call: &mut Call) -> Result<Response<Body>, Failure> {
        let Self { desk, provider, key, body, mut held } = self;
        held.owe();
        let (method, below) = (Method::POST, String::new());
        let sent = Sent { provider: &provider, key: key.as_deref(), method, below, form: None, body };
        let (response, used) = match desk.send(worker, call, sent).await {
            Ok(sent) => sent,
            Err(failure) => {
                if !matches!(failure.stage(), Stage::FirstByte | Stage::Body) {
                    held.owe_nothing();
                }
                return Err(failure);
            }
        };
        let status = response.status();
        if !status.is_success() {
            held.owe_nothing();
            return desk.refused(response).await;
        }
        let (object, raw) = telling::object(response).await?;
        let (held, kept) = held.keep().await;
        let named = Named {
            provider: provider.name.to_string(),
            key: key.unwrap_or(used),
            id: raw.clone(),
            estimate: None,
            batch: None,
            kept,
        };
        let (response, _) = desk.tell(status, object, &provider, named)?;
        desk.files.made.hold(&provider.name, &raw, held);
        Ok(response)
    }
}
