//! Days and moments: `2026-06-01` and `2026-06-01T12:00:00Z`.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

/// A moment in UTC, to the second; a day alone is its first moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    unix_seconds: u64,
}

impl Date {
    /// Seconds since 1970.
    pub fn unix_seconds(self) -> u64 {
        self.unix_seconds
    }

    /// As the standard library's time.
    pub fn time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.unix_seconds)
    }
}

/// Days from 1970-01-01, by the proleptic Gregorian calendar (years begin in March, so that leap days come last).
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Numbers of a fixed width between separators; `None` when anything else is there.
fn fields(text: &str, separator: char, widths: &[usize]) -> Option<Vec<u64>> {
    let parts: Vec<&str> = text.split(separator).collect();
    let fits =
        |(part, width): (&&str, &usize)| part.len() == *width && part.bytes().all(|b| b.is_ascii_digit());
    let good = parts.len() == widths.len() && parts.iter().zip(widths).all(fits);
    good.then(|| parts.iter().map(|part| part.parse().unwrap_or_default()).collect())
}

fn parse(text: &str) -> Option<Date> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, fields(time.strip_suffix('Z')?, ':', &[2, 2, 2])?),
        None => (text, vec![0, 0, 0]),
    };
    let day = fields(day, '-', &[4, 2, 2])?;
    let (&[year, month, day], &[hour, minute, second]) = (day.as_slice(), time.as_slice()) else {
        return None;
    };
    let good = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=month_length(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    good.then(|| Date { unix_seconds: days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second })
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!("`{text}` is not a day such as `2026-06-01` or a time such as `2026-06-01T12:00:00Z`")
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.unix_seconds / 86_400 + 719_468, self.unix_seconds % 86_400);
        let era = day / 146_097;
        let of_era = day % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        if second > 0 {
            write!(f, "T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

super::textual!(Date, "Date", {
    "type": "string",
    "format": "date-or-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_as_unix_time_does_and_are_written_as_they_were_read() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2026-06-01", 1_780_272_000),
            ("2026-06-01T12:00:01Z", 1_780_315_201),
        ] {
            let date: Date = text.parse().unwrap();
            assert_eq!(date.unix_seconds(), seconds, "{text}");
            assert_eq!(date.to_string(), text);
        }
    }
}
