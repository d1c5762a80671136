//! Accounts that several gateways share: what is spent and what is held in them is in Redis.
//!
//! All accounts of one call are asked in one script, which holds in all of them or in none: one round trip, and nobody
//! can come between. (In a cluster there is a script for each slot that they lie in, and a refusal of one gives back
//! the others.) Time is the server's, so that clocks of gateways do not matter. What is held has a lease, which is
//! renewed while the call lasts; when a gateway dies it runs out, and what was held comes back. What calls cost is
//! [settled](queue) off their way, and as often as it takes.

mod claim;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod kept;
mod look;
mod queue;
mod scripts;
pub(crate) mod seen;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use telemetry::Exposition;
use tokio::{runtime::Handle, sync::Notify};

pub(crate) use self::{
    claim::{Account, Answer, Claim, Granted, Kind, Refusal},
    look::Looked,
};
use self::{
    claim::{read, terms},
    queue::{Queue, Settlement},
    seen::Seen,
};
use crate::redis::{Client, Unanswered};

/// The accounts of one store.
pub(crate) struct Accounts {
    client: Arc<Client>,
    /// Another to the same server, for what is large: nobody who counts waits behind that.
    bulk: Arc<Client>,
    prefix: String,
    lease: Duration,
    /// What the ids of this process's calls begin with: nobody else's do.
    identity: String,
    next: AtomicU64,
    /// What calls in flight hold, and when it was last renewed.
    open: Mutex<HashMap<String, Open>>,
    queue: Mutex<Queue>,
    /// What was told of accounts last, for who wants a list.
    seen: Mutex<Seen>,
    wake: Notify,
    started: AtomicBool,
    /// Calls that were counted otherwise while the store was away: here, not at all, or refused.
    pub(crate) fallbacks: [AtomicU64; 3],
}

/// What one call holds.
struct Open {
    claims: Arc<[Claim]>,
    renewed: Instant,
}

/// Something is held in shared accounts. Whoever drops it settles it to nothing, or to what is owed.
pub(crate) struct SharedHold {
    accounts: Arc<Accounts>,
    id: String,
    claims: Arc<[Claim]>,
    /// When the period of each began; 0 where there is none.
    periods: Vec<i64>,
    /// Nobody knows whether it is held.
    is_unsure: bool,
    is_open: bool,
    /// What each claim is settled to when it is dropped; nothing is nothing.
    owed: Vec<u128>,
}

/// Why nothing is held.
pub(crate) enum NotHeld {
    /// An account has no room, by its place among the claims.
    Refused(usize, Refusal),
    /// The store is away.
    Away,
}

