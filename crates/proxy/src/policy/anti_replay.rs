//! `antiReplay`: lets each request in once.
//!
//! A nonce is remembered for as long as its request would be good by its time, so that there is no moment at which one
//! is forgotten and the other still good. With another time the same nonce is known all the same. Where a request comes
//! from is no part of what makes its nonce new: a thief sends from elsewhere.

mod seen;

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use ::redis::{Script, Value};
use aws_lc_rs::digest;
use http::{HeaderName, Method};
use model::{Enforcement, policy::anti_replay::WhenFull, resource::redis::WhenAway};

use self::seen::{Bounds, Mark, Seen, Told};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    credentials::in_header,
    judged,
    meter_key::{MeterKey, Subjects},
    needs::of_key,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::ai::shared::Sharing,
    hex::hex,
};

static ONCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("anti_replay/once.lua")));

static METRIC: Metric = Metric {
    name: "tidegate_anti_replay_total",
    help: "Requests that have to have a nonce, by what came of them; `full` had no place, and for `away` ones the shared store \
           was: they were refused or let in as `whenAway` says.",
    outcomes: &["passed", "missing", "stale", "replayed", "full", "away"],
    gauges: &[],
};
const PASSED: usize = 0;
const MISSING: usize = 1;
const STALE: usize = 2;
const REPLAYED: usize = 3;
const FULL: usize = 4;
const AWAY: usize = 5;

/// Bytes of a nonce.
const NONCE_BYTES_MAX: usize = 128;
/// Bytes of a time.
const TIME_BYTES_MAX: usize = 64;
/// How much longer than its request is good a nonce is remembered: clocks of gateways and their store differ a little.
const SLACK: Duration = Duration::from_secs(2);
/// Callers who are known by their address alone have this part of all places, each of them at most: addresses are easily
/// had.
const STRANGERS_PART: u32 = 100;
/// When a request may be tried again whose store is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The compiled policy.
pub(crate) struct AntiReplay {
    mode: Enforcement,
    nonce: HeaderName,
    time: HeaderName,
    window: f64,
    leeway: f64,
    bounds: Bounds,
    stranger_max: usize,
    methods: Vec<Method>,
    key: MeterKey,
    owner: String,
    nonce_bytes_min: usize,
    seen: Arc<Seen>,
    sharing: Option<Sharing>,
    counted: Arc<Counted>,
}

/// Whose nonce a request has, and the nonce as it is remembered.
struct Marks {
    /// Whoever nonces are told apart by. For all who are known by their address alone it is one.
    space: String,
    caller: Mark,
    mark: Mark,
    /// How many the caller may have.
    caller_max: usize,
}

/// Why a request is not let in.
enum Refused {
    Malformed(String),
    Stale(&'static str),
    Replayed,
    CallerFull(Duration),
    Full(Duration),
    Away,
}

impl AntiReplay {
    pub(crate) fn compile(settings: &model::policy::AntiReplay, cx: &Building<'_>) -> Result<Self, String> {
        let method =
            |name: &String| Method::from_bytes(name.as_bytes()).map_err(|error| format!("methods: {error}"));
        let sharing = Sharing::of(settings.store, settings.when_away, cx)?;
        let bounds = Bounds {
            lasts: settings.window.get() + settings.leeway.get() + SLACK,
            marks_max: settings.max_nonces as usize,
            caller_max: settings.max_nonces_per_key as usize,
            // Beside a shared store what is remembered here is a help, and never in the way.
            forgets: settings.when_full == WhenFull::ForgetOldest || sharing.is_some(),
        };
        let stranger_max = (settings.max_nonces / STRANGERS_PART).max(1) as usize;
        Ok(Self {
            mode: settings.mode,
            nonce: settings.nonce_header.to_http(),
            time: settings.timestamp_header.to_http(),
            window: settings.window.get().as_secs_f64(),
            leeway: settings.leeway.get().as_secs_f64(),
            bounds,
            stranger_max: stranger_max.min(bounds.caller_max),
            methods: settings.methods.iter().map(method).collect::<Result<_, _>>()?,
            key: MeterKey::compile(&(&settings.key).into(), settings.ipv6_prefix)?,
            owner: cx.owner.clone(),
            nonce_bytes_min: settings.min_nonce_length.into(),
            // Whatever becomes of the settings: what came before is known.
            seen: cx.keep("seen", &(), Seen::default),
            sharing,
            counted: Counted::of(&METRIC, cx),
        })
    }

