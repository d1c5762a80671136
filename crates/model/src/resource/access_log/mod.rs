//! Access logs: a record per call, where and how it is written.
//!
//! The table here is the registry of what sends records elsewhere: a line makes a kind, its key and its settings known,
//! and [`Settings`] is what its own file answers.

pub mod buffering;
pub mod rotation;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    buffering::{Batch, Queue, Retry, Spill},
    rotation::Rotation,
};
use super::tls::UpstreamTls;
use crate::{Duration, FilePath, Percent, Secret, load::Context};

/// What the settings of a kind answer.
pub(crate) trait Settings {
    /// Secrets in them.
    fn secrets(&self) -> Vec<&Secret> {
        Vec::new()
    }

    /// TLS in them.
    fn tls(&self) -> Option<&UpstreamTls> {
        None
    }

    /// What a schema cannot say.
    fn validate(&self, log: &AccessLog, at: &mut Context<'_, '_>);
}

/// Makes of each line a module, a kind, and a key with its settings.
macro_rules! kinds {
    ($($file:ident: $Name:ident => $about:literal;)*) => {
        $(pub mod $file;)*

        /// Where an access log goes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum AccessLogKind {
            /// Standard output.
            #[default]
            Stdout,
            /// Standard error.
            Stderr,
            /// A file.
            File,
            $(
                #[doc = $about]
                $Name,
            )*
        }

        /// One access log.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct AccessLog {
            /// Where the records go. What is neither a standard stream nor a file has its settings under the key of
            /// the same name.
            pub kind: AccessLogKind,
            /// What metrics and the admin endpoint call it; its kind without one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(extend("format" = "name"))]
            pub name: Option<String>,
            /// The file, for kind `file`; it is opened again on the rotation signal, and when it was moved away.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(extend("format" = "path"))]
            pub path: Option<FilePath>,
            /// When a file is put aside and another one begun, for kind `file`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub rotate: Option<Rotation>,
            $(
                #[doc = $about]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $file: Option<$file::$Name>,
            )*
            /// `json`, or a template with `{{ field }}` places such as `{{ status }} {{ method }} {{ path }}`.
            #[serde(default = "json")]
            pub format: String,
            /// Share of the calls that are written; failed calls (5xx) are always written.
            #[serde(default = "all")]
            pub sample: Percent,
            /// Which calls are written; all without it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub filter: Option<Filter>,
            /// What never appears in a line.
            #[serde(default)]
            pub redact: Redact,
            /// What leaves together; not for standard streams and files.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub batch: Option<Batch>,
            /// What waits in memory while the receiver is slow or away; not for standard streams and files.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub queue: Option<Queue>,
            /// How a batch that failed is sent again; not for standard streams and files.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub retry: Option<Retry>,
            /// Where on disk records wait that find the queue full; not for standard streams and files.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub spill: Option<Spill>,
        }

        impl AccessLogKind {
            /// Every kind, as the configuration writes it.
            pub const NAMES: &[&str] = &["stdout", "stderr", "file", $(stringify!($file)),*];

            /// As the configuration writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::Stdout => "stdout",
                    Self::Stderr => "stderr",
                    Self::File => "file",
                    $(Self::$Name => stringify!($file),)*
                }
            }
        }

        impl AccessLog {
            /// The settings that kinds have here, each with its key.
            pub(crate) fn settings(&self) -> Vec<(&'static str, &dyn Settings)> {
                let mut found: Vec<(&'static str, &dyn Settings)> = Vec::new();
                $(
                    if let Some(settings) = &self.$file {
                        found.push((stringify!($file), settings));
                    }
                )*
                found
            }
        }
    };
}

// Every kind that sends records elsewhere: its file, which is its key as well, the settings in it, and what it is.
// rustfmt finds no file by way of a macro: `make fmt` names these to it.
kinds! {
    syslog: Syslog => "A receiver of syslog (RFC 5424).";
    http: Http => "A receiver of JSON over HTTP.";
    nats: Nats => "A subject of NATS.";
    kafka: Kafka => "A topic of Kafka's.";
    loki: Loki => "Grafana Loki.";
    clickhouse: Clickhouse => "A table of ClickHouse's.";
    otlp: Otlp => "An OTLP receiver, as log records.";
}

