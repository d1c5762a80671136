//! Meters that several gateways share: all of a call's are held in one question, and settled in one.
//!
//! While their store is away each does what its policy says: count here, refuse, or let pass. What is spent then is
//! told to the store when it is back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ai::cost::Cost;
use http::{HeaderName, HeaderValue};
use model::resource::redis::WhenAway;
use serde::{Deserialize, Serialize};

use super::{
    duties::{Hold, Meter, Metering, Shared},
    meters::Spent,
    most::Most,
};
use crate::{
    failure::{Failure, Problem},
    ledger::shared::{Accounts, Claim, NotHeld, SharedHold},
};

/// When callers may try again where the store is away and nobody counts instead.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One meter that is asked, and who is counted.
pub(super) struct Asked {
    pub(super) kind: &'static str,
    pub(super) meter: Arc<dyn Meter>,
    pub(super) subjects: Vec<String>,
}

/// A refusal, the policy that refuses, and what is told on the answer.
pub(super) type Refused = (Failure, &'static str);

type Told = Vec<(HeaderName, HeaderValue)>;

/// When callers may try again where this gateway's part is used up while the store is away: it may be back in a moment.
const SHARE_RETRY: Duration = Duration::from_secs(5);

/// A refusal by what one gateway may let pass alone, for as long as nobody can say what all of them have: it is as short
/// as the store's absence, however long the period is.
pub(crate) fn share_is_used(what: &str, share: &str, wait: Duration) -> Failure {
    let hint = format!(
        "the store that counts {what} for all gateways is away, and what this one may let pass without it ({share}) has \
         no room for the call: try again when the store is back"
    );
    Failure::refused(Problem::RateLimited).with_retry_after(wait.min(SHARE_RETRY)).with_hint(hint)
}

/// Tells the store what was spent and never held there, where a meter counts there.
pub(super) fn spend(meter: &dyn Meter, subjects: &[String], spent: &Spent) {
    let Some(Shared { sharing, meter }) = meter.shared() else { return };
    let nothing = Most::of_batch((0, 0), Cost::ZERO, None);
    let Ok(claims) = meter.claims(subjects, &nothing) else { return };
    let costs: Vec<u128> = claims.iter().map(|claim| meter.cost(claim, spent)).collect();
    if costs.iter().any(|cost| *cost > 0) {
        let periods = claims.iter().map(Claim::period).collect();
        sharing.accounts.add(claims.into(), periods, costs);
    }
}

/// What is held with all of them.
pub(super) enum Held {
    /// In the store.
    Exact(Exact),
    /// The store is away, and each does what its policy says.
    Away(Vec<Box<dyn Hold>>),
}

/// Holds with all of them, or with none.
pub(super) async fn hold(
    asked: Vec<Asked>,
    most: &Most,
    told: &mut Told,
) -> Result<Vec<Box<dyn Hold>>, Refused> {
    Ok(match ask(asked, most, told).await? {
        Some(Held::Exact(exact)) => vec![Box::new(exact)],
        Some(Held::Away(holds)) => holds,
        None => Vec::new(),
    })
}

/// The same, with what is held in the store told apart.
pub(super) async fn ask(asked: Vec<Asked>, most: &Most, told: &mut Told) -> Result<Option<Held>, Refused> {
    let Some(accounts) =
        asked.iter().find_map(|one| one.meter.shared()).map(|shared| shared.sharing.accounts.clone())
    else {
        return Ok(None);
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
    if all.is_empty() {
        return Ok(None);
    }
    match Accounts::hold(&accounts, all).await {
        Ok((held, granted)) => {
            for ((claim, granted), owner) in held.claims().iter().zip(&granted).zip(&owners) {
                if let Some(shared) = asked.get(*owner).and_then(|one| one.meter.shared()) {
                    shared.meter.granted(claim, granted, told);
                }
            }
            let owners = owners.iter().filter_map(|owner| asked.get(*owner)).map(|one| one.meter.clone());
            Ok(Some(Held::Exact(Exact { owners: owners.collect(), held })))
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
        Err(NotHeld::Away) => away(&accounts, asked, most, told).map(|holds| Some(Held::Away(holds))),
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
            periods: claims.iter().map(Claim::period).collect(),
            claims,
            here,
            is_over: false,
        }));
    }
    Ok(holds)
}

/// Held in the store.
pub(super) struct Exact {
    /// Of each claim.
    owners: Vec<Arc<dyn Meter>>,
    held: SharedHold,
}

