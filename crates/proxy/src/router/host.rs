//! Host patterns: exact names, `*.wildcards`, and any host.

use std::fmt;

/// Which hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum HostPattern {
    Exact(Box<str>),
    /// The suffix after `*.`, under which one or more labels match.
    Wildcard(Box<str>),
    Any,
}

impl HostPattern {
    /// Reads `name`, `*.name` or `*`, in any case.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let lower = text.trim_end_matches('.').to_ascii_lowercase();
        if lower == "*" {
            return Ok(Self::Any);
        }
        let (name, wildcard) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        if name.is_empty() || name.contains('*') {
            return Err(format!(
                "`{text}` is no host: a `*` stands for whole labels in front, as in `*.example.test`"
            ));
        }
        let is_v6 = name.starts_with('[') && name.ends_with(']') && !wildcard;
        if name.contains(['/', '@', ' ']) || (name.contains(':') && !is_v6) {
            return Err(format!("`{text}` is no host: give the name alone, without scheme, port or path"));
        }
        if !name.is_ascii() {
            return Err(format!("`{text}` must be written as it is sent, in punycode (`xn--…`)"));
        }
        if is_v6 {
            let address: Result<std::net::Ipv6Addr, _> = name[1..name.len() - 1].parse();
            return match address {
                Ok(address) => Ok(Self::Exact(format!("[{address}]").into())),
                Err(_) => {
                    Err(format!("`{text}` is no host: an IPv6 address is expected between the brackets"))
                }
            };
        }
        Ok(if wildcard { Self::Wildcard(name.into()) } else { Self::Exact(name.into()) })
    }

    /// Whether a lower-case host matches.
    pub(super) fn matches(&self, host: Option<&str>) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (_, None) => false,
            (Self::Exact(name), Some(host)) => **name == *host,
            (Self::Wildcard(suffix), Some(host)) => {
                host.strip_suffix(&**suffix).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            }
        }
    }

    /// Whether every host that the other matches is matched.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (_, Self::Exact(name)) => self.matches(Some(name)),
            (Self::Exact(_), Self::Wildcard(_)) => false,
            (Self::Wildcard(_), Self::Wildcard(suffix)) => self == other || self.matches(Some(suffix)),
        }
    }

    /// Sorts exact names first, then wildcards, the longest first, then any host.
    pub(super) fn order(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (0, 0),
            Self::Wildcard(suffix) => (1, usize::MAX - suffix.len()),
            Self::Any => (2, 0),
        }
    }
}

/// Calls `visit` with each suffix under which a wildcard could match the host, the longest first, until it is true.
pub(super) fn any_suffix(host: &str, mut visit: impl FnMut(&str) -> bool) -> bool {
    let mut from = 1;
    while let Some(dot) = host.get(from..).and_then(|rest| rest.find('.')) {
        from += dot + 1;
        if visit(&host[from..]) {
            return true;
        }
    }
    false
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}
