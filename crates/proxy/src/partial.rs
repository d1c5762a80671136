//! Entity tags and ranges of bytes (RFC 9110 §8.8.3, §14), for whoever answers from what lies here.

/// Numbers of a range never have more digits than those of any body.
const LENGTH_DIGITS_MAX: usize = 19;

/// What parts of a body are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// All of it: no range, or none that means anything, or more of them than are given.
    Whole,
    /// First and last byte of each, in the order in which they were asked for.
    Parts(Vec<(u64, u64)>),
    /// Nothing that there is.
    Beyond,
}

/// What a `Range` means for a body of this length, of which at most so many parts are given at once.
pub(crate) fn ranges(range: &[u8], length: u64, most: usize) -> Ranges {
    let Some((unit, list)) = range.split_at_checked(6) else { return Ranges::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return Ranges::Whole;
    }
    let mut parts = Vec::new();
    for (number, spec) in list.split(|byte| *byte == b',').enumerate() {
        if number == most {
            return Ranges::Whole;
        }
        match part(spec.trim_ascii(), length) {
            Some(Some(part)) => parts.push(part),
            Some(None) => {}
            None => return Ranges::Whole,
        }
    }
    if parts.is_empty() { Ranges::Beyond } else { Ranges::Parts(parts) }
}

/// One range: `None` where it is none, `Some(None)` where nothing of it is there.
fn part(spec: &[u8], length: u64) -> Option<Option<(u64, u64)>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (spec.get(..dash)?.trim_ascii(), spec.get(dash + 1..)?.trim_ascii());
    if first.is_empty() {
        return Some(match number(last)? {
            0 => None,
            count => length.checked_sub(1).map(|end| (length.saturating_sub(count), end)),
        });
    }
    let first = number(first)?;
    let end = if last.is_empty() { u64::MAX } else { number(last)? };
    if end < first {
        return None;
    }
    Some(length.checked_sub(1).filter(|whole| first <= *whole).map(|whole| (first, end.min(whole))))
}

fn number(text: &[u8]) -> Option<u64> {
    if text.len() > LENGTH_DIGITS_MAX || text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a list of tags names this one, be it weak or not (RFC 9110 §8.8.3.2).
pub(crate) fn names(list: &[u8], etag: &[u8]) -> bool {
    let plain = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let wanted = plain(etag);
    any_of(list, |tag| plain(tag) == wanted)
}

/// Whether a list of tags names this one, both strong.
pub(crate) fn names_strongly(list: &[u8], etag: &[u8]) -> bool {
    !etag.starts_with(b"W/") && any_of(list, |tag| tag == etag)
}

fn any_of(list: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    let mut rest = list;
    while !rest.is_empty() {
        let begin = rest.trim_ascii_start();
        let quote = begin.iter().position(|byte| *byte == b'"');
        let comma = begin.iter().position(|byte| *byte == b',');
        // A tag in quotes may hold commas.
        let end = match (quote, comma) {
            (Some(open), comma) if comma.is_none_or(|comma| open < comma) => {
                let close = begin[open + 1..].iter().position(|byte| *byte == b'"');
                let close = close.map_or(begin.len(), |close| open + 1 + close + 1);
                let comma = begin.get(close..).unwrap_or_default().iter().position(|byte| *byte == b',');
                comma.map_or(begin.len(), |comma| close + comma)
            }
            (_, comma) => comma.unwrap_or(begin.len()),
        };
        if is_wanted(begin[..end].trim_ascii()) {
            return true;
        }
        rest = begin.get(end + 1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_cut_to_what_there_is() {
        let parts = |parts: &[(u64, u64)]| Ranges::Parts(parts.to_vec());
        for (range, want) in [
            ("bytes=0-1", parts(&[(0, 1)])),
            ("Bytes=1-", parts(&[(1, 9)])),
            ("bytes=-1", parts(&[(9, 9)])),
            ("bytes=-100", parts(&[(0, 9)])),
            ("bytes=5-100", parts(&[(5, 9)])),
            ("bytes=10-", Ranges::Beyond),
            ("bytes=-0", Ranges::Beyond),
            ("bytes=5-2", Ranges::Whole),
            ("bytes=0-1,3-4", parts(&[(0, 1), (3, 4)])),
            ("bytes= 3-4 , 0-1 ,99-", parts(&[(3, 4), (0, 1)])),
            ("bytes=10-,11-12", Ranges::Beyond),
            ("bytes=0-1,3-4,5-6,7-8", Ranges::Whole),
            ("bytes=0-1,x", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("items=0-1", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes=99999999999999999999-", Ranges::Whole),
        ] {
            assert_eq!(ranges(range.as_bytes(), 10, 3), want, "{range}");
        }
        assert_eq!(ranges(b"bytes=0-1,3-4", 10, 1), Ranges::Whole);
        assert_eq!(ranges(b"bytes=-5", 0, 1), Ranges::Beyond);
        assert_eq!(ranges(b"bytes=0-", 0, 1), Ranges::Beyond);
    }

    #[test]
    fn a_tag_is_found_in_a_list() {
        for (list, etag, want) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"b\", \"a\" , \"c\"", "W/\"a\"", true),
            ("\"b, \\\", a\"", "\"a\"", false),
            ("\"x,a\"", "\"x,a\"", true),
            ("\"x,a\"", "a", false),
            ("a", "a", true),
            ("a", "\"a\"", false),
            ("\"a", "\"b\"", false),
            ("", "\"a\"", false),
        ] {
            assert_eq!(names(list.as_bytes(), etag.as_bytes()), want, "{list} {etag}");
        }
        assert!(names_strongly(b"\"b\", \"a\"", b"\"a\""));
        assert!(!names_strongly(b"W/\"a\"", b"\"a\"") && !names_strongly(b"W/\"a\"", b"W/\"a\""));
    }

    proptest! {
        /// Whatever is asked for, what is given lies within the body.
        #[test]
        fn parts_lie_within(range in "[bytes=0-9, -]{0,20}", length in 0_u64..50) {
            if let Ranges::Parts(parts) = ranges(range.as_bytes(), length, 4) {
                prop_assert!(!parts.is_empty() && parts.len() <= 4);
                prop_assert!(parts.iter().all(|(first, last)| first <= last && *last < length));
            }
        }

        #[test]
        fn any_list_is_read(list in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = names(&list, b"\"a\"");
            let _ = ranges(&list, 7, 2);
        }
    }
}