impl AccessLog {
    /// Whether it is written by this process itself, line by line.
    pub fn is_local(&self) -> bool {
        matches!(self.kind, AccessLogKind::Stdout | AccessLogKind::Stderr | AccessLogKind::File)
    }

    /// The broker that it goes to, where it goes to one.
    pub fn broker(&self) -> Option<&str> {
        let nats = self.nats.as_ref().map(|nats| &*nats.broker);
        nats.or_else(|| self.kafka.as_ref().map(|kafka| &*kafka.broker))
    }

    /// Secrets in its settings.
    pub fn secrets(&self) -> Vec<&Secret> {
        self.settings().into_iter().flat_map(|(_, settings)| settings.secrets()).collect()
    }

    /// Files of certificates in its settings.
    pub fn files(&self) -> Vec<&FilePath> {
        let all = self.settings().into_iter().filter_map(|(_, settings)| settings.tls());
        all.flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]).flatten().collect()
    }
}

/// What access logs are called: their own names, or else their kinds, numbered from the second one on.
pub fn names(logs: &[AccessLog]) -> Vec<String> {
    let mut taken: Vec<String> = logs.iter().filter_map(|log| log.name.clone()).collect();
    let name = |log: &AccessLog| {
        if let Some(name) = &log.name {
            return name.clone();
        }
        let kind = log.kind.as_str();
        let mut numbered = (2..).map(|number| format!("{kind}-{number}"));
        let mut name = kind.to_owned();
        while taken.contains(&name) {
            name = numbered.next().unwrap_or_default();
        }
        taken.push(name.clone());
        name
    };
    logs.iter().map(name).collect()
}

/// Which calls are written: those of which all of this is true.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Filter {
    /// Statuses, such as `404`, and classes of them, such as `5xx`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Listeners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Calls that took at least so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<Duration>,
}

/// Names whose values are replaced in access logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redact {
    /// Query parameters, beside those that carry a key or a token for `keyAuth` or `jwt`.
    pub query: Vec<String>,
    /// Write client addresses without their last part (IPv4 /24, IPv6 /48).
    pub client_address: bool,
}

impl Default for Redact {
    fn default() -> Self {
        Self {
            query: ["access_token", "api_key", "apikey", "key", "token"].map(str::to_owned).to_vec(),
            client_address: false,
        }
    }
}

fn json() -> String {
    "json".to_owned()
}

fn all() -> Percent {
    Percent::ALL
}

/// Bound of a request, where nothing else is said.
fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// Headers that the protocol needs for itself.
const OWN_HEADERS: [&str; 6] =
    ["host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection"];

/// Checks an address of HTTP and what goes with it.
fn receiver(url: &str, tls: Option<&UpstreamTls>, may_have_query: bool, at: &mut Context<'_, '_>) {
    // What is no address at all, the schema has refused.
    let Ok(uri) = url.parse::<::http::Uri>() else { return };
    at.field("url", |at| {
        if uri.query().is_some() && !may_have_query {
            at.error("the address of this receiver has no query");
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            at.error("credentials have keys of their own");
        }
    });
    if tls.is_some() && uri.scheme_str() != Some("https") {
        at.field("tls", |at| at.error("`tls` is for an `https://` address"));
    }
}

/// Checks headers that are added.
fn headers(headers: &std::collections::BTreeMap<String, Secret>, at: &mut Context<'_, '_>) {
    at.field("headers", |at| {
        for name in headers.keys() {
            let wrong = match ::http::HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => "is not the name of a header",
                Ok(name) if OWN_HEADERS.contains(&name.as_str()) => "is set by the gateway itself",
                Ok(_) => continue,
            };
            at.field(name, |at| at.error(format!("`{name}` {wrong}")));
        }
    });
}

/// Warns of secrets that are shown to somebody else on the way.
fn secrets_in_the_open(url: &str, secrets: &[&Secret], at: &mut Context<'_, '_>) {
    if !secrets.is_empty() && !crate::policy::jwt::is_private_enough(url) {
        at.field("url", |at| at.warning("secrets are shown here without TLS: write `https://`"));
    }
}

/// Checks the bound of a try.
fn timeout(timeout: Duration, at: &mut Context<'_, '_>) {
    if timeout.is_zero() {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
}
