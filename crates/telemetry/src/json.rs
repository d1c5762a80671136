//! JSON written straight into a buffer: what a log line needs, and nothing that allocates.

use std::time::{SystemTime, UNIX_EPOCH};

/// A string with its quotes.
pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text.as_bytes(), out);
    out.push(b'"');
}

/// A string of bytes that may not be UTF-8; what is not becomes U+FFFD.
pub(crate) fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(utf8) => text(utf8, out),
        Err(_) => text(&String::from_utf8_lossy(bytes), out),
    }
}

/// The inside of a string (RFC 8259 §7).
pub(crate) fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain = 0;
    let mut from = 0;
    while let Some(next) = next_escaped(bytes, from) {
        let (at, byte) = next;
        from = at + 1;
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// The next byte that cannot stand in a string as it is. Most texts have none, so that eight bytes are asked at once.
fn next_escaped(bytes: &[u8], from: usize) -> Option<(usize, u8)> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let is_escaped = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f);
    // A high bit where a byte is 0, and perhaps in one above it.
    let zeroes = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut at = from;
    let mut rest = bytes.get(from..)?;
    while let Some((eight, more)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let small = word.wrapping_sub(ONES * 0x20) & !word;
        let signs = [b'"', b'\\', 0x7f].map(|sign| zeroes(word ^ (ONES * u64::from(sign))));
        if (small | signs[0] | signs[1] | signs[2]) & HIGH != 0
            && let Some(within) = eight.iter().position(is_escaped)
        {
            return Some((at + within, eight[within]));
        }
        (at, rest) = (at + 8, more);
    }
    rest.iter().position(is_escaped).map(|within| (at + within, rest[within]))
}

/// A whole number.
pub(crate) fn number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Milliseconds with three decimals.
pub(crate) fn millis(duration: std::time::Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(micros / 1000, out);
    out.push(b'.');
    let rest = micros % 1000;
    out.extend_from_slice(&[
        b'0' + (rest / 100) as u8,
        b'0' + (rest / 10 % 10) as u8,
        b'0' + (rest % 10) as u8,
    ]);
}

/// A moment as RFC 3339 writes it, in UTC, with milliseconds.
pub(crate) fn time(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    padded(year, 4, out);
    for (separator, value) in
        [(b'-', month), (b'-', day), (b'T', seconds / 3600), (b':', seconds / 60 % 60), (b':', seconds % 60)]
    {
        out.push(separator);
        padded(value, 2, out);
    }
    out.push(b'.');
    padded(u64::from(since.subsec_millis()), 3, out);
    out.push(b'Z');
}

fn padded(value: u64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        out.push(b'0' + (value / 10u64.pow(place) % 10) as u8);
    }
}

/// The civil date of a day after 1 January 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn nasty_texts_stay_one_valid_string() {
        let nasty = "quote \" back \\ line\nfeed\r tab\t nul\0 bell\u{7} del\u{7f} snow \u{2603}";
        let line = written(|out| text(nasty, out));
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<String>(&line).expect("JSON"), nasty);
        let broken = written(|out| bytes(b"a\xffb", out));
        assert_eq!(serde_json::from_str::<String>(&broken).expect("JSON"), "a\u{fffd}b");
    }

    proptest::proptest! {
        #[test]
        fn any_string_is_read_back(written_text in "([a-z]{0,9}|[\\x00-\\x7f]|[é日]){0,9}") {
            let line = written(|out| text(&written_text, out));
            proptest::prop_assert!(line.bytes().all(|byte| byte >= 0x20 && byte != 0x7f));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&line).expect("JSON"), written_text);
        }
    }

    #[test]
    fn moments_are_written_as_rfc_3339() {
        let at = |secs: u64, millis: u32| {
            written(|out| time(UNIX_EPOCH + Duration::new(secs, millis * 1_000_000), out))
        };
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_709_164_800, 7), "2024-02-29T00:00:00.007Z");
        assert_eq!(at(1_795_564_799, 999), "2026-11-24T23:59:59.999Z");
    }

    #[test]
    fn numbers_are_written_in_full() {
        assert_eq!(written(|out| number(u64::MAX, out)), u64::MAX.to_string());
        assert_eq!(written(|out| millis(Duration::from_micros(12_034), out)), "12.034");
    }
}
