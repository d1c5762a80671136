//! What budgets and limits of tokens have left: for operators, off the way of calls.
//!
//! Whatever bounds spending is a [`Purse`], and is known to the ledger as long as a configuration that has it lives.
//! What is counted here is shown as it is; what a shared store counts, as this gateway saw it last, and asked for when
//! one key is wanted.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use model::{Config, Consumer, Usd};
use serde::{Serialize, Serializer};

use super::{
    Ledger,
    shared::{Account as SharedAccount, Accounts},
};
use crate::policy::meter_key::digested;

/// Most accounts of one budget that are listed.
pub const ACCOUNTS_MAX: usize = 1000;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Of this key alone, such as `consumer:app`, as [`account_key`] reads it.
    pub key: Option<String>,
    /// Of this budget alone, by its name or its place and name.
    pub policy: Option<String>,
    /// So many accounts of each, those that have spent the most.
    pub limit: usize,
}

/// An amount of money, or of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// In picodollars; written as dollars, in a text, for a number of JSON's would not hold them exactly.
    Dollars(u128),
    /// A number of them.
    Tokens(u128),
}

impl Amount {
    /// The same unit with another number.
    pub(crate) fn with(self, number: u128) -> Self {
        match self {
            Self::Dollars(_) => Self::Dollars(number),
            Self::Tokens(_) => Self::Tokens(number),
        }
    }

    pub(crate) fn number(self) -> u128 {
        let (Self::Dollars(number) | Self::Tokens(number)) = self;
        number
    }

    /// As a metric has it.
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Dollars(number) => number as f64 / 1e12,
            Self::Tokens(number) => number as f64,
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Dollars(number) => serializer.collect_str(&Usd::of(*number)),
            Self::Tokens(number) => serializer.serialize_u64(u64::try_from(*number).unwrap_or(u64::MAX)),
        }
    }
}

/// A budget, or one limit of a `tokenRateLimit`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Its place and its name, as metrics have it.
    pub policy: String,
    /// `budget` or `tokenRateLimit`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `usd`, `tokens`, `inputTokens` or `outputTokens`.
    pub unit: &'static str,
    /// What each key may spend.
    pub limit: Amount,
    /// Whose spending is counted together, as it is configured.
    pub counted_by: serde_json::Value,
    /// `day`, `week`, `month`, or seconds over which all of it comes back.
    pub per: serde_json::Value,
    /// In which its days begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// When the period began, in that zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// `memory` or `redis`.
    pub store: &'static str,
    /// The share in percent that warns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_at: Option<f64>,
    /// Keys that have an account, as far as this gateway knows.
    pub keys: usize,
    /// What all keys have spent, as far as this gateway knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Amount>,
    /// What is held for calls on their way; of what a shared store counts it is known of single keys alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Amount>,
    /// Calls that this gateway has refused for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Accounts, those that have spent the most first.
    pub accounts: Vec<AccountStatement>,
    /// Why the store does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<&'static str>,
}

/// What one key has spent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatement {
    /// Whose it is.
    pub key: String,
    /// Of an API key: where it stands among its consumer's settings, such as `hashedKeys[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// What that is for, as the settings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_name: Option<String>,
    /// What is spent in this period, or has not come back yet.
    pub spent: Amount,
    /// What is held for calls on their way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Amount>,
    /// What a call may still cost.
    pub left: Amount,
    /// Percent of the limit that is spent.
    pub used: f64,
    /// It has come to the share that warns.
    pub warns: bool,
    /// When the store told it, where it was not asked now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
}

/// What is asked of a purse.
pub(crate) struct Ask<'a> {
    pub(crate) key: Option<&'a str>,
    pub(crate) top: usize,
    /// Keys that the configuration names, for purses that know keys by their digests alone.
    pub(crate) names: &'a BTreeSet<String>,
    pub(crate) now: Timestamp,
}

/// What the metrics tell of a purse.
pub(crate) struct Gauges {
    pub(crate) policy: String,
    pub(crate) limit: Amount,
    pub(crate) spent: u128,
    /// Not known of what a shared store counts.
    pub(crate) held: Option<u128>,
    pub(crate) keys: usize,
    /// The most that any key has spent.
    pub(crate) most: u128,
    /// The keys that the operator wants named.
    pub(crate) named: Vec<(String, u128)>,
}

