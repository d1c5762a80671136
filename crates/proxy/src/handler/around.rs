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
struct Layers(Vec<Box<dyn Around>>);

/// By its address the note is found.
static NOTE: u8 = 0;

/// Puts something around the handler of a call, within what is there.
pub(crate) fn put(call: &mut Call, layer: Box<dyn Around>) {
    let mut layers = call.take::<_, Layers>(&NOTE).unwrap_or_else(|| Layers(Vec::new()));
    layers.0.push(layer);
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
        let mut rest = call.take::<_, Layers>(&NOTE).map_or_else(Vec::new, |layers| layers.0);
        rest.reverse();
        Self { worker: worker.clone(), route, body, rest }
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
