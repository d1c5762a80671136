//! From fields to a request's head or trailers, and what makes a message malformed (RFC 9114 §4.2, §4.3).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    error::{Error, MALFORMED},
    qpack,
};

/// More values of fields than this are refused, whatever the limit of bytes says.
const FIELDS_MAX: usize = 4096;

#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
}

/// Reads a request's head.
pub(crate) fn request(section: &[u8], section_bytes: usize) -> Result<Box<Parts>, Error> {
    let mut pseudo = Pseudo::default();
    let mut headers = HeaderMap::new();
    qpack::decode(section, section_bytes, |name, value| match name.strip_prefix(b":") {
        // Pseudo-headers come first (§4.3).
        Some(_) if !headers.is_empty() => Err(MALFORMED),
        Some(name) => pseudo.take(name, value),
        None => field(name, value, &mut headers),
    })?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = Version::HTTP_3;
    parts.uri = pseudo.uri(&headers)?;
    parts.method = pseudo.method.ok_or(MALFORMED)?;
    parts.headers = headers;
    Ok(Box::new(parts))
}

/// Reads trailers: pseudo-headers have no place there.
pub(crate) fn trailers(section: &[u8], section_bytes: usize) -> Result<HeaderMap, Error> {
    let mut trailers = HeaderMap::new();
    qpack::decode(section, section_bytes, |name, value| field(name, value, &mut trailers))?;
    Ok(trailers)
}

/// The length that a head states, if it states one; several that differ make it malformed (RFC 9110 §8.6).
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|value| value != first) {
        return Err(MALFORMED);
    }
    let digits = first.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(MALFORMED);
    }
    let text = first.to_str().map_err(|_| MALFORMED)?;
    text.parse().map(Some).map_err(|_| MALFORMED)
}

impl Pseudo {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        match name {
            b"method" => once(&mut self.method, Method::from_bytes(value)),
            b"scheme" | b"path" if value.is_empty() => Err(MALFORMED),
            b"scheme" => once(&mut self.scheme, Scheme::try_from(value)),
            b"authority" => once(&mut self.authority, Authority::try_from(value)),
            // Where it begins otherwise, or has a fragment, it would be read as something else (RFC 3986 §3.3).
            b"path" if value.starts_with(b"?") || value.contains(&b'#') => Err(MALFORMED),
            b"path" => once(&mut self.path, PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(value))),
            // `:protocol` too: it was not offered (RFC 9220 §3).
            _ => Err(MALFORMED),
        }
    }

    /// The target, its authority taken from Host where it is nowhere else.
    fn uri(&mut self, headers: &HeaderMap) -> Result<Uri, Error> {
        let mut parts = http::uri::Parts::default();
        if self.method == Some(Method::CONNECT) {
            // §4.4: the authority and nothing else.
            if self.scheme.is_some() || self.path.is_some() {
                return Err(MALFORMED);
            }
            parts.authority = Some(self.authority.take().ok_or(MALFORMED)?);
            return Uri::from_parts(parts).map_err(|_| MALFORMED);
        }
        let host = || {
            let mut values = headers.get_all(header::HOST).iter();
            let host = values.next().filter(|_| values.next().is_none()).ok_or(MALFORMED)?;
            Authority::try_from(host.as_bytes()).map_err(|_| MALFORMED)
        };
        parts.authority = Some(match self.authority.take() {
            Some(authority) => authority,
            None => host()?,
        });
        parts.scheme = Some(self.scheme.take().ok_or(MALFORMED)?);
        parts.path_and_query = Some(self.path.take().ok_or(MALFORMED)?);
        Uri::from_parts(parts).map_err(|_| MALFORMED)
    }
}

fn once<T, E>(place: &mut Option<T>, value: Result<T, E>) -> Result<(), Error> {
    match place.replace(value.map_err(|_| MALFORMED)?) {
        None => Ok(()),
        Some(_) => Err(MALFORMED),
    }
}

