//! The name of an HTTP header, checked when it is read.

use std::{fmt, ops::Deref, str::FromStr};

/// The name of an HTTP header field, in any case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderName(String);

impl HeaderName {
    /// A name known when the program is written; it must be lower case and within the grammar.
    pub fn from_static(name: &'static str) -> Self {
        Self(http::HeaderName::from_static(name).as_str().to_owned())
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `http` crate's name.
    pub fn to_http(&self) -> http::HeaderName {
        http::HeaderName::from_bytes(self.0.as_bytes()).expect("checked when it was read")
    }
}

impl Deref for HeaderName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        http::HeaderName::from_bytes(text.as_bytes())
            .map(|name| Self(name.as_str().to_owned()))
            .map_err(|_| format!("`{text}` is not the name of a header"))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::textual!(HeaderName, "HeaderName", {
    "type": "string",
    "format": "header-name",
    "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
});
