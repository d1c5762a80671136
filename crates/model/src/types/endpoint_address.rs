//! Where an endpoint is: a host and a port, or a Unix socket.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

/// The address of an endpoint, in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// An IP address and a port.
    Ip(IpAddr, u16),
    /// A name to resolve and a port.
    Name(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for EndpointAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let told = format!(
                "`{text}` is not an address such as `orders.internal:8080` or `unix:/run/orders.sock`"
            );
            match text.split_once("://") {
                Some((scheme, _)) => format!("{told}: leave `{scheme}://` out"),
                None => told,
            }
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Self::Unix(path.into())).ok_or_else(wrong);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
            _ => return Err(wrong()),
        };
        if let Some(inner) = host.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(wrong)?;
            return inner.parse().map(|v6| Self::Ip(IpAddr::V6(v6), port)).map_err(|_| wrong());
        }
        if let Ok(v4) = host.parse() {
            return Ok(Self::Ip(IpAddr::V4(v4), port));
        }
        crate::load::format::host(host).then(|| Self::Name(host.to_owned(), port)).ok_or_else(wrong)
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(address), port) => write!(f, "[{address}]:{port}"),
            Self::Ip(address, port) => write!(f, "{address}:{port}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

super::textual!(EndpointAddress, "EndpointAddress", { "type": "string", "format": "endpoint-address" });
