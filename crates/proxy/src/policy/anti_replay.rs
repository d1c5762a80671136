//! `antiReplay`: lets each request in once.
//!
//! A nonce is remembered for as long as its request would be good by its time, so that there is no moment at which one
//! is forgotten and the other still good. With another time the same nonce is known all the same.

mod seen;

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use ::redis::{Script, Value};
use aws_lc_rs::digest;
use http::{HeaderName, Method};
use model::{Enforcement, policy::anti_replay::WhenFull, resource::redis::WhenAway};

use self::seen::{Mark, Seen, Told};
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
};

static ONCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("anti_replay/once.lua")));

static METRIC: Metric = Metric {
    name: "tidegate_anti_replay_total",
    help: "Requests that have to have a nonce, by what came of them; `full` had no place, and for `away` ones the shared store was.",
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
/// When a request may be tried again whose store is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The compiled policy.
pub(crate) struct AntiReplay {
    mode: Enforcement,
    nonce: HeaderName,
    time: HeaderName,
    window: f64,
    leeway: f64,
    lasts: Duration,
    methods: Vec<Method>,
    key: MeterKey,
    owner: String,
    nonce_bytes_min: usize,
    seen: Arc<Seen>,
    sharing: Option<Sharing>,
    counted: Arc<Counted>,
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
        if cx.owner.starts_with("upstreams/") {
            return Err(
                "`antiReplay` stands on a route, a listener, a consumer or globally: what an upstream is \
                        asked again by the gateway itself is no replay"
                    .into(),
            );
        }
        let method =
            |name: &String| Method::from_bytes(name.as_bytes()).map_err(|error| format!("methods: {error}"));
        let lasts = settings.window.get() + settings.leeway.get();
        let sharing = Sharing::of(settings.store, settings.when_away, cx)?;
        // Beside a shared store what is remembered here is a help, and never in the way.
        let forgets = settings.when_full == WhenFull::ForgetOldest || sharing.is_some();
        let bounds = (lasts, settings.max_nonces, settings.max_nonces_per_key, forgets);
        let new = || Seen::new(lasts, settings.max_nonces as usize, settings.max_nonces_per_key, forgets);
        Ok(Self {
            mode: settings.mode,
            nonce: settings.nonce_header.to_http(),
            time: settings.timestamp_header.to_http(),
            window: settings.window.get().as_secs_f64(),
            leeway: settings.leeway.get().as_secs_f64(),
            lasts,
            methods: settings.methods.iter().map(method).collect::<Result<_, _>>()?,
            key: MeterKey::compile(&(&settings.key).into(), settings.ipv6_prefix)?,
            owner: cx.owner.clone(),
            nonce_bytes_min: settings.min_nonce_length.into(),
            seen: cx.keep("seen", &bounds, new),
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
    fn marks(&self, call: &Call, nonce: &[u8]) -> (String, Mark, Mark) {
        let subject = match self.key.of(call) {
            Subjects::Named(mut names) => names.pop().unwrap_or_default(),
            Subjects::Model => String::new(),
        };
        let caller = digested(&[subject.as_bytes()]);
        let mark = digested(&[self.owner.as_bytes(), subject.as_bytes(), nonce]);
        (subject, caller, mark)
    }

    /// Asks the shared store.
    async fn ask(&self, sharing: &Sharing, subject: &str, caller: Mark, mark: Mark) -> Result<(), Refused> {
        let accounts = &sharing.accounts;
        let key = accounts.key(subject, &format!("nonce:{}", hex(&mark)));
        let lasts = self.lasts.as_millis().max(1).to_string();
        match accounts.client().eval(&ONCE, &[key], &[lasts]).await {
            Ok(Value::Int(1)) => {
                // What came here is known here, should the store go away.
                self.seen.put(caller, mark, Instant::now());
                Ok(())
            }
            Ok(Value::Int(0)) => Err(Refused::Replayed),
            Ok(_) | Err(_) => match sharing.when_away {
                WhenAway::Local => self.here(caller, mark),
                WhenAway::Open => {
                    self.counted.note(AWAY);
                    Ok(())
                }
                WhenAway::Closed => Err(Refused::Away),
            },
        }
    }

    /// Looks at what came to this gateway.
    fn here(&self, caller: Mark, mark: Mark) -> Result<(), Refused> {
        match self.seen.put(caller, mark, Instant::now()) {
            Told::New => Ok(()),
            Told::Known => Err(Refused::Replayed),
            Told::CallerFull(wait) => Err(Refused::CallerFull(wait)),
            Told::Full(wait) => Err(Refused::Full(wait)),
        }
    }

    fn conclude(&self, call: &mut Call, judged: Result<(), Refused>) -> Verdict {
        let Err(refused) = judged else {
            self.counted.note(PASSED);
            return Verdict::Continue;
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
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
            (Ok((subject, caller, mark)), Some(sharing)) => {
                return Flow::Wait(Box::pin(async move {
                    let judged = self.ask(sharing, &subject, caller, mark).await;
                    self.conclude(call, judged)
                }));
            }
            (Ok((_, caller, mark)), None) => self.here(caller, mark),
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
}
