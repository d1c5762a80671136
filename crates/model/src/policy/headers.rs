//! `headers`: changes headers of requests and answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    HeaderName,
    load::Context,
    rules::{missing_capture, places, template},
};

/// Changes headers of requests and answers. Values are templates: `{{ request.path }}`, `{{ consumer.name }}`,
/// `{{ jwt.sub }}`, `{{ captures.id }}`, `{{ client.address }}`; a text one of whose places has no value
/// in a call is none, and its header is left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Headers {
    /// Before the request goes on.
    pub request: HeaderChanges,
    /// Before the answer goes back.
    pub response: HeaderChanges,
}

/// Changes of one head: rename, then remove, then set, then add.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderChanges {
    /// Old name to new name.
    pub rename: BTreeMap<HeaderName, HeaderName>,
    /// Names that are removed.
    pub remove: Vec<HeaderName>,
    /// Values that replace what is there. One that comes out empty removes the header.
    pub set: BTreeMap<HeaderName, String>,
    /// Values that join what is there.
    pub add: BTreeMap<HeaderName, String>,
}

/// Headers that frame messages or belong to one connection: changing them would break or split messages.
pub(crate) const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Settings for Headers {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn answer_values(&self) -> Vec<(&HeaderName, &str)> {
        let all = self.response.set.iter().chain(&self.response.add);
        all.map(|(name, text)| (name, text.as_str())).collect()
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        for (key, changes) in [("request", &self.request), ("response", &self.response)] {
            at.field(key, |at| changes.validate(at));
        }
        if *self == Self::default() {
            at.error("nothing is changed here");
        }
    }

    fn validate_captures(&self, offered: &[Vec<String>], at: &mut Context<'_, '_>) {
        for (key, changes) in [("request", &self.request), ("response", &self.response)] {
            at.field(key, |at| changes.validate_captures(offered, at));
        }
    }
}

impl HeaderChanges {
    /// A value made of a capture is never there where no match has that.
    fn validate_captures(&self, offered: &[Vec<String>], at: &mut Context<'_, '_>) {
        for (key, values) in [("set", &self.set), ("add", &self.add)] {
            at.field(key, |at| {
                for (name, value) in values {
                    let mut captures = places(value).filter_map(|place| place.strip_prefix("captures."));
                    let is_there = |name: &str| offered.iter().flatten().any(|known| known == name);
                    if let Some(capture) = captures.find(|capture| !is_there(capture)) {
                        at.field(name, |at| missing_capture(capture, offered, at));
                    }
                }
            });
        }
    }

    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        for (key, values) in [("set", &self.set), ("add", &self.add)] {
            at.field(key, |at| {
                for (name, value) in values {
                    at.field(name, |at| {
                        header_value(name, value, at);
                        template(value, at);
                    });
                }
            });
        }
        at.each("remove", &self.remove, |at, name| not_framing(name, at));
        at.field("rename", |at| {
            for (from, to) in &self.rename {
                at.field(from, |at| {
                    not_framing(from, at);
                    not_framing(to, at);
                });
            }
        });
    }
}

fn not_framing(name: &HeaderName, at: &mut Context<'_, '_>) {
    if FRAMING.contains(&name.as_str()) {
        at.error(format!("`{name}` is the gateway's own to set"));
    }
}

/// A header that may be set, and a value that it may have.
pub(crate) fn header_value(name: &HeaderName, value: &str, at: &mut Context<'_, '_>) {
    not_framing(name, at);
    if http::HeaderValue::from_str(value).is_err() {
        at.error("a header's value has no line ends or control characters");
    }
}
