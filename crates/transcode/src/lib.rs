//! gRPC for those who do not speak it: REST by `google.api.http`, gRPC-Web and Connect. Bytes in, bytes out: no sockets.
//!
//! [`schema`] is what descriptors say, [`rule`] and [`tree`] which request means which method, [`binding`] a request's
//! message, [`json`] the mapping of protobuf to JSON. [`frame`] takes messages apart, [`status`] is how calls end,
//! [`metadata`] what goes along; [`web`] and [`connect`] are the two protocols, [`answer`] turns a gRPC answer into what
//! its client reads, and [`reflect`] asks servers for their descriptors.

pub mod answer;
pub mod binding;
pub mod connect;
pub mod field;
pub mod frame;
pub mod json;
pub mod metadata;
pub mod reflect;
pub mod rule;
pub mod schema;
pub mod status;
pub mod template;
pub mod tree;
pub mod web;

use std::fmt;

pub use prost_reflect::DynamicMessage;

/// What is wrong with a client's request: where, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The place: a field (`address.street`), a parameter or nothing for the whole.
    pub place: String,
    /// What is wrong there.
    pub what: String,
    /// More than is allowed, rather than other than is expected.
    pub is_too_large: bool,
}

impl Wrong {
    /// Something wrong at a place.
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), is_too_large: false }
    }

    /// More than is allowed.
    pub fn large(what: impl Into<String>) -> Self {
        Self { place: String::new(), what: what.into(), is_too_large: true }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.what),
            place => write!(f, "`{place}`: {}", self.what),
        }
    }
}

impl std::error::Error for Wrong {}
