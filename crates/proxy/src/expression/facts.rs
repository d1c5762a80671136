//! What an expression may ask about a call, borrowed from where it is.

use std::net::IpAddr;

use http::HeaderMap;
use serde_json::Map;

use crate::router::CapturesView;

/// A call as expressions see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// `request.method`
    pub(crate) method: &'a str,
    /// `request.path`: the canonical path.
    pub(crate) path: &'a str,
    /// `request.host`: in small letters, without a port; empty when there is none.
    pub(crate) host: &'a str,
    /// `request.scheme`: `http` or `https`.
    pub(crate) scheme: &'a str,
    /// `request.query`: a map of decoded parameters.
    pub(crate) query: &'a str,
    /// `request.headers` and `request.cookies`.
    pub(crate) headers: &'a HeaderMap,
    /// `client.address`
    pub(crate) client: IpAddr,
    /// `listener`: its name.
    pub(crate) listener: &'a str,
    /// `sni` and `tls.sni`; empty when there is none.
    pub(crate) sni: &'a str,
    /// `consumer`; asking for it fails when nobody is authenticated.
    pub(crate) consumer: Option<ConsumerFacts<'a>>,
    /// `jwt`; asking for it fails when there is no verified token.
    pub(crate) claims: Option<&'a Map<String, serde_json::Value>>,
    /// `tool` and `arguments`; asking for them fails where no tool is called.
    pub(crate) tool: Option<ToolFacts<'a>>,
    /// `captures`
    pub(crate) captures: CapturesView<'a, 'a>,
}

/// Which tool is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToolFacts<'a> {
    /// `tool`: its name, as clients know it.
    pub(crate) name: &'a str,
    /// `arguments`; asking for them fails while tools are listed.
    pub(crate) arguments: Option<&'a Map<String, serde_json::Value>>,
}

/// Who is authenticated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerFacts<'a> {
    /// `consumer.name`
    pub(crate) name: &'a str,
    /// `consumer.groups`
    pub(crate) groups: &'a [Box<str>],
}
