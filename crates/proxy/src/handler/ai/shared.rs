//! Meters that several gateways share: all of a call's are held in one question, and settled in one.
//!
//! While their store is away each does what its policy says: count here, refuse, or let pass. What is spent then is
//! told to the store when it is back.

use std::sync::{Arc, atomic::Ordering};

use http::{HeaderName, HeaderValue};
use model::resource::redis::WhenAway;

use super::{
    duties::{Hold, Meter, Shared},
    meters::{Most, Spent},
};
use crate::{
    failure::{Failure, Problem},
    ledger::shared::{Accounts, Claim, NotHeld, SharedHold},
};

/// When callers may try again where the store is away and nobody counts instead.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// One meter that is asked, and who is counted.
pub(super) struct Asked {
    pub(super) kind: &'static str,
    pub(super) meter: Arc<dyn Meter>,
    pub(super) subjects: Vec<String>,
}

/// A refusal, the policy that refuses, and what is told on the answer.
pub(super) type Refused = (Failure, &'static str);

type Told = Vec<(HeaderName, HeaderValue)>;

/// Holds with all of them, or with none.
pub(super) async fn hold(
    asked: Vec<Asked>,
    most: &Most,
    told: &mut Told,
) -> Result<Vec<Box<dyn Hold>>, Refused> {
    let Some(accounts) =
        asked.iter().find_map(|one| one.meter.shared()).map(|shared| shared.sharing.accounts.clone())
    else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    // Whose each claim is.
    let mut owners = Vec::new();
    for (place, one) in asked.iter().enumerate() {
        let Some(shared) = one.meter.shared() else { continue };
        let claims = shared.meter.claims(&one.subjects, most).map_err(|failure| (failure, one.kind))?;
        owners.extend(claims.iter().map(|_| place));
        all.extend(claims);
    }
    match Accounts::hold(&accounts, all).await {
        Ok((held, granted)) => {
            for ((claim, granted), owner) in held.claims().iter().zip(&granted).zip(&owners) {
                if let Some(shared) = asked.get(*owner).and_then(|one| one.meter.shared()) {
                    shared.meter.granted(claim, granted, told);
                }
            }
            let owners = owners.iter().filter_map(|owner| asked.get(*owner)).map(|one| one.meter.clone());
            Ok(vec![Box::new(Exact { owners: owners.collect(), held })])
        }
        Err(NotHeld::Refused(place, refusal)) => {
            let owner = owners.get(place).and_then(|owner| asked.get(*owner));
            let meter = owner.and_then(|one| Some((one.kind, one.meter.shared()?.meter, &one.subjects)));
            let Some((kind, meter, subjects)) = meter else {
                return Err((
                    Failure::refused(Problem::RateLimited),
                    asked.first().map_or("", |one| one.kind),
                ));
            };
            let first = owners.iter().position(|one| owners.get(place) == Some(one)).unwrap_or_default();
            told.clear();
            Err((meter.refused(subjects, place - first, &refusal, most, told), kind))
        }
        Err(NotHeld::Away) => away(&accounts, asked, most, told),
    }
}

/// The store is away: each does what its policy says.
fn away(
    accounts: &Arc<Accounts>,
    asked: Vec<Asked>,
    most: &Most,
    told: &mut Told,
) -> Result<Vec<Box<dyn Hold>>, Refused> {
    let mut holds: Vec<Box<dyn Hold>> = Vec::new();
    let [local, open, closed] = &accounts.fallbacks;
    let does = |one: &Asked, what: WhenAway| {
        one.meter.shared().is_some_and(|shared| shared.sharing.when_away == what)
    };
    if let Some(one) = asked.iter().find(|one| does(one, WhenAway::Closed)) {
        closed.fetch_add(1, Ordering::Relaxed);
        let failure = Failure::refused(Problem::Unavailable)
            .with_retry_after(RETRY_AFTER)
            .with_hint("the store in which this is counted is away");
        return Err((failure, one.kind));
    }
    let counts_here = asked.iter().any(|one| does(one, WhenAway::Local));
    if counts_here { local } else { open }.fetch_add(1, Ordering::Relaxed);
    for one in asked {
        let Some(Shared { sharing, meter }) = one.meter.shared() else { continue };
        let claims: Arc<[Claim]> =
            meter.claims(&one.subjects, most).map_err(|failure| (failure, one.kind))?.into();
        let here = match sharing.when_away {
            WhenAway::Local => {
                let held = meter.hold_here(&one.subjects, most, told);
                Some(held.map_err(|failure| (failure, one.kind))?)
            }
            WhenAway::Open | WhenAway::Closed => None,
        };
        holds.push(Box::new(Later {
            accounts: accounts.clone(),
            meter: one.meter,
            claims,
            here,
            is_over: false,
        }));
    }
    Ok(holds)
}

/// Held in the store.
struct Exact {
    /// Of each claim.
    owners: Vec<Arc<dyn Meter>>,
    held: SharedHold,
}

impl Hold for Exact {
    fn settle(&mut self, spent: &Spent) {
        let cost = |(claim, owner): (&Claim, &Arc<dyn Meter>)| {
            let Some(Shared { meter, .. }) = owner.shared() else { return 0 };
            let cost = meter.cost(claim, spent);
            meter.spend_here(claim, cost);
            cost
        };
        let costs = self.held.claims().iter().zip(&self.owners).map(cost).collect();
        self.held.settle(costs);
    }
}

/// Held here, or not at all, and told to the store later.
struct Later {
    accounts: Arc<Accounts>,
    meter: Arc<dyn Meter>,
    claims: Arc<[Claim]>,
    here: Option<Box<dyn Hold>>,
    is_over: bool,
}

impl Hold for Later {
    fn settle(&mut self, spent: &Spent) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let Some(Shared { meter, .. }) = self.meter.shared() else { return };
        let costs: Vec<u128> = self.claims.iter().map(|claim| meter.cost(claim, spent)).collect();
        match &mut self.here {
            Some(here) => here.settle(spent),
            None => {
                for (claim, cost) in self.claims.iter().zip(&costs) {
                    meter.spend_here(claim, *cost);
                }
            }
        }
        if costs.iter().any(|cost| *cost > 0) {
            self.accounts.add(self.claims.clone(), vec![0; costs.len()], costs);
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.settle(&Spent::default());
    }
}

/// What makes a meter a shared one, for those that can be either.
pub(crate) struct Sharing {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) when_away: WhenAway,
}

impl Sharing {
    /// As the settings of a policy say.
    pub(crate) fn of(
        store: model::resource::redis::Store,
        when_away: WhenAway,
        cx: &crate::compiled::Building<'_>,
    ) -> Result<Option<Self>, String> {
        match store {
            model::resource::redis::Store::Memory => Ok(None),
            model::resource::redis::Store::Redis => {
                let accounts = cx.accounts.cloned().ok_or("there is no `redis` in the configuration")?;
                Ok(Some(Self { accounts, when_away }))
            }
        }
    }
}
