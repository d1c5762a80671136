//! Access keys of AWS: one that is given, or temporary ones of a role that are fetched. They sign what goes to providers of
//! models, and to whatever upstream is to be shown signatures.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, Uri};
use identity::sigv4::{self, AccessKey, Payload, Scope};
use model::resource::ai::AwsCredentials;

use super::{
    grant::{Grant, encode},
    token_source::{Material, TokenSource},
};
use crate::{compiled::Building, oauth::fingerprint, policy::jwt::fetch::Target};

/// What signs.
pub(crate) enum AwsKey {
    /// A key that was given.
    Own(AccessKey),
    /// Temporary keys.
    Fetched(Arc<TokenSource>),
}

impl AwsKey {
    /// A key by its settings, and what it is made of.
    pub(crate) fn of(
        aws: &AwsCredentials,
        region: &str,
        cx: &Building<'_>,
    ) -> Result<(Self, Vec<String>), String> {
        let text = |secret: &Option<model::Secret>| {
            secret.as_ref().map_or_else(String::new, |secret| cx.snapshot.secret(secret).to_owned())
        };
        let (id, secret) = (text(&aws.access_key_id), text(&aws.secret_access_key));
        let session = aws.session_token.as_ref().map(|token| cx.snapshot.secret(token).to_owned());
        let key = AccessKey { id: id.clone(), secret: secret.clone(), token: session.clone() };
        let Some(role) = &aws.assume_role else {
            return Ok((Self::Own(key), vec![id, secret, session.unwrap_or_default()]));
        };
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = role.endpoint.clone().unwrap_or_else(|| format!("https://sts.{region}.{domain}/"));
        let target = Target::parse(&url).map_err(|error| format!("`aws.assumeRole.endpoint`: {error}"))?;
        let mut form = format!(
            "Version=2011-06-15&RoleArn={}&RoleSessionName={}",
            encode(&role.role_arn),
            encode(&role.session_name)
        );
        if let Some(id) = &role.external_id {
            form.push_str(&format!("&ExternalId={}", encode(cx.snapshot.secret(id))));
        }
        let key = match &role.web_identity_token {
            Some(token) => {
                let token = encode(cx.snapshot.secret(token));
                form.push_str(&format!("&Action=AssumeRoleWithWebIdentity&WebIdentityToken={token}"));
                None
            }
            None => {
                form.push_str("&Action=AssumeRole");
                Some(key)
            }
        };
        let parts = vec![id, secret, form.clone(), url, region.to_owned()];
        let grant = Grant::Role { target, form, region: region.to_owned(), key };
        let source = source(cx, grant, parts.iter().map(String::as_str));
        Ok((Self::Fetched(source), parts))
    }

    /// Signs a request that is whole otherwise.
    pub(crate) async fn sign(
        &self,
        scope: &Scope,
        method: &str,
        uri: &Uri,
        headers: &mut HeaderMap,
        payload: Payload<'_>,
    ) -> Result<(), String> {
        match self {
            Self::Own(key) => sigv4::sign(key, scope, method, uri, headers, payload, SystemTime::now()),
            Self::Fetched(source) => match &source.token().await?.material {
                Material::AccessKey(key) => {
                    sigv4::sign(key, scope, method, uri, headers, payload, SystemTime::now())
                }
                Material::Bearer(_) => Err("a bearer token signs nothing".to_owned()),
            },
        }
    }

    /// Where its keys come from, when they are fetched.
    pub(super) fn source(&self) -> Option<&Arc<TokenSource>> {
        match self {
            Self::Own(_) => None,
            Self::Fetched(source) => Some(source),
        }
    }
}

/// Where tokens come from, which outlives the configuration while what it is made of stays as it is.
pub(super) fn source<'p>(
    cx: &Building<'_>,
    grant: Grant,
    parts: impl IntoIterator<Item = &'p str>,
) -> Arc<TokenSource> {
    let source = cx.keep(&format!("token/{}", fingerprint(parts)), &(), || TokenSource::new(grant));
    TokenSource::start(&source, cx.background);
    source
}
