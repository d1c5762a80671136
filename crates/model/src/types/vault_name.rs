//! Names of secrets in a vault: `path#key`.

use std::{fmt, str::FromStr};

/// A secret in a vault: the path as `vault kv get` takes it, the mount first, and the key there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VaultName {
    path: Box<str>,
    key: Box<str>,
}

impl VaultName {
    /// The path, without a slash at either end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The key at the path.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl FromStr for VaultName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected `path#key`, such as `secret/shop#password`".to_owned();
        let (path, key) = text.split_once('#').ok_or_else(expected)?;
        let path = path.trim_matches('/');
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        if key.is_empty() || key.contains('#') || key.chars().any(char::is_control) {
            return Err(expected());
        }
        if !path.contains('/') || !path.split('/').all(is_part) || path.contains('?') {
            return Err("expected a path with its mount, such as `secret/shop`".to_owned());
        }
        Ok(Self { path: path.into(), key: key.into() })
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.path, self.key)
    }
}

impl fmt::Debug for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

super::textual!(VaultName, "VaultName", { "type": "string", "format": "vault-name", "minLength": 1 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_with_its_mount_and_a_key() {
        for (text, want) in [
            ("secret/shop#password", Some(("secret/shop", "password"))),
            ("/team/kv/a b/c/#k.1", Some(("team/kv/a b/c", "k.1"))),
            ("secret/shop", None),
            ("secret#password", None),
            ("secret/shop#", None),
            ("secret/../sys/seal#x", None),
            ("secret//shop#x", None),
            ("secret/shop?version=1#x", None),
            ("secret/shop#a#b", None),
            ("#x", None),
        ] {
            let name = text.parse::<VaultName>().ok();
            assert_eq!(name.as_ref().map(|name| (name.path(), name.key())), want, "{text}");
        }
    }
}
