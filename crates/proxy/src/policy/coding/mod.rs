//! Content codings (RFC 9110 §8.4.1): their names, their choice, and bodies that encode or decode as they flow.

mod accept;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, header};

pub(crate) use self::{
    accept::choose,
    decode::{Caps, Decoded},
    encode::{Encoded, Encoder},
};

/// A content coding that this build speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The coding of this name; `x-gzip` is gzip (RFC 9110 §8.4.1.3).
    pub(crate) fn named(name: &str) -> Option<Self> {
        match () {
            () if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Some(Self::Gzip)
            }
            () if name.eq_ignore_ascii_case("br") => Some(Self::Brotli),
            () if name.eq_ignore_ascii_case("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    /// Its name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// A level from 1 to 9 on this coding's own scale.
    fn level(self, level: u32) -> u32 {
        match self {
            Self::Gzip | Self::Brotli => level.clamp(1, 9),
            // zstd's 3 is about as much work as gzip's 6; its upper levels are for archives.
            Self::Zstd => level.clamp(1, 9).div_ceil(2) + 1,
        }
    }

    /// Its name as a header's value.
    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// The codings of a message in the order they were applied, `identity` left out; every value of the header counts.
pub(crate) fn content_codings(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        // A value that is not text is a coding that nobody knows.
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
        .collect()
}

impl From<model::policy::compress::Coding> for Coding {
    fn from(coding: model::policy::compress::Coding) -> Self {
        match coding {
            model::policy::compress::Coding::Gzip => Self::Gzip,
            model::policy::compress::Coding::Br => Self::Brotli,
            model::policy::compress::Coding::Zstd => Self::Zstd,
        }
    }
}
