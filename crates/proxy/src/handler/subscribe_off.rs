//! `subscribe` in a build without brokers: a configuration that has such a route is refused.

use std::rc::Rc;

use http::Response;

use crate::{body::Body, call::Call, compiled::Building, failure::Failure, worker::Worker};

/// There is none.
pub(crate) enum Subscribe {}

impl Subscribe {
    /// Refuses it.
    pub(crate) fn compile(
        _: &model::resource::subscribe::Subscribe,
        _: &model::Route,
        _: &Building<'_>,
    ) -> Result<Self, String> {
        Err("this build has no brokers: it was made without the feature `nats`".to_owned())
    }

    pub(crate) fn broker(&self) -> &str {
        match *self {}
    }

    pub(crate) async fn handle(&self, _: &Rc<Worker>, _: &mut Call) -> Result<Response<Body>, Failure> {
        match *self {}
    }
}
