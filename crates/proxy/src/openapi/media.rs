//! Media types: what one is, and which of several a message's is.

use http::{HeaderMap, HeaderValue, header};

/// A media type or a range of them, lower-case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaRange {
    kind: Box<str>,
    sub: Box<str>,
}

impl MediaRange {
    /// `application/json`, `text/*`, `*/*`; parameters are left out.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (kind, sub) = essence.split_once('/')?;
        let is_good = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
        (is_good(kind) && is_good(sub)).then(|| Self { kind: kind.into(), sub: sub.into() })
    }

    /// How closely it fits a media type; none when it does not.
    pub(crate) fn fits(&self, other: &Self) -> Option<u8> {
        match (&*self.kind, &*self.sub) {
            ("*", "*") => Some(0),
            (kind, _) if kind != &*other.kind => None,
            (_, "*") => Some(1),
            (_, sub) if sub == &*other.sub => Some(3),
            (_, sub) => {
                let (before, after) = sub.split_once('*')?;
                let rest = other.sub.strip_prefix(before)?;
                (rest.len() > after.len() && rest.ends_with(after)).then_some(2)
            }
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        matches!(&*self.kind, "application" | "text") && &*self.sub == "json" || self.sub.ends_with("+json")
    }

    pub(crate) fn is_xml(&self) -> bool {
        matches!(&*self.kind, "application" | "text") && &*self.sub == "xml" || self.sub.ends_with("+xml")
    }

    pub(crate) fn is(&self, kind: &str, sub: &str) -> bool {
        &*self.kind == kind && &*self.sub == sub
    }

    /// It is made of letters.
    pub(crate) fn is_text(&self) -> bool {
        let others = ["x-www-form-urlencoded", "javascript", "yaml", "graphql"];
        &*self.kind == "text" || self.is_xml() || others.iter().any(|sub| self.is("application", sub))
    }

    /// A value of JSON in each line.
    pub(crate) fn is_lines(&self) -> bool {
        ["x-ndjson", "ndjson", "jsonl", "x-jsonlines", "stream+json"]
            .iter()
            .any(|sub| self.is("application", sub))
    }

    /// Events or lines that come one after the other.
    pub(crate) fn is_stream(&self) -> bool {
        self.is("text", "event-stream") || self.is_lines() || self.is("application", "json-seq")
    }

    /// It stands for one type alone.
    pub(crate) fn is_one(&self) -> bool {
        !self.kind.contains('*') && !self.sub.contains('*')
    }
}

impl std::fmt::Display for MediaRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.sub)
    }
}

/// The media type of a message.
pub(crate) fn of(headers: &HeaderMap) -> Option<MediaRange> {
    text_of(headers).and_then(MediaRange::parse)
}

/// Every media type that a message says to be of. Where there are several, or what stands beside one cannot be read, others
/// may go by one of them though [`of`] knows none.
pub(crate) fn all(headers: &HeaderMap) -> impl Iterator<Item = MediaRange> {
    headers.get_all(header::CONTENT_TYPE).iter().flat_map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.split(',').filter_map(MediaRange::parse).collect::<Vec<_>>()
    })
}

/// The media type of a message with its parameters.
pub(crate) fn text_of(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let first = all.next()?;
    // Two of them are one that nobody knows.
    if all.next().is_some() { None } else { first.to_str().ok() }
}

/// Whether a media type, with its parameters, is in a character set in which the signs of ASCII are these signs and stand
/// for nothing else. In UTF-7 they are written otherwise, and in Shift_JIS half a letter may look like one of them: whoever
/// decodes what was judged so reads something else.
pub(crate) fn is_like_ascii(text: &str) -> bool {
    // What stands in quotes is looked at, too: there are readers that part parameters within them.
    text.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = name.trim().to_ascii_lowercase();
        if name != "charset" {
            return !name.starts_with("charset");
        }
        let value =
            value.trim().trim_matches(|letter: char| matches!(letter, '"' | '\'')).to_ascii_lowercase();
        matches!(&*value, "" | "utf-8" | "utf8" | "us-ascii" | "ascii")
            || ["iso-8859-", "iso8859-", "iso_8859-", "latin", "windows-125", "cp125", "koi8-"]
                .iter()
                .any(|family| value.starts_with(family))
    })
}

/// Whether the bytes are those of the media type.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    let all = headers.get_all(header::CONTENT_ENCODING);
    all.iter().all(|value| value.as_bytes().is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Weighted ranges of `Accept`.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<(MediaRange, f32)> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| HeaderValue::to_str(value).ok());
    let ranges = values.flat_map(|value| value.split(',')).take(64);
    ranges
        .filter_map(|text| {
            let weight = text.split(';').skip(1).find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
            });
            Some((MediaRange::parse(text)?, weight.unwrap_or(1.0).clamp(0.0, 1.0)))
        })
        .collect()
}

/// How welcome a media type is: by the closest range that is accepted; nothing said accepts everything.
pub(crate) fn weight(accepted: &[(MediaRange, f32)], kind: &MediaRange) -> f32 {
    if accepted.is_empty() {
        return 1.0;
    }
    let fitting = accepted.iter().filter_map(|(range, weight)| Some((range.fits(kind)?, *weight)));
    fitting.max_by_key(|(closeness, _)| *closeness).map_or(0.0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_hide_what_is_in_a_body_are_told() {
        for (kind, want) in [
            ("application/json", true),
            ("application/json; charset=UTF-8", true),
            ("application/json;Charset = \"iso-8859-15\"; x", true),
            ("application/json; charset='utf-8'", true),
            ("application/json; charset=utf-7", false),
            ("application/json; charset=utf-8; charset=utf-7", false),
            ("application/json; charset*=utf-8''utf-7", false),
            ("application/json; charset=gb18030", false),
            ("text/plain; x=\"a; charset=utf-16\"", false),
        ] {
            assert_eq!(is_like_ascii(kind), want, "{kind}");
        }
        let types = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(line));
            }
            all(&headers).map(|kind| kind.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            types(&["text/plain, application/json;a", "a/b"]),
            ["text/plain", "application/json", "a/b"]
        );
        assert_eq!(types(&["nothing"]), [""; 0]);
    }

    #[test]
    fn the_closest_range_counts() {
        let kind = MediaRange::parse("Application/Problem+JSON; charset=utf-8").expect("a type");
        assert!(kind.is_json() && kind.is_one());
        for (range, want) in [
            ("application/problem+json", Some(3)),
            ("application/*+json", Some(2)),
            ("application/*", Some(1)),
            ("*/*", Some(0)),
            ("text/*", None),
            ("application/json", None),
        ] {
            assert_eq!(MediaRange::parse(range).expect("a range").fits(&kind), want, "{range}");
        }
        for text in ["", "json", "/", "a/", "a b/c"] {
            assert_eq!(MediaRange::parse(text), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/*;q=0.5, text/html;q=0, */*;q=0.1"));
        let accepted = accepted(&headers);
        let weight = |text: &str| weight(&accepted, &MediaRange::parse(text).expect("a type"));
        assert_eq!((weight("text/plain"), weight("text/html"), weight("a/b")), (0.5, 0.0, 0.1));
    }
}
