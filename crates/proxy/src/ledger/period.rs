//! When the period of a budget begins and ends.

use jiff::{Timestamp, ToSpan, civil::Weekday, tz::TimeZone};
use model::policy::budget::Period;

/// Periods in a time zone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calendar {
    per: Period,
    zone: TimeZone,
}

impl Calendar {
    pub(crate) fn new(per: Period, zone: &str) -> Result<Self, String> {
        let found = TimeZone::get(zone).map_err(|_| {
            format!("`timeZone`: there is no `{zone}`; expected an IANA name such as `Europe/Berlin`")
        })?;
        Ok(Self { per, zone: found })
    }

    /// Beginning and end, in seconds since 1970, of the period that holds a moment.
    pub(crate) fn around(&self, now: Timestamp) -> (i64, i64) {
        let local = now.to_zoned_datetime(self.zone.clone());
        let today = local.date();
        let (first, span) = match self.per {
            Period::Hour => {
                // Where a clock is put by half an hour, what comes after it is an hour of its own.
                let since = i64::from(local.minute()) * 60 + i64::from(local.second());
                let begin = now.as_second() - since;
                return (begin, begin + 3600);
            }
            Period::Day => (today, 1.day()),
            Period::Week => {
                let since = i64::from(today.weekday().since(Weekday::Monday));
                (today.saturating_sub(since.days()), 7.days())
            }
            Period::Month => (today.first_of_month(), 1.month()),
        };
        // A day may begin later than midnight, where a clock is put forward just then.
        let start = |day: jiff::civil::Date| {
            day.to_zoned_datetime(self.zone.clone()).map(|begin| begin.timestamp().as_second())
        };
        let begin = start(first).unwrap_or_else(|_| now.as_second());
        let end = start(first.saturating_add(span)).unwrap_or(i64::MAX);
        (begin, end.max(begin + 1))
    }
}

impl Calendar {
    /// A moment, in seconds since 1970, as clocks of the zone show it.
    pub(crate) fn show(&self, second: i64) -> String {
        let moment = Timestamp::from_second(second).unwrap_or_default();
        moment.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_at_midnight_of_their_zone_and_last_as_long_as_its_days_do() {
        for (per, zone, now, begin, end) in [
            (Period::Day, "UTC", "2026-11-28T20:00:00Z", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"),
            (
                Period::Day,
                "Asia/Tokyo",
                "2026-11-28T20:00:00Z",
                "2026-11-28T15:00:00Z",
                "2026-11-29T15:00:00Z",
            ),
            // The night in which an hour comes twice.
            (
                Period::Day,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            // The day that begins at one.
            (
                Period::Day,
                "America/Asuncion",
                "2024-10-06T12:00:00Z",
                "2024-10-06T04:00:00Z",
                "2024-10-07T03:00:00Z",
            ),
            (
                Period::Week,
                "Europe/Berlin",
                "2026-11-29T22:59:59Z",
                "2026-11-22T23:00:00Z",
                "2026-11-29T23:00:00Z",
            ),
            (
                Period::Week,
                "Europe/Berlin",
                "2026-11-29T23:00:00Z",
                "2026-11-29T23:00:00Z",
                "2026-12-06T23:00:00Z",
            ),
            (
                Period::Hour,
                "Asia/Kolkata",
                "2026-11-29T12:10:07Z",
                "2026-11-29T11:30:00Z",
                "2026-11-29T12:30:00Z",
            ),
            // The hour that comes twice is two.
            (
                Period::Hour,
                "Europe/Berlin",
                "2026-10-25T01:30:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
            ),
            (Period::Month, "UTC", "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "UTC", "2026-12-31T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            let second = |text: &str| text.parse::<Timestamp>().expect(text).as_second();
            let calendar = Calendar::new(per, zone).expect("a zone");
            let found = calendar.around(now.parse().expect("a moment"));
            assert_eq!(found, (second(begin), second(end)), "{per:?} {zone} {now}");
        }
        assert!(Calendar::new(Period::Day, "Europe/Atlantis").is_err());
    }
}
