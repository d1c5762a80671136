//! A list, and for one with an address the task that keeps it fresh.
//!
//! A fetch that fails, or brings what is no list, leaves the list as it was. The task holds its list weakly and ends
//! with it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use model::policy::ip_reputation::ReputationList;
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::parse::{Parsed, parse};
use crate::policy::{jwt::fetch::Target, networks::Networks};

/// The first wait after a failed fetch; it doubles up to the usual interval.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// A part of a number that several add to, which goes with whoever added it.
pub(super) struct Share {
    total: Arc<AtomicU32>,
    part: AtomicU32,
}

impl Share {
    pub(super) fn of(total: &Arc<AtomicU32>) -> Self {
        Self { total: total.clone(), part: AtomicU32::new(0) }
    }

    pub(super) fn set(&self, part: usize) {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        let before = self.part.swap(part, Ordering::Relaxed);
        self.total.fetch_add(part.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What was learnt of a list. It stays when its other settings change: a list that is to be fetched more often does not
/// begin with nothing.
#[derive(Default)]
pub(super) struct Content {
    learnt: ArcSwapOption<Learnt>,
}

struct Learnt {
    networks: Networks,
    entries: usize,
}

/// A list.
pub(super) struct List {
    pub(super) name: Box<str>,
    content: Arc<Content>,
    started: AtomicBool,
    entries: Share,
    failing: Share,
}

/// Where a list is fetched, and within which bounds.
struct Source {
    target: Target,
    refresh: Duration,
    timeout: Duration,
    bytes_max: usize,
    entries_min: usize,
    entries_max: usize,
}

impl List {
    /// A list that nothing is known of yet.
    pub(super) fn new(
        settings: &ReputationList,
        content: Arc<Content>,
        entries: Share,
        failing: Share,
    ) -> Self {
        entries.set(content.learnt.load().as_ref().map_or(0, |learnt| learnt.entries));
        Self {
            name: settings.name.as_str().into(),
            content,
            started: AtomicBool::new(false),
            entries,
            failing,
        }
    }

    /// Takes the content of a file.
    pub(super) fn fill(&self, content: &[u8], settings: &ReputationList) -> Result<(), String> {
        let (bytes_max, entries_max) = (settings.max_size.get(), settings.max_entries as usize);
        if content.len() > bytes_max {
            return Err(format!("it has more than `maxSize`, {bytes_max} bytes"));
        }
        self.take(parse(content, settings.min_entries as usize, entries_max)?);
        Ok(())
    }

    fn take(&self, parsed: Parsed) {
        if parsed.skipped > 0 {
            let (list, skipped) = (&self.name, parsed.skipped);
            warn!(list = %list, skipped, "{skipped} lines of the list `{list}` are no networks");
        }
        self.entries.set(parsed.entries);
        let before = self
            .content
            .learnt
            .swap(Some(Arc::new(Learnt { networks: parsed.networks, entries: parsed.entries })));
        if before.is_none() {
            let (list, entries) = (&self.name, parsed.entries);
            info!(list = %list, entries, "the list `{list}` tells of {entries} networks");
        }
    }

    /// Whether it tells of an address; nothing before it was fetched once.
    pub(super) fn tells_of(&self, address: IpAddr) -> Option<bool> {
        self.content.learnt.load().as_ref().map(|learnt| learnt.networks.contains(address))
    }

    /// Whether it was fetched or read.
    pub(super) fn is_there(&self) -> bool {
        self.content.learnt.load().is_some()
    }

    /// Starts to fetch it, once.
    pub(super) fn start(
        this: &Arc<Self>,
        settings: &ReputationList,
        background: &Handle,
    ) -> Result<(), String> {
        let url = settings.url.as_deref().unwrap_or_default();
        let source = Source {
            target: Target::parse(url)?,
            refresh: settings.refresh.get(),
            timeout: settings.timeout.get(),
            bytes_max: settings.max_size.get(),
            entries_min: settings.min_entries as usize,
            entries_max: settings.max_entries as usize,
        };
        if !this.started.swap(true, Ordering::Relaxed) {
            background.spawn(keep(Arc::downgrade(this), source));
        }
        Ok(())
    }

    fn settle(&self, fetched: Result<Parsed, String>, target: &Target) -> bool {
        let is_good = match fetched {
            Ok(parsed) => {
                self.take(parsed);
                true
            }
            Err(error) => {
                let list = &self.name;
                warn!(list = %list, url = %target, error, "the list `{list}` stays as it was: {error}");
                false
            }
        };
        self.failing.set(usize::from(!is_good));
        is_good
    }
}

impl Source {
    async fn fetch(&self) -> Result<Parsed, String> {
        let late = |_| format!("no answer within {} ms", self.timeout.as_millis());
        let document = tokio::time::timeout(self.timeout, self.target.download(self.bytes_max));
        let document = document.await.map_err(late)??;
        let (entries_min, entries_max) = (self.entries_min, self.entries_max);
        // A long list takes a while to read, in which others of the background have things to do.
        let parsed = tokio::task::spawn_blocking(move || parse(&document, entries_min, entries_max)).await;
        parsed.map_err(|error| error.to_string())?
    }
}

async fn keep(list: Weak<List>, source: Source) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let fetched = source.fetch().await;
        let Some(strong) = list.upgrade() else { return };
        let wait = if strong.settle(fetched, &source.target) {
            backoff = FIRST_BACKOFF;
            source.refresh
        } else {
            let wait = backoff.min(source.refresh);
            backoff = (backoff * 2).min(source.refresh);
            wait
        };
        drop(strong);
        if !pause(&list, wait).await {
            return;
        }
    }
}

/// Waits, in steps short enough to notice that nobody needs the list any more.
async fn pause(list: &Weak<List>, wait: Duration) -> bool {
    const STEP: Duration = Duration::from_secs(1);
    let until = tokio::time::Instant::now() + wait;
    while tokio::time::Instant::now() < until {
        if list.strong_count() == 0 {
            return false;
        }
        tokio::time::sleep_until(until.min(tokio::time::Instant::now() + STEP)).await;
    }
    true
}
