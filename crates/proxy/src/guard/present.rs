//! Which of the fields that the guard looks for a head has: one pass over the names instead of a lookup for each.
//!
//! A head has a dozen fields and the guard knows twice as many names, nearly all of which are absent.

use http::{HeaderMap, HeaderName, header};

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Present(u32);

/// Declares each field's bit and its name.
macro_rules! fields {
    ($($constant:ident = $name:expr, $length:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of constants count the bits")]
        #[repr(u32)]
        enum Index { $($constant),* }
        impl Present {
            $(pub(crate) const $constant: Self = Self(1 << Index::$constant as u32);)*
        }
        /// The names, in the order of their bits.
        static NAMES: [HeaderName; LENGTHS.len()] = [$($name),*];
        const LENGTHS: &[usize] = &[$($length),*];
    };
}

fields! {
    CONNECTION = header::CONNECTION, 10;
    EXPECT = header::EXPECT, 6;
    UPGRADE = header::UPGRADE, 7;
    TE = header::TE, 2;
    COOKIE = header::COOKIE, 6;
    FORWARDED = header::FORWARDED, 9;
    PROXY_AUTHENTICATE = header::PROXY_AUTHENTICATE, 18;
    PROXY_AUTHORIZATION = header::PROXY_AUTHORIZATION, 19;
    TRANSFER_ENCODING = header::TRANSFER_ENCODING, 17;
    CONTENT_LENGTH = header::CONTENT_LENGTH, 14;
    KEEP_ALIVE = HeaderName::from_static("keep-alive"), 10;
    PROXY_CONNECTION = HeaderName::from_static("proxy-connection"), 16;
    HTTP2_SETTINGS = HeaderName::from_static("http2-settings"), 14;
    X_REAL_IP = HeaderName::from_static("x-real-ip"), 9;
    X_FORWARDED_HOST = HeaderName::from_static("x-forwarded-host"), 16;
    X_FORWARDED_PORT = HeaderName::from_static("x-forwarded-port"), 16;
    X_FORWARDED_SERVER = HeaderName::from_static("x-forwarded-server"), 18;
    X_FORWARDED_PREFIX = HeaderName::from_static("x-forwarded-prefix"), 18;
    X_CLIENT_IP = HeaderName::from_static("x-client-ip"), 11;
    TRUE_CLIENT_IP = HeaderName::from_static("true-client-ip"), 14;
    X_ORIGINAL_FORWARDED_FOR = HeaderName::from_static("x-original-forwarded-for"), 24;
    X_FORWARDED_CLIENT_CERT = HeaderName::from_static("x-forwarded-client-cert"), 23;
    CLIENT_CERT = HeaderName::from_static("client-cert"), 11;
    CLIENT_CERT_CHAIN = HeaderName::from_static("client-cert-chain"), 17;
    TRACEPARENT = HeaderName::from_static("traceparent"), 11;
    TRACESTATE = HeaderName::from_static("tracestate"), 10;
}

/// Some name has an underscore.
const UNDERSCORE: u32 = 1 << 31;

/// For each length of a name, the fields whose names have it.
const BY_LENGTH: [u32; 32] = {
    let mut table = [0; 32];
    let mut index = 0;
    while index < LENGTHS.len() {
        table[LENGTHS[index]] |= 1 << index;
        index += 1;
    }
    table
};

impl Present {
    /// What a head has.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut set = 0;
        for name in headers.keys() {
            let text = name.as_str().as_bytes();
            if text.contains(&b'_') {
                set |= UNDERSCORE;
            }
            let mut candidates = BY_LENGTH.get(text.len()).copied().unwrap_or(0);
            while candidates != 0 {
                let index = candidates.trailing_zeros();
                candidates &= candidates - 1;
                if NAMES[index as usize] == *name {
                    set |= 1 << index;
                    break;
                }
            }
        }
        Self(set)
    }

    /// Whether any of these is there.
    pub(crate) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    /// Whether any name has an underscore.
    pub(crate) const fn has_underscore(self) -> bool {
        self.0 & UNDERSCORE != 0
    }

    /// These and those.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names of these.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static HeaderName> {
        NAMES.iter().enumerate().filter(move |(index, _)| self.0 & (1 << index) != 0).map(|(_, name)| name)
    }

    /// Removes those of `fields` that are there.
    pub(crate) fn remove(self, fields: Self, headers: &mut HeaderMap) {
        let mut rest = self.0 & fields.0;
        while rest != 0 {
            headers.remove(&NAMES[rest.trailing_zeros() as usize]);
            rest &= rest - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_field_is_seen_and_removed_by_its_own_bit() {
        for (index, name) in NAMES.iter().enumerate() {
            assert_eq!(name.as_str().len(), LENGTHS[index], "{name}");
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
            headers.insert(header::HOST, HeaderValue::from_static("a"));
            let present = Present::of(&headers);
            assert_eq!(present, Present(1 << index), "{name}");
            present.remove(Present(!(1 << index)), &mut headers);
            assert_eq!(headers.len(), 3, "{name}");
            present.remove(present, &mut headers);
            assert_eq!(headers.len(), 1, "{name}");
        }
    }

    #[test]
    fn names_that_are_not_known_count_for_nothing_but_their_underscores() {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("x-forwarded-hose"), HeaderValue::from_static("1"));
        assert_eq!(Present::of(&headers), Present::default());
        headers.insert(HeaderName::from_static("x_1"), HeaderValue::from_static("1"));
        assert!(Present::of(&headers).has_underscore());
    }
}
