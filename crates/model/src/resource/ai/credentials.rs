//! How the gateway shows providers who pays, where that is more than a key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// How long a key is set aside that the provider refuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeyCooldown {
    /// After the first refusal (401, 402, 403, and a 429 that does not tell its reset); doubled with each further one
    /// in a row.
    pub first: Duration,
    /// At most, also where the provider tells a later reset.
    pub max: Duration,
}

impl Default for KeyCooldown {
    fn default() -> Self {
        Self { first: Duration::from_secs(10), max: Duration::from_secs(600) }
    }
}

/// Credentials of AWS: requests are signed with Signature Version 4. The region is `values.region` of the provider.
/// Nothing is taken from the machine's metadata service, for which there is `metadata`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsCredentials {
    /// Id of the access key; not with `assumeRole.webIdentityToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    /// The access key's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// Token of a temporary access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// A role to be taken on; temporary keys for it are fetched in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

/// A role of AWS that is taken on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssumeRole {
    /// Its ARN.
    #[schemars(length(min = 1))]
    pub role_arn: String,
    /// Name of the session in the audit log.
    #[serde(default = "session_name")]
    pub session_name: String,
    /// What the role's owner demands of third parties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Secret>,
    /// A token of another identity provider, as Kubernetes puts it into a file; then no access key is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_identity_token: Option<Secret>,
    /// Where the security token service is; the region's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

fn session_name() -> String {
    "tidegate".to_owned()
}

/// A client of Microsoft Entra ID. Its token is fetched in the background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureCredentials {
    /// The directory: its id or a domain of it.
    #[schemars(length(min = 1))]
    pub tenant_id: String,
    /// The client's id.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// The client's secret; without it a `federatedToken` is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// Workload identity: a token of another identity provider, as Kubernetes puts it into a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federated_token: Option<Secret>,
    /// Where tokens are had.
    #[serde(default = "authority")]
    pub authority: String,
}

fn authority() -> String {
    "https://login.microsoftonline.com".to_owned()
}

/// A Google service account, or an identity of another provider that Google trusts. Its token is fetched in the
/// background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GoogleCredentials {
    /// The account's key as Google's console hands it out: a JSON document, most often `{file: …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Secret>,
    /// Workload identity federation: the document that `gcloud iam workload-identity-pools create-cred-config` writes,
    /// most often `{file: …}`. Its token may stand in a file or at an address, and is read anew for every exchange;
    /// documents that name a program or AWS are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<Secret>,
    /// Where tokens are had; as the document says without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
}

/// A client of an OAuth server. Its token is fetched in the background and shown as a bearer token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuthCredentials {
    /// Where tokens are had; as the provider's kind says without it. `https://`, or `http://` on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The client's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// Where the two stand: in `Authorization` (RFC 6749 §2.3.1), or in the form.
    #[serde(default)]
    pub client_in: ClientIn,
    /// What the token is for; as the provider's kind says without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Further fields of the form, such as `audience`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Further fields of the form that are secret, such as `apikey`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_params: BTreeMap<String, Secret>,
}

/// Where a client's id and secret stand in a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientIn {
    /// In `Authorization: Basic`.
    #[default]
    Header,
    /// In the form.
    Form,
}

/// An identity that the machine has from its cloud: tokens come from the cloud's metadata service and are fetched in the
/// background. Nothing asks such a service unless this is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetadataCredentials {
    /// Whose service it is.
    pub cloud: Cloud,
    /// Which identity, where the machine has several: a role of AWS, a client id of Azure, an account of Google. The
    /// machine's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What is shown to the service of containers, as `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Secret>,
    /// Where the service is; where the cloud has it without it. Link-local and loopback addresses alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A cloud with a metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cloud {
    /// The role of a machine of AWS (IMDSv2; the first version is never asked).
    Aws,
    /// The role of a task of ECS or a pod of EKS: `AWS_CONTAINER_CREDENTIALS_FULL_URI` is its `endpoint`, EKS's without.
    AwsContainer,
    /// A managed identity of Azure.
    Azure,
    /// A service account of Google Cloud, workload identity of GKE among them.
    Google,
}
