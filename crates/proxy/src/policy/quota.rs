//! `quota`: bounds calls per hour, day, week or month of the calendar.
//!
//! What is counted is in the [ledger](crate::ledger), beside the books of budgets, and outlives this; or in the store that
//! gateways share, and then the ledger has this gateway's own part of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use jiff::Timestamp;
use model::resource::redis::WhenAway;

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    meter_key::{MeterKey, Subjects},
    needs::of_key,
    over::Over,
    rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY, join},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::ai::shared::Sharing,
    ledger::{
        Book, Calendar, NOT_OF_MODELS, Refused, Terms,
        shared::{Account, Claim, Kind, NotHeld},
    },
};

static METRIC: Metric = Metric {
    name: "tidegate_quota_calls_total",
    help: "Calls that came to a quota, by what it did; `refused_here` without asking the shared store again, `away` while that was away.",
    outcomes: &["allowed", "refused", "refused_here", "away"],
    gauges: &[],
};
const ALLOWED: usize = 0;
const REFUSED: usize = 1;
const REFUSED_HERE: usize = 2;
const AWAY: usize = 3;

/// When callers may try again where the store is away and nobody counts instead.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When to come again while the store is away.
const AWAY_AGAIN: Duration = Duration::from_secs(5);

/// What a period's length in seconds has room in, beside its beginning: the longest month needs 22 of them.
const LENGTH_BITS: u32 = 24;

/// The compiled policy.
pub(crate) struct Quota {
    key: MeterKey,
    name: String,
    headers: bool,
    limit: u64,
    calendar: Calendar,
    /// The period that was looked up last: its beginning, and in the lower bits its length.
    period: AtomicI64,
    book: Arc<Book>,
    terms: Terms,
    /// What this gateway may let pass alone, while the store is away.
    own: Terms,
    shared: Option<Shared>,
    counted: Arc<Counted>,
}

struct Shared {
    sharing: Sharing,
    account: String,
    over: Arc<Over>,
}

/// What is left, and for how long.
struct Left {
    calls: u64,
    ends_in: u64,
}

impl Quota {
    pub(crate) fn compile(settings: &model::policy::Quota, cx: &Building<'_>) -> Result<Self, String> {
        let limit = settings.limit.ok_or("expected a `limit`")?;
        let calendar = Calendar::new(settings.per, &settings.time_zone)?;
        // What it is counted by is part of the name: then a book never holds two kinds of periods.
        let shape =
            serde_json::to_value((settings.per, &settings.time_zone, &settings.key)).unwrap_or_default();
        let account = format!("{}/{} {shape}", cx.owner, settings.name);
        let max_keys = settings.max_keys;
        let own = ((limit as f64 * settings.share.fraction()) as u64).max(1);
        let sharing = Sharing::of(settings.store, settings.when_away, cx)?;
        let over = || cx.keep("over", settings, || Over::new(max_keys));
        Ok(Self {
            key: MeterKey::compile(&(&settings.key).into(), settings.ipv6_prefix)?,
            name: settings.name.clone(),
            headers: settings.headers,
            limit,
            book: cx.ledger.book(&format!("{NOT_OF_MODELS}{account}"), &calendar)?,
            calendar,
            period: AtomicI64::new(0),
            terms: Terms { limit: u128::from(limit), max_keys },
            own: Terms { limit: u128::from(own), max_keys },
            shared: sharing.map(|sharing| Shared { sharing, account, over: over() }),
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// Seconds of the period that holds a moment. Calendars of zones are slow, and nearly all calls are of one period.
    fn lasts(&self, now: Timestamp) -> i64 {
        let known = self.period.load(Ordering::Relaxed);
        let (begin, length) = (known >> LENGTH_BITS, known & ((1 << LENGTH_BITS) - 1));
        if (begin..begin + length).contains(&now.as_second()) {
            return length;
        }
        let (begin, end) = self.calendar.around(now);
        let length = end.saturating_sub(begin);
        if begin >= 0 && length < (1 << LENGTH_BITS) {
            self.period.store((begin << LENGTH_BITS) | length, Ordering::Relaxed);
        }
        length
    }

    fn tell(&self, call: &mut Call, left: &Left) {
        if !self.headers {
            return;
        }
        let length = self.lasts(Timestamp::now());
        let (name, limit) = (&self.name, self.limit);
        let texts = [
            (RATE_LIMIT, format!("\"{name}\";r={};t={}", left.calls, left.ends_in)),
            (RATE_LIMIT_POLICY, format!("\"{name}\";q={limit};w={length}")),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::try_from(text) {
                join(call, name, value);
            }
        }
    }

    fn allow(&self, call: &mut Call, left: &Left) -> Flow<'static> {
        self.tell(call, left);
        Flow::Continue
    }

    fn refuse(&self, call: &mut Call, ends_in: u64) -> Flow<'static> {
        self.tell(call, &Left { calls: 0, ends_in });
        let hint =
            format!("all {} calls of this period are made; the next begins in {ends_in} s", self.limit);
        Flow::Fail(
            Failure::refused(Problem::QuotaExceeded)
                .with_retry_after(Duration::from_secs(ends_in))
                .with_hint(hint),
        )
    }

    /// This gateway's part is made while nobody can say what all of them have made: that may be over in a moment.
    fn refuse_share(&self) -> Flow<'static> {
        let hint = format!(
            "the store that counts for all gateways does not answer, and this one's part of the {} calls is made",
            self.limit
        );
        Flow::Fail(Failure::refused(Problem::QuotaExceeded).with_retry_after(AWAY_AGAIN).with_hint(hint))
    }

