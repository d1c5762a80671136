//! Lanes without a network: laws that hold whatever fails when, and what a lane does in time.

mod driven;
mod laws;
mod steps;

use std::{path::Path, time::Duration};

use sinks::{Batch, Queue, Retry, Rules, SpillTo};

/// Rules with small numbers.
fn rules(spill: Option<&Path>) -> Rules {
    Rules {
        name: "test".into(),
        batch: Batch { records: 4, bytes: 1 << 16, time: Duration::from_secs(1) },
        queue: Queue { records: 8, bytes: 1 << 16 },
        retry: Retry {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
            keep: Duration::from_secs(3600),
        },
        timeout: Duration::from_secs(2),
        spill: spill.map(|folder| SpillTo { folder: folder.to_owned(), bytes: 1 << 20 }),
    }
}