/// Held in the store for longer than a call, in words that every gateway understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(rename = "h")]
    id: String,
    #[serde(rename = "c")]
    claims: Vec<KeptClaim>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptClaim {
    #[serde(rename = "s")]
    subject: String,
    /// Stands for the account's name.
    #[serde(rename = "a")]
    account: u32,
    /// When its period began.
    #[serde(rename = "p")]
    period: i64,
}

fn mark(claim: &Claim) -> u32 {
    (resilience::hash::hash64(claim.account.name.as_bytes()) >> 32) as u32
}

impl Exact {
    /// Bytes that it takes to say what is held.
    pub(super) fn words(&self) -> usize {
        self.held.claims().iter().map(|claim| claim.account.subject.len() + 64).sum()
    }

    /// What each claim is settled to.
    fn costs(&self, spent: &Spent) -> Vec<u128> {
        let cost = |(claim, owner): (&Claim, &Arc<dyn Meter>)| {
            owner.shared().map_or(0, |shared| shared.meter.cost(claim, spent))
        };
        self.held.claims().iter().zip(&self.owners).map(cost).collect()
    }

    /// Leaves it held for so long. It is given back as it is where that cannot be. Dropped meanwhile, it is settled to
    /// what is `owed`.
    pub(super) async fn keep(self, lease: Duration, owed: &Spent) -> Result<Kept, Self> {
        let costs = self.costs(owed);
        let Self { owners, mut held } = self;
        held.owe(costs);
        let of = |claim: &Claim| (claim.account.subject.clone(), mark(claim));
        let claims: Vec<_> = held.claims().iter().map(of).collect();
        match held.keep(lease).await {
            Ok((id, periods)) => {
                let claims = claims.into_iter().zip(periods);
                let claims =
                    claims.map(|((subject, account), period)| KeptClaim { subject, account, period });
                Ok(Kept { id, claims: claims.collect() })
            }
            Err(held) => Err(Self { owners, held }),
        }
    }
}

impl Kept {
    /// Settles it by the meters of a call, which need not be the one that held. `is_first` says that this gateway does
    /// so for the first time.
    pub(super) fn settle(&self, meters: &[Metering], spent: &Spent, is_first: bool) {
        let nothing = Most::of_batch((0, 0), Cost::ZERO, None);
        let mut found = Vec::with_capacity(self.claims.len());
        for kept in &self.claims {
            let of = |shared: &Shared<'_>| {
                let claims = shared.meter.claims(std::slice::from_ref(&kept.subject), &nothing).ok()?;
                claims.into_iter().find(|claim| mark(claim) == kept.account)
            };
            let mut shared = meters.iter().filter_map(|metering| metering.meter.shared());
            let found_one = shared.find_map(|shared| of(&shared).map(|claim| (shared, claim)));
            let Some((Shared { sharing, meter }, claim)) = found_one else {
                tracing::warn!("a budget that a batch was held by is no longer there: it is not settled");
                return;
            };
            let cost = meter.cost(&claim, spent);
            if is_first {
                meter.spend_here(&claim, cost);
            }
            found.push((&sharing.accounts, claim, cost, kept.period));
        }
        let Some(accounts) = found.first().map(|(accounts, ..)| Arc::clone(accounts)) else { return };
        let costs = found.iter().map(|(_, _, cost, _)| *cost).collect();
        let periods = found.iter().map(|(.., period)| *period).collect();
        let claims = found.into_iter().map(|(_, claim, ..)| claim).collect();
        accounts.settle_kept(self.id.clone(), claims, periods, costs);
    }
}

impl Hold for Exact {
    fn settle(&mut self, spent: &Spent) {
        let costs = self.costs(spent);
        for ((claim, owner), cost) in self.held.claims().iter().zip(&self.owners).zip(&costs) {
            if let Some(Shared { meter, .. }) = owner.shared() {
                meter.spend_here(claim, *cost);
            }
        }
        self.held.settle(costs);
    }
}

/// Held here, or not at all, and told to the store later.
struct Later {
    accounts: Arc<Accounts>,
    meter: Arc<dyn Meter>,
    claims: Arc<[Claim]>,
    /// When that of each began: by the time that the store is back there may be another.
    periods: Vec<i64>,
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
            self.accounts.add(self.claims.clone(), std::mem::take(&mut self.periods), costs);
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
