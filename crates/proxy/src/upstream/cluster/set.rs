//! The endpoints of an upstream at one moment, and the pick among them.
//!
//! A set is immutable: when an address comes or goes, another set takes its place. Health and ejection live in the
//! endpoints themselves, so a pick sees them at once.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use model::resource::balancing::{Algorithm as Named, LoadBalancing};
use resilience::balance::{Algorithm, Balancer, Member};

use super::{Endpoint, PickRequest};

/// One endpoint with what its upstream says about it.
pub(crate) struct Slot {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) weight: u32,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) backup: bool,
}

/// The endpoints of an upstream at one moment.
pub(crate) struct EndpointSet {
    pub(crate) slots: Vec<Slot>,
    by_label: HashMap<Arc<str>, usize>,
    uids: HashSet<u64>,
    primary: Option<Tier>,
    local: Option<Tier>,
    backup: Option<Tier>,
    panic_percent: f64,
    /// Whether some endpoint may be out of use; while false, a pick looks at none but the one that it takes.
    is_troubled: AtomicBool,
}

/// Endpoints that are balanced among each other.
struct Tier {
    /// Indices into `slots`.
    members: Vec<usize>,
    balancer: Balancer,
}

impl EndpointSet {
    pub(crate) fn new(slots: Vec<Slot>, settings: &LoadBalancing) -> Self {
        let tier = |wanted: &dyn Fn(&Slot) -> bool| Tier::new(&slots, wanted, settings);
        let own_zone = settings.zone.as_deref().filter(|_| settings.prefer_same_zone);
        let local = own_zone.and_then(|own| tier(&|slot| !slot.backup && slot.zone.as_deref() == Some(own)));
        Self {
            by_label: slots.iter().enumerate().map(|(i, slot)| (slot.endpoint.label.clone(), i)).collect(),
            uids: slots.iter().map(|slot| slot.endpoint.uid).collect(),
            primary: tier(&|slot| !slot.backup),
            backup: tier(&|slot| slot.backup),
            local,
            panic_percent: settings.panic_threshold.get(),
            is_troubled: AtomicBool::new(true),
            slots,
        }
    }

    /// Tells the set that an endpoint may have gone out of use.
    pub(crate) fn trouble(&self) {
        self.is_troubled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.slots.iter().map(|slot| &slot.endpoint)
    }

    /// Whether an endpoint is among them.
    pub(crate) fn has(&self, uid: u64) -> bool {
        self.uids.contains(&uid)
    }

    pub(crate) fn by_label(&self, label: &str) -> Option<&Slot> {
        self.slots.get(*self.by_label.get(label)?)
    }

    /// Picks an endpoint: a healthy one if enough are, any that may answer otherwise.
    pub(crate) fn pick(&self, request: &PickRequest<'_>) -> Option<&Arc<Endpoint>> {
        if let Some(slot) = request.sticky.and_then(|label| self.by_label(label))
            && slot.endpoint.is_good(request.now)
            && !request.tried.contains(&slot.endpoint.uid)
        {
            return Some(&slot.endpoint);
        }
        if !self.is_troubled.load(Ordering::Relaxed) && request.tried.is_empty() {
            let tier = self.local.as_ref().or(self.primary.as_ref()).or(self.backup.as_ref());
            return tier?.any(self, request);
        }
        self.pick_with_care(request)
    }

    fn pick_with_care(&self, request: &PickRequest<'_>) -> Option<&Arc<Endpoint>> {
        let now = request.now;
        if request.tried.is_empty() && self.endpoints().all(|endpoint| endpoint.is_good(now)) {
            self.is_troubled.store(false, Ordering::Relaxed);
            // Set before the states were read again, so that trouble that comes in between is not lost.
            if !self.endpoints().all(|endpoint| endpoint.is_good(now)) {
                self.trouble();
            }
        }
        if let Some(local) = &self.local
            && !local.panics(self, request)
            && let Some(endpoint) = local.good(self, request)
        {
            return Some(endpoint);
        }
        let primary = self.primary.as_ref();
        // With backups to fall back on, the healthy take all that they can: panic is for when nobody else is left.
        if let Some(primary) = primary
            && (self.backup.is_some() || !primary.panics(self, request))
            && let Some(endpoint) = primary.good(self, request)
        {
            return Some(endpoint);
        }
        if let Some(endpoint) = self.backup.as_ref().and_then(|backup| backup.good(self, request)) {
            return Some(endpoint);
        }
        // Too few are healthy to carry the load: all share it, but first those that at least listen.
        let tier = primary.or(self.backup.as_ref())?;
        tier.pick(self, request, |endpoint| !endpoint.outlier.is_refusing(now) && request.is_new(endpoint))
            .or_else(|| tier.pick(self, request, |endpoint| request.is_new(endpoint)))
            .or_else(|| tier.any(self, request))
    }
}

impl PickRequest<'_> {
    fn is_new(&self, endpoint: &Endpoint) -> bool {
        !self.tried.contains(&endpoint.uid)
    }
}

impl Tier {
    fn new(slots: &[Slot], wanted: &dyn Fn(&Slot) -> bool, settings: &LoadBalancing) -> Option<Self> {
        let members: Vec<usize> = (0..slots.len()).filter(|index| wanted(&slots[*index])).collect();
        if members.is_empty() {
            return None;
        }
        let balanced = members
            .iter()
            .map(|index| {
                let Slot { endpoint, weight, .. } = &slots[*index];
                Member { weight: *weight, load: endpoint.load.clone(), hash_name: endpoint.label.clone() }
            })
            .collect();
        let slow_start = settings.slow_start.map(model::Duration::get);
        Some(Self { members, balancer: Balancer::new(algorithm(settings), balanced, slow_start) })
    }

    fn pick<'a>(
        &self,
        set: &'a EndpointSet,
        request: &PickRequest<'_>,
        usable: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Arc<Endpoint>> {
        let usable = |member: usize| usable(&set.slots[self.members[member]].endpoint);
        let member = self.balancer.pick(request.now, request.random, request.hash, usable)?;
        Some(&set.slots[self.members[member]].endpoint)
    }

    fn any<'a>(&self, set: &'a EndpointSet, request: &PickRequest<'_>) -> Option<&'a Arc<Endpoint>> {
        self.pick(set, request, |_| true)
    }

    fn good<'a>(&self, set: &'a EndpointSet, request: &PickRequest<'_>) -> Option<&'a Arc<Endpoint>> {
        self.pick(set, request, |endpoint| endpoint.is_good(request.now) && request.is_new(endpoint))
    }

    fn panics(&self, set: &EndpointSet, request: &PickRequest<'_>) -> bool {
        let good =
            self.members.iter().filter(|member| set.slots[**member].endpoint.is_good(request.now)).count();
        resilience::balance::panics(good, self.members.len(), set.panic_percent)
    }
}

fn algorithm(settings: &LoadBalancing) -> Algorithm {
    match settings.algorithm {
        Named::RoundRobin => Algorithm::RoundRobin,
        Named::LeastRequest => Algorithm::LeastRequest,
        Named::PeakEwma => Algorithm::PeakEwma,
        Named::Random => Algorithm::Random,
        Named::RingHash => Algorithm::RingHash { points: settings.ring_points },
        Named::Maglev => Algorithm::Maglev,
    }
}
