//! Whether an answer may be kept, for how long it is fresh and how old it is (RFC 9111 §3, §4.2).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, StatusCode, header};
use model::policy::cache::SetCookie;

use super::control::{Directives, date, digits};

/// How answers are judged by a policy's settings.
pub(super) struct Rules {
    pub(super) targets: Vec<HeaderName>,
    /// The share of the time since the last change, and its bound.
    pub(super) heuristic: Option<(f64, u64)>,
    pub(super) default_ttl: u64,
    pub(super) stale_while_revalidate: u64,
    pub(super) stale_if_error: u64,
    pub(super) set_cookie: SetCookie,
}

/// What an answer's head says about keeping it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// Seconds from its origin's giving it.
    pub(super) lifetime: u64,
    /// It is asked about before each use.
    pub(super) no_cache: bool,
    /// It is never given when it is stale.
    pub(super) must_revalidate: bool,
    pub(super) stale_while_revalidate: u64,
    pub(super) stale_if_error: u64,
    /// Seconds that it was old when it came.
    pub(super) age: u64,
    /// Its fields that are not kept.
    pub(super) barred: Vec<HeaderName>,
}

/// Whose request an answer is to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// It says who asks by something that is not part of the key.
    pub(super) is_identified: bool,
    /// It has cookies that are not part of the key: perhaps a session's.
    pub(super) has_cookies: bool,
    pub(super) no_store: bool,
}

/// What may be kept without explicit leave (RFC 9110 §15.1); 206 would need to be put together from parts.
fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Statuses whose meaning for caches is known here, as `must-understand` asks.
fn is_understood(status: StatusCode) -> bool {
    is_heuristic(status)
        || matches!(status.as_u16(), 201..=203 | 302 | 303 | 307 | 400..=404 | 406..=415 | 429 | 500 | 502..=504)
}

/// Seconds since 1970.
pub(super) fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Rules {
    /// The terms on which an answer may be kept; none when it may not.
    pub(super) fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        asked: Asked,
        now: u64,
    ) -> Option<Terms> {
        // Parts, answers to conditions and switches are nothing whole.
        if status.is_informational()
            || matches!(status.as_u16(), 206 | 304 | 416)
            || asked.no_store
            || varies_by_everything(headers)
        {
            return None;
        }
        let targeted = Directives::targeted(headers, &self.targets);
        let is_targeted = targeted.is_some();
        let told = targeted.or_else(|| Directives::of(headers, &header::CACHE_CONTROL)).unwrap_or_default();
        // An answer with `must-understand` has `no-store` for those who do not (RFC 9111 §5.2.2.3).
        let no_store = told.no_store && !(told.must_understand && is_understood(status));
        if no_store || told.private || (told.must_understand && !is_understood(status)) {
            return None;
        }
        let may_be_shared = told.public || told.must_revalidate || told.s_maxage.is_some();
        if asked.is_identified && !may_be_shared {
            return None;
        }
        let mut barred = told.barred.clone();
        if headers.contains_key(header::SET_COOKIE) && !barred.contains(&header::SET_COOKIE) {
            match self.set_cookie {
                SetCookie::Skip => return None,
                SetCookie::Strip => barred.push(header::SET_COOKIE),
                SetCookie::Store => {}
            }
        }
        let at = headers.get(header::DATE).and_then(date).unwrap_or(now);
        let explicit = explicit(&told, is_targeted, headers, at);
        // Who has a session and who has none may get different answers, which nobody says are for all.
        let is_somebodys = asked.has_cookies && explicit.is_none() && !may_be_shared;
        let lifetime = match explicit {
            Some(lifetime) => lifetime,
            None if is_somebodys => 0,
            None if is_heuristic(status) || told.public => self.guess(headers, at, asked)?,
            None => return None,
        };
        // `s-maxage` says what `proxy-revalidate` does (RFC 9111 §5.2.2.10), unless the answer itself allows more.
        let names_stale = told.stale_while_revalidate.is_some() || told.stale_if_error.is_some();
        let is_of_shared = told.s_maxage.is_some() && !names_stale;
        let must_revalidate = told.must_revalidate || told.proxy_revalidate || is_of_shared || is_somebodys;
        let has_validator = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
        let terms = Terms {
            lifetime: if age_is_unclear(headers) { 0 } else { lifetime },
            no_cache: told.no_cache,
            must_revalidate,
            stale_while_revalidate: told.stale_while_revalidate.unwrap_or(self.stale_while_revalidate),
            stale_if_error: told.stale_if_error.unwrap_or(self.stale_if_error),
            age: age(headers, at, now),
            barred,
        };
        // Nobody would ever be given it again.
        let is_of_use = terms.lifetime > terms.age && !terms.no_cache
            || has_validator
            || (!terms.must_revalidate && (terms.stale_if_error > 0 || terms.stale_while_revalidate > 0));
        is_of_use.then_some(terms)
    }

    /// What is assumed of an answer that says nothing.
    fn guess(&self, headers: &HeaderMap, at: u64, asked: Asked) -> Option<u64> {
        let changed = headers.get(header::LAST_MODIFIED).and_then(date);
        let guessed = match (self.heuristic, changed) {
            (Some((fraction, max)), Some(changed)) => {
                Some(((at.saturating_sub(changed) as f64 * fraction) as u64).min(max))
            }
            _ => None,
        };
        match guessed {
            Some(seconds) => Some(seconds),
            None if self.default_ttl > 0 && !asked.is_identified => Some(self.default_ttl),
            // With a validator it is of use though it is never fresh.
            None => Some(0),
        }
    }
}

