//! Limits that several gateways share through Redis: one script asks all limits of a call at once, in one round trip.
//!
//! What the store has refused is refused here, without a question, for as long as it said. While it is away each limit
//! counts here within its share, or nobody passes, or everybody does, as is chosen.

use std::{
    sync::{Arc, LazyLock, atomic::Ordering},
    time::{Duration, Instant},
};

use ::redis::{Script, Value};
use model::{
    policy::rate_limit::{Algorithm, Limit as LimitSettings},
    resource::redis::WhenAway,
};
use resilience::gcra::Decision;

use super::{RateLimit, verdict};
use crate::{
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::ai::shared::Sharing,
    policy::{
        Flow, Verdict,
        counted::{Counted, Metric},
        meter_key::{MeterKey, Subjects},
        over::Over,
    },
};

static RATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("rate.lua")));

static METRIC: Metric = Metric {
    name: "tidegate_rate_limit_decisions_total",
    help: "Calls that came to a limit in the shared store, by who decided what.",
    outcomes: &["allowed", "refused", "refused_here", "away"],
    gauges: &[],
};
const ALLOWED: usize = 0;
const REFUSED: usize = 1;
const REFUSED_HERE: usize = 2;
const AWAY: usize = 3;

/// When callers may try again where the store is away and nobody counts instead.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a policy needs to count together with others.
pub(super) struct Shared {
    sharing: Sharing,
    limits: Vec<Limit>,
    slides: bool,
    over: Arc<Over>,
    counted: Arc<Counted>,
    background: tokio::runtime::Handle,
}

/// What was said of the limits asked about: of each what is left, or which refuses and for how long.
type Said = Result<Vec<(usize, Decision)>, (usize, Duration)>;

struct Limit {
    key: MeterKey,
    /// What it is counted under, beside whose calls they are.
    name: String,
    /// Its terms as the script reads them.
    terms: [String; 4],
}

