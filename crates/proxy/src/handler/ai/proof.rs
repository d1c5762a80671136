//! How a call proves who pays: a key in its place, a signature, or a token that is fetched.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::{
    sigv4::{self, AccessKey, Scope},
    token_source::{Material, TokenSource},
};

/// What proves who pays.
pub(super) enum Proof {
    /// This field.
    Header(HeaderName, HeaderValue),
    /// This parameter of the query, encoded.
    Query(String),
    /// A signature by this key.
    Signature(Scope, AccessKey),
    /// A signature by a temporary key.
    FetchedSignature(Scope, Arc<TokenSource>),
    /// A bearer token.
    Token(Arc<TokenSource>),
}

impl Proof {
    /// Adds the proof to a request that is whole otherwise.
    pub(super) async fn add(
        &self,
        method: &str,
        uri: &mut Uri,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), String> {
        match self {
            Self::Header(name, value) => {
                headers.insert(name.clone(), value.clone());
                Ok(())
            }
            Self::Query(pair) => {
                let (path, query) = (uri.path(), uri.query());
                let text = match query {
                    Some(query) => format!("{path}?{query}&{pair}"),
                    None => format!("{path}?{pair}"),
                };
                *uri = text.parse().map_err(|_| "the key cannot stand in a query".to_owned())?;
                Ok(())
            }
            Self::Signature(scope, key) => {
                sigv4::sign(key, scope, method, uri, headers, body, SystemTime::now())
            }
            Self::FetchedSignature(scope, source) => match &source.token().await?.material {
                Material::AccessKey(key) => {
                    sigv4::sign(key, scope, method, uri, headers, body, SystemTime::now())
                }
                Material::Bearer(_) => Err("a bearer token signs nothing".to_owned()),
            },
            Self::Token(source) => match &source.token().await?.material {
                Material::Bearer(value) => {
                    headers.insert(header::AUTHORIZATION, value.clone());
                    Ok(())
                }
                Material::AccessKey(_) => Err("an access key is no bearer token".to_owned()),
            },
        }
    }

    /// The provider refuses it: a token is fetched anew before its time.
    pub(super) fn is_refused(&self) {
        if let Self::Token(source) | Self::FetchedSignature(_, source) = self {
            source.renew();
        }
    }

    /// For how long its token still holds.
    pub(super) fn token_seconds(&self, now: Instant) -> Option<f64> {
        match self {
            Self::Token(source) | Self::FetchedSignature(_, source) => Some(source.seconds_left(now)),
            Self::Header(..) | Self::Query(_) | Self::Signature(..) => None,
        }
    }
}