/// The lifetime that an answer states (RFC 9111 §4.2.1).
fn explicit(told: &Directives, is_targeted: bool, headers: &HeaderMap, at: u64) -> Option<u64> {
    if let Some(seconds) = told.s_maxage.or(told.max_age) {
        return Some(seconds);
    }
    // `Expires` is for those that are told nothing of their own (RFC 9213 §2.2).
    if is_targeted || !headers.contains_key(header::EXPIRES) {
        return None;
    }
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let only = lines.next().filter(|_| lines.next().is_none());
    Some(only.and_then(date).map_or(0, |end| end.saturating_sub(at)))
}

fn varies_by_everything(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::VARY).iter();
    lines.any(|line| line.as_bytes().split(|byte| *byte == b',').any(|name| name.trim_ascii() == b"*"))
}

/// An `Age` that is not one number says that the answer was kept before, and not for how long.
fn age_is_unclear(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::AGE).iter();
    let Some(first) = lines.next() else { return false };
    lines.next().is_some() || digits(first.as_bytes().trim_ascii()).is_none()
}

/// How old an answer is when it comes (RFC 9111 §4.2.3).
fn age(headers: &HeaderMap, at: u64, now: u64) -> u64 {
    let stated = headers.get(header::AGE).and_then(|age| digits(age.as_bytes().trim_ascii())).unwrap_or(0);
    // A clock that is a second ahead is no age.
    stated.max(now.saturating_sub(at).saturating_sub(1))
}

/// When an answer was asked for and came, so that its age can be told later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    came: Instant,
    /// Its age then.
    age: Duration,
}

impl Clock {
    /// Of an answer that was `age` seconds old by its own words, and that was asked for at `sent`.
    pub(super) fn new(age: u64, sent: Instant, now: Instant) -> Self {
        // The time on the way counts for those that say how old they are, who counted up to its beginning.
        let on_the_way = now.saturating_duration_since(sent);
        Self { came: now, age: Duration::from_secs(age).saturating_add(on_the_way) }
    }

    /// Of an answer that is so old now.
    pub(super) fn of_age(age: Duration, now: Instant) -> Self {
        Self { came: now, age }
    }

    /// How old it is.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.age.saturating_add(now.saturating_duration_since(self.came))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: u64 = 1_900_000_000;