impl Accounts {
    pub(crate) fn new([client, bulk]: [Arc<Client>; 2], prefix: String, lease: Duration) -> Self {
        let mut random = [0_u8; 12];
        // Without random numbers there would be no TLS either; the time then tells processes apart.
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            random.copy_from_slice(&now.as_nanos().to_be_bytes()[4..]);
        }
        let mut identity = String::with_capacity(25);
        for byte in random {
            use std::fmt::Write;
            let _ = write!(identity, "{byte:02x}");
        }
        Self {
            client,
            bulk,
            prefix,
            lease,
            identity,
            next: AtomicU64::new(0),
            open: Mutex::default(),
            queue: Mutex::default(),
            seen: Mutex::default(),
            wake: Notify::new(),
            started: AtomicBool::new(false),
            fallbacks: Default::default(),
        }
    }

    /// Connects, and starts to settle and to renew, once.
    pub(crate) fn start(this: &Arc<Self>, background: &Handle) {
        if !this.started.swap(true, Ordering::Relaxed) {
            Client::start(&this.client, background);
            background.spawn(queue::settle(Arc::downgrade(this)));
            background.spawn(queue::renew(Arc::downgrade(this)));
        }
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The client for what is large, which connects when somebody has started it.
    pub(crate) fn bulk(&self) -> &Arc<Client> {
        &self.bulk
    }

    /// Holds for a call in all accounts, or in none.
    pub(crate) async fn hold(
        this: &Arc<Self>,
        claims: Vec<Claim>,
    ) -> Result<(SharedHold, Vec<Granted>), NotHeld> {
        let id = this.next_id();
        let claims: Arc<[Claim]> = claims.into();
        let mut hold = SharedHold {
            accounts: this.clone(),
            id,
            periods: vec![0; claims.len()],
            claims: claims.clone(),
            // Until it is answered; and a call that is given up meanwhile gives back what it may have got.
            is_unsure: true,
            is_open: this.client.is_up(),
            owed: Vec::new(),
        };
        if !hold.is_open {
            return Err(NotHeld::Away);
        }
        let groups = this.groups(&claims);
        let asked = groups.iter().map(|group| this.hold_group(&hold.id, &claims, group));
        let answers = futures_util::future::join_all(asked).await;
        let mut granted: Vec<Option<Granted>> = claims.iter().map(|_| None).collect();
        let mut failed = None;
        for (group, answer) in groups.iter().zip(answers) {
            match answer {
                Ok(Answer::Granted(all)) => {
                    for (place, one) in group.iter().zip(all) {
                        if let (Some(slot), Some(period)) =
                            (granted.get_mut(*place), hold.periods.get_mut(*place))
                        {
                            *period = one.period;
                            *slot = Some(one);
                        }
                    }
                }
                Ok(Answer::Refused(which, refusal)) => {
                    let place = group.get(which).copied().unwrap_or_default();
                    // The first policy that refuses tells why, as it does where one script asks all.
                    let is_first = match &failed {
                        None => true,
                        Some(NotHeld::Refused(known, _)) => place < *known,
                        Some(NotHeld::Away) => false,
                    };
                    if is_first {
                        failed = Some(NotHeld::Refused(place, refusal));
                    }
                }
                Err(_) => failed = Some(NotHeld::Away),
            }
        }
        // One that refused whole holds nothing; of several slots some may.
        hold.is_open = groups.len() > 1 || !matches!(failed, Some(NotHeld::Refused(..)));
        if let Some(failed) = failed {
            return Err(failed);
        }
        let Some(granted) = granted.into_iter().collect::<Option<Vec<_>>>() else {
            return Err(NotHeld::Away);
        };
        for (claim, one) in claims.iter().zip(&granted) {
            this.note(&claim.account, one.period, one.spent);
        }
        hold.is_unsure = false;
        let renewed = Instant::now();
        this.open().insert(hold.id.clone(), Open { claims, renewed });
        Ok((hold, granted))
    }

    async fn hold_group(&self, id: &str, claims: &[Claim], group: &[usize]) -> Result<Answer, Unanswered> {
        let claims: Vec<&Claim> = group.iter().filter_map(|place| claims.get(*place)).collect();
        let keys = self.keys(claims.iter().map(|claim| &*claim.account));
        let mut arguments = vec![id.to_owned(), self.lease.as_millis().to_string()];
        claims.iter().for_each(|claim| terms(&claim.account, claim.amount, &mut arguments));
        let value = self.client.eval(&scripts::HOLD, &keys, &arguments).await?;
        read(&value, claims.len()).ok_or(Unanswered::Refused)
    }

    /// Spends of an account at once, where nothing is to be held before: one round trip.
    pub(crate) async fn take(&self, claim: Claim) -> Result<Granted, NotHeld> {
        let keys = self.keys(std::iter::once(&*claim.account));
        let mut arguments = Vec::with_capacity(11);
        terms(&claim.account, claim.amount, &mut arguments);
        let value = self.client.eval(&scripts::TAKE, &keys, &arguments).await.map_err(|_| NotHeld::Away)?;
        match read(&value, 1) {
            Some(Answer::Granted(all)) => all.first().copied().ok_or(NotHeld::Away),
            Some(Answer::Refused(place, refusal)) => Err(NotHeld::Refused(place, refusal)),
            None => Err(NotHeld::Away),
        }
    }

    /// Counts what was spent while the store was away. `periods` are the gateway's own.
    pub(crate) fn add(&self, claims: Arc<[Claim]>, periods: Vec<i64>, costs: Vec<u128>) {
        let id = self.next_id();
        self.enqueue(Settlement::new(id, queue::Way::Added, claims, periods, costs));
    }

    /// What is asked together: all, or in a cluster those of one slot.
    fn groups(&self, claims: &[Claim]) -> Vec<Vec<usize>> {
        if !self.client.is_cluster() {
            return vec![(0..claims.len()).collect()];
        }
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        for (place, claim) in claims.iter().enumerate() {
            match groups.iter_mut().find(|(subject, _)| *subject == &*claim.account.subject) {
                Some((_, group)) => group.push(place),
                None => groups.push((&claim.account.subject, vec![place])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// The key of something that a subject has.
    pub(crate) fn key(&self, subject: &str, name: &str) -> String {
        // Braces tell the slot, and must not come from a name.
        let subject = subject.replace('{', "%7B").replace('}', "%7D");
        format!("{}:{{{subject}}}:{name}", self.prefix)
    }

    /// An id that nobody else has.
    pub(crate) fn next_id(&self) -> String {
        format!("{}-{}", self.identity, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Two keys of each account, of one slot for each subject.
    fn keys<'a>(&self, accounts: impl Iterator<Item = &'a Account>) -> Vec<String> {
        let mut keys = Vec::new();
        for account in accounts {
            let key = self.key(&account.subject, &account.name);
            keys.push(format!("{key}:leases"));
            keys.push(key);
            let last = keys.len() - 1;
            keys.swap(last - 1, last);
        }
        keys
    }

    /// Remembers what was told of a book.
    fn note(&self, account: &Account, period: i64, spent: u128) {
        if matches!(account.kind, Kind::Book(_)) {
            self.seen().note(&account.name, &account.subject, period, spent);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, settlement: Settlement) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(settlement);
        self.wake.notify_one();
    }

    /// Settlements that wait or are on their way.
    pub(crate) fn unsettled(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what is counted of it.
    pub(crate) fn collect(&self, out: &mut Exposition) {
        let help = "Calls for which the shared store was away, by what was done with them.";
        for (how, count) in ["local", "open", "closed"].iter().zip(&self.fallbacks) {
            let count = count.load(Ordering::Relaxed) as f64;
            out.counter("tidegate_redis_fallbacks_total", help, &[("how", how)], count);
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Calls that are over and not yet counted in the shared store.";
        out.gauge("tidegate_redis_unsettled", help, &[], queue.len() as f64);
        let help =
            "Calls whose cost was never counted in the shared store: too many waited, or it refused them.";
        out.counter("tidegate_redis_settlements_dropped_total", help, &[], queue.dropped as f64);
    }
}

impl SharedHold {
    /// What is held, claim by claim.
    pub(crate) fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// From now on whoever drops it settles each claim to this.
    pub(crate) fn owe(&mut self, costs: Vec<u128>) {
        self.owed = costs;
    }

    /// Settles each claim to what it cost.
    pub(crate) fn settle(&mut self, costs: Vec<u128>) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        self.accounts.open().remove(&self.id);
        let way = if self.is_unsure { queue::Way::Again } else { queue::Way::First };
        let (claims, periods) = (self.claims.clone(), std::mem::take(&mut self.periods));
        self.accounts.enqueue(Settlement::new(self.id.clone(), way, claims, periods, costs));
    }
}

impl Drop for SharedHold {
    fn drop(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        self.settle(if owed.is_empty() { vec![0; self.claims.len()] } else { owed });
    }
}