    /// The nonce of a request that is fresh.
    fn shown<'c>(&self, call: &'c Call, now: f64) -> Result<&'c [u8], Refused> {
        let one = |name: &HeaderName| match in_header(&call.head.headers, name) {
            Ok(Some(value)) => Ok(value.trim_ascii()),
            Ok(None) => Err(Refused::Malformed(format!("this needs `{name}`"))),
            Err(_) => Err(Refused::Malformed(format!("`{name}` is there more than once"))),
        };
        let (nonce, time) = (one(&self.nonce)?, one(&self.time)?);
        let is_visible = nonce.iter().all(u8::is_ascii_graphic);
        if nonce.len() < self.nonce_bytes_min || nonce.len() > NONCE_BYTES_MAX || !is_visible {
            let least = self.nonce_bytes_min;
            let hint = format!("`{}` has {least} to {NONCE_BYTES_MAX} visible characters", self.nonce);
            return Err(Refused::Malformed(hint));
        }
        let made = seconds(time).ok_or_else(|| Refused::Malformed(format!("`{}` is no time", self.time)))?;
        if made > now + self.leeway {
            return Err(Refused::Stale("it was made in the future"));
        }
        if now > made + self.window {
            return Err(Refused::Stale("it was made too long ago"));
        }
        Ok(nonce)
    }

    /// Whose nonce it is, and the nonce as it is remembered.
    fn marks(&self, call: &Call, nonce: &[u8]) -> Marks {
        let subject = match self.key.of(call) {
            Subjects::Named(mut names) => names.pop().unwrap_or_default(),
            Subjects::Model => String::new(),
        };
        let caller = digested(&[subject.as_bytes()]);
        let is_stranger = subject.starts_with("client:");
        let (space, caller_max) = match is_stranger {
            true => ("strangers".to_owned(), self.stranger_max),
            false => (subject, self.bounds.caller_max),
        };
        let mark = digested(&[self.owner.as_bytes(), space.as_bytes(), nonce]);
        Marks { space, caller, mark, caller_max }
    }

    /// Asks the shared store. What came is known here all the same, should the store go away or forget: what was let
    /// in while it was away is not let in again when it is back.
    async fn ask(&self, sharing: &Sharing, marks: &Marks) -> Result<usize, Refused> {
        let accounts = &sharing.accounts;
        let keys = [
            accounts.key(&marks.space, &format!("nonce:{}", hex(&marks.mark))),
            accounts.key(
                &marks.space,
                &format!("sent:{}", hex(&digested(&[self.owner.as_bytes(), &marks.caller]))),
            ),
        ];
        let lasts = self.bounds.lasts.as_millis().max(1).to_string();
        // The store has judged how many they are, or nobody does.
        let remember = || match self.put(marks, usize::MAX) {
            Told::Known => Err(Refused::Replayed),
            Told::New | Told::CallerFull(_) | Told::Full(_) => Ok(()),
        };
        match accounts.client().eval(&ONCE, &keys, &[lasts, marks.caller_max.to_string()]).await {
            Ok(Value::Int(1)) => remember().map(|()| PASSED),
            Ok(Value::Int(0)) => Err(Refused::Replayed),
            Ok(Value::Int(wait)) => Err(Refused::CallerFull(Duration::from_millis(wait.unsigned_abs()))),
            Ok(_) | Err(_) => match sharing.when_away {
                WhenAway::Local => self.here(marks).map(|_| AWAY),
                WhenAway::Open => remember().or(Ok(())).map(|()| AWAY),
                WhenAway::Closed => Err(Refused::Away),
            },
        }
    }

    /// Looks at what came to this gateway.
    fn here(&self, marks: &Marks) -> Result<usize, Refused> {
        match self.put(marks, marks.caller_max) {
            Told::New => Ok(PASSED),
            Told::Known => Err(Refused::Replayed),
            Told::CallerFull(wait) => Err(Refused::CallerFull(wait)),
            Told::Full(wait) => Err(Refused::Full(wait)),
        }
    }

    fn put(&self, marks: &Marks, caller_max: usize) -> Told {
        let bounds = Bounds { caller_max, ..self.bounds };
        self.seen.put(marks.caller, marks.mark, Instant::now(), bounds)
    }

    fn conclude(&self, call: &mut Call, judged: Result<usize, Refused>) -> Verdict {
        let refused = match judged {
            Ok(outcome) => {
                self.counted.note(outcome);
                return Verdict::Continue;
            }
            Err(refused) => refused,
        };
        let (outcome, reason) = match &refused {
            Refused::Malformed(hint) => (MISSING, hint.as_str()),
            Refused::Stale(why) => (STALE, *why),
            Refused::Replayed => (REPLAYED, "its nonce came before"),
            Refused::CallerFull(_) => (FULL, "its caller has no place for another nonce"),
            Refused::Full(_) => (FULL, "there is no place for another nonce"),
            Refused::Away => (AWAY, "the store of nonces is away"),
        };
        self.counted.note(outcome);
        if !judged::object(call, "antiReplay", self.mode, reason) {
            return Verdict::Continue;
        }
        let whole = |wait: Duration| Duration::from_secs(wait.as_secs() + 1);
        Verdict::Fail(match refused {
            Refused::Malformed(hint) => Failure::refused(Problem::Invalid).with_hint(hint),
            Refused::Stale(why) => {
                Failure::refused(Problem::Forbidden).with_hint(format!("by `{}` {why}", self.time))
            }
            Refused::Replayed => {
                Failure::refused(Problem::Forbidden).with_hint("a request with this nonce came before")
            }
            Refused::CallerFull(wait) => Failure::refused(Problem::RateLimited)
                .with_retry_after(whole(wait))
                .with_hint("too many requests with a nonce within the time for which they are remembered"),
            Refused::Full(wait) => Failure::refused(Problem::Unavailable)
                .with_retry_after(whole(wait))
                .with_detail("no nonce can be remembered before others are forgotten: see `maxNonces`"),
            Refused::Away => Failure::refused(Problem::Unavailable)
                .with_retry_after(RETRY_AFTER)
                .with_hint("send it again with another nonce"),
        })
    }
}

