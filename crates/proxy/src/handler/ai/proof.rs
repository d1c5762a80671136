//! How a call proves who pays: a key in its place, a signature, or a token that is fetched.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use identity::sigv4::{Payload, Scope};

use super::{
    aws::AwsKey,
    token_source::{Material, TokenSource},
};

/// What proves who pays.
pub(super) enum Proof {
    /// This field.
    Header(HeaderName, HeaderValue),
    /// This parameter of the query, encoded.
    Query(String),
    /// A signature by this key.
    Signature(Scope, AwsKey),
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
            Self::Signature(scope, key) => key.sign(scope, method, uri, headers, Payload::Signed(body)).await,
            Self::Token(source) => match &source.token().await?.material {
                Material::Bearer(value) => {
                    headers.insert(header::AUTHORIZATION, value.clone());
                    Ok(())
                }
                Material::AccessKey(_) => Err("an access key is no bearer token".to_owned()),
            },
        }
    }

    /// Where it is fetched from.
    fn source(&self) -> Option<&Arc<TokenSource>> {
        match self {
            Self::Token(source) => Some(source),
            Self::Signature(_, key) => key.source(),
            Self::Header(..) | Self::Query(_) => None,
        }
    }

    /// The provider refuses it: a token is fetched anew before its time.
    pub(super) fn is_refused(&self) {
        if let Some(source) = self.source() {
            source.renew();
        }
    }

    /// For how long its token still holds.
    pub(super) fn token_seconds(&self, now: Instant) -> Option<f64> {
        self.source().map(|source| source.seconds_left(now))
    }
}