    /// Decides by what is counted here, within these terms.
    fn here(&self, call: &mut Call, subject: &str, terms: Terms) -> (Flow<'static>, Option<i64>) {
        match self.book.take(subject, 1, terms, Timestamp::now()) {
            Ok(taken) => {
                let calls = u64::try_from(terms.limit.saturating_sub(taken.spent)).unwrap_or(0);
                (self.allow(call, &Left { calls, ends_in: taken.ends_in }), Some(taken.period))
            }
            Err(Refused::Spent { .. }) if terms.limit < self.terms.limit => (self.refuse_share(), None),
            Err(Refused::Spent { ends_in, .. }) => (self.refuse(call, ends_in), None),
            Err(Refused::TooMany { ends_in }) => {
                let failure = Failure::refused(Problem::QuotaExceeded)
                    .with_retry_after(Duration::from_secs(ends_in))
                    .with_hint("more callers are counted in this period than there is room for");
                (Flow::Fail(failure), None)
            }
        }
    }

    fn claim(&self, shared: &Shared, subject: &str) -> Claim {
        let account = Account {
            subject: subject.to_owned(),
            name: shared.account.clone(),
            kind: Kind::Book(self.calendar.clone()),
            limit: u128::from(self.limit),
            warn: None,
        };
        Claim { account: Arc::new(account), amount: 1, mark: 0 }
    }

    fn together<'a>(&'a self, shared: &'a Shared, call: &'a mut Call, subject: String) -> Flow<'a> {
        let accounts = &shared.sharing.accounts;
        if let Some((_, wait)) = shared.over.find([&subject], Instant::now()) {
            self.counted.note(REFUSED_HERE);
            return self.refuse(call, wait.as_secs().max(1));
        }
        if !accounts.client().is_up() {
            return self.away(shared, call, &subject);
        }
        Flow::Wait(Box::pin(async move {
            let sent = Instant::now();
            let flow = match accounts.take(self.claim(shared, &subject)).await {
                Ok(granted) => {
                    self.counted.note(ALLOWED);
                    // What this gateway lets pass is part of its share, should the store go away.
                    self.book.spend(&subject, 1, self.terms, Timestamp::now());
                    let calls = u64::try_from(granted.left).unwrap_or(u64::MAX);
                    self.allow(call, &Left { calls, ends_in: granted.reset.as_secs() })
                }
                Err(NotHeld::Refused(_, refusal)) => {
                    self.counted.note(REFUSED);
                    shared.over.put(&subject, sent, refusal.wait);
                    self.refuse(call, refusal.wait.as_secs())
                }
                Err(NotHeld::Away) => self.away(shared, call, &subject),
            };
            match flow {
                Flow::Fail(failure) => Verdict::Fail(failure),
                _ => Verdict::Continue,
            }
        }))
    }

    /// The store is away: what is chosen for that. What passes is told to it when it is back.
    fn away(&self, shared: &Shared, call: &mut Call, subject: &str) -> Flow<'static> {
        self.counted.note(AWAY);
        let accounts = &shared.sharing.accounts;
        let [local, open, closed] = &accounts.fallbacks;
        let add = |period| {
            accounts.add(Arc::new([self.claim(shared, subject)]), vec![period], vec![1]);
        };
        match shared.sharing.when_away {
            WhenAway::Local => {
                local.fetch_add(1, Ordering::Relaxed);
                let (flow, period) = self.here(call, subject, self.own);
                period.into_iter().for_each(add);
                flow
            }
            WhenAway::Open => {
                open.fetch_add(1, Ordering::Relaxed);
                self.book.spend(subject, 1, self.terms, Timestamp::now());
                add(self.calendar.around(Timestamp::now()).0);
                Flow::Continue
            }
            WhenAway::Closed => {
                closed.fetch_add(1, Ordering::Relaxed);
                Flow::Fail(
                    Failure::refused(Problem::Unavailable)
                        .with_retry_after(RETRY_AFTER)
                        .with_hint("the store in which this is counted is away"),
                )
            }
        }
    }
}