impl Shared {
    /// With nothing where each gateway counts for itself.
    pub(super) fn compile(
        settings: &model::policy::RateLimit,
        names: &[String],
        cx: &Building<'_>,
    ) -> Result<Option<Self>, String> {
        let Some(sharing) = Sharing::of(settings.store, settings.when_away, cx)? else { return Ok(None) };
        let slides = settings.algorithm == Algorithm::SlidingWindow;
        let one = |(limit, name): (LimitSettings, &String)| {
            let key = limit.key.as_ref().unwrap_or(&settings.key);
            // One whose terms are others begins anew, as it does where it is counted here.
            let shape = serde_json::to_string(&(&limit, key, settings.ipv6_prefix, settings.algorithm));
            let digest =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, shape.unwrap_or_default().as_bytes());
            let mut account = format!("rate:{}/{name}:", cx.owner);
            for byte in digest.as_ref().iter().take(6) {
                use std::fmt::Write;
                let _ = write!(account, "{byte:02x}");
            }
            Ok::<_, String>(Limit {
                key: MeterKey::compile(&key.into(), settings.ipv6_prefix)?,
                name: account,
                terms: [
                    if slides { "s" } else { "g" }.to_owned(),
                    limit.window.get().as_micros().max(1).to_string(),
                    limit.limit.to_string(),
                    limit.burst.unwrap_or(limit.limit).to_string(),
                ],
            })
        };
        let limits = settings.all().into_iter().zip(names).map(one).collect::<Result<_, _>>()?;
        Ok(Some(Self {
            sharing,
            limits,
            slides,
            over: cx.keep("over", settings, || Over::new(settings.max_keys)),
            counted: Counted::of(&METRIC, cx),
            background: cx.background.clone(),
        }))
    }

    /// Decides for a call.
    pub(super) fn request<'a>(&'a self, policy: &'a RateLimit, call: &'a mut Call) -> Flow<'a> {
        let accounts = &self.sharing.accounts;
        let (mut keys, mut subjects) = (Vec::with_capacity(self.limits.len()), Vec::new());
        for limit in &self.limits {
            let Subjects::Named(mut names) = limit.key.of(call) else { continue };
            let subject = names.pop().unwrap_or_default();
            keys.push(accounts.key(&subject, &limit.name));
            subjects.push(subject);
        }
        if let Some((place, wait)) = self.over.find(&keys, Instant::now()) {
            self.counted.note(REFUSED_HERE);
            let decision = Decision::Limited { retry_after: wait, reset: wait };
            policy.tell(call, &[(place, decision)]);
            return verdict(decision);
        }
        if !accounts.client().is_up() {
            return self.away(policy, call);
        }
        Flow::Wait(Box::pin(async move {
            let sent = Instant::now();
            let verdict = match self.ask(&keys, &subjects).await {
                Some(Ok(decisions)) => {
                    self.counted.note(ALLOWED);
                    // What this gateway lets pass is part of its share, should the store go away.
                    if self.sharing.when_away == WhenAway::Local {
                        policy.count_here(call);
                    }
                    policy.tell(call, &decisions);
                    Flow::Continue
                }
                Some(Err((place, wait))) => {
                    self.counted.note(REFUSED);
                    if let Some(key) = keys.get(place) {
                        self.over.put(key, sent, wait);
                    }
                    let decision = Decision::Limited { retry_after: wait, reset: wait };
                    policy.tell(call, &[(place, decision)]);
                    verdict(decision)
                }
                None => self.away(policy, call),
            };
            match verdict {
                Flow::Fail(failure) => Verdict::Fail(failure),
                _ => Verdict::Continue,
            }
        }))
    }

    /// The store is away: what is chosen for that.
    fn away(&self, policy: &RateLimit, call: &mut Call) -> Flow<'static> {
        self.counted.note(AWAY);
        let [local, open, closed] = &self.sharing.accounts.fallbacks;
        match self.sharing.when_away {
            WhenAway::Local => {
                local.fetch_add(1, Ordering::Relaxed);
                policy.decide_here(call)
            }
            WhenAway::Open => {
                open.fetch_add(1, Ordering::Relaxed);
                policy.count_here(call);
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

    /// What the store says: what is left of each limit, or which refuses and for how long. Nothing when it is away.
    async fn ask(&self, keys: &[String], subjects: &[String]) -> Option<Said> {
        let accounts = &self.sharing.accounts;
        let id =
            if self.slides || accounts.client().is_cluster() { accounts.next_id() } else { String::new() };
        let groups = self.groups(subjects);
        let asked = groups.iter().map(|group| async {
            let (keys, arguments) = self.question("take", &id, keys, group);
            let value = accounts.client().eval(&RATE, &keys, &arguments).await.ok()?;
            read(&value, group)
        });
        let answers = futures_util::future::join_all(asked).await;
        let (mut decisions, mut refused, mut is_away) = (Vec::new(), None::<(usize, Duration)>, false);
        for answer in &answers {
            match answer {
                Some(Ok(all)) => decisions.extend_from_slice(all),
                Some(Err(one)) if refused.is_none_or(|known| one.0 < known.0) => refused = Some(*one),
                Some(Err(_)) => {}
                None => is_away = true,
            }
        }
        if refused.is_none() && !is_away {
            decisions.sort_by_key(|(place, _)| *place);
            return Some(Ok(decisions));
        }
        // In a cluster some may have given where others refused.
        for (group, answer) in groups.iter().zip(&answers) {
            if matches!(answer, Some(Ok(_))) {
                let (keys, arguments) = self.question("back", &id, keys, group);
                let client = accounts.client().clone();
                self.background.spawn(async move {
                    let _ = client.eval(&RATE, &keys, &arguments).await;
                });
            }
        }
        refused.map(Err)
    }

    fn question(&self, what: &str, id: &str, keys: &[String], group: &[usize]) -> (Vec<String>, Vec<String>) {
        let mut arguments = vec![what.to_owned(), id.to_owned()];
        let limits = group.iter().filter_map(|place| self.limits.get(*place));
        limits.for_each(|limit| arguments.extend_from_slice(&limit.terms));
        (group.iter().filter_map(|place| keys.get(*place)).cloned().collect(), arguments)
    }

    /// What is asked together: all, or in a cluster those of one slot.
    fn groups(&self, subjects: &[String]) -> Vec<Vec<usize>> {
        if !self.sharing.accounts.client().is_cluster() {
            return vec![(0..subjects.len()).collect()];
        }
        let mut groups: Vec<(&String, Vec<usize>)> = Vec::new();
        for (place, subject) in subjects.iter().enumerate() {
            match groups.iter_mut().find(|(known, _)| *known == subject) {
                Some((_, group)) => group.push(place),
                None => groups.push((subject, vec![place])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

/// Reads what the script answered for a group of limits.
fn read(value: &Value, group: &[usize]) -> Option<Said> {
    let Value::Array(values) = value else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let numbers: Vec<u64> = values.iter().map(number).collect::<Option<_>>()?;
    match *numbers.as_slice() {
        [0, which, wait] => {
            let place = usize::try_from(which).ok()?.checked_sub(1)?;
            Some(Err((*group.get(place)?, Duration::from_micros(wait))))
        }
        [1, ref all @ ..] if all.len() == group.len() * 2 => {
            let told = group.iter().zip(all.chunks_exact(2)).filter_map(|(place, one)| match *one {
                [remaining, reset] => {
                    Some((*place, Decision::Allowed { remaining, reset: Duration::from_micros(reset) }))
                }
                _ => None,
            });
            Some(Ok(told.collect()))
        }
        _ => None,
    }
}

/// What is said of so many limits is said of these, and of each once. For the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::policy) fn said_of(value: &Value, limits: usize) {
    let group: Vec<usize> = (0..limits).collect();
    match read(value, &group) {
        Some(Ok(told)) => assert!(told.iter().map(|(place, _)| *place).eq(group), "{value:?}"),
        Some(Err((place, _))) => assert!(place < limits, "{value:?}"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect())
    }

    #[test]
    fn answers_are_read_and_what_is_none_is_not() {
        let allowed = read(&ints(&[1, 4, 1_500_000, 0, 7]), &[2, 5]);
        let told = |remaining, micros| Decision::Allowed { remaining, reset: Duration::from_micros(micros) };
        assert_eq!(allowed, Some(Ok(vec![(2, told(4, 1_500_000)), (5, told(0, 7))])));
        assert_eq!(read(&ints(&[0, 2, 9]), &[2, 5]), Some(Err((5, Duration::from_micros(9)))));
        for wrong in
            [ints(&[]), ints(&[1, 4]), ints(&[0, 0, 9]), ints(&[0, 3, 9]), Value::Nil, ints(&[0, 1, -9])]
        {
            assert_eq!(read(&wrong, &[2, 5]), None, "{wrong:?}");
        }
    }
}
