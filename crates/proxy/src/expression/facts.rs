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
    /// `ai`; there where a target of a model is chosen.
    pub(crate) ai: Option<AiFacts<'a>>,
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AiFacts<'a> {
    /// `ai.model`: as the client names it.
    pub(crate) model: &'a str,
    /// `ai.dialect`: what the client speaks.
    pub(crate) dialect: &'a str,
    /// `ai.stream`
    pub(crate) stream: bool,
    /// `ai.tools`: there are tools.
    pub(crate) tools: bool,
    /// `ai.images`: there are images.
    pub(crate) images: bool,
    /// `ai.inputTokens`: about as many tokens has the prompt.
    pub(crate) input_tokens: u64,
    /// `ai.maxTokens`: the most tokens of the answer that are asked for; 0 where none are told.
    pub(crate) max_tokens: u64,
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