fn field(name: &[u8], value: &[u8], headers: &mut HeaderMap) -> Result<(), Error> {
    // In lower case alone, and no pseudo-header.
    let name = HeaderName::from_lowercase(name).map_err(|_| MALFORMED)?;
    let is_of_one_hop = [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE].contains(&name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || (name == header::TE && !value.eq_ignore_ascii_case(b"trailers"));
    let has_space_around = value.first().is_some_and(is_space) || value.last().is_some_and(is_space);
    if is_of_one_hop || has_space_around {
        return Err(MALFORMED);
    }
    let value = HeaderValue::from_bytes(value).map_err(|_| MALFORMED)?;
    if headers.len() == FIELDS_MAX {
        return Err(Error::TooLarge);
    }
    headers.try_append(name, value).map_err(|_| Error::TooLarge)?;
    Ok(())
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x?y")];

    fn read(fields: &[(&str, &str)]) -> Result<Box<Parts>, Error> {
        let mut section = Vec::new();
        qpack::begin(&mut section);
        fields.iter().for_each(|(name, value)| qpack::encode(name, value.as_bytes(), &mut section));
        request(&section, 64 * 1024)
    }

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        [&GET[..], more].concat()
    }

    fn but(name: &str, instead: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let rest = GET.into_iter().filter(|(known, _)| *known != name);
        instead.iter().copied().chain(rest).collect()
    }

    #[test]
    fn a_head_becomes_a_request() {
        let head = read(&with(&[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")])).expect("a head");
        assert_eq!((head.method.as_str(), head.version), ("GET", Version::HTTP_3));
        assert_eq!(head.uri, "https://a.test/x?y");
        assert_eq!(head.headers.get_all("cookie").iter().count(), 2);
        let head = read(&[(":method", "CONNECT"), (":authority", "a.test:1")]).expect("a head");
        assert_eq!(head.uri, "a.test:1");
        let without = but(":authority", &[]);
        let head = read(&[&without[..], &[("host", "b.test")]].concat()).expect("a head");
        assert_eq!(head.uri.authority().map(|host| host.as_str()), Some("b.test"));
        assert_eq!(read(&but(":path", &[(":path", "*")])).expect("a head").uri.path(), "*");
    }

    #[test]
    fn malformed_heads_are_refused() {
        for fields in [
            but(":method", &[]),
            but(":scheme", &[]),
            but(":path", &[]),
            but(":authority", &[]),
            but(":path", &[(":path", "")]),
            but(":path", &[(":path", "/a b")]),
            but(":path", &[(":path", "/\u{0}")]),
            but(":path", &[(":path", "/a#b")]),
            but(":path", &[(":path", "?x")]),
            but(":method", &[(":method", "G T")]),
            but(":method", &[(":method", "")]),
            but(":scheme", &[(":scheme", "")]),
            but(":authority", &[(":authority", "a b")]),
            with(&[(":method", "GET")]),
            with(&[(":path", "/x?y")]),
            with(&[(":authority", "b.test")]),
            with(&[(":scheme", "https")]),
            with(&[(":status", "200")]),
            with(&[(":protocol", "websocket")]),
            with(&[(":unknown", "x")]),
            with(&[(":", "x")]),
            with(&[("accept", "*/*"), (":method", "GET")]),
            [&[("accept", "*/*")][..], &GET].concat(),
            with(&[("Accept", "*/*")]),
            with(&[("", "x")]),
            with(&[("a b", "x")]),
            with(&[("x-a", "line\nbreak")]),
            with(&[("x-a", "return\r")]),
            with(&[("x-a", "nothing\u{0}")]),
            with(&[("x-a", " before")]),
            with(&[("x-a", "after\t")]),
            with(&[("connection", "x-a")]),
            with(&[("keep-alive", "1")]),
            with(&[("proxy-connection", "keep-alive")]),
            with(&[("transfer-encoding", "chunked")]),
            with(&[("upgrade", "websocket")]),
            with(&[("te", "gzip")]),
            vec![(":method", "CONNECT"), (":authority", "a.test:1"), (":path", "/")],
            vec![(":method", "CONNECT"), (":authority", "a.test:1"), (":scheme", "https")],
            vec![(":method", "CONNECT")],
            [&but(":authority", &[])[..], &[("host", "a.test"), ("host", "b.test")]].concat(),
        ] {
            assert_eq!(read(&fields).map(|_| ()), Err(MALFORMED), "{fields:?}");
        }
    }

    #[test]
    fn lengths_are_one_number() {
        for (values, length) in [
            (&[][..], Ok(None)),
            (&["12"], Ok(Some(12))),
            (&["12", "12"], Ok(Some(12))),
            (&["12", "13"], Err(MALFORMED)),
            (&["+12"], Err(MALFORMED)),
            (&["12, 12"], Err(MALFORMED)),
            (&[""], Err(MALFORMED)),
            (&["18446744073709551616"], Err(MALFORMED)),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            assert_eq!(content_length(&headers), length, "{values:?}");
        }
    }

    #[test]
    fn trailers_hold_no_pseudo_headers() {
        for (name, is_good) in [("x-sum", true), (":path", false), ("X-Sum", false), ("connection", false)] {
            let mut section = Vec::new();
            qpack::begin(&mut section);
            qpack::encode(name, b"1", &mut section);
            assert_eq!(trailers(&section, 1000).is_ok(), is_good, "{name}");
        }
    }
}
