//! `budget`: bounds money or tokens of models per day, week or month.
//!
//! The request phase finds out whose budget it is; the handler of models holds what the call may cost at most, and
//! settles it to what it cost. The books are in the [ledger](crate::ledger), and outlive this.

mod statement;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use model::{Percent, Usd, policy::budget::UnknownPrice};

use super::{
    Flow, Needs, NeedsOf, Policy,
    meter_key::{MeterKey, headers_of},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::ai::{
        duties::{Hold, Meter, Metering, Shared, SharedMeter},
        meters::Spent,
        most::Most,
        shared::{Sharing, share_is_used},
    },
    ledger::{
        Book, Calendar, Held, Refused, Terms,
        shared::{Account as SharedAccount, Claim, Granted, Kind, Refusal},
    },
};

const BUDGET: HeaderName = HeaderName::from_static("x-tidegate-budget");
/// What vendors' SDKs read before they try again on their own: the period is longer than they would wait.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// When a call may be tried again that has no room only while others are on their way.
const HELD: Duration = Duration::from_secs(3);

/// The compiled policy.
pub(crate) struct Budget {
    key: MeterKey,
    account: Arc<Account>,
}

struct Account {
    name: String,
    book: Arc<Book>,
    terms: Terms,
    unit: Unit,
    takes_unknown: bool,
    assumed_output: Option<u64>,
    /// In thousandths of the limit.
    warn_at: u128,
    calendar: Calendar,
    /// Whose spending is in a shared store: the book is this gateway's own part of it then.
    sharing: Option<Sharing>,
    /// What this gateway may spend of it alone, while the store is away.
    own: Terms,
    /// Every answer tells what is left.
    headers: bool,
    shown: Shown,
}

/// What operators are shown of the settings.
struct Shown {
    key: serde_json::Value,
    per: serde_json::Value,
    time_zone: String,
    /// Keys that the metrics name.
    metric_keys: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Dollars,
    Tokens,
}

impl Unit {
    fn show(self, amount: u128) -> String {
        match self {
            Self::Dollars => format!("${}", Usd::of(amount)),
            Self::Tokens => format!("{amount} tokens"),
        }
    }

    fn of(self, spent: &Spent) -> u128 {
        match self {
            Self::Dollars => spent.cost.0,
            Self::Tokens => u128::from(spent.input) + u128::from(spent.output),
        }
    }
}

impl Budget {
    pub(crate) fn compile(settings: &model::policy::Budget, cx: &Building<'_>) -> Result<Self, String> {
        let (unit, limit) = match (settings.amount, settings.tokens) {
            (Some(amount), None) => (Unit::Dollars, amount.picodollars()),
            (None, Some(tokens)) => (Unit::Tokens, u128::from(tokens)),
            _ => return Err("expected either `amount` or `tokens`".to_owned()),
        };
        let calendar = Calendar::new(settings.per, &settings.time_zone)?;
        // What it is counted by is part of the name: then a book never holds two kinds of amounts or periods.
        let shape =
            serde_json::to_value((settings.per, &settings.time_zone, &settings.key)).unwrap_or_default();
        let unit_name = if unit == Unit::Dollars { "usd" } else { "tokens" };
        let id = format!("{}/{} {unit_name} {shape}", cx.owner, settings.name);
        let shown = Shown {
            key: serde_json::to_value(&settings.key).unwrap_or_default(),
            per: serde_json::to_value(settings.per).unwrap_or_default(),
            time_zone: settings.time_zone.clone(),
            metric_keys: usize::from(settings.metric_keys),
        };
        let this = Self {
            key: MeterKey::compile(&settings.key, settings.ipv6_prefix)?,
            account: Arc::new(Account {
                name: settings.name.clone(),
                book: cx.ledger.book(&id, &calendar)?,
                calendar,
                terms: Terms { limit, max_keys: settings.max_keys },
                own: Terms { limit: share(limit, settings.share), max_keys: settings.max_keys },
                sharing: Sharing::of(settings.store, settings.when_away, cx)?,
                unit,
                takes_unknown: settings.unknown_price == UnknownPrice::Free,
                assumed_output: settings.assumed_output,
                warn_at: (settings.warn_at.get() * 10.0).round().max(0.0) as u128,
                headers: settings.headers,
                shown,
            }),
        };
        let purse: Weak<Account> = Arc::downgrade(&this.account);
        cx.ledger.watch(&id, purse);
        Ok(this)
    }
}

/// A share of an amount: exact to a thousandth of a percent.
fn share(amount: u128, share: Percent) -> u128 {
    let parts = (share.fraction() * 100_000.0).round().clamp(0.0, 100_000.0) as u128;
    (amount / 100_000) * parts + (amount % 100_000) * parts / 100_000
}

