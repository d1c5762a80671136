//! One order: names are shown to be ours, a key is made, and the authority's certificate for it is fetched.
//!
//! What was laid out for the authority to find is taken back however the order ends, also when it is given up in the middle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use rcgen::KeyPair;
use tokio::sync::watch;

use crate::{
    Authority, Challenge, Front, Wanted,
    account::Accounts,
    hook::{self, Action, Record},
    keys::{self, Bundle, RenewalId},
    schedule::Cause,
    store::{Begun, Store},
    wire::Wire,
};

/// Why an order failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For the operator.
    pub(crate) text: String,
    pub(crate) cause: Cause,
    /// The authority does not know the account.
    is_unknown_account: bool,
    /// The order leads to nothing any more: the next try makes another.
    is_final: bool,
}

/// Whether an authority that is asked for an order says that there is none.
fn is_gone(problem: &Problem) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    problem.status == Some(404) || matches!(kind.rsplit(':').next(), Some("malformed" | "unauthorized"))
}

impl Failure {
    pub(crate) fn other(text: String) -> Self {
        Self { text, cause: Cause::Other, is_unknown_account: false, is_final: false }
    }

    /// What the order came to cannot be used, and never will be.
    pub(crate) fn useless(text: String) -> Self {
        Self { is_final: true, ..Self::other(text) }
    }

    pub(crate) fn disk(error: std::io::Error) -> Self {
        Self::other(format!("cannot write into the data directory: {error}"))
    }

    pub(crate) fn of(error: Error, wire: &Wire) -> Self {
        let pause = wire.take_pause();
        let kind = match &error {
            Error::Api(problem) => problem.r#type.clone().unwrap_or_default(),
            _ => String::new(),
        };
        let kind = kind.rsplit(':').next().unwrap_or_default();
        let is_limit = kind == "rateLimited" || pause.is_some();
        Self {
            text: in_words(&error),
            cause: if is_limit { Cause::Limited(pause) } else { Cause::Other },
            is_unknown_account: kind == "accountDoesNotExist",
            is_final: false,
        }
    }

    /// Of an error of the last step: one by which the authority refuses the request itself is final, for the same would be
    /// asked again.
    fn at_the_end(error: Error, wire: &Wire) -> Self {
        let is_refused = match &error {
            Error::Api(problem) => {
                let kind = problem.r#type.as_deref().unwrap_or_default();
                let kind = kind.rsplit(':').next().unwrap_or_default();
                !matches!(
                    kind,
                    "rateLimited" | "serverInternal" | "badNonce" | "orderNotReady" | "accountDoesNotExist"
                )
            }
            _ => false,
        };
        let failure = Self::of(error, wire);
        Self { is_final: is_refused && failure.cause == Cause::Other, ..failure }
    }
}