/// A time in seconds since 1970.
fn seconds(text: &[u8]) -> Option<f64> {
    /// Seconds have fewer digits until the year 5138, and milliseconds more since 1973.
    const SECONDS_DIGITS_MAX: usize = 11;
    const MILLIS_DIGITS_MAX: usize = 14;
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= TIME_BYTES_MAX)?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.len() {
            1..=SECONDS_DIGITS_MAX => text.parse().ok(),
            ..=MILLIS_DIGITS_MAX if !text.is_empty() => Some(text.parse::<f64>().ok()? / 1000.0),
            _ => None,
        };
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond() as f64 / 1000.0);
    }
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

/// Each part with its length, so that two lists of parts never meet.
fn digested(parts: &[&[u8]]) -> Mark {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut mark = Mark::default();
    let length = mark.len();
    mark.copy_from_slice(&context.finish().as_ref()[..length]);
    mark
}

impl NeedsOf for model::policy::AntiReplay {
    fn needs(&self) -> Needs {
        let own = [self.nonce_header.to_http(), self.timestamp_header.to_http()];
        Needs::headers(own.into_iter().chain(of_key(&self.key)))
    }
}

impl Policy for AntiReplay {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if !(self.methods.is_empty() || self.methods.contains(&call.head.method)) {
            return Flow::Continue;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let asked = self.shown(call, now.as_secs_f64()).map(|nonce| self.marks(call, nonce));
        let judged = match (asked, &self.sharing) {
            (Ok(marks), Some(sharing)) => {
                return Flow::Wait(Box::pin(async move {
                    let judged = self.ask(sharing, &marks).await;
                    self.conclude(call, judged)
                }));
            }
            (Ok(marks), None) => self.here(&marks),
            (Err(refused), _) => Err(refused),
        };
        match self.conclude(call, judged) {
            Verdict::Fail(failure) => Flow::Fail(failure),
            Verdict::Answer(answer) => Flow::Answer(answer),
            Verdict::Continue => Flow::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome, with_header};

    /// A request that is made now, from some address.
    fn from(client: &str, nonce: &str) -> Call {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let call = with_header(call("POST", "/"), "x-nonce", nonce);
        let mut call = with_header(call, "x-timestamp", &now.to_string());
        call.client = client.parse().expect("an address");
        call
    }

    #[test]
    fn from_another_address_the_same_request_is_a_replay_all_the_same() {
        let settings = model::policy::AntiReplay { max_nonces: 200, ..Default::default() };
        let policy = building("", |cx| AntiReplay::compile(&settings, cx)).expect("compiles");
        let passes = |client, nonce: &str| outcome(&policy, &mut from(client, nonce)).is_ok();
        assert!(passes("192.0.2.7", "a-nonce-of-the-test"));
        for client in ["192.0.2.7", "192.0.2.8", "203.0.113.1", "2001:db8::1"] {
            assert!(!passes(client, "a-nonce-of-the-test"), "{client}");
        }
        assert!(passes("192.0.2.8", "another-nonce-of-the-test"));
        // An address has a hundredth of all places.
        assert!(
            passes("192.0.2.9", "nonce-number-one-of-it") && passes("192.0.2.9", "nonce-number-two-of-it")
        );
        assert!(!passes("192.0.2.9", "nonce-number-three-of-it"));
        assert!(passes("192.0.2.10", "nonce-number-three-of-it"));
    }

    #[test]
    fn times_are_read_in_the_forms_that_clients_write() {
        for (text, want) in [
            ("1700000000", Some(1_700_000_000.0)),
            ("1700000000123", Some(1_700_000_000.123)),
            ("0", Some(0.0)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000.0)),
            ("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000.5)),
            ("Tue, 14 Nov 2023 22:13:20 GMT", Some(1_700_000_000.0)),
            ("", None),
            ("-1", None),
            ("1e9", None),
            ("NaN", None),
            ("1700000000 ", None),
            ("999999999999999999999999", None),
            ("2023-11-14T22:13:20", None),
            ("yesterday", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), want, "{text}");
        }
        assert_eq!(seconds(&[b'1'; 10_000]), None);
        assert_eq!(seconds(b"\xff"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_time_is_a_number_of_seconds_or_none(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            made in "[-+0-9TZ:. ]{0,40}",
            second in 0_u64..99_999_999_999,
        ) {
            for text in [bytes.as_slice(), made.as_bytes()] {
                assert!(seconds(text).is_none_or(f64::is_finite), "{made}");
            }
            let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            for text in [second.to_string(), date] {
                assert_eq!(seconds(text.as_bytes()), Some(second as f64), "{text}");
            }
        }
    }
}
