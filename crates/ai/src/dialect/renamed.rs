//! A stream whose calls bear the caller's names of tools, where the provider was told others.

use super::StreamWriter;
use crate::{canon::Event, fit::Renaming};

/// Puts the caller's names back before anything is written.
pub(super) struct Renamed {
    pub(super) names: Renaming,
    pub(super) inner: Box<dyn StreamWriter>,
}

impl StreamWriter for Renamed {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        let Self { names, inner } = self;
        names.event(event, |event| inner.write(event, out));
    }
}