fn in_words(error: &Error) -> String {
    match error {
        Error::Api(problem) => {
            let mut text = problem.to_string();
            for part in &problem.subproblems {
                text.push_str(&format!("; {}", part.detail.as_deref().unwrap_or_default()));
            }
            text
        }
        Error::Other(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

/// Challenges that were laid out, by what became of them, and orders.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) issued: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) shown: [AtomicU64; 3],
}

/// What an order needs.
pub(crate) struct Run<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(crate) wire: &'a Wire,
    pub(crate) store: &'a Store,
    pub(crate) accounts: &'a Accounts,
    pub(crate) front: &'a Arc<dyn Front>,
    pub(crate) counts: &'a Counts,
    /// Whoever has records to clear holds a receiver of it.
    pub(crate) unfinished: &'a watch::Sender<()>,
    /// Orders in a row that failed before.
    pub(crate) failures: u32,
    /// The certificate that the new one takes the place of, where the authority wants to know.
    pub(crate) replaces: Option<RenewalId>,
}

impl Run<'_> {
    /// Orders a certificate. One whose account is gone makes another, once.
    ///
    /// The order is kept, with the key of the certificate, until [`Run::is_over`] is told.
    pub(crate) async fn run(&self) -> Result<Bundle, Failure> {
        match self.once().await {
            Err(failure) if failure.is_unknown_account => {
                tracing::warn!(
                    authority = %self.wanted.authority.name,
                    "the authority `{}` does not know our account: making another",
                    self.wanted.authority.name
                );
                self.accounts.forget(&self.wanted.authority, self.store).await;
                self.once().await
            }
            ended => ended,
        }
    }

    fn failed(&self, error: Error) -> Failure {
        Failure::of(error, self.wire)
    }

    async fn once(&self) -> Result<Bundle, Failure> {
        let account = self.accounts.get(&self.wanted.authority, self.wire, self.store).await?;
        let (mut order, key) = match self.resumed(&account).await? {
            Some(resumed) => resumed,
            None => self.begun(&account).await?,
        };
        let bundle = self.carried_out(&mut order, &key).await;
        // What came to nothing is not gone on with.
        let is_final = bundle.as_ref().is_err_and(|failure| failure.is_final);
        if is_final || (bundle.is_err() && order.state().status == OrderStatus::Invalid) {
            self.is_over();
        }
        bundle
    }

    /// Forgets the order: there is nothing more to be had of it.
    pub(crate) fn is_over(&self) {
        if let Err(error) = self.store.keep_order(&self.wanted.id, None) {
            tracing::warn!(certificate = %self.wanted.id, "cannot remove what was kept of an order: {error}");
        }
    }

    /// The order that was under way when the process ended, or when the last try broke off.
    async fn resumed(&self, account: &Account) -> Result<Option<(Order, KeyPair)>, Failure> {
        let Some(begun) = self.store.order(&self.wanted.id) else { return Ok(None) };
        let Ok(key) = KeyPair::from_pem(&begun.key) else { return Ok(None) };
        let mut order = match account.order(begun.url).await {
            Ok(order) => order,
            // The authority has forgotten it, or it is another account's. What has broken there for the moment says nothing
            // of it, and with it would go the key of a certificate that there may be already.
            Err(Error::Api(problem)) if is_gone(&problem) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        if order.state().status == OrderStatus::Invalid {
            return Ok(None);
        }
        tracing::info!(certificate = %self.wanted.id, "goes on with the order that was begun before");
        Ok(Some((order, key)))
    }

    async fn begun(&self, account: &Account) -> Result<(Order, KeyPair), Failure> {
        let names: Vec<Identifier> =
            self.wanted.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let order = |replaces: Option<&RenewalId>| {
            let mut order = NewOrder::new(&names);
            if let Some(profile) = &self.wanted.authority.profile {
                order = order.profile(profile);
            }
            if let Some(id) = replaces {
                let (signer, number) = (id.signer.as_slice().into(), id.number.as_slice().into());
                order = order.replaces(CertificateIdentifier::new(signer, number));
            }
            order
        };
        let mut made =
            account.new_order(&order(self.replaces.as_ref())).await.map_err(|error| self.failed(error));
        // An authority that does not take it as a renewal may take it as it is.
        if self.replaces.is_some() && made.as_ref().is_err_and(|failure| failure.cause == Cause::Other) {
            made = account.new_order(&order(None)).await.map_err(|error| self.failed(error));
        }
        let made = made?;
        // RSA takes a while, and this thread has others to look after.
        let kind = self.wanted.authority.key_type;
        let key = tokio::task::spawn_blocking(move || keys::generate(kind)).await;
        let key = key.map_err(|error| Failure::other(error.to_string()))?.map_err(Failure::other)?;
        let begun = Begun { url: made.url().to_owned(), key: key.serialize_pem() };
        self.store.keep_order(&self.wanted.id, Some(&begun)).map_err(Failure::disk)?;
        Ok((made, key))
    }

    async fn carried_out(&self, order: &mut Order, key: &KeyPair) -> Result<Bundle, Failure> {
        let patience = RetryPolicy::new()
            .initial_delay(Duration::from_millis(500))
            .backoff(1.5)
            .timeout(self.wanted.authority.order_timeout);
        let mut laid = Vec::new();
        if order.state().status == OrderStatus::Pending {
            self.lay_out(order, &mut laid).await?;
            self.set_ready(order, &laid).await?;
            let status = order.poll_ready(&patience).await;
            let shown = self.count(&laid);
            match status {
                Ok(OrderStatus::Ready | OrderStatus::Valid | OrderStatus::Processing) => {}
                Ok(_) => return Err(self.refused(order, shown, None).await),
                Err(error) if order.state().status == OrderStatus::Invalid => {
                    return Err(self.refused(order, shown, Some(in_words(&error))).await);
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        drop(laid);
        if order.state().status == OrderStatus::Ready {
            let request = keys::request(&self.wanted.names, key).map_err(Failure::other)?;
            let asked = order.finalize_csr(&request).await;
            asked.map_err(|error| Failure::at_the_end(error, self.wire))?;
        }
        let chain = order.poll_certificate(&patience).await.map_err(|error| self.failed(error))?;
        let bundle = Bundle::parse(format!("{}{chain}", key.serialize_pem()).as_bytes());
        bundle
            .map_err(|error| Failure::useless(format!("the authority sent what is no certificate: {error}")))
    }

    /// Lays out what the authority wants to find.
    async fn lay_out(&self, order: &mut Order, laid: &mut Vec<Laid>) -> Result<(), Failure> {
        let authority = &self.wanted.authority;
        let mut waits = Duration::ZERO;
        let mut all = order.authorizations();
        while let Some(one) = all.next().await {
            let mut one = one.map_err(|error| self.failed(error))?;
            match one.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(Failure::other(format!("a name is `{other:?}` in the order"))),
            }
            let identifier = one.identifier();
            let is_wildcard = identifier.wildcard;
            let of = |name: &str| (name.to_owned(), is_wildcard);
            let Identifier::Dns(name) = identifier.identifier.clone() else {
                return Err(Failure::other("the authority asks about something that is no name".to_owned()));
            };
            let offered: Vec<Challenge> = one.challenges.iter().filter_map(|one| ours(&one.r#type)).collect();
            let kind = choose(authority, &offered, is_wildcard, self.failures).ok_or_else(|| {
                Failure::other(format!(
                    "the authority offers no way to show `{name}` to be ours that is set up here"
                ))
            })?;
            let Some(challenge) = one.challenge(theirs(kind)) else { continue };
            let answer = challenge.key_authorization();
            let what = match kind {
                Challenge::Http01 => {
                    let token = challenge.token.clone();
                    self.front.answer_http(&token, Some(answer.as_str()));
                    What::Http(token)
                }
                Challenge::TlsAlpn01 => {
                    let shown = keys::challenge(&name, answer.digest().as_ref()).map_err(Failure::other)?;
                    self.front.answer_tls(&name, Some(&shown)).map_err(Failure::other)?;
                    What::Tls(name.clone())
                }
                Challenge::Dns01 => {
                    let dns = authority
                        .dns
                        .clone()
                        .ok_or_else(|| Failure::other("there is no `dns`".to_owned()))?;
                    let record = Record { domain: name.clone(), value: answer.dns_value() };
                    // Before it is set, so that one that was set in part is cleared, too.
                    let what =
                        Some(What::Dns(Box::new((dns.clone(), record.clone(), self.unfinished.subscribe()))));
                    laid.push(Laid { of: of(&name), kind, front: self.front.clone(), what });
                    hook::run(&dns, Action::Set, &record).await.map_err(Failure::other)?;
                    waits = waits.max(dns.propagation);
                    continue;
                }
            };
            laid.push(Laid { of: of(&name), kind, front: self.front.clone(), what: Some(what) });
        }
        if !waits.is_zero() {
            tokio::time::sleep(waits).await;
        }
        Ok(())
    }

    /// Tells the authority to look.
    async fn set_ready(&self, order: &mut Order, laid: &[Laid]) -> Result<(), Failure> {
        let mut all = order.authorizations();
        while let Some(one) = all.next().await {
            let mut one = one.map_err(|error| self.failed(error))?;
            if one.status != AuthorizationStatus::Pending {
                continue;
            }
            // By its name: others may have become valid in between.
            let identifier = one.identifier();
            let (asked, is_wildcard) = (identifier.identifier.clone(), identifier.wildcard);
            let is_it = |laid: &&Laid| matches!(&asked, Identifier::Dns(name) if laid.of == (name.clone(), is_wildcard));
            let Some(kind) = laid.iter().find(is_it).map(|laid| laid.kind) else { continue };
            if let Some(mut challenge) = one.challenge(theirs(kind)) {
                challenge.set_ready().await.map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    fn count(&self, laid: &[Laid]) -> String {
        let mut kinds: Vec<&str> = Vec::new();
        for one in laid {
            self.counts.shown[one.kind as usize].fetch_add(1, Ordering::Relaxed);
            if !kinds.contains(&one.kind.as_str()) {
                kinds.push(one.kind.as_str());
            }
        }
        kinds.join(", ")
    }

    /// Why the authority does not believe that names are ours.
    async fn refused(&self, order: &mut Order, shown: String, said: Option<String>) -> Failure {
        let mut why = Vec::new();
        let mut all = order.authorizations();
        while let Some(one) = all.next().await {
            let Ok(mut one) = one else { continue };
            let Ok(state) = one.refresh().await else { continue };
            for challenge in &state.challenges {
                if let Some(problem) = &challenge.error {
                    why.push(problem.to_string());
                }
            }
        }
        if why.is_empty() {
            why.push(said.unwrap_or_else(|| "it does not say why".to_owned()));
        }
        // An error of theirs that asks for a pause is one.
        let pause = self.wire.take_pause();
        Failure {
            text: format!(
                "the authority looked by {shown} and did not find the names to be ours: {}",
                why.join("; ")
            ),
            cause: pause.map_or(Cause::Other, |pause| Cause::Limited(Some(pause))),
            is_unknown_account: false,
            is_final: true,
        }
    }
}

/// How a name is shown to be ours: by what is preferred of what is offered, another after each order that failed.
fn choose(
    authority: &Authority,
    offered: &[Challenge],
    is_wildcard: bool,
    failures: u32,
) -> Option<Challenge> {
    let fits = |kind: &&Challenge| match kind {
        Challenge::Dns01 => authority.dns.is_some() && offered.contains(kind),
        _ => !is_wildcard && offered.contains(kind),
    };
    let mut all: Vec<Challenge> = authority.challenges.iter().filter(fits).copied().collect();
    if is_wildcard && all.is_empty() && authority.dns.is_some() && offered.contains(&Challenge::Dns01) {
        all.push(Challenge::Dns01);
    }
    all.get(failures as usize % all.len().max(1)).copied()
}

fn ours(kind: &ChallengeType) -> Option<Challenge> {
    match kind {
        ChallengeType::Http01 => Some(Challenge::Http01),
        ChallengeType::TlsAlpn01 => Some(Challenge::TlsAlpn01),
        ChallengeType::Dns01 => Some(Challenge::Dns01),
        _ => None,
    }
}

fn theirs(kind: Challenge) -> ChallengeType {
    match kind {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Dns01 => ChallengeType::Dns01,
    }
}

enum What {
    Http(String),
    Tls(String),
    /// A record, and what the end of the process waits for until it is cleared.
    Dns(Box<(crate::Dns, Record, watch::Receiver<()>)>),
}

/// Something that was laid out for the authority to find. It is taken back when this is dropped.
struct Laid {
    /// The name that it shows to be ours, and whether a wildcard of it is meant.
    of: (String, bool),
    kind: Challenge,
    front: Arc<dyn Front>,
    what: Option<What>,
}

impl Drop for Laid {
    fn drop(&mut self) {
        match self.what.take() {
            Some(What::Http(token)) => self.front.answer_http(&token, None),
            Some(What::Tls(name)) => drop(self.front.answer_tls(&name, None)),
            Some(What::Dns(set)) => {
                // A drop cannot wait; the manager does, at the end.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        let (dns, record, unfinished) = *set;
                        if let Err(error) = hook::run(&dns, Action::Clear, &record).await {
                            tracing::warn!("{error}");
                        }
                        drop(unfinished);
                    });
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(challenges: &[Challenge], has_dns: bool) -> Authority {
        let dns = crate::Dns {
            by: crate::DnsBy::Command { command: vec!["/bin/true".into()], environment: Default::default() },
            timeout: Duration::from_secs(1),
            propagation: Duration::ZERO,
        };
        Authority {
            name: "a".into(),
            directory: "https://ca.test/dir".into(),
            contacts: Vec::new(),
            ca: None,
            external_account: None,
            challenges: challenges.to_vec(),
            dns: has_dns.then_some(dns),
            key_type: crate::KeyType::EcdsaP256,
            profile: None,
            renew_at_left: 1.0 / 3.0,
            renewal_info: true,
            timeout: Duration::from_secs(1),
            order_timeout: Duration::from_secs(1),
            backoff: (Duration::from_secs(1), Duration::from_secs(1)),
        }
    }

    #[test]
    fn the_next_way_is_tried_after_one_that_failed() {
        use Challenge::{Dns01, Http01, TlsAlpn01};
        let both = authority(&[TlsAlpn01, Http01], false);
        let all = [Http01, Dns01, TlsAlpn01];
        let chosen = |authority: &Authority, offered: &[Challenge], is_wildcard, failures| {
            choose(authority, offered, is_wildcard, failures)
        };
        assert_eq!(chosen(&both, &all, false, 0), Some(TlsAlpn01));
        assert_eq!(chosen(&both, &all, false, 1), Some(Http01));
        assert_eq!(chosen(&both, &all, false, 2), Some(TlsAlpn01));
        assert_eq!(chosen(&both, &[Http01], false, 0), Some(Http01), "what is not offered is not chosen");
        assert_eq!(chosen(&both, &[Dns01], false, 0), None);
        assert_eq!(chosen(&both, &all, true, 0), None, "a wildcard needs `dns`");
        let dns = authority(&[Http01], true);
        assert_eq!(chosen(&dns, &[Dns01], true, 0), Some(Dns01), "and takes it where it is set up");
        assert_eq!(chosen(&dns, &all, false, 1), Some(Http01), "names without one take what was asked for");
    }
}
