//! A client of HashiCorp Vault (and OpenBao) over its HTTP API, which keeps what it has read fresh.
//!
//! [`Keeper`] is all that is seen from outside: it is asked for paths by threads that may wait, and reads on a thread of
//! its own. There is one login however many paths there are, and one request per path however many secrets lie there.
//! What was read stays known while the server is away. Nothing here knows what the secrets are for.

mod answer;
mod client;
mod keeper;
mod wire;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use bytes::Bytes;

pub use self::keeper::{Keeper, Status};

/// What lies at a path: its keys with their values as texts.
pub type Fields = BTreeMap<String, String>;

/// How a server is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it is, such as `https://vault.example.test:8200`.
    pub address: String,
    /// The namespace of all paths, logins included.
    pub namespace: Option<String>,
    /// The authorities to trust, as PEM; the system's without it.
    pub ca: Option<Bytes>,
    /// How it is shown who asks.
    pub auth: Auth,
    /// Mounts whose version of the key/value engine is known: nobody is asked about them.
    pub mounts: BTreeMap<String, u8>,
    /// Bound of each request.
    pub timeout: Duration,
    /// How often what was read without a lease is read again.
    pub refresh: Duration,
}

/// How it is shown who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// By a token that somebody else has made.
    Token(String),
    /// By a role's id and its secret.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id.
        role_id: String,
        /// Its secret; roles may go without.
        secret_id: Option<String>,
    },
    /// By a signed token in a file that somebody keeps fresh, as Kubernetes does for its service accounts.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: String,
        /// The file, read at each login.
        file: PathBuf,
    },
}

// Neither tokens nor secrets reach a log by way of `{:?}`.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("address", &self.address).finish_non_exhaustive()
    }
}
