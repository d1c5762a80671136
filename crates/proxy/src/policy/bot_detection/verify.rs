//! Who an address belongs to, by the names that it has: the name must lead back to the address.
//!
//! An address is looked up once, in the background, for all calls that want to know; so many at a time and no more.
//! Calls wait for a bounded time. Only names in domains of bots are asked about, so that nobody makes the gateway ask
//! name servers of theirs for more than one name.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};

use super::table::is_in;
use crate::discovery::dns::Resolver;

/// Addresses that are looked up at a time; others are not known then.
const LOOKUPS_MAX: usize = 64;
/// How long a look-up may take, whoever waits for it.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);
/// Names of an address that are looked at.
const NAMES_MAX: usize = 4;

/// What is known of an address: the names in domains of bots that lead back to it. Nothing when nobody could say.
pub(super) type Names = Option<Arc<[Box<str>]>>;

/// What is found out of addresses.
pub(super) struct Verifier {
    resolver: Resolver,
    background: Handle,
    domains: Vec<Box<str>>,
    ttl: Duration,
    failure_ttl: Duration,
    addresses_max: usize,
    places: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashMap<IpAddr, Entry>,
    order: VecDeque<(IpAddr, u64)>,
    next: u64,
}

struct Entry {
    told: watch::Receiver<Option<Names>>,
    began: Instant,
    number: u64,
}

/// Bounds of what is kept, and for how long.
pub(super) struct Bounds {
    pub(super) ttl: Duration,
    pub(super) failure_ttl: Duration,
    pub(super) addresses_max: usize,
}

impl Verifier {
    pub(super) fn new(
        resolver: Resolver,
        background: Handle,
        domains: Vec<Box<str>>,
        bounds: &Bounds,
    ) -> Self {
        Self {
            resolver,
            background,
            domains,
            ttl: bounds.ttl,
            failure_ttl: bounds.failure_ttl,
            addresses_max: bounds.addresses_max.max(1),
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            inner: Mutex::default(),
        }
    }

    /// What is known of an address, or what will be; none when too many are being looked up.
    pub(super) fn ask(this: &Arc<Self>, address: IpAddr) -> Option<watch::Receiver<Option<Names>>> {
        let now = Instant::now();
        let mut inner = this.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = inner.known.get(&address) {
            let lasts = match &*entry.told.borrow() {
                // A task that ended without a word is one that nobody waits for.
                None if entry.told.has_changed().is_err() => Duration::ZERO,
                None => Duration::MAX,
                Some(None) => this.failure_ttl,
                Some(Some(_)) => this.ttl,
            };
            if now.duration_since(entry.began) < lasts {
                return Some(entry.told.clone());
            }
        }
        let place = this.places.clone().try_acquire_owned().ok()?;
        let (tell, told) = watch::channel(None);
        inner.next += 1;
        let number = inner.next;
        inner.known.insert(address, Entry { told: told.clone(), began: now, number });
        inner.order.push_back((address, number));
        while inner.known.len() > this.addresses_max || inner.order.len() > this.addresses_max * 2 {
            let Some((oldest, number)) = inner.order.pop_front() else { break };
            // One that was looked up again since then stands further behind, too.
            if inner.known.get(&oldest).is_some_and(|entry| entry.number == number) {
                inner.known.remove(&oldest);
            }
        }
        drop(inner);
        let verifier = this.clone();
        this.background.spawn(async move {
            let names = tokio::time::timeout(LOOKUP_TIME_MAX, verifier.look_up(address)).await;
            tell.send_replace(Some(names.ok().flatten()));
            drop(place);
        });
        Some(told)
    }

    async fn look_up(&self, address: IpAddr) -> Names {
        let names = self.resolver.names_of(address).await.ok()?;
        let mut good: Vec<Box<str>> = Vec::new();
        let mut is_unsure = false;
        for name in names.into_iter().take(NAMES_MAX).filter(|name| is_in(name, &self.domains)) {
            match self.resolver.addresses_of(&name, address.is_ipv4()).await {
                Ok(addresses) if addresses.contains(&address) => good.push(name.into()),
                Ok(_) => {}
                Err(_) => is_unsure = true,
            }
        }
        // One that leads back is enough; without it, nobody could say when a name server did not.
        if good.is_empty() && is_unsure { None } else { Some(good.into()) }
    }
}