impl NeedsOf for model::policy::Quota {
    fn needs(&self) -> Needs {
        Needs::headers(of_key(&self.key))
    }
}

impl Policy for Quota {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let Subjects::Named(mut subjects) = self.key.of(call) else { return Flow::Continue };
        let subject = subjects.pop().unwrap_or_default();
        match &self.shared {
            Some(shared) => self.together(shared, call, subject),
            None => {
                let (flow, period) = self.here(call, &subject, self.terms);
                self.counted.note(if period.is_some() { ALLOWED } else { REFUSED });
                flow
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome};

    #[test]
    fn each_caller_has_its_own_calls_and_is_told_what_is_left_until_when() {
        let settings = serde_json::json!({"limit": 2, "per": "hour", "maxKeys": 2});
        let settings = serde_json::from_value(settings).expect("good settings");
        let policy = building("", |cx| Quota::compile(&settings, cx)).expect("compiles");
        for left in ["1", "0"] {
            let mut call = call("GET", "/");
            outcome(&policy, &mut call).expect("room");
            let told = call.answer_headers["ratelimit"].to_str().expect("text");
            assert!(told.starts_with(&format!("\"quota\";r={left};t=")), "{told}");
            assert_eq!(call.answer_headers["ratelimit-policy"], "\"quota\";q=2;w=3600");
        }
        let refused = outcome(&policy, &mut call("GET", "/")).expect_err("over the limit");
        assert_eq!(refused.problem(), Problem::QuotaExceeded);
        assert!(refused.retry_after().is_some_and(|after| after <= Duration::from_secs(3600)));
        let from = |last: u8| {
            let mut call = call("GET", "/");
            call.client = std::net::Ipv4Addr::new(192, 0, 2, last).into();
            outcome(&policy, &mut call)
        };
        assert!(from(1).is_ok(), "others have their own");
        assert!(from(2).is_err(), "one more than there are places");
    }

    #[test]
    fn a_period_lasts_as_long_as_its_days_whichever_was_looked_up_before() {
        let settings = serde_json::json!({"limit": 2, "per": "month", "timeZone": "Europe/Berlin"});
        let settings = serde_json::from_value(settings).expect("good settings");
        let policy = building("", |cx| Quota::compile(&settings, cx)).expect("compiles");
        let day = 86_400;
        for (moment, lasts) in [
            ("2026-02-10T12:00:00Z", 28 * day),
            ("2026-02-28T22:59:59Z", 28 * day),
            // In Berlin it is March, which has an hour less.
            ("2026-02-28T23:00:00Z", 31 * day - 3600),
            ("2026-02-28T22:59:59Z", 28 * day),
            ("2026-10-31T12:00:00Z", 31 * day + 3600),
            ("2026-11-01T12:00:00Z", 30 * day),
        ] {
            assert_eq!(policy.lasts(moment.parse().expect("a moment")), lasts, "{moment}");
        }
    }
}
