//! The way of a call, phase by phase: router, request policies, handler, response policies.

use std::rc::Rc;

use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::{
    body::Body,
    call::{Call, GRPC_STATUS},
    failure::{self, Failure, Problem, Stage},
    guard::{self, X_REQUEST_ID},
    handler,
    policy::{Passed, chain},
    router::{Found, RequestView},
    worker::Worker,
};

/// Has a call answered. Every outcome is a response: a failure becomes the answer that its caller understands.
pub(crate) async fn handle(worker: &Rc<Worker>, call: &mut Call, mut body: Body) -> Response<Body> {
    let asked_by = call.head.method.clone();
    let mut response = match answer(worker, call, &mut body).await {
        Ok(response) => response,
        Err(failure) => fail(call, &failure),
    };
    while let Some(policy) = chain::response(call, &mut response) {
        if let Err(failure) = policy.judge(call, &mut response).await {
            response = fail(call, &failure);
        }
    }
    // Whatever an upstream was asked by: whether an answer has a body is a matter of what its client has sent.
    call.head.method = asked_by;
    complete(call, &mut response);
    response
}

/// The answer to a request that was refused before it was routed.
pub(crate) fn refuse(call: &mut Call, failure: &Failure) -> Response<Body> {
    let mut response = fail(call, failure);
    complete(call, &mut response);
    response
}

fn fail(call: &mut Call, failure: &Failure) -> Response<Body> {
    call.record_failure(failure);
    if let Some(id) = &call.rpc {
        if let Some(message) = &call.record.mcp {
            message.ended(true, false);
        }
        return handler::mcp::answer::failed(id, failure);
    }
    if let Some(dialect) = dialect(call) {
        return handler::ai::answer::failed(dialect, failure);
    }
    if call.record.graphql.is_some() {
        return failure::graphql::answer(failure, call);
    }
    let mut response =
        failure::answer(failure, &call.head.headers, &call.head.method, &call.record.request_id);
    handler::mcp::metadata::point_out(call, &mut response);
    response
}

/// The dialect of a call to a model: on such a route callers get errors that their SDKs understand.
fn dialect(call: &Call) -> Option<ai::dialect::Dialect> {
    call.dialect
        .or_else(|| call.plan.routes.get(call.route?)?.handler.speaks(call.path(), &call.head.headers))
}

async fn answer(worker: &Rc<Worker>, call: &mut Call, body: &mut Body) -> Result<Response<Body>, Failure> {
    if call.head.uri.path() == "*" {
        return Ok(about_the_server());
    }
    let plan = call.plan.clone();
    let Some(listener) = plan.listeners.get(call.listener) else {
        return Err(guard::listener_gone());
    };
    if let Some(answer) = handler::acme::answer(call, listener) {
        return Ok(answer);
    }
    if let Some(answer) = handler::mcp::metadata::answer(call) {
        return answer;
    }
    if let Some(target) = &listener.redirect_to_https {
        guard::judge_path(call, &listener.path)?;
        return handler::redirect::to_https(call, target);
    }
    let route = match route(call) {
        Ok(route) => &plan.routes[route],
        Err(failure) => {
            guard::judge_path(call, &listener.path)?;
            return Err(failure);
        }
    };
    call.record.route = Some(route.name.clone());
    guard::judge_path(call, &route.path.over(&listener.path))?;
    chain::forget_identity(call);
    let passed = chain::request(call, body).await;
    call.record.timings.policies = Some(call.elapsed());
    if let Some(consumer) = &call.consumer {
        call.record.consumer = Some(consumer.name.clone());
    }
    let passed = match passed {
        // An agent's card may be for whoever asks.
        Err(failure) if handler::a2a::is_open_card(call, &route.handler, &failure) => {
            call.record.stopped_by = None;
            return handler::handle(worker, call, &route.handler, std::mem::take(body)).await;
        }
        passed => passed,
    };
    match passed? {
        Passed::Answered(response) => {
            crate::policy::cache::refresh::begin(worker, call);
            Ok(*response)
        }
        Passed::Through => handler::handle(worker, call, &route.handler, std::mem::take(body)).await,
        Passed::Around => {
            let place = call.route.unwrap_or_default();
            Box::pin(handler::around::Next::of(worker, call, place, std::mem::take(body)).go(call)).await
        }
    }
}

/// Finds the route; that of a CORS preflight is found for the request that follows.
fn route(call: &mut Call) -> Result<usize, Failure> {
    let plan = call.plan.clone();
    let view = RequestView {
        listener: call.listener,
        host: call.host.as_ref().map(|host| host.as_str()),
        path: routed_path(&call.head),
        method: &call.head.method,
        headers: &call.head.headers,
        query: call.head.uri.query(),
        client: call.client,
        sni: call.peer.sni(),
        tls: call.peer.tls.is_some(),
    };
    let asked = plan.stands_for(&view);
    let view = RequestView { method: asked.as_ref().unwrap_or(view.method), ..view };
    match plan.router.find(&view, &mut call.captures) {
        Found::Route { id, rule } => {
            call.route = Some(id.0 as usize);
            call.record.rule = Some(rule);
            Ok(id.0 as usize)
        }
        Found::MethodNotAllowed { allow } => {
            Err(Failure::client(Stage::Router, Problem::MethodNotAllowed).with_header(header::ALLOW, allow))
        }
        Found::NotFound => Err(Failure::client(Stage::Router, Problem::NoRoute)),
    }
}

/// The path that routes are matched with; the target of CONNECT has none.
fn routed_path(head: &http::request::Parts) -> &str {
    if head.method == Method::CONNECT { "/" } else { head.uri.path() }
}

/// `OPTIONS *` asks about the server itself (RFC 9110 §9.3.7).
fn about_the_server() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    response
}

/// What every answer gets, whoever gave it.
fn complete(call: &mut Call, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    for (name, value) in &call.answer_headers {
        headers.insert(name.clone(), value.clone());
    }
    headers.insert(X_REQUEST_ID, call.record.request_id.clone());
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, crate::date::now());
    }
    // Over HTTP/3, too: who speaks nothing else would forget it in time, and an upstream's own is about another door.
    if let Some(alternative) = call.listener().alt_svc() {
        headers.insert(header::ALT_SVC, alternative.clone());
    }
    let status = response.status();
    call.record.status = status;
    if status == StatusCode::OK
        && let Some(grpc) = response.headers().get(GRPC_STATUS)
    {
        call.record.grpc_status = grpc.to_str().ok().and_then(|text| text.parse().ok());
    }
}
