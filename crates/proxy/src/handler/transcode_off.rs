//! `transcode` in a build without it: a configuration that has such a route is refused.

use std::{rc::Rc, sync::Arc};

use http::Response;

use crate::{
    body::Body, call::Call, compiled::Building, failure::Failure, upstream::Upstream, worker::Worker,
};

/// There is none.
pub(crate) enum Transcode {}

impl Transcode {
    /// Refuses it.
    pub(crate) fn compile(
        _: &model::Route,
        _: &model::resource::transcode::Transcode,
        _: &Building<'_>,
    ) -> Result<Self, String> {
        Err("this build has no `transcode`: it was made without the feature of that name".to_owned())
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        match *self {}
    }

    pub(crate) fn passes_grpc(&self) -> bool {
        match *self {}
    }

    pub(crate) async fn handle(
        &self,
        _: &Rc<Worker>,
        _: &mut Call,
        _: Body,
    ) -> Result<Response<Body>, Failure> {
        match *self {}
    }
}
