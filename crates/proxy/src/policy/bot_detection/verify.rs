//! Who an address belongs to, by the names that it has: the name must lead back to the address.
//!
//! An address is looked up once, in the background, for all calls that want to know; so many at a time and no more, and of
//! one network only some. Calls wait for a bounded time. Only names in domains of bots are asked about, so that nobody makes
//! the gateway ask name servers of theirs for more than one name. What was found out is used for as long as nobody says
//! something else, and verified addresses are kept apart from all others, so that strangers without number push none out.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch};

use super::table::is_in;
use crate::discovery::dns::Resolver;

/// Addresses that are looked up at a time; others are not known then.
const LOOKUPS_MAX: usize = 64;
/// Those of them in one network.
const LOOKUPS_PER_NETWORK_MAX: usize = 8;
/// Leading bits of what is one network.
const NETWORK_BITS: (u32, u32) = (24, 48);
/// How long a look-up may take, whoever waits for it.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);
/// Names of an address that are looked at.
const NAMES_MAX: usize = 4;

/// What is known of an address: the names in domains of bots that lead back to it. Nothing when nobody could say.
pub(super) type Names = Option<Arc<[Box<str>]>>;

/// What an address is told of.
pub(super) enum Told {
    /// This is known.
    Known(Names),
    /// This will be.
    Soon(watch::Receiver<Option<Names>>),
}

/// What is found out of addresses.
pub(super) struct Verifier {
    resolver: Resolver,
    background: Handle,
    domains: Vec<Box<str>>,
    ttl: Duration,
    failure_ttl: Duration,
    addresses_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Those with names in domains of bots, which nobody has who runs none.
    good: Addresses,
    others: Addresses,
    /// Those that are being looked up.
    asked: HashMap<IpAddr, watch::Receiver<Option<Names>>>,
    /// How many of each network are.
    busy: HashMap<IpAddr, usize>,
}

/// A bounded number of addresses, of which the oldest go.
#[derive(Default)]
struct Addresses {
    known: HashMap<IpAddr, Entry>,
    order: VecDeque<(IpAddr, Instant)>,
}

#[derive(Clone)]
struct Entry {
    names: Names,
    /// When that was found out, or was tried to.
    at: Instant,
    /// How long it holds from then on.
    lasts: Duration,
}

/// Bounds of what is kept, and for how long.
pub(super) struct Bounds {
    pub(super) ttl: Duration,
    pub(super) failure_ttl: Duration,
    pub(super) addresses_max: usize,
}

impl Addresses {
    fn put(&mut self, address: IpAddr, entry: Entry, most: usize) {
        self.order.push_back((address, entry.at));
        self.known.insert(address, entry);
        while self.known.len() > most || self.order.len() > most * 2 {
            let Some((oldest, at)) = self.order.pop_front() else { break };
            // One that was looked up again since then stands further behind, too.
            if self.known.get(&oldest).is_some_and(|entry| entry.at == at) {
                self.known.remove(&oldest);
            }
        }
    }
}

impl Inner {
    fn entry(&self, address: IpAddr) -> Option<&Entry> {
        self.good.known.get(&address).or_else(|| self.others.known.get(&address))
    }

    /// Takes a place for a look-up, where there is one.
    fn take_place(&mut self, address: IpAddr) -> bool {
        let network = network(address);
        let busy = self.busy.get(&network).copied().unwrap_or_default();
        let is_free = self.asked.len() < LOOKUPS_MAX && busy < LOOKUPS_PER_NETWORK_MAX;
        if is_free {
            self.busy.insert(network, busy + 1);
        }
        is_free
    }

    fn give_back(&mut self, address: IpAddr) {
        self.asked.remove(&address);
        let network = network(address);
        match self.busy.get_mut(&network) {
            Some(busy) if *busy > 1 => *busy -= 1,
            _ => {
                self.busy.remove(&network);
            }
        }
    }

    /// Keeps what a look-up found. When nobody could say, what was known stays.
    fn settle(&mut self, address: IpAddr, found: Names, now: Instant, bounds: &Bounds) -> Names {
        let lasts = if found.is_some() { bounds.ttl } else { bounds.failure_ttl };
        let names = found.or_else(|| self.entry(address).and_then(|entry| entry.names.clone()));
        let is_good = names.as_ref().is_some_and(|names| !names.is_empty());
        let entry = Entry { names: names.clone(), at: now, lasts };
        let (one, other) = match is_good {
            true => (&mut self.good, &mut self.others),
            false => (&mut self.others, &mut self.good),
        };
        other.known.remove(&address);
        one.put(address, entry, bounds.addresses_max.max(1));
        names
    }
}

/// The network of an address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << (32 - NETWORK_BITS.0))).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - NETWORK_BITS.1))).into(),
    }
}

