//! `diff`: what changes for traffic, and what becomes exposed.

use std::path::Path;

use super::{Done, load};
use crate::{config::Files, exit::Exit};

/// Compares two configurations. Ends with [`Exit::Exposure`] when the new one exposes more.
pub(crate) fn diff(old: &Path, new: &Path, json: bool) -> Done {
    let old = load(Some(&Files::new(old)))?;
    let new = load(Some(&Files::new(new)))?;
    let diff = model::diff::diff(&old, &new);
    if json {
        match serde_json::to_string_pretty(&diff) {
            Ok(text) => show!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return Err(Exit::Failed);
            }
        }
    } else {
        for change in &diff.changes {
            show!("{change}");
        }
        for exposure in &diff.exposure {
            show!("EXPOSED: {exposure}");
        }
        if diff.changes.is_empty() && diff.exposure.is_empty() {
            show!("nothing changes");
        }
    }
    if diff.exposure.is_empty() { Ok(()) } else { Err(Exit::Exposure) }
}
