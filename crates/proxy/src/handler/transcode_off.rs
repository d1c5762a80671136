//! `transcode` in a build without it: a configuration that has such a route is refused.

use std::rc::Rc;

use super::{Answering, Answers};
use crate::{body::Body, call::Call, compiled::Building, worker::Worker};

/// There is none.
pub(crate) enum Transcode {}

impl Transcode {
    /// Refuses it.
    pub(crate) fn compile(
        _: &model::resource::transcode::Transcode,
        _: &model::Route,
        _: &Building<'_>,
    ) -> Result<Self, String> {
        Err("this build has no `transcode`: it was made without the feature of that name".to_owned())
    }
}

impl Answers for Transcode {
    fn serve<'a>(&'a self, _: &'a Rc<Worker>, _: &'a mut Call, _: Body) -> Answering<'a> {
        match *self {}
    }

    fn explain(&self) -> String {
        match *self {}
    }
}
