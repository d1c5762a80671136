//! One certificate, from the start to the end of its being wanted: waits until something is due, and does it.

use std::{
    fs::File,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request};
use serde::Deserialize;
use tokio::sync::{Notify, Semaphore, watch};

use crate::{
    Front, State, Status, Wanted,
    account::Accounts,
    busy::Busy,
    keys::{Bundle, RenewalId},
    order::{Counts, Failure, Run},
    schedule::{self, Failures},
    store::Store,
    wire::{self, Wire},
};

/// Orders at a time; others wait.
pub(crate) const ORDERS_MAX: usize = 4;
/// The clock of the world may be set: it is looked at this often.
const LOOK: Duration = Duration::from_secs(600);
/// How often the right to order is asked for while another process has it.
const LOCKED: Duration = Duration::from_secs(1);
/// How often an authority is asked when to renew, when it does not say.
const INFO: Duration = Duration::from_secs(6 * 3600);
const INFO_MIN: Duration = Duration::from_secs(60);
/// How often an authority's wish is followed at most.
const FOLLOWED: Duration = Duration::from_secs(24 * 3600);
const INFO_MAX: Duration = Duration::from_secs(24 * 3600);

/// What all certificates share.
pub(crate) struct Common {
    pub(crate) store: Store,
    pub(crate) front: Arc<dyn Front>,
    pub(crate) accounts: Accounts,
    pub(crate) counts: Counts,
    pub(crate) orders: Semaphore,
    /// Names that are being shown to be ours.
    pub(crate) busy: Busy,
    /// The right to order, once this process has it.
    pub(crate) right: Mutex<Option<File>>,
    /// Whoever has something to do before the end holds a receiver of it: certificates that are looked after, and records
    /// from before they are set until they are cleared.
    pub(crate) unfinished: watch::Sender<()>,
}

impl Common {
    /// Whether this process may order.
    fn may_order(&self) -> bool {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.is_none() {
            match self.store.lock() {
                Ok(got) => *right = got,
                Err(error) => tracing::error!("cannot lock the folder of certificates: {error}"),
            }
        }
        right.is_some()
    }
}

/// A certificate that is looked after.
pub(crate) struct Tended {
    pub(crate) wanted: Wanted,
    pub(crate) state: Mutex<Known>,
    /// Somebody wants it renewed now.
    pub(crate) now: Notify,
}

/// What is known of it.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) valid: Option<(SystemTime, SystemTime)>,
    renewal_id: Option<RenewalId>,
    /// When the authority wants it renewed.
    suggested: Option<SystemTime>,
    /// When such a wish was last followed.
    followed: Option<SystemTime>,
    /// When it is asked about that again.
    ask_again: Option<SystemTime>,
    /// The one in use is not on disk: a restart would have to order it anew.
    is_unkept: bool,
    pub(crate) failures: Failures,
}

