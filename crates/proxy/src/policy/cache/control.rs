//! Directives of caches as fields state them: `Cache-Control` of requests and answers (RFC 9111 §5.2), and the fields
//! that are meant for caches like this one alone (RFC 9213).
//!
//! What is malformed is read in the way that keeps less: a time that is no number is none at all, and of two the shorter
//! counts.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Times beyond this are as good as for ever (RFC 9111 §1.2.2), and fit wherever they are added.
const SECONDS_MAX: u64 = 1 << 31;
/// The name by which fields mean this cache.
pub(super) const NAME: &str = "tidegate";

/// What fields tell a cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    /// `max-stale` without a time takes any.
    pub(super) max_stale: Option<u64>,
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
    /// Fields that `private` and `no-cache` name: they are not kept.
    pub(super) barred: Vec<HeaderName>,
}

impl Directives {
    /// What a field says in all its lines; none when it is not there.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut lines = headers.get_all(name).iter().peekable();
        lines.peek()?;
        let mut told = Self::default();
        lines.for_each(|line| told.read(line.as_bytes()));
        Some(told)
    }

    /// The first of the targeted fields that says anything to this cache. One that cannot be read is as if it was
    /// not there (RFC 9213 §2.1), so that what everybody is told counts.
    pub(super) fn targeted(headers: &HeaderMap, targets: &[HeaderName]) -> Option<Self> {
        targets.iter().find_map(|name| {
            let told = Self::of(headers, name)?;
            let nothing = Self::default();
            (told != nothing).then_some(told)
        })
    }

    fn read(&mut self, line: &[u8]) {
        for directive in split(line, b',') {
            // Of `Surrogate-Control`: who is meant stands behind.
            let mut parts = split(directive, b';');
            let directive = parts.next().unwrap_or_default();
            let mut others = parts.filter(|target| !target.is_empty() && !target.contains(&b'=')).peekable();
            if others.peek().is_some() && !others.any(|target| target.eq_ignore_ascii_case(NAME.as_bytes())) {
                continue;
            }
            let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
                Some(at) => (&directive[..at], Some(&directive[at + 1..])),
                None => (directive, None),
            };
            self.take(&name.to_ascii_lowercase(), value);
        }
    }

    fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        let shorter = |known: Option<u64>| {
            let told = value.and_then(seconds).unwrap_or(0);
            Some(known.map_or(told, |known| known.min(told)))
        };
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache |= !self.bar(value),
            b"private" => self.private |= !self.bar(value),
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = shorter(self.max_age),
            b"s-maxage" => self.s_maxage = shorter(self.s_maxage),
            b"max-stale" if value.is_none() => self.max_stale = Some(SECONDS_MAX),
            b"max-stale" => self.max_stale = shorter(self.max_stale),
            // What must still be fresh for longer is asked for less of: the longer one counts.
            b"min-fresh" => {
                let told = value.and_then(seconds).unwrap_or(SECONDS_MAX);
                self.min_fresh = Some(self.min_fresh.map_or(told, |known| known.max(told)));
            }
            b"stale-while-revalidate" => self.stale_while_revalidate = shorter(self.stale_while_revalidate),
            b"stale-if-error" => self.stale_if_error = shorter(self.stale_if_error),
            _ => {}
        }
    }

    /// Notes the fields that a directive names; false when it names none, so that it is about the whole answer.
    fn bar(&mut self, value: Option<&[u8]>) -> bool {
        let Some(value) = value else { return false };
        let names: Option<Vec<HeaderName>> = unquoted(value)
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
            .map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        match names {
            Some(names) if !names.is_empty() => {
                self.barred.extend(names);
                true
            }
            _ => false,
        }
    }
}

