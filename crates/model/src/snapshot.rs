//! A snapshot: a whole, valid configuration with everything it refers to, frozen.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::load::places::Places;
use crate::{Config, FilePath, HeaderName, NamedPolicy, Policy, PolicyUse, Secret, Upstream, VaultName};

/// What a configuration refers to outside of itself; the caller reads, the model asks.
pub trait Resolver {
    /// The value of an environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// The content of a file.
    fn file(&self, path: &Path) -> io::Result<Bytes>;
    /// What lies in the `vault` of a configuration whose other secrets and files are known: a value for each name in their
    /// order, or a sentence for the operator. `None` when it is not to be asked; then something stands in for each.
    fn vault(&self, so_far: &Snapshot, names: &[VaultName]) -> Option<Vec<Result<String, String>>> {
        let _ = (so_far, names);
        None
    }
}

/// A valid configuration with its secrets and files, as the data plane compiles it.
#[derive(Clone)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// A digest of the configuration and of everything it refers to.
    pub revision: String,
    /// What is odd about it; it can be used all the same.
    pub warnings: Arc<Diagnostics>,
    pub(crate) places: Arc<Places>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) secret_files: BTreeMap<PathBuf, String>,
    pub(crate) files: BTreeMap<PathBuf, Bytes>,
    pub(crate) vault: BTreeMap<VaultName, String>,
    pub(crate) unread: usize,
}

impl Snapshot {
    /// The value of a secret. Every secret of the configuration was resolved when it was loaded; one that does
    /// not come from it is empty.
    pub fn secret<'a>(&'a self, secret: &'a Secret) -> &'a str {
        let value = match secret {
            Secret::Env(name) => self.env.get(name),
            Secret::File(path) => self.secret_files.get(path.as_path()),
            Secret::Vault(name) => self.vault.get(name),
            Secret::Literal(text) => Some(text),
        };
        value.map_or("", String::as_str)
    }

    /// The content of a file that the configuration names. Empty for one that it does not name.
    pub fn file(&self, path: &FilePath) -> Bytes {
        self.files.get(path.as_path()).cloned().unwrap_or_default()
    }

    /// Names of what it takes from its vault.
    pub fn vault_names(&self) -> impl Iterator<Item = &VaultName> {
        self.vault.keys()
    }

    /// How many secrets of its vault nobody asked for: something stands in for them, and it cannot be served.
    pub fn unread_secrets(&self) -> usize {
        self.unread
    }

    /// Files that the configuration refers to and that are worth watching.
    pub fn referenced_files(&self) -> Vec<PathBuf> {
        self.files.keys().chain(self.secret_files.keys()).cloned().collect()
    }

    pub(crate) fn locate(&self, owner: &str, message: impl Into<String>) -> Diagnostic {
        match self.places.get(owner) {
            Some((path, place)) => Diagnostic::error(path, message).at(*place),
            None => Diagnostic::error(owner, message),
        }
    }

    /// A shared policy by name.
    pub fn named_policy(&self, name: &str) -> Option<&NamedPolicy> {
        self.config.policies.iter().find(|policy| policy.name == name)
    }

    /// The policy that is meant: in place, or shared.
    pub fn policy<'a>(&'a self, used: &'a PolicyUse) -> Option<&'a Policy> {
        match used {
            PolicyUse::Inline(policy) => Some(policy),
            PolicyUse::Shared(shared) => self.named_policy(&shared.name).map(|named| &named.policy),
        }
    }

    /// All policies of global, listener, upstream, route and consumer, shared ones as often as they are used.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        let config = &self.config;
        let uses = config
            .global_policies
            .iter()
            .chain(config.listeners.iter().flat_map(|listener| &listener.policies))
            .chain(config.upstreams.iter().flat_map(|upstream| &upstream.policies))
            .chain(config.routes.iter().flat_map(|route| &route.policies))
            .chain(config.consumers.iter().flat_map(|consumer| &consumer.policies));
        uses.filter_map(|used| self.policy(used))
    }

    /// Names of the query parameters that carry a key or a token.
    pub fn credential_parameters(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.policies().filter_map(Policy::credential_parameter).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Names of the headers in which keys are, and tokens, that are told apart by how they begin.
    pub fn key_headers(&self) -> Vec<HeaderName> {
        let all = self.policies().flat_map(|policy| std::iter::once(policy).chain(policy.parts()));
        let ways = all.filter(|policy| policy.parts().is_empty() && policy.reads_keys());
        let mut names: Vec<HeaderName> = ways.flat_map(Policy::credential_headers).collect();
        names.sort();
        names.dedup();
        names
    }

    /// An upstream by name.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.config.upstreams.iter().find(|upstream| upstream.name == name)
    }
}

// Resolved secrets must not reach a log by way of `{:?}`.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("revision", &self.revision).finish_non_exhaustive()
    }
}