impl Tended {
    pub(crate) fn new(wanted: Wanted, store: &Store) -> Self {
        let failures = store.failures(&wanted.id);
        Self { wanted, state: Mutex::new(Known { failures, ..Known::default() }), now: Notify::new() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the certificate that is kept, if that is another one than the one in use.
    pub(crate) fn load(&self, store: &Store, front: &dyn Front) {
        let bundle = match store.certificate(&self.wanted.id) {
            Ok(Some(bundle)) => bundle,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(certificate = %self.wanted.id, "the certificate that is kept cannot be used: {error}");
                return;
            }
        };
        {
            // What could not be kept is newer than what is.
            let known = self.known();
            if known.is_unkept || known.valid == Some(bundle.valid) {
                return;
            }
        }
        match front.install(&self.wanted.id, &bundle) {
            Ok(()) => self.take_up(&bundle),
            Err(error) => {
                tracing::error!(certificate = %self.wanted.id, "the certificate that is kept cannot be used: {error}");
            }
        }
    }

    fn take_up(&self, bundle: &Bundle) {
        let mut known = self.known();
        known.valid = Some(bundle.valid);
        known.renewal_id.clone_from(&bundle.renewal_id);
        (known.suggested, known.ask_again, known.is_unkept) = (None, None, false);
    }

    /// When it is ordered next.
    fn due(&self) -> SystemTime {
        let known = self.known();
        let wanted = match known.valid {
            None => SystemTime::UNIX_EPOCH,
            Some(_) if known.is_unkept => SystemTime::UNIX_EPOCH,
            Some(valid) => {
                let unit = schedule::unit(&self.wanted.id);
                let by_age = schedule::by_age(valid, self.wanted.authority.renew_at_left, unit);
                // An authority may want it later, but never so late that nothing is left for failures.
                let latest = schedule::by_age(valid, self.wanted.authority.renew_at_left / 4.0, 0.0);
                // One that wants each certificate replaced at once does not have its wish more often than once a day.
                let earliest = known.followed.map_or(SystemTime::UNIX_EPOCH, |followed| followed + FOLLOWED);
                known.suggested.map_or(by_age, |suggested| suggested.max(earliest).min(latest))
            }
        };
        known.failures.until().map_or(wanted, |until| wanted.max(until))
    }

    /// How it is.
    pub(crate) fn status(&self) -> Status {
        let due = self.due();
        let known = self.known();
        let now = SystemTime::now();
        Status {
            id: self.wanted.id.clone(),
            authority: self.wanted.authority.name.clone(),
            names: self.wanted.names.clone(),
            state: match known.valid {
                None => State::Missing,
                Some((_, end)) if end <= now => State::Expired,
                Some(_) => State::Valid,
            },
            valid: known.valid,
            due: Some(due.max(now)),
            is_suggested: known.suggested.is_some(),
            failures: known.failures.count,
            error: known.failures.error.clone(),
        }
    }

    /// Looks after it until nobody wants it any more.
    pub(crate) async fn run(self: Arc<Self>, common: Arc<Common>) {
        let wire = match Wire::new(self.wanted.authority.ca.as_deref(), self.wanted.authority.timeout) {
            Ok(wire) => wire,
            Err(error) => {
                tracing::error!(authority = %self.wanted.authority.name, "the authority cannot be asked: {error}");
                self.known().failures.error = Some(error);
                return;
            }
        };
        let mut is_asked_for = false;
        loop {
            self.ask_when(&wire).await;
            let now = SystemTime::now();
            let (due, ask_again) = (self.due(), self.known().ask_again);
            if due > now && !is_asked_for {
                let next = ask_again.map_or(due, |again| again.min(due));
                let wait =
                    next.duration_since(now).unwrap_or_default().clamp(Duration::from_millis(10), LOOK);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.now.notified() => is_asked_for = true,
                }
                continue;
            }
            if !common.may_order() {
                tokio::time::sleep(LOCKED).await;
                continue;
            }
            let _names = common.busy.claim(&self.wanted.names).await;
            let Ok(_turn) = common.orders.acquire().await else { return };
            // The process that had the right before may have left one.
            let before = self.known().valid;
            self.load(&common.store, &*common.front);
            if self.known().valid != before && !is_asked_for {
                continue;
            }
            is_asked_for = false;
            self.order(&common, &wire).await;
            // Whoever asked for one meanwhile has it.
            let _ = tokio::time::timeout(Duration::ZERO, self.now.notified()).await;
        }
    }

    async fn order(&self, common: &Common, wire: &Wire) {
        let (failures, replaces, was_suggested) = {
            let known = self.known();
            let was_suggested = known.suggested.is_some();
            (known.failures.count, known.renewal_id.clone().filter(|_| was_suggested), was_suggested)
        };
        let Wanted { id, names, authority } = &self.wanted;
        tracing::info!(certificate = %id, authority = %authority.name, "orders a certificate for {}", names.join(", "));
        let run = Run {
            wanted: &self.wanted,
            wire,
            store: &common.store,
            accounts: &common.accounts,
            front: &common.front,
            counts: &common.counts,
            unfinished: &common.unfinished,
            failures,
            replaces,
        };
        let ended = run.run().await.and_then(|bundle| {
            // Used first: one that cannot be must not take the place of one that can.
            if let Err(error) = common.front.install(id, &bundle) {
                run.is_over();
                return Err(Failure::useless(error));
            }
            self.take_up(&bundle);
            // The order, which has the key, goes when the certificate is on disk and not before: a process that ends in
            // between fetches it again, and so does this one where there is no place to keep it.
            common.store.keep_certificate(id, &bundle).map_err(|error| {
                self.known().is_unkept = true;
                Failure::other(format!("there is one, and it is in use, but it cannot be kept: {error}"))
            })?;
            run.is_over();
            Ok(())
        });
        let mut known = self.known();
        if was_suggested && ended.is_ok() {
            known.followed = Some(SystemTime::now());
        }
        match ended {
            Ok(()) => {
                common.counts.issued.fetch_add(1, Ordering::Relaxed);
                known.failures = Failures::default();
                let days = known.valid.and_then(|(_, end)| end.duration_since(SystemTime::now()).ok());
                let days = days.unwrap_or_default().as_secs() / (24 * 3600);
                tracing::info!(certificate = %id, "has a certificate for {}, good for {days} days", names.join(", "));
            }
            Err(failure) => {
                common.counts.failed.fetch_add(1, Ordering::Relaxed);
                let now = SystemTime::now();
                let unit = schedule::unit(&format!("{id}{}", known.failures.count));
                let left = known.valid.map(|(_, end)| end.duration_since(now).unwrap_or_default());
                let backoff = schedule::pressed(authority.backoff, left);
                let until = known.failures.add(now, failure.cause, failure.text.clone(), backoff, unit);
                let pause = until.duration_since(now).unwrap_or_default().as_secs();
                tracing::error!(
                    certificate = %id,
                    authority = %authority.name,
                    failures = known.failures.count,
                    "no certificate for {}: {}; the next try is in {pause} seconds",
                    names.join(", "),
                    failure.text
                );
            }
        }
        if let Err(error) = common.store.keep_failures(id, &known.failures) {
            tracing::warn!("cannot write down what failed: {error}");
        }
    }

