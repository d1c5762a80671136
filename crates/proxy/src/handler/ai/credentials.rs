//! A provider's credentials as its settings have them, made into keys that prove who pays.

use std::sync::Arc;

use ai::catalogue;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};
use identity::sigv4::Scope;
use model::{
    Secret,
    resource::ai::{
        AwsCredentials, AzureCredentials, ClientIn, Cloud, GoogleCredentials, MetadataCredentials,
        OAuthCredentials, Provider as Settings,
    },
};
use resilience::cooldown::Aside;

use super::{
    aws::{AwsKey, source},
    federated::Federated,
    grant::{Grant, ServiceAccount, encode},
    keys::{Key, Keys},
    metadata::Metadata,
    proof::Proof,
    token_source::TokenSource,
};
use crate::{
    compiled::Building,
    oauth::{Client, fingerprint},
    policy::jwt::fetch::Target,
};

/// What a provider's credentials are made with.
struct Making<'m> {
    kind: &'static catalogue::Provider,
    settings: &'m Settings,
    cx: &'m Building<'m>,
}

/// The keys of a provider.
pub(super) fn compile(
    kind: &'static catalogue::Provider,
    settings: &Settings,
    cx: &Building<'_>,
) -> Result<Keys, String> {
    let making = Making { kind, settings, cx: &cx.of(&format!("ai/providers/{}", settings.name)) };
    let mut list = Vec::new();
    for (index, secret) in settings.keys.iter().enumerate() {
        let text = cx.snapshot.secret(secret);
        list.push(making.key(format!("keys[{index}]"), making.plain(text)?, &[text]));
    }
    if let Some(aws) = &settings.aws {
        list.push(making.aws(aws)?);
    }
    if let Some(azure) = &settings.azure {
        list.push(making.azure(azure)?);
    }
    if let Some(google) = &settings.google {
        list.push(making.google(google)?);
    }
    if let Some(oauth) = &settings.oauth {
        list.push(making.oauth(oauth)?);
    }
    if let Some(metadata) = &settings.metadata {
        list.push(making.metadata(metadata)?);
    }
    if list.is_empty()
        && !kind.auth.iter().any(|one| is_plain(&one.auth) || one.auth == catalogue::Auth::None)
    {
        return Err(making.wants());
    }
    let aside = &settings.key_cooldown;
    Ok(Keys::new(list, Aside { first: aside.first.get(), max: aside.max.get() }))
}

fn is_plain(auth: &catalogue::Auth) -> bool {
    matches!(auth, catalogue::Auth::Bearer | catalogue::Auth::Header { .. } | catalogue::Auth::Query { .. })
}

fn target(place: &str, url: &str) -> Result<Target, String> {
    Target::parse(url).map_err(|error| format!("`{place}`: {error}"))
}