/// A place of a look-up, which is given back however that ends.
struct Place {
    verifier: Arc<Verifier>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.verifier.inner().give_back(self.address);
    }
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
            addresses_max: bounds.addresses_max,
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an address, or what will be. When too many are being looked up it is what was known before, if
    /// anything was.
    pub(super) fn ask(this: &Arc<Self>, address: IpAddr) -> Told {
        let now = Instant::now();
        let mut inner = this.inner();
        let before = inner.entry(address).cloned();
        if let Some(entry) = before.as_ref().filter(|entry| now.duration_since(entry.at) < entry.lasts) {
            return Told::Known(entry.names.clone());
        }
        let before = before.and_then(|entry| entry.names);
        let told = match inner.asked.get(&address).cloned() {
            Some(told) => told,
            None if !inner.take_place(address) => return Told::Known(before),
            None => {
                let (tell, told) = watch::channel(None);
                inner.asked.insert(address, told.clone());
                // A task that is not begun any more gives its place back at once, and needs the lock for it.
                drop(inner);
                Self::begin(this, address, tell);
                told
            }
        };
        // What is known is used while it is looked up again.
        if before.is_some() { Told::Known(before) } else { Told::Soon(told) }
    }

    fn begin(this: &Arc<Self>, address: IpAddr, tell: watch::Sender<Option<Names>>) {
        let place = Place { verifier: this.clone(), address };
        this.background.spawn(async move {
            let looked = place.verifier.look_up(address);
            let names = tokio::time::timeout(LOOKUP_TIME_MAX, looked).await.ok().flatten();
            tell.send_replace(Some(place.verifier.settle(address, names)));
        });
    }

    fn settle(&self, address: IpAddr, found: Names) -> Names {
        let (ttl, failure_ttl, addresses_max) = (self.ttl, self.failure_ttl, self.addresses_max);
        self.inner().settle(address, found, Instant::now(), &Bounds { ttl, failure_ttl, addresses_max })
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

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3600);
    const FAILURE_TTL: Duration = Duration::from_secs(60);

    fn bounds(addresses_max: usize) -> Bounds {
        Bounds { ttl: TTL, failure_ttl: FAILURE_TTL, addresses_max }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn good() -> Names {
        Some(["crawl-1.googlebot.com".into()].into())
    }

    fn nobody() -> Names {
        Some(Arc::new([]))
    }

    #[test]
    fn strangers_without_number_push_no_verified_address_out() {
        let (mut inner, now) = (Inner::default(), Instant::now());
        inner.settle(address("192.0.2.1"), good(), now, &bounds(10));
        for number in 0..1000_u128 {
            let stranger = IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | number));
            inner.settle(stranger, if number % 2 == 0 { None } else { nobody() }, now, &bounds(10));
        }
        assert!(inner.others.known.len() <= 10 && inner.others.order.len() <= 20);
        assert_eq!(inner.entry(address("192.0.2.1")).map(|entry| entry.names.clone()), Some(good()));
        for number in 0..100_u8 {
            inner.settle([192, 0, 2, number].into(), good(), now, &bounds(10));
        }
        assert!(inner.good.known.len() <= 10 && inner.good.order.len() <= 20);
    }

    #[test]
    fn what_is_known_stays_when_name_servers_say_nothing() {
        let (mut inner, now) = (Inner::default(), Instant::now());
        for (client, names) in [("192.0.2.1", good()), ("192.0.2.2", nobody())] {
            let client = address(client);
            inner.settle(client, names.clone(), now, &bounds(10));
            assert_eq!(inner.settle(client, None, now, &bounds(10)), names, "an impostor stays one");
            let entry = inner.entry(client).expect("it is known");
            assert_eq!((&entry.names, entry.lasts), (&names, FAILURE_TTL), "and is asked about again soon");
        }
        inner.settle(address("192.0.2.1"), nobody(), now, &bounds(10));
        assert_eq!(inner.entry(address("192.0.2.1")).map(|entry| entry.names.clone()), Some(nobody()));
        assert_eq!((inner.good.known.len(), inner.others.known.len()), (0, 2));
    }

    #[test]
    fn one_network_takes_some_of_the_places() {
        let mut inner = Inner::default();
        let (_tell, told) = watch::channel(None);
        let ask = |inner: &mut Inner, client: &str| {
            let client = address(client);
            let is_taken = inner.take_place(client);
            if is_taken {
                inner.asked.insert(client, told.clone());
            }
            is_taken
        };
        let taken = (0..100).filter(|number| ask(&mut inner, &format!("2001:db8:0:{number}::1"))).count();
        assert_eq!(taken, LOOKUPS_PER_NETWORK_MAX);
        let taken = (0..100).filter(|number| ask(&mut inner, &format!("192.0.2.{number}"))).count();
        assert_eq!(taken, LOOKUPS_PER_NETWORK_MAX);
        assert!(ask(&mut inner, "192.0.3.1") && ask(&mut inner, "2001:db8:1::1"));
        let taken = (0..100).filter(|number| ask(&mut inner, &format!("198.51.{number}.1"))).count();
        assert_eq!(taken, LOOKUPS_MAX - 2 * LOOKUPS_PER_NETWORK_MAX - 2);
        inner.give_back(address("192.0.2.0"));
        assert!(ask(&mut inner, "192.0.2.200") && !ask(&mut inner, "192.0.2.201"));
        for client in inner.asked.keys().copied().collect::<Vec<_>>() {
            inner.give_back(client);
        }
        assert!(inner.busy.is_empty());
    }
}
