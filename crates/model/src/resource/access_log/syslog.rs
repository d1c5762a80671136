//! Syslog (RFC 5424): over UDP, TCP, TLS, or a Unix socket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Settings, timeout};
use crate::{Duration, EndpointAddress, Size, load::Context, resource::tls::UpstreamTls};

/// A receiver of syslog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Syslog {
    /// Where it is: `host:port`, or `unix:/path` for a socket of this machine's such as `unix:/dev/log`.
    pub address: EndpointAddress,
    /// How messages travel.
    #[serde(default)]
    pub transport: SyslogTransport,
    /// TLS, for transport `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// The part of a system that the messages are said to come from.
    #[serde(default)]
    pub facility: Facility,
    /// The program that they are said to come from.
    #[serde(default = "app_name")]
    pub app_name: String,
    /// The machine that they are said to come from; its own name without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Bytes of a message; one that is longer is cut.
    #[serde(default = "message_size")]
    pub message_size: Size,
    /// Bound of one try to hand over a batch.
    #[serde(default = "super::ten_seconds")]
    pub timeout: Duration,
}

/// How messages of syslog travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SyslogTransport {
    /// A datagram each (RFC 5426); what is lost on the way nobody knows.
    #[default]
    Udp,
    /// A stream of messages, each behind the number of its bytes (RFC 6587).
    Tcp,
    /// The same in TLS (RFC 5425).
    Tls,
}

/// Facilities that are in use for what is none of the system's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "they have numbers and no meaning")]
pub enum Facility {
    User,
    Daemon,
    #[default]
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

impl Facility {
    /// Its number (RFC 5424 §6.2.1).
    pub fn number(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

impl Settings for Syslog {
    fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    fn validate(&self, _: &AccessLog, at: &mut Context<'_, '_>) {
        timeout(self.timeout, at);
        if self.tls.is_some() && self.transport != SyslogTransport::Tls {
            at.field("tls", |at| at.error_with("`tls` is for transport `tls`", "add `transport: tls`"));
        }
        if self.transport == SyslogTransport::Tls && matches!(self.address, EndpointAddress::Unix(_)) {
            at.field("transport", |at| at.error("a Unix socket has no TLS"));
        }
        // RFC 5424 §6: a name is of printable ASCII, and so long at most.
        for (key, text, longest) in
            [("appName", Some(&self.app_name), 48), ("hostname", self.hostname.as_ref(), 255)]
        {
            let is_name = |text: &String| {
                (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if text.is_some_and(|text| !is_name(text)) {
                at.field(key, |at| {
                    at.error(format!("expected 1 to {longest} visible characters of ASCII, and no space"));
                });
            }
        }
        // RFC 5424 §6.1: less than that nobody has to take.
        if self.message_size.bytes() < 480 || self.message_size.bytes() > 1 << 20 {
            at.field("messageSize", |at| at.error("expected from 480 bytes to 1MiB"));
        }
    }
}

fn app_name() -> String {
    "tidegate".to_owned()
}

fn message_size() -> Size {
    Size::kib(8)
}
