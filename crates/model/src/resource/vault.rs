//! A vault: where secrets lie that `{vault: path#key}` names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, FilePath, Secret};

/// HashiCorp Vault or OpenBao, in which secrets lie that `{vault: path#key}` names. They are read at the start, and again
/// every `refresh`; those that have changed are applied as changed files are. What was read stays while the vault is away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vault {
    /// Where it is: `https`, or `http` at a loopback address.
    #[schemars(extend("format" = "url"))]
    pub address: String,
    /// The namespace of all paths, logins included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// PEM file with the authorities to trust; the system's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
    /// How the gateway shows who it is.
    pub auth: VaultAuth,
    /// Version of the key/value engine by mount: `{secret: 2, legacy: 1}`. Mounts that are not here are asked about as the
    /// `vault` command does; where the token may not ask, they count as the first part of the path and version 2.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, u8>,
    /// Bound of each request.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How often secrets without a lease are read again.
    #[serde(default = "refresh")]
    pub refresh: Duration,
    /// How long the start waits for a vault that is away or sealed. A reload waits for `timeout` at most.
    #[serde(default = "start_timeout")]
    pub start_timeout: Duration,
}

/// How the gateway shows a vault who it is. Its own secrets are of the environment, of files or literal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum VaultAuth {
    /// By a token. One that can be renewed is; give another one before it ends.
    Token(Secret),
    /// By a role's id and its secret.
    AppRole(AppRole),
    /// As a service account of Kubernetes, or with another signed token in a file.
    Kubernetes(KubernetesRole),
}

/// A role by its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppRole {
    /// Where the method is mounted.
    #[serde(default = "app_role_mount")]
    #[schemars(length(min = 1))]
    pub mount: String,
    /// The role's id.
    pub role_id: Secret,
    /// The role's secret; roles that are bound otherwise go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<Secret>,
}

/// A role that is shown by a signed token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesRole {
    /// Where the method is mounted; one of the kind `jwt` does, too.
    #[serde(default = "kubernetes_mount")]
    #[schemars(length(min = 1))]
    pub mount: String,
    /// The role.
    #[schemars(length(min = 1))]
    pub role: String,
    /// The file with the token, read at each login.
    #[serde(default = "service_account")]
    #[schemars(extend("format" = "path"))]
    pub token_file: String,
}

fn app_role_mount() -> String {
    "approle".to_owned()
}

fn kubernetes_mount() -> String {
    "kubernetes".to_owned()
}

fn service_account() -> String {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned()
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn refresh() -> Duration {
    Duration::from_secs(60)
}

fn start_timeout() -> Duration {
    Duration::from_secs(30)
}
