//! Questions of policies to services of the operator's own: requests with a head and a record of their own, sent as any
//! call is sent to an upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};

use super::{Passed, chain, held::Held};
use crate::{
    body::Body,
    call::{Call, NO_LISTENER},
    failure::{Failure, Problem},
    guard,
    handler::backends::Target,
    upstream::{Effort, tries},
    worker,
};

/// Marks what is asked, so that nobody is asked about that.
#[derive(Clone)]
struct Question;

/// What is asked.
pub(crate) struct Asking {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Asks an upstream. The error is for the log.
pub(crate) async fn ask(call: &Call, upstream: &str, asking: Asking) -> Result<Response<Body>, String> {
    if call.head.extensions.get::<Question>().is_some() {
        return Err("the service would be asked about itself".to_owned());
    }
    let worker = worker::current().ok_or("no worker")?;
    let upstream = call.plan.upstreams.get(upstream).cloned();
    let upstream = upstream.ok_or("its upstream is not there")?;
    let Asking { method, target, headers, body } = asking;
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, target, headers);
    request.extensions_mut().insert(Question);
    let mut own = call.errand(request.into_parts().0);
    // What the upstream's policies find out about whoever asks has no consequences on the route.
    (own.route, own.listener, own.consumer) = (None, NO_LISTENER, None);
    own.record.upstream = Some(upstream.name.clone());
    let wanted = upstream.settings.host_header.as_str();
    let host = match wanted {
        "upstream" => None,
        "preserve" => call.head.headers.get(header::HOST).cloned(),
        wanted => HeaderValue::from_str(wanted).ok(),
    };
    own.host_from_endpoint = host.is_none();
    if let Some(host) = host {
        own.head.headers.insert(header::HOST, host);
    }
    let effort = Effort::new(&upstream.settings.timeouts, &upstream.settings.retry, None);
    let target = Target { upstream: upstream.clone(), effort, weight: 1 };
    let mut body = if body.is_empty() { Body::Empty } else { Body::Full(body) };
    let failed = |failure: Failure| failure.to_string();
    let passed = chain::upstream_request(&upstream.chain, &mut own, &mut body).await.map_err(failed)?;
    let mut answer = match passed {
        Passed::Answered(answer) => *answer,
        Passed::Through | Passed::Around => {
            let sent = tries::forward(&worker, &mut own, &target, &tries::Wish::default(), body).await;
            sent.map_err(failed)?
        }
    };
    guard::clean_answer(&mut answer);
    Ok(answer)
}

/// The part of a body that is shown, and whether that is all of it; all of it goes on as it came.
pub(crate) async fn shown(
    call: &mut Call,
    body: &mut Body,
    limit: usize,
    in_part: bool,
) -> Result<(Bytes, bool), Failure> {
    if body.is_empty() || call.body_is_tunnel() {
        return Ok((Bytes::new(), true));
    }
    let held = Held::read(body, limit).await?;
    let (is_whole, shown) = (held.is_whole(), held.beginning(limit));
    *body = held.into_body();
    call.has_been_sent();
    if !is_whole && !in_part {
        let hint = format!("a body has {limit} bytes at most here");
        return Err(Failure::refused(Problem::BodyTooLarge).with_hint(hint));
    }
    Ok((shown, is_whole))
}
