//! When a provider that limits takes calls again, as it tells in the header fields of its answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

/// How long until the provider takes calls again: `retry-after-ms`, `retry-after`, else the resets of the limits that
/// are used up, else the nearest reset that is told.
pub(super) fn told(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(wait) = text("retry-after-ms").and_then(|text| number(text, 1e-3)) {
        return Some(wait);
    }
    if let Some(after) = text("retry-after")
        && let Some(wait) = number(after, 1.0).or_else(|| until(date(after)?, now))
    {
        return Some(wait);
    }
    let mut used_up: Option<Duration> = None;
    let mut nearest: Option<Duration> = None;
    for (name, value) in headers {
        let Some((limit, before)) = limit(name.as_str()) else { continue };
        let Some(wait) = value.to_str().ok().and_then(|text| reset(text.trim(), now)) else { continue };
        let remaining = text(&format!("{before}remaining{limit}")).or_else(|| {
            // Anthropic's names end in what they tell.
            text(&format!("{}-remaining", name.as_str().strip_suffix("-reset")?))
        });
        if remaining == Some("0") {
            used_up = Some(used_up.map_or(wait, |other| other.max(wait)));
        }
        if !wait.is_zero() {
            nearest = Some(nearest.map_or(wait, |other| other.min(wait)));
        }
    }
    used_up.or(nearest)
}

/// The limit that a field tells the reset of, with its dash, and what stands before `remaining` in its fellow's name.
fn limit(name: &str) -> Option<(&str, &'static str)> {
    if let Some(limit) = name.strip_prefix("x-ratelimit-reset") {
        return (limit.is_empty() || limit.starts_with('-')).then_some((limit, "x-ratelimit-"));
    }
    let limit = name.strip_prefix("anthropic-ratelimit-")?.strip_suffix("-reset")?;
    Some((limit, "anthropic-ratelimit-"))
}

/// A reset: seconds, `6m0s`, a moment in seconds or milliseconds since 1970, or RFC 3339.
fn reset(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        return match number {
            number if number >= 1e12 => until(moment(number / 1e3)?, now),
            number if number >= 1e9 => until(moment(number)?, now),
            number => Duration::try_from_secs_f64(number).ok(),
        };
    }
    units(text).or_else(|| until(rfc3339(text)?, now))
}

fn moment(seconds: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

fn number(text: &str, unit: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse::<f64>().ok()? * unit).ok()
}

fn until(moment: SystemTime, now: SystemTime) -> Option<Duration> {
    Some(moment.duration_since(now).unwrap_or_default())
}

/// A duration as Go writes it: `1h2m3.5s`, `120ms`.
fn units(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (amount, tail) = rest.split_at(digits);
        let letters = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let factor = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            _ => return None,
        };
        seconds += amount.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// `2026-11-30T12:00:00Z`, with or without a fraction, in UTC or with an offset.
pub(super) fn rfc3339(text: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let days = days_of(number(0..4)?, number(5..7)?, number(8..10)?)?;
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let zone = text.get(19..)?.trim_start_matches(|letter: char| letter == '.' || letter.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] if zone.len() == 6 => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(days * 86_400 + seconds - offset).ok()?))
}

/// An IMF-fixdate (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|known| *known == month)? as i64 + 1;
    let days = days_of(parts.next()?.parse().ok()?, month, day)?;
    let mut time = parts.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let seconds = time.next()?? * 3600 + time.next()?? * 60 + time.next()??;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(days * 86_400 + seconds).ok()?))
}

/// Days since 1970 of a day of the calendar.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that leap days come last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2026-11-30T12:00:00Z.
    const NOW: u64 = 1_796_040_000;

    fn check(fields: &[(&'static str, &str)], want: Option<f64>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let told = told(&headers, UNIX_EPOCH + Duration::from_secs(NOW));
        assert_eq!(told.map(|told| told.as_secs_f64()), want, "{fields:?}");
    }

    #[test]
    fn resets_are_read_as_vendors_tell_them() {
        check(&[], None);
        check(&[("retry-after", "7")], Some(7.0));
        check(&[("retry-after", "0.5")], Some(0.5));
        check(&[("retry-after-ms", "1500"), ("retry-after", "2")], Some(1.5));
        check(&[("retry-after", "Mon, 30 Nov 2026 12:00:20 GMT")], Some(20.0));
        check(&[("retry-after", "Mon, 30 Nov 2026 11:00:00 GMT")], Some(0.0));
        check(&[("retry-after", "soon"), ("x-ratelimit-reset-requests", "6m0s")], Some(360.0));
        check(&[("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "6m0.5s")], Some(1.0));
        check(
            &[
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-remaining-requests", "12"),
                ("x-ratelimit-reset-tokens", "1m2.5s"),
                ("x-ratelimit-remaining-tokens", "0"),
            ],
            Some(62.5),
        );
        check(&[("x-ratelimit-reset-tokens", "120ms")], Some(0.12));
        check(&[("x-ratelimit-reset", "1796040030")], Some(30.0));
        check(&[("x-ratelimit-reset", "1796040030500")], Some(30.5));
        check(
            &[
                ("anthropic-ratelimit-requests-reset", "2026-11-30T12:00:05Z"),
                ("anthropic-ratelimit-requests-remaining", "3"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-11-30T14:00:40.5+02:00"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ],
            Some(40.0),
        );
    }

    #[test]
    fn what_is_no_time_is_not_one() {
        for text in ["", "-1", "NaN", "inf", "1x", "1h2", "2026-11-30", "2026-13-30T12:00:00Z", "é", "1e400"]
        {
            check(&[("x-ratelimit-reset-tokens", text)], None);
            check(&[("retry-after", text)], None);
        }
    }
}
