//! QUIC in a build without it: a listener that wants HTTP/3 is refused.

use std::{io, sync::Arc};

use http::HeaderValue;
use model::Snapshot;

use crate::{
    listener::{Limits, sockets::Inherited},
    tls::server::ListenerTlsConfig,
};

/// There is none.
pub(crate) struct Http3 {
    pub(crate) alt_svc: Option<HeaderValue>,
}

impl Http3 {
    pub(crate) fn compile(
        listener: &model::Listener,
        _: Option<&ListenerTlsConfig>,
        _: &Limits,
        _: &Snapshot,
    ) -> Result<Option<Self>, String> {
        match listener.http3() {
            None => Ok(None),
            Some(_) => Err("this build has no HTTP/3: it was made without the feature `http3`".to_owned()),
        }
    }
}

/// There is none.
pub(crate) enum Front {}

/// There is none.
pub(crate) enum Share {}

/// There is none.
pub(crate) enum Heir {}

/// There are none.
#[derive(Default)]
pub(crate) struct Fronts;

impl Fronts {
    pub(crate) fn prepare(
        &self,
        _: &[(Arc<str>, String)],
        _: usize,
        _: &mut Vec<Inherited>,
    ) -> Result<Vec<Front>, (Arc<str>, String, io::Error)> {
        Ok(Vec::new())
    }

    pub(crate) fn settle(&mut self, _: Vec<Front>, _: &[(Arc<str>, String)]) -> io::Result<Vec<Share>> {
        Ok(Vec::new())
    }

    pub(crate) fn hand_over(&self) -> io::Result<(Vec<Inherited>, Vec<Heir>)> {
        Ok((Vec::new(), Vec::new()))
    }
}

impl Share {
    pub(crate) fn worker(&self) -> usize {
        match *self {}
    }
}

impl Heir {
    pub(crate) fn worker(&self) -> usize {
        match *self {}
    }
}
