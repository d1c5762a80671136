//! How a provider wants to know who calls. Getting tokens and signing is for whoever opens the socket.

use serde::Deserialize;

/// A way to authenticate, and the environment variables that customarily hold what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Credential {
    /// The way.
    pub auth: Auth,
    /// The variables, the likeliest first.
    pub env: Vec<String>,
}

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// The key in a header field of its own, after a prefix if there is one.
    Header {
        /// The field, in lower case.
        name: String,
        /// What stands before the key, such as `Token `.
        prefix: String,
    },
    /// The key in the query.
    Query {
        /// The parameter.
        name: String,
    },
    /// AWS Signature Version 4.
    SigV4 {
        /// The service in the signature's scope.
        service: String,
    },
    /// A token of Microsoft Entra ID, as a bearer token.
    Azure {
        /// What the token is for.
        scope: String,
    },
    /// A token of a Google service account or workload identity, as a bearer token.
    Google {
        /// What the token is for.
        scope: String,
    },
    /// A token from an OAuth server, as a bearer token.
    OAuth {
        /// Where tokens are had; may hold `{placeholders}`.
        token_url: String,
        /// The kind of grant; `client_credentials` unless the provider has its own.
        grant: String,
        /// What the token is for, if it must be said.
        scope: Option<String>,
    },
    /// Nothing: whoever reaches it may call it.
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Raw {
    kind: Kind,
    name: Option<String>,
    prefix: Option<String>,
    service: Option<String>,
    scope: Option<String>,
    token_url: Option<String>,
    grant: Option<String>,
    #[serde(default)]
    env: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Bearer,
    Header,
    Query,
    SigV4,
    Azure,
    Google,
    OAuth,
    None,
}

impl TryFrom<Raw> for Credential {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { kind, mut name, mut prefix, mut service, mut scope, mut token_url, mut grant, env } = raw;
        let need = |field: &mut Option<String>, what: &str| {
            field.take().ok_or_else(|| format!("authentication of kind {kind:?} needs `{what}`"))
        };
        let auth = match kind {
            Kind::Bearer => Auth::Bearer,
            Kind::Header => {
                Auth::Header { name: need(&mut name, "name")?, prefix: prefix.take().unwrap_or_default() }
            }
            Kind::Query => Auth::Query { name: need(&mut name, "name")? },
            Kind::SigV4 => Auth::SigV4 { service: need(&mut service, "service")? },
            Kind::Azure => Auth::Azure { scope: need(&mut scope, "scope")? },
            Kind::Google => Auth::Google { scope: need(&mut scope, "scope")? },
            Kind::OAuth => Auth::OAuth {
                token_url: need(&mut token_url, "token-url")?,
                grant: grant.take().unwrap_or_else(|| "client_credentials".to_owned()),
                scope: scope.take(),
            },
            Kind::None => Auth::None,
        };
        if [name, prefix, service, scope, token_url, grant].iter().any(Option::is_some) {
            return Err(format!("authentication of kind {kind:?} has fields of another kind"));
        }
        Ok(Self { auth, env })
    }
}