    /// Asks the authority when to renew, where it says so (RFC 9773), and when it is time to.
    async fn ask_when(&self, wire: &Wire) {
        let now = SystemTime::now();
        let id = {
            let known = self.known();
            let is_time = known.ask_again.is_none_or(|again| again <= now);
            known.renewal_id.clone().filter(|_| is_time && self.wanted.authority.renewal_info)
        };
        let Some(id) = id else { return };
        let told = self.renewal_info(wire, &id).await;
        let mut known = self.known();
        let again = match told {
            Ok(Some((window, again))) => {
                let at = schedule::as_suggested(window, schedule::unit(&self.wanted.id));
                if known.suggested != Some(at) {
                    let in_hours = at.duration_since(now).unwrap_or_default().as_secs() / 3600;
                    tracing::info!(
                        certificate = %self.wanted.id,
                        "the authority suggests a renewal; it is made in {in_hours} hours"
                    );
                }
                known.suggested = Some(at);
                again.unwrap_or(INFO).clamp(INFO_MIN, INFO_MAX)
            }
            Ok(None) => INFO_MAX,
            Err(error) => {
                tracing::debug!(certificate = %self.wanted.id, "cannot ask when to renew: {error}");
                // What it said last stays.
                INFO
            }
        };
        known.ask_again = Some(now + again);
    }

    async fn renewal_info(&self, wire: &Wire, id: &RenewalId) -> Result<Option<Suggestion>, String> {
        let get = |url: &str| {
            let request = Request::builder().method(Method::GET).uri(url);
            let request = request.header(http::header::USER_AGENT, "tidegate");
            request.body(Bytes::new()).map_err(|error| error.to_string())
        };
        let directory = wire.ask(get(&self.wanted.authority.directory)?).await?;
        let directory: Directory =
            serde_json::from_slice(directory.body()).map_err(|error| format!("its directory: {error}"))?;
        let Some(url) = directory.renewal_info else { return Ok(None) };
        let told = wire.ask(get(&format!("{}/{id}", url.trim_end_matches('/')))?).await?;
        if !told.status().is_success() {
            let _ = wire.take_pause();
            return Err(format!("it answered {}", told.status()));
        }
        let info: Info =
            serde_json::from_slice(told.body()).map_err(|error| format!("its answer: {error}"))?;
        let time = |text: &str| {
            let time = text.parse::<jiff::Timestamp>().map_err(|error| format!("its answer: {error}"))?;
            let seconds = u64::try_from(time.as_second()).unwrap_or_default();
            Ok::<_, String>(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        };
        let window = (time(&info.suggested_window.start)?, time(&info.suggested_window.end)?);
        Ok(Some((window, wire::retry_after(told.headers()))))
    }
}

/// A window in which to renew, and when to ask again.
type Suggestion = ((SystemTime, SystemTime), Option<Duration>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    renewal_info: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    suggested_window: Window,
}

#[derive(Deserialize)]
struct Window {
    start: String,
    end: String,
}