/// Bounds spending, and can tell what is left.
pub(crate) trait Purse: Send + Sync {
    /// Itself, as known here.
    fn statements(&self, ask: &Ask<'_>) -> Vec<Statement>;

    /// Where a shared store counts: the accounts of a key there, one for each statement.
    fn shared(&self, key: &str) -> Option<(Arc<Accounts>, Vec<SharedAccount>)>;

    /// What the metrics tell of it.
    fn gauges(&self, _: Timestamp) -> Option<Gauges> {
        None
    }
}

/// The few that have the most, of however many there are.
pub(crate) struct Top {
    most: usize,
    heap: BinaryHeap<Reverse<(u128, String, u128)>>,
}

impl Top {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    /// One more, with what it has spent and something that goes with it. Names are copied only of those that stay.
    pub(crate) fn push(&mut self, name: &str, spent: u128, with: u128) {
        if self.heap.len() >= self.most {
            let is_more = self.heap.peek().is_some_and(|Reverse((least, ..))| *least < spent);
            if !is_more {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Reverse((spent, name.to_owned(), with)));
    }

    /// Those with the most first.
    pub(crate) fn finish(self) -> Vec<(String, u128, u128)> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Reverse((spent, name, with))| (name, spent, with)).collect()
    }
}

/// Kinds of keys of which the digest of what a caller wrote is kept.
const WRITTEN: [&str; 3] = ["header", "claim", "cel"];

/// A key as it is kept. A name without a kind is a consumer's; `header=acme`, `claim=acme` and `cel=acme` are what is
/// counted for callers that write that.
pub fn account_key(key: &str) -> String {
    let written = key.split_once('=').filter(|(kind, _)| WRITTEN.contains(kind));
    if let Some((kind, value)) = written {
        return digested(kind, std::iter::once(value.as_bytes()));
    }
    match key.contains(':') || key == "global" {
        true => key.to_owned(),
        false => format!("consumer:{key}"),
    }
}

/// Keys of accounts that a configuration names.
fn names(config: &Config) -> BTreeSet<String> {
    let consumers = config.consumers.iter().flat_map(|one| {
        let count = one.keys.len() + one.hashed_keys.len();
        let keys = (0..count).map(|place| format!("key:{}/{place}", one.name));
        let groups = one.groups.iter().map(|group| format!("group:{group}"));
        std::iter::once(format!("consumer:{}", one.name)).chain(keys).chain(groups)
    });
    let models = config.ai.iter().flat_map(|ai| &ai.models).map(|model| format!("model:{}", model.name));
    consumers.chain(models).chain(std::iter::once("global".to_owned())).collect()
}

/// The credential of a consumer's that an account is of: its place, and what it is for.
fn credential(key: &str, consumers: &HashMap<&str, &Consumer>) -> Option<(String, Option<String>)> {
    let (consumer, place) = key.strip_prefix("key:")?.rsplit_once('/')?;
    let (consumer, place) = (consumers.get(consumer)?, place.parse::<usize>().ok()?);
    // Those that are hashed are counted behind the others.
    match place.checked_sub(consumer.keys.len()) {
        None => Some((format!("keys[{place}]"), None)),
        Some(place) => {
            let hashed = consumer.hashed_keys.get(place)?;
            Some((format!("hashedKeys[{place}]"), hashed.name.clone()))
        }
    }
}

/// Whether a budget or limit that has counted nothing for a key of the configuration ever will: it counts by such keys, and
/// does not stand under another consumer.
fn may_spend(policy: &str, counted_by: &serde_json::Value, key: &str, config: &Config) -> bool {
    let holder = policy.strip_prefix("consumers/").and_then(|rest| rest.split('/').next());
    let is_of = |name: &str| holder.is_none_or(|holder| holder == name);
    let consumer = |name: &str| config.consumers.iter().find(|one| one.name == name);
    let (kind, name) = key.split_once(':').unwrap_or((key, ""));
    match (counted_by.as_str(), kind) {
        (Some("consumer"), "consumer") => is_of(name),
        // Who has no group, or shows no key, counts as a consumer.
        (Some("group"), "consumer") => {
            is_of(name) && consumer(name).is_some_and(|consumer| consumer.groups.is_empty())
        }
        (Some("key"), "consumer") => {
            let has_none = |one: &model::Consumer| one.keys.is_empty() && one.hashed_keys.is_empty();
            is_of(name) && consumer(name).is_some_and(has_none)
        }
        (Some("group"), "group") => holder.and_then(consumer).is_none_or(|consumer| {
            let mut groups = consumer.groups.iter();
            groups.any(|group| group == name)
        }),
        (Some("key"), "key") => name.split_once('/').is_some_and(|(consumer, _)| is_of(consumer)),
        (Some("model"), "model") | (Some("global"), "global") => true,
        _ => false,
    }
}

