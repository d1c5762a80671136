//! A key set that is fetched: in the background at its interval, and at most once per interval when tokens name a
//! key that is not known.
//!
//! A fetch that fails leaves the keys as they were. The background task holds no owner's share, so it ends when
//! the last policy that uses the key set is gone.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tracing::{info, warn};

use super::{
    fetch::Target,
    keys::{Algorithm, Keys},
};

/// The first wait after a failed fetch; it doubles up to the usual interval.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// A key set that is fetched.
pub(crate) struct Remote {
    target: Target,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    min_refresh: Duration,
    timeout: Duration,
    keys: ArcSwapOption<Keys>,
    state: Mutex<State>,
    /// Wakes the background task before its time.
    wake: Notify,
    /// Counts finished fetches.
    finished: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    started: bool,
    /// When the last fetch was begun or asked for.
    last: Option<Instant>,
    under_way: bool,
}

/// A fetch that is under way.
pub(crate) struct Fetched {
    finished: watch::Receiver<u64>,
    timeout: Duration,
}

impl Fetched {
    /// Waits until it is done, however it ends.
    pub(crate) async fn wait(mut self) {
        // Neither a timeout nor a task that is gone needs an answer: the keys are looked at again either way.
        let _ = tokio::time::timeout(self.timeout, self.finished.changed()).await;
    }
}

impl Remote {
    pub(crate) fn new(
        target: Target,
        algorithms: Vec<Algorithm>,
        settings: &model::policy::jwt::Jwks,
    ) -> Self {
        Self {
            target,
            algorithms,
            refresh: settings.refresh.get(),
            min_refresh: settings.min_refresh.get(),
            timeout: settings.timeout.get(),
            keys: ArcSwapOption::empty(),
            state: Mutex::default(),
            wake: Notify::new(),
            finished: watch::channel(0).0,
        }
    }

    /// Starts the background task, once.
    pub(crate) fn start(this: &Arc<Self>, background: &Handle) {
        {
            let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.started {
                return;
            }
            *state = State { started: true, last: Some(Instant::now()), under_way: true };
        }
        background.spawn(run(Arc::downgrade(this)));
    }

    /// The keys as they are now; nothing before the first fetch went well.
    pub(crate) fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.load_full()
    }

    /// The fetch that an unknown key may wait for: the one under way, or a new one when the last is long enough
    /// ago; otherwise none.
    pub(crate) fn fetched(&self) -> Option<Fetched> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = self.finished.subscribe();
        if !state.under_way {
            let now = Instant::now();
            if state.last.is_some_and(|last| now.duration_since(last) < self.min_refresh) {
                return None;
            }
            state.last = Some(now);
            state.under_way = true;
            self.wake.notify_one();
        }
        Some(Fetched { finished, timeout: self.timeout })
    }

    async fn fetch(&self) -> bool {
        let fetched = match tokio::time::timeout(self.timeout, self.target.get()).await {
            Ok(Ok(document)) => Keys::parse(&document, &self.algorithms),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {} ms", self.timeout.as_millis())),
        };
        let good = match fetched {
            Ok(keys) => {
                if self.keys.swap(Some(Arc::new(keys))).is_none() {
                    info!(url = %self.target, "fetched the key set of {}", self.target);
                }
                true
            }
            Err(error) => {
                match self.keys.load().is_none() {
                    true => {
                        warn!(url = %self.target, error, "there is no key set of {} yet: {error}", self.target);
                    }
                    false => {
                        warn!(url = %self.target, error, "the key set of {} stays as it was: {error}", self.target);
                    }
                }
                false
            }
        };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).under_way = false;
        self.finished.send_modify(|count| *count += 1);
        good
    }

    fn note_start(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Some(Instant::now());
        state.under_way = true;
    }
}

async fn run(remote: Weak<Remote>) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let Some(strong) = remote.upgrade() else { return };
        strong.note_start();
        let wait = if strong.fetch().await {
            backoff = FIRST_BACKOFF;
            strong.refresh
        } else {
            let wait = backoff.min(strong.refresh);
            backoff = (backoff * 2).min(strong.refresh);
            wait
        };
        drop(strong);
        if !pause(&remote, wait).await {
            return;
        }
    }
}

/// Waits, in steps short enough to notice that nobody needs the keys any more.
async fn pause(remote: &Weak<Remote>, wait: Duration) -> bool {
    const STEP: Duration = Duration::from_secs(1);
    let until = tokio::time::Instant::now() + wait;
    loop {
        let Some(strong) = remote.upgrade() else { return false };
        let step = until.min(tokio::time::Instant::now() + STEP);
        tokio::select! {
            () = strong.wake.notified() => return true,
            () = tokio::time::sleep_until(step) => {}
        }
        if tokio::time::Instant::now() >= until {
            return true;
        }
    }
}