/// Pieces between separators that stand outside of quotes, without the spaces around them.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = text.iter().position(|byte| {
            if is_escaped {
                is_escaped = false;
            } else if is_quoted && *byte == b'\\' {
                is_escaped = true;
            } else if *byte == b'"' {
                is_quoted = !is_quoted;
            }
            !is_quoted && *byte == separator
        });
        rest = end.and_then(|end| text.get(end + 1..));
        Some(text[..end.unwrap_or(text.len())].trim_ascii())
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Delta-seconds, which a recipient takes in quotes, too (RFC 9111 §5.2). Too large a number is a large one.
fn seconds(value: &[u8]) -> Option<u64> {
    digits(unquoted(value))
}

/// A number of digits alone.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text
        .iter()
        .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number.min(SECONDS_MAX))
}

/// Seconds since 1970 of a date in one of HTTP's three forms (RFC 9110 §5.6.7).
pub(super) fn date(value: &HeaderValue) -> Option<u64> {
    let time = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use http::header::CACHE_CONTROL;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).expect("a value"));
        }
        Directives::of(&headers, &CACHE_CONTROL).unwrap_or_default()
    }

    #[test]
    fn times_are_read_so_that_less_is_kept() {
        for (line, want) in [
            ("max-age=3600", Some(3600)),
            ("MaX-AgE=3600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age='3600'", Some(0)),
            ("max-age=-1", Some(0)),
            ("max-age=3600.5", Some(0)),
            ("max-age=a100", Some(0)),
            ("max-age", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age =3600", None),
            ("max-age=1, max-age=3600", Some(1)),
            ("max-age=3600, max-age=1", Some(1)),
            ("max-age=99999999999999999999999", Some(SECONDS_MAX)),
            ("x=\"max-age=3600\"", None),
            ("x=\"a\\\", max-age=3600\"", None),
            ("x=\"max-age=3600\", max-age=1", Some(1)),
            (",, max-age=7 ,", Some(7)),
        ] {
            assert_eq!(read(&[line]).max_age, want, "{line}");
        }
    }

    #[test]
    fn named_fields_are_barred_and_the_rest_may_be_kept() {
        let told = read(&["private=\"Set-Cookie, x-a\", no-cache=x-b"]);
        assert!(!told.private && !told.no_cache);
        assert_eq!(told.barred, ["set-cookie", "x-a", "x-b"]);
        for whole in ["private", "private=\"\"", "private=\"a b\"", "private=\"x-a\", private"] {
            assert!(read(&[whole]).private, "{whole}");
        }
    }

    #[test]
    fn what_is_meant_for_others_is_not_read() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("surrogate-control");
        for (line, want) in [
            ("max-age=10", Some(10)),
            ("max-age=10;tidegate", Some(10)),
            ("max-age=10;someone-else", None),
            ("max-age=10;p=1", Some(10)),
        ] {
            headers.insert(name.clone(), HeaderValue::from_static(line));
            let told = Directives::targeted(&headers, std::slice::from_ref(&name));
            assert_eq!(told.and_then(|told| told.max_age), want, "{line}");
        }
    }

    proptest! {
        /// What one directive says, it says wherever it stands among others and however they are cut into lines.
        #[test]
        fn order_and_lines_change_nothing(
            mut all in proptest::collection::vec(
                prop_oneof![
                    (0_u64..100_000).prop_map(|n| format!("max-age={n}")),
                    (0_u64..100_000).prop_map(|n| format!("s-maxage=\"{n}\"")),
                    Just("no-store".to_owned()),
                    Just("public".to_owned()),
                    Just("must-revalidate".to_owned()),
                    Just("x=\"no-cache, private\"".to_owned()),
                ],
                0..8,
            ),
            cut in 0_usize..8,
        ) {
            let whole = read(&[&all.join(",")]);
            let (one, other) = all.split_at(cut.min(all.len()));
            prop_assert_eq!(&whole, &read(&[&one.join(" , "), &other.join(", ")]));
            all.reverse();
            prop_assert_eq!(&whole, &read(&[&all.join(", ")]));
            prop_assert!(!whole.no_cache && !whole.private);
        }

        /// Any bytes are read without a panic.
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            Directives::default().read(&bytes);
            let _ = digits(&bytes);
        }
    }
}