/// What every budget and limit has left.
pub(crate) async fn all(ledger: &Ledger, config: &Config, wish: &Wish) -> Vec<Statement> {
    let (key, names, now) = (wish.key.as_deref().map(account_key), names(config), Timestamp::now());
    let ask = Ask { key: key.as_deref(), top: wish.limit.clamp(1, ACCOUNTS_MAX), names: &names, now };
    let is_wanted = |one: &Statement| {
        wish.policy.as_ref().is_none_or(|wanted| *wanted == one.policy || *wanted == one.name)
    };
    let told = join_all(ledger.purses().into_iter().map(|purse| {
        let (ask, key, config) = (&ask, key.as_deref(), config);
        async move {
            let mut all = purse.statements(ask);
            // Who asks for one budget has no other one's accounts looked at.
            let is_any = all.iter().any(is_wanted);
            if let Some((accounts, shared)) = key.filter(|_| is_any).and_then(|key| purse.shared(key)) {
                let looks = shared.iter().map(|account| accounts.look(account));
                for ((one, account), found) in all.iter_mut().zip(&shared).zip(join_all(looks).await) {
                    match found {
                        Ok(found)
                            if found.spent > 0 || found.held > 0 || ask.names.contains(&account.subject) =>
                        {
                            one.accounts = vec![AccountStatement::of(one, &account.subject, found.into())];
                        }
                        Ok(_) => one.accounts.clear(),
                        Err(_) => one.trouble = Some("the store is away, or did not answer in time"),
                    }
                }
            }
            if let Some(key) = key {
                all.iter_mut().for_each(|one| one.without_strangers(key, config));
            }
            all.retain(is_wanted);
            all
        }
    }));
    let mut told: Vec<Statement> = told.await.into_iter().flatten().collect();
    told.sort_by(|a, b| (&a.policy, a.unit).cmp(&(&b.policy, b.unit)));
    let consumers = config.consumers.iter().map(|one| (one.name.as_str(), one)).collect();
    for account in told.iter_mut().flat_map(|one| &mut one.accounts) {
        if let Some((place, name)) = credential(&account.key, &consumers) {
            (account.credential, account.credential_name) = (Some(place), name);
        }
    }
    told
}

impl Statement {
    /// Leaves out what a key has not spent and never will.
    fn without_strangers(&mut self, key: &str, config: &Config) {
        let may_spend = may_spend(&self.policy, &self.counted_by, key, config);
        let is_something = |amount: Amount| amount.number() > 0;
        self.accounts
            .retain(|one| may_spend || is_something(one.spent) || one.held.is_some_and(is_something));
    }
}

/// What an account of any kind has.
pub(crate) struct Stand {
    pub(crate) spent: u128,
    pub(crate) held: Option<u128>,
    pub(crate) left: u128,
    pub(crate) is_warned: bool,
}

impl From<super::shared::Looked> for Stand {
    fn from(found: super::shared::Looked) -> Self {
        let super::shared::Looked { spent, held, left, is_warned } = found;
        Self { spent, held: Some(held), left, is_warned }
    }
}