    fn rules() -> Rules {
        Rules {
            targets: vec![HeaderName::from_static("cdn-cache-control")],
            heuristic: None,
            default_ttl: 0,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            set_cookie: SetCookie::Skip,
        }
    }

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn judged(rules: &Rules, status: u16, fields: &[(&'static str, &str)], asked: Asked) -> Option<Terms> {
        rules.judge(StatusCode::from_u16(status).expect("a status"), &head(fields), asked, NOW)
    }

    fn lifetime(status: u16, fields: &[(&'static str, &str)]) -> Option<u64> {
        judged(&rules(), status, fields, Asked::default()).map(|terms| terms.lifetime)
    }

    #[test]
    fn lifetimes_are_what_is_stated_for_shared_caches() {
        let later = crate::date::format(NOW + 60);
        let date = crate::date::format(NOW);
        for (status, fields, want) in [
            (200, &[("cache-control", "max-age=9")][..], Some(9)),
            (200, &[("cache-control", "max-age=9, s-maxage=5")], Some(5)),
            (200, &[("cache-control", "max-age=9"), ("expires", &later)], Some(9)),
            (200, &[("expires", &later), ("date", &date)], Some(60)),
            (200, &[("expires", &later), ("date", "yesterday")], Some(60)),
            (200, &[("expires", "0"), ("etag", "\"1\"")], Some(0)),
            (200, &[("cache-control", "max-age=9"), ("cdn-cache-control", "max-age=5")], Some(5)),
            (200, &[("cache-control", "no-store"), ("cdn-cache-control", "max-age=5")], Some(5)),
            (200, &[("cache-control", "max-age=9"), ("cdn-cache-control", "no-store")], None),
            (200, &[("cdn-cache-control", "!"), ("cache-control", "max-age=9")], Some(9)),
            (599, &[("cache-control", "max-age=9")], Some(9)),
            (599, &[("cache-control", "max-age=9, must-understand")], None),
            (200, &[("cache-control", "max-age=9, must-understand, no-store")], Some(9)),
            (200, &[("cache-control", "max-age=9"), ("age", "0, 0"), ("etag", "a")], Some(0)),
            (200, &[("cache-control", "max-age=9"), ("vary", "a, *")], None),
            (206, &[("cache-control", "max-age=9")], None),
            (304, &[("cache-control", "max-age=9")], None),
            (200, &[("cache-control", "max-age=9, private")], None),
            (200, &[("cache-control", "max-age=9"), ("set-cookie", "a=b")], None),
            (200, &[("cache-control", "max-age=9, private=\"set-cookie\""), ("set-cookie", "a=b")], Some(9)),
            (200, &[], None),
            (200, &[("etag", "\"1\"")], Some(0)),
        ] {
            assert_eq!(lifetime(status, fields), want, "{status} {fields:?}");
        }
    }

    #[test]
    fn answers_to_somebody_are_kept_only_when_they_are_for_everybody() {
        let asked = Asked { is_identified: true, ..Asked::default() };
        for (control, want) in [
            ("max-age=9", false),
            ("max-age=9, public", true),
            ("max-age=9, must-revalidate", true),
            ("s-maxage=9", true),
            ("max-age=9, proxy-revalidate", false),
        ] {
            let terms = judged(&rules(), 200, &[("cache-control", control)], asked);
            assert_eq!(terms.is_some(), want, "{control}");
        }
        let lax = Rules { default_ttl: 60, ..rules() };
        assert_eq!(judged(&lax, 200, &[], asked), None);
        assert_eq!(judged(&lax, 200, &[], Asked::default()).map(|terms| terms.lifetime), Some(60));
        assert_eq!(judged(&lax, 500, &[], Asked::default()), None);
    }

    #[test]
    fn nothing_is_guessed_of_answers_to_those_with_cookies() {
        let asked = Asked { has_cookies: true, ..Asked::default() };
        let lax = Rules { default_ttl: 60, stale_if_error: 60, heuristic: Some((0.1, 50)), ..rules() };
        let changed = crate::date::format(NOW - 100);
        assert_eq!(judged(&lax, 200, &[], asked), None);
        for fields in [&[("last-modified", changed.as_str())][..], &[("etag", "\"1\"")]] {
            let terms = judged(&lax, 200, fields, asked).expect("kept, to be asked about");
            assert_eq!((terms.lifetime, terms.must_revalidate), (0, true), "{fields:?}");
        }
        for fields in [&[("cache-control", "public")][..], &[("cache-control", "max-age=9")]] {
            assert!(judged(&lax, 200, fields, asked).is_some_and(|terms| terms.lifetime > 0), "{fields:?}");
        }
    }

    #[test]
    fn stale_answers_are_given_by_leave_alone() {
        let lax = Rules { stale_if_error: 60, ..rules() };
        for (control, want) in [
            ("max-age=9", (false, 60)),
            ("max-age=9, stale-if-error=5", (false, 5)),
            ("s-maxage=9", (true, 60)),
            ("s-maxage=9, stale-if-error=5", (false, 5)),
            ("max-age=9, must-revalidate, stale-if-error=5", (true, 5)),
            ("max-age=9, proxy-revalidate", (true, 60)),
        ] {
            let terms = judged(&lax, 200, &[("cache-control", control)], Asked::default()).expect("kept");
            assert_eq!((terms.must_revalidate, terms.stale_if_error), want, "{control}");
        }
    }

    #[test]
    fn a_guess_is_a_share_of_the_time_since_the_last_change() {
        let guessing = Rules { heuristic: Some((0.1, 50)), ..rules() };
        let ago = |seconds: u64| crate::date::format(NOW - seconds);
        for (seconds, want) in [(100, 10), (100_000, 50)] {
            let terms = judged(&guessing, 200, &[("last-modified", &ago(seconds))], Asked::default());
            assert_eq!(terms.map(|terms| terms.lifetime), Some(want));
        }
        assert_eq!(judged(&guessing, 201, &[("last-modified", &ago(100))], Asked::default()), None);
    }

    #[test]
    fn age_is_what_is_stated_or_what_the_clock_says() {
        let old = crate::date::format(NOW - 100);
        for (fields, want) in
            [(&[("age", "7")][..], 7), (&[("date", &old)], 99), (&[("date", &old), ("age", "200")], 200)]
        {
            let fields = [fields, &[("cache-control", "max-age=1000")]].concat();
            let terms = judged(&rules(), 200, &fields, Asked::default()).expect("kept");
            assert_eq!(terms.age, want, "{fields:?}");
        }
    }
}