#[cfg(test)]
impl Budget {
    pub(crate) fn book(&self) -> &Book {
        &self.account.book
    }
}

impl NeedsOf for model::policy::Budget {
    fn needs(&self) -> Needs {
        Needs::headers(headers_of(&self.key))
    }
}

impl Policy for Budget {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let subjects = self.key.of(call);
        let meter = Arc::new(OfCalls(self.account.clone()));
        call.ai.meters.push(Metering { kind: "budget", meter, subjects });
        Flow::Continue
    }
}

impl Account {
    /// Thousandths of the limit.
    fn share(&self, spent: u128) -> u128 {
        spent.saturating_mul(1000) / self.terms.limit.max(1)
    }

    /// Tells on the answer how much is spent and what is left, from the share on that warns or always where it is
    /// wanted.
    fn tell_share(
        &self,
        spent: u128,
        left: u128,
        ends_in: u64,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> bool {
        let warns = self.share(spent) >= self.warn_at;
        if self.headers {
            let share = self.share(spent);
            let (used, tenth) = (share / 10, share % 10);
            let (unit, show): (_, fn(u128) -> String) = match self.unit {
                Unit::Dollars => ("usd", |amount| Usd::of(amount).to_string()),
                Unit::Tokens => ("tokens", |amount| amount.to_string()),
            };
            let (left, limit) = (show(left), show(self.terms.limit));
            let text = format!(
                "\"{}\";used={used}.{tenth};left={left};limit={limit};unit={unit};t={ends_in}",
                self.name
            );
            if let Ok(value) = HeaderValue::from_str(&text) {
                told.push((BUDGET, value));
            }
        } else if warns {
            self.tell_used(spent, told);
        }
        warns
    }

    /// Names the budget, and how much of it is spent.
    fn tell_used(&self, spent: u128, told: &mut Vec<(HeaderName, HeaderValue)>) {
        let share = self.share(spent);
        let text = format!("\"{}\";used={}.{}", self.name, share / 10, share % 10);
        if let Ok(value) = HeaderValue::from_str(&text) {
            told.push((BUDGET, value));
        }
    }

    fn tell(&self, subject: &str, held: Held, told: &mut Vec<(HeaderName, HeaderValue)>) {
        if self.tell_share(held.spent, held.left, held.ends_in, told) {
            self.warn(subject, held.spent);
        }
    }

    /// Warns once per period of whoever has come so far.
    fn warn(&self, subject: &str, spent: u128) {
        if self.share(spent) >= self.warn_at && self.book.warn(subject) {
            self.write_warning(subject, spent);
        }
    }

    /// The shared store says that it is time to warn.
    fn log_warning(&self, subject: &str, spent: u128) {
        self.book.warned();
        self.write_warning(subject, spent);
    }

    fn write_warning(&self, subject: &str, spent: u128) {
        write_warning(&self.book, &self.name, (self.unit, self.terms.limit), subject, spent);
    }

    /// Whether it is the part alone that this gateway may spend without the store that has no room, and the whole may have.
    fn is_of_share(&self, refused: Refused, amount: u128, terms: Terms) -> bool {
        let limit = self.terms.limit;
        match refused {
            Refused::Spent { spent, .. } => terms.limit < limit && spent.saturating_add(amount) <= limit,
            Refused::TooMany { .. } => false,
        }
    }

    fn refuse_share(&self) -> Failure {
        let share = format!("{} of {}", self.unit.show(self.own.limit), self.unit.show(self.terms.limit));
        share_is_used(&format!("the budget `{}`", self.name), &share, Duration::from_secs(u64::MAX))
    }

    /// Refuses a call that may cost so much. What is only held for others will be there again when they have ended.
    fn refuse(
        &self,
        refused: Refused,
        amount: u128,
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Failure {
        let (hint, ends_in) = match refused {
            Refused::Spent { left, spent, held, ends_in } => {
                self.tell_used(spent, told);
                let show = |amount| self.unit.show(amount);
                let mut hint = format!(
                    "the budget `{}` has {} left of {}",
                    self.name,
                    show(left),
                    show(self.terms.limit)
                );
                if held > 0 {
                    hint += &format!(" ({} spent, {} held for calls on their way)", show(spent), show(held));
                }
                hint += &format!(", and the call may cost up to {}", show(amount));
                if let Some(tokens) = most.assumed(self.assumed_output) {
                    hint += &format!(
                        "; {tokens} tokens of the answer are assumed, for it names no `max_tokens`: give one, or the \
                         budget a smaller `assumedOutput`"
                    );
                }
                let room = self.terms.limit.saturating_sub(spent);
                if held > 0 && room > 0 && amount <= room {
                    hint += "; it has room when those calls have ended";
                    return Failure::refused(Problem::RateLimited).with_retry_after(HELD).with_hint(hint);
                }
                (hint, ends_in)
            }
            Refused::TooMany { ends_in } => {
                (format!("the budget `{}` has no place for one more caller", self.name), ends_in)
            }
        };
        Failure::refused(Problem::BudgetSpent)
            .with_retry_after(Duration::from_secs(ends_in))
            .with_header(SHOULD_RETRY, HeaderValue::from_static("false"))
            .with_hint(hint)
    }
}

fn write_warning(book: &Book, name: &str, (unit, limit): (Unit, u128), subject: &str, spent: u128) {
    let share = spent.saturating_mul(1000) / limit.max(1);
    tracing::warn!(
        budget = book.id(),
        subject,
        spent = unit.show(spent),
        limit = unit.show(limit),
        "`{subject}` has spent {}.{} % of the budget `{name}`",
        share / 10,
        share % 10,
    );
}

/// An account that the holds of calls share.
struct OfCalls(Arc<Account>);

impl OfCalls {
    /// The most that a call may cost.
    fn amount(&self, most: &Most) -> Result<u128, Failure> {
        let account = &self.0;
        match account.unit {
            Unit::Tokens => {
                let (input, output) = most.tokens(account.assumed_output);
                Ok(u128::from(input) + u128::from(output))
            }
            Unit::Dollars => {
                let cost = most.cost(account.assumed_output, account.takes_unknown);
                cost.map(|cost| cost.0).map_err(|model| {
                    Failure::refused(Problem::Forbidden).with_hint(format!(
                        "nobody knows what `{model}` costs, and the budget `{}` is one of money",
                        account.name
                    ))
                })
            }
        }
    }

    fn hold_within(
        &self,
        terms: Terms,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Failure> {
        let account = &self.0;
        let amount = self.amount(most)?;
        let now = Timestamp::now();
        let mut hold = BudgetHold { account: account.clone(), amount, held: Vec::new() };
        for subject in subjects.iter().filter(|_| amount > 0 || !most.is_beyond()) {
            let held = account.book.hold(subject, amount, terms, now);
            let held = held.map_err(|refused| match account.is_of_share(refused, amount, terms) {
                true => account.refuse_share(),
                false => account.refuse(refused, amount, most, told),
            })?;
            hold.held.push((subject.clone(), held.period));
            account.tell(subject, held, told);
        }
        Ok(Box::new(hold))
    }
}

impl SharedMeter for OfCalls {
    fn claims(&self, subjects: &[String], most: &Most) -> Result<Vec<Claim>, Failure> {
        let account = &self.0;
        let amount = self.amount(most)?;
        // The least that is the share, as it is told.
        let warn_from = (account.terms.limit.saturating_mul(account.warn_at)).div_ceil(1000);
        let claim = |subject: &String| {
            // Nothing of the configuration, which may be gone when the store answers, and lets go of the store with it.
            let (book, name) = (account.book.clone(), account.name.clone());
            let of = (account.unit, account.terms.limit);
            let warn = Arc::new(move |subject: &str, spent: u128| {
                book.warned();
                write_warning(&book, &name, of, subject, spent);
            });
            let account = Arc::new(SharedAccount {
                subject: subject.clone(),
                name: account.book.id().to_owned(),
                kind: Kind::Book(account.calendar.clone()),
                limit: account.terms.limit,
                warn: Some((warn_from, warn)),
            });
            Claim { account, amount, mark: 0 }
        };
        Ok(subjects.iter().filter(|_| amount > 0 || !most.is_beyond()).map(claim).collect())
    }

    fn granted(&self, claim: &Claim, granted: &Granted, told: &mut Vec<(HeaderName, HeaderValue)>) {
        if granted.warns {
            self.0.log_warning(&claim.account.subject, granted.spent);
        }
        let left = granted.left.saturating_sub(claim.amount);
        self.0.tell_share(granted.spent, left, granted.reset.as_secs().max(1), told);
    }

    fn refused(
        &self,
        _: &[String],
        _: usize,
        refusal: &Refusal,
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Failure {
        self.0.book.refused();
        let Refusal { left, spent, held, wait } = *refusal;
        let refused = Refused::Spent { left, spent, held, ends_in: wait.as_secs().max(1) };
        self.0.refuse(refused, self.amount(most).unwrap_or_default(), most, told)
    }

    fn cost(&self, _: &Claim, spent: &Spent) -> u128 {
        self.0.unit.of(spent)
    }

    fn spend_here(&self, claim: &Claim, cost: u128) {
        if cost > 0 {
            self.0.book.spend(&claim.account.subject, cost, self.0.own, Timestamp::now());
        }
    }

    fn hold_here(
        &self,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Failure> {
        self.hold_within(self.0.own, subjects, most, told)
    }
}

impl Meter for OfCalls {
    fn shared(&self) -> Option<Shared<'_>> {
        Some(Shared { sharing: self.0.sharing.as_ref()?, meter: self })
    }

    fn hold(
        &self,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Failure> {
        self.hold_within(self.0.terms, subjects, most, told)
    }

    fn spend(&self, subjects: &[String], spent: &Spent) {
        let cost = self.0.unit.of(spent);
        let terms = if self.0.sharing.is_some() { self.0.own } else { self.0.terms };
        for subject in subjects.iter().filter(|_| cost > 0) {
            self.0.book.spend(subject, cost, terms, Timestamp::now());
        }
    }
}

/// What is held in the books of a call's subjects.
struct BudgetHold {
    account: Arc<Account>,
    amount: u128,
    held: Vec<(String, i64)>,
}

impl Hold for BudgetHold {
    fn settle(&mut self, spent: &Spent) {
        let now = Timestamp::now();
        let cost = self.account.unit.of(spent);
        for (subject, period) in self.held.drain(..) {
            if let Some(spent) = self.account.book.settle(&subject, self.amount, period, cost, now) {
                self.account.warn(&subject, spent);
            }
        }
    }
}

impl Drop for BudgetHold {
    fn drop(&mut self) {
        self.settle(&Spent::default());
    }
}

#[cfg(test)]
mod tests {
    use ai::cost::Cost;

    use super::*;
    use crate::{handler::ai::prices::Priced, policy::testing::building_for};

    fn policy(settings: serde_json::Value) -> Budget {
        let settings = serde_json::from_value(settings).expect("good settings");
        building_for("routes/r/budget", "", |cx| Budget::compile(&settings, cx)).expect("compiles")
    }

    fn hold(policy: &Budget, most: &Most) -> Result<(Box<dyn Hold>, usize), Failure> {
        let mut told = Vec::new();
        let meter = OfCalls(policy.account.clone());
        meter.hold(&["a".to_owned()], most, &mut told).map(|hold| (hold, told.len()))
    }

    #[test]
    fn the_most_that_a_call_may_cost_is_held_and_settled_to_what_it_cost() {
        // A dollar per million tokens of the prompt, four of the answer.
        let priced = || Some(Priced::in_test(1_000_000, 4_000_000));
        let policy = policy(serde_json::json!({"amount": "0.01", "warnAt": 50}));
        let most = Most::in_test(1000, 2000, priced());
        let (mut first, warned) = hold(&policy, &most).expect("room");
        assert_eq!((policy.account.book.of("a").1, warned), (9_000_000_000, 0));
        let refused = hold(&policy, &most).err().expect("the most is more than is left");
        assert_eq!(refused.problem(), Problem::RateLimited, "it has room when the first has ended");
        assert!(refused.hint().is_some_and(|hint| hint.contains("$0.001 left of $0.01")), "{refused:?}");
        let refused = hold(&policy, &Most::in_test(1000, 3000, priced())).err().expect("more than there is");
        assert_eq!(refused.problem(), Problem::BudgetSpent);
        first.settle(&Spent { input: 1000, output: 1000, cost: Cost(5_000_000_000) });
        drop(first);
        assert_eq!(policy.account.book.of("a"), (5_000_000_000, 0), "settled once");
        let (second, warned) = hold(&policy, &Most::in_test(10, 10, priced())).expect("room");
        assert_eq!(warned, 1, "half of it is spent");
        drop(second);
        assert_eq!(policy.account.book.of("a"), (5_000_000_000, 0), "what nobody settles costs nothing");
    }

    #[test]
    fn what_nobody_knows_the_price_of_is_refused_unless_it_is_called_free() {
        let most = Most::in_test(10, 10, None);
        let refusing = policy(serde_json::json!({"amount": 1}));
        let refused = hold(&refusing, &most).err().expect("no price");
        assert_eq!(refused.problem(), Problem::Forbidden);
        let free = policy(serde_json::json!({"amount": 1, "unknownPrice": "free"}));
        assert!(hold(&free, &most).is_ok());
        let tokens = policy(serde_json::json!({"tokens": 20}));
        let (held, _) = hold(&tokens, &most).expect("tokens need no price");
        assert!(hold(&tokens, &most).is_err());
        drop(held);
    }
}
