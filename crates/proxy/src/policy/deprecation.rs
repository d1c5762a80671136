//! `deprecation`: announces that an API goes away.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Response, header};

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    date,
    failure::{Failure, Problem},
};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The compiled policy.
pub(crate) struct Deprecation {
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Seconds since 1970 from which calls are refused.
    refuse_from: Option<u64>,
}

impl Deprecation {
    pub(crate) fn compile(settings: &model::policy::Deprecation, _: &Building<'_>) -> Result<Self, String> {
        let at = |text: &Option<String>| text.as_deref().map(seconds).transpose();
        let (deprecated, sunset) = (at(&settings.deprecated_at)?, at(&settings.sunset_at)?);
        if let (Some(deprecated), Some(sunset)) = (deprecated, sunset)
            && sunset < deprecated
        {
            // RFC 9745 §4.
            return Err("`sunsetAt` is before `deprecatedAt`".into());
        }
        let mut headers = Vec::new();
        let mut add = |name: HeaderName, text: String| {
            let value =
                HeaderValue::from_str(&text).map_err(|_| format!("`{text}` cannot stand in a header"))?;
            headers.push((name, value));
            Ok::<_, String>(())
        };
        if let Some(seconds) = deprecated {
            add(DEPRECATION, format!("@{seconds}"))?;
        }
        if let Some(seconds) = sunset {
            add(SUNSET, date::format(seconds))?;
        }
        for (target, relation) in
            [(&settings.successor, "successor-version"), (&settings.documentation, "deprecation")]
        {
            if let Some(target) = target {
                // The characters that no URI reference has (RFC 3986 §2) would end the link early.
                if !target.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte)) {
                    return Err(format!("`{target}` is not a path or an address"));
                }
                add(header::LINK, format!("<{target}>; rel=\"{relation}\""))?;
            }
        }
        if settings.refuse_after_sunset && sunset.is_none() {
            return Err("`refuseAfterSunset` needs `sunsetAt`".into());
        }
        Ok(Self { headers, refuse_from: sunset.filter(|_| settings.refuse_after_sunset) })
    }

    fn is_over(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.refuse_from.is_some_and(|from| now >= from)
    }
}

impl NeedsOf for model::policy::Deprecation {
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for Deprecation {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        match self.is_over(call.record.started) {
            true => Flow::Fail(Failure::refused(Problem::Gone)),
            false => Flow::Continue,
        }
    }

    fn response(&self, _: &mut Call, answer: &mut Response<Body>) {
        for (name, value) in &self.headers {
            // Links join what the upstream links to; the dates are the operator's word over the upstream's.
            if *name == header::LINK {
                answer.headers_mut().append(name, value.clone());
            } else {
                answer.headers_mut().insert(name, value.clone());
            }
        }
    }
}

/// Seconds since 1970 of `2026-06-01` or `2026-06-01T12:00:00Z`.
fn seconds(text: &str) -> Result<u64, String> {
    parse(text)
        .ok_or_else(|| format!("`{text}` is not a date such as `2026-06-01` or `2026-06-01T12:00:00Z`"))
}

fn parse(text: &str) -> Option<u64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    let month_at = usize::try_from(month.checked_sub(1)?).ok().filter(|at| *at < 12)?;
    let february = u64::from(leap && month == 2);
    let length = days_before[month_at + 1] - days_before[month_at] + february;
    if !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 || year < 1970 {
        return None;
    }
    let before = year - 1;
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let days = (year - 1970) * 365 + leaps(before) - leaps(1969)
        + days_before[month_at]
        + u64::from(leap && month > 2)
        + day
        - 1;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (number, width) in out.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::testing::{building, call};

    fn compile(settings: serde_json::Value) -> Result<Deprecation, String> {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| Deprecation::compile(&settings, cx))
    }

    #[test]
    fn dates_are_what_the_calendar_says() {
        for (text, want) in [
            ("1970-01-01", Some(0)),
            ("1970-01-02", Some(86_400)),
            ("1994-11-06T08:49:37Z", Some(784_111_777)),
            ("2000-02-29", Some(951_782_400)),
            ("2030-01-01", Some(1_893_456_000)),
            ("2026-02-29", None),
            ("2100-02-29", None),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("2026-06-31", None),
            ("2026-6-1", None),
            ("2026-06-01T24:00:00Z", None),
            ("2026-06-01T12:00:00", None),
            ("+026-06-01", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn answers_say_when_and_what_instead() {
        let policy = compile(serde_json::json!({
            "deprecatedAt": "2026-06-01", "sunsetAt": "2027-06-01", "successor": "/v1", "documentation": "/docs",
        }));
        let mut answer =
            Response::builder().header("link", "</own>; rel=\"self\"").body(Body::Empty).expect("ok");
        policy.expect("compiles").response(&mut call("GET", "/"), &mut answer);
        assert_eq!(answer.headers()["deprecation"], "@1780272000");
        assert_eq!(answer.headers()["sunset"], "Tue, 01 Jun 2027 00:00:00 GMT");
        let links: Vec<_> = answer.headers().get_all("link").iter().collect();
        assert_eq!(
            links,
            ["</own>; rel=\"self\"", "</v1>; rel=\"successor-version\"", "</docs>; rel=\"deprecation\""]
        );
    }

    #[test]
    fn calls_after_the_sunset_are_refused_where_that_is_wanted() {
        let settings = serde_json::json!({"sunsetAt": "2027-06-01", "refuseAfterSunset": true});
        let sunset = UNIX_EPOCH + Duration::from_secs(seconds("2027-06-01").expect("a date"));
        let policy = compile(settings).expect("compiles");
        assert!(!policy.is_over(sunset - Duration::from_secs(1)));
        assert!(policy.is_over(sunset));
        let silent = compile(serde_json::json!({"sunsetAt": "2027-06-01"})).expect("compiles");
        assert!(!silent.is_over(sunset));
    }

    #[test]
    fn what_cannot_be_announced_refuses_the_configuration() {
        for settings in [
            serde_json::json!({"sunsetAt": "soon"}),
            serde_json::json!({"deprecatedAt": "2027-01-01", "sunsetAt": "2026-01-01"}),
            serde_json::json!({"successor": "/v1>; rel=\"x\""}),
            serde_json::json!({"refuseAfterSunset": true}),
        ] {
            assert!(compile(settings.clone()).is_err(), "{settings}");
        }
    }
}