impl AccountStatement {
    pub(crate) fn of(statement: &Statement, key: &str, stand: Stand) -> Self {
        let limit = statement.limit;
        let used = stand.spent.saturating_mul(1000) / limit.number().max(1);
        let used = used as f64 / 10.0;
        Self {
            key: key.to_owned(),
            credential: None,
            credential_name: None,
            spent: limit.with(stand.spent),
            held: stand.held.map(|held| limit.with(held)),
            left: limit.with(stand.left),
            used,
            warns: stand.is_warned || statement.warn_at.is_some_and(|from| used >= from),
            as_of: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_have_spent_the_most_are_listed_and_no_more() {
        let mut top = Top::new(3);
        for number in [5_u128, 1, 9, 7, 3, 8] {
            top.push(&format!("n{number}"), number, number * 10);
        }
        let found: Vec<_> = top.finish().into_iter().map(|(name, _, with)| (name, with)).collect();
        assert_eq!(found, [("n9".to_owned(), 90), ("n8".to_owned(), 80), ("n7".to_owned(), 70)]);
    }

    #[test]
    fn a_key_is_told_what_it_may_spend_and_nothing_of_others() {
        let consumers = serde_json::json!([
            {"name": "app", "keys": ["a-key-of-the-app"], "groups": ["gold"]},
            {"name": "poor", "hashedKeys": [{"sha256": "0"}]},
            {"name": "token"},
        ]);
        let consumers = serde_json::from_value(consumers).expect("consumers");
        let config = Config { consumers, ..Config::default() };
        let (route, own) = ("routes/models/budget/b", "consumers/app/budget/b");
        for (policy, counted_by, key, want) in [
            (route, "consumer", "consumer:app", true),
            (own, "consumer", "consumer:app", true),
            (own, "consumer", "consumer:poor", false),
            (route, "model", "consumer:app", false),
            (route, "model", "model:smart", true),
            (route, "global", "global", true),
            (route, "global", "consumer:app", false),
            (route, "group", "group:gold", true),
            (own, "group", "group:gold", true),
            (own, "group", "group:tin", false),
            (route, "group", "consumer:app", false),
            (route, "group", "consumer:poor", true),
            (route, "key", "key:app/0", true),
            (own, "key", "key:poor/0", false),
            (route, "key", "consumer:poor", false),
            (route, "key", "consumer:token", true),
            (route, "clientAddress", "consumer:app", false),
        ] {
            assert_eq!(
                may_spend(policy, &counted_by.into(), key, &config),
                want,
                "{policy} {counted_by} {key}"
            );
        }
        assert!(!may_spend(route, &serde_json::json!({"header": "x-who"}), "consumer:app", &config));
        let names = names(&config);
        assert!(names.contains("key:poor/0") && !names.contains("key:poor/1"), "{names:?}");
    }

    #[test]
    fn amounts_of_money_are_written_exactly() {
        let text = serde_json::to_string(&[Amount::Dollars(1_000_000_000_001), Amount::Tokens(7)]);
        assert_eq!(text.expect("JSON"), r#"["1.000000000001",7]"#);
        assert_eq!(
            (account_key("app"), account_key("group:a"), account_key("global")),
            ("consumer:app".to_owned(), "group:a".to_owned(), "global".to_owned())
        );
    }

    #[test]
    fn what_callers_write_is_found_by_what_they_wrote() {
        let key = account_key("header=acme=1");
        assert_eq!(key, digested("header", std::iter::once(&b"acme=1"[..])));
        assert_eq!(account_key(&key), key, "it is a key by itself");
        assert_eq!(account_key("other=acme"), "consumer:other=acme");
        assert_ne!(account_key("claim=acme")[6..], account_key("claim=acm")[6..]);
    }

    #[test]
    fn an_account_of_an_api_key_tells_which_one_that_is() {
        let consumers = serde_json::json!([
            {"name": "app", "keys": ["a-key-of-the-app"], "hashedKeys": [{"sha256": "0"}, {"sha256": "1", "name": "ci"}]},
        ]);
        let consumers: Vec<Consumer> = serde_json::from_value(consumers).expect("consumers");
        let known = consumers.iter().map(|one| (one.name.as_str(), one)).collect();
        for (key, place, name) in [
            ("key:app/0", Some("keys[0]"), None),
            ("key:app/1", Some("hashedKeys[0]"), None),
            ("key:app/2", Some("hashedKeys[1]"), Some("ci")),
            ("key:app/3", None, None),
            ("key:other/0", None, None),
            ("key:app/x", None, None),
            ("consumer:app", None, None),
        ] {
            let want = place.map(|place| (place.to_owned(), name.map(str::to_owned)));
            assert_eq!(credential(key, &known), want, "{key}");
        }
    }
}
