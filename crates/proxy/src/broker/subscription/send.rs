//! One delivery: a worker sends it through the upstream as it sends any call, and reads the answer.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering as Atomic},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use model::DeliveryRecord;
use tokio::sync::oneshot;

use super::given_up::Why;
use crate::{
    body::Body,
    call::Call,
    conn::peer::Peer,
    failure::Failure,
    guard,
    handler::{ai::gathered::gather, backends::Target},
    policy::{Passed, chain},
    upstream::{Effort, tries},
    worker::{Command, Shared, Worker},
};

/// Bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How much longer than a delivery may take a worker is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is sent.
pub(super) struct Delivery {
    pub(super) upstream: Arc<str>,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) timeout: Duration,
    pub(super) id: String,
    pub(super) record: DeliveryRecord,
}

/// How a delivery ended.
pub(super) enum Outcome {
    /// With a 2xx.
    Delivered,
    /// Otherwise.
    Failed { why: Why, retry_after: Option<Duration> },
    /// Nobody was there to send it.
    Undone,
}

/// Has a worker send it, each in turn.
pub(super) async fn deliver(shared: &Shared, delivery: Delivery) -> Outcome {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let Some(inboxes) = shared.inboxes.get() else { return Outcome::Undone };
    let next = NEXT.fetch_add(1, Atomic::Relaxed) % inboxes.len().max(1);
    let Some(inbox) = inboxes.get(next) else { return Outcome::Undone };
    let (tell, told) = oneshot::channel();
    let timeout = delivery.timeout;
    let work = move |worker: &Rc<Worker>| {
        let worker = worker.clone();
        tokio::task::spawn_local(async move {
            let _ = tell.send(Box::pin(send(&worker, delivery)).await);
        });
    };
    if inbox.send(Command::Run(Box::new(work))).is_err() {
        return Outcome::Undone;
    }
    match tokio::time::timeout(timeout + PATIENCE, told).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Outcome::Undone,
        Err(_) => {
            Outcome::Failed { why: Why::Failed("no worker has sent it in time".into()), retry_after: None }
        }
    }
}

async fn send(worker: &Rc<Worker>, delivery: Delivery) -> Outcome {
    let failed = |why: String| Outcome::Failed { why: Why::Failed(why), retry_after: None };
    let plan = worker.plan();
    let (Some(upstream), Some(listener)) =
        (plan.upstreams.get(&delivery.upstream).cloned(), plan.listeners.first())
    else {
        return failed(format!("there is no upstream `{}` now", delivery.upstream));
    };
    let Ok(uri) = Uri::try_from(&*delivery.path) else { return failed("its path is none".to_owned()) };
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = delivery.headers;
    let (head, ()) = request.into_parts();
    let peer = Rc::new(Peer::new(listener.clone(), None, None));
    let id = HeaderValue::from_str(&delivery.id).unwrap_or_else(|_| HeaderValue::from_static("delivery"));
    let mut call = Call::of_the_gateway(plan.clone(), peer, head, id, worker.random());
    call.record.delivered = Some(Arc::new(delivery.record));
    let mut effort = Effort::new(&upstream.settings.timeouts, &Default::default(), None);
    effort.request = effort.request.min(delivery.timeout);
    effort.total = Some(delivery.timeout);
    effort.max_attempts = 1;
    let target = Target { upstream, effort, weight: 1 };
    let sent =
        tokio::time::timeout(delivery.timeout, Box::pin(answer(worker, &mut call, &target, delivery.body)))
            .await;
    let outcome = match sent {
        Ok(Ok((status, retry_after))) => {
            call.record.status = status;
            match status.is_success() {
                true => Outcome::Delivered,
                false => Outcome::Failed {
                    why: Why::Failed(format!("it was answered with {}", status.as_u16())),
                    retry_after,
                },
            }
        }
        Ok(Err(failure)) => {
            call.record_failure(&failure);
            call.record.status = failure.status();
            Outcome::Failed {
                why: Why::Failed(failure.problem().slug().to_owned()),
                retry_after: failure.retry_after(),
            }
        }
        Err(_) => {
            call.record.status = StatusCode::GATEWAY_TIMEOUT;
            failed(format!("no answer within {:?}", delivery.timeout))
        }
    };
    call.record.timings.total = call.elapsed();
    worker.note(call.record);
    outcome
}

/// The status of the answer, and when to come again.
async fn answer(
    worker: &Rc<Worker>,
    call: &mut Call,
    target: &Target,
    body: Bytes,
) -> Result<(StatusCode, Option<Duration>), Failure> {
    let mut body = if body.is_empty() { Body::Empty } else { Body::Full(body) };
    call.record.upstream = Some(target.upstream.name.clone());
    let wanted = &target.upstream.settings.host_header;
    if !["preserve", "upstream"].contains(&wanted.as_str())
        && let Ok(value) = HeaderValue::from_str(wanted)
    {
        call.head.headers.insert(header::HOST, value);
        call.host_from_endpoint = false;
    }
    let mut response = match chain::upstream_request(&target.upstream.chain, call, &mut body).await? {
        Passed::Answered(response) => *response,
        Passed::Through | Passed::Around => {
            let wish = tries::Wish { endpoint: None, hash: tries::hash_of(call, &target.upstream) };
            tries::forward(worker, call, target, &wish, body).await?
        }
    };
    // Nobody gets the answer, so that it is not judged whole.
    while chain::response(call, &mut response).is_some() {}
    guard::clean_answer(&mut response);
    let (head, body) = response.into_parts();
    let _ = gather(body, ANSWER_BYTES_MAX).await;
    Ok((head.status, telemetry::retry_after(&head.headers)))
}
