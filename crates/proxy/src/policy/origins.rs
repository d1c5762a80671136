//! Origins of the web that an operator names: exact ones, and all subdomains of a host.

use std::collections::HashSet;

/// Origins by name.
#[derive(Default)]
pub(super) struct Origins {
    exact: HashSet<Box<str>>,
    wildcards: Vec<Wildcard>,
}

/// `https://*.example.com`, cut at the star.
struct Wildcard {
    before: Box<str>,
    after: Box<str>,
}

impl Origins {
    pub(super) fn add(&mut self, origin: &str) -> Result<(), String> {
        if origin == "null" {
            self.exact.insert("null".into());
            return Ok(());
        }
        let wrong = || format!("`{origin}` is not an origin such as `https://app.example.com`");
        let (scheme, authority) = origin.split_once("://").ok_or_else(wrong)?;
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        let lower = origin.to_ascii_lowercase();
        if scheme.is_empty() || authority.is_empty() || !plain(scheme) {
            return Err(wrong());
        }
        match authority.strip_prefix("*.") {
            Some(rest) if plain(rest) && rest.contains('.') => {
                let (before, after) = lower.split_once('*').ok_or_else(wrong)?;
                self.wildcards.push(Wildcard { before: before.into(), after: after.into() });
            }
            None if plain(authority) => {
                self.exact.insert(lower.into());
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// Whether this is one of them, as browsers write it.
    pub(super) fn has(&self, origin: &str) -> bool {
        self.exact.contains(origin) || self.wildcards.iter().any(|wildcard| wildcard.matches(origin))
    }
}

impl Wildcard {
    fn matches(&self, origin: &str) -> bool {
        origin.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.after)).is_some_and(
            |labels| {
                !labels.is_empty()
                    && labels.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)
                    })
            },
        )
    }
}
