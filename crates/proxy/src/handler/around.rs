//! What stands around a route's handler: policies that run it in their own way, the outermost first.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use http::Response;

use super::handle;
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    worker::Worker,
};

/// Runs what is within it, or does not.
pub(crate) trait Around {
    /// Has the call answered.
    fn run<'a>(
        self: Box<Self>,
        next: Next,
        call: &'a mut Call,
    ) -> LocalBoxFuture<'a, Result<Response<Body>, Failure>>;
}

/// What policies have put around a call's handler, the outermost first. It is a note of the call, so that calls without
/// any do not carry a place for it.
#[derive(Default)]
struct Layers {
    outer: Vec<Box<dyn Around>>,
    /// Those that stand within all others, however late these come.
    inner: Vec<Box<dyn Around>>,
}

/// By its address the note is found.
static NOTE: u8 = 0;

/// Puts something around the handler of a call, within what is there.
pub(crate) fn put(call: &mut Call, layer: Box<dyn Around>) {
    let mut layers = call.take::<_, Layers>(&NOTE).unwrap_or_default();
    layers.outer.push(layer);
    call.keep(&NOTE, layers);
}

/// Puts something around the handler of a call, within whatever else is or will be there.
pub(crate) fn put_innermost(call: &mut Call, layer: Box<dyn Around>) {
    let mut layers = call.take::<_, Layers>(&NOTE).unwrap_or_default();
    layers.inner.push(layer);
    call.keep(&NOTE, layers);
}

/// Whether anything is around the handler of a call.
pub(crate) fn is_any(call: &Call) -> bool {
    call.notes.iter().any(|(_, note)| note.is::<Layers>())
}

/// What is within.
pub(crate) struct Next {
    pub(crate) worker: Rc<Worker>,
    /// The place of the call's route in its snapshot.
    route: usize,
    pub(crate) body: Body,
    /// The innermost first.
    rest: Vec<Box<dyn Around>>,
}

impl Next {
    /// All that policies of this call have put around its handler.
    pub(crate) fn of(worker: &Rc<Worker>, call: &mut Call, route: usize, body: Body) -> Self {
        let layers = call.take::<_, Layers>(&NOTE).unwrap_or_default();
        let rest = layers.outer.into_iter().chain(layers.inner).rev().collect();
        Self { worker: worker.clone(), route, body, rest }
    }

    /// The same once more, with another body, where the handler alone is within.
    pub(crate) fn again(&self, body: Body) -> Option<Self> {
        self.rest.is_empty().then(|| Self {
            worker: self.worker.clone(),
            route: self.route,
            body,
            rest: Vec::new(),
        })
    }

    /// Has the call answered.
    pub(crate) async fn go(mut self, call: &mut Call) -> Result<Response<Body>, Failure> {
        if let Some(around) = self.rest.pop() {
            return around.run(self, call).await;
        }
        let plan = call.plan.clone();
        let Some(route) = plan.routes.get(self.route) else {
            return Err(Failure::gateway(Stage::Router, Problem::Internal));
        };
        handle(&self.worker, call, &route.handler, self.body).await
    }
}
