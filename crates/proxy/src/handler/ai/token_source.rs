//! A token that is fetched: in the background, shortly before the one at hand ends, and never twice at a time.
//!
//! A fetch that fails leaves the token at hand until it ends. The background task holds no owner's share, so it ends
//! when the last configuration that names the source is gone.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use identity::sigv4::AccessKey;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tracing::{info, warn};

use super::grant::Grant;

/// How long a call waits for the first token.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one fetch may take.
const FETCH_MAX: Duration = Duration::from_secs(15);
/// The first wait after a failed fetch; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// How long before its end a token is fetched anew, at most; a quarter of its life where that is less.
const MARGIN_MAX: Duration = Duration::from_secs(300);
/// The least time between a token and its successor where a provider refuses it before its end.
const RENEWAL_MIN: Duration = Duration::from_secs(10);
/// The least wait between two fetches, whatever the server says of a token's life.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// What a grant yields.
pub(crate) enum Material {
    /// `Authorization`, whole.
    Bearer(HeaderValue),
    /// A temporary key of AWS.
    AccessKey(AccessKey),
}

/// A token at hand.
pub(crate) struct Token {
    pub(crate) material: Material,
    fetched: Instant,
    ends: Instant,
}

impl Token {
    pub(super) fn new(material: Material, life: Duration, now: Instant) -> Self {
        // What a server calls an age is bounded, so that clocks cannot overflow.
        Self { material, fetched: now, ends: now + life.min(Duration::from_secs(30 * 86_400)) }
    }

    /// How long it holds from when it was asked for.
    pub(crate) fn life(&self) -> Duration {
        self.ends.saturating_duration_since(self.fetched)
    }

    /// When its successor is fetched.
    fn renewal(&self) -> Duration {
        let life = self.ends.saturating_duration_since(self.fetched);
        life.saturating_sub(MARGIN_MAX.min(life / 4)).max(PAUSE_MIN)
    }
}

/// How long things may take.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// How long a call waits for the first token.
    pub(crate) call: Duration,
    /// How long one fetch may take.
    pub(crate) fetch: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: PATIENCE, fetch: FETCH_MAX }
    }
}

/// Where tokens come from.
pub(crate) struct TokenSource {
    grant: Grant,
    patience: Patience,
    token: ArcSwapOption<Token>,
    started: AtomicBool,
    /// Why the last fetch failed, for the log of a call that has no token.
    trouble: Mutex<Option<String>>,
    wake: Notify,
    /// Counts finished fetches.
    finished: watch::Sender<u64>,
}

impl TokenSource {
    pub(crate) fn new(grant: Grant) -> Self {
        Self::patient(grant, Patience::default())
    }

    pub(crate) fn patient(grant: Grant, patience: Patience) -> Self {
        Self {
            grant,
            patience,
            token: ArcSwapOption::empty(),
            started: AtomicBool::new(false),
            trouble: Mutex::new(None),
            wake: Notify::new(),
            finished: watch::channel(0).0,
        }
    }

    /// Starts the background task, once.
    pub(crate) fn start(this: &Arc<Self>, background: &Handle) {
        if !this.started.swap(true, Ordering::Relaxed) {
            background.spawn(run(Arc::downgrade(this)));
        }
    }

    fn at_hand(&self) -> Option<Arc<Token>> {
        self.token.load_full().filter(|token| token.ends > Instant::now())
    }

    /// The token at hand, if there is one.
    pub(crate) fn ready(&self) -> Option<Arc<Token>> {
        self.at_hand()
    }

    /// The token at hand. Before the first one, the fetch that is under way is waited for.
    pub(crate) async fn token(&self) -> Result<Arc<Token>, String> {
        let mut finished = self.finished.subscribe();
        if let Some(token) = self.at_hand() {
            return Ok(token);
        }
        // After a failure callers do not queue up behind the next try.
        if self.trouble().is_none() {
            let _ = tokio::time::timeout(self.patience.call, finished.changed()).await;
        }
        self.at_hand().ok_or_else(|| {
            let trouble = self.trouble().unwrap_or_else(|| "it is still being fetched".to_owned());
            format!("no token of {}: {trouble}", self.grant.target())
        })
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The provider refuses the token at hand: the next one is fetched before its time.
    pub(super) fn renew(&self) {
        let is_old = self.token.load().as_ref().is_none_or(|token| token.fetched.elapsed() >= RENEWAL_MIN);
        if is_old {
            self.wake.notify_one();
        }
    }

    /// The token after one that an upstream refuses, where there is one within a call's patience. However many calls
    /// ask, one fetch answers them; a token that is younger than `youth` is not fetched anew for them.
    pub(crate) async fn after(
        &self,
        is_refused: impl Fn(&HeaderValue) -> bool,
        youth: Duration,
    ) -> Option<Arc<Token>> {
        let another = || {
            self.at_hand()
                .filter(|token| !matches!(&token.material, Material::Bearer(value) if is_refused(value)))
        };
        let mut finished = self.finished.subscribe();
        if let Some(token) = another() {
            return Some(token);
        }
        let is_young = self.token.load().as_ref().is_some_and(|token| token.fetched.elapsed() < youth);
        if is_young || self.trouble().is_some() {
            return None;
        }
        self.wake.notify_one();
        let _ = tokio::time::timeout(self.patience.call, finished.changed()).await;
        another()
    }

    /// For how many seconds the token at hand still holds; 0 without one.
    pub(super) fn seconds_left(&self, now: Instant) -> f64 {
        let token = self.token.load();
        let left = token.as_ref().and_then(|token| token.ends.checked_duration_since(now));
        left.unwrap_or_default().as_secs_f64()
    }

    /// Fetches once; how long the next fetch has time, or nothing after a failure.
    async fn fetch(&self) -> Option<Duration> {
        let fetched = match tokio::time::timeout(self.patience.fetch, self.grant.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("no answer within {:?}", self.patience.fetch)),
        };
        let (wait, trouble) = match fetched {
            Ok(token) => {
                let wait = token.renewal();
                if self.token.swap(Some(Arc::new(token))).is_none() {
                    info!(url = %self.grant.target(), "fetched a token of {}", self.grant.target());
                }
                (Some(wait), None)
            }
            Err(error) => {
                warn!(url = %self.grant.target(), error, "no new token of {}: {error}", self.grant.target());
                (None, Some(error))
            }
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        self.finished.send_modify(|count| *count = count.wrapping_add(1));
        wait
    }
}

async fn run(source: Weak<TokenSource>) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let Some(strong) = source.upgrade() else { return };
        let wait = match strong.fetch().await {
            Some(wait) => {
                backoff = BACKOFF_FIRST;
                wait
            }
            None => {
                let wait = backoff;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                wait
            }
        };
        drop(strong);
        if !pause(&source, wait).await {
            return;
        }
    }
}

/// Waits, in steps short enough to notice that nobody needs the token any more.
async fn pause(source: &Weak<TokenSource>, wait: Duration) -> bool {
    const STEP: Duration = Duration::from_secs(1);
    let until = tokio::time::Instant::now() + wait;
    loop {
        let Some(strong) = source.upgrade() else { return false };
        let step = until.min(tokio::time::Instant::now() + STEP);
        tokio::select! {
            // Of many who ask at once the last may come when there is a new one already.
            () = strong.wake.notified() => {
                let is_new = strong.token.load().as_ref().is_some_and(|token| token.fetched.elapsed() < PAUSE_MIN);
                if !is_new {
                    return true;
                }
            }
            () = tokio::time::sleep_until(step) => {}
        }
        if tokio::time::Instant::now() >= until {
            return true;
        }
    }
}
