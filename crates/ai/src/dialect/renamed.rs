//! A stream whose calls bear the caller's names of tools, where the provider was told others.

use super::StreamWriter;
use crate::{canon::Event, fit::Names};

/// Puts the caller's names back before anything is written.
pub(super) struct Renamed {
    pub(super) names: Names,
    pub(super) inner: Box<dyn StreamWriter>,
}

impl StreamWriter for Renamed {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        self.inner.write(self.names.event(event), out);
    }
}