impl Making<'_> {
    fn secret<'s>(&'s self, secret: &'s Option<Secret>) -> &'s str {
        secret.as_ref().map_or("", |secret| self.cx.snapshot.secret(secret))
    }

    /// What the kind takes, for who gave something else.
    fn wants(&self) -> String {
        let mut ways: Vec<&str> = Vec::new();
        for one in &self.kind.auth {
            let way = match &one.auth {
                catalogue::Auth::Bearer | catalogue::Auth::Header { .. } | catalogue::Auth::Query { .. } => {
                    "`keys`"
                }
                catalogue::Auth::SigV4 { .. } => "`aws`",
                catalogue::Auth::Azure { .. } => "`azure`",
                catalogue::Auth::Google { .. } => "`google`",
                catalogue::Auth::OAuth { .. } => "`oauth`",
                catalogue::Auth::None => "no credentials",
            };
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        format!("a provider of kind `{}` takes {}", self.settings.kind, ways.join(" or "))
    }

    /// A key whose state outlives the configuration while what it is made of stays as it is.
    fn key(&self, place: String, proof: Proof, parts: &[&str]) -> Key {
        let mark = fingerprint(parts.iter().copied());
        let state = self.cx.keep(&format!("key/{mark}"), &(), Default::default);
        Key { place: place.into(), proof, state, mark: mark.get(..8).unwrap_or_default().into() }
    }

    /// A key of one text, where the kind wants it.
    fn plain(&self, text: &str) -> Result<Proof, String> {
        let auth = self.kind.auth.iter().map(|one| &one.auth).find(|auth| is_plain(auth));
        let (name, prefix) = match auth {
            Some(catalogue::Auth::Query { name }) => {
                return Ok(Proof::Query(format!("{}={}", encode(name), encode(text))));
            }
            Some(catalogue::Auth::Header { name, prefix }) => {
                (HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?, prefix.as_str())
            }
            Some(catalogue::Auth::Bearer) => (header::AUTHORIZATION, "Bearer "),
            _ => return Err(format!("`keys`: {}", self.wants())),
        };
        let mut value = HeaderValue::from_str(&format!("{prefix}{text}"))
            .map_err(|_| "`keys`: one of them holds bytes that no header can".to_owned())?;
        value.set_sensitive(true);
        Ok(Proof::Header(name, value))
    }

    fn scope_of(
        &self,
        place: &str,
        read: impl Fn(&catalogue::Auth) -> Option<String>,
    ) -> Result<String, String> {
        let found = self.kind.auth.iter().find_map(|one| read(&one.auth));
        found.ok_or_else(|| format!("`{place}`: {}", self.wants()))
    }

    fn source(&self, grant: Grant, parts: &[&str]) -> Arc<TokenSource> {
        source(self.cx, grant, parts.iter().copied())
    }

    fn token(&self, place: &str, grant: Grant, parts: &[&str]) -> Key {
        self.key(place.to_owned(), Proof::Token(self.source(grant, parts)), parts)
    }

    fn aws(&self, aws: &AwsCredentials) -> Result<Key, String> {
        let service = self.scope_of("aws", |auth| match auth {
            catalogue::Auth::SigV4 { service } => Some(service.clone()),
            _ => None,
        })?;
        let region = super::provider::fill(self.kind, self.settings, "{region}").map_err(|_| {
            "`aws`: the region is missing; give it as `values: {region: us-east-1}`".to_owned()
        })?;
        let (key, parts) = AwsKey::of(aws, &region, self.cx)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.key("aws".to_owned(), Proof::Signature(Scope { region, service }, key), &parts))
    }

    fn azure(&self, azure: &AzureCredentials) -> Result<Key, String> {
        let scope = self.scope_of("azure", |auth| match auth {
            catalogue::Auth::Azure { scope } => Some(scope.clone()),
            _ => None,
        })?;
        let authority = azure.authority.trim_end_matches('/');
        let url = format!("{authority}/{}/oauth2/v2.0/token", encode(&azure.tenant_id));
        let mut form = format!(
            "grant_type=client_credentials&client_id={}&scope={}",
            encode(&azure.client_id),
            encode(&scope)
        );
        match &azure.federated_token {
            Some(token) => form.push_str(&format!(
                "&client_assertion_type={}&client_assertion={}",
                encode("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                encode(self.cx.snapshot.secret(token))
            )),
            None => form.push_str(&format!("&client_secret={}", encode(self.secret(&azure.client_secret)))),
        }
        let target = target("azure.authority", &url)?;
        let parts = [url.as_str(), &form.clone()];
        Ok(self.token("azure", Grant::Form { target, form, client: Client::Nobody }, &parts))
    }

    fn metadata(&self, settings: &MetadataCredentials) -> Result<Key, String> {
        let authorization = settings.authorization.as_ref().map(|secret| self.cx.snapshot.secret(secret));
        let wanted = match settings.cloud {
            Cloud::Aws | Cloud::AwsContainer => self.scope_of("metadata.cloud", |auth| match auth {
                catalogue::Auth::SigV4 { service } => Some(service.clone()),
                _ => None,
            })?,
            Cloud::Azure => self.scope_of("metadata.cloud", |auth| match auth {
                catalogue::Auth::Azure { scope } => Some(scope.clone()),
                _ => None,
            })?,
            Cloud::Google => self.scope_of("metadata.cloud", |auth| match auth {
                catalogue::Auth::Google { scope } => Some(scope.clone()),
                _ => None,
            })?,
        };
        let metadata = Metadata::new(settings, &wanted, authorization)?;
        let parts =
            [metadata.asks().to_owned(), wanted.clone(), authorization.unwrap_or_default().to_owned()];
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let source = self.source(Grant::Metadata(Box::new(metadata)), &parts);
        let proof = match settings.cloud {
            Cloud::Aws | Cloud::AwsContainer => {
                let region = super::provider::fill(self.kind, self.settings, "{region}").map_err(|_| {
                    "`metadata`: the region is missing; give it as `values: {region: us-east-1}`".to_owned()
                })?;
                Proof::Signature(Scope { region, service: wanted.clone() }, AwsKey::Fetched(source))
            }
            Cloud::Azure | Cloud::Google => Proof::Token(source),
        };
        Ok(self.key("metadata".to_owned(), proof, &parts))
    }

    fn google(&self, google: &GoogleCredentials) -> Result<Key, String> {
        let scope = self.scope_of("google", |auth| match auth {
            catalogue::Auth::Google { scope } => Some(scope.clone()),
            _ => None,
        })?;
        if google.external_account.is_some() {
            let document = self.secret(&google.external_account);
            let federated = Federated::parse(document, &scope, google.token_url.as_deref())?;
            let parts = [federated.fingerprint().to_owned(), scope];
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            return Ok(self.token("google", Grant::Federated(Box::new(federated)), &parts));
        }
        let document = self.secret(&google.service_account);
        let account = ServiceAccount::parse(document)?;
        let url = google.token_url.clone().unwrap_or_else(|| account.token_url.clone());
        let target = target("google.tokenUrl", &url)?;
        let grant = Grant::ServiceAccount { target, account: Box::new(account), scope: scope.clone() };
        Ok(self.token("google", grant, &[document, &url, &scope]))
    }

    fn oauth(&self, oauth: &OAuthCredentials) -> Result<Key, String> {
        let known = self.kind.auth.iter().find_map(|one| match &one.auth {
            catalogue::Auth::OAuth { token_url, grant, scope } => Some((token_url, grant, scope)),
            _ => None,
        });
        let url = match (&oauth.token_url, known) {
            (Some(url), _) => url.clone(),
            (None, Some((url, ..))) => super::provider::fill(self.kind, self.settings, url)?,
            (None, None) => {
                return Err(format!("`oauth.tokenUrl` is needed: kind `{}` knows none", self.settings.kind));
            }
        };
        let grant = known.map_or("client_credentials", |(_, grant, _)| grant.as_str());
        let mut form = format!("grant_type={}", encode(grant));
        let mut add =
            |name: &str, value: &str| form.push_str(&format!("&{}={}", encode(name), encode(value)));
        if let Some(scope) = oauth.scope.as_ref().or_else(|| known.and_then(|(.., scope)| scope.as_ref())) {
            add("scope", scope);
        }
        for (name, value) in &oauth.params {
            add(name, value);
        }
        for (name, value) in &oauth.secret_params {
            add(name, self.cx.snapshot.secret(value));
        }
        let mut client = None;
        if let Some(id) = &oauth.client_id {
            let secret = self.secret(&oauth.client_secret);
            match oauth.client_in {
                ClientIn::Form => {
                    add("client_id", id);
                    add("client_secret", secret);
                }
                ClientIn::Header => {
                    // Both are encoded as in a form first (RFC 6749 §2.3.1).
                    let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
                    let mut value =
                        HeaderValue::from_str(&format!("Basic {pair}")).map_err(|error| error.to_string())?;
                    value.set_sensitive(true);
                    client = Some(value);
                }
            }
        }
        let parts = [
            url.clone(),
            form.clone(),
            client
                .as_ref()
                .map_or_else(String::new, |client| String::from_utf8_lossy(client.as_bytes()).into_owned()),
        ];
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let client = client.map_or(Client::Nobody, Client::Header);
        Ok(self.token("oauth", Grant::Form { target: target("oauth.tokenUrl", &url)?, form, client }, &parts))
    }
}
