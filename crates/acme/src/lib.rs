//! Certificates over ACME (RFC 8555): ordered, kept, renewed.
//!
//! [`Manager`] is told which certificates are wanted, and sees to it that there is a good one of each, on a thread of its own.
//! What it obtains, and what an authority must find while it looks, it gives to a [`Front`]: nothing here listens. All that
//! must outlive the process lies in [`store`], written whole or not at all; [`schedule`] says what is due when, with the
//! clock passed in.

mod account;
mod busy;
mod hook;
mod keys;
mod manager;
mod order;
mod schedule;
mod store;
mod tend;
mod wire;

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

pub use self::{
    keys::{Bundle, ChallengeCertificate},
    manager::{FAREWELL, Manager, Totals},
};

/// Whom certificates are asked of, and how.
#[derive(Clone, PartialEq)]
pub struct Authority {
    /// Its name here, for people.
    pub name: String,
    /// Its directory.
    pub directory: String,
    /// Mail addresses that it may write to.
    pub contacts: Vec<String>,
    /// The authorities that sign the directory's own certificate, as PEM; the system's without it.
    pub ca: Option<Bytes>,
    /// Id and key of an account that it knows otherwise.
    pub external_account: Option<(String, String)>,
    /// How names are shown to be ours, in order of preference.
    pub challenges: Vec<Challenge>,
    /// Who sets records.
    pub dns: Option<Dns>,
    /// Keys of certificates.
    pub key_type: KeyType,
    /// The kind of certificate that is wanted.
    pub profile: Option<String>,
    /// The share of its life that a certificate has left when it is renewed.
    pub renew_at_left: f64,
    /// Renew when the authority suggests it.
    pub renewal_info: bool,
    /// Bound of each request.
    pub timeout: Duration,
    /// How long an order may wait, each time.
    pub order_timeout: Duration,
    /// The first pause after a failed order, and the longest.
    pub backoff: (Duration, Duration),
}

/// How a name is shown to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// In a TLS handshake (RFC 8737).
    TlsAlpn01,
    /// By a file over HTTP.
    Http01,
    /// By a record in the domain name system.
    Dns01,
}

impl Challenge {
    /// Its name, as logs and metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// Who sets and clears records.
#[derive(Clone, PartialEq)]
pub struct Dns {
    /// What does it.
    pub by: DnsBy,
    /// How long it may take.
    pub timeout: Duration,
    /// How long a record takes to be seen everywhere.
    pub propagation: Duration,
}

/// What sets and clears records.
#[derive(Clone, PartialEq)]
pub enum DnsBy {
    /// A program.
    Command {
        /// Its path, and its arguments.
        command: Vec<String>,
        /// Its environment, whole but for `PATH`.
        environment: BTreeMap<String, String>,
    },
    /// A service over HTTP, with the headers that it wants.
    Http {
        /// Where it is.
        url: String,
        /// The headers.
        headers: BTreeMap<String, String>,
    },
}

/// Keys of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum KeyType {
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa4096,
}

/// A certificate that there should be.
#[derive(Clone, PartialEq)]
pub struct Wanted {
    /// What tells it from all others, fit for the name of a folder.
    pub id: String,
    /// The names that it covers, lower case.
    pub names: Vec<String>,
    /// Who is asked.
    pub authority: Arc<Authority>,
}

/// Where certificates are used and challenges are answered.
pub trait Front: Send + Sync + 'static {
    /// Uses a certificate from now on. An error says why it cannot be.
    ///
    /// # Errors
    /// The certificate and its key are not fit for use.
    fn install(&self, id: &str, bundle: &Bundle) -> Result<(), String>;
    /// Answers for a token over HTTP, or no more.
    fn answer_http(&self, token: &str, answer: Option<&str>);
    /// Answers for a name in handshakes, or no more.
    ///
    /// # Errors
    /// The certificate is not fit for use.
    fn answer_tls(&self, name: &str, certificate: Option<&ChallengeCertificate>) -> Result<(), String>;
}

/// How a certificate is.
#[derive(Debug, Clone)]
pub struct Status {
    /// What tells it from all others.
    pub id: String,
    /// The name of the authority.
    pub authority: String,
    /// The names that it covers.
    pub names: Vec<String>,
    /// What is going on.
    pub state: State,
    /// From when to when the one in use is good, when there is one.
    pub valid: Option<(SystemTime, SystemTime)>,
    /// When something is next done about it.
    pub due: Option<SystemTime>,
    /// Whether the authority has said so, and not its age.
    pub is_suggested: bool,
    /// Orders in a row that failed.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// What is going on with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none yet.
    Missing,
    /// There is a good one.
    Valid,
    /// The one that there is has come to its end.
    Expired,
}

impl State {
    /// Its name, as the admin API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Valid => "valid",
            Self::Expired => "expired",
        }
    }
}

// Neither keys nor what opens accounts reach a log by way of `{:?}`.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).finish_non_exhaustive()
    }
}
